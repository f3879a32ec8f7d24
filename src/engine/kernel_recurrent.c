/* LSTM, GRU and RNN over whole sequences, forward and back through time, one direction
 * or both, in row-major order. The products with W are one for all steps, those with R
 * one a step; the cells between them are recurrent_cell.c's.
 *
 * Kept from forward to backward: the gates of every step, over which backward writes
 * their gradients, the cells (LSTM) or the hidden gates (GRU), and Y.
 *
 * Legend: as in recurrent.h; rows = S N. */
#include <string.h>

#include "engine/kernel.h"
#include "engine/recurrent.h"

typedef struct {
    amg_recurrent shape;
    bool has_bias, has_h, has_c; /* B; Y_h and Y_c, or their gradients */
    bool begins_h, begins_c;     /* initial_h, initial_c */
    bool has_y, needs_x;         /* backward: the gradient of Y, that of X */
    int gates, states; /* buffers; states: cells or hidden gates, of an RNN gates */
} recurrent_state;

/* One pass at work: the buffers of one direction d. */
typedef struct {
    const amg_recurrent *s;
    int64_t d;
    float *gates, *hidden_gates, *cells, *y;
    const float *bias;              /* [2][G * H] of this direction, NULL: none */
    const float *first_h, *first_c; /* initial states, NULL: zeros */
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

static pass begin_pass(const recurrent_state *self, int64_t d, float *gates,
                       float *states, float *y, const float *bias, const float *first_h,
                       const float *first_c)
{
    const amg_recurrent *s = &self->shape;
    const int64_t width = width_of(s), rows = rows_of(s);
    pass p = {.s = s, .d = d, .gates = gates + d * rows * width, .y = y};
    if (is_gru(s))
        p.hidden_gates = states + d * rows * width;
    else if (s->cell == AMG_CELL_LSTM)
        p.cells = states + d * rows * s->hidden;
    if (self->has_bias) p.bias = bias + d * 2 * width;
    if (self->begins_h) p.first_h = first_h + last_offset(&p);
    if (self->begins_c) p.first_c = first_c + last_offset(&p);
    return p;
}

static amg_recurrent_step step_of(const pass *p, int64_t i)
{
    const amg_recurrent *s = p->s;
    const int64_t t = time_of(p, i), first = first_row(s, t), width = width_of(s);
    amg_recurrent_step st = {.shape = s,
                             .gate_stride = row_step(s) * width,
                             .state_stride = row_step(s) * s->hidden,
                             .out_stride = y_stride(s),
                             .gates = p->gates + first * width,
                             .out = p->y + y_offset(p, t)};
    st.last_out = i > 0 ? p->y + y_offset(p, time_of(p, i - 1)) : p->first_h;
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

/* ptr: Y, X, W, R, gates, states, B, Y_h, Y_c, initial_h, initial_c; those that are
 * absent are Y again. */
static void run_forward(const amg_call *call)
{
    const recurrent_state *self = call->self;
    const amg_recurrent *s = &self->shape;
    const float *w = call->ptr[2], *r = call->ptr[3];
    float *y_h = call->ptr[7], *y_c = call->ptr[8];
    for (int64_t d = 0; d < s->directions; d++) {
        pass p = begin_pass(self, d, call->ptr[4], call->ptr[5], call->ptr[0],
                            call->ptr[6], call->ptr[9], call->ptr[10]);
        input_gates(&p, call->ptr[1], w + d * width_of(s) * s->inputs);
        for (int64_t i = 0; i < s->steps; i++) {
            amg_recurrent_step st = step_of(&p, i);
            hidden_gates(&st, r + d * width_of(s) * s->hidden);
            run_cell(&st, r + d * width_of(s) * s->hidden);
        }
        amg_recurrent_step st = step_of(&p, s->steps - 1);
        if (self->has_h)
            copy_rows(s, y_h + last_offset(&p), last_stride(s), st.out, st.out_stride);
        if (self->has_c)
            copy_rows(s, y_c + last_offset(&p), last_stride(s), st.cells,
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

/* sums[k] = sum over rows of m[row][k], in double. */
static void column_sums(const float *m, int64_t rows, int64_t width, double *sums,
                        float *out)
{
    memset(sums, 0, sizeof *sums * (size_t)width);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t k = 0; k < width; k++) sums[k] += (double)m[r * width + k];
    for (int64_t k = 0; k < width; k++) out[k] = (float)sums[k];
}

/* The buffers of a backward call, by name. */
typedef struct {
    float *dx, *dw, *dr, *db;
    const float *x, *w, *r;
    float *gates, *states, *y;
    const float *dy, *dy_h, *dy_c;
    float *dh, *dc, *last; /* last: h of the step before, by row of the gates */
    double *sums;
    const float *first_h, *first_c; /* initial states */
    float *dfirst_h, *dfirst_c;
} gradients;
#define NUM_GRADIENTS 21

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

/* Through time: turns the direction's gates into gradients. */
static void through_time(const recurrent_state *self, const pass *p, const gradients *b,
                         const float *r)
{
    const amg_recurrent *s = p->s;
    memset(b->dh, 0, sizeof(float) * (size_t)(s->n * s->hidden));
    memset(b->dc, 0, sizeof(float) * (size_t)(s->n * s->hidden));
    if (self->has_h) add_rows(s, b->dh, b->dy_h + last_offset(p), last_stride(s));
    if (self->has_c) add_rows(s, b->dc, b->dy_c + last_offset(p), last_stride(s));
    for (int64_t i = s->steps - 1; i >= 0; i--) {
        amg_recurrent_step st = step_of(p, i);
        const int64_t t = time_of(p, i), stride = row_step(s) * s->hidden;
        float *last = b->last + first_row(s, t) * s->hidden;
        st.dh = b->dh;
        st.dc = b->dc;
        if (self->has_y) add_rows(s, b->dh, b->dy + y_offset(p, t), y_stride(s));
        run_cell_gradient(&st, r);
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
    if (self->begins_h)
        copy_rows(s, b->dfirst_h + last_offset(p), last_stride(s), b->dh, s->hidden);
    if (self->begins_c)
        copy_rows(s, b->dfirst_c + last_offset(p), last_stride(s), b->dc, s->hidden);
}

static void weight_gradients(const recurrent_state *self, const pass *p,
                             const gradients *b)
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

static void run_backward(const amg_call *call)
{
    const recurrent_state *self = call->self;
    const amg_recurrent *s = &self->shape;
    gradients b;
    _Static_assert(sizeof b == NUM_GRADIENTS * sizeof(void *), "one buffer a member");
    memcpy(&b, call->ptr, sizeof b);
    const int64_t width = width_of(s);
    for (int64_t d = 0; d < s->directions; d++) {
        pass p =
            begin_pass(self, d, b.gates, b.states, b.y, NULL, b.first_h, b.first_c);
        through_time(self, &p, &b, b.r + d * width * s->hidden);
        weight_gradients(self, &p, &b);
        if (self->needs_x)
            amg_dnnl_gemm(false, false, rows_of(s), s->inputs, width, p.gates, width,
                          b.w + d * width * s->inputs, s->inputs, d ? 1 : 0, b.dx,
                          s->inputs);
    }
}

/* ---- emitting ---------------------------------------------------------------------
 */

static void read_shape(amg_plan *p, int node, amg_recurrent *s)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    const amg_value *r = amg_plan_value(p, n->inputs[2]);
    s->cell = n->op == AMG_OP_GRU   ? AMG_CELL_GRU
              : n->op == AMG_OP_RNN ? AMG_CELL_RNN
                                    : AMG_CELL_LSTM;
    s->relu = strncmp(amg_attr_string(n, "activations", ""), "Relu", 4) == 0;
    s->resets_first =
        s->cell == AMG_CELL_GRU && amg_attr_int(n, "linear_before_reset", 0) == 0;
    s->reverse = strcmp(amg_attr_string(n, "direction", "forward"), "reverse") == 0;
    s->layout = amg_attr_int(n, "layout", 0) != 0;
    s->steps = x->dims[s->layout ? 1 : 0];
    s->n = x->dims[s->layout ? 0 : 1];
    s->inputs = x->dims[2];
    s->directions = r->dims[0];
    s->hidden = r->dims[2];
    s->gates = s->cell == AMG_CELL_GRU ? 3 : s->cell == AMG_CELL_RNN ? 1 : 4;
}

/* Buffer of an initial state, otherwise if it does not exist. */
static int read_first(amg_plan *p, int node, int i, int otherwise)
{
    int value = amg_plan_input_value(p, node, i);
    if (value == AMG_NO_VALUE) return otherwise;
    return amg_plan_read(p, node, value, amg_plan_plain(p, value));
}

static const char *const names[] = {"lstm", "gru", "rnn"};
static const char *const names_backward[] = {"lstm backward", "gru backward",
                                             "rnn backward"};

/* Buffer of output i, otherwise if it does not exist. */
static int define_output(amg_plan *p, int node, int i, int otherwise)
{
    const amg_node *n = amg_plan_node(p, node);
    if (i >= n->num_outputs || n->outputs[i] == AMG_NO_VALUE) return otherwise;
    return amg_plan_define(p, n->outputs[i], amg_plan_plain(p, n->outputs[i]));
}

void amg_recurrent_forward(amg_plan *p, int node)
{
    recurrent_state *self = amg_plan_alloc(p, 1, sizeof *self);
    if (!self) return;
    read_shape(p, node, &self->shape);
    p->nodes[node].self = self;
    const amg_node *n = amg_plan_node(p, node);
    const amg_recurrent *s = &self->shape;
    const int b = amg_plan_input_value(p, node, 3);
    const size_t rows = (size_t)(s->directions * rows_of(s)) * sizeof(float);
    const size_t width = (size_t)width_of(s);
    self->gates = amg_plan_temp(p, rows * width);
    self->states =
        s->cell == AMG_CELL_RNN
            ? self->gates
            : amg_plan_temp(p, rows * (is_gru(s) ? width : (size_t)s->hidden));
    self->has_bias = b != AMG_NO_VALUE;
    int x = amg_plan_read(p, node, n->inputs[0], amg_plan_plain(p, n->inputs[0]));
    int w = amg_plan_read(p, node, n->inputs[1], NULL);
    int r = amg_plan_read(p, node, n->inputs[2], NULL);
    int y = define_output(p, node, 0, AMG_NO_BUFFER);
    int bias = self->has_bias ? amg_plan_read(p, node, b, NULL) : y;
    int y_h = define_output(p, node, 1, y), y_c = define_output(p, node, 2, y);
    self->has_h = y_h != y;
    self->has_c = y_c != y;
    int first_h = read_first(p, node, 5, y), first_c = read_first(p, node, 6, y);
    self->begins_h = first_h != y;
    self->begins_c = first_c != y;
    amg_emit_kernel(p, node, names[s->cell], run_forward, self, 11,
                    (int[]){y, x, w, r, self->gates, self->states, bias, y_h, y_c,
                            first_h, first_c});
}

/* Buffer of the gradient of output i, otherwise if there is none. */
static int find_grad(amg_plan *p, int node, int i, int otherwise)
{
    const amg_node *n = amg_plan_node(p, node);
    if (i >= n->num_outputs || n->outputs[i] == AMG_NO_VALUE) return otherwise;
    int grad = p->values[n->outputs[i]].grad;
    return grad == AMG_NO_BUFFER ? otherwise : grad;
}

void amg_recurrent_backward(amg_plan *p, int node)
{
    const recurrent_state *forward = p->nodes[node].self;
    recurrent_state *self = amg_plan_alloc(p, 1, sizeof *self);
    if (!self) return;
    *self = *forward;
    const amg_recurrent *s = &self->shape;
    const amg_node *n = amg_plan_node(p, node);
    const int x = n->inputs[0], w = n->inputs[1], r = n->inputs[2];
    const int b = amg_plan_input_value(p, node, 3);
    const int y = amg_plan_read(p, node, n->outputs[0], NULL);
    const size_t state = (size_t)(s->n * s->hidden) * sizeof(float);
    self->needs_x = amg_plan_needs_grad(p, x);
    int dx = self->needs_x ? amg_plan_grad_target(p, x, amg_plan_plain(p, x)) : y;
    int dw = amg_plan_grad_target(p, w, NULL), dr = amg_plan_grad_target(p, r, NULL);
    int db = self->has_bias ? amg_plan_grad_target(p, b, NULL) : y;
    int dy = find_grad(p, node, 0, y), dy_h = find_grad(p, node, 1, y);
    int dy_c = find_grad(p, node, 2, y);
    self->has_y = dy != y;
    self->has_h = dy_h != y;
    self->has_c = dy_c != y;
    int dfirst[2] = {y, y};
    for (int i = 0; i < 2; i++)
        if (i ? self->begins_c : self->begins_h)
            dfirst[i] = amg_plan_grad_target(p, n->inputs[5 + i],
                                             amg_plan_plain(p, n->inputs[5 + i]));
    int read_x = amg_plan_read(p, node, x, amg_plan_plain(p, x));
    int buffers[NUM_GRADIENTS] = {
        dx,
        dw,
        dr,
        db,
        read_x,
        amg_plan_read(p, node, w, NULL),
        amg_plan_read(p, node, r, NULL),
        self->gates,
        self->states,
        y,
        dy,
        dy_h,
        dy_c,
        amg_plan_temp(p, state),
        amg_plan_temp(p, state),
        amg_plan_temp(p, (size_t)s->steps * state),
        amg_plan_temp(p, (size_t)width_of(s) * sizeof(double)),
        read_first(p, node, 5, y),
        read_first(p, node, 6, y),
        dfirst[0],
        dfirst[1]};
    amg_emit_kernel(p, node, names_backward[s->cell], run_backward, self, NUM_GRADIENTS,
                    buffers);
    amg_plan_give_grad(p, node, x, dx, amg_plan_plain(p, x));
    amg_plan_give_grad(p, node, w, dw, NULL);
    amg_plan_give_grad(p, node, r, dr, NULL);
    if (self->has_bias) amg_plan_give_grad(p, node, b, db, NULL);
    for (int i = 0; i < 2; i++)
        if (dfirst[i] != y)
            amg_plan_give_grad(p, node, n->inputs[5 + i], dfirst[i],
                               amg_plan_plain(p, n->inputs[5 + i]));
}
