/* amalgam_run: an ONNX model's forward pass in inference form. Consumes a file and one
 * batch, produces one tensor, through the engine that measures trained models. */
#include <string.h>

#include "api/api.h"
#include "base/alloc.h"
#include "base/parallel.h"
#include "engine/plan.h"
#include "graph/onnx_graph.h"

/* What one run owns. */
typedef struct {
    amg_graph *file, *planned;
    amg_params params;
    amg_plan *plan;
    void *workspace;
    float *result;
} pass;

static amg_status check_input(const amg_graph *g, const char *model,
                              const amalgam_tensor *x, amg_error *err)
{
    const amg_value *in = &g->values[g->inputs[0]];
    const amg_dtype dtype = amg_dtype_find_name(x->dtype);
    char have[AMG_SHAPE_TEXT], want[AMG_SHAPE_TEXT];
    if (x->rank < 1 || x->rank > AMG_MAX_RANK)
        return amg_fail(err, AMG_INVALID, -1, model, "input has rank %d", x->rank);
    bool fits = dtype == in->dtype && x->rank == in->rank && x->dims[0] > 0;
    for (int i = 1; fits && i < in->rank; i++) fits = x->dims[i] == in->dims[i];
    size_t size = 0;
    if (fits) {
        amg_status st = amg_tensor_size(dtype, x->rank, x->dims, &size, err);
        if (st) return st;
    }
    if (!fits || size != x->size_bytes)
        return amg_fail(err, AMG_MISMATCH, -1, model,
                        "input is %s of %zu bytes, expected a batch of %s",
                        amg_shape_text(dtype, x->rank, x->dims, have), x->size_bytes,
                        amg_shape_text(in->dtype, in->rank, in->dims, want));
    return AMG_OK;
}

static amg_status prepare(const char *model, const amalgam_tensor *input, pass *p,
                          amg_error *err)
{
    const amg_plan_options inference = {.training = false};
    amg_status st = amg_graph_read_model(model, &p->file, err);
    if (!st) st = check_input(p->file, model, input, err);
    if (!st) st = amg_graph_plan_batch(p->file, input->dims[0], &p->planned, err);
    if (!st) st = amg_params_new(p->planned, 0, &p->params, err);
    if (!st) st = amg_plan_new(p->planned, 0, &inference, &p->plan, err);
    if (st) return st;
    p->workspace = amg_alloc_aligned(amg_plan_workspace_bytes(p->plan));
    if (!p->workspace)
        return amg_fail(err, AMG_NO_MEMORY, -1, model, "no memory for the workspace");
    amg_plan_bind(p->plan, p->workspace);
    return amg_plan_load(p->plan, &p->params, err);
}

static amg_status forward(const amalgam_tensor *input, pass *p, amalgam_tensor *output,
                          amg_error *err)
{
    const amg_value *out = &p->planned->values[p->planned->outputs[0]];
    const float *values;
    int64_t width;
    amalgam_tensor t = {.dtype = amg_dtype_name(AMG_F32), .rank = out->rank};
    memcpy(t.dims, out->dims, sizeof t.dims);
    amg_status st = amg_tensor_size(AMG_F32, out->rank, out->dims, &t.size_bytes, err);
    if (st) return st;
    p->result = amg_malloc(t.size_bytes);
    if (!p->result)
        return amg_fail(err, AMG_NO_MEMORY, -1, out->name, "no memory for the output");
    memcpy(amg_plan_input(p->plan), input->data, amg_plan_input_bytes(p->plan));
    st = amg_plan_forward(p->plan, 0, &values, &width, err);
    if (st) return st;
    memcpy(p->result, values, t.size_bytes);
    t.data = p->result;
    p->result = NULL; /* the caller's now */
    *output = t;
    return AMG_OK;
}

amg_status amalgam_run(const char *model, const amalgam_tensor *input,
                       amalgam_tensor *output, amg_error *err)
{
    pass p = {0};
    amg_set_threads(0);
    amg_status st = prepare(model, input, &p, err);
    if (!st) st = forward(input, &p, output, err);
    amg_free(p.result);
    amg_plan_free(p.plan);
    amg_free_aligned(p.workspace);
    amg_params_clear(&p.params);
    amg_graph_free(p.planned);
    amg_graph_free(p.file);
    return st;
}
