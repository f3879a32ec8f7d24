/* IDX arrays (the format of MNIST), plain or gzipped; docs/datasets.md draws the bytes.
 * And the data set kind made of them: a folder with train-images-idx3-ubyte[.gz] etc.
 */
#ifndef AMG_FORMATS_IDX_H
#define AMG_FORMATS_IDX_H

#include "base/file.h"
#include "base/tensor.h"
#include "formats/dataset_kind.h"

#define AMG_IDX_MAX_RANK 4

/* One array. A zeroed struct is valid for amg_idx_close. */
typedef struct {
    amg_map map;     /* the file, or what it unpacked to; empty for a plain buffer */
    amg_dtype dtype; /* AMG_U8, or AMG_F32, whose elements are big-endian in data */
    int rank;        /* 1 .. AMG_IDX_MAX_RANK */
    int64_t dims[AMG_IDX_MAX_RANK]; /* none is 0 */
    const uint8_t *data;            /* borrowed from map or the buffer parsed */
} amg_idx;

/* Maps a file and checks magic, type, rank, dims and that the size is exact. A .gz file
 * (by its first bytes, not its name) is unpacked once into an unlinked temporary file
 * of the size its IDX header gives; offsets of IDX errors count unpacked bytes. */
AMG_MUST_CHECK amg_status amg_idx_open(const char *path, amg_idx *out, amg_error *err);
/* The same over a buffer that outlives out; name is for errors. */
AMG_MUST_CHECK amg_status amg_idx_parse(const void *data, size_t size_bytes,
                                        const char *name, amg_idx *out, amg_error *err);
void amg_idx_close(amg_idx *idx);

extern const amg_dataset_kind amg_dataset_idx;

#endif
