/* Fuzz target: any bytes as a .npy file. What is accepted must be a view of exactly the
 * file's last bytes, and its header must be one that we write back to the same shape.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/npy.h"
#include "fuzz.h"

/* Our own header for the array, read again, describes the same array. */
static void check_round_trip(const amg_tensor *array)
{
    _Alignas(64) char header[1024];
    FILE *f = fmemopen(header, sizeof header, "wb");
    if (!f) abort();
    if (amg_npy_write_header(f, array->dtype, array->rank, array->dims, NULL)) abort();
    long written = ftell(f);
    fclose(f);
    if (written <= 0 || written % 64) abort();
    /* Without its data the file is exactly its header only if the array is empty. */
    amg_tensor again = {0};
    amg_status st = amg_npy_parse(header, (size_t)written, "header", &again, NULL);
    if (st != (array->size_bytes ? AMG_TRUNCATED : AMG_OK)) abort();
    if (!st && !amg_tensor_same_shape(array, &again)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    amg_tensor array = {0};
    amg_error err;
    if (amg_npy_parse(data, size, "fuzz", &array, &err)) {
        if (array.data || err.offset < 0 || err.offset > (int64_t)size) abort();
        return 0;
    }
    if (array.owned || array.size_bytes > size) abort();
    if ((const uint8_t *)array.data + array.size_bytes != data + size) abort();
    check_round_trip(&array);
    return 0;
}
