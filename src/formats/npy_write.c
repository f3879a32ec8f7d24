/* Writing .npy arrays. Consumes a tensor, or a shape whose bytes the caller streams
 * itself; produces the file that numpy would write, byte for byte. Knows nothing of
 * shards or splits. */
#include <inttypes.h>
#include <string.h>

#include "formats/npy.h"

#define MAGIC "\x93NUMPY"
#define MAGIC_BYTES 6
#define ALIGNMENT 64
#define GROWTH_DIGITS 21 /* numpy's room for the first dim, so that a file may grow */
#define MAX_LITERAL 512  /* 8 dims of 20 digits, padding and 64 fit with room */

/* The literal with numpy's spaces in place of growth digits, unpadded; returns its
 * length. */
static size_t format_literal(amg_dtype dtype, int rank, const int64_t *dims,
                             char out[MAX_LITERAL])
{
    size_t n = (size_t)snprintf(out, MAX_LITERAL,
                                "{'descr': '%s', 'fortran_order': False, 'shape': (",
                                amg_dtype_npy(dtype));
    for (int i = 0; i < rank; i++)
        n += (size_t)snprintf(out + n, MAX_LITERAL - n, "%s%" PRId64, i ? ", " : "",
                              dims[i]);
    n += (size_t)snprintf(out + n, MAX_LITERAL - n, "%s), }", rank == 1 ? "," : "");
    if (rank) {
        int digits = snprintf(NULL, 0, "%" PRId64, dims[0]);
        n += (size_t)snprintf(out + n, MAX_LITERAL - n, "%*s", GROWTH_DIGITS - digits,
                              "");
    }
    return n;
}

amg_status amg_npy_write_header(FILE *stream, amg_dtype dtype, int rank,
                                const int64_t *dims, amg_error *err)
{
    size_t size;
    amg_status st = amg_tensor_size(dtype, rank, dims, &size, err);
    if (st) return st;
    if (!amg_dtype_npy(dtype)[0])
        return amg_fail(err, AMG_UNSUPPORTED, -1, amg_dtype_name(dtype),
                        "numpy has no such dtype");
    char text[MAX_LITERAL];
    size_t n = format_literal(dtype, rank, dims, text);
    const size_t before = MAGIC_BYTES + 4; /* magic, version, length */
    /* numpy always pads: by a whole 64 where the line end would already be aligned */
    size_t total = ((before + n + 1) / ALIGNMENT + 1) * ALIGNMENT;
    size_t length = total - before;
    memset(text + n, ' ', length - n);
    text[length - 1] = '\n';
    const uint8_t tail[4] = {1, 0, (uint8_t)(length & 255), (uint8_t)(length >> 8)};
    fwrite(MAGIC, 1, MAGIC_BYTES, stream);
    fwrite(tail, 1, sizeof tail, stream);
    fwrite(text, 1, length, stream);
    if (ferror(stream))
        return amg_fail(err, AMG_IO, -1, "npy", "cannot write the header");
    return AMG_OK;
}

amg_status amg_npy_write(const char *path, const amg_tensor *array, amg_error *err)
{
    amg_outfile f;
    amg_status st = amg_outfile_open(path, 0644, false, &f, err);
    if (st) return st;
    st = amg_npy_write_header(f.stream, array->dtype, array->rank, array->dims, err);
    if (st) {
        amg_outfile_abort(&f);
        return st;
    }
    if (array->size_bytes) fwrite(array->data, 1, array->size_bytes, f.stream);
    return amg_outfile_commit(&f, false, err);
}
