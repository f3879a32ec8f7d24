/* What an ONNX file says of its float tensors: which are parameters of a module, which
 * are buffers or numbers of its forward pass. Private to graph/onnx_*.c.
 *
 *   a tensor's doc_string, AMG_TEXT_…, as we write it: of itself
 *   torch.export's signature, which dynamo's exporter leaves in the metadata: of
 *       initializers by name, and that all others are constants if it lost no parameter
 *   a Constant node, in a file whose weights are initializers: that it is a constant
 *
 * Where nobody says anything, amg_graph_classify goes by what reads the tensor, and
 * amg_said_finish by what PyTorch's TorchScript exporter names it. */
#ifndef AMG_GRAPH_ONNX_SAID_H
#define AMG_GRAPH_ONNX_SAID_H

#include "graph/graph.h"
#include "onnx.pb-c.h"

/* A node's doc_string: an Identity through which no gradient goes. */
#define AMG_TEXT_NO_GRADIENT "no gradient"

#define AMG_TEXT_WEIGHT "weight"
#define AMG_TEXT_CONSTANT "constant"

typedef struct {
    const char *name; /* size bytes of the file's metadata */
    size_t size;
    bool weight;
} amg_said_entry;

typedef struct {
    amg_said_entry *entries; /* of the signature, sorted by name; in the arena */
    size_t num_entries;
    const amg_said_entry *lost; /* a parameter of it that is no initializer */
    bool has_weights;           /* float initializers of more than one element */
    bool names_modules; /* of the TorchScript exporter: parameters go by their names */
} amg_said;

/* Reads what the model says as a whole; false: no memory. */
bool amg_said_init(amg_said *s, const Onnx__ModelProto *m, const Onnx__GraphProto *g,
                   amg_arena *arena);
/* Whether an Identity is x.detach(): it says so itself, or dynamo's exporter says of
 * which call of PyTorch's it is. */
bool amg_said_stops(const Onnx__NodeProto *identity);
/* The token whose row of a table gets no gradient from a Gather, if dynamo's exporter
 * says that it was an embedding with a padding_idx; -1: none. */
int64_t amg_said_padding(const Onnx__NodeProto *gather);
/* What is said of an initializer, or of the tensor of a Constant node. */
amg_param_said amg_said_of_initializer(const amg_said *s, const Onnx__TensorProto *t);
amg_param_said amg_said_of_node(const amg_said *s);

/* The last word on g, as read and classified, which this classifies again, on what
 * nobody said anything of and
 *
 *   a trainable's result is added to, multiplied or compared with, be it one number,
 *       moved, or through functions of it and of numbers (x / t, x * exp(s), shares by
 *       softmax(s) or s / sum(s));
 *   data are, if that makes more of them: a line for each column of a table (w x + b),
 *       centres from which distances are taken;
 *   a layer's weight is computed from: a norm or a standard deviation taken out, two
 *       factors (LoRA). Not zeros and ones with which that is multiplied, a mask.
 *
 * Under a name by which a module holds it, it is a weight. AMG_UNSUPPORTED: dynamo's
 * exporter computed the first of these and lost a parameter, of which it may be made.
 */
AMG_MUST_CHECK amg_status amg_said_finish(const amg_said *s, amg_graph *g,
                                          amg_error *err);

#endif
