/* Evidence: what the curious cloud has of one job, in the form in which attacks use it,
 * and beside it, where the owner's key is at hand, the truth that scores them.
 *
 *   job folder ─► rows of the training split ─► x [num_rows][num_positions]
 *              └► graph: each head's select  ─► streams: values in the network's order
 *   key        ─► which stream is the original's, which positions it has
 *
 * Selects are read off the graph as anybody can: the Gather behind the job's input.
 * Attacks take their input from here alone and look at the truth only to score. */
#ifndef AMG_AUDIT_EVIDENCE_H
#define AMG_AUDIT_EVIDENCE_H

#include "engine/job.h"
#include "graph/rewrite.h"
#include "key/keyfile.h"
#include "obfuscate/rotation.h"

/* One head's view of a sample. */
typedef struct {
    int64_t num_values;
    uint32_t *select; /* [num_values] position of each value, in the network's order */
    int64_t dims[3];  /* the network's own sample as [C,H,W]; [1,d0,rest] if no image */
    int64_t num_classes; /* 0 without classes */
    int column;          /* of labels */
    int64_t label_at;    /* of its class in a row of targets; -1: a sample has no one
                            class.    Of several outputs, the first that has classes */
} amg_stream;

typedef struct {
    amg_job job; /* open; zeroed in tests */
    int num_streams;
    amg_stream *streams; /* [num_streams], in the order of the job's heads */

    amg_dtype dtype;       /* of values: U8, F32, I32 (tokens) */
    size_t elem;           /* bytes of one: 1 or 4 */
    bool is_image;         /* dims are [C,H,W] with C 1 or 3, and not tokens */
    bool is_tokens;        /* I32 */
    int64_t num_positions; /* values of one augmented sample */
    int64_t dims[3];       /* of one augmented sample, as [C,H',W'] */
    int64_t total_rows;    /* of the training split; of these num_rows were read: */
    int64_t num_rows;
    int64_t skip_at, skip; /* in a copy of the struct: rows that are left out. The
                              functions below number what is behind them on */
    int64_t *rows;         /* [num_rows] ascending */
    uint8_t *x;            /* [num_rows][num_positions] elements of elem bytes */
    int32_t *labels; /* [num_rows][num_streams], by head; NULL where targets are no
                        class of a sample */

    bool has_truth;
    int original;     /* stream of the original; -1 without truth */
    bool paper_mode;  /* positions of a stream beside the original's are noise; false
                         without truth */
    uint8_t *is_own;  /* [num_positions] 1: the original's; NULL without truth */
    int64_t block[2]; /* values of a sample are mixed within blocks of this height and
                         width (obfuscate --symmetry); 0: they are not, or without truth
                       */
    bool patches;     /* such blocks change places, too */
    amg_rotation *rotation; /* undoes that of the original's blocks; NULL: values are
                               not rotated, or without truth */
    double *turning;        /* room for a sample and two blocks, to do so */
    amg_preprocess pre;     /* what the data went through before it: only then */
    uint32_t *own_order; /* [values of the original] position of each in its own order;
                            NULL where they are not mixed */
} amg_evidence;

typedef struct {
    const char *job;
    const char *key; /* NULL: no truth */
    const amg_passphrase *passphrase;
    int64_t max_rows; /* 0: 10,000; fewer where x would take more than 1 GiB */
    uint64_t seed;    /* which rows, where not all */
} amg_evidence_options;

/* Opens and checks the job (its files' hashes, too), reads rows. AMG_MISMATCH: the key
 * is another job's; a head without a select (the cloud's graph was changed). */
AMG_MUST_CHECK amg_status amg_evidence_open(const amg_evidence_options *options,
                                            amg_evidence *out, amg_error *err);
void amg_evidence_close(amg_evidence *e); /* wipes the truth; zeroed is fine */

/* Value at a position of a row, as a number. */
float amg_evidence_value(const amg_evidence *e, int64_t row, int64_t position);
/* What head stream sees of a row: out [num_values], numbers as stored (pixels 0..255).
 */
void amg_evidence_sample(const amg_evidence *e, int stream, int64_t row, float *out);
/* The original's own sample of a row, in its own order, rotated back (numbers as the
 * network sees them) where the job rotates values; only with the truth. One thread at a
 * time. */
void amg_evidence_original(const amg_evidence *e, int64_t row, float *out);
/* What head stream sees, for tokens. */
void amg_evidence_tokens(const amg_evidence *e, int stream, int64_t row, int32_t *out);

#endif
