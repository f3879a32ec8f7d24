/* The token axis: whether a network that cuts images into patches treats all of them
 * alike, so that patches may change places, and which of its weights stand for a place.
 */
#ifndef AMG_GRAPH_TOKEN_AXIS_H
#define AMG_GRAPH_TOKEN_AXIS_H

#include "graph/input_columns.h"

#define AMG_MAX_POSITION_TABLES 8

/* A parameter with a row for each patch: […, rows, inner], as its elements lie. */
typedef struct {
    int param; /* value id */
    int64_t rows, inner;
    int64_t offset; /* the row of the first patch (a class token has the one ahead) */
} amg_position_table;

typedef struct {
    int64_t num_patches;
    int num_tables;
    amg_position_table tables[AMG_MAX_POSITION_TABLES];
} amg_patch_tokens;

/* Follows the patches of g, a folded network whose first layer is columns', from that
 * layer to where nothing of their order is left: a mean, a class token. Returns NULL
 * (then *out says what moves with patches), or why they cannot change places, for
 * people. dims: [C,H,W] of a sample. Does not look at weights' data. */
const char *amg_patch_tokens_find(const amg_graph *g, const amg_input_columns *columns,
                                  const int64_t dims[3], amg_patch_tokens *out);

/* in: the table, out (made by the caller, of the same shape): the row of patch p of in
 * is the row of patch map[p] of out; other rows stay. */
void amg_position_table_move(const amg_position_table *table, int64_t num_patches,
                             const int32_t *map, const amg_tensor *in, amg_tensor *out);

#endif
