/* Correlations between positions of augmented samples: for each position those with
 * which it goes together most. Blocks of a matrix product (oneDNN's sgemm), so the
 * whole matrix is never held. */
#ifndef AMG_AUDIT_CORRELATION_H
#define AMG_AUDIT_CORRELATION_H

#include "amalgam/progress.h"
#include "audit/evidence.h"

/* Of each of n positions the top others by |correlation|, largest first. */
typedef struct {
    int64_t n;
    int top;
    int32_t *index; /* [n][top] */
    float *corr;    /* [n][top], signed */
} amg_neighbours;

/* Over the first num_rows rows of the evidence (0: up to 4096). Constant positions
 * correlate with nothing (0). Memory: num_rows * positions * 4 bytes and a block of
 * rows of the matrix of at most 256 MiB. Tokens: of their frequency rank's logarithm.
 */
AMG_MUST_CHECK amg_status amg_neighbours_find(const amg_evidence *e, int64_t num_rows,
                                              int top, const amg_progress *progress,
                                              amg_neighbours *out, amg_error *err);
void amg_neighbours_clear(amg_neighbours *n); /* zeroed is fine */

#endif
