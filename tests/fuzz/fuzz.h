/* The entry point every fuzz target defines: libFuzzer calls it with bytes of its own,
 * replay.c with the files of the corpus. It returns 0 and must neither crash nor leak,
 * whatever the bytes. */
#ifndef AMG_TESTS_FUZZ_H
#define AMG_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
