/* One gzip member in memory, unpacked piece by piece (RFC 1952, through zlib). Strict:
 * checksum and length must hold, and nothing may follow the member. */
#ifndef AMG_FORMATS_GZ_H
#define AMG_FORMATS_GZ_H

#include <stdbool.h>
#include <stddef.h>

#include "base/file.h"

typedef struct amg_gz amg_gz;

/* Whether the bytes begin as a gzip file does; no promise that the rest is sound. */
bool amg_gz_check(const void *data, size_t size_bytes);

/* Starts on data, which must outlive the reader; name (borrowed too) is for errors. */
AMG_MUST_CHECK amg_status amg_gz_open(const void *data, size_t size_bytes,
                                      const char *name, amg_gz **out, amg_error *err);
/* Unpacks up to n bytes. *got < n only at the end of the member, which is then known to
 * be complete and unharmed. AMG_MALFORMED, AMG_TRUNCATED with the offset in the packed
 * bytes. */
AMG_MUST_CHECK amg_status amg_gz_read(amg_gz *gz, void *out, size_t n, size_t *got,
                                      amg_error *err);
/* Packed bytes read so far. */
size_t amg_gz_position(const amg_gz *gz);
void amg_gz_close(amg_gz *gz);

/* Unpacks the rest into an unlinked temporary file in /tmp and maps it: head (the bytes
 * read so far) and what follows must be size_bytes together, no more is ever written.
 * AMG_TRUNCATED at the end of the unpacked bytes, AMG_MALFORMED at size_bytes. */
AMG_MUST_CHECK amg_status amg_gz_unpack(amg_gz *gz, const void *head, size_t head_bytes,
                                        size_t size_bytes, amg_map *out,
                                        amg_error *err);

#endif
