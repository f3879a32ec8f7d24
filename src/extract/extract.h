/* The extractor: trained weights of a job + key -> the original, trained. Nothing that
 * comes back is trusted. */
#ifndef AMG_EXTRACT_EXTRACT_H
#define AMG_EXTRACT_EXTRACT_H

#include "key/keyfile.h"
#include "obfuscate/plan.h"

typedef struct {
    const char *key;
    const amg_passphrase *passphrase;
    const char *weights; /* JOB/out/weights.safetensors, or a checkpoint of the job */
    const char *out_onnx;
    const char *out_safetensors; /* may be NULL */
} amg_extract_options;

typedef struct {
    int num_params;      /* initializers of the model as read that got trained data */
    int64_t num_scalars; /* of them, trainable */
    int64_t steps;     /* as the weights' metadata say, not checked; -1: they do not */
    bool key_is_loose; /* others may read the key file */
} amg_extract_result;

struct amg_safetensors;

/* Steps that a weights file says the sub-network with this output was trained for, else
 * all of them; -1: it does not say. */
int64_t amg_extract_steps(const struct amg_safetensors *weights, const char *output);

/* Every parameter in the file must be finite and those of the original must have their
 * shape and dtype; rows of classes and tokens are put back. AMG_MISMATCH: the weights
 * say that they are another job's. The model is the one that was read, under its own
 * names. Both outputs are written beside and renamed after everything was checked;
 * neither exists on failure. */
AMG_MUST_CHECK amg_status amg_extract(const amg_extract_options *options,
                                      amg_extract_result *result, amg_error *err);

/* The same in memory: the original graph as read with weights taken from the open file.
 */
AMG_MUST_CHECK amg_status amg_extract_graph(const amg_secret *secret,
                                            const amg_key_payload *payload,
                                            const struct amg_safetensors *weights,
                                            amg_graph **out, amg_error *err);
#endif
