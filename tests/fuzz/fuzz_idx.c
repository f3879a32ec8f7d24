/* Fuzzes IDX arrays, plain and gzipped (a gzipped input goes through the unlinked
 * temporary file). What parses must be readable to its last byte. */
#include "fuzz.h"

#include "base/tensor.h"
#include "formats/idx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    amg_idx idx;
    amg_error err;
    if (amg_idx_parse(data, size, "fuzz", &idx, &err) != AMG_OK) return 0;
    size_t bytes = amg_dtype_size(idx.dtype);
    for (int i = 0; i < idx.rank; i++) bytes *= (size_t)idx.dims[i];
    volatile uint8_t sink = (uint8_t)(idx.data[0] ^ idx.data[bytes - 1]);
    (void)sink;
    amg_idx_close(&idx);
    return 0;
}
