/* Dropout whose draws count for several elements each: stochastic depth (one for each
 * sample), dropout of whole channels. The graph has it as one Dropout node, so that
 * evaluation leaves it out and training multiplies once; ONNX has no such operator, and
 * files have what exporters make of a mask of zeros and ones.
 *
 *   attribute  what
 *   axes       ascending, above 0: dims of the input along which one draw counts
 *   draw       how a module draws the mask in PyTorch, for emit/: see AMG_DRAW_…
 *   order      where the division by the share kept stands: see AMG_ORDER_…
 *
 * A Dropout with none of them is ONNX's. Private to graph/, engine/ and emit/. */
#ifndef AMG_GRAPH_DROP_MASK_H
#define AMG_GRAPH_DROP_MASK_H

#include "graph/graph.h"

#define AMG_DROP_AXES "axes"
#define AMG_DROP_DRAW "draw"
#define AMG_DROP_ORDER "order"

/* draw; absent: F.dropout of ones, divided by it. Comparisons are of torch.rand with
 * the share kept ("<", "<=") or dropped (">", ">="). */
#define AMG_DRAW_BERNOULLI "bernoulli" /* torch.empty(…).bernoulli_(keep) */
#define AMG_DRAW_SAMPLE "sample"       /* torch.bernoulli(torch.full(…, keep)) */
#define AMG_DRAW_FLOOR "floor"         /* (torch.rand(…) + keep).floor() */

/* order; with draw. */
#define AMG_ORDER_MASK "mask"     /* x * (mask / keep) */
#define AMG_ORDER_BEFORE "before" /* (x / keep) * mask */
#define AMG_ORDER_AFTER "after"   /* (x * mask) / keep */

/* Whether a Dropout node is ONNX's own, one draw for each element by F.dropout. */
bool amg_drop_is_plain(const amg_node *node);

/* Dims of the mask of a Dropout: its input's, 1 along the axes. */
void amg_drop_mask_dims(const amg_node *node, const amg_value *x, int64_t *dims);

/* Masks as files have them, of shapes that are known → Dropout nodes. *out NULL: there
 * is none. Parameters by view: g must outlive *out. */
AMG_MUST_CHECK amg_status amg_drop_masks_join(const amg_graph *g, amg_graph **out,
                                              amg_error *err);

/* AMG_UNSUPPORTED: random numbers that decide something else, so that their mean could
 * not stand for them in evaluation. */
AMG_MUST_CHECK amg_status amg_drop_masks_check(const amg_graph *g, amg_error *err);

/* Masks backwards, into operators that ONNX has:
 *
 *   x * Dropout(ones of [batch of x, the mask's other dims], ratio)
 */
AMG_MUST_CHECK amg_status amg_drop_masks_split(const amg_graph *g, amg_graph **out,
                                               amg_error *err);

#endif
