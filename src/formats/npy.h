/* .npy arrays (NEP 1, versions 1.0-3.0), C order, little-endian or one-byte types. */
#ifndef AMG_FORMATS_NPY_H
#define AMG_FORMATS_NPY_H

#include "base/file.h"
#include "base/tensor.h"

typedef struct {
    amg_map map;
    amg_tensor
        array; /* a view into map, 64-byte aligned in files that numpy or we wrote */
} amg_npy;

/* Maps and checks: magic, version, header literal, Fortran order (unsupported), size of
 * file. */
AMG_MUST_CHECK amg_status amg_npy_open(const char *path, amg_npy *out, amg_error *err);
/* The same over a buffer that outlives the view (map stays empty). */
AMG_MUST_CHECK amg_status amg_npy_parse(const void *data, size_t size_bytes,
                                        const char *name, amg_tensor *array,
                                        amg_error *err);
void amg_npy_close(amg_npy *npy);

/* Writes the version 1.0 header (padded to 64 bytes, as numpy does) for an array whose
 * bytes the caller then writes to the same stream. */
AMG_MUST_CHECK amg_status amg_npy_write_header(FILE *stream, amg_dtype dtype, int rank,
                                               const int64_t *dims, amg_error *err);
AMG_MUST_CHECK amg_status amg_npy_write(const char *path, const amg_tensor *array,
                                        amg_error *err);

#endif
