/* A secret rotation: one orthogonal matrix that the values of a block are multiplied
 * by, and the weights that read them likewise, which changes no product of the two. */
#ifndef AMG_OBFUSCATE_ROTATION_H
#define AMG_OBFUSCATE_ROTATION_H

#include "key/secret.h"

#define AMG_MAX_ROTATED 1024 /* values of a block */

typedef struct {
    int64_t n;
    double *columns; /* [n][n] of the matrix Q, one behind the other */
} amg_rotation;

/* Q is uniform among all orthogonal matrices of n x n, n at most AMG_MAX_ROTATED: n^3
 * multiplications. docs/key.md has the law. The only errors are those of keystreams and
 * AMG_NO_MEMORY. */
AMG_MUST_CHECK amg_status amg_rotation_derive(const amg_secret *secret, int64_t n,
                                              amg_rotation **out, amg_error *err);
void amg_rotation_free(amg_rotation *r); /* wiped; NULL is fine */
/* Turns it around: Q becomes its transpose, which is its inverse. */
void amg_rotation_invert(amg_rotation *r);

/* out = Q v, both [n]. Thread-safe, as what follows. */
void amg_rotation_apply(const amg_rotation *r, const double *v, double *out);
/* Each block of a sample [C,H,W], all its channels together in raster order (channel,
 * row, column); n is dims[0] times the block. scratch: room for 2 n. */
void amg_rotation_apply_sample(const amg_rotation *r, const int64_t dims[3],
                               const int64_t block[2], const double *in,
                               double *scratch, float *out);

#endif
