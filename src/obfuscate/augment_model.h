/* The model augmenter: original + k decoys -> one job graph of k+1 unconnected
 * sub-networks over one input, with opaque names and keyed order of everything. */
#ifndef AMG_OBFUSCATE_AUGMENT_MODEL_H
#define AMG_OBFUSCATE_AUGMENT_MODEL_H

#include "obfuscate/row_moves.h"

typedef enum {
    AMG_DECOY_AUTO, /* SAME for a textbook network (graph/catalogue.h) in streams mode,
                       else WALK; amg_obfuscate settles it, elsewhere it is WALK */
    AMG_DECOY_WALK, /* hidden centre = walk(original), decoy = walk(centre) */
    AMG_DECOY_SAME
} amg_decoy_arch;

/* Where decoys' weights begin. */
typedef enum {
    AMG_START_AUTO,  /* SAME in streams mode for weights that follow no known law
                        (pretrained ones), unless arch is WALK; else DRAWN.
                        amg_obfuscate settles it, elsewhere it is DRAWN */
    AMG_START_DRAWN, /* by the laws of the original's */
    AMG_START_SAME   /* the original's own, as far as shapes are equal */
} amg_decoy_start;

typedef struct {
    amg_decoy_arch arch;
    amg_decoy_start start;
    int walk_steps;      /* 0: 3 */
    double model_amount; /* > 0: decoys' trainables together = this x the original's
                            (paper mode) */
} amg_decoy_options;

/* One decoy with its weights (decoy_init.h) and num_classes outputs (0: an output of
 * the original's shape). index 1..k. */
AMG_MUST_CHECK amg_status amg_decoy_make(const amg_secret *secret,
                                         const amg_graph *original, int index,
                                         int num_decoys, int64_t num_classes,
                                         const amg_decoy_options *options,
                                         amg_graph **out, amg_error *err);

/* What one slot of a job holds. All borrowed. */
typedef struct {
    const amg_graph *graph;
    const amg_preprocess *pre;
    const amg_plan_shape *shape; /* what the slot's maps permute */
} amg_job_network;

/* Joins them: networks[plan slot] is the original, a decoy or, in a packed job, an
 * owner's. Each becomes Reshape -> Gather(select) -> Reshape -> preprocess -> its
 * network, whose class rows and embedding tables are permuted by the slot's maps. names
 * [num_subnets] receives (heap) those of each slot. target_names (NULL: not wanted)
 * receives, per slot, the job's name of the value that the slot's head is trained for
 * (heap, amg_free each and the array): with pre->windows the next tokens, else what the
 * slot's network itself sees, its input after select and preprocess. On failure there
 * is nothing to free. */
AMG_MUST_CHECK amg_status amg_augment_model(const amg_secret *secret,
                                            const amg_obf_plan *plan,
                                            const amg_job_network *networks,
                                            amg_graph **out, amg_job_names *names,
                                            char ***target_names, amg_error *err);

#endif
