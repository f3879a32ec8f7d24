/* `amalgam pack`, in order: open every owner's side, join their plans, write the job
 * beside its final name, write the keys, rename the job. Whatever fails, neither job
 * nor any key stays. */
#include "obfuscate/pack.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/file.h"
#include "formats/token_set.h"
#include "obfuscate/frozen_names.h"
#include "obfuscate/job_paths.h"
#include "obfuscate/job_writer.h"
#include "obfuscate/owner.h"
#include "obfuscate/slot_weights.h"

/* Everything that is open or made; close_all undoes it on every path. */
typedef struct {
    const amg_pack_options *o;
    amg_owner owners[AMG_MAX_OWNERS];
    amg_obfuscate_options options[AMG_MAX_OWNERS]; /* theirs, in mode pack */
    amg_obf_plan plans[AMG_MAX_OWNERS];            /* theirs, until joined */
    int slot_of[AMG_MAX_OWNERS];
    amg_secret *secret; /* of the job; kept by nobody */
    amg_obf_plan plan;
    amg_graph *job;
    amg_job_names names[AMG_MAX_OWNERS]; /* by slot */
    char **target_names;                 /* by slot, in tasks without targets */
    amg_manifest manifest;
    int num_keys; /* that were written */
    char temp[PATH_MAX];
} work;

static void close_all(work *w)
{
    const int num = w->o->num_owners;
    if (w->temp[0]) amg_dir_remove(w->temp);
    amg_manifest_clear(&w->manifest);
    amg_graph_free(w->job);
    for (int i = 0; i < num; i++) {
        if (w->target_names) amg_free(w->target_names[i]);
        amg_job_names_clear(&w->names[i]);
        amg_obf_plan_clear(&w->plans[i]);
        amg_owner_close(&w->owners[i]);
    }
    amg_free(w->target_names);
    amg_obf_plan_clear(&w->plan);
    amg_secret_free(w->secret);
}

static amg_status check_options(const amg_pack_options *o, amg_error *err)
{
    if (o->num_owners < 2 || o->num_owners > AMG_MAX_OWNERS)
        return amg_fail(err, AMG_INVALID, -1, "pack", "%d owners, expected 2 to %d",
                        o->num_owners, AMG_MAX_OWNERS);
    for (int i = 0; i < o->num_owners; i++) {
        const amg_status st = amg_job_paths_check(o->owners[i].key, o->out, err);
        if (st) return st;
        for (int j = 0; j < i; j++)
            if (!strcmp(o->owners[i].key, o->owners[j].key))
                return amg_fail(err, AMG_INVALID, -1, o->owners[i].key,
                                "is the key of owner %d and of owner %d", j + 1, i + 1);
    }
    return AMG_OK;
}

/* What the cloud sees of all streams alike must be alike; samples and targets are
 * compared when they are read. */
static amg_status check_alike(const amg_owner *first, const amg_owner *other,
                              amg_error *err)
{
    const char *name = other->o->train ? other->o->train : "pack";
    if (other->in.task != first->in.task)
        return amg_fail(err, AMG_MISMATCH, -1, name,
                        "its task is %s, that of the first owner %s: a job has one",
                        amg_task_name(other->in.task), amg_task_name(first->in.task));
    if (other->loss != first->loss || other->delta != first->delta)
        return amg_fail(err, AMG_MISMATCH, -1, name,
                        "its loss is %s (%g), that of the first owner %s (%g): a job "
                        "has one",
                        amg_loss_name(other->loss), (double)other->delta,
                        amg_loss_name(first->loss), (double)first->delta);
    if (other->in.num_parts != first->in.num_parts ||
        !amg_loss_parts_equal(other->in.parts, first->in.parts, first->in.num_parts))
        return amg_fail(err, AMG_MISMATCH, -1, name,
                        "its outputs or their losses are not the first owner's: a job "
                        "has one loss");
    if (!other->in.val != !first->in.val)
        return amg_fail(err, AMG_MISMATCH, -1, name,
                        "%s validation data, the first owner %s: all have some or none",
                        other->in.val ? "has" : "has no",
                        first->in.val ? "has" : "has none");
    if (other->in.pad != first->in.pad && other->in.vocab > 0)
        return amg_fail(err, AMG_MISMATCH, -1, name,
                        "is padded with token %lld, the first owner's with %lld: "
                        "expected the same",
                        (long long)other->in.pad, (long long)first->in.pad);
    return AMG_OK;
}

static amg_status open_owners(work *w, amg_error *err)
{
    amg_status st = AMG_OK;
    for (int i = 0; i < w->o->num_owners && !st; i++) {
        w->options[i] = w->o->owners[i];
        w->options[i].mode = AMG_MODE_PACK;
        w->options[i].amount = 0;
        w->options[i].covers = w->options[i].val_covers = NULL;
        w->options[i].cover_set = w->options[i].val_cover_set = NULL;
        st = amg_owner_open(&w->options[i], &w->owners[i], err);
        if (!st) st = check_alike(&w->owners[0], &w->owners[i], err);
    }
    if (!st) amg_owner_describe_targets(&w->owners[0], &w->manifest);
    return st;
}

/* Each owner's maps from the owner's secret, slots and positions from the job's. */
static amg_status choose(work *w, amg_error *err)
{
    const int num = w->o->num_owners;
    const amg_plan_shape *first = &w->plans[0].shape;
    amg_status st = AMG_OK;
    for (int i = 0; i < num && !st; i++) {
        amg_plan_shape shape;
        st = amg_owner_shape(&w->owners[i], num - 1, &shape, err);
        if (!st)
            st = amg_obf_plan_derive(w->owners[i].secret, &shape, &w->plans[i], err);
        w->manifest.mixed = w->manifest.mixed || (!st && shape.block[0] > 0);
        if (!st && (shape.dtype != first->dtype ||
                    memcmp(shape.dims, first->dims, sizeof shape.dims) != 0)) {
            char found[AMG_SHAPE_TEXT], expected[AMG_SHAPE_TEXT];
            st = amg_fail(err, AMG_MISMATCH, -1,
                          amg_dataset_source(w->owners[i].in.train),
                          "samples are %s, the first owner's %s: expected the same",
                          amg_shape_text(shape.dtype, 3, shape.dims, found),
                          amg_shape_text(first->dtype, 3, first->dims, expected));
        }
    }
    if (!st)
        st = w->o->seed_hex ? amg_secret_from_hex(w->o->seed_hex, &w->secret, err)
                            : amg_secret_new(&w->secret, err);
    if (!st)
        st = amg_obf_plan_join(w->secret, w->plans, num, w->slot_of, &w->plan, err);
    for (int i = 0; i < num && !st; i++) {
        amg_subnet_plan *net = &w->plan.subnets[w->slot_of[i]];
        if (net->vocab == 0) net->vocab = w->owners[i].in.vocab; /* kept, but checked */
    }
    return st;
}

static amg_status make_model(work *w, amg_error *err)
{
    amg_job_network networks[AMG_MAX_OWNERS];
    for (int i = 0; i < w->o->num_owners; i++)
        networks[w->slot_of[i]] = (amg_job_network){
            w->owners[i].model, &w->owners[i].pre, &w->plans[i].shape};
    amg_status st = amg_augment_model(
        w->secret, &w->plan, networks, &w->job, w->names,
        amg_task_has_targets(w->manifest.task) ? NULL : &w->target_names, err);
    for (int i = 0; i < w->o->num_owners && !st; i++)
        st = amg_frozen_names_add(&w->owners[i].frozen, &w->names[w->slot_of[i]],
                                  &w->manifest, err);
    amg_frozen_names_sort(&w->manifest);
    return st;
}

static amg_status write_data(work *w, const amg_progress *progress, amg_error *err)
{
    const amg_dataset *train[AMG_MAX_OWNERS], *val[AMG_MAX_OWNERS];
    for (int i = 0; i < w->o->num_owners; i++) {
        train[w->slot_of[i]] = w->owners[i].in.train;
        val[w->slot_of[i]] = w->owners[i].in.val;
    }
    amg_augment_options a = {.secret = w->secret,
                             .plan = &w->plan,
                             .data = w->owners[0].in.train,
                             .sets = train,
                             .num_parts = w->owners[0].in.num_parts,
                             .parts = w->owners[0].in.parts,
                             .split = "train",
                             .shard_bytes = w->o->shard_bytes};
    amg_status st =
        amg_augment_data(&a, w->temp, &w->manifest, &w->manifest.train, progress, err);
    if (st || !w->owners[0].in.val) return st;
    a.data = w->owners[0].in.val;
    a.sets = val;
    a.split = "val";
    return amg_augment_data(&a, w->temp, &w->manifest, &w->manifest.val, progress, err);
}

static amg_status write_job(work *w, int64_t *job_bytes, amg_error *err)
{
    const amg_owner *first = &w->owners[0];
    const char *texts[AMG_MAX_OWNERS] = {0};
    float *weights[AMG_MAX_OWNERS] = {0};
    const amg_job_objective objective = {
        .loss = first->loss,
        .delta = first->delta,
        .num_parts = first->in.num_parts,
        .parts = first->in.parts,
        .target_names = (const char *const *)w->target_names,
        .class_weights = weights,
        .pad = first->in.pad != AMG_NO_TOKEN ? &first->in.pad : NULL};
    for (int i = 0; i < w->o->num_owners; i++)
        texts[w->slot_of[i]] = w->o->owners[i].loss.class_weights;
    amg_status st = amg_slot_weights_make(texts, true, w->temp, &w->manifest, &w->plan,
                                          weights, err);
    if (!st)
        st = amg_job_write(w->temp, w->job, &objective, &w->manifest, job_bytes, err);
    for (int s = 0; s < w->manifest.num_heads; s++) /* were borrowed */
        w->manifest.heads[s].class_weights = NULL;
    for (int s = 0; s < w->o->num_owners; s++) amg_free(weights[s]);
    return st;
}

/* The keys first: a job without them would be work lost. */
static amg_status finish(work *w, amg_error *err)
{
    amg_status st = AMG_OK;
    for (int i = 0; i < w->o->num_owners && !st; i++) {
        st = amg_owner_write_key(&w->owners[i], &w->plans[i].shape,
                                 &w->names[w->slot_of[i]], w->temp, err);
        if (!st) w->num_keys++;
    }
    if (!st) st = amg_job_temp_publish(w->temp, w->o->out, err);
    for (int i = 0; st && i < w->num_keys; i++) (void)remove(w->o->owners[i].key);
    return st;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void fill_result(const work *w, amg_pack_result *r)
{
    const amg_inputs *in = &w->owners[0].in;
    double flops = 0;
    r->task = in->task;
    r->num_owners = w->o->num_owners;
    r->num_train = amg_dataset_get_info(in->train)->num_samples;
    r->num_val = in->val ? amg_dataset_get_info(in->val)->num_samples : 0;
    memcpy(r->dims, w->plan.shape.dims, sizeof r->dims);
    memcpy(r->out_dims, w->plan.out_dims, sizeof r->out_dims);
    for (int i = 0; i < w->o->num_owners; i++) {
        r->own_params[i] = amg_graph_num_trainable(w->owners[i].model);
        flops += amg_graph_flops(w->owners[i].model);
    }
    r->compute_factor = flops > 0 ? amg_graph_flops(w->job) / flops : 0;
    r->job_params = amg_graph_num_trainable(w->job);
}

amg_status amg_pack(const amg_pack_options *options, const amg_progress *progress,
                    amg_pack_result *result, amg_error *err)
{
    amg_pack_result r = {0};
    const double start = now();
    amg_status st = check_options(options, err);
    if (st) return st;
    work *w = amg_calloc(1, sizeof *w);
    if (!w) return amg_fail(err, AMG_NO_MEMORY, -1, "pack", "no memory");
    w->o = options;
    st = open_owners(w, err);
    if (!st) st = choose(w, err);
    if (!st) st = make_model(w, err);
    if (!st) st = amg_job_temp_make(options->out, w->temp, err);
    if (!st) st = write_data(w, progress, err);
    if (!st) st = write_job(w, &r.job_bytes, err);
    if (!st) st = finish(w, err);
    if (!st) {
        fill_result(w, &r);
        r.seconds = now() - start;
        *result = r;
    }
    close_all(w);
    amg_free(w);
    return st;
}
