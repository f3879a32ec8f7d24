/* What the files of eval share: one node at work. Private to eval*.c. */
#ifndef AMG_GRAPH_EVAL_PRIVATE_H
#define AMG_GRAPH_EVAL_PRIVATE_H

#include "graph/eval.h"
#include "graph/eval_number.h"

/* One node at work. */
typedef struct {
    const amg_value *values;
    const amg_node *node;
    int which; /* output */
    amg_tensor *out;
} amg_eval;

/* Row-major strides in elements. */
void amg_eval_strides(const amg_tensor *t, int64_t *strides);

/* Whether c, computed from a and b, holds for every batch: one that went into it comes
 * out as a multiple of the batch or cancels out (N*8/N), and none equals a dim that may
 * be the batch. */
bool amg_eval_holds(amg_op op, amg_number a, amg_number b, amg_number c);

/* eval_axis.c: along axes, of whole numbers and doubles; of floats the engine's. */
bool amg_eval_reduce(const amg_eval *e);
bool amg_eval_cumulative(const amg_eval *e);
bool amg_eval_arg(const amg_eval *e);
bool amg_eval_gather_index(const amg_eval *e);

#endif
