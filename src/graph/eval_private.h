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

/* eval_axis.c: along axes, of whole numbers and doubles; of floats the engine's. */
bool amg_eval_reduce(const amg_eval *e);
bool amg_eval_cum_sum(const amg_eval *e);
bool amg_eval_arg(const amg_eval *e);
bool amg_eval_gather_index(const amg_eval *e);

#endif
