/* The keyed stream: ChaCha20 bytes of (secret, purpose, index) and the unbiased draws
 * made of them. docs/key.md fixes every law below, because a job can only be extracted
 * if they never change. The cipher is ChaCha20's original form, with 64 bits of nonce
 * and 64 of counter: the nonce is the index, so that a hash may be one, and the stream
 * does not end. */
#include <math.h>
#include <sodium.h>
#include <string.h>

#include "base/alloc.h"
#include "key/secret.h"
#include "key/secret_bytes.h"

#define BLOCK_BYTES 64 /* of ChaCha20 */
#define BUFFER_BYTES 1024

static const double TWO_PI = 6.283185307179586476925286766559;

_Static_assert(crypto_stream_chacha20_NONCEBYTES == 8, "the nonce is a 64-bit index");

struct amg_keystream {
    uint8_t key[crypto_stream_chacha20_KEYBYTES];
    uint8_t nonce[crypto_stream_chacha20_NONCEBYTES];
    uint64_t next_block; /* counter of the block after the buffer */
    size_t used;         /* bytes of buffer already given out */
    uint8_t buffer[BUFFER_BYTES];
};

amg_status amg_keystream_new(const amg_secret *s, amg_purpose purpose, uint64_t index,
                             amg_keystream **out, amg_error *err)
{
    amg_keystream *k = sodium_malloc(sizeof *k);
    if (!k)
        return amg_fail(err, AMG_NO_MEMORY, -1, "keystream",
                        "no locked memory for a keystream");
    amg_secret_derive(s, purpose, k->key);
    amg_keystream_seek(k, index);
    *out = k;
    return AMG_OK;
}

void amg_keystream_free(amg_keystream *k) { sodium_free(k); }

void amg_keystream_seek(amg_keystream *k, uint64_t index)
{
    for (int i = 0; i < 8; i++) k->nonce[i] = (uint8_t)(index >> 8 * i);
    k->next_block = 0;
    k->used = BUFFER_BYTES;
}

/* size_bytes: a multiple of BLOCK_BYTES. */
static void generate(amg_keystream *k, uint8_t *out, size_t size_bytes)
{
    memset(out, 0, size_bytes);
    crypto_stream_chacha20_xor_ic(out, out, size_bytes, k->nonce, k->next_block,
                                  k->key);
    k->next_block += size_bytes / BLOCK_BYTES;
}

void amg_keystream_bytes(amg_keystream *k, void *out, size_t size_bytes)
{
    uint8_t *to = out;
    while (size_bytes > 0) {
        if (k->used == BUFFER_BYTES) {
            if (size_bytes >= BUFFER_BYTES) { /* whole buffers go straight out */
                size_t direct = size_bytes / BUFFER_BYTES * BUFFER_BYTES;
                generate(k, to, direct);
                to += direct;
                size_bytes -= direct;
                continue;
            }
            generate(k, k->buffer, BUFFER_BYTES);
            k->used = 0;
        }
        size_t take = BUFFER_BYTES - k->used;
        if (take > size_bytes) take = size_bytes;
        memcpy(to, k->buffer + k->used, take);
        k->used += take;
        to += take;
        size_bytes -= take;
    }
}

uint32_t amg_keystream_u32(amg_keystream *k)
{
    uint8_t b[4];
    amg_keystream_bytes(k, b, sizeof b);
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 |
           (uint32_t)b[3] << 24;
}

uint64_t amg_keystream_u64(amg_keystream *k)
{
    uint8_t b[8];
    uint64_t v = 0;
    if (k->used + sizeof b <= BUFFER_BYTES) {
        memcpy(b, k->buffer + k->used, sizeof b);
        k->used += sizeof b;
    } else {
        amg_keystream_bytes(k, b, sizeof b);
    }
    for (int i = 0; i < 8; i++) v |= (uint64_t)b[i] << 8 * i;
    return v;
}

uint64_t amg_keystream_below(amg_keystream *k, uint64_t bound)
{
    /* 2^64 mod bound values at the top would come once too often: draw again there.
     * They are fewer than bound: elsewhere nothing need be divided to know. */
    uint64_t x;
    do x = amg_keystream_u64(k);
    while (x > UINT64_MAX - bound && x > UINT64_MAX - (UINT64_MAX % bound + 1) % bound);
    return x % bound;
}

double amg_keystream_unit(amg_keystream *k)
{
    return (double)(amg_keystream_u64(k) >> 11) * 0x1p-53;
}

double amg_keystream_normal(amg_keystream *k)
{
    double u = 1.0 - amg_keystream_unit(k); /* (0, 1]: the logarithm is finite */
    double v = amg_keystream_unit(k);
    return sqrt(-2.0 * log(u)) * cos(TWO_PI * v);
}

void amg_keystream_permutation(amg_keystream *k, int64_t n, int64_t *out)
{
    for (int64_t i = 0; i < n; i++) out[i] = i;
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = (int64_t)amg_keystream_below(k, (uint64_t)i + 1);
        int64_t t = out[i];
        out[i] = out[j];
        out[j] = t;
    }
}

/* The entries of a = 0..n-1 that no longer hold their own index: open addressing over
 * twice as many cells as there can be entries. */
typedef struct {
    int64_t *keys; /* index + 1, 0 = empty */
    int64_t *values;
    size_t mask;
} sparse_array;

static size_t sparse_find(const sparse_array *a, int64_t index)
{
    size_t h = (size_t)((uint64_t)index * UINT64_C(0x9E3779B97F4A7C15) >> 20) & a->mask;
    while (a->keys[h] != 0 && a->keys[h] != index + 1) h = (h + 1) & a->mask;
    return h;
}

static int64_t sparse_get(const sparse_array *a, int64_t index)
{
    size_t h = sparse_find(a, index);
    return a->keys[h] ? a->values[h] : index;
}

static void sparse_set(sparse_array *a, int64_t index, int64_t value)
{
    size_t h = sparse_find(a, index);
    a->keys[h] = index + 1;
    a->values[h] = value;
}

amg_status amg_keystream_sample(amg_keystream *k, int64_t n, int64_t count,
                                int64_t *out, amg_error *err)
{
    if (count < 0 || count > n)
        return amg_fail(err, AMG_INVALID, -1, "sample",
                        "found a subset of %lld out of %lld, expected 0 to all of them",
                        (long long)count, (long long)n);
    size_t cells = 2;
    while (cells / 2 < (size_t)count) cells *= 2;
    sparse_array a = {amg_calloc(cells, sizeof(int64_t)),
                      amg_calloc(cells, sizeof(int64_t)), cells - 1};
    amg_status st = AMG_OK;
    if (!a.keys || !a.values) {
        st = amg_fail(err, AMG_NO_MEMORY, -1, "sample", "no memory for %lld draws",
                      (long long)count);
        goto done;
    }
    /* The first count steps of a shuffle of 0..n-1. What a[i] held moves to j; a[i] is
     * never looked at again. */
    for (int64_t i = 0; i < count; i++) {
        int64_t j = i + (int64_t)amg_keystream_below(k, (uint64_t)(n - i));
        out[i] = sparse_get(&a, j);
        if (j != i) sparse_set(&a, j, sparse_get(&a, i));
    }
done:
    if (a.keys) sodium_memzero(a.keys, cells * sizeof(int64_t));
    if (a.values) sodium_memzero(a.values, cells * sizeof(int64_t));
    amg_free(a.keys);
    amg_free(a.values);
    return st;
}
