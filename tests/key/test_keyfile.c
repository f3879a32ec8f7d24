/* Key files: a file made by make_vectors.py opens, what we make opens again, every
 * flipped bit is noticed, and each malformed file has its own code and offset. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "key/keyfile.h"
#include "vectors.h"

#define HEX_00_1F "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define ONE_ERROR "wrong passphrase or damaged key file"
#define PAYLOAD "what the key file holds"

typedef struct {
    char *dir, *path;
    amg_secret *secret;
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    const char *tmp = getenv("TMPDIR");
    assert_non_null(f);
    f->dir = amg_path_join(tmp ? tmp : "/tmp", "amg-keyfile-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->path = amg_path_join(f->dir, "job.key");
    assert_int_equal(amg_secret_from_hex(HEX_00_1F, &f->secret, NULL), AMG_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    amg_dir_remove(f->dir);
    amg_secret_free(f->secret);
    free(f->path);
    free(f->dir);
    free(f);
    return 0;
}

static amg_passphrase passphrase(const char *text)
{
    amg_passphrase p = {sodium_malloc(strlen(text) + 1), strlen(text)};
    assert_non_null(p.text);
    memcpy(p.text, text, p.length);
    return p;
}

static void assert_same_secret(const amg_secret *a, const amg_secret *b)
{
    uint8_t ka[32], kb[32];
    amg_secret_derive(a, AMG_PURPOSE_SEAL, ka);
    amg_secret_derive(b, AMG_PURPOSE_SEAL, kb);
    assert_memory_equal(ka, kb, 32);
}

/* Parses an image that must be refused; nothing may be given out. */
static void assert_refused(const void *data, size_t size, amg_status code,
                           int64_t offset, const char *part)
{
    amg_secret *s = NULL;
    uint8_t *payload = NULL;
    size_t n = 77;
    amg_error err = {0};
    assert_int_equal(amg_keyfile_parse(data, size, "k", NULL, &s, &payload, &n, &err),
                     code);
    assert_int_equal(err.offset, offset);
    assert_non_null(strstr(err.what, part));
    assert_null(s);
    assert_null(payload);
    assert_int_equal(n, 77);
}

static void a_file_made_elsewhere_opens(void **state)
{
    fixture *f = *state;
    amg_secret *s = NULL;
    uint8_t *payload = NULL;
    size_t n = 0;
    assert_int_equal(amg_keyfile_parse(vector_keyfile, sizeof vector_keyfile, "k", NULL,
                                       &s, &payload, &n, NULL),
                     AMG_OK);
    assert_int_equal(n, strlen(PAYLOAD));
    assert_memory_equal(payload, PAYLOAD, n);
    assert_same_secret(s, f->secret);
    amg_secret_free(s);
    amg_payload_free(payload);
}

static void what_is_created_opens_again(void **state)
{
    fixture *f = *state;
    const size_t sizes[] = {0, 1, 100000};
    for (size_t i = 0; i < 3; i++) {
        uint8_t *payload = malloc(sizes[i] + 1), *got = NULL;
        memset(payload, 0x5a, sizes[i] + 1);
        amg_secret *s = NULL;
        size_t n = 0;
        bool needs = true, loose = true;
        unlink(f->path);
        assert_int_equal(
            amg_keyfile_create(f->path, f->secret, NULL, payload, sizes[i], NULL),
            AMG_OK);
        assert_int_equal(amg_keyfile_needs_passphrase(f->path, &needs, NULL), AMG_OK);
        assert_false(needs);
        assert_int_equal(amg_keyfile_open(f->path, NULL, &s, &got, &n, &loose, NULL),
                         AMG_OK);
        assert_int_equal(n, sizes[i]);
        if (n) assert_memory_equal(got, payload, n);
        assert_false(loose);
        assert_same_secret(s, f->secret);
        amg_secret_free(s);
        amg_payload_free(got);
        free(payload);
    }
}

static void the_mode_is_0600_whatever_the_umask(void **state)
{
    fixture *f = *state;
    const mode_t masks[] = {0, 022, 0277};
    for (size_t i = 0; i < 3; i++) {
        unlink(f->path);
        mode_t before = umask(masks[i]);
        amg_status st = amg_keyfile_create(f->path, f->secret, NULL, "p", 1, NULL);
        umask(before);
        assert_int_equal(st, AMG_OK);
        struct stat info;
        assert_int_equal(stat(f->path, &info), 0);
        assert_int_equal(info.st_mode & 07777, 0600);
    }
}

static void a_wider_mode_is_told(void **state)
{
    fixture *f = *state;
    amg_secret *s = NULL;
    uint8_t *payload = NULL;
    size_t n = 0;
    bool loose = false;
    assert_int_equal(amg_keyfile_create(f->path, f->secret, NULL, "p", 1, NULL),
                     AMG_OK);
    assert_int_equal(chmod(f->path, 0640), 0);
    assert_int_equal(amg_keyfile_open(f->path, NULL, &s, &payload, &n, &loose, NULL),
                     AMG_OK);
    assert_true(loose);
    amg_secret_free(s);
    amg_payload_free(payload);
}

static void an_existing_file_is_never_overwritten(void **state)
{
    fixture *f = *state;
    assert_int_equal(amg_file_write(f->path, 0644, true, "mine", 4, NULL), AMG_OK);
    amg_error err = {0};
    assert_int_equal(amg_keyfile_create(f->path, f->secret, NULL, "p", 1, &err),
                     AMG_EXISTS);
    assert_non_null(strstr(err.where, "job.key"));
    amg_map map = {0};
    assert_int_equal(amg_map_open(f->path, &map, NULL), AMG_OK);
    assert_int_equal(map.size, 4);
    assert_memory_equal(map.data, "mine", 4);
    amg_map_close(&map);
    char **names = NULL;
    size_t count = 0;
    assert_int_equal(amg_dir_list(f->dir, &names, &count, NULL), AMG_OK);
    assert_int_equal(count, 1); /* no temporary file stays */
    amg_dir_list_free(names, count);
}

static void a_missing_file_is_not_found(void **state)
{
    fixture *f = *state;
    amg_secret *s = NULL;
    uint8_t *payload = NULL;
    size_t n = 0;
    bool flag = false;
    assert_int_equal(amg_keyfile_open(f->path, NULL, &s, &payload, &n, &flag, NULL),
                     AMG_NOT_FOUND);
    assert_int_equal(amg_keyfile_needs_passphrase(f->path, &flag, NULL), AMG_NOT_FOUND);
    assert_null(s);
}

/* 256 MiB and three passes each: few opens, many checks. */
static void a_passphrase_wraps_the_secret(void **state)
{
    fixture *f = *state;
    amg_passphrase right = passphrase("correct horse"), wrong = passphrase("correct");
    assert_int_equal(
        amg_keyfile_create(f->path, f->secret, &right, PAYLOAD, strlen(PAYLOAD), NULL),
        AMG_OK);
    bool needs = false, loose = true;
    assert_int_equal(amg_keyfile_needs_passphrase(f->path, &needs, NULL), AMG_OK);
    assert_true(needs);

    amg_map map = {0};
    uint8_t raw[32];
    for (int i = 0; i < 32; i++) raw[i] = (uint8_t)i;
    assert_int_equal(amg_map_open(f->path, &map, NULL), AMG_OK);
    assert_null(memmem(map.data, map.size, raw, sizeof raw));
    assert_null(memmem(map.data, map.size, PAYLOAD, strlen(PAYLOAD)));
    assert_refused(map.data, map.size, AMG_INVALID, -1, "passphrase");

    amg_secret *s = NULL;
    uint8_t *payload = NULL;
    size_t n = 0;
    amg_error err = {0}, err_damage = {0};
    assert_int_equal(amg_keyfile_open(f->path, &wrong, &s, &payload, &n, &loose, &err),
                     AMG_BAD_KEY);
    assert_string_equal(err.what, ONE_ERROR);
    uint8_t *damaged = malloc(map.size);
    memcpy(damaged, map.data, map.size);
    damaged[110] ^= 1;
    assert_int_equal(amg_keyfile_parse(damaged, map.size, f->path, &right, &s, &payload,
                                       &n, &err_damage),
                     AMG_BAD_KEY);
    assert_memory_equal(&err, &err_damage, sizeof err); /* no hint which it was */
    assert_null(s);
    free(damaged);
    amg_map_close(&map);

    assert_int_equal(amg_keyfile_open(f->path, &right, &s, &payload, &n, &loose, NULL),
                     AMG_OK);
    assert_same_secret(s, f->secret);
    assert_int_equal(n, strlen(PAYLOAD));
    assert_memory_equal(payload, PAYLOAD, n);
    amg_secret_free(s);
    amg_payload_free(payload);
    sodium_free(right.text);
    sodium_free(wrong.text);
}

static void every_damaged_byte_is_noticed(void **state)
{
    (void)state;
    uint8_t image[sizeof vector_keyfile];
    for (size_t at = 0; at < sizeof image; at++) {
        memcpy(image, vector_keyfile, sizeof image);
        image[at] ^= 0x40;
        if (at < 8)
            assert_refused(image, sizeof image, AMG_MALFORMED, 0, "not an Amalgam key");
        else if (at < 12)
            assert_refused(image, sizeof image, AMG_UNSUPPORTED, 8, "version");
        else if (at < 16)
            assert_refused(image, sizeof image, AMG_UNSUPPORTED, 12, "flags");
        else if (at >= 96 && at < 104)
            assert_refused(image, sizeof image, AMG_TRUNCATED, sizeof image, "ends");
        else
            assert_refused(image, sizeof image, AMG_BAD_KEY, -1, ONE_ERROR);
    }
}

static void every_truncation_is_told_as_one(void **state)
{
    (void)state;
    assert_refused("", 0, AMG_MALFORMED, 0, "not an Amalgam key file");
    for (size_t size = 1; size < sizeof vector_keyfile; size++) {
        uint8_t *part = malloc(size); /* exact, so that ASan sees a read too far */
        memcpy(part, vector_keyfile, size);
        assert_refused(part, size, AMG_TRUNCATED, (int64_t)size, "ends");
        free(part);
    }
}

static void bytes_after_the_end_are_refused(void **state)
{
    (void)state;
    uint8_t image[sizeof vector_keyfile + 3] = {0};
    memcpy(image, vector_keyfile, sizeof vector_keyfile);
    assert_refused(image, sizeof image, AMG_MALFORMED, sizeof vector_keyfile,
                   "3 bytes after");
}

static void put_u64(uint8_t *at, uint64_t v)
{
    for (int i = 0; i < 8; i++) at[i] = (uint8_t)(v >> 8 * i);
}

static void a_hostile_file_cannot_ask_for_a_terabyte_or_an_hour(void **state)
{
    (void)state;
    const struct {
        uint64_t ops, mem;
        int64_t offset;
        const char *part;
    } cases[] = {
        {3, UINT64_C(1) << 40, 24, "1099511627776 bytes"},
        {3, (UINT64_C(1) << 30) + 1, 24, "memory"},
        {3, 8191, 24, "memory"},
        {3, UINT64_MAX, 24, "memory"},
        {0, 1 << 20, 16, "0 passes"},
        {17, 1 << 20, 16, "17 passes"},
        {UINT64_MAX, 1 << 20, 16, "passes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t image[sizeof vector_keyfile];
        memcpy(image, vector_keyfile, sizeof image);
        image[12] = 1;
        put_u64(image + 16, cases[i].ops);
        put_u64(image + 24, cases[i].mem);
        assert_refused(image, sizeof image, AMG_MALFORMED, cases[i].offset,
                       cases[i].part);
    }
}

int main(void)
{
#define WITH_DIR(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_DIR(a_file_made_elsewhere_opens),
        WITH_DIR(what_is_created_opens_again),
        WITH_DIR(the_mode_is_0600_whatever_the_umask),
        WITH_DIR(a_wider_mode_is_told),
        WITH_DIR(an_existing_file_is_never_overwritten),
        WITH_DIR(a_missing_file_is_not_found),
        WITH_DIR(a_passphrase_wraps_the_secret),
        WITH_DIR(every_damaged_byte_is_noticed),
        WITH_DIR(every_truncation_is_told_as_one),
        WITH_DIR(bytes_after_the_end_are_refused),
        WITH_DIR(a_hostile_file_cannot_ask_for_a_terabyte_or_an_hour),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
