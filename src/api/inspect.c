/* Inspection. For a job this is the cloud's view: sub-networks with sizes, cost and
 * positions, and nothing about whose they are, because nothing in the folder says. */
#include "api/inspect.h"

#include <string.h>

#include "api/inspect_model.h"
#include "base/alloc.h"
#include "base/file.h"
#include "engine/job.h"
#include "formats/npy.h"
#include "formats/safetensors.h"
#include "key/keyfile.h"

json_t *amg_inspect_shape(const amg_tensor *t)
{
    json_t *dims = json_array();
    for (int i = 0; i < t->rank; i++)
        json_array_append_new(dims, json_integer(t->dims[i]));
    return json_pack("{s:s, s:o}", "dtype", amg_dtype_name(t->dtype), "shape", dims);
}

static amg_status inspect_safetensors(const char *path, json_t **out, amg_error *err)
{
    amg_safetensors *f = NULL;
    amg_status st = amg_safetensors_open(path, &f, err);
    if (st) return st;
    json_t *tensors = json_object(), *metadata = json_object();
    for (size_t i = 0; i < amg_safetensors_count(f); i++) {
        const amg_st_entry *e = amg_safetensors_at(f, i);
        json_object_set_new(tensors, e->name, amg_inspect_shape(&e->tensor));
    }
    for (size_t i = 0; i < amg_safetensors_num_metadata(f); i++) {
        const char *key, *value;
        amg_safetensors_metadata(f, i, &key, &value);
        json_object_set_new(metadata, key, json_string(value));
    }
    *out = json_pack("{s:s, s:o, s:o}", "kind", "safetensors", "tensors", tensors,
                     "metadata", metadata);
    amg_safetensors_close(f);
    return AMG_OK;
}

static amg_status inspect_npy(const char *path, json_t **out, amg_error *err)
{
    amg_npy npy;
    amg_status st = amg_npy_open(path, &npy, err);
    if (st) return st;
    *out = json_pack("{s:s, s:o}", "kind", "npy array", "array",
                     amg_inspect_shape(&npy.array));
    amg_npy_close(&npy);
    return AMG_OK;
}

/* Only what the file shows without opening it: that is all anybody without the owner's
 * will gets. */
static amg_status inspect_key(const char *path, json_t **out, amg_error *err)
{
    bool passphrase = false;
    amg_status st = amg_keyfile_needs_passphrase(path, &passphrase, err);
    if (st) return st;
    *out =
        json_pack("{s:s, s:b}", "kind", "key file (sealed)", "passphrase", passphrase);
    return AMG_OK;
}

/* What each of several outputs is trained for; NULL: there is one. */
static json_t *losses_json(const amg_head *head)
{
    json_t *list = head->num_parts > 0 ? json_array() : NULL;
    for (int i = 0; i < head->num_parts; i++) {
        const amg_loss_part *p = &head->parts[i];
        json_t *shape = json_array();
        for (int d = 0; d < p->rank; d++)
            json_array_append_new(shape, json_integer(p->dims[d]));
        json_array_append_new(list, json_pack("{s:s, s:f, s:o}", "loss",
                                              amg_loss_name(p->loss), "weight",
                                              (double)p->weight, "shape", shape));
    }
    return list;
}

/* One sub-network as the cloud sees it. owner[node] = output index. */
static json_t *subnet_json(const amg_job *job, const int *owner, int output)
{
    const amg_graph *g = job->graph;
    const amg_head *head = &job->manifest.heads[output];
    json_int_t params = 0, nodes = 0, selected = 0;
    for (int i = 0; i < job->params[output].count; i++)
        if (job->params[output].items[i].role == AMG_ROLE_TRAINABLE)
            params += amg_tensor_count(&job->params[output].items[i].tensor);
    for (int i = 0; i < g->num_nodes; i++) {
        if (owner[i] != output) continue;
        nodes++;
        if (g->nodes[i].op == AMG_OP_GATHER)
            selected = amg_tensor_count(&g->values[g->nodes[i].inputs[1]].data);
    }
    return json_pack("{s:s, s:i, s:I, s:I, s:I, s:I, s:o*}", "output", head->output,
                     "label_column", head->label_column, "classes",
                     (json_int_t)head->num_classes, "nodes", nodes,
                     "trainable_parameters", params, "selected_positions", selected,
                     "losses", losses_json(head));
}

static amg_status inspect_job(const char *path, json_t **out, amg_error *err)
{
    amg_job job = {0};
    amg_status st = amg_job_open(path, true, &job, err);
    if (st) return st;
    int *owner = amg_calloc((size_t)job.graph->num_nodes + 1, sizeof *owner);
    if (!owner)
        st = amg_fail(err, AMG_NO_MEMORY, -1, path, "no memory");
    else
        st = amg_graph_subnetworks(job.graph, owner, err);
    if (!st) {
        json_t *subnets = json_array();
        for (int i = 0; i < job.graph->num_outputs; i++)
            json_array_append_new(subnets, subnet_json(&job, owner, i));
        amg_tensor input = {.dtype = job.manifest.input_dtype,
                            .rank = job.manifest.input_rank};
        memcpy(input.dims, job.manifest.input_dims, sizeof input.dims);
        *out = json_pack(
            "{s:s, s:i, s:o, s:I, s:I, s:o, s:f, s:i}", "kind", "job folder", "version",
            job.manifest.version, "input", amg_inspect_shape(&input), "train_samples",
            (json_int_t)job.manifest.train.num_samples, "val_samples",
            (json_int_t)job.manifest.val.num_samples, "subnetworks", subnets, "chance",
            1.0 / job.graph->num_outputs, "files", job.manifest.num_files);
    }
    amg_free(owner);
    amg_job_close(&job);
    return st;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

static amg_status inspect_any(const char *path, json_t **out, amg_error *err)
{
    if (amg_path_is_dir(path)) return inspect_job(path, out, err);
    if (ends_with(path, ".safetensors")) return inspect_safetensors(path, out, err);
    if (ends_with(path, ".npy")) return inspect_npy(path, out, err);
    if (ends_with(path, ".onnx")) return amg_inspect_model(path, out, err);
    amg_map map;
    amg_status st = amg_map_open(path, &map, err);
    if (st) return st;
    bool key = map.size >= 8 && !memcmp(map.data, "AMGKEY1\n", 8);
    amg_map_close(&map);
    if (key) return inspect_key(path, out, err);
    amg_fail(err, AMG_UNSUPPORTED, -1, path, "is no kind of file that Amalgam knows");
    amg_hint(err, "known: a job folder, .onnx, .safetensors, .npy, a key file");
    return AMG_UNSUPPORTED;
}

amg_status amg_inspect(const char *path, json_t **out, amg_error *err)
{
    *out = NULL;
    amg_status st = inspect_any(path, out, err);
    /* jansson's packers give NULL for what JSON cannot hold. */
    if (!st && !*out)
        st = amg_fail(err, AMG_MALFORMED, -1, path,
                      "a name in it is not UTF-8, so that it cannot be shown");
    return st;
}
