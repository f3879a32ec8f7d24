/* The files of a job folder: graph, weights, manifest, README. */
#ifndef AMG_OBFUSCATE_JOB_WRITER_H
#define AMG_OBFUSCATE_JOB_WRITER_H

#include "formats/manifest.h"
#include "graph/graph.h"

/* Writes model.onnx, weights.safetensors and README.md into dir, fills m's input, heads
 * and files (the shards that m's splits name included) and writes job.json. g: the
 * scrambled job graph; classes of head i from its shape. */
AMG_MUST_CHECK amg_status amg_job_write(const char *dir, const amg_graph *g,
                                        amg_manifest *m, int64_t *job_bytes,
                                        amg_error *err);

#endif
