/* The master secret: made from the system's generator or from hex digits, and what is
 * derived from it by purpose. The secret lives in sodium_malloc memory; sub-keys are
 * wiped as soon as they were used. Knows nothing of files (keyfile.c) or of what the
 * sub-keys choose (obfuscate/). */
#include "key/secret.h"

#include <sodium.h>
#include <string.h>

#include "key/secret_bytes.h"

static const char kdf_context[crypto_kdf_CONTEXTBYTES + 1] = "AMALGAM1";
_Static_assert(AMG_SECRET_BYTES == crypto_kdf_KEYBYTES, "the secret keys crypto_kdf");

amg_status amg_sodium_ready(amg_error *err)
{
    if (sodium_init() < 0)
        return amg_fail(err, AMG_BACKEND, -1, "libsodium", "sodium_init failed");
    return AMG_OK;
}

amg_status amg_secret_alloc(amg_secret **out, amg_error *err)
{
    amg_status st = amg_sodium_ready(err);
    if (st != AMG_OK) return st;
    amg_secret *s = sodium_malloc(sizeof *s);
    if (!s)
        return amg_fail(err, AMG_NO_MEMORY, -1, "secret", "no locked memory for a key");
    sodium_memzero(s, sizeof *s);
    *out = s;
    return AMG_OK;
}

amg_status amg_secret_new(amg_secret **out, amg_error *err)
{
    amg_status st = amg_secret_alloc(out, err);
    if (st == AMG_OK) randombytes_buf((*out)->bytes, AMG_SECRET_BYTES);
    return st;
}

amg_status amg_secret_from_hex(const char *hex, amg_secret **out, amg_error *err)
{
    size_t length = strlen(hex);
    if (length != 2 * AMG_SECRET_BYTES)
        return amg_fail(err, AMG_INVALID, -1, "seed",
                        "found %zu characters, expected %d hex digits", length,
                        2 * AMG_SECRET_BYTES);
    amg_secret *s = NULL;
    amg_status st = amg_secret_alloc(&s, err);
    if (st != AMG_OK) return st;
    size_t written = 0;
    if (sodium_hex2bin(s->bytes, AMG_SECRET_BYTES, hex, length, NULL, &written, NULL) ||
        written != AMG_SECRET_BYTES) {
        amg_secret_free(s); /* the digits found are not told: they are a secret */
        return amg_fail(err, AMG_INVALID, -1, "seed",
                        "found a character that is no hex digit, expected %d of them",
                        2 * AMG_SECRET_BYTES);
    }
    *out = s;
    return AMG_OK;
}

void amg_secret_free(amg_secret *s) { sodium_free(s); }

void amg_secret_derive(const amg_secret *s, amg_purpose purpose, uint8_t out[32])
{
    crypto_kdf_derive_from_key(out, 32, (uint64_t)purpose, kdf_context, s->bytes);
}

void amg_secret_hash(const amg_secret *s, const void *data, size_t size_bytes,
                     uint8_t out[AMG_SAMPLE_HASH_BYTES])
{
    uint8_t key[32];
    amg_secret_derive(s, AMG_PURPOSE_SAMPLE_HASH, key);
    crypto_generichash(out, AMG_SAMPLE_HASH_BYTES, data, size_bytes, key, sizeof key);
    sodium_memzero(key, sizeof key);
}

_Static_assert(AMG_SAMPLE_TAG_BYTES == crypto_shorthash_siphashx24_BYTES, "a tag");

void amg_secret_tag(const amg_secret *s, const void *data, size_t size_bytes,
                    int64_t num, uint8_t *out)
{
    uint8_t key[32]; /* of which SipHash takes the first half */
    amg_secret_derive(s, AMG_PURPOSE_SAMPLE_TAG, key);
    for (int64_t i = 0; i < num; i++)
        crypto_shorthash_siphashx24(out + i * AMG_SAMPLE_TAG_BYTES,
                                    (const uint8_t *)data + (size_t)i * size_bytes,
                                    size_bytes, key);
    sodium_memzero(key, sizeof key);
}
