/* Secrets: the 32-byte master secret and what is derived from it. All of it lives in
 * sodium_malloc memory (guarded, locked, wiped on free), never in an arena, a log or an
 * error text. */
#ifndef AMG_KEY_SECRET_H
#define AMG_KEY_SECRET_H

#include <stddef.h>
#include <stdint.h>

#include "amalgam/status.h"

#define AMG_SECRET_BYTES 32

typedef struct amg_secret amg_secret; /* the master secret */

/* From the system's generator. AMG_NO_MEMORY, AMG_IO. */
AMG_MUST_CHECK amg_status amg_secret_new(amg_secret **out, amg_error *err);
/* From exactly 64 hex digits (tests: --seed-hex). AMG_INVALID. */
AMG_MUST_CHECK amg_status amg_secret_from_hex(const char *hex, amg_secret **out,
                                              amg_error *err);
void amg_secret_free(amg_secret *s);

/* X(name, number, meaning): one sub-key per purpose, so that no two secret choices
 * share a stream. The number is part of the key file's format: never reuse one. */
#define AMG_PURPOSE_LIST(X)                                                            \
    X(SEAL, 1, "sealing the key file's payload")                                       \
    X(POSITIONS, 2, "which augmented positions belong to which sub-network")           \
    X(NETWORK_ORDER, 3, "order of sub-networks, heads and label columns")              \
    X(NAMES, 4, "order of parameters, nodes and names")                                \
    X(LABELS, 5, "permutation of classes; index = sub-network")                        \
    X(COVERS, 6, "which pool samples cover which rows; index = pool")                  \
    X(NOISE, 7, "values of noise positions; index = hash of the sample")               \
    X(DECOY_ARCH, 8, "architecture walks; index = 0 centre, 1.. decoys")               \
    X(DECOY_INIT, 9, "initial weights of decoys; index = sub-network")                 \
    X(SAMPLE_HASH, 10, "hash of a sample's bytes")                                     \
    X(TOKENS, 11, "permutation of the vocabulary; index = sub-network")                \
    X(SAMPLE_TAG, 12, "finding equal samples")                                         \
    X(INPUTS, 13, "order of a sample's values, and of its patches; index = which")

#define AMG_PURPOSE_ENUM(name, value, text) AMG_PURPOSE_##name = value,
typedef enum { AMG_PURPOSE_LIST(AMG_PURPOSE_ENUM) } amg_purpose;
#undef AMG_PURPOSE_ENUM

/* A keyed stream of bytes (ChaCha20 under crypto_kdf(secret, purpose), nonce = index):
 * a pure function of (secret, purpose, index), docs/key.md has the laws. It holds key
 * material in sodium_malloc memory. One thread at a time. */
typedef struct amg_keystream amg_keystream;

AMG_MUST_CHECK amg_status amg_keystream_new(const amg_secret *s, amg_purpose purpose,
                                            uint64_t index, amg_keystream **out,
                                            amg_error *err);
void amg_keystream_free(amg_keystream *k);
/* Rewinds to the beginning of another index's stream, cheaper than new. */
void amg_keystream_seek(amg_keystream *k, uint64_t index);
void amg_keystream_bytes(amg_keystream *k, void *out, size_t size_bytes);
uint32_t amg_keystream_u32(amg_keystream *k);
uint64_t amg_keystream_u64(amg_keystream *k);
uint64_t amg_keystream_below(amg_keystream *k,
                             uint64_t bound);  /* unbiased in [0, bound) */
double amg_keystream_unit(amg_keystream *k);   /* [0, 1), 53 bits */
double amg_keystream_normal(amg_keystream *k); /* mean 0, variance 1 */
/* Uniform permutation of 0..n-1, and a uniform k-subset of 0..n-1 in uniform order (k
 * <= n; O(k) memory). */
void amg_keystream_permutation(amg_keystream *k, int64_t n, int64_t *out);
AMG_MUST_CHECK amg_status amg_keystream_sample(amg_keystream *k, int64_t n,
                                               int64_t count, int64_t *out,
                                               amg_error *err);

/* Raw sub-key for sealing (32 bytes into caller's sodium_malloc memory). */
void amg_secret_derive(const amg_secret *s, amg_purpose purpose, uint8_t out[32]);

/* Keyed 128-bit hash (BLAKE2b under sub-key SAMPLE_HASH) of a sample's bytes: what
 * makes noise a function of (key, sample). Thread-safe. */
#define AMG_SAMPLE_HASH_BYTES 16
void amg_secret_hash(const amg_secret *s, const void *data, size_t size_bytes,
                     uint8_t out[AMG_SAMPLE_HASH_BYTES]);
/* By which equal samples are found: keyed 128-bit tags (SipHash-2-4 under sub-key
 * SAMPLE_TAG, a third of BLAKE2b's time on short ones) of num samples of size_bytes
 * each, one behind the other. out [num][AMG_SAMPLE_TAG_BYTES]. Kept nowhere.
 * Thread-safe. */
#define AMG_SAMPLE_TAG_BYTES 16
void amg_secret_tag(const amg_secret *s, const void *data, size_t size_bytes,
                    int64_t num, uint8_t *out);

#endif
