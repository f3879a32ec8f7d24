/* Files: mapping, writing beside and renaming, folders, hashes. Consumes paths,
 * produces bytes; knows no format. Path rules for hostile names (external data) are in
 * formats/, not here. */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"

amg_status amg_map_fd(int fd, const char *name, amg_map *out, amg_error *err)
{
    struct stat s;
    if (fstat(fd, &s)) return amg_fail_errno(err, errno, name, "cannot read its size");
    if (!S_ISREG(s.st_mode))
        return amg_fail(err, AMG_IO, -1, name, "%s, expected a regular file",
                        S_ISDIR(s.st_mode) ? "is a folder" : "is not a regular file");
    void *p = NULL;
    if (s.st_size > 0) {
        p = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) return amg_fail_errno(err, errno, name, "cannot map it");
    }
    *out = (amg_map){.data = p, .size = (size_t)s.st_size};
    return AMG_OK;
}

amg_status amg_map_open(const char *path, amg_map *out, amg_error *err)
{
    int fd =
        open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hang us */
    if (fd < 0) return amg_fail_errno(err, errno, path, "cannot open it");
    amg_status st = amg_map_fd(fd, path, out, err);
    close(fd);
    return st;
}

void amg_map_close(amg_map *map)
{
    if (map->data) {
        void *p;
        memcpy(&p, &map->data, sizeof p);
        munmap(p, map->size);
    }
    *map = (amg_map){0};
}

amg_status amg_outfile_open(const char *path, unsigned mode, bool exclusive,
                            amg_outfile *out, amg_error *err)
{
    *out = (amg_outfile){0};
    if (exclusive && amg_path_exists(path))
        return amg_fail(err, AMG_EXISTS, -1, path, "exists already, not overwritten");
    size_t n = strlen(path) + sizeof ".tmp-XXXXXX";
    out->path = amg_strdup(path);
    out->temp = amg_calloc(n, 1); /* "": there is no file yet */
    if (!out->path || !out->temp) {
        amg_outfile_abort(out);
        return amg_fail(err, AMG_NO_MEMORY, -1, path, "no memory for its name");
    }
    snprintf(out->temp, n, "%s.tmp-XXXXXX", path);
    int fd = mkostemp(out->temp, O_CLOEXEC); /* O_EXCL, 0600 */
    int error = errno;
    if (fd < 0) {
        out->temp[0] = 0;
    } else if (fchmod(fd, (mode_t)mode) || !(out->stream = fdopen(fd, "wb"))) {
        error = errno;
        close(fd);
    }
    if (!out->stream) {
        amg_outfile_abort(out);
        return amg_fail_errno(err, error, path, "cannot write it");
    }
    return AMG_OK;
}

/* A rename that must not replace: link fails where the name is taken, atomically. */
static int place(const char *temp, const char *path, bool exclusive)
{
    if (!exclusive) return rename(temp, path);
    if (link(temp, path)) return -1;
    return unlink(temp);
}

/* The new name survives a crash only once the folder is on disk too. */
static void sync_parent(const char *path)
{
    char *dir = amg_strdup(path);
    if (!dir) return;
    char *slash = strrchr(dir, '/');
    if (slash) slash[slash == dir] = 0;
    int fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
    amg_free(dir);
}

void amg_outfile_start_sync(const amg_outfile *f)
{
#ifdef SYNC_FILE_RANGE_WRITE
    (void)sync_file_range(fileno(f->stream), 0, 0, SYNC_FILE_RANGE_WRITE);
#else
    (void)f;
#endif
}

amg_status amg_outfile_commit(amg_outfile *f, bool exclusive, amg_error *err)
{
    errno = 0;
    bool bad = fflush(f->stream) || ferror(f->stream) || fsync(fileno(f->stream));
    int error = errno ? errno : EIO;
    if (fclose(f->stream) && !bad) {
        bad = true;
        error = errno;
    }
    f->stream = NULL;
    if (!bad && place(f->temp, f->path, exclusive)) {
        bad = true;
        error = errno;
    }
    amg_status st = AMG_OK;
    if (bad)
        st = amg_fail_errno(err, error, f->path, "cannot write it");
    else
        f->temp[0] = 0, sync_parent(f->path);
    amg_outfile_abort(f);
    return st;
}

void amg_outfile_abort(amg_outfile *f)
{
    if (f->stream) fclose(f->stream);
    if (f->temp && f->temp[0]) unlink(f->temp);
    amg_free(f->temp);
    amg_free(f->path);
    *f = (amg_outfile){0};
}

amg_status amg_file_write(const char *path, unsigned mode, bool exclusive,
                          const void *data, size_t size_bytes, amg_error *err)
{
    amg_outfile f;
    amg_status st = amg_outfile_open(path, mode, exclusive, &f, err);
    if (st) return st;
    fwrite(data, 1, size_bytes, f.stream);
    return amg_outfile_commit(&f, exclusive, err);
}

bool amg_path_exists(const char *path)
{
    struct stat s;
    return lstat(path, &s) == 0;
}

bool amg_path_is_dir(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

char *amg_path_join(const char *dir, const char *name)
{
    size_t n = strlen(dir), total = n + strlen(name) + 2;
    char *path = amg_malloc(total);
    if (path)
        snprintf(path, total, "%s%s%s", dir, n && dir[n - 1] == '/' ? "" : "/", name);
    return path;
}

bool amg_path_resolve_parent(const char *path, char out[PATH_MAX])
{
    char *copy = amg_strdup(path);
    if (!copy) {
        errno = ENOMEM;
        return false;
    }
    size_t n = strlen(copy);
    while (n > 1 && copy[n - 1] == '/') copy[--n] = 0;
    char *slash = strrchr(copy, '/');
    const char *parent = !slash ? "." : slash == copy ? "/" : copy;
    if (slash && slash != copy) *slash = 0;
    bool ok = realpath(parent, out) != NULL;
    amg_free(copy);
    return ok;
}

amg_status amg_path_inside(const char *path, const char *dir, bool *inside,
                           amg_error *err)
{
    char parent[PATH_MAX], folder[PATH_MAX];
    if (!amg_path_resolve_parent(path, parent))
        return amg_fail_errno(err, errno, path, "the folder it should be in");
    if (!realpath(dir, folder))
        return amg_fail_errno(err, errno, dir, "cannot open the folder");
    const size_t n = strlen(folder);
    *inside =
        !strncmp(parent, folder, n) && (parent[n] == 0 || parent[n] == '/' || n == 1);
    return AMG_OK;
}

amg_status amg_dir_make(const char *path, amg_error *err)
{
    if (mkdir(path, 0755))
        return amg_fail_errno(err, errno, path, "cannot make the folder");
    return AMG_OK;
}

/* Walks by descriptor, so that a folder swapped for a link is not followed. */
static void remove_at(int parent, const char *name)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        unlinkat(parent, name, 0);
        return;
    }
    DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return;
    }
    for (struct dirent *e; (e = readdir(dir));)
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..")) remove_at(fd, e->d_name);
    closedir(dir);
    unlinkat(parent, name, AT_REMOVEDIR);
}

void amg_dir_remove(const char *path) { remove_at(AT_FDCWD, path); }

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

amg_status amg_dir_list(const char *path, char ***names, size_t *count, amg_error *err)
{
    DIR *dir = opendir(path);
    if (!dir) return amg_fail_errno(err, errno, path, "cannot list the folder");
    char **list = NULL;
    size_t n = 0, room = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        if (n == room) {
            char **grown =
                amg_realloc(list, (room = room ? 2 * room : 16) * sizeof *list);
            if (!grown) goto no_memory;
            list = grown;
        }
        if (!(list[n] = amg_strdup(e->d_name))) goto no_memory;
        n++;
    }
    closedir(dir);
    if (n) qsort(list, n, sizeof *list, compare_names);
    *names = list;
    *count = n;
    return AMG_OK;

no_memory:
    closedir(dir);
    amg_dir_list_free(list, n);
    return amg_fail(err, AMG_NO_MEMORY, -1, path, "no memory for its list of files");
}

void amg_dir_list_free(char **names, size_t count)
{
    for (size_t i = 0; i < count; i++) amg_free(names[i]);
    amg_free(names);
}

amg_status amg_sha256_hex(const void *data, size_t size_bytes, char hex[65],
                          amg_error *err)
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    /* The machine's openssl.cnf is no business of a hash. */
    if (!OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) ||
        !SHA256(data, size_bytes, digest))
        return amg_fail(err, AMG_NO_MEMORY, -1, "SHA-256", "libcrypto cannot begin");
    for (int i = 0; i < SHA256_DIGEST_LENGTH; i++)
        snprintf(hex + (size_t)2 * i, 3, "%02x", digest[i]);
    return AMG_OK;
}

amg_status amg_file_sha256(const char *path, char hex[65], int64_t *size_bytes,
                           amg_error *err)
{
    amg_map map;
    amg_status st = amg_map_open(path, &map, err);
    if (st) return st;
    st = amg_sha256_hex(map.data, map.size, hex, err);
    *size_bytes = (int64_t)map.size;
    amg_map_close(&map);
    return st;
}
