/* The DATA argument: parsing, and the rows of a part. Consumes text and row counts,
 * produces plain structs; opens no file. */
#include "formats/dataset_spec.h"

#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/rng.h"

/* Stream of the random numbers that shuffle a set for a percentage: fixed for ever,
 * since it decides which rows "[50%:seed=3]" means. */
#define PART_STREAM 0x70617274 /* "part" */

static const char *const split_names[AMG_SPLIT_COUNT] = {"", "train", "test", "val"};

const char *amg_split_name(amg_dataset_split split) { return split_names[split]; }

amg_status amg_split_choose(const char *path, unsigned present, amg_dataset_split asked,
                            amg_dataset_split *out, amg_error *err)
{
    char found[32] = "";
    for (amg_dataset_split s = AMG_SPLIT_TRAIN; s < AMG_SPLIT_COUNT; s++) {
        if ((present & 1u << s) == 0) continue;
        if (asked == AMG_SPLIT_NONE || asked == s) {
            *out = s;
            return AMG_OK;
        }
        if (found[0] != 0) strcat(found, ", ");
        strcat(found, split_names[s]);
    }
    if (asked == AMG_SPLIT_NONE)
        return amg_fail(err, AMG_NOT_FOUND, -1, path,
                        "none of the files that make this kind of data set");
    return amg_fail(err, AMG_NOT_FOUND, -1, path, "no split \"%s\", found %s",
                    split_names[asked], found[0] != 0 ? found : "none");
}

/* A position in the text of a spec. */
typedef struct {
    const char *text, *p;
    amg_error *err;
} scanner;

static amg_status expected(const scanner *s, const char *what)
{
    const amg_status st = amg_fail(s->err, AMG_INVALID, s->p - s->text, s->text,
                                   "expected %s at \"%s\"", what, s->p);
    amg_hint(s->err, "DATA is [KIND:]PATH[@train|@test|@val][PART], PART is [A:B], "
                     "[P%%:seed=S] or [P%%-Q%%:seed=S]");
    return st;
}

static bool take(scanner *s, const char *word)
{
    const size_t n = strlen(word);
    if (strncmp(s->p, word, n) != 0) return false;
    s->p += n;
    return true;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* Digits that fit int64_t; the position moves on success only. */
static bool scan_integer(scanner *s, int64_t *out)
{
    const char *p = s->p;
    int64_t value = 0;
    if (!is_digit(*p)) return false;
    for (; is_digit(*p); p++)
        if (!amg_mul_i64(value, 10, &value) || !amg_add_i64(value, *p - '0', &value))
            return false;
    s->p = p;
    *out = value;
    return true;
}

/* "12.5%" in millionths, at most 6 decimals, at most 100%. */
static bool scan_percent(scanner *s, int64_t *out)
{
    scanner t = *s;
    int64_t whole;
    if (!scan_integer(&t, &whole) || whole > 100) return false;
    int64_t value = whole * AMG_PERCENT_UNIT;
    if (take(&t, ".")) {
        if (!is_digit(*t.p)) return false;
        for (int64_t unit = AMG_PERCENT_UNIT / 10; is_digit(*t.p); t.p++, unit /= 10) {
            if (unit == 0) return false;
            value += (*t.p - '0') * unit;
        }
    }
    if (!take(&t, "%") || value > 100 * AMG_PERCENT_UNIT) return false;
    s->p = t.p;
    *out = value;
    return true;
}

static amg_status scan_rows(scanner *s, amg_dataset_part *out)
{
    amg_dataset_part part = {.form = AMG_PART_ROWS, .begin = 0, .end = -1};
    if (is_digit(*s->p) && !scan_integer(s, &part.begin))
        return expected(s, "a row number");
    if (!take(s, ":")) return expected(s, "':'");
    if (*s->p != ']' && !scan_integer(s, &part.end)) return expected(s, "a row number");
    *out = part;
    return AMG_OK;
}

static amg_status scan_percents(scanner *s, amg_dataset_part *out)
{
    amg_dataset_part part = {.form = AMG_PART_PERCENT};
    int64_t seed;
    if (!scan_percent(s, &part.end)) return expected(s, "a percentage, 0% to 100%");
    if (take(s, "-")) {
        part.begin = part.end;
        if (!scan_percent(s, &part.end)) return expected(s, "a percentage, 0% to 100%");
    }
    if (!take(s, ":seed=")) return expected(s, "\":seed=S\"");
    if (!scan_integer(s, &seed)) return expected(s, "a seed, 0 to 2^63-1");
    part.seed = (uint64_t)seed;
    *out = part;
    return AMG_OK;
}

/* From '[' to the end of the text. */
static amg_status scan_part(scanner *s, amg_dataset_part *out)
{
    const amg_status st =
        strchr(s->p, '%') != NULL ? scan_percents(s, out) : scan_rows(s, out);
    if (st != AMG_OK) return st;
    if (s->p[0] != ']' || s->p[1] != 0) return expected(s, "']' and the end");
    return AMG_OK;
}

/* "idx:" in front: a word of lower-case letters and a colon. */
static size_t kind_length(const char *text)
{
    const size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789");
    return n > 0 && text[n] == ':' ? n : 0;
}

static amg_status scan_split(scanner *s, const char *end, amg_dataset_split *out)
{
    const size_t n = (size_t)(end - s->p);
    for (amg_dataset_split k = AMG_SPLIT_TRAIN; k < AMG_SPLIT_COUNT; k++)
        if (strlen(split_names[k]) == n && strncmp(s->p, split_names[k], n) == 0) {
            *out = k;
            return AMG_OK;
        }
    const amg_status st = amg_fail(
        s->err, AMG_INVALID, s->p - s->text, s->text,
        "no split is called \"%.*s\", expected train, test or val", (int)n, s->p);
    amg_hint(s->err, "a folder whose own name holds '@' needs a '/' at its end");
    return st;
}

/* A ']' at the end always closes a part, an '@' with no '/' after it always begins a
 * split: what a spec means never depends on which files exist. */
amg_status amg_dataset_spec_parse(const char *text, amg_dataset_spec *out,
                                  amg_error *err)
{
    amg_dataset_spec spec = {0};
    scanner s = {.text = text, .p = text, .err = err};
    const char *end = text + strlen(text);
    const size_t kind = kind_length(text);
    if (kind >= sizeof spec.kind)
        return amg_fail(err, AMG_INVALID, 0, text, "no kind of data set is called so");
    memcpy(spec.kind, text, kind);
    const char *path = text + kind + (kind > 0);

    const char *bracket = end > path && end[-1] == ']' ? strrchr(path, '[') : NULL;
    if (bracket != NULL) {
        s.p = bracket + 1;
        const amg_status st = scan_part(&s, &spec.part);
        if (st != AMG_OK) return st;
        end = bracket;
    }
    const char *at = memrchr(path, '@', (size_t)(end - path));
    if (at != NULL && memchr(at, '/', (size_t)(end - at)) == NULL) {
        s.p = at + 1;
        const amg_status st = scan_split(&s, end, &spec.split);
        if (st != AMG_OK) return st;
        end = at;
    }
    s.p = path;
    if (end == path) return expected(&s, "a path");
    const size_t n = (size_t)(end - path);
    spec.path = amg_malloc(n + 1);
    if (spec.path == NULL)
        return amg_fail(err, AMG_NO_MEMORY, -1, text, "no memory for a path");
    memcpy(spec.path, path, n);
    spec.path[n] = 0;
    *out = spec;
    return AMG_OK;
}

void amg_dataset_spec_clear(amg_dataset_spec *spec)
{
    amg_free(spec->path);
    *spec = (amg_dataset_spec){0};
}

/* num_rows * percent / 100 to the nearest row, without overflow: depends on the
 * percentage alone, so that [0%-50%] ends exactly where [50%-100%] begins. */
static int64_t boundary(int64_t num_rows, int64_t percent)
{
    const int64_t whole = 100 * (int64_t)AMG_PERCENT_UNIT;
    return num_rows / whole * percent +
           (num_rows % whole * percent + whole / 2) / whole;
}

/* The rows at places begin .. end-1 of the keyed shuffle, in ascending order. */
static amg_status shuffled_rows(uint64_t seed, int64_t num_rows, int64_t begin,
                                int64_t end, const char *name, int64_t **out,
                                amg_error *err)
{
    amg_status st = AMG_OK;
    int64_t *rows = NULL, *order = NULL;
    uint8_t *chosen = NULL;
    size_t bytes;
    if (amg_mul_size((size_t)num_rows, sizeof *order, &bytes)) {
        order = amg_alloc_aligned(bytes);
        chosen = amg_calloc((size_t)num_rows, 1);
        rows = amg_malloc((size_t)(end - begin) * sizeof *rows);
    }
    if (order == NULL || chosen == NULL || rows == NULL) {
        st = amg_fail(err, AMG_NO_MEMORY, -1, name, "no memory to shuffle %lld rows",
                      (long long)num_rows);
        amg_free(rows);
        goto done;
    }
    amg_rng rng = amg_rng_init(seed, PART_STREAM);
    amg_rng_permutation(&rng, num_rows, order);
    for (int64_t i = begin; i < end; i++) chosen[order[i]] = 1;
    int64_t n = 0;
    for (int64_t row = 0; row < num_rows; row++)
        if (chosen[row]) rows[n++] = row;
    *out = rows;
done:
    amg_free_aligned(order);
    amg_free(chosen);
    return st;
}

amg_status amg_dataset_part_rows(const amg_dataset_part *part, int64_t num_rows,
                                 const char *name, int64_t *first, int64_t *count,
                                 int64_t **rows, amg_error *err)
{
    const bool percent = part->form == AMG_PART_PERCENT;
    int64_t begin = 0, end = num_rows;
    if (percent) {
        begin = boundary(num_rows, part->begin);
        end = boundary(num_rows, part->end);
    } else if (part->form == AMG_PART_ROWS) {
        begin = part->begin;
        if (part->end >= 0) end = part->end;
    }
    if (begin >= end || end > num_rows)
        return amg_fail(err, AMG_INVALID, -1, name,
                        "the part takes rows %lld to %lld, the set has rows 0 to %lld",
                        (long long)begin, (long long)end - 1, (long long)num_rows - 1);
    int64_t *chosen = NULL;
    if (percent) {
        const amg_status st =
            shuffled_rows(part->seed, num_rows, begin, end, name, &chosen, err);
        if (st != AMG_OK) return st;
    }
    *first = percent ? 0 : begin;
    *count = end - begin;
    *rows = chosen;
    return AMG_OK;
}
