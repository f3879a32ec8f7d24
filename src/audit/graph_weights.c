/* Tensors of initial weights, measured: which laws explain them, whether they look like
 * independent draws at all, of what kind their numbers are. Constants and tensors below
 * MIN_COUNT numbers are not judged. */
#include "audit/graph_weights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

static const char attack[] = "graph";

enum { MIN_COUNT = 64, MAX_DISTINCT = 4096 };

/* ---- one tensor ---- */

/* Mean square of each row and of all, rows of zeros (padding) left out. */
typedef struct {
    int64_t rows, per_row;
    double n, m2, m4, zeros, row_squares; /* sum over rows of (row's mean square)^2 */
} sums;

static sums add_up(const amg_tensor *t)
{
    const float *x = t->data;
    sums s = {0};
    const int64_t rows = t->rank > 1 ? t->dims[0] : 1;
    s.per_row = amg_tensor_count(t) / rows;
    for (int64_t r = 0; r < rows; r++, x += s.per_row) {
        double m2 = 0, m4 = 0, zeros = 0;
        for (int64_t i = 0; i < s.per_row; i++) {
            const double sq = (double)x[i] * x[i];
            m2 += sq;
            m4 += sq * sq;
            zeros += x[i] == 0;
        }
        if (t->rank > 1 && m2 == 0) continue;
        s.rows++;
        s.n += (double)s.per_row;
        s.m2 += m2;
        s.m4 += m4;
        s.zeros += zeros;
        s.row_squares += m2 / (double)s.per_row * (m2 / (double)s.per_row);
    }
    return s;
}

/* Kurtosis of a uniform or a normal law within six standard errors (variances of the
 * sample's kurtosis: 1.32 / n and 24 / n), and rows whose mean squares scatter as those
 * of independent numbers do. */
static void judge(const sums *s, amg_weight_print *out)
{
    const double m2 = s->m2 / s->n, kurtosis = s->m4 / s->n / (m2 * m2);
    const double rows = (double)s->rows;
    const double scatter = s->row_squares / rows / (m2 * m2) - 1;
    const double expected = fmax(kurtosis - 1, .5) / (double)s->per_row;
    const double ratio = s->rows >= 8 ? scatter / expected : 1;
    const double error = sqrt((2 + 12 / (double)s->per_row) / rows);
    out->drawn = (fabs(kurtosis - 1.8) < 6 * sqrt(1.32 / s->n) ||
                  fabs(kurtosis - 3) < 6 * sqrt(24 / s->n)) &&
                 fabs(ratio - 1) < 6 * error + 6 * sqrt(24 / s->n);
    out->features[AMG_BY_DEVIATION] = sqrt(m2);
    out->features[AMG_BY_KURTOSIS] = kurtosis;
    out->features[AMG_BY_ROWS] = ratio;
    out->features[AMG_BY_ZEROS] = s->zeros / s->n;
}

static int compare_bits(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Numbers that end in eight zero bits (once stored in half the bits), or of which a
 * tenth repeat others of the first 4096: independent draws of 24 bits do neither. */
static bool is_coarse(const amg_tensor *t)
{
    uint32_t bits[MAX_DISTINCT], all = 0;
    const uint32_t *x = t->data;
    const int64_t count = amg_tensor_count(t);
    const int64_t n = count < MAX_DISTINCT ? count : MAX_DISTINCT;
    int64_t num = 0, repeats = 0;
    for (int64_t i = 0; i < n; i++) {
        all |= x[i];
        if (x[i]) bits[num++] = x[i];
    }
    qsort(bits, (size_t)num, sizeof *bits, compare_bits);
    for (int64_t i = 1; i < num; i++) repeats += bits[i] == bits[i - 1];
    return (all & 0xFF) == 0 || repeats * 10 > num;
}

static void print_tensor(const amg_tensor *t, amg_weight_print *out)
{
    if (out->fit.constant || amg_tensor_count(t) < MIN_COUNT) return;
    const sums s = add_up(t);
    if (s.n < MIN_COUNT) return;
    out->judged = true;
    out->bag = amg_print_bag(t->data, amg_tensor_count(t));
    out->coarse = is_coarse(t);
    judge(&s, out);
}

/* ---- all of them ---- */

void amg_weights_clear(amg_subnet_weights *prints, int num)
{
    for (int s = 0; prints && s < num; s++) amg_free(prints[s].items);
    amg_free(prints);
}

static amg_status print_subnet(const amg_graph_parts *p, int subnet, int *params,
                               uint8_t *mine, amg_init_fit *fits,
                               amg_subnet_weights *out, amg_error *err)
{
    const amg_graph *g = p->g;
    out->count = amg_graph_canonical_params(g, subnet, params);
    out->items = amg_calloc((size_t)out->count, sizeof *out->items);
    if (!out->items) return amg_fail(err, AMG_NO_MEMORY, -1, attack, "no memory");
    memset(mine, 0, (size_t)g->num_values);
    for (int i = 0; i < out->count; i++) mine[params[i]] = 1;
    amg_status st = amg_init_fit_find(g, mine, fits, err);
    for (int i = 0; i < out->count && !st; i++) {
        out->items[i] = (amg_weight_print){.value = params[i], .fit = fits[params[i]]};
        print_tensor(&g->values[params[i]].data, &out->items[i]);
    }
    return st;
}

amg_status amg_weights_print(const amg_graph_parts *p, amg_subnet_weights **out,
                             amg_error *err)
{
    const size_t values = (size_t)p->g->num_values;
    amg_subnet_weights *prints = amg_calloc((size_t)p->num, sizeof *prints);
    int *params = amg_calloc(values, sizeof *params);
    uint8_t *mine = amg_calloc(values, 1);
    amg_init_fit *fits = amg_calloc(values, sizeof *fits);
    amg_status st = AMG_OK;
    if (!prints || !params || !mine || !fits)
        st = amg_fail(err, AMG_NO_MEMORY, -1, attack, "no memory");
    for (int s = 0; s < p->num && !st; s++)
        st = print_subnet(p, s, params, mine, fits, &prints[s], err);
    amg_free(params);
    amg_free(mine);
    amg_free(fits);
    if (st)
        amg_weights_clear(prints, p->num);
    else
        *out = prints;
    return st;
}
