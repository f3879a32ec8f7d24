/* ONNX file <-> graph. Opsets 9 to the newest in; opset 17
 * (or what a younger operator needs), IR 8 out. */
#ifndef AMG_GRAPH_ONNX_GRAPH_H
#define AMG_GRAPH_ONNX_GRAPH_H

#include "graph/graph.h"

/* Reads PATH. The first dim of a data input, symbolic or fixed, becomes AMG_DIM_BATCH;
 * several data inputs become one (merged_inputs.h); Constant nodes become initializers.
 * Errors name node and operator. The graph owns copies of all weights. */
AMG_MUST_CHECK amg_status amg_graph_read_onnx(const char *path, amg_graph **out,
                                              amg_error *err);
AMG_MUST_CHECK amg_status amg_graph_parse_onnx(const void *data, size_t size_bytes,
                                               const char *name, amg_graph **out,
                                               amg_error *err);

/* Reads an owner's model: as above, and several outputs become one (merged_outputs.h).
 * A job's, one for each sub-network, stay several. */
AMG_MUST_CHECK amg_status amg_graph_read_model(const char *path, amg_graph **out,
                                               amg_error *err);

/* Reads PATH with every dim as the file has it, the first ones too: any number of data
 * inputs, of any rank, and tensors of any type. For single operators, as ONNX's own
 * tests have them; a graph without a batch is no use for training. */
AMG_MUST_CHECK amg_status amg_graph_read_onnx_as_is(const char *path, amg_graph **out,
                                                    amg_error *err);

/* Writes g, several inputs and outputs as they were read, with canonical metadata: no
 * producer, version, date or path; nodes in g's order, initializers in
 * value order. Batch-norm and dropout in inference form (training_mode absent). */
AMG_MUST_CHECK amg_status amg_graph_write_onnx(const char *path, const amg_graph *g,
                                               amg_error *err);
/* Whose data are written; a tensor without keeps name, dtype and dims (a form of ours
 * for the key file: data_location EXTERNAL with no external_data). */
typedef enum {
    AMG_PACK_WHOLE,   /* all; none may be absent */
    AMG_PACK_BARE,    /* constants' */
    AMG_PACK_STRIPPED /* those that are there: of amg_origin_strip's graph */
} amg_pack_form;

/* Into an owned buffer (amg_free). */
AMG_MUST_CHECK amg_status amg_graph_pack_onnx(const amg_graph *g, amg_pack_form form,
                                              uint8_t **data, size_t *size_bytes,
                                              amg_error *err);

#endif
