/* The library's public interface: the owner's whole cycle, and the native trainer, for
 * other languages. JSON text in, JSON text out; data come through DATA specs or a
 * function of the caller's; failures are an amg_error of the caller's. libamalgam
 * exports the functions below and nothing else. It never prints, exits, reads the
 * environment or executes what it reads.
 *
 * Options are one JSON object (UTF-8). An option that is not known, stands twice or has
 * the wrong type or range is AMG_INVALID or AMG_MALFORMED, named in the error; one that
 * is left out has the default that the programs give it. Text that a function returns
 * is NUL-terminated and freed with amalgam_free.
 *
 * One call at a time: the number of threads is the library's, not the call's. */
#ifndef AMALGAM_AMALGAM_H
#define AMALGAM_AMALGAM_H

#include <stddef.h>

#include "amalgam/progress.h"
#include "amalgam/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define AMALGAM_MAX_RANK 8

/* "0.1.0". */
AMG_API const char *amalgam_version(void);
/* Frees what a function below returned. NULL is legal. */
AMG_API void amalgam_free(void *p);
/* Name ("TRUNCATED") and one-line meaning of a status; never NULL. */
AMG_API const char *amalgam_status_name(amg_status code);
AMG_API const char *amalgam_status_text(amg_status code);

/* A dense row-major tensor, little-endian. dtype: "F32", "U8", "I32", "I64". */
typedef struct {
    const char *dtype;
    int rank;
    int64_t dims[AMALGAM_MAX_RANK];
    void *data;
    size_t size_bytes;
} amalgam_tensor;

/* A data set that lies in no file: a function gives rows by number.
 * dtype "U8", "F32" or "I32", dims of one sample (1 to 6 of them). target_dtype "I32":
 * class labels 0 .. num_classes-1, one (target_rank 0) or a map of them; "F32": numbers
 * to predict; NULL: none. num_classes 0: not known, labels are checked against the
 * model. vocab_size: I32 samples are tokens below it, filled up with pad (-1: never);
 * 0: they are not, or it is not known. stride: row i + 1 is the window of a text that
 * begins so many tokens behind row i; 0: it is not. source names the set in errors; two
 * sets of one name are the same rows. */
typedef struct {
    const char *source;
    const char *dtype;
    int rank;
    int64_t dims[AMALGAM_MAX_RANK];
    int64_t num_samples;
    int64_t num_classes;
    const char *target_dtype;
    int target_rank;
    int64_t target_dims[AMALGAM_MAX_RANK];
    int64_t vocab_size, pad, stride;
    void *context;
    /* Rows rows[0 .. num-1], one after the other, into x and y; either may be NULL.
     * On failure it fills *err and returns err->code; AMG_INTERRUPTED stops the work.
     * Never called from two threads at once, not always from the calling thread. */
    amg_status (*read)(void *context, const int64_t *rows, int64_t num, void *x,
                       void *y, amg_error *err);
} amalgam_dataset;

/* DATA: the text that the programs take (docs/datasets.md), or a set of functions; both
 * NULL: none. */
typedef struct {
    const char *spec;
    const amalgam_dataset *dataset;
} amalgam_data;

/* covers fill the decoys' streams; NULL members only in paper mode. val_covers without:
 * val's covers come from covers. */
typedef struct {
    amalgam_data train, val, covers, val_covers;
} amalgam_datasets;

/* Makes a job folder and its key, or neither: whatever fails, and when progress asks to
 * stop (AMG_INTERRUPTED), nothing stays behind.
 * options: "model" (ONNX), "out", "key" required; "task" "classification" |
 *   "classify" | "regression" | "reconstruction" | "language_model" | "lm" |
 *   "multi_label" | "multi_task" (told from the model and the targets); "loss" "mse" |
 *   "l1" | "huber:DELTA" | "smooth_l1:BETA" (of numbers), for a model of several
 * outputs "WEIGHT*LOSS+WEIGHT*LOSS" (docs/training.md); "class_weights" "balanced" or
 * numbers between commas; "decoys" 1..63; "pair_classes" (each cover is of the class of
 * the sample that it stands beside); "decoy_arch" "auto" | "walk" | "same";
 * "decoy_start" "auto" | "drawn" | "same"; "walk_steps"; "keep_classes"; "keep_tokens";
 * "symmetry"; "rotate" (implies it: rotated values); "freeze" (patterns of weights that
 * do not train, between commas: *, ? and [...], a backslash before what is meant as it
 * is); "freeze_norm_stats"; "seq" and "stride", how token sets are cut (as many tokens
 * as the model takes; "seq"); "mean" and "std", arrays of a number per channel (bytes
 * are scaled to 0..1 first); "noise" "uniform" | "gaussian" | "laplace" | "values" with
 * "noise_values" (a file) | "unigram" | "bigram", "amount", "model_amount": paper mode;
 * "shard_bytes"; "note", text that is sealed in the key; "seed_hex" (for tests).
 * passphrase: of the key, NULL: none; copied into locked memory and wiped. progress may
 * be NULL. *result:
 * {"task", "decoys", "train_samples", "val_samples", "sample", "job_sample",
 * "compute_factor", "upload_factor", "own_parameters", "job_parameters",
 * "classes_permuted", "tokens_permuted", "tokens_kept" (why they are not, or null),
 * "same_arch", "textbook" (the catalogue's name of the model, or null), "unknown_init"
 * (parameters that follow no known law), "frozen" (how many do not train),
 * "same_start", "block" (height and width of what values are mixed within, or null),
 * "patches" (whether such blocks change places, too), "patches_kept" (why they do not,
 * or null), "rotated" (values are rotated), "passed_over", "job_bytes", "seconds"}. */
AMG_API AMG_MUST_CHECK amg_status amalgam_obfuscate(const char *options,
                                                    const char *passphrase,
                                                    const amalgam_datasets *data,
                                                    const amg_progress *progress,
                                                    char **result, amg_error *err);

/* One owner of a packed job. options: as those of amalgam_obfuscate, "model" and "key"
 * required; "task", "loss", "class_weights", "keep_classes", "keep_tokens", "symmetry",
 * "freeze", "freeze_norm_stats", "seq", "stride", "mean", "std", "note", "seed_hex".
 * data: without covers. */
typedef struct {
    const char *options, *passphrase;
    amalgam_datasets data;
} amalgam_owner;

/* Several owners' trainings in one job, each the others' cover, and a key for each, or
 * nothing (docs/pack.md). options: "out" required; "seed_hex", "shard_bytes". *result:
 * {"task", "owners", "train_samples", "val_samples" (of each owner), "sample",
 * "job_sample", "compute_factor" (of the owners' trainings together), "own_parameters"
 * (an array), "job_parameters", "job_bytes", "seconds"}. */
AMG_API AMG_MUST_CHECK amg_status amalgam_pack(const char *options, int num_owners,
                                               const amalgam_owner *owners,
                                               const amg_progress *progress,
                                               char **result, amg_error *err);

/* One tensor of the extracted original, valid during the call. role: "trainable",
 * "buffer" or "constant". A status other than AMG_OK ends the extraction with it. */
typedef amg_status (*amalgam_tensor_fn)(void *context, const char *name,
                                        const char *role, const amalgam_tensor *tensor,
                                        amg_error *err);

/* Takes the original, now trained, out of weights that came back. Everything in the
 * file is checked before each is called for the first time and before anything is
 * written. options: "key", "weights" required; "onnx": the trained model, a file to
 * write. each may be NULL. *result: {"tensors", "parameters", "steps" (of training,
 * null where the file does not say), "note" (as given to amalgam_obfuscate, or null),
 *   "key_is_loose" (others may read the key file)}. */
AMG_API AMG_MUST_CHECK amg_status amalgam_extract(const char *options,
                                                  const char *passphrase,
                                                  amalgam_tensor_fn each, void *context,
                                                  char **result, amg_error *err);

/* Whether the key file asks for a passphrase. */
AMG_API AMG_MUST_CHECK amg_status amalgam_key_needs_passphrase(const char *key,
                                                               bool *needs,
                                                               amg_error *err);

/* Trains a job on this machine, as amalgam-train does, and writes JOB/out/.
 * options: "batch", "accumulate", "epochs", "max_steps", "seed", "optimizer" "sgd" |
 *   "adam" | "adamw" | "rmsprop" | "adagrad" | "lion", "lr", "momentum", "nesterov",
 *   "weight_decay", "beta1", "beta2", "epsilon", "alpha", "centered", "lr_decay",
 *   "initial_accumulator", "clip", "label_smoothing", "augment" "crop4" | "hflip" |
 * "crop4,hflip", "schedule" "constant" | "step" | "cosine" | "linear" | "one-cycle" |
 * "plateau", "warmup", "step_epochs", "step_gamma", "plateau_patience",
 * "plateau_factor", "ema", "best", "early_stop", "threads", "checkpoint_steps",
 * "resume".
 *
 * Stopped by progress it leaves a checkpoint. *result: {"weights", "steps", "seconds",
 *   "heads": [{"steps", "train_loss", "train_accuracy", "val_loss", "val_top1",
 * "val_top5", of several outputs "outputs": [{"val_loss", "val_accuracy"}]}]}, null for
 * what was not measured. */
AMG_API AMG_MUST_CHECK amg_status amalgam_train_job(const char *job,
                                                    const char *options,
                                                    const amg_progress *progress,
                                                    char **result, amg_error *err);

/* Plays the curious cloud against a job (docs/audit.md): attacks all that is uploaded
 * and says how far each attack comes beside a blind guess. The job is not changed.
 * options: "key" (to score the guesses), "attacks" names with commas or "all" (those
 *   that have what they need, but not shadow), "aux" an array of DATA that the cloud
 * may have, "source" DATA and "secrets" (60): shadow, "other" an earlier job of the
 * same data, "rows" (10000), "seed" (0), "max_id" an identification rate that may pass,
 *   "html" a page to write. passphrase: of the key, NULL: none. *result: the JSON of
 *   docs/audit.md; a failed audit is AMG_OK with "verdict" "FAIL". */
AMG_API AMG_MUST_CHECK amg_status amalgam_audit(const char *job, const char *options,
                                                const char *passphrase,
                                                const amg_progress *progress,
                                                char **result, amg_error *err);

/* Forward pass of an ONNX model in inference form (running statistics, no dropout) on
 * one batch, the way that trained models are measured. input: in the model's own dtype,
 * dims[0] samples; of several inputs one row a sample, docs/onnx.md. *output: F32, of
 * several outputs likewise; its data are freed with amalgam_free, its dtype is static.
 */
AMG_API AMG_MUST_CHECK amg_status amalgam_run(const char *model,
                                              const amalgam_tensor *input,
                                              amalgam_tensor *output, amg_error *err);

/* What a file or folder holds: an ONNX model, a job (the cloud's view), a safetensors,
 * .npy or key file; for a model that cannot be read, AMG_UNSUPPORTED names the node. */
AMG_API AMG_MUST_CHECK amg_status amalgam_inspect(const char *path, char **result,
                                                  amg_error *err);

/* How often each operator stands in an ONNX file and whether it is covered, also for a
 * model that cannot be read: {"operators": {"Conv": {"count", "covered"}}}. */
AMG_API AMG_MUST_CHECK amg_status amalgam_operators(const char *model, char **result,
                                                    amg_error *err);

/* What a DATA spec stands for: {"kind", "samples", "dtype", "shape", "classes",
 * "target_dtype", "target_shape", "vocab_size", "pad"}; classes and targets null where
 * it has none. A token set is told as windows of one token and the next, or documents
 * of one token; others have the vocab_size 0. */
AMG_API AMG_MUST_CHECK amg_status amalgam_data_info(const char *spec, char **result,
                                                    amg_error *err);

/* Writes a model of the zoo. options: "name", "out" required; "shape" [C,H,W]
 * ([3,32,32]); "classes" (10); of networks for text "vocab" (required), "seq", "width",
 * "layers", "heads", "hidden", "dropout", "pad" (the network's own; no padding); "seed"
 * (random). *result: {"name", "parameters"}.
 * options NULL: *result is {"names": [...]}. */
AMG_API AMG_MUST_CHECK amg_status amalgam_zoo(const char *options, char **result,
                                              amg_error *err);

#ifdef __cplusplus
}
#endif

#endif
