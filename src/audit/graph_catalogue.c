/* Textbook networks: sub-networks that are one of the catalogue (graph/catalogue.h).
 * Beside decoys that are none, who knows the catalogue takes such a one for the
 * original. */
#include "audit/graph_parts.h"
#include "graph/catalogue.h"

static const char attack[] = "graph";

static amg_status find_textbook(const amg_graph_parts *p, int s, const char **name,
                                amg_error *err)
{
    const amg_evidence *e = p->e;
    const amg_stream *stream = &e->streams[s];
    amg_catalogue_data data = {.num_classes = stream->num_classes};
    data.is_model = e->job.manifest.task == AMG_TASK_LANGUAGE_MODEL;
    for (int d = 0; d < 3; d++) data.dims[d] = stream->dims[d];
    /* A window has the last token's successor. */
    if (e->is_tokens) data.seq = stream->num_values - data.is_model;
    return amg_catalogue_find(p->g, p->owner, s, &data, name, err);
}

amg_status amg_graph_check_catalogue(const amg_graph_parts *p, amg_error *err)
{
    int known = 0, which = -1;
    const char *found = NULL;
    bool original = false;
    for (int s = 0; s < p->num; s++) {
        const char *name;
        const amg_status st = find_textbook(p, s, &name, err);
        if (st) return st;
        if (!name) continue;
        known++;
        which = s;
        found = name;
        original = original || (p->e->has_truth && s == p->e->original);
    }
    amg_finding f = amg_finding_new(attack, "the original taken for a textbook's");
    f.chance = 1.0 / p->num;
    if (p->e->has_truth) {
        f.value = known == 0 ? f.chance : original ? 1.0 / known : 0;
        f.pass_low = 0;
        f.pass_high = f.chance;
    }
    if (known == 1) f.guess = which;
    if (known == 0)
        return amg_findings_add(
            p->task->findings, &f, err,
            "No sub-network is one of the catalogue (amalgam zoo).");
    if (known == p->num)
        return amg_findings_add(p->task->findings, &f, err,
                                "Every sub-network is a textbook %s: that tells "
                                "nobody which is real.",
                                found);
    return amg_findings_add(
        p->task->findings, &f, err,
        "%d of %d sub-networks %s textbook network (%s %s) beside others that are "
        "none: who knows the catalogue takes it for the original%s. Decoys of the "
        "original's architecture (--decoy-arch same, the default for such networks) "
        "hide which one is real.",
        known, p->num, known == 1 ? "is a" : "are each a", amg_graph_head(p, which),
        found,
        original          ? ", and is right"
        : p->e->has_truth ? ", wrongly"
                          : "");
}
