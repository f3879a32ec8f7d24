/* The canonical class order of a head: why a label permutation is exact.
 *
 * A job permutes the classes of each sub-network: the rows of its last layer, and its
 * labels. Mathematically nothing changes; but sums over classes (softmax, the gradient
 * that flows back) then run in another order and round differently. So every head is
 * trained with its classes sorted by the bytes of their INITIAL rows, which is the same
 * order for the original and for any permutation of it:
 *
 *     task's params --to_canonical--> plan --to_natural--> results, checkpoints
 *     label c                         rank[c]
 *
 * A resumed run gets the same order, because a task always carries the initial weights.
 * If two classes have equal rows (or the head has another form) classes stay in their
 * natural order, and a permuted head is only equal up to rounding. */
#ifndef AMG_ENGINE_CLASS_ORDER_H
#define AMG_ENGINE_CLASS_ORDER_H

#include "engine/params.h"

typedef struct {
    int num_items;
    int items[2];          /* indices of the class rows' parameters in an amg_params */
    int axis[2];           /* which dim of each counts classes */
    amg_tensor scratch[2]; /* same shapes: what permuting goes through */
    int32_t *rank;         /* class -> place in canonical order; NULL: natural order */
    int32_t *order;        /* the inverse */
} amg_class_order;

AMG_MUST_CHECK amg_status amg_class_order_init(const amg_graph *g, int output_index,
                                               const amg_params *initial,
                                               amg_class_order *out, amg_error *err);
void amg_class_order_clear(amg_class_order *o);

/* Reorder the class rows of set (the head's parameters, or anything amg_params_like
 * made of them) in place. Use o's scratch: one caller at a time. */
void amg_class_order_to_canonical(const amg_class_order *o, amg_params *set);
void amg_class_order_to_natural(const amg_class_order *o, amg_params *set);

/* A label as the trained head counts classes. */
static inline int32_t amg_class_order_label(const amg_class_order *o, int32_t label)
{
    return o->rank ? o->rank[label] : label;
}

#endif
