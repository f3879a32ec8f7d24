/* Rows that a plan's maps move (see the header). Consumes a network and a plan's shape;
 * the maps themselves are drawn in plan.c. */
#include "obfuscate/row_moves.h"

#include <string.h>

#include "base/alloc.h"
#include "formats/token_set.h"
#include "graph/rewrite.h"

bool amg_labels_permutable(const amg_graph *g)
{
    amg_class_rows rows;
    if (!amg_class_rows_find(g, 0, &rows) || rows.tied) return false;
    int32_t *order = amg_calloc((size_t)rows.num_classes, sizeof *order);
    const amg_tensor *data[2] = {0};
    for (int i = 0; i < rows.num_params; i++) data[i] = &g->values[rows.params[i]].data;
    bool distinct = order && amg_class_rows_canonical(&rows, data, order);
    amg_free(order);
    return distinct;
}

/* NULL: no two tokens, and of a language model no two classes, have equal rows. */
static const char *find_equal_rows(const amg_graph *g, const amg_token_rows *tokens,
                                   const amg_class_rows *classes)
{
    const char *found = NULL;
    int32_t *order = amg_calloc((size_t)tokens->vocab, sizeof *order);
    const amg_tensor *data[AMG_MAX_TOKEN_TABLES] = {0};
    if (!order) return "there is no memory to compare its rows";
    for (int i = 0; i < tokens->num_tables; i++)
        data[i] = &g->values[tokens->tables[i]].data;
    if (!amg_token_rows_canonical(tokens, data, order))
        found = "two rows of its embedding table are equal";
    if (!found && classes) {
        for (int i = 0; i < classes->num_params; i++)
            data[i] = &g->values[classes->params[i]].data;
        if (!amg_class_rows_canonical(classes, data, order))
            found = "two rows of its last layer are equal";
    }
    amg_free(order);
    return found;
}

/* Why the tokens cannot be permuted; NULL: they can. */
static const char *find_obstacle(const amg_graph *g, const amg_token_rows *tokens,
                                 bool tokens_are_classes)
{
    amg_class_rows classes;
    const bool has_classes = amg_class_rows_find(g, 0, &classes);
    if (!tokens_are_classes) {
        if (has_classes && classes.tied)
            return "the model's last layer is its embedding table";
        return find_equal_rows(g, tokens, NULL);
    }
    if (!has_classes || classes.num_classes != tokens->vocab)
        return "the model's last layer has no row for each token";
    return find_equal_rows(g, tokens, &classes);
}

/* The tokens that keep their numbers, with pad among them, ascending; false: too many.
 */
static bool list_fixed(const amg_token_rows *tokens, int64_t pad, amg_plan_shape *shape)
{
    int n = 0;
    bool waiting = pad != AMG_NO_TOKEN;
    for (int i = 0; i < tokens->num_fixed; i++) {
        if (waiting && pad < tokens->fixed[i]) {
            shape->fixed[n++] = pad;
            waiting = false;
        }
        waiting = waiting && pad != tokens->fixed[i];
        if (n == AMG_MAX_FIXED_TOKENS) return false;
        shape->fixed[n++] = tokens->fixed[i];
    }
    if (waiting && n == AMG_MAX_FIXED_TOKENS) return false;
    if (waiting) shape->fixed[n++] = pad;
    shape->num_fixed = n;
    return true;
}

const char *amg_tokens_permute(const amg_graph *g, bool tokens_are_classes, int64_t pad,
                               amg_plan_shape *shape)
{
    amg_token_rows tokens;
    amg_plan_shape s = *shape;
    if (!amg_token_rows_find(g, 0, &tokens))
        return "the model does more with its tokens than look up their rows";
    const char *obstacle = find_obstacle(g, &tokens, tokens_are_classes);
    if (obstacle) return obstacle;
    if (!list_fixed(&tokens, pad, &s)) return "too many tokens have a fixed number";
    s.vocab = tokens.vocab;
    s.tokens_are_classes = tokens_are_classes;
    if (tokens_are_classes) s.permute_labels = true;
    *shape = s;
    return NULL;
}

/* ---- moves ---- */

static amg_status disagree(const amg_graph *g, const char *what, amg_error *err)
{
    return amg_fail(err, AMG_MISMATCH, -1, g->values[g->outputs[0]].name,
                    "the network's %s cannot be permuted", what);
}

static bool has_move(const amg_row_moves *m, int param)
{
    for (int i = 0; i < m->count; i++)
        if (m->moves[i].param == param) return true;
    return false;
}

/* What of its first layer, and of its places, moves with values and patches. */
static amg_status find_input(const amg_graph *g, const amg_plan_shape *shape,
                             amg_row_moves *m, amg_error *err)
{
    if (amg_input_columns_find(g, shape->dims, &m->columns) ||
        memcmp(m->columns.block, shape->block, sizeof shape->block) != 0)
        return disagree(g, "input", err);
    m->moves[m->count++] =
        (amg_row_move){.param = m->columns.param,
                       .by = shape->rotate ? AMG_BY_ROTATION : AMG_BY_VALUE};
    if (!shape->patches) return AMG_OK;
    if (amg_patch_tokens_find(g, &m->columns, shape->dims, &m->patches))
        return disagree(g, "patches", err);
    for (int i = 0; i < m->patches.num_tables; i++)
        m->moves[m->count++] =
            (amg_row_move){.param = m->patches.tables[i].param, .by = AMG_BY_PATCH};
    return AMG_OK;
}

static void move_positions(const amg_row_moves *moves, int param, const int32_t *map,
                           const amg_tensor *in, amg_tensor *out)
{
    const amg_patch_tokens *p = &moves->patches;
    for (int i = 0; i < p->num_tables; i++)
        if (p->tables[i].param == param)
            amg_position_table_move(&p->tables[i], p->num_patches, map, in, out);
}

/* What each output weighs the values of a block with is rotated as they are. */
static amg_status rotate_columns(const amg_input_columns *columns,
                                 const amg_rotation *rotation, const amg_tensor *in,
                                 amg_tensor *out, amg_error *err)
{
    const int64_t n = columns->num_values, outputs = amg_tensor_count(in) / n;
    const int64_t row = columns->first ? 1 : n, column = columns->first ? outputs : 1;
    const float *from = in->data;
    float *to = out->data;
    double *own = amg_calloc((size_t)(2 * n), sizeof *own), *turned = own + n;
    if (!own) {
        amg_tensor_clear(out);
        return amg_fail(err, AMG_NO_MEMORY, -1, "rotation", "no memory for weights");
    }
    for (int64_t r = 0; r < outputs; r++) {
        for (int64_t c = 0; c < n; c++) own[c] = from[r * row + c * column];
        amg_rotation_apply(rotation, own, turned);
        for (int64_t c = 0; c < n; c++) to[r * row + c * column] = (float)turned[c];
    }
    amg_free(own);
    return AMG_OK;
}

amg_status amg_row_moves_find(const amg_graph *g, const amg_plan_shape *shape,
                              int64_t num_classes, amg_row_moves *out, amg_error *err)
{
    amg_row_moves m = {0};
    amg_token_rows tokens = {0};
    amg_class_rows classes = {0};
    if (shape->vocab > 0 &&
        (!amg_token_rows_find(g, 0, &tokens) || tokens.vocab != shape->vocab))
        return disagree(g, "vocabulary", err);
    for (int i = 0; i < tokens.num_tables; i++)
        m.moves[m.count++] =
            (amg_row_move){.param = tokens.tables[i], .by = AMG_BY_TOKEN};
    if (shape->permute_labels &&
        (!amg_class_rows_find(g, 0, &classes) || classes.num_classes != num_classes ||
         (classes.tied && !shape->tokens_are_classes)))
        return disagree(g, "classes", err);
    for (int i = 0; i < classes.num_params; i++)
        if (!has_move(&m, classes.params[i]))
            m.moves[m.count++] =
                (amg_row_move){.param = classes.params[i], .axis = classes.axis[i]};
    const amg_status st = shape->block[0] > 0 ? find_input(g, shape, &m, err) : AMG_OK;
    if (!st) *out = m;
    return st;
}

amg_status amg_row_move_apply(const amg_row_moves *moves, int i,
                              const amg_subnet_plan *maps, const amg_tensor *in,
                              amg_tensor *out, amg_error *err)
{
    const amg_row_move *move = &moves->moves[i];
    amg_status st = amg_tensor_new(in->dtype, in->rank, in->dims, out, err);
    if (st) return st;
    if (move->by == AMG_BY_ROTATION)
        return rotate_columns(&moves->columns, maps->rotation, in, out, err);
    if (move->by == AMG_BY_VALUE)
        amg_input_columns_move(&moves->columns, maps->value_map, in, out);
    else if (move->by == AMG_BY_PATCH)
        move_positions(moves, move->param, maps->patch_map, in, out);
    else
        amg_class_rows_permute(
            in, move->axis,
            move->by == AMG_BY_TOKEN ? maps->token_map : maps->label_map, out);
    return AMG_OK;
}

/* What moved, for a copy of the network. */
typedef struct {
    const amg_graph *g;
    amg_row_moves rows;
    amg_tensor moved[AMG_MAX_ROW_MOVES];
} row_source;

static const amg_tensor *get_rows(void *context, const amg_value *param)
{
    const row_source *r = context;
    for (int i = 0; i < r->rows.count; i++)
        if (param == &r->g->values[r->rows.moves[i].param]) return &r->moved[i];
    return NULL;
}

amg_status amg_row_moves_apply(const amg_graph *g, const amg_plan_shape *shape,
                               const amg_subnet_plan *maps, amg_graph **out,
                               amg_error *err)
{
    row_source r = {.g = g};
    amg_status st = amg_row_moves_find(g, shape, maps->num_classes, &r.rows, err);
    for (int i = 0; !st && i < r.rows.count; i++)
        st = amg_row_move_apply(
            &r.rows, i, maps, &g->values[r.rows.moves[i].param].data, &r.moved[i], err);
    if (!st) st = amg_graph_with_weights(g, get_rows, &r, out, err);
    for (int i = 0; i < r.rows.count; i++) amg_tensor_clear(&r.moved[i]);
    return st;
}
