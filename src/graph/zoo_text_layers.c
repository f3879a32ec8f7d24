/* Layers of the zoo's networks for text. Consumes and produces builder values; the
 * shapes' batch stays open. Knows no network. */
#include "graph/zoo_text_layers.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static int add_number(amg_zoo_net *net, const char *name, const char *suffix,
                      float value)
{
    amg_tensor t = {.dtype = AMG_F32, .data = &value, .size_bytes = sizeof value};
    return amg_zoo_constant(net, name, suffix, &t);
}

/* A constant vector of integers: a shape, axes. */
static int add_ints(amg_zoo_net *net, const char *name, const char *suffix, int count,
                    const int64_t *values)
{
    int64_t copy[AMG_MAX_RANK];
    memcpy(copy, values, (size_t)count * sizeof *copy);
    amg_tensor t = {.dtype = AMG_I64,
                    .rank = 1,
                    .dims = {count},
                    .data = copy,
                    .size_bytes = (size_t)count * sizeof *copy};
    return amg_zoo_constant(net, name, suffix, &t);
}

int amg_zoo_table(amg_zoo_net *net, const char *name, amg_init_law law)
{
    int64_t dims[2] = {net->text->vocab, net->text->width_model};
    return amg_zoo_param(net, name, ".weight", law, 2, dims);
}

int amg_zoo_lookup(amg_zoo_net *net, const char *name, int table, int tokens)
{
    return amg_zoo_node(net, AMG_OP_GATHER, name, (int[]){table, tokens}, 2,
                        (amg_attr[]){amg_int("axis", 0)}, 1, NULL);
}

int amg_zoo_reshape(amg_zoo_net *net, const char *name, int x, int rank,
                    const int64_t *shape, const char *output)
{
    int inputs[2] = {x, add_ints(net, name, ".shape", rank, shape)};
    return amg_zoo_node(net, AMG_OP_RESHAPE, name, inputs, 2, NULL, 0, output);
}

int amg_zoo_transpose(amg_zoo_net *net, const char *name, int x, int rank,
                      const int64_t *perm)
{
    return amg_zoo_node(net, AMG_OP_TRANSPOSE, name, &x, 1,
                        (amg_attr[]){amg_ints("perm", rank, perm)}, 1, NULL);
}

int amg_zoo_rows(amg_zoo_net *net, const char *name, int x)
{
    return amg_zoo_reshape(net, name, x, 2, (int64_t[]){-1, amg_zoo_dim(net, x, 2)},
                           NULL);
}

int amg_zoo_scale(amg_zoo_net *net, const char *name, int x, double factor)
{
    int inputs[2] = {x, add_number(net, name, ".factor", (float)factor)};
    return amg_zoo_node(net, AMG_OP_MUL, name, inputs, 2, NULL, 0, NULL);
}

int amg_zoo_text_dropout(amg_zoo_net *net, const char *name, int x, double ratio)
{
    return ratio > 0 ? amg_zoo_dropout(net, name, x, (float)ratio) : x;
}

int amg_zoo_layer_norm(amg_zoo_net *net, const char *name, int x)
{
    const amg_init_law zero = {.kind = AMG_INIT_ZERO}, one = {.kind = AMG_INIT_ONE};
    int64_t width = amg_zoo_dim(net, x, 1);
    int inputs[3] = {x};
    inputs[1] = amg_zoo_param(net, name, ".weight", one, 1, &width);
    inputs[2] = amg_zoo_param(net, name, ".bias", zero, 1, &width);
    amg_attr attrs[] = {amg_int("axis", -1), amg_flt("epsilon", 1e-5f)};
    return amg_zoo_node(net, AMG_OP_LAYER_NORM, name, inputs, 3, attrs, 2, NULL);
}

int amg_zoo_gelu(amg_zoo_net *net, const char *name, int x)
{
    return amg_zoo_node(net, AMG_OP_GELU, name, &x, 1, NULL, 0, NULL);
}

/* ---- attention ---- */

int amg_zoo_causal_mask(amg_zoo_net *net)
{
    int64_t n = net->text->seq;
    amg_tensor shape = {.dtype = AMG_F32, .rank = 2, .dims = {n, n}};
    int mask = amg_zoo_constant(net, "causal_mask", "", &shape);
    amg_tensor *t = amg_builder_data(net->builder, mask);
    for (int64_t i = 0; t && i < n; i++)
        for (int64_t j = i + 1; j < n; j++) ((float *)t->data)[i * n + j] = -INFINITY;
    return mask;
}

/* A third of qkv by heads: [N*L,d] -> [N,H,L,d/H]. */
static int split_heads(amg_zoo_net *net, const char *name, int x)
{
    const amg_zoo_options *o = net->text;
    char by_head[32];
    int64_t shape[4] = {-1, o->seq, o->heads, o->width_model / o->heads};
    snprintf(by_head, sizeof by_head, "%s_heads", name);
    x = amg_zoo_reshape(net, name, x, 4, shape, NULL);
    return amg_zoo_transpose(net, by_head, x, 4, (int64_t[]){0, 2, 1, 3});
}

int amg_zoo_attention(amg_zoo_net *net, int qkv, int mask, double dropout)
{
    const amg_zoo_options *o = net->text;
    /* Half of 1/sqrt(d/H) on either side, as PyTorch's exporters write it. */
    const double half = pow((double)(o->width_model / o->heads), -0.25);
    int part[3]; /* q, k, v */
    amg_zoo_split(net, "qkv", qkv, 1, 3, part);
    int q = amg_zoo_scale(net, "q_scaled", split_heads(net, "q", part[0]), half);
    int k = split_heads(net, "k", part[1]);
    k = amg_zoo_transpose(net, "k_columns", k, 4, (int64_t[]){0, 1, 3, 2});
    k = amg_zoo_scale(net, "k_scaled", k, half);
    int v = split_heads(net, "v", part[2]);
    int x =
        amg_zoo_node(net, AMG_OP_MAT_MUL, "scores", (int[]){q, k}, 2, NULL, 0, NULL);
    x = amg_zoo_add(net, "masked", x, mask);
    x = amg_zoo_node(net, AMG_OP_SOFTMAX, "softmax", &x, 1,
                     (amg_attr[]){amg_int("axis", -1)}, 1, NULL);
    x = amg_zoo_text_dropout(net, "attention_dropout", x, dropout);
    x = amg_zoo_node(net, AMG_OP_MAT_MUL, "attended", (int[]){x, v}, 2, NULL, 0, NULL);
    x = amg_zoo_transpose(net, "attended_tokens", x, 4, (int64_t[]){0, 2, 1, 3});
    return amg_zoo_reshape(net, "attended_rows", x, 2, (int64_t[]){-1, o->width_model},
                           NULL);
}

int amg_zoo_token_logits(amg_zoo_net *net, int x)
{
    const amg_zoo_options *o = net->text;
    return amg_zoo_reshape(net, "by_sequence", x, 3, (int64_t[]){-1, o->seq, o->vocab},
                           "logits");
}

/* ---- padding ---- */

int amg_zoo_kept_tokens(amg_zoo_net *net, int tokens)
{
    int64_t pad = net->text->pad;
    if (pad < 0) return AMG_NO_VALUE;
    amg_tensor t = {.dtype = AMG_I64, .data = &pad, .size_bytes = sizeof pad};
    int inputs[2] = {tokens, amg_zoo_constant(net, "pad", "", &t)};
    int x = amg_zoo_node(net, AMG_OP_EQUAL, "is_pad", inputs, 2, NULL, 0, NULL);
    x = amg_zoo_node(net, AMG_OP_CAST, "pad_as_number", &x, 1,
                     (amg_attr[]){amg_int("to", amg_dtype_onnx(AMG_F32))}, 1, NULL);
    return amg_zoo_node(net, AMG_OP_SUB, "kept",
                        (int[]){add_number(net, "kept", ".one", 1), x}, 2, NULL, 0,
                        NULL);
}

/* kept / max(sum(kept), 1): [N,L]. */
static int share_of_each(amg_zoo_net *net, int kept)
{
    int inputs[2] = {kept, add_ints(net, "num_kept", ".axes", 1, (int64_t[]){1})};
    int count = amg_zoo_node(net, AMG_OP_REDUCE_SUM, "num_kept", inputs, 2,
                             (amg_attr[]){amg_int("keepdims", 1)}, 1, NULL);
    inputs[0] = count;
    inputs[1] = add_number(net, "num_kept", ".min", 1);
    count = amg_zoo_node(net, AMG_OP_CLIP, "divisor", inputs, 2, NULL, 0, NULL);
    return amg_zoo_node(net, AMG_OP_DIV, "share", (int[]){kept, count}, 2, NULL, 0,
                        NULL);
}

int amg_zoo_mean_of_tokens(amg_zoo_net *net, int x, int kept)
{
    int64_t length = amg_zoo_dim(net, x, 1), width = amg_zoo_dim(net, x, 2);
    if (kept == AMG_NO_VALUE)
        return amg_zoo_node(
            net, AMG_OP_REDUCE_MEAN, "mean", &x, 1,
            (amg_attr[]){amg_ints("axes", 1, (int64_t[]){1}), amg_int("keepdims", 0)},
            2, NULL);
    int share = amg_zoo_reshape(net, "share_row", share_of_each(net, kept), 3,
                                (int64_t[]){-1, 1, length}, NULL);
    x = amg_zoo_node(net, AMG_OP_MAT_MUL, "mean", (int[]){share, x}, 2, NULL, 0, NULL);
    return amg_zoo_reshape(net, "mean_row", x, 2, (int64_t[]){-1, width}, NULL);
}
