/* The architecture of decoys.
 *
 *     original ── walk ──► hidden centre ── walk ──► decoy 1
 *                                        └─ walk ──► decoy 2 …        (all walks
 * equally long)
 *
 * Decoys that are mutations of the original make it the medoid of all candidates
 * (identified 96-100 % of the time); around a hidden centre the original is one leaf
 * among equals (lab/privacy.md §3). For that the walk must be symmetric: each step
 * proposes an edit and its inverse with equal probability, and a proposal that does not
 * apply is a step that stays.
 *
 * Vocabulary: one channel group's width to the next or previous usual multiple, one
 * kernel 3-5-7, the activation of the whole network, one shape-preserving stretch twice
 * or not at all. */
#include "obfuscate/decoy_arch.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "obfuscate/arch_edit.h"

enum { DEFAULT_STEPS = 3 };

/* The ladder m, 3m/2, 2m, 3m, 4m … for odd m without a factor 3: up and down are each
 * other's inverse. */
static int64_t ladder(int64_t w, bool up)
{
    if (w % 3 == 0) return up ? w / 3 * 4 : w / 3 * 2;
    if (up) return w % 2 == 0 ? w / 2 * 3 : w;
    return w % 4 == 0 ? w / 4 * 3 : w;
}

static amg_status step_width(amg_keystream *k, const amg_graph *g, amg_arch_edit *edit,
                             amg_graph **out, amg_error *err)
{
    amg_channels c;
    amg_status st = amg_channels_init(g, &c, err);
    if (st) return st;
    int *movable = amg_calloc((size_t)c.num_groups, sizeof *movable);
    int64_t *width = amg_calloc((size_t)c.num_groups, sizeof *width);
    if (!movable || !width) {
        st = amg_fail(err, AMG_NO_MEMORY, -1, "decoy", "no memory for its widths");
        goto done;
    }
    int n = 0;
    for (int i = 0; i < c.num_groups; i++) {
        width[i] = c.width[i];
        if (amg_channels_root(&c, i) == i && !c.frozen[i]) movable[n++] = i;
    }
    uint64_t pick = n ? amg_keystream_below(k, (uint64_t)n) : 0;
    bool up = amg_keystream_below(k, 2) == 1;
    if (n) width[movable[pick]] = ladder(width[movable[pick]], up);
    edit->channels = &c;
    edit->width = width;
    st = amg_arch_apply(g, edit, out, err);
done:
    amg_free(movable);
    amg_free(width);
    amg_channels_clear(&c);
    return st;
}

static amg_status step_kernel(amg_keystream *k, const amg_graph *g, amg_arch_edit *edit,
                              amg_graph **out, amg_error *err)
{
    int delta = amg_keystream_below(k, 2) ? 1 : -1, convs = 0;
    for (int i = 0; i < g->num_nodes; i++) convs += g->nodes[i].op == AMG_OP_CONV;
    uint64_t pick = convs ? amg_keystream_below(k, (uint64_t)convs) : 0;
    for (int i = 0; i < g->num_nodes; i++) {
        if (g->nodes[i].op != AMG_OP_CONV || pick--) continue;
        if (amg_arch_kernel_can(g, i, delta)) {
            edit->kernel_node = i;
            edit->kernel_delta = delta;
        }
        break;
    }
    return amg_arch_apply(g, edit, out, err);
}

static amg_status step_activation(amg_keystream *k, const amg_graph *g,
                                  amg_arch_edit *edit, amg_graph **out, amg_error *err)
{
    static const amg_op vocabulary[] = {AMG_OP_RELU, AMG_OP_LEAKY_RELU, AMG_OP_CLIP};
    edit->activation = true;
    edit->activation_op = vocabulary[amg_keystream_below(k, 3)];
    return amg_arch_apply(g, edit, out, err);
}

static amg_status step_depth(amg_keystream *k, const amg_graph *g, amg_arch_edit *edit,
                             amg_graph **out, amg_error *err)
{
    amg_region *regions = amg_calloc((size_t)g->num_nodes + 1, sizeof *regions);
    int n = regions ? amg_arch_regions(g, regions) : -1;
    bool grow = amg_keystream_below(k, 2) == 1;
    amg_status st;
    if (n < 0) {
        st = amg_fail(err, AMG_NO_MEMORY, -1, "decoy", "no memory for its regions");
    } else {
        const amg_region *r = n ? &regions[amg_keystream_below(k, (uint64_t)n)] : NULL;
        if (grow)
            edit->duplicate = r;
        else
            edit->remove = r;
        st = amg_arch_apply(g, edit, out, err);
    }
    amg_free(regions);
    return st;
}

/* Replaces *g by a skeleton `steps` edits away. serial: first number for new names. */
static amg_status walk(amg_keystream *k, int steps, int serial, amg_graph **g,
                       amg_error *err)
{
    static amg_status (*const kinds[])(amg_keystream *, const amg_graph *,
                                       amg_arch_edit *, amg_graph **, amg_error *) = {
        step_width, step_kernel, step_activation, step_depth};
    for (int i = 0; i < steps; i++) {
        amg_arch_edit edit = {.serial = serial + i};
        amg_graph *next = NULL;
        amg_status st = kinds[amg_keystream_below(k, 4)](k, *g, &edit, &next, err);
        if (st) return st;
        amg_graph_free(*g);
        *g = next;
    }
    return AMG_OK;
}

/* Number of trainable scalars under other widths. */
static double count_params(const amg_graph *g, const amg_channels *c,
                           const int64_t *width)
{
    double total = 0;
    for (int v = 0; v < g->num_values; v++) {
        const amg_value *val = &g->values[v];
        if (val->kind != AMG_VALUE_PARAM || val->role != AMG_ROLE_TRAINABLE) continue;
        double n = 1;
        for (int d = 0; d < val->rank; d++) {
            const amg_feature_list *list = d < 2 ? c->params[v].dim[d] : NULL;
            n *= (double)(list ? amg_channels_size(c, list, width) : val->dims[d]);
        }
        total += n;
    }
    return total;
}

/* Every free width times factor, at least 1. */
static void scale_widths(const amg_channels *c, double factor, int64_t *width)
{
    for (int i = 0; i < c->num_groups; i++) {
        double w = round((double)c->width[i] * factor);
        width[i] = c->frozen[amg_channels_root(c, i)] ? c->width[i]
                   : w < 1                            ? 1
                                                      : (int64_t)w;
    }
}

/* Scales all widths so that the decoy has about `target` trainables (paper mode), and
 * sets its classes. */
static amg_status resize(amg_graph **g, double target, int64_t num_classes,
                         amg_error *err)
{
    amg_channels c;
    amg_status st = amg_channels_init(*g, &c, err);
    if (st) return st;
    amg_graph *next = NULL;
    const amg_feature_list *head = &c.values[(*g)->outputs[0]];
    int64_t *width = amg_calloc((size_t)c.num_groups, sizeof *width);
    if (!width) {
        st = amg_fail(err, AMG_NO_MEMORY, -1, "decoy", "no memory for its widths");
        goto done;
    }
    int64_t classes = amg_channels_size(&c, head, c.width);
    if (classes != num_classes) {
        if (head->count != 1 || head->segments[0].times != 1) {
            st = amg_fail(
                err, AMG_UNSUPPORTED, -1, (*g)->values[(*g)->outputs[0]].name,
                "the covers have %lld classes and the model %lld, but its head is "
                "not a plain layer that a decoy could resize",
                (long long)num_classes, (long long)classes);
            goto done;
        }
        c.width[amg_channels_root(&c, head->segments[0].group)] = num_classes;
    }
    scale_widths(&c, 1, width);
    if (target > 0) {
        double low = 1.0 / 64, high = 16;
        for (int i = 0; i < 48; i++) {
            double mid = sqrt(low * high);
            scale_widths(&c, mid, width);
            if (count_params(*g, &c, width) < target)
                low = mid;
            else
                high = mid;
        }
        scale_widths(&c, low, width);
    }
    amg_arch_edit edit = {.channels = &c, .width = width, .serial = 1};
    st = amg_arch_apply(*g, &edit, &next, err);
    if (!st) {
        amg_graph_free(*g);
        *g = next;
    }
done:
    amg_free(width);
    amg_channels_clear(&c);
    return st;
}

amg_status amg_decoy_arch_make(const amg_secret *secret, const amg_graph *original,
                               int index, int num_decoys, int64_t num_classes,
                               const amg_decoy_options *options, amg_graph **out,
                               amg_error *err)
{
    int steps = options->walk_steps ? options->walk_steps : DEFAULT_STEPS;
    amg_graph *g = NULL;
    amg_keystream *k = NULL;
    amg_status st = amg_arch_apply(original, &(amg_arch_edit){.serial = 1}, &g, err);
    if (!st && options->arch == AMG_DECOY_WALK) {
        st = amg_keystream_new(secret, AMG_PURPOSE_DECOY_ARCH, 0, &k, err);
        if (!st) st = walk(k, steps, 1, &g, err);
        if (!st) amg_keystream_seek(k, (uint64_t)index);
        if (!st) st = walk(k, steps, 1 + steps, &g, err);
    }
    double target =
        options->model_amount * (double)amg_graph_num_trainable(original) / num_decoys;
    if (!st) st = resize(&g, target, num_classes, err);
    amg_keystream_free(k);
    if (st)
        amg_graph_free(g);
    else
        *out = g;
    return st;
}
