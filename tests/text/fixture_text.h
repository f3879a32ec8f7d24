/* What the tests of the text room share: golden files, and tokens as text. */
#ifndef TESTS_TEXT_FIXTURE_TEXT_H
#define TESTS_TEXT_FIXTURE_TEXT_H

#include "../formats/fixture.h"

#include <jansson.h>

#include "text/tokenizer.h"

/* "SOURCE/tests/text/golden/NAME" */
static inline const char *golden_path(const char *name)
{
    static char path[8192];
    const char *root = getenv("AMALGAM_SOURCE_ROOT");
    snprintf(path, sizeof path, "%s/tests/text/golden/%s", root != NULL ? root : ".",
             name);
    return path;
}

/* A golden file; the caller's to decref. */
static inline json_t *load_golden(const char *name)
{
    json_error_t e;
    json_t *root = json_load_file(golden_path(name), JSON_ALLOW_NUL, &e);
    if (root == NULL) fail_msg("%s: %s", golden_path(name), e.text);
    return root;
}

/* Bytes of a text in hex. */
static inline size_t from_hex(const char *hex, char *out)
{
    size_t n = 0;
    unsigned byte;
    for (; sscanf(hex, "%2x", &byte) == 1; hex += 2) out[n++] = (char)byte;
    return n;
}

/* The encoding must not read behind its text: it gets a copy of exactly its size. */
static inline amg_status encode_exact(const amg_tokenizer *t, const char *text,
                                      size_t size, amg_tokens *out, amg_error *err)
{
    char *copy = malloc(size);
    if (size > 0) memcpy(copy, text, size);
    const amg_status st = amg_tokenizer_encode(t, copy, size, "x", 100, out, err);
    free(copy);
    return st;
}

static inline void expect_text(const amg_tokenizer *t, const int32_t *ids,
                               int64_t count, const char *text, size_t size)
{
    amg_chars out = {0};
    assert_ok(amg_tokenizer_decode(t, ids, count, &out, &err));
    if (out.size != size || (size > 0 && memcmp(out.data, text, size) != 0))
        fail_msg("decoded \"%.*s\", expected \"%.*s\"", (int)out.size, out.data,
                 (int)size, text);
    amg_chars_clear(&out);
}

#endif
