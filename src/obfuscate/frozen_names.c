/* See frozen_names.h. Which parameters are frozen is for the cloud to know, or it could
 * not leave them alone; that it tells no slot from another is why decoys follow. */
#include "obfuscate/frozen_names.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

static bool is_frozen(const amg_frozen *own, const char *name)
{
    const char *const *names = (const char *const *)own->names;
    char base[1024];
    const size_t length = strlen(name);
    if (amg_frozen_has(names, own->count, name)) return true;
    for (size_t n = length < sizeof base ? length : 0; n-- > 1;) {
        if (name[n] != '~') continue;
        memcpy(base, name, n);
        base[n] = 0;
        if (amg_frozen_has(names, own->count, base)) return true;
    }
    return false;
}

amg_status amg_frozen_names_add(const amg_frozen *own, const amg_job_names *names,
                                amg_manifest *m, amg_error *err)
{
    if (own->count == 0) return AMG_OK;
    const size_t most = (size_t)m->num_frozen + (size_t)names->count;
    const char **list = amg_arena_array(&m->arena, most, sizeof *list);
    if (!list) return amg_fail(err, AMG_NO_MEMORY, -1, "job.json", "no memory");
    for (int i = 0; i < m->num_frozen; i++) list[i] = m->frozen[i];
    m->frozen = list;
    for (int i = 0; i < names->count; i++) {
        if (!is_frozen(own, names->own[i])) continue;
        list[m->num_frozen] = amg_arena_strdup(&m->arena, names->job[i]);
        if (!list[m->num_frozen])
            return amg_fail(err, AMG_NO_MEMORY, -1, "job.json", "no memory");
        m->num_frozen++;
    }
    return AMG_OK;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void amg_frozen_names_sort(amg_manifest *m)
{
    if (m->num_frozen)
        qsort(m->frozen, (size_t)m->num_frozen, sizeof *m->frozen, by_bytes);
}
