/* What the files of the recurrent layers share: their shape, where a step's rows lie,
 * and the two cells. Private to kernel_recurrent.c and recurrent_cell.c.
 *
 * Legend: S steps, N batch, I inputs, H hidden values, D directions, G gates (4 of an
 * LSTM: i o f c; 3 of a GRU: z r h; 1 of an RNN). One row is one sample at one step. */
#ifndef AMG_ENGINE_RECURRENT_H
#define AMG_ENGINE_RECURRENT_H

#include <stdbool.h>
#include <stdint.h>

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
    float *cells;             /* LSTM: c of this step */
    const float *last_cells;  /* of the step before, NULL at the first: zeros */
    float *out;               /* h of this step */
    const float *last_out;    /* of the step before, NULL at the first: zeros */
    float *dh, *dc;           /* backward: [N,H] gradients, in place */
} amg_recurrent_step;

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

#endif
