/* The model augmenter: select + preprocess + network for every slot of the plan, joined
 * over one input, then scrambled. Consumes the original and finished decoys; knows
 * nothing of data. */
#include "obfuscate/augment_model.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "graph/builder.h"
#include "obfuscate/decoy_arch.h"
#include "obfuscate/decoy_init.h"
#include "obfuscate/scramble.h"

amg_status amg_decoy_make(const amg_secret *secret, const amg_graph *original,
                          int index, int num_decoys, int64_t num_classes,
                          const amg_decoy_options *options, amg_graph **out,
                          amg_error *err)
{
    amg_graph *skeleton = NULL;
    amg_keystream *k = NULL;
    amg_status st = amg_decoy_arch_make(secret, original, index, num_decoys,
                                        num_classes, options, &skeleton, err);
    if (!st)
        st =
            amg_keystream_new(secret, AMG_PURPOSE_DECOY_INIT, (uint64_t)index, &k, err);
    if (!st)
        st = amg_decoy_init(k, original, skeleton, options->start == AMG_START_SAME,
                            out, err);
    amg_keystream_free(k);
    amg_graph_free(skeleton);
    return st;
}

/* Names of the joined graph: "sSLOT/NAME". */
typedef struct {
    int slot;
    bool no_memory;
    char *text;
    size_t room;
} slot_names;

static const char *slot_name(void *context, const char *name)
{
    slot_names *s = context;
    size_t need = strlen(name) + 16;
    if (need > s->room) {
        char *text = amg_realloc(s->text, need);
        s->no_memory = s->no_memory || !text;
        if (!text) return name;
        s->text = text;
        s->room = need;
    }
    snprintf(s->text, s->room, "s%d/%s", s->slot, name);
    return s->text;
}

/* Reshape [N, C*H'*W'] -> Gather(select) -> Reshape to the network's input shape. */
static int add_select(amg_builder *b, const amg_obf_plan *plan, int slot, int x,
                      const amg_value *input)
{
    const uint32_t *select = plan->subnets[slot].select;
    const int64_t n = plan->num_values;
    int64_t flat[2] = {0, -1}, shape[AMG_MAX_RANK];
    char name[64];
    for (int i = 0; i < input->rank; i++) shape[i] = i ? input->dims[i] : -1;

    amg_tensor t = {.dtype = AMG_I64, .rank = 1, .dims = {2}, .data = flat};
    t.size_bytes = sizeof flat;
    snprintf(name, sizeof name, "s%d/select/flat", slot);
    int flat_shape = amg_builder_param(b, name, &t);
    t.dims[0] = input->rank;
    t.data = shape;
    t.size_bytes = (size_t)input->rank * sizeof *shape;
    snprintf(name, sizeof name, "s%d/select/shape", slot);
    int net_shape = amg_builder_param(b, name, &t);
    t = (amg_tensor){.dtype = AMG_I64, .rank = 1, .dims = {n}};
    t.size_bytes = (size_t)n * sizeof(int64_t);
    snprintf(name, sizeof name, "s%d/select/index", slot);
    int index = amg_builder_param(b, name, &t);
    amg_tensor *to = amg_builder_data(b, index);
    for (int64_t i = 0; to && to->data && i < n; i++)
        ((int64_t *)to->data)[amg_obf_plan_place(plan, slot, i)] = select[i];

    snprintf(name, sizeof name, "s%d/select", slot);
    int v = amg_builder_node(b, AMG_OP_RESHAPE, name, (int[]){x, flat_shape}, 2, NULL,
                             0, NULL);
    v = amg_builder_node(b, AMG_OP_GATHER, name, (int[]){v, index}, 2,
                         (amg_attr[]){amg_int("axis", 1)}, 1, NULL);
    return amg_builder_node(b, AMG_OP_RESHAPE, name, (int[]){v, net_shape}, 2, NULL, 0,
                            NULL);
}

/* Adds slot's network behind its select. *target: what the network itself sees, or the
 * tokens that it should predict. */
static amg_status add_subnet(amg_builder *b, const amg_obf_plan *plan,
                             const amg_job_network *network, int slot, int x,
                             int *target, amg_error *err)
{
    const amg_plan_shape *shape = network->shape;
    const amg_preprocess *pre = network->pre;
    amg_graph *permuted = NULL, *net = NULL;
    slot_names names = {.slot = slot};
    int *map = NULL;
    const amg_graph *g = network->graph;
    amg_status st = AMG_OK;
    if (shape->permute_labels || shape->vocab > 0 || shape->block[0] > 0) {
        st = amg_row_moves_apply(g, shape, &plan->subnets[slot], &permuted, err);
        g = permuted;
    }
    if (!st) st = amg_graph_with_preprocess(g, pre, &net, err);
    if (st) goto done;
    map = amg_calloc((size_t)net->num_values, sizeof *map);
    if (!map) {
        st = amg_fail(err, AMG_NO_MEMORY, -1, "job graph", "no memory");
        goto done;
    }
    for (int i = 0; i < net->num_values; i++) map[i] = AMG_NO_VALUE;
    map[net->inputs[0]] = add_select(b, plan, slot, x, &net->values[net->inputs[0]]);
    amg_builder_copy(b, net, map, slot_name, &names);
    amg_builder_output(b, map[net->outputs[0]]);
    *target =
        map[pre->windows ? amg_graph_next_tokens(net) : amg_graph_preprocessed(net, g)];
    if (names.no_memory)
        st = amg_fail(err, AMG_NO_MEMORY, -1, "job graph", "no memory for its names");
done:
    amg_free(names.text);
    amg_free(map);
    amg_graph_free(net);
    amg_graph_free(permuted);
    return st;
}

/* Lists the names of a network's trainables and buffers; those that it does not use
 * have none. */
static amg_status list_names(const amg_graph *network, int slot,
                             const amg_graph *joined, const char *const *scrambled,
                             amg_job_names *out, amg_error *err)
{
    amg_job_names list = {0};
    list.job = amg_calloc((size_t)network->num_values + 1, sizeof(char *));
    list.own = amg_calloc((size_t)network->num_values + 1, sizeof(char *));
    slot_names names = {.slot = slot, .no_memory = !list.job || !list.own};
    for (int v = 0; !names.no_memory && v < network->num_values; v++) {
        const amg_value *val = &network->values[v];
        if (val->kind != AMG_VALUE_PARAM || val->role == AMG_ROLE_CONSTANT) continue;
        const int j = amg_graph_find_value(joined, slot_name(&names, val->name));
        if (j < 0 || !scrambled[j][0]) continue;
        const int n = list.count++;
        list.own[n] = amg_strdup(val->name);
        list.job[n] = amg_strdup(scrambled[j]);
        names.no_memory = names.no_memory || !list.own[n] || !list.job[n];
    }
    amg_free(names.text);
    snprintf(list.output, sizeof list.output, "%s", scrambled[joined->outputs[slot]]);
    if (!names.no_memory) {
        *out = list;
        return AMG_OK;
    }
    amg_job_names_clear(&list);
    return amg_fail(err, AMG_NO_MEMORY, -1, "job graph", "no memory for its names");
}

/* Copies of the scrambled names of count values. */
static amg_status copy_names(const char *const *scrambled, const int *values, int count,
                             char ***out, amg_error *err)
{
    char **names = amg_calloc((size_t)count, sizeof *names);
    bool ok = names != NULL;
    for (int i = 0; ok && i < count; i++)
        ok = (names[i] = amg_strdup(scrambled[values[i]])) != NULL;
    if (ok) {
        *out = names;
        return AMG_OK;
    }
    for (int i = 0; names && i < count; i++) amg_free(names[i]);
    amg_free(names);
    return amg_fail(err, AMG_NO_MEMORY, -1, "job graph", "no memory for its names");
}

amg_status amg_augment_model(const amg_secret *secret, const amg_obf_plan *plan,
                             const amg_job_network *networks, amg_graph **out,
                             amg_job_names *names, char ***target_names, amg_error *err)
{
    amg_builder *b = amg_builder_new();
    amg_graph *joined = NULL, *job = NULL;
    amg_keystream *k = NULL;
    const char **scrambled = NULL;
    int target_of[AMG_MAX_DECOYS + 1]; /* each slot, as values of joined */
    int64_t dims[4] = {AMG_DIM_BATCH, plan->out_dims[0], plan->out_dims[1],
                       plan->out_dims[2]};
    amg_status st = AMG_OK;
    int listed = 0;
    if (!b) st = amg_fail(err, AMG_NO_MEMORY, -1, "job graph", "no memory");
    int x = st ? AMG_NO_VALUE : amg_builder_input(b, "x", plan->shape.dtype, 4, dims);
    for (int s = 0; !st && s < plan->num_subnets; s++)
        st = add_subnet(b, plan, &networks[s], s, x, &target_of[s], err);
    if (!st) st = amg_builder_finish(b, &joined, err);
    if (!st) st = amg_keystream_new(secret, AMG_PURPOSE_NAMES, 0, &k, err);
    if (!st && !(scrambled = amg_calloc((size_t)joined->num_values, sizeof *scrambled)))
        st = amg_fail(err, AMG_NO_MEMORY, -1, "job graph", "no memory");
    if (!st) st = amg_scramble(k, joined, &job, scrambled, err);
    while (!st && listed < plan->num_subnets) {
        st = list_names(networks[listed].graph, listed, joined, scrambled,
                        &names[listed], err);
        if (!st) listed++;
    }
    if (!st && target_names)
        st = copy_names(scrambled, target_of, plan->num_subnets, target_names, err);
    if (!st) {
        *out = job;
        job = NULL;
    }
    for (int s = 0; st && s < listed; s++) amg_job_names_clear(&names[s]);
    amg_free(scrambled);
    amg_keystream_free(k);
    amg_graph_free(job);
    amg_graph_free(joined);
    amg_builder_free(b);
    return st;
}
