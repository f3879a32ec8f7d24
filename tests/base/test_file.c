/* base: mapping, writing beside and renaming, folders, hashes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/file.h"

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/amalgam-test-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    amg_dir_remove(dir);
    return amg_path_exists(dir) ? -1 : 0;
}

static const char *in_dir(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static size_t num_files(void)
{
    char **names;
    size_t n;
    assert_int_equal(amg_dir_list(dir, &names, &n, NULL), AMG_OK);
    amg_dir_list_free(names, n);
    return n;
}

static void a_file_appears_only_when_committed(void **state)
{
    (void)state;
    amg_outfile f;
    assert_int_equal(amg_outfile_open(in_dir("a"), 0600, false, &f, NULL), AMG_OK);
    fputs("hello", f.stream);
    assert_false(amg_path_exists(in_dir("a")));
    amg_outfile_abort(&f);
    assert_int_equal(num_files(), 0);

    assert_int_equal(amg_outfile_open(in_dir("a"), 0640, false, &f, NULL), AMG_OK);
    fputs("hello", f.stream);
    assert_int_equal(amg_outfile_commit(&f, false, NULL), AMG_OK);
    amg_outfile_abort(&f);
    struct stat s;
    assert_int_equal(stat(in_dir("a"), &s), 0);
    assert_int_equal(s.st_mode & 0777, 0640);
    assert_int_equal(num_files(), 1);
    amg_map map;
    assert_int_equal(amg_map_open(in_dir("a"), &map, NULL), AMG_OK);
    assert_int_equal(map.size, 5);
    assert_memory_equal(map.data, "hello", 5);
    amg_map_close(&map);
}

static void an_exclusive_file_is_never_replaced(void **state)
{
    (void)state;
    amg_outfile f;
    amg_error err;
    /* Made by somebody else between open and commit. */
    assert_int_equal(amg_outfile_open(in_dir("key"), 0600, true, &f, &err), AMG_OK);
    fputs("new", f.stream);
    assert_int_equal(amg_file_write(in_dir("key"), 0600, false, "old", 3, &err),
                     AMG_OK);
    assert_int_equal(amg_outfile_commit(&f, true, &err), AMG_EXISTS);
    assert_int_equal(num_files(), 1);
    assert_int_equal(amg_file_write(in_dir("key"), 0600, true, "new", 3, &err),
                     AMG_EXISTS);
    amg_map map;
    assert_int_equal(amg_map_open(in_dir("key"), &map, NULL), AMG_OK);
    assert_memory_equal(map.data, "old", 3);
    amg_map_close(&map);
}

static void a_full_disk_leaves_no_file(void **state)
{
    (void)state;
    amg_outfile f;
    amg_error err;
    assert_int_equal(amg_outfile_open(in_dir("big"), 0644, false, &f, &err), AMG_OK);
    fclose(f.stream);
    f.stream = fopen("/dev/full", "wb"); /* every write fails with ENOSPC */
    assert_non_null(f.stream);
    fputs("data", f.stream);
    assert_int_equal(amg_outfile_commit(&f, false, &err), AMG_IO);
    assert_non_null(strstr(err.what, "No space left"));
    assert_int_equal(num_files(), 0);
}

static void mapping_tells_what_is_wrong(void **state)
{
    (void)state;
    amg_map map;
    amg_error err;
    assert_int_equal(amg_map_open(in_dir("absent"), &map, &err), AMG_NOT_FOUND);
    assert_int_equal(amg_map_open(dir, &map, &err), AMG_IO);
    assert_non_null(strstr(err.what, "is a folder"));
    assert_int_equal(mkfifo(in_dir("fifo"), 0600), 0);
    assert_int_equal(amg_map_open(in_dir("fifo"), &map, &err), AMG_IO);
    assert_int_equal(amg_file_write(in_dir("empty"), 0644, false, "", 0, &err), AMG_OK);
    assert_int_equal(amg_map_open(in_dir("empty"), &map, &err), AMG_OK);
    assert_null(map.data);
    amg_map_close(&map);
}

static void removing_a_folder_does_not_follow_links(void **state)
{
    (void)state;
    char inner[128], link_path[160];
    snprintf(inner, sizeof inner, "%s/inner", dir);
    snprintf(link_path, sizeof link_path, "%s/link", inner);
    assert_int_equal(amg_file_write(in_dir("kept"), 0644, false, "x", 1, NULL), AMG_OK);
    assert_int_equal(amg_dir_make(inner, NULL), AMG_OK);
    assert_int_equal(amg_dir_make(inner, NULL), AMG_EXISTS);
    assert_int_equal(symlink(dir, link_path), 0);
    amg_dir_remove(inner);
    assert_false(amg_path_exists(inner));
    assert_true(amg_path_exists(in_dir("kept")));
}

static void names_are_listed_in_order(void **state)
{
    (void)state;
    const char *const made[] = {"b", "a", "C", "a.b"};
    for (int i = 0; i < 4; i++)
        assert_int_equal(amg_file_write(in_dir(made[i]), 0644, false, "", 0, NULL),
                         AMG_OK);
    char **names;
    size_t n;
    assert_int_equal(amg_dir_list(dir, &names, &n, NULL), AMG_OK);
    assert_int_equal(n, 4);
    const char *const expected[] = {"C", "a", "a.b", "b"};
    for (size_t i = 0; i < n; i++) assert_string_equal(names[i], expected[i]);
    amg_dir_list_free(names, n);
    char *joined = amg_path_join("x/", "y");
    assert_string_equal(joined, "x/y");
    amg_free(joined);
}

static bool inside(const char *path, const char *folder)
{
    bool result;
    assert_int_equal(amg_path_inside(path, folder, &result, NULL), AMG_OK);
    return result;
}

static void a_path_is_inside_a_folder_whatever_it_is_called(void **state)
{
    (void)state;
    char job[4096], file[4096], other[4096], alias[4096];
    snprintf(job, sizeof job, "%s", in_dir("job"));
    assert_int_equal(amg_dir_make(job, NULL), AMG_OK);
    assert_int_equal(amg_dir_make(in_dir("job/out"), NULL), AMG_OK);
    assert_int_equal(amg_dir_make(in_dir("job2"), NULL), AMG_OK);
    snprintf(alias, sizeof alias, "%s", in_dir("link"));
    assert_int_equal(symlink(job, alias), 0);
    snprintf(file, sizeof file, "%s", in_dir("job/new.html"));
    assert_true(inside(file, job));
    assert_true(inside(file, alias));
    assert_true(inside(file, "/"));
    snprintf(file, sizeof file, "%s", in_dir("link/out/new.html"));
    assert_true(inside(file, job));
    snprintf(other, sizeof other, "%s", in_dir("job2/new.html"));
    assert_false(inside(other, job));
    snprintf(other, sizeof other, "%s", in_dir("job/../new.html"));
    assert_false(inside(other, job));
    bool unknown;
    snprintf(other, sizeof other, "%s", in_dir("none/new.html"));
    assert_int_equal(amg_path_inside(other, job, &unknown, NULL), AMG_NOT_FOUND);
    assert_int_equal(amg_path_inside(file, other, &unknown, NULL), AMG_NOT_FOUND);
}

/* FIPS 180-2, appendix B.1. */
static void hashes_are_sha256(void **state)
{
    (void)state;
    char hex[65];
    int64_t size;
    assert_int_equal(amg_file_write(in_dir("abc"), 0644, false, "abc", 3, NULL),
                     AMG_OK);
    assert_int_equal(amg_file_sha256(in_dir("abc"), hex, &size, NULL), AMG_OK);
    assert_int_equal(size, 3);
    assert_string_equal(
        hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

int main(void)
{
#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)
    const struct CMUnitTest tests[] = {
        IN_DIR(a_file_appears_only_when_committed),
        IN_DIR(an_exclusive_file_is_never_replaced),
        IN_DIR(a_full_disk_leaves_no_file),
        IN_DIR(mapping_tells_what_is_wrong),
        IN_DIR(removing_a_folder_does_not_follow_links),
        IN_DIR(names_are_listed_in_order),
        IN_DIR(a_path_is_inside_a_folder_whatever_it_is_called),
        IN_DIR(hashes_are_sha256),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
