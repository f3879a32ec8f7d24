/* Several outputs as one. A network that gives a class and a box ends in a single row a
 * sample, its outputs flattened one behind the other:
 *
 *     output -- Reshape [0, -1] --.
 *     output -- Reshape [0, -1] --+-- Concat --> amalgam.outputs [N, sum]
 *
 * So what knows one output, which is all of Amalgam, knows several; the loss takes the
 * row apart again (AMG_LOSS_SUM). amg_graph_read_model makes this form; files for
 * people are written with the outputs that they had. */
#ifndef AMG_GRAPH_MERGED_OUTPUTS_H
#define AMG_GRAPH_MERGED_OUTPUTS_H

#include "formats/manifest.h"
#include "graph/merged_inputs.h"

/* Adds the one output; values: the builder's, count 2 to AMG_MAX_MERGED.
 * AMG_UNSUPPORTED names an output that is not F32 or whose first dim is not the batch,
 * as far as shapes are known. */
AMG_MUST_CHECK amg_status amg_merged_outputs_add(amg_builder *b, const int *values,
                                                 int count, amg_error *err);

/* Values of g that its one output consists of, in their order; returns how many, 0: it
 * is no merged one. */
int amg_merged_outputs_find(const amg_graph *g, int values[AMG_MAX_MERGED]);

/* Several outputs are the task multi_task, and no other has several. *by_data: the task
 * is not given; it becomes false where the outputs say it. AMG_INVALID: task and
 * outputs do not go together. */
AMG_MUST_CHECK amg_status amg_merged_outputs_task(const amg_graph *g, bool *by_data,
                                                  amg_task *task, amg_error *err);

/* What each of the outputs is trained for: g is planned for AMG_DIM_BATCH, terms are
 * amg_loss_terms_parse's. AMG_INVALID: NULL, or not one for each (lists the outputs);
 * AMG_UNSUPPORTED names an output that is not F32 [batch, dims…]. */
AMG_MUST_CHECK amg_status amg_merged_outputs_parts(const amg_graph *g,
                                                   const char *terms,
                                                   amg_loss_part parts[AMG_MAX_PARTS],
                                                   int *count, amg_error *err);

/* The graph with its own inputs and outputs again; *out NULL: g has them. Data by view:
 * g must outlive it. */
AMG_MUST_CHECK amg_status amg_graph_as_given(const amg_graph *g, amg_graph **out,
                                             amg_error *err);

#endif
