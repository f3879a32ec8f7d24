/* See name_map.h. FNV-1a, linear probing, at most half full, nothing is ever removed.
 */
#include "graph/name_map.h"

#include <stdint.h>
#include <string.h>

#include "base/alloc.h"

static size_t hash_name(const char *name)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *name; name++) h = (h ^ (unsigned char)*name) * 0x100000001b3u;
    return (size_t)(h ^ h >> 32);
}

/* The slot that holds name or, if it is absent, the free slot where it belongs. */
static struct amg_name_slot *slot_of(struct amg_name_slot *slots, size_t capacity,
                                     const char *name)
{
    size_t i = hash_name(name) & (capacity - 1);
    while (slots[i].name && strcmp(slots[i].name, name) != 0)
        i = (i + 1) & (capacity - 1);
    return &slots[i];
}

static bool grow(amg_name_map *map)
{
    size_t capacity = map->capacity ? map->capacity * 2 : 64;
    struct amg_name_slot *slots = amg_calloc(capacity, sizeof *slots);
    if (!slots) return false;
    for (size_t i = 0; i < map->capacity; i++)
        if (map->slots[i].name)
            *slot_of(slots, capacity, map->slots[i].name) = map->slots[i];
    amg_free(map->slots);
    map->slots = slots;
    map->capacity = capacity;
    return true;
}

void amg_name_map_clear(amg_name_map *map)
{
    amg_free(map->slots);
    *map = (amg_name_map){0};
}

int amg_name_map_find(const amg_name_map *map, const char *name)
{
    if (map->capacity == 0) return -1;
    const struct amg_name_slot *slot = slot_of(map->slots, map->capacity, name);
    return slot->name ? slot->value : -1;
}

bool amg_name_map_add(amg_name_map *map, const char *name, int value)
{
    if (2 * (map->count + 1) > map->capacity && !grow(map)) return false;
    *slot_of(map->slots, map->capacity, name) =
        (struct amg_name_slot){.name = name, .value = value};
    map->count++;
    return true;
}
