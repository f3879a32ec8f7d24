/* A set of parameters and buffers of one sub-network in plain row-major f32, in
 * canonical order: what is loaded into plans, stored from them, and written to files.
 */
#ifndef AMG_ENGINE_PARAMS_H
#define AMG_ENGINE_PARAMS_H

#include <stdio.h>

#include "graph/graph.h"

typedef struct {
    const char *name; /* borrowed from the graph */
    amg_param_role role;
    amg_tensor tensor; /* owned f32 */
} amg_param;

typedef struct {
    int count;
    amg_param *items;
} amg_params;

/* Trainables and buffers of sub-network output_index, data copied from the graph (zeros
 * if it has none). */
AMG_MUST_CHECK amg_status amg_params_new(const amg_graph *g, int output_index,
                                         amg_params *out, amg_error *err);
/* Same names and shapes, zeros. */
AMG_MUST_CHECK amg_status amg_params_like(const amg_params *set, amg_params *out,
                                          amg_error *err);
/* Data of a set into another of the same shapes. */
void amg_params_copy(const amg_params *from, amg_params *to);
void amg_params_clear(amg_params *set);
/* -1 if absent. */
int amg_params_find(const amg_params *set, const char *name);

#endif
