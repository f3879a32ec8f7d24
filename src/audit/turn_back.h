/* Turning back: the rotation between two sets of blocks, by their statistics alone. */
#ifndef AMG_AUDIT_TURN_BACK_H
#define AMG_AUDIT_TURN_BACK_H

#include "audit/matching.h"

/* Blocks of n values of many images, and the axes along which blocks vary, the longest
 * first. */
typedef struct {
    int64_t n, blocks, across; /* blocks of an image, so many in a row */
    int64_t num;               /* images */
    float *rows;               /* [num][blocks][n]; owned */
    double *mean;              /* [n] of all blocks */
    double *axes;              /* [n][n] unit vectors */
    double *deviation;         /* [n] along each axis */
    double *skewness;          /* [n] */
    double length;             /* root of the sum of all variances */
} amg_blocks;

/* Takes b->rows over, also on failure; b says the rest of what stands above it. The
 * only error is AMG_NO_MEMORY, as of all below. Free with amg_blocks_clear. */
AMG_MUST_CHECK amg_status amg_blocks_of(amg_blocks *b, amg_error *err);
void amg_blocks_clear(amg_blocks *b);

/* place[i] = the block of known images that block i of seen ones is taken for, by what
 * a rotation leaves alone: lengths and inner products. */
AMG_MUST_CHECK amg_status amg_blocks_match(const amg_blocks *seen,
                                           const amg_blocks *known, int32_t *place,
                                           amg_error *err);

/* The map from seen blocks to known ones, y -> shift + turn y, [n] and [n][n]: axes of
 * equal rank are taken for each other, with the signs that the means of blocks,
 * skewness and the covariances of neighbours (place: as above, NULL: blocks stand where
 * they stand) agree upon best; all is scaled to the known blocks' length. */
AMG_MUST_CHECK amg_status amg_turn_back(const amg_blocks *seen, const amg_blocks *known,
                                        const int32_t *place, double *turn,
                                        double *shift, amg_error *err);

#endif
