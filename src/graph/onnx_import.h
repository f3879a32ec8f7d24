/* What the ONNX importer's files share: the state of one import, the table of names and
 * the node being translated. Private to graph/onnx_*.c. */
#ifndef AMG_GRAPH_ONNX_IMPORT_H
#define AMG_GRAPH_ONNX_IMPORT_H

#include <string.h>

#include "formats/onnx.h"
#include "graph/builder.h"
#include "graph/onnx_graph.h"
#include "graph/onnx_said.h"
#include "onnx.pb-c.h"

/* What makes a value of an ONNX graph. The order matters: of one name, an initializer
 * sorts before the graph input that it gives a default to. */
typedef enum { AMG_NAME_INITIALIZER, AMG_NAME_INPUT, AMG_NAME_NODE } amg_name_kind;

typedef struct {
    const char *name; /* borrowed from the file's protobuf */
    amg_name_kind kind;
    size_t index;     /* of the initializer, graph input or node */
    bool needed;      /* some graph output depends on it */
    bool made;        /* value is set; false for outputs that we drop */
    int value;        /* the builder's */
    const int *parts; /* of a sequence (never made): its values */
    int num_parts;
} amg_name;

typedef struct amg_batch_front amg_batch_front;

typedef struct {
    amg_onnx *onnx;
    const Onnx__GraphProto *graph; /* the file's, or inlined */
    Onnx__GraphProto inlined;      /* the file's with functions written out */
    int64_t *opsets;               /* of its nodes; NULL: all the file's */
    const char *file;
    int64_t opset;       /* of the node at hand */
    amg_said said;       /* what the file says of its tensors */
    bool as_is;          /* no dim is the batch: amg_graph_read_onnx_as_is */
    bool merges;         /* several outputs become one: amg_graph_read_model */
    int64_t fixed_batch; /* the data input's first dim, where it is a number; else 0 */
    int64_t baked;       /* read that number as the batch in other places, too; 0: no */
    int batch_value;     /* of the builder, with the batch as its first dim */
    amg_batch_front *fronts; /* of values whose batch is not first in its dim */
    amg_builder *builder;
    amg_arena arena;
    amg_name *names; /* sorted by name, which is unique */
    size_t num_names;
    size_t *order;     /* all nodes, topologically; file order where that is one */
    bool *node_needed; /* by some graph output; the others are left out */
    bool *node_made;   /* is in the builder */
    bool again;        /* the node at hand waits for others, which are needed now */
} amg_import;

/* Whether nodes of this opset are read. onnx_import.c */
bool amg_import_reads_opset(int64_t opset);

/* Writes out the calls of the file's own functions, and both branches of every If:
 * graph and opsets. onnx_functions.c */
AMG_MUST_CHECK amg_status amg_import_functions(amg_import *im, amg_error *err);

/* The defaults of a function's attributes; *count 0 on entry. onnx_defaults.c */
AMG_MUST_CHECK amg_status amg_import_defaults(amg_import *im,
                                              const Onnx__FunctionProto *f,
                                              size_t *count,
                                              Onnx__AttributeProto ***out,
                                              amg_error *err);

/* Fills names, order and node_needed. Errors: two producers of a name, an input that
 * nobody produces, a cycle, an output that does not exist. onnx_order.c */
AMG_MUST_CHECK amg_status amg_import_order(amg_import *im, amg_error *err);
amg_name *amg_import_find(const amg_import *im, const char *name); /* NULL if absent */
/* Marks the value and all that it depends on as needed. */
void amg_import_need(amg_import *im, const char *name);

/* Text for amg_error.where: node "conv1" (Conv); an unnamed node goes by its output. */
#define AMG_NODE_TEXT 256
const char *amg_import_where(const Onnx__NodeProto *proto, char buf[AMG_NODE_TEXT]);

/* One node at work. */
typedef struct {
    amg_import *im;
    const Onnx__NodeProto *proto;
    char where[AMG_NODE_TEXT];
    amg_op op;
    int num_inputs, num_attrs;
    int *inputs;     /* arena, room for five at least; AMG_NO_VALUE: absent */
    amg_attr *attrs; /* arena, room for one more; tensors may be owned */
    int64_t front;   /* of a Reshape that was opened: see amg_import_note_front */
    amg_error *err;
} amg_import_work;

/* A failure of the node at hand, and the one of no memory for it. onnx_node.c */
amg_status amg_import_fail(const amg_import_work *w, amg_status code, const char *fmt,
                           ...) AMG_PRINTF(3, 4);
static inline amg_status amg_import_no_memory(const amg_import_work *w)
{
    (void)amg_import_fail(w, AMG_NO_MEMORY, "no memory for the node");
    return AMG_NO_MEMORY;
}

/* Brings inputs and attributes, as the node's opset has them, into the graph's one
 * form. And whether the node is an Upsample, which becomes a Resize. onnx_opset.c */
AMG_MUST_CHECK amg_status amg_import_normalise(amg_import_work *w);
bool amg_import_is_upsample(const amg_import_work *w);

/* The operator that a node of this name ends up as; AMG_OP_COUNT if the name is
 * unknown. And what makes it that: adds the parts in which the graph has some
 * operators, and leaves the last of them in w. onnx_parts.c */
amg_op amg_import_find_op(const char *name);
AMG_MUST_CHECK amg_status amg_import_parts(amg_import_work *w);

/* Adds one node to the builder in the graph's one form, or its value as an initializer
 * if it is a Constant. onnx_node.c */
AMG_MUST_CHECK amg_status amg_import_node(amg_import *im, const Onnx__NodeProto *proto,
                                          amg_error *err);

/* The same of a node that makes or reads a sequence; *done false: it is another one.
 * onnx_sequence.c */
AMG_MUST_CHECK amg_status amg_import_sequence(amg_import *im,
                                              const Onnx__NodeProto *proto,
                                              const char *where, bool *done,
                                              amg_error *err);

/* The same of an If, whose branches onnx_functions.c has written out; it may set again.
 * onnx_if.c */
static inline bool amg_import_is_if(const Onnx__NodeProto *p)
{
    return p->op_type && !strcmp(p->op_type, "If");
}
AMG_MUST_CHECK amg_status amg_import_if(amg_import *im, const Onnx__NodeProto *proto,
                                        const char *where, bool *done, amg_error *err);

/* Where a batch is baked in (im->baked), it is opened; else nothing happens. Of an
 * Expand, Tile, Concat, Reshape, Gather, Mul or ScatterElements at hand; of a tensor
 * called name, of which *value is set where it is one. onnx_batch.c */
AMG_MUST_CHECK amg_status amg_import_open_expand(amg_import_work *w);
AMG_MUST_CHECK amg_status amg_import_open_tile(amg_import_work *w);
AMG_MUST_CHECK amg_status amg_import_open_concat(amg_import_work *w);
AMG_MUST_CHECK amg_status amg_import_open_reshape(amg_import_work *w);
AMG_MUST_CHECK amg_status amg_import_open_gather(amg_import_work *w);
AMG_MUST_CHECK amg_status amg_import_open_counts(amg_import_work *w);
/* Notes of an output of the node at hand whether, in a dim of several times the batch,
 * something is in front of the batch: [5,N,64] as [5*N,64]. */
AMG_MUST_CHECK amg_status amg_import_note_front(amg_import_work *w, int value);
AMG_MUST_CHECK amg_status amg_import_open_rows(amg_import *im, const char *name,
                                               const amg_tensor *t, amg_param_said said,
                                               int *value, amg_error *err);

/* Reads a node's attributes into the arena, with room for one more; *num counts those
 * read so far, also after an error. Tensors may be owned: amg_tensor_clear. Subgraphs
 * are refused. onnx_attrs.c */
AMG_MUST_CHECK amg_status amg_import_attrs(amg_import *im, const Onnx__NodeProto *proto,
                                           const char *where, amg_attr **attrs,
                                           int *num, amg_error *err);
/* Each attribute must be one that ONNX gives the operator, of its type: a misspelt or
 * outdated one would otherwise be passed over in silence. */
AMG_MUST_CHECK amg_status amg_import_check_attrs(amg_op op, const amg_attr *attrs,
                                                 int num, const char *where,
                                                 amg_error *err);

/* Adds an initializer with what is said of it; refuses float types that do not train.
 * onnx_import.c */
AMG_MUST_CHECK amg_status amg_import_param(amg_import *im, const char *name,
                                           const amg_tensor *t, amg_param_said said,
                                           int *value, amg_error *err);

/* Writes the pads of a convolution or pool out (onnx_window.c): n is the node as read,
 * attrs its attributes, with room for one more. */
AMG_MUST_CHECK amg_status amg_import_window(amg_import *im, const amg_node *n,
                                            amg_attr *attrs, int *num, amg_error *err);

#endif
