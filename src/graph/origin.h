/* Where trained weights come from: the elements of a folded graph's parameters, traced
 * to the initializers of the graph as read.
 *
 * Folding moves weights: an exporter slices, joins and transposes an LSTM's matrices in
 * the graph, and once that is folded, the joined matrix is what trains. Its elements
 * keep their homes, and an origin brings them there, so that a model comes back in the
 * form in which it was given. */
#ifndef AMG_GRAPH_ORIGIN_H
#define AMG_GRAPH_ORIGIN_H

#include "graph/rewrite.h"

typedef struct amg_origin amg_origin;

/* Traces source, the graph as read, whose weights may be absent (a key's graph). source
 * must outlive *out. AMG_UNSUPPORTED names the parameter and why it could not come
 * back: it is computed rather than moved, or one element of an initializer trains in
 * two places. Cost: two foldings, and 4 bytes for each element that folding moves. */
AMG_MUST_CHECK amg_status amg_origin_new(const amg_graph *source, amg_origin **out,
                                         amg_error *err);
void amg_origin_free(amg_origin *o);

/* The same check without the result. */
AMG_MUST_CHECK amg_status amg_graph_origin_check(const amg_graph *source,
                                                 amg_error *err);

/* source folded with the batch symbolic, as amg_graph_plan_batch folds it; trainables
 * and buffers are without data. Lives as long as o. */
const amg_graph *amg_origin_folded(const amg_origin *o);

/* Whether source's value, an initializer, gets trained data (a weight or running
 * statistics, or a part of one). */
bool amg_origin_is_home(const amg_origin *o, int value);

/* The model as read. */
const amg_graph *amg_origin_source(const amg_origin *o);
/* Sets homes, a flag per value of source: whether elements of folded's value, a weight
 * or running statistics, come from it. */
void amg_origin_find_homes(const amg_origin *o, int value, bool *homes);

/* source without the data that amg_origin_restore brings, by view: what a key keeps.
 * Constants stay, and homes of which only a part trains. */
AMG_MUST_CHECK amg_status amg_origin_strip(const amg_origin *o, amg_graph **out,
                                           amg_error *err);

/* A copy of source with trained data in its own initializers. get is asked for each
 * trainable and buffer of the folded graph (param is amg_origin_folded's value) and
 * gives a tensor of its shape, borrowed until return; NULL where source's own data are
 * to stay, AMG_INVALID if they are absent. */
AMG_MUST_CHECK amg_status amg_origin_restore(const amg_origin *o, amg_weight_fn get,
                                             void *context, amg_graph **out,
                                             amg_error *err);

/* Whether node only moves the elements of its input i: a path over such nodes leads
 * from an initializer to what trains. */
bool amg_origin_moves(const amg_node *node, int i);

#endif
