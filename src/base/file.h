/* Files: read-only mapping, writing beside and renaming, folders. The only place that
 * opens files. */
#ifndef AMG_BASE_FILE_H
#define AMG_BASE_FILE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "amalgam/status.h"

/* A whole file, mapped read-only. data is NULL for an empty file. A file that shrinks
 * while mapped kills the process with SIGBUS: that is the system's contract, not
 * hidden. */
typedef struct {
    const uint8_t *data;
    size_t size;
} amg_map;

AMG_MUST_CHECK amg_status amg_map_open(const char *path, amg_map *out, amg_error *err);
/* Maps an open regular file; the descriptor stays the caller's. name is for errors. */
AMG_MUST_CHECK amg_status amg_map_fd(int fd, const char *name, amg_map *out,
                                     amg_error *err);
void amg_map_close(amg_map *map);

/* A file that appears only when complete: written as PATH.tmp-XXXXXX, synced, renamed
 * over PATH. A zeroed struct is valid for amg_outfile_abort. */
typedef struct {
    FILE *stream; /* write here; check nothing, commit checks ferror */
    char *path, *temp;
} amg_outfile;

/* mode: permission bits, e.g. 0644. exclusive: PATH must not exist at commit
 * (AMG_EXISTS). */
AMG_MUST_CHECK amg_status amg_outfile_open(const char *path, unsigned mode,
                                           bool exclusive, amg_outfile *out,
                                           amg_error *err);
/* Lets the system begin to put on the disk what it has of the file, for which commit
 * would wait otherwise; changes nothing else. */
void amg_outfile_start_sync(const amg_outfile *f);
AMG_MUST_CHECK amg_status amg_outfile_commit(amg_outfile *f, bool exclusive,
                                             amg_error *err);
void amg_outfile_abort(
    amg_outfile *f); /* removes the temporary file; no-op after commit */

/* amg_outfile_* around one buffer. */
AMG_MUST_CHECK amg_status amg_file_write(const char *path, unsigned mode,
                                         bool exclusive, const void *data,
                                         size_t size_bytes, amg_error *err);

bool amg_path_exists(const char *path);
bool amg_path_is_dir(const char *path);
/* DIR/NAME, heap; NULL when out of memory. */
char *amg_path_join(const char *dir, const char *name);
/* The folder that PATH is or will be in, links resolved; false (errno) if there is
 * none. */
bool amg_path_resolve_parent(const char *path, char out[PATH_MAX]);
/* Whether PATH is, or would be, below the folder DIR, links resolved. */
AMG_MUST_CHECK amg_status amg_path_inside(const char *path, const char *dir,
                                          bool *inside, amg_error *err);
/* Makes a folder (0755), not its parents; AMG_EXISTS if there. */
AMG_MUST_CHECK amg_status amg_dir_make(const char *path, amg_error *err);
/* Removes a folder and all below it without following links; missing is fine. */
void amg_dir_remove(const char *path);
/* Names in a folder without "." and "..", sorted bytewise. Free with amg_dir_list_free.
 */
AMG_MUST_CHECK amg_status amg_dir_list(const char *path, char ***names, size_t *count,
                                       amg_error *err);
void amg_dir_list_free(char **names, size_t count);

/* SHA-256 (libcrypto, which knows the processors' instructions for it) of a file or a
 * buffer, as 64 hex digits and a 0. */
AMG_MUST_CHECK amg_status amg_file_sha256(const char *path, char hex[65],
                                          int64_t *size_bytes, amg_error *err);
AMG_MUST_CHECK amg_status amg_sha256_hex(const void *data, size_t size_bytes,
                                         char hex[65], amg_error *err);

#endif
