/* amalgam generate: text from a language model, token by token to stdout. Consumes a
 * model, its vocabulary and a prompt. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/parallel.h"
#include "cli/options.h"
#include "cli/ui.h"
#include "cli/verbs.h"
#include "engine/generate.h"
#include "engine/sampler.h"
#include "formats/token_set.h"
#include "graph/onnx_graph.h"
#include "text/tokenizer.h"

#define MAX_PROMPT_BYTES ((size_t)1 << 20)

typedef struct {
    const char *model, *vocabulary, *prompt;
    int64_t count;
    amg_sampling sampling;
} request;

/* What is open while text is made. */
typedef struct {
    const request *ask;
    amg_tokenizer *tokenizer;
    amg_graph *graph;
    amg_generator *generator;
    amg_sampler sampler;
    char *stdin_text;
    amg_tokens tokens; /* the prompt's, then those drawn */
} session;

static void close_session(session *s)
{
    amg_tokens_clear(&s->tokens);
    amg_free(s->stdin_text);
    amg_sampler_clear(&s->sampler);
    amg_generator_free(s->generator);
    amg_graph_free(s->graph);
    amg_tokenizer_free(s->tokenizer);
}

/* All of stdin. */
static amg_status read_stdin(session *s, size_t *size, amg_error *err)
{
    s->stdin_text = amg_malloc(MAX_PROMPT_BYTES + 1);
    if (!s->stdin_text) return amg_fail(err, AMG_NO_MEMORY, -1, "stdin", "a prompt");
    *size = fread(s->stdin_text, 1, MAX_PROMPT_BYTES + 1, stdin);
    if (ferror(stdin)) return amg_fail_errno(err, errno, "stdin", "cannot read it");
    if (*size > MAX_PROMPT_BYTES)
        return amg_fail(err, AMG_INVALID, -1, "stdin",
                        "the prompt is longer than %zu bytes", MAX_PROMPT_BYTES);
    return AMG_OK;
}

/* Encodes and refuses what the vocabulary has no token for. */
static amg_status encode(session *s, const char *text, size_t size, int64_t offset,
                         amg_error *err)
{
    static const char unknown_word[] = "<unk>";
    const int64_t unknown = amg_tokenizer_unknown(s->tokenizer);
    const int64_t first = s->tokens.count;
    amg_status st = amg_tokenizer_encode(s->tokenizer, text, size, "prompt", offset,
                                         &s->tokens, err);
    if (st || unknown == AMG_NO_TOKEN) return st;
    if (size == sizeof unknown_word - 1 && !memcmp(text, unknown_word, size))
        return AMG_OK;
    for (int64_t i = first; i < s->tokens.count; i++)
        if (s->tokens.ids[i] == unknown) {
            st = amg_fail(err, AMG_NOT_FOUND, offset, "prompt",
                          "the vocabulary has no token for '%.*s'",
                          size < 80 ? (int)size : 80, text);
            amg_hint(err, "write %s in its place", unknown_word);
            return st;
        }
    return AMG_OK;
}

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static amg_status append_token(session *s, int64_t token, amg_error *err)
{
    amg_tokens *t = &s->tokens;
    if (t->count == t->room) {
        const int64_t room = t->room ? 2 * t->room : 64;
        int32_t *grown = amg_realloc(t->ids, (size_t)room * sizeof *grown);
        if (!grown) return amg_fail(err, AMG_NO_MEMORY, -1, "tokens", "no memory");
        t->ids = grown;
        t->room = room;
    }
    t->ids[t->count++] = (int32_t)token;
    return AMG_OK;
}

/* Word by word, so that an unknown one can be named; a line end is <eos>. */
static amg_status encode_words(session *s, const char *text, size_t size,
                               amg_error *err)
{
    const int64_t eos = amg_tokenizer_eos(s->tokenizer);
    amg_status st = AMG_OK;
    for (size_t at = 0; at < size && !st;) {
        size_t end = at;
        while (end < size && !is_space(text[end])) end++;
        if (end > at) {
            st = encode(s, text + at, end - at, (int64_t)at, err);
            at = end;
        } else if (text[at++] == '\n' && eos != AMG_NO_TOKEN) {
            st = append_token(s, eos, err);
        }
    }
    return st;
}

/* Without a prompt a text begins behind the end of another, or on a new line. */
static amg_status encode_nothing(session *s, amg_error *err)
{
    const int64_t eos = amg_tokenizer_eos(s->tokenizer);
    if (amg_tokenizer_get_kind(s->tokenizer) == AMG_TOKENIZER_BYTE)
        return append_token(s, '\n', err);
    if (eos != AMG_NO_TOKEN) return append_token(s, eos, err);
    return amg_fail(err, AMG_INVALID, -1, "prompt",
                    "is empty, and the vocabulary has no <eos> to begin behind");
}

static amg_status encode_prompt(session *s, amg_error *err)
{
    const char *text = s->ask->prompt ? s->ask->prompt : "";
    size_t size = strlen(text);
    amg_status st = AMG_OK;
    if (!strcmp(text, "-")) {
        st = read_stdin(s, &size, err);
        text = s->stdin_text;
    }
    if (!st && size)
        st = amg_tokenizer_get_kind(s->tokenizer) == AMG_TOKENIZER_WORD
                 ? encode_words(s, text, size, err)
                 : encode(s, text, size, 0, err);
    return st || s->tokens.count ? st : encode_nothing(s, err);
}

static amg_status open_session(session *s, amg_error *err)
{
    const request *ask = s->ask;
    amg_sampling sampling = ask->sampling;
    amg_status st = amg_tokenizer_open(ask->vocabulary, &s->tokenizer, err);
    if (!st) st = amg_graph_read_onnx(ask->model, &s->graph, err);
    if (!st) st = amg_generator_new(s->graph, ask->model, &s->generator, err);
    if (st) return st;
    const int64_t vocab = amg_generator_vocab(s->generator);
    if (amg_tokenizer_size(s->tokenizer) != vocab) {
        amg_fail(
            err, AMG_MISMATCH, -1, ask->vocabulary, "has %lld tokens, %s predicts %lld",
            (long long)amg_tokenizer_size(s->tokenizer), ask->model, (long long)vocab);
        amg_hint(err, "give the token set or vocabulary that the model was trained on");
        return AMG_MISMATCH;
    }
    sampling.never = amg_tokenizer_pad(s->tokenizer);
    sampling.has_never = sampling.never != AMG_NO_TOKEN;
    st = amg_sampler_init(&sampling, vocab, &s->sampler, err);
    return st ? st : encode_prompt(s, err);
}

/* Writes what tokens from.. add to the text: how a token reads depends on the one
 * before it (a space between words). */
static amg_status show(const session *s, int64_t from, amg_error *err)
{
    const amg_tokens *t = &s->tokens;
    const int64_t before = from ? from - 1 : 0;
    amg_chars old = {0}, all = {0};
    amg_status st =
        amg_tokenizer_decode(s->tokenizer, t->ids + before, from - before, &old, err);
    if (!st)
        st = amg_tokenizer_decode(s->tokenizer, t->ids + before, t->count - before,
                                  &all, err);
    if (!st && all.size > old.size) {
        fwrite(all.data + old.size, 1, all.size - old.size, stdout);
        fflush(stdout);
    }
    amg_chars_clear(&old);
    amg_chars_clear(&all);
    return st;
}

static amg_status make_text(session *s, amg_error *err)
{
    amg_status st = s->ask->prompt && s->ask->prompt[0] ? show(s, 0, err) : AMG_OK;
    for (int64_t i = 0; i < s->ask->count && !st && !ferror(stdout); i++) {
        const float *logits;
        int32_t token;
        st = amg_generator_next(s->generator, s->tokens.ids, s->tokens.count, &logits,
                                err);
        if (!st) st = amg_sampler_draw(&s->sampler, logits, &token, err);
        if (!st) st = append_token(s, token, err);
        if (!st) st = show(s, s->tokens.count - 1, err);
    }
    if (!st) printf("\n");
    return st;
}

int verb_generate(int argc, char **argv)
{
    request ask = {.count = 100, .sampling = {.temperature = 1, .top_p = 1}};
    int64_t seed = 1, threads = 0;
    const cli_option table[] = {
        {"model", CLI_STRING, &ask.model, "ONNX", "the language model",
         .required = true},
        {"vocab", CLI_STRING, &ask.vocabulary, "SET",
         "what it was trained on: a token set, its vocabulary.json, or\na "
         "tokenizer.json",
         .required = true},
        {"prompt", CLI_STRING, &ask.prompt, "TEXT",
         "text to continue; -: from stdin. Without it the text begins\nbehind <eos>, "
         "or on a new line"},
        {"tokens", CLI_INT, &ask.count, "N", "how many to make (100)", 1, 1e9},
        {"temperature", CLI_REAL, &ask.sampling.temperature, "X",
         "below 1: likely tokens more often (1); 0: always the most likely", 0, 1e6},
        {"top-k", CLI_INT, &ask.sampling.top_k, "K",
         "draw from the K most likely tokens only (all)", 1, 1 << 30},
        {"top-p", CLI_REAL, &ask.sampling.top_p, "P",
         "draw from the fewest that together have probability P (1)", 1e-9, 1},
        {"seed", CLI_INT, &seed, "N", "the same seed, the same text (1)", 0, 9e15},
        {"threads", CLI_INT, &threads, "N", "CPU threads (all cores)", 1, 1024},
    };
    const cli_command command = {
        .name = "amalgam generate",
        .synopsis = "--model ONNX --vocab SET [--prompt TEXT|-] [--tokens N] [options]",
        .about =
            "Continues a text with a language model, one token at a time, to stdout. "
            "The model\n"
            "takes I64 [N, seq] and gives logits F32 [N, seq, vocabulary] or [N * seq, "
            "vocabulary].\n"
            "It sees the last seq tokens. A shorter text stands at the window's "
            "beginning and is\n"
            "read at its last token: predictions must not depend on what is behind "
            "them, which is\n"
            "tried out first. <pad> is never drawn.",
        .examples =
            "  amalgam generate --model lm-trained.onnx --vocab wiki.train "
            "--prompt 'The city of' \\\n      --tokens 50 --temperature 0.8 --seed 3",
        .options = table,
        .num_options = sizeof table / sizeof *table};
    int code = cli_parse(&command, argc, argv, NULL);
    if (code != CLI_GO_ON) return code;
    amg_error err = {0};
    ask.sampling.seed = (uint64_t)seed;
    amg_set_threads((int)threads);
    session s = {.ask = &ask};
    amg_status st = open_session(&s, &err);
    if (!st) st = make_text(&s, &err);
    close_session(&s);
    if (st) return ui_error(&err);
    return ui_flush() ? CLI_OK : CLI_FAILURE;
}
