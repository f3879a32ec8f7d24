/* gzip members through zlib. Consumes packed bytes in memory, produces unpacked bytes,
 * or a mapped temporary file of a size that the caller fixed beforehand, so that a bomb
 * stops there. Knows nothing of what is packed. */
#include "formats/gz.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define ZLIB_CONST /* zlib reads its input, it does not write it */
#include <zlib.h>

#include "base/alloc.h"

#define PIECE (256 * 1024)

struct amg_gz {
    z_stream z;
    const uint8_t *data;
    size_t size;
    const char *name;
    bool ended;
};

static voidpf gz_alloc(voidpf opaque, uInt items, uInt size)
{
    (void)opaque;
    return amg_calloc(items, size);
}

static void gz_free(voidpf opaque, voidpf p)
{
    (void)opaque;
    amg_free(p);
}

bool amg_gz_check(const void *data, size_t size_bytes)
{
    const uint8_t *p = data;
    return size_bytes >= 2 && p[0] == 0x1f && p[1] == 0x8b;
}

amg_status amg_gz_open(const void *data, size_t size_bytes, const char *name,
                       amg_gz **out, amg_error *err)
{
    amg_gz *gz = amg_calloc(1, sizeof *gz);
    if (gz == NULL) goto no_memory;
    gz->data = data;
    gz->size = size_bytes;
    gz->name = name;
    gz->z.zalloc = gz_alloc;
    gz->z.zfree = gz_free;
    const int window = 15 + 16; /* the largest window; a gzip header, no other */
    if (inflateInit2(&gz->z, window) != Z_OK) goto no_memory;
    *out = gz;
    return AMG_OK;

no_memory:
    amg_free(gz);
    return amg_fail(err, AMG_NO_MEMORY, -1, name, "no memory to unpack it");
}

void amg_gz_close(amg_gz *gz)
{
    if (gz == NULL) return;
    inflateEnd(&gz->z);
    amg_free(gz);
}

size_t amg_gz_position(const amg_gz *gz) { return gz->z.total_in; }

static uInt at_most(size_t n, uInt limit) { return n < limit ? (uInt)n : limit; }

/* The member is over: nothing may follow it. */
static amg_status end_member(amg_gz *gz, amg_error *err)
{
    gz->ended = true;
    const size_t used = gz->z.total_in;
    if (used == gz->size) return AMG_OK;
    return amg_fail(err, AMG_MALFORMED, (int64_t)used, gz->name,
                    "%zu byte%s behind the gzip data", gz->size - used,
                    amg_plural((int64_t)(gz->size - used)));
}

amg_status amg_gz_read(amg_gz *gz, void *out, size_t n, size_t *got, amg_error *err)
{
    z_stream *z = &gz->z;
    uint8_t *p = out;
    size_t done = 0;
    while (done < n && !gz->ended) {
        z->next_in = gz->data + z->total_in;
        z->avail_in = at_most(gz->size - z->total_in, 1u << 30);
        z->next_out = p + done;
        z->avail_out = at_most(n - done, 1u << 30);
        const uInt room = z->avail_out, input = z->avail_in;
        const int result = inflate(z, Z_NO_FLUSH);
        done += room - z->avail_out;
        if (result == Z_STREAM_END) {
            const amg_status st = end_member(gz, err);
            if (st != AMG_OK) return st;
        } else if (result == Z_MEM_ERROR) {
            return amg_fail(err, AMG_NO_MEMORY, -1, gz->name, "no memory to unpack it");
        } else if (result != Z_OK && result != Z_BUF_ERROR) {
            return amg_fail(err, AMG_MALFORMED, (int64_t)z->total_in, gz->name,
                            "the gzip data are damaged: %s",
                            z->msg != NULL ? z->msg : "a dictionary is asked for");
        } else if (z->avail_in == input && z->avail_out == room) {
            return amg_fail(err, AMG_TRUNCATED, (int64_t)gz->size, gz->name,
                            "the gzip data end early");
        }
    }
    *got = done;
    return AMG_OK;
}

static amg_status write_all(int fd, const uint8_t *p, size_t n, const char *name,
                            amg_error *err)
{
    while (n > 0) {
        const ssize_t written = write(fd, p, n);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) {
            const amg_status st =
                amg_fail_errno(err, errno, name, "cannot unpack it to /tmp");
            amg_hint(err, "unpack the file with gunzip where there is room");
            return st;
        }
        p += written;
        n -= (size_t)written;
    }
    return AMG_OK;
}

static amg_status unpack_to(amg_gz *gz, int fd, size_t at, size_t size_bytes,
                            uint8_t *piece, amg_error *err)
{
    size_t got;
    amg_status st;
    while (at < size_bytes) {
        const size_t want = size_bytes - at < PIECE ? size_bytes - at : PIECE;
        st = amg_gz_read(gz, piece, want, &got, err);
        if (st == AMG_OK) st = write_all(fd, piece, got, gz->name, err);
        if (st != AMG_OK) return st;
        at += got;
        if (got < want)
            return amg_fail(err, AMG_TRUNCATED, (int64_t)at, gz->name,
                            "unpacks to %zu bytes, its header promises %zu", at,
                            size_bytes);
    }
    st = amg_gz_read(gz, piece, 1, &got, err);
    if (st == AMG_OK && got != 0)
        st = amg_fail(err, AMG_MALFORMED, (int64_t)size_bytes, gz->name,
                      "unpacks to more than the %zu bytes that its header promises",
                      size_bytes);
    return st;
}

amg_status amg_gz_unpack(amg_gz *gz, const void *head, size_t head_bytes,
                         size_t size_bytes, amg_map *out, amg_error *err)
{
    char path[] = "/tmp/amalgam-XXXXXX"; /* the library does not read TMPDIR */
    uint8_t *piece = amg_malloc(PIECE);
    if (piece == NULL)
        return amg_fail(err, AMG_NO_MEMORY, -1, gz->name, "no memory to unpack it");
    amg_status st;
    const int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0) {
        st = amg_fail_errno(err, errno, gz->name, "cannot make a file in /tmp");
        goto done;
    }
    unlink(path); /* gone from the folder at once, from the disk when unmapped */
    st = write_all(fd, head, head_bytes, gz->name, err);
    if (st == AMG_OK) st = unpack_to(gz, fd, head_bytes, size_bytes, piece, err);
    if (st == AMG_OK) st = amg_map_fd(fd, gz->name, out, err);
    close(fd);
done:
    amg_free(piece);
    return st;
}
