/* Brings a head's class rows into canonical order and back (see the header for why).
 * Works on parameter sets; the rule of the order itself is graph/class_rows. */
#include "engine/class_order.h"

#include <string.h>

#include "base/alloc.h"
#include "graph/class_rows.h"

/* Finds the class rows' parameters in the set; false if one is not there (frozen). */
static bool find_items(const amg_graph *g, const amg_class_rows *rows,
                       const amg_params *set, amg_class_order *o)
{
    o->num_items = rows->num_params;
    for (int i = 0; i < rows->num_params; i++) {
        o->items[i] = amg_params_find(set, g->values[rows->params[i]].name);
        o->axis[i] = rows->axis[i];
        if (o->items[i] < 0) return false;
    }
    return true;
}

amg_status amg_class_order_init(const amg_graph *g, int output_index,
                                const amg_params *initial, amg_class_order *out,
                                amg_error *err)
{
    amg_class_order o = {0};
    amg_class_rows rows;
    const amg_tensor *data[2] = {NULL, NULL};
    amg_status status = AMG_OK;
    memset(out, 0, sizeof *out);
    if (!amg_class_rows_find(g, output_index, &rows) ||
        !find_items(g, &rows, initial, &o))
        return AMG_OK;

    const size_t n = (size_t)rows.num_classes;
    o.rank = amg_calloc(n, sizeof *o.rank);
    o.order = amg_calloc(n, sizeof *o.order);
    if (!o.rank || !o.order) {
        status = amg_fail(err, AMG_NO_MEMORY, -1, "class order", "%zu classes", n);
        goto fail;
    }
    for (int i = 0; i < o.num_items; i++) data[i] = &initial->items[o.items[i]].tensor;
    if (!amg_class_rows_canonical(&rows, data, o.order)) goto fail;
    for (size_t r = 0; r < n; r++) o.rank[o.order[r]] = (int32_t)r;
    for (int i = 0; i < o.num_items && !status; i++)
        status = amg_tensor_new(data[i]->dtype, data[i]->rank, data[i]->dims,
                                &o.scratch[i], err);
    if (status) goto fail;
    *out = o;
    return AMG_OK;
fail: /* also the way out when no canonical order exists: then status is ok */
    amg_class_order_clear(&o);
    return status;
}

void amg_class_order_clear(amg_class_order *o)
{
    for (int i = 0; i < 2; i++) amg_tensor_clear(&o->scratch[i]);
    amg_free(o->rank);
    amg_free(o->order);
    memset(o, 0, sizeof *o);
}

static void permute(const amg_class_order *o, const int32_t *map, amg_params *set)
{
    if (!o->rank) return;
    for (int i = 0; i < o->num_items; i++) {
        amg_tensor *t = &set->items[o->items[i]].tensor;
        amg_tensor scratch = o->scratch[i];
        amg_class_rows_permute(t, o->axis[i], map, &scratch);
        memcpy(t->data, scratch.data, t->size_bytes);
    }
}

void amg_class_order_to_canonical(const amg_class_order *o, amg_params *set)
{
    permute(o, o->rank, set);
}

void amg_class_order_to_natural(const amg_class_order *o, amg_params *set)
{
    permute(o, o->order, set);
}
