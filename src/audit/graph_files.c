/* The files of the job folder: nothing there that the manifest does not list, nothing
 * in them that the formats do not need. model.onnx must be, byte for byte, what the
 * graph alone says (no producer, date, doc string or metadata), weights.safetensors
 * must hold no metadata and the same weights. job.json and the shards cannot hold more
 * than their readers take. Reads the model file once and packs the graph again: twice
 * its size in memory for a moment. */
#include <stdio.h>
#include <string.h>

#include "audit/graph_parts.h"
#include "base/alloc.h"
#include "base/file.h"
#include "formats/safetensors.h"
#include "graph/onnx_graph.h"

static const char attack[] = "graph";

/* What was found first, and how many such things. */
typedef struct {
    int count;
    char first[400];
} problems;

static void add_problem(problems *found, const char *name, const char *what)
{
    if (found->count++ == 0)
        snprintf(found->first, sizeof found->first, "%s %s", name, what);
}

static bool is_listed(const amg_manifest *m, const char *path)
{
    for (int i = 0; i < m->num_files; i++)
        if (!strcmp(m->files[i].path, path)) return true;
    return !strcmp(path, "job.json");
}

/* Files below DIR/SUB ("" for DIR itself) that the manifest does not know. What
 * training wrote to out/ came from the cloud. */
static amg_status list_strangers(const char *dir, const char *sub, int depth,
                                 const amg_manifest *m, problems *found, amg_error *err)
{
    char **names = NULL;
    size_t count = 0;
    char *path = sub[0] ? amg_path_join(dir, sub) : amg_strdup(dir);
    amg_status st = path ? amg_dir_list(path, &names, &count, err)
                         : amg_fail(err, AMG_NO_MEMORY, -1, dir, "no memory");
    amg_free(path);
    for (size_t i = 0; i < count && !st; i++) {
        char *inside = sub[0] ? amg_path_join(sub, names[i]) : amg_strdup(names[i]);
        char *full = inside ? amg_path_join(dir, inside) : NULL;
        if (!full)
            st = amg_fail(err, AMG_NO_MEMORY, -1, dir, "no memory");
        else if (!amg_path_is_dir(full)) {
            if (!is_listed(m, inside))
                add_problem(found, inside, "is no file of the job");
        } else if (depth < 8 && strcmp(inside, "out") != 0) {
            st = list_strangers(dir, inside, depth + 1, m, found, err);
        }
        amg_free(inside);
        amg_free(full);
    }
    amg_dir_list_free(names, count);
    return st;
}

/* A model beyond 2 GiB has its weights beside it and is not compared. */
static amg_status check_model(const amg_graph_parts *p, const char *path,
                              problems *found, amg_error *err)
{
    uint8_t *packed = NULL;
    size_t size = 0;
    amg_map map;
    amg_status st = amg_graph_pack_onnx(p->g, AMG_PACK_WHOLE, &packed, &size, err);
    if (st == AMG_OVERFLOW) return AMG_OK;
    if (st) return st;
    st = amg_map_open(path, &map, err);
    if (!st) {
        if (map.size != size || memcmp(map.data, packed, size) != 0)
            add_problem(found, "model.onnx", "holds more than the network");
        amg_map_close(&map);
    }
    amg_free(packed);
    return st;
}

static amg_status check_weights(const amg_graph_parts *p, const char *path,
                                problems *found, amg_error *err)
{
    amg_safetensors *st = NULL;
    amg_status status = amg_safetensors_open(path, &st, err);
    if (status) return status;
    if (amg_safetensors_num_metadata(st) > 0)
        add_problem(found, "weights.safetensors", "has metadata");
    for (size_t i = 1; i < amg_safetensors_count(st); i++)
        if (strcmp(amg_safetensors_at(st, i - 1)->name,
                   amg_safetensors_at(st, i)->name) >= 0) {
            add_problem(found, "weights.safetensors", "is not sorted by name");
            break;
        }
    for (int v = 0; v < p->g->num_values; v++) {
        const amg_value *val = &p->g->values[v];
        if (val->kind != AMG_VALUE_PARAM || val->role == AMG_ROLE_CONSTANT) continue;
        const amg_tensor *t = amg_safetensors_find(st, val->name);
        if (!t || t->size_bytes != val->data.size_bytes ||
            memcmp(t->data, val->data.data, t->size_bytes) != 0)
            add_problem(found, val->name,
                        "has other values in weights.safetensors than in model.onnx");
    }
    amg_safetensors_close(st);
    return AMG_OK;
}

amg_status amg_graph_check_files(const amg_graph_parts *p, amg_error *err)
{
    const char *dir = p->task->options->job;
    problems found = {0};
    if (!dir)
        return amg_findings_skip(p->task->findings, attack, err,
                                 "Files: the job lies in no folder.");
    char *model = amg_path_join(dir, "model.onnx");
    char *weights = amg_path_join(dir, "weights.safetensors");
    amg_status st = model && weights
                        ? list_strangers(dir, "", 0, &p->e->job.manifest, &found, err)
                        : amg_fail(err, AMG_NO_MEMORY, -1, dir, "no memory");
    if (!st) st = check_model(p, model, &found, err);
    if (!st) st = check_weights(p, weights, &found, err);
    amg_free(model);
    amg_free(weights);
    if (st) return st;
    amg_finding f = amg_finding_new(attack, "things in the folder that must not leave");
    f.value = found.count;
    f.pass_low = f.pass_high = 0;
    if (!found.count)
        return amg_findings_add(p->task->findings, &f, err,
                                "The folder holds the job's files and nothing else; no "
                                "date, path, producer or comment stands in them.");
    return amg_findings_add(p->task->findings, &f, err,
                            "%d thing%s in the job folder should not be there; the "
                            "first: %s. Take it out, or make the job anew.",
                            found.count, found.count == 1 ? "" : "s", found.first);
}
