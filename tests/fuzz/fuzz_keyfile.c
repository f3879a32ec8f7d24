/* Fuzz target: any bytes as a key file, and, after a first byte 'P', as the payload of
 * one (which is sealed in real files: without this the fuzzer would never pass the
 * seal). No passphrase, so that no input costs an argon2id. What is accepted must pack
 * again to a payload that parses. */
#include <stdlib.h>

#include "base/alloc.h"
#include "fuzz.h"
#include "key/keyfile.h"
#include "obfuscate/plan.h"

static void try_payload(const uint8_t *data, size_t size)
{
    amg_key_payload p = {0}, q = {0};
    amg_error err = {0};
    if (amg_key_payload_parse(data, size, &p, &err)) {
        if (p.original || p.names.job || p.names.own) abort();
        return;
    }
    uint8_t *packed = NULL;
    size_t packed_size = 0;
    if (amg_key_payload_pack(&p, &packed, &packed_size, NULL)) abort();
    if (amg_key_payload_parse(packed, packed_size, &q, NULL)) abort();
    if (p.names.count != q.names.count) abort();
    amg_free(packed);
    amg_key_payload_clear(&p);
    amg_key_payload_clear(&q);
}

static void try_keyfile(const uint8_t *data, size_t size)
{
    amg_secret *secret = NULL;
    uint8_t *payload = NULL;
    size_t payload_size = 0;
    amg_error err = {0};
    if (amg_keyfile_parse(data, size, "fuzz", NULL, &secret, &payload, &payload_size,
                          &err)) {
        if (secret || payload || err.offset > (int64_t)size) abort();
        return;
    }
    if (payload_size >= size) abort();
    amg_secret_free(secret);
    amg_payload_free(payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 0 && data[0] == 'P')
        try_payload(data + 1, size - 1);
    else
        try_keyfile(data, size);
    return 0;
}
