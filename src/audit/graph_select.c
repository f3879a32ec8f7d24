/* Select index sets: as large for every sub-network, each position once, disjoint where
 * streams share a sample out, with no position left over; of one type; and as
 * disordered in one sub-network as in any other. Paper mode draws overlapping sets and
 * leaves positions over: there only sizes, types and order must agree. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "audit/graph_parts.h"
#include "base/alloc.h"

static const char attack[] = "graph";

/* How often each position is selected. */
static amg_status count_uses(const amg_evidence *e, uint8_t **out, amg_error *err)
{
    uint8_t *uses = amg_calloc((size_t)e->num_positions, 1);
    if (!uses) return amg_fail(err, AMG_NO_MEMORY, -1, attack, "no memory");
    for (int s = 0; s < e->num_streams; s++)
        for (int64_t i = 0; i < e->streams[s].num_values; i++)
            uses[e->streams[s].select[i]] += uses[e->streams[s].select[i]] < UINT8_MAX;
    *out = uses;
    return AMG_OK;
}

/* Positions that a stream selects more than once. seen: zeroed, and left so. */
static int64_t count_repeats(const amg_stream *s, uint8_t *seen)
{
    int64_t repeats = 0;
    for (int64_t i = 0; i < s->num_values; i++) repeats += seen[s->select[i]]++ > 0;
    for (int64_t i = 0; i < s->num_values; i++) seen[s->select[i]] = 0;
    return repeats;
}

static amg_status tell_sets(const amg_graph_parts *p, amg_error *err)
{
    const amg_evidence *e = p->e;
    uint64_t *prints = amg_calloc((size_t)p->num, sizeof *prints);
    uint8_t *seen = amg_calloc((size_t)e->num_positions, 1);
    amg_status st = AMG_OK;
    if (!prints || !seen) st = amg_fail(err, AMG_NO_MEMORY, -1, attack, "no memory");
    for (int s = 0; s < p->num && !st; s++) {
        const int node = p->select[s];
        const int index = node < 0 ? -1 : p->g->nodes[node].inputs[1];
        prints[s] = amg_print_mix(0, (uint64_t)e->streams[s].num_values);
        prints[s] =
            amg_print_mix(prints[s], (uint64_t)count_repeats(&e->streams[s], seen));
        if (index >= 0)
            prints[s] = amg_print_mix(prints[s], (uint64_t)p->g->values[index].dtype);
    }
    if (!st)
        st = amg_graph_tell(
            p, "select sets that differ in size or type",
            amg_graph_compare(prints, p->num),
            "All sub-networks select equally many positions, with indices of one type.",
            "Sub-networks select differently many positions, some twice, or with "
            "indices of another type: make the job anew.",
            err);
    amg_free(prints);
    amg_free(seen);
    return st;
}

/* Without the truth the geometry tells the mode: streams fill a sample exactly. */
static bool shares_out(const amg_evidence *e)
{
    int64_t sum = 0;
    if (e->has_truth) return !e->paper_mode;
    for (int s = 0; s < e->num_streams; s++) sum += e->streams[s].num_values;
    return sum == e->num_positions;
}

static amg_status tell_cover(const amg_graph_parts *p, amg_error *err)
{
    const amg_evidence *e = p->e;
    uint8_t *uses = NULL;
    int64_t none = 0, several = 0;
    amg_status st = count_uses(e, &uses, err);
    if (st) return st;
    for (int64_t i = 0; i < e->num_positions; i++) {
        none += uses[i] == 0;
        several += uses[i] > 1;
    }
    amg_free(uses);
    amg_finding f = amg_finding_new(attack, "positions selected by none or several");
    f.value = (double)(none + several);
    if (!shares_out(e)) {
        f.value = (double)none / (double)e->num_positions;
        f.metric = "positions that nobody selects";
        return amg_findings_add(p->task->findings, &f, err,
                                "%lld of %lld positions are selected by no "
                                "sub-network: the cloud knows that they are noise.",
                                (long long)none, (long long)e->num_positions);
    }
    f.pass_low = f.pass_high = 0;
    return amg_findings_add(
        p->task->findings, &f, err,
        none + several == 0
            ? "Every position belongs to one sub-network."
            : "%lld positions are selected by no sub-network, %lld by several: streams "
              "must share a sample out exactly. Make the job anew.",
        (long long)none, (long long)several);
}

/* Spearman's correlation of place and position, in standard deviations of none. */
static double order_of(const amg_stream *s, int64_t num_positions)
{
    const double n = (double)s->num_values, middle = ((double)num_positions - 1) / 2;
    double cross = 0, squares = 0;
    for (int64_t i = 0; i < s->num_values; i++) {
        const double d = s->select[i] - middle;
        cross += ((double)i - (n - 1) / 2) * d;
        squares += d * d;
    }
    const double places = n * (n * n - 1) / 12;
    return squares > 0 && places > 0 ? cross / sqrt(places * squares) * sqrt(n - 1) : 0;
}

static amg_status tell_order(const amg_graph_parts *p, amg_error *err)
{
    const amg_evidence *e = p->e;
    uint64_t *ordered = amg_calloc((size_t)p->num, sizeof *ordered);
    int count = 0;
    if (!ordered) return amg_fail(err, AMG_NO_MEMORY, -1, attack, "no memory");
    for (int s = 0; s < p->num; s++) {
        const amg_stream *stream = &e->streams[s];
        bool ascending = stream->num_values > 8;
        for (int64_t i = 1; i < stream->num_values; i++)
            ascending = ascending && stream->select[i - 1] < stream->select[i];
        ordered[s] = ascending || fabs(order_of(stream, e->num_positions)) > 6;
        count += ordered[s] != 0;
    }
    const amg_agreement a = amg_graph_compare(ordered, p->num);
    amg_free(ordered);
    return amg_graph_tell(
        p, "selects in an order of their own", a,
        count
            ? "The positions of every stream stand in raster order: no stream differs, "
              "but images are easier to put together than they need be."
            : "The positions of every stream stand in a secret order.",
        "The positions of some streams stand in raster order, of others not: make the "
        "job anew.",
        err);
}

amg_status amg_graph_check_selects(const amg_graph_parts *p, amg_error *err)
{
    amg_status st = tell_sets(p, err);
    if (!st) st = tell_cover(p, err);
    if (!st) st = tell_order(p, err);
    return st;
}
