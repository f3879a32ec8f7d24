/* See slot_weights.h. Counts labels in the shards as they are written, which is what
 * the cloud can count, too. */
#include "obfuscate/slot_weights.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "formats/npy.h"

static amg_status no_memory(amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, "class weights", "no memory");
}

/* ---- counting ---- */

static amg_status count_shard(const char *path, const amg_obf_plan *plan,
                              int64_t **counts, amg_error *err)
{
    amg_npy npy;
    amg_status st = amg_npy_open(path, &npy, err);
    if (st) return st;
    const int32_t *labels = npy.array.data;
    const int64_t rows = npy.array.dims[0], heads = plan->num_subnets;
    const int64_t each = rows ? amg_tensor_count(&npy.array) / rows / heads : 0;
    for (int64_t i = 0; i < rows * heads; i++)
        for (int64_t j = 0; j < each; j++) counts[i % heads][labels[i * each + j]]++;
    amg_npy_close(&npy);
    return AMG_OK;
}

static amg_status count_labels(const char *dir, const amg_manifest *m,
                               const amg_obf_plan *plan, int64_t **counts,
                               amg_error *err)
{
    amg_status st = AMG_OK;
    for (int s = 0; s < plan->num_subnets && !st; s++) {
        counts[s] = amg_calloc((size_t)plan->subnets[s].num_classes, sizeof *counts[s]);
        if (!counts[s]) st = no_memory(err);
    }
    for (int i = 0; i < m->train.num_shards && !st; i++) {
        char *path = amg_path_join(dir, m->train.shards[i].y);
        st = path ? count_shard(path, plan, counts, err) : no_memory(err);
        amg_free(path);
    }
    return st;
}

/* ---- weighing ---- */

/* What a text means for a slot whose owner wrote it. */
static amg_status weigh_own(const char *text, const amg_subnet_plan *net,
                            const int64_t *counts, bool *balanced, float *out,
                            amg_error *err)
{
    float *own = amg_calloc((size_t)net->num_classes, sizeof *own);
    if (!own) return no_memory(err);
    const amg_status st =
        amg_class_weights_parse(text, net->num_classes, balanced, own, err);
    if (!st && *balanced)
        amg_class_weights_balance(counts, net->num_classes, out);
    else if (!st)
        for (int64_t c = 0; c < net->num_classes; c++) out[net->label_map[c]] = own[c];
    amg_free(own);
    return st;
}

typedef struct {
    int64_t count;
    int64_t class;
} frequency;

/* The most frequent first. */
static int by_frequency(const void *a, const void *b)
{
    const frequency *x = a, *y = b;
    if (x->count != y->count) return x->count < y->count ? 1 : -1;
    return x->class < y->class ? -1 : x->class > y->class;
}

/* The classes of a column by how often they occur; amg_free. */
static frequency *rank_classes(const int64_t *counts, int64_t classes)
{
    frequency *list = amg_calloc((size_t)classes, sizeof *list);
    for (int64_t c = 0; list && c < classes; c++) list[c] = (frequency){counts[c], c};
    if (list) qsort(list, (size_t)classes, sizeof *list, by_frequency);
    return list;
}

/* The owner's weights for a decoy's classes, rank by rank. */
static amg_status weigh_decoy(const amg_obf_plan *plan, int slot,
                              int64_t *const *counts, const float *owner, float *out,
                              amg_error *err)
{
    const int64_t classes = plan->subnets[slot].num_classes;
    if (classes != plan->subnets[plan->original].num_classes) {
        (void)amg_fail(err, AMG_INVALID, -1, "class weights",
                       "the covers have %lld classes and the model %lld: there is no "
                       "weight for each of the decoys'",
                       (long long)classes,
                       (long long)plan->subnets[plan->original].num_classes);
        amg_hint(err, "balanced weights are counted for each network apart");
        return AMG_INVALID;
    }
    frequency *own = rank_classes(counts[plan->original], classes);
    frequency *its = rank_classes(counts[slot], classes);
    for (int64_t r = 0; own && its && r < classes; r++)
        out[its[r].class] = owner[own[r].class];
    const amg_status st = own && its ? AMG_OK : no_memory(err);
    amg_free(own);
    amg_free(its);
    return st;
}

static amg_status weigh_slot(const char *const *texts, bool packed, int slot,
                             const amg_obf_plan *plan, int64_t *const *counts,
                             float **weights, amg_error *err)
{
    const char *owner = texts[packed ? slot : plan->original];
    const amg_subnet_plan *net = &plan->subnets[slot];
    bool balanced = owner && !strcmp(owner, "balanced");
    if (!owner) return AMG_OK;
    weights[slot] = amg_calloc((size_t)net->num_classes, sizeof *weights[slot]);
    if (!weights[slot]) return no_memory(err);
    if (texts[slot] || balanced)
        return weigh_own(owner, net, counts[slot], &balanced, weights[slot], err);
    return weigh_decoy(plan, slot, counts, weights[plan->original], weights[slot], err);
}

amg_status amg_slot_weights_make(const char *const *texts, bool packed, const char *dir,
                                 const amg_manifest *m, const amg_obf_plan *plan,
                                 float **weights, amg_error *err)
{
    int64_t *counts[AMG_MAX_DECOYS + 1] = {0};
    bool any = false;
    for (int s = 0; s < plan->num_subnets; s++) any = any || texts[s];
    if (!any) return AMG_OK;
    amg_status st = count_labels(dir, m, plan, counts, err);
    /* The owner's first: decoys' follow from it. */
    if (!st && !packed)
        st = weigh_slot(texts, packed, plan->original, plan, counts, weights, err);
    for (int s = 0; s < plan->num_subnets && !st; s++)
        if (packed || s != plan->original)
            st = weigh_slot(texts, packed, s, plan, counts, weights, err);
    for (int s = 0; s < plan->num_subnets; s++) amg_free(counts[s]);
    return st;
}
