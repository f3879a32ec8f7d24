/* External data of ONNX models: every known way out of the model's folder, tried
 * through the kernel's openat2 and through our own walk, and ranges that lie. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/file.h"
#include "formats/onnx.h"
#include "formats/onnx_external.h"
#include "onnx.pb-c.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* A folder with a model's folder in it, so that there is an outside:
 *
 *   ROOT/secret.bin
 *   ROOT/model/w.bin  sub/w.bin  link → ../secret.bin  inner → w.bin  up → ..
 *   ROOT/model/hard (second name of secret.bin)  fifo  sub/loop → sub */
typedef struct {
    char root[256], model[280];
} world;

static void path_in(const world *w, const char *name, char out[512])
{
    snprintf(out, 512, "%s/%s", w->root, name);
}

static void put_file(const world *w, const char *name, const char *text)
{
    char path[512];
    path_in(w, name, path);
    assert_int_equal(amg_file_write(path, 0644, false, text, strlen(text), NULL),
                     AMG_OK);
}

static void put_link(const world *w, const char *name, const char *target)
{
    char path[512];
    path_in(w, name, path);
    assert_int_equal(symlink(target, path), 0);
}

static int make_world(void **state)
{
    world *w = malloc(sizeof *w);
    const char *base = getenv("TMPDIR");
    char from[512], to[512];
    snprintf(w->root, sizeof w->root, "%s/amg-ext-XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(w->root));
    snprintf(w->model, sizeof w->model, "%s/model", w->root);
    assert_int_equal(mkdir(w->model, 0755), 0);
    path_in(w, "model/sub", to);
    assert_int_equal(mkdir(to, 0755), 0);
    put_file(w, "secret.bin", "secret");
    put_file(w, "model/w.bin", "0123456789abcdef");
    put_file(w, "model/sub/w.bin", "sub");
    put_link(w, "model/link", "../secret.bin");
    put_link(w, "model/inner", "w.bin");
    put_link(w, "model/up", "..");
    put_link(w, "model/sub/loop", "../sub");
    put_link(w, "model/proc", "/proc/self/root");
    path_in(w, "secret.bin", from);
    path_in(w, "model/hard", to);
    assert_int_equal(link(from, to), 0);
    path_in(w, "model/fifo", to);
    assert_int_equal(mkfifo(to, 0644), 0);
    *state = w;
    return 0;
}

static int remove_world(void **state)
{
    world *w = *state;
    amg_dir_remove(w->root);
    free(w);
    return 0;
}

static bool kernel_has_openat2(const world *w)
{
    int fd = -1;
    if (amg_open_beneath(w->model, "w.bin", AMG_BENEATH_OPENAT2, &fd, NULL))
        return false;
    close(fd);
    return true;
}

static const amg_beneath ways[] = {AMG_BENEATH_AUTO, AMG_BENEATH_OPENAT2,
                                   AMG_BENEATH_BY_HAND};

/* Each way must refuse with the same code, and the rule in the text. */
static void expect_refused(const world *w, const char *base, const char *location,
                           amg_status code, const char *why)
{
    bool has = kernel_has_openat2(w);
    for (size_t i = 0; i < COUNT(ways); i++) {
        if (ways[i] == AMG_BENEATH_OPENAT2 && !has) continue;
        amg_error err = {0};
        int fd = -7;
        amg_status st = amg_open_beneath(base, location, ways[i], &fd, &err);
        if (st != code || !strstr(err.what, why))
            fail_msg("\"%s\" by way %zu: %s, \"%s\"", location, i, amg_status_name(st),
                     err.what);
        assert_int_equal(err.offset, -1);
        assert_string_equal(err.where, location);
        assert_int_equal(fd, -7);
    }
}

static void opens_plain_files_beneath_the_folder(void **state)
{
    const world *w = *state;
    static const char *const good[] = {"w.bin", "sub/w.bin", "./w.bin", "sub/./w.bin"};
    bool has = kernel_has_openat2(w);
    for (size_t k = 0; k < COUNT(good); k++)
        for (size_t i = 0; i < COUNT(ways); i++) {
            if (ways[i] == AMG_BENEATH_OPENAT2 && !has) continue;
            int fd = -1;
            char text[4] = "";
            assert_int_equal(amg_open_beneath(w->model, good[k], ways[i], &fd, NULL),
                             AMG_OK);
            assert_int_equal(read(fd, text, 3), 3);
            assert_string_equal(text, good[k][0] == 's' ? "sub" : "012");
            close(fd);
        }
}

static void refuses_absolute_paths(void **state)
{
    const world *w = *state;
    char path[512];
    path_in(w, "model/w.bin", path); /* even to a good file */
    expect_refused(w, w->model, path, AMG_UNSAFE_PATH, "absolute");
    expect_refused(w, w->model, "//etc/hostname", AMG_UNSAFE_PATH, "absolute");
}

static void refuses_dot_dot_anywhere(void **state)
{
    const world *w = *state;
    expect_refused(w, w->model, "../secret.bin", AMG_UNSAFE_PATH, "\"..\"");
    expect_refused(w, w->model, "sub/../../secret.bin", AMG_UNSAFE_PATH, "\"..\"");
    expect_refused(w, w->model, "sub/../w.bin", AMG_UNSAFE_PATH, "\"..\"");
    expect_refused(w, w->model, "..", AMG_UNSAFE_PATH, "\"..\"");
    expect_refused(w, w->model, "sub/..", AMG_UNSAFE_PATH, "\"..\"");
}

static void refuses_empty_locations_and_components(void **state)
{
    const world *w = *state;
    expect_refused(w, w->model, "", AMG_UNSAFE_PATH, "location is empty");
    expect_refused(w, w->model, "sub//w.bin", AMG_UNSAFE_PATH, "empty component");
    expect_refused(w, w->model, "w.bin/", AMG_UNSAFE_PATH, "empty component");
}

static void an_empty_folder_never_becomes_the_root(void **state)
{
    const world *w = *state;
    /* "" + "/" + "etc/hostname" would be "/etc/hostname". */
    expect_refused(w, "", "etc/hostname", AMG_UNSAFE_PATH, "folder is empty");
    expect_refused(w, "", "w.bin", AMG_UNSAFE_PATH, "folder is empty");
    static const char *const rows[][2] = {
        {"m.onnx", "."}, {"/m.onnx", "/"}, {"a/m.onnx", "a"}, {"/a/b/m.onnx", "/a/b"}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *dir = amg_folder_of(rows[i][0]);
        assert_string_equal(dir, rows[i][1]);
        amg_free(dir);
    }
}

static void refuses_symbolic_links_in_every_component(void **state)
{
    const world *w = *state;
    expect_refused(w, w->model, "link", AMG_UNSAFE_PATH, "symbolic link");
    expect_refused(w, w->model, "inner", AMG_UNSAFE_PATH, "symbolic link");
    expect_refused(w, w->model, "up/secret.bin", AMG_UNSAFE_PATH, "symbolic link");
    expect_refused(w, w->model, "sub/loop/w.bin", AMG_UNSAFE_PATH, "symbolic link");
    expect_refused(w, w->model, "proc/etc/hostname", AMG_UNSAFE_PATH, "symbolic link");
}

static void refuses_magic_links_of_proc(void **state)
{
    const world *w = *state;
    expect_refused(w, "/proc/self", "root/etc/hostname", AMG_UNSAFE_PATH,
                   "symbolic link");
    expect_refused(w, "/proc/self/fd", "0", AMG_UNSAFE_PATH, "symbolic link");
}

static void refuses_hard_links(void **state)
{
    const world *w = *state;
    expect_refused(w, w->model, "hard", AMG_UNSAFE_PATH, "hard link");
}

static void refuses_what_is_not_a_regular_file(void **state)
{
    const world *w = *state;
    expect_refused(w, w->model, "sub", AMG_UNSAFE_PATH, "regular file");
    expect_refused(w, w->model, ".", AMG_UNSAFE_PATH, "regular file");
    expect_refused(w, w->model, "fifo", AMG_UNSAFE_PATH, "regular file");
    expect_refused(w, "/dev", "null", AMG_UNSAFE_PATH, "regular file");
}

static void missing_files_are_not_found(void **state)
{
    const world *w = *state;
    expect_refused(w, w->model, "none.bin", AMG_NOT_FOUND, "cannot be opened");
    expect_refused(w, w->model, "none/w.bin", AMG_NOT_FOUND, "cannot be opened");
    expect_refused(w, w->model, "w.bin/x", AMG_IO, "cannot be opened");
}

static void the_folder_itself_may_be_reached_through_a_link(void **state)
{
    const world *w = *state;
    char path[512];
    put_link(w, "model-link", "model");
    path_in(w, "model-link", path);
    for (size_t i = 0; i < COUNT(ways); i++) {
        int fd;
        if (ways[i] == AMG_BENEATH_OPENAT2 && !kernel_has_openat2(w)) continue;
        assert_int_equal(amg_open_beneath(path, "w.bin", ways[i], &fd, NULL), AMG_OK);
        close(fd);
    }
    path_in(w, "model-link", path);
    assert_int_equal(unlink(path), 0);
}

/* From here on, this process gets error from openat2, as on an old kernel. */
static bool take_openat2_away(int error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog program = {.len = COUNT(code), .filter = code};
    return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
           !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* In a child: 0 if all is as it should be, 77 if the kernel has no seccomp. */
static int try_without_openat2(const world *w, int error)
{
    int fd;
    if (!take_openat2_away(error)) return 77;
    if (amg_open_beneath(w->model, "w.bin", AMG_BENEATH_OPENAT2, &fd, NULL) !=
        AMG_UNSUPPORTED)
        return 1;
    if (amg_open_beneath(w->model, "sub/w.bin", AMG_BENEATH_AUTO, &fd, NULL)) return 2;
    if (amg_open_beneath(w->model, "up/secret.bin", AMG_BENEATH_AUTO, &fd, NULL) !=
        AMG_UNSAFE_PATH)
        return 3;
    return 0;
}

static void the_walk_by_hand_takes_over_where_openat2_is_missing(void **state)
{
    const world *w = *state;
    static const int errors[] = {ENOSYS, EPERM};
    for (size_t i = 0; i < COUNT(errors); i++) {
        int status = 0;
        pid_t child = fork();
        assert_true(child >= 0);
        if (!child) _exit(try_without_openat2(w, errors[i]));
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == 77) skip();
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

/* ---- tensors ---- */

#define MAX_ENTRIES 4

/* Writes a model with one tensor of n elements and external_data entries
 * {key, value, key, value, …, NULL}, then reads the tensor. */
static amg_status read_external(const char *file, int type, int64_t n,
                                const char *const *pairs, amg_onnx **onnx,
                                amg_tensor *out, amg_error *err)
{
    Onnx__StringStringEntryProto entries[MAX_ENTRIES], *list[MAX_ENTRIES];
    Onnx__TensorProto t = ONNX__TENSOR_PROTO__INIT, *all[] = {&t};
    Onnx__GraphProto g = ONNX__GRAPH_PROTO__INIT;
    Onnx__ModelProto m = ONNX__MODEL_PROTO__INIT;
    static char name[] = "w";
    t.name = name;
    t.has_data_type = 1;
    t.data_type = type;
    t.n_dims = 1;
    t.dims = &n;
    t.has_data_location = 1;
    t.data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
    t.external_data = list;
    for (; pairs[2 * t.n_external_data]; t.n_external_data++) {
        size_t i = t.n_external_data;
        onnx__string_string_entry_proto__init(&entries[i]);
        memcpy(&entries[i].key, &pairs[2 * i], sizeof(char *));
        memcpy(&entries[i].value, &pairs[2 * i + 1], sizeof(char *));
        list[i] = &entries[i];
    }
    m.graph = &g;
    g.n_initializer = 1;
    g.initializer = all;
    assert_int_equal(amg_onnx_write(file, &m, NULL), AMG_OK);
    assert_int_equal(amg_onnx_open(file, onnx, NULL), AMG_OK);
    return amg_onnx_tensor(*onnx, amg_onnx_model(*onnx)->graph->initializer[0], out,
                           err);
}

static void model_path(const world *w, char out[512])
{
    path_in(w, "model/m.onnx", out);
}

static void reads_a_range_of_the_file(void **state)
{
    const world *w = *state;
    static const struct {
        int type;
        int64_t n;
        bool owned; /* an offset that is odd for the type is copied */
        const char *text;
        const char *pairs[7];
    } rows[] = {
        {2, 16, false, "0123456789abcdef", {"location", "w.bin"}},
        {2, 4, false, "3456", {"location", "w.bin", "offset", "3", "length", "4"}},
        {2, 2, false, "ef", {"location", "w.bin", "offset", "14"}},
        {1, 2, false, "456789ab", {"location", "w.bin", "offset", "4"}},
        {1, 2, true, "3456789a", {"location", "w.bin", "offset", "3"}},
        {2, 0, false, "", {"location", "w.bin", "offset", "16", "length", "0"}},
        {2, 3, false, "sub", {"location", "sub/w.bin", "checksum", "not looked at"}},
    };
    char file[512];
    model_path(w, file);
    for (size_t i = 0; i < COUNT(rows); i++) {
        amg_onnx *onnx;
        amg_tensor t;
        assert_int_equal(read_external(file, rows[i].type, rows[i].n, rows[i].pairs,
                                       &onnx, &t, NULL),
                         AMG_OK);
        assert_int_equal(t.rank, 1);
        assert_int_equal(t.dims[0], rows[i].n);
        assert_int_equal(t.size_bytes, strlen(rows[i].text));
        if (t.size_bytes) assert_memory_equal(t.data, rows[i].text, t.size_bytes);
        assert_int_equal(t.owned, rows[i].owned);
        amg_tensor_clear(&t);
        amg_onnx_close(onnx);
    }
}

/* A file of 3 GiB, nearly all of it a hole, as models above protobuf's limit have. */
static void reads_behind_two_gib(void **state)
{
    const world *w = *state;
    char path[512], file[512];
    path_in(w, "model/large.bin", path);
    model_path(w, file);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fseeko(f, (off_t)3 << 30, SEEK_SET), 0);
    assert_int_equal(fwrite("behind it", 1, 9, f), 9);
    assert_int_equal(fclose(f), 0);
    amg_onnx *onnx;
    amg_tensor t;
    const char *const pairs[] = {"location", "large.bin", "offset", "3221225472", NULL};
    assert_int_equal(read_external(file, 2, 9, pairs, &onnx, &t, NULL), AMG_OK);
    assert_memory_equal(t.data, "behind it", 9);
    amg_tensor_clear(&t);
    amg_onnx_close(onnx);
    assert_int_equal(unlink(path), 0);
}

static void refuses_ranges_and_entries_that_lie(void **state)
{
    const world *w = *state;
    static const struct {
        amg_status code;
        int64_t offset, n;
        const char *what;
        const char *pairs[9];
    } rows[] = {
        {AMG_TRUNCATED, 0, 17, "end at byte 17", {"location", "w.bin"}},
        {AMG_TRUNCATED, 13, 4, "end at byte 17", {"location", "w.bin", "offset", "13"}},
        {AMG_TRUNCATED, 17, 0, "end at byte 17", {"location", "w.bin", "offset", "17"}},
        {AMG_MISMATCH,
         -1,
         4,
         "3 bytes of external data, its dims say 4",
         {"location", "w.bin", "length", "3"}},
        {AMG_OVERFLOW,
         INT64_MAX,
         4,
         "do not fit",
         {"location", "w.bin", "offset", "9223372036854775807"}},
        {AMG_OVERFLOW,
         -1,
         4,
         "offset 9223372036854775808 does not fit",
         {"location", "w.bin", "offset", "9223372036854775808"}},
        {AMG_MALFORMED,
         -1,
         4,
         "offset is \"-1\"",
         {"location", "w.bin", "offset", "-1"}},
        {AMG_MALFORMED, -1, 4, "offset is \"\"", {"location", "w.bin", "offset", ""}},
        {AMG_MALFORMED,
         -1,
         4,
         "length is \"4x\"",
         {"location", "w.bin", "length", "4x"}},
        {AMG_MALFORMED, -1, 4, "no location", {"offset", "0"}},
        {AMG_MALFORMED, -1, 4, "no location", {NULL}},
        {AMG_MALFORMED,
         -1,
         4,
         "location twice",
         {"location", "w.bin", "location", "sub/w.bin"}},
        {AMG_MALFORMED,
         -1,
         4,
         "offset twice",
         {"location", "w.bin", "offset", "0", "offset", "4"}},
        {AMG_UNSAFE_PATH, -1, 4, "symbolic link", {"location", "link"}},
        {AMG_UNSAFE_PATH, -1, 4, "hard link", {"location", "hard"}},
        {AMG_UNSAFE_PATH, -1, 4, "\"..\"", {"location", "../secret.bin"}},
        {AMG_NOT_FOUND, -1, 4, "cannot be opened", {"location", "none"}},
    };
    char file[512];
    model_path(w, file);
    for (size_t i = 0; i < COUNT(rows); i++) {
        amg_onnx *onnx;
        amg_tensor t = {.rank = 77};
        amg_error err = {0};
        amg_status st =
            read_external(file, 2, rows[i].n, rows[i].pairs, &onnx, &t, &err);
        if (st != rows[i].code || err.offset != rows[i].offset ||
            !strstr(err.what, rows[i].what))
            fail_msg("row %zu: %s at %lld, \"%s\"", i, amg_status_name(st),
                     (long long)err.offset, err.what);
        if (st != AMG_UNSAFE_PATH && st != AMG_NOT_FOUND)
            assert_string_equal(err.where, "tensor \"w\"");
        assert_int_equal(t.rank, 77);
        amg_onnx_close(onnx);
    }
}

static void a_model_named_without_a_folder_reads_beside_itself(void **state)
{
    const world *w = *state;
    int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(chdir(w->model), 0);
    amg_onnx *onnx;
    amg_tensor t;
    const char *beside[] = {"location", "w.bin", NULL};
    assert_int_equal(read_external("m.onnx", 2, 16, beside, &onnx, &t, NULL), AMG_OK);
    amg_onnx_close(onnx);
    /* What must not be read: /proc/version, by way of "" + "/" + location. */
    const char *root[] = {"location", "proc/version", NULL};
    assert_int_equal(read_external("m.onnx", 2, 1, root, &onnx, &t, NULL),
                     AMG_UNSAFE_PATH); /* "proc" is a link in the model's folder */
    amg_onnx_close(onnx);
    const char *etc[] = {"location", "etc/hostname", NULL};
    assert_int_equal(read_external("m.onnx", 2, 1, etc, &onnx, &t, NULL),
                     AMG_NOT_FOUND);
    amg_onnx_close(onnx);
    assert_int_equal(fchdir(here), 0);
    close(here);
}

static void a_model_in_memory_has_no_external_data(void **state)
{
    const world *w = *state;
    char file[512];
    model_path(w, file);
    amg_onnx *onnx;
    amg_tensor t = {0};
    amg_error err = {0};
    const char *beside[] = {"location", "w.bin", NULL};
    assert_int_equal(read_external(file, 2, 16, beside, &onnx, &t, NULL), AMG_OK);
    amg_onnx_close(onnx);
    amg_map map;
    assert_int_equal(amg_map_open(file, &map, NULL), AMG_OK);
    assert_int_equal(amg_onnx_parse(map.data, map.size, "m", NULL, &onnx, NULL),
                     AMG_OK);
    assert_int_equal(
        amg_onnx_tensor(onnx, amg_onnx_model(onnx)->graph->initializer[0], &t, &err),
        AMG_UNSUPPORTED);
    assert_string_equal(err.where, "tensor \"w\"");
    assert_int_equal(err.offset, -1);
    amg_onnx_close(onnx);
    amg_map_close(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_plain_files_beneath_the_folder),
        cmocka_unit_test(refuses_absolute_paths),
        cmocka_unit_test(refuses_dot_dot_anywhere),
        cmocka_unit_test(refuses_empty_locations_and_components),
        cmocka_unit_test(an_empty_folder_never_becomes_the_root),
        cmocka_unit_test(refuses_symbolic_links_in_every_component),
        cmocka_unit_test(refuses_magic_links_of_proc),
        cmocka_unit_test(refuses_hard_links),
        cmocka_unit_test(refuses_what_is_not_a_regular_file),
        cmocka_unit_test(missing_files_are_not_found),
        cmocka_unit_test(the_folder_itself_may_be_reached_through_a_link),
        cmocka_unit_test(the_walk_by_hand_takes_over_where_openat2_is_missing),
        cmocka_unit_test(reads_a_range_of_the_file),
        cmocka_unit_test(reads_behind_two_gib),
        cmocka_unit_test(refuses_ranges_and_entries_that_lie),
        cmocka_unit_test(a_model_named_without_a_folder_reads_beside_itself),
        cmocka_unit_test(a_model_in_memory_has_no_external_data),
    };
    return cmocka_run_group_tests(tests, make_world, remove_world);
}
