/* The static memory plan: every workspace buffer gets an offset such that two buffers
 * overlap in memory only if their lifetimes (first to last step) do not. Persistent
 * buffers lie one after the other in memory of the plan's own. */
#include <stdlib.h>

#include "base/alloc.h"
#include "engine/kernel.h"

#define ALIGN 64

static size_t align_up(size_t n) { return (n + ALIGN - 1) / ALIGN * ALIGN; }

void *amg_plan_ptr(const amg_plan *p, int buffer)
{
    const amg_buffer *b = &p->buffers[buffer];
    return (b->persistent ? p->persistent : p->workspace) + b->offset;
}

typedef struct {
    size_t bytes;
    int id;
} ranked;

/* Largest first, then by id: a total order, so that the plan is deterministic. */
static int by_size(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return x->id - y->id;
}

/* The lowest offset at which buffer b fits between the placed buffers that live at the
 * same time; placed is sorted by offset. */
static size_t find_offset(const amg_plan *p, const amg_buffer *b, const int *placed,
                          int num_placed)
{
    size_t offset = 0;
    for (int i = 0; i < num_placed; i++) {
        const amg_buffer *other = &p->buffers[placed[i]];
        if (other->last < b->first || b->last < other->first) continue;
        if (other->offset >= offset + b->bytes) break;
        size_t end = align_up(other->offset + other->bytes);
        if (end > offset) offset = end;
    }
    return offset;
}

static void insert_by_offset(const amg_plan *p, int *placed, int num_placed, int id)
{
    int at = num_placed;
    while (at > 0 && p->buffers[placed[at - 1]].offset > p->buffers[id].offset) {
        placed[at] = placed[at - 1];
        at--;
    }
    placed[at] = id;
}

static void place_workspace(amg_plan *p)
{
    size_t n = (size_t)p->num_buffers;
    ranked *rank = amg_plan_alloc(p, n + 1, sizeof *rank);
    int *placed = amg_plan_alloc(p, n + 1, sizeof *placed);
    int num_placed = 0, count = 0;
    if (p->status) return;
    for (int i = 0; i < p->num_buffers; i++)
        if (!p->buffers[i].persistent && p->buffers[i].first >= 0)
            rank[count++] = (ranked){p->buffers[i].bytes, i};
    qsort(rank, (size_t)count, sizeof *rank, by_size);
    for (int i = 0; i < count; i++) {
        amg_buffer *b = &p->buffers[rank[i].id];
        b->offset = find_offset(p, b, placed, num_placed);
        insert_by_offset(p, placed, num_placed++, rank[i].id);
        size_t end = align_up(b->offset + b->bytes);
        if (end > p->workspace_bytes) p->workspace_bytes = end;
    }
}

/* Optimizer states: all first ones, then all second ones. */
static void place_states(amg_plan *p)
{
    const size_t num_states = (size_t)p->options.num_states;
    size_t total = 0;
    for (int i = 0; i < p->num_slots; i++)
        total += align_up(p->buffers[p->values[p->slot_values[i]].buffer].bytes);
    if (total == 0 || num_states == 0) return;
    p->states = amg_alloc_aligned(num_states * total);
    if (!p->states) {
        amg_plan_fail(p, -1, AMG_NO_MEMORY,
                      "no memory for optimizer states of %zu bytes",
                      num_states * total);
        return;
    }
    size_t offset = 0;
    for (int i = 0; i < p->num_slots; i++) {
        for (size_t s = 0; s < num_states; s++) {
            uint8_t *at = p->states + s * total + offset;
            p->slots[i].state[s] = (float *)(void *)at;
        }
        offset += align_up(p->buffers[p->values[p->slot_values[i]].buffer].bytes);
    }
}

void amg_plan_place(amg_plan *p)
{
    place_workspace(p);
    for (int i = 0; i < p->num_buffers; i++) {
        if (!p->buffers[i].persistent) continue;
        p->buffers[i].offset = p->persistent_bytes;
        p->persistent_bytes += align_up(p->buffers[i].bytes);
    }
    if (p->status) return;
    p->persistent = amg_alloc_aligned(p->persistent_bytes);
    if (!p->persistent)
        amg_plan_fail(p, -1, AMG_NO_MEMORY, "no memory for parameters of %zu bytes",
                      p->persistent_bytes);
    else
        place_states(p);
}
