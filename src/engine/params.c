/* Sets of parameters in row-major form, in the canonical order of their sub-network.
 * Consumes a graph; knows nothing of layouts or plans. */
#include "engine/params.h"

#include <string.h>

#include "base/alloc.h"

/* An item for value v of g, with v's data or zeros. */
static amg_status item_from_value(const amg_value *v, amg_param *out, amg_error *err)
{
    char text[AMG_SHAPE_TEXT];
    if (v->dtype != AMG_F32)
        return amg_fail(err, AMG_UNSUPPORTED, -1, v->name,
                        "parameter is %s, expected F32",
                        amg_shape_text(v->dtype, v->rank, v->dims, text));
    amg_status status = amg_tensor_new(AMG_F32, v->rank, v->dims, &out->tensor, err);
    if (status) return status;
    if (v->data.data) memcpy(out->tensor.data, v->data.data, out->tensor.size_bytes);
    out->name = v->name;
    out->role = v->role;
    return AMG_OK;
}

amg_status amg_params_new(const amg_graph *g, int output_index, amg_params *out,
                          amg_error *err)
{
    amg_params set = {0};
    size_t capacity = (size_t)g->num_values + 1;
    int *ids = amg_calloc(capacity, sizeof *ids);
    set.items = amg_calloc(capacity, sizeof *set.items);
    amg_status status = AMG_OK;
    if (!ids || !set.items) {
        status = amg_fail(err, AMG_NO_MEMORY, -1, "parameters", "no memory for a list");
        goto done;
    }
    int count = amg_graph_canonical_params(g, output_index, ids);
    for (int i = 0; i < count && !status; i++) {
        status = item_from_value(&g->values[ids[i]], &set.items[set.count], err);
        if (!status) set.count++;
    }
done:
    amg_free(ids);
    if (status)
        amg_params_clear(&set);
    else
        *out = set;
    return status;
}

amg_status amg_params_like(const amg_params *set, amg_params *out, amg_error *err)
{
    amg_params copy = {0};
    copy.items = amg_calloc((size_t)set->count + 1, sizeof *copy.items);
    if (!copy.items)
        return amg_fail(err, AMG_NO_MEMORY, -1, "parameters", "no memory for a list");
    for (int i = 0; i < set->count; i++) {
        const amg_param *from = &set->items[i];
        amg_status status = amg_tensor_new(
            AMG_F32, from->tensor.rank, from->tensor.dims, &copy.items[i].tensor, err);
        if (status) {
            amg_params_clear(&copy);
            return status;
        }
        copy.items[i].name = from->name;
        copy.items[i].role = from->role;
        copy.count++;
    }
    *out = copy;
    return AMG_OK;
}

void amg_params_copy(const amg_params *from, amg_params *to)
{
    for (int i = 0; i < from->count; i++)
        memcpy(to->items[i].tensor.data, from->items[i].tensor.data,
               from->items[i].tensor.size_bytes);
}

void amg_params_clear(amg_params *set)
{
    for (int i = 0; i < set->count; i++) amg_tensor_clear(&set->items[i].tensor);
    amg_free(set->items);
    *set = (amg_params){0};
}

int amg_params_find(const amg_params *set, const char *name)
{
    for (int i = 0; i < set->count; i++)
        if (strcmp(set->items[i].name, name) == 0) return i;
    return -1;
}
