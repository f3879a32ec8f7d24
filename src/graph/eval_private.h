/* What the files of eval share: one node at work, and elements as numbers. Private to
 * eval*.c. */
#ifndef AMG_GRAPH_EVAL_PRIVATE_H
#define AMG_GRAPH_EVAL_PRIVATE_H

#include "graph/eval.h"

/* One node at work. */
typedef struct {
    const amg_value *values;
    const amg_node *node;
    int which; /* output */
    amg_tensor *out;
} amg_eval;

/* An element of a type that Cast and arithmetic know. */
typedef struct {
    bool is_float;
    int64_t i;
    double f;
} amg_number;

bool amg_eval_load(const amg_tensor *t, int64_t at, amg_number *out);
/* false: a type it does not know, or a float that no such integer can hold. */
bool amg_eval_store(amg_tensor *t, int64_t at, amg_number v);
/* One elementwise operation; false: not computed. */
bool amg_eval_compute(amg_op op, amg_number a, amg_number b, amg_number *out);
/* Row-major strides in elements. */
void amg_eval_strides(const amg_tensor *t, int64_t *strides);

/* eval_axis.c: along axes, of whole numbers and doubles; of floats the engine's. */
bool amg_eval_reduce(const amg_eval *e);
bool amg_eval_cum_sum(const amg_eval *e);
bool amg_eval_arg(const amg_eval *e);

#endif
