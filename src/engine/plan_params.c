/* Parameters between plan (oneDNN's blocked layouts) and sets (row-major): values,
 * gradients and optimizer states, all through the same two reorders. */
#include <string.h>

#include "engine/kernel.h"

/* One tensor of value st, from row-major memory into the plan's layout. */
static amg_status load_one(const amg_value_state *st, size_t bytes, void *plain,
                           void *home, amg_error *err)
{
    if (!st->load) {
        memcpy(home, plain, bytes);
        return AMG_OK;
    }
    amg_status status = amg_primitive_bind(st->load, AMG_ARG_SRC, plain, err);
    if (!status) status = amg_primitive_bind(st->load, AMG_ARG_DST, home, err);
    return status ? status : amg_primitive_run(st->load, err);
}

static amg_status store_one(const amg_value_state *st, size_t bytes, void *home,
                            void *plain, amg_error *err)
{
    if (!st->store) {
        memcpy(plain, home, bytes);
        return AMG_OK;
    }
    amg_status status = amg_primitive_bind(st->store, AMG_ARG_SRC, home, err);
    if (!status) status = amg_primitive_bind(st->store, AMG_ARG_DST, plain, err);
    return status ? status : amg_primitive_run(st->store, err);
}

/* What of a parameter is copied. */
typedef enum { PART_VALUE, PART_GRAD, PART_STATE } part;

/* Memory of a part of the parameter; NULL if it has none (states of a buffer, or of
 * what is frozen). slot counts those with states seen so far. */
static void *find_part(const amg_plan *p, int value, int slot, part what, int which)
{
    const amg_value_state *st = &p->values[value];
    if (what == PART_VALUE) return amg_plan_ptr(p, st->buffer);
    if (!st->needs_grad) return NULL;
    return what == PART_GRAD ? p->slots[slot].grad : p->slots[slot].state[which];
}

/* Item i of set must be this plan's parameter in everything but the name. */
static amg_status check_item(const amg_plan *p, const amg_params *set, int i, int value,
                             amg_error *err)
{
    const amg_value *v = &p->graph->values[value];
    if (i >= set->count)
        return amg_fail(err, AMG_MISMATCH, -1, v->name,
                        "the set has %d parameters, the plan has more", set->count);
    const amg_tensor *t = &set->items[i].tensor;
    bool same = t->dtype == AMG_F32 && t->rank == v->rank && t->data;
    for (int d = 0; same && d < v->rank; d++) same = t->dims[d] == v->dims[d];
    if (same) return AMG_OK;
    char found[AMG_SHAPE_TEXT], expected[AMG_SHAPE_TEXT];
    return amg_fail(err, AMG_MISMATCH, -1, set->items[i].name,
                    "parameter %d is %s, expected %s", i,
                    amg_shape_text(t->dtype, t->rank, t->dims, found),
                    amg_shape_text(AMG_F32, v->rank, v->dims, expected));
}

static amg_status transfer(const amg_plan *p, const amg_params *set, part what,
                           int which, bool load, amg_error *err)
{
    int item = 0, slot = 0;
    for (int i = 0; i < p->num_params; i++) {
        int value = p->params[i];
        amg_status status = check_item(p, set, item, value, err);
        if (status) return status;
        void *home = find_part(p, value, slot, what, which);
        const amg_tensor *t = &set->items[item].tensor;
        const amg_value_state *st = &p->values[value];
        if (home)
            status = load ? load_one(st, t->size_bytes, t->data, home, err)
                          : store_one(st, t->size_bytes, home, t->data, err);
        if (status) return status;
        item++;
        slot += st->needs_grad;
    }
    if (item != set->count)
        return amg_fail(err, AMG_MISMATCH, -1, "plan",
                        "the set has %d parameters, the plan has %d", set->count, item);
    return AMG_OK;
}

void amg_plan_load_constants(amg_plan *p)
{
    for (int value = 0; value < p->graph->num_values && !p->status; value++) {
        const amg_value *v = &p->graph->values[value];
        const amg_value_state *st = &p->values[value];
        if (v->kind != AMG_VALUE_PARAM || v->role != AMG_ROLE_CONSTANT || !st->layout)
            continue;
        if (!v->data.data) {
            amg_plan_fail(p, -1, AMG_INVALID, "constant \"%s\" has no data", v->name);
            return;
        }
        amg_error err = {0};
        amg_status status = load_one(st, v->data.size_bytes, v->data.data,
                                     amg_plan_ptr(p, st->buffer), &err);
        if (status) amg_plan_fail_with(p, -1, status, &err);
    }
}

amg_status amg_plan_load(amg_plan *plan, const amg_params *set, amg_error *err)
{
    return transfer(plan, set, PART_VALUE, 0, true, err);
}

amg_status amg_plan_store(const amg_plan *plan, amg_params *set, amg_error *err)
{
    return transfer(plan, set, PART_VALUE, 0, false, err);
}

static amg_status check_state(const amg_plan *p, int which, amg_error *err)
{
    if (which >= 0 && which < p->options.num_states) return AMG_OK;
    return amg_fail(err, AMG_INVALID, -1, "plan", "optimizer state %d of %d", which,
                    p->options.num_states);
}

amg_status amg_plan_load_state(amg_plan *plan, int which, const amg_params *set,
                               amg_error *err)
{
    amg_status status = check_state(plan, which, err);
    return status ? status : transfer(plan, set, PART_STATE, which, true, err);
}

amg_status amg_plan_store_state(const amg_plan *plan, int which, amg_params *set,
                                amg_error *err)
{
    amg_status status = check_state(plan, which, err);
    return status ? status : transfer(plan, set, PART_STATE, which, false, err);
}

amg_status amg_plan_store_grad(const amg_plan *plan, amg_params *set, amg_error *err)
{
    return transfer(plan, set, PART_GRAD, 0, false, err);
}
