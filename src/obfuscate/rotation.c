/* Secret rotations (see the header). Consumes the secret and numbers; knows nothing of
 * plans, data sets or networks. All in double: whoever stores a result rounds once. */
#include "obfuscate/rotation.h"

#include <math.h>
#include <sodium.h>

#include "base/alloc.h"

enum { INDEX = 2, LANES = 8 }; /* of purpose INPUTS; 0 and 1 are plan.c's */

/* Lanes of its own, so that the sum has one order whatever the processor. */
static double dot(const double *a, const double *b, int64_t n)
{
    double lanes[LANES] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++) lanes[k] += a[i + k] * b[i + k];
    for (; i < n; i++) sum += a[i] * b[i];
    for (int k = 0; k < LANES; k++) sum += lanes[k];
    return sum;
}

static void add_scaled(double *to, const double *v, double by, int64_t n)
{
    for (int64_t i = 0; i < n; i++) to[i] += by * v[i];
}

/* Modified Gram-Schmidt, twice, of columns of normal numbers: as the lengths that it
 * divides by are positive, no sign is preferred. */
static void make_orthogonal(amg_rotation *r)
{
    const int64_t n = r->n;
    for (int64_t j = 0; j < n; j++) {
        double *own = r->columns + j * n;
        for (int pass = 0; pass < 2; pass++)
            for (int64_t i = 0; i < j; i++) {
                const double *other = r->columns + i * n;
                add_scaled(own, other, -dot(own, other, n), n);
            }
        const double length = sqrt(dot(own, own, n));
        for (int64_t i = 0; i < n; i++) own[i] /= length;
    }
}

amg_status amg_rotation_derive(const amg_secret *secret, int64_t n, amg_rotation **out,
                               amg_error *err)
{
    amg_keystream *ks = NULL;
    amg_rotation *r = amg_calloc(1, sizeof *r);
    double *columns = amg_calloc((size_t)(n * n), sizeof *columns);
    if (!r || !columns) {
        amg_free(r);
        amg_free(columns);
        return amg_fail(err, AMG_NO_MEMORY, -1, "plan", "no memory for a rotation");
    }
    *r = (amg_rotation){n, columns};
    amg_status st = amg_keystream_new(secret, AMG_PURPOSE_INPUTS, INDEX, &ks, err);
    for (int64_t i = 0; i < n * n && !st; i++) columns[i] = amg_keystream_normal(ks);
    amg_keystream_free(ks);
    if (st) {
        amg_rotation_free(r);
        return st;
    }
    make_orthogonal(r);
    *out = r;
    return AMG_OK;
}

void amg_rotation_free(amg_rotation *r)
{
    if (!r) return;
    sodium_memzero(r->columns, (size_t)(r->n * r->n) * sizeof *r->columns);
    amg_free(r->columns);
    amg_free(r);
}

void amg_rotation_invert(amg_rotation *r)
{
    for (int64_t i = 0; i < r->n; i++)
        for (int64_t j = 0; j < i; j++) {
            const double kept = r->columns[i * r->n + j];
            r->columns[i * r->n + j] = r->columns[j * r->n + i];
            r->columns[j * r->n + i] = kept;
        }
}

void amg_rotation_apply(const amg_rotation *r, const double *v, double *out)
{
    for (int64_t i = 0; i < r->n; i++) out[i] = 0;
    for (int64_t j = 0; j < r->n; j++)
        if (v[j] != 0) add_scaled(out, r->columns + j * r->n, v[j], r->n);
}

/* Where value v of a block (channel, row, column) lies in the sample. */
static int64_t place_of(const int64_t dims[3], const int64_t block[2], int64_t at,
                        int64_t v)
{
    const int64_t area = block[0] * block[1], across = dims[2] / block[1];
    const int64_t y = at / across * block[0] + v % area / block[1];
    return (v / area * dims[1] + y) * dims[2] + at % across * block[1] + v % block[1];
}

void amg_rotation_apply_sample(const amg_rotation *r, const int64_t dims[3],
                               const int64_t block[2], const double *in,
                               double *scratch, float *out)
{
    const int64_t blocks = dims[1] / block[0] * (dims[2] / block[1]);
    double *turned = scratch + r->n;
    for (int64_t b = 0; b < blocks; b++) {
        for (int64_t v = 0; v < r->n; v++) scratch[v] = in[place_of(dims, block, b, v)];
        amg_rotation_apply(r, scratch, turned);
        for (int64_t v = 0; v < r->n; v++)
            out[place_of(dims, block, b, v)] = (float)turned[v];
    }
}
