/* The files of a job folder: graph, weights, manifest, and emit's texts. */
#ifndef AMG_OBFUSCATE_JOB_WRITER_H
#define AMG_OBFUSCATE_JOB_WRITER_H

#include "formats/manifest.h"
#include "graph/graph.h"

/* What the heads are trained for. By head: target_names, in tasks without targets the
 * values of the graph; class_weights, each NULL or with one for each class. */
typedef struct {
    amg_loss_kind loss;
    float delta;                     /* of losses that have one */
    const char *const *target_names; /* NULL: the task has targets */
    float *const *class_weights;     /* NULL: none */
    int num_parts;                   /* of AMG_LOSS_SUM, the same for all heads */
    const amg_loss_part *parts;
    const int64_t *pad; /* a language model's heads ignore it as a target; NULL: none */
} amg_job_objective;

/* Writes model.onnx, weights.safetensors and amg_emit_job's files into dir, fills m's
 * input, heads and files (the shards that m's splits name included) and writes
 * job.json. g: the scrambled job graph; classes of head i from its shape. m's task and
 * target are set already. */
AMG_MUST_CHECK amg_status amg_job_write(const char *dir, const amg_graph *g,
                                        const amg_job_objective *objective,
                                        amg_manifest *m, int64_t *job_bytes,
                                        amg_error *err);

#endif
