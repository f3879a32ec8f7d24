/* What trains, and how: frozen layers, momentum and epsilon of norms, dropout ratios,
 * number types, losses, and what happens to data ahead of the first layer. All of it is
 * one setting for all sub-networks, or names the one with another. */
#include <string.h>

#include "audit/graph_parts.h"
#include "base/alloc.h"
#include "graph/freeze.h"
#include "obfuscate/channels.h"

/* The fingerprint of one setting of a sub-network. */
typedef uint64_t (*setting_fn)(const amg_graph_parts *p, int subnet);

/* A set of numbers, each of which counts once: a decoy may have more layers. */
typedef struct {
    int count;
    uint64_t items[64];
} number_set;

static void add_number(number_set *set, uint64_t v)
{
    for (int i = 0; i < set->count; i++)
        if (set->items[i] == v) return;
    if (set->count < 64) set->items[set->count++] = v;
}

static uint64_t print_set(const number_set *set)
{
    uint64_t sum = (uint64_t)set->count;
    for (int i = 0; i < set->count; i++) sum += amg_print_mix(7, set->items[i]);
    return sum;
}

static const amg_node *node_of(const amg_graph_parts *p, int subnet, int i)
{
    return &p->g->nodes[p->order[subnet][i]];
}

static bool is_frozen(const amg_graph_parts *p, int value)
{
    const amg_manifest *m = &p->e->job.manifest;
    return amg_frozen_has(m->frozen, m->num_frozen, p->g->values[value].name);
}

/* Whether any layer's weight is a constant or frozen, whether any trains, and whether
 * any norm's statistics stay. */
static uint64_t frozen_of(const amg_graph_parts *p, int subnet)
{
    uint64_t print = 0;
    for (int i = 0; i < p->count[subnet]; i++) {
        const amg_node *n = node_of(p, subnet, i);
        if (n->op == AMG_OP_BATCH_NORM && is_frozen(p, n->inputs[3])) print |= 4;
        if (!amg_is_layer(n)) continue;
        const amg_value *w = &p->g->values[n->inputs[1]];
        if (w->kind == AMG_VALUE_PARAM)
            print |= w->role == AMG_ROLE_CONSTANT || is_frozen(p, n->inputs[1]) ? 2 : 1;
    }
    return print;
}

static uint64_t float_bits(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static uint64_t norms_of(const amg_graph_parts *p, int subnet)
{
    number_set set = {0};
    for (int i = 0; i < p->count[subnet]; i++) {
        const amg_node *n = node_of(p, subnet, i);
        if (!amg_attr_find(n, "epsilon") && n->op != AMG_OP_BATCH_NORM) continue;
        const uint64_t epsilon = float_bits(amg_attr_float(n, "epsilon", 1e-5f));
        const uint64_t momentum = float_bits(amg_attr_float(n, "momentum", .9f));
        add_number(&set,
                   amg_print_mix(amg_print_mix((uint64_t)n->op, epsilon), momentum));
    }
    return print_set(&set);
}

static uint64_t dropout_of(const amg_graph_parts *p, int subnet)
{
    number_set set = {0};
    for (int i = 0; i < p->count[subnet]; i++) {
        const amg_node *n = node_of(p, subnet, i);
        if (n->op != AMG_OP_DROPOUT) continue;
        float ratio = amg_attr_float(n, "ratio", .5f);
        const int v = n->num_inputs > 1 ? n->inputs[1] : AMG_NO_VALUE;
        if (v != AMG_NO_VALUE && p->g->values[v].data.data &&
            p->g->values[v].data.size_bytes == sizeof ratio)
            memcpy(&ratio, p->g->values[v].data.data, sizeof ratio);
        add_number(&set, float_bits(ratio));
    }
    return print_set(&set);
}

static uint64_t dtypes_of(const amg_graph_parts *p, int subnet)
{
    uint64_t set = 0;
    for (int v = 0; v < p->g->num_values; v++)
        if (p->value_owner[v] == subnet) set |= UINT64_C(1) << p->g->values[v].dtype;
    return set;
}

static uint64_t loss_of(const amg_graph_parts *p, int subnet)
{
    const amg_manifest *m = &p->e->job.manifest;
    if (subnet >= m->num_heads) return 0;
    const amg_head *h = &m->heads[subnet];
    uint64_t print = amg_print_mix((uint64_t)h->loss, h->has_ignore);
    print = amg_print_mix(print, float_bits(h->delta));
    print = amg_print_mix(print, h->class_weights != NULL);
    for (int i = 0; i < h->num_parts; i++) {
        print = amg_print_mix(print, (uint64_t)h->parts[i].loss);
        print = amg_print_mix(print, float_bits(h->parts[i].delta));
        print = amg_print_mix(print, float_bits(h->parts[i].weight));
        print = amg_print_mix(print, (uint64_t)amg_loss_part_outputs(&h->parts[i]));
    }
    return amg_print_mix(print, h->has_ignore ? (uint64_t)h->ignore_index : 0);
}

/* Whether node n works on data alone: its inputs are data (is_data, per value) or
 * constants. */
static bool is_preparation(const amg_graph *g, const amg_node *n,
                           const uint8_t *is_data)
{
    bool data = false;
    for (int i = 0; i < n->num_inputs; i++) {
        const int v = n->inputs[i];
        if (v == AMG_NO_VALUE) continue;
        if (g->values[v].kind == AMG_VALUE_PARAM) {
            if (g->values[v].role != AMG_ROLE_CONSTANT) return false;
            continue;
        }
        if (!is_data[v]) return false;
        data = true;
    }
    return data;
}

/* Operators and constants between the select and the first layer, the select's index
 * excepted. A decoy of more or other layers has the same. */
static uint64_t print_preparation(const amg_graph_parts *p, int subnet,
                                  uint8_t *is_data)
{
    const amg_graph *g = p->g;
    uint64_t sum = 0;
    memset(is_data, 0, (size_t)g->num_values);
    for (int i = 0; i < g->num_inputs; i++) is_data[g->inputs[i]] = 1;
    for (int i = 0; i < p->count[subnet]; i++) {
        const int index = p->order[subnet][i];
        const amg_node *n = &g->nodes[index];
        if (!is_preparation(g, n, is_data)) continue;
        uint64_t print = amg_print_mix(11, (uint64_t)n->op);
        for (int j = 0; j < n->num_outputs; j++) {
            is_data[n->outputs[j]] = 1;
            print = amg_print_mix(print, (uint64_t)g->values[n->outputs[j]].dtype);
        }
        for (int j = 0; j < n->num_inputs; j++) {
            const int v = n->inputs[j];
            if (v == AMG_NO_VALUE || g->values[v].kind != AMG_VALUE_PARAM) continue;
            const amg_tensor *t = &g->values[v].data;
            if (index != p->select[subnet] && t->data)
                print = amg_print_bytes(print, t->data, t->size_bytes);
        }
        sum += print;
    }
    return sum;
}

static amg_status tell_preparation(const amg_graph_parts *p, uint64_t *prints,
                                   amg_error *err)
{
    uint8_t *is_data = amg_calloc((size_t)p->g->num_values, 1);
    if (!is_data) return amg_fail(err, AMG_NO_MEMORY, -1, "graph", "no memory");
    for (int s = 0; s < p->num; s++) prints[s] = print_preparation(p, s, is_data);
    amg_free(is_data);
    return amg_graph_tell(
        p, "preparation of data that differs", amg_graph_compare(prints, p->num),
        "Samples are scaled and normalised alike in all sub-networks.",
        "Sub-networks scale or normalise their samples differently: one preparation "
        "must serve all.",
        err);
}

amg_status amg_graph_check_settings(const amg_graph_parts *p, amg_error *err)
{
    static const struct {
        const char *metric, *good, *bad;
        setting_fn of;
    } settings[] = {
        {"frozen layers that differ", "The same kinds of layers train everywhere.",
         "Some sub-networks have frozen layers, others none: freeze in all or in none.",
         frozen_of},
        {"norms that differ", "Norms have one epsilon and momentum.",
         "Norms have another epsilon or momentum in some sub-networks.", norms_of},
        {"dropout that differs", "Dropout has the same ratios everywhere.",
         "Dropout has another ratio in some sub-networks.", dropout_of},
        {"number types that differ", "All sub-networks compute in the same types.",
         "Some sub-networks compute in other number types.", dtypes_of},
        {"losses that differ", "All heads have one loss.",
         "Heads are trained by different losses.", loss_of},
    };
    uint64_t *prints = amg_calloc((size_t)p->num, sizeof *prints);
    if (!prints) return amg_fail(err, AMG_NO_MEMORY, -1, "graph", "no memory");
    amg_status st = tell_preparation(p, prints, err);
    for (size_t i = 0; i < sizeof settings / sizeof *settings && !st; i++) {
        for (int s = 0; s < p->num; s++) prints[s] = settings[i].of(p, s);
        st = amg_graph_tell(p, settings[i].metric, amg_graph_compare(prints, p->num),
                            settings[i].good, settings[i].bad, err);
    }
    amg_free(prints);
    return st;
}
