/* A copy of a graph in which some nodes are written anew, private to graph/: what
 * linear.c, lower*.c and drop_mask.c share. Must not look at weights' data, which may
 * be absent. */
#ifndef AMG_GRAPH_REPLACE_H
#define AMG_GRAPH_REPLACE_H

#include "graph/builder.h"

#define AMG_REPLACE_NAME 256

typedef struct {
    const amg_graph *g;
    amg_builder *b;
    int *map; /* per value of g: the builder's */
} amg_replace;

AMG_MUST_CHECK amg_status amg_replace_init(amg_replace *r, const amg_graph *g,
                                           amg_error *err);
void amg_replace_clear(amg_replace *r);
/* All inputs and parameters of g, these by view. live: a flag per value, the parameters
 * to be taken; NULL: all. */
void amg_replace_values(const amg_replace *r, const bool *live);
/* A node as it is. */
AMG_MUST_CHECK amg_status amg_replace_copy(const amg_replace *r, const amg_node *node,
                                           amg_error *err);
/* g's outputs, and the end. */
AMG_MUST_CHECK amg_status amg_replace_finish(const amg_replace *r, amg_graph **out,
                                             amg_error *err);
/* BASE_SUFFIX, with as many '_' behind it as make it free in g. */
void amg_replace_name(const amg_replace *r, const char *base, const char *suffix,
                      char name[AMG_REPLACE_NAME]);

/* *g gives way to next, which was made from it by view and gets its buffers; on failure
 * next is freed. */
AMG_MUST_CHECK amg_status amg_replace_graph(amg_graph **g, amg_graph *next,
                                            amg_error *err);
/* *g gives way to a copy without nodes and parameters that no output needs, if it has
 * such. */
AMG_MUST_CHECK amg_status amg_replace_dead(amg_graph **g, amg_error *err);

#endif
