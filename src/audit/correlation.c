/* Correlations of all pairs of positions, of which each position's largest are kept.
 * With the columns z of the rows brought to mean 0 and length 1 the matrix is z^T z:
 *
 *            positions ->
 *          +---------------+
 *          | \  block of rows, from its diagonal on: one product
 *          |   +-----------+     within a row:     neighbours of the row's position
 *          |   |   |       |     within a column:  neighbours of the column's, for
 *          |   +-----------+                       columns right of the block
 *          +---------------+
 *
 * so that each pair is computed once. Cost: num_rows * positions^2 / 2 multiply-adds of
 * sgemm, 3e11 for 4096 rows of 12,288 positions. */
#include "audit/correlation.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "engine/dnnl.h"

#define DEFAULT_ROWS 4096
#define BLOCK_ROWS 512 /* of the matrix, between two reports of progress */
#define BLOCK_BYTES ((int64_t)256 << 20)
#define MAX_TOKENS (1 << 24)

/* ---- numbers from evidence ---- */

typedef struct {
    int64_t uses;
    int32_t token;
} token_uses;

static int by_uses(const void *a, const void *b)
{
    const token_uses *x = a, *y = b;
    if (x->uses != y->uses) return x->uses > y->uses ? -1 : 1;
    return (x->token > y->token) - (x->token < y->token);
}

/* Of each token what stands for it: the logarithm of its rank by frequency, the most
 * frequent 0. *out stays NULL where the numbers are no tokens of a vocabulary, negative
 * or larger than any: they stand for themselves. */
static amg_status number_tokens(const amg_evidence *e, int64_t num_rows, float **out,
                                amg_error *err)
{
    const int32_t *x = (const int32_t *)e->x;
    const int64_t n = num_rows * e->num_positions;
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) {
        if (x[i] < 0 || x[i] >= MAX_TOKENS) return AMG_OK;
        if (x[i] >= count) count = (int64_t)x[i] + 1;
    }
    token_uses *uses = amg_calloc((size_t)count, sizeof *uses);
    float *numbers = amg_calloc((size_t)count, sizeof *numbers);
    if (!uses || !numbers) {
        amg_free(uses);
        amg_free(numbers);
        return amg_fail(err, AMG_NO_MEMORY, -1, "correlation",
                        "no memory for %lld tokens", (long long)count);
    }
    for (int64_t t = 0; t < count; t++) uses[t].token = (int32_t)t;
    for (int64_t i = 0; i < n; i++) uses[x[i]].uses++;
    qsort(uses, (size_t)count, sizeof *uses, by_uses);
    for (int64_t r = 0; r < count; r++) numbers[uses[r].token] = logf((float)r + 1);
    amg_free(uses);
    *out = numbers;
    return AMG_OK;
}

/* ---- columns ---- */

typedef struct {
    const amg_evidence *e;
    int64_t num_rows;
    const float *token_number; /* NULL: values stand for themselves */
    float *z;                  /* [num_rows][num_positions] */
} columns;

enum { TILE = 256 }; /* columns at once: rows are walked in order */

static void read_tile(const columns *c, int64_t first, int n)
{
    const amg_evidence *e = c->e;
    for (int64_t row = 0; row < c->num_rows; row++) {
        float *z = c->z + row * e->num_positions + first;
        const int32_t *tokens = (const int32_t *)e->x + row * e->num_positions + first;
        for (int j = 0; j < n; j++)
            z[j] = c->token_number ? c->token_number[tokens[j]]
                                   : amg_evidence_value(e, row, first + j);
    }
}

/* Columns to mean 0 and length 1; a constant one becomes 0, and so does one that is not
 * finite. */
static void normalise_tile(const columns *c, int64_t first, int n)
{
    const int64_t step = c->e->num_positions;
    double mean[TILE] = {0}, scale[TILE] = {0};
    float *z = c->z + first;
    for (int64_t row = 0; row < c->num_rows; row++)
        for (int j = 0; j < n; j++) mean[j] += (double)z[row * step + j];
    for (int j = 0; j < n; j++) mean[j] /= (double)c->num_rows;
    for (int64_t row = 0; row < c->num_rows; row++)
        for (int j = 0; j < n; j++) {
            const double off = (double)z[row * step + j] - mean[j];
            scale[j] += off * off;
        }
    for (int j = 0; j < n; j++)
        scale[j] = scale[j] > 0 && isfinite(scale[j]) ? 1 / sqrt(scale[j]) : 0;
    for (int64_t row = 0; row < c->num_rows; row++)
        for (int j = 0; j < n; j++) {
            float *at = &z[row * step + j];
            *at = scale[j] > 0 ? (float)(((double)*at - mean[j]) * scale[j]) : 0.0f;
        }
}

static void make_columns(void *context, int64_t begin, int64_t end)
{
    const columns *c = context;
    for (int64_t first = begin; first < end; first += TILE) {
        const int n = end - first < TILE ? (int)(end - first) : TILE;
        read_tile(c, first, n);
        normalise_tile(c, first, n);
    }
}

/* ---- neighbours ---- */

/* Rows first .. first+rows-1 of the matrix, columns first .. n-1. */
typedef struct {
    amg_neighbours *out;
    int64_t first, rows;
    const float *corr; /* [rows][n - first] */
} block;

/* Lists are filled up with NaN at first, to which every number is preferred; equal ones
 * stay in the order of their coming. */
static void offer(amg_neighbours *out, int64_t position, int64_t other, float corr)
{
    float *list = out->corr + position * out->top;
    int32_t *index = out->index + position * out->top;
    int at = out->top;
    for (; at > 0 && !(fabsf(corr) <= fabsf(list[at - 1])); at--) {
        if (at == out->top) continue;
        list[at] = list[at - 1];
        index[at] = index[at - 1];
    }
    if (at == out->top) return;
    list[at] = corr;
    index[at] = (int32_t)other;
}

static void scan_rows(void *context, int64_t begin, int64_t end)
{
    const block *b = context;
    const int64_t width = b->out->n - b->first;
    for (int64_t i = begin; i < end; i++)
        for (int64_t j = 0; j < width; j++)
            if (j != i)
                offer(b->out, b->first + i, b->first + j, b->corr[i * width + j]);
}

static void scan_columns(void *context, int64_t begin, int64_t end)
{
    const block *b = context;
    const int64_t width = b->out->n - b->first;
    for (int64_t i = 0; i < b->rows; i++)
        for (int64_t j = b->rows + begin; j < b->rows + end; j++)
            offer(b->out, b->first + j, b->first + i, b->corr[i * width + j]);
}

/* The matrix, block by block, into lists that are there. z: normalised columns. */
static amg_status scan_matrix(const float *z, int64_t num_rows, int64_t block_rows,
                              float *corr, const amg_progress *progress,
                              amg_neighbours *out, amg_error *err)
{
    const int64_t n = out->n;
    for (int64_t first = 0; first < n; first += block_rows) {
        const int64_t rows = n - first < block_rows ? n - first : block_rows;
        const int64_t width = n - first;
        const amg_status st = amg_tick(progress, "correlation", first, n, err);
        if (st) return st;
        amg_dnnl_gemm(true, false, rows, width, num_rows, z + first, n, z + first, n, 0,
                      corr, width);
        if (isnan(corr[0]))
            return amg_fail(err, AMG_BACKEND, -1, "correlation",
                            "the product of %lld x %lld failed", (long long)rows,
                            (long long)width);
        block b = {.out = out, .first = first, .rows = rows, .corr = corr};
        amg_parallel_for(rows, 16, scan_rows, &b);
        amg_parallel_for(width - rows, 64, scan_columns, &b);
    }
    return AMG_OK;
}

static int64_t block_height(int64_t n)
{
    const int64_t fitting = BLOCK_BYTES / (int64_t)sizeof(float) / n;
    const int64_t rows = fitting < BLOCK_ROWS ? fitting : BLOCK_ROWS;
    return rows < 1 ? 1 : rows < n ? rows : n;
}

amg_status amg_neighbours_find(const amg_evidence *e, int64_t num_rows, int top,
                               const amg_progress *progress, amg_neighbours *out,
                               amg_error *err)
{
    const int64_t n = e->num_positions, height = block_height(n);
    if (num_rows <= 0) num_rows = DEFAULT_ROWS;
    if (num_rows > e->num_rows) num_rows = e->num_rows;
    if (top > n - 1) top = (int)(n - 1);
    amg_neighbours found = {.n = n, .top = top};
    columns c = {.e = e, .num_rows = num_rows};
    float *corr = NULL, *tokens = NULL;
    amg_status st = e->is_tokens ? number_tokens(e, num_rows, &tokens, err) : AMG_OK;
    if (st) return st;
    c.token_number = tokens;
    c.z = amg_alloc_aligned((size_t)num_rows * (size_t)n * sizeof *c.z);
    corr = amg_alloc_aligned((size_t)height * (size_t)n * sizeof *corr);
    found.index = amg_calloc((size_t)n, (size_t)top * sizeof *found.index);
    found.corr = amg_calloc((size_t)n, (size_t)top * sizeof *found.corr);
    if (!c.z || !corr || !found.index || !found.corr) {
        st = amg_fail(err, AMG_NO_MEMORY, -1, "correlation",
                      "no memory for %lld rows of %lld positions", (long long)num_rows,
                      (long long)n);
        goto done;
    }
    for (int64_t i = 0; i < n * top; i++) found.corr[i] = NAN;
    amg_parallel_for(n, TILE, make_columns, &c);
    st = scan_matrix(c.z, num_rows, height, corr, progress, &found, err);
done:
    amg_free_aligned(corr);
    amg_free_aligned(c.z);
    amg_free(tokens);
    if (st)
        amg_neighbours_clear(&found);
    else
        *out = found;
    return st;
}

void amg_neighbours_clear(amg_neighbours *n)
{
    amg_free(n->index);
    amg_free(n->corr);
    *n = (amg_neighbours){0};
}
