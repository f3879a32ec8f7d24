/* If whose condition is known when the file is read (a constant, or made of shapes, as
 * exporters write squeeze and adaptive pools): the branch that it takes. Consumes the
 * node as onnx_functions.c leaves it,
 *
 *   y0, y1 = If(condition, then0, then1, else0, else1)
 *
 * where nothing in front of it was needed by a branch yet: what the other branch has,
 * a Squeeze of a dim that is not 1, say, is never read. */
#include "graph/onnx_import.h"

/* An If that waits has its branch's nodes made first, and is read again. */
static bool wait_for(amg_import *im, const char *name)
{
    const amg_name *e = name[0] ? amg_import_find(im, name) : NULL;
    if (!e || e->needed) return false;
    amg_import_need(im, name);
    return true;
}

static amg_status read_condition(amg_import *im, const Onnx__NodeProto *p,
                                 const char *where, bool *out, amg_error *err)
{
    const amg_name *e = amg_import_find(im, p->input[0]);
    const amg_value *v = e && e->made ? amg_builder_value(im->builder, e->value) : NULL;
    amg_graph *none;
    if (e && e->made && !v) return amg_builder_finish(im->builder, &none, err);
    if (v && v->dtype == AMG_BOOL && v->data.data && amg_tensor_count(&v->data) == 1) {
        *out = *(const uint8_t *)v->data.data != 0;
        return AMG_OK;
    }
    (void)amg_fail(err, AMG_UNSUPPORTED, -1, where,
                   "its condition, \"%.200s\", depends on the data, expected one that "
                   "follows from constants and shapes",
                   p->input[0]);
    amg_hint(err, "torch.where computes both sides, and trains");
    return AMG_UNSUPPORTED;
}

/* The output is what the branch made, under its own name; folding removes the node. */
static amg_status copy_result(amg_import *im, const Onnx__NodeProto *p,
                              const char *where, const char *from, amg_name *to,
                              amg_error *err)
{
    const amg_name *e = from[0] ? amg_import_find(im, from) : NULL;
    if (!e || !e->made)
        return amg_fail(err, AMG_UNSUPPORTED, -1, where,
                        "its branch gives \"%.200s\", which is not computed here",
                        from);
    to->value = amg_builder_node(im->builder, AMG_OP_IDENTITY, p->name ? p->name : "",
                                 &e->value, 1, NULL, 0, to->name);
    to->made = true;
    return AMG_OK;
}

amg_status amg_import_if(amg_import *im, const Onnx__NodeProto *p, const char *where,
                         bool *done, amg_error *err)
{
    *done = amg_import_is_if(p);
    if (!*done) return AMG_OK;
    bool taken = false;
    amg_status st = read_condition(im, p, where, &taken, err);
    if (st) return st;
    char *const *results = p->input + 1 + (taken ? 0 : p->n_output);
    for (size_t i = 0; i < p->n_output; i++) {
        const amg_name *to = amg_import_find(im, p->output[i]);
        if (to && to->needed && wait_for(im, results[i])) im->again = true;
    }
    for (size_t i = 0; i < p->n_output && !st && !im->again; i++) {
        amg_name *to = amg_import_find(im, p->output[i]);
        if (to && to->needed) st = copy_result(im, p, where, results[i], to, err);
    }
    return st;
}
