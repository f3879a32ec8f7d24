/* Planning a batch: constant folding, removal of no-ops and of what nothing reads.
 * Consumes an immutable graph, produces a new one through the builder.
 *
 * One pass works on copies of the graph's values and nodes: it infers each node and, if
 * all it reads is known, computes it, which turns its output into a PARAM; then it
 * marks what the outputs need and emits that. amg_graph_plan_batch makes passes with
 * the batch symbolic, where exporters' shape arithmetic becomes constants such as
 * [0,-1] and a batch baked into a Reshape is recognised; then one with the number.
 * Sorted batches (batch_order.c), masks of dropout (drop_mask.c; here those whose
 * shapes were not known when the file was read), compositions (lower.c) and linear
 * layers (linear.c) are rewritten between passes, when shapes are known and before the
 * transposes of weights are folded. */
#include <string.h>

#include "base/alloc.h"
#include "graph/batch_order.h"
#include "graph/builder.h"
#include "graph/drop_mask.h"
#include "graph/eval.h"
#include "graph/eval_number.h"
#include "graph/fold_pass.h"
#include "graph/infer.h"
#include "graph/linear.h"
#include "graph/lower.h"
#include "graph/origin.h"
#include "graph/same.h"

/* Constants above this size are not made: a small file must not fill the memory. */
#define MAX_FOLDED_BYTES ((size_t)256 << 20)

typedef amg_fold pass;

static amg_status begin(pass *p, amg_error *err)
{
    const amg_graph *g = p->g;
    size_t most = (size_t)g->num_values + (size_t)g->num_nodes;
    p->values = amg_arena_array(&p->arena, most, sizeof *p->values);
    p->nodes = amg_arena_array(&p->arena, (size_t)g->num_nodes, sizeof *p->nodes);
    p->same_as = amg_arena_array(&p->arena, most, sizeof *p->same_as);
    p->map = amg_arena_array(&p->arena, most, sizeof *p->map);
    p->live = amg_arena_array(&p->arena, most, sizeof *p->live);
    p->moved = amg_arena_array(&p->arena, (size_t)g->num_nodes, sizeof *p->moved);
    if (!p->values || !p->nodes || !p->same_as || !p->map || !p->live || !p->moved)
        return amg_fold_no_memory(err);
    p->num_values = g->num_values;
    for (int v = 0; v < g->num_values; v++) {
        p->values[v] = g->values[v];
        p->same_as[v] = v;
        if (p->values[v].kind == AMG_VALUE_ACTIVATION)
            p->values[v].data = (amg_tensor){0}; /* of another batch */
        if (p->values[v].kind == AMG_VALUE_INPUT && p->values[v].rank > 0 &&
            p->values[v].dims[0] == AMG_DIM_BATCH)
            p->values[v].dims[0] = p->batch;
    }
    for (int n = 0; n < g->num_nodes; n++) {
        amg_node *node = &p->nodes[n];
        *node = g->nodes[n];
        int *inputs =
            amg_arena_array(&p->arena, (size_t)node->num_inputs, sizeof *inputs);
        if (!inputs) return amg_fold_no_memory(err);
        for (int i = 0; i < node->num_inputs; i++) inputs[i] = node->inputs[i];
        node->inputs = inputs;
    }
    return amg_fold_find_ties(p, err);
}

static bool is_output(const amg_graph *g, int value)
{
    for (int i = 0; i < g->num_outputs; i++)
        if (g->outputs[i] == value) return true;
    return false;
}

/* ---- known values ---- */

/* What follows for what the node makes: numbers made of constants, of whole numbers or
 * of nothing are constants. */
static amg_param_said said_of_result(const pass *p, const amg_node *node)
{
    amg_param_said said = AMG_SAID_CONSTANT;
    if (amg_eval_reads_shape(node->op)) return said;
    for (int i = 0; i < node->num_inputs; i++) {
        if (node->inputs[i] == AMG_NO_VALUE) continue;
        const amg_value *v = &p->values[node->inputs[i]];
        if (!amg_dtype_is_float(v->dtype) || v->kind != AMG_VALUE_PARAM) continue;
        if (v->said == AMG_SAID_WEIGHT) return AMG_SAID_WEIGHT;
        if (v->said == AMG_SAID_NOTHING) said = AMG_SAID_NOTHING;
    }
    return said;
}

/* What a weight is rearranged to is one, for what follows in the same pass. */
static amg_param_role role_of_result(const pass *p, const amg_node *node)
{
    for (int i = 0; i < node->num_inputs; i++)
        if (node->inputs[i] != AMG_NO_VALUE && amg_origin_moves(node, i) &&
            p->values[node->inputs[i]].kind == AMG_VALUE_PARAM &&
            p->values[node->inputs[i]].role == AMG_ROLE_TRAINABLE)
            return AMG_ROLE_TRAINABLE;
    return AMG_ROLE_CONSTANT;
}

/* Output `which` of a node whose inputs are known; with the batch in it, it stays an
 * activation. */
static amg_status evaluate(pass *p, const amg_node *node, int which, amg_error *err)
{
    amg_value *out = &p->values[node->outputs[which]];
    amg_tensor t = {.dtype = out->dtype, .rank = out->rank};
    memcpy(t.dims, out->dims, sizeof t.dims);
    amg_status s = amg_tensor_size(t.dtype, t.rank, t.dims, &t.size_bytes, err);
    if (s || t.size_bytes > MAX_FOLDED_BYTES) return s;
    t.data = amg_arena_alloc(&p->arena, t.size_bytes ? t.size_bytes : 1);
    if (!t.data) return amg_fold_no_memory(err);
    if (!amg_eval_node(p->values, node, which, &t)) return AMG_OK;
    out->data = t;
    if (amg_eval_has_batch(&t)) return AMG_OK;
    out->kind = AMG_VALUE_PARAM;
    out->producer = -1;
    out->said = said_of_result(p, node);
    out->role = role_of_result(p, node);
    return AMG_OK;
}

/* Whether two of the entries are the same row of many; those of a constant Gather. */
static bool has_twice(const amg_tensor *index, int64_t rows)
{
    int64_t n = amg_tensor_count(index);
    if (n > rows) return true;
    for (int64_t i = 1; i < n; i++)
        for (int64_t j = 0; j < i; j++) {
            int64_t apart =
                index->dtype == AMG_I64
                    ? ((const int64_t *)index->data)[i] - ((int64_t *)index->data)[j]
                    : ((const int32_t *)index->data)[i] - ((int32_t *)index->data)[j];
            if (apart % rows == 0) return true;
        }
    return false;
}

/* Whether the node has, or may have, elements of a float tensor several times in its
 * output. If that is a weight (a class token, a table of positions) it has to stay one
 * weight; a constant loses nothing by staying as it is. */
static bool repeats_weight(const pass *p, const amg_node *node)
{
    const bool picks =
        node->op == AMG_OP_GATHER_ND || node->op == AMG_OP_GATHER_ELEMENTS;
    if (!picks && node->op != AMG_OP_EXPAND && node->op != AMG_OP_TILE &&
        node->op != AMG_OP_GATHER)
        return false;
    const amg_tensor *x = &p->values[node->inputs[0]].data;
    const amg_value *out = &p->values[node->outputs[0]];
    int64_t made = 1, count = amg_tensor_count(x);
    if (x->dtype != AMG_F32 || count < 2) return false;
    if (picks) return true;
    if (node->op == AMG_OP_GATHER)
        return has_twice(
            &p->values[node->inputs[1]].data,
            x->dims[amg_axis_find(amg_attr_int(node, "axis", 0), x->rank)]);
    for (int d = 0; d < out->rank; d++) made *= out->dims[d];
    return made > count;
}

/* Whether the node computes floats that have to stay computed: of a weight, which will
 * change; or a function of a table (sines of positions), which would be taken for a
 * weight if it stood there as numbers. */
static bool stays_computed(const pass *p, const amg_node *node)
{
    const amg_value *out = &p->values[node->outputs[0]];
    const bool unary = amg_number_is_unary(node->op) || node->op == AMG_OP_CLIP;
    if (out->dtype != AMG_F32 || (!unary && !amg_number_is_binary(node->op)))
        return false;
    for (int i = 0; i < node->num_inputs; i++) {
        if (node->inputs[i] == AMG_NO_VALUE) continue;
        const amg_value *v = &p->values[node->inputs[i]];
        if (v->kind == AMG_VALUE_PARAM && v->role != AMG_ROLE_CONSTANT) return true;
    }
    const bool of_masks = node->op == AMG_OP_NEG || node->op == AMG_OP_SQRT ||
                          node->op == AMG_OP_RECIPROCAL;
    int64_t count = 1;
    for (int d = 0; d < out->rank; d++) count *= out->dims[d];
    return unary && (amg_op_get(node->op)->flags & AMG_OP_D) && !of_masks &&
           count > 1 && said_of_result(p, node) != AMG_SAID_CONSTANT;
}

/* Whether the node joins weights and constants (a bias whose part for keys is zeros),
 * of which folding would make one weight. */
static bool joins_constants(const pass *p, const amg_node *node)
{
    bool weights = false, constants = false;
    if (node->op != AMG_OP_CONCAT) return false;
    for (int i = 0; i < node->num_inputs; i++) {
        const amg_value *v = &p->values[node->inputs[i]];
        if (!amg_dtype_is_float(v->dtype) || !amg_tensor_count(&v->data)) continue;
        weights = weights || v->said == AMG_SAID_WEIGHT;
        constants = constants || v->said == AMG_SAID_CONSTANT;
    }
    return weights && constants;
}

/* The node's outputs become known if its inputs are. */
static amg_status try_evaluate(pass *p, const amg_node *node, amg_error *err)
{
    amg_status s = AMG_OK;
    if (!amg_eval_ready(p->values, node) || repeats_weight(p, node) ||
        amg_fold_keeps_tie(p, node) || stays_computed(p, node) ||
        joins_constants(p, node))
        return AMG_OK;
    if (p->kept && amg_linear_is_transposed_weight(p->values, node)) {
        *p->kept = true;
        return AMG_OK;
    }
    for (int i = 0; !s && i < node->num_outputs; i++) s = evaluate(p, node, i, err);
    return s;
}

/* A block that is run several times moves its weights each time, and each would train
 * alone: what node n computed gives way to what an equal node did before. Constants are
 * left alone: those of a job's sub-networks must not become one. */
static void skip_repeated(pass *p, int n)
{
    const amg_node *node = &p->nodes[n];
    for (int i = 0; i < node->num_outputs; i++) {
        const amg_value *v = &p->values[node->outputs[i]];
        if (v->kind != AMG_VALUE_PARAM || v->dtype != AMG_F32 ||
            v->said == AMG_SAID_CONSTANT || is_output(p->g, node->outputs[i]))
            return;
    }
    for (int m = 0; m < p->num_moved; m++) {
        const amg_node *first = &p->nodes[p->moved[m]];
        if (!amg_same_node(p->values, first, node)) continue;
        for (int i = 0; i < node->num_outputs; i++)
            p->same_as[node->outputs[i]] = first->outputs[i];
        return;
    }
    p->moved[p->num_moved++] = n;
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

/* ---- the pass ---- */

static amg_status visit(pass *p, int n, amg_error *err)
{
    amg_node *node = &p->nodes[n];
    int *inputs = amg_fold_inputs_of(p, n);
    amg_status s = AMG_OK;
    for (int i = 0; i < node->num_inputs; i++)
        if (inputs[i] != AMG_NO_VALUE) inputs[i] = p->same_as[inputs[i]];
    s = amg_fold_inputs(p, n, err);
    if (!s) s = amg_infer_node(p->values, node, err);
    if (!s && node->op == AMG_OP_RESHAPE) s = amg_fold_baked_target(p, n, err);
    if (s) return s;
    skip_copy(p, node);
    if (p->same_as[node->outputs[0]] != node->outputs[0]) return AMG_OK;
    s = try_evaluate(p, node, err);
    if (!s) skip_repeated(p, n);
    return s;
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
    if (!ours) return amg_builder_param_of(b, v->name, v);
    const int made = amg_builder_param(b, v->name, &v->data);
    amg_builder_say(b, made, v->said);
    return made;
}

static amg_status emit_node(pass *p, amg_builder *b, const amg_node *node,
                            amg_error *err)
{
    /* Optional outputs at the end that nothing needs; Split and TopK have none. */
    int num_outputs = node->num_outputs;
    while (num_outputs > 1 && node->op != AMG_OP_SPLIT && node->op != AMG_OP_TOP_K &&
           !p->live[node->outputs[num_outputs - 1]])
        num_outputs--;
    int *inputs = amg_arena_array(&p->arena, (size_t)node->num_inputs, sizeof *inputs);
    int *outputs = amg_arena_array(&p->arena, (size_t)num_outputs, sizeof *outputs);
    const char **names = amg_arena_array(&p->arena, (size_t)num_outputs, sizeof *names);
    if (!inputs || !outputs || !names) return amg_fold_no_memory(err);
    for (int i = 0; i < node->num_inputs; i++)
        inputs[i] = node->inputs[i] < 0 ? AMG_NO_VALUE : p->map[node->inputs[i]];
    for (int i = 0; i < num_outputs; i++) names[i] = p->values[node->outputs[i]].name;
    amg_builder_node_multi(b, node->op, node->name, inputs, node->num_inputs,
                           node->attrs, node->num_attrs, names, num_outputs, outputs);
    for (int i = 0; i < num_outputs; i++) p->map[node->outputs[i]] = outputs[i];
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

static amg_status run_pass(const amg_graph *g, int64_t batch, bool *kept,
                           amg_graph **out, amg_error *err)
{
    pass p = {.g = g, .batch = batch, .kept = kept};
    amg_builder *b = amg_builder_new();
    amg_status s = b ? begin(&p, err) : amg_fold_no_memory(err);
    for (int n = 0; !s && n < g->num_nodes; n++) s = visit(&p, n, err);
    if (!s) s = mark_live(&p, err);
    if (!s) s = emit(&p, b, out, err);
    amg_builder_free(b);
    amg_arena_clear(&p.arena);
    return s;
}

static amg_status pass_over(amg_graph **g, int64_t batch, amg_error *err)
{
    amg_graph *next = NULL;
    amg_status s = run_pass(*g, batch, NULL, &next, err);
    return s ? s : amg_replace_graph(g, next, err);
}

typedef amg_status (*rewrite_fn)(const amg_graph *g, amg_graph **out, amg_error *err);

static amg_status rewrite(amg_graph **g, rewrite_fn fn, bool *changed, amg_error *err)
{
    amg_graph *next = NULL;
    amg_status s = fn(*g, &next, err);
    if (s || !next) return s;
    *changed = true;
    return amg_replace_graph(g, next, err);
}

/* What a rewrite has made is folded. */
static amg_status rewrite_and_fold(amg_graph **g, rewrite_fn fn, int64_t batch,
                                   bool *kept, amg_error *err)
{
    bool changed = false;
    amg_graph *next = NULL;
    amg_status s = rewrite(g, fn, &changed, err);
    if (s || !changed) return s;
    s = run_pass(*g, batch, kept, &next, err);
    return s ? s : amg_replace_graph(g, next, err);
}

/* Weights may be absent, what the network computes with may not. */
static amg_status check_constants(const amg_graph *g, amg_error *err)
{
    for (int i = 0; i < g->num_values; i++) {
        const amg_value *v = &g->values[i];
        if (v->kind == AMG_VALUE_PARAM && v->role == AMG_ROLE_CONSTANT &&
            !v->data.data && v->data.size_bytes)
            return amg_fail(err, AMG_INVALID, -1, v->name,
                            "a constant without data: only weights may be absent");
    }
    return AMG_OK;
}

amg_status amg_graph_plan_batch(const amg_graph *g, int64_t batch, amg_graph **out,
                                amg_error *err)
{
    amg_graph *made = NULL;
    bool again = false;
    if (batch < 1 && batch != AMG_DIM_BATCH)
        return amg_fail(err, AMG_INVALID, -1, "graph",
                        "batch is %lld, expected 1 or more", (long long)batch);
    amg_status s = run_pass(g, AMG_DIM_BATCH, &again, &made, err);
    if (!s)
        s = rewrite_and_fold(&made, amg_batch_order_drop, AMG_DIM_BATCH, &again, err);
    if (!s) s = rewrite(&made, amg_drop_masks_join, &again, err);
    if (!s) s = amg_drop_masks_check(made, err);
    if (!s) s = rewrite_and_fold(&made, amg_lower_rewrite, AMG_DIM_BATCH, &again, err);
    if (!s) s = rewrite(&made, amg_linear_rewrite, &again, err);
    if (!s && again) s = pass_over(&made, AMG_DIM_BATCH, err);
    if (!s && batch != AMG_DIM_BATCH) {
        again = false;
        s = pass_over(&made, batch, err);
        /* Layers whose shapes followed from the number only. */
        if (!s) s = rewrite_and_fold(&made, amg_lower_rewrite, batch, NULL, err);
        if (!s) s = rewrite(&made, amg_linear_rewrite, &again, err);
    }
    if (!s) s = check_constants(made, err);
    if (s)
        amg_graph_free(made);
    else
        *out = made;
    return s;
}
