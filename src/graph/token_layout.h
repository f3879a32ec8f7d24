/* Layouts: what the dims of a value are made of while it holds something of each patch
 * of an image; private to graph/token_axis.c. A dim is a product of factors, the
 * slowest first: [N,T,C] reshaped to [N*T,C] has a first dim of two factors, and
 * reshaped back they come apart again. */
#ifndef AMG_GRAPH_TOKEN_LAYOUT_H
#define AMG_GRAPH_TOKEN_LAYOUT_H

#include "graph/graph.h"

#define AMG_MAX_FACTORS 6 /* of a dim */

typedef enum {
    AMG_FACTOR_PLAIN,
    AMG_FACTOR_BATCH,   /* so many times the batch */
    AMG_FACTOR_PATCHES, /* all of them, in raster order, and other rows around them */
    AMG_FACTOR_ROWS,    /* of the grid of patches: before both become one factor */
    AMG_FACTOR_COLUMNS
} amg_factor_kind;

typedef struct {
    amg_factor_kind kind;
    int64_t size;          /* ahead and behind included */
    int64_t ahead, behind; /* of patches: rows that are none (a class token) */
} amg_factor;

typedef struct {
    int num; /* 0: the dim is 1 */
    amg_factor factors[AMG_MAX_FACTORS];
} amg_token_dim;

typedef struct {
    int rank;
    amg_token_dim dims[AMG_MAX_RANK];
} amg_token_layout;

/* A dim without patches, as values have it. */
amg_token_dim amg_token_dim_plain(int64_t dim);
bool amg_token_dim_holds(const amg_token_dim *d); /* patches, or a side of their grid */
bool amg_token_dim_holds_side(const amg_token_dim *d);
/* Whether patches are all that d is made of: one factor. */
bool amg_token_dim_is_patches(const amg_token_dim *d);
bool amg_token_dim_equal(const amg_token_dim *a, const amg_token_dim *b);
/* Elements start .. start + length - 1 of d, which holds patches: d becomes all of the
 * patches with fewer rows around them, or plain. false: some patches without others. */
bool amg_token_dim_cut(amg_token_dim *d, int64_t start, int64_t length);

bool amg_token_layout_holds(const amg_token_layout *l);
/* Whether dims (a bit each) hold one side of the grid of patches without the other. */
bool amg_token_layout_splits_grid(const amg_token_layout *l, unsigned dims);
/* The same elements in the same order with other dims; the grid's sides become patches
 * where they meet in a dim. false: patches would come apart. */
bool amg_token_layout_reshape(const amg_token_layout *in, int rank, const int64_t *dims,
                              amg_token_layout *out);

#endif
