/* All memory of the library comes through here, so that a test can fail the n-th
 * request. */
#ifndef AMG_BASE_ALLOC_H
#define AMG_BASE_ALLOC_H

#include <stddef.h>
#include <stdint.h>

/* malloc/calloc/realloc/free with the library's hook. Sizes in bytes; NULL on failure.
 * A size of 0 yields a pointer that may be freed. amg_free(NULL) is legal. Thread-safe.
 */
void *amg_malloc(size_t size_bytes);
void *amg_calloc(size_t count, size_t size_bytes); /* overflow-checked */
void *amg_realloc(void *p, size_t size_bytes);
void amg_free(void *p);
char *amg_strdup(const char *s);

/* Buffer of size_bytes, zeroed, 64-byte aligned; from 4 MiB on a mapping of its own, 2
 * MiB aligned and advised to huge pages (not under AddressSanitizer). Freed with
 * amg_free_aligned. */
void *amg_alloc_aligned(size_t size_bytes);
void amg_free_aligned(void *p);

/* Test hook: the request that brings *countdown to 0 fails, once. NULL turns the hook
 * off. The counter is decremented atomically. */
void amg_alloc_fail_after(long *countdown);

#endif
