/* See walk.h. One unit of parallel work is a row: a run along the innermost dim. */
#include "engine/walk.h"

#include <stdbool.h>
#include <string.h>

#include "base/parallel.h"

#define GRAIN 4096 /* elements: below this a thread costs more than it gains */
#define LANES 64   /* sums side by side */

void amg_walk_strides(int rank, const int64_t *dims, int64_t *stride)
{
    int64_t s = 1;
    for (int d = rank - 1; d >= 0; d--) {
        stride[d] = s;
        s *= dims[d];
    }
}

void amg_walk_init(amg_walk *w, int rank, const int64_t *dims, const int64_t *stride,
                   int64_t base)
{
    *w = (amg_walk){.base = base, .count = 1};
    for (int d = 0; d < rank; d++) {
        w->count *= dims[d];
        if (dims[d] == 1) continue;
        int last = w->rank - 1;
        if (last >= 0 && w->stride[last] == stride[d] * dims[d]) {
            w->dims[last] *= dims[d];
            w->stride[last] = stride[d];
        } else {
            w->dims[w->rank] = dims[d];
            w->stride[w->rank++] = stride[d];
        }
    }
    if (w->rank == 0) {
        w->rank = 1;
        w->dims[0] = w->stride[0] = 1;
    }
}

int64_t amg_walk_at(const amg_walk *w, int64_t i)
{
    int64_t at = w->base;
    for (int d = w->rank - 1; d > 0; d--) {
        at += i % w->dims[d] * w->stride[d];
        i /= w->dims[d];
    }
    return at + i * w->stride[0];
}

unsigned amg_walk_broadcast(int rank, const int64_t *dims, int y_rank,
                            const int64_t *y_dims, int64_t *stride)
{
    unsigned repeats = 0;
    int64_t next = 1;
    for (int d = y_rank - 1; d >= 0; d--) {
        const int from = d - (y_rank - rank);
        const int64_t dim = from < 0 ? 1 : dims[from];
        stride[d] = dim == 1 ? 0 : next;
        if (dim != y_dims[d]) repeats |= 1u << d;
        next *= dim;
    }
    return repeats;
}

/* ---- moving -----------------------------------------------------------------------
 */

typedef struct {
    const amg_walk *w;
    size_t size;
    char *dst;
    const char *src;
    float scale;
} context;

/* n elements, from every ss-th place to every ds-th. */
static void copy_row(char *dst, int64_t ds, const char *src, int64_t ss, int64_t n,
                     size_t size)
{
    if (ds == 1 && ss == 1) {
        memcpy(dst, src, (size_t)n * size);
    } else if (size == 4) {
        for (int64_t i = 0; i < n; i++) memcpy(dst + i * ds * 4, src + i * ss * 4, 4);
    } else {
        int64_t step = (int64_t)size;
        for (int64_t i = 0; i < n; i++)
            memcpy(dst + i * ds * step, src + i * ss * step, size);
    }
}

static void gather_rows(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const amg_walk *w = c->w;
    int64_t n = w->dims[w->rank - 1], size = (int64_t)c->size;
    for (int64_t r = begin; r < end; r++)
        copy_row(c->dst + r * n * size, 1, c->src + amg_walk_at(w, r * n) * size,
                 w->stride[w->rank - 1], n, c->size);
}

static void scatter_rows(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const amg_walk *w = c->w;
    int64_t n = w->dims[w->rank - 1], size = (int64_t)c->size;
    for (int64_t r = begin; r < end; r++)
        copy_row(c->dst + amg_walk_at(w, r * n) * size, w->stride[w->rank - 1],
                 c->src + r * n * size, 1, n, c->size);
}

static void scale_rows(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const amg_walk *w = c->w;
    int64_t n = w->dims[w->rank - 1], stride = w->stride[w->rank - 1];
    for (int64_t r = begin; r < end; r++) {
        float *dst = (float *)(void *)c->dst + r * n;
        const float *src = (const float *)(const void *)c->src + amg_walk_at(w, r * n);
        for (int64_t i = 0; i < n; i++) dst[i] = src[i * stride] * c->scale;
    }
}

static void for_rows(const context *c, amg_range_fn fn)
{
    int64_t n = c->w->dims[c->w->rank - 1];
    context mine = *c;
    if (c->w->count > 0) amg_parallel_for(c->w->count / n, GRAIN / n + 1, fn, &mine);
}

void amg_walk_gather(const amg_walk *w, size_t size, void *dst, const void *src)
{
    for_rows(&(context){w, size, dst, src, 1}, gather_rows);
}

void amg_walk_scatter(const amg_walk *w, size_t size, void *dst, const void *src)
{
    for_rows(&(context){w, size, dst, src, 1}, scatter_rows);
}

void amg_walk_scale(const amg_walk *w, float scale, float *dst, const float *src)
{
    for_rows(&(context){w, sizeof *dst, (char *)dst, (const char *)src, scale},
             scale_rows);
}

/* ---- summing ----------------------------------------------------------------------
 */

void amg_fold_init(amg_fold *f, int rank, const int64_t *dims, unsigned mask,
                   double scale)
{
    int64_t own[AMG_WALK_RANK], part[2][AMG_WALK_RANK], stride[2][AMG_WALK_RANK];
    int ranks[2] = {0, 0};
    amg_walk_strides(rank, dims, own);
    for (int d = 0; d < rank; d++) {
        int which = mask >> d & 1;
        part[which][ranks[which]] = dims[d];
        stride[which][ranks[which]++] = own[d];
    }
    amg_walk_init(&f->kept, ranks[0], part[0], stride[0], 0);
    amg_walk_init(&f->summed, ranks[1], part[1], stride[1], 0);
    f->scale = scale;
}

typedef struct {
    const amg_fold *f;
    float *dst;
    const float *src;
} fold_context;

/* width sums that stand side by side, from src on. */
static void sum_lanes(const amg_walk *summed, const float *src, int64_t width,
                      double *sums)
{
    int64_t n = summed->dims[summed->rank - 1];
    int64_t stride = summed->stride[summed->rank - 1];
    for (int64_t k = 0; k < width; k++) sums[k] = 0;
    for (int64_t i = 0; i < summed->count; i += n) {
        const float *x = src + amg_walk_at(summed, i);
        for (int64_t j = 0; j < n; j++, x += stride)
            for (int64_t k = 0; k < width; k++) sums[k] += (double)x[k];
    }
}

static void fold_range(void *arg, int64_t begin, int64_t end)
{
    const fold_context *c = arg;
    const amg_walk *kept = &c->f->kept;
    int64_t n = kept->dims[kept->rank - 1];
    bool side_by_side = kept->stride[kept->rank - 1] == 1;
    double sums[LANES];
    for (int64_t i = begin; i < end;) {
        int64_t width = side_by_side ? n - i % n : 1;
        if (width > LANES) width = LANES;
        if (width > end - i) width = end - i;
        sum_lanes(&c->f->summed, c->src + amg_walk_at(kept, i), width, sums);
        for (int64_t k = 0; k < width; k++)
            c->dst[i + k] = (float)(sums[k] * c->f->scale);
        i += width;
    }
}

void amg_fold_run(const amg_fold *f, float *dst, const float *src)
{
    fold_context c = {f, dst, src};
    amg_parallel_for(f->kept.count, GRAIN / (f->summed.count + 1) + 1, fold_range, &c);
}
