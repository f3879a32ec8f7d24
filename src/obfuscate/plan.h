/* The plan: every secret choice of one job, a pure function of the key and the public
 * shapes. It is sealed in the key file together with the original's ONNX (no weights)
 * and the name map. */
#ifndef AMG_OBFUSCATE_PLAN_H
#define AMG_OBFUSCATE_PLAN_H

#include "graph/graph.h"
#include "graph/rewrite.h"
#include "graph/token_rows.h"
#include "obfuscate/rotation.h"

typedef enum {
    AMG_MODE_STREAMS,
    AMG_MODE_PAPER,
    AMG_MODE_PACK /* one of num_decoys + 1 owners, whose streams cover each other */
} amg_mode;
typedef enum {
    AMG_NOISE_UNIFORM,
    AMG_NOISE_GAUSSIAN,
    AMG_NOISE_LAPLACE,
    AMG_NOISE_VALUES,
    AMG_NOISE_UNIGRAM, /* tokens: as often as in the training data */
    AMG_NOISE_BIGRAM   /* tokens: after the one before as in the training data */
} amg_noise;

/* Public shapes and choices that a plan is made from. */
typedef struct {
    amg_mode mode;
    int num_decoys;        /* k >= 1 */
    int64_t dims[3];       /* C, H, W of one sample; [1, d0, rest] if it is no image */
    amg_dtype dtype;       /* U8, F32 or I32; in paper mode I32 is a row of tokens */
    double amount;         /* paper mode: H' = H + round(H * amount), likewise W; of
                              tokens the row alone grows */
    int64_t num_classes;   /* of the original; 1 where the task has no classes */
    int64_t cover_classes; /* of the cover pool; paper mode: num_classes */
    bool permute_labels;   /* false where the head does not admit it */
    int64_t vocab; /* tokens, renumbered for each sub-network; 0: they keep their
                      numbers, or samples are no tokens */
    bool tokens_are_classes; /* a language model: its label map is the token map
                                (permute_labels is true, classes are the vocabulary) */
    int64_t block[2]; /* height and width of the blocks of a sample within which its
                         values change places, in each channel apart; 0, 0: they do
                         not */
    bool patches;     /* blocks change places, too, all channels together */
    bool rotate;      /* values of a block are rotated, all channels together, instead
                         of changing places; data are F32 then */
    int num_fixed;
    int64_t fixed[AMG_MAX_FIXED_TOKENS]; /* tokens that keep their numbers, ascending */
} amg_plan_shape;

#define AMG_MAX_DECOYS 255
#define AMG_MAX_CLASSES (1 << 24)

/* Whether a plan can be made of it: AMG_INVALID names the field, what was found and
 * expected. */
AMG_MUST_CHECK amg_status amg_plan_shape_check(const amg_plan_shape *shape,
                                               amg_error *err);
/* Blocks of a sample, in each channel; 0: it has none. */
int64_t amg_plan_shape_blocks(const amg_plan_shape *shape);
/* Dims of the augmented sample and their product; false if it passes 2^31 - 1, what an
 * index of the job's Gather may be. */
bool amg_plan_shape_out(const amg_plan_shape *shape, int64_t out[3], int64_t *count);

/* One sub-network. Slot 0..k is its public position in the job. */
typedef struct {
    uint32_t *select; /* [dims product] flat index into C*H'*W' for each of its values,
                         in its own raster order */
    int64_t num_classes;
    int32_t *label_map; /* [num_classes] true class -> class in the job */
    int32_t *token_map; /* [vocab] true token -> token in the job; NULL: as they are */
    int64_t vocab;
    int32_t *value_map; /* [num_block_values] a value of a block, in raster order of
                           (channel, row, column) -> its place in the job; NULL: all
                           stay */
    int64_t num_block_values, block[2]; /* the shape's; of a packed job the owner's */
    int32_t *patch_map; /* [num_patches] a block of a sample, in raster order -> its
                           place in the job; NULL: all stay */
    int64_t num_patches;
    amg_rotation *rotation; /* the plan's; NULL: values are not rotated */
} amg_subnet_plan;

typedef struct {
    amg_plan_shape shape;
    int64_t out_dims[3];   /* C, H', W' of the augmented sample */
    int64_t num_values;    /* C*H*W */
    int64_t num_positions; /* C*H'*W' */
    int num_subnets;       /* k + 1 */
    int original;          /* slot of the original: THE secret */
    amg_rotation *rotation;
    amg_subnet_plan *subnets;
} amg_obf_plan; /* in ordinary memory while in use; amg_obf_plan_clear wipes it */

/* Streams: the k+1 select sets are disjoint and cover all positions, H' = (k+1)*H.
 * Paper: independent subsets, the original's and each decoy's drawn alike. Order within
 * a stream is secret. Pack: the owner's maps alone, as the only slot, without select:
 * positions are no one owner's choice (amg_obf_plan_join). */
AMG_MUST_CHECK amg_status amg_obf_plan_derive(const amg_secret *secret,
                                              const amg_plan_shape *shape,
                                              amg_obf_plan *out, amg_error *err);
/* The plan of a packed job from those of its owners, [num] of mode pack, of one dtype
 * and dims, whose maps it takes over. Slots and positions are drawn from secret, which
 * nobody keeps; owner i has slot_of[i]. */
AMG_MUST_CHECK amg_status amg_obf_plan_join(const amg_secret *secret,
                                            amg_obf_plan *owners, int num, int *slot_of,
                                            amg_obf_plan *out, amg_error *err);
void amg_obf_plan_clear(amg_obf_plan *plan);
/* The place that the slot's network in the job sees a value of a sample at: from and to
 * in raster order of [C,H,W]. */
int64_t amg_obf_plan_place(const amg_obf_plan *plan, int slot, int64_t value);

/* Names in the job of one network's trainables and buffers, in value order. */
typedef struct {
    int count;
    char **job;       /* [count] name in the job's weights … */
    char **own;       /* … of this parameter or buffer */
    char output[256]; /* of its head */
} amg_job_names;
void amg_job_names_clear(amg_job_names *names);

/* What the key file holds besides the secret. */
typedef struct {
    amg_plan_shape shape;
    amg_preprocess preprocess;
    amg_graph *original; /* as read, not folded; own names; weights may be there when
                            packed and are absent when parsed */
    amg_job_names names; /* of the original, folded */
    char job_sha256[65]; /* of the job's job.json: trained weights carry it */
    char *note;          /* a front end's own words, kept as they are; NULL: none */
} amg_key_payload;

/* Payload <-> bytes (a JSON head and the packed ONNX; docs/key.md). Everything read is
 * checked. */
AMG_MUST_CHECK amg_status amg_key_payload_pack(const amg_key_payload *p, uint8_t **data,
                                               size_t *size_bytes, amg_error *err);
AMG_MUST_CHECK amg_status amg_key_payload_parse(const uint8_t *data, size_t size_bytes,
                                                amg_key_payload *out, amg_error *err);
void amg_key_payload_clear(amg_key_payload *p);

#endif
