/* A recurrent text classifier: nn.Embedding, nn.LSTM (one direction, layers above each
 * other with dropout between them), the mean of its outputs over the document, dropout,
 * a linear layer. Weights as PyTorch's modules draw them.
 *
 * Documents are padded behind their end, where a recurrent network no longer matters to
 * what it said before; as the mean leaves padding out, so does the whole network, as if
 * sequences were packed. Padding's row never trains.
 *
 * Parameters are PyTorch's, gates in the order i f g o; nodes bring them into ONNX's
 * order i o f c, as PyTorch's exporter does it, and folding takes them out again. */
#include <stdio.h>

#include "graph/zoo_text_layers.h"

enum { GATES = 4 };

/* [4*H,…] of PyTorch -> [4*H,…] of ONNX. */
static int reorder_gates(amg_zoo_net *net, const char *name, int param)
{
    char split[AMG_ZOO_NAME], joined[AMG_ZOO_NAME];
    int gate[GATES];
    snprintf(split, sizeof split, "%s_gates", name);
    snprintf(joined, sizeof joined, "%s_onnx", name);
    amg_zoo_split(net, split, param, 0, GATES, gate);
    return amg_zoo_node(net, AMG_OP_CONCAT, joined,
                        (int[]){gate[0], gate[3], gate[1], gate[2]}, GATES,
                        (amg_attr[]){amg_int("axis", 0)}, 1, NULL);
}

/* weight_ih_l0 and its like, [4*H,in] or (in 0) [4*H], in ONNX's order of gates. */
static int add_param(amg_zoo_net *net, const char *what, int64_t layer, int64_t in)
{
    const int64_t hidden = net->text->width_hidden, dims[2] = {GATES * hidden, in};
    const amg_init_law law = {.kind = AMG_INIT_UNIFORM_FAN_IN, .fan_in = hidden};
    char name[64];
    snprintf(name, sizeof name, "%s_l%d", what, (int)layer);
    int param = amg_zoo_param(net, name, "", law, in ? 2 : 1, dims);
    return reorder_gates(net, name, param);
}

/* Steps first: x [L,N,in] -> [L,N,H]. */
static int lstm_layer(amg_zoo_net *net, int x, int64_t layer)
{
    const int64_t hidden = net->text->width_hidden, in = amg_zoo_dim(net, x, 2);
    const int64_t length = net->text->seq;
    char name[4][32];
    snprintf(name[0], sizeof *name, "weight_ih_l%d_one", (int)layer);
    snprintf(name[1], sizeof *name, "weight_hh_l%d_one", (int)layer);
    snprintf(name[2], sizeof *name, "bias_l%d", (int)layer);
    snprintf(name[3], sizeof *name, "l%d", (int)layer);
    int inputs[4] = {x, add_param(net, "weight_ih", layer, in),
                     add_param(net, "weight_hh", layer, hidden), AMG_NO_VALUE};
    const int bias[2] = {add_param(net, "bias_ih", layer, 0),
                         add_param(net, "bias_hh", layer, 0)};
    inputs[1] = amg_zoo_reshape(net, name[0], inputs[1], 3,
                                (int64_t[]){1, GATES * hidden, in}, NULL);
    inputs[2] = amg_zoo_reshape(net, name[1], inputs[2], 3,
                                (int64_t[]){1, GATES * hidden, hidden}, NULL);
    inputs[3] = amg_zoo_node(net, AMG_OP_CONCAT, name[2], bias, 2,
                             (amg_attr[]){amg_int("axis", 0)}, 1, NULL);
    char one[48];
    snprintf(one, sizeof one, "%s_one", name[2]);
    inputs[3] = amg_zoo_reshape(net, one, inputs[3], 2,
                                (int64_t[]){1, 2 * GATES * hidden}, NULL);
    x = amg_zoo_node(net, AMG_OP_LSTM, name[3], inputs, 4,
                     (amg_attr[]){amg_int("hidden_size", hidden)}, 1, NULL);
    snprintf(one, sizeof one, "%s_steps", name[3]);
    return amg_zoo_reshape(net, one, x, 3, (int64_t[]){length, -1, hidden}, NULL);
}

int amg_zoo_lstm(amg_zoo_net *net, int tokens)
{
    const amg_zoo_options *o = net->text;
    const amg_init_law normal = {.kind = AMG_INIT_NORMAL, .scale = 1};
    net->laws = (amg_zoo_laws){.linear_weight = AMG_INIT_UNIFORM_FAN_IN,
                               .linear_bias = AMG_INIT_UNIFORM_FAN_IN};
    int table = amg_zoo_table(net, "embedding", normal);
    int x = amg_zoo_lookup(net, "embedding", table, tokens);
    size_t mark = amg_zoo_enter(net, "lstm");
    x = amg_zoo_transpose(net, "steps_first", x, 3, (int64_t[]){1, 0, 2});
    for (int64_t i = 0; i < o->layers; i++) {
        char dropout[32];
        x = lstm_layer(net, x, i);
        snprintf(dropout, sizeof dropout, "dropout_l%d", (int)i);
        if (i + 1 < o->layers) x = amg_zoo_text_dropout(net, dropout, x, o->dropout);
    }
    x = amg_zoo_transpose(net, "samples_first", x, 3, (int64_t[]){1, 0, 2});
    amg_zoo_leave(net, mark);
    x = amg_zoo_mean_of_tokens(net, x, amg_zoo_kept_tokens(net, tokens));
    x = amg_zoo_text_dropout(net, "dropout", x, o->dropout);
    return amg_zoo_logits(net, "fc", x);
}
