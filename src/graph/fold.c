/* Planning a batch: constant folding, removal of no-ops and of what nothing reads.
 * Consumes an immutable graph, produces a new one through the builder.
 *
 * One pass works on copies of the graph's values and nodes: it infers each node and, if
 * all it reads is known, computes it, which turns its output into a PARAM; then it
 * marks what the outputs need and emits that. amg_graph_plan_batch makes two passes:
 * with the batch symbolic, where exporters' shape arithmetic becomes constants such as
 * [0,-1] and a batch baked into a Reshape is recognised; then with the number. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "graph/builder.h"
#include "graph/eval.h"
#include "graph/infer.h"

/* Constants above this size are not made: a small file must not fill the memory. */
#define MAX_FOLDED_BYTES ((size_t)256 << 20)

typedef struct {
    const amg_graph *g;
    int64_t batch;     /* AMG_DIM_BATCH: symbolic */
    amg_arena arena;   /* everything below */
    amg_value *values; /* g's, then shapes made here; PARAM once known */
    int num_values;
    amg_node *nodes; /* g's, with resolved inputs */
    int *same_as;    /* per value: the value it is a plain copy of, else itself */
    int *map;        /* per value: the id in the result */
    bool *symbolic;  /* per value: data known, but with AMG_EVAL_BATCH in it */
    bool *live;      /* per value: an output needs it */
} pass;

static amg_status no_memory(amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, "graph", "out of memory");
}

static amg_status begin(pass *p, amg_error *err)
{
    const amg_graph *g = p->g;
    size_t most = (size_t)g->num_values + (size_t)g->num_nodes;
    p->values = amg_arena_array(&p->arena, most, sizeof *p->values);
    p->nodes = amg_arena_array(&p->arena, (size_t)g->num_nodes, sizeof *p->nodes);
    p->same_as = amg_arena_array(&p->arena, most, sizeof *p->same_as);
    p->map = amg_arena_array(&p->arena, most, sizeof *p->map);
    p->symbolic = amg_arena_array(&p->arena, most, sizeof *p->symbolic);
    p->live = amg_arena_array(&p->arena, most, sizeof *p->live);
    if (!p->values || !p->nodes || !p->same_as || !p->map || !p->symbolic || !p->live)
        return no_memory(err);
    p->num_values = g->num_values;
    for (int v = 0; v < g->num_values; v++) {
        p->values[v] = g->values[v];
        p->same_as[v] = v;
        if (p->values[v].kind == AMG_VALUE_INPUT && p->values[v].rank > 0 &&
            p->values[v].dims[0] == AMG_DIM_BATCH)
            p->values[v].dims[0] = p->batch;
    }
    for (int n = 0; n < g->num_nodes; n++) {
        amg_node *node = &p->nodes[n];
        *node = g->nodes[n];
        int *inputs =
            amg_arena_array(&p->arena, (size_t)node->num_inputs, sizeof *inputs);
        if (!inputs) return no_memory(err);
        for (int i = 0; i < node->num_inputs; i++) inputs[i] = node->inputs[i];
        node->inputs = inputs;
    }
    return AMG_OK;
}

static int *inputs_of(const pass *p, int n)
{
    int *inputs;
    memcpy(&inputs, &p->nodes[n].inputs, sizeof inputs); /* allocated in begin */
    return inputs;
}

static bool is_output(const amg_graph *g, int value)
{
    for (int i = 0; i < g->num_outputs; i++)
        if (g->outputs[i] == value) return true;
    return false;
}

/* ---- known values ---- */

/* The node's output becomes known if its inputs are. */
static amg_status try_evaluate(pass *p, const amg_node *node, amg_error *err)
{
    amg_value *out = &p->values[node->outputs[0]];
    bool shape_only = node->op == AMG_OP_SHAPE, symbolic = shape_only;
    if (!(amg_op_get(node->op)->flags & AMG_OP_F) || out->rank < 0) return AMG_OK;
    for (int i = 0; i < node->num_inputs && !shape_only; i++) {
        int id = node->inputs[i];
        if (id == AMG_NO_VALUE) continue;
        if (!p->values[id].data.data) return AMG_OK;
        if (p->symbolic[id] && !amg_eval_carries_batch(node, i)) return AMG_OK;
        symbolic = symbolic || p->symbolic[id];
    }
    for (int i = 0; i < out->rank; i++)
        if (out->dims[i] < 0) return AMG_OK;

    amg_tensor t = {.dtype = out->dtype, .rank = out->rank};
    memcpy(t.dims, out->dims, sizeof t.dims);
    amg_status s = amg_tensor_size(t.dtype, t.rank, t.dims, &t.size_bytes, err);
    if (s || t.size_bytes > MAX_FOLDED_BYTES) return s;
    t.data = amg_arena_alloc(&p->arena, t.size_bytes ? t.size_bytes : 1);
    if (!t.data) return no_memory(err);
    if (!amg_eval_node(p->values, node, &t)) return AMG_OK;
    out->data = t;
    if (symbolic && amg_eval_has_batch(&t)) {
        p->symbolic[node->outputs[0]] = true;
    } else {
        out->kind = AMG_VALUE_PARAM;
        out->producer = -1;
    }
    return AMG_OK;
}

/* A node that passes its input on unchanged: its readers read the input instead. An
 * output that would so lose its name passes it to the value it copies, where that is
 * another node's output without a name to keep. */
static void skip_copy(pass *p, const amg_node *node)
{
    int from = node->inputs[0], to = node->outputs[0];
    bool cast_to_same =
        node->op == AMG_OP_CAST && p->values[from].dtype == p->values[to].dtype;
    if (node->op != AMG_OP_IDENTITY && !cast_to_same) return;
    if (is_output(p->g, to)) {
        amg_value *source = &p->values[from];
        if (source->kind != AMG_VALUE_ACTIVATION || is_output(p->g, from) ||
            source->name != p->g->values[from].name)
            return;
        source->name = p->values[to].name;
    }
    p->same_as[to] = from;
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

/* The node reads target from now on, a new constant of its own, in which 0 means "as
 * the input": without allowzero, the only attribute Reshape has. */
static amg_status set_target(pass *p, int n, const int64_t *target, int rank,
                             amg_error *err)
{
    const char *base = p->g->values[p->nodes[n].outputs[0]].name;
    size_t size = strlen(base) + 64;
    char *name = amg_arena_alloc(&p->arena, size);
    int64_t *data = amg_arena_array(&p->arena, (size_t)rank, sizeof *data);
    if (!name || !data) return no_memory(err);
    memcpy(data, target, (size_t)rank * sizeof *data);
    snprintf(name, size, "%s_shape", base);
    for (int i = 1; amg_graph_find_value(p->g, name) >= 0; i++)
        snprintf(name, size, "%s_shape%d", base, i);

    int id = p->num_values++;
    amg_value *v = &p->values[id];
    *v = (amg_value){.name = name,
                     .kind = AMG_VALUE_PARAM,
                     .dtype = AMG_I64,
                     .rank = 1,
                     .dims = {rank},
                     .producer = -1};
    amg_status s = amg_tensor_view(AMG_I64, 1, v->dims, data, &v->data, err);
    p->same_as[id] = id;
    inputs_of(p, n)[1] = id;
    p->nodes[n].num_attrs = 0;
    return s;
}

/* A target with the symbolic batch in it: 0 where the input has the batch at the same
 * place, else -1 if that is still free. */
static amg_status resolve_symbolic_target(pass *p, int n, amg_error *err)
{
    const amg_value *x = &p->values[p->nodes[n].inputs[0]];
    const amg_tensor *t = &p->values[p->nodes[n].inputs[1]].data;
    int64_t target[AMG_MAX_RANK];
    int at = -1, num_free = 0, rank = (int)t->dims[0];
    if (t->rank != 1 || t->dims[0] > AMG_MAX_RANK) return AMG_OK;
    for (int i = 0; i < rank; i++) {
        target[i] = ((const int64_t *)t->data)[i];
        if (target[i] == -1) num_free++;
        if (target[i] != AMG_EVAL_BATCH) continue;
        if (at >= 0) return AMG_OK;
        at = i;
    }
    if (has_empty_dim(&p->nodes[n], target, rank)) return AMG_OK;
    bool keeps_place = at < x->rank && x->dims[at] == AMG_DIM_BATCH;
    if (!keeps_place && num_free > 0) return AMG_OK;
    target[at] = keeps_place ? 0 : -1;
    return set_target(p, n, target, rank, err);
}

/* A number where inference found the batch: an exporter baked its own batch in. */
static amg_status resolve_baked_target(pass *p, int n, amg_error *err)
{
    const amg_node *node = &p->nodes[n];
    const amg_value *x = &p->values[node->inputs[0]];
    const amg_value *out = &p->values[node->outputs[0]];
    int64_t target[AMG_MAX_RANK];
    int rank;
    if (x->rank < 1 || out->rank < 1 || x->dims[0] != AMG_DIM_BATCH ||
        out->dims[0] != AMG_DIM_BATCH ||
        !amg_value_ints(&p->values[node->inputs[1]], AMG_MAX_RANK, target, &rank) ||
        target[0] < 1 || has_empty_dim(node, target, rank))
        return AMG_OK;
    target[0] = 0;
    return set_target(p, n, target, rank, err);
}

/* ---- the pass ---- */

static amg_status visit(pass *p, int n, amg_error *err)
{
    amg_node *node = &p->nodes[n];
    int *inputs = inputs_of(p, n);
    amg_status s = AMG_OK;
    for (int i = 0; i < node->num_inputs; i++)
        if (inputs[i] != AMG_NO_VALUE) inputs[i] = p->same_as[inputs[i]];
    if (node->op == AMG_OP_RESHAPE && node->num_inputs == 2 && inputs[1] >= 0 &&
        p->symbolic[inputs[1]])
        s = resolve_symbolic_target(p, n, err);
    if (!s) s = amg_infer_node(p->values, node, err);
    if (!s && node->op == AMG_OP_RESHAPE) s = resolve_baked_target(p, n, err);
    if (s) return s;
    skip_copy(p, node);
    return p->same_as[node->outputs[0]] == node->outputs[0] ? try_evaluate(p, node, err)
                                                            : AMG_OK;
}

static bool node_is_live(const pass *p, const amg_node *node)
{
    for (int i = 0; i < node->num_outputs; i++)
        if (p->live[node->outputs[i]] &&
            p->values[node->outputs[i]].kind == AMG_VALUE_ACTIVATION)
            return true;
    return false;
}

/* Marks what the outputs need; with a planned batch, all of it must have a shape. */
static amg_status mark_live(pass *p, amg_error *err)
{
    const amg_graph *g = p->g;
    for (int i = 0; i < g->num_outputs; i++) p->live[p->same_as[g->outputs[i]]] = true;
    for (int n = g->num_nodes - 1; n >= 0; n--) {
        const amg_node *node = &p->nodes[n];
        if (!node_is_live(p, node)) continue;
        for (int i = 0; i < node->num_inputs; i++)
            if (node->inputs[i] != AMG_NO_VALUE) p->live[node->inputs[i]] = true;
    }
    if (p->batch == AMG_DIM_BATCH) return AMG_OK;
    for (int n = 0; n < g->num_nodes; n++)
        if (node_is_live(p, &p->nodes[n]) && p->values[p->nodes[n].outputs[0]].rank < 0)
            return amg_node_fail(&p->nodes[n], AMG_UNSUPPORTED, err,
                                 "its output's shape depends on data, expected a shape "
                                 "that follows from the input's");
    return AMG_OK;
}

static int emit_param(const pass *p, amg_builder *b, int id)
{
    const amg_value *v = &p->values[id];
    bool ours = id >= p->g->num_values || p->g->values[id].kind != AMG_VALUE_PARAM;
    if (ours) return amg_builder_param(b, v->name, &v->data);
    if (v->data.data) return amg_builder_param_view(b, v->name, &v->data);
    return amg_builder_param_absent(b, v->name, v->dtype, v->rank, v->dims);
}

static amg_status emit_node(pass *p, amg_builder *b, const amg_node *node,
                            amg_error *err)
{
    int *inputs = amg_arena_array(&p->arena, (size_t)node->num_inputs, sizeof *inputs);
    int *outputs =
        amg_arena_array(&p->arena, (size_t)node->num_outputs, sizeof *outputs);
    const char **names =
        amg_arena_array(&p->arena, (size_t)node->num_outputs, sizeof *names);
    if (!inputs || !outputs || !names) return no_memory(err);
    for (int i = 0; i < node->num_inputs; i++)
        inputs[i] = node->inputs[i] < 0 ? AMG_NO_VALUE : p->map[node->inputs[i]];
    for (int i = 0; i < node->num_outputs; i++)
        names[i] = p->values[node->outputs[i]].name;
    amg_builder_node_multi(b, node->op, node->name, inputs, node->num_inputs,
                           node->attrs, node->num_attrs, names, node->num_outputs,
                           outputs);
    for (int i = 0; i < node->num_outputs; i++) p->map[node->outputs[i]] = outputs[i];
    return AMG_OK;
}

static amg_status emit(pass *p, amg_builder *b, amg_graph **out, amg_error *err)
{
    const amg_graph *g = p->g;
    for (int i = 0; i < g->num_inputs; i++) {
        const amg_value *v = &p->values[g->inputs[i]];
        p->map[g->inputs[i]] =
            amg_builder_input(b, v->name, v->dtype, v->rank, v->dims);
    }
    for (int v = 0; v < p->num_values; v++)
        if (p->live[v] && p->values[v].kind == AMG_VALUE_PARAM)
            p->map[v] = emit_param(p, b, v);
    for (int n = 0; n < g->num_nodes; n++) {
        if (!node_is_live(p, &p->nodes[n])) continue;
        amg_status s = emit_node(p, b, &p->nodes[n], err);
        if (s) return s;
    }
    for (int i = 0; i < g->num_outputs; i++)
        amg_builder_output(b, p->map[p->same_as[g->outputs[i]]]);
    return amg_builder_finish(b, out, err);
}

static amg_status run_pass(const amg_graph *g, int64_t batch, amg_graph **out,
                           amg_error *err)
{
    pass p = {.g = g, .batch = batch};
    amg_builder *b = amg_builder_new();
    amg_status s = b ? begin(&p, err) : no_memory(err);
    for (int n = 0; !s && n < g->num_nodes; n++) s = visit(&p, n, err);
    if (!s) s = mark_live(&p, err);
    if (!s) s = emit(&p, b, out, err);
    amg_builder_free(b);
    amg_arena_clear(&p.arena);
    return s;
}

/* Moves the buffers of from to to, which views them. */
static amg_status adopt_buffers(amg_graph *to, amg_graph *from, amg_error *err)
{
    size_t count = (size_t)to->num_buffers + (size_t)from->num_buffers;
    void **all = amg_realloc(to->buffers, (count ? count : 1) * sizeof *all);
    if (!all) return no_memory(err);
    for (int i = 0; i < from->num_buffers; i++)
        all[to->num_buffers + i] = from->buffers[i];
    to->buffers = all;
    to->num_buffers = (int)count;
    from->num_buffers = 0;
    return AMG_OK;
}

amg_status amg_graph_plan_batch(const amg_graph *g, int64_t batch, amg_graph **out,
                                amg_error *err)
{
    amg_graph *folded = NULL, *planned = NULL;
    if (batch < 1 && batch != AMG_DIM_BATCH)
        return amg_fail(err, AMG_INVALID, -1, "graph",
                        "batch is %lld, expected 1 or more", (long long)batch);
    amg_status s = run_pass(g, AMG_DIM_BATCH, &folded, err);
    if (!s && batch == AMG_DIM_BATCH) {
        *out = folded;
        return AMG_OK;
    }
    if (!s) s = run_pass(folded, batch, &planned, err);
    if (!s) s = adopt_buffers(planned, folded, err);
    amg_graph_free(folded);
    if (s)
        amg_graph_free(planned);
    else
        *out = planned;
    return s;
}
