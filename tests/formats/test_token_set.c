/* Token sets: what is written is read, what is damaged is refused at its place, what is
 * not finished leaves nothing; and data sets of windows and documents made of them. */
#include "fixture.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "formats/dataset.h"
#include "formats/token_set.h"

static const char vocabulary[] = "{\"kind\": \"of no interest here\"}\n";

/* Any bytes will do: the set only names their hash. */
static void put_vocabulary(const amg_token_writer *w)
{
    char *path = amg_path_join(amg_token_writer_dir(w), "vocabulary.json");
    assert_ok(
        amg_file_write(path, 0644, true, vocabulary, sizeof vocabulary - 1, &err));
    amg_free(path);
}

static amg_token_writer *begin(void **state, const char *name,
                               const amg_token_info *info)
{
    amg_token_writer *w = NULL;
    assert_ok(amg_token_writer_new(in_dir(state, name), info, &w, &err));
    return w;
}

static void add(amg_token_writer *w, const int32_t *tokens, int64_t count,
                int32_t label)
{
    assert_ok(amg_token_writer_add(w, tokens, count, label, &err));
}

static void finish(amg_token_writer *w, amg_token_info *info)
{
    put_vocabulary(w);
    assert_ok(amg_token_writer_finish(w, info, &err));
}

/* How many names are in the test's folder. */
static size_t files_in(void **state)
{
    char **names;
    size_t count;
    assert_ok(amg_dir_list(*state, &names, &count, &err));
    amg_dir_list_free(names, count);
    return count;
}

/* ---- what is written is read ---- */

static void documents_and_labels_come_back(void **state)
{
    static const char *classes[] = {"world", "sports"};
    const amg_token_info info = {.vocab_size = 10,
                                 .pad = 0,
                                 .eos = AMG_NO_TOKEN,
                                 .num_classes = 2,
                                 .classes = classes};
    amg_token_info written = {0};
    amg_token_set set;
    int32_t tokens[6];
    char hash[65];
    amg_token_writer *w = begin(state, "set", &info);
    add(w, (const int32_t[]){9, 1, 2}, 3, 1);
    add(w, NULL, 0, 0);
    assert_ok(amg_token_writer_part(w, (const int32_t[]){3, 4}, 2, &err));
    add(w, (const int32_t[]){5}, 1, 1);
    finish(w, &written);
    assert_int_equal(written.num_tokens, 6);
    assert_int_equal(written.num_documents, 3);
    assert_ok(amg_token_set_open(in_dir(state, "set"), &set, &err));
    assert_int_equal(set.info.vocab_size, 10);
    assert_int_equal(set.info.pad, 0);
    assert_int_equal(set.info.eos, AMG_NO_TOKEN);
    assert_int_equal(set.info.num_tokens, 6);
    assert_int_equal(set.info.num_classes, 2);
    assert_string_equal(set.info.classes[1], "sports");
    assert_ok(amg_sha256_hex(vocabulary, sizeof vocabulary - 1, hash, &err));
    assert_string_equal(set.info.vocabulary, hash);
    assert_memory_equal(set.documents, ((const int64_t[]){0, 3, 3, 6}),
                        4 * sizeof(int64_t));
    assert_memory_equal(set.labels, ((const int32_t[]){1, 0, 1}), 3 * sizeof(int32_t));
    assert_ok(amg_token_set_read(&set, 0, 6, tokens, &err));
    assert_memory_equal(tokens, ((const int32_t[]){9, 1, 2, 3, 4, 5}), sizeof tokens);
    assert_failed(amg_token_set_read(&set, 5, 2, tokens, &err), AMG_INVALID, -1);
    assert_failed(amg_token_set_read(&set, -1, 2, tokens, &err), AMG_INVALID, -1);
    amg_token_set_close(&set);
    assert_int_equal(files_in(state), 1);
}

/* An array that grew is byte for byte the one that is written at once. */
static void arrays_are_plain_npy(void **state)
{
    amg_token_writer *w = begin(
        state, "set",
        &(amg_token_info){.vocab_size = 65536, .pad = AMG_NO_TOKEN, .eos = 65535});
    add(w, (const int32_t[]){65535, 1, 2}, 3, 0);
    finish(w, NULL);
    const uint16_t tokens[] = {65535, 1, 2};
    const int64_t documents[] = {0, 3}, dims[] = {3, 2};
    const struct {
        const char *name;
        amg_dtype dtype;
        const void *data;
    } arrays[] = {{"set/tokens-00000.npy", AMG_U16, tokens},
                  {"set/documents.npy", AMG_I64, documents}};
    for (int i = 0; i < 2; i++) {
        amg_tensor t;
        amg_map grown, once;
        assert_ok(
            amg_tensor_view(arrays[i].dtype, 1, &dims[i], arrays[i].data, &t, &err));
        assert_ok(amg_npy_write(in_dir(state, "once.npy"), &t, &err));
        assert_ok(amg_map_open(in_dir(state, arrays[i].name), &grown, &err));
        assert_ok(amg_map_open(in_dir(state, "once.npy"), &once, &err));
        assert_int_equal(grown.size, once.size);
        assert_memory_equal(grown.data, once.data, once.size);
        amg_map_close(&grown);
        amg_map_close(&once);
    }
}

static void tokens_go_over_from_shard_to_shard(void **state)
{
    enum { BLOCK = 1 << 18, AROUND = 5 };
    int32_t *block = malloc(BLOCK * sizeof *block), tokens[2 * AROUND];
    amg_token_writer *w =
        begin(state, "set",
              &(amg_token_info){.vocab_size = 70000, .pad = AMG_NO_TOKEN, .eos = 0});
    int64_t count = 0;
    while (count < AMG_SHARD_TOKENS + 3) {
        for (int i = 0; i < BLOCK; i++) block[i] = (int32_t)((count + i) % 69997);
        int64_t num = AMG_SHARD_TOKENS + 3 - count;
        if (num > BLOCK) num = BLOCK;
        assert_ok(amg_token_writer_part(w, block, num, &err));
        count += num;
    }
    free(block);
    add(w, (const int32_t[]){69999, 69998}, 2, 0);
    finish(w, NULL);
    amg_token_set set;
    assert_ok(amg_token_set_open(in_dir(state, "set"), &set, &err));
    assert_int_equal(set.num_shards, 2);
    assert_int_equal(set.shards[0].array.dtype, AMG_U32);
    assert_int_equal(set.info.num_tokens, AMG_SHARD_TOKENS + 5);
    assert_ok(
        amg_token_set_read(&set, AMG_SHARD_TOKENS - AROUND, 2 * AROUND, tokens, &err));
    for (int i = 0; i < AROUND + 3; i++)
        assert_int_equal(tokens[i], (AMG_SHARD_TOKENS - AROUND + i) % 69997);
    assert_int_equal(tokens[AROUND + 3], 69999);
    assert_int_equal(tokens[AROUND + 4], 69998);
    assert_ok(amg_token_set_read(&set, AMG_SHARD_TOKENS, 1, tokens, &err));
    assert_int_equal(tokens[0], AMG_SHARD_TOKENS % 69997);
    amg_token_set_close(&set);
}

/* ---- what is not finished leaves nothing ---- */

static const amg_token_info plain = {
    .vocab_size = 10, .pad = AMG_NO_TOKEN, .eos = AMG_NO_TOKEN};

static void a_folder_that_is_there_stays_as_it_is(void **state)
{
    amg_token_writer *w = NULL, *second;
    put_file(state, "set/mine", "x", 1);
    assert_failed(amg_token_writer_new(in_dir(state, "set"), &plain, &w, &err),
                  AMG_EXISTS, -1);
    w = begin(state, "late", &plain);
    second = begin(state, "late", &plain);
    add(w, (const int32_t[]){1}, 1, 0);
    add(second, (const int32_t[]){2}, 1, 0);
    finish(w, NULL);
    put_vocabulary(second);
    assert_failed(amg_token_writer_finish(second, NULL, &err), AMG_EXISTS, -1);
    assert_int_equal(files_in(state), 2);
}

static void wrong_arguments_are_refused(void **state)
{
    amg_token_writer *w = NULL;
    amg_token_info bad[] = {plain, plain, plain};
    bad[0].vocab_size = 0;
    bad[1].pad = 10;
    bad[2].eos = -2;
    for (int i = 0; i < 3; i++)
        assert_failed(amg_token_writer_new(in_dir(state, "set"), &bad[i], &w, &err),
                      AMG_INVALID, -1);
    amg_token_info labelled = plain;
    static const char *classes[] = {"a"};
    labelled.num_classes = 1;
    labelled.classes = classes;
    w = begin(state, "set", &labelled);
    assert_failed(amg_token_writer_add(w, (const int32_t[]){10}, 1, 0, &err),
                  AMG_INVALID, -1);
    assert_failed(amg_token_writer_add(w, (const int32_t[]){-1}, 1, 0, &err),
                  AMG_INVALID, -1);
    assert_failed(amg_token_writer_add(w, (const int32_t[]){1}, 1, 1, &err),
                  AMG_INVALID, -1);
    amg_token_writer_abort(w);
    w = begin(state, "set", &plain);
    add(w, NULL, 0, 0);
    put_vocabulary(w);
    assert_failed(amg_token_writer_finish(w, NULL, &err), AMG_INVALID, -1);
    w = begin(state, "set", &plain);
    add(w, (const int32_t[]){1}, 1, 0);
    assert_failed(amg_token_writer_finish(w, NULL, &err), AMG_NOT_FOUND, -1);
    amg_token_writer_abort(NULL);
    assert_int_equal(files_in(state), 0);
}

/* A class whose name the reader would refuse. */
static void no_set_is_written_that_cannot_be_read(void **state)
{
    static const char *classes[] = {"good", "b\nad"};
    amg_token_info info = plain;
    info.num_classes = 2;
    info.classes = classes;
    amg_token_writer *w = begin(state, "set", &info);
    add(w, (const int32_t[]){1}, 1, 0);
    put_vocabulary(w);
    amg_error err = {0};
    assert_int_equal(amg_token_writer_finish(w, NULL, &err), AMG_MALFORMED);
    assert_int_equal(files_in(state), 0);
}

static void a_killed_writer_leaves_no_set(void **state)
{
    const pid_t child = fork();
    if (child == 0) {
        amg_token_writer *w = NULL;
        if (amg_token_writer_new(in_dir(state, "set"), &plain, &w, NULL) != AMG_OK ||
            amg_token_writer_add(w, (const int32_t[]){1}, 1, 0, NULL) != AMG_OK)
            _exit(1);
        raise(SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_false(amg_path_exists(in_dir(state, "set")));
}

/* A limit on the size of files stands for a full disk. */
static void no_room_leaves_nothing(void **state)
{
    int32_t tokens[4096] = {0};
    struct rlimit old, tight;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    tight = old;
    tight.rlim_cur = 1 << 16;
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
    amg_token_writer *w = begin(state, "set", &plain);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    amg_status st = AMG_OK;
    amg_error err = {0};
    for (int i = 0; i < 100 && st == AMG_OK; i++)
        st = amg_token_writer_add(w, tokens, 4096, 0, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, before);
    assert_int_equal(st, AMG_IO);
    amg_token_writer_abort(w);
    assert_int_equal(files_in(state), 0);
}

static amg_status write_small(void **state, const char *name)
{
    amg_token_writer *w = NULL;
    amg_status st = amg_token_writer_new(in_dir(state, name), &plain, &w, NULL);
    if (st != AMG_OK) return st;
    st = amg_token_writer_add(w, (const int32_t[]){1, 2, 3}, 3, 0, NULL);
    char *path = amg_path_join(amg_token_writer_dir(w), "vocabulary.json");
    if (path == NULL) st = AMG_NO_MEMORY;
    if (st == AMG_OK)
        st = amg_file_write(path, 0644, true, vocabulary, sizeof vocabulary - 1, NULL);
    amg_free(path);
    if (st == AMG_OK) return amg_token_writer_finish(w, NULL, NULL);
    amg_token_writer_abort(w);
    return st;
}

static void no_memory_leaves_nothing(void **state)
{
    amg_status st = AMG_NO_MEMORY;
    int failures = 0;
    for (long n = 1; st != AMG_OK; n++) {
        long countdown = n;
        amg_alloc_fail_after(&countdown);
        st = write_small(state, "set");
        amg_alloc_fail_after(NULL);
        if (st == AMG_OK) break;
        assert_int_equal(st, AMG_NO_MEMORY);
        assert_int_equal(files_in(state), 0);
        failures++;
    }
    assert_true(failures > 10);
    amg_token_set set;
    amg_dataset *ds = NULL;
    st = AMG_NO_MEMORY;
    for (long n = 1; st != AMG_OK; n++) {
        long countdown = n;
        amg_alloc_fail_after(&countdown);
        st = amg_token_set_open(in_dir(state, "set"), &set, NULL);
        if (st == AMG_OK) amg_token_set_close(&set);
        amg_alloc_fail_after(NULL);
        assert_true(st == AMG_OK || st == AMG_NO_MEMORY);
    }
    st = AMG_NO_MEMORY;
    for (long n = 1; st != AMG_OK; n++) {
        long countdown = n;
        amg_alloc_fail_after(&countdown);
        st = amg_dataset_open_window(in_dir(state, "set"), &(amg_window){2, 0}, &ds,
                                     NULL);
        amg_alloc_fail_after(NULL);
        assert_true(st == AMG_OK || st == AMG_NO_MEMORY);
    }
    amg_dataset_close(ds);
}

/* ---- what is damaged is refused at its place ---- */

#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const char *const members[] = {
    "\"format\": \"amalgam token set\"",
    "\"version\": 1",
    "\"vocab_size\": 10",
    "\"pad\": 0",
    "\"eos\": -1",
    "\"vocabulary\": \"" HASH "\"",
    "\"shards\": [3, 2]",
    "\"documents\": 2",
    "\"classes\": [\"a\", \"b\"]",
};
enum { NUM_MEMBERS = sizeof members / sizeof *members };

static void put_array(void **state, const char *name, amg_dtype dtype, int64_t count,
                      const void *data)
{
    amg_tensor t;
    assert_ok(amg_tensor_view(dtype, 1, &count, data, &t, &err));
    assert_ok(amg_npy_write(in_dir(state, name), &t, &err));
}

/* Two shards of different types, two documents with labels. */
static void put_set(void **state)
{
    put_array(state, "tokens-00000.npy", AMG_U16, 3, (const uint16_t[]){1, 2, 3});
    put_array(state, "tokens-00001.npy", AMG_U32, 2, (const uint32_t[]){4, 9});
    put_array(state, "documents.npy", AMG_I64, 3, (const int64_t[]){0, 2, 5});
    put_array(state, "labels.npy", AMG_I32, 2, (const int32_t[]){1, 0});
}

/* tokens.json with member i replaced; "": left out. Returns where it stands. */
static int64_t put_description(void **state, int which, const char *member)
{
    char text[1024] = "{";
    int64_t at = -1;
    for (int i = 0; i < NUM_MEMBERS; i++) {
        const char *m = i == which ? member : members[i];
        if (i == which) at = (int64_t)strlen(text) + 1 + (i > 0);
        if (m[0] == 0) continue;
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s\n%s",
                 text[1] != 0 ? "," : "", m);
    }
    snprintf(text + strlen(text), sizeof text - strlen(text), "\n}\n");
    put_file(state, "tokens.json", text, strlen(text));
    return at;
}

static void a_set_made_by_hand_is_read(void **state)
{
    amg_token_set set;
    int32_t tokens[5];
    put_set(state);
    put_description(state, -1, NULL);
    assert_ok(amg_token_set_open(*state, &set, &err));
    assert_ok(amg_token_set_read(&set, 0, 5, tokens, &err));
    assert_memory_equal(tokens, ((const int32_t[]){1, 2, 3, 4, 9}), sizeof tokens);
    amg_token_set_close(&set);
}

static void a_wrong_member_is_refused_at_its_value(void **state)
{
    static const struct {
        int which;
        const char *member, *value; /* value: what the offset points to */
        amg_status status;
    } cases[] = {
        {0, "\"format\": \"something\"", "\"something", AMG_UNSUPPORTED},
        {0, "\"format\": 1", "1", AMG_MALFORMED},
        {1, "\"version\": 2", "2", AMG_UNSUPPORTED},
        {2, "\"vocab_size\": 0", "0", AMG_MALFORMED},
        {2, "\"vocab_size\": 2147483648", "2147483648", AMG_MALFORMED},
        {2, "\"vocab_size\": 1.5", "1.5", AMG_MALFORMED},
        {3, "\"pad\": 10", "10", AMG_MALFORMED},
        {3, "\"pad\": -2", "-2", AMG_MALFORMED},
        {4, "\"eos\": 10", "10", AMG_MALFORMED},
        {5, "\"vocabulary\": \"12\"", "\"12", AMG_MALFORMED},
        {6, "\"shards\": []", "[", AMG_MALFORMED},
        {6, "\"shards\": [3, 0]", "0", AMG_MALFORMED},
        {6, "\"shards\": [3, 1099511627777]", "1099", AMG_MALFORMED},
        {7, "\"documents\": 0", "0", AMG_MALFORMED},
        {8, "\"classes\": [\"a\", \"\"]", "\"\"", AMG_MALFORMED},
        {8, "\"classes\": [\"a\", \"\\u0001\"]", "\"\\u", AMG_MALFORMED},
        {8, "\"classes\": {}", "{", AMG_MALFORMED},
    };
    put_set(state);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        amg_token_set set;
        const char *m = cases[i].member;
        const int64_t at = put_description(state, cases[i].which, m) +
                           (strstr(strchr(m, ':'), cases[i].value) - m);
        assert_failed(amg_token_set_open(*state, &set, &err), cases[i].status, at);
    }
    amg_token_set set;
    put_description(state, 3, "");
    assert_failed(amg_token_set_open(*state, &set, &err), AMG_MALFORMED, 0);
    put_file(state, "tokens.json", "", 0);
    assert_failed(amg_token_set_open(*state, &set, &err), AMG_MALFORMED, 0);
}

static void a_wrong_array_is_refused(void **state)
{
    amg_token_set set;
    put_set(state);
    put_description(state, -1, NULL);
    put_array(state, "tokens-00001.npy", AMG_U32, 3, (const uint32_t[]){4, 9, 1});
    assert_failed(amg_token_set_open(*state, &set, &err), AMG_MISMATCH, -1);
    put_array(state, "tokens-00001.npy", AMG_I32, 2, (const int32_t[]){4, 9});
    assert_failed(amg_token_set_open(*state, &set, &err), AMG_MISMATCH, -1);
    unlink(in_dir(state, "tokens-00001.npy"));
    assert_failed(amg_token_set_open(*state, &set, &err), AMG_NOT_FOUND, -1);
    put_set(state);
    put_file(state, "tokens-00001.npy", "\x93NUMPY\1", 7);
    assert_failed(amg_token_set_open(*state, &set, &err), AMG_TRUNCATED, 7);
    put_set(state);
    put_array(state, "documents.npy", AMG_I64, 2, (const int64_t[]){0, 5});
    assert_failed(amg_token_set_open(*state, &set, &err), AMG_MISMATCH, -1);
    put_set(state);
    unlink(in_dir(state, "labels.npy"));
    assert_failed(amg_token_set_open(*state, &set, &err), AMG_NOT_FOUND, -1);
}

/* Data begin at byte 128 of an .npy file with one dim. */
static void a_wrong_element_is_refused_at_its_byte(void **state)
{
    static const struct {
        int64_t documents[3];
        int64_t offset;
    } cases[] = {
        {{1, 2, 5}, 128},         {{-1, 2, 5}, 128}, {{0, 6, 5}, 136},
        {{0, -1, 5}, 136},        {{0, 2, 4}, 144},  {{0, 2, 6}, 144},
        {{0, INT64_MAX, 5}, 136},
    };
    amg_token_set set;
    int32_t tokens[5];
    put_set(state);
    put_description(state, -1, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_array(state, "documents.npy", AMG_I64, 3, cases[i].documents);
        assert_failed(amg_token_set_open(*state, &set, &err), AMG_MALFORMED,
                      cases[i].offset);
    }
    put_set(state);
    put_array(state, "labels.npy", AMG_I32, 2, (const int32_t[]){1, 2});
    assert_failed(amg_token_set_open(*state, &set, &err), AMG_MALFORMED, 132);
    put_array(state, "labels.npy", AMG_I32, 2, (const int32_t[]){-1, 1});
    assert_failed(amg_token_set_open(*state, &set, &err), AMG_MALFORMED, 128);
    put_set(state);
    put_array(state, "tokens-00001.npy", AMG_U32, 2, (const uint32_t[]){4, UINT32_MAX});
    assert_ok(amg_token_set_open(*state, &set, &err));
    assert_ok(amg_token_set_read(&set, 0, 4, tokens, &err));
    assert_failed(amg_token_set_read(&set, 2, 3, tokens, &err), AMG_MALFORMED, 132);
    amg_token_set_close(&set);
    put_array(state, "tokens-00000.npy", AMG_U16, 3, (const uint16_t[]){1, 10, 3});
    assert_ok(amg_token_set_open(*state, &set, &err));
    assert_failed(amg_token_set_read(&set, 0, 2, tokens, &err), AMG_MALFORMED, 130);
    amg_token_set_close(&set);
}

/* ---- as a data set ---- */

/* A stream of tokens 0 .. 9 in two documents. */
static void put_stream(void **state)
{
    int32_t tokens[10];
    for (int i = 0; i < 10; i++) tokens[i] = i;
    amg_token_writer *w = begin(state, "set", &plain);
    add(w, tokens, 4, 0);
    add(w, tokens + 4, 6, 0);
    finish(w, NULL);
}

static void windows_run_over_the_whole_stream(void **state)
{
    static const struct {
        amg_window window;
        int64_t num_samples;
    } cases[] = {{{3, 0}, 3},   {{3, 1}, 7}, {{3, 4}, 2},
                 {{3, 100}, 1}, {{9, 0}, 1}, {{4, 0}, 2}};
    put_stream(state);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const amg_window *w = &cases[c].window;
        const int64_t stride = w->stride > 0 ? w->stride : w->seq;
        amg_dataset *ds = NULL;
        int32_t x[10];
        assert_ok(amg_dataset_open_window(in_dir(state, "set"), w, &ds, &err));
        const amg_dataset_info *info = amg_dataset_get_info(ds);
        assert_string_equal(info->kind, "text");
        assert_int_equal(info->dtype, AMG_I32);
        assert_int_equal(info->rank, 1);
        assert_int_equal(info->dims[0], w->seq + 1);
        assert_int_equal(info->sample_bytes, (w->seq + 1) * 4);
        assert_int_equal(info->target_dtype, AMG_DTYPE_NONE);
        assert_int_equal(info->target_bytes, 0);
        assert_int_equal(info->num_classes, 0);
        assert_int_equal(info->vocab_size, 10);
        assert_int_equal(info->pad, AMG_NO_TOKEN);
        assert_int_equal(strlen(info->vocabulary), 64);
        assert_int_equal(info->num_samples, cases[c].num_samples);
        for (int64_t i = 0; i < info->num_samples; i++) {
            assert_ok(amg_dataset_read(ds, i, x, NULL, &err));
            for (int64_t t = 0; t <= w->seq; t++)
                assert_int_equal(x[t], i * stride + t);
            assert_int_equal(amg_dataset_source_row(ds, i), i * stride);
            if (i > 0) assert_true(amg_dataset_continues(ds, i - 1));
            assert_int_equal(amg_dataset_begins_document(ds, i),
                             i * stride == 0 || i * stride == 4);
        }
        assert_int_equal(info->stride, stride);
        assert_ok(amg_dataset_read(ds, 0, NULL, NULL, &err));
        amg_dataset_close(ds);
    }
}

static void parts_of_one_set_have_its_source_whatever_the_window(void **state)
{
    char spec[8192];
    amg_dataset *all = NULL, *part = NULL;
    int32_t x[3];
    put_stream(state);
    snprintf(spec, sizeof spec, "text:%s[2:4]", in_dir(state, "set/"));
    assert_ok(
        amg_dataset_open_window(in_dir(state, "set"), &(amg_window){2, 1}, &all, &err));
    assert_ok(amg_dataset_open_window(spec, &(amg_window){2, 2}, &part, &err));
    assert_string_equal(amg_dataset_source(all), amg_dataset_source(part));
    assert_int_equal(amg_dataset_get_info(part)->num_samples, 2);
    assert_ok(amg_dataset_read_many(part, (const int64_t[]){1}, 1, x, NULL, &err));
    assert_memory_equal(x, ((const int32_t[]){6, 7, 8}), sizeof x);
    assert_int_equal(amg_dataset_source_row(part, 1), amg_dataset_source_row(all, 6));
    amg_dataset_close(part);
    snprintf(spec, sizeof spec, "text:%s[0%%-50%%:seed=1]", in_dir(state, "set/"));
    assert_ok(amg_dataset_open_window(spec, &(amg_window){2, 1}, &part, &err));
    for (int64_t i = 0; i < 3; i++)
        assert_int_equal(amg_dataset_continues(part, i),
                         amg_dataset_source_row(part, i + 1) ==
                             amg_dataset_source_row(part, i) + 1);
    amg_dataset_close(part);
    amg_dataset_close(all);
}

static void documents_are_cut_and_filled_up(void **state)
{
    amg_dataset *ds = NULL;
    int32_t x[3], label;
    put_set(state);
    put_description(state, -1, NULL);
    assert_ok(amg_dataset_open_window(*state, &(amg_window){3, 0}, &ds, &err));
    const amg_dataset_info *info = amg_dataset_get_info(ds);
    assert_int_equal(info->num_samples, 2);
    assert_int_equal(info->dims[0], 3);
    assert_int_equal(info->pad, 0);
    assert_int_equal(info->num_classes, 2);
    assert_int_equal(info->target_dtype, AMG_I32);
    assert_int_equal(info->target_rank, 0);
    assert_string_equal(amg_dataset_class_name(ds, 1), "b");
    assert_ok(amg_dataset_read(ds, 0, x, &label, &err));
    assert_memory_equal(x, ((const int32_t[]){1, 2, 0}), sizeof x);
    assert_int_equal(label, 1);
    assert_ok(amg_dataset_read(ds, 1, x, &label, &err));
    assert_memory_equal(x, ((const int32_t[]){3, 4, 9}), sizeof x);
    assert_int_equal(label, 0);
    assert_int_equal(amg_dataset_source_row(ds, 1), 1);
    amg_dataset_close(ds);
    assert_ok(amg_dataset_open_window(*state, &(amg_window){1, 0}, &ds, &err));
    assert_ok(amg_dataset_read(ds, 1, x, NULL, &err));
    assert_int_equal(x[0], 3);
    amg_dataset_close(ds);
    put_description(state, 3, "\"pad\": -1");
    assert_failed(amg_dataset_open_window(*state, &(amg_window){3, 0}, &ds, &err),
                  AMG_MISMATCH, -1);
}

static void a_window_must_be_given_and_fit(void **state)
{
    char spec[8192];
    amg_dataset *ds = NULL;
    put_stream(state);
    const char *set = in_dir(state, "set");
    assert_failed(amg_dataset_open(set, &ds, &err), AMG_INVALID, -1);
    assert_failed(amg_dataset_open_window(set, &(amg_window){0, 0}, &ds, &err),
                  AMG_INVALID, -1);
    assert_failed(amg_dataset_open_window(set, &(amg_window){3, -1}, &ds, &err),
                  AMG_INVALID, -1);
    assert_failed(amg_dataset_open_window(set, &(amg_window){10, 0}, &ds, &err),
                  AMG_MISMATCH, -1);
    snprintf(spec, sizeof spec, "%s@train", set);
    assert_failed(amg_dataset_open_window(spec, &(amg_window){3, 0}, &ds, &err),
                  AMG_NOT_FOUND, -1);
    put_file(state, "other/x", "", 0);
    snprintf(spec, sizeof spec, "text:%s", in_dir(state, "other"));
    assert_failed(amg_dataset_open_window(spec, &(amg_window){3, 0}, &ds, &err),
                  AMG_NOT_FOUND, -1);
}

static void other_kinds_take_no_notice_of_a_window(void **state)
{
    amg_dataset *ds = NULL;
    const int64_t dims[] = {2, 3};
    const int32_t values[] = {1, 2, 3, 4, 5, 6};
    amg_tensor t;
    assert_ok(amg_tensor_view(AMG_I32, 2, dims, values, &t, &err));
    assert_ok(amg_npy_write(in_dir(state, "x.npy"), &t, &err));
    assert_ok(amg_dataset_open_window(in_dir(state, "x.npy"), &(amg_window){1, 1}, &ds,
                                      &err));
    assert_int_equal(amg_dataset_get_info(ds)->num_samples, 2);
    assert_int_equal(amg_dataset_get_info(ds)->vocab_size, 0);
    amg_dataset_close(ds);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(documents_and_labels_come_back),
        TEST(arrays_are_plain_npy),
        TEST(tokens_go_over_from_shard_to_shard),
        TEST(a_folder_that_is_there_stays_as_it_is),
        TEST(wrong_arguments_are_refused),
        TEST(no_set_is_written_that_cannot_be_read),
        TEST(a_killed_writer_leaves_no_set),
        TEST(no_room_leaves_nothing),
        TEST(no_memory_leaves_nothing),
        TEST(a_set_made_by_hand_is_read),
        TEST(a_wrong_member_is_refused_at_its_value),
        TEST(a_wrong_array_is_refused),
        TEST(a_wrong_element_is_refused_at_its_byte),
        TEST(windows_run_over_the_whole_stream),
        TEST(parts_of_one_set_have_its_source_whatever_the_window),
        TEST(documents_are_cut_and_filled_up),
        TEST(a_window_must_be_given_and_fit),
        TEST(other_kinds_take_no_notice_of_a_window),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
