/* safetensors: named tensors in one file (github.com/huggingface/safetensors, format of
 * 2023).
 *
 *     u64le header_size | JSON header, space-padded to 8 | tensor bytes, back to back
 *
 * The reader is strict, because files come back from the cloud: see docs/safetensors.md
 * for the rules and the code and offset of each refusal. Bytes only; what a tensor
 * means is not known here. */
#ifndef AMG_FORMATS_SAFETENSORS_H
#define AMG_FORMATS_SAFETENSORS_H

#include "base/file.h"
#include "base/tensor.h"

typedef struct {
    const char *name;  /* UTF-8, unique in the file; owned by the reader */
    amg_tensor tensor; /* a view into the mapped file, valid until close */
} amg_st_entry;

typedef struct amg_safetensors amg_safetensors;

/* Maps and checks the whole header. Refuses: header longer than the file or 100 MB,
 * anything but one JSON object, duplicate names, unknown dtype, negative or overflowing
 * dims, offsets that do not match dtype x dims, overlap, holes, bytes beyond the last
 * tensor. O(number of tensors log). */
AMG_MUST_CHECK amg_status amg_safetensors_open(const char *path, amg_safetensors **out,
                                               amg_error *err);
/* The same over a buffer that outlives the reader; name is for errors. */
AMG_MUST_CHECK amg_status amg_safetensors_parse(const void *data, size_t size_bytes,
                                                const char *name, amg_safetensors **out,
                                                amg_error *err);
void amg_safetensors_close(amg_safetensors *st);

/* Entries in the order of their data. */
size_t amg_safetensors_count(const amg_safetensors *st);
const amg_st_entry *amg_safetensors_at(const amg_safetensors *st, size_t i);
/* NULL if absent. */
const amg_tensor *amg_safetensors_find(const amg_safetensors *st, const char *name);
/* Must exist (AMG_NOT_FOUND) with this dtype and shape (AMG_MISMATCH, both shapes
 * named). */
AMG_MUST_CHECK amg_status amg_safetensors_get(const amg_safetensors *st,
                                              const char *name, amg_dtype dtype,
                                              int rank, const int64_t *dims,
                                              const amg_tensor **out, amg_error *err);
/* Number of "__metadata__" pairs, and pair i. */
size_t amg_safetensors_num_metadata(const amg_safetensors *st);
void amg_safetensors_metadata(const amg_safetensors *st, size_t i, const char **key,
                              const char **value);
/* The value of a "__metadata__" key; NULL if absent. The reader's. */
const char *amg_safetensors_find_metadata(const amg_safetensors *st, const char *key);

/* The keys under which trained weights say how many steps they were trained for (a
 * decimal number) and by which job (the SHA-256 of its job.json). */
#define AMG_ST_STEPS "steps"
#define AMG_ST_JOB "job"

/* A "__metadata__" pair to write: UTF-8, keys unique. */
typedef struct {
    const char *key, *value;
} amg_st_pair;

/* Writes entries in the given order, no metadata, beside and renamed. Same input, same
 * bytes. The second form puts num_pairs pairs of metadata in front, in the given order.
 */
AMG_MUST_CHECK amg_status amg_safetensors_write(const char *path,
                                                const amg_st_entry *entries,
                                                size_t count, amg_error *err);
AMG_MUST_CHECK amg_status amg_safetensors_write_with(const char *path,
                                                     const amg_st_entry *entries,
                                                     size_t count,
                                                     const amg_st_pair *pairs,
                                                     size_t num_pairs, amg_error *err);

#endif
