/* amalgam_pack: several owners' options and data -> one job, a key for each. Consumes
 * JSON and data sets, produces JSON; every choice is obfuscate/'s. */
#include "obfuscate/pack.h"

#include <stdio.h>
#include <string.h>

#include "api/api.h"
#include "api/owner.h"
#include "base/alloc.h"
#include "base/file.h"

/* All owners of a call; the documents hold their strings. */
typedef struct {
    amg_pack_options o;
    int64_t shard_bytes;
    amg_json doc;
    int num_open;
    api_owner *owners;              /* [num_owners] */
    amg_json *docs;                 /* [num_owners] */
    amg_obfuscate_options *options; /* [num_owners], the owners' */
} request;

static void close_request(request *r)
{
    for (int i = 0; i < r->num_open; i++) {
        api_owner_close(&r->owners[i]);
        amg_json_clear(&r->docs[i]);
    }
    amg_free(r->owners);
    amg_free(r->docs);
    amg_free(r->options);
    amg_json_clear(&r->doc);
}

static amg_status read_request(const char *text, request *r, amg_error *err)
{
    const api_option table[] = {
        {"out", API_STRING, &r->o.out, .required = true},
        {"seed_hex", API_STRING, &r->o.seed_hex},
        {"shard_bytes", API_INT, &r->shard_bytes, 1, 1e15},
    };
    return api_options_read(text, table, sizeof table / sizeof *table, &r->doc, err);
}

static amg_status open_owner(request *r, const amalgam_owner *given, amg_error *err)
{
    const int i = r->num_open;
    api_owner *w = &r->owners[i];
    api_option table[API_NUM_OWNER_OPTIONS];
    if (given->data.covers.spec || given->data.covers.dataset ||
        given->data.val_covers.spec || given->data.val_covers.dataset)
        return amg_fail(err, AMG_INVALID, -1, "options",
                        "owner %d has covers: the other owners are its covers", i + 1);
    api_owner_options(w, table);
    amg_status st = api_options_read(given->options, table, API_NUM_OWNER_OPTIONS,
                                     &r->docs[i], err);
    if (st) return st;
    r->num_open++;
    st = api_owner_open(w, given->passphrase, &given->data, err);
    r->options[i] = w->o;
    return st;
}

static amg_status open_owners(request *r, int num, const amalgam_owner *owners,
                              amg_error *err)
{
    amg_status st = AMG_OK;
    if (num < 2 || num > AMG_MAX_OWNERS)
        return amg_fail(err, AMG_INVALID, -1, "options", "%d owners, expected 2 to %d",
                        num, AMG_MAX_OWNERS);
    r->owners = amg_calloc((size_t)num, sizeof *r->owners);
    r->docs = amg_calloc((size_t)num, sizeof *r->docs);
    r->options = amg_calloc((size_t)num, sizeof *r->options);
    if (!r->owners || !r->docs || !r->options)
        return amg_fail(err, AMG_NO_MEMORY, -1, "options", "no memory for owners");
    for (int i = 0; i < num && !st; i++) st = open_owner(r, &owners[i], err);
    r->o.owners = r->options;
    r->o.num_owners = num;
    r->o.shard_bytes = (size_t)r->shard_bytes;
    return st;
}

static amg_status describe(const amg_pack_result *r, char **out, amg_error *err)
{
    json_t *parameters = json_array();
    for (int i = 0; i < r->num_owners; i++)
        json_array_append_new(parameters, json_integer((json_int_t)r->own_params[i]));
    return api_result(
        json_pack("{s:s, s:i, s:I, s:I, s:o, s:o, s:f, s:o, s:I, s:I, s:f}", "task",
                  amg_task_name(r->task), "owners", r->num_owners, "train_samples",
                  (json_int_t)r->num_train, "val_samples", (json_int_t)r->num_val,
                  "sample", api_dims(3, r->dims), "job_sample",
                  api_dims(3, r->out_dims), "compute_factor", r->compute_factor,
                  "own_parameters", parameters, "job_parameters",
                  (json_int_t)r->job_params, "job_bytes", (json_int_t)r->job_bytes,
                  "seconds", r->seconds),
        out, err);
}

amg_status amalgam_pack(const char *options, int num_owners,
                        const amalgam_owner *owners, const amg_progress *progress,
                        char **result, amg_error *err)
{
    request r = {0};
    amg_pack_result made;
    amg_status st = read_request(options, &r, err);
    if (st) return st;
    st = open_owners(&r, num_owners, owners, err);
    if (!st) st = amg_pack(&r.o, progress, &made, err);
    if (!st && (st = describe(&made, result, err))) {
        amg_dir_remove(r.o.out);
        for (int i = 0; i < num_owners; i++) (void)remove(r.options[i].key);
    }
    close_request(&r);
    return st;
}
