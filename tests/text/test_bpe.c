/* Byte pair encodings against Hugging Face's tokenizers (make_bpe_golden.py). */
#include "fixture_text.h"

#include "base/parallel.h"

/* A JSON value as DIR/name. */
static void put_json(void **state, const char *name, const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT);
    put_file(state, name, text, strlen(text));
    free(text);
}

static amg_tokenizer *open_in(void **state, const char *name)
{
    amg_tokenizer *t = NULL;
    assert_ok(amg_tokenizer_open(in_dir(state, name), &t, &err));
    return t;
}

static json_t *find_tokenizer(const json_t *golden, const char *name)
{
    json_t *one;
    size_t i;
    json_array_foreach(json_object_get(golden, "tokenizers"), i,
                       one) if (strcmp(json_string_value(json_object_get(one, "name")),
                                       name) == 0) return one;
    fail_msg("no golden tokenizer %s", name);
    return NULL;
}

static void expect_ids(const amg_tokenizer *t, const char *name, size_t which,
                       const json_t *text, const json_t *ids, bool exact)
{
    const char *bytes = json_string_value(text);
    const size_t size = json_string_length(text);
    amg_tokens tokens = {0};
    assert_ok(encode_exact(t, bytes, size, &tokens, &err));
    for (int64_t i = 0; i < tokens.count || i < (int64_t)json_array_size(ids); i++) {
        const int64_t expected =
            json_integer_value(json_array_get(ids, (size_t)i)); /* 0 behind the end */
        if (i >= tokens.count || i >= (int64_t)json_array_size(ids) ||
            tokens.ids[i] != expected)
            fail_msg("%s, text %zu: token %lld is %d, expected %lld (%lld, %zu tokens)",
                     name, which, (long long)i, i < tokens.count ? tokens.ids[i] : -1,
                     (long long)expected, (long long)tokens.count,
                     json_array_size(ids));
    }
    if (exact) expect_text(t, tokens.ids, tokens.count, bytes, size);
    amg_tokens_clear(&tokens);
}

static json_t *load(void) { return load_golden("bpe.json"); }

/* All texts with one tokenizer, twice, so that the cache is asked, too. */
static void expect_golden(const amg_tokenizer *t, const json_t *golden,
                          const json_t *one)
{
    const char *name = json_string_value(json_object_get(one, "name"));
    const json_t *texts = json_object_get(golden, "texts"),
                 *ids = json_object_get(one, "ids");
    const bool exact = json_is_true(json_object_get(one, "exact"));
    assert_true(json_array_size(texts) >= 20);
    for (size_t i = 0; i < 2 * json_array_size(texts); i++) {
        const size_t k = i % json_array_size(texts);
        expect_ids(t, name, k, json_array_get(texts, k), json_array_get(ids, k), exact);
    }
}

static void tokens_are_those_of_hugging_face(void **state)
{
    json_t *golden = load(), *one;
    size_t i, exact = 0;
    json_array_foreach(json_object_get(golden, "tokenizers"), i, one)
    {
        put_json(state, "tokenizer.json", json_object_get(one, "tokenizer"));
        amg_tokenizer *t = open_in(state, ".");
        assert_int_equal(amg_tokenizer_get_kind(t), AMG_TOKENIZER_BPE);
        expect_golden(t, golden, one);
        exact += json_is_true(json_object_get(one, "exact"));
        amg_tokenizer_free(t);
    }
    assert_true(exact >= 4); /* decoded to the same bytes */
    json_decref(golden);
}

static void special_tokens_are_known_by_name(void **state)
{
    json_t *golden = load();
    json_t *data = json_object_get(find_tokenizer(golden, "gpt2"), "tokenizer");
    put_json(state, "t.json", data);
    amg_tokenizer *t = open_in(state, "t.json");
    assert_int_equal(amg_tokenizer_eos(t), 0);
    assert_int_equal(amg_tokenizer_pad(t), -1);
    assert_int_equal(amg_tokenizer_unknown(t), -1);
    assert_int_equal(amg_tokenizer_size(t), 420);
    const int32_t eos = 0;
    expect_text(t, &eos, 1, "<|endoftext|>", 13);
    amg_tokenizer_free(t);
    data = json_object_get(find_tokenizer(golden, "unknown"), "tokenizer");
    put_json(state, "t.json", data);
    t = open_in(state, "t.json");
    assert_int_equal(amg_tokenizer_eos(t), -1);
    assert_int_equal(amg_tokenizer_unknown(t), 0);
    amg_tokenizer_free(t);
    json_decref(golden);
}

static void saved_tokenizer_is_the_same_again(void **state)
{
    json_t *golden = load(), *one;
    size_t i;
    json_array_foreach(json_object_get(golden, "tokenizers"), i, one)
    {
        put_json(state, "tokenizer.json", json_object_get(one, "tokenizer"));
        amg_tokenizer *t = open_in(state, "tokenizer.json");
        put_file(state, "set/x", "", 0);
        assert_ok(amg_tokenizer_save(t, in_dir(state, "set/vocabulary.json"), &err));
        amg_tokenizer *again = open_in(state, "set");
        assert_ok(amg_tokenizer_save(again, in_dir(state, "b.json"), &err));
        amg_map x, y;
        assert_ok(amg_map_open(in_dir(state, "set/vocabulary.json"), &x, &err));
        assert_ok(amg_map_open(in_dir(state, "b.json"), &y, &err));
        assert_int_equal(x.size, y.size);
        assert_memory_equal(x.data, y.data, x.size);
        amg_map_close(&x);
        amg_map_close(&y);
        assert_int_equal(amg_tokenizer_eos(again), amg_tokenizer_eos(t));
        expect_golden(again, golden, one);
        amg_tokenizer_free(again);
        amg_tokenizer_free(t);
    }
    json_decref(golden);
}

/* vocab.json and merges.txt of the golden tokenizer "gpt2". */
static void put_gpt2(void **state, const json_t *one, const char *last_line)
{
    const json_t *model = json_object_get(json_object_get(one, "tokenizer"), "model"),
                 *merge;
    put_json(state, "vocab.json", json_object_get(model, "vocab"));
    static char merges[1 << 16];
    size_t i, size = (size_t)sprintf(merges, "#version: 0.2\n");
    json_array_foreach(json_object_get(model, "merges"), i, merge) size +=
        (size_t)sprintf(merges + size, "%s %s\n",
                        json_string_value(json_array_get(merge, 0)),
                        json_string_value(json_array_get(merge, 1)));
    size += (size_t)sprintf(merges + size, "%s", last_line);
    put_file(state, "merges.txt", merges, size);
}

static void vocab_and_merges_are_a_tokenizer(void **state)
{
    json_t *golden = load(), *one = find_tokenizer(golden, "gpt2");
    put_gpt2(state, one, "");
    amg_tokenizer *t = open_in(state, ".");
    expect_golden(t, golden, one);
    assert_int_equal(amg_tokenizer_eos(t), 0);
    amg_tokenizer_free(t);

    amg_map good;
    assert_ok(amg_map_open(in_dir(state, "merges.txt"), &good, &err));
    const int64_t end = (int64_t)good.size;
    amg_map_close(&good);
    static const char *const bad[] = {"a",    "a b c\n",    " a\n",
                                      "a \n", "a nonsense", "\xff a"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put_gpt2(state, one, bad[i]);
        assert_failed(amg_tokenizer_open(*state, &t, &err), AMG_MALFORMED, end);
    }
    json_decref(golden);
}

static void invalid_utf8_is_refused_at_its_offset(void **state)
{
    json_t *golden = load(), *words = load_golden("words.json"), *one;
    put_json(state, "t.json",
             json_object_get(find_tokenizer(golden, "gpt2"), "tokenizer"));
    amg_tokenizer *t = open_in(state, "t.json");
    amg_tokens tokens = {0};
    size_t i;
    json_array_foreach(json_object_get(words, "invalid"), i, one)
    {
        char bytes[256];
        const size_t size =
            from_hex(json_string_value(json_object_get(one, "hex")), bytes);
        assert_failed(encode_exact(t, bytes, size, &tokens, &err), AMG_MALFORMED,
                      100 + json_integer_value(json_object_get(one, "offset")));
        assert_int_equal(tokens.count, 0);
    }
    amg_tokens_clear(&tokens);
    amg_tokenizer_free(t);
    json_decref(words);
    json_decref(golden);
}

static void character_without_token_is_not_found(void **state)
{
    static const char text[] =
        "{\"model\":{\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}}";
    put_file(state, "t.json", text, sizeof text - 1);
    amg_tokenizer *t = open_in(state, "t.json");
    amg_tokens tokens = {0};
    assert_ok(encode_exact(t, "abba", 4, &tokens, &err));
    assert_int_equal(tokens.count, 3);
    assert_failed(encode_exact(t, "ab\xc3\xa9", 4, &tokens, &err), AMG_NOT_FOUND, 102);
    assert_int_equal(tokens.count, 3);
    amg_tokens_clear(&tokens);
    amg_tokenizer_free(t);
}

/* A piece of a million symbols: quadratic merging would not come back. */
static void endless_word_is_encoded(void **state)
{
    json_t *golden = load();
    put_json(state, "t.json",
             json_object_get(find_tokenizer(golden, "gpt2"), "tokenizer"));
    amg_tokenizer *t = open_in(state, "t.json");
    const size_t size = 1 << 20;
    char *text = malloc(size);
    for (size_t i = 0; i < size; i++) text[i] = "theworst"[i % 8];
    amg_tokens tokens = {0};
    assert_ok(encode_exact(t, text, size, &tokens, &err));
    assert_true(tokens.count < (int64_t)size);
    expect_text(t, tokens.ids, tokens.count, text, size);
    memset(text, ' ', size);
    assert_ok(encode_exact(t, text, size, &tokens, &err));
    free(text);
    amg_tokens_clear(&tokens);
    amg_tokenizer_free(t);
    json_decref(golden);
}

typedef struct {
    const amg_tokenizer *tokenizer;
    const json_t *texts, *ids;
    int wrong[64];
} many;

static void encode_many(void *context, int64_t begin, int64_t end)
{
    many *m = context;
    for (int64_t i = begin; i < end; i++) {
        const size_t k = (size_t)i % json_array_size(m->texts);
        const json_t *text = json_array_get(m->texts, k),
                     *ids = json_array_get(m->ids, k);
        amg_tokens t = {0};
        int wrong =
            amg_tokenizer_encode(m->tokenizer, json_string_value(text),
                                 json_string_length(text), "x", 0, &t, NULL) != AMG_OK;
        wrong += t.count != (int64_t)json_array_size(ids);
        for (int64_t j = 0; j < t.count && !wrong; j++)
            wrong += t.ids[j] != json_integer_value(json_array_get(ids, (size_t)j));
        m->wrong[i] = wrong;
        amg_tokens_clear(&t);
    }
}

static void threads_share_a_tokenizer(void **state)
{
    json_t *golden = load(), *one = find_tokenizer(golden, "llama3");
    put_json(state, "t.json", json_object_get(one, "tokenizer"));
    amg_tokenizer *t = open_in(state, "t.json");
    many m = {.tokenizer = t,
              .texts = json_object_get(golden, "texts"),
              .ids = json_object_get(one, "ids")};
    amg_set_threads(4);
    amg_parallel_for(64, 1, encode_many, &m);
    for (int i = 0; i < 64; i++) assert_int_equal(m.wrong[i], 0);
    amg_tokenizer_free(t);
    json_decref(golden);
}

/* X(text, status, the byte where it is said) */
#define MODEL "\"model\":{\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[]}"
#define STEP(step) "{\"pre_tokenizer\":" step "," MODEL "}"
#define REGEX(pattern)                                                                 \
    STEP("{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":"       \
         "\"" pattern "\"}}")
#define ADDED(rest)                                                                    \
    "{\"added_tokens\":[{\"content\":\"x\",\"lstrip\":false,\"rstrip\":false,"         \
    "\"special\":true,\"normalized\":false," rest "}]," MODEL "}"
#define REFUSED(X)                                                                     \
    X("{\"model\":3}", MALFORMED, 9)                                                   \
    X("{\"model\":{\"type\":\"WordPiece\"}}", UNSUPPORTED, 17)                         \
    X("{\"model\":{\"merges\":[]}}", MALFORMED, 9)                                     \
    X("{\"model\":{\"vocab\":{},\"merges\":[]}}", MALFORMED, 18)                       \
    X("{\"model\":{\"vocab\":[],\"merges\":[]}}", MALFORMED, 18)                       \
    X("{\"model\":{\"vocab\":{\"a\":-1},\"merges\":[]}}", MALFORMED, 23)               \
    X("{\"model\":{\"vocab\":{\"a\":4194304},\"merges\":[]}}", MALFORMED, 23)          \
    X("{\"model\":{\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}", MALFORMED, 29)        \
    X("{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"aa\"]}}", MALFORMED, 36)          \
    X("{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}", MALFORMED, 36)         \
    X("{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a a\"]}}", MALFORMED, 36)         \
    X("{\"model\":{\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]}}", MALFORMED, 36)         \
    X("{\"model\":{\"dropout\":0.1,\"vocab\":{\"a\":0},\"merges\":[]}}", UNSUPPORTED,  \
      20)                                                                              \
    X("{\"model\":{\"unk_token\":\"u\",\"vocab\":{\"a\":0},\"merges\":[]}}",           \
      MALFORMED, 22)                                                                   \
    X("{\"model\":{\"end_of_word_suffix\":\"w\",\"vocab\":{},\"merges\":[]}}",         \
      UNSUPPORTED, 31)                                                                 \
    X("{\"model\":{\"new\":1,\"vocab\":{\"a\":0},\"merges\":[]}}", UNSUPPORTED, 16)    \
    X("{\"new\":1," MODEL "}", UNSUPPORTED, 7)                                         \
    X("{\"normalizer\":{\"type\":\"NFC\"}," MODEL "}", UNSUPPORTED, 14)                \
    X("{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFKC\"}]}"  \
      "," MODEL "}",                                                                   \
      UNSUPPORTED, 48)                                                                 \
    X("{\"decoder\":{\"type\":\"WordPiece\"}," MODEL "}", UNSUPPORTED, 11)             \
    X("{\"post_processor\":{\"type\":\"New\"}," MODEL "}", UNSUPPORTED, 18)            \
    X(STEP("{\"type\":\"Metaspace\"}"), UNSUPPORTED, 17)                               \
    X(STEP("{}"), MALFORMED, 17)                                                       \
    X(STEP("{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\"},"       \
           "{\"type\":\"Digits\"}]}"),                                                 \
      UNSUPPORTED, 74)                                                                 \
    X(STEP("{\"type\":\"Split\",\"behavior\":\"Other\",\"pattern\":{\"String\":\"a\"}" \
           "}"),                                                                       \
      UNSUPPORTED, 44)                                                                 \
    X(STEP("{\"type\":\"Split\",\"behavior\":\"Removed\",\"pattern\":{}}"),            \
      UNSUPPORTED, 64)                                                                 \
    X(REGEX("("), UNSUPPORTED, 74)                                                     \
    X(REGEX("\\\\w+"), UNSUPPORTED, 74)                                                \
    X(REGEX("[a&&b]"), UNSUPPORTED, 74)                                                \
    X(REGEX("[a[b]]"), UNSUPPORTED, 74)                                                \
    X(REGEX("a{1,2}+"), UNSUPPORTED, 74)                                               \
    X(REGEX("(?m:.)"), UNSUPPORTED, 74)                                                \
    X(REGEX("(?R)"), UNSUPPORTED, 74)                                                  \
    X(REGEX("(*F)"), UNSUPPORTED, 74)                                                  \
    X(REGEX(""), UNSUPPORTED, 74)                                                      \
    X(ADDED("\"id\":0,\"single_word\":false"), MALFORMED, 17)                          \
    X(ADDED("\"id\":3,\"single_word\":true"), UNSUPPORTED, 17)                         \
    X(ADDED("\"id\":3"), MALFORMED, 17)

#define ROW(text, status, offset) {text, sizeof text - 1, AMG_##status, offset},
static const struct {
    const char *text;
    size_t size;
    amg_status status;
    int64_t offset;
} refused[] = {REFUSED(ROW)};

static void what_is_not_covered_is_refused_at_its_place(void **state)
{
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        put_file(state, "t.json", refused[i].text, refused[i].size);
        amg_tokenizer *t = NULL;
        amg_error found = {0};
        const amg_status st = amg_tokenizer_open(in_dir(state, "t.json"), &t, &found);
        if (st != refused[i].status || found.offset != refused[i].offset)
            fail_msg("case %zu: %s at %lld: %s", i, amg_status_name(st),
                     (long long)found.offset, found.what);
    }
    static const char good[] = "{" MODEL "}"; /* the rest is sound */
    put_file(state, "t.json", good, sizeof good - 1);
    amg_tokenizer_free(open_in(state, "t.json"));
}

/* expected is filled by the first call, and compared with by the others. */
static amg_status cycle(const char *path, amg_tokens *expected)
{
    static const char text[] = "it's a 'test' of memory<|endoftext|>";
    amg_tokenizer *t = NULL;
    amg_tokens tokens = {0};
    amg_chars out = {0};
    amg_status st = amg_tokenizer_open(path, &t, NULL);
    if (!st) st = amg_tokenizer_encode(t, text, sizeof text - 1, "x", 0, &tokens, NULL);
    if (!st && expected->count == 0) {
        *expected = tokens;
        tokens = (amg_tokens){0};
    } else if (!st) {
        assert_int_equal(tokens.count, expected->count);
        assert_memory_equal(tokens.ids, expected->ids,
                            (size_t)tokens.count * sizeof *tokens.ids);
    }
    if (!st) st = amg_tokenizer_decode(t, expected->ids, expected->count, &out, NULL);
    amg_tokenizer_free(t);
    amg_tokens_clear(&tokens);
    amg_chars_clear(&out);
    return st;
}

/* Each request of memory in turn fails: an error, or no cache; nothing is lost. */
static void failing_memory_is_an_error(void **state)
{
    json_t *golden = load();
    put_json(state, "t.json",
             json_object_get(find_tokenizer(golden, "gpt2_prefix"), "tokenizer"));
    json_decref(golden);
    amg_tokens expected = {0};
    assert_int_equal(cycle(in_dir(state, "t.json"), &expected), AMG_OK);
    int failed = 0;
    for (long n = 1;; n++) {
        long countdown = n;
        amg_alloc_fail_after(&countdown);
        const amg_status st = cycle(in_dir(state, "t.json"), &expected);
        amg_alloc_fail_after(NULL);
        if (st != AMG_OK) assert_int_equal(st, AMG_NO_MEMORY);
        if (countdown > 0) break;
        failed += st != AMG_OK;
    }
    assert_true(failed >= 20);
    amg_tokens_clear(&expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
        T(tokens_are_those_of_hugging_face),
        T(special_tokens_are_known_by_name),
        T(saved_tokenizer_is_the_same_again),
        T(vocab_and_merges_are_a_tokenizer),
        T(invalid_utf8_is_refused_at_its_offset),
        T(character_without_token_is_not_found),
        T(endless_word_is_encoded),
        T(threads_share_a_tokenizer),
        T(what_is_not_covered_is_refused_at_its_place),
        T(failing_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
