/* The key file: the master secret, raw or wrapped under a passphrase, and a sealed
 * payload of any bytes; docs/key.md has the layout. Whatever fails to authenticate is
 * one error with no hint which. Must not know what the payload means. */
#include "key/keyfile.h"

#include <sodium.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cursor.h"
#include "base/file.h"
#include "key/secret_bytes.h"

#define KEYFILE_VERSION 1
#define FLAG_PASSPHRASE 1u
#define SALT_BYTES crypto_pwhash_argon2id_SALTBYTES
#define NONCE_BYTES crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define TAG_BYTES crypto_aead_xchacha20poly1305_ietf_ABYTES
#define WRAPPED_BYTES (AMG_SECRET_BYTES + TAG_BYTES)

/* Offsets of the header's fields. */
enum {
    AT_MAGIC = 0,
    AT_VERSION = 8,
    AT_FLAGS = 12,
    AT_OPSLIMIT = 16,
    AT_MEMLIMIT = 24,
    AT_SALT = 32,
    AT_WRAP_NONCE = 48,
    AT_SEAL_NONCE = 72,
    AT_PAYLOAD_SIZE = 96,
    AT_WRAPPED = 104,
    HEADER_BYTES = 152
};
_Static_assert(AT_SALT + SALT_BYTES == AT_WRAP_NONCE, "layout of docs/key.md");
_Static_assert(AT_WRAP_NONCE + NONCE_BYTES == AT_SEAL_NONCE, "layout of docs/key.md");
_Static_assert(AT_SEAL_NONCE + NONCE_BYTES == AT_PAYLOAD_SIZE, "layout of docs/key.md");
_Static_assert(AT_WRAPPED + WRAPPED_BYTES == HEADER_BYTES, "layout of docs/key.md");

/* What a file may ask of us before we know whether it is ours. */
#define MAX_OPSLIMIT 16u
#define MIN_MEMLIMIT UINT64_C(8192)
#define MAX_MEMLIMIT (UINT64_C(1) << 30)

static const char magic[8] = {'A', 'M', 'G', 'K', 'E', 'Y', '1', '\n'};

typedef struct {
    uint32_t flags;
    uint64_t opslimit, memlimit, payload_size;
} header;

static void put_le(uint8_t *out, uint64_t v, int num_bytes)
{
    for (int i = 0; i < num_bytes; i++) out[i] = (uint8_t)(v >> 8 * i);
}

/* argon2id: passphrase and the header's parameters -> 32 bytes. */
static amg_status derive_wrap_key(const uint8_t *head, const amg_passphrase *pass,
                                  uint64_t opslimit, uint64_t memlimit, uint8_t key[32],
                                  const char *name, amg_error *err)
{
    if (crypto_pwhash_argon2id(key, 32, pass->text, pass->length, head + AT_SALT,
                               opslimit, (size_t)memlimit,
                               crypto_pwhash_argon2id_ALG_ARGON2ID13))
        return amg_fail(err, AMG_NO_MEMORY, -1, name,
                        "the passphrase needs %llu MiB of memory",
                        (unsigned long long)(memlimit >> 20));
    return AMG_OK;
}

/* Writes the header's passphrase fields and the wrapped secret. */
static amg_status wrap_secret(uint8_t *head, const amg_secret *secret,
                              const amg_passphrase *pass, const char *path,
                              amg_error *err)
{
    const uint64_t ops = crypto_pwhash_argon2id_OPSLIMIT_MODERATE;
    const uint64_t mem = crypto_pwhash_argon2id_MEMLIMIT_MODERATE;
    put_le(head + AT_FLAGS, FLAG_PASSPHRASE, 4);
    put_le(head + AT_OPSLIMIT, ops, 8);
    put_le(head + AT_MEMLIMIT, mem, 8);
    randombytes_buf(head + AT_SALT, SALT_BYTES);
    randombytes_buf(head + AT_WRAP_NONCE, NONCE_BYTES);
    uint8_t *key = sodium_malloc(32);
    if (!key) return amg_fail(err, AMG_NO_MEMORY, -1, path, "no locked memory");
    amg_status st = derive_wrap_key(head, pass, ops, mem, key, path, err);
    if (st == AMG_OK)
        crypto_aead_xchacha20poly1305_ietf_encrypt(
            head + AT_WRAPPED, NULL, secret->bytes, AMG_SECRET_BYTES, head, AT_WRAPPED,
            NULL, head + AT_WRAP_NONCE, key);
    sodium_free(key);
    return st;
}

/* Fills the whole file image: HEADER_BYTES + size_bytes + TAG_BYTES. */
static amg_status fill_image(uint8_t *image, const amg_secret *secret,
                             const amg_passphrase *pass, const void *payload,
                             size_t size_bytes, const char *path, amg_error *err)
{
    memset(image, 0, HEADER_BYTES);
    memcpy(image + AT_MAGIC, magic, sizeof magic);
    put_le(image + AT_VERSION, KEYFILE_VERSION, 4);
    put_le(image + AT_PAYLOAD_SIZE, size_bytes, 8);
    randombytes_buf(image + AT_SEAL_NONCE, NONCE_BYTES);
    if (pass) {
        amg_status st = wrap_secret(image, secret, pass, path, err);
        if (st != AMG_OK) return st;
    } else {
        memcpy(image + AT_WRAPPED, secret->bytes, AMG_SECRET_BYTES);
    }
    uint8_t *key = sodium_malloc(32);
    if (!key) return amg_fail(err, AMG_NO_MEMORY, -1, path, "no locked memory");
    amg_secret_derive(secret, AMG_PURPOSE_SEAL, key);
    crypto_aead_xchacha20poly1305_ietf_encrypt(image + HEADER_BYTES, NULL, payload,
                                               size_bytes, image, HEADER_BYTES, NULL,
                                               image + AT_SEAL_NONCE, key);
    sodium_free(key);
    return AMG_OK;
}

amg_status amg_keyfile_create(const char *path, const amg_secret *secret,
                              const amg_passphrase *pass, const void *payload,
                              size_t size_bytes, amg_error *err)
{
    if (size_bytes > SIZE_MAX / 2)
        return amg_fail(err, AMG_OVERFLOW, -1, path, "a payload of %zu bytes",
                        size_bytes);
    if (amg_path_exists(path)) /* before the work; commit checks again, atomically */
        return amg_fail(err, AMG_EXISTS, -1, path,
                        "a file is there already; a key is never overwritten");
    amg_status st = amg_sodium_ready(err);
    if (st != AMG_OK) return st;
    const size_t total = HEADER_BYTES + size_bytes + TAG_BYTES;
    uint8_t *image = sodium_malloc(total);
    if (!image) return amg_fail(err, AMG_NO_MEMORY, -1, path, "no locked memory");
    amg_outfile file = {0};
    st = fill_image(image, secret, pass, payload, size_bytes, path, err);
    if (st != AMG_OK) goto done;
    st = amg_outfile_open(path, 0600, true, &file, err);
    if (st != AMG_OK) goto done;
    /* Unbuffered, so that no copy of the secret stays behind in stdio's memory. What
     * goes wrong here is found by commit. */
    setvbuf(file.stream, NULL, _IONBF, 0);
    if (fwrite(image, 1, total, file.stream) != total) {
        st = amg_fail(err, AMG_IO, -1, path, "could not write %zu bytes", total);
        goto done;
    }
    st = amg_outfile_commit(&file, true, err);
done:
    amg_outfile_abort(&file);
    sodium_free(image);
    return st;
}

static amg_status check_limits(const header *h, const char *name, amg_error *err)
{
    if (h->opslimit < 1 || h->opslimit > MAX_OPSLIMIT)
        return amg_fail(err, AMG_MALFORMED, AT_OPSLIMIT, name,
                        "the passphrase asks for %llu passes, expected 1 to %u",
                        (unsigned long long)h->opslimit, MAX_OPSLIMIT);
    if (h->memlimit < MIN_MEMLIMIT || h->memlimit > MAX_MEMLIMIT)
        return amg_fail(err, AMG_MALFORMED, AT_MEMLIMIT, name,
                        "the passphrase asks for %llu bytes of memory, expected %llu "
                        "to %llu",
                        (unsigned long long)h->memlimit,
                        (unsigned long long)MIN_MEMLIMIT,
                        (unsigned long long)MAX_MEMLIMIT);
    return AMG_OK;
}

/* Everything that can be checked without the key. */
static amg_status parse_header(const void *data, size_t file_size, const char *name,
                               header *out, amg_error *err)
{
    amg_cursor c = amg_cursor_init(data, file_size);
    size_t prefix = file_size < sizeof magic ? file_size : sizeof magic;
    if (prefix == 0 || memcmp(data, magic, prefix) != 0)
        return amg_fail(err, AMG_MALFORMED, AT_MAGIC, name,
                        "not an Amalgam key file (expected it to begin with AMGKEY1)");
    if (file_size < HEADER_BYTES)
        return amg_fail(err, AMG_TRUNCATED, (int64_t)file_size, name,
                        "the key file ends after %zu bytes, its header has %d",
                        file_size, HEADER_BYTES);
    c.pos = AT_VERSION;
    uint32_t version = amg_cursor_u32le(&c);
    out->flags = amg_cursor_u32le(&c);
    out->opslimit = amg_cursor_u64le(&c);
    out->memlimit = amg_cursor_u64le(&c);
    c.pos = AT_PAYLOAD_SIZE;
    out->payload_size = amg_cursor_u64le(&c);
    if (version != KEYFILE_VERSION)
        return amg_fail(err, AMG_UNSUPPORTED, AT_VERSION, name,
                        "key file of version %u, this program reads %d", version,
                        KEYFILE_VERSION);
    if (out->flags & ~FLAG_PASSPHRASE)
        return amg_fail(err, AMG_UNSUPPORTED, AT_FLAGS, name,
                        "key file with unknown flags 0x%x", out->flags);
    if (out->flags & FLAG_PASSPHRASE) {
        amg_status st = check_limits(out, name, err);
        if (st != AMG_OK) return st;
    }
    size_t rest = file_size - HEADER_BYTES;
    if (rest < TAG_BYTES || rest - TAG_BYTES < out->payload_size)
        return amg_fail(err, AMG_TRUNCATED, (int64_t)file_size, name,
                        "the key file ends before its payload of %llu bytes does",
                        (unsigned long long)out->payload_size);
    if (rest - TAG_BYTES > out->payload_size)
        return amg_fail(err, AMG_MALFORMED,
                        (int64_t)(HEADER_BYTES + out->payload_size + TAG_BYTES), name,
                        "%zu byte%s after the key file's end",
                        rest - TAG_BYTES - (size_t)out->payload_size,
                        amg_plural((int64_t)(rest - TAG_BYTES - out->payload_size)));
    return AMG_OK;
}

static amg_status bad_key(const char *name, amg_error *err)
{
    return amg_fail(err, AMG_BAD_KEY, -1, name, "wrong passphrase or damaged key file");
}

static amg_status unwrap_secret(const uint8_t *head, const header *h, const char *name,
                                const amg_passphrase *pass, amg_secret *secret,
                                amg_error *err)
{
    if (!(h->flags & FLAG_PASSPHRASE)) {
        memcpy(secret->bytes, head + AT_WRAPPED, AMG_SECRET_BYTES);
        return AMG_OK;
    }
    if (!pass)
        return amg_fail(err, AMG_INVALID, -1, name,
                        "the key file is protected by a passphrase, none was given");
    uint8_t *key = sodium_malloc(32);
    if (!key) return amg_fail(err, AMG_NO_MEMORY, -1, name, "no locked memory");
    amg_status st =
        derive_wrap_key(head, pass, h->opslimit, h->memlimit, key, name, err);
    if (st == AMG_OK && crypto_aead_xchacha20poly1305_ietf_decrypt(
                            secret->bytes, NULL, NULL, head + AT_WRAPPED, WRAPPED_BYTES,
                            head, AT_WRAPPED, head + AT_WRAP_NONCE, key))
        st = bad_key(name, err);
    sodium_free(key);
    return st;
}

amg_status amg_keyfile_parse(const void *data, size_t file_size, const char *name,
                             const amg_passphrase *pass, amg_secret **secret,
                             uint8_t **payload, size_t *size_bytes, amg_error *err)
{
    header h = {0};
    amg_status st = amg_sodium_ready(err);
    if (st == AMG_OK) st = parse_header(data, file_size, name, &h, err);
    if (st != AMG_OK) return st;

    const uint8_t *head = data;
    const size_t size = (size_t)h.payload_size;
    amg_secret *opened = NULL;
    uint8_t *key = NULL, *plain = NULL;
    st = amg_secret_alloc(&opened, err);
    if (st == AMG_OK) st = unwrap_secret(head, &h, name, pass, opened, err);
    if (st != AMG_OK) goto done;
    key = sodium_malloc(32);
    plain = sodium_malloc(size ? size : 1);
    if (!key || !plain) {
        st = amg_fail(err, AMG_NO_MEMORY, -1, name, "no locked memory");
        goto done;
    }
    amg_secret_derive(opened, AMG_PURPOSE_SEAL, key);
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(
            plain, NULL, NULL, head + HEADER_BYTES, size + TAG_BYTES, head,
            HEADER_BYTES, head + AT_SEAL_NONCE, key)) {
        st = bad_key(name, err);
        goto done;
    }
    *secret = opened;
    *payload = plain;
    *size_bytes = size;
    opened = NULL;
    plain = NULL;
done:
    amg_secret_free(opened);
    sodium_free(key);
    sodium_free(plain);
    return st;
}

amg_status amg_keyfile_open(const char *path, const amg_passphrase *pass,
                            amg_secret **secret, uint8_t **payload, size_t *size_bytes,
                            bool *loose_mode, amg_error *err)
{
    amg_map map = {0};
    amg_status st = amg_map_open(path, &map, err);
    if (st != AMG_OK) return st;
    st = amg_keyfile_parse(map.data, map.size, path, pass, secret, payload, size_bytes,
                           err);
    amg_map_close(&map);
    if (st != AMG_OK) return st;
    struct stat info;
    *loose_mode = stat(path, &info) == 0 && (info.st_mode & 077) != 0;
    return AMG_OK;
}

amg_status amg_keyfile_needs_passphrase(const char *path, bool *needs, amg_error *err)
{
    amg_map map = {0};
    amg_status st = amg_map_open(path, &map, err);
    if (st != AMG_OK) return st;
    header h = {0};
    st = parse_header(map.data, map.size, path, &h, err);
    amg_map_close(&map);
    if (st == AMG_OK) *needs = (h.flags & FLAG_PASSPHRASE) != 0;
    return st;
}

void amg_payload_free(uint8_t *payload) { sodium_free(payload); }
