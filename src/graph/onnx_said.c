/* See onnx_said.h. */
#include "graph/onnx_said.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "formats/onnx.h"
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

/* Since PyTorch 1.13 the TorchScript exporter names nodes by their module: "/fc/Gemm".
 */
static bool is_torchscript(const Onnx__ModelProto *m, const Onnx__GraphProto *g)
{
    if (!m->producer_name || strcmp(m->producer_name, "pytorch") != 0) return false;
    for (size_t i = 0; i < g->n_node; i++)
        if (!g->node[i]->name || g->node[i]->name[0] != '/') return false;
    return g->n_node > 0;
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

/* The initializer that value is made of alone, by moves and functions of each element.
 */
static amg_value *source_of(const amg_graph *g, int value)
{
    for (;;) {
        amg_value *v = &g->values[value];
        if (v->kind != AMG_VALUE_ACTIVATION) return v;
        const amg_node *node = &g->nodes[v->producer];
        const bool differentiable = amg_op_get(node->op)->flags & AMG_OP_D;
        if (node->op == AMG_OP_CONCAT || !differentiable ||
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

/* Whether a trainable goes into the node's output; down: the same of its inputs. */
static bool is_downstream(const amg_graph *g, const amg_node *node, const bool *down)
{
    if (!(amg_op_get(node->op)->flags & AMG_OP_D)) return false;
    for (int i = 0; i < node->num_inputs; i++) {
        const int v = node->inputs[i];
        if (v == AMG_NO_VALUE) continue;
        if (down[v] || (g->values[v].kind == AMG_VALUE_PARAM &&
                        g->values[v].role == AMG_ROLE_TRAINABLE))
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

amg_status amg_said_finish(const amg_said *s, amg_graph *g, amg_error *err)
{
    if (!s->names_modules && !s->lost) return AMG_OK;
    amg_status st = AMG_OK;
    bool *down = amg_calloc((size_t)g->num_values, sizeof *down);
    if (!down) return amg_fail(err, AMG_NO_MEMORY, -1, "graph", "out of memory");
    for (int n = 0; n < g->num_nodes && !st; n++) {
        const amg_node *node = &g->nodes[n];
        for (int i = 0; joins(node->op) && i < 2 && !st; i++) {
            amg_value *v = source_of(g, node->inputs[i]);
            if (!down[node->inputs[1 - i]] || !is_unclear(v)) continue;
            if (s->lost)
                st = fail_lost(s, v, err);
            else if (is_module_name(v->name))
                v->said = AMG_SAID_WEIGHT;
        }
        for (int i = 0; i < node->num_outputs; i++)
            down[node->outputs[i]] = is_downstream(g, node, down);
    }
    amg_free(down);
    if (!st) amg_graph_classify(g);
    return st;
}
