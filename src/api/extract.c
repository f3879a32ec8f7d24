/* amalgam_extract: weights from the cloud + key -> the original's tensors, in memory
 * and, if asked, as a model file. Consumes what extract/ checked. */
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "api/options.h"
#include "extract/extract.h"
#include "formats/safetensors.h"
#include "graph/onnx_graph.h"
#include "graph/origin.h"

/* An open key with the weights that belong to it. */
typedef struct {
    amg_secret *secret;
    amg_key_payload payload;
    amg_safetensors *weights;
    amg_graph *trained;
    bool loose;
} extraction;

static amg_status open_all(const amg_extract_options *o, extraction *x, amg_error *err)
{
    uint8_t *bytes = NULL;
    size_t size = 0;
    amg_status st = amg_keyfile_open(o->key, o->passphrase, &x->secret, &bytes, &size,
                                     &x->loose, err);
    if (!st) st = amg_key_payload_parse(bytes, size, &x->payload, err);
    if (!st) st = amg_safetensors_open(o->weights, &x->weights, err);
    if (!st)
        st = amg_extract_graph(x->secret, &x->payload, x->weights, &x->trained, err);
    amg_payload_free(bytes);
    return st;
}

static void close_all(extraction *x)
{
    amg_graph_free(x->trained);
    amg_safetensors_close(x->weights);
    amg_key_payload_clear(&x->payload);
    amg_secret_free(x->secret);
}

static amg_status give_one(const amg_value *v, bool trained, amalgam_tensor_fn each,
                           void *context, amg_error *err)
{
    amalgam_tensor t = {.dtype = amg_dtype_name(v->dtype),
                        .rank = v->rank,
                        .data = v->data.data,
                        .size_bytes = v->data.size_bytes};
    memcpy(t.dims, v->dims, sizeof t.dims);
    const char *role = !trained                     ? "constant"
                       : v->role == AMG_ROLE_BUFFER ? "buffer"
                                                    : "trainable";
    return each(context, v->name, role, &t, err);
}

static amg_status give_tensors(const extraction *x, amalgam_tensor_fn each,
                               void *context, amg_error *err)
{
    const amg_graph *source = x->payload.original;
    amg_origin *origin = NULL;
    amg_status st = amg_origin_new(source, &origin, err);
    for (int i = 0; each && !st && i < source->num_values; i++) {
        if (source->values[i].kind != AMG_VALUE_PARAM) continue;
        const int at = amg_graph_find_value(x->trained, source->values[i].name);
        if (at >= 0)
            st = give_one(&x->trained->values[at], amg_origin_is_home(origin, i), each,
                          context, err);
    }
    amg_origin_free(origin);
    return st;
}

static amg_status describe(const extraction *x, char **out, amg_error *err)
{
    const int64_t count = amg_extract_steps(x->weights, x->payload.names.output);
    json_t *steps = count < 0 ? json_null() : json_integer(count);
    json_t *note = x->payload.note ? json_string(x->payload.note) : json_null();
    return api_result(json_pack("{s:i, s:I, s:o, s:o, s:b}", "tensors",
                                x->payload.names.count, "parameters",
                                (json_int_t)amg_graph_num_trainable(x->trained),
                                "steps", steps, "note", note, "key_is_loose", x->loose),
                      out, err);
}

amg_status amalgam_extract(const char *options, const char *passphrase,
                           amalgam_tensor_fn each, void *context, char **result,
                           amg_error *err)
{
    amg_extract_options o = {0};
    const api_option table[] = {
        {"key", API_STRING, &o.key, .required = true},
        {"weights", API_STRING, &o.weights, .required = true},
        {"onnx", API_STRING, &o.out_onnx},
    };
    amg_json doc;
    amg_passphrase pass = {0};
    extraction x = {0};
    char *text = NULL;
    amg_status st =
        api_options_read(options, table, sizeof table / sizeof *table, &doc, err);
    if (st) return st;
    st = api_passphrase_init(passphrase, &pass, err);
    o.passphrase = pass.text ? &pass : NULL;
    if (!st) st = open_all(&o, &x, err);
    if (!st) st = describe(&x, &text, err);
    if (!st) st = give_tensors(&x, each, context, err);
    if (!st && o.out_onnx) st = amg_graph_write_onnx(o.out_onnx, x.trained, err);
    close_all(&x);
    api_passphrase_clear(&pass);
    amg_json_clear(&doc);
    if (st)
        amalgam_free(text);
    else
        *result = text;
    return st;
}

amg_status amalgam_key_needs_passphrase(const char *key, bool *needs, amg_error *err)
{
    return amg_keyfile_needs_passphrase(key, needs, err);
}
