/* Noise laws for tokens. A data set in, draws out, like noise.c. Knows no positions and
 * no samples' keys. */
#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "obfuscate/noise.h"
#include "obfuscate/samples.h"

#define MAX_PAIRS ((int64_t)16 << 20)

/* ---- counts of the training data ---- */

/* One pass over every step-th sample. */
typedef struct {
    const amg_dataset *ds;
    int64_t vocab, length; /* of a sample, in tokens */
    int64_t step;
    int32_t *x;    /* [chunk][length] */
    int64_t *rows; /* [chunk] */
    int64_t chunk;
} reader;

/* What a pass does with one sample. */
typedef void (*sample_fn)(amg_noise_law *law, const int32_t *x, int64_t length);

static void count_tokens(amg_noise_law *law, const int32_t *x, int64_t length)
{
    for (int64_t i = 0; i < length; i++) law->start[x[i]]++;
}

static void count_pairs(amg_noise_law *law, const int32_t *x, int64_t length)
{
    count_tokens(law, x, length - 1);
}

/* start[t]: where t's next pair goes. */
static void add_pairs(amg_noise_law *law, const int32_t *x, int64_t length)
{
    for (int64_t i = 0; i + 1 < length; i++) law->next[law->start[x[i]]++] = x[i + 1];
}

static amg_status check_sample(const reader *r, int64_t row, const int32_t *x,
                               amg_error *err)
{
    for (int64_t i = 0; i < r->length; i++)
        if (x[i] < 0 || x[i] >= r->vocab)
            return amg_fail(err, AMG_MISMATCH, -1, amg_dataset_source(r->ds),
                            "sample %" PRId64 " has token %" PRId32
                            ", expected one of %" PRId64,
                            row, x[i], r->vocab);
    return AMG_OK;
}

static amg_status walk_samples(const reader *r, amg_noise_law *law, sample_fn visit,
                               amg_error *err)
{
    const int64_t total = amg_dataset_get_info(r->ds)->num_samples;
    for (int64_t at = 0; at < total;) {
        int64_t num = 0;
        for (; num < r->chunk && at < total; at += r->step) r->rows[num++] = at;
        const amg_samples s = {.set = r->ds, .rows = r->rows, .x = r->x};
        amg_status st = amg_samples_read(&s, num, err);
        for (int64_t i = 0; st == AMG_OK && i < num; i++) {
            const int32_t *x = r->x + i * r->length;
            st = check_sample(r, r->rows[i], x, err);
            if (st == AMG_OK) visit(law, x, r->length);
        }
        if (st != AMG_OK) return st;
    }
    return AMG_OK;
}

/* Counts become the beginnings of ranges; returns their sum. */
static int64_t sum_up(int64_t *start, int64_t vocab)
{
    int64_t sum = 0;
    for (int64_t t = 0; t <= vocab; t++) {
        const int64_t count = start[t];
        start[t] = sum;
        sum += count;
    }
    return sum;
}

static amg_status take_pairs(const reader *r, amg_noise_law *law, amg_error *err)
{
    amg_status st = walk_samples(r, law, count_pairs, err);
    if (st != AMG_OK) return st;
    const int64_t total = sum_up(law->start, law->vocab);
    law->next = amg_malloc((size_t)total * sizeof *law->next);
    if (!law->next)
        return amg_fail(err, AMG_NO_MEMORY, -1, "noise",
                        "no memory for %" PRId64 " pairs of tokens", total);
    st = walk_samples(r, law, add_pairs, err);
    /* Each start has moved to its range's end, the next one's beginning. */
    memmove(law->start + 1, law->start, (size_t)law->vocab * sizeof *law->start);
    law->start[0] = 0;
    return st;
}

static amg_status fit(const amg_dataset *ds, amg_noise_law *law, amg_error *err)
{
    const amg_dataset_info *info = amg_dataset_get_info(ds);
    reader r = {.ds = ds,
                .vocab = law->vocab,
                .length = (int64_t)(info->sample_bytes / sizeof(int32_t)),
                .step = 1};
    amg_status st = AMG_OK;
    if (law->kind == AMG_NOISE_BIGRAM)
        r.step += info->num_samples * (r.length - 1) / MAX_PAIRS;
    r.chunk = amg_samples_chunk(info->sample_bytes);
    r.x = amg_malloc((size_t)r.chunk * info->sample_bytes);
    r.rows = amg_malloc((size_t)r.chunk * sizeof *r.rows);
    law->start = amg_calloc((size_t)law->vocab + 1, sizeof *law->start);
    if (!r.x || !r.rows || !law->start) {
        st = amg_fail(err, AMG_NO_MEMORY, -1, "noise", "no memory to count tokens");
    } else if (law->kind == AMG_NOISE_BIGRAM) {
        st = take_pairs(&r, law, err);
    } else {
        st = walk_samples(&r, law, count_tokens, err);
        sum_up(law->start, law->vocab);
    }
    amg_free(r.x);
    amg_free(r.rows);
    return st;
}

amg_status amg_noise_fit_tokens(amg_noise kind, const amg_dataset *ds, int64_t vocab,
                                amg_noise_law *out, amg_error *err)
{
    const amg_dataset_info *info = amg_dataset_get_info(ds);
    amg_noise_law law = {.kind = kind, .dtype = AMG_I32, .vocab = vocab};
    if (kind != AMG_NOISE_UNIFORM && kind != AMG_NOISE_UNIGRAM &&
        kind != AMG_NOISE_BIGRAM)
        return amg_fail(err, AMG_INVALID, -1, "noise",
                        "is for numbers, tokens take uniform, unigram or bigram");
    if (info->dtype != AMG_I32 || info->num_samples < 1 ||
        info->sample_bytes < 2 * sizeof(int32_t) || vocab < 1)
        return amg_fail(err, AMG_INVALID, -1, amg_dataset_source(ds),
                        "found no samples of two tokens to fit noise to");
    amg_status st = kind == AMG_NOISE_UNIFORM ? AMG_OK : fit(ds, &law, err);
    if (st == AMG_OK)
        *out = law;
    else
        amg_noise_clear(&law);
    return st;
}

/* ---- draws ---- */

/* The token whose range of start holds a uniform number: as often as it was counted. */
static int32_t draw_counted(const amg_noise_law *law, amg_keystream *ks)
{
    const int64_t at =
        (int64_t)amg_keystream_below(ks, (uint64_t)law->start[law->vocab]);
    int64_t low = 0, high = law->vocab; /* start[low] <= at < start[high] */
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        if (law->start[middle] <= at)
            low = middle;
        else
            high = middle;
    }
    return (int32_t)low;
}

static int32_t draw_next(const amg_noise_law *law, amg_keystream *ks, int32_t before)
{
    const int64_t begin = law->start[before];
    const int64_t count = law->start[before + 1] - begin;
    if (count == 0) return draw_counted(law, ks);
    return law->next[begin + (int64_t)amg_keystream_below(ks, (uint64_t)count)];
}

void amg_noise_fill_tokens(const amg_noise_law *law, amg_keystream *ks, int64_t num,
                           int32_t *out)
{
    for (int64_t i = 0; i < num; i++) {
        if (law->kind == AMG_NOISE_UNIFORM)
            out[i] = (int32_t)amg_keystream_below(ks, (uint64_t)law->vocab);
        else if (law->kind == AMG_NOISE_UNIGRAM || i == 0)
            out[i] = draw_counted(law, ks);
        else
            out[i] = draw_next(law, ks, out[i - 1]);
    }
}
