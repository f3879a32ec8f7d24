/* `amalgam obfuscate`, in order: open and check everything, choose (plan, covers,
 * decoys), write the job into a folder beside its final name, write the key, rename the
 * job. Whatever fails, neither job nor key stays. */
#include "obfuscate/obfuscate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/file.h"
#include "formats/npy.h"
#include "formats/token_set.h"
#include "graph/catalogue.h"
#include "obfuscate/decoy_arch.h"
#include "obfuscate/decoy_init.h"
#include "obfuscate/frozen_names.h"
#include "obfuscate/job_paths.h"
#include "obfuscate/job_writer.h"
#include "obfuscate/owner.h"
#include "obfuscate/slot_weights.h"

/* Everything that is open or made while obfuscating; close_all undoes it on every path.
 */
typedef struct {
    const amg_obfuscate_options *o;
    amg_owner own;
    amg_obf_plan plan;
    amg_cover_plan cover_plan;
    float *noise_values;
    int64_t num_noise_values;
    amg_noise_law noise;
    amg_graph **subnets; /* per slot; the original's is model */
    amg_graph *job;
    amg_job_names names; /* of the original */
    char **target_names; /* [num_subnets], in tasks without targets */
    amg_manifest manifest;
    char temp[PATH_MAX]; /* the folder being written; "" when there is none */
} work;

static void close_all(work *w)
{
    if (w->temp[0]) amg_dir_remove(w->temp);
    amg_job_names_clear(&w->names);
    amg_manifest_clear(&w->manifest);
    amg_graph_free(w->job);
    for (int s = 0; w->subnets && s < w->plan.num_subnets; s++)
        if (w->subnets[s] != w->own.model) amg_graph_free(w->subnets[s]);
    amg_free(w->subnets);
    for (int s = 0; w->target_names && s < w->plan.num_subnets; s++)
        amg_free(w->target_names[s]);
    amg_free(w->target_names);
    amg_noise_clear(&w->noise);
    amg_free(w->noise_values);
    amg_cover_plan_clear(&w->cover_plan);
    amg_obf_plan_clear(&w->plan);
    amg_owner_close(&w->own);
}

/* A text file of numbers or a .npy of f32 or u8. */
static amg_status read_noise_values(const char *path, float **values, int64_t *count,
                                    amg_error *err)
{
    amg_map map;
    amg_status st = amg_map_open(path, &map, err);
    if (st) return st;
    char *text = amg_malloc(map.size + 1);
    float *list = amg_calloc(map.size / 2 + 1, sizeof *list);
    int64_t n = 0;
    amg_npy npy;
    if (!text || !list) {
        st = amg_fail(err, AMG_NO_MEMORY, -1, path, "no memory");
    } else if (map.size > 6 && !memcmp(map.data, "\x93NUMPY", 6)) {
        st = amg_npy_open(path, &npy, err);
        if (!st && npy.array.dtype != AMG_F32 && npy.array.dtype != AMG_U8)
            st =
                amg_fail(err, AMG_UNSUPPORTED, -1, path, "found %s, expected F32 or U8",
                         amg_dtype_name(npy.array.dtype));
        for (int64_t i = 0; !st && i < amg_tensor_count(&npy.array); i++)
            list[n++] = npy.array.dtype == AMG_U8 ? ((const uint8_t *)npy.array.data)[i]
                                                  : ((const float *)npy.array.data)[i];
        if (!st || npy.map.data) amg_npy_close(&npy);
    } else {
        if (map.size) memcpy(text, map.data, map.size);
        text[map.size] = 0;
        char *at = text, *end;
        for (float v; v = strtof(at, &end), end != at; at = end) list[n++] = v;
        while (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t') at++;
        if (at != text + map.size)
            st = amg_fail(err, AMG_MALFORMED, at - text, path, "expected a number");
    }
    amg_free(text);
    amg_map_close(&map);
    if (st) {
        amg_free(list);
        return st;
    }
    *values = list;
    *count = n;
    return AMG_OK;
}

/* The law that decoys' positions follow in paper mode. */
static amg_status fit_noise(work *w, amg_error *err)
{
    const amg_obfuscate_options *o = w->o;
    amg_status st = AMG_OK;
    if (w->plan.shape.dtype == AMG_I32)
        return amg_noise_fit_tokens(o->noise, w->own.in.train, w->own.in.vocab,
                                    &w->noise, err);
    if (o->noise == AMG_NOISE_VALUES)
        st = read_noise_values(o->noise_values, &w->noise_values, &w->num_noise_values,
                               err);
    if (!st)
        st = amg_noise_fit(o->noise, w->own.in.train, w->noise_values,
                           w->num_noise_values, &w->noise, err);
    return st;
}

/* All secret choices about positions, labels, tokens and covers. */
static amg_status choose(work *w, amg_error *err)
{
    const amg_obfuscate_options *o = w->o;
    amg_plan_shape shape;
    amg_status st =
        amg_owner_shape(&w->own, o->num_decoys ? o->num_decoys : 1, &shape, err);
    if (!st) st = amg_obf_plan_derive(w->own.secret, &shape, &w->plan, err);
    if (!st) st = amg_owner_rotate(&w->own, &w->plan, err);
    w->manifest.mixed = !st && shape.block[0] > 0;
    w->manifest.rotated = !st && shape.rotate;
    if (st || o->mode == AMG_MODE_PAPER) return st ? st : fit_noise(w, err);
    const amg_inputs *in = &w->own.in;
    const amg_dataset *val_pool = in->val_covers ? in->val_covers : in->covers;
    const bool pair = o->pair_classes;
    amg_cover_split splits[2] = {{in->train, in->covers, pair},
                                 {in->val, val_pool, pair}};
    return amg_cover_plan_derive(w->own.secret, shape.num_decoys, splits,
                                 in->val ? 2 : 1, &w->cover_plan, err);
}

/* Whether a decoy can be a network of this job: it gives what the original gives, and
 * admits the same permutations. */
static amg_status check_decoy(const work *w, const amg_graph *decoy, int64_t classes,
                              amg_error *err)
{
    const amg_value *own = &w->own.model->values[w->own.model->outputs[0]];
    const amg_value *out = &decoy->values[decoy->outputs[0]];
    amg_row_moves ignored;
    bool same = out->rank == own->rank;
    for (int d = 0; same && d < own->rank; d++)
        same = out->dims[d] == (d == 1 && classes > 0 ? classes : own->dims[d]);
    if (!same)
        return amg_fail(err, AMG_MISMATCH, -1, out->name, "a decoy's output differs");
    return amg_row_moves_find(decoy, &w->plan.shape,
                              classes > 0 ? classes : w->plan.shape.num_classes,
                              &ignored, err);
}

/* Whose architecture decoys have, and where their weights begin, as far as that is
 * known before they are made. */
static amg_status choose_decoys(const work *w, amg_obfuscate_result *r, amg_error *err)
{
    const amg_decoy_arch asked = w->o->decoys.arch;
    const amg_decoy_start start = w->o->decoys.start;
    const amg_plan_shape *shape = &w->plan.shape;
    amg_catalogue_data data = {.num_classes = w->own.in.num_classes,
                               .is_model = w->own.in.task == AMG_TASK_LANGUAGE_MODEL};
    bool walks = asked != AMG_DECOY_SAME;
    memcpy(data.dims, shape->dims, sizeof data.dims);
    if (w->own.in.vocab > 0)
        data.seq = w->own.model->values[w->own.model->inputs[0]].dims[1];
    amg_status st = amg_catalogue_find(w->own.model, NULL, 0, &data, &r->textbook, err);
    if (asked == AMG_DECOY_AUTO && r->textbook && shape->mode == AMG_MODE_STREAMS)
        walks = false;
    if (!st) st = amg_init_count_unknown(w->own.model, &r->num_unknown_init, err);
    r->same_start = start == AMG_START_SAME ||
                    (start == AMG_START_AUTO && asked != AMG_DECOY_WALK &&
                     shape->mode == AMG_MODE_STREAMS && r->num_unknown_init > 0);
    if (r->same_start) walks = false;
    if (!st && walks) st = amg_decoy_can_walk(w->own.model, &walks, err);
    r->same_arch = !walks;
    return st;
}

static amg_status make_decoy(work *w, int slot, int index, amg_obfuscate_result *r,
                             amg_error *err)
{
    const bool has_classes = w->own.in.task == AMG_TASK_CLASSIFICATION;
    const int64_t classes = has_classes ? w->plan.subnets[slot].num_classes : 0;
    amg_decoy_options o = w->o->decoys;
    amg_graph **out = &w->subnets[slot];
    o.arch = r->same_arch ? AMG_DECOY_SAME : AMG_DECOY_WALK;
    o.start = r->same_start ? AMG_START_SAME : AMG_START_DRAWN;
    const amg_status st =
        amg_decoy_make(w->own.secret, w->own.model, index, w->plan.shape.num_decoys,
                       classes, &o, out, err);
    return st || r->same_arch ? st : check_decoy(w, *out, classes, err);
}

/* Decoys in slot order around the original's slot. If a walk led to what is no network
 * of this job, all have the original's architecture: of several alike and one apart, an
 * attacker knows where to look. */
static amg_status make_decoys(work *w, amg_obfuscate_result *r, amg_error *err)
{
    amg_status st = AMG_OK;
    int index = 0;
    for (int s = 0; !st && s < w->plan.num_subnets; s++) {
        if (s == w->plan.original)
            w->subnets[s] = w->own.model;
        else
            st = make_decoy(w, s, ++index, r, err);
    }
    if (r->same_arch || (st != AMG_MISMATCH && st != AMG_UNSUPPORTED)) return st;
    for (int s = 0; s < w->plan.num_subnets; s++) {
        if (w->subnets[s] != w->own.model) amg_graph_free(w->subnets[s]);
        w->subnets[s] = NULL;
    }
    r->same_arch = true;
    return make_decoys(w, r, err);
}

static amg_status join_networks(work *w, amg_error *err)
{
    amg_job_network networks[AMG_MAX_DECOYS + 1];
    amg_job_names names[AMG_MAX_DECOYS + 1];
    for (int s = 0; s < w->plan.num_subnets; s++)
        networks[s] = (amg_job_network){w->subnets[s], &w->own.fed, &w->plan.shape};
    const amg_status st = amg_augment_model(
        w->own.secret, &w->plan, networks, &w->job, names,
        amg_task_has_targets(w->own.in.task) ? NULL : &w->target_names, err);
    if (st) return st;
    amg_status frozen = AMG_OK;
    for (int s = 0; s < w->plan.num_subnets; s++) {
        if (!frozen)
            frozen = amg_frozen_names_add(&w->own.frozen, &names[s], &w->manifest, err);
        if (s == w->plan.original)
            w->names = names[s];
        else
            amg_job_names_clear(&names[s]);
    }
    amg_frozen_names_sort(&w->manifest);
    return frozen;
}

/* The networks; then the joined graph and the key's payload. */
static amg_status make_model(work *w, amg_obfuscate_result *r, amg_error *err)
{
    amg_status st = choose_decoys(w, r, err);
    if (st) return st;
    w->subnets = amg_calloc((size_t)w->plan.num_subnets, sizeof *w->subnets);
    if (!w->subnets) return amg_fail(err, AMG_NO_MEMORY, -1, "job graph", "no memory");
    st = make_decoys(w, r, err);
    if (st) return st;
    return join_networks(w, err);
}

static amg_status write_data(work *w, const amg_progress *progress, amg_error *err)
{
    amg_augment_options a = {.secret = w->own.secret,
                             .plan = &w->plan,
                             .data = w->own.in.train,
                             .covers = w->own.in.covers,
                             .cover_rows = w->cover_plan.rows[0],
                             .noise = w->o->mode == AMG_MODE_PAPER ? &w->noise : NULL,
                             .vocab = w->own.in.vocab,
                             .num_parts = w->own.in.num_parts,
                             .parts = w->own.in.parts,
                             .split = "train",
                             .shard_bytes = w->o->shard_bytes};
    amg_status st =
        amg_augment_data(&a, w->temp, &w->manifest, &w->manifest.train, progress, err);
    if (st || !w->own.in.val) return st;
    a.data = w->own.in.val;
    a.covers = w->own.in.val_covers ? w->own.in.val_covers : w->own.in.covers;
    a.cover_rows = w->cover_plan.rows[1];
    a.split = "val";
    return amg_augment_data(&a, w->temp, &w->manifest, &w->manifest.val, progress, err);
}

static amg_status write_job(work *w, amg_obfuscate_result *r, amg_error *err)
{
    const amg_owner *own = &w->own;
    const char *texts[AMG_MAX_DECOYS + 1] = {0};
    float *weights[AMG_MAX_DECOYS + 1] = {0};
    const amg_job_objective objective = {
        .loss = own->loss,
        .delta = own->delta,
        .num_parts = own->in.num_parts,
        .parts = own->in.parts,
        .target_names = (const char *const *)w->target_names,
        .class_weights = weights,
        .pad = own->in.pad != AMG_NO_TOKEN ? &own->in.pad : NULL};
    texts[w->plan.original] = w->o->loss.class_weights;
    amg_status st = amg_slot_weights_make(texts, false, w->temp, &w->manifest, &w->plan,
                                          weights, err);
    if (!st)
        st = amg_job_write(w->temp, w->job, &objective, &w->manifest, &r->job_bytes,
                           err);
    for (int s = 0; s < w->manifest.num_heads; s++) /* were borrowed */
        w->manifest.heads[s].class_weights = NULL;
    for (int s = 0; s < w->plan.num_subnets; s++) amg_free(weights[s]);
    return st;
}

/* The key first: a job without its key would be work lost. */
static amg_status finish(work *w, amg_error *err)
{
    amg_status st =
        amg_owner_write_key(&w->own, &w->plan.shape, &w->names, w->temp, err);
    if (st) return st;
    st = amg_job_temp_publish(w->temp, w->o->out, err);
    if (st) (void)remove(w->o->key);
    return st;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void fill_result(const work *w, amg_obfuscate_result *r)
{
    r->task = w->own.in.task;
    r->num_decoys = w->plan.shape.num_decoys;
    r->num_train = amg_dataset_get_info(w->own.in.train)->num_samples;
    r->num_val = w->own.in.val ? amg_dataset_get_info(w->own.in.val)->num_samples : 0;
    memcpy(r->dims, w->plan.shape.dims, sizeof r->dims);
    memcpy(r->out_dims, w->plan.out_dims, sizeof r->out_dims);
    double own = amg_graph_flops(w->own.model);
    r->compute_factor = own > 0 ? amg_graph_flops(w->job) / own : 0;
    r->upload_factor = (double)w->plan.num_positions / (double)w->plan.num_values *
                       (double)amg_dtype_size(w->plan.shape.dtype) /
                       (double)amg_dtype_size(w->own.pre.data_dtype);
    r->own_params = amg_graph_num_trainable(w->own.model);
    r->job_params = amg_graph_num_trainable(w->job);
    r->num_frozen = w->own.frozen.count;
    r->labels_permuted = w->plan.shape.permute_labels;
    r->tokens_permuted = w->plan.shape.vocab > 0;
    memcpy(r->block, w->plan.shape.block, sizeof r->block);
    r->patches = w->plan.shape.patches;
    r->rotated = w->plan.shape.rotate;
    r->patches_kept = w->own.patches_kept;
    r->tokens_kept = w->own.tokens_kept;
    r->vocab = amg_dataset_get_info(w->own.in.train)->vocab_size;
    r->num_passed_over = w->cover_plan.passed_over;
}

amg_status amg_obfuscate(const amg_obfuscate_options *options,
                         const amg_progress *progress, amg_obfuscate_result *result,
                         amg_error *err)
{
    work w = {.o = options};
    amg_obfuscate_result r = {0};
    double start = now();
    amg_status st = amg_job_paths_check(options->key, options->out, err);
    if (!st) st = amg_owner_open(options, &w.own, err);
    if (!st) amg_owner_describe_targets(&w.own, &w.manifest);
    if (!st) st = choose(&w, err);
    if (!st) st = make_model(&w, &r, err);
    if (!st) st = amg_job_temp_make(options->out, w.temp, err);
    if (!st) st = write_data(&w, progress, err);
    if (!st) st = write_job(&w, &r, err);
    if (!st) st = finish(&w, err);
    if (!st) {
        fill_result(&w, &r);
        r.seconds = now() - start;
        *result = r;
    }
    close_all(&w);
    return st;
}
