/* The architecture of decoys.
 *
 *     original ── walk ──► hidden centre ── walk ──► decoy 1
 *                                        └─ walk ──► decoy 2 …        (equally long)
 *
 * Decoys that are mutations of the original make it the medoid of all candidates
 * (identified 96-100 % of the time); around a hidden centre the original is one leaf
 * among equals (lab/privacy.md §3). For that the walk must be symmetric: each step
 * proposes an edit and its inverse with equal probability, and a proposal that does not
 * apply is a step that stays.
 *
 * But what designers write stands at a wall: kernels of 3, blocks that do not repeat.
 * From there a walk can only grow, and the original would be the smallest of all
 * (VGG-16 beside three decoys in 56 of 100 jobs). So the wall is left one time in
 * AMG_DECOY_WALL alone, and networks are as much more often there: the walk is
 * reversible still.
 *
 * Vocabulary: one channel group's width to the next or previous usual multiple, one
 * kernel 3-5-7, the activation of the whole network, one shape-preserving stretch twice
 * or not at all. */
#include "obfuscate/decoy_arch.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "obfuscate/arch_edit.h"

/* The walk's reflecting walls, the same for every original: a move that leads beyond
 * them, and one that would lead back from there, stays. */
enum { DEFAULT_STEPS = 3, MAX_WIDTH = 8192, MAX_NODES = 4096 };

/* Widths m, 3m/2, 2m, 3m, 4m … for an m that holds 3 an even number of times: an odd
 * number of threes marks the rungs between the doublings. */
int64_t amg_decoy_ladder(int64_t width, bool up)
{
    bool between = false;
    for (int64_t rest = width; rest > 0 && rest % 3 == 0; rest /= 3) between = !between;
    if (between) return up ? width / 3 * 4 : width / 3 * 2;
    if (up) return width % 2 == 0 ? width / 2 * 3 : width;
    return width % 4 == 0 ? width / 4 * 3 : width;
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
    if (n) {
        int64_t *w = &width[movable[pick]], next = amg_decoy_ladder(*w, up);
        if (*w <= MAX_WIDTH && next <= MAX_WIDTH) *w = next;
    }
    edit->channels = &c;
    edit->width = width;
    st = amg_arch_apply(g, edit, out, err);
done:
    amg_free(movable);
    amg_free(width);
    amg_channels_clear(&c);
    return st;
}

static bool has_movable_width(const amg_channels *c)
{
    for (int i = 0; i < c->num_groups; i++)
        if (amg_channels_root(c, i) == i && !c->frozen[i] &&
            (amg_decoy_ladder(c->width[i], true) != c->width[i] ||
             amg_decoy_ladder(c->width[i], false) != c->width[i]))
            return true;
    return false;
}

/* Whether a step that leaves a wall is taken: always where no width could change
 * instead, which no step alters. */
static amg_status leave_wall(amg_keystream *k, const amg_graph *g, bool *taken,
                             amg_error *err)
{
    amg_channels c;
    const amg_status st = amg_channels_init(g, &c, err);
    if (st) return st;
    *taken = !has_movable_width(&c) || amg_keystream_below(k, AMG_DECOY_WALL) == 0;
    amg_channels_clear(&c);
    return AMG_OK;
}

static amg_status step_kernel(amg_keystream *k, const amg_graph *g, amg_arch_edit *edit,
                              amg_graph **out, amg_error *err)
{
    int delta = amg_keystream_below(k, 2) ? 1 : -1, convs = 0;
    for (int i = 0; i < g->num_nodes; i++) convs += g->nodes[i].op == AMG_OP_CONV;
    uint64_t pick = convs ? amg_keystream_below(k, (uint64_t)convs) : 0;
    for (int i = 0; i < g->num_nodes; i++) {
        if (g->nodes[i].op != AMG_OP_CONV || pick--) continue;
        bool taken = amg_arch_kernel_can(g, i, delta);
        amg_status st = AMG_OK;
        if (taken && delta > 0 && !amg_arch_kernel_can(g, i, -1))
            st = leave_wall(k, g, &taken, err);
        if (st) return st;
        if (taken) {
            edit->kernel_node = i;
            edit->kernel_delta = delta;
        }
        break;
    }
    return amg_arch_apply(g, edit, out, err);
}

/* A network of several activations would stay: the way back would be lost. So does one
 * that has the drawn one already. */
static amg_status step_activation(amg_keystream *k, const amg_graph *g,
                                  amg_arch_edit *edit, amg_graph **out, amg_error *err)
{
    static const amg_op vocabulary[] = {AMG_OP_RELU, AMG_OP_LEAKY_RELU, AMG_OP_CLIP};
    amg_op now = amg_arch_activation(g);
    edit->activation_op = vocabulary[amg_keystream_below(k, 3)];
    edit->activation = now != AMG_OP_COUNT && now != edit->activation_op;
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
        int grown = g->num_nodes + (r && grow ? r->last_node - r->first_node + 1 : 0);
        bool taken = r && grown <= MAX_NODES;
        st = taken && grow && !r->repeated ? leave_wall(k, g, &taken, err) : AMG_OK;
        if (!taken) r = NULL;
        if (grow)
            edit->duplicate = r;
        else if (r && r->repeated)
            edit->remove = r;
        if (!st) st = amg_arch_apply(g, edit, out, err);
    }
    amg_free(regions);
    return st;
}

typedef amg_status (*step_kind)(amg_keystream *, const amg_graph *, amg_arch_edit *,
                                amg_graph **, amg_error *);

/* Those that a network of its operators can take: steps on a kernel where there is no
 * convolution would leave short walks. No step adds or takes away the last convolution
 * or activation, so that all networks on a walk have the same kinds. */
static int list_kinds(const amg_graph *g, step_kind kinds[4])
{
    int count = 0, convs = 0;
    for (int i = 0; i < g->num_nodes; i++) convs += g->nodes[i].op == AMG_OP_CONV;
    kinds[count++] = step_width;
    if (convs) kinds[count++] = step_kernel;
    if (amg_arch_activation(g) != AMG_OP_COUNT) kinds[count++] = step_activation;
    kinds[count++] = step_depth;
    return count;
}

amg_status amg_decoy_step(amg_keystream *k, const amg_graph *g, int serial,
                          amg_graph **out, amg_error *err)
{
    step_kind kinds[4];
    amg_arch_edit edit = {.serial = serial};
    const int count = list_kinds(g, kinds);
    return kinds[amg_keystream_below(k, (uint64_t)count)](k, g, &edit, out, err);
}

amg_status amg_decoy_can_walk(const amg_graph *g, bool *out, amg_error *err)
{
    amg_channels c;
    amg_region *regions = amg_calloc((size_t)g->num_nodes + 1, sizeof *regions);
    const int num_regions = regions ? amg_arch_regions(g, regions) : -1;
    amg_free(regions);
    if (num_regions < 0)
        return amg_fail(err, AMG_NO_MEMORY, -1, "decoy", "no memory for its regions");
    amg_status st = amg_channels_init(g, &c, err);
    if (st) return st;
    bool can = num_regions > 0 || has_movable_width(&c) ||
               amg_arch_activation(g) != AMG_OP_COUNT;
    for (int i = 0; !can && i < g->num_nodes; i++)
        can = amg_arch_kernel_can(g, i, 1) || amg_arch_kernel_can(g, i, -1);
    amg_channels_clear(&c);
    *out = can;
    return AMG_OK;
}

/* Replaces *g by a skeleton `steps` edits away. serial: first number for new names. */
static amg_status walk(amg_keystream *k, int steps, int serial, amg_graph **g,
                       amg_error *err)
{
    for (int i = 0; i < steps; i++) {
        amg_graph *next = NULL;
        amg_status st = amg_decoy_step(k, *g, serial + i, &next, err);
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
            const amg_feature_list *list =
                d < AMG_FEATURE_DIMS ? c->params[v].dim[d] : NULL;
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

/* One group's width one up or down, whichever brings the count nearest; false: none
 * does. */
static bool nudge(const amg_graph *g, const amg_channels *c, double target,
                  int64_t *width)
{
    double best = fabs(count_params(g, c, width) - target);
    int group = -1, change = 0;
    for (int i = 0; i < c->num_groups; i++) {
        if (amg_channels_root(c, i) != i || c->frozen[i]) continue;
        for (int d = width[i] > 1 ? -1 : 1; d <= 1; d += 2) {
            width[i] += d;
            double off = fabs(count_params(g, c, width) - target);
            width[i] -= d;
            if (off < best) best = off, group = i, change = d;
        }
    }
    if (group >= 0) width[group] += change;
    return group >= 0;
}

/* Widths in about their proportions, for target parameters: first all by one factor,
 * then single ones, as small networks move in large steps. */
static void fit_widths(const amg_graph *g, const amg_channels *c, double target,
                       int64_t *width)
{
    double low = 1.0 / 64, high = 16;
    for (int i = 0; i < 48; i++) {
        double middle = sqrt(low * high);
        scale_widths(c, middle, width);
        if (count_params(g, c, width) < target)
            low = middle;
        else
            high = middle;
    }
    scale_widths(c, low, width);
    for (int i = 0; i < 8 && nudge(g, c, target, width); i++) continue;
}

/* A head behind operators that the channel groups do not follow keeps its size. */
static amg_status check_classes(const amg_graph *g, int64_t num_classes, amg_error *err)
{
    const amg_value *out = &g->values[g->outputs[0]];
    if (out->rank < 2 || out->dims[1] == num_classes) return AMG_OK;
    return amg_fail(err, AMG_UNSUPPORTED, -1, out->name,
                    "the covers have %lld classes and the model %lld, but its head is "
                    "not a plain layer that a decoy could resize",
                    (long long)num_classes, (long long)out->dims[1]);
}

/* Scales all widths so that the decoy has about `target` trainables (paper mode), and
 * sets its classes (0: its output stays as it is). */
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
    const amg_value *logits = &(*g)->values[(*g)->outputs[0]];
    const int64_t classes = logits->rank > 1 ? logits->dims[1] : 1;
    if (num_classes > 0 && classes != num_classes) {
        if (head->axis != 1 || head->count != 1 || head->segments[0].times != 1) {
            st = amg_fail(
                err, AMG_UNSUPPORTED, -1, logits->name,
                "the covers have %lld classes and the model %lld, but its head is "
                "not a plain layer that a decoy could resize",
                (long long)num_classes, (long long)classes);
            goto done;
        }
        c.width[amg_channels_root(&c, head->segments[0].group)] = num_classes;
    }
    scale_widths(&c, 1, width);
    if (target > 0) fit_widths(*g, &c, target, width);
    amg_arch_edit edit = {.channels = &c, .width = width, .serial = 1};
    st = amg_arch_apply(*g, &edit, &next, err);
    if (!st && num_classes > 0) st = check_classes(next, num_classes, err);
    if (st) {
        amg_graph_free(next);
    } else {
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
    if (!st && options->arch != AMG_DECOY_SAME) {
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
