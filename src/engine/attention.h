/* Attention that a graph writes in parts, as one kernel:
 *
 *     O[i] = dropout(softmax(choice(scale Q[i] K[i]^T) + mask)) V[i]
 *
 * for every i of the batch: Q [l,d]  K [s,d]  V [s,e]  O [l,e]; mask and choice are
 * there or not, in this order or the other.
 *
 * Exporters move and scale the operands on their way (heads are split off, turned round
 * and joined again); the kernel reads the matrices where they were before, and writes
 * them where they end. attention_match.c finds it, kernel_attention.c computes it. */
#ifndef AMG_ENGINE_ATTENTION_H
#define AMG_ENGINE_ATTENTION_H

#include "engine/kernel.h"
#include "engine/walk.h"

enum { AMG_Q, AMG_K, AMG_V, AMG_O, AMG_MASK, AMG_SEEN, AMG_ATTENTION_PARTS };

/* Matrix i of an operand in row-major memory: element [r,c] stands at batch(i) + row[r]
 * + c * col. */
typedef struct {
    amg_walk batch;
    int64_t rows, cols, col;
    int64_t *row;
} amg_matrices;

typedef struct {
    int64_t batch, l, s, d, e;
    float scale;
    int dropout; /* node, -1: none */
    /* The choice: a score stays where SEEN, bools, is `kept`; elsewhere is a number
     * instead, and no weight at all if `hides`. */
    bool kept, hides;
    bool masked_first; /* the choice is of scores with the mask on them */
    float instead;
    /* Whose memory: graph values. Of V, K and Q what they are views of, of O the last
     * view; a mask and SEEN, or AMG_NO_VALUE. */
    int value[AMG_ATTENTION_PARTS];
    amg_matrices at[AMG_ATTENTION_PARTS];
    /* Set by forward(). */
    const uint8_t *seen; /* constant bools; NULL: a buffer, or none */
    int weights;         /* buffer of what softmax gives, [batch,l,s] */
    int dropped;         /* buffer of the dropout's mask, AMG_NO_BUFFER: none */
    float kept_scale;
    int slots;            /* threads that share the batch out */
    int64_t slot_floats;  /* scratch of each */
    size_t zero_bytes[3]; /* of Q's, K's and V's gradient, if parts of it are theirs */
    bool wants[3];        /* whether that gradient is asked for */
} amg_attention;

/* Of a node whose self is an amg_attention. */
extern const amg_kernel_row amg_attention_row;

#endif
