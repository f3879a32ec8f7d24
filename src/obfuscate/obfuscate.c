/* `amalgam obfuscate`, in order: open and check everything, choose (plan, covers,
 * decoys), write the job into a folder beside its final name, write the key, rename the
 * job. Whatever fails, neither job nor key stays. */
#include "obfuscate/obfuscate.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "formats/npy.h"
#include "formats/token_set.h"
#include "graph/catalogue.h"
#include "graph/onnx_graph.h"
#include "graph/origin.h"
#include "obfuscate/decoy_arch.h"
#include "obfuscate/inputs.h"
#include "obfuscate/job_writer.h"
#include "obfuscate/samples.h"

/* Everything that is open or made while obfuscating; close_all undoes it on every path.
 */
typedef struct {
    const amg_obfuscate_options *o;
    amg_graph *file; /* as read */
    amg_graph
        *model; /* constants folded, a view of file: its weights are what trains */
    amg_inputs in;
    amg_secret *secret;
    amg_preprocess pre;
    amg_obf_plan plan;
    amg_cover_plan cover_plan;
    float *noise_values;
    int64_t num_noise_values;
    amg_noise_law noise;
    amg_graph **subnets; /* per slot; the original's is model */
    amg_graph *job;
    char **target_names;     /* [num_subnets], in tasks without targets */
    const char *tokens_kept; /* see amg_obfuscate_result */
    amg_manifest manifest;
    amg_key_payload payload;
    char temp[PATH_MAX]; /* the folder being written; "" when there is none */
} work;

static void close_all(work *w)
{
    if (w->temp[0]) amg_dir_remove(w->temp);
    w->payload.original = NULL; /* borrowed: w->file */
    amg_key_payload_clear(&w->payload);
    amg_manifest_clear(&w->manifest);
    amg_graph_free(w->job);
    for (int s = 0; w->subnets && s < w->plan.num_subnets; s++)
        if (w->subnets[s] != w->model) amg_graph_free(w->subnets[s]);
    amg_free(w->subnets);
    for (int s = 0; w->target_names && s < w->plan.num_subnets; s++)
        amg_free(w->target_names[s]);
    amg_free(w->target_names);
    amg_noise_clear(&w->noise);
    amg_free(w->noise_values);
    amg_cover_plan_clear(&w->cover_plan);
    amg_obf_plan_clear(&w->plan);
    amg_secret_free(w->secret);
    amg_inputs_close(&w->in);
    amg_graph_free(w->model);
    amg_graph_free(w->file);
}

static const char *last_part(const char *path, size_t *length)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    const char *p = path + n;
    while (p > path && p[-1] != '/') p--;
    *length = (size_t)(path + n - p);
    return p;
}

static amg_status key_in_job(const char *key, amg_error *err)
{
    amg_fail(err, AMG_UNSAFE_PATH, -1, key, "the key must not lie in the job folder");
    amg_hint(err, "the job goes to the cloud, the key never does");
    return AMG_UNSAFE_PATH;
}

/* Both names free, both parents there, the key not inside the job (also not by way of
 * links). */
static amg_status check_paths(const amg_obfuscate_options *o, amg_error *err)
{
    char key_dir[PATH_MAX], out_dir[PATH_MAX];
    size_t length;
    if (amg_path_exists(o->key)) {
        amg_fail(err, AMG_EXISTS, -1, o->key,
                 "exists already; a key is never overwritten");
        amg_hint(err,
                 "choose another --key, or move the old one away if its job is done");
        return AMG_EXISTS;
    }
    if (amg_path_exists(o->out)) {
        amg_fail(err, AMG_EXISTS, -1, o->out,
                 "exists already; a job is never overwritten");
        amg_hint(err, "choose another -o, or remove the old job");
        return AMG_EXISTS;
    }
    if (!amg_path_resolve_parent(o->out, out_dir))
        return amg_fail_errno(err, errno, o->out, "the folder it should be in");
    const char *name = last_part(o->out, &length);
    /* The key's parent may be the job itself, which does not exist yet: compare names,
     * too. */
    char job[PATH_MAX + 256], key_parent[PATH_MAX];
    snprintf(job, sizeof job, "%s/%.*s", strcmp(out_dir, "/") ? out_dir : "",
             (int)length, name);
    if (!amg_path_resolve_parent(o->key, key_dir)) {
        size_t key_length;
        const char *key_name = last_part(o->key, &key_length);
        snprintf(key_parent, sizeof key_parent, "%.*s", (int)(key_name - o->key),
                 o->key);
        char parent_of_parent[PATH_MAX];
        size_t n;
        const char *last = last_part(key_parent, &n);
        if (amg_path_resolve_parent(key_parent, parent_of_parent) &&
            !strcmp(parent_of_parent, out_dir) && n == length &&
            !strncmp(last, name, n))
            return key_in_job(o->key, err);
        return amg_fail_errno(err, ENOENT, o->key, "the folder it should be in");
    }
    size_t n = strlen(job), key_length;
    const char *key_name = last_part(o->key, &key_length);
    if (!strncmp(key_dir, job, n) && (!key_dir[n] || key_dir[n] == '/'))
        return key_in_job(o->key, err);
    if (!strcmp(key_dir, out_dir) && key_length == length &&
        !strncmp(key_name, name, length))
        return amg_fail(err, AMG_INVALID, -1, o->key, "is both the key and the job");
    /* Now, not after hours of work; the job's folder shows with its first file. */
    if (access(key_dir, W_OK))
        return amg_fail_errno(err, errno, o->key, "cannot write into its folder");
    return AMG_OK;
}

/* What y of the shards will hold. */
static void describe_targets(work *w)
{
    const amg_dataset_info *info = amg_dataset_get_info(w->in.train);
    amg_manifest *m = &w->manifest;
    m->task = w->in.task;
    if (!amg_task_has_targets(m->task)) return;
    m->target_dtype = info->target_dtype;
    m->target_rank = info->target_rank;
    memcpy(m->target_dims, info->target_dims, sizeof m->target_dims);
}

static amg_status open_inputs(work *w, amg_error *err)
{
    const amg_obfuscate_options *o = w->o;
    amg_status st = amg_graph_read_onnx(o->model, &w->file, err);
    if (!st) st = amg_graph_origin_check(w->file, err);
    if (!st) st = amg_graph_plan_batch(w->file, AMG_DIM_BATCH, &w->model, err);
    if (!st && w->model->num_outputs != 1)
        st = amg_fail(err, AMG_UNSUPPORTED, -1, o->model, "has %d outputs, expected 1",
                      w->model->num_outputs);
    if (!st) st = amg_inputs_open(o, w->model, &w->in, err);
    if (st) return st;
    w->pre = o->preprocess;
    w->pre.data_dtype = amg_dataset_get_info(w->in.train)->dtype;
    w->pre.windows = w->in.task == AMG_TASK_LANGUAGE_MODEL;
    describe_targets(w);
    return AMG_OK;
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

/* Whether the vocabulary moves, and which of it. */
static void choose_tokens(work *w, amg_plan_shape *shape)
{
    const bool is_model = w->in.task == AMG_TASK_LANGUAGE_MODEL;
    const bool keep = w->o->keep_tokens || (is_model && w->o->keep_classes);
    if (w->in.vocab == 0) return;
    w->tokens_kept = keep ? "the options say so"
                          : amg_tokens_permute(w->model, is_model, w->in.pad, shape);
}

/* The law that decoys' positions follow in paper mode. */
static amg_status fit_noise(work *w, amg_error *err)
{
    const amg_obfuscate_options *o = w->o;
    amg_status st = AMG_OK;
    if (w->plan.shape.dtype == AMG_I32)
        return amg_noise_fit_tokens(o->noise, w->in.train, w->in.vocab, &w->noise, err);
    if (o->noise == AMG_NOISE_VALUES)
        st = read_noise_values(o->noise_values, &w->noise_values, &w->num_noise_values,
                               err);
    if (!st)
        st = amg_noise_fit(o->noise, w->in.train, w->noise_values, w->num_noise_values,
                           &w->noise, err);
    return st;
}

/* All secret choices about positions, labels, tokens and covers. */
static amg_status choose(work *w, amg_error *err)
{
    const amg_obfuscate_options *o = w->o;
    const amg_dataset_info *info = amg_dataset_get_info(w->in.train);
    const bool classes = w->in.task == AMG_TASK_CLASSIFICATION;
    amg_plan_shape shape = {.mode = o->mode,
                            .num_decoys = o->num_decoys ? o->num_decoys : 1,
                            .dtype = info->dtype,
                            .amount = o->amount,
                            .num_classes = w->in.num_classes,
                            .cover_classes = w->in.cover_classes,
                            .permute_labels = classes && !o->keep_classes &&
                                              amg_labels_permutable(w->model)};
    amg_samples_dims(info, shape.dims);
    choose_tokens(w, &shape);
    amg_status st = o->seed_hex ? amg_secret_from_hex(o->seed_hex, &w->secret, err)
                                : amg_secret_new(&w->secret, err);
    if (!st) st = amg_obf_plan_derive(w->secret, &shape, &w->plan, err);
    if (st || o->mode == AMG_MODE_PAPER) return st ? st : fit_noise(w, err);
    const amg_inputs *in = &w->in;
    const amg_dataset *val_pool = in->val_covers ? in->val_covers : in->covers;
    amg_cover_split splits[2] = {{in->train, in->covers}, {in->val, val_pool}};
    return amg_cover_plan_derive(w->secret, shape.num_decoys, splits, in->val ? 2 : 1,
                                 &w->cover_plan, err);
}

/* Whether a decoy can be a network of this job: it gives what the original gives, and
 * admits the same permutations. */
static amg_status check_decoy(const work *w, const amg_graph *decoy, int64_t classes,
                              amg_error *err)
{
    const amg_value *own = &w->model->values[w->model->outputs[0]];
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

/* Whose architecture decoys have, as far as that is known before they are made. */
static amg_status choose_arch(const work *w, amg_obfuscate_result *r, amg_error *err)
{
    const amg_decoy_arch asked = w->o->decoys.arch;
    const amg_plan_shape *shape = &w->plan.shape;
    amg_catalogue_data data = {.num_classes = w->in.num_classes,
                               .is_model = w->in.task == AMG_TASK_LANGUAGE_MODEL};
    bool walks = asked != AMG_DECOY_SAME;
    memcpy(data.dims, shape->dims, sizeof data.dims);
    if (w->in.vocab > 0) data.seq = w->model->values[w->model->inputs[0]].dims[1];
    amg_status st = amg_catalogue_find(w->model, NULL, 0, &data, &r->textbook, err);
    if (asked == AMG_DECOY_AUTO && r->textbook && shape->mode == AMG_MODE_STREAMS)
        walks = false;
    if (!st && walks) st = amg_decoy_can_walk(w->model, &walks, err);
    r->same_arch = !walks;
    return st;
}

static amg_status make_decoy(work *w, int slot, int index, amg_obfuscate_result *r,
                             amg_error *err)
{
    const bool has_classes = w->in.task == AMG_TASK_CLASSIFICATION;
    const int64_t classes = has_classes ? w->plan.subnets[slot].num_classes : 0;
    amg_decoy_options o = w->o->decoys;
    amg_graph **out = &w->subnets[slot];
    o.arch = r->same_arch ? AMG_DECOY_SAME : AMG_DECOY_WALK;
    const amg_status st =
        amg_decoy_make(w->secret, w->model, index, w->plan.shape.num_decoys, classes,
                       &o, out, &r->num_unknown_init, err);
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
            w->subnets[s] = w->model;
        else
            st = make_decoy(w, s, ++index, r, err);
    }
    if (r->same_arch || (st != AMG_MISMATCH && st != AMG_UNSUPPORTED)) return st;
    for (int s = 0; s < w->plan.num_subnets; s++) {
        if (w->subnets[s] != w->model) amg_graph_free(w->subnets[s]);
        w->subnets[s] = NULL;
    }
    r->same_arch = true;
    r->num_unknown_init = 0;
    return make_decoys(w, r, err);
}

/* The networks; then the joined graph and the key's payload. */
static amg_status make_model(work *w, amg_obfuscate_result *r, amg_error *err)
{
    amg_status st = choose_arch(w, r, err);
    if (st) return st;
    w->subnets = amg_calloc((size_t)w->plan.num_subnets, sizeof *w->subnets);
    if (!w->subnets) return amg_fail(err, AMG_NO_MEMORY, -1, "job graph", "no memory");
    st = make_decoys(w, r, err);
    if (st) return st;
    const amg_graph *const *subnets = (const amg_graph *const *)w->subnets;
    w->payload.shape = w->plan.shape;
    w->payload.preprocess = w->pre;
    w->payload.original = w->file;
    if (w->o->note && !(w->payload.note = amg_strdup(w->o->note)))
        return amg_fail(err, AMG_NO_MEMORY, -1, "key", "no memory for the note");
    return amg_augment_model(
        w->secret, &w->plan, &w->pre, subnets, &w->job, &w->payload.num_names,
        &w->payload.job_names, &w->payload.own_names, w->payload.original_output,
        amg_task_has_targets(w->in.task) ? NULL : &w->target_names, err);
}

static amg_status write_data(work *w, const amg_progress *progress, amg_error *err)
{
    amg_augment_options a = {.secret = w->secret,
                             .plan = &w->plan,
                             .data = w->in.train,
                             .covers = w->in.covers,
                             .cover_rows = w->cover_plan.rows[0],
                             .noise = w->o->mode == AMG_MODE_PAPER ? &w->noise : NULL,
                             .vocab = w->in.vocab,
                             .split = "train",
                             .shard_bytes = w->o->shard_bytes};
    amg_status st =
        amg_augment_data(&a, w->temp, &w->manifest, &w->manifest.train, progress, err);
    if (st || !w->in.val) return st;
    a.data = w->in.val;
    a.covers = w->in.val_covers ? w->in.val_covers : w->in.covers;
    a.cover_rows = w->cover_plan.rows[1];
    a.split = "val";
    return amg_augment_data(&a, w->temp, &w->manifest, &w->manifest.val, progress, err);
}

static amg_status make_temp(work *w, amg_error *err)
{
    size_t length;
    const char *name = last_part(w->o->out, &length);
    int n = snprintf(w->temp, sizeof w->temp, "%.*s%.*s.tmp-XXXXXX",
                     (int)(name - w->o->out), w->o->out, (int)length, name);
    if (n < 0 || (size_t)n >= sizeof w->temp || !mkdtemp(w->temp)) {
        int error = errno;
        w->temp[0] = 0;
        return amg_fail_errno(err, error, w->o->out, "cannot make the folder");
    }
    if (chmod(w->temp, 0755))
        return amg_fail_errno(err, errno, w->temp, "cannot open it up");
    return AMG_OK;
}

/* The key first: a job without its key would be work lost. */
static amg_status finish(work *w, amg_error *err)
{
    uint8_t *payload = NULL;
    size_t size;
    int64_t manifest_bytes;
    char *manifest = amg_path_join(w->temp, "job.json");
    amg_status st =
        manifest
            ? amg_file_sha256(manifest, w->payload.job_sha256, &manifest_bytes, err)
            : amg_fail(err, AMG_NO_MEMORY, -1, "job.json", "no memory");
    amg_free(manifest);
    if (!st) st = amg_key_payload_pack(&w->payload, &payload, &size, err);
    if (!st)
        st = amg_keyfile_create(w->o->key, w->secret, w->o->passphrase, payload, size,
                                err);
    amg_free(payload);
    if (st) return st;
    /* rename alone would replace an empty folder made meanwhile. */
    errno = EEXIST;
    if (amg_path_exists(w->o->out) || rename(w->temp, w->o->out)) {
        st = amg_fail_errno(err, errno, w->o->out, "cannot put the job there");
        (void)remove(w->o->key);
        return st;
    }
    w->temp[0] = 0;
    return AMG_OK;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void fill_result(const work *w, amg_obfuscate_result *r)
{
    r->task = w->in.task;
    r->num_decoys = w->plan.shape.num_decoys;
    r->num_train = amg_dataset_get_info(w->in.train)->num_samples;
    r->num_val = w->in.val ? amg_dataset_get_info(w->in.val)->num_samples : 0;
    memcpy(r->dims, w->plan.shape.dims, sizeof r->dims);
    memcpy(r->out_dims, w->plan.out_dims, sizeof r->out_dims);
    double own = amg_graph_flops(w->model);
    r->compute_factor = own > 0 ? amg_graph_flops(w->job) / own : 0;
    r->upload_factor = (double)w->plan.num_positions / (double)w->plan.num_values;
    r->own_params = amg_graph_num_trainable(w->model);
    r->job_params = amg_graph_num_trainable(w->job);
    r->labels_permuted = w->plan.shape.permute_labels;
    r->tokens_permuted = w->plan.shape.vocab > 0;
    r->tokens_kept = w->tokens_kept;
    r->vocab = amg_dataset_get_info(w->in.train)->vocab_size;
    r->num_passed_over = w->cover_plan.passed_over;
}

amg_status amg_obfuscate(const amg_obfuscate_options *options,
                         const amg_progress *progress, amg_obfuscate_result *result,
                         amg_error *err)
{
    work w = {.o = options};
    amg_obfuscate_result r = {0};
    double start = now();
    amg_status st = check_paths(options, err);
    if (!st) st = open_inputs(&w, err);
    if (!st) st = choose(&w, err);
    if (!st) st = make_model(&w, &r, err);
    if (!st) st = make_temp(&w, err);
    if (!st) st = write_data(&w, progress, err);
    if (!st)
        st = amg_job_write(w.temp, w.job, (const char *const *)w.target_names,
                           w.in.pad != AMG_NO_TOKEN ? &w.in.pad : NULL, &w.manifest,
                           &r.job_bytes, err);
    if (!st) st = finish(&w, err);
    if (!st) {
        fill_result(&w, &r);
        r.seconds = now() - start;
        *result = r;
    }
    close_all(&w);
    return st;
}
