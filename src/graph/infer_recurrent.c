/* Shape rules of the recurrent layers LSTM, GRU and RNN, and what of them is read at
 * all: PyTorch's forms, which have no clipping, an LSTM's peepholes and a GRU that
 * resets first.
 *
 * Legend: S steps, N batch, I inputs, H hidden values, D directions (2: both ways),
 * G gates (4 of an LSTM, 3 of a GRU, 1 of an RNN). layout 0 is [S,N,I], layout 1
 * [N,S,I]. */
#include <string.h>

#include "base/checked.h"
#include "graph/infer.h"

/* v, if present, has these dims; AMG_DIM_BATCH fits any. */
static amg_status expect_dims(const amg_infer *c, const char *what, const amg_value *v,
                              int rank, const int64_t *dims)
{
    char found[AMG_SHAPE_TEXT], expected[AMG_SHAPE_TEXT];
    if (!v || v->rank < 0) return AMG_OK;
    bool fits = v->rank == rank;
    for (int i = 0; fits && i < rank; i++)
        fits = v->dims[i] == dims[i] || v->dims[i] == AMG_DIM_BATCH ||
               dims[i] == AMG_DIM_BATCH;
    if (fits) return AMG_OK;
    return amg_node_fail(c->node, AMG_MISMATCH, c->err, "%s is %s, expected %s", what,
                         amg_shape_text(v->dtype, v->rank, v->dims, found),
                         amg_shape_text(v->dtype, rank, dims, expected));
}

/* Directions of the attribute; 0 if it is not one that is read. */
static int64_t num_directions(const amg_node *node)
{
    const char *direction = amg_attr_string(node, "direction", "forward");
    if (strcmp(direction, "forward") == 0 || strcmp(direction, "reverse") == 0)
        return 1;
    return strcmp(direction, "bidirectional") == 0 ? 2 : 0;
}

static amg_status check_form(const amg_infer *c)
{
    const amg_node *n = c->node;
    if (num_directions(n) == 0)
        return amg_node_fail(n, AMG_UNSUPPORTED, c->err, "direction is \"%.40s\"",
                             amg_attr_string(n, "direction", ""));
    if (amg_attr_find(n, "clip") || amg_attr_int(n, "input_forget", 0) != 0)
        return amg_node_fail(n, AMG_UNSUPPORTED, c->err,
                             "has clip or input_forget, expected none");
    return AMG_OK;
}

bool amg_recurrent_is_full(const amg_value *lengths, int64_t steps)
{
    const amg_tensor *t = &lengths->data;
    bool full = t->data && (t->dtype == AMG_I32 || t->dtype == AMG_I64);
    for (int64_t i = 0; full && i < amg_tensor_count(t); i++)
        full = (t->dtype == AMG_I32 ? ((const int32_t *)t->data)[i]
                                    : ((const int64_t *)t->data)[i]) == steps;
    return full;
}

/* Lengths of sequences that are not all full. */
static amg_status check_lengths(const amg_infer *c, int64_t steps, int64_t batch)
{
    const amg_value *v = amg_infer_find_in(c, 4);
    if (!v || amg_recurrent_is_full(v, steps)) return AMG_OK;
    if (v->dtype != AMG_I32)
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "sequence_lens is %s, expected I32",
                             amg_dtype_name(v->dtype));
    return expect_dims(c, "sequence_lens", v, 1, &batch);
}

/* Shapes of the operands against X, W and R, which are known. */
static amg_status check_operands(const amg_infer *c, int64_t gates)
{
    const amg_value *x = amg_infer_in(c, 0), *r = amg_infer_in(c, 2);
    int64_t d = num_directions(c->node), hidden = r->rank == 3 ? r->dims[2] : 0, rows;
    bool layout = amg_attr_int(c->node, "layout", 0) != 0;
    char text[AMG_SHAPE_TEXT];
    if (x->rank != 3 || x->dims[layout ? 1 : 0] == 0)
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "input is %s, expected 3 dims and a step at least",
                             amg_shape_text(x->dtype, x->rank, x->dims, text));
    if (hidden < 1 || !amg_mul_i64(hidden, 2 * gates, &rows) ||
        amg_attr_int(c->node, "hidden_size", hidden) != hidden)
        return amg_node_fail(
            c->node, AMG_MISMATCH, c->err,
            "R is %s, expected [%lld, %lld * hidden_size, hidden_size]",
            amg_shape_text(r->dtype, r->rank, r->dims, text), (long long)d,
            (long long)gates);
    rows /= 2;
    int64_t batch = x->dims[layout ? 0 : 1];
    amg_status s = check_lengths(c, x->dims[layout ? 1 : 0], batch);
    if (s) return s;
    int64_t state[3] = {layout ? batch : d, layout ? d : batch, hidden};
    s = expect_dims(c, "R", r, 3, (int64_t[]){d, rows, hidden});
    if (!s)
        s = expect_dims(c, "W", amg_infer_in(c, 1), 3,
                        (int64_t[]){d, rows, x->dims[2]});
    if (!s)
        s = expect_dims(c, "B", amg_infer_find_in(c, 3), 2, (int64_t[]){d, 2 * rows});
    if (!s)
        s = expect_dims(c, "P", amg_infer_find_in(c, 7), 2, (int64_t[]){d, 3 * hidden});
    for (int i = 5; !s && i < 7; i++)
        s = expect_dims(c, i == 5 ? "initial_h" : "initial_c", amg_infer_find_in(c, i),
                        3, state);
    return s;
}

amg_status amg_infer_recurrent(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0), *w = amg_infer_in(c, 1);
    const amg_value *r = amg_infer_in(c, 2);
    for (int i = 0; i < c->node->num_outputs; i++)
        amg_infer_out(c, i)->dtype = x->dtype;
    amg_status s = check_form(c);
    if (s) return s;
    if (x->dtype != AMG_F32 || w->dtype != AMG_F32 || r->dtype != AMG_F32)
        return amg_node_fail(c->node, AMG_UNSUPPORTED, c->err,
                             "input, W and R are %s, %s and %s, expected F32",
                             amg_dtype_name(x->dtype), amg_dtype_name(w->dtype),
                             amg_dtype_name(r->dtype));
    if (x->rank < 0 || w->rank < 0 || r->rank < 0) return AMG_OK;
    s = check_operands(c, c->node->op == AMG_OP_LSTM  ? 4
                          : c->node->op == AMG_OP_GRU ? 3
                                                      : 1);
    if (s) return s;

    bool layout = amg_attr_int(c->node, "layout", 0) != 0;
    int64_t d = num_directions(c->node), hidden = r->dims[2];
    int64_t steps = x->dims[layout ? 1 : 0], batch = x->dims[layout ? 0 : 1];
    int64_t all[4] = {steps, d, batch, hidden}, last[3] = {d, batch, hidden};
    if (layout) {
        memcpy(all, (int64_t[]){batch, steps, d, hidden}, sizeof all);
        memcpy(last, (int64_t[]){batch, d, hidden}, sizeof last);
    }
    amg_infer_set(c, 0, x->dtype, 4, all);
    for (int i = 1; i < c->node->num_outputs; i++)
        amg_infer_set(c, i, x->dtype, 3, last);
    return AMG_OK;
}
