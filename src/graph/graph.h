/* The graph: an immutable network of operators over named values. Made by the ONNX
 * importer or the builder; every change makes a new graph. Values and nodes are
 * numbered densely; nodes stand in a topological order.
 *
 *   value   INPUT (fed), PARAM (an initializer: weight, buffer or constant), ACTIVATION
 * (a node's output) node    op, input values (AMG_NO_VALUE = an absent optional input),
 * output values, attributes
 *
 * Dims: a batch dimension that is not planned yet is AMG_DIM_BATCH, and one into which
 * the batch was merged -k: k times the batch, as [N,T,C] reshaped to [-1,C] has the dim
 * -T. At most one dim of a value is negative. amg_graph_plan_batch turns them into
 * numbers. Until then a value whose shape follows from that number in another way has
 * rank -1: unknown. After planning no value has. */
#ifndef AMG_GRAPH_GRAPH_H
#define AMG_GRAPH_GRAPH_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/tensor.h"
#include "graph/op.h"

#define AMG_DIM_BATCH (-1)
#define AMG_NO_VALUE (-1)

typedef enum { AMG_VALUE_INPUT, AMG_VALUE_PARAM, AMG_VALUE_ACTIVATION } amg_value_kind;

/* What an initializer is to training; set by amg_graph_classify, AMG_ROLE_CONSTANT
 * until then. */
typedef enum {
    AMG_ROLE_CONSTANT,  /* shapes, indices, normalisation constants: never changes */
    AMG_ROLE_TRAINABLE, /* float weight that reaches an output through differentiable
                           operators */
    AMG_ROLE_BUFFER     /* batch-norm running mean and variance */
} amg_param_role;

/* What a model's file says of an initializer, whatever reads it; of one that folding
 * made, what follows from those that it is made of. graph/onnx_said.c */
typedef enum {
    AMG_SAID_NOTHING,
    AMG_SAID_WEIGHT,  /* a parameter of the module */
    AMG_SAID_CONSTANT /* a buffer, or a number of its forward pass */
} amg_param_said;

typedef struct {
    const char *name;
    amg_value_kind kind;
    amg_param_role role; /* of a PARAM */
    amg_param_said said; /* of a PARAM */
    amg_dtype dtype;
    int rank;                   /* -1: unknown until the batch is planned */
    int64_t dims[AMG_MAX_RANK]; /* inferred; one may be negative: -k times the batch */
    int producer;               /* node of an ACTIVATION, else -1 */
    amg_tensor data;            /* of a PARAM: view owned by the graph; data NULL if the
                                   graph was stored without weights. Of an ACTIVATION:
                                   a known shape with the batch in it, private to
                                   graph/ (eval.h) */
} amg_value;

typedef enum {
    AMG_ATTR_INT,
    AMG_ATTR_FLOAT,
    AMG_ATTR_STRING,
    AMG_ATTR_INTS,
    AMG_ATTR_FLOATS,
    AMG_ATTR_TENSOR
} amg_attr_kind;

typedef struct {
    const char *name;
    amg_attr_kind kind;
    int64_t i;
    float f;
    const char *s;
    int count; /* of ints, floats */
    const int64_t *ints;
    const float *floats;
    amg_tensor tensor;
} amg_attr;

typedef struct {
    amg_op op;
    const char *name; /* never NULL, may be "" */
    int num_inputs, num_outputs, num_attrs;
    const int *inputs;
    const int *outputs;
    const amg_attr *attrs;
} amg_node;

typedef struct amg_graph {
    amg_arena arena;
    int num_values, num_nodes, num_inputs, num_outputs;
    amg_value *values;
    amg_node *nodes;
    int *inputs;    /* value ids */
    int *outputs;   /* value ids */
    void **buffers; /* owned storage of large initializers, freed by amg_graph_free */
    int num_buffers;
    bool has_weights; /* false: PARAM data of trainables and buffers are absent (key
                         file) */
} amg_graph;

void amg_graph_free(amg_graph *g);

/* Lookup by name; -1 if absent. O(1) is not promised: build maps for loops. */
int amg_graph_find_value(const amg_graph *g, const char *name);

/* Attributes with a default for absent ones. */
int64_t amg_attr_int(const amg_node *node, const char *name, int64_t otherwise);
float amg_attr_float(const amg_node *node, const char *name, float otherwise);
const char *amg_attr_string(const amg_node *node, const char *name,
                            const char *otherwise);
const amg_attr *amg_attr_find(const amg_node *node,
                              const char *name); /* NULL if absent */

/* Infers dtype and dims of every activation, in
 * place, while a graph is being made. AMG_MISMATCH / AMG_UNSUPPORTED name node and
 * operator. */
AMG_MUST_CHECK amg_status amg_graph_infer(amg_graph *g, amg_error *err);

/* Sets roles. An F32 initializer of which the file says that it is a weight is
 * TRAINABLE where an output is reached from it through differentiable operators; of
 * which it says that it is a constant never, though it may be a BUFFER. Any other is
 *   TRAINABLE  where an output is reached from it so and it is an operand of Conv,
 * Gemm, MatMul or Einsum, scale or bias of BatchNormalization or LayerNormalization,
 * the table of a Gather (embeddings), or an operand of Add, Mul, Concat or Where with
 * more than one element, none infinite, and another trainable upstream (biases, a
 * position embedding, a class token); BUFFER     as running mean or variance of a
 * BatchNormalization; CONSTANT   otherwise: normalisation of the data ahead of every
 * trainable, scalars, bounds, ratios, operands of Sub, Div, Max, Min, Mod and Pow,
 * attention masks with their -inf. All other types are CONSTANT. Weights are seen
 * through Identity and Expand, but not through other operators: a weight that is
 * reshaped or transposed first becomes TRAINABLE once amg_graph_plan_batch has folded
 * it (under the name of the folded value). */
void amg_graph_classify(amg_graph *g);

/* A new graph with the batch dimension set to batch (>= 1), everything constant folded,
 * Identity and casts to the same type removed (Dropout stays: training needs it),
 * unused values dropped. Reshapes to a shape into which an exporter baked its batch
 * follow the batch. A shape that stays unknown is AMG_UNSUPPORTED. batch may be
 * AMG_DIM_BATCH: folds what does not depend on the number and keeps the batch symbolic,
 * shapes computed from it become constants such as [0,-1]. Initializer data are shared
 * by view: g must outlive the result. */
AMG_MUST_CHECK amg_status amg_graph_plan_batch(const amg_graph *g, int64_t batch,
                                               amg_graph **out, amg_error *err);

/* Sub-networks: one per output. The outputs' ancestor sets must share graph inputs
 * only; owner[node] receives the output's index. AMG_INVALID names a shared node or
 * parameter otherwise, or a node that reaches no output. */
AMG_MUST_CHECK amg_status amg_graph_subnetworks(const amg_graph *g, int *owner,
                                                amg_error *err);

/* Canonical node order of output's sub-network: depth-first from the output, inputs in
 * operator order. It depends on the network's structure alone, not on names or file
 * order, so that the engine does the same arithmetic for an original alone and inside a
 * job. order: at least num_nodes ints; returns how many were written. Also the
 * canonical order of its trainables and buffers: first use in that order, found without
 * going through Shape nodes, so that folding does not change it; params: at least
 * num_values ints. */
int amg_graph_canonical_order(const amg_graph *g, int output_index, int *order);
int amg_graph_canonical_params(const amg_graph *g, int output_index, int *params);

/* FLOPs (multiply-adds x 2) of one sample's forward pass, matrix products only; and
 * number of trainable scalars. For cost statements, not exact accounting: 0 if g cannot
 * be planned. */
double amg_graph_flops(const amg_graph *g);
int64_t amg_graph_num_trainable(const amg_graph *g);

#endif
