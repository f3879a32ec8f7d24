/* Emit: a job graph as PyTorch text, and the texts that explain a job. Consumes the
 * scrambled graph and its manifest; everything it writes goes to the cloud. It must not
 * know the key, or which head is whose. */
#ifndef AMG_EMIT_EMIT_H
#define AMG_EMIT_EMIT_H

#include "formats/manifest.h"
#include "graph/graph.h"

/* Writes DIR/model.py and DIR/constants.safetensors: one class NetI for output I of g
 * (no node shared between outputs), a straight-line forward in the canonical order, and
 * the class Model over them. docs/job.md has the module's contract.
 *
 * Parameters and running statistics keep their names in g and are left uninitialised;
 * constants that are more than a number become buffers c000, c001 … in
 * constants.safetensors. targets: per output, the name of the value that the network
 * has to reproduce (NULL: none); NULL: none at all. fixed: per value of g, whether it
 * is running statistics that normalise in training, too; NULL: none. rows: the outputs
 * are rows of several ones (graph/merged_outputs.h), whose gradients do not depend on
 * that.
 *
 * AMG_UNSUPPORTED names a node that has no PyTorch form here; AMG_INVALID a value whose
 * name Python cannot have (no identifier, a keyword, a name of the module's own). Same
 * graph, same bytes. */
AMG_MUST_CHECK amg_status amg_emit_model(const char *dir, const amg_graph *g,
                                         const char *const *targets, const bool *fixed,
                                         bool rows, amg_error *err);

/* Writes all that a job needs beside model.onnx, weights.safetensors and its data:
 * amg_emit_model's files, train.py, README.md, requirements.txt and examples/. m: heads
 * filled (their targets are read), files not looked at. */
AMG_MUST_CHECK amg_status amg_emit_job(const char *dir, const amg_graph *g,
                                       const amg_manifest *m, amg_error *err);

/* File i that amg_emit_job writes, relative to the job folder with '/'; NULL past the
 * last. Sorted bytewise. */
const char *amg_emit_job_file(size_t i);

#endif
