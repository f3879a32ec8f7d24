/* Reading .npy arrays. Consumes a mapped file or a buffer that a stranger may have
 * made, produces a view. The header is a Python dict literal: the small grammar that
 * occurs is parsed here by hand, nothing is ever evaluated. docs/npy.md lists the
 * refusals. */
#include "formats/npy.h"

#include <string.h>

#include "base/checked.h"
#include "base/cursor.h"

#define MAGIC "\x93NUMPY"
#define MAGIC_BYTES 6
#define MAX_DESCR 16

/* The header literal under parsing; offsets in errors are those of the file. */
typedef struct {
    const char *name;
    const uint8_t *text;
    size_t size, pos;
    int64_t base; /* file offset of text[0] */
} literal;

typedef struct {
    amg_dtype dtype;
    int rank;
    int64_t dims[AMG_MAX_RANK];
} npy_shape;

static amg_status broken(const literal *l, size_t at, const char *expected,
                         amg_error *err)
{
    if (at >= l->size)
        return amg_fail(err, AMG_MALFORMED, l->base + (int64_t)at, l->name,
                        "the header ends, expected %s", expected);
    return amg_fail(err, AMG_MALFORMED, l->base + (int64_t)at, l->name,
                    "found byte 0x%02x in the header, expected %s", l->text[at],
                    expected);
}

static void skip_space(literal *l)
{
    while (l->pos < l->size && (l->text[l->pos] == ' ' || l->text[l->pos] == '\n'))
        l->pos++;
}

/* Skips spaces and takes c if it comes next. */
static bool take(literal *l, char c)
{
    skip_space(l);
    if (l->pos == l->size || l->text[l->pos] != (uint8_t)c) return false;
    l->pos++;
    return true;
}

/* A string in single or double quotes, without escapes, shorter than MAX_DESCR. */
static amg_status read_string(literal *l, char out[MAX_DESCR], amg_error *err)
{
    skip_space(l);
    uint8_t quote = l->pos < l->size ? l->text[l->pos] : 0;
    if (quote != '\'' && quote != '"') return broken(l, l->pos, "a string", err);
    size_t start = ++l->pos;
    while (l->pos < l->size && l->text[l->pos] != quote) {
        uint8_t c = l->text[l->pos];
        if (c < 0x20 || c > 0x7e || c == '\\' || l->pos - start + 1 == MAX_DESCR)
            return broken(l, l->pos, "a short plain string", err);
        out[l->pos++ - start] = (char)c;
    }
    if (l->pos == l->size) return broken(l, l->pos, "a closing quote", err);
    out[l->pos++ - start] = 0;
    return AMG_OK;
}

static amg_status read_descr(literal *l, npy_shape *out, amg_error *err)
{
    skip_space(l);
    int64_t at = l->base + (int64_t)l->pos;
    if (l->pos < l->size && (l->text[l->pos] == '[' || l->text[l->pos] == '('))
        return amg_fail(err, AMG_UNSUPPORTED, at, l->name, "a structured dtype");
    char descr[MAX_DESCR];
    amg_status st = read_string(l, descr, err);
    if (st) return st;
    if (!(out->dtype = amg_dtype_find_npy(descr)))
        return amg_fail(err, AMG_UNSUPPORTED, at, l->name, "dtype '%s'%s", descr,
                        descr[0] == '>'      ? " (big-endian)"
                        : strchr(descr, 'O') ? " (Python objects)"
                                             : "");
    return AMG_OK;
}

static bool take_word(literal *l, const char *word)
{
    size_t n = strlen(word);
    if (l->size - l->pos < n || memcmp(l->text + l->pos, word, n)) return false;
    l->pos += n;
    return true;
}

static amg_status read_order(literal *l, amg_error *err)
{
    skip_space(l);
    size_t at = l->pos;
    if (take_word(l, "False")) return AMG_OK;
    if (!take_word(l, "True")) return broken(l, at, "True or False", err);
    amg_fail(err, AMG_UNSUPPORTED, l->base + (int64_t)at, l->name,
             "the array is in Fortran order");
    amg_hint(err, "save it with numpy.save(path, numpy.ascontiguousarray(array))");
    return AMG_UNSUPPORTED;
}

static amg_status read_dim(literal *l, int64_t *out, amg_error *err)
{
    size_t start = l->pos;
    int64_t v = 0;
    for (; l->pos < l->size; l->pos++) {
        int digit = l->text[l->pos] - '0';
        if (digit < 0 || digit > 9) break;
        if (!amg_mul_i64(v, 10, &v) || !amg_add_i64(v, digit, &v))
            return amg_fail(err, AMG_OVERFLOW, l->base + (int64_t)start, l->name,
                            "a dim does not fit 63 bits");
    }
    if (l->pos == start) return broken(l, start, "a non-negative integer", err);
    if (l->text[start] == '0' && l->pos - start > 1)
        return broken(l, start, "an integer without leading zeros", err);
    *out = v;
    return AMG_OK;
}

/* "()", "(3,)", "(3, 4)", "(3, 4,)"; "(3)" is an integer to Python, not a tuple. */
static amg_status read_shape(literal *l, npy_shape *out, amg_error *err)
{
    if (!take(l, '(')) return broken(l, l->pos, "'('", err);
    bool comma = true;
    out->rank = 0;
    while (!take(l, ')')) {
        if (!comma) return broken(l, l->pos, "',' or ')'", err);
        if (out->rank == AMG_MAX_RANK)
            return amg_fail(err, AMG_UNSUPPORTED, l->base + (int64_t)l->pos, l->name,
                            "found more than %d dims", AMG_MAX_RANK);
        amg_status st = read_dim(l, &out->dims[out->rank], err);
        if (st) return st;
        out->rank++;
        comma = take(l, ',');
    }
    if (out->rank == 1 && !comma) return broken(l, l->pos - 1, "','", err);
    return AMG_OK;
}

/* One "key: value"; seen holds a bit for each key met. */
static amg_status read_member(literal *l, npy_shape *out, unsigned *seen,
                              amg_error *err)
{
    static const char *const keys[] = {"descr", "fortran_order", "shape"};
    char key[MAX_DESCR];
    skip_space(l);
    size_t at = l->pos;
    amg_status st = read_string(l, key, err);
    if (st) return st;
    unsigned i = 0;
    while (i < 3 && strcmp(key, keys[i])) i++;
    if (i == 3 || *seen & 1u << i)
        return amg_fail(err, AMG_MALFORMED, l->base + (int64_t)at, l->name,
                        "%s key '%s' in the header", i == 3 ? "unknown" : "second",
                        key);
    *seen |= 1u << i;
    if (!take(l, ':')) return broken(l, l->pos, "':'", err);
    if (i == 0) return read_descr(l, out, err);
    if (i == 1) return read_order(l, err);
    return read_shape(l, out, err);
}

static amg_status read_header(literal *l, npy_shape *out, amg_error *err)
{
    unsigned seen = 0;
    bool comma = true;
    if (!take(l, '{')) return broken(l, l->pos, "'{'", err);
    while (!take(l, '}')) {
        if (!comma) return broken(l, l->pos, "',' or '}'", err);
        amg_status st = read_member(l, out, &seen, err);
        if (st) return st;
        comma = take(l, ',');
    }
    if (seen != 7)
        return amg_fail(err, AMG_MALFORMED, l->base + (int64_t)l->pos - 1, l->name,
                        "the header lacks descr, fortran_order or shape");
    skip_space(l);
    if (l->pos < l->size) return broken(l, l->pos, "spaces after '}'", err);
    if (l->text[l->size - 1] != '\n') return broken(l, l->size - 1, "a line end", err);
    return AMG_OK;
}

/* Magic, version and length: l becomes the header literal, *data_start what follows. */
static amg_status read_prefix(const void *data, size_t size_bytes, const char *name,
                              literal *l, size_t *data_start, amg_error *err)
{
    amg_cursor c = amg_cursor_init(data, size_bytes);
    const uint8_t *magic = amg_cursor_bytes(&c, MAGIC_BYTES);
    if (magic && memcmp(magic, MAGIC, MAGIC_BYTES))
        return amg_fail(err, AMG_MALFORMED, 0, name, "not a .npy file (no magic)");
    uint8_t major = amg_cursor_u8(&c), minor = amg_cursor_u8(&c);
    if (!c.failed && (major < 1 || major > 3 || minor != 0))
        return amg_fail(err, AMG_UNSUPPORTED, MAGIC_BYTES, name,
                        "version %d.%d, expected 1.0, 2.0 or 3.0", major, minor);
    size_t length = major == 1 ? amg_cursor_u16le(&c) : amg_cursor_u32le(&c);
    size_t base = c.pos;
    const uint8_t *text = amg_cursor_bytes(&c, length);
    if (c.failed || !text)
        return amg_fail(err, AMG_TRUNCATED, (int64_t)size_bytes, name,
                        "the file ends inside the header");
    *l = (literal){.name = name, .text = text, .size = length, .base = (int64_t)base};
    *data_start = c.pos;
    return AMG_OK;
}

/* The file is exactly header and array. */
static amg_status check_size(const literal *l, const npy_shape *shape, size_t start,
                             size_t size_bytes, amg_error *err)
{
    size_t expected, found = size_bytes - start;
    if (amg_tensor_size(shape->dtype, shape->rank, shape->dims, &expected, NULL))
        return amg_fail(err, AMG_OVERFLOW, l->base, l->name,
                        "the product of its dims does not fit 63 bits");
    if (found < expected)
        return amg_fail(err, AMG_TRUNCATED, (int64_t)size_bytes, l->name,
                        "found %zu bytes of data, expected %zu", found, expected);
    if (found > expected)
        return amg_fail(err, AMG_MALFORMED, (int64_t)(start + expected), l->name,
                        "found %zu byte%s beyond the array", found - expected,
                        amg_plural((int64_t)(found - expected)));
    return AMG_OK;
}

amg_status amg_npy_parse(const void *data, size_t size_bytes, const char *name,
                         amg_tensor *array, amg_error *err)
{
    literal l = {0};
    npy_shape shape = {0};
    size_t start = 0;
    amg_status st = read_prefix(data, size_bytes, name, &l, &start, err);
    if (st) return st;
    if ((st = read_header(&l, &shape, err))) return st;
    if ((st = check_size(&l, &shape, start, size_bytes, err))) return st;
    const uint8_t *values = (const uint8_t *)data + start;
    if ((uintptr_t)values % amg_dtype_size(shape.dtype))
        return amg_fail(err, AMG_UNSUPPORTED, (int64_t)start, name,
                        "the data are not aligned to their %zu-byte elements",
                        amg_dtype_size(shape.dtype));
    return amg_tensor_view(shape.dtype, shape.rank, shape.dims, values, array, err);
}

amg_status amg_npy_open(const char *path, amg_npy *out, amg_error *err)
{
    amg_npy npy = {0};
    amg_status st = amg_map_open(path, &npy.map, err);
    if (st) return st;
    st = amg_npy_parse(npy.map.data, npy.map.size, path, &npy.array, err);
    if (st)
        amg_map_close(&npy.map);
    else
        *out = npy;
    return st;
}

void amg_npy_close(amg_npy *npy)
{
    amg_tensor_clear(&npy->array);
    amg_map_close(&npy->map);
}
