/* Arena: many small allocations with one lifetime (a graph's nodes and names). Never
 * for secrets. */
#ifndef AMG_BASE_ARENA_H
#define AMG_BASE_ARENA_H

#include <stddef.h>

typedef struct amg_arena_block amg_arena_block;

/* A zeroed arena is valid and empty. */
typedef struct {
    amg_arena_block *head;
} amg_arena;

/* Zeroed memory, 16-byte aligned, that lives until amg_arena_clear; NULL when out of
 * memory. */
void *amg_arena_alloc(amg_arena *arena, size_t size_bytes);
/* As above for count elements; NULL on overflow too. */
void *amg_arena_array(amg_arena *arena, size_t count, size_t size_bytes);
char *amg_arena_strdup(amg_arena *arena, const char *s);
char *amg_arena_strndup(amg_arena *arena, const char *s, size_t length);
/* Frees everything; the arena is empty and usable again. */
void amg_arena_clear(amg_arena *arena);

#endif
