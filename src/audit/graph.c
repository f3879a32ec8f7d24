/* The graph attack: everything that the cloud reads off a job without training it or
 * looking at samples (lab/privacy.md §3 and §4). Takes the graph apart into
 * sub-networks; if that cannot be done, one is an input of another, and the original is
 * the only one that stands for itself. The other checks are in graph_*.c. One pass over
 * graph and weights: milliseconds, a second for a hundred million parameters. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "audit/graph_parts.h"
#include "base/alloc.h"

static const char attack[] = "graph";

/* ---- shared ---- */

const char *amg_graph_head(const amg_graph_parts *p, int subnet)
{
    return p->g->values[p->g->outputs[subnet]].name;
}

static int count_equal(const uint64_t *prints, int num, uint64_t print)
{
    int count = 0;
    for (int s = 0; s < num; s++) count += prints[s] == print;
    return count;
}

amg_agreement amg_graph_compare(const uint64_t *prints, int num)
{
    amg_agreement a = {.odd = -1};
    int most = 0;
    for (int s = 0; s < num; s++) {
        const int equal = count_equal(prints, num, prints[s]);
        if (equal > most) most = equal;
    }
    a.differing = num - most;
    for (int s = 0; num > 2 && a.differing == 1 && s < num; s++)
        if (count_equal(prints, num, prints[s]) == 1) a.odd = s;
    return a;
}

amg_status amg_graph_tell(const amg_graph_parts *p, const char *metric,
                          amg_agreement agreement, const char *good, const char *bad,
                          amg_error *err)
{
    amg_finding f = amg_finding_new(attack, metric);
    f.value = agreement.differing;
    f.pass_low = f.pass_high = 0;
    f.guess = agreement.odd;
    if (!agreement.differing)
        return amg_findings_add(p->task->findings, &f, err, "%s", good);
    if (agreement.odd < 0)
        return amg_findings_add(p->task->findings, &f, err, "%s", bad);
    return amg_findings_add(
        p->task->findings, &f, err, "%s Sub-network %s is unlike all others%s.", bad,
        amg_graph_head(p, agreement.odd),
        p->e->has_truth && agreement.odd == p->e->original ? ": it is the original"
                                                           : "");
}

/* ---- closure ---- */

/* Whether a node picks fixed entries of the flattened input. */
static bool is_select(const amg_graph *g, const amg_node *n)
{
    if (n->op != AMG_OP_GATHER || g->values[n->inputs[1]].kind != AMG_VALUE_PARAM)
        return false;
    const int flat = g->values[n->inputs[0]].producer;
    return flat >= 0 && g->nodes[flat].inputs[0] == g->inputs[0];
}

static int count_selects(const amg_graph *g, const int *order, int count)
{
    int selects = 0;
    for (int i = 0; i < count; i++) selects += is_select(g, &g->nodes[order[i]]);
    return selects;
}

/* Sub-networks are joined. The one that others take from has one select, its own; they
 * have two or more. */
static amg_status tell_joined(const amg_graph_parts *p, const amg_error *why,
                              amg_error *err)
{
    const amg_graph *g = p->g;
    amg_finding f = amg_finding_new(attack, "sub-networks that share more than the "
                                            "input");
    int *order = amg_calloc((size_t)g->num_nodes, sizeof *order), closed = 0;
    if (!order) return amg_fail(err, AMG_NO_MEMORY, -1, attack, "no memory");
    f.value = 0;
    for (int s = 0; s < p->num; s++) {
        const int count = amg_graph_canonical_order(g, s, order);
        if (count_selects(g, order, count) != 1) {
            f.value++;
        } else {
            f.guess = s;
            closed++;
        }
    }
    amg_free(order);
    if (closed != 1) f.guess = -1;
    if (f.value == 0) f.value = p->num; /* they share a select */
    f.pass_low = f.pass_high = 0;
    return amg_findings_add(
        p->task->findings, &f, err,
        "Sub-networks are connected (%s: %s). An attacker follows the connection: the "
        "original is the only one that needs no other. Make the job anew and send it "
        "as it is; nothing else of the graph was looked at.",
        why->where, why->what);
}

/* ---- taking apart ---- */

static void clear_parts(amg_graph_parts *p)
{
    for (int s = 0; p->order && s < p->num; s++) amg_free(p->order[s]);
    amg_free(p->order);
    amg_free(p->owner);
    amg_free(p->value_owner);
    amg_free(p->count);
    amg_free(p->select);
}

static void own_values(amg_graph_parts *p)
{
    const amg_graph *g = p->g;
    for (int v = 0; v < g->num_values; v++) p->value_owner[v] = -1;
    for (int n = 0; n < g->num_nodes; n++) {
        const amg_node *node = &g->nodes[n];
        for (int i = 0; i < node->num_inputs; i++)
            if (node->inputs[i] != AMG_NO_VALUE &&
                g->values[node->inputs[i]].kind == AMG_VALUE_PARAM)
                p->value_owner[node->inputs[i]] = p->owner[n];
        for (int i = 0; i < node->num_outputs; i++)
            p->value_owner[node->outputs[i]] = p->owner[n];
    }
}

static bool make_room(amg_graph_parts *p)
{
    const size_t num = (size_t)p->num, nodes = (size_t)p->g->num_nodes;
    p->owner = amg_calloc(nodes, sizeof *p->owner);
    p->value_owner = amg_calloc((size_t)p->g->num_values, sizeof *p->value_owner);
    p->order = amg_calloc(num, sizeof *p->order);
    p->count = amg_calloc(num, sizeof *p->count);
    p->select = amg_calloc(num, sizeof *p->select);
    if (!p->owner || !p->value_owner || !p->order || !p->count || !p->select)
        return false;
    for (int s = 0; s < p->num; s++)
        if (!(p->order[s] = amg_calloc(nodes, sizeof **p->order))) return false;
    return true;
}

static void find_orders(amg_graph_parts *p)
{
    for (int s = 0; s < p->num; s++) {
        p->count[s] = amg_graph_canonical_order(p->g, s, p->order[s]);
        p->select[s] = -1;
        for (int i = 0; i < p->count[s] && p->select[s] < 0; i++)
            if (is_select(p->g, &p->g->nodes[p->order[s][i]]))
                p->select[s] = p->order[s][i];
    }
}

static amg_status check_all(const amg_graph_parts *p, amg_error *err)
{
    static amg_status (*const checks[])(const amg_graph_parts *, amg_error *) = {
        amg_graph_check_architecture, amg_graph_check_sizes,
        amg_graph_check_catalogue,    amg_graph_check_names,
        amg_graph_check_order,        amg_graph_check_selects,
        amg_graph_check_init,         amg_graph_check_settings,
        amg_graph_check_labels,       amg_graph_check_files};
    const amg_agreement none = {.odd = -1};
    amg_status st =
        amg_graph_tell(p, "sub-networks that share more than the input", none,
                       "No sub-network is connected to another.", "", err);
    for (size_t i = 0; i < sizeof checks / sizeof *checks && !st; i++)
        st = checks[i](p, err);
    return st;
}

amg_status amg_attack_graph(const amg_attack_task *task, amg_error *err)
{
    const amg_evidence *e = task->evidence;
    amg_graph_parts p = {.task = task, .e = e, .g = e->job.graph};
    amg_error why = {0};
    if (!p.g) return amg_findings_skip(task->findings, attack, err, "Needs a job.");
    p.num = p.g->num_outputs;
    if (p.num < 2 || p.num != e->num_streams)
        return amg_findings_skip(task->findings, attack, err,
                                 "The job has one network, nothing hides it.");
    amg_status st = AMG_OK;
    if (!make_room(&p))
        st = amg_fail(err, AMG_NO_MEMORY, -1, attack, "no memory for its nodes");
    else if (amg_graph_subnetworks(p.g, p.owner, &why))
        st = tell_joined(&p, &why, err);
    else {
        own_values(&p);
        find_orders(&p);
        st = check_all(&p, err);
    }
    clear_parts(&p);
    return st;
}
