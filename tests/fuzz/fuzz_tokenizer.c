/* Fuzz target: a vocabulary.json or tokenizer.json, a NUL, and text for it; without a
 * vocabulary the text makes one. Tokens must be in range, bytes must come back, and a
 * tokenizer that is printed and read again must print the same. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "text/tokenizer_private.h"

static amg_tokenizer *open_bytes(const void *data, size_t size)
{
    const int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size) abort();
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    amg_tokenizer *t = NULL;
    amg_error err = {0};
    const amg_status st = amg_tokenizer_open(path, &t, &err);
    if ((st == AMG_OK) != (t != NULL) || st != err.code) abort();
    if (err.offset < -1 || err.offset > (int64_t)size) abort();
    close(fd);
    return t;
}

static amg_tokenizer *make_words(const char *text, size_t size)
{
    const amg_word_options o = {
        .lower = size % 2, .punctuation = size % 3 == 0, .pad = size % 5 == 0};
    amg_word_counter *c = amg_word_counter_new();
    if (c == NULL) abort();
    amg_tokenizer *t = NULL;
    if (amg_word_counter_add(c, &o, text, size, "fuzz", 0, NULL, NULL) == AMG_OK &&
        amg_word_counter_finish(c, &o, &t, NULL) != AMG_OK)
        abort();
    amg_word_counter_free(c);
    return t;
}

static void encode(const amg_tokenizer *t, const char *text, size_t size, bool exact)
{
    amg_tokens tokens = {0};
    amg_chars out = {0};
    amg_error err = {0};
    const amg_status st = amg_tokenizer_encode(t, text, size, "fuzz", 0, &tokens, &err);
    if (st != AMG_OK && (tokens.count != 0 || err.offset > (int64_t)size)) abort();
    for (int64_t i = 0; i < tokens.count; i++)
        if (tokens.ids[i] < 0 || tokens.ids[i] >= amg_tokenizer_size(t)) abort();
    if (amg_tokenizer_decode(t, tokens.ids, tokens.count, &out, NULL) != AMG_OK)
        abort();
    if (exact && (out.size != size || (size > 0 && memcmp(out.data, text, size) != 0)))
        abort();
    amg_tokens_clear(&tokens);
    amg_chars_clear(&out);
}

static void print_and_read(const amg_tokenizer *t)
{
    amg_chars first = {0}, second = {0};
    if (amg_vocabulary_print(t, &first, NULL) != AMG_OK) abort();
    amg_tokenizer *again = open_bytes(first.data, first.size);
    if (again == NULL || amg_vocabulary_print(again, &second, NULL) != AMG_OK) abort();
    if (first.size != second.size || memcmp(first.data, second.data, first.size) != 0)
        abort();
    amg_tokenizer_free(again);
    amg_chars_clear(&first);
    amg_chars_clear(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size > 0 ? memchr(data, 0, size) : NULL;
    const size_t head = nul != NULL ? (size_t)(nul - data) : size;
    const char *text = nul != NULL ? (const char *)nul + 1 : "";
    const size_t text_size = nul != NULL ? size - head - 1 : 0;
    amg_tokenizer *t = head > 0 ? open_bytes(data, head) : make_words(text, text_size);
    if (t != NULL) {
        encode(t, text, text_size, amg_tokenizer_get_kind(t) == AMG_TOKENIZER_BYTE);
        print_and_read(t);
        amg_tokenizer_free(t);
    }
    return 0;
}
