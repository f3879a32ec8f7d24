/* Input columns: the weights that read a sample's values, where a network begins with a
 * layer that weighs them all, or block by block, and does nothing else with them. */
#ifndef AMG_GRAPH_INPUT_COLUMNS_H
#define AMG_GRAPH_INPUT_COLUMNS_H

#include "graph/graph.h"

/* A column is one value of a block, in the block's raster order (channel, row, column).
 */
typedef struct {
    int param;          /* value id: [out, columns …], or with first [columns, out] */
    bool first;         /* columns are the first dim, else all others */
    int64_t channels;   /* of a sample */
    int64_t block[2];   /* height and width of what a row of the weights weighs: */
    int64_t num_values; /* … the columns, channels times both */
} amg_input_columns;

/* For a network with one input of samples of dims [C,H,W], folded
 * (amg_graph_plan_batch): a dense layer (Gemm, MatMul) behind nothing but reshaping,
 * whose block is the sample, or a convolution whose kernel is its stride, as a vision
 * transformer has. Returns NULL, or why the values cannot change places, for people. */
const char *amg_input_columns_find(const amg_graph *g, const int64_t dims[3],
                                   amg_input_columns *out);

/* in: the weights, out (made by the caller, of the same shape): column c of in is
 * column map[c] of out. */
void amg_input_columns_move(const amg_input_columns *columns, const int32_t *map,
                            const amg_tensor *in, amg_tensor *out);

#endif
