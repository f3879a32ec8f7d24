/* The convolutional text classifier (Kim 2014) as it is written in PyTorch: filters of
 * 3, 4 and 5 words, nn.Conv2d(1, n, (words, d)) over the document's embeddings as an
 * image [1,L,d], ReLU, the largest value over time of each filter, dropout, a linear
 * layer. Weights as PyTorch's modules draw them.
 *
 * With a pad the embedding is nn.Embedding(padding_idx=pad): padding looks like zeros,
 * as in Kim's own program, and its row, zeros from the start, never trains. */
#include <stdio.h>
#include <string.h>

#include "graph/zoo_text_layers.h"

enum { NUM_SIZES = 3 };
static const int64_t sizes[NUM_SIZES] = {3, 4, 5};

/* Tokens [N,L] -> [N,L,d], zeros for padding. */
static int embed(amg_zoo_net *net, int tokens)
{
    const amg_zoo_options *o = net->text;
    const amg_init_law normal = {.kind = AMG_INIT_NORMAL, .scale = 1};
    int table = amg_zoo_table(net, "embedding", normal);
    amg_tensor *t = amg_builder_data(net->builder, table);
    if (t && t->data && o->pad >= 0)
        memset((float *)t->data + o->pad * o->width_model, 0,
               sizeof(float) * (size_t)o->width_model);
    int x = amg_zoo_lookup(net, "embedding", table, tokens);
    int kept = amg_zoo_kept_tokens(net, tokens);
    if (kept == AMG_NO_VALUE) return x;
    kept =
        amg_zoo_reshape(net, "kept_column", kept, 3, (int64_t[]){-1, o->seq, 1}, NULL);
    return amg_zoo_node(net, AMG_OP_MUL, "embedding.padded", (int[]){x, kept}, 2, NULL,
                        0, NULL);
}

/* Filters of so many words over x [N,1,L,d], each one's largest value: [N,n,1,1]. */
static int filters(amg_zoo_net *net, int i, int x)
{
    const amg_zoo_options *o = net->text;
    const int64_t dims[4] = {o->width_hidden, 1, sizes[i], o->width_model};
    const amg_init_law law = amg_init_law_of(AMG_INIT_UNIFORM_FAN_IN, 4, dims);
    char conv[32], relu[32], pool[32];
    snprintf(conv, sizeof conv, "convs.%d", i);
    snprintf(relu, sizeof relu, "relu.%d", i);
    snprintf(pool, sizeof pool, "pool.%d", i);
    int inputs[3] = {x};
    inputs[1] = amg_zoo_param(net, conv, ".weight", law, 4, dims);
    inputs[2] = amg_zoo_param(net, conv, ".bias", law, 1, dims);
    amg_attr kernel = amg_ints("kernel_shape", 2, dims + 2);
    x = amg_zoo_node(net, AMG_OP_CONV, conv, inputs, 3, &kernel, 1, NULL);
    x = amg_zoo_relu(net, relu, x);
    amg_attr all = amg_ints("kernel_shape", 2, (int64_t[]){o->seq - sizes[i] + 1, 1});
    return amg_zoo_node(net, AMG_OP_MAX_POOL, pool, &x, 1, &all, 1, NULL);
}

int amg_zoo_text_cnn(amg_zoo_net *net, int tokens)
{
    const amg_zoo_options *o = net->text;
    net->laws = (amg_zoo_laws){.linear_weight = AMG_INIT_UNIFORM_FAN_IN,
                               .linear_bias = AMG_INIT_UNIFORM_FAN_IN};
    int x = amg_zoo_reshape(net, "image", embed(net, tokens), 4,
                            (int64_t[]){-1, 1, o->seq, o->width_model}, NULL);
    int found[NUM_SIZES];
    for (int i = 0; i < NUM_SIZES; i++) found[i] = filters(net, i, x);
    x = amg_zoo_flatten(net, amg_zoo_concat(net, "concat", found, NUM_SIZES));
    x = amg_zoo_text_dropout(net, "dropout", x, o->dropout);
    return amg_zoo_logits(net, "fc", x);
}
