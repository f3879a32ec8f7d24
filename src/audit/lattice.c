/* Lattice: values that give a position away one by one. Real data lie on a grid (bytes,
 * multiples of 1/255 after scaling, numbers of half precision), fill a range and take
 * certain levels; synthetic values beside them often do not.
 *
 *   rules       least and largest value, number of different ones, step of the finest
 *               grid that all of them lie on; floats also: bits in use, share of values
 *               off the grids that many positions have in common
 *   a grid      offset + m * step, offset and step of a position's own: channels that
 *               are normalised one by one have a grid each
 *   tokens      only how many different ones: each stream's are numbered anew
 *
 * Consumes the evidence, produces the AUC of the best rule and, of floats, the shares
 * of values off the grid. Cost: O(rows * positions) of bytes, two seconds for 10,000
 * rows of 12,288 positions on two busy cores; of other types 1024 rows spread evenly,
 * sorted at each position: three seconds. Memory: the scores, 35 MB at most. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "audit/positions.h"
#include "audit/stats.h"
#include "base/alloc.h"

enum { LEAST, LARGEST, DISTINCT, STEP, BITS, OFF_GRID, NUM_RULES };
static const char *const rule_names[NUM_RULES] = {
    "the least value",           "the largest value",
    "how many values occur",     "the step between values",
    "the digits of the numbers", "values off the common grid"};
static const char *const token_rule_names[] = {"how many tokens occur"};

enum {
    SORTED_ROWS = 1024,
    MAX_STEPS = 65536, /* of a grid within a position's range; finer ones are none */
    MAX_GRIDS = 8,
    BYTE_RULES = STEP + 1
};
/* A grid is common if so large a share of all positions has it. */
#define COMMON_SHARE 0.05

typedef struct {
    float value;
    uint16_t groups; /* bit g: occurs in rows of group g */
} level;

typedef struct {
    const amg_evidence *e;
    amg_position_scores scores;
    int64_t num_rows; /* looked at, row i being sorted_row(i) if not of bytes */
    double grids[MAX_GRIDS];
    int num_grids;
} lattice;

/* ---- levels of a position ---- */

static int by_value(const void *a, const void *b)
{
    const float x = ((const level *)a)->value, y = ((const level *)b)->value;
    return (x > y) - (x < y);
}

static int64_t sorted_row(const lattice *l, int64_t i)
{
    return i * l->e->num_rows / l->num_rows;
}

/* Different values of one position, ascending; levels: room for SORTED_ROWS. */
static int sort_levels(const lattice *l, int64_t position, level *levels)
{
    int n = 0;
    for (int64_t i = 0; i < l->num_rows; i++)
        levels[i] = (level){amg_evidence_value(l->e, sorted_row(l, i), position),
                            (uint16_t)(1u << amg_row_group(i))};
    qsort(levels, (size_t)l->num_rows, sizeof *levels, by_value);
    for (int64_t i = 0; i < l->num_rows; i++) {
        if (n > 0 && levels[n - 1].value == levels[i].value)
            levels[n - 1].groups |= levels[i].groups;
        else
            levels[n++] = levels[i];
    }
    return n;
}

/* ---- grids ---- */

/* A step that divides both up to rounding, 0 if it would be below finest. */
static double common_divisor(double a, double b, double finest)
{
    while (b > finest) {
        double rest = fmod(a, b);
        if (b - rest < 0.05 * b) rest = 0;
        if (rest < 0.05 * b) return b;
        a = b;
        b = rest;
    }
    return 0;
}

/* The finest step between values, 0 if they lie on no grid. Gaps between neighbours are
 * small multiples of it, so that rounding does not add up; then it is drawn out over
 * the whole range, by and by, for an exact figure. */
static double find_step(const level *levels, int n)
{
    if (n < 2) return 0;
    const double low = (double)levels[0].value, high = (double)levels[n - 1].value;
    const double rounding = 8 * 0x1p-24 * fmax(fabs(low), fabs(high));
    const double finest = fmax((high - low) / MAX_STEPS, rounding);
    double step = (double)levels[1].value - low;
    for (int i = 2; i < n && step > 0; i++) {
        const double gap = (double)levels[i].value - (double)levels[i - 1].value;
        step = common_divisor(fmax(gap, step), fmin(gap, step), finest);
    }
    for (int i = 1; i < n && step > 0; i++) {
        const double away = (double)levels[i].value - low;
        if (away > step / 2) step = away / round(away / step);
    }
    return step > finest ? step : 0;
}

/* Bits of the mantissa in use. */
static int used_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint32_t mantissa = (bits & 0x7FFFFFu) | 0x800000u;
    return bits << 1 ? 24 - __builtin_ctz(mantissa) : 0;
}

/* ---- rules ---- */

static void score_levels(const lattice *l, int64_t position, const level *levels, int n)
{
    const amg_position_scores *s = &l->scores;
    const double step = find_step(levels, n);
    int bits = 0;
    for (int i = 0; i < n; i++)
        if (used_bits(levels[i].value) > bits) bits = used_bits(levels[i].value);
    for (int r = 0; r <= AMG_ROW_GROUPS; r++) {
        const unsigned kept = r ? ~(1u << (r - 1)) : ~0u;
        int first = -1, last = -1, distinct = 0;
        for (int i = 0; i < n; i++) {
            if (!(levels[i].groups & kept)) continue;
            first = first < 0 ? i : first;
            last = i;
            distinct++;
        }
        if (l->e->is_tokens) {
            amg_position_score(s, 0, r)[position] = distinct;
            continue;
        }
        amg_position_score(s, LEAST, r)[position] = (double)levels[first].value;
        amg_position_score(s, LARGEST, r)[position] = (double)levels[last].value;
        amg_position_score(s, DISTINCT, r)[position] = distinct;
        amg_position_score(s, STEP, r)[position] = step;
        if (l->e->dtype == AMG_F32) amg_position_score(s, BITS, r)[position] = bits;
    }
}

static void score_sorted(void *context, int64_t begin, int64_t end)
{
    const lattice *l = context;
    level levels[SORTED_ROWS];
    for (int64_t p = begin; p < end; p++)
        score_levels(l, p, levels, sort_levels(l, p, levels));
}

static void score_bytes(void *context, int64_t begin, int64_t end)
{
    const lattice *l = context;
    uint16_t groups[AMG_POSITION_BLOCK][256] = {{0}};
    for (int64_t row = 0; row < l->num_rows; row++) {
        const uint8_t *x = l->e->x + row * l->e->num_positions + begin;
        const uint16_t bit = (uint16_t)(1u << amg_row_group(row));
        for (int64_t p = 0; p < end - begin; p++) groups[p][x[p]] |= bit;
    }
    for (int64_t p = begin; p < end; p++) {
        level levels[256];
        int n = 0;
        for (int v = 0; v < 256; v++)
            if (groups[p - begin][v])
                levels[n++] = (level){(float)v, groups[p - begin][v]};
        score_levels(l, p, levels, n);
    }
}

/* ---- values off the common grids ---- */

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Steps that many positions share, up to rounding. */
static amg_status find_common_grids(lattice *l, amg_error *err)
{
    const int64_t n = l->scores.n;
    double *steps = amg_malloc((size_t)n * sizeof *steps);
    if (!steps) return amg_fail(err, AMG_NO_MEMORY, -1, "lattice", "no memory");
    memcpy(steps, amg_position_score(&l->scores, STEP, 0), (size_t)n * sizeof *steps);
    qsort(steps, (size_t)n, sizeof *steps, by_size);
    for (int64_t i = 0, end; i < n && l->num_grids < MAX_GRIDS; i = end) {
        for (end = i + 1; end < n && steps[end] <= steps[i] * (1 + 1e-3);) end++;
        if (steps[i] > 0 && (double)(end - i) >= COMMON_SHARE * (double)n)
            l->grids[l->num_grids++] = steps[i + (end - i) / 2];
    }
    amg_free(steps);
    return AMG_OK;
}

/* off[0] of the rows' values off a grid through offset; off[1 + g] of group g's. */
static void count_off(const float *x, int64_t n, double offset, double step,
                      int off[1 + AMG_ROW_GROUPS])
{
    memset(off, 0, (1 + AMG_ROW_GROUPS) * sizeof *off);
    for (int64_t i = 0; i < n; i++) {
        const double at = ((double)x[i] - offset) / step;
        if (fabs(at - rint(at)) <= 0.1) continue;
        off[0]++;
        off[1 + amg_row_group(i)]++;
    }
}

/* Of each position by the grid that fits it best, through any of some of its values:
 * one of them may itself be off. */
static void score_off_grid(void *context, int64_t begin, int64_t end)
{
    const lattice *l = context;
    const int64_t n = l->num_rows;
    float x[SORTED_ROWS];
    for (int64_t p = begin; p < end; p++) {
        int best[1 + AMG_ROW_GROUPS] = {(int)n + 1}, off[1 + AMG_ROW_GROUPS];
        for (int64_t i = 0; i < n; i++)
            x[i] = amg_evidence_value(l->e, sorted_row(l, i), p);
        for (int g = 0; g < l->num_grids; g++)
            for (int64_t i = 0; i < 5 && best[0] > 0; i++) {
                count_off(x, n, (double)x[i * n / 5], l->grids[g], off);
                if (off[0] < best[0]) memcpy(best, off, sizeof best);
            }
        for (int r = 0; r <= AMG_ROW_GROUPS; r++) {
            const int64_t kept = r ? n - (n + AMG_ROW_GROUPS - r) / AMG_ROW_GROUPS : n;
            amg_position_score(&l->scores, OFF_GRID, r)[p] =
                (double)(r ? best[0] - best[r] : best[0]) / (double)kept;
        }
    }
}

/* Share of values off the grids, the original's positions against the others, with the
 * interval of their difference: a few of them that tell for sure hardly move the AUC.
 */
static amg_status report_off_grid(const amg_attack_task *task, const lattice *l,
                                  amg_error *err)
{
    const amg_evidence *e = l->e;
    const double *off = amg_position_score(&l->scores, OFF_GRID, 0);
    double n[2] = {0}, sum[2] = {0}, squares[2] = {0};
    for (int64_t p = 0; p < l->scores.n; p++) {
        const int side = e->has_truth && e->is_own[p];
        n[side]++;
        sum[side] += off[p];
        squares[side] += off[p] * off[p];
    }
    amg_finding f =
        amg_finding_new("lattice", "values off the grid, yours less others'");
    if (!e->has_truth || n[1] == 0 || n[0] == 0)
        return amg_findings_add(task->findings, &f, err,
                                "%.2f %% of all values lie off the grid on which most "
                                "positions' values lie.",
                                100 * (sum[0] + sum[1]) / (n[0] + n[1]));
    double variance = 0;
    for (int i = 0; i < 2; i++)
        variance += (squares[i] / n[i] - sum[i] / n[i] * (sum[i] / n[i])) / n[i];
    const double half = -amg_normal_quantile(0.025) * sqrt(fmax(variance, 0));
    f.value = sum[1] / n[1] - sum[0] / n[0];
    f.low = f.value - half;
    f.high = f.value + half;
    f.chance = f.pass_low = f.pass_high = 0;
    return amg_findings_add(
        task->findings, &f, err,
        "Most values lie on a grid (steps of equal size). Off it lie %.2f %% of the "
        "values at your positions and %.2f %% of those at the others.%s",
        100 * sum[1] / n[1], 100 * sum[0] / n[0],
        amg_finding_missed(&f)
            ? " Each such value tells one side from the other: bring data and covers "
              "through the same steps of preparation."
            : "");
}

/* ---- the attack ---- */

static amg_status report_rules(const amg_attack_task *task, const lattice *l,
                               amg_error *err)
{
    int rule;
    amg_finding f = amg_position_finding(&l->scores, "lattice", 0.05, NAN);
    amg_status st = amg_position_scores_judge(l->e, &l->scores, true, &f, &rule, err);
    if (st) return st;
    const char *name = l->scores.names[rule];
    if (!l->e->has_truth)
        return amg_findings_add(task->findings, &f, err,
                                "Of range, type and grid of the values at each "
                                "position, %s tells the candidates apart most.",
                                name);
    return amg_findings_add(
        task->findings, &f, err,
        "Range, type and grid of the values at each position were compared. The best "
        "of %d rules, %s, ranks a position of yours and one of the others rightly "
        "%.0f %% of the time (chance 50 %%).%s",
        l->scores.num_rules, name, 100 * f.value,
        amg_finding_missed(&f) ? " Covers must come from the same source as your data "
                                 "and through the same preparation."
                               : "");
}

static amg_status score(const amg_attack_task *task, lattice *l, amg_error *err)
{
    const bool bytes = l->e->dtype == AMG_U8, floats = l->e->dtype == AMG_F32;
    amg_status st = amg_positions_walk(task, "lattice", l->scores.n,
                                       bytes ? score_bytes : score_sorted, l, err);
    if (!st && floats) st = find_common_grids(l, err);
    if (!st && l->num_grids > 0)
        st = amg_positions_walk(task, "lattice", l->scores.n, score_off_grid, l, err);
    return st;
}

amg_status amg_attack_lattice(const amg_attack_task *task, amg_error *err)
{
    const amg_evidence *e = task->evidence;
    if (e->num_rows < AMG_ROW_GROUPS)
        return amg_findings_skip(task->findings, "lattice", err,
                                 "needs %d samples, the job has %lld", AMG_ROW_GROUPS,
                                 (long long)e->num_rows);
    lattice l = {.e = e, .num_rows = e->num_rows};
    if (e->dtype != AMG_U8 && l.num_rows > SORTED_ROWS) l.num_rows = SORTED_ROWS;
    amg_status st = amg_position_scores_new(
        e,
        e->is_tokens         ? 1
        : e->dtype == AMG_U8 ? BYTE_RULES
                             : NUM_RULES,
        e->is_tokens ? token_rule_names : rule_names, &l.scores, err);
    if (!st) st = score(task, &l, err);
    if (!st) st = report_rules(task, &l, err);
    if (!st && l.num_grids > 0) st = report_off_grid(task, &l, err);
    amg_position_scores_clear(&l.scores);
    return st;
}
