/* The original's stream of a job, put back as the key says: its own samples and true
 * targets, what `amalgam verify` trains the original alone on. */
#ifndef AMG_CLI_VERIFY_STREAM_H
#define AMG_CLI_VERIFY_STREAM_H

#include "engine/source.h"
#include "obfuscate/plan.h"

typedef struct {
    const amg_source *job;
    const amg_obf_plan *plan;
    int column; /* of the original's targets */
    size_t elem;
    amg_rotation *back; /* undoes the job's rotation of values; NULL: none is undone */
    int32_t *tokens; /* [vocab] token in the job -> token of the original; NULL: as they
                        are */
} amg_own_stream;

/* Fills t->tokens, owned by the caller; stays NULL where tokens kept their numbers. */
AMG_MUST_CHECK amg_status amg_own_stream_invert_tokens(amg_own_stream *t,
                                                       amg_error *err);
/* As a source; t must outlive it. input: of the original behind its preprocessing,
 * whose shape its samples have. */
amg_source amg_own_stream_source(amg_own_stream *t, const amg_value *input);

#endif
