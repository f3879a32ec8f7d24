/* The extractor. Consumes a weights file or a checkpoint from the cloud and the key,
 * produces the original model as it was read, with trained weights. Everything is
 * checked before the first byte is written; nothing in the file is executed or
 * trusted. */
#include "extract/extract.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "formats/safetensors.h"
#include "graph/name_map.h"
#include "graph/onnx_graph.h"
#include "graph/origin.h"
#include "obfuscate/row_moves.h"

typedef struct {
    const amg_key_payload *payload;
    const amg_safetensors *weights;
    amg_name_map params;      /* the job's name of a parameter -> entry of weights */
    const amg_graph *g;       /* the original, folded as in the job */
    const amg_tensor **found; /* per value of g: in the weights file */
    amg_row_moves rows;       /* that the job holds elsewhere */
    amg_tensor restored[AMG_MAX_ROW_MOVES];
} extraction;

/* The parameter's name in a checkpoint entry p<head>.<name> (engine/checkpoint.h);
 * NULL: the entry is something else. */
static const char *checkpoint_name(const char *entry)
{
    const char *at = entry + 1;
    if (entry[0] != 'p') return NULL;
    while (*at >= '0' && *at <= '9') at++;
    return at > entry + 1 && at[0] == '.' && at[1] ? at + 1 : NULL;
}

/* A checkpoint has no parameter by its plain name. */
static bool is_checkpoint(const extraction *x)
{
    bool found = false;
    for (int i = 0; i < x->payload->names.count; i++)
        if (amg_safetensors_find(x->weights, x->payload->names.job[i])) return false;
    for (size_t i = 0; i < amg_safetensors_count(x->weights) && !found; i++)
        found = checkpoint_name(amg_safetensors_at(x->weights, i)->name) != NULL;
    return found;
}

static amg_status check_finite(const amg_st_entry *e, amg_error *err)
{
    if (e->tensor.dtype != AMG_F32)
        return amg_fail(err, AMG_MISMATCH, -1, e->name,
                        "found element type %s, expected F32",
                        amg_dtype_name(e->tensor.dtype));
    int64_t bad = amg_tensor_find_not_finite(&e->tensor);
    if (bad < 0) return AMG_OK;
    amg_fail(err, AMG_NOT_FINITE, -1, e->name,
             "element %lld is NaN or infinite, expected finite numbers",
             (long long)bad);
    amg_hint(err, "training diverged or the file is damaged: train again, with a "
                  "smaller learning rate if it diverged");
    return AMG_NOT_FINITE;
}

/* Lists the file's parameters. A poisoned value in any of them, decoys included, means
 * that this training cannot be trusted. What else a checkpoint holds is passed over. */
static amg_status list_params(extraction *x, amg_error *err)
{
    const bool checkpoint = is_checkpoint(x);
    for (size_t i = 0; i < amg_safetensors_count(x->weights); i++) {
        const amg_st_entry *e = amg_safetensors_at(x->weights, i);
        const char *name = checkpoint ? checkpoint_name(e->name) : e->name;
        if (!name) continue;
        amg_status st = check_finite(e, err);
        if (st) return st;
        if (amg_name_map_find(&x->params, name) >= 0)
            return amg_fail(err, AMG_MALFORMED, -1, e->name,
                            "is in the checkpoint twice, of two heads");
        if (!amg_name_map_add(&x->params, name, (int)i))
            return amg_fail(err, AMG_NO_MEMORY, -1, "extract", "no memory");
    }
    return AMG_OK;
}

/* The file's tensor of one parameter, which must have its dtype and shape. */
static amg_status get_param(const extraction *x, const char *job_name,
                            const amg_value *val, const amg_tensor **out,
                            amg_error *err)
{
    const int i = amg_name_map_find(&x->params, job_name);
    const char *name =
        i < 0 ? job_name : amg_safetensors_at(x->weights, (size_t)i)->name;
    amg_status st =
        amg_safetensors_get(x->weights, name, AMG_F32, val->rank, val->dims, out, err);
    if (st)
        amg_hint(err,
                 "is this the weights file of the job that this key was made with?");
    return st;
}

static amg_status find_all(extraction *x, amg_error *err)
{
    for (int i = 0; i < x->payload->names.count; i++) {
        int v = amg_graph_find_value(x->g, x->payload->names.own[i]);
        if (v < 0 || x->g->values[v].kind != AMG_VALUE_PARAM)
            return amg_fail(err, AMG_BAD_KEY, -1, "key",
                            "names a parameter that its model lacks");
        amg_status st =
            get_param(x, x->payload->names.job[i], &x->g->values[v], &x->found[v], err);
        if (st) return st;
    }
    for (int v = 0; v < x->g->num_values; v++)
        if (x->g->values[v].kind == AMG_VALUE_PARAM && !x->found[v] &&
            !x->g->values[v].data.data)
            return amg_fail(err, AMG_BAD_KEY, -1, "key",
                            "has no name for a parameter of its model");
    return AMG_OK;
}

/* Turns a map of n rows around; NULL: none. AMG_NO_MEMORY leaves it alone. */
static amg_status invert(int32_t *map, int64_t n, amg_error *err)
{
    if (!map) return AMG_OK;
    int32_t *inverse = amg_calloc((size_t)n, sizeof *inverse);
    if (!inverse) return amg_fail(err, AMG_NO_MEMORY, -1, "extract", "no memory");
    for (int64_t i = 0; i < n; i++) inverse[map[i]] = (int32_t)i;
    memcpy(map, inverse, (size_t)n * sizeof *map);
    explicit_bzero(inverse, (size_t)n * sizeof *inverse);
    amg_free(inverse);
    return AMG_OK;
}

/* Job row map[i] holds row i: the inverse maps bring it back. */
static amg_status restore_rows(extraction *x, const amg_secret *secret, amg_error *err)
{
    const amg_plan_shape *shape = &x->payload->shape;
    amg_obf_plan plan = {0};
    if (!shape->permute_labels && shape->vocab == 0 && shape->block[0] == 0)
        return AMG_OK;
    amg_status st = amg_obf_plan_derive(secret, shape, &plan, err);
    if (st) return st;
    amg_subnet_plan *own = &plan.subnets[plan.original];
    if (amg_row_moves_find(x->g, shape, own->num_classes, &x->rows, NULL))
        st = amg_fail(err, AMG_BAD_KEY, -1, "key",
                      "its model and its permutations disagree");
    if (!st) st = invert(own->label_map, own->num_classes, err);
    if (!st) st = invert(own->token_map, shape->vocab, err);
    if (!st) st = invert(own->value_map, own->num_block_values, err);
    if (!st) st = invert(own->patch_map, own->num_patches, err);
    if (own->rotation) amg_rotation_invert(own->rotation);
    for (int i = 0; !st && i < x->rows.count; i++) {
        const amg_tensor *t = x->found[x->rows.moves[i].param];
        st = t ? amg_row_move_apply(&x->rows, i, own, t, &x->restored[i], err)
               : amg_fail(err, AMG_BAD_KEY, -1, "key",
                          "has no name for a parameter whose rows it permutes");
    }
    amg_obf_plan_clear(&plan);
    return st;
}

static const amg_tensor *get_weight(void *context, const amg_value *param)
{
    const extraction *x = context;
    int v = (int)(param - x->g->values);
    for (int i = 0; i < x->rows.count; i++)
        if (x->rows.moves[i].param == v) return &x->restored[i];
    return x->found[v];
}

/* Names and shapes alone would let in the weights of a job of the same architecture. */
static amg_status check_job(const amg_key_payload *payload,
                            const amg_safetensors *weights, amg_error *err)
{
    const char *job = amg_safetensors_find_metadata(weights, AMG_ST_JOB);
    if (!job || !strcmp(job, payload->job_sha256)) return AMG_OK;
    amg_fail(err, AMG_MISMATCH, -1, "weights",
             "trained from the job %.16s…, the key belongs to %.16s…", job,
             payload->job_sha256);
    amg_hint(err, "these are the first digits of the SHA-256 of each job.json: is this "
                  "the weights file of the job that this key was made with?");
    return AMG_MISMATCH;
}

/* The original as read, with weights from the file. */
static amg_status extract(const amg_secret *secret, const amg_key_payload *payload,
                          const amg_safetensors *weights, const amg_origin *origin,
                          amg_graph **out, amg_error *err)
{
    extraction x = {
        .payload = payload, .weights = weights, .g = amg_origin_folded(origin)};
    x.found = amg_calloc((size_t)x.g->num_values + 1, sizeof *x.found);
    if (!x.found) return amg_fail(err, AMG_NO_MEMORY, -1, "extract", "no memory");
    amg_status st = check_job(payload, weights, err);
    if (!st) st = list_params(&x, err);
    if (!st) st = find_all(&x, err);
    if (!st) st = restore_rows(&x, secret, err);
    if (!st) st = amg_origin_restore(origin, get_weight, &x, out, err);
    for (int i = 0; i < x.rows.count; i++) amg_tensor_clear(&x.restored[i]);
    amg_name_map_clear(&x.params);
    amg_free(x.found);
    return st;
}

amg_status amg_extract_graph(const amg_secret *secret, const amg_key_payload *payload,
                             const amg_safetensors *weights, amg_graph **out,
                             amg_error *err)
{
    amg_origin *origin = NULL;
    amg_status st = amg_origin_new(payload->original, &origin, err);
    if (!st) st = extract(secret, payload, weights, origin, out, err);
    amg_origin_free(origin);
    return st;
}

/* Weights and running statistics under the names that they have in the model. */
static amg_status write_safetensors(const char *path, const amg_graph *source,
                                    const amg_origin *origin, const amg_graph *g,
                                    amg_error *err)
{
    amg_st_entry *entries = amg_calloc((size_t)g->num_values + 1, sizeof *entries);
    if (!entries) return amg_fail(err, AMG_NO_MEMORY, -1, path, "no memory");
    size_t n = 0;
    for (int v = 0; v < source->num_values; v++) {
        if (!amg_origin_is_home(origin, v)) continue;
        const amg_value *val =
            &g->values[amg_graph_find_value(g, source->values[v].name)];
        entries[n++] = (amg_st_entry){val->name, val->data};
    }
    amg_status st = amg_safetensors_write(path, entries, n, err);
    amg_free(entries);
    return st;
}

/* The safetensors file gets its name last, so that a failure with the model leaves
 * neither. */
static amg_status write_outputs(const amg_extract_options *o, const amg_graph *source,
                                const amg_origin *origin, const amg_graph *g,
                                amg_error *err)
{
    if (!o->out_safetensors) return amg_graph_write_onnx(o->out_onnx, g, err);
    size_t size = strlen(o->out_safetensors) + sizeof ".part";
    char *part = amg_malloc(size);
    if (!part) return amg_fail(err, AMG_NO_MEMORY, -1, o->out_safetensors, "no memory");
    snprintf(part, size, "%s.part", o->out_safetensors);
    amg_status st = write_safetensors(part, source, origin, g, err);
    if (!st) {
        st = amg_graph_write_onnx(o->out_onnx, g, err);
        if (!st && rename(part, o->out_safetensors)) {
            st = amg_fail_errno(err, errno, o->out_safetensors, "cannot put it there");
            (void)remove(o->out_onnx);
        }
        if (st) (void)remove(part);
    }
    amg_free(part);
    return st;
}

int64_t amg_extract_steps(const amg_safetensors *weights, const char *output)
{
    char own[256];
    const int room = snprintf(own, sizeof own, AMG_ST_STEPS ".%s", output);
    const char *text =
        room < (int)sizeof own ? amg_safetensors_find_metadata(weights, own) : NULL;
    if (!text) text = amg_safetensors_find_metadata(weights, AMG_ST_STEPS);
    const size_t length = text ? strlen(text) : 0;
    if (length < 1 || length > 18 || strspn(text, "0123456789") != length) return -1;
    return strtoll(text, NULL, 10);
}

static amg_extract_result describe(const amg_graph *source, const amg_origin *origin,
                                   const amg_safetensors *weights, const char *output,
                                   bool key_is_loose)
{
    amg_extract_result r = {.num_scalars =
                                amg_graph_num_trainable(amg_origin_folded(origin)),
                            .steps = amg_extract_steps(weights, output),
                            .key_is_loose = key_is_loose};
    for (int v = 0; v < source->num_values; v++)
        r.num_params += amg_origin_is_home(origin, v);
    return r;
}

amg_status amg_extract(const amg_extract_options *options, amg_extract_result *result,
                       amg_error *err)
{
    amg_secret *secret = NULL;
    uint8_t *bytes = NULL;
    size_t size;
    bool loose;
    amg_key_payload payload = {0};
    amg_safetensors *weights = NULL;
    amg_origin *origin = NULL;
    amg_graph *g = NULL;
    if (options->out_safetensors &&
        !strcmp(options->out_safetensors, options->out_onnx))
        return amg_fail(err, AMG_INVALID, -1, options->out_onnx,
                        "is the name of both outputs");
    amg_status st = amg_keyfile_open(options->key, options->passphrase, &secret, &bytes,
                                     &size, &loose, err);
    if (st) return st;
    st = amg_key_payload_parse(bytes, size, &payload, err);
    if (!st) st = amg_safetensors_open(options->weights, &weights, err);
    if (!st) st = amg_origin_new(payload.original, &origin, err);
    if (!st) st = extract(secret, &payload, weights, origin, &g, err);
    if (!st) st = write_outputs(options, payload.original, origin, g, err);
    if (!st)
        *result =
            describe(payload.original, origin, weights, payload.names.output, loose);
    amg_graph_free(g);
    amg_origin_free(origin);
    amg_safetensors_close(weights);
    amg_key_payload_clear(&payload);
    amg_payload_free(bytes);
    amg_secret_free(secret);
    return st;
}
