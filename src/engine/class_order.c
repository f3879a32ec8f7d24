/* Brings a head's class rows and embedding tables into canonical order and back (see
 * the header for why). Works on parameter sets; the rule of the order itself is in
 * graph/class_rows and graph/token_rows. */
#include "engine/class_order.h"

#include <string.h>

#include "base/alloc.h"
#include "graph/class_rows.h"

/* What an order is made from. */
typedef struct {
    const amg_graph *g;
    const amg_params *initial;
    amg_class_rows classes;
    amg_token_rows tokens;
} origin;

/* Adds a parameter to rows; false if it is not in the set (frozen). */
static bool add_item(const origin *from, amg_row_set *rows, int param, int axis)
{
    const int item = amg_params_find(from->initial, from->g->values[param].name);
    if (item < 0) return false;
    rows->items[rows->num_items] = item;
    rows->axis[rows->num_items++] = axis;
    return true;
}

static bool add_classes(const origin *from, amg_row_set *rows)
{
    for (int i = 0; i < from->classes.num_params; i++)
        if (!add_item(from, rows, from->classes.params[i], from->classes.axis[i]))
            return false;
    return true;
}

/* All tables but the tied one, which is among the class rows; NO_VALUE: none is. */
static bool add_tables(const origin *from, amg_row_set *rows, int tied)
{
    for (int i = 0; i < from->tokens.num_tables; i++) {
        const int table = from->tokens.tables[i];
        if (table != tied && !add_item(from, rows, table, 0)) return false;
    }
    return true;
}

static bool is_table(const amg_token_rows *tokens, int param)
{
    for (int i = 0; i < tokens->num_tables; i++)
        if (tokens->tables[i] == param) return true;
    return false;
}

static const amg_tensor *item_at(const origin *from, const amg_row_set *rows, int i)
{
    return &from->initial->items[rows->items[i]].tensor;
}

/* Sorts num_rows rows: by the class rows' data, or the tables'. Leaves rank NULL if
 * there is no canonical order. */
static amg_status sort(const origin *from, amg_row_set *rows, bool by_classes,
                       int64_t num_rows, amg_error *err)
{
    const size_t n = (size_t)num_rows;
    const amg_tensor *data[AMG_MAX_TOKEN_TABLES] = {NULL};
    rows->rank = amg_calloc(n, sizeof *rows->rank);
    rows->order = amg_calloc(n, sizeof *rows->order);
    if (!rows->rank || !rows->order)
        return amg_fail(err, AMG_NO_MEMORY, -1, "class order", "%zu rows", n);
    const int count = by_classes ? from->classes.num_params : from->tokens.num_tables;
    for (int i = 0; i < count; i++) data[i] = item_at(from, rows, i);
    const bool sorted =
        by_classes ? amg_class_rows_canonical(&from->classes, data, rows->order)
                   : amg_token_rows_canonical(&from->tokens, data, rows->order);
    for (size_t r = 0; r < n && sorted; r++) rows->rank[rows->order[r]] = (int32_t)r;
    if (sorted) return AMG_OK;
    amg_free(rows->rank);
    amg_free(rows->order);
    *rows = (amg_row_set){0};
    return AMG_OK;
}

/* Lookups in tables go where rank says. */
static void set_lookups(const origin *from, const int32_t *rank, amg_class_order *o)
{
    if (!rank) return;
    for (int i = 0; i < from->tokens.num_tables; i++)
        o->lookups[o->num_lookups++] = (amg_row_order){
            .param = from->g->values[from->tokens.tables[i]].name, .rank = rank};
}

/* Class rows that are a table, too: one order, if tokens and classes are the same
 * rows and the network looks nothing else up in them. */
static amg_status order_tied(const origin *from, bool has_tokens, amg_class_order *o,
                             amg_error *err)
{
    const int tied = from->classes.params[0];
    if (!has_tokens || !is_table(&from->tokens, tied) ||
        from->tokens.vocab != from->classes.num_classes ||
        !add_classes(from, &o->classes) || !add_tables(from, &o->classes, tied)) {
        o->classes.num_items = 0;
        return AMG_OK;
    }
    amg_status status = sort(from, &o->classes, true, from->tokens.vocab, err);
    if (!status) set_lookups(from, o->classes.rank, o);
    return status;
}

static amg_status order_apart(const origin *from, bool has_classes, bool has_tokens,
                              amg_class_order *o, amg_error *err)
{
    amg_status status = AMG_OK;
    if (has_classes && add_classes(from, &o->classes))
        status = sort(from, &o->classes, true, from->classes.num_classes, err);
    else
        o->classes.num_items = 0;
    if (status || !has_tokens) return status;
    if (!add_tables(from, &o->tokens, AMG_NO_VALUE)) {
        o->tokens.num_items = 0;
        return AMG_OK;
    }
    status = sort(from, &o->tokens, false, from->tokens.vocab, err);
    if (!status) set_lookups(from, o->tokens.rank, o);
    return status;
}

static amg_status make_scratch(const origin *from, amg_class_order *o, amg_error *err)
{
    const amg_row_set *const sets[] = {&o->classes, &o->tokens};
    size_t most = 0;
    for (int s = 0; s < 2; s++)
        for (int i = 0; i < sets[s]->num_items; i++) {
            const size_t bytes = item_at(from, sets[s], i)->size_bytes;
            if (bytes > most) most = bytes;
        }
    if (!most || (o->scratch = amg_malloc(most))) return AMG_OK;
    return amg_fail(err, AMG_NO_MEMORY, -1, "class order", "%zu bytes", most);
}

amg_status amg_class_order_init(const amg_graph *g, int output_index, bool has_classes,
                                const amg_params *initial, amg_class_order *out,
                                amg_error *err)
{
    amg_class_order o = {0};
    origin from = {.g = g, .initial = initial};
    amg_status status = AMG_OK;
    const bool head = amg_class_rows_find(g, output_index, &from.classes);
    const bool tied = head && from.classes.tied;
    const bool has_tokens = amg_token_rows_find(g, output_index, &from.tokens);
    if (!tied)
        status = order_apart(&from, head && has_classes, has_tokens, &o, err);
    else if (has_classes) /* else outputs are no classes: nothing may move */
        status = order_tied(&from, has_tokens, &o, err);
    if (!status) status = make_scratch(&from, &o, err);
    if (status)
        amg_class_order_clear(&o);
    else
        *out = o;
    return status;
}

void amg_class_order_clear(amg_class_order *o)
{
    amg_free(o->classes.rank);
    amg_free(o->classes.order);
    amg_free(o->tokens.rank);
    amg_free(o->tokens.order);
    amg_free(o->scratch);
    memset(o, 0, sizeof *o);
}

static void permute(const amg_class_order *o, const amg_row_set *rows,
                    const int32_t *map, amg_params *set)
{
    for (int i = 0; i < rows->num_items; i++) {
        amg_tensor *t = &set->items[rows->items[i]].tensor;
        amg_tensor moved = *t;
        moved.data = o->scratch;
        amg_class_rows_permute(t, rows->axis[i], map, &moved);
        memcpy(t->data, moved.data, t->size_bytes);
    }
}

void amg_class_order_to_canonical(const amg_class_order *o, amg_params *set)
{
    permute(o, &o->classes, o->classes.rank, set);
    permute(o, &o->tokens, o->tokens.rank, set);
}

void amg_class_order_to_natural(const amg_class_order *o, amg_params *set)
{
    permute(o, &o->classes, o->classes.order, set);
    permute(o, &o->tokens, o->tokens.order, set);
}
