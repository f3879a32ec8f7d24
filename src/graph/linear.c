/* See linear.h. Consumes a graph whose shapes are inferred, produces a copy through the
 * builder in which each match is written anew where its last node stood. Must not look
 * at weights' data, which may be absent. */
#include "graph/linear.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "graph/replace.h"

/* One MatMul that becomes Gemm. */
typedef struct {
    bool found, transposed; /* W stands under a Transpose */
    int weight;             /* value of W */
    int add;                /* node of the Add that gives the bias; -1: none */
    int bias;               /* its value */
    int64_t num_outputs;    /* M */
} match;

typedef struct {
    amg_replace base;
    const amg_graph *g;
    match *matches; /* per node; found only at MatMuls */
    int *mat_mul;   /* per node: of an absorbed Add, the MatMul; else -1 */
    int *num_uses;  /* per value, a graph output is one more */
    int *user;      /* per value: the last node that reads it */
} rewrite;

static bool is_weight(const amg_value *v, int rank)
{
    return v->kind == AMG_VALUE_PARAM && v->dtype == AMG_F32 && v->rank == rank;
}

bool amg_linear_is_transposed_weight(const amg_value *values, const amg_node *node)
{
    if (node->op != AMG_OP_TRANSPOSE || !is_weight(&values[node->inputs[0]], 2))
        return false;
    const amg_attr *perm = amg_attr_find(node, "perm");
    return !perm || (perm->kind == AMG_ATTR_INTS && perm->count == 2 &&
                     perm->ints[0] == 1 && perm->ints[1] == 0);
}

/* The bias that an Add gives to the MatMul's output, if nothing else reads that. */
static void find_bias(const rewrite *r, int out, match *m)
{
    const amg_graph *g = r->g;
    m->add = -1;
    if (r->num_uses[out] != 1 || r->user[out] < 0) return;
    const amg_node *add = &g->nodes[r->user[out]];
    if (add->op != AMG_OP_ADD) return;
    int other = add->inputs[add->inputs[0] == out];
    const amg_value *bias = &g->values[other];
    if (!is_weight(bias, 1) || bias->dims[0] != m->num_outputs) return;
    m->add = r->user[out];
    m->bias = other;
}

static match find_match(const rewrite *r, const amg_node *node)
{
    const amg_graph *g = r->g;
    match m = {0};
    if (node->op != AMG_OP_MAT_MUL) return m;
    const amg_value *x = &g->values[node->inputs[0]], *w = &g->values[node->inputs[1]];
    m.weight = node->inputs[1];
    if (w->kind == AMG_VALUE_ACTIVATION &&
        amg_linear_is_transposed_weight(g->values, &g->nodes[w->producer])) {
        m.weight = g->nodes[w->producer].inputs[0];
        m.transposed = true;
    }
    w = &g->values[m.weight];
    if (!is_weight(w, 2) || x->kind == AMG_VALUE_PARAM || x->dtype != AMG_F32) return m;
    m.num_outputs = w->dims[m.transposed ? 0 : 1];
    m.found = x->rank > 2 || (x->rank == 2 && m.transposed);
    if (m.found) find_bias(r, node->outputs[0], &m);
    return m;
}

static bool find_matches(rewrite *r)
{
    const amg_graph *g = r->g;
    bool any = false;
    for (int i = 0; i < g->num_outputs; i++) r->num_uses[g->outputs[i]]++;
    for (int v = 0; v < g->num_values; v++) r->user[v] = -1;
    for (int n = 0; n < g->num_nodes; n++) {
        r->mat_mul[n] = -1;
        for (int i = 0; i < g->nodes[n].num_inputs; i++) {
            int v = g->nodes[n].inputs[i];
            if (v == AMG_NO_VALUE) continue;
            r->num_uses[v]++;
            r->user[v] = n;
        }
    }
    for (int n = 0; n < g->num_nodes; n++) {
        match *m = &r->matches[n];
        *m = find_match(r, &g->nodes[n]);
        if (m->found && m->add >= 0) r->mat_mul[m->add] = n;
        any = any || m->found;
    }
    return any;
}

/* Reshape of x to target, whose output gets a name, or base_suffix. */
/* Reshape to numbers, or Unsqueeze at them. */
static int shaped(const rewrite *r, amg_op op, int x, const char *base,
                  const char *suffix, int count, const int64_t *numbers,
                  const char *output)
{
    char name[256], shape_suffix[32];
    amg_tensor t = {.dtype = AMG_I64, .rank = 1, .dims = {count}};
    t.size_bytes = (size_t)count * sizeof *numbers;
    snprintf(shape_suffix, sizeof shape_suffix, "%s_shape", suffix);
    amg_replace_name(&r->base, base, shape_suffix, name);
    int shape = amg_builder_param(r->base.b, name, &t);
    amg_tensor *data = amg_builder_data(r->base.b, shape);
    if (data) memcpy(data->data, numbers, t.size_bytes);
    amg_replace_name(&r->base, base, suffix, name);
    return amg_builder_node(r->base.b, op, name, (int[]){x, shape}, 2, NULL, 0,
                            output ? output : name);
}

/* How many dims of one element stand before the batch: [1,-1,4] would be read as a
 * batch of one that an exporter baked in. */
static int ones_before_batch(const amg_value *x)
{
    int ones = 0;
    while (ones < x->rank - 1 && x->dims[ones] == 1) ones++;
    return x->dims[ones] < 0 ? ones : 0;
}

/* Rows of y in the dims of x, the last of them y's. */
static int shape_back(const rewrite *r, const amg_value *x, int y, int64_t width,
                      const char *name)
{
    int64_t target[AMG_MAX_RANK], axes[AMG_MAX_RANK];
    const int ones = ones_before_batch(x);
    for (int i = 0; i < x->rank; i++) {
        target[i] = x->dims[i] < 0 ? -1 : x->dims[i];
        axes[i] = i;
    }
    target[x->rank - 1] = width;
    y = shaped(r, AMG_OP_RESHAPE, y, name, ones ? "inner" : "back", x->rank - ones,
               target + ones, ones ? NULL : name);
    return ones ? shaped(r, AMG_OP_UNSQUEEZE, y, name, "back", ones, axes, name) : y;
}

static void emit_linear(const rewrite *r, int mat_mul)
{
    const amg_graph *g = r->g;
    const match *m = &r->matches[mat_mul];
    const amg_node *node = &g->nodes[mat_mul];
    const amg_value *x = &g->values[node->inputs[0]];
    const int out = m->add >= 0 ? g->nodes[m->add].outputs[0] : node->outputs[0];
    const char *name = g->values[out].name;
    const amg_attr trans = amg_int("transB", 1);
    char gemm[256];
    int in[3] = {r->base.map[node->inputs[0]], r->base.map[m->weight],
                 m->add >= 0 ? r->base.map[m->bias] : AMG_NO_VALUE};
    const bool flat = x->rank == 2;
    if (!flat)
        in[0] = shaped(r, AMG_OP_RESHAPE, in[0], name, "rows", 2,
                       (int64_t[]){-1, x->dims[x->rank - 1]}, NULL);
    amg_replace_name(&r->base, name, "gemm", gemm);
    int y =
        amg_builder_node(r->base.b, AMG_OP_GEMM, node->name, in, m->add >= 0 ? 3 : 2,
                         &trans, m->transposed ? 1 : 0, flat ? name : gemm);
    if (!flat) y = shape_back(r, x, y, m->num_outputs, name);
    r->base.map[out] = y;
}

static amg_status emit(const rewrite *r, amg_graph **out, amg_error *err)
{
    const amg_graph *g = r->g;
    amg_replace_values(&r->base, NULL);
    for (int n = 0; n < g->num_nodes; n++) {
        amg_status s = AMG_OK;
        const match *m = &r->matches[n];
        if (r->mat_mul[n] >= 0)
            emit_linear(r, r->mat_mul[n]);
        else if (!m->found)
            s = amg_replace_copy(&r->base, &g->nodes[n], err);
        else if (m->add < 0)
            emit_linear(r, n);
        if (s) return s;
    }
    return amg_replace_finish(&r->base, out, err);
}

amg_status amg_linear_rewrite(const amg_graph *g, amg_graph **out, amg_error *err)
{
    size_t values = (size_t)g->num_values + 1, nodes = (size_t)g->num_nodes + 1;
    rewrite r = {.g = g,
                 .matches = amg_calloc(nodes, sizeof *r.matches),
                 .mat_mul = amg_calloc(nodes, sizeof *r.mat_mul),
                 .num_uses = amg_calloc(values, sizeof *r.num_uses),
                 .user = amg_calloc(values, sizeof *r.user)};
    amg_status s = amg_replace_init(&r.base, g, err);
    *out = NULL;
    if (!r.matches || !r.mat_mul || !r.num_uses || !r.user)
        s = amg_fail(err, AMG_NO_MEMORY, -1, "graph", "out of memory");
    if (!s && find_matches(&r)) s = emit(&r, out, err);
    amg_replace_clear(&r.base);
    amg_free(r.matches);
    amg_free(r.mat_mul);
    amg_free(r.num_uses);
    amg_free(r.user);
    return s;
}
