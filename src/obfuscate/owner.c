/* One owner's side of a job. Consumes options, produces what is checked and chosen of
 * the owner's own; other slots, covers and positions are not its business. */
#include "obfuscate/owner.h"

#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "formats/token_set.h"
#include "graph/onnx_graph.h"
#include "graph/origin.h"
#include "obfuscate/row_moves.h"
#include "obfuscate/samples.h"

static amg_status open_model(amg_owner *w, amg_error *err)
{
    amg_origin *origin = NULL;
    amg_status st = amg_graph_read_model(w->o->model, &w->file, err);
    if (!st) st = amg_origin_new(w->file, &origin, err);
    if (!st)
        st = amg_frozen_find(origin, w->o->freeze, w->o->num_freeze,
                             w->o->freeze_norm_stats, &w->frozen, err);
    amg_origin_free(origin);
    if (!st) st = amg_graph_plan_batch(w->file, AMG_DIM_BATCH, &w->model, err);
    return st;
}

/* Class weights are parsed once more when labels are counted: but an error then would
 * come after the work. */
static amg_status check_loss(amg_owner *w, amg_error *err)
{
    const amg_loss_options *o = &w->o->loss;
    amg_status st = amg_loss_resolve(o, w->in.task, &w->loss, &w->delta, err);
    if (st || !o->class_weights) return st;
    bool balanced;
    float *ignored = amg_calloc((size_t)w->in.num_classes, sizeof *ignored);
    if (!ignored) return amg_fail(err, AMG_NO_MEMORY, -1, "class weights", "no memory");
    st = amg_class_weights_parse(o->class_weights, w->in.num_classes, &balanced,
                                 ignored, err);
    amg_free(ignored);
    return st;
}

amg_status amg_owner_open(const amg_obfuscate_options *o, amg_owner *out,
                          amg_error *err)
{
    amg_owner w = {.o = o, .pre = o->preprocess};
    amg_status st = open_model(&w, err);
    if (!st) st = amg_inputs_open(o, w.model, &w.in, err);
    if (!st) st = check_loss(&w, err);
    if (!st)
        st = o->seed_hex ? amg_secret_from_hex(o->seed_hex, &w.secret, err)
                         : amg_secret_new(&w.secret, err);
    if (st) {
        amg_owner_close(&w);
        return st;
    }
    w.pre.data_dtype = amg_dataset_get_info(w.in.train)->dtype;
    w.pre.windows = w.in.task == AMG_TASK_LANGUAGE_MODEL;
    w.fed = w.pre;
    *out = w;
    return AMG_OK;
}

void amg_owner_close(amg_owner *w)
{
    amg_secret_free(w->secret);
    for (int i = 0; i < 4; i++) amg_dataset_close(w->turned[i]);
    amg_inputs_close(&w->in);
    amg_frozen_clear(&w->frozen);
    amg_graph_free(w->model);
    amg_graph_free(w->file);
    *w = (amg_owner){0};
}

/* Whether the vocabulary moves, and which of it. */
static void choose_tokens(amg_owner *w, amg_plan_shape *shape)
{
    const bool is_model = w->in.task == AMG_TASK_LANGUAGE_MODEL;
    const bool keep = w->o->keep_tokens || (is_model && w->o->keep_classes);
    if (w->in.vocab == 0) return;
    w->tokens_kept = keep ? "the options say so"
                          : amg_tokens_permute(w->model, is_model, w->in.pad, shape);
}

/* Why values cannot be rotated, too; NULL: they can, and shape says so. */
static const char *choose_rotation(const amg_owner *w, const amg_input_columns *columns,
                                   amg_plan_shape *shape)
{
    if (w->o->mode == AMG_MODE_PAPER)
        return "the paper's noise has no samples that would be rotated alike";
    if (w->o->mode == AMG_MODE_PACK)
        return "each owner's key would rotate values in its own way, which shows whose "
               "they are";
    if (columns->num_values > AMG_MAX_ROTATED)
        return "blocks of more than 1024 values are not rotated";
    shape->rotate = true;
    shape->dtype = AMG_F32;
    return NULL;
}

/* Why values cannot change places; NULL: they can, within blocks of shape, and the
 * blocks if shape says so, else *kept why not (NULL: there is one alone). */
static const char *choose_blocks(const amg_owner *w, amg_plan_shape *shape,
                                 const char **kept)
{
    amg_input_columns columns;
    if (shape->dtype == AMG_I32) return "samples of whole numbers have an order";
    if (w->in.task == AMG_TASK_RECONSTRUCTION)
        return "the model is trained to give the sample itself";
    if (w->pre.num_channels > 1 && w->pre.num_channels != shape->dims[0])
        return "each value has a mean and deviation of its own";
    const char *why = amg_input_columns_find(w->model, shape->dims, &columns);
    if (!why && w->o->rotate) why = choose_rotation(w, &columns, shape);
    if (why) return why;
    memcpy(shape->block, columns.block, sizeof shape->block);
    if (shape->block[0] == shape->dims[1] && shape->block[1] == shape->dims[2])
        return NULL;
    amg_patch_tokens ignored;
    *kept = amg_patch_tokens_find(w->model, &columns, shape->dims, &ignored);
    shape->patches = !*kept;
    return NULL;
}

amg_status amg_owner_shape(amg_owner *w, int num_decoys, amg_plan_shape *out,
                           amg_error *err)
{
    const amg_obfuscate_options *o = w->o;
    const amg_dataset_info *info = amg_dataset_get_info(w->in.train);
    const bool classes = w->in.task == AMG_TASK_CLASSIFICATION;
    amg_plan_shape shape = {.mode = o->mode,
                            .num_decoys = num_decoys,
                            .dtype = info->dtype,
                            .amount = o->amount,
                            .num_classes = w->in.num_classes,
                            .cover_classes = w->in.cover_classes,
                            .permute_labels = classes && !o->keep_classes &&
                                              amg_labels_permutable(w->model)};
    amg_samples_dims(info, shape.dims);
    choose_tokens(w, &shape);
    const char *why =
        o->symmetry || o->rotate ? choose_blocks(w, &shape, &w->patches_kept) : NULL;
    *out = shape;
    if (!why) return AMG_OK;
    amg_fail(err, AMG_UNSUPPORTED, -1, o->model,
             "no %s: %s; expected a dense layer over the whole sample, or a "
             "convolution whose stride is its kernel (a vision transformer's), before "
             "anything else",
             o->rotate ? "rotation" : "symmetry", why);
    amg_hint(err, "leave --symmetry%s out: it hides samples from a casual look only",
             o->rotate ? "-rotate" : "");
    return AMG_UNSUPPORTED;
}

amg_status amg_owner_rotate(amg_owner *w, const amg_obf_plan *plan, amg_error *err)
{
    amg_dataset **const sets[4] = {&w->in.train, &w->in.val, &w->in.covers,
                                   &w->in.val_covers};
    amg_status st = AMG_OK;
    if (!plan->rotation) return AMG_OK;
    w->how = (amg_rotated_data){.rotation = plan->rotation, .pre = w->pre};
    memcpy(w->how.dims, plan->shape.dims, sizeof w->how.dims);
    memcpy(w->how.block, plan->shape.block, sizeof w->how.block);
    w->fed = (amg_preprocess){.data_dtype = AMG_F32};
    for (int i = 0; i < 4 && !st; i++) {
        if (!*sets[i]) continue;
        st = amg_rotated_data_open(*sets[i], &w->how, &w->turned[i], err);
        if (!st) *sets[i] = w->turned[i];
    }
    return st;
}

void amg_owner_describe_targets(const amg_owner *w, amg_manifest *m)
{
    const amg_dataset_info *info = amg_dataset_get_info(w->in.train);
    m->task = w->in.task;
    if (!amg_task_has_targets(m->task)) return;
    m->target_dtype = info->target_dtype;
    m->target_rank = info->target_rank;
    memcpy(m->target_dims, info->target_dims, sizeof m->target_dims);
}

amg_status amg_owner_write_key(const amg_owner *w, const amg_plan_shape *shape,
                               const amg_job_names *names, const char *temp,
                               amg_error *err)
{
    /* All borrowed: never cleared. */
    amg_key_payload p = {
        .shape = *shape, .preprocess = w->pre, .original = w->file, .names = *names};
    uint8_t *bytes = NULL;
    size_t size;
    int64_t manifest_bytes;
    char *manifest = amg_path_join(temp, "job.json");
    amg_status st = manifest
                        ? amg_file_sha256(manifest, p.job_sha256, &manifest_bytes, err)
                        : amg_fail(err, AMG_NO_MEMORY, -1, "job.json", "no memory");
    amg_free(manifest);
    if (!st && w->o->note && !(p.note = amg_strdup(w->o->note)))
        st = amg_fail(err, AMG_NO_MEMORY, -1, "key", "no memory for the note");
    if (!st) st = amg_key_payload_pack(&p, &bytes, &size, err);
    if (!st)
        st = amg_keyfile_create(w->o->key, w->secret, w->o->passphrase, bytes, size,
                                err);
    amg_free(p.note);
    amg_free(bytes);
    return st;
}
