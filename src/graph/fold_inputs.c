/* What a node reads, in a form that does not name the batch: zeros that exporters spell
 * out in its shape go, targets of Reshape and sizes of Resize become constants that
 * hold for every batch. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "graph/batch_place.h"
#include "graph/eval.h"
#include "graph/fold_pass.h"
#include "graph/infer.h"

typedef amg_fold pass;

/* ---- zeros that exporters spell out ---- */

static bool all_zero(const amg_tensor *t)
{
    const uint8_t *bytes = t->data;
    for (size_t i = 0; bytes && i < t->size_bytes; i++)
        if (bytes[i]) return false;
    return bytes != NULL;
}

/* Whether the value is zeros, in a shape that may depend on the batch. */
static bool is_zero(const pass *p, int value)
{
    for (;;) {
        const amg_value *v = &p->values[value];
        if (v->kind != AMG_VALUE_ACTIVATION)
            return v->kind == AMG_VALUE_PARAM && v->role == AMG_ROLE_CONSTANT &&
                   v->dtype == AMG_F32 && all_zero(&v->data);
        const amg_node *node = &p->nodes[v->producer];
        const amg_attr *filling = amg_attr_find(node, "value");
        switch (node->op) {
        case AMG_OP_CONSTANT_OF_SHAPE: return !filling || all_zero(&filling->tensor);
        case AMG_OP_IDENTITY:
        case AMG_OP_RESHAPE:
        case AMG_OP_UNSQUEEZE:
        case AMG_OP_SQUEEZE:
        case AMG_OP_TRANSPOSE:
        case AMG_OP_SLICE:
        case AMG_OP_EXPAND: value = node->inputs[0]; break;
        default: return false;
        }
    }
}

/* Recurrent layers begin with zeros and take all steps, which exporters spell out in
 * the batch's shape. */
static void drop_zero_states(pass *p, int n)
{
    amg_node *node = &p->nodes[n];
    int *inputs = amg_fold_inputs_of(p, n);
    if (node->op != AMG_OP_LSTM && node->op != AMG_OP_GRU && node->op != AMG_OP_RNN)
        return;
    const amg_value *x = &p->values[inputs[0]];
    const int steps = amg_attr_int(node, "layout", 0) ? 1 : 0;
    if (node->num_inputs > 4 && inputs[4] != AMG_NO_VALUE && x->rank == 3 &&
        amg_recurrent_is_full(&p->values[inputs[4]], x->dims[steps]))
        inputs[4] = AMG_NO_VALUE;
    for (int i = 5; i < node->num_inputs && i < 7; i++)
        if (inputs[i] != AMG_NO_VALUE && is_zero(p, inputs[i]))
            inputs[i] = AMG_NO_VALUE;
    while (node->num_inputs > 3 && inputs[node->num_inputs - 1] == AMG_NO_VALUE)
        node->num_inputs--;
}

/* A convolution without bias gets zeros from one exporter: a number, expanded. They
 * must not train. */
static void drop_zero_bias(pass *p, int n)
{
    amg_node *node = &p->nodes[n];
    if ((node->op != AMG_OP_CONV && node->op != AMG_OP_CONV_TRANSPOSE) ||
        node->num_inputs < 3 || node->inputs[2] == AMG_NO_VALUE)
        return;
    const amg_value *bias = &p->g->values[node->inputs[2]];
    if (bias->kind != AMG_VALUE_ACTIVATION ||
        p->g->nodes[bias->producer].op != AMG_OP_EXPAND)
        return;
    const amg_tensor *number = &p->values[p->nodes[bias->producer].inputs[0]].data;
    if (number->data && amg_tensor_count(number) == 1 && all_zero(number))
        node->num_inputs = 2;
}

/* ---- Reshape targets ---- */

/* Whether 0 in the target means a dim of 0 somewhere: then it is left alone. */
static bool has_empty_dim(const amg_node *node, const int64_t *target, int rank)
{
    if (amg_attr_int(node, "allowzero", 0) == 0) return false;
    for (int i = 0; i < rank; i++)
        if (target[i] == 0) return true;
    return false;
}

/* Node n reads count values from now on as its input i: a vector of its own, a constant
 * named after its output and what it is. data: in the pass's arena. */
static amg_status read_constant(pass *p, int n, int i, const char *what,
                                amg_dtype dtype, int count, const void *data,
                                amg_error *err)
{
    const char *base = p->g->values[p->nodes[n].outputs[0]].name;
    const size_t size = strlen(base) + 64;
    char *name = amg_arena_alloc(&p->arena, size);
    if (!name || !data) return amg_fold_no_memory(err);
    snprintf(name, size, "%s_%s", base, what);
    for (int k = 1; amg_graph_find_value(p->g, name) >= 0; k++)
        snprintf(name, size, "%s_%s%d", base, what, k);
    const int id = p->num_values++;
    amg_value *v = &p->values[id];
    *v = (amg_value){.name = name,
                     .kind = AMG_VALUE_PARAM,
                     .dtype = dtype,
                     .rank = 1,
                     .dims = {count},
                     .producer = -1};
    p->same_as[id] = id;
    amg_fold_inputs_of(p, n)[i] = id;
    return amg_tensor_view(dtype, 1, v->dims, data, &v->data, err);
}

/* The node reads target from now on, in which 0 means "as the input": without
 * allowzero, the only attribute Reshape has. */
static amg_status set_target(pass *p, int n, const int64_t *target, int rank,
                             amg_error *err)
{
    int64_t *data = amg_arena_array(&p->arena, (size_t)rank, sizeof *data);
    if (!data) return amg_fold_no_memory(err);
    memcpy(data, target, (size_t)rank * sizeof *data);
    p->nodes[n].num_attrs = 0;
    return read_constant(p, n, 1, "shape", AMG_I64, rank, data, err);
}

/* A target with the symbolic batch in it: 0 where the input has the same dim at the
 * same place, else -1 if that is still free. */
static amg_status resolve_symbolic_target(pass *p, int n, amg_error *err)
{
    const amg_value *x = &p->values[p->nodes[n].inputs[0]];
    const amg_value *shape = &p->values[p->nodes[n].inputs[1]];
    int64_t target[AMG_MAX_RANK], times = 0;
    int at = -1, num_free = 0, rank;
    if (!amg_eval_has_batch(&shape->data) ||
        !amg_value_shape(shape, AMG_MAX_RANK, target, &rank))
        return AMG_OK;
    for (int i = 0; i < rank; i++) {
        if (target[i] == -1) num_free++;
        if (!amg_eval_batches(target[i])) continue;
        if (at >= 0) return AMG_OK;
        at = i;
        times = amg_eval_batches(target[i]);
    }
    if (has_empty_dim(&p->nodes[n], target, rank)) return AMG_OK;
    bool keeps_place = at < x->rank && x->dims[at] == -times;
    if (!keeps_place && num_free > 0) return AMG_OK;
    target[at] = keeps_place ? 0 : -1;
    return set_target(p, n, target, rank, err);
}

/* A target for the samples of an exporter, [5,12,16] for three of [5,N,64]: the batch
 * stays where it is in memory, [5,-1,16]. */
static amg_status open_target(pass *p, int n, amg_error *err)
{
    const amg_node *node = &p->nodes[n];
    const amg_value *x = &p->values[node->inputs[0]];
    int64_t target[AMG_MAX_RANK];
    int rank;
    if (x->rank < 1 ||
        !amg_value_ints(&p->values[node->inputs[1]], AMG_MAX_RANK, target, &rank))
        return AMG_OK;
    const int64_t samples = amg_batch_samples(x, target, rank);
    const int at = samples ? amg_batch_place(x, samples, target, rank) : -1;
    if (at < 0) return AMG_OK;
    target[at] = -1;
    amg_status s = set_target(p, n, target, rank, err);
    return s ? s : amg_infer_node(p->values, node, err);
}

amg_status amg_fold_baked_target(pass *p, int n, amg_error *err)
{
    const amg_node *node = &p->nodes[n];
    const amg_value *x = &p->values[node->inputs[0]];
    const amg_value *out = &p->values[node->outputs[0]];
    int64_t target[AMG_MAX_RANK];
    int rank;
    if (out->rank < 0) return open_target(p, n, err);
    if (x->rank < 1 || out->rank < 1 || out->dims[0] != AMG_DIM_BATCH ||
        !amg_value_ints(&p->values[node->inputs[1]], AMG_MAX_RANK, target, &rank) ||
        target[0] < 1 || has_empty_dim(node, target, rank))
        return AMG_OK;
    if (x->dims[0] == AMG_DIM_BATCH) {
        target[0] = 0;
    } else {
        for (int i = 1; i < rank; i++) /* [7,-1] of [N*3,16] is [N,48] */
            if (target[i] == -1) target[i] = out->dims[i];
        if (!amg_batch_samples(x, target, rank)) return AMG_OK;
        target[0] = -1;
    }
    return set_target(p, n, target, rank, err);
}

/* ---- Resize sizes ---- */

/* The least scale that makes out of in, rounded down. */
static float scale_for(int64_t in, int64_t out)
{
    float scale = (float)out / (float)in;
    while (floor((double)in * (double)scale) < (double)out)
        scale = nextafterf(scale, INFINITY);
    return scale;
}

/* Sizes name the batch; scales do not: a Resize to sizes that are known but for the
 * batch reads scales from now on, a new constant of its own. */
static amg_status resolve_sizes(pass *p, int n, amg_error *err)
{
    amg_node *node = &p->nodes[n];
    int *inputs = amg_fold_inputs_of(p, n), rank;
    int64_t sizes[AMG_MAX_RANK];
    if (node->op != AMG_OP_RESIZE || node->num_inputs != 4 || inputs[3] < 0)
        return AMG_OK;
    const amg_value *x = &p->values[inputs[0]];
    if (x->rank < 3 || x->dims[0] != AMG_DIM_BATCH ||
        !amg_value_shape(&p->values[inputs[3]], AMG_MAX_RANK, sizes, &rank) ||
        rank != x->rank || sizes[1] != x->dims[1])
        return AMG_OK;
    float *scales = amg_arena_array(&p->arena, (size_t)rank, sizeof *scales);
    if (!scales) return amg_fold_no_memory(err);
    for (int i = 0; i < rank; i++) {
        if (i >= 2 && (sizes[i] < 1 || sizes[i] > INT32_MAX || x->dims[i] < 1))
            return AMG_OK;
        scales[i] = i < 2 ? 1 : scale_for(x->dims[i], sizes[i]);
    }
    node->num_inputs = 3;
    return read_constant(p, n, 2, "scales", AMG_F32, rank, scales, err);
}

amg_status amg_fold_inputs(amg_fold *p, int n, amg_error *err)
{
    const amg_node *node = &p->nodes[n];
    amg_status s = AMG_OK;
    if (node->op == AMG_OP_RESHAPE && node->num_inputs == 2 && node->inputs[1] >= 0)
        s = resolve_symbolic_target(p, n, err);
    drop_zero_states(p, n);
    drop_zero_bias(p, n);
    return s ? s : resolve_sizes(p, n, err);
}
