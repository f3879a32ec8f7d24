/* Matching of variables by their statistics (see the header). Consumes rows of numbers;
 * knows nothing of images or jobs. */
#include "audit/matching.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/parallel.h"
#include "base/rng.h"
#include "base/vector.h"

enum { QUANTILES = 24, MOMENTS = 3, FEATURES = QUANTILES + MOMENTS };
#define MAX_STEPS 30
#define STEP_BUDGET 3e10 /* multiplications of all steps together */
#define START_BUDGET 3e9 /* of all starts but the first */
#define MAX_STARTS 64

static amg_status no_memory(amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, "symmetry", "no memory for the matching");
}

/* ---- statistics ---- */

void amg_variable_stats_clear(amg_variable_stats *s)
{
    amg_free(s->moments);
    amg_free(s->corr);
    *s = (amg_variable_stats){0};
}

static void take_moments(const float *rows, int64_t num, int64_t n, int64_t v,
                         double m[MOMENTS])
{
    double sum = 0, square = 0, cube = 0;
    for (int64_t r = 0; r < num; r++) sum += (double)rows[r * n + v];
    const double mean = sum / (double)num;
    for (int64_t r = 0; r < num; r++) {
        const double d = (double)rows[r * n + v] - mean;
        square += d * d;
        cube += d * d * d;
    }
    const double deviation = sqrt(square / (double)num);
    m[0] = mean;
    m[1] = deviation;
    m[2] = deviation > 0 ? cube / (double)num / pow(deviation, 3) : 0;
}

/* Rows begin .. end-1 of the correlations, from standardised data turned around: z
 * [n][num]. */
typedef struct {
    const float *z;
    int64_t num, n;
    float *corr;
} correlating;

AMG_VECTOR static float dot(const float *a, const float *b, int64_t n)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static void correlate(void *context, int64_t begin, int64_t end)
{
    const correlating *c = context;
    for (int64_t i = begin; i < end; i++)
        for (int64_t j = 0; j < c->n; j++)
            c->corr[i * c->n + j] =
                dot(c->z + i * c->num, c->z + j * c->num, c->num) / (float)c->num;
}

amg_status amg_variable_stats_of(const float *rows, int64_t num, int64_t n,
                                 int64_t group, amg_variable_stats *out, amg_error *err)
{
    amg_variable_stats s = {.n = n, .group = group, .num = num};
    float *z = amg_malloc((size_t)(n * num) * sizeof *z);
    s.moments = amg_malloc((size_t)(n * MOMENTS) * sizeof *s.moments);
    s.corr = amg_malloc((size_t)(n * n) * sizeof *s.corr);
    if (!z || !s.moments || !s.corr) {
        amg_free(z);
        amg_variable_stats_clear(&s);
        return no_memory(err);
    }
    for (int64_t v = 0; v < n; v++) {
        double *m = s.moments + v * MOMENTS;
        take_moments(rows, num, n, v, m);
        for (int64_t r = 0; r < num; r++)
            z[v * num + r] =
                m[1] > 0 ? (float)(((double)rows[r * n + v] - m[0]) / m[1]) : 0;
    }
    correlating c = {z, num, n, s.corr};
    amg_parallel_for(n, 4, correlate, &c);
    amg_free(z);
    *out = s;
    return AMG_OK;
}

/* ---- assignment ---- */

amg_status amg_assign(const double *cost, int64_t n, int32_t *column_of, amg_error *err)
{
    /* Columns and rows from 1 on; 0 is none. owner[c]: row that has the column. */
    const size_t room = (size_t)n + 1;
    double *row_price = amg_calloc(room, sizeof *row_price);
    double *column_price = amg_calloc(room, sizeof *column_price);
    double *least = amg_malloc(room * sizeof *least);
    int64_t *owner = amg_calloc(room, sizeof *owner);
    int64_t *from = amg_calloc(room, sizeof *from);
    uint8_t *seen = amg_malloc(room);
    const bool ok = row_price && column_price && least && owner && from && seen;
    for (int64_t row = 1; ok && row <= n; row++) {
        int64_t at = 0;
        owner[0] = row;
        for (int64_t c = 0; c <= n; c++) least[c] = HUGE_VAL;
        memset(seen, 0, room);
        do {
            const int64_t r = owner[at];
            double step = HUGE_VAL;
            int64_t next = 0;
            seen[at] = 1;
            for (int64_t c = 1; c <= n; c++) {
                if (seen[c]) continue;
                const double reduced =
                    cost[(r - 1) * n + c - 1] - row_price[r] - column_price[c];
                if (reduced < least[c]) {
                    least[c] = reduced;
                    from[c] = at;
                }
                if (least[c] < step) {
                    step = least[c];
                    next = c;
                }
            }
            for (int64_t c = 0; c <= n; c++) {
                if (seen[c]) {
                    row_price[owner[c]] += step;
                    column_price[c] -= step;
                } else {
                    least[c] -= step;
                }
            }
            at = next;
        } while (owner[at]);
        for (; at; at = from[at]) owner[at] = owner[from[at]];
    }
    for (int64_t c = 1; ok && c <= n; c++) column_of[owner[c] - 1] = (int32_t)(c - 1);
    amg_free(row_price);
    amg_free(column_price);
    amg_free(least);
    amg_free(owner);
    amg_free(from);
    amg_free(seen);
    return ok ? AMG_OK : no_memory(err);
}

/* ---- profiles ---- */

static int compare_floats(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Makes one feature of each group's variables comparable: mean 0, deviation 1; less
 * where they differ by little more than chance, error, would make them. */
static void standardise(double *features, int64_t first, int64_t group, int f,
                        double error)
{
    double sum = 0, square = 0;
    for (int64_t v = first; v < first + group; v++) {
        const double x = features[v * FEATURES + f];
        sum += x;
        square += x * x;
    }
    const double mean = sum / (double)group;
    const double spread = sqrt(fmax(0, square / (double)group - mean * mean));
    const double unit = fmax(spread, 5 * error);
    for (int64_t v = first; v < first + group; v++)
        features[v * FEATURES + f] =
            unit > 1e-12 ? (features[v * FEATURES + f] - mean) / unit : 0;
}

/* [n][FEATURES]; sorted: room for n. */
static void make_profiles(const amg_variable_stats *s, float *sorted, double *out)
{
    for (int64_t v = 0; v < s->n; v++) {
        double *p = out + v * FEATURES;
        memcpy(sorted, s->corr + v * s->n, (size_t)s->n * sizeof *sorted);
        qsort(sorted, (size_t)s->n, sizeof *sorted, compare_floats);
        for (int q = 0; q < QUANTILES; q++)
            p[q] = (double)sorted[q * (s->n - 1) / (QUANTILES - 1)];
        memcpy(p + QUANTILES, s->moments + v * MOMENTS, MOMENTS * sizeof *p);
    }
    const double root = sqrt((double)s->num);
    for (int64_t first = 0; first < s->n; first += s->group) {
        double deviation = 0;
        for (int64_t v = first; v < first + s->group; v++)
            deviation += s->moments[v * MOMENTS + 1] / (double)s->group;
        const double errors[MOMENTS] = {deviation / root, deviation / (sqrt(2) * root),
                                        sqrt(6) / root};
        for (int f = 0; f < FEATURES; f++)
            standardise(out, first, s->group, f,
                        f < QUANTILES ? 1 / root : errors[f - QUANTILES]);
    }
}

/* A moment says as much as all of the correlations. */
static double distance(const double *a, const double *b)
{
    double sum = 0;
    for (int f = 0; f < FEATURES; f++) {
        const double d = a[f] - b[f];
        sum += d * d * (f < QUANTILES ? 1.0 / QUANTILES : 1.0);
    }
    return sum;
}

/* The part of it that moments have. */
static double moment_distance(const double *a, const double *b)
{
    double sum = 0;
    for (int f = QUANTILES; f < FEATURES; f++) sum += (a[f] - b[f]) * (a[f] - b[f]);
    return sum;
}

/* ---- what is searched ---- */

/* Room for the search, and what it is about. */
typedef struct {
    const amg_variable_stats *a, *b;
    double *own, *other; /* profiles */
    float *sorted;
    bool alike;    /* groups are matched in the same way */
    double *cost;  /* [group][group] */
    int64_t first; /* of the group whose costs are made */
    int32_t *match, *next, *column, *best;
    int64_t *places; /* [group] */
} search;

/* Groups that are matched in the same way, of which the costs add up. */
static int64_t num_alike(const search *s)
{
    return s->alike ? s->a->n / s->a->group : 1;
}

static double apart(const search *s, int64_t i, int64_t j)
{
    return moment_distance(s->own + i * FEATURES, s->other + j * FEATURES);
}

/* What is to be large: correlations agree, moments are near. */
static double merit(const search *s, const int32_t *match)
{
    const int64_t n = s->a->n;
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum -= apart(s, i, match[i]);
        for (int64_t k = 0; k < n; k++)
            sum += (double)s->a->corr[i * n + k] *
                   (double)s->b->corr[match[i] * n + match[k]];
    }
    return sum;
}

/* ---- steps: all at once ---- */

AMG_VECTOR static void add_row(const float *row, double weight, int64_t group,
                               double *out)
{
    for (int64_t j = 0; j < group; j++) out[j] -= weight * (double)row[j];
}

/* What it costs to take j for i while all others stay as they are matched. */
static void cost_rows(void *context, int64_t begin, int64_t end)
{
    const search *s = context;
    const int64_t n = s->a->n, group = s->a->group;
    for (int64_t i = begin; i < end; i++) {
        double *out = s->cost + i * group;
        const float *own = s->a->corr + (s->first + i) * n;
        for (int64_t j = 0; j < group; j++)
            out[j] += apart(s, s->first + i, s->first + j);
        for (int64_t k = 0; k < n; k++)
            add_row(s->b->corr + s->match[k] * n + s->first, 2 * (double)own[k], group,
                    out);
    }
}

/* Assigns the groups from first on whose costs have been added up. */
static amg_status assign_groups(search *s, int64_t first, int32_t *match,
                                amg_error *err)
{
    const int64_t group = s->a->group, past = first + num_alike(s) * group;
    const amg_status st = amg_assign(s->cost, group, s->column, err);
    for (int64_t i = first; i < past && !st; i++)
        match[i] = (int32_t)(i / group * group) + s->column[i % group];
    return st;
}

static amg_status step(search *s, amg_error *err)
{
    const int64_t group = s->a->group, together = num_alike(s) * group;
    amg_status st = AMG_OK;
    for (int64_t first = 0; first < s->a->n && !st; first += together) {
        memset(s->cost, 0, (size_t)(group * group) * sizeof *s->cost);
        for (s->first = first; s->first < first + together; s->first += group)
            amg_parallel_for(group, 1, cost_rows, s);
        st = assign_groups(s, first, s->next, err);
    }
    return st;
}

/* ---- exchanges: two at a time ---- */

/* What merit gains if i and j exchange their matches. */
static double exchange_gain(const search *s, int64_t i, int64_t j)
{
    const int64_t n = s->a->n, p = s->match[i], q = s->match[j];
    const float *own_i = s->a->corr + i * n, *own_j = s->a->corr + j * n;
    const float *to_p = s->b->corr + p * n, *to_q = s->b->corr + q * n;
    double sum = 0;
    for (int64_t k = 0; k < n; k++) {
        const int32_t m = s->match[k];
        if (k != i && k != j)
            sum += 2 * (double)(own_i[k] - own_j[k]) * (double)(to_q[m] - to_p[m]);
    }
    sum += (double)(own_i[i] - own_j[j]) * (double)(to_q[q] - to_p[p]);
    return sum + apart(s, i, p) + apart(s, j, q) - apart(s, i, q) - apart(s, j, p);
}

static void swap(search *s, int64_t i, int64_t j)
{
    const int32_t held = s->match[i];
    s->match[i] = s->match[j];
    s->match[j] = held;
}

/* Exchanges the matches of i and j, and of those that stand where they do in groups
 * that are matched alike, if merit gains by it. */
static bool try_exchange(search *s, int64_t i, int64_t j)
{
    const int64_t group = s->a->group, num = num_alike(s);
    double gain = 0;
    for (int64_t g = 0; g < num; g++) {
        gain += exchange_gain(s, i + g * group, j + g * group);
        swap(s, i + g * group, j + g * group);
    }
    if (gain >= 1e-4) return true;
    for (int64_t g = 0; g < num; g++) swap(s, i + g * group, j + g * group);
    return false;
}

/* Exchanges whatever gains, pass by pass, until nothing does. */
static void exchange(search *s)
{
    const int64_t n = s->a->n, group = s->a->group;
    const int64_t past = s->alike ? group : n;
    const double cost = (double)n * (double)group * (double)n / 2;
    bool better = true;
    for (int pass = 0; better && pass < MAX_STEPS && (pass + 1) * cost < STEP_BUDGET;
         pass++) {
        better = false;
        for (int64_t i = 0; i < past; i++)
            for (int64_t j = i + 1; j < (i / group + 1) * group; j++)
                better = try_exchange(s, i, j) || better;
    }
}

/* ---- the whole ---- */

static amg_status match_profiles(search *s, amg_error *err)
{
    const int64_t group = s->a->group, together = num_alike(s) * group;
    amg_status st = AMG_OK;
    make_profiles(s->a, s->sorted, s->own);
    make_profiles(s->b, s->sorted, s->other);
    for (int64_t first = 0; first < s->a->n && !st; first += together) {
        memset(s->cost, 0, (size_t)(group * group) * sizeof *s->cost);
        for (int64_t i = first; i < first + together; i++)
            for (int64_t j = i / group * group; j < (i / group + 1) * group; j++)
                s->cost[i % group * group + j % group] +=
                    distance(s->own + i * FEATURES, s->other + j * FEATURES);
        st = assign_groups(s, first, s->match, err);
    }
    return st;
}

/* From where match stands to where nothing gains. */
static amg_status climb(search *s, double *reached, amg_error *err)
{
    const size_t n = (size_t)s->a->n;
    const double cost = (double)s->a->n * (double)s->a->n * (double)s->a->group;
    amg_status st = AMG_OK;
    double best = merit(s, s->match);
    for (int i = 0; !st && i < MAX_STEPS && (i + 1) * cost < STEP_BUDGET; i++) {
        st = step(s, err);
        const double now = st ? best : merit(s, s->next);
        if (now <= best) break;
        best = now;
        memcpy(s->match, s->next, n * sizeof *s->match);
    }
    if (!st) exchange(s);
    *reached = st ? best : merit(s, s->match);
    return st;
}

/* Another beginning: the best so far with some of it shuffled, or all. */
static void shuffle(search *s, amg_rng *rng, bool all)
{
    const int64_t n = s->a->n, group = s->a->group, num = num_alike(s);
    memcpy(s->match, s->best, (size_t)n * sizeof *s->match);
    for (int64_t first = 0; first < n; first += num * group) {
        amg_rng_permutation(rng, group, s->places);
        const int64_t moved = all ? group : group / 3 > 2 ? group / 3 : 2;
        for (int64_t i = 0; i + 1 < moved && i + 1 < group; i++)
            for (int64_t g = 0; g < num; g++)
                swap(s, first + g * group + s->places[i],
                     first + g * group + s->places[i + 1]);
    }
}

/* What is reached from the profiles may be the picture's mirror image: others are
 * tried, as long as they cost little. */
static amg_status search_all(search *s, amg_error *err)
{
    const size_t bytes = (size_t)s->a->n * sizeof *s->match;
    const double cost = (double)s->a->n * (double)s->a->n * (double)s->a->group;
    amg_rng rng = amg_rng_init(1, 0);
    double most = 0, reached = 0;
    amg_status st = match_profiles(s, err);
    if (!st) st = climb(s, &most, err);
    memcpy(s->best, s->match, bytes);
    for (int i = 1; !st && i < MAX_STARTS && i * 10 * cost < START_BUDGET; i++) {
        shuffle(s, &rng, i % 2 != 0);
        st = climb(s, &reached, err);
        if (st || reached <= most) continue;
        most = reached;
        memcpy(s->best, s->match, bytes);
    }
    memcpy(s->match, s->best, bytes);
    return st;
}

amg_status amg_match_variables(const amg_variable_stats *a, const amg_variable_stats *b,
                               bool alike, int32_t *match, amg_error *err)
{
    const size_t n = (size_t)a->n, group = (size_t)a->group;
    search s = {.a = a,
                .b = b,
                .alike = alike,
                .own = amg_malloc(n * FEATURES * sizeof(double)),
                .other = amg_malloc(n * FEATURES * sizeof(double)),
                .sorted = amg_malloc(n * sizeof(float)),
                .cost = amg_malloc(group * group * sizeof(double)),
                .match = match,
                .next = amg_malloc(n * sizeof(int32_t)),
                .column = amg_malloc(group * sizeof(int32_t)),
                .best = amg_malloc(n * sizeof(int32_t)),
                .places = amg_malloc(group * sizeof(int64_t))};
    const bool ok = s.own && s.other && s.sorted && s.cost && s.next && s.column &&
                    s.best && s.places;
    const amg_status st = ok ? search_all(&s, err) : no_memory(err);
    amg_free(s.own);
    amg_free(s.other);
    amg_free(s.sorted);
    amg_free(s.cost);
    amg_free(s.next);
    amg_free(s.column);
    amg_free(s.best);
    amg_free(s.places);
    return st;
}
