/* See onnx_said.h. */
#include "graph/onnx_said.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "formats/onnx.h"
#include "graph/eval.h"
#include "graph/eval_number.h"
#include "graph/origin.h"

#define SIGNATURE "pkg.torch.export.ExportedProgram.graph_signature"

/* ---- the signature ---- */

static int compare(const void *a, const void *b)
{
    const amg_said_entry *x = a, *y = b;
    const size_t size = x->size < y->size ? x->size : y->size;
    const int order = memcmp(x->name, y->name, size);
    return order ? order : (x->size > y->size) - (x->size < y->size);
}

static const amg_said_entry *find(const amg_said *s, const char *name)
{
    const amg_said_entry key = {.name = name, .size = strlen(name)};
    if (!s->num_entries) return NULL;
    return bsearch(&key, s->entries, s->num_entries, sizeof key, compare);
}

/* The first of two texts, NULL if neither is there. */
static const char *first_of(const char *a, const char *b)
{
    return !a ? b : !b || a < b ? a : b;
}

/* Whether the kind that ends a specification's name ("p_w: PARAMETER target='w'"; in
 * older PyTorch "kind=<InputKind.PARAMETER: 2>, …, target='w'") is at text. */
static bool is_kind(const char *text, const char *kind)
{
    return strncmp(text, kind, strlen(kind)) == 0;
}

/* One "target='NAME'" after the other, each with the last kind before it. */
static size_t scan(const char *text, amg_said_entry *out)
{
    size_t count = 0;
    bool known = false, weight = false;
    while (*text) {
        const char *kind = first_of(strstr(text, ": "), strstr(text, "InputKind."));
        const char *target = strstr(text, "target='");
        if (!target) break;
        if (kind && kind < target) {
            text = kind + (*kind == ':' ? 2 : strlen("InputKind."));
            if (is_kind(text, "PARAMETER") || is_kind(text, "BUFFER") ||
                is_kind(text, "CONSTANT_TENSOR")) {
                weight = is_kind(text, "PARAMETER");
                known = true;
            }
            continue;
        }
        const char *name = target + strlen("target='"), *end = strchr(name, '\'');
        if (!end) break;
        if (known && out)
            out[count] = (amg_said_entry){name, (size_t)(end - name), weight};
        count += known;
        known = false;
        text = end + 1;
    }
    return count;
}

static bool has_initializer(const Onnx__GraphProto *g, const amg_said_entry *e)
{
    for (size_t i = 0; i < g->n_initializer; i++) {
        const char *name = g->initializer[i]->name;
        if (name && strlen(name) == e->size && !memcmp(name, e->name, e->size))
            return true;
    }
    return false;
}

static bool read_signature(amg_said *s, const Onnx__GraphProto *g, amg_arena *arena)
{
    const char *found;
    size_t size;
    if (!amg_onnx_graph_metadata(g, SIGNATURE, &found, &size)) return true;
    const char *text = amg_arena_strndup(arena, found, size);
    if (!text) return false;
    s->num_entries = scan(text, NULL);
    s->entries = amg_arena_array(arena, s->num_entries + 1, sizeof *s->entries);
    if (!s->entries) return false;
    scan(text, s->entries);
    qsort(s->entries, s->num_entries, sizeof *s->entries, compare);
    for (size_t i = 0; i < s->num_entries && !s->lost; i++)
        if (s->entries[i].weight && !has_initializer(g, &s->entries[i]))
            s->lost = &s->entries[i];
    return true;
}

/* ---- the file ---- */

static bool is_float(const Onnx__TensorProto *t)
{
    return t->has_data_type && t->data_type == ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
}

/* "Shape_2569": as its passes name the nodes that they add. */
static bool is_numbered(const Onnx__NodeProto *n)
{
    const size_t length = strlen(n->op_type);
    return !strncmp(n->name, n->op_type, length) && n->name[length] == '_' &&
           n->name[length + 1 + strspn(n->name + length + 1, "0123456789")] == 0;
}

/* Since PyTorch 1.13 the TorchScript exporter names nodes by their module: "/fc/Gemm",
 * but for constants that belong to none and for nodes of its own. */
static bool is_torchscript(const Onnx__ModelProto *m, const Onnx__GraphProto *g)
{
    size_t in_modules = 0;
    if (!m->producer_name || strcmp(m->producer_name, "pytorch") != 0) return false;
    for (size_t i = 0; i < g->n_node; i++) {
        const Onnx__NodeProto *n = g->node[i];
        if (n->name && n->name[0] == '/')
            in_modules++;
        else if (strcmp(n->op_type, "Constant") != 0 && (!n->name || !is_numbered(n)))
            return false;
    }
    return in_modules > 0;
}

bool amg_said_init(amg_said *s, const Onnx__ModelProto *m, const Onnx__GraphProto *g,
                   amg_arena *arena)
{
    for (size_t i = 0; i < g->n_initializer && !s->has_weights; i++) {
        const Onnx__TensorProto *t = g->initializer[i];
        for (size_t d = 0; is_float(t) && d < t->n_dims; d++)
            s->has_weights |= t->dims[d] > 1;
    }
    if (!read_signature(s, m->graph, arena)) return false;
    s->names_modules = s->num_entries == 0 && is_torchscript(m, g);
    return true;
}

/* What dynamo's exporter says after call, of which of PyTorch's calls a node is: up to
 * *end. NULL: nothing, or of another. */
static const char *after_call(const Onnx__NodeProto *node, const char *call,
                              const char **end)
{
    const char *text;
    size_t size, length = strlen(call);
    if (!amg_onnx_node_metadata(node, "pkg.torch.onnx.fx_node", &text, &size))
        return NULL;
    *end = text + size;
    for (size_t i = 0; i + length <= size; i++)
        if (!memcmp(text + i, call, length)) return text + i + length;
    return NULL;
}

bool amg_said_stops(const Onnx__NodeProto *identity)
{
    const char *end;
    return (identity->doc_string &&
            !strcmp(identity->doc_string, AMG_TEXT_NO_GRADIENT)) ||
           after_call(identity, "torch.ops.aten.detach", &end);
}

int64_t amg_said_padding(const Onnx__NodeProto *gather)
{
    const char *end,
        *at = after_call(gather, "torch.ops.aten.embedding.default](args = (", &end);
    int64_t token = 0;
    for (int comma = 0; comma < 2; comma++) { /* past the table and the tokens */
        while (at && at < end && *at != ',' && *at != ')') at++;
        if (!at || at == end || *at++ != ',') return -1;
    }
    while (at < end && *at == ' ') at++;
    if (at == end || *at < '0' || *at > '9') return -1;
    for (; at < end && *at >= '0' && *at <= '9' && token < INT32_MAX; at++)
        token = 10 * token + (*at - '0');
    return token;
}

amg_param_said amg_said_of_initializer(const amg_said *s, const Onnx__TensorProto *t)
{
    const amg_said_entry *e = find(s, t->name);
    if (t->doc_string && !strcmp(t->doc_string, AMG_TEXT_WEIGHT))
        return AMG_SAID_WEIGHT;
    if (t->doc_string && !strcmp(t->doc_string, AMG_TEXT_CONSTANT))
        return AMG_SAID_CONSTANT;
    if (e) return e->weight ? AMG_SAID_WEIGHT : AMG_SAID_CONSTANT;
    return s->num_entries > 0 && !s->lost ? AMG_SAID_CONSTANT : AMG_SAID_NOTHING;
}

amg_param_said amg_said_of_node(const amg_said *s)
{
    return s->has_weights ? AMG_SAID_CONSTANT : AMG_SAID_NOTHING;
}

/* ---- names ---- */

/* "blocks.0.scale", not "onnx::Mul_12", "/Constant_output_0" or "123". */
static bool is_module_name(const char *name)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                  "0123456789_.";
    return name[strspn(name, allowed)] == 0 && name[strspn(name, "0123456789")] != 0;
}

/* A Cast of a float to float32, which folding takes out, among them. */
static bool differentiable(const amg_graph *g, const amg_node *node)
{
    return (amg_op_get(node->op)->flags & AMG_OP_D) ||
           (node->op == AMG_OP_CAST && g->values[node->inputs[0]].dtype == AMG_F32 &&
            g->values[node->outputs[0]].dtype == AMG_F32);
}

/* The initializer that value is made of alone, by moves and functions of each element.
 */
static amg_value *source_of(const amg_graph *g, int value)
{
    for (;;) {
        amg_value *v = &g->values[value];
        if (v->kind != AMG_VALUE_ACTIVATION) return v;
        const amg_node *node = &g->nodes[v->producer];
        if (node->op == AMG_OP_CONCAT || !differentiable(g, node) ||
            (!amg_number_is_unary(node->op) && !amg_origin_moves(node, 0)))
            return v;
        value = node->inputs[0];
    }
}

static bool joins(amg_op op)
{
    switch (op) {
    case AMG_OP_ADD:
    case AMG_OP_SUB:
    case AMG_OP_MUL:
    case AMG_OP_DIV:
    case AMG_OP_POW:
    case AMG_OP_MAX:
    case AMG_OP_MIN: return true;
    default: return false;
    }
}

/* Attention masks hold infinities, or the lowest number. */
static bool is_mask(const amg_value *v)
{
    const float *data = v->data.data;
    for (int64_t i = 0, n = amg_tensor_count(&v->data); data && i < n; i++)
        if (fabsf(data[i]) >= 1e30f) return true;
    return false;
}

static bool is_unclear(const amg_value *v)
{
    return v->kind == AMG_VALUE_PARAM && v->dtype == AMG_F32 &&
           v->said == AMG_SAID_NOTHING && !is_mask(v);
}

/* Of each value. */
typedef struct {
    bool *data;   /* it depends on the data */
    bool *down;   /* a trainable goes into it */
    bool *weight; /* of no data, and a layer's weight is made of it */
} reach;

static bool trains(const amg_value *v)
{
    return v->kind == AMG_VALUE_PARAM &&
           (v->role == AMG_ROLE_TRAINABLE || v->said == AMG_SAID_WEIGHT);
}

static void follow(const reach *r, const amg_graph *g, const amg_node *node)
{
    bool data = false, down = false;
    for (int i = 0; i < node->num_inputs; i++) {
        const int v = node->inputs[i];
        if (v == AMG_NO_VALUE) continue;
        data = data || r->data[v];
        down = down || r->down[v] || trains(&g->values[v]);
    }
    for (int i = 0; i < node->num_outputs; i++) {
        r->data[node->outputs[i]] = data && !amg_eval_reads_shape(node->op);
        r->down[node->outputs[i]] = down && differentiable(g, node);
    }
}

static bool is_layer(amg_op op)
{
    return op == AMG_OP_CONV || op == AMG_OP_CONV_TRANSPOSE || op == AMG_OP_GEMM ||
           op == AMG_OP_MAT_MUL || op == AMG_OP_EINSUM;
}

/* Backwards from the layers. */
static void mark_weights(const reach *r, const amg_graph *g)
{
    for (int n = g->num_nodes - 1; n >= 0; n--) {
        const amg_node *node = &g->nodes[n];
        bool wanted = is_layer(node->op);
        for (int i = 0; i < node->num_outputs; i++)
            wanted = wanted || r->weight[node->outputs[i]];
        for (int i = 0; wanted && differentiable(g, node) && i < node->num_inputs; i++)
            if (node->inputs[i] != AMG_NO_VALUE && !r->data[node->inputs[i]])
                r->weight[node->inputs[i]] = true;
    }
}

static bool is_binary(const amg_value *v)
{
    const float *data = v->data.data;
    const int64_t count = data ? amg_tensor_count(&v->data) : 0;
    int64_t ones = 0;
    if (v->rank < 2) return false;
    for (int64_t i = 0; i < count; i++) {
        if (data[i] != 0 && data[i] != 1) return false;
        ones += data[i] == 1;
    }
    return ones > 0 && ones < count;
}

/* Zeros and ones that another of what a layer's weight is made of is multiplied with,
 * so that parts of it are zeros (MADE, pruning). */
static bool masks_weight(const reach *r, const amg_graph *g, const amg_value *v)
{
    if (!is_binary(v)) return false;
    for (int n = 0; n < g->num_nodes; n++) {
        const int *in = g->nodes[n].inputs;
        if (g->nodes[n].op == AMG_OP_MUL &&
            ((source_of(g, in[0]) == v && r->weight[in[1]]) ||
             (source_of(g, in[1]) == v && r->weight[in[0]])))
            return true;
    }
    return false;
}

static amg_status fail_lost(const amg_said *s, const amg_value *v, amg_error *err)
{
    (void)amg_fail(err, AMG_UNSUPPORTED, -1, v->name,
                   "was computed by the exporter, perhaps of the module's parameter "
                   "\"%.*s\", which the file lost: would it train?",
                   (int)(s->lost->size < 100 ? s->lost->size : 100), s->lost->name);
    amg_hint(err, "torch.onnx.export(..., dynamo=True, optimize=False) keeps it");
    return AMG_UNSUPPORTED;
}

/* Whether a module holds what nobody said anything of. */
static bool is_held(const amg_value *v)
{
    return is_unclear(v) && is_module_name(v->name);
}

/* Whether the operand has numbers for each of the data's channels, or columns, and
 * makes more of each: a line for each column of a table, centres to be compared with.
 * What normalises data makes nothing more of them. */
static bool enlarges(const amg_value *data, const amg_value *operand)
{
    bool along = false, across = false;
    for (int d = 1; d <= operand->rank; d++) {
        const int64_t own = operand->dims[operand->rank - d];
        const int64_t theirs = d <= data->rank ? data->dims[data->rank - d] : 1;
        along = along || (own > 1 && own == theirs);
        across = across || (own > 1 && theirs == 1);
    }
    return along && across;
}

/* What an operand without data is computed of. */
typedef struct {
    amg_value *held[8];
    int num_held, room; /* nodes that may still be looked at */
} sources;

static bool is_number(const amg_value *v)
{
    int64_t count = 1;
    for (int d = 0; d < v->rank; d++) count *= v->dims[d];
    return v->rank >= 0 && count == 1;
}

/* Adds what the value is made of: tensors that modules hold, and numbers. false: others
 * are in it, such as positions (a table of frequencies is no weight). */
static bool find_sources(const amg_graph *g, int value, sources *s)
{
    amg_value *v = &g->values[value];
    if (v->kind == AMG_VALUE_PARAM && is_held(v)) {
        for (int i = 0; i < s->num_held; i++)
            if (s->held[i] == v) return true;
        if (s->num_held == 8) return false;
        s->held[s->num_held++] = v;
        return true;
    }
    if (is_number(v) && v->kind == AMG_VALUE_PARAM) return true;
    if (v->kind != AMG_VALUE_ACTIVATION || s->room-- == 0) return false;
    const amg_node *node = &g->nodes[v->producer];
    bool floats = false;
    for (int i = 0; i < node->num_inputs; i++) {
        const int in = node->inputs[i];
        if (in == AMG_NO_VALUE || g->values[in].dtype != AMG_F32) continue;
        if (node->op == AMG_OP_RESIZE && i > 0) continue; /* scales */
        if (!differentiable(g, node)) return false;
        if (!find_sources(g, in, s)) return false;
        floats = true;
    }
    return floats || is_number(v);
}

/* Operand i of a node that joins two. */
static amg_status judge(const amg_said *s, const reach *r, const amg_graph *g,
                        const amg_node *node, int i, amg_error *err)
{
    amg_value *v = source_of(g, node->inputs[i]);
    const int other = node->inputs[1 - i];
    if (s->lost) return r->down[other] && is_unclear(v) ? fail_lost(s, v, err) : AMG_OK;
    const bool meets =
        r->down[other] ||
        (r->data[other] && enlarges(&g->values[other], &g->values[node->inputs[i]]));
    if (meets && is_held(v)) v->said = AMG_SAID_WEIGHT;
    sources made_of = {.room = 64};
    if (r->down[other] && !r->data[node->inputs[i]] &&
        find_sources(g, node->inputs[i], &made_of))
        for (int k = 0; k < made_of.num_held; k++)
            if (!is_binary(made_of.held[k])) made_of.held[k]->said = AMG_SAID_WEIGHT;
    return AMG_OK;
}

/* Forwards, so that what a weight goes into counts for what follows. */
static amg_status judge_all(const amg_said *s, const reach *r, amg_graph *g,
                            amg_error *err)
{
    amg_status st = AMG_OK;
    for (int i = 0; i < g->num_inputs; i++) r->data[g->inputs[i]] = true;
    for (int n = 0; n < g->num_nodes; n++) follow(r, g, &g->nodes[n]);
    if (!s->lost) mark_weights(r, g);
    for (int v = 0; v < g->num_values; v++)
        if (r->weight[v] && is_held(&g->values[v]))
            g->values[v].said =
                masks_weight(r, g, &g->values[v]) ? AMG_SAID_CONSTANT : AMG_SAID_WEIGHT;
    for (int n = 0; n < g->num_nodes && !st; n++) {
        const amg_node *node = &g->nodes[n];
        for (int i = 0; joins(node->op) && i < 2 && !st; i++)
            st = judge(s, r, g, node, i, err);
        follow(r, g, node);
    }
    if (!st) amg_graph_classify(g);
    return st;
}

amg_status amg_said_finish(const amg_said *s, amg_graph *g, amg_error *err)
{
    if (!s->names_modules && !s->lost) return AMG_OK;
    const size_t count = (size_t)g->num_values + 1;
    bool *flags = amg_calloc(3 * count, sizeof *flags);
    if (!flags) return amg_fail(err, AMG_NO_MEMORY, -1, "graph", "out of memory");
    const reach r = {flags, flags + count, flags + 2 * count};
    const amg_status st = judge_all(s, &r, g, err);
    amg_free(flags);
    return st;
}
