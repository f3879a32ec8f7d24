/* LSTM, GRU and RNN over whole sequences, forward and back through time, one direction
 * or both, in row-major order. The products with W are one for all steps, those with R
 * one a step; the cells between them are recurrent_cell.c's.
 *
 * Kept from forward to backward: the gates of every step, over which backward writes
 * their gradients, the cells (LSTM) or the hidden gates (GRU), and h: Y, or what is
 * held.
 *
 * Sequences of unequal length: a sample that has not a step keeps its state, so that
 * the other direction begins at its end, and the last state is that of its last step.
 * Its gates have gradients of zero there.
 *
 * Legend: as in recurrent.h; rows = S N. */
#include <string.h>

#include "engine/recurrent.h"

/* One pass at work: the buffers of one direction d. */
typedef struct {
    const amg_recurrent *s;
    int64_t d;
    float *gates, *hidden_gates, *cells, *y;
    float *held;                    /* NULL: h is Y */
    const int32_t *lengths;         /* NULL: all have S steps */
    const float *bias;              /* [2][G * H] of this direction, NULL: none */
    const float *first_h, *first_c; /* initial states, NULL: zeros */
    const float *peepholes;         /* [3][H] of this direction, NULL: none */
} pass;

static bool is_gru(const amg_recurrent *s) { return s->cell == AMG_CELL_GRU; }

static int64_t rows_of(const amg_recurrent *s) { return s->steps * s->n; }
static int64_t width_of(const amg_recurrent *s) { return s->gates * s->hidden; }

/* Step number i of the direction happens at this time. */
static int64_t time_of(const pass *p, int64_t i)
{
    return p->d || p->s->reverse ? p->s->steps - 1 - i : i;
}

/* First row of a step among all rows; a sample's rows are row_step apart. */
static int64_t first_row(const amg_recurrent *s, int64_t t)
{
    return s->layout ? t : t * s->n;
}
static int64_t row_step(const amg_recurrent *s) { return s->layout ? s->steps : 1; }

/* Where step t of Y begins; its samples are row_step * (layout ? D : 1) * H apart. */
static int64_t y_offset(const pass *p, int64_t t)
{
    const amg_recurrent *s = p->s;
    return (s->layout ? t * s->directions + p->d : (t * s->directions + p->d) * s->n) *
           s->hidden;
}
static int64_t y_stride(const amg_recurrent *s)
{
    return s->layout ? s->steps * s->directions * s->hidden : s->hidden;
}

/* Where the direction's part of a state (Y_h, initial_c …) begins, and how far samples
 * are apart. */
static int64_t last_offset(const pass *p)
{
    return (p->s->layout ? p->d : p->d * p->s->n) * p->s->hidden;
}
static int64_t last_stride(const amg_recurrent *s)
{
    return s->layout ? s->directions * s->hidden : s->hidden;
}

/* h of step t, and how far samples are apart. */
static float *out_of(const pass *p, int64_t t)
{
    return p->held ? p->held + first_row(p->s, t) * p->s->hidden
                   : p->y + y_offset(p, t);
}
static int64_t out_stride(const pass *p)
{
    return p->held ? row_step(p->s) * p->s->hidden : y_stride(p->s);
}

static const int32_t *lengths_of(const amg_recurrent_passes *self,
                                 const int32_t *buffer)
{
    return self->constant_lengths ? self->constant_lengths : buffer;
}

static pass begin_pass(const amg_recurrent_passes *self, int64_t d,
                       const amg_recurrent_values *v)
{
    const amg_recurrent *s = &self->shape;
    const int64_t width = width_of(s), rows = rows_of(s);
    pass p = {.s = s, .d = d, .gates = v->gates + d * rows * width, .y = v->y};
    if (is_gru(s))
        p.hidden_gates = v->states + d * rows * width;
    else if (s->cell == AMG_CELL_LSTM)
        p.cells = v->states + d * rows * s->hidden;
    if (self->has_bias) p.bias = v->bias + d * 2 * width;
    if (self->begins_h) p.first_h = v->first_h + last_offset(&p);
    if (self->begins_c) p.first_c = v->first_c + last_offset(&p);
    if (self->has_peepholes) p.peepholes = v->peepholes + d * 3 * s->hidden;
    if (!self->has_lengths) return p;
    p.held = v->held + d * rows * s->hidden;
    p.lengths = lengths_of(self, v->lengths);
    return p;
}

static amg_recurrent_step step_of(const pass *p, int64_t i)
{
    const amg_recurrent *s = p->s;
    const int64_t t = time_of(p, i), first = first_row(s, t), width = width_of(s);
    amg_recurrent_step st = {.shape = s,
                             .gate_stride = row_step(s) * width,
                             .state_stride = row_step(s) * s->hidden,
                             .out_stride = out_stride(p),
                             .gates = p->gates + first * width,
                             .out = out_of(p, t),
                             .peepholes = p->peepholes,
                             .lengths = p->lengths,
                             .time = t};
    st.last_out = i > 0 ? out_of(p, time_of(p, i - 1)) : p->first_h;
    st.last_stride = i > 0 ? st.out_stride : last_stride(s);
    if (is_gru(s)) {
        st.hidden_gates = p->hidden_gates + first * width;
        st.hidden_bias = p->bias ? p->bias + width : NULL;
    }
    if (s->cell != AMG_CELL_LSTM) return st;
    st.cells = p->cells + first * s->hidden;
    st.last_cells =
        i > 0 ? p->cells + first_row(s, time_of(p, i - 1)) * s->hidden : p->first_c;
    st.last_state_stride = i > 0 ? st.state_stride : last_stride(s);
    return st;
}

/* ---- forward ----------------------------------------------------------------------
 */

/* gates = bias + X W', for all steps. */
static void input_gates(const pass *p, const float *x, const float *w)
{
    const amg_recurrent *s = p->s;
    const int64_t width = width_of(s);
    for (int64_t r = 0; p->bias && r < rows_of(s); r++)
        for (int64_t k = 0; k < width; k++)
            p->gates[r * width + k] = p->bias[k] + (is_gru(s) ? 0 : p->bias[width + k]);
    amg_dnnl_gemm(false, true, rows_of(s), width, s->inputs, x, s->inputs, w, s->inputs,
                  p->bias ? 1 : 0, p->gates, width);
}

/* What the state of the step before adds: to the gates, or beside them in a GRU; of one
 * that resets first, to z and r. */
static void hidden_gates(const amg_recurrent_step *st, const float *r)
{
    const amg_recurrent *s = st->shape;
    const int64_t width = width_of(s);
    if (st->last_out)
        amg_dnnl_gemm(false, true, s->n, s->resets_first ? 2 * s->hidden : width,
                      s->hidden, st->last_out, st->last_stride, r, s->hidden,
                      is_gru(s) ? 0 : 1, is_gru(s) ? st->hidden_gates : st->gates,
                      st->gate_stride);
    for (int64_t i = 0; is_gru(s) && !st->last_out && i < s->n; i++)
        memset(st->hidden_gates + i * st->gate_stride, 0,
               sizeof(float) * (size_t)width);
}

/* r: of this direction. */
static void run_cell(const amg_recurrent_step *st, const float *r)
{
    const amg_recurrent *s = st->shape;
    if (!s->resets_first) {
        amg_recurrent_cell(st);
        return;
    }
    amg_gru_reset(st);
    amg_dnnl_gemm(false, true, s->n, s->hidden, s->hidden, st->hidden_gates,
                  st->gate_stride, r + 2 * s->hidden * s->hidden, s->hidden, 0,
                  st->hidden_gates + 2 * s->hidden, st->gate_stride);
    amg_gru_finish(st);
}

/* Copies [N,H] between two strides. */
static void copy_rows(const amg_recurrent *s, float *to, int64_t to_stride,
                      const float *from, int64_t from_stride)
{
    for (int64_t r = 0; r < s->n; r++)
        memcpy(to + r * to_stride, from + r * from_stride,
               sizeof(float) * (size_t)s->hidden);
}

/* Y of the step: what is held, and zeros where a sample has ended. */
static void show_held(const pass *p, const amg_recurrent_step *st)
{
    const amg_recurrent *s = p->s;
    const size_t size = sizeof(float) * (size_t)s->hidden;
    float *y = p->y + y_offset(p, st->time);
    for (int64_t r = 0; r < s->n; r++) {
        if (amg_recurrent_runs(st, r))
            memcpy(y + r * y_stride(s), st->out + r * st->out_stride, size);
        else
            memset(y + r * y_stride(s), 0, size);
    }
}

static bool lengths_are_good(const amg_recurrent_passes *self, const amg_call *call,
                             const int32_t *lengths)
{
    const amg_recurrent *s = &self->shape;
    for (int64_t r = 0; r < s->n; r++) {
        if (lengths[r] >= 1 && lengths[r] <= s->steps) continue;
        *call->status = amg_fail(call->err, AMG_INVALID, -1, self->where,
                                 "sequence %lld of the batch has length %d, expected 1 "
                                 "to %lld",
                                 (long long)r, (int)lengths[r], (long long)s->steps);
        return false;
    }
    return true;
}

void amg_recurrent_run(const amg_call *call)
{
    const amg_recurrent_passes *self = call->self;
    const amg_recurrent *s = &self->shape;
    amg_recurrent_values v;
    memcpy(&v, call->ptr, sizeof v);
    if (self->has_lengths && !lengths_are_good(self, call, lengths_of(self, v.lengths)))
        return;
    for (int64_t d = 0; d < s->directions; d++) {
        const pass p = begin_pass(self, d, &v);
        const float *r = v.r + d * width_of(s) * s->hidden;
        amg_recurrent_step st = {0};
        input_gates(&p, v.x, v.w + d * width_of(s) * s->inputs);
        for (int64_t i = 0; i < s->steps; i++) {
            st = step_of(&p, i);
            hidden_gates(&st, r);
            run_cell(&st, r);
            if (p.held) show_held(&p, &st);
        }
        if (self->has_h)
            copy_rows(s, v.y_h + last_offset(&p), last_stride(s), st.out,
                      st.out_stride);
        if (self->has_c)
            copy_rows(s, v.y_c + last_offset(&p), last_stride(s), st.cells,
                      st.state_stride);
    }
}

/* ---- backward ---------------------------------------------------------------------
 */

static void add_rows(const amg_recurrent *s, float *to, const float *from,
                     int64_t from_stride)
{
    for (int64_t r = 0; r < s->n; r++)
        for (int64_t k = 0; k < s->hidden; k++)
            to[r * s->hidden + k] += from[r * from_stride + k];
}

/* Y's gradient, of the samples that have the step. */
static void add_step(const pass *p, const amg_recurrent_step *st, const float *dy)
{
    const amg_recurrent *s = p->s;
    dy += y_offset(p, st->time);
    for (int64_t r = 0; r < s->n; r++)
        for (int64_t k = 0; k < s->hidden && amg_recurrent_runs(st, r); k++)
            st->dh[r * s->hidden + k] += dy[r * y_stride(s) + k];
}

/* sums[k] = sum over rows of m[row][k], in double. */
static void column_sums(const float *m, int64_t rows, int64_t width, double *sums,
                        float *out)
{
    memset(sums, 0, sizeof *sums * (size_t)width);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t k = 0; k < width; k++) sums[k] += (double)m[r * width + k];
    for (int64_t k = 0; k < width; k++) out[k] = (float)sums[k];
}

/* dh, dc -> the gates' gradients; r: of this direction. */
static void run_cell_gradient(const amg_recurrent_step *st, const float *r)
{
    const amg_recurrent *s = st->shape;
    if (!s->resets_first) {
        amg_recurrent_cell_gradient(st);
        return;
    }
    amg_gru_finish_gradient(st);
    amg_dnnl_gemm(false, false, s->n, s->hidden, s->hidden, st->gates + 2 * s->hidden,
                  st->gate_stride, r + 2 * s->hidden * s->hidden, s->hidden, 0,
                  st->hidden_gates + s->hidden, st->gate_stride);
    amg_gru_reset_gradient(st);
}

/* sums += what a step's gates, already gradients, saw of the cells. */
static void add_peepholes(const amg_recurrent_step *st, double *sums)
{
    const amg_recurrent *s = st->shape;
    const int64_t h = s->hidden;
    for (int64_t r = 0; r < s->n; r++) {
        const float *gate = st->gates + r * st->gate_stride;
        const float *c = st->cells + r * st->state_stride;
        const float *last =
            st->last_cells ? st->last_cells + r * st->last_state_stride : NULL;
        for (int64_t k = 0; k < h; k++) {
            sums[k] += last ? (double)gate[k] * (double)last[k] : 0;
            sums[h + k] += (double)gate[h + k] * (double)c[k];
            sums[2 * h + k] += last ? (double)gate[2 * h + k] * (double)last[k] : 0;
        }
    }
}

/* Through time: turns the direction's gates into gradients. */
static void through_time(const amg_recurrent_passes *self, const pass *p,
                         const amg_recurrent_gradients *b, const float *r)
{
    const amg_recurrent *s = p->s;
    memset(b->dh, 0, sizeof(float) * (size_t)(s->n * s->hidden));
    memset(b->dc, 0, sizeof(float) * (size_t)(s->n * s->hidden));
    memset(b->sums, 0, sizeof *b->sums * (size_t)width_of(s));
    if (self->has_h) add_rows(s, b->dh, b->dy_h + last_offset(p), last_stride(s));
    if (self->has_c) add_rows(s, b->dc, b->dy_c + last_offset(p), last_stride(s));
    for (int64_t i = s->steps - 1; i >= 0; i--) {
        amg_recurrent_step st = step_of(p, i);
        const int64_t stride = row_step(s) * s->hidden;
        float *last = b->last + first_row(s, st.time) * s->hidden;
        st.dh = b->dh;
        st.dc = b->dc;
        if (self->has_y) add_step(p, &st, b->dy);
        run_cell_gradient(&st, r);
        if (p->peepholes) add_peepholes(&st, b->sums);
        if (!st.last_out) {
            for (int64_t n = 0; n < s->n; n++)
                memset(last + n * stride, 0, sizeof(float) * (size_t)s->hidden);
            continue;
        }
        copy_rows(s, last, stride, st.last_out, st.last_stride);
        amg_dnnl_gemm(false, false, s->n, s->hidden,
                      s->resets_first ? 2 * s->hidden : width_of(s),
                      is_gru(s) && !s->resets_first ? st.hidden_gates : st.gates,
                      st.gate_stride, r, s->hidden, 1, b->dh, s->hidden);
    }
    for (int64_t k = 0; p->peepholes && k < 3 * s->hidden; k++)
        b->dpeepholes[p->d * 3 * s->hidden + k] = (float)b->sums[k];
    if (self->begins_h)
        copy_rows(s, b->dfirst_h + last_offset(p), last_stride(s), b->dh, s->hidden);
    if (self->begins_c)
        copy_rows(s, b->dfirst_c + last_offset(p), last_stride(s), b->dc, s->hidden);
}

static void weight_gradients(const amg_recurrent_passes *self, const pass *p,
                             const amg_recurrent_gradients *b)
{
    const amg_recurrent *s = p->s;
    const int64_t width = width_of(s), rows = rows_of(s), d = p->d;
    const float *hidden = is_gru(s) && !s->resets_first ? p->hidden_gates : p->gates;
    const int64_t of_last = s->resets_first ? 2 * s->hidden : width;
    float *dr = b->dr + d * width * s->hidden;
    amg_dnnl_gemm(true, false, width, s->inputs, rows, p->gates, width, b->x, s->inputs,
                  0, b->dw + d * width * s->inputs, s->inputs);
    amg_dnnl_gemm(true, false, of_last, s->hidden, rows, hidden, width, b->last,
                  s->hidden, 0, dr, s->hidden);
    if (s->resets_first)
        amg_dnnl_gemm(true, false, s->hidden, s->hidden, rows, p->gates + of_last,
                      width, p->hidden_gates, width, 0, dr + of_last * s->hidden,
                      s->hidden);
    if (!self->has_bias) return;
    column_sums(p->gates, rows, width, b->sums, b->db + d * 2 * width);
    column_sums(hidden, rows, width, b->sums, b->db + (d * 2 + 1) * width);
}

void amg_recurrent_run_back(const amg_call *call)
{
    const amg_recurrent_passes *self = call->self;
    const amg_recurrent *s = &self->shape;
    amg_recurrent_gradients b;
    memcpy(&b, call->ptr, sizeof b);
    const amg_recurrent_values v = {.y = b.y,
                                    .gates = b.gates,
                                    .states = b.states,
                                    .first_h = b.first_h,
                                    .first_c = b.first_c,
                                    .lengths = b.lengths,
                                    .held = b.held,
                                    .peepholes = b.peepholes};
    const int64_t width = width_of(s);
    for (int64_t d = 0; d < s->directions; d++) {
        const pass p = begin_pass(self, d, &v);
        through_time(self, &p, &b, b.r + d * width * s->hidden);
        weight_gradients(self, &p, &b);
        if (self->needs_x)
            amg_dnnl_gemm(false, false, rows_of(s), s->inputs, width, p.gates, width,
                          b.w + d * width * s->inputs, s->inputs, d ? 1 : 0, b.dx,
                          s->inputs);
    }
}
