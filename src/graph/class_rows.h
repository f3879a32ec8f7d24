/* Class rows: the parameters of a head whose rows are classes (weight and bias of the
 * last layer). Permuting classes permutes these rows and nothing else, which is what
 * makes a label permutation exact. */
#ifndef AMG_GRAPH_CLASS_ROWS_H
#define AMG_GRAPH_CLASS_ROWS_H

#include "graph/graph.h"

typedef struct {
    int num_params; /* 1 or 2 */
    int params[2];  /* value ids */
    int axis[2];    /* which dim of the parameter counts classes */
    int64_t num_classes;
    bool
        tied; /* params[0] is an embedding table, too: its rows may move only where it
                 is one of the sub-network's token rows, and tokens move with classes */
} amg_class_rows;

/* Looks at output output_index: Gemm, or MatMul, or MatMul then Add, with a 2-d weight
 * that nothing else uses (but a Gather along axis 0: tied to an embedding table),
 * giving [batch, classes], or a Reshape of that to [batch, positions, classes]. false:
 * the head has another form and its classes must not be permuted. */
bool amg_class_rows_find(const amg_graph *g, int output_index, amg_class_rows *out);

/* out's slice map[c] along axis = in's slice c. Same shape, any dtype, not in place. */
void amg_class_rows_permute(const amg_tensor *in, int axis, const int32_t *map,
                            amg_tensor *out);

/* The canonical order: order[r] = class at rank r when classes are sorted by the bytes
 * of their rows (params' data, weight first). A function of the set of rows, not of
 * their order, so the engine trains a permuted head with the same arithmetic as the
 * original. false if two classes have equal rows (then order is 0..n-1 and nothing may
 * rely on it). data[i]: tensor of params[i]. order: num_classes entries. */
bool amg_class_rows_canonical(const amg_class_rows *rows,
                              const amg_tensor *const data[2], int32_t *order);

#endif
