/* Eigenvectors that show how a graph falls apart. */
#ifndef AMG_AUDIT_SPECTRAL_H
#define AMG_AUDIT_SPECTRAL_H

#include <stdint.h>

#include "amalgam/status.h"
#include "base/rng.h"

/* A weighted graph without direction, each link in the rows of both its ends: row i has
 * index and weight [start[i] .. start[i + 1] - 1]. */
typedef struct {
    int64_t n;
    int64_t *start; /* [n + 1] */
    int32_t *index;
    float *weight; /* > 0 */
} amg_links;

/* The first count eigenvectors of the normalised Laplacian 1 - D^-1/2 W D^-1/2
 * (smallest eigenvalues first; so many of them are 0 as the graph has parts): vectors
 * [n][count]. Every node has a link. residual: the largest |L v - lambda v|; above 1e-3
 * they are not converged after all rounds, and of no use. */
AMG_MUST_CHECK amg_status amg_spectral_vectors(const amg_links *g, int count,
                                               amg_rng rng, double *vectors,
                                               double *residual, amg_error *err);

#endif
