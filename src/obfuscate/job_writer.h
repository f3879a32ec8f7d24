/* The files of a job folder: graph, weights, manifest, and emit's texts. */
#ifndef AMG_OBFUSCATE_JOB_WRITER_H
#define AMG_OBFUSCATE_JOB_WRITER_H

#include "formats/manifest.h"
#include "graph/graph.h"

/* Writes model.onnx, weights.safetensors and amg_emit_job's files into dir, fills m's
 * input, heads and files (the shards that m's splits name included) and writes
 * job.json. g: the scrambled job graph; classes of head i from its shape. target_names:
 * in tasks without targets the value that each head is trained for. pad: a language
 * model's heads ignore it as a target; NULL: none. m's task and target are set already.
 */
AMG_MUST_CHECK amg_status amg_job_write(const char *dir, const amg_graph *g,
                                        const char *const *target_names,
                                        const int64_t *pad, amg_manifest *m,
                                        int64_t *job_bytes, amg_error *err);

#endif
