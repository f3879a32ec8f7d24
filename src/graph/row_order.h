/* Canonical order of rows, private to graph/: what class rows and token rows are sorted
 * by. */
#ifndef AMG_GRAPH_ROW_ORDER_H
#define AMG_GRAPH_ROW_ORDER_H

#include <stdbool.h>

#include "base/tensor.h"

/* Slices along one axis each of num_params tensors that all have num_rows of them:
 * order[r] = row at rank r when rows are sorted by their bytes, those of data[0] first.
 * A function of the set of rows, not of their numbering. false if two rows are equal
 * (then order is 0..n-1). order: num_rows entries. */
bool amg_row_order_canonical(int num_params, const amg_tensor *const *data,
                             const int *axis, int64_t num_rows, int32_t *order);

/* A tensor as [outer, dims[axis], inner]; inner in bytes. */
void amg_row_split(const amg_tensor *t, int axis, int64_t *outer, size_t *inner);

#endif
