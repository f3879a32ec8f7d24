/* Walks over row-major memory with a stride per dim, for kernels that move or sum:
 * element i of a box of dims (row-major) stands at
 *
 *     base + index[0] * stride[0] + … + index[rank-1] * stride[rank-1]
 *
 * in other memory. A stride of 0 repeats, a negative one turns round. Knows nothing of
 * plans. All functions give the same result for any number of threads. */
#ifndef AMG_ENGINE_WALK_H
#define AMG_ENGINE_WALK_H

#include <stddef.h>
#include <stdint.h>

#define AMG_WALK_RANK 16 /* twice AMG_MAX_RANK: Tile splits every dim in two */

typedef struct {
    int rank;
    int64_t dims[AMG_WALK_RANK], stride[AMG_WALK_RANK];
    int64_t base, count;
} amg_walk;

/* Joins dims that follow each other in memory, so that the innermost runs are long.
 * rank: at most AMG_WALK_RANK; rank 0 is one element. */
void amg_walk_init(amg_walk *w, int rank, const int64_t *dims, const int64_t *stride,
                   int64_t base);
/* Row-major strides of dims. */
void amg_walk_strides(int rank, const int64_t *dims, int64_t *stride);
int64_t amg_walk_at(const amg_walk *w, int64_t i);
/* Strides for reading row-major memory of dims as if broadcast to y_dims, and the dims
 * of those along which it repeats, a bit each. */
unsigned amg_walk_broadcast(int rank, const int64_t *dims, int y_rank,
                            const int64_t *y_dims, int64_t *stride);

/* dst[i] = src[at(i)], elements of size bytes. */
void amg_walk_gather(const amg_walk *w, size_t size, void *dst, const void *src);
/* dst[at(i)] = src[i]; no two elements may stand at one place. */
void amg_walk_scatter(const amg_walk *w, size_t size, void *dst, const void *src);
/* dst[i] = src[at(i)] * scale. */
void amg_walk_scale(const amg_walk *w, float scale, float *dst, const float *src);

/* Sums over some dims of row-major memory: dst[i] is scale times the sum of src[kept(i)
 * + summed(j)] over all j in order, in double. */
typedef struct {
    amg_walk kept, summed;
    double scale;
} amg_fold;
/* mask: a bit per dim that is summed over. */
void amg_fold_init(amg_fold *f, int rank, const int64_t *dims, unsigned mask,
                   double scale);
void amg_fold_run(const amg_fold *f, float *dst, const float *src);

#endif
