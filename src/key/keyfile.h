/* The key file: master secret + sealed payload (docs/key.md has the bytes). Without a
 * passphrase the file's mode (0600) is its only guard; with one, the secret is wrapped
 * under argon2id. Wrong passphrase, damage and tampering are one error, AMG_BAD_KEY. */
#ifndef AMG_KEY_KEYFILE_H
#define AMG_KEY_KEYFILE_H

#include <stdbool.h>

#include "key/secret.h"

/* A passphrase in sodium_malloc memory; NULL where none is used. */
typedef struct {
    char *text; /* sodium_malloc, not NUL-terminated */
    size_t length;
} amg_passphrase;

/* Makes the key file (O_EXCL, 0600, beside and renamed): AMG_EXISTS if there. payload
 * is sealed, any bytes. */
AMG_MUST_CHECK amg_status amg_keyfile_create(const char *path, const amg_secret *secret,
                                             const amg_passphrase *pass,
                                             const void *payload, size_t size_bytes,
                                             amg_error *err);
/* True if the file asks for a passphrase (so that the program can prompt first). */
AMG_MUST_CHECK amg_status amg_keyfile_needs_passphrase(const char *path, bool *needs,
                                                       amg_error *err);
/* Opens; *payload is in sodium_malloc memory, freed with amg_payload_free. A hint (not
 * an error) tells of a mode wider than 0600: *loose_mode set. */
AMG_MUST_CHECK amg_status amg_keyfile_open(const char *path, const amg_passphrase *pass,
                                           amg_secret **secret, uint8_t **payload,
                                           size_t *size_bytes, bool *loose_mode,
                                           amg_error *err);
/* The same from memory; name is for errors. */
AMG_MUST_CHECK amg_status amg_keyfile_parse(const void *data, size_t file_size,
                                            const char *name,
                                            const amg_passphrase *pass,
                                            amg_secret **secret, uint8_t **payload,
                                            size_t *size_bytes, amg_error *err);
void amg_payload_free(uint8_t *payload);

#endif
