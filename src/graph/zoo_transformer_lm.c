/* The transformer language model of PyTorch's word_language_model example: a subclass
 * of nn.Transformer that uses its encoder (norm behind each part, ReLU) under a causal
 * mask, sinusoidal positions, and a decoder of its own, not tied.
 *
 * Its weights: nn.Transformer draws all of its matrices by Xavier's law and leaves
 * biases as nn.Linear draws them (those of attention are 0); the example then draws
 * embedding and decoder from U(-0.1, 0.1). Its dropout: the option (0.2) behind the
 * positions, and nn.Transformer's own 0.1 inside the layers; a dropout that is asked
 * for here counts everywhere. The log-softmax at its end belongs to the loss. */
#include <math.h>

#include "graph/zoo_text_layers.h"

#define POSITION_DROPOUT 0.2
#define LAYER_DROPOUT 0.1

static const amg_zoo_laws attention_laws = {.linear_weight = AMG_INIT_XAVIER_UNIFORM,
                                            .linear_bias = AMG_INIT_ZERO};
static const amg_zoo_laws feed_forward_laws = {.linear_weight = AMG_INIT_XAVIER_UNIFORM,
                                               .linear_bias = AMG_INIT_UNIFORM_FAN_IN};
static const amg_zoo_laws decoder_laws = {.linear_weight = AMG_INIT_UNIFORM,
                                          .linear_bias = AMG_INIT_ZERO,
                                          .linear_scale = 0.1};

/* x [N,L,d] plus sines and cosines of the position. They are subtracted negated, which
 * is the same bits: what is added to activations would be read as a trained bias. */
static int add_positions(amg_zoo_net *net, int x)
{
    const int64_t length = net->text->seq, width = net->text->width_model;
    amg_tensor shape = {.dtype = AMG_F32, .rank = 2, .dims = {length, width}};
    int table = amg_zoo_constant(net, "pos_encoder.minus_pe", "", &shape);
    amg_tensor *t = amg_builder_data(net->builder, table);
    const float step = (float)(-log(10000.0) / (double)width);
    for (int64_t i = 0; t && i < width; i += 2) {
        /* PyTorch's rounding of the angle; functions in double, so that any library
         * gives the same floats. */
        const float frequency = (float)exp((double)((float)i * step));
        for (int64_t pos = 0; pos < length; pos++) {
            float *at = (float *)t->data + pos * width + i;
            const float angle = (float)pos * frequency;
            at[0] = (float)-sin((double)angle);
            at[1] = (float)-cos((double)angle);
        }
    }
    return amg_zoo_node(net, AMG_OP_SUB, "pos_encoder.add", (int[]){x, table}, 2, NULL,
                        0, NULL);
}

/* Rows [N*L,d] both ways. */
static int self_attention(amg_zoo_net *net, int x, int mask, double dropout)
{
    const int64_t width = net->text->width_model, dims[2] = {3 * width, width};
    const amg_init_law zero = {.kind = AMG_INIT_ZERO};
    const amg_init_law xavier = amg_init_law_of(AMG_INIT_XAVIER_UNIFORM, 2, dims);
    size_t mark = amg_zoo_enter(net, "self_attn");
    int weight = amg_zoo_param(net, "in_proj", "_weight", xavier, 2, dims);
    int bias = amg_zoo_param(net, "in_proj", "_bias", zero, 1, dims);
    x = amg_zoo_gemm(net, "in_proj", x, weight, bias);
    x = amg_zoo_attention(net, x, mask, dropout);
    net->laws = attention_laws;
    x = amg_zoo_linear(net, "out_proj", x, width);
    amg_zoo_leave(net, mark);
    return x;
}

static int encoder_layer(amg_zoo_net *net, int x, int mask, double dropout)
{
    const amg_zoo_options *o = net->text;
    int y = self_attention(net, x, mask, dropout);
    y = amg_zoo_text_dropout(net, "dropout1", y, dropout);
    x = amg_zoo_layer_norm(net, "norm1", amg_zoo_add(net, "add1", x, y));
    net->laws = feed_forward_laws;
    y = amg_zoo_relu(net, "relu", amg_zoo_linear(net, "linear1", x, o->width_hidden));
    y = amg_zoo_text_dropout(net, "dropout", y, dropout);
    y = amg_zoo_linear(net, "linear2", y, o->width_model);
    y = amg_zoo_text_dropout(net, "dropout2", y, dropout);
    return amg_zoo_layer_norm(net, "norm2", amg_zoo_add(net, "add2", x, y));
}

int amg_zoo_transformer_lm(amg_zoo_net *net, int tokens)
{
    const amg_zoo_options *o = net->text;
    const amg_init_law uniform = {.kind = AMG_INIT_UNIFORM, .scale = 0.1};
    const bool own = isnan(o->dropout);
    const double layer_dropout = own ? LAYER_DROPOUT : o->dropout;
    int table = amg_zoo_table(net, "input_emb", uniform);
    int x = amg_zoo_lookup(net, "input_emb", table, tokens);
    x = amg_zoo_scale(net, "input_emb.scaled", x, sqrt((double)o->width_model));
    x = add_positions(net, x);
    x = amg_zoo_text_dropout(net, "pos_encoder.dropout", x,
                             own ? POSITION_DROPOUT : o->dropout);
    x = amg_zoo_rows(net, "rows", x);
    int mask = amg_zoo_causal_mask(net);
    size_t mark = amg_zoo_enter(net, "encoder");
    for (int64_t i = 0; i < o->layers; i++) {
        size_t layer = amg_zoo_enter(net, "layers.%d", (int)i);
        x = encoder_layer(net, x, mask, layer_dropout);
        amg_zoo_leave(net, layer);
    }
    x = amg_zoo_layer_norm(net, "norm", x);
    amg_zoo_leave(net, mark);
    net->laws = decoder_laws;
    return amg_zoo_token_logits(net, amg_zoo_linear(net, "decoder", x, o->vocab));
}
