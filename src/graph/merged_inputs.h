/* Several data inputs as one. A network of an image and a row of numbers reads a single
 * vector a sample, the inputs flattened one behind the other, and takes it apart with
 * its first nodes:
 *
 *     amalgam.inputs [N, sum] -- Split --> part -- Reshape [0, dims…] (-- Cast) -->
 * input
 *
 * So what knows one input, which is all of Amalgam, knows several. The importer makes
 * this form; files for people are written with the inputs that they had. */
#ifndef AMG_GRAPH_MERGED_INPUTS_H
#define AMG_GRAPH_MERGED_INPUTS_H

#include "graph/builder.h"

#define AMG_MAX_MERGED 16

typedef struct {
    const char *name;
    amg_dtype dtype; /* F32; I32 or I64 up to 2^24, which F32 holds exactly; BOOL */
    int rank;
    int64_t dims[AMG_MAX_RANK]; /* dims[0]: AMG_DIM_BATCH */
    int value;                  /* out: the builder's */
} amg_merged_input;

/* Adds the one input and what takes it apart; count 2 to AMG_MAX_MERGED.
 * AMG_UNSUPPORTED: a type that floats do not hold. */
AMG_MUST_CHECK amg_status amg_merged_inputs_add(amg_builder *b,
                                                amg_merged_input *inputs, int count,
                                                amg_error *err);

/* The graph with its own inputs again; *out NULL: g has them. Data by view: g must
 * outlive it. */
AMG_MUST_CHECK amg_status amg_graph_with_own_inputs(const amg_graph *g, amg_graph **out,
                                                    amg_error *err);

#endif
