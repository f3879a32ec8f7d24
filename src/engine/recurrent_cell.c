/* The cells of LSTM, GRU and RNN, and their gradients: what one step does to one sample
 * once its products with the weights are there. Pure loops, split by samples.
 *
 *   LSTM   c = f c' + i g,  h = o tanh(c)          i, o, f sigmoid, g tanh
 *          peepholes: i and f see c', o sees c
 *   GRU    h = (1 - z) n + z h'                    z, r sigmoid, n = tanh(xn + r hn)
 *          n = tanh(xn + (r h') R') where it resets first
 *   RNN    h = tanh or relu of its only gate
 */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "base/parallel.h"
#include "engine/recurrent.h"

static float sigmoid(float x) { return 1 / (1 + expf(-x)); }

static void lstm_range(void *arg, int64_t begin, int64_t end)
{
    const amg_recurrent_step *s = arg;
    const int64_t h = s->shape->hidden;
    for (int64_t r = begin; r < end; r++) {
        float *gate = s->gates + r * s->gate_stride;
        float *c = s->cells + r * s->state_stride, *out = s->out + r * s->out_stride;
        const float *last =
            s->last_cells ? s->last_cells + r * s->last_state_stride : NULL;
        for (int64_t k = 0; k < h; k++) {
            float in = sigmoid(gate[k]), o = sigmoid(gate[h + k]);
            float f = sigmoid(gate[2 * h + k]), g = tanhf(gate[3 * h + k]);
            c[k] = (last ? f * last[k] : 0) + in * g;
            out[k] = o * tanhf(c[k]);
            gate[k] = in;
            gate[h + k] = o;
            gate[2 * h + k] = f;
            gate[3 * h + k] = g;
        }
    }
}

static void lstm_gradient_range(void *arg, int64_t begin, int64_t end)
{
    const amg_recurrent_step *s = arg;
    const int64_t h = s->shape->hidden;
    for (int64_t r = begin; r < end; r++) {
        float *gate = s->gates + r * s->gate_stride;
        const float *c = s->cells + r * s->state_stride;
        const float *last =
            s->last_cells ? s->last_cells + r * s->last_state_stride : NULL;
        float *dh = s->dh + r * h, *dc = s->dc + r * h;
        for (int64_t k = 0; k < h; k++) {
            float in = gate[k], o = gate[h + k], f = gate[2 * h + k];
            float g = gate[3 * h + k], t = tanhf(c[k]);
            float d = dc[k] + dh[k] * o * (1 - t * t);
            gate[k] = d * g * in * (1 - in);
            gate[h + k] = dh[k] * t * o * (1 - o);
            gate[2 * h + k] = last ? d * last[k] * f * (1 - f) : 0;
            gate[3 * h + k] = d * in * (1 - g * g);
            dc[k] = d * f;
            dh[k] = 0;
        }
    }
}

/* With peepholes p: i, o, f of (gate + p c). */
static void peephole_range(void *arg, int64_t begin, int64_t end)
{
    const amg_recurrent_step *s = arg;
    const int64_t h = s->shape->hidden;
    const float *pi = s->peepholes, *po = pi + h, *pf = po + h;
    for (int64_t r = begin; r < end; r++) {
        float *gate = s->gates + r * s->gate_stride;
        float *c = s->cells + r * s->state_stride, *out = s->out + r * s->out_stride;
        const float *last =
            s->last_cells ? s->last_cells + r * s->last_state_stride : NULL;
        for (int64_t k = 0; k < h; k++) {
            const float before = last ? last[k] : 0;
            const float in = sigmoid(gate[k] + pi[k] * before);
            const float f = sigmoid(gate[2 * h + k] + pf[k] * before);
            const float g = tanhf(gate[3 * h + k]);
            c[k] = f * before + in * g;
            const float o = sigmoid(gate[h + k] + po[k] * c[k]);
            out[k] = o * tanhf(c[k]);
            gate[k] = in;
            gate[h + k] = o;
            gate[2 * h + k] = f;
            gate[3 * h + k] = g;
        }
    }
}

static void peephole_gradient_range(void *arg, int64_t begin, int64_t end)
{
    const amg_recurrent_step *s = arg;
    const int64_t h = s->shape->hidden;
    const float *pi = s->peepholes, *po = pi + h, *pf = po + h;
    for (int64_t r = begin; r < end; r++) {
        float *gate = s->gates + r * s->gate_stride;
        const float *c = s->cells + r * s->state_stride;
        const float *last =
            s->last_cells ? s->last_cells + r * s->last_state_stride : NULL;
        float *dh = s->dh + r * h, *dc = s->dc + r * h;
        for (int64_t k = 0; k < h; k++) {
            const float in = gate[k], o = gate[h + k], f = gate[2 * h + k];
            const float g = gate[3 * h + k], t = tanhf(c[k]);
            const float dout = dh[k] * t * o * (1 - o);
            const float d = dc[k] + dh[k] * o * (1 - t * t) + dout * po[k];
            gate[k] = d * g * in * (1 - in);
            gate[h + k] = dout;
            gate[2 * h + k] = last ? d * last[k] * f * (1 - f) : 0;
            gate[3 * h + k] = d * in * (1 - g * g);
            dc[k] = d * f + gate[k] * pi[k] + gate[2 * h + k] * pf[k];
            dh[k] = 0;
        }
    }
}

static void gru_range(void *arg, int64_t begin, int64_t end)
{
    const amg_recurrent_step *s = arg;
    const int64_t h = s->shape->hidden;
    for (int64_t r = begin; r < end; r++) {
        float *gate = s->gates + r * s->gate_stride;
        float *hid = s->hidden_gates + r * s->gate_stride;
        float *out = s->out + r * s->out_stride;
        const float *last = s->last_out ? s->last_out + r * s->last_stride : NULL;
        if (s->hidden_bias)
            for (int64_t k = 0; k < 3 * h; k++) hid[k] += s->hidden_bias[k];
        for (int64_t k = 0; k < h; k++) {
            float z = sigmoid(gate[k] + hid[k]);
            float reset = sigmoid(gate[h + k] + hid[h + k]);
            float n = tanhf(gate[2 * h + k] + reset * hid[2 * h + k]);
            out[k] = (1 - z) * n + (last ? z * last[k] : 0);
            gate[k] = z;
            gate[h + k] = reset;
            gate[2 * h + k] = n;
        }
    }
}

static void gru_gradient_range(void *arg, int64_t begin, int64_t end)
{
    const amg_recurrent_step *s = arg;
    const int64_t h = s->shape->hidden;
    for (int64_t r = begin; r < end; r++) {
        float *gate = s->gates + r * s->gate_stride;
        float *hid = s->hidden_gates + r * s->gate_stride, *dh = s->dh + r * h;
        const float *last = s->last_out ? s->last_out + r * s->last_stride : NULL;
        for (int64_t k = 0; k < h; k++) {
            float z = gate[k], reset = gate[h + k], n = gate[2 * h + k];
            float dn = dh[k] * (1 - z) * (1 - n * n);
            float dz = dh[k] * ((last ? last[k] : 0) - n) * z * (1 - z);
            float dr = dn * hid[2 * h + k] * reset * (1 - reset);
            gate[k] = hid[k] = dz;
            gate[h + k] = hid[h + k] = dr;
            gate[2 * h + k] = dn;
            hid[2 * h + k] = dn * reset;
            dh[k] *= z;
        }
    }
}

static void gru_reset_range(void *arg, int64_t begin, int64_t end)
{
    const amg_recurrent_step *s = arg;
    const int64_t h = s->shape->hidden;
    const float *bias = s->hidden_bias;
    for (int64_t r = begin; r < end; r++) {
        float *gate = s->gates + r * s->gate_stride;
        float *hid = s->hidden_gates + r * s->gate_stride;
        const float *last = s->last_out ? s->last_out + r * s->last_stride : NULL;
        for (int64_t k = 0; k < 2 * h; k++)
            gate[k] = sigmoid(gate[k] + (hid[k] + (bias ? bias[k] : 0)));
        for (int64_t k = 0; k < h; k++) hid[k] = last ? gate[h + k] * last[k] : 0;
    }
}

static void gru_finish_range(void *arg, int64_t begin, int64_t end)
{
    const amg_recurrent_step *s = arg;
    const int64_t h = s->shape->hidden;
    const float *bias = s->hidden_bias ? s->hidden_bias + 2 * h : NULL;
    for (int64_t r = begin; r < end; r++) {
        float *gate = s->gates + r * s->gate_stride, *n = gate + 2 * h;
        const float *hid = s->hidden_gates + r * s->gate_stride + 2 * h;
        const float *last = s->last_out ? s->last_out + r * s->last_stride : NULL;
        float *out = s->out + r * s->out_stride;
        for (int64_t k = 0; k < h; k++) {
            n[k] = tanhf(n[k] + (hid[k] + (bias ? bias[k] : 0)));
            out[k] = (1 - gate[k]) * n[k] + (last ? gate[k] * last[k] : 0);
        }
    }
}

static void gru_finish_gradient_range(void *arg, int64_t begin, int64_t end)
{
    const amg_recurrent_step *s = arg;
    const int64_t h = s->shape->hidden;
    for (int64_t r = begin; r < end; r++) {
        float *gate = s->gates + r * s->gate_stride, *dh = s->dh + r * h;
        const float *last = s->last_out ? s->last_out + r * s->last_stride : NULL;
        for (int64_t k = 0; k < h; k++) {
            const float z = gate[k], n = gate[2 * h + k];
            gate[k] = dh[k] * ((last ? last[k] : 0) - n) * z * (1 - z);
            gate[2 * h + k] = dh[k] * (1 - z) * (1 - n * n);
            dh[k] *= z;
        }
    }
}

static void gru_reset_gradient_range(void *arg, int64_t begin, int64_t end)
{
    const amg_recurrent_step *s = arg;
    const int64_t h = s->shape->hidden;
    for (int64_t r = begin; r < end; r++) {
        float *gate = s->gates + r * s->gate_stride + h, *dh = s->dh + r * h;
        const float *u = s->hidden_gates + r * s->gate_stride, *du = u + h;
        for (int64_t k = 0; k < h; k++) {
            const float reset = gate[k];
            gate[k] = du[k] * u[k] * (1 - reset); /* u = r h' */
            dh[k] += du[k] * reset;
        }
    }
}

static void rnn_range(void *arg, int64_t begin, int64_t end)
{
    const amg_recurrent_step *s = arg;
    const int64_t h = s->shape->hidden;
    for (int64_t r = begin; r < end; r++) {
        const float *gate = s->gates + r * s->gate_stride;
        float *out = s->out + r * s->out_stride;
        for (int64_t k = 0; k < h; k++)
            out[k] = !s->shape->relu ? tanhf(gate[k]) : gate[k] < 0 ? 0 : gate[k];
    }
}

static void rnn_gradient_range(void *arg, int64_t begin, int64_t end)
{
    const amg_recurrent_step *s = arg;
    const int64_t h = s->shape->hidden;
    for (int64_t r = begin; r < end; r++) {
        const float *out = s->out + r * s->out_stride;
        float *gate = s->gates + r * s->gate_stride, *dh = s->dh + r * h;
        for (int64_t k = 0; k < h; k++) {
            gate[k] = s->shape->relu ? (out[k] > 0 ? dh[k] : 0)
                                     : dh[k] * (1 - out[k] * out[k]);
            dh[k] = 0;
        }
    }
}

/* ---- samples that have not the step ---- */

static void hold_range(void *arg, int64_t begin, int64_t end)
{
    const amg_recurrent_step *s = arg;
    const int64_t h = s->shape->hidden;
    for (int64_t r = begin; r < end; r++) {
        float *out = s->out + r * s->out_stride;
        for (int64_t k = 0; k < h; k++)
            out[k] = s->last_out ? s->last_out[r * s->last_stride + k] : 0;
        for (int64_t k = 0; k < h && s->cells; k++)
            s->cells[r * s->state_stride + k] =
                s->last_cells ? s->last_cells[r * s->last_state_stride + k] : 0;
    }
}

/* dh and dc stay as they are. */
static void hold_gradient_range(void *arg, int64_t begin, int64_t end)
{
    const amg_recurrent_step *s = arg;
    const size_t size = sizeof(float) * (size_t)(s->shape->gates * s->shape->hidden);
    for (int64_t r = begin; r < end; r++) {
        memset(s->gates + r * s->gate_stride, 0, size);
        if (s->hidden_gates) memset(s->hidden_gates + r * s->gate_stride, 0, size);
    }
}

static void nothing_range(void *arg, int64_t begin, int64_t end)
{
    (void)arg;
    (void)begin;
    (void)end;
}

/* ---- one step of all samples ---- */

typedef struct {
    amg_recurrent_step step;
    amg_range_fn run, hold;
} cell;

static void cell_range(void *arg, int64_t begin, int64_t end)
{
    cell *c = arg;
    if (!c->step.lengths) c->run(&c->step, begin, end);
    for (int64_t r = begin; c->step.lengths && r < end; r++)
        (amg_recurrent_runs(&c->step, r) ? c->run : c->hold)(&c->step, r, r + 1);
}

#define GRAIN_VALUES 4096

/* hold: what happens to samples that have not the step. */
static void each_row(const amg_recurrent_step *s, amg_range_fn run, amg_range_fn hold)
{
    cell c = {*s, run, hold};
    amg_parallel_for(s->shape->n, GRAIN_VALUES / s->shape->hidden + 1, cell_range, &c);
}

void amg_recurrent_cell(const amg_recurrent_step *s)
{
    static const amg_range_fn ranges[] = {[AMG_CELL_LSTM] = lstm_range,
                                          [AMG_CELL_GRU] = gru_range,
                                          [AMG_CELL_RNN] = rnn_range};
    each_row(s, s->peepholes ? peephole_range : ranges[s->shape->cell], hold_range);
}

void amg_recurrent_cell_gradient(const amg_recurrent_step *s)
{
    static const amg_range_fn ranges[] = {[AMG_CELL_LSTM] = lstm_gradient_range,
                                          [AMG_CELL_GRU] = gru_gradient_range,
                                          [AMG_CELL_RNN] = rnn_gradient_range};
    each_row(s, s->peepholes ? peephole_gradient_range : ranges[s->shape->cell],
             hold_gradient_range);
}

void amg_gru_reset(const amg_recurrent_step *s)
{
    each_row(s, gru_reset_range, nothing_range);
}

void amg_gru_finish(const amg_recurrent_step *s)
{
    each_row(s, gru_finish_range, hold_range);
}

void amg_gru_finish_gradient(const amg_recurrent_step *s)
{
    each_row(s, gru_finish_gradient_range, hold_gradient_range);
}

void amg_gru_reset_gradient(const amg_recurrent_step *s)
{
    each_row(s, gru_reset_gradient_range, nothing_range);
}
