/* From operator to PyTorch form, private to emit/. A form writes the right-hand side of
 * one statement, the text that a hand-written module would run, so that its bits agree
 * with such a module's.
 *
 * Legend of the texts: N batch, C channels; `x` is the network's input in forward(). */
#ifndef AMG_EMIT_EMIT_OPS_H
#define AMG_EMIT_EMIT_OPS_H

#include "emit/emit_text.h"
#include "graph/graph.h"
#include "graph/pattern.h"

enum { AMG_EMIT_FUSED_INPUTS = 6 };

/* One module being written. */
typedef struct {
    const amg_graph *g;
    amg_text out;   /* right-hand side of the statement at work */
    int *constants; /* per value: number of its buffer, -1: none (yet) */
    int num_constants;
    const bool *fixed;   /* per value: running statistics that normalise in training,
                            too; NULL: none */
    bool rows;           /* outputs are rows of several ones */
    bool uses_attention; /* some form calls the module's attention() */
    bool uses_drop;      /* some form calls its drop() */
    bool uses_noise;     /* some form calls its noise() */
    amg_error *err;
} amg_emit;

typedef struct amg_emit_step amg_emit_step;
typedef amg_status (*amg_emit_form)(amg_emit *e, const amg_emit_step *s);

/* One statement of forward(): a node, or several that one PyTorch function stands for
 * (then node is the last of them, form says which function, and inputs are that
 * function's). */
struct amg_emit_step {
    const amg_node *node;
    amg_emit_form form;
    int num_inputs;
    const int *inputs;
    int fused[AMG_EMIT_FUSED_INPUTS]; /* what inputs points to where nodes are joined */
    const amg_node
        *inner; /* of joined nodes, the one whose attributes count, or NULL */
};

/* The table's row for an operator; never NULL. */
amg_emit_form amg_emit_form_get(amg_op op);

/* The steps of a network: its nodes in the given order, those that PyTorch has one
 * function for joined, and what nothing reads left out. live: a flag per value of g,
 * set for the results that count; marks all that are read on return. steps: room for
 * num_nodes. Returns how many steps there are. */
int amg_emit_fuse(const amg_graph *g, const int *order, int num_nodes, bool *live,
                  amg_emit_step *steps);

/* Help for forms. Input i of a step, AMG_NO_VALUE if absent; the value itself, NULL if
 * absent; output 0. */
int amg_emit_id(const amg_emit_step *s, int i);
const amg_value *amg_emit_in(const amg_emit *e, const amg_emit_step *s, int i);
const amg_value *amg_emit_result(const amg_emit *e, const amg_emit_step *s);
/* Adds a value as Python names it: v012, self.p017, self.c003 (which it enters into the
 * list of constants), "None" if absent. */
void amg_emit_value(amg_emit *e, int id);
void amg_emit_operand(amg_emit *e, const amg_emit_step *s, int i);
/* fmt with operands in it: %0 … %9 stand for inputs 0 … 9 of the step, %% for %. */
void amg_emit_format(amg_emit *e, const amg_emit_step *s, const char *fmt);
/* Fails naming the node. */
amg_status amg_emit_fail(const amg_emit *e, const amg_emit_step *s, const char *fmt,
                         ...) AMG_PRINTF(3, 4);

/* The integers of a constant of rank 0 or 1; false: not constant, or more than max. */
bool amg_emit_ints(const amg_value *v, int max, int64_t *out, int *count);
/* The axes of a node, of input `input` or attribute "axes", in [0, rank) and ascending;
 * *count 0: none given. */
AMG_MUST_CHECK amg_status amg_emit_axes(const amg_emit *e, const amg_emit_step *s,
                                        int input, int rank, int64_t *axes, int *count);
/* Adds dims as arguments "-1, 3, 32": the dim with the batch in it is -1 if free, else
 * "x.shape[0]" or "x.shape[0] * 7". */
void amg_emit_dims(amg_emit *e, int rank, const int64_t *dims, bool free_batch);

/* Forms. emit_layer.c */
amg_status amg_emit_conv(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_conv_transpose(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_max_pool(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_average_pool(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_global_pool(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_resize(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_col2im(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_grid_sample(amg_emit *e, const amg_emit_step *s);
/* emit_norm.c */
amg_status amg_emit_batch_norm(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_layer_norm(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_rms_norm(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_instance_norm(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_group_norm(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_dropout(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_noise(amg_emit *e, const amg_emit_step *s);
/* Whether noise is drawn as torch.rand(shape) is, and not like a tensor, whose strides
 * say which element is drawn first. */
bool amg_emit_noise_by_shape(const amg_graph *g, const amg_node *node);
/* emit_math.c */
amg_status amg_emit_gemm(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_binary(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_function(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_pow(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_mod(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_is_inf(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_clip(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_activation(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_shrink(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_prelu(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_softmax(amg_emit *e, const amg_emit_step *s);
/* emit_index.c */
amg_status amg_emit_gather_elements(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_gather_nd(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_scatter(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_trilu(amg_emit *e, const amg_emit_step *s);
/* emit_reduce.c */
amg_status amg_emit_reduce(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_arg(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_top_k(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_cumulative(amg_emit *e, const amg_emit_step *s);
/* emit_move.c */
amg_status amg_emit_reshape(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_flatten(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_squeeze(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_transpose(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_constant_of_shape(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_range(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_expand(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_tile(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_concat(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_split(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_slice(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_gather(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_pad(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_cast(amg_emit *e, const amg_emit_step *s);
/* emit_recurrent.c */
amg_status amg_emit_lstm(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_gru(amg_emit *e, const amg_emit_step *s);
amg_status amg_emit_rnn(amg_emit *e, const amg_emit_step *s);
/* Adds the Python functions that those of g call. */
void amg_emit_recurrent_helpers(const amg_graph *g, amg_text *out);

/* Name of torch's dtype, NULL if torch 1.13 has none. */
const char *amg_emit_dtype(amg_dtype dtype);

#endif
