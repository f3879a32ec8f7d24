/* The plan: every secret choice about a job's data, from the secret and the public
 * shape: which slot is the original's, which positions each slot selects, which maps of
 * classes and tokens each slot has. The laws are in docs/key.md. Reads no data and no
 * model. */
#include "obfuscate/plan.h"

#include <math.h>
#include <sodium.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"

static amg_status no_memory(amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, "plan", "no memory for the plan");
}

/* Streams: one uniform permutation of all positions, cut into k+1 equal parts. */
static amg_status draw_streams(amg_keystream *ks, amg_obf_plan *plan, int64_t *scratch)
{
    amg_keystream_seek(ks, 0);
    amg_keystream_permutation(ks, plan->num_positions, scratch);
    for (int s = 0; s < plan->num_subnets; s++)
        for (int64_t j = 0; j < plan->num_values; j++)
            plan->subnets[s].select[j] = (uint32_t)scratch[s * plan->num_values + j];
    return AMG_OK;
}

/* Paper: each slot draws its own uniform ordered subset; nobody's is special. */
static amg_status draw_subsets(amg_keystream *ks, amg_obf_plan *plan, int64_t *scratch,
                               amg_error *err)
{
    for (int s = 0; s < plan->num_subnets; s++) {
        amg_keystream_seek(ks, (uint64_t)s);
        amg_status st = amg_keystream_sample(ks, plan->num_positions, plan->num_values,
                                             scratch, err);
        if (st != AMG_OK) return st;
        for (int64_t j = 0; j < plan->num_values; j++)
            plan->subnets[s].select[j] = (uint32_t)scratch[j];
    }
    return AMG_OK;
}

static amg_status draw_positions(const amg_secret *secret, amg_obf_plan *plan,
                                 amg_error *err)
{
    const size_t scratch_bytes = (size_t)plan->num_positions * sizeof(int64_t);
    amg_keystream *ks = NULL;
    int64_t *scratch = amg_malloc(scratch_bytes);
    if (!scratch) return no_memory(err);
    amg_status st = amg_keystream_new(secret, AMG_PURPOSE_POSITIONS, 0, &ks, err);
    if (st != AMG_OK) goto done;
    st = plan->shape.mode == AMG_MODE_STREAMS ? draw_streams(ks, plan, scratch)
                                              : draw_subsets(ks, plan, scratch, err);
    sodium_memzero(scratch, scratch_bytes);
done:
    amg_keystream_free(ks);
    amg_free(scratch);
    return st;
}

/* A uniform permutation of the tokens that are not fixed; those stay. map and scratch:
 * room for vocab. */
static void draw_tokens_of(amg_keystream *ks, const amg_plan_shape *shape,
                           int64_t *scratch, int32_t *map)
{
    const int64_t movable = shape->vocab - shape->num_fixed;
    amg_keystream_permutation(ks, movable, scratch);
    /* The movable tokens in order: first as the targets of map, then as its places. */
    int64_t n = 0;
    for (int64_t t = 0, f = 0; t < shape->vocab; t++) {
        if (f < shape->num_fixed && shape->fixed[f] == t)
            f++;
        else
            map[n++] = (int32_t)t;
    }
    for (int64_t i = 0; i < movable; i++) scratch[i] = map[scratch[i]];
    for (int64_t t = shape->vocab - 1, f = shape->num_fixed - 1; t >= 0; t--) {
        if (f >= 0 && shape->fixed[f] == t) {
            map[t] = (int32_t)t;
            f--;
        } else {
            map[t] = (int32_t)scratch[--n];
        }
    }
}

static amg_status draw_tokens(const amg_secret *secret, amg_obf_plan *plan,
                              amg_error *err)
{
    const amg_plan_shape *shape = &plan->shape;
    if (shape->vocab == 0) return AMG_OK;
    const size_t bytes = (size_t)shape->vocab * sizeof(int64_t);
    amg_keystream *ks = NULL;
    int64_t *scratch = amg_malloc(bytes);
    if (!scratch) return no_memory(err);
    amg_status st = amg_keystream_new(secret, AMG_PURPOSE_TOKENS, 0, &ks, err);
    for (int s = 0; st == AMG_OK && s < plan->num_subnets; s++) {
        amg_keystream_seek(ks, (uint64_t)s);
        draw_tokens_of(ks, shape, scratch, plan->subnets[s].token_map);
    }
    amg_keystream_free(ks);
    sodium_memzero(scratch, bytes);
    amg_free(scratch);
    return st;
}

static amg_status draw_labels(const amg_secret *secret, amg_obf_plan *plan,
                              amg_error *err)
{
    const amg_plan_shape *shape = &plan->shape;
    const int64_t most = shape->num_classes > shape->cover_classes
                             ? shape->num_classes
                             : shape->cover_classes;
    amg_keystream *ks = NULL;
    int64_t *map = amg_malloc((size_t)most * sizeof *map);
    if (!map) return no_memory(err);
    amg_status st = amg_keystream_new(secret, AMG_PURPOSE_LABELS, 0, &ks, err);
    if (st != AMG_OK) goto done;
    for (int s = 0; s < plan->num_subnets; s++) {
        amg_subnet_plan *net = &plan->subnets[s];
        if (shape->tokens_are_classes) {
            memcpy(net->label_map, net->token_map,
                   (size_t)net->num_classes * sizeof *net->label_map);
            continue;
        }
        if (shape->permute_labels) {
            amg_keystream_seek(ks, (uint64_t)s);
            amg_keystream_permutation(ks, net->num_classes, map);
        } else {
            for (int64_t c = 0; c < net->num_classes; c++) map[c] = c;
        }
        for (int64_t c = 0; c < net->num_classes; c++)
            net->label_map[c] = (int32_t)map[c];
    }
    sodium_memzero(map, (size_t)most * sizeof *map);
done:
    amg_keystream_free(ks);
    amg_free(map);
    return st;
}

static amg_status draw_rotation(const amg_secret *secret, amg_obf_plan *plan,
                                amg_error *err)
{
    const int64_t n = plan->subnets[0].num_block_values;
    const amg_status st = amg_rotation_derive(secret, n, &plan->rotation, err);
    for (int s = 0; !st && s < plan->num_subnets; s++) {
        amg_subnet_plan *net = &plan->subnets[s];
        net->rotation = plan->rotation;
        for (int64_t i = 0; i < n; i++) net->value_map[i] = (int32_t)i;
    }
    return st;
}

/* A permutation of each channel's values of a block, one for all slots: streams that
 * were mixed each in its own way would no longer be alike. Or the rotation, which all
 * slots share, and in which any permutation would be lost. */
static amg_status draw_values(const amg_secret *secret, amg_obf_plan *plan,
                              amg_error *err)
{
    const int64_t area = plan->shape.block[0] * plan->shape.block[1];
    if (area == 0) return AMG_OK;
    if (plan->shape.rotate) return draw_rotation(secret, plan, err);
    amg_keystream *ks = NULL;
    int64_t *order = amg_malloc((size_t)area * sizeof *order);
    if (!order) return no_memory(err);
    amg_status st = amg_keystream_new(secret, AMG_PURPOSE_INPUTS, 0, &ks, err);
    for (int64_t c = 0; st == AMG_OK && c < plan->shape.dims[0]; c++) {
        amg_keystream_permutation(ks, area, order);
        for (int s = 0; s < plan->num_subnets; s++)
            for (int64_t i = 0; i < area; i++)
                plan->subnets[s].value_map[c * area + i] =
                    (int32_t)(c * area + order[i]);
    }
    amg_keystream_free(ks);
    sodium_memzero(order, (size_t)area * sizeof *order);
    amg_free(order);
    return st;
}

/* A permutation of the blocks, one for all slots likewise. */
static amg_status draw_patches(const amg_secret *secret, amg_obf_plan *plan,
                               amg_error *err)
{
    const int64_t num = amg_plan_shape_blocks(&plan->shape);
    if (!plan->shape.patches) return AMG_OK;
    amg_keystream *ks = NULL;
    int64_t *order = amg_malloc((size_t)num * sizeof *order);
    if (!order) return no_memory(err);
    amg_status st = amg_keystream_new(secret, AMG_PURPOSE_INPUTS, 1, &ks, err);
    if (st == AMG_OK) amg_keystream_permutation(ks, num, order);
    for (int s = 0; st == AMG_OK && s < plan->num_subnets; s++)
        for (int64_t i = 0; i < num; i++)
            plan->subnets[s].patch_map[i] = (int32_t)order[i];
    amg_keystream_free(ks);
    sodium_memzero(order, (size_t)num * sizeof *order);
    amg_free(order);
    return st;
}

int64_t amg_obf_plan_place(const amg_obf_plan *plan, int slot, int64_t value)
{
    const amg_plan_shape *s = &plan->shape;
    const amg_subnet_plan *net = &plan->subnets[slot];
    const int32_t *map = net->value_map;
    const int64_t h = net->block[0], w = net->block[1], area = s->dims[1] * s->dims[2];
    if (!map) return value;
    const int64_t c = value / area, y = value % area / s->dims[2],
                  x = value % s->dims[2];
    const int64_t at = map[c * h * w + y % h * w + x % w] % (h * w);
    const int64_t across = s->dims[2] / w, block = y / h * across + x / w;
    const int64_t to = net->patch_map ? net->patch_map[block] : block;
    return c * area + (to / across * h + at / w) * s->dims[2] + to % across * w +
           at % w;
}

/* Allocates plan->subnets for the slot of the original that the key chooses. */
static amg_status make_slots(const amg_secret *secret, amg_obf_plan *plan,
                             amg_error *err)
{
    amg_keystream *ks = NULL;
    amg_status st = amg_keystream_new(secret, AMG_PURPOSE_NETWORK_ORDER, 0, &ks, err);
    if (st != AMG_OK) return st;
    plan->original = (int)amg_keystream_below(ks, (uint64_t)plan->num_subnets);
    amg_keystream_free(ks);

    plan->subnets = amg_calloc((size_t)plan->num_subnets, sizeof *plan->subnets);
    if (!plan->subnets) return no_memory(err);
    for (int s = 0; s < plan->num_subnets; s++) {
        amg_subnet_plan *net = &plan->subnets[s];
        net->num_classes =
            s == plan->original ? plan->shape.num_classes : plan->shape.cover_classes;
        const bool selects = plan->shape.mode != AMG_MODE_PACK;
        if (selects)
            net->select = amg_calloc((size_t)plan->num_values, sizeof *net->select);
        net->label_map = amg_calloc((size_t)net->num_classes, sizeof *net->label_map);
        if ((selects && !net->select) || !net->label_map) return no_memory(err);
        net->vocab = plan->shape.vocab;
        if (net->vocab > 0) {
            net->token_map = amg_calloc((size_t)net->vocab, sizeof *net->token_map);
            if (!net->token_map) return no_memory(err);
        }
        memcpy(net->block, plan->shape.block, sizeof net->block);
        net->num_block_values =
            plan->shape.dims[0] * plan->shape.block[0] * plan->shape.block[1];
        if (net->num_block_values > 0) {
            net->value_map =
                amg_calloc((size_t)net->num_block_values, sizeof *net->value_map);
            if (!net->value_map) return no_memory(err);
        }
        if (plan->shape.patches) {
            net->num_patches = amg_plan_shape_blocks(&plan->shape);
            net->patch_map =
                amg_calloc((size_t)net->num_patches, sizeof *net->patch_map);
            if (!net->patch_map) return no_memory(err);
        }
    }
    return AMG_OK;
}

amg_status amg_obf_plan_derive(const amg_secret *secret, const amg_plan_shape *shape,
                               amg_obf_plan *out, amg_error *err)
{
    amg_status st = amg_plan_shape_check(shape, err);
    if (st != AMG_OK) return st;
    const bool pack = shape->mode == AMG_MODE_PACK;
    amg_obf_plan plan = {.shape = *shape,
                         .num_subnets = pack ? 1 : shape->num_decoys + 1};
    plan.num_values = shape->dims[0] * shape->dims[1] * shape->dims[2];
    if (!amg_plan_shape_out(shape, plan.out_dims, &plan.num_positions))
        return amg_fail(err, AMG_INVALID, -1, "dims",
                        "the augmented sample is too big");
    st = make_slots(secret, &plan, err);
    if (st == AMG_OK && !pack) st = draw_positions(secret, &plan, err);
    if (st == AMG_OK) st = draw_tokens(secret, &plan, err);
    if (st == AMG_OK) st = draw_labels(secret, &plan, err);
    if (st == AMG_OK) st = draw_values(secret, &plan, err);
    if (st == AMG_OK) st = draw_patches(secret, &plan, err);
    if (st != AMG_OK)
        amg_obf_plan_clear(&plan);
    else
        *out = plan;
    return st;
}

/* Which slot each owner has. */
static amg_status draw_slots(const amg_secret *secret, int num, int *slot_of,
                             amg_error *err)
{
    int64_t slots[AMG_MAX_DECOYS + 1];
    amg_keystream *ks = NULL;
    amg_status st = amg_keystream_new(secret, AMG_PURPOSE_NETWORK_ORDER, 0, &ks, err);
    if (st != AMG_OK) return st;
    amg_keystream_permutation(ks, num, slots);
    amg_keystream_free(ks);
    for (int i = 0; i < num; i++) slot_of[i] = (int)slots[i];
    sodium_memzero(slots, sizeof slots);
    return AMG_OK;
}

amg_status amg_obf_plan_join(const amg_secret *secret, amg_obf_plan *owners, int num,
                             int *slot_of, amg_obf_plan *out, amg_error *err)
{
    amg_plan_shape shape = {.mode = AMG_MODE_STREAMS,
                            .num_decoys = num - 1,
                            .dtype = owners[0].shape.dtype,
                            .num_classes = 1,
                            .cover_classes = 1};
    memcpy(shape.dims, owners[0].shape.dims, sizeof shape.dims);
    amg_obf_plan plan = {0};
    amg_status st = amg_obf_plan_derive(secret, &shape, &plan, err);
    if (st == AMG_OK) st = draw_slots(secret, num, slot_of, err);
    for (int i = 0; st == AMG_OK && i < num; i++) {
        amg_subnet_plan *own = &owners[i].subnets[0], *net = &plan.subnets[slot_of[i]];
        amg_free(net->label_map);
        net->label_map = own->label_map;
        net->token_map = own->token_map;
        net->num_classes = own->num_classes;
        net->vocab = own->vocab;
        net->value_map = own->value_map;
        net->num_block_values = own->num_block_values;
        memcpy(net->block, own->block, sizeof net->block);
        net->patch_map = own->patch_map;
        net->num_patches = own->num_patches;
        own->label_map = own->token_map = own->value_map = own->patch_map = NULL;
    }
    if (st == AMG_OK)
        *out = plan;
    else
        amg_obf_plan_clear(&plan);
    return st;
}

void amg_obf_plan_clear(amg_obf_plan *plan)
{
    for (int s = 0; plan->subnets && s < plan->num_subnets; s++) {
        amg_subnet_plan *net = &plan->subnets[s];
        if (net->select)
            sodium_memzero(net->select, (size_t)plan->num_values * sizeof *net->select);
        if (net->label_map)
            sodium_memzero(net->label_map,
                           (size_t)net->num_classes * sizeof *net->label_map);
        if (net->token_map)
            sodium_memzero(net->token_map, (size_t)net->vocab * sizeof *net->token_map);
        if (net->value_map)
            sodium_memzero(net->value_map,
                           (size_t)net->num_block_values * sizeof *net->value_map);
        if (net->patch_map)
            sodium_memzero(net->patch_map,
                           (size_t)net->num_patches * sizeof *net->patch_map);
        amg_free(net->select);
        amg_free(net->value_map);
        amg_free(net->patch_map);
        amg_free(net->label_map);
        amg_free(net->token_map);
    }
    amg_free(plan->subnets);
    amg_rotation_free(plan->rotation);
    sodium_memzero(plan, sizeof *plan);
}
