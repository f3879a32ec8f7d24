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

/* Stands in the 64 bytes before every aligned buffer. */
typedef struct {
    void *base;
    size_t mapped; /* bytes of a mapping; 0: base is malloc's */
} aligned_head;

enum { ALIGN = 64 };
#define HUGE_PAGE ((size_t)2 << 20)

/* Training buffers of hundreds of megabytes fault page by page: huge pages save up to 9
 * % of a step. A mapping is zero without being touched, so that memory nobody uses (the
 * second state of SGD) is never resident. Under AddressSanitizer everything is
 * malloc's, which it can guard. */
static void *map_large(size_t size_bytes)
{
#ifdef __SANITIZE_ADDRESS__
    (void)size_bytes;
    return NULL;
#else
    size_t total;
    if (size_bytes < 2 * HUGE_PAGE || !amg_add_size(size_bytes, HUGE_PAGE, &total))
        return NULL;
    unsigned char *base =
        mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) return NULL;
    /* The next huge page behind base: a page (4 KiB or more) ahead, so the head fits.
     */
    unsigned char *p = base + HUGE_PAGE - (uintptr_t)base % HUGE_PAGE;
    (void)madvise(p, size_bytes, MADV_HUGEPAGE); /* advice only */
    *(aligned_head *)(void *)(p - ALIGN) = (aligned_head){base, total};
    return p;
#endif
}

void *amg_alloc_aligned(size_t size_bytes)
{
    size_t total;
    if (must_fail()) return NULL;
    void *large = map_large(size_bytes);
    if (large) return large;
    if (!amg_add_size(size_bytes, 2 * ALIGN, &total)) return NULL;
    unsigned char *base = aligned_alloc(ALIGN, total & ~(size_t)(ALIGN - 1));
    if (!base) return NULL;
    memset(base, 0, total & ~(size_t)(ALIGN - 1));
    *(aligned_head *)(void *)base = (aligned_head){base, 0};
    return base + ALIGN;
}

void amg_free_aligned(void *p)
{
    if (!p) return;
    const aligned_head *head = (void *)((unsigned char *)p - ALIGN);
    if (head->mapped)
        munmap(head->base, head->mapped);
    else
        free(head->base);
}
