/* Text files -> a token set. Consumes options, produces the set and its vocabulary:
 * which tokenizer and classes there are, which passes over the inputs they take. */
#include <time.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/parallel.h"
#include "text/tokenize_pass.h"

static amg_status no_memory(amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, "tokenize", "no memory");
}

/* ---- what the set is made with ---- */

/* The classes of the token set whose vocabulary is used, if it has any. */
static amg_status take_classes_of_set(amg_text_job *j, amg_error *err)
{
    amg_token_set set;
    if (j->o->vocabulary == NULL || !amg_path_is_dir(j->o->vocabulary)) return AMG_OK;
    char *description = amg_path_join(j->o->vocabulary, "tokens.json");
    if (description == NULL) return no_memory(err);
    const bool is_set = amg_path_exists(description);
    amg_free(description);
    if (!is_set) return AMG_OK;
    amg_status st = amg_token_set_open(j->o->vocabulary, &set, err);
    if (st != AMG_OK) return st;
    if (set.info.num_classes > 0)
        st = amg_classes_set(&j->classes, set.info.classes, set.info.num_classes, err);
    amg_token_set_close(&set);
    return st;
}

static amg_status check_options(const amg_tokenize_options *o, amg_error *err)
{
    if (o->num_inputs < 1)
        return amg_fail(err, AMG_INVALID, -1, "tokenize", "no file to read");
    if (o->whole_file &&
        (o->records.text != NULL || o->records.label != NULL ||
         (!o->records.format_by_name && o->records.format != AMG_RECORDS_TEXT)))
        return amg_fail(
            err, AMG_INVALID, -1, "tokenize",
            "a whole file is plain text: it has neither columns nor labels");
    if (o->num_classes > 0 && o->records.label == NULL)
        return amg_fail(err, AMG_INVALID, -1, "tokenize",
                        "classes, but no column of labels");
    if (amg_path_exists(o->out))
        return amg_fail(err, AMG_EXISTS, -1, o->out, "exists already, not overwritten");
    return AMG_OK;
}

/* The tokenizer and the classes, as far as they do not come from the inputs. */
static amg_status prepare(amg_text_job *j, amg_error *err)
{
    const amg_tokenize_options *o = j->o;
    amg_status st = check_options(o, err);
    if (st != AMG_OK) return st;
    j->has_labels = o->records.label != NULL;
    j->words = o->words;
    j->words.pad = o->words.pad || j->has_labels;
    if (o->vocabulary != NULL)
        st = amg_tokenizer_open(o->vocabulary, &j->tokenizer, err);
    else if (o->kind == AMG_TOKENIZER_BYTE)
        st = amg_tokenizer_bytes(&j->tokenizer, err);
    else if (o->kind == AMG_TOKENIZER_BPE)
        st = amg_fail(err, AMG_INVALID, -1, "tokenize",
                      "byte pair encoding, and no tokenizer to take it from");
    if (st != AMG_OK || !j->has_labels) return st;
    if (o->num_classes > 0)
        return amg_classes_set(&j->classes, o->classes, o->num_classes, err);
    return take_classes_of_set(j, err);
}

static void number_words(void *context, int64_t begin, int64_t end)
{
    const amg_text_job *j = context;
    for (int64_t i = begin; i < end; i++)
        j->tokens_of[i] = amg_word_counter_tokens(j->counters[i], j->tokenizer);
}

/* What the numbers of kept words are in the set. */
static amg_status number_kept(amg_text_job *j, amg_error *err)
{
    amg_parallel_for(j->num_threads, 1, number_words, j);
    for (int i = 0; i < j->num_threads; i++)
        if (j->tokens_of[i] == NULL) return no_memory(err);
    return AMG_OK;
}

/* The first pass, if anything is to be learned from the inputs. */
static amg_status learn(amg_text_job *j, amg_error *err)
{
    const bool make_words = j->tokenizer == NULL;
    const bool make_classes = j->has_labels && !j->classes.sealed;
    if (!make_words && !make_classes) return AMG_OK;
    amg_status st =
        amg_text_pass(j, make_words ? AMG_COUNT_WORDS : AMG_COLLECT_LABELS, err);
    if (st == AMG_OK && make_classes)
        st = amg_classes_seal(&j->classes, j->kept.complete ? &j->class_of : NULL, err);
    if (!make_words) return st;
    for (int i = 1; i < j->num_threads && st == AMG_OK; i++)
        st = amg_word_counter_merge(j->counters[0], j->counters[i], err);
    if (st == AMG_OK)
        st = amg_word_counter_finish(j->counters[0], &j->words, &j->tokenizer, err);
    return st == AMG_OK && j->kept.complete ? number_kept(j, err) : st;
}

/* ---- the set ---- */

static amg_status begin_set(amg_text_job *j, amg_error *err)
{
    amg_token_info info = {.vocab_size = amg_tokenizer_size(j->tokenizer),
                           .pad = amg_tokenizer_pad(j->tokenizer),
                           .eos = amg_tokenizer_eos(j->tokenizer)};
    if (j->has_labels && info.pad == AMG_NO_TOKEN) {
        const amg_status st =
            amg_fail(err, AMG_MISMATCH, -1,
                     j->o->vocabulary != NULL ? j->o->vocabulary : "tokenize",
                     "the vocabulary has no token to fill documents up with");
        amg_hint(err, "make it with --label, or with --pad");
        return st;
    }
    const char **names = NULL;
    if (j->has_labels) {
        names = amg_classes_names(&j->classes);
        if (names == NULL) return no_memory(err);
        info.num_classes = j->classes.labels.count;
        info.classes = names;
    }
    const amg_status st = amg_token_writer_new(j->o->out, &info, &j->writer, err);
    amg_free(names);
    return st;
}

static amg_status save_vocabulary(const amg_text_job *j, amg_error *err)
{
    char *path = amg_path_join(amg_token_writer_dir(j->writer), "vocabulary.json");
    if (path == NULL) return no_memory(err);
    const amg_status st = amg_tokenizer_save(j->tokenizer, path, err);
    amg_free(path);
    return st;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

amg_status amg_tokenize(const amg_tokenize_options *options,
                        const amg_progress *progress, amg_tokenize_result *result,
                        amg_error *err)
{
    amg_text_job j = {.o = options, .progress = progress};
    const double start = now();
    amg_status st = prepare(&j, err);
    if (st == AMG_OK) st = amg_text_job_init(&j, err);
    if (st == AMG_OK) st = learn(&j, err);
    if (st == AMG_OK) st = begin_set(&j, err);
    if (st == AMG_OK) st = save_vocabulary(&j, err);
    if (st == AMG_OK)
        st = amg_text_pass(&j, j.kept.complete ? AMG_RENUMBER : AMG_ENCODE, err);
    if (st == AMG_OK) {
        st = amg_token_writer_finish(j.writer, &j.result.info, err);
        j.writer = NULL;
    }
    if (st == AMG_OK) {
        j.result.seconds = now() - start;
        *result = j.result;
    }
    amg_text_job_clear(&j);
    return st;
}
