/* Public functions that look and do not touch, and the zoo: what a file, a DATA spec or
 * a model's operators are, as JSON. */
#include <math.h>
#include <sodium.h>
#include <string.h>

#include "api/api.h"
#include "api/inspect.h"
#include "api/options.h"
#include "formats/token_set.h"
#include "graph/onnx_census.h"
#include "graph/onnx_graph.h"
#include "graph/zoo.h"

amg_status amalgam_inspect(const char *path, char **result, amg_error *err)
{
    json_t *found;
    amg_status st = amg_inspect(path, &found, err);
    return st ? st : api_result(found, result, err);
}

static void count_operator(void *context, const char *name, int64_t count, bool covered)
{
    json_object_set_new(
        context, name,
        json_pack("{s:I, s:b}", "count", (json_int_t)count, "covered", covered));
}

amg_status amalgam_operators(const char *model, char **result, amg_error *err)
{
    json_t *operators = json_object();
    amg_status st = amg_onnx_census(model, count_operator, operators, err);
    if (!st) return api_result(json_pack("{s:o}", "operators", operators), result, err);
    json_decref(operators);
    return st;
}

amg_status amalgam_data_info(const char *spec, char **result, amg_error *err)
{
    const amg_window shortest = {.seq = 1}; /* any token set has room for it */
    amg_dataset *ds = NULL;
    amg_status st = amg_dataset_open_window(spec, &shortest, &ds, err);
    if (st) return st;
    const amg_dataset_info *i = amg_dataset_get_info(ds);
    const bool target = i->target_dtype != AMG_DTYPE_NONE;
    st = api_result(
        json_pack("{s:s, s:I, s:s, s:o, s:o, s:o, s:o, s:I, s:I}", "kind", i->kind,
                  "samples", (json_int_t)i->num_samples, "dtype",
                  amg_dtype_name(i->dtype), "shape", api_dims(i->rank, i->dims),
                  "classes",
                  i->num_classes > 0 ? json_integer(i->num_classes) : json_null(),
                  "target_dtype",
                  target ? json_string(amg_dtype_name(i->target_dtype)) : json_null(),
                  "target_shape",
                  target ? api_dims(i->target_rank, i->target_dims) : json_null(),
                  "vocab_size", (json_int_t)i->vocab_size, "pad",
                  (json_int_t)(i->vocab_size > 0 ? i->pad : AMG_NO_TOKEN)),
        result, err);
    amg_dataset_close(ds);
    return st;
}

static amg_status list_zoo(char **result, amg_error *err)
{
    const char *const *names;
    const int n = amg_zoo_names(&names);
    json_t *array = json_array();
    for (int i = 0; i < n; i++) json_array_append_new(array, json_string(names[i]));
    return api_result(json_pack("{s:o}", "names", array), result, err);
}

amg_status amalgam_zoo(const char *options, char **result, amg_error *err)
{
    int64_t shape[3] = {3, 32, 32}, classes = 10, seed = -1, num_trainable = 0;
    int num_dims = 3;
    const char *out = NULL;
    amg_zoo_options o = {.dropout = NAN, .pad = AMG_NO_TOKEN};
    amg_graph *g = NULL;
    amg_json doc;
    const api_option table[] = {
        {"name", API_STRING, &o.name, .required = true},
        {"out", API_STRING, &out, .required = true},
        {"shape", API_INTS, shape, 1, 1 << 16, .max_count = 3, .count = &num_dims},
        {"classes", API_INT, &classes, 2, 1 << 20},
        {"vocab", API_INT, &o.vocab, 2, 1 << 28},
        {"seq", API_INT, &o.seq, 1, 1 << 20},
        {"width", API_INT, &o.width_model, 1, 1 << 16},
        {"layers", API_INT, &o.layers, 1, 1 << 10},
        {"heads", API_INT, &o.heads, 1, 1 << 10},
        {"hidden", API_INT, &o.width_hidden, 1, 1 << 16},
        {"dropout", API_REAL, &o.dropout, 0, 1},
        {"pad", API_INT, &o.pad, 0, 1 << 28},
        {"seed", API_INT, &seed, 0, 9e15},
    };
    if (!options) return list_zoo(result, err);
    amg_status st =
        api_options_read(options, table, sizeof table / sizeof *table, &doc, err);
    if (st) return st;
    if (num_dims != 3)
        st = amg_fail(err, AMG_INVALID, -1, "options", "shape has %d dim%s, expected 3",
                      num_dims, amg_plural(num_dims));
    if (!st && sodium_init() < 0)
        st = amg_fail(err, AMG_IO, -1, "libsodium", "cannot start");
    o.channels = shape[0];
    o.height = shape[1];
    o.width = shape[2];
    o.num_classes = classes;
    /* A seed of the system's: whoever guesses it knows the initial weights. */
    o.seed = (uint64_t)seed;
    if (!st && seed < 0) randombytes_buf(&o.seed, sizeof o.seed);
    if (!st) st = amg_zoo_build(&o, &g, err);
    if (!st) st = amg_zoo_count_trainable(g, &num_trainable, err);
    if (!st) st = amg_graph_write_onnx(out, g, err);
    if (!st)
        st = api_result(json_pack("{s:s, s:I}", "name", o.name, "parameters",
                                  (json_int_t)num_trainable),
                        result, err);
    amg_graph_free(g);
    amg_json_clear(&doc);
    return st;
}
