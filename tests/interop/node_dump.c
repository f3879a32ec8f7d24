/* Test program: what the engine makes of one operator, for test_nodes.py.
 *
 *     node_dump [--training] MODEL.onnx IN.safetensors OUT.safetensors
 *
 *   MODEL  read as it is. At most one data input, of any type: it is filled with zeros
 *   IN     v.NAME       f32 of output NAME's shape: the gradient that arrives there;
 * only outputs that have one get a backward OUT    y.NAME       every output NAME, in
 * evaluation mode or with --training in that NAME/PARAM   the gradient of every
 * trainable PARAM after/PARAM  with --training: every buffer after that backward
 *
 * An output that folds to a constant is written as that. Exit 3: the operator, or a
 * form of it, is not supported; 1: any other failure. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/parallel.h"
#include "engine/plan.h"
#include "formats/safetensors.h"
#include "graph/onnx_graph.h"

typedef struct {
    const amg_graph *g;
    bool training;
    const amg_safetensors *in;
    amg_arena arena;
    amg_st_entry *entries;
    size_t count;
} dump;

/* Adds PREFIX SEPARATOR NAME with a copy of data. */
static amg_status add(dump *d, const char *prefix, char separator, const char *name,
                      const amg_value *shape, const void *data, amg_error *err)
{
    const size_t size = strlen(prefix) + strlen(name) + 2;
    char *full = amg_arena_alloc(&d->arena, size);
    if (!full) return amg_fail(err, AMG_NO_MEMORY, -1, name, "no memory for a name");
    snprintf(full, size, "%s%c%s", prefix, separator, name);
    amg_st_entry *e = &d->entries[d->count];
    amg_status st =
        amg_tensor_new(shape->dtype, shape->rank, shape->dims, &e->tensor, err);
    if (st) return st;
    if (e->tensor.size_bytes) memcpy(e->tensor.data, data, e->tensor.size_bytes);
    e->name = full;
    d->count++;
    return AMG_OK;
}

static amg_status add_params(dump *d, const char *prefix, const amg_params *set,
                             amg_param_role role, amg_error *err)
{
    amg_status st = AMG_OK;
    for (int i = 0; i < set->count && !st; i++) {
        const amg_param *p = &set->items[i];
        const int value = amg_graph_find_value(d->g, p->name);
        if (p->role == role)
            st =
                add(d, prefix, '/', p->name, &d->g->values[value], p->tensor.data, err);
    }
    return st;
}

static amg_status backward(dump *d, amg_plan *plan, const char *name,
                           const amg_tensor *arriving, amg_params *params,
                           amg_error *err)
{
    amg_params grads = {0};
    amg_status st = amg_plan_backward(plan, arriving->data, err);
    if (!st) st = amg_params_like(params, &grads, err);
    if (!st) st = amg_plan_store_grad(plan, &grads, err);
    if (!st) st = add_params(d, name, &grads, AMG_ROLE_TRAINABLE, err);
    if (!st) st = amg_plan_store(plan, params, err);
    if (!st && d->training) st = add_params(d, "after", params, AMG_ROLE_BUFFER, err);
    amg_params_clear(&grads);
    return st;
}

static amg_status run_plan(dump *d, int output, bool training,
                           const amg_tensor *arriving, amg_error *err)
{
    const amg_value *out = &d->g->values[d->g->outputs[output]];
    amg_params params = {0};
    amg_plan *plan = NULL;
    void *workspace = NULL;
    const float *y;
    int64_t count;
    const amg_plan_options options = {.training = training};
    amg_status st = amg_params_new(d->g, output, &params, err);
    if (!st) st = amg_plan_new(d->g, output, &options, &plan, err);
    if (st) goto done;
    workspace = amg_alloc_aligned(amg_plan_workspace_bytes(plan));
    if (!workspace) {
        st = amg_fail(err, AMG_NO_MEMORY, -1, "plan", "no memory for the workspace");
        goto done;
    }
    amg_plan_bind(plan, workspace);
    st = amg_plan_load(plan, &params, err);
    memset(amg_plan_input(plan), 0, amg_plan_input_bytes(plan));
    if (!st) st = amg_plan_forward(plan, 0, &y, &count, err);
    if (!st && training == d->training) st = add(d, "y", '.', out->name, out, y, err);
    if (!st && arriving) st = backward(d, plan, out->name, arriving, &params, err);
done:
    amg_free_aligned(workspace);
    amg_plan_free(plan);
    amg_params_clear(&params);
    return st;
}

static amg_status dump_output(dump *d, int output, amg_error *err)
{
    const amg_value *out = &d->g->values[d->g->outputs[output]];
    if (out->kind == AMG_VALUE_PARAM)
        return add(d, "y", '.', out->name, out, out->data.data, err);
    char name[256];
    snprintf(name, sizeof name, "v.%s", out->name);
    const amg_tensor *arriving = amg_safetensors_find(d->in, name);
    int64_t count = 1;
    for (int i = 0; i < out->rank; i++) count *= out->dims[i];
    if (arriving && amg_tensor_count(arriving) != count)
        return amg_fail(err, AMG_MISMATCH, -1, name, "another shape than the output's");
    if (out->dtype != AMG_F32)
        return amg_fail(err, AMG_UNSUPPORTED, -1, out->name, "the output is %s",
                        amg_dtype_name(out->dtype));
    amg_status st = d->training ? AMG_OK : run_plan(d, output, false, NULL, err);
    if (!st && (arriving || d->training)) st = run_plan(d, output, true, arriving, err);
    return st;
}

static amg_status run(bool training, char **paths, amg_error *err)
{
    amg_graph *own = NULL, *planned = NULL;
    amg_safetensors *in = NULL;
    dump d = {.training = training};
    amg_status st = amg_graph_read_onnx_as_is(paths[0], &own, err);
    if (!st) st = amg_safetensors_open(paths[1], &in, err);
    if (!st) st = amg_graph_plan_batch(own, 1, &planned, err);
    if (st) goto done;
    d.g = planned;
    d.in = in;
    d.entries =
        amg_calloc((size_t)planned->num_outputs * (1 + 2 * (size_t)planned->num_values),
                   sizeof *d.entries);
    if (!d.entries)
        st = amg_fail(err, AMG_NO_MEMORY, -1, "output", "no memory for a list");
    for (int i = 0; i < planned->num_outputs && !st; i++) st = dump_output(&d, i, err);
    if (!st) st = amg_safetensors_write(paths[2], d.entries, d.count, err);
done:
    for (size_t i = 0; i < d.count; i++) amg_tensor_clear(&d.entries[i].tensor);
    amg_free(d.entries);
    amg_arena_clear(&d.arena);
    amg_graph_free(planned);
    amg_safetensors_close(in);
    amg_graph_free(own);
    return st;
}

int main(int argc, char **argv)
{
    const bool training = argc > 1 && !strcmp(argv[1], "--training");
    if (argc - training != 4) {
        fprintf(stderr, "usage: node_dump [--training] MODEL IN OUT\n");
        return 2;
    }
    amg_error err = {0};
    amg_set_threads(1);
    const amg_status st = run(training, argv + 1 + training, &err);
    if (!st) return 0;
    fprintf(stderr, "node_dump: %s: %s\n", err.where, err.what);
    return st == AMG_UNSUPPORTED ? 3 : 1;
}
