/* External data paths: opens a file beneath a folder and nowhere else. Consumes a
 * folder and a hostile relative name, produces an open descriptor of a plain file;
 * knows nothing of tensors.
 *
 * The known holes of other readers, each with a test: "..", absolute paths, a symbolic
 * link as the file or as a folder on the way, hard links to files outside, an empty
 * folder name that turns "" + "/" + name into an absolute path, devices and FIFOs. */
#include "formats/onnx_external.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"

/* A FIFO must not hang us, a terminal must not become ours. */
#define OPEN_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
#define FOLDER_FLAGS (O_PATH | O_DIRECTORY | O_CLOEXEC)

static amg_status unsafe(amg_error *err, const char *location, const char *why)
{
    amg_status st =
        amg_fail(err, AMG_UNSAFE_PATH, -1, location, "external data: %s", why);
    amg_hint(err, "external data must be plain files beneath the model's own folder");
    return st;
}

/* The rules that need no file system. */
static amg_status check_text(const char *base_dir, const char *location, amg_error *err)
{
    if (!base_dir[0]) return unsafe(err, location, "the model's folder is empty");
    if (!location[0]) return unsafe(err, location, "the location is empty");
    if (location[0] == '/') return unsafe(err, location, "the location is absolute");
    for (const char *p = location;;) {
        size_t n = strcspn(p, "/");
        if (!n) return unsafe(err, location, "the location has an empty component");
        if (n == 2 && !memcmp(p, "..", 2))
            return unsafe(err, location, "the location has a \"..\" component");
        if (!p[n]) return AMG_OK;
        p += n + 1;
    }
}

/* Text of an errno that one of the two walks met. */
static amg_status fail_open(amg_error *err, const char *location, int error)
{
    if (error == ELOOP) return unsafe(err, location, "the path has a symbolic link");
    if (error == EXDEV) return unsafe(err, location, "the path leaves the folder");
    return amg_fail_errno(err, error, location, "external data cannot be opened");
}

/* Descriptor, or -1 with errno. */
static int open_by_kernel(int base, const char *location)
{
    struct open_how how = {.flags = OPEN_FLAGS,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
                                      RESOLVE_NO_MAGICLINKS};
    long fd = syscall(SYS_openat2, base, location, &how, sizeof how);
    return (int)fd;
}

/* O_DIRECTORY reports a symbolic link as "not a folder"; say which it was. */
static int link_or(int dir, const char *component, int error)
{
    struct stat s;
    if (error == ENOTDIR && !fstatat(dir, component, &s, AT_SYMLINK_NOFOLLOW) &&
        S_ISLNK(s.st_mode))
        return ELOOP;
    return error;
}

/* Walks path (cut up in place) one component at a time; each step starts from the
 * descriptor of the folder before it, so nothing can be swapped behind our back. */
static int open_by_hand(int base, char *path)
{
    int dir = base, fd = -1, error = 0;
    for (char *p = path;;) {
        char *slash = strchr(p, '/');
        if (slash) *slash = 0;
        fd = openat(dir, p, (slash ? FOLDER_FLAGS : OPEN_FLAGS) | O_NOFOLLOW);
        if (fd < 0) error = link_or(dir, p, errno);
        if (dir != base) close(dir);
        if (fd < 0 || !slash) break;
        dir = fd;
        p = slash + 1;
    }
    errno = error;
    return fd;
}

/* Kernels before 5.6 lack openat2; some sandboxes refuse what they do not know. */
static bool lacks_openat2(int error)
{
    return error == ENOSYS || error == EPERM || error == EINVAL || error == E2BIG;
}

static amg_status check_plain(int fd, const char *location, amg_error *err)
{
    struct stat s;
    if (fstat(fd, &s))
        return amg_fail_errno(err, errno, location, "external data cannot be checked");
    if (!S_ISREG(s.st_mode)) return unsafe(err, location, "it is not a regular file");
    if (s.st_nlink != 1)
        return unsafe(err, location, "the file has more than one hard link");
    return AMG_OK;
}

amg_status amg_open_beneath(const char *base_dir, const char *location, amg_beneath how,
                            int *fd, amg_error *err)
{
    amg_status st = check_text(base_dir, location, err);
    if (st) return st;
    char *copy = amg_strdup(location);
    if (!copy) return amg_fail(err, AMG_NO_MEMORY, -1, location, "no memory for it");
    int file = -1, error = 0;
    int base = open(base_dir, FOLDER_FLAGS);
    if (base < 0) {
        st = amg_fail_errno(err, errno, base_dir, "cannot open the model's folder");
        goto done;
    }
    if (how != AMG_BENEATH_BY_HAND) {
        file = open_by_kernel(base, location);
        error = file < 0 ? errno : 0;
    }
    if (how == AMG_BENEATH_BY_HAND ||
        (how == AMG_BENEATH_AUTO && lacks_openat2(error))) {
        file = open_by_hand(base, copy);
        error = file < 0 ? errno : 0;
    } else if (lacks_openat2(error)) {
        st = amg_fail(err, AMG_UNSUPPORTED, -1, location, "the kernel lacks openat2");
        goto done;
    }
    st = error ? fail_open(err, location, error) : check_plain(file, location, err);
    if (st) goto done;
    *fd = file;
    file = -1;
done:
    if (file >= 0) close(file);
    if (base >= 0) close(base);
    amg_free(copy);
    return st;
}

char *amg_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = amg_strdup(slash ? path : ".");
    if (!dir || !slash) return dir;
    size_t n = (size_t)(slash - path);
    dir[n ? n : 1] = 0; /* "/model.onnx" lies in "/" */
    return dir;
}
