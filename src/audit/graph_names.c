/* Names and order: a job names everything by a letter and a number, in an order that
 * the key drew. Names of another kind may be the owner's; an order that follows the
 * sub-networks was not drawn, and the original has a place in it. */
#include <stdlib.h>
#include <string.h>

#include "audit/contingency.h"
#include "audit/graph_parts.h"
#include "base/alloc.h"
#include "emit/emit.h"

static const char attack[] = "graph";

/* LETTER and digits. */
static bool is_numbered(const char *name, char letter)
{
    return name[0] == letter && name[1 + strspn(name + 1, "0123456789")] == 0;
}

static bool is_output(const amg_graph *g, int v)
{
    for (int i = 0; i < g->num_outputs; i++)
        if (g->outputs[i] == v) return true;
    return false;
}

static bool is_read(const amg_graph *g, int v)
{
    for (int n = 0; n < g->num_nodes; n++)
        for (int i = 0; i < g->nodes[n].num_inputs; i++)
            if (g->nodes[n].inputs[i] == v) return true;
    return false;
}

/* Values that nothing reads have no name in the file; the reader made one up. */
static bool has_opaque_name(const amg_graph *g, int v)
{
    const amg_value *val = &g->values[v];
    if (val->kind == AMG_VALUE_INPUT) return is_numbered(val->name, 'x');
    if (val->kind == AMG_VALUE_PARAM) return is_numbered(val->name, 'p');
    if (is_output(g, v)) return is_numbered(val->name, 'h');
    return is_numbered(val->name, 'v') || !is_read(g, v);
}

/* Paths of a job: its texts, model and weights, and data/SPLIT-x-00000.npy. */
static bool is_job_path(const char *path)
{
    static const char *const fixed[] = {"model.onnx", "weights.safetensors"};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        if (!strcmp(path, fixed[i])) return true;
    for (size_t i = 0; amg_emit_job_file(i); i++)
        if (!strcmp(path, amg_emit_job_file(i))) return true;
    const char *rest = strncmp(path, "data/train-", 11) ? NULL : path + 11;
    if (!strncmp(path, "data/val-", 9)) rest = path + 9;
    if (!rest || (rest[0] != 'x' && rest[0] != 'y') || rest[1] != '-') return false;
    return !strcmp(rest + 2 + strspn(rest + 2, "0123456789"), ".npy");
}

amg_status amg_graph_check_names(const amg_graph_parts *p, amg_error *err)
{
    const amg_graph *g = p->g;
    const amg_manifest *m = &p->e->job.manifest;
    const char *first = NULL;
    amg_finding f = amg_finding_new(attack, "names that say something");
    f.value = 0;
    f.pass_low = f.pass_high = 0;
    for (int v = 0; v < g->num_values; v++) {
        if (has_opaque_name(g, v)) continue;
        if (f.value++ == 0) {
            first = g->values[v].name;
            f.guess = p->value_owner[v];
        }
    }
    for (int n = 0; n < g->num_nodes; n++)
        if (g->nodes[n].name[0] && f.value++ == 0) {
            first = g->nodes[n].name;
            f.guess = p->owner[n];
        }
    for (int i = 0; i < m->num_files; i++)
        if (!is_job_path(m->files[i].path) && f.value++ == 0) first = m->files[i].path;
    if (f.value == 0)
        return amg_findings_add(p->task->findings, &f, err,
                                "All names are a letter and a number.");
    return amg_findings_add(p->task->findings, &f, err,
                            "%.0f names are not the job's own, the first is \"%s\": "
                            "names of the owner's model give it away. Make the job "
                            "anew and send it as it is.",
                            f.value, first);
}

/* ---- order ---- */

typedef struct {
    const char *name;
    int owner;
} param_entry;

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const param_entry *)a)->name, ((const param_entry *)b)->name);
}

/* The smaller p of two orders of parameters, by name and by place in the file. */
static amg_status test_params(const amg_graph_parts *p, double *out, amg_error *err)
{
    const amg_graph *g = p->g;
    param_entry *entries = amg_calloc((size_t)g->num_values, sizeof *entries);
    int *owners = amg_calloc((size_t)g->num_values, sizeof *owners);
    double *sums = amg_calloc((size_t)p->num * 2, sizeof *sums);
    int64_t n = 0;
    amg_status st = AMG_OK;
    if (!entries || !owners || !sums) {
        st = amg_fail(err, AMG_NO_MEMORY, -1, attack, "no memory");
        goto done;
    }
    for (int v = 0; v < g->num_values; v++)
        if (g->values[v].kind == AMG_VALUE_PARAM && p->value_owner[v] >= 0) {
            entries[n] = (param_entry){g->values[v].name, p->value_owner[v]};
            owners[n++] = p->value_owner[v];
        }
    const double by_place = amg_kruskal_wallis(owners, n, p->num, sums, sums + p->num);
    qsort(entries, (size_t)n, sizeof *entries, compare_names);
    for (int64_t i = 0; i < n; i++) owners[i] = entries[i].owner;
    const double by_name = amg_kruskal_wallis(owners, n, p->num, sums, sums + p->num);
    *out = by_place < by_name ? by_place : by_name;
done:
    amg_free(entries);
    amg_free(owners);
    amg_free(sums);
    return st;
}

/* Whether each sub-network's nodes stand together, of networks long enough that chance
 * does not put them so. */
static bool nodes_stand_together(const amg_graph_parts *p)
{
    int changes = 0;
    for (int s = 0; s < p->num; s++)
        if (p->count[s] < 12) return false;
    for (int n = 1; n < p->g->num_nodes; n++) changes += p->owner[n] != p->owner[n - 1];
    return changes == p->num - 1;
}

/* Heads of the manifest, outputs and columns of labels have one order, the key's. */
static bool heads_agree(const amg_graph_parts *p)
{
    const amg_manifest *m = &p->e->job.manifest;
    if (m->num_heads != p->num) return false;
    for (int s = 0; s < p->num; s++)
        if (strcmp(m->heads[s].output, amg_graph_head(p, s)) ||
            (s > 0 && strcmp(amg_graph_head(p, s - 1), amg_graph_head(p, s)) >= 0) ||
            (amg_task_has_targets(m->task) && m->heads[s].label_column != s))
            return false;
    return true;
}

amg_status amg_graph_check_order(const amg_graph_parts *p, amg_error *err)
{
    double params = 1;
    amg_status st = test_params(p, &params, err);
    if (st) return st;
    const char *what = NULL;
    if (params < AMG_GRAPH_ALPHA / 2)
        what = "Parameters are ordered by sub-network, not by the key.";
    else if (nodes_stand_together(p))
        what = "Nodes are ordered by sub-network, not by the key.";
    else if (!heads_agree(p))
        what = "Heads, outputs and columns of labels stand in different orders.";
    const amg_agreement a = {.differing = what != NULL, .odd = -1};
    return amg_graph_tell(p, "orders that follow the sub-networks", a,
                          "Parameters and nodes of all sub-networks are mixed; heads, "
                          "outputs and columns "
                          "of labels have one order.",
                          what ? what : "", err);
}
