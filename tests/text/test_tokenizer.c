/* Word- and byte-level tokenizers and vocabulary.json. Golden values are Python's
 * (make_word_golden.py). */
#include "fixture_text.h"

#include "formats/token_set.h"
#include "text/words.h"

static amg_tokenizer *make_words(const amg_word_options *o, const char *text)
{
    amg_word_counter *c = amg_word_counter_new();
    assert_non_null(c);
    amg_tokenizer *t = NULL;
    assert_ok(amg_word_counter_add(c, o, text, strlen(text), "x", 0, NULL, &err));
    assert_ok(amg_word_counter_finish(c, o, &t, &err));
    amg_word_counter_free(c);
    return t;
}

static void expect_tokens(const amg_tokenizer *t, const char *text, int64_t count,
                          const int32_t *ids)
{
    amg_tokens tokens = {0};
    assert_ok(encode_exact(t, text, strlen(text), &tokens, &err));
    assert_int_equal(tokens.count, count);
    for (int64_t i = 0; i < count; i++) assert_int_equal(tokens.ids[i], ids[i]);
    amg_tokens_clear(&tokens);
}
#define EXPECT_TOKENS(t, text, ...)                                                    \
    do {                                                                               \
        const int32_t ids[] = {__VA_ARGS__};                                           \
        expect_tokens(t, text, sizeof ids / sizeof *ids, ids);                         \
    } while (0)

/* Each word of the text is a token, whose text is the word. */
static void expect_words(const amg_tokenizer *t, const char *text, const json_t *words)
{
    amg_tokens tokens = {0};
    assert_ok(encode_exact(t, text, strlen(text), &tokens, &err));
    assert_int_equal(tokens.count, json_array_size(words));
    for (int64_t i = 0; i < tokens.count; i++) {
        const char *word = json_string_value(json_array_get(words, (size_t)i));
        if (strcmp(word, "<eos>") == 0) word = "\n";
        expect_text(t, tokens.ids + i, 1, word, strlen(word));
    }
    amg_tokens_clear(&tokens);
}

static void words_are_those_of_python(void **state)
{
    (void)state;
    json_t *golden = load_golden("words.json"), *one;
    size_t i;
    json_array_foreach(json_object_get(golden, "cases"), i, one)
    {
        const char *text = json_string_value(json_object_get(one, "text"));
        for (int lower = 0; lower < 2; lower++) {
            const amg_word_options o = {.lower = lower};
            amg_tokenizer *t = make_words(&o, text);
            expect_words(t, text, json_object_get(one, lower ? "lower" : "words"));
            amg_tokenizer_free(t);
        }
    }
    json_decref(golden);
}

/* Two counters merged count as one, in whatever order the text came. */
static void vocabulary_is_ordered_by_count_then_bytes(void **state)
{
    (void)state;
    json_t *golden = load_golden("words.json"), *one;
    const json_t *expected = json_object_get(golden, "vocabulary");
    amg_word_counter *counters[2] = {amg_word_counter_new(), amg_word_counter_new()};
    const amg_word_options o = {0};
    size_t i;
    json_array_foreach(json_object_get(golden, "cases"), i, one)
    {
        const char *text = json_string_value(json_object_get(one, "text"));
        assert_ok(amg_word_counter_add(counters[i % 2], &o, text, strlen(text), "x", 0,
                                       NULL, &err));
    }
    for (int into = 0; into < 2; into++) {
        amg_word_counter *merged = amg_word_counter_new();
        assert_ok(amg_word_counter_merge(merged, counters[into], &err));
        assert_ok(amg_word_counter_merge(merged, counters[!into], &err));
        amg_tokenizer *t = NULL;
        assert_ok(amg_word_counter_finish(merged, &o, &t, &err));
        assert_int_equal(amg_tokenizer_size(t), 2 + json_array_size(expected));
        for (i = 0; i < json_array_size(expected); i++) {
            const char *word = json_string_value(json_array_get(expected, i));
            const int32_t id = (int32_t)i + 2;
            expect_text(t, &id, 1, word, strlen(word));
        }
        amg_tokenizer_free(t);
        amg_word_counter_free(merged);
    }
    amg_word_counter_free(counters[0]);
    amg_word_counter_free(counters[1]);
    json_decref(golden);
}

/* One form is this processor's, the other every processor's. */
static void stops_have_two_forms(void **state)
{
    (void)state;
    uint32_t x = 1;
    for (int i = 0; i < 10000; i++) {
        char bytes[AMG_WORD_BLOCK];
        for (int j = 0; j < AMG_WORD_BLOCK; j++) {
            x = x * 1664525 + 1013904223;
            bytes[j] = (char)(x >> (i % 2 ? 24 : 26));
        }
        assert_true(amg_word_stops(bytes) == amg_word_stops_plain(bytes));
    }
    char edges[AMG_WORD_BLOCK];
    memset(edges, 'z', sizeof edges);
    memcpy(edges, "\x1f !\x7f\x80\xff\n\x01", 8);
    edges[AMG_WORD_BLOCK - 1] = ' ';
    assert_true(amg_word_stops(edges) == (UINT64_C(1) << 63 | 0xf3));
    assert_true(amg_word_stops_plain(edges) == (UINT64_C(1) << 63 | 0xf3));
}

/* Runs of short words are the words that the slow way finds, up to the first that is
 * not short, at every place of a block and at its end. */
static void runs_are_the_words_one_by_one(void **state)
{
    (void)state;
    static const char letters[] = "ab    c\nd\tefg<>.\xc3";
    uint32_t x = 7;
    int64_t words = 0;
    for (int i = 0; i < 20000; i++) {
        char text[200];
        const size_t size = (size_t)i % sizeof text;
        const uint32_t kinds = i % 3 ? 16 : 17; /* the last is not UTF-8 */
        for (size_t j = 0; j < size; j++) {
            x = x * 1664525 + 1013904223;
            text[j] = letters[(x >> 16) % (i % 5 ? kinds : 4)];
        }
        amg_words fast = {.text = text, .size = size, .name = "t"}, slow = fast;
        for (int n = AMG_SHORT_RUN; n == AMG_SHORT_RUN;) {
            amg_short_word run[AMG_SHORT_RUN];
            n = amg_words_next_run(&fast, &(amg_spans){0}, run);
            for (int j = 0; j < n; j++, words++) {
                const char *word = NULL;
                size_t length = 0;
                assert_ok(amg_words_next(&slow, &word, &length, &err));
                assert_int_equal(run[j].size, length);
                assert_ptr_equal(text + run[j].begin, word);
                char key[AMG_SHORT_SPAN] = {0};
                memcpy(key, word, length);
                assert_memory_equal(&run[j].key, key, sizeof key);
            }
        }
        /* What ends a run is the end, a longer word, or one not of ASCII. */
        while (fast.pos < size && amg_is_ascii_space((unsigned char)text[fast.pos]))
            fast.pos++;
        size_t end = fast.pos;
        while (end < size && text[end] > ' ') end++;
        assert_true(fast.pos == size || end - fast.pos > AMG_SHORT_SPAN ||
                    (end < size && !amg_is_ascii_space((unsigned char)text[end])));
    }
    assert_true(words > 100000);
}

static void invalid_utf8_is_refused_where_python_does(void **state)
{
    (void)state;
    json_t *golden = load_golden("words.json"), *one;
    size_t i;
    static const amg_word_options options[] = {
        {0}, {.lower = true}, {.punctuation = true}};
    json_array_foreach(json_object_get(golden, "invalid"), i, one)
    {
        char bytes[256];
        const size_t size =
            from_hex(json_string_value(json_object_get(one, "hex")), bytes);
        const int64_t at = json_integer_value(json_object_get(one, "offset"));
        for (int k = 0; k < 3; k++) {
            amg_tokenizer *t = make_words(&options[k], "a");
            amg_tokens tokens = {0};
            assert_failed(encode_exact(t, bytes, size, &tokens, &err), AMG_MALFORMED,
                          100 + at);
            assert_int_equal(tokens.count, 0);
            amg_tokens_clear(&tokens);
            amg_tokenizer_free(t);
            amg_word_counter *c = amg_word_counter_new();
            assert_failed(
                amg_word_counter_add(c, &options[k], bytes, size, "x", 7, NULL, &err),
                AMG_MALFORMED, 7 + at);
            amg_word_counter_free(c);
        }
    }
    json_decref(golden);
    amg_tokenizer *t = make_words(&options[0], "a");
    amg_tokens tokens = {0};
    assert_failed(encode_exact(t, "a \0b", 4, &tokens, &err), AMG_MALFORMED, 102);
    assert_failed(
        encode_exact(t, "a word and then b\0b that is long enough", 38, &tokens, &err),
        AMG_MALFORMED, 117);
    amg_tokens_clear(&tokens);
    amg_tokenizer_free(t);
}

static void special_tokens_come_first_and_rare_words_are_unknown(void **state)
{
    (void)state;
    const amg_word_options o = {.min_count = 2, .pad = true, .max_size = 5};
    amg_tokenizer *t = make_words(&o, "b a b c <unk> c a c d <eos> <pad> e e");
    assert_int_equal(amg_tokenizer_get_kind(t), AMG_TOKENIZER_WORD);
    assert_int_equal(amg_tokenizer_size(t), 5);
    assert_int_equal(amg_tokenizer_pad(t), 0);
    assert_int_equal(amg_tokenizer_unknown(t), 1);
    assert_int_equal(amg_tokenizer_eos(t), 2);
    EXPECT_TOKENS(t, "c a b <eos> d <unk> <pad>", 3, 4, 1, 2, 1, 1, 0);
    const int32_t ids[] = {3, 4, 2, 0, 1, 2, 2, 3};
    expect_text(t, ids, 8, "c a\n<unk>\n\nc", 12);
    amg_tokenizer_free(t);
    const amg_word_options small = {.max_size = 2};
    amg_word_counter *c = amg_word_counter_new();
    assert_failed(amg_word_counter_finish(c, &small, &t, &err), AMG_INVALID, -1);
    amg_word_counter_free(c);
}

static void punctuation_is_words_of_its_own(void **state)
{
    (void)state;
    const amg_word_options o = {.punctuation = true, .lower = true};
    amg_tokenizer *t = make_words(&o, "don't <unk> (X)! <UNK>");
    /* by bytes: ! ' ( ) < > don t unk x */
    EXPECT_TOKENS(t, "Don't!", 8, 3, 9, 2);
    EXPECT_TOKENS(t, "<unk> x<unk> (((", 0, 11, 6, 10, 7, 4, 4, 4);
    amg_tokenizer_free(t);
}

static void word_without_unknown_token_is_not_found(void **state)
{
    static const char text[] =
        "{\"format\": \"amalgam vocabulary\", \"version\": 1, \"kind\": \"word\", "
        "\"lower\": false, \"punctuation\": false, \"pad\": null, \"unknown\": null, "
        "\"eos\": null, \"tokens\": [\"a\", \"b\"]}";
    put_file(state, "v.json", text, sizeof text - 1);
    amg_tokenizer *t = NULL;
    assert_ok(amg_tokenizer_open(in_dir(state, "v.json"), &t, &err));
    assert_int_equal(amg_tokenizer_unknown(t), AMG_NO_TOKEN);
    amg_tokens tokens = {0};
    assert_ok(encode_exact(t, "a b", 3, &tokens, &err));
    assert_failed(encode_exact(t, "b a c", 5, &tokens, &err), AMG_NOT_FOUND, 104);
    assert_failed(encode_exact(t, "b a long ago and far away", 25, &tokens, &err),
                  AMG_NOT_FOUND, 104);
    assert_int_equal(tokens.count, 2); /* those of before */
    amg_tokens_clear(&tokens);
    amg_tokenizer_free(t);
}

static void bytes_come_back_whatever_they_are(void **state)
{
    (void)state;
    amg_tokenizer *t = NULL;
    assert_ok(amg_tokenizer_bytes(&t, &err));
    assert_int_equal(amg_tokenizer_size(t), 258);
    assert_int_equal(amg_tokenizer_eos(t), 256);
    assert_int_equal(amg_tokenizer_pad(t), 257);
    assert_int_equal(amg_tokenizer_unknown(t), AMG_NO_TOKEN);
    char all[512];
    for (int i = 0; i < 512; i++) all[i] = (char)(i * 7);
    amg_tokens tokens = {0};
    assert_ok(encode_exact(t, all, sizeof all, &tokens, &err));
    assert_int_equal(tokens.count, 512);
    assert_int_equal(tokens.ids[37], 259 % 256);
    expect_text(t, tokens.ids, tokens.count, all, sizeof all);
    const int32_t ids[] = {'a', 256, 257, 'b'};
    expect_text(t, ids, 4, "a\nb", 3);
    amg_tokens_clear(&tokens);
    amg_tokenizer_free(t);
}

static void token_out_of_range_is_refused(void **state)
{
    (void)state;
    amg_tokenizer *t = NULL;
    assert_ok(amg_tokenizer_bytes(&t, &err));
    const int32_t ids[] = {65, 258}, negative[] = {-1};
    amg_chars out = {0};
    assert_failed(amg_tokenizer_decode(t, ids, 2, &out, &err), AMG_INVALID, -1);
    assert_failed(amg_tokenizer_decode(t, negative, 1, &out, &err), AMG_INVALID, -1);
    assert_int_equal(out.size, 0);
    amg_tokenizer_free(t);
}

static void expect_same_file(void **state, const char *a, const char *b)
{
    amg_map x, y;
    assert_ok(amg_map_open(in_dir(state, a), &x, &err));
    assert_ok(amg_map_open(in_dir(state, b), &y, &err));
    assert_int_equal(x.size, y.size);
    assert_memory_equal(x.data, y.data, x.size);
    amg_map_close(&x);
    amg_map_close(&y);
}

static void saved_vocabulary_is_the_same_again(void **state)
{
    static const char text[] = "q\"uo\\te \x01 caf\xc3\xa9 \xf0\x9f\x98\x80 plain A";
    const amg_word_options o = {.lower = true, .pad = true};
    amg_tokenizer *made[2] = {make_words(&o, text), NULL}, *t = NULL;
    assert_ok(amg_tokenizer_bytes(&made[1], &err));
    for (int k = 0; k < 2; k++) {
        const char *a = k ? "a/vocabulary.json" : "b/vocabulary.json";
        put_file(state, a, "", 0);
        assert_ok(amg_tokenizer_save(made[k], in_dir(state, a), &err));
        assert_ok(amg_tokenizer_open(in_dir(state, k ? "a" : "b"), &t, &err));
        assert_int_equal(amg_tokenizer_get_kind(t), amg_tokenizer_get_kind(made[k]));
        assert_int_equal(amg_tokenizer_size(t), amg_tokenizer_size(made[k]));
        assert_int_equal(amg_tokenizer_eos(t), amg_tokenizer_eos(made[k]));
        assert_int_equal(amg_tokenizer_pad(t), amg_tokenizer_pad(made[k]));
        assert_int_equal(amg_tokenizer_unknown(t), amg_tokenizer_unknown(made[k]));
        assert_ok(amg_tokenizer_save(t, in_dir(state, "again.json"), &err));
        expect_same_file(state, a, "again.json");
        amg_tokens x = {0}, y = {0};
        assert_ok(encode_exact(made[k], text, sizeof text - 1, &x, &err));
        assert_ok(encode_exact(t, text, sizeof text - 1, &y, &err));
        assert_int_equal(x.count, y.count);
        assert_memory_equal(x.ids, y.ids, (size_t)x.count * sizeof *x.ids);
        amg_tokens_clear(&x);
        amg_tokens_clear(&y);
        amg_tokenizer_free(t);
        amg_tokenizer_free(made[k]);
    }
}

#define HEAD "{\"format\": \"amalgam vocabulary\", \"version\": 1, \"kind\": "
#define WORD HEAD "\"word\", \"lower\": false, \"punctuation\": false, "
#define MALFORMED(X)                                                                   \
    X("", TRUNCATED, 0)                                                                \
    X("[]", MALFORMED, 0)                                                              \
    X("{}", UNSUPPORTED, 0)                                                            \
    X("{\"format\": 3}", MALFORMED, 11)                                                \
    X("{\"format\": \"x\"}", MALFORMED, 11)                                            \
    X("{\"format\": \"amalgam vocabulary\", \"version\": 2, \"kind\": \"byte\"}",      \
      UNSUPPORTED, 44)                                                                 \
    X("{\"format\": \"amalgam vocabulary\", \"version\": 1}", MALFORMED, 0)            \
    X(HEAD "\"letter\"}", MALFORMED, 55)                                               \
    X(HEAD "\"byte\", \"tokens\": []}", MALFORMED, 73)                                 \
    X(HEAD "\"word\"}", MALFORMED, 0)                                                  \
    X(WORD "\"pad\": 2, \"unknown\": 0, \"eos\": 1, \"tokens\": [\"a\", \"b\"]}",      \
      MALFORMED, 108)                                                                  \
    X(WORD "\"pad\": 1, \"unknown\": 0, \"eos\": 1, \"tokens\": [\"a\", \"b\"]}",      \
      MALFORMED, 132)                                                                  \
    X(WORD "\"pad\": null, \"unknown\": 0, \"eos\": 1, \"tokens\": [\"a\", \"a\"]}",   \
      MALFORMED, 154)                                                                  \
    X(WORD "\"pad\": null, \"unknown\": 0, \"eos\": 1, \"tokens\": [\"a\", \"\"]}",    \
      MALFORMED, 154)                                                                  \
    X(WORD "\"pad\": null, \"unknown\": 0, \"eos\": 1, \"tokens\": []}", MALFORMED,    \
      148)                                                                             \
    X(WORD "\"pad\": null, \"unknown\": \"a\", \"eos\": 1, \"tokens\": [\"a\"]}",      \
      MALFORMED, 125)

#define ROW(text, status, offset) {text, sizeof text - 1, AMG_##status, offset},
static const struct {
    const char *text;
    size_t size;
    amg_status status;
    int64_t offset;
} malformed[] = {MALFORMED(ROW)};

static void malformed_vocabulary_gives_code_and_offset(void **state)
{
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
        put_file(state, "v.json", malformed[i].text, malformed[i].size);
        amg_tokenizer *t;
        amg_error found = {0};
        const amg_status st = amg_tokenizer_open(in_dir(state, "v.json"), &t, &found);
        if (st != malformed[i].status || found.offset != malformed[i].offset)
            fail_msg("case %zu: %s at %lld: %s", i, amg_status_name(st),
                     (long long)found.offset, found.what);
    }
    amg_tokenizer *t;
    assert_failed(amg_tokenizer_open(in_dir(state, "none.json"), &t, &err),
                  AMG_NOT_FOUND, -1);
    assert_failed(amg_tokenizer_open(*state, &t, &err), AMG_NOT_FOUND, -1);
}

/* Each request of memory in turn fails: an error, nothing lost. */
static amg_status cycle(const char *path)
{
    static const char text[] = "Some words, and a longer-than-16-bytes word. Some";
    const amg_word_options o = {.lower = true, .punctuation = true};
    amg_tokenizer *t = NULL, *again = NULL;
    amg_tokens tokens = {0};
    amg_chars out = {0};
    amg_word_counter *c = amg_word_counter_new();
    amg_status st = c ? AMG_OK : AMG_NO_MEMORY;
    if (!st)
        st = amg_word_counter_add(c, &o, text, sizeof text - 1, "x", 0, NULL, NULL);
    if (!st) st = amg_word_counter_finish(c, &o, &t, NULL);
    if (!st) st = amg_tokenizer_save(t, path, NULL);
    if (!st) st = amg_tokenizer_open(path, &again, NULL);
    if (!st)
        st = amg_tokenizer_encode(again, text, sizeof text - 1, "x", 0, &tokens, NULL);
    if (!st) st = amg_tokenizer_decode(again, tokens.ids, tokens.count, &out, NULL);
    amg_word_counter_free(c);
    amg_tokenizer_free(t);
    amg_tokenizer_free(again);
    amg_tokens_clear(&tokens);
    amg_chars_clear(&out);
    return st;
}

static void failing_memory_is_an_error(void **state)
{
    int failed = 0, survived = 0;
    for (long n = 1;; n++) {
        long countdown = n;
        amg_alloc_fail_after(&countdown);
        const amg_status st = cycle(in_dir(state, "v.json"));
        amg_alloc_fail_after(NULL);
        if (countdown > 0) {
            assert_int_equal(st, AMG_OK);
            break;
        }
        if (st == AMG_OK) {
            survived++; /* a file's folder is synced if there is memory for its name */
            continue;
        }
        assert_int_equal(st, AMG_NO_MEMORY);
        failed++;
    }
    assert_true(failed >= 15);
    assert_int_equal(survived, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
        T(words_are_those_of_python),
        T(vocabulary_is_ordered_by_count_then_bytes),
        T(stops_have_two_forms),
        T(runs_are_the_words_one_by_one),
        T(invalid_utf8_is_refused_where_python_does),
        T(special_tokens_come_first_and_rare_words_are_unknown),
        T(punctuation_is_words_of_its_own),
        T(word_without_unknown_token_is_not_found),
        T(bytes_come_back_whatever_they_are),
        T(token_out_of_range_is_refused),
        T(saved_vocabulary_is_the_same_again),
        T(malformed_vocabulary_gives_code_and_offset),
        T(failing_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
