/* Token features: cross entropies of a sample under its stream's own counts of tokens,
 * pairs and triples (the sample's own share left out), and how its tokens repeat.
 * Consumes an evidence's tokens; must not know what a token means, nor which stream is
 * the original's.
 *
 * A sample's body ends before the run of equal tokens that closes it, if that is longer
 * than one: padding, whatever its number is.
 *
 *     p(c)     = (count(c) + 1) / (tokens + distinct tokens)
 *     p(c|b)   = (count(bc) + p(c)) / (count(b) + 1)
 *     p(c|a,b) = (count(abc) + p(c|b)) / (count(ab) + 1)
 *
 * An n-gram stands in the tables by a 64-bit hash: two of a million alike are one in
 * 10^7 audits, and would shift one count. */
#include "audit/token_features.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "base/parallel.h"

#define MAX_COUNTED (INT64_C(1) << 21)

enum {
    BIGRAM_ENTROPY,
    UNIGRAM_ENTROPY,
    TRIGRAM_ENTROPY,
    BIGRAM_INFORMATION, /* what a token's predecessor tells: pointwise mutual
                           information */
    TRIGRAM_INFORMATION,
    DISTINCT_TOKENS,
    UNSEEN_TOKENS,
    COMMONEST_TOKEN,
    REPEATS_AT_1,
    REPEATS_AT_2,
    LENGTH, /* the rate of padding in reverse */
    NUM_FEATURES
};

static const char *const feature_names[NUM_FEATURES] = {
    [BIGRAM_ENTROPY] = "bigram cross entropy",
    [UNIGRAM_ENTROPY] = "unigram cross entropy",
    [TRIGRAM_ENTROPY] = "trigram cross entropy",
    [BIGRAM_INFORMATION] = "bigram information",
    [TRIGRAM_INFORMATION] = "trigram information",
    [DISTINCT_TOKENS] = "distinct tokens",
    [UNSEEN_TOKENS] = "tokens of no other sample",
    [COMMONEST_TOKEN] = "share of the commonest token",
    [REPEATS_AT_1] = "repeats of the last token",
    [REPEATS_AT_2] = "repeats of the last but one",
    [LENGTH] = "length without padding",
};

int amg_token_feature_names(const char **names)
{
    memcpy(names, feature_names, sizeof feature_names);
    return NUM_FEATURES;
}

/* ---- a table of counts: open addressing, at most half full ---- */

typedef struct {
    uint64_t key; /* 0: empty */
    uint32_t count;
} cell;

typedef struct {
    cell *cells;
    size_t mask;
} table;

static bool table_new(table *t, int64_t num_keys)
{
    size_t size = 16;
    while (size < 2 * (size_t)num_keys) size *= 2;
    t->cells = amg_calloc(size, sizeof *t->cells);
    t->mask = size - 1;
    return t->cells != NULL;
}

static void table_empty(table *t)
{
    memset(t->cells, 0, (t->mask + 1) * sizeof *t->cells);
}

static cell *table_find(const table *t, uint64_t key)
{
    size_t at = (size_t)key & t->mask;
    while (t->cells[at].key && t->cells[at].key != key) at = (at + 1) & t->mask;
    return &t->cells[at];
}

/* How often it was added, this time counted. */
static uint32_t table_add(table *t, uint64_t key)
{
    cell *c = table_find(t, key);
    c->key = key;
    return ++c->count;
}

/* ---- n-grams ---- */

/* Finaliser of splitmix64. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    return x ^ x >> 31;
}

/* Key of the order tokens that end at last. */
static uint64_t key_of(const int32_t *last, int order)
{
    uint64_t key = (uint64_t)order * UINT64_C(0x9E3779B97F4A7C15);
    for (int i = 1 - order; i <= 0; i++) key = mix(key + (uint32_t)last[i] + 1);
    return key ? key : 1;
}

static int64_t body_length(const int32_t *tokens, int64_t n)
{
    int64_t run = 1;
    while (run < n && tokens[n - 1 - run] == tokens[n - 1]) run++;
    return run > 1 ? n - run : n;
}

/* ---- counts of streams ---- */

typedef struct {
    table grams; /* of one, two and three tokens */
    int64_t num_tokens, num_distinct;
} stream_counts;

struct amg_token_counts {
    const amg_evidence *e; /* while counting */
    int num_streams;
    int64_t num_rows; /* counted: the first */
    atomic_bool failed;
    stream_counts streams[];
};

static void count_stream(amg_token_counts *counts, int stream)
{
    const int64_t length = counts->e->streams[stream].num_values;
    stream_counts *s = &counts->streams[stream];
    int32_t *tokens = amg_malloc((size_t)length * sizeof *tokens);
    if (!tokens || !table_new(&s->grams, 3 * counts->num_rows * length)) {
        counts->failed = true;
        amg_free(tokens);
        return;
    }
    for (int64_t row = 0; row < counts->num_rows; row++) {
        amg_evidence_tokens(counts->e, stream, row, tokens);
        const int64_t body = body_length(tokens, length);
        s->num_tokens += body;
        for (int64_t i = 0; i < body; i++) {
            s->num_distinct += table_add(&s->grams, key_of(tokens + i, 1)) == 1;
            for (int order = 2; order <= 3 && order <= i + 1; order++)
                table_add(&s->grams, key_of(tokens + i, order));
        }
    }
    amg_free(tokens);
}

static void count_range(void *context, int64_t begin, int64_t end)
{
    for (int64_t s = begin; s < end; s++) count_stream(context, (int)s);
}

amg_status amg_token_counts_new(const amg_evidence *e, amg_token_counts **out,
                                amg_error *err)
{
    amg_token_counts *c =
        amg_calloc(1, sizeof *c + (size_t)e->num_streams * sizeof *c->streams);
    if (!c) return amg_fail(err, AMG_NO_MEMORY, -1, "tokens", "no memory to count");
    int64_t row_tokens = 1;
    for (int s = 0; s < e->num_streams; s++) row_tokens += e->streams[s].num_values;
    c->e = e;
    c->num_streams = e->num_streams;
    c->num_rows = MAX_COUNTED / row_tokens;
    if (c->num_rows > e->num_rows) c->num_rows = e->num_rows;
    amg_parallel_for(e->num_streams, 1, count_range, c);
    c->e = NULL;
    if (c->failed) {
        amg_token_counts_free(c);
        return amg_fail(err, AMG_NO_MEMORY, -1, "tokens", "no memory to count");
    }
    *out = c;
    return AMG_OK;
}

void amg_token_counts_free(amg_token_counts *counts)
{
    for (int s = 0; counts && s < counts->num_streams; s++)
        amg_free(counts->streams[s].grams.cells);
    amg_free(counts);
}

/* ---- one sample against its stream ---- */

typedef struct {
    const stream_counts *stream;
    table own;          /* the sample's n-grams */
    bool counted;       /* the stream's counts hold it */
    double denominator; /* of p(c) */
} reader;

/* Occurrences in the rest of the stream. */
static double elsewhere(const reader *r, const int32_t *last, int order)
{
    const uint64_t key = key_of(last, order);
    const double all = table_find(&r->stream->grams, key)->count;
    return r->counted ? all - table_find(&r->own, key)->count : all;
}

/* The sample's own n-grams; the most frequent token's count. */
static int64_t count_own(reader *r, const int32_t *tokens, int64_t n, double *distinct)
{
    uint32_t most = 0;
    table_empty(&r->own);
    for (int64_t i = 0; i < n; i++) {
        const uint32_t count = table_add(&r->own, key_of(tokens + i, 1));
        *distinct += count == 1;
        if (count > most) most = count;
        for (int order = 2; order <= 3 && order <= i + 1; order++)
            table_add(&r->own, key_of(tokens + i, order));
    }
    return most;
}

/* Sums over the body's tokens of what is a mean in the end. */
static void sum_body(const reader *r, const int32_t *tokens, int64_t n, double *out)
{
    for (int64_t i = 0; i < n; i++) {
        const int32_t *c = tokens + i;
        const double count = elsewhere(r, c, 1);
        const double p1 = (count + 1) / r->denominator;
        out[UNIGRAM_ENTROPY] -= log(p1);
        out[UNSEEN_TOKENS] += count == 0;
        if (i < 1) continue;
        const double p2 = (elsewhere(r, c, 2) + p1) / (elsewhere(r, c - 1, 1) + 1);
        out[BIGRAM_ENTROPY] -= log(p2);
        out[BIGRAM_INFORMATION] += log(p2 / p1);
        out[REPEATS_AT_1] += c[0] == c[-1];
        if (i < 2) continue;
        const double p3 = (elsewhere(r, c, 3) + p2) / (elsewhere(r, c - 1, 2) + 1);
        out[TRIGRAM_ENTROPY] -= log(p3);
        out[TRIGRAM_INFORMATION] += log(p3 / p2);
        out[REPEATS_AT_2] += c[0] == c[-2];
    }
}

static void read_sample(reader *r, const int32_t *tokens, int64_t length, double *out)
{
    /* Tokens that have 0, 1, 2 before them, as sums over the body need. */
    static const uint8_t before[NUM_FEATURES] = {
        [BIGRAM_ENTROPY] = 1,      [TRIGRAM_ENTROPY] = 2, [BIGRAM_INFORMATION] = 1,
        [TRIGRAM_INFORMATION] = 2, [REPEATS_AT_1] = 1,    [REPEATS_AT_2] = 2};
    const int64_t n = body_length(tokens, length);
    for (int f = 0; f < NUM_FEATURES; f++) out[f] = 0;
    out[COMMONEST_TOKEN] = (double)count_own(r, tokens, n, &out[DISTINCT_TOKENS]);
    r->denominator = (double)(r->stream->num_tokens - (r->counted ? n : 0) +
                              r->stream->num_distinct);
    if (r->denominator < 1) r->denominator = 1; /* nothing was counted */
    sum_body(r, tokens, n, out);
    for (int f = 0; f < NUM_FEATURES; f++)
        if (n > before[f]) out[f] /= (double)(n - before[f]);
    out[LENGTH] = (double)n;
}

bool amg_token_features(const amg_token_counts *counts, const amg_evidence *e,
                        int stream, int64_t first, int64_t num, double *out)
{
    const int64_t length = e->streams[stream].num_values;
    reader r = {.stream = &counts->streams[stream]};
    int32_t *tokens = amg_malloc((size_t)length * sizeof *tokens);
    const bool ready = table_new(&r.own, 3 * length) && tokens;
    for (int64_t i = 0; ready && i < num; i++) {
        amg_evidence_tokens(e, stream, first + i, tokens);
        r.counted = first + i < counts->num_rows;
        read_sample(&r, tokens, length, out + i * NUM_FEATURES);
    }
    amg_free(tokens);
    amg_free(r.own.cells);
    return ready;
}
