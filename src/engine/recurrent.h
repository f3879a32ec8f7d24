/* What the files of the recurrent layers share: their shape, where a step's rows lie,
 * the cells, and the passes over a sequence. Private to kernel_recurrent.c,
 * recurrent_pass.c and recurrent_cell.c.
 *
 * Legend: S steps, N batch, I inputs, H hidden values, D directions, G gates (4 of an
 * LSTM: i o f c; 3 of a GRU: z r h; 1 of an RNN). One row is one sample at one step. */
#ifndef AMG_ENGINE_RECURRENT_H
#define AMG_ENGINE_RECURRENT_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/kernel.h"

typedef enum { AMG_CELL_LSTM, AMG_CELL_GRU, AMG_CELL_RNN } amg_cell;

typedef struct {
    amg_cell cell;
    bool relu;         /* of an RNN, else tanh */
    bool resets_first; /* of a GRU: r meets h', not h' R' */
    bool reverse;      /* one direction, from the last step to the first */
    bool layout;       /* X is [N,S,I] and Y [N,S,D,H], else [S,N,I] and [S,D,N,H] */
    int64_t steps, n, inputs, hidden, directions, gates;
} amg_recurrent;

/* One step of one direction: row r of a thing stands at thing + r * its stride. Arrays
 * of gates are [rows of all steps][G * H], of states [rows][H]. */
typedef struct {
    const amg_recurrent *shape;
    int64_t gate_stride, state_stride, out_stride;
    int64_t last_stride, last_state_stride; /* of last_out and last_cells */
    float *gates;        /* x W' + bias (+ h R' unless a GRU); then the gates' values */
    float *hidden_gates; /* GRU: h R'; then the gradient of that (see below) */
    const float *hidden_bias; /* GRU: [G * H], NULL: none */
    const float *peepholes;  /* LSTM: what i, o and f see of c, [3][H]; NULL: nothing */
    float *cells;            /* LSTM: c of this step */
    const float *last_cells; /* of the step before, NULL at the first: zeros */
    float *out;              /* h of this step */
    const float *last_out;   /* of the step before, NULL at the first: zeros */
    float *dh, *dc;          /* backward: [N,H] gradients, in place */
    const int32_t *lengths;  /* [N]: steps that each sample has; NULL: all of them */
    int64_t time;            /* of this step, 0 ≤ time < S */
} amg_recurrent_step;

/* Whether sample r has this step. One that has not keeps its state, and its gradients
 * pass through. */
static inline bool amg_recurrent_runs(const amg_recurrent_step *s, int64_t r)
{
    return !s->lengths || s->time < s->lengths[r];
}

/* gates, hidden_gates -> values, cells, out. */
void amg_recurrent_cell(const amg_recurrent_step *s);
/* dh, dc of this step -> gates (and hidden_gates) become gradients of what came in;
 * dc, and dh as far as it does not go through R, those of the step before. */
void amg_recurrent_cell_gradient(const amg_recurrent_step *s);

/* The halves of a GRU that resets first, between which a product with R lies. Its row
 * of hidden_gates is [u, du, u R'], u = r h'.
 *
 *   forward    z, r from [h' R', …] -> gates, u;          u R' -> n, out
 *   backward   dh -> gates of z and n, dh of z h';        du -> gate of r, dh of r h'
 */
void amg_gru_reset(const amg_recurrent_step *s);
void amg_gru_finish(const amg_recurrent_step *s);
void amg_gru_finish_gradient(const amg_recurrent_step *s);
void amg_gru_reset_gradient(const amg_recurrent_step *s);

/* ---- over all steps ---- */

/* A node's passes; what is absent is false. */
typedef struct {
    amg_recurrent shape;
    bool has_bias, has_h, has_c; /* B; Y_h and Y_c, or their gradients */
    bool begins_h, begins_c;     /* initial_h, initial_c */
    bool has_y, needs_x;         /* backward: the gradient of Y, that of X */
    bool has_lengths, has_peepholes;
    int gates, states, held;         /* buffers; see amg_recurrent_values */
    const int32_t *constant_lengths; /* NULL: a buffer, or none */
    const char *where;               /* node "NAME" (LSTM) */
} amg_recurrent_passes;

/* The buffers of a forward pass, in the order of its kernel; those that are absent are
 * Y again. states: cells or hidden gates, of an RNN gates. held: h of every step, which
 * Y is where there are no lengths; past a sample's end it is the last one's, Y zeros.
 */
typedef struct {
    float *y;
    const float *x, *w, *r;
    float *gates, *states;
    const float *bias;
    float *y_h, *y_c;
    const float *first_h, *first_c; /* initial states */
    const int32_t *lengths;
    float *held;
    const float *peepholes;
} amg_recurrent_values;

/* The buffers of a backward pass, likewise. last: h of the step before, by row of the
 * gates. */
typedef struct {
    float *dx, *dw, *dr, *db;
    const float *x, *w, *r;
    float *gates, *states, *y;
    const float *dy, *dy_h, *dy_c;
    float *dh, *dc, *last;
    double *sums;
    const float *first_h, *first_c;
    float *dfirst_h, *dfirst_c;
    const int32_t *lengths;
    float *held;
    const float *peepholes;
    float *dpeepholes;
} amg_recurrent_gradients;

enum {
    AMG_RECURRENT_VALUES = sizeof(amg_recurrent_values) / sizeof(void *),
    AMG_RECURRENT_GRADIENTS = sizeof(amg_recurrent_gradients) / sizeof(void *)
};

/* Kernels of an amg_recurrent_passes. A length out of 1 … S ends the run. */
void amg_recurrent_run(const amg_call *call);
void amg_recurrent_run_back(const amg_call *call);

#endif
