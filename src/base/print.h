/* Fingerprints: 64 bits that are equal for equal things, and hardly ever for others.
 * Not for secrets. */
#ifndef AMG_BASE_PRINT_H
#define AMG_BASE_PRINT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Mixes v into a fingerprint, by order: the finaliser of splitmix64. */
static inline uint64_t amg_print_mix(uint64_t print, uint64_t v)
{
    uint64_t x = (print ^ v) + UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    return (x ^ x >> 31) + (print << 1);
}

static inline uint64_t amg_print_bytes(uint64_t print, const void *data,
                                       size_t size_bytes)
{
    const uint8_t *p = data;
    uint64_t word;
    print = amg_print_mix(print, size_bytes);
    for (; size_bytes >= sizeof word; size_bytes -= sizeof word, p += sizeof word) {
        memcpy(&word, p, sizeof word);
        print = amg_print_mix(print, word);
    }
    word = 0;
    memcpy(&word, p, size_bytes);
    return amg_print_mix(print, word);
}

/* Of elements of 4 bytes in any order: equal for a tensor whose rows were moved. */
static inline uint64_t amg_print_bag(const void *elements, int64_t count)
{
    const uint8_t *p = elements;
    uint64_t sum = 0;
    for (int64_t i = 0; i < count; i++, p += sizeof(uint32_t)) {
        uint32_t v;
        memcpy(&v, p, sizeof v);
        sum += amg_print_mix(1, v);
    }
    return amg_print_mix(sum, (uint64_t)count);
}

#endif
