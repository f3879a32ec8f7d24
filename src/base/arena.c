/* Arena: a list of blocks, each twice the last, handed out front to back. */
#include "base/arena.h"

#include <stdint.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"

struct amg_arena_block {
    amg_arena_block *next;
    size_t size, used;
    _Alignas(16) unsigned char data[];
};

void *amg_arena_alloc(amg_arena *arena, size_t size_bytes)
{
    size_t size;
    if (!amg_add_size(size_bytes ? size_bytes : 1, 15, &size)) return NULL;
    size &= ~(size_t)15;
    amg_arena_block *b = arena->head;
    if (!b || b->size - b->used < size) {
        size_t want = b ? 2 * b->size : 1024, total;
        if (want > ((size_t)1 << 20)) want = (size_t)1 << 20;
        if (want < size) want = size;
        if (!amg_add_size(want, sizeof *b, &total)) return NULL;
        amg_arena_block *fresh = amg_calloc(1, total);
        if (!fresh) return NULL;
        fresh->next = b;
        fresh->size = want;
        arena->head = b = fresh;
    }
    void *p = b->data + b->used;
    b->used += size;
    return p;
}

void *amg_arena_array(amg_arena *arena, size_t count, size_t size_bytes)
{
    size_t total;
    if (!amg_mul_size(count, size_bytes, &total)) return NULL;
    return amg_arena_alloc(arena, total);
}

char *amg_arena_strndup(amg_arena *arena, const char *s, size_t length)
{
    size_t total;
    if (!amg_add_size(length, 1, &total)) return NULL;
    char *copy = amg_arena_alloc(arena, total);
    if (copy) memcpy(copy, s, length);
    return copy;
}

char *amg_arena_strdup(amg_arena *arena, const char *s)
{
    return amg_arena_strndup(arena, s, strlen(s));
}

void amg_arena_clear(amg_arena *arena)
{
    for (amg_arena_block *b = arena->head, *next; b; b = next) {
        next = b->next;
        amg_free(b);
    }
    arena->head = NULL;
}
