/* The canonical order of classes and tokens: why permuting them is exact.
 *
 * A job permutes the classes of each sub-network (the rows of its last layer, and its
 * labels) and its vocabulary (the rows of its embedding tables, and its tokens).
 * Mathematically nothing changes; but sums over classes (softmax, the gradient that
 * flows back) and over rows (the gradient's norm) then run in another order and round
 * differently. So every head is trained with its classes and tokens sorted by the bytes
 * of their INITIAL rows, which is the same order for the original and for any
 * permutation of it:
 *
 *     task's params --to_canonical--> plan --to_natural--> results, checkpoints
 *     label c, next token c           rank[c]
 *     token t looked up               row rank[t]
 *
 * A resumed run gets the same order, because a task always carries the initial weights.
 * A last layer that is also a table (tied weights) has one order for both, and so have
 * all tables of its network. Rows that cannot be told apart (two are equal), or that
 * the network uses in another way, stay in their natural order: then a permuted head is
 * only equal up to rounding. */
#ifndef AMG_ENGINE_CLASS_ORDER_H
#define AMG_ENGINE_CLASS_ORDER_H

#include "engine/params.h"
#include "engine/plan.h"
#include "graph/token_rows.h"

/* Rows of several parameters that move together. */
typedef struct {
    int num_items;
    int items[2 +
              AMG_MAX_TOKEN_TABLES];    /* indices of the parameters in an amg_params */
    int axis[2 + AMG_MAX_TOKEN_TABLES]; /* which dim of each counts rows */
    int32_t *rank;  /* row -> place in canonical order; NULL: natural order */
    int32_t *order; /* the inverse */
} amg_row_set;

/* A zeroed struct is valid: everything in its natural order. */
typedef struct {
    amg_row_set classes; /* with tied weights the tables, too */
    amg_row_set tokens;
    void *scratch; /* what permuting goes through: the largest parameter's bytes */
    amg_row_order lookups[AMG_MAX_TOKEN_TABLES]; /* for plans; names are the graph's */
    int num_lookups;
} amg_class_order;

/* g: what plans are made from; it stays borrowed. has_classes: the head's loss counts
 * classes. */
AMG_MUST_CHECK amg_status amg_class_order_init(const amg_graph *g, int output_index,
                                               bool has_classes,
                                               const amg_params *initial,
                                               amg_class_order *out, amg_error *err);
void amg_class_order_clear(amg_class_order *o);

/* Reorder the rows of set (the head's parameters, or anything amg_params_like made of
 * them) in place. Use o's scratch: one caller at a time. */
void amg_class_order_to_canonical(const amg_class_order *o, amg_params *set);
void amg_class_order_to_natural(const amg_class_order *o, amg_params *set);

/* A label as the trained head counts classes. */
static inline int32_t amg_class_order_label(const amg_class_order *o, int32_t label)
{
    return o->classes.rank ? o->classes.rank[label] : label;
}

#endif
