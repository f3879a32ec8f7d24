/* Records of text files: lines, rows of CSV and TSV, JSON Lines, plain and packed. */
#include "../formats/fixture.h"

#include "text/records.h"

/* Opens DIR/NAME made of a literal. */
#define PUT(name, text) put_file(state, name, text, sizeof text - 1)

static amg_records *open_named(void **state, const char *name, const char *text,
                               const char *label, bool header)
{
    const amg_records_options o = {
        .format_by_name = true, .text = text, .label = label, .header = header};
    amg_records *r = NULL;
    assert_ok(amg_records_open(in_dir(state, name), &o, &r, &err));
    return r;
}

static void expect_record(amg_records *r, const char *text, const char *label,
                          int64_t line, int64_t offset)
{
    amg_record record;
    bool done = true;
    assert_ok(amg_records_next(r, &record, &done, &err));
    assert_false(done);
    assert_int_equal(record.size, strlen(text));
    assert_memory_equal(record.text, text, record.size);
    assert_string_equal(record.label, label);
    assert_int_equal(record.line, line);
    assert_int_equal(record.offset, offset);
}

static void expect_end(amg_records *r)
{
    amg_record record;
    for (int i = 0; i < 2; i++) { /* the end stays the end */
        bool done = false;
        assert_ok(amg_records_next(r, &record, &done, &err));
        assert_true(done);
    }
    amg_records_close(r);
}

static void lines_end_with_lf_crlf_or_the_file(void **state)
{
    PUT("a.txt", "\xef\xbb\xbf"
                 " one \n\r\ntwo\tx\r\nthr\ree");
    amg_records *r = open_named(state, "a.txt", NULL, NULL, false);
    expect_record(r, " one ", "", 1, 3);
    expect_record(r, "", "", 2, 9);
    expect_record(r, "two\tx", "", 3, 11);
    expect_record(r, "thr\ree", "", 4, 18);
    int64_t done, all;
    amg_records_position(r, &done, &all);
    assert_int_equal(done, 24);
    assert_int_equal(all, 24);
    expect_end(r);
}

static void rows_are_unquoted_as_rfc_4180_has_it(void **state)
{
    PUT("a.csv", "3,\"a \"\"b\"\"\", c d\r\n\r\n"
                 "\"1\",\"line\none,\",\"\"\n"
                 "2,,x");
    amg_records *r = open_named(state, "a.csv", "2,3", "1", false);
    expect_record(r, "a \"b\"  c d", "3", 1, 0);
    expect_record(r, "line\none, ", "1", 3, 20);
    expect_record(r, " x", "2", 5, 39);
    expect_end(r);

    r = open_named(state, "a.csv", NULL, NULL, false); /* the last column */
    expect_record(r, " c d", "", 1, 0);
    expect_record(r, "", "", 3, 20);
    expect_record(r, "x", "", 5, 39);
    expect_end(r);
}

static void columns_are_found_by_the_header(void **state)
{
    PUT("a.csv", "\xef\xbb\xbf"
                 "\"id\",\"my \"\"text\"\"\",class\n7,hello,World\n");
    amg_records *r = open_named(state, "a.csv", "my \"text\"", "class", true);
    expect_record(r, "hello", "World", 2, 28);
    expect_end(r);
    r = open_named(state, "a.csv", "2", "1", true);
    expect_record(r, "hello", "7", 2, 28);
    expect_end(r);
}

static void quotes_within_a_tsv_field_are_text(void **state)
{
    PUT("a.tsv", "x\tsay \"yes\", now\n\"q\tr\"\t\"two\nlines\"\n");
    amg_records *r = open_named(state, "a.tsv", "2", "1", false);
    expect_record(r, "say \"yes\", now", "x", 1, 0);
    expect_record(r, "two\nlines", "q\tr", 2, 17);
    expect_end(r);
}

static void json_lines_give_members(void **state)
{
    PUT("a.jsonl", "{\"text\":\"a\\u00e9\\n\\\"\\ud83d\\ude00\",\"label\":3}\n  \n"
                   "{\"label\":\"x\",\"title\":\"T\",\"text\":\"\"}");
    amg_records *r = open_named(state, "a.jsonl", NULL, "label", false);
    expect_record(r, "a\xc3\xa9\n\"\xf0\x9f\x98\x80", "3", 1, 0);
    expect_record(r, "", "x", 3, 48);
    expect_end(r);
    PUT("b.ndjson", "{\"a\":\"1\",\"b\":\"2\"}\r\n");
    r = open_named(state, "b.ndjson", "b,a", NULL, false);
    expect_record(r, "2 1", "", 1, 0);
    expect_end(r);
}

/* Rows that cross the pieces in which a packed file is read. */
static void packed_file_equals_plain(void **state)
{
    static char text[3 << 20], packed[1 << 20];
    size_t size = 0;
    int rows = 0;
    for (; size < sizeof text - 200; rows++)
        size += (size_t)sprintf(text + size, "%d,\"row %d%*s \"\"\n.\"\r\n", rows % 4,
                                rows, rows % 90, "");
    const size_t packed_size = gzip(text, size, (uint8_t *)packed, sizeof packed);
    put_file(state, "a.csv", text, size);
    put_file(state, "b.csv.gz", packed, packed_size);
    amg_records *plain = open_named(state, "a.csv", "2", "1", false);
    amg_records *gz = open_named(state, "b.csv.gz", "2", "1", false);
    for (int i = 0; i < rows; i++) {
        amg_record a, b;
        bool done = true;
        assert_ok(amg_records_next(plain, &a, &done, &err));
        assert_false(done);
        assert_ok(amg_records_next(gz, &b, &done, &err));
        assert_false(done);
        assert_int_equal(a.size, b.size);
        assert_memory_equal(a.text, b.text, a.size);
        assert_string_equal(a.label, b.label);
        assert_int_equal(a.line, 2 * i + 1);
        assert_int_equal(b.line, a.line);
        assert_int_equal(b.offset, a.offset);
    }
    int64_t done, all;
    amg_records_position(gz, &done, &all);
    assert_int_equal(done, packed_size);
    assert_int_equal(all, packed_size);
    expect_end(plain);
    expect_end(gz);
}

/* X(file, text column, label column, header, bytes, status, offset, place in the
 * message) */
#define MALFORMED(X)                                                                   \
    X("a.txt", NULL, NULL, false, "", MALFORMED, 0, "line 1, column 1: ")              \
    X("a.txt", NULL, NULL, false, "\xef\xbb\xbf", MALFORMED, 3, "line 1, column 1: ")  \
    X("a.txt", NULL, NULL, false, "ab\n\xc3\xa9\xff", MALFORMED, 5,                    \
      "line 2, column 2: ")                                                            \
    X("a.txt", NULL, NULL, false, "ab\ncd\xe2\x82\nx", MALFORMED, 5,                   \
      "line 2, column 3: ")                                                            \
    X("a.txt", NULL, NULL, false, "a\0b", MALFORMED, 1, "line 1, column 2: a NUL")     \
    X("a.csv", NULL, NULL, false, "", MALFORMED, 0, "line 1, column 1: ")              \
    X("a.csv", NULL, NULL, false, "\n\n", MALFORMED, 2, "line 3, column 1: ")          \
    X("a.csv", NULL, NULL, true, "a,b\n", MALFORMED, 4, "line 2, column 1: ")          \
    X("a.csv", NULL, NULL, false, "a,\"b\nc\n", MALFORMED, 2, "line 1, column 3: ")    \
    X("a.csv", NULL, NULL, false, "a,\"b\" c\n", MALFORMED, 5, "line 1, column 6: ")   \
    X("a.csv", NULL, NULL, false, "a,\"b\nb\"\r c\n", MALFORMED, 7,                    \
      "line 2, column 3: ")                                                            \
    X("a.csv", NULL, NULL, false, "a,b\"b\"\n", MALFORMED, 3, "line 1, column 4: ")    \
    X("a.csv", "3", NULL, false, "a,b\n", MALFORMED, 3, "line 1, column 4: ")          \
    X("a.csv", "1", "4", false, "a,b\r\n", MALFORMED, 3, "line 1, column 4: ")         \
    X("a.csv", NULL, NULL, false, "a,b,c\na,b,c,d\n", MALFORMED, 12,                   \
      "line 2, column 7: ")                                                            \
    X("a.csv", NULL, NULL, false, "a,\xff\n", MALFORMED, 2, "line 1, column 3: ")      \
    X("a.csv", "t", NULL, true, "a,b\n1,2\n", NOT_FOUND, 0, "line 1, column 1: ")      \
    X("a.csv", "3", NULL, true, "a,b\n1,2\n", NOT_FOUND, 0, "line 1, column 1: ")      \
    X("a.csv", "t", NULL, false, "a,b\n1,2\n", INVALID, -1, "column \"t\"")            \
    X("a.csv", "0", NULL, false, "a,b\n1,2\n", INVALID, -1, "column \"0\"")            \
    X("a.txt", NULL, "1", false, "a,b\n1,2\n", INVALID, -1, "plain text")              \
    X("a.jsonl", NULL, NULL, false, "\n", MALFORMED, 1, "line 2, column 1: ")          \
    X("a.jsonl", NULL, NULL, false, "\n{\"text\":}\n", MALFORMED, 10,                  \
      "line 2, column 10: ")                                                           \
    X("a.jsonl", NULL, NULL, false, "{\"text\":\"a\n\"}", TRUNCATED, 10,               \
      "line 1, column 11: ")                                                           \
    X("a.jsonl", NULL, NULL, false, " {\"t\":\"a\"}", MALFORMED, 1,                    \
      "line 1, column 2: lacks the member \"text\"")                                   \
    X("a.jsonl", NULL, NULL, false, "{\"text\": 1}", MALFORMED, 9,                     \
      "line 1, column 10: text: found an integer")                                     \
    X("a.jsonl", NULL, "l", false, "{\"l\":[],\"text\":\"\"}", MALFORMED, 5,           \
      "line 1, column 6: l: found an array")                                           \
    X("a.jsonl", NULL, NULL, false, "[]", MALFORMED, 0, "line 1, column 1: ")

#define ROW(file, text, label, header, bytes, status, offset, message)                 \
    {file, text, label, header, bytes, sizeof bytes - 1, AMG_##status, offset, message},
static const struct {
    const char *file, *text, *label;
    bool header;
    const char *bytes;
    size_t size;
    amg_status status;
    int64_t offset;
    const char *message;
} malformed[] = {MALFORMED(ROW)};

/* The first failure of reading all of a file. */
static amg_status read_all(const char *path, const amg_records_options *o,
                           amg_error *err)
{
    amg_records *r;
    amg_status st = amg_records_open(path, o, &r, err);
    if (st != AMG_OK) return st;
    amg_record record;
    for (bool done = false; !done && st == AMG_OK;)
        st = amg_records_next(r, &record, &done, err);
    amg_records_close(r);
    return st;
}

static void malformed_file_gives_code_offset_line_and_column(void **state)
{
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
        const amg_records_options o = {.format_by_name = true,
                                       .text = malformed[i].text,
                                       .label = malformed[i].label,
                                       .header = malformed[i].header};
        put_file(state, malformed[i].file, malformed[i].bytes, malformed[i].size);
        amg_error found = {0};
        const amg_status st = read_all(in_dir(state, malformed[i].file), &o, &found);
        assert_int_equal(st, found.code);
        if (st != malformed[i].status || found.offset != malformed[i].offset)
            fail_msg("case %zu: %s at %lld: %s", i, amg_status_name(st),
                     (long long)found.offset, found.what);
        if (strncmp(found.what, malformed[i].message, strlen(malformed[i].message)) !=
            0)
            fail_msg("case %zu: \"%s\", expected \"%s…\"", i, found.what,
                     malformed[i].message);
    }
}

static void endless_line_is_refused(void **state)
{
    const size_t size = AMG_MAX_RECORD_BYTES + 100;
    char *text = malloc(size);
    memset(text, 'x', size);
    memcpy(text, "ok\n", 3);
    put_file(state, "a.txt", text, size);
    amg_records_options o = {0};
    assert_failed(read_all(in_dir(state, "a.txt"), &o, &err), AMG_MALFORMED, 3);
    o.format = AMG_RECORDS_JSONL;
    memcpy(text, "\n\n\n", 3);
    put_file(state, "a.txt", text, size);
    assert_failed(read_all(in_dir(state, "a.txt"), &o, &err), AMG_MALFORMED, 3);
    o.format = AMG_RECORDS_CSV;
    text[3] = '"'; /* never closed */
    put_file(state, "a.txt", text, size);
    assert_failed(read_all(in_dir(state, "a.txt"), &o, &err), AMG_MALFORMED, 3);
    text[AMG_MAX_RECORD_BYTES + 2] = '\n'; /* one byte less: a record */
    text[3] = 'x';
    put_file(state, "a.txt", text, AMG_MAX_RECORD_BYTES + 3);
    assert_ok(read_all(in_dir(state, "a.txt"), &o, &err));
    free(text);
}

static void damaged_gzip_is_refused(void **state)
{
    uint8_t packed[256];
    const size_t size = gzip("one\ntwo\n", 8, packed, sizeof packed);
    const amg_records_options o = {0};
    put_file(state, "a.gz", packed, size - 1);
    assert_failed(read_all(in_dir(state, "a.gz"), &o, &err), AMG_TRUNCATED,
                  (int64_t)size - 1);
    const size_t empty = gzip("", 0, packed, sizeof packed);
    put_file(state, "a.gz", packed, empty);
    assert_failed(read_all(in_dir(state, "a.gz"), &o, &err), AMG_MALFORMED, 0);
    assert_failed(read_all(in_dir(state, "none.txt"), &o, &err), AMG_NOT_FOUND, -1);
}

/* Each request of memory in turn fails: an error, nothing lost. */
static void failing_memory_is_an_error(void **state)
{
    PUT("a.csv", "h,i\n\"a \"\"b\"\"\",c\n");
    const amg_records_options o = {
        .format_by_name = true, .text = "h,i", .label = "i", .header = true};
    int failed = 0;
    for (long n = 1;; n++) {
        long countdown = n;
        amg_alloc_fail_after(&countdown);
        const amg_status st = read_all(in_dir(state, "a.csv"), &o, NULL);
        amg_alloc_fail_after(NULL);
        if (countdown > 0) {
            assert_ok(st);
            break;
        }
        assert_int_equal(st, AMG_NO_MEMORY);
        failed++;
    }
    assert_true(failed >= 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
        T(lines_end_with_lf_crlf_or_the_file),
        T(rows_are_unquoted_as_rfc_4180_has_it),
        T(columns_are_found_by_the_header),
        T(quotes_within_a_tsv_field_are_text),
        T(json_lines_give_members),
        T(packed_file_equals_plain),
        T(malformed_file_gives_code_offset_line_and_column),
        T(endless_line_is_refused),
        T(damaged_gzip_is_refused),
        T(failing_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
