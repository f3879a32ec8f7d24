/* Marginal: the values of each position by themselves. Noise has another mean, spread
 * or histogram than data; covers from another source differ a little at all positions.
 *
 *   rules    mean and deviation; how far each is from its median over all positions;
 *            distance of the position's histogram to the median histogram
 *   tokens   how often two samples have the same token there; share of its most
 *            frequent token (padding); distance of its distribution to that of all
 *            positions. None depends on how a stream's tokens are numbered.
 *            Streams are compared as a whole (positions.h)
 *
 * Histograms have bins that are equally full over all positions together, so that they
 * fit any scale. Consumes the evidence, produces the AUC of the best rule. Cost:
 * O(rows * positions), two passes; for 10,000 rows of 12,288 bytes four seconds on two
 * busy cores, of floats five times as much. Memory: scores and histograms, 45 MB at
 * most; tokens: 8 bytes for each of the vocabulary. */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "audit/positions.h"
#include "audit/stats.h"
#include "base/alloc.h"

enum { MEAN, SPREAD, MEAN_AWAY, SPREAD_AWAY, HISTOGRAM, NUM_RULES };
static const char *const rule_names[NUM_RULES] = {
    "the mean value", "the spread of values", "how unusual the mean is",
    "how unusual the spread is", "how unusual the histogram is"};

enum { REPEATS, MOST_FREQUENT, DISTANCE, NUM_TOKEN_RULES };
static const char *const token_rule_names[NUM_TOKEN_RULES] = {
    "how often a token comes again", "the most frequent token's share",
    "how unusual the tokens' frequencies are"};

enum {
    BINS = 32,
    SAMPLED = 65536, /* values from which bins are made */
    MAX_VOCAB = 1 << 24
};

typedef struct {
    const amg_evidence *e;
    amg_position_scores scores;
    /* numbers */
    int num_bins;
    float upper[BINS]; /* bin b: values up to upper[b], the last bin: all above, too */
    uint8_t bin_of_byte[256];
    float *histogram;   /* [n][BINS] shares */
    float median[BINS]; /* of the histograms */
    /* tokens */
    int64_t vocab;
    double *share; /* [vocab] of all values at all positions */
    atomic_bool out_of_memory;
} marginal;

static amg_status no_memory(amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, "marginal", "no memory for histograms");
}

/* Rows that a replicate is made of. */
static int64_t kept_rows(const amg_evidence *e, int replicate)
{
    const int64_t n = e->num_rows;
    return replicate ? n - (n + AMG_ROW_GROUPS - replicate) / AMG_ROW_GROUPS : n;
}

/* ---- bins ---- */

static int by_value(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static int find_bin(const marginal *m, float value)
{
    int low = 0, high = m->num_bins - 1;
    while (low < high) {
        const int middle = (low + high) / 2;
        if (value <= m->upper[middle])
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Equally full but where one value fills several. */
static amg_status make_bins(const amg_attack_task *task, marginal *m, amg_error *err)
{
    float *values = amg_malloc(SAMPLED * sizeof *values);
    if (!values) return no_memory(err);
    amg_rng rng = amg_rng_init(task->seed, 0);
    for (int i = 0; i < SAMPLED; i++) {
        const uint64_t row = amg_rng_below(&rng, (uint64_t)m->e->num_rows);
        const uint64_t at = amg_rng_below(&rng, (uint64_t)m->scores.n);
        values[i] = amg_evidence_value(m->e, (int64_t)row, (int64_t)at);
    }
    qsort(values, SAMPLED, sizeof *values, by_value);
    for (int b = 1; b <= BINS; b++) {
        const float upper = values[b * (SAMPLED / BINS) - 1];
        if (m->num_bins == 0 || upper > m->upper[m->num_bins - 1])
            m->upper[m->num_bins++] = upper;
    }
    amg_free(values);
    for (int v = 0; v < 256; v++) m->bin_of_byte[v] = (uint8_t)find_bin(m, (float)v);
    return AMG_OK;
}

/* ---- numbers ---- */

typedef struct {
    double sum[AMG_POSITION_BLOCK][AMG_ROW_GROUPS];
    double squares[AMG_POSITION_BLOCK][AMG_ROW_GROUPS];
    int32_t count[AMG_POSITION_BLOCK][AMG_ROW_GROUPS][BINS];
} block_sums;

static void sum_block(const marginal *m, int64_t begin, int64_t end, block_sums *s)
{
    const amg_evidence *e = m->e;
    for (int64_t row = 0; row < e->num_rows; row++) {
        const int g = amg_row_group(row);
        const uint8_t *bytes = e->x + row * e->num_positions;
        for (int64_t p = begin; p < end; p++) {
            const float value =
                e->dtype == AMG_U8 ? (float)bytes[p] : amg_evidence_value(e, row, p);
            const int bin =
                e->dtype == AMG_U8 ? m->bin_of_byte[bytes[p]] : find_bin(m, value);
            s->sum[p - begin][g] += (double)value;
            s->squares[p - begin][g] += (double)value * (double)value;
            s->count[p - begin][g][bin]++;
        }
    }
}

static void score_moments(void *context, int64_t begin, int64_t end)
{
    const marginal *m = context;
    block_sums s = {0};
    sum_block(m, begin, end, &s);
    for (int64_t p = begin; p < end; p++)
        for (int r = 0; r <= AMG_ROW_GROUPS; r++) {
            const double n = (double)kept_rows(m->e, r);
            double sum = 0, squares = 0;
            for (int g = 0; g < AMG_ROW_GROUPS; g++) {
                if (g == r - 1) continue;
                sum += s.sum[p - begin][g];
                squares += s.squares[p - begin][g];
            }
            amg_position_score(&m->scores, MEAN, r)[p] = sum / n;
            amg_position_score(&m->scores, SPREAD, r)[p] =
                sqrt(fmax(squares / n - sum / n * (sum / n), 0));
        }
    for (int64_t p = begin; p < end; p++)
        for (int b = 0; b < BINS; b++) {
            int32_t count = 0;
            for (int g = 0; g < AMG_ROW_GROUPS; g++) count += s.count[p - begin][g][b];
            m->histogram[p * BINS + b] = (float)count / (float)m->e->num_rows;
        }
}

/* Half the sum of differences of shares: 0 equal, 1 nothing in common. */
static void score_histograms(void *context, int64_t begin, int64_t end)
{
    const marginal *m = context;
    block_sums s = {0};
    sum_block(m, begin, end, &s);
    for (int64_t p = begin; p < end; p++)
        for (int r = 0; r <= AMG_ROW_GROUPS; r++) {
            const double n = (double)kept_rows(m->e, r);
            double away = 0;
            for (int b = 0; b < m->num_bins; b++) {
                int32_t count = 0;
                for (int g = 0; g < AMG_ROW_GROUPS; g++)
                    count += g == r - 1 ? 0 : s.count[p - begin][g][b];
                away += fabs(count / n - (double)m->median[b]);
            }
            amg_position_score(&m->scores, HISTOGRAM, r)[p] = away / 2;
        }
}

/* From mean or spread to its distance from the median one; room: n. */
static void score_away(const marginal *m, int from, int to, double *room)
{
    for (int r = 0; r <= AMG_ROW_GROUPS; r++) {
        const double *value = amg_position_score(&m->scores, from, r);
        double *away = amg_position_score(&m->scores, to, r);
        memcpy(room, value, (size_t)m->scores.n * sizeof *room);
        const double median = amg_median(room, m->scores.n);
        for (int64_t p = 0; p < m->scores.n; p++) away[p] = fabs(value[p] - median);
    }
}

static amg_status score_numbers(const amg_attack_task *task, marginal *m,
                                amg_error *err)
{
    const int64_t n = m->scores.n;
    double *room = amg_malloc((size_t)n * sizeof *room);
    m->histogram = amg_malloc((size_t)n * BINS * sizeof *m->histogram);
    amg_status st = room && m->histogram ? make_bins(task, m, err) : no_memory(err);
    if (!st) st = amg_positions_walk(task, "marginal", n, score_moments, m, err);
    if (st) goto done;
    score_away(m, MEAN, MEAN_AWAY, room);
    score_away(m, SPREAD, SPREAD_AWAY, room);
    for (int b = 0; b < m->num_bins; b++) {
        for (int64_t p = 0; p < n; p++) room[p] = (double)m->histogram[p * BINS + b];
        m->median[b] = (float)amg_median(room, n);
    }
    st = amg_positions_walk(task, "marginal", n, score_histograms, m, err);
done:
    amg_free(room);
    amg_free(m->histogram);
    return st;
}

/* ---- tokens ---- */

typedef struct {
    int32_t token, group;
} use;

static int by_token(const void *a, const void *b)
{
    const int32_t x = ((const use *)a)->token, y = ((const use *)b)->token;
    return (x > y) - (x < y);
}

/* One token's uses at a position, in each group and in all. */
static void add_token(const marginal *m, int64_t position, int32_t token,
                      const int32_t uses[AMG_ROW_GROUPS], int32_t all)
{
    const double share = m->share[token];
    for (int r = 0; r <= AMG_ROW_GROUPS; r++) {
        const double n = (double)kept_rows(m->e, r);
        const double count = all - (r ? uses[r - 1] : 0);
        double *most = &amg_position_score(&m->scores, MOST_FREQUENT, r)[position];
        amg_position_score(&m->scores, REPEATS, r)[position] +=
            count * (count - 1) / (n * (n - 1));
        *most = fmax(*most, count / n);
        amg_position_score(&m->scores, DISTANCE, r)[position] +=
            (fabs(count / n - share) - share) / 2;
    }
}

static void score_token_position(const marginal *m, int64_t position, use *uses)
{
    const amg_evidence *e = m->e;
    const int32_t *x = (const int32_t *)e->x;
    for (int64_t row = 0; row < e->num_rows; row++)
        uses[row] = (use){x[row * e->num_positions + position], amg_row_group(row)};
    qsort(uses, (size_t)e->num_rows, sizeof *uses, by_token);
    for (int r = 0; r <= AMG_ROW_GROUPS; r++) /* what tokens that never occur add */
        amg_position_score(&m->scores, DISTANCE, r)[position] = 0.5;
    for (int64_t i = 0, end; i < e->num_rows; i = end) {
        int32_t count[AMG_ROW_GROUPS] = {0};
        for (end = i; end < e->num_rows && uses[end].token == uses[i].token; end++)
            count[uses[end].group]++;
        add_token(m, position, uses[i].token, count, (int32_t)(end - i));
    }
}

static void score_token_block(void *context, int64_t begin, int64_t end)
{
    marginal *m = context;
    use *uses = amg_malloc((size_t)m->e->num_rows * sizeof *uses);
    if (!uses) m->out_of_memory = true;
    for (int64_t p = begin; uses && p < end; p++) score_token_position(m, p, uses);
    amg_free(uses);
}

/* vocab stays 0 where the numbers are no tokens of a vocabulary. */
static amg_status count_tokens(marginal *m, amg_error *err)
{
    const int32_t *x = (const int32_t *)m->e->x;
    const int64_t n = m->e->num_rows * m->e->num_positions;
    int32_t largest = 0;
    for (int64_t i = 0; i < n; i++) {
        if (x[i] < 0 || x[i] >= MAX_VOCAB) return AMG_OK;
        largest = x[i] > largest ? x[i] : largest;
    }
    m->share = amg_calloc((size_t)largest + 1, sizeof *m->share);
    if (!m->share) return no_memory(err);
    m->vocab = (int64_t)largest + 1;
    for (int64_t i = 0; i < n; i++) m->share[x[i]] += 1 / (double)n;
    return AMG_OK;
}

static amg_status score_tokens(const amg_attack_task *task, marginal *m, amg_error *err)
{
    const amg_status st =
        amg_positions_walk(task, "marginal", m->scores.n, score_token_block, m, err);
    return !st && m->out_of_memory ? no_memory(err) : st;
}

/* ---- the attack ---- */

static const char advice[] =
    " Covers must come from the same source as your data, split at random; noise never "
    "has their values.";

static amg_status report(const amg_attack_task *task, const marginal *m, amg_error *err)
{
    int rule;
    amg_finding f = amg_position_finding(&m->scores, "marginal", 0.05, 1.25);
    amg_status st = amg_position_scores_judge(m->e, &m->scores, true, &f, &rule, err);
    if (st) return st;
    const char *name = m->scores.names[rule];
    if (!m->e->has_truth)
        return amg_findings_add(task->findings, &f, err,
                                "Of all that each position's values show by "
                                "themselves, %s tells the candidates apart most.",
                                name);
    if (m->scores.by_stream)
        return amg_findings_add(
            task->findings, &f, err,
            "Each position was judged by its own tokens. By the rule that tells your "
            "stream best, %s, it has %.2f times the decoys' average.%s",
            name, f.value, amg_finding_missed(&f) ? advice : "");
    return amg_findings_add(
        task->findings, &f, err,
        "Each position was judged by its own values. The best of %d rules, %s, ranks a "
        "position of yours and one of the others rightly %.0f %% of the time (chance "
        "50 %%).%s",
        m->scores.num_rules, name, 100 * f.value, amg_finding_missed(&f) ? advice : "");
}

amg_status amg_attack_marginal(const amg_attack_task *task, amg_error *err)
{
    const amg_evidence *e = task->evidence;
    marginal m = {.e = e};
    if (e->num_rows < AMG_ROW_GROUPS)
        return amg_findings_skip(task->findings, "marginal", err,
                                 "needs %d samples, the job has %lld", AMG_ROW_GROUPS,
                                 (long long)e->num_rows);
    amg_status st = amg_position_scores_new(
        e, e->is_tokens ? NUM_TOKEN_RULES : NUM_RULES,
        e->is_tokens ? token_rule_names : rule_names, &m.scores, err);
    m.scores.by_stream = e->is_tokens && !e->paper_mode && e->num_streams > 1;
    if (!st && e->is_tokens) st = count_tokens(&m, err);
    if (!st && e->is_tokens && m.vocab == 0) {
        st = amg_findings_skip(task->findings, "marginal", err,
                               "the whole numbers of this job are no tokens");
        goto done;
    }
    if (!st)
        st = e->is_tokens ? score_tokens(task, &m, err) : score_numbers(task, &m, err);
    if (!st) st = report(task, &m, err);
done:
    amg_free(m.share);
    amg_position_scores_clear(&m.scores);
    return st;
}
