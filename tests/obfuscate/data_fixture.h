/* What the tests of the dataset augmenter share: a temporary folder, small data sets in
 * it, secrets. Random contents come from the non-secret generator with fixed seeds. */
#ifndef AMG_TESTS_OBFUSCATE_DATA_FIXTURE_H
#define AMG_TESTS_OBFUSCATE_DATA_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/rng.h"
#include "formats/dataset.h"
#include "formats/npy.h"
#include "key/secret.h"

/* A cmocka state: the path of a fresh folder, removed by folder_teardown. */
static inline int folder_setup(void **state)
{
    const char *root = getenv("TMPDIR");
    *state = amg_path_join(root ? root : "/tmp", "amg-obfuscate-XXXXXX");
    return *state && mkdtemp(*state) ? 0 : -1;
}

static inline int folder_teardown(void **state)
{
    amg_dir_remove(*state);
    free(*state);
    return 0;
}

/* The secret whose 32 bytes are number, big-endian. */
static inline amg_secret *secret_number(unsigned number)
{
    char hex[65];
    amg_secret *s = NULL;
    snprintf(hex, sizeof hex, "%064x", number);
    assert_int_equal(amg_secret_from_hex(hex, &s, NULL), AMG_OK);
    return s;
}

/* Writes DIR/NAME-x.npy and -y.npy and opens PART of them ("" or "[0:5]"). x:
 * [n][c*h*w] of dtype; labels: [n]. */
static inline amg_dataset *make_set(const char *dir, const char *name, amg_dtype dtype,
                                    int64_t n, const int64_t dims[3], const void *x,
                                    const int64_t *labels, const char *part)
{
    char x_path[512], y_path[512], spec[1200];
    const int64_t x_dims[4] = {n, dims[0], dims[1], dims[2]};
    amg_tensor x_view, y_view;
    amg_dataset *ds = NULL;
    amg_error err = {0};
    snprintf(x_path, sizeof x_path, "%s/%s-x.npy", dir, name);
    snprintf(y_path, sizeof y_path, "%s/%s-y.npy", dir, name);
    snprintf(spec, sizeof spec, "npy:%s,%s%s", x_path, y_path, part);
    assert_int_equal(amg_tensor_view(dtype, 4, x_dims, x, &x_view, NULL), AMG_OK);
    assert_int_equal(amg_tensor_view(AMG_I64, 1, &n, labels, &y_view, NULL), AMG_OK);
    assert_int_equal(amg_npy_write(x_path, &x_view, NULL), AMG_OK);
    assert_int_equal(amg_npy_write(y_path, &y_view, NULL), AMG_OK);
    if (amg_dataset_open(spec, &ds, &err) != AMG_OK)
        fail_msg("%s: %s", err.where, err.what);
    return ds;
}

/* A set of n random U8 samples, labels i % classes. */
static inline amg_dataset *make_random_set(const char *dir, const char *name, int64_t n,
                                           const int64_t dims[3], int64_t classes,
                                           uint64_t seed, const char *part)
{
    const int64_t values = dims[0] * dims[1] * dims[2];
    uint8_t *x = malloc((size_t)(n * values));
    int64_t *labels = malloc((size_t)n * sizeof *labels);
    amg_rng rng = amg_rng_init(seed, 0);
    for (int64_t i = 0; i < n * values; i++) x[i] = (uint8_t)amg_rng_u32(&rng);
    for (int64_t i = 0; i < n; i++) labels[i] = i % classes;
    amg_dataset *ds = make_set(dir, name, AMG_U8, n, dims, x, labels, part);
    free(x);
    free(labels);
    return ds;
}

#endif
