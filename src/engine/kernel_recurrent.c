/* The plan's side of LSTM, GRU and RNN: which buffers a pass over a whole sequence has.
 * The passes themselves are recurrent_pass.c's, the cells recurrent_cell.c's. */
#include <string.h>

#include "engine/kernel.h"
#include "engine/recurrent.h"

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

/* Buffer of the lengths, otherwise if there are none or they are constant. */
static int read_lengths(amg_plan *p, int node, const amg_recurrent_passes *self,
                        int otherwise)
{
    return self->has_lengths && !self->constant_lengths
               ? amg_plan_read(p, node, amg_plan_input_value(p, node, 4), NULL)
               : otherwise;
}

/* Buffer of the peepholes, likewise. */
static int read_peepholes(amg_plan *p, int node, const amg_recurrent_passes *self,
                          int otherwise)
{
    return self->has_peepholes
               ? amg_plan_read(p, node, amg_plan_input_value(p, node, 7), NULL)
               : otherwise;
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
    amg_recurrent_passes *self = amg_plan_alloc(p, 1, sizeof *self);
    if (!self) return;
    read_shape(p, node, &self->shape);
    p->nodes[node].self = self;
    const amg_node *n = amg_plan_node(p, node);
    const amg_recurrent *s = &self->shape;
    const int b = amg_plan_input_value(p, node, 3);
    const size_t rows = (size_t)(s->directions * s->steps * s->n) * sizeof(float);
    const size_t width = (size_t)(s->gates * s->hidden);
    self->gates = amg_plan_temp(p, rows * width);
    self->states =
        s->cell == AMG_CELL_RNN
            ? self->gates
            : amg_plan_temp(
                  p, rows * (s->cell == AMG_CELL_GRU ? width : (size_t)s->hidden));
    self->has_bias = b != AMG_NO_VALUE;
    self->has_peepholes = amg_plan_input_value(p, node, 7) != AMG_NO_VALUE;
    const int lengths = amg_plan_input_value(p, node, 4);
    self->has_lengths = lengths != AMG_NO_VALUE;
    if (self->has_lengths) {
        const amg_tensor *t = amg_plan_constant(p, lengths);
        self->constant_lengths = t ? t->data : NULL;
        self->held = amg_plan_temp(p, rows * (size_t)s->hidden);
        self->where = amg_plan_where(p, node);
    }
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
    const int buffers[AMG_RECURRENT_VALUES] = {y,
                                               x,
                                               w,
                                               r,
                                               self->gates,
                                               self->states,
                                               bias,
                                               y_h,
                                               y_c,
                                               first_h,
                                               first_c,
                                               read_lengths(p, node, self, y),
                                               self->has_lengths ? self->held : y,
                                               read_peepholes(p, node, self, y)};
    amg_emit_kernel(p, node, names[s->cell], amg_recurrent_run, self,
                    AMG_RECURRENT_VALUES, buffers);
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
    const amg_recurrent_passes *forward = p->nodes[node].self;
    amg_recurrent_passes *self = amg_plan_alloc(p, 1, sizeof *self);
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
    const int peepholes = amg_plan_input_value(p, node, 7);
    const int dpeepholes =
        self->has_peepholes ? amg_plan_grad_target(p, peepholes, NULL) : y;
    int read_x = amg_plan_read(p, node, x, amg_plan_plain(p, x));
    const int buffers[AMG_RECURRENT_GRADIENTS] = {
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
        amg_plan_temp(p, (size_t)(s->gates * s->hidden) * sizeof(double)),
        read_first(p, node, 5, y),
        read_first(p, node, 6, y),
        dfirst[0],
        dfirst[1],
        read_lengths(p, node, self, y),
        self->has_lengths ? self->held : y,
        read_peepholes(p, node, self, y),
        dpeepholes};
    amg_emit_kernel(p, node, names_backward[s->cell], amg_recurrent_run_back, self,
                    AMG_RECURRENT_GRADIENTS, buffers);
    amg_plan_give_grad(p, node, x, dx, amg_plan_plain(p, x));
    amg_plan_give_grad(p, node, w, dw, NULL);
    amg_plan_give_grad(p, node, r, dr, NULL);
    if (self->has_bias) amg_plan_give_grad(p, node, b, db, NULL);
    if (self->has_peepholes) amg_plan_give_grad(p, node, peepholes, dpeepholes, NULL);
    for (int i = 0; i < 2; i++)
        if (dfirst[i] != y)
            amg_plan_give_grad(p, node, n->inputs[5 + i], dfirst[i],
                               amg_plan_plain(p, n->inputs[5 + i]));
}
