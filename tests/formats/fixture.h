/* What the tests of data sets share: a temporary folder, files in it, big-endian
 * headers, gzip, and the macro that checks an error's code and offset. */
#ifndef TESTS_FORMATS_FIXTURE_H
#define TESTS_FORMATS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* needs the four above */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "base/alloc.h"
#include "base/file.h"

/* A cmocka state: the path of a fresh folder, removed by fixture_teardown. */
static inline int fixture_setup(void **state)
{
    const char *root = getenv("TMPDIR");
    char *dir = malloc(4096);
    snprintf(dir, 4096, "%s/amg-test-XXXXXX", root != NULL ? root : "/tmp");
    *state = mkdtemp(dir);
    return *state == NULL;
}

static inline int fixture_teardown(void **state)
{
    amg_dir_remove(*state);
    free(*state);
    return 0;
}

/* "DIR/NAME" in one of eight buffers that take turns. */
static inline const char *in_dir(void *const *state, const char *name)
{
    static char paths[8][8192];
    static unsigned turn;
    char *path = paths[turn++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", (const char *)*state, name);
    return path;
}

/* Writes DIR/NAME, making the folders on the way. */
static inline void put_file(void *const *state, const char *name, const void *data,
                            size_t size)
{
    char path[8192];
    snprintf(path, sizeof path, "%s", in_dir(state, name));
    for (char *slash = path + strlen(*state) + 1; (slash = strchr(slash, '/')) != NULL;
         slash++) {
        *slash = 0;
        if (!amg_path_is_dir(path)) assert_int_equal(amg_dir_make(path, NULL), AMG_OK);
        *slash = '/';
    }
    assert_int_equal(amg_file_write(path, 0644, false, data, size, NULL), AMG_OK);
}

/* Gzips data into packed; returns the size. */
static inline size_t gzip(const void *data, size_t size, uint8_t *packed, size_t room)
{
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY),
                     Z_OK);
    uint8_t *copy = malloc(size + 1);
    memcpy(copy, data, size);
    z.next_in = copy;
    z.avail_in = (uInt)size;
    z.next_out = packed;
    z.avail_out = (uInt)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    const size_t used = z.total_out;
    deflateEnd(&z);
    free(copy);
    return used;
}

/* The folder of real data: $AMALGAM_DATA, or shared/data beside the source tree. NULL,
 * with the reason printed, if DIR/name is not there. */
static inline const char *find_real_data(const char *name)
{
    static char path[8192];
    const char *data = getenv("AMALGAM_DATA"), *root = getenv("AMALGAM_SOURCE_ROOT");
    if (data != NULL)
        snprintf(path, sizeof path, "%s/%s", data, name);
    else
        snprintf(path, sizeof path, "%s/../shared/data/%s", root != NULL ? root : ".",
                 name);
    if (amg_path_is_dir(path)) return path;
    print_message("skipped: no %s (set AMALGAM_DATA to the folder of data sets)\n",
                  path);
    return NULL;
}

#define assert_failed(call, status, at)                                                \
    do {                                                                               \
        amg_error err = {0};                                                           \
        const amg_status got = (call);                                                 \
        if (got != (status) || err.code != (status) || err.offset != (at))             \
            fail_msg("%s at %lld (%s: %s), expected %s at %lld", amg_status_name(got), \
                     (long long)err.offset, err.where, err.what,                       \
                     amg_status_name(status), (long long)(at));                        \
    } while (0)

#define assert_ok(call)                                                                \
    do {                                                                               \
        amg_error err = {0};                                                           \
        if ((call) != AMG_OK)                                                          \
            fail_msg("%s at %lld: %s: %s", amg_status_name(err.code),                  \
                     (long long)err.offset, err.where, err.what);                      \
    } while (0)

#endif
