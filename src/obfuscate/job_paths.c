/* Names of jobs and keys. Consumes paths, knows nothing of what lies there. */
#include "obfuscate/job_paths.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

static const char *last_part(const char *path, size_t *length)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    const char *p = path + n;
    while (p > path && p[-1] != '/') p--;
    *length = (size_t)(path + n - p);
    return p;
}

static amg_status key_in_job(const char *key, amg_error *err)
{
    amg_fail(err, AMG_UNSAFE_PATH, -1, key, "the key must not lie in the job folder");
    amg_hint(err, "the job goes to the cloud, the key never does");
    return AMG_UNSAFE_PATH;
}

amg_status amg_job_paths_check(const char *key, const char *out, amg_error *err)
{
    char key_dir[PATH_MAX], out_dir[PATH_MAX];
    size_t length;
    if (amg_path_exists(key)) {
        amg_fail(err, AMG_EXISTS, -1, key,
                 "exists already; a key is never overwritten");
        amg_hint(err,
                 "choose another --key, or move the old one away if its job is done");
        return AMG_EXISTS;
    }
    if (amg_path_exists(out)) {
        amg_fail(err, AMG_EXISTS, -1, out,
                 "exists already; a job is never overwritten");
        amg_hint(err, "choose another -o, or remove the old job");
        return AMG_EXISTS;
    }
    if (!amg_path_resolve_parent(out, out_dir))
        return amg_fail_errno(err, errno, out, "the folder it should be in");
    const char *name = last_part(out, &length);
    /* The key's parent may be the job itself, which does not exist yet: compare names,
     * too. */
    char job[PATH_MAX + 256], key_parent[PATH_MAX];
    snprintf(job, sizeof job, "%s/%.*s", strcmp(out_dir, "/") ? out_dir : "",
             (int)length, name);
    if (!amg_path_resolve_parent(key, key_dir)) {
        const int error = errno;
        size_t key_length;
        const char *key_name = last_part(key, &key_length);
        snprintf(key_parent, sizeof key_parent, "%.*s", (int)(key_name - key), key);
        char parent_of_parent[PATH_MAX];
        size_t n;
        const char *last = last_part(key_parent, &n);
        if (amg_path_resolve_parent(key_parent, parent_of_parent) &&
            !strcmp(parent_of_parent, out_dir) && n == length &&
            !strncmp(last, name, n))
            return key_in_job(key, err);
        return amg_fail_errno(err, error, key, "the folder it should be in");
    }
    size_t n = strlen(job), key_length;
    const char *key_name = last_part(key, &key_length);
    if (!strncmp(key_dir, job, n) && (!key_dir[n] || key_dir[n] == '/'))
        return key_in_job(key, err);
    if (!strcmp(key_dir, out_dir) && key_length == length &&
        !strncmp(key_name, name, length))
        return amg_fail(err, AMG_INVALID, -1, key, "is both the key and the job");
    /* Now, not after hours of work; the job's folder shows with its first file. */
    if (access(key_dir, W_OK))
        return amg_fail_errno(err, errno, key, "cannot write into its folder");
    return AMG_OK;
}

amg_status amg_job_temp_make(const char *out, char temp[PATH_MAX], amg_error *err)
{
    size_t length;
    const char *name = last_part(out, &length);
    const int n = snprintf(temp, PATH_MAX, "%.*s%.*s.tmp-XXXXXX", (int)(name - out),
                           out, (int)length, name);
    if (n < 0 || n >= PATH_MAX || !mkdtemp(temp)) {
        const int error = errno;
        temp[0] = 0;
        return amg_fail_errno(err, error, out, "cannot make the folder");
    }
    if (chmod(temp, 0755)) return amg_fail_errno(err, errno, temp, "cannot open it up");
    return AMG_OK;
}

amg_status amg_job_temp_publish(char temp[PATH_MAX], const char *out, amg_error *err)
{
    /* rename alone would replace an empty folder made meanwhile. */
    errno = EEXIST;
    if (amg_path_exists(out) || rename(temp, out))
        return amg_fail_errno(err, errno, out, "cannot put the job there");
    temp[0] = 0;
    return AMG_OK;
}
