/* Fuzz target: any bytes as a safetensors file. What is accepted must keep its
 * promises: every tensor's bytes are readable and aligned, every name is found again.
 */
#include <stdlib.h>
#include <string.h>

#include "formats/safetensors.h"
#include "fuzz.h"

/* Reads every byte of a tensor, so that ASan sees a view that leaves the file. */
static unsigned touch(const amg_tensor *t)
{
    unsigned sum = 0;
    for (size_t i = 0; i < t->size_bytes; i++) sum += ((const uint8_t *)t->data)[i];
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    volatile unsigned sink = 0; /* so that the reads stay */
    amg_safetensors *st = NULL;
    amg_error err;
    if (amg_safetensors_parse(data, size, "fuzz", &st, &err)) {
        if (st || err.offset < -1 || err.offset > (int64_t)size) abort();
        return 0;
    }
    size_t total = 0;
    for (size_t i = 0; i < amg_safetensors_count(st); i++) {
        const amg_st_entry *e = amg_safetensors_at(st, i);
        sink = sink + touch(&e->tensor);
        total += e->tensor.size_bytes;
        if ((uintptr_t)e->tensor.data % amg_dtype_size(e->tensor.dtype)) abort();
        if (amg_safetensors_find(st, e->name) != &e->tensor) abort();
    }
    if (total > size) abort(); /* tensors never overlap */
    for (size_t i = 0; i < amg_safetensors_num_metadata(st); i++) {
        const char *key, *value;
        amg_safetensors_metadata(st, i, &key, &value);
        sink = sink + (unsigned)(strlen(key) + strlen(value));
    }
    (void)sink;
    amg_safetensors_close(st);
    return 0;
}
