/* Cutting text into the pieces within which tokens merge: patterns of a tokenizer.json
 * through PCRE2. Consumes patterns written for Oniguruma in Ruby's syntax; the few
 * things that PCRE2 reads in another way are rewritten or refused.
 *
 *   \s          White_Space: PCRE2's takes U+180E for space, so it is spelled out
 *   ^ $ .       lines: PCRE2_MULTILINE, lines end with LF
 *   \w \b       other letters there: refused; so are \h, sets within sets, &&, {,3},
 * {1,3}+ and whatever only one of the two knows
 */
#include <string.h>

#include "base/alloc.h"
#include "text/bpe_private.h"

#define WHITE "\\t-\\r\\x{85}\\p{Z}"
/* Letters that may stand behind a backslash with one meaning in both; so may p{…}, P{…}
 * and x{…}. */
#define SAME_ESCAPES "dDtnrfAz"
#define MAX_PATTERN 65536

static bool is_letter_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool put(amg_chars *out, const char *text)
{
    return amg_chars_append(out, text, strlen(text));
}

static amg_status refuse(const amg_json_node *node, const char *what, amg_error *err)
{
    return amg_json_fail(node, err, AMG_UNSUPPORTED,
                         "the pattern has %s, which is not covered", what);
}

/* Copies an escape p[0..1] and what belongs to it; *size: how much that was. */
static amg_status copy_escape(const amg_json_node *node, const char *p, bool in_class,
                              amg_chars *out, size_t *size, amg_error *err)
{
    const char c = p[1], *braced = NULL;
    bool done;
    if (c != 0 && strchr("pPx", c) != NULL)
        braced = p[2] == '{' ? strchr(p, '}') : NULL;
    *size = braced != NULL ? (size_t)(braced + 1 - p) : 2;
    if (c == 's') {
        done = put(out, in_class ? WHITE : "[" WHITE "]");
    } else if (c == 'S' && !in_class) {
        done = put(out, "[^" WHITE "]");
    } else if (c != 0 && (braced != NULL || !is_letter_or_digit(c) ||
                          strchr(SAME_ESCAPES, c) != NULL)) {
        done = amg_chars_append(out, p, *size);
    } else {
        const char what[] = {'\\', c, 0};
        return refuse(node, what, err);
    }
    return done ? AMG_OK : amg_bpe_no_memory(node->doc->name, err);
}

/* What begins at p and means another thing to PCRE2; NULL: nothing. */
static const char *find_foreign(const char *p, bool in_class)
{
    if (in_class) {
        if (*p == '[') return "a set within a set";
        return p[0] == '&' && p[1] == '&' ? "&&" : NULL;
    }
    if (p[0] == '[' && (p[1] == ']' || (p[1] == '^' && p[2] == ']')))
        return "an empty set";
    if (p[0] == '{' && p[1] == ',') return "an interval without a begin";
    if (p[0] == '}' && p[1] == '+') return "a plus behind an interval";
    if (p[0] != '(') return NULL;
    if (p[1] == '*') return "a verb";
    if (p[1] != '?') return NULL;
    for (p += 2; *p != 0 && strchr("imxsnJUR-", *p) != NULL; p++)
        if (*p != 'i') return "an option other than i";
    return *p == '(' || *p == 'C' || *p == '&' || *p == 'P' || *p == '|' ||
                   (*p >= '0' && *p <= '9') || *p == '+'
               ? "a condition or a recursion"
               : NULL;
}

/* The pattern as PCRE2 has to see it. */
static amg_status rewrite(const amg_json_node *node, const char *p, amg_chars *out,
                          amg_error *err)
{
    bool in_class = false;
    while (*p != 0) {
        const char *foreign = find_foreign(p, in_class);
        if (foreign != NULL) return refuse(node, foreign, err);
        size_t size = 1;
        if (*p == '\\') {
            const amg_status st = copy_escape(node, p, in_class, out, &size, err);
            if (st != AMG_OK) return st;
        } else {
            if (*p == '[') size += p[1] == '^';
            if (!amg_chars_append(out, p, size))
                return amg_bpe_no_memory(node->doc->name, err);
            in_class = in_class ? *p != ']' : *p == '[';
        }
        p += size;
    }
    return AMG_OK;
}

amg_status amg_bpe_compile(const amg_json_node *pattern, bool literal,
                           pcre2_general_context *memory, pcre2_code **out,
                           amg_error *err)
{
    const char *text;
    amg_chars rewritten = {0};
    amg_status st = amg_json_string(pattern, &text, err);
    if (st != AMG_OK) return st;
    if (*text == 0 || strlen(text) > MAX_PATTERN)
        return refuse(pattern, *text == 0 ? "no text" : "more than 64 KiB", err);
    pcre2_compile_context *context = pcre2_compile_context_create(memory);
    if (context == NULL) return amg_bpe_no_memory(pattern->doc->name, err);
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    uint32_t options =
        PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
    if (literal) {
        options = PCRE2_UTF | PCRE2_LITERAL;
        if (!put(&rewritten, text)) st = amg_bpe_no_memory(pattern->doc->name, err);
    } else {
        st = rewrite(pattern, text, &rewritten, err);
    }
    int code = 0;
    PCRE2_SIZE at = 0;
    pcre2_code *compiled = NULL;
    if (st == AMG_OK)
        compiled = pcre2_compile((PCRE2_SPTR)rewritten.data, rewritten.size, options,
                                 &code, &at, context);
    if (st == AMG_OK && compiled == NULL) {
        PCRE2_UCHAR reason[128];
        pcre2_get_error_message(code, reason, sizeof reason);
        const bool memory_failed = code == PCRE2_ERROR_HEAP_FAILED;
        st =
            amg_json_fail(pattern, err, memory_failed ? AMG_NO_MEMORY : AMG_UNSUPPORTED,
                          "the pattern: %s", (const char *)reason);
    }
    if (st == AMG_OK) {
        pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE); /* without, it is slower */
        *out = compiled;
    }
    pcre2_compile_context_free(context);
    amg_chars_clear(&rewritten);
    return st;
}

/* One step at work: parts of the piece come in order, matches and what is between, and
 * wait until the behavior has said what they belong to. */
typedef struct {
    const amg_bpe *bpe;
    amg_bpe_work *work;
    int step;
    amg_piece piece;
    size_t begin, end; /* of the part that waits */
    bool waits;
    bool match;     /* it is one, or began as one */
    bool was_match; /* what came last */
} cutter;

static amg_status flush(cutter *c)
{
    if (!c->waits || c->begin == c->end) return AMG_OK;
    c->waits = false;
    const amg_piece part = {c->piece.text + c->begin, c->end - c->begin,
                            c->piece.at + (int64_t)c->begin};
    return amg_bpe_split(c->bpe, c->work, c->step + 1, part);
}

static amg_status add_part(cutter *c, size_t begin, size_t end, bool match)
{
    const amg_bpe_step *step = &c->bpe->steps[c->step];
    if (step->invert) match = !match;
    bool joins = false;
    switch (step->behavior) {
    case AMG_SPLIT_REMOVED:
        if (match) return AMG_OK;
        break;
    case AMG_SPLIT_ISOLATED: break;
    case AMG_SPLIT_PREVIOUS: joins = match && !c->was_match; break;
    case AMG_SPLIT_NEXT: joins = !match && c->was_match; break;
    case AMG_SPLIT_CONTIGUOUS: joins = match == c->was_match; break;
    }
    c->was_match = match;
    if (joins && c->waits) {
        c->end = end;
        return AMG_OK;
    }
    const amg_status st = flush(c);
    c->begin = begin;
    c->end = end;
    c->waits = true;
    return st;
}

static amg_status match_failed(const cutter *c, size_t at, int code)
{
    PCRE2_UCHAR reason[128];
    pcre2_get_error_message(code, reason, sizeof reason);
    const amg_bpe_work *w = c->work;
    return amg_fail(w->err, code == PCRE2_ERROR_NOMEMORY ? AMG_NO_MEMORY : AMG_BACKEND,
                    w->offset + c->piece.at + (int64_t)at, w->name,
                    "a pattern of the tokenizer fails here: %s", (const char *)reason);
}

/* A part between matches that ends at pos is added before the match there. */
static amg_status cut(cutter *c, const pcre2_code *pattern)
{
    const amg_piece piece = c->piece;
    const PCRE2_SIZE *found = pcre2_get_ovector_pointer(c->work->match);
    size_t done = 0;
    for (size_t pos = 0; pos < piece.size;) {
        const int code =
            pcre2_match(pattern, (PCRE2_SPTR)piece.text, piece.size, pos,
                        PCRE2_NO_UTF_CHECK, c->work->match, c->work->context);
        if (code == PCRE2_ERROR_NOMATCH) break;
        if (code < 0) return match_failed(c, pos, code);
        const size_t begin = found[0], end = found[1];
        amg_status st = AMG_OK;
        if (begin < pos || end < begin)
            return match_failed(c, pos, PCRE2_ERROR_INTERNAL);
        if (begin > done) st = add_part(c, done, begin, false);
        if (st == AMG_OK && begin < piece.size) st = add_part(c, begin, end, true);
        if (st != AMG_OK) return st;
        done = pos = end;
        if (begin == end) /* nothing matched here: go on behind the next code point */
            do pos++;
            while (pos < piece.size && ((unsigned char)piece.text[pos] & 0xc0) == 0x80);
    }
    amg_status st = AMG_OK;
    if (done < piece.size) st = add_part(c, done, piece.size, false);
    return st == AMG_OK ? flush(c) : st;
}

amg_status amg_bpe_split(const amg_bpe *b, amg_bpe_work *w, int first, amg_piece piece)
{
    if (first == b->num_steps) return amg_bpe_encode_piece(b, w, piece);
    const amg_bpe_step *step = &b->steps[first];
    if (step->prefix_space && piece.text[0] != ' ') {
        amg_chars *copy = &w->prefixed[first];
        copy->size = 0;
        if (!amg_chars_append(copy, " ", 1) ||
            !amg_chars_append(copy, piece.text, piece.size))
            return amg_bpe_no_memory(w->name, w->err);
        piece = (amg_piece){copy->data, copy->size, piece.at - 1};
    }
    if (step->pattern == NULL) return amg_bpe_split(b, w, first + 1, piece);
    cutter c = {.bpe = b, .work = w, .step = first, .piece = piece};
    return cut(&c, step->pattern);
}
