/* `amalgam tokenize` and `amalgam split` below the command line: real data against a
 * second implementation (make_tokenize_golden.py), the same bytes for any number of
 * threads, labels, whole files, bad input that leaves nothing. More than 500 lines: a
 * list of small cases. */
#include "fixture_text.h"

#include "base/parallel.h"
#include "text/tokenize.h"

/* A run with defaults: format by name, words. */
typedef struct {
    const char *inputs[4];
    amg_tokenize_options o;
} recipe;

static amg_status make(recipe *r, const char *out, amg_tokenize_result *result,
                       amg_error *err)
{
    amg_tokenize_result ignored;
    while (r->o.num_inputs < 4 && r->inputs[r->o.num_inputs] != NULL) r->o.num_inputs++;
    r->o.inputs = r->inputs;
    r->o.records.format_by_name = true;
    r->o.out = out;
    return amg_tokenize(&r->o, NULL, result != NULL ? result : &ignored, err);
}

static const char *put_text(void **state, const char *name, const char *text)
{
    put_file(state, name, text, strlen(text));
    return in_dir(state, name);
}

static size_t files_in(void **state)
{
    char **names;
    size_t count;
    assert_ok(amg_dir_list(*state, &names, &count, &err));
    amg_dir_list_free(names, count);
    return count;
}

/* The tokens of a set as text: words and, between documents, "|". */
static const char *spell(const char *dir)
{
    static char text[4096];
    amg_token_set set;
    amg_tokenizer *t = NULL;
    amg_chars out = {0};
    int32_t tokens[256];
    assert_ok(amg_token_set_open(dir, &set, &err));
    assert_ok(amg_tokenizer_open(dir, &t, &err));
    size_t n = 0;
    for (int64_t d = 0; d < set.info.num_documents; d++) {
        const int64_t begin = set.documents[d], count = set.documents[d + 1] - begin;
        assert_true(count <= 256);
        assert_ok(amg_token_set_read(&set, begin, count, tokens, &err));
        out.size = 0;
        assert_ok(amg_tokenizer_decode(t, tokens, count, &out, &err));
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%.*s", d > 0 ? "|" : "",
                              (int)out.size, out.data != NULL ? out.data : "");
    }
    amg_chars_clear(&out);
    amg_tokenizer_free(t);
    amg_token_set_close(&set);
    return text;
}

/* SHA-256 of an array's bytes, without the header. */
static const char *hash_array(const char *dir, const char *name)
{
    static char hex[65];
    amg_npy npy;
    char *path = amg_path_join(dir, name);
    assert_ok(amg_npy_open(path, &npy, &err));
    assert_ok(amg_sha256_hex(npy.array.data, npy.array.size_bytes, hex, &err));
    amg_npy_close(&npy);
    amg_free(path);
    return hex;
}

/* ---- real data ---- */

static void wikitext_is_read_as_it_always_is(void **state)
{
    char path[16384];
    const char *folder = find_real_data("wikitext-2");
    if (folder == NULL) skip();
    snprintf(path, sizeof path, "%s/train.txt", folder);
    recipe train = {.inputs = {path}};
    amg_tokenize_result r;
    char dir[8192];
    snprintf(dir, sizeof dir, "%s", in_dir(state, "train"));
    assert_ok(make(&train, dir, &r, &err));
    assert_int_equal(r.info.num_documents, 36718);
    assert_int_equal(r.info.num_tokens, 2088628);
    assert_int_equal(r.info.vocab_size, 33278);
    assert_int_equal(r.info.pad, AMG_NO_TOKEN);
    assert_string_equal(
        hash_array(dir, "tokens-00000.npy"),
        "2eebeef12f2a11aae14fa8d66b002e88e8496e145d8c9c752d20ba77730e8b4a");
    snprintf(path, sizeof path, "%s/valid.txt", folder);
    recipe valid = {.inputs = {path}, .o.vocabulary = dir};
    assert_ok(make(&valid, in_dir(state, "valid"), &r, &err));
    assert_int_equal(r.info.num_documents, 3760);
    assert_int_equal(r.info.num_tokens, 217646);
    assert_int_equal(r.unknown, 11718); /* all of them "<unk>" in the text */
    assert_string_equal(
        hash_array(in_dir(state, "valid"), "tokens-00000.npy"),
        "917978fd3ac16f6556edea98e85834b3337a4463a30775a908118c172694d951");
}

static void ag_news_has_its_documents_and_labels(void **state)
{
    char path[16384];
    const char *folder = find_real_data("ag_news_csv");
    if (folder == NULL) skip();
    static const char *const classes[] = {"World", "Sports", "Business", "Sci/Tech"};
    snprintf(path, sizeof path, "%s/train-subset.csv.gz", folder);
    recipe news = {.inputs = {path},
                   .o = {.records = {.text = "2,3", .label = "1"},
                         .classes = classes,
                         .num_classes = 4}};
    amg_tokenize_result r;
    const char *dir = in_dir(state, "news");
    assert_ok(make(&news, dir, &r, &err));
    assert_int_equal(r.info.num_documents, 19995);
    assert_int_equal(r.info.num_tokens, 756870);
    assert_int_equal(r.info.vocab_size, 71819);
    assert_int_equal(r.info.num_classes, 4);
    assert_int_equal(r.info.pad, 0);
    assert_string_equal(
        hash_array(dir, "tokens-00000.npy"),
        "d5685a60a14d38034f81c5688da8c1219e5176173ff5436290ad089c051b8916");
    assert_string_equal(
        hash_array(dir, "labels.npy"),
        "708f7f61546fc8c5aeeb4ce454005c011b785bf5d24cbe35984cf8a5c9089740");
}

/* ---- the same bytes ---- */

static void expect_equal_files(void **state, const char *a, const char *b)
{
    static const char *const names[] = {"tokens.json", "vocabulary.json",
                                        "documents.npy", "tokens-00000.npy"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char hash_a[65], hash_b[65], path[256];
        int64_t size;
        snprintf(path, sizeof path, "%s/%s", a, names[i]);
        assert_ok(amg_file_sha256(in_dir(state, path), hash_a, &size, &err));
        snprintf(path, sizeof path, "%s/%s", b, names[i]);
        assert_ok(amg_file_sha256(in_dir(state, path), hash_b, &size, &err));
        assert_string_equal(hash_a, hash_b);
    }
}

/* Several batches: words of a small vocabulary, equally frequent ones among them. */
static const char *put_large(void **state)
{
    enum { LINES = 90000 };
    char *text = malloc(LINES * 160), line[160];
    size_t n = 0;
    uint32_t x = 1;
    for (int i = 0; i < LINES; i++) {
        line[0] = 0;
        for (int w = 0; w < 12; w++) {
            x = x * 1664525 + 1013904223;
            snprintf(line + strlen(line), sizeof line - strlen(line), "%sw%u",
                     w > 0 ? " " : "", (x >> 16) % 5000);
        }
        n += (size_t)snprintf(text + n, 160, "%s\n", line);
    }
    put_file(state, "large.txt", text, n);
    free(text);
    assert_true(n > (size_t)5 << 20);
    return in_dir(state, "large.txt");
}

static void threads_do_not_change_a_byte(void **state)
{
    static const int counts[] = {1, 2, 3, 7};
    char input[8192], name[16];
    snprintf(input, sizeof input, "%s", put_large(state));
    for (int i = 0; i < 4; i++) {
        recipe r = {.inputs = {input, input}, .o.words.max_size = 4000};
        amg_set_threads(counts[i]);
        snprintf(name, sizeof name, "set%d", counts[i]);
        assert_ok(make(&r, in_dir(state, name), NULL, &err));
        if (i > 0) expect_equal_files(state, "set1", name);
    }
    amg_set_threads(0);
}

static void errors_are_those_of_the_first_place_whatever_the_threads(void **state)
{
    char input[8192], bad[8192];
    snprintf(input, sizeof input, "%s", put_large(state));
    amg_map map;
    assert_ok(amg_map_open(input, &map, &err));
    char *text = malloc(map.size);
    memcpy(text, map.data, map.size);
    text[map.size / 2] = text[map.size - 10] = (char)0xff;
    put_file(state, "bad.txt", text, map.size);
    snprintf(bad, sizeof bad, "%s", in_dir(state, "bad.txt"));
    for (int threads = 1; threads <= 4; threads++) {
        recipe r = {.inputs = {bad}};
        amg_set_threads(threads);
        assert_failed(make(&r, in_dir(state, "set"), NULL, &err), AMG_MALFORMED,
                      (int64_t)map.size / 2);
    }
    amg_set_threads(0);
    free(text);
    amg_map_close(&map);
    assert_int_equal(files_in(state), 2);
}

/* ---- documents ---- */

static void lines_are_documents_with_an_end(void **state)
{
    put_text(state, "a.txt", "the cat\n\nthe dog");
    put_text(state, "b.txt", "a cat\n");
    recipe r = {.inputs = {in_dir(state, "a.txt"), in_dir(state, "b.txt")}};
    amg_tokenize_result result;
    assert_ok(make(&r, in_dir(state, "set"), &result, &err));
    assert_string_equal(spell(in_dir(state, "set")), "the cat\n|\n|the dog\n|a cat\n");
    assert_int_equal(result.info.num_tokens, 10);
    assert_int_equal(result.info.vocab_size, 6);
    assert_int_equal(result.bytes, 19);
    assert_int_equal(result.unknown, 0);
}

static void words_are_made_as_asked(void **state)
{
    put_text(state, "a.txt", "Yes, yes no\n");
    recipe r = {.inputs = {in_dir(state, "a.txt")},
                .o.words = {.lower = true, .punctuation = true, .min_count = 2}};
    amg_tokenize_result result;
    assert_ok(make(&r, in_dir(state, "set"), &result, &err));
    assert_string_equal(spell(in_dir(state, "set")), "yes <unk> yes <unk>\n");
    assert_int_equal(result.unknown, 2);
    /* Whoever uses the vocabulary reads text in the same way. */
    put_text(state, "b.txt", "YES!\n");
    recipe again = {.inputs = {in_dir(state, "b.txt")},
                    .o.vocabulary = in_dir(state, "set")};
    assert_ok(make(&again, in_dir(state, "more"), NULL, &err));
    assert_string_equal(spell(in_dir(state, "more")), "yes <unk>\n");
}

static void a_whole_file_is_one_document(void **state)
{
    put_text(state, "a.txt", "to be\n\nor not");
    put_text(state, "b.txt", "\xff\r\n");
    recipe r = {.inputs = {in_dir(state, "a.txt"), in_dir(state, "b.txt")},
                .o = {.kind = AMG_TOKENIZER_BYTE, .whole_file = true}};
    amg_token_set set;
    int32_t tokens[18];
    assert_ok(make(&r, in_dir(state, "set"), NULL, &err));
    assert_ok(amg_token_set_open(in_dir(state, "set"), &set, &err));
    assert_int_equal(set.info.num_documents, 2);
    assert_int_equal(set.info.num_tokens, 18);
    assert_int_equal(set.documents[1], 14);
    assert_ok(amg_token_set_read(&set, 0, 18, tokens, &err));
    for (int i = 0; i < 13; i++) assert_int_equal(tokens[i], "to be\n\nor not"[i]);
    assert_int_equal(tokens[13], set.info.eos);
    assert_int_equal(tokens[14], 0xff);
    assert_int_equal(tokens[15], '\r');
    assert_int_equal(tokens[17], set.info.eos);
    amg_token_set_close(&set);
}

/* Whole files are cut into blocks for the threads: no token may show it. */
static void a_large_whole_file_is_cut_where_no_token_is(void **state)
{
    char input[8192], zipped[8192], first[8192];
    snprintf(input, sizeof input, "%s", put_large(state));
    amg_map map;
    assert_ok(amg_map_open(input, &map, &err));
    const size_t room = map.size + 4096;
    uint8_t *packed = malloc(room);
    const size_t size = gzip(map.data, map.size, packed, room);
    put_file(state, "large.txt.gz", packed, size);
    free(packed);
    snprintf(zipped, sizeof zipped, "%s", in_dir(state, "large.txt.gz"));
    snprintf(first, sizeof first, "%s", in_dir(state, "lines"));
    recipe lines = {.inputs = {input}};
    recipe whole = {.inputs = {input}, .o = {.vocabulary = first, .whole_file = true}};
    recipe gz = {.inputs = {zipped}, .o = {.vocabulary = first, .whole_file = true}};
    recipe bytes = {.inputs = {zipped},
                    .o = {.kind = AMG_TOKENIZER_BYTE, .whole_file = true}};
    amg_tokenize_result result;
    assert_ok(make(&lines, in_dir(state, "lines"), &result, &err));
    assert_ok(make(&whole, in_dir(state, "whole"), NULL, &err));
    assert_ok(make(&gz, in_dir(state, "gz"), NULL, &err));
    expect_equal_files(state, "whole", "gz");
    amg_token_set a, b;
    assert_ok(amg_token_set_open(in_dir(state, "lines"), &a, &err));
    assert_ok(amg_token_set_open(in_dir(state, "whole"), &b, &err));
    assert_int_equal(b.info.num_documents, 1);
    assert_int_equal(b.info.num_tokens, a.info.num_tokens - a.info.num_documents + 1);
    for (int64_t d = 0; d < a.info.num_documents; d++) {
        int32_t x[13], y[13];
        assert_ok(amg_token_set_read(&a, d * 13, 13, x, &err));
        assert_ok(amg_token_set_read(&b, d * 12, 12, y, &err));
        assert_memory_equal(x, y, 12 * sizeof *x);
    }
    amg_token_set_close(&a);
    amg_token_set_close(&b);
    assert_ok(make(&bytes, in_dir(state, "bytes"), &result, &err));
    assert_int_equal(result.info.num_tokens, map.size + 1);
    assert_int_equal(result.bytes, map.size);
    amg_map_close(&map);
}

/* ---- labels ---- */

static void expect_classes(const char *dir, const char *names, const char *labels)
{
    amg_token_set set;
    char found[256] = "", numbers[256] = "";
    assert_ok(amg_token_set_open(dir, &set, &err));
    for (int64_t i = 0; i < set.info.num_classes; i++)
        snprintf(found + strlen(found), sizeof found - strlen(found), "%s%s",
                 i > 0 ? " " : "", set.info.classes[i]);
    for (int64_t i = 0; i < set.info.num_documents; i++)
        snprintf(numbers + strlen(numbers), sizeof numbers - strlen(numbers), "%d",
                 (int)set.labels[i]);
    assert_string_equal(found, names);
    assert_string_equal(numbers, labels);
    amg_token_set_close(&set);
}

static void classes_are_those_of_the_input_in_order(void **state)
{
    static const struct {
        const char *csv, *names, *labels;
    } cases[] = {
        {"10,a\n9,b\n2,c\n9,d\n", "2 9 10", "2101"},
        {"10,a\nx,b\n2,c\n", "10 2 x", "021"},
        {"-1,a\n1,b\n", "-1 1", "01"},
        {"01,a\n1,b\n0,c\n", "0 01 1", "120"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[16];
        snprintf(name, sizeof name, "set%zu", i);
        put_text(state, "a.csv", cases[i].csv);
        recipe r = {.inputs = {in_dir(state, "a.csv")}, .o.records.label = "1"};
        assert_ok(make(&r, in_dir(state, name), NULL, &err));
        expect_classes(in_dir(state, name), cases[i].names, cases[i].labels);
    }
    assert_string_equal(spell(in_dir(state, "set0")), "a|b|c|d");
}

/* Kept words, words given up half-way, and none kept: the same set. */
static void reading_twice_gives_the_same_set(void **state)
{
    static const int64_t keeps[] = {0, 6 << 20, 1};
    char input[8192], csv[8192], name[32];
    snprintf(input, sizeof input, "%s", put_large(state));
    snprintf(csv, sizeof csv, "%s",
             put_text(state, "a.csv",
                      "\"2\",\"a b  c\"\n\"10\",\"c <unk> d\"\n2,\"\"\n1,e\n"));
    for (int i = 0; i < 3; i++) {
        recipe r = {.inputs = {input, input}, .o.words.max_size = 4000};
        r.o.keep_bytes = keeps[i];
        snprintf(name, sizeof name, "text%d", i);
        assert_ok(make(&r, in_dir(state, name), NULL, &err));
        if (i > 0) expect_equal_files(state, "text0", name);
        recipe rows = {.inputs = {csv}, .o.records.label = "1"};
        rows.o.keep_bytes = keeps[i];
        snprintf(name, sizeof name, "rows%d", i);
        assert_ok(make(&rows, in_dir(state, name), NULL, &err));
        if (i > 0) expect_equal_files(state, "rows0", name);
        expect_classes(in_dir(state, name), "1 2 10", "1210");
    }
}

static void later_sets_have_the_vocabulary_and_classes_of_the_first(void **state)
{
    put_text(state, "train.csv", "no,a b\nyes,c\n");
    put_text(state, "val.csv", "yes,b q\n");
    recipe train = {.inputs = {in_dir(state, "train.csv")}, .o.records.label = "1"};
    assert_ok(make(&train, in_dir(state, "train"), NULL, &err));
    recipe val = {.inputs = {in_dir(state, "val.csv")},
                  .o = {.records.label = "1", .vocabulary = in_dir(state, "train")}};
    assert_ok(make(&val, in_dir(state, "val"), NULL, &err));
    expect_classes(in_dir(state, "val"), "no yes", "1");
    assert_string_equal(spell(in_dir(state, "val")), "b <unk>");
    amg_token_set a, b;
    assert_ok(amg_token_set_open(in_dir(state, "train"), &a, &err));
    assert_ok(amg_token_set_open(in_dir(state, "val"), &b, &err));
    assert_string_equal(a.info.vocabulary, b.info.vocabulary);
    amg_token_set_close(&a);
    amg_token_set_close(&b);
}

/* A vocabulary that is there already: one pass for the labels, one for the tokens. */
static void classes_are_collected_for_a_given_vocabulary(void **state)
{
    put_text(state, "a.csv", "z,ab\ny,c\n");
    recipe r = {.inputs = {in_dir(state, "a.csv")},
                .o = {.records.label = "1", .kind = AMG_TOKENIZER_BYTE}};
    assert_ok(make(&r, in_dir(state, "set"), NULL, &err));
    expect_classes(in_dir(state, "set"), "y z", "10");
}

static void a_label_is_a_name_or_a_place(void **state)
{
    static const char *const names[] = {"World", "Sports"}, *const numbers[] = {"1",
                                                                                "0"};
    put_text(state, "a.csv", "2,a\n1,b\nSports,c\n");
    recipe r = {.inputs = {in_dir(state, "a.csv")},
                .o = {.records.label = "1", .classes = names, .num_classes = 2}};
    assert_ok(make(&r, in_dir(state, "set"), NULL, &err));
    expect_classes(in_dir(state, "set"), "World Sports", "101");
    put_text(state, "b.csv", "1,a\n0,b\n");
    recipe n = {.inputs = {in_dir(state, "b.csv")},
                .o = {.records.label = "1", .classes = numbers, .num_classes = 2}};
    assert_ok(make(&n, in_dir(state, "numbers"), NULL, &err));
    expect_classes(in_dir(state, "numbers"), "1 0", "01");
}

static void a_label_that_is_no_class_is_refused_at_its_line(void **state)
{
    static const char *const names[] = {"World", "Sports"}, *const twice[] = {"a", "a"},
                             *const empty[] = {"a", ""};
    static const struct {
        const char *csv, *line;
        amg_status status;
        int64_t offset;
    } cases[] = {
        {"1,a\n2,b\n3,c\n", "line 3, column 1", AMG_MISMATCH, 8},
        {"1,\"a\nb\"\nworld,b\n", "line 3, column 1", AMG_MISMATCH, 8},
        {"1,a\n0,b\n", "line 2, column 1", AMG_MISMATCH, 4},
        {"1,a\n,b\n", "line 2, column 1", AMG_MALFORMED, 4},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_text(state, "a.csv", cases[i].csv);
        recipe r = {.inputs = {in_dir(state, "a.csv")},
                    .o = {.records.label = "1", .classes = names, .num_classes = 2}};
        amg_error err = {0};
        assert_int_equal(make(&r, in_dir(state, "set"), NULL, &err), cases[i].status);
        assert_int_equal(err.offset, cases[i].offset);
        assert_non_null(strstr(err.what, cases[i].line));
        assert_int_equal(files_in(state), 1);
    }
    recipe r = {.inputs = {in_dir(state, "a.csv")},
                .o = {.records.label = "1", .classes = twice, .num_classes = 2}};
    assert_failed(make(&r, in_dir(state, "set"), NULL, &err), AMG_INVALID, -1);
    r.o.classes = empty;
    assert_failed(make(&r, in_dir(state, "set"), NULL, &err), AMG_INVALID, -1);
    assert_int_equal(files_in(state), 1);
}

/* ---- what must fail, and leave nothing ---- */

static void bad_input_leaves_nothing(void **state)
{
    static const struct {
        const char *name, *text, *label;
        bool whole_file;
        amg_status status;
        int64_t offset;
    } cases[] = {
        {"a.txt", "", NULL, false, AMG_MALFORMED, 0},
        {"a.txt", "", NULL, true, AMG_MALFORMED, 0},
        {"a.txt",
         "good\nb\xff"
         "d\n",
         NULL, false, AMG_MALFORMED, 6},
        {"a.txt",
         "good\nb\xff"
         "d\n",
         NULL, true, AMG_MALFORMED, 6},
        {"a.csv", "1,\"open\n", "1", false, AMG_MALFORMED, 2},
        {"a.jsonl", "{\"text\": 1}\n", NULL, false, AMG_MALFORMED, 9},
        {"a.txt", "x\n", "1", false, AMG_INVALID, -1},
        {"a.txt", "x\n", "1", true, AMG_INVALID, -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        recipe r = {
            .o = {.records.label = cases[i].label, .whole_file = cases[i].whole_file}};
        r.inputs[0] = put_text(state, cases[i].name, cases[i].text);
        amg_error err = {0};
        const amg_status st = make(&r, in_dir(state, "set"), NULL, &err);
        if (st != cases[i].status || err.offset != cases[i].offset)
            fail_msg("case %zu: %s at %lld: %s", i, amg_status_name(st),
                     (long long)err.offset, err.what);
        assert_false(amg_path_exists(in_dir(state, "set")));
    }
    assert_int_equal(files_in(state), 3);
}

static void wrong_options_are_refused(void **state)
{
    static const char *const classes[] = {"a"};
    put_text(state, "a.txt", "x y z\n");
    put_text(state, "a.csv", "1,x\n");
    put_text(state, "there/file", "");
    recipe lm = {.inputs = {in_dir(state, "a.txt")}};
    assert_ok(make(&lm, in_dir(state, "lm"), NULL, &err));
    recipe exists = {.inputs = {in_dir(state, "a.txt")}};
    assert_failed(make(&exists, in_dir(state, "there"), NULL, &err), AMG_EXISTS, -1);
    recipe none = {.o.kind = AMG_TOKENIZER_BYTE};
    assert_failed(make(&none, in_dir(state, "set"), NULL, &err), AMG_INVALID, -1);
    recipe missing = {.inputs = {in_dir(state, "missing.txt")}};
    assert_failed(make(&missing, in_dir(state, "set"), NULL, &err), AMG_NOT_FOUND, -1);
    recipe bpe = {.inputs = {in_dir(state, "a.txt")}, .o.kind = AMG_TOKENIZER_BPE};
    assert_failed(make(&bpe, in_dir(state, "set"), NULL, &err), AMG_INVALID, -1);
    recipe no_labels = {.inputs = {in_dir(state, "a.txt")},
                        .o = {.classes = classes, .num_classes = 1}};
    assert_failed(make(&no_labels, in_dir(state, "set"), NULL, &err), AMG_INVALID, -1);
    recipe no_pad = {.inputs = {in_dir(state, "a.csv")},
                     .o = {.records.label = "1", .vocabulary = in_dir(state, "lm")}};
    assert_failed(make(&no_pad, in_dir(state, "set"), NULL, &err), AMG_MISMATCH, -1);
    assert_int_equal(files_in(state), 4);
}

static bool stop_at_once(void *context, const amg_progress_event *event)
{
    assert_in_range(event->done, 0, event->total);
    ++*(int *)context;
    return false;
}

static void stopping_leaves_nothing(void **state)
{
    int reports = 0;
    const amg_progress progress = {.report = stop_at_once, .context = &reports};
    put_text(state, "a.txt", "x y z\n");
    const char *input = in_dir(state, "a.txt");
    amg_tokenize_options o = {.inputs = &input,
                              .num_inputs = 1,
                              .kind = AMG_TOKENIZER_BYTE,
                              .out = in_dir(state, "set")};
    amg_tokenize_result result;
    assert_failed(amg_tokenize(&o, &progress, &result, &err), AMG_INTERRUPTED, -1);
    assert_int_equal(reports, 1);
    assert_int_equal(files_in(state), 1);
}

static void no_memory_leaves_nothing(void **state)
{
    amg_status st = AMG_NO_MEMORY;
    int failures = 0;
    put_text(state, "a.csv", "1,x y\n2,z x\n");
    amg_set_threads(1);
    for (long n = 1; st != AMG_OK; n++) {
        recipe r = {.inputs = {in_dir(state, "a.csv")}, .o.records.label = "1"};
        long countdown = n;
        amg_alloc_fail_after(&countdown);
        st = make(&r, in_dir(state, "set"), NULL, NULL);
        amg_alloc_fail_after(NULL);
        if (st == AMG_OK) break;
        assert_int_equal(st, AMG_NO_MEMORY);
        assert_int_equal(files_in(state), 1);
        failures++;
    }
    amg_set_threads(0);
    assert_true(failures > 30);
}

/* ---- split ---- */

/* Ten documents of one to three words, 20 tokens with their ends. */
static void put_ten(void **state)
{
    put_text(state, "ten.txt", "a\nb b\nc\nd\ne\nf\ng g\nh\ni\nj\n");
    recipe r = {.inputs = {in_dir(state, "ten.txt")}};
    assert_ok(make(&r, in_dir(state, "ten"), NULL, &err));
}

static amg_status split(void **state, const char *input, int64_t chunk, uint64_t seed,
                        const char *a, const char *b, amg_error *err)
{
    amg_token_info parts[2];
    const char *const outs[] = {in_dir(state, a), in_dir(state, b)};
    return amg_split_tokens(&(amg_split_options){.input = in_dir(state, input),
                                                 .num_parts = 2,
                                                 .outs = outs,
                                                 .shares = (const double[]){1, 1},
                                                 .chunk = chunk,
                                                 .seed = seed},
                            NULL, parts, err);
}

/* Goldens from make_tokenize_golden.py. */
static void documents_are_dealt_out_as_the_seed_says(void **state)
{
    put_ten(state);
    assert_ok(split(state, "ten", 0, 7, "a", "b", &err));
    assert_string_equal(spell(in_dir(state, "a")), "i\n|e\n|j\n|a\n|f\n");
    assert_string_equal(spell(in_dir(state, "b")), "d\n|b b\n|c\n|h\n|g g\n");
    char hashes[2][65];
    int64_t size;
    assert_ok(
        amg_file_sha256(in_dir(state, "ten/vocabulary.json"), hashes[0], &size, &err));
    assert_ok(
        amg_file_sha256(in_dir(state, "b/vocabulary.json"), hashes[1], &size, &err));
    assert_string_equal(hashes[0], hashes[1]);
    assert_ok(split(state, "ten", 0, 8, "c", "d", &err));
    assert_string_not_equal(spell(in_dir(state, "c")), "i\n|e\n|j\n|a\n|f\n");
}

static void shares_say_how_much(void **state)
{
    put_text(state, "seven.txt", "a\nb\nc\nd\ne\nf\ng\n");
    recipe r = {.inputs = {in_dir(state, "seven.txt")}};
    assert_ok(make(&r, in_dir(state, "seven"), NULL, &err));
    amg_token_info parts[3];
    const char *const outs[] = {in_dir(state, "x"), in_dir(state, "y"),
                                in_dir(state, "z")};
    assert_ok(
        amg_split_tokens(&(amg_split_options){.input = in_dir(state, "seven"),
                                              .num_parts = 3,
                                              .outs = outs,
                                              .shares = (const double[]){50, 25, 25},
                                              .seed = 9},
                         NULL, parts, &err));
    assert_string_equal(spell(in_dir(state, "x")), "g\n|f\n|e\n|a\n");
    assert_string_equal(spell(in_dir(state, "y")), "d\n");
    assert_string_equal(spell(in_dir(state, "z")), "c\n|b\n");
    assert_int_equal(parts[0].num_tokens, 8);
    assert_int_equal(parts[2].num_documents, 2);
}

/* Pieces of 3 tokens of the 22; golden as above, but the short piece 7 stands last. */
static void chunks_cut_documents_and_lose_nothing(void **state)
{
    static const int64_t dealt[2][4] = {{1, 2, 5, 7}, {0, 6, 4, 3}};
    put_ten(state);
    assert_ok(split(state, "ten", 3, 1, "a", "b", &err));
    amg_token_set all, part[2];
    assert_ok(amg_token_set_open(in_dir(state, "ten"), &all, &err));
    assert_ok(amg_token_set_open(in_dir(state, "a"), &part[0], &err));
    assert_ok(amg_token_set_open(in_dir(state, "b"), &part[1], &err));
    assert_int_equal(all.info.num_tokens, 22);
    assert_int_equal(part[0].info.num_tokens, 10);
    assert_int_equal(part[1].info.num_tokens, 12);
    for (int side = 0; side < 2; side++)
        for (int64_t i = 0; i < 4; i++) {
            const int64_t begin = 3 * dealt[side][i];
            const int64_t num = 22 - begin < 3 ? 22 - begin : 3;
            int32_t piece[3], found[3];
            assert_ok(amg_token_set_read(&all, begin, num, piece, &err));
            assert_ok(amg_token_set_read(&part[side], 3 * i, num, found, &err));
            assert_memory_equal(piece, found, (size_t)num * sizeof *piece);
            /* A document ends where it did, and where a piece does. */
            const int64_t d = amg_token_set_document(&part[side], 3 * i);
            assert_int_equal(part[side].documents[d], 3 * i);
        }
    for (int side = 0; side < 2; side++)
        for (int64_t d = 0; d < part[side].info.num_documents; d++)
            assert_in_range(part[side].documents[d + 1] - part[side].documents[d], 1,
                            3);
    amg_token_set_close(&all);
    amg_token_set_close(&part[0]);
    amg_token_set_close(&part[1]);
}

static void labelled_sets_are_dealt_out_by_documents(void **state)
{
    put_text(state, "a.csv", "1,a\n2,b b\n1,c\n2,d\n");
    recipe r = {.inputs = {in_dir(state, "a.csv")}, .o.records.label = "1"};
    assert_ok(make(&r, in_dir(state, "set"), NULL, &err));
    assert_ok(split(state, "set", 1, 3, "a", "b", &err));
    int seen = 0;
    for (int side = 0; side < 2; side++) {
        amg_token_set s;
        const char *dir = in_dir(state, side == 0 ? "a" : "b");
        char text[64];
        snprintf(text, sizeof text, "%s", spell(dir));
        assert_ok(amg_token_set_open(dir, &s, &err));
        assert_int_equal(s.info.num_documents, 2);
        assert_int_equal(s.info.num_classes, 2);
        int64_t d = 0;
        for (const char *word = strtok(text, "|"); word != NULL;
             word = strtok(NULL, "|"), d++) {
            seen |= 1 << (word[0] - 'a');
            assert_int_equal(s.labels[d], (word[0] - 'a') % 2);
        }
        amg_token_set_close(&s);
    }
    assert_int_equal(seen, 15);
}

static void a_split_that_fails_leaves_nothing(void **state)
{
    put_ten(state);
    const size_t before = files_in(state);
    assert_failed(split(state, "ten", 0, 1, "a", "a", &err), AMG_INVALID, -1);
    assert_failed(split(state, "ten", 22, 1, "a", "b", &err), AMG_INVALID, -1);
    assert_failed(split(state, "ten", -1, 1, "a", "b", &err), AMG_INVALID, -1);
    assert_failed(split(state, "ten", 0, 1, "a", "ten", &err), AMG_EXISTS, -1);
    assert_failed(split(state, "none", 0, 1, "a", "b", &err), AMG_NOT_FOUND, -1);
    amg_token_info parts[2];
    const char *const outs[] = {in_dir(state, "a"), in_dir(state, "b")};
    amg_split_options o = {.input = in_dir(state, "ten"),
                           .num_parts = 2,
                           .outs = outs,
                           .shares = (const double[]){1, 0}};
    assert_failed(amg_split_tokens(&o, NULL, parts, &err), AMG_INVALID, -1);
    o.shares = (const double[]){1, 1};
    o.num_parts = 1;
    assert_failed(amg_split_tokens(&o, NULL, parts, &err), AMG_INVALID, -1);
    o.num_parts = 2;
    int reports = 0;
    const amg_progress progress = {.report = stop_at_once, .context = &reports};
    assert_failed(amg_split_tokens(&o, &progress, parts, &err), AMG_INTERRUPTED, -1);
    amg_status st = AMG_NO_MEMORY;
    for (long n = 1; st != AMG_OK; n++) {
        long countdown = n;
        assert_int_equal(files_in(state), before);
        amg_alloc_fail_after(&countdown);
        st = split(state, "ten", 4, 1, "a", "b", NULL);
        amg_alloc_fail_after(NULL);
        assert_true(st == AMG_OK || st == AMG_NO_MEMORY);
    }
    assert_int_equal(files_in(state), before + 2);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(wikitext_is_read_as_it_always_is),
        TEST(ag_news_has_its_documents_and_labels),
        TEST(threads_do_not_change_a_byte),
        TEST(reading_twice_gives_the_same_set),
        TEST(errors_are_those_of_the_first_place_whatever_the_threads),
        TEST(lines_are_documents_with_an_end),
        TEST(words_are_made_as_asked),
        TEST(a_whole_file_is_one_document),
        TEST(a_large_whole_file_is_cut_where_no_token_is),
        TEST(classes_are_those_of_the_input_in_order),
        TEST(later_sets_have_the_vocabulary_and_classes_of_the_first),
        TEST(classes_are_collected_for_a_given_vocabulary),
        TEST(a_label_is_a_name_or_a_place),
        TEST(a_label_that_is_no_class_is_refused_at_its_line),
        TEST(bad_input_leaves_nothing),
        TEST(wrong_options_are_refused),
        TEST(stopping_leaves_nothing),
        TEST(no_memory_leaves_nothing),
        TEST(documents_are_dealt_out_as_the_seed_says),
        TEST(shares_say_how_much),
        TEST(chunks_cut_documents_and_lose_nothing),
        TEST(labelled_sets_are_dealt_out_by_documents),
        TEST(a_split_that_fails_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
