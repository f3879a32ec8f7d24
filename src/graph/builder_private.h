/* The inside of a builder, for builder.c and builder_copy.c only. */
#ifndef AMG_GRAPH_BUILDER_PRIVATE_H
#define AMG_GRAPH_BUILDER_PRIVATE_H

#include "graph/builder.h"
#include "graph/name_map.h"

/* Room of the growing arrays; the arrays themselves are in the graph. */
typedef struct {
    int values, nodes, inputs, outputs, buffers;
} amg_builder_room;

struct amg_builder {
    amg_graph *g;
    amg_builder_room room;
    amg_name_map names; /* of values */
    int made_up;        /* names made so far for unnamed outputs */
    amg_status status;
    amg_error error; /* of the first failure */
};

/* No error yet, and not finished. */
static inline bool amg_builder_good(const amg_builder *b)
{
    return b->status == AMG_OK && b->g;
}
/* Keeps "out of memory" as the builder's error. */
void amg_builder_no_memory(amg_builder *b);
/* A copy of s in the graph's arena; NULL after an error. */
char *amg_builder_text(amg_builder *b, const char *s);

#endif
