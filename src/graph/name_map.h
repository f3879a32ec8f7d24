/* Names to numbers: an open-addressing hash map for graphs of thousands of values.
 * Keys are borrowed and must outlive the map. */
#ifndef AMG_GRAPH_NAME_MAP_H
#define AMG_GRAPH_NAME_MAP_H

#include <stdbool.h>
#include <stddef.h>

/* A zeroed map is valid and empty. */
typedef struct {
    struct amg_name_slot {
        const char *name; /* NULL: free */
        int value;
    } * slots;
    size_t capacity, count; /* capacity is 0 or a power of two */
} amg_name_map;

void amg_name_map_clear(amg_name_map *map);
/* The number stored for name, -1 if absent. */
int amg_name_map_find(const amg_name_map *map, const char *name);
/* Stores name, which must not be in the map yet; false when out of memory. */
bool amg_name_map_add(amg_name_map *map, const char *name, int value);

#endif
