/* GPT-2 (Radford et al. 2019) as nanoGPT writes it, with its names and with biases:
 * norms ahead of attention and of the feed-forward part, GELU, learned positions, the
 * output layer tied to the embedding (one parameter, "transformer.wte.weight", which
 * PyTorch's state_dict also lists as "lm_head.weight").
 *
 * Weights: N(0, 0.02^2), the projections back into the residual stream by
 * sqrt(2 * layers) narrower; biases 0. */
#include <math.h>

#include "graph/zoo_text_layers.h"

#define DEVIATION 0.02

static const amg_zoo_laws linear_laws = {.linear_weight = AMG_INIT_NORMAL,
                                         .linear_bias = AMG_INIT_ZERO,
                                         .linear_scale = DEVIATION};

/* A linear layer and its dropout, added to x. */
static int add_projected(amg_zoo_net *net, int x, int y)
{
    const amg_zoo_options *o = net->text;
    net->laws = linear_laws;
    net->laws.linear_scale = DEVIATION / sqrt(2 * (double)o->layers);
    y = amg_zoo_linear(net, "c_proj", y, o->width_model);
    y = amg_zoo_text_dropout(net, "dropout", y, o->dropout);
    return amg_zoo_add(net, "add", x, y);
}

static int block(amg_zoo_net *net, int x, int mask)
{
    const amg_zoo_options *o = net->text;
    int y = amg_zoo_layer_norm(net, "ln_1", x);
    size_t mark = amg_zoo_enter(net, "attn");
    net->laws = linear_laws;
    y = amg_zoo_linear(net, "c_attn", y, 3 * o->width_model);
    x = add_projected(net, x, amg_zoo_attention(net, y, mask, o->dropout));
    amg_zoo_leave(net, mark);

    y = amg_zoo_layer_norm(net, "ln_2", x);
    mark = amg_zoo_enter(net, "mlp");
    net->laws = linear_laws;
    y = amg_zoo_gelu(net, "gelu", amg_zoo_linear(net, "c_fc", y, o->width_hidden));
    x = add_projected(net, x, y);
    amg_zoo_leave(net, mark);
    return x;
}

int amg_zoo_gpt(amg_zoo_net *net, int tokens)
{
    const amg_zoo_options *o = net->text;
    const amg_init_law normal = {.kind = AMG_INIT_NORMAL, .scale = DEVIATION};
    const int64_t positions[2] = {o->seq, o->width_model};
    size_t mark = amg_zoo_enter(net, "transformer");
    int wte = amg_zoo_table(net, "wte", normal);
    int x = amg_zoo_lookup(net, "wte", wte, tokens);
    int wpe = amg_zoo_param(net, "wpe", ".weight", normal, 2, positions);
    x = amg_zoo_add(net, "wpe", x, wpe);
    x = amg_zoo_text_dropout(net, "drop", x, o->dropout);
    x = amg_zoo_rows(net, "rows", x);
    int mask = amg_zoo_causal_mask(net);
    for (int64_t i = 0; i < o->layers; i++) {
        size_t layer = amg_zoo_enter(net, "h.%d", (int)i);
        x = block(net, x, mask);
        amg_zoo_leave(net, layer);
    }
    x = amg_zoo_layer_norm(net, "ln_f", x);
    amg_zoo_leave(net, mark);
    return amg_zoo_token_logits(net,
                                amg_zoo_gemm(net, "lm_head", x, wte, AMG_NO_VALUE));
}
