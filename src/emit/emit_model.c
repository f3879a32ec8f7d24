/* model.py: a class for each network of the graph, with a straight-line forward in the
 * canonical order (autograd adds gradients in the reverse of it, so it must not depend
 * on the order that a key gave the file), and constants.safetensors. Operators' texts
 * are emit_ops.h's business. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "emit/emit.h"
#include "emit/emit_ops.h"
#include "formats/safetensors.h"
#include "graph/class_rows.h"
#include "graph/select.h"

enum { BODY = 8, SHORT_CONSTANT = 8 };

typedef struct {
    amg_emit e;
    amg_text file, body; /* the module; forward() of the class at work */
    amg_text line, free; /* one statement; what it reads last */
    amg_emit_step *steps;
    int *order;
    int *params;       /* of one network, in canonical order */
    int *last;         /* per value: the last step that reads it, -1: none */
    bool *live;        /* per value: something reads it */
    int *constant_ids; /* per constant of the module: its value */
    size_t constants_room;
} writer;

static const char head[] =
    "\"\"\"The networks of this job, generated; x: samples as they lie in "
    "data/.\"\"\"\n"
    "import torch\n"
    "import torch.nn.functional as F\n"
    "from torch import nn\n"
    "\n"
    "batch_norm = F.batch_norm  # train.py may put a synchronised one here\n"
    "\n"
    "\n";

static const char tail[] = "class Model(nn.Module):\n"
                           "    \"\"\"All networks over one input; each is trained "
                           "with a loss of its own.\"\"\"\n"
                           "\n"
                           "    def __init__(self):\n"
                           "        super().__init__()\n"
                           "        self.nets = nn.ModuleList(net() for net in NETS)\n"
                           "\n"
                           "    def forward(self, x):\n"
                           "        return [net(x) for net in self.nets]\n";

/* Behind the classes: names are looked up when forward() runs. */
static const char attention[] =
    "def attention(q, k, v, mask=None, dropout=0.0, causal=False):\n"
    "    \"\"\"F.scaled_dot_product_attention; where PyTorch has none (1.13), what "
    "its\n"
    "    nn.MultiheadAttention computes.\"\"\"\n"
    "    if hasattr(F, \"scaled_dot_product_attention\"):\n"
    "        return F.scaled_dot_product_attention(q, k, v, mask, dropout, causal)\n"
    "    shape = (*q.shape[:-1], k.shape[-2])\n"
    "    if causal:\n"
    "        mask = q.new_full(shape[-2:], float(\"-inf\")).triu(1)\n"
    "    q, k, v = (t.reshape(-1, *t.shape[-2:]) for t in (q, k, v))\n"
    "    q, k = q / q.shape[-1] ** 0.5, k.transpose(-2, -1)\n"
    "    if mask is None:\n"
    "        weights = torch.bmm(q, k)\n"
    "    else:\n"
    "        weights = torch.baddbmm(mask.expand(shape).flatten(0, -3), q, k)\n"
    "    weights = torch.softmax(weights, -1)\n"
    "    if dropout > 0.0:\n"
    "        weights = F.dropout(weights, dropout)\n"
    "    return torch.bmm(weights, v).reshape(*shape[:-1], -1)\n"
    "\n"
    "\n";

/* A slice of the row's gradient has the row's strides, by which PyTorch chooses another
 * kernel for a layer of one number. */
static const char apart[] =
    "def apart(x):\n"
    "    \"\"\"x, whose gradient is laid out as if it were not part of a row of all "
    "outputs.\"\"\"\n"
    "    return x * 1\n"
    "\n"
    "\n";

static const char drop[] =
    "def drop(x, shape, ratio, draw=None, order=None):\n"
    "    \"\"\"Dropout by one draw for each entry of shape (stochastic depth, whole "
    "channels), as the\n"
    "    module draws and divides.\"\"\"\n"
    "    keep, like = 1 - ratio, {\"dtype\": x.dtype, \"device\": x.device}\n"
    "    if draw is None:\n"
    "        return x * F.dropout(torch.ones(shape, **like), ratio)\n"
    "    if draw == \"bernoulli\":\n"
    "        mask = torch.empty(shape, **like).bernoulli_(keep)\n"
    "    elif draw == \"sample\":\n"
    "        mask = torch.bernoulli(torch.full(shape, keep, **like))\n"
    "    elif draw == \"floor\":\n"
    "        mask = (torch.rand(shape, **like) + keep).floor()\n"
    "    else:\n"
    "        number, compare = torch.rand(shape, **like), {\n"
    "            \"<\": torch.lt, \"<=\": torch.le, \">\": torch.gt, \">=\": "
    "torch.ge}[draw]\n"
    "        mask = compare(number, keep if \"<\" in draw else ratio).to(x.dtype)\n"
    "    if order == \"mask\":\n"
    "        return x * (mask / keep)\n"
    "    return x / keep * mask if order == \"before\" else x * mask / keep\n"
    "\n"
    "\n";

static const char noise[] =
    "def noise(net, out, draw, a, b, mean):\n"
    "    \"\"\"Random numbers in the shape of out, in evaluation their mean.\"\"\"\n"
    "    return getattr(out, draw)(a, b) if net.training else out.fill_(mean)\n"
    "\n"
    "\n";

/* ---- names ---- */

static bool is_reserved(const char *name)
{
    static const char *const words[] = {
        /* Python's */
        "False", "None", "True", "and", "as", "assert", "async", "await", "break",
        "class", "continue", "def", "del", "elif", "else", "except", "finally", "for",
        "from", "global", "if", "import", "in", "is", "lambda", "nonlocal", "not", "or",
        "pass", "raise", "return", "try", "while", "with", "yield",
        /* the module's own */
        "F", "_", "apart", "attention", "augment", "batch_norm", "by_step",
        "class_rows", "drop", "float", "forward", "gru", "gru_reset_first", "list",
        "lstm", "lstm_peepholes", "nn", "noise", "output", "packed", "recurrent",
        "self", "super", "torch", "training", "turned"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(name, words[i]) == 0) return true;
    /* c and digits: the constants */
    return name[0] == 'c' && strspn(name + 1, "0123456789") == strlen(name + 1);
}

static amg_status check_name(const amg_value *v, amg_error *err)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
    const char *name = v->name;
    bool identifier = name[0] && strspn(name, letters) == strlen(name) &&
                      (name[0] < '0' || name[0] > '9');
    if (identifier && !is_reserved(name)) return AMG_OK;
    return amg_fail(err, AMG_INVALID, -1, name, "%s, expected a name for a variable",
                    identifier ? "is a word of Python or of the module"
                               : "is no identifier of Python");
}

/* Names that the module needs; constants have names of their own there. */
static amg_status check_names(const amg_graph *g, amg_error *err)
{
    amg_status st = AMG_OK;
    for (int v = 0; !st && v < g->num_values; v++)
        if (g->values[v].kind != AMG_VALUE_PARAM ||
            g->values[v].role != AMG_ROLE_CONSTANT)
            st = check_name(&g->values[v], err);
    return st;
}

/* ---- forward() ---- */

/* The step whose result is the stream: the Reshape behind the select, or the select.
 * -1: this graph has none. */
static int find_stream(const amg_graph *g, const amg_emit_step *steps, int count)
{
    for (int i = 0; i < count; i++) {
        if (!amg_graph_is_select(g, steps[i].node)) continue;
        bool shaped = i + 1 < count && steps[i + 1].node->op == AMG_OP_RESHAPE &&
                      steps[i + 1].inputs[0] == steps[i].node->outputs[0];
        return shaped ? i + 1 : i;
    }
    return -1;
}

/* "v1 = " or "v1, v2 = "; "_" for a result that nothing reads. */
static void add_targets(writer *w, const amg_node *n)
{
    for (int i = 0; i < n->num_outputs; i++) {
        int out = n->outputs[i];
        amg_text_add(&w->line, "%s%s", i ? ", " : "",
                     w->live[out] ? w->e.g->values[out].name : "_");
    }
    if (n->op == AMG_OP_SPLIT && n->num_outputs == 1) amg_text_add(&w->line, ",");
    amg_text_add(&w->line, " = ");
}

/* Names, in free, what step i reads last: freed, so that only the values that the
 * backward pass needs stay. */
static void list_last_uses(writer *w, int i)
{
    const amg_graph *g = w->e.g;
    const amg_emit_step *s = &w->steps[i];
    amg_text_reset(&w->free);
    for (int j = 0; j < s->num_inputs; j++) {
        int v = s->inputs[j];
        if (v == AMG_NO_VALUE || g->values[v].kind != AMG_VALUE_ACTIVATION ||
            w->last[v] != i)
            continue;
        amg_text_add(&w->free, "%s%s", w->free.length ? ", " : "", g->values[v].name);
        w->last[v] = -1; /* an input may come twice */
    }
}

/* The statement in line and the deletion of what it used up, on one line if that fits.
 */
static void add_line(writer *w)
{
    size_t both = BODY + w->line.length + strlen("; del ") + w->free.length;
    bool one_line = w->free.length && both <= AMG_TEXT_COLUMNS;
    if (one_line) amg_text_add(&w->line, "; del %s", amg_text_get(&w->free));
    amg_text_statement(&w->body, BODY, amg_text_get(&w->line));
    if (one_line || w->free.length == 0) return;
    amg_text_reset(&w->line);
    bool fits = BODY + strlen("del ") + w->free.length <= AMG_TEXT_COLUMNS;
    amg_text_add(&w->line, fits ? "del %s" : "del (%s)", amg_text_get(&w->free));
    amg_text_statement(&w->body, BODY, amg_text_get(&w->line));
}

static amg_status add_step(writer *w, int i, bool is_stream)
{
    amg_emit_step *s = &w->steps[i];
    amg_text_reset(&w->line);
    amg_text_reset(&w->e.out);
    add_targets(w, s->node);
    amg_status st = s->form(&w->e, s);
    if (st) return st;
    amg_text_add(&w->line, "%s", amg_text_get(&w->e.out));
    list_last_uses(w, i);
    if (amg_graph_is_select(w->e.g, s->node))
        amg_text_statement(&w->body, BODY,
                           "# the positions of this network in the sample");
    add_line(w);
    if (is_stream) {
        const char *name = w->e.g->values[s->node->outputs[0]].name;
        amg_text_add(&w->body, "%*sif self.augment is not None:\n", BODY, "");
        amg_text_add(&w->body, "%*s%s = self.augment(%s)\n", BODY + 4, "", name, name);
    }
    return AMG_OK;
}

/* target: value to be reproduced, AMG_NO_VALUE: none. */
static amg_status write_forward(writer *w, int output, int target)
{
    const amg_graph *g = w->e.g;
    int count = amg_graph_canonical_order(g, output, w->order);
    for (int v = 0; v < g->num_values; v++) {
        w->last[v] = w->e.constants[v] = -1;
        w->live[v] = v == g->outputs[output] || v == target;
    }
    count = amg_emit_fuse(g, w->order, count, w->live, w->steps);
    for (int i = 0; i < count; i++)
        for (int j = 0; j < w->steps[i].num_inputs; j++)
            if (w->steps[i].inputs[j] != AMG_NO_VALUE)
                w->last[w->steps[i].inputs[j]] = i;
    w->last[g->outputs[output]] = -1;
    if (target != AMG_NO_VALUE) w->last[target] = -1;

    amg_text_reset(&w->body);
    int stream = find_stream(g, w->steps, count);
    amg_status st = AMG_OK;
    for (int i = 0; !st && i < count; i++) st = add_step(w, i, i == stream);
    amg_text_add(&w->body, "%*sreturn %s", BODY, "",
                 g->values[g->outputs[output]].name);
    if (target != AMG_NO_VALUE) amg_text_add(&w->body, ", %s", g->values[target].name);
    amg_text_add(&w->body, "\n");
    return st;
}

/* ---- __init__() ---- */

static amg_status add_empty(writer *w, const amg_value *v)
{
    const char *dtype = amg_emit_dtype(v->dtype);
    if (!dtype)
        return amg_fail(w->e.err, AMG_UNSUPPORTED, -1, v->name,
                        "is %s, a type that PyTorch has not", amg_dtype_name(v->dtype));
    amg_text_add(&w->line, "torch.empty(");
    if (v->rank == 0) amg_text_add(&w->line, "()");
    for (int i = 0; i < v->rank; i++)
        amg_text_add(&w->line, "%s%lld", i ? ", " : "", (long long)v->dims[i]);
    if (v->dtype != AMG_F32) amg_text_add(&w->line, ", dtype=torch.%s", dtype);
    amg_text_add(&w->line, ")");
    return AMG_OK;
}

/* The numbers of a short constant, for the reader. */
static void add_numbers(writer *w, const amg_value *v)
{
    int64_t count = amg_tensor_count(&v->data);
    if (count > SHORT_CONSTANT || (v->dtype != AMG_F32 && v->dtype != AMG_I64)) return;
    amg_text_add(&w->file, "%*s#", BODY, "");
    for (int64_t i = 0; i < count; i++) {
        amg_text_add(&w->file, " ");
        if (v->dtype == AMG_F32)
            amg_text_float(&w->file, ((const float *)v->data.data)[i]);
        else
            amg_text_add(&w->file, "%lld",
                         (long long)((const int64_t *)v->data.data)[i]);
    }
    amg_text_add(&w->file, "\n");
}

static amg_status write_params(writer *w, int output)
{
    const amg_graph *g = w->e.g;
    amg_status st = AMG_OK;
    int count = amg_graph_canonical_params(g, output, w->params);
    for (int i = 0; !st && i < count; i++) {
        const amg_value *v = &g->values[w->params[i]];
        bool trained = v->role == AMG_ROLE_TRAINABLE;
        amg_text_reset(&w->line);
        if (trained)
            amg_text_add(&w->line, "self.%s = nn.Parameter(", v->name);
        else
            amg_text_add(&w->line, "self.register_buffer(\"%s\", ", v->name);
        st = add_empty(w, v);
        amg_text_add(&w->line, ")");
        amg_text_statement(&w->file, BODY, amg_text_get(&w->line));
    }
    return st;
}

/* The constants that forward() asked for, numbered from first on. */
static amg_status write_constants(writer *w, int first)
{
    const amg_graph *g = w->e.g;
    size_t need = (size_t)w->e.num_constants;
    if (need > w->constants_room) {
        int *ids = amg_realloc(w->constant_ids, 2 * need * sizeof *ids);
        if (!ids) return amg_fail(w->e.err, AMG_NO_MEMORY, -1, "model.py", "no memory");
        w->constant_ids = ids;
        w->constants_room = 2 * need;
    }
    for (int v = 0; v < g->num_values; v++)
        if (w->e.constants[v] >= 0) w->constant_ids[w->e.constants[v]] = v;
    for (int i = first; i < w->e.num_constants; i++) {
        const amg_value *v = &g->values[w->constant_ids[i]];
        if (!v->data.data && amg_tensor_count(&v->data) != 0)
            return amg_fail(w->e.err, AMG_INVALID, -1, v->name,
                            "has no data, expected a constant's");
        add_numbers(w, v);
        amg_text_reset(&w->line);
        amg_text_add(&w->line, "self.register_buffer(\"c%03d\", ", i);
        amg_status st = add_empty(w, v);
        if (st) return st;
        amg_text_add(&w->line, ", persistent=False)");
        amg_text_statement(&w->file, BODY, amg_text_get(&w->line));
    }
    return AMG_OK;
}

/* ---- the module ---- */

static void write_class_rows(writer *w, int output)
{
    const amg_graph *g = w->e.g;
    amg_class_rows rows;
    if (!amg_class_rows_find(g, output, &rows)) rows.num_params = 0;
    amg_text_add(&w->file, "    class_rows = (");
    for (int i = 0; i < rows.num_params; i++)
        amg_text_add(&w->file, "%s(\"%s\", %d)%s", i ? ", " : "",
                     g->values[rows.params[i]].name, rows.axis[i],
                     rows.num_params == 1 ? "," : "");
    amg_text_add(&w->file, ")  # of its last layer; dim of the classes\n");
}

static amg_status write_net(writer *w, int output, int target)
{
    const amg_graph *g = w->e.g;
    int first = w->e.num_constants;
    amg_status st = write_forward(w, output, target);
    if (st) return st;
    amg_text_add(&w->file, "class Net%d(nn.Module):\n    output = \"%s\"\n", output,
                 g->values[g->outputs[output]].name);
    write_class_rows(w, output);
    amg_text_add(&w->file,
                 "\n    def __init__(self):\n        super().__init__()\n"
                 "        self.augment = None  # set by train.py --augment\n");
    st = write_params(w, output);
    if (!st) st = write_constants(w, first);
    amg_text_add(&w->file, "\n    def forward(self, %s):\n%s\n\n",
                 g->values[g->inputs[0]].name, amg_text_get(&w->body));
    return st;
}

/* A target's value id; it must be one that the output's network makes. */
static amg_status find_target(writer *w, int output, const char *name, int *id)
{
    const amg_graph *g = w->e.g;
    *id = AMG_NO_VALUE;
    if (!name) return AMG_OK;
    *id = amg_graph_find_value(g, name);
    int count = amg_graph_canonical_order(g, output, w->order);
    for (int i = 0; *id >= 0 && i < count; i++)
        if (w->order[i] == g->values[*id].producer) return AMG_OK;
    return amg_fail(w->e.err, AMG_INVALID, -1, name,
                    "is the target of output \"%.100s\", expected a value that its "
                    "network makes",
                    g->values[g->outputs[output]].name);
}

static amg_status write_module(writer *w, const char *const *targets)
{
    const amg_graph *g = w->e.g;
    amg_status st = AMG_OK;
    amg_text_add(&w->file, "%s", head);
    amg_emit_recurrent_helpers(g, &w->file);
    for (int i = 0; !st && i < g->num_outputs; i++) {
        int target;
        st = find_target(w, i, targets ? targets[i] : NULL, &target);
        if (!st) st = write_net(w, i, target);
    }
    if (w->e.uses_attention) amg_text_add(&w->file, "%s", attention);
    if (w->e.rows) amg_text_add(&w->file, "%s", apart);
    if (w->e.uses_drop) amg_text_add(&w->file, "%s", drop);
    if (w->e.uses_noise) amg_text_add(&w->file, "%s", noise);
    amg_text_reset(&w->line);
    amg_text_add(&w->line, "NETS = (");
    for (int i = 0; i < g->num_outputs; i++)
        amg_text_add(&w->line, "%sNet%d", i ? ", " : "", i);
    amg_text_add(&w->line, g->num_outputs == 1 ? ",)" : ")");
    amg_text_statement(&w->file, 0, amg_text_get(&w->line));
    amg_text_add(&w->file, "\n\n%s", tail);
    return st;
}

static amg_status write_constants_file(const writer *w, const char *path)
{
    size_t count = (size_t)w->e.num_constants;
    amg_st_entry *entries = amg_calloc(count + 1, sizeof *entries);
    char(*names)[24] = amg_calloc(count + 1, sizeof *names);
    amg_status st = AMG_OK;
    if (!entries || !names)
        st = amg_fail(w->e.err, AMG_NO_MEMORY, -1, path, "no memory");
    for (size_t i = 0; !st && i < count; i++) {
        snprintf(names[i], sizeof names[i], "c%03zu", i);
        entries[i] = (amg_st_entry){names[i], w->e.g->values[w->constant_ids[i]].data};
    }
    if (!st) st = amg_safetensors_write(path, entries, count, w->e.err);
    amg_free(entries);
    amg_free(names);
    return st;
}

static amg_status make_room(writer *w)
{
    size_t values = (size_t)w->e.g->num_values + 1,
           nodes = (size_t)w->e.g->num_nodes + 1;
    w->steps = amg_calloc(nodes, sizeof *w->steps);
    w->order = amg_calloc(nodes, sizeof *w->order);
    w->params = amg_calloc(values, sizeof *w->params);
    w->last = amg_calloc(values, sizeof *w->last);
    w->live = amg_calloc(values, sizeof *w->live);
    w->e.constants = amg_calloc(values, sizeof *w->e.constants);
    bool ok = w->steps && w->order && w->params && w->last && w->live && w->e.constants;
    return ok ? AMG_OK : amg_fail(w->e.err, AMG_NO_MEMORY, -1, "model.py", "no memory");
}

static void clear(writer *w)
{
    amg_text_clear(&w->e.out);
    amg_text_clear(&w->file);
    amg_text_clear(&w->body);
    amg_text_clear(&w->line);
    amg_text_clear(&w->free);
    amg_free(w->steps);
    amg_free(w->order);
    amg_free(w->params);
    amg_free(w->last);
    amg_free(w->live);
    amg_free(w->e.constants);
    amg_free(w->constant_ids);
}

amg_status amg_emit_model(const char *dir, const amg_graph *g,
                          const char *const *targets, const bool *fixed, bool rows,
                          amg_error *err)
{
    writer w = {.e = {.g = g, .fixed = fixed, .rows = rows, .err = err}};
    char *model = amg_path_join(dir, "model.py");
    char *constants = amg_path_join(dir, "constants.safetensors");
    amg_status st = AMG_OK;
    if (!model || !constants) st = amg_fail(err, AMG_NO_MEMORY, -1, dir, "no memory");
    if (!st && g->num_inputs != 1)
        st = amg_fail(err, AMG_UNSUPPORTED, -1, "model.py",
                      "the graph has %d inputs, expected one", g->num_inputs);
    if (!st) st = check_names(g, err);
    if (!st) st = make_room(&w);
    if (!st) st = write_module(&w, targets);
    if (!st && (w.file.no_memory || w.body.no_memory || w.line.no_memory ||
                w.free.no_memory || w.e.out.no_memory))
        st = amg_fail(err, AMG_NO_MEMORY, -1, model, "no memory");
    if (!st) st = write_constants_file(&w, constants);
    if (!st) st = amg_file_write(model, 0644, false, w.file.data, w.file.length, err);
    clear(&w);
    amg_free(model);
    amg_free(constants);
    return st;
}
