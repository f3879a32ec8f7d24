/* One token set -> disjoint ones. Consumes a set, produces its pieces in random order,
 * dealt out to parts, and a copy of the vocabulary for each. Knows nothing of text.
 *
 * The order is what makes any stretch of a part as good as another part: in the set's
 * own order a stretch would be one region of the text, a whole part all of it, and
 * covers that are stretches of a pool (obfuscate/covers.h) would be known by that. */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/rng.h"
#include "text/tokenize.h"

/* Stream of the random numbers that deal pieces out: fixed for ever, since it decides
 * what a seed means. */
#define SPLIT_STREAM 0x73706c74 /* "splt" */
#define BUFFER_TOKENS ((int64_t)1 << 16)
#define REPORT_TOKENS ((int64_t)1 << 22)
#define MAX_PARTS 256

typedef struct {
    const amg_split_options *o;
    const amg_progress *progress;
    amg_token_set set;
    int64_t chunk;      /* 0: whole documents */
    int64_t num_pieces; /* documents, or runs of chunk tokens */
    int64_t *order;     /* [num_pieces] the pieces of part 0, then of part 1, … */
    int64_t *ends;      /* [num_parts] where a part ends in order */
    int32_t *buffer;    /* [BUFFER_TOKENS] */
    amg_token_writer **writers;
    int64_t written, reported; /* tokens, now and at the last report */
} job;

static amg_status no_memory(const job *j, amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, j->o->input, "no memory to split it");
}

static amg_status check_options(const amg_split_options *o, amg_error *err)
{
    if (o->num_parts < 2 || o->num_parts > MAX_PARTS)
        return amg_fail(err, AMG_INVALID, -1, o->input, "%d parts, expected 2 to %d",
                        o->num_parts, MAX_PARTS);
    if (o->chunk < 0)
        return amg_fail(err, AMG_INVALID, -1, o->input, "pieces of %lld tokens",
                        (long long)o->chunk);
    for (int i = 0; i < o->num_parts; i++) {
        if (!(o->shares[i] > 0) || !isfinite(o->shares[i]))
            return amg_fail(err, AMG_INVALID, -1, o->outs[i],
                            "a share of %g, expected a positive number", o->shares[i]);
        for (int k = 0; k < i; k++)
            if (strcmp(o->outs[i], o->outs[k]) == 0)
                return amg_fail(err, AMG_INVALID, -1, o->outs[i], "named twice");
    }
    return AMG_OK;
}

/* The last piece may be a short one: last in its part, it leaves the pieces there in
 * step with windows of which a whole number makes a piece. */
static void put_last(int64_t *pieces, int64_t num, int64_t piece)
{
    for (int64_t i = 0; i < num - 1; i++)
        if (pieces[i] == piece) {
            pieces[i] = pieces[num - 1];
            pieces[num - 1] = piece;
        }
}

/* Deals the pieces out: the keyed shuffle, cut where the shares say. */
static amg_status deal(job *j, amg_error *err)
{
    const amg_split_options *o = j->o;
    const int64_t n = j->num_pieces;
    double all = 0, sum = 0;
    int64_t begin = 0;
    for (int i = 0; i < o->num_parts; i++) all += o->shares[i];
    amg_rng rng = amg_rng_init(o->seed, SPLIT_STREAM);
    amg_rng_permutation(&rng, n, j->order);
    for (int i = 0; i < o->num_parts; i++) {
        sum += o->shares[i];
        const int64_t end =
            i == o->num_parts - 1 ? n : (int64_t)floor((double)n * (sum / all) + 0.5);
        if (end <= begin) {
            amg_fail(err, AMG_INVALID, -1, o->outs[i],
                     "its share of %lld pieces is none", (long long)n);
            if (j->chunk > 0) amg_hint(err, "--chunk makes smaller pieces");
            return AMG_INVALID;
        }
        if (j->chunk > 0) put_last(j->order + begin, end - begin, n - 1);
        j->ends[i] = begin = end;
    }
    return AMG_OK;
}

/* ---- writing ---- */

static amg_status copy_vocabulary(const job *j, const char *to, amg_error *err)
{
    amg_map map = {0};
    char *source = amg_path_join(j->o->input, "vocabulary.json");
    char *copy = amg_path_join(to, "vocabulary.json");
    amg_status st = source != NULL && copy != NULL ? amg_map_open(source, &map, err)
                                                   : no_memory(j, err);
    if (st == AMG_OK) st = amg_file_write(copy, 0644, true, map.data, map.size, err);
    amg_map_close(&map);
    amg_free(source);
    amg_free(copy);
    return st;
}

static amg_status open_writers(job *j, amg_error *err)
{
    amg_status st = AMG_OK;
    for (int i = 0; i < j->o->num_parts && st == AMG_OK; i++) {
        st = amg_token_writer_new(j->o->outs[i], &j->set.info, &j->writers[i], err);
        if (st == AMG_OK)
            st = copy_vocabulary(j, amg_token_writer_dir(j->writers[i]), err);
    }
    return st;
}

static amg_status report(job *j, amg_error *err)
{
    const amg_progress_event event = {.stage = "split",
                                      .done = j->written,
                                      .total = j->set.info.num_tokens,
                                      .loss = NAN,
                                      .accuracy = NAN};
    if (j->progress == NULL || j->progress->report == NULL) return AMG_OK;
    if (j->written - j->reported < REPORT_TOKENS && j->written < event.total)
        return AMG_OK;
    j->reported = j->written;
    if (j->progress->report(j->progress->context, &event)) return AMG_OK;
    return amg_fail(err, AMG_INTERRUPTED, -1, j->o->input, "stopped, nothing written");
}

/* Tokens begin .. end-1, one document of a part. */
static amg_status copy_document(job *j, int part, int64_t begin, int64_t end,
                                int32_t label, amg_error *err)
{
    amg_token_writer *w = j->writers[part];
    amg_status st = AMG_OK;
    int64_t num;
    j->written += end - begin;
    for (;; begin += num) {
        num = end - begin < BUFFER_TOKENS ? end - begin : BUFFER_TOKENS;
        st = amg_token_set_read(&j->set, begin, num, j->buffer, err);
        if (st != AMG_OK) return st;
        if (begin + num == end) break;
        st = amg_token_writer_part(w, j->buffer, num, err);
        if (st != AMG_OK) return st;
    }
    st = amg_token_writer_add(w, j->buffer, num, label, err);
    return st == AMG_OK ? report(j, err) : st;
}

/* A run of tokens. It ends a document, and documents within it end where they did. */
static amg_status copy_chunk(job *j, int part, int64_t piece, amg_error *err)
{
    const int64_t left = j->set.info.num_tokens - piece * j->chunk;
    const int64_t begin = piece * j->chunk;
    const int64_t end = begin + (left < j->chunk ? left : j->chunk);
    amg_status st = AMG_OK;
    int64_t d = amg_token_set_document(&j->set, begin);
    for (int64_t at = begin, stop; at < end && st == AMG_OK; at = stop) {
        while (j->set.documents[d + 1] <= at) d++;
        stop = j->set.documents[d + 1] < end ? j->set.documents[d + 1] : end;
        st = copy_document(j, part, at, stop, 0, err);
    }
    return st;
}

static amg_status copy_pieces(job *j, amg_error *err)
{
    const amg_token_set *set = &j->set;
    amg_status st = AMG_OK;
    int part = 0;
    for (int64_t i = 0; i < j->num_pieces && st == AMG_OK; i++) {
        const int64_t d = j->order[i];
        if (i == j->ends[part]) part++;
        st = j->chunk > 0
                 ? copy_chunk(j, part, d, err)
                 : copy_document(j, part, set->documents[d], set->documents[d + 1],
                                 set->labels != NULL ? set->labels[d] : 0, err);
    }
    return st;
}

/* All parts, or none: those that were finished go again. */
static amg_status finish(job *j, amg_token_info *parts, amg_error *err)
{
    const int n = j->o->num_parts;
    amg_token_info *infos = amg_calloc((size_t)n, sizeof *infos);
    amg_status st = infos != NULL ? AMG_OK : no_memory(j, err);
    int done = 0;
    for (; done < n && st == AMG_OK; done++) {
        st = amg_token_writer_finish(j->writers[done], &infos[done], err);
        j->writers[done] = NULL;
        if (st != AMG_OK) break;
    }
    if (st == AMG_OK)
        memcpy(parts, infos, (size_t)n * sizeof *infos);
    else
        while (done > 0) amg_dir_remove(j->o->outs[--done]);
    amg_free(infos);
    return st;
}

static amg_status open_input(job *j, amg_error *err)
{
    amg_status st = amg_token_set_open(j->o->input, &j->set, err);
    if (st != AMG_OK) return st;
    j->chunk = j->set.labels != NULL ? 0 : j->o->chunk;
    j->num_pieces = j->chunk > 0 ? (j->set.info.num_tokens - 1) / j->chunk + 1
                                 : j->set.info.num_documents;
    j->buffer = amg_malloc((size_t)BUFFER_TOKENS * sizeof *j->buffer);
    j->order = amg_malloc((size_t)j->num_pieces * sizeof *j->order);
    j->ends = amg_malloc((size_t)j->o->num_parts * sizeof *j->ends);
    j->writers = amg_calloc((size_t)j->o->num_parts, sizeof(amg_token_writer *));
    return j->buffer && j->order && j->ends && j->writers ? AMG_OK : no_memory(j, err);
}

amg_status amg_split_tokens(const amg_split_options *options,
                            const amg_progress *progress, amg_token_info *parts,
                            amg_error *err)
{
    job j = {.o = options, .progress = progress};
    amg_status st = check_options(options, err);
    if (st == AMG_OK) st = open_input(&j, err);
    if (st == AMG_OK) st = deal(&j, err);
    if (st == AMG_OK) st = open_writers(&j, err);
    if (st == AMG_OK) st = copy_pieces(&j, err);
    if (st == AMG_OK) st = finish(&j, parts, err);
    for (int i = 0; j.writers != NULL && i < options->num_parts; i++)
        amg_token_writer_abort(j.writers[i]);
    amg_token_set_close(&j.set);
    amg_free(j.writers);
    amg_free(j.buffer);
    amg_free(j.order);
    amg_free(j.ends);
    return st;
}
