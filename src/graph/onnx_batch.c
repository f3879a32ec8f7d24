/* A batch that an exporter has baked in: with the data input's first dim a number B, it
 * writes B where a shape with the open batch would be computed, and tensors of B equal
 * rows where one would be expanded. Consumes what a first attempt to read the file has
 * taken as it stands and could not fit together; makes of it
 *
 *     Expand to [B, d, …]      Expand to Concat(Shape(x)[0:1], [d, …])
 *     the same of B*k rows     Expand to [1, d, …], which leaves them
 *     Tile by [B, 1, …]        Expand; of k rows to [N, k, …], as [N*k, …]
 *     one row in a Concat      likewise, if B is 1: exporters leave its Expand out
 *     constant [B, d, …]       Expand(its first row [1, d, …], likewise)
 *     Reshape to [B*k, d, …]   Reshape to [-1, d, …], -1 where the batch is in memory
 *     Gather of [0, 1 … B*d-1] Reshape: as_strided of what is flat
 *     0, 1 … B-1               Range(0, Shape(x)[0], 1), where a Mul or ScatterElements
 *                              reads it: x[arange(B), i], the inverse of an order
 *
 * and likewise with B as the second of three dims or more, as recurrent layers' states
 * have it. Rows only where they are equal, of tensors that are no weights and have two
 * dims or more, and if B is not 1, of which all fits many: one that has B rows by
 * chance no longer fits, and the file is refused as before. */
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "graph/infer.h"
#include "graph/onnx_import.h"

/* NAME_WORD, or with a number behind it where the file has that. */
static char *free_name(amg_import *im, const char *name, const char *word)
{
    const size_t size = strlen(name) + strlen(word) + 24;
    char *made = amg_arena_alloc(&im->arena, size);
    if (!made) return NULL;
    snprintf(made, size, "%s_%s", name, word);
    for (int i = 1; amg_import_find(im, made); i++)
        snprintf(made, size, "%s_%s_%d", name, word, i);
    return made;
}

/* Where of dims the batch stands that was baked in; -1: nowhere. */
static int place_of_batch(const amg_import *im, int rank, const int64_t *dims)
{
    if (!im->baked || rank < 1) return -1;
    return dims[0] == im->baked ? 0 : rank > 2 && dims[1] == im->baked ? 1 : -1;
}

/* Another operand of a Concat that is named after `name`: some numbers of a shape. */
static amg_status add_numbers(amg_import *im, const char *name, const char *word,
                              int64_t count, const int64_t *numbers, int *out,
                              amg_error *err)
{
    amg_tensor t;
    const char *own = free_name(im, name, word);
    if (!own) return amg_fail(err, AMG_NO_MEMORY, -1, name, "no memory for a shape");
    amg_status st = amg_tensor_view(AMG_I64, 1, &count, numbers, &t, err);
    if (!st) *out = amg_builder_param(im->builder, own, &t);
    return st;
}

/* *out = dims with the batch at that place, as an operand named after `name`. */
static amg_status add_shape(amg_import *im, const char *name, int rank,
                            const int64_t *dims, int place, int *out, amg_error *err)
{
    const amg_attr slice[2] = {amg_int("start", 0), amg_int("end", 1)};
    const amg_attr axis = amg_int("axis", 0);
    const char *batch = free_name(im, name, "batch"),
               *all = free_name(im, name, "shape");
    if (!batch || !all)
        return amg_fail(err, AMG_NO_MEMORY, -1, name, "no memory for a shape");
    int parts[3], count = 0;
    amg_status st = AMG_OK;
    if (place) st = add_numbers(im, name, "front", place, dims, &parts[count++], err);
    parts[count++] = amg_builder_node(im->builder, AMG_OP_SHAPE, batch,
                                      &im->batch_value, 1, slice, 2, batch);
    if (!st)
        st = add_numbers(im, name, "rest", rank - place - 1, dims + place + 1,
                         &parts[count++], err);
    if (!st)
        *out = amg_builder_node(im->builder, AMG_OP_CONCAT, all, parts, count, &axis, 1,
                                all);
    return st;
}

static int add_node(amg_import_work *w, amg_op op, const char *word, const int *in,
                    int num_inputs, const amg_attr *attrs, int num_attrs)
{
    const char *name = free_name(w->im, w->proto->output[0], word);
    return name ? amg_builder_node(w->im->builder, op, name, in, num_inputs, attrs,
                                   num_attrs, name)
                : AMG_NO_VALUE;
}

static const amg_value *value_of(const amg_import_work *w, int input)
{
    const int v = input < w->num_inputs ? w->inputs[input] : AMG_NO_VALUE;
    return v == AMG_NO_VALUE ? NULL : amg_builder_value(w->im->builder, v);
}

/* Whether x has the batch, or several times it, where dims has that of the exporter's
 * samples: then dims is 1 there, which leaves what x has. */
static bool leave_batch(const amg_import *im, const amg_value *x, int rank,
                        int64_t *dims)
{
    bool left = false;
    for (int i = 0; x && i < x->rank && i < rank; i++) {
        const int64_t has = x->dims[x->rank - 1 - i];
        int64_t *d = &dims[rank - 1 - i];
        if (has >= 0 || *d % im->baked != 0 || *d / im->baked != -has) continue;
        *d = 1;
        left = true;
    }
    return left;
}

/* Whether an Expand of x to so many dims repeats it for the samples: where these are
 * one, it has to say so of a tensor of one row; torch.zeros(1, …) may be anything. */
static bool may_repeat(const amg_import *im, const amg_value *x, int rank, int place)
{
    const int own = place - rank + (x ? x->rank : -1);
    if (!x || x->rank < 0 || own < 0) return im->baked > 1;
    return x->dims[own] == 1 && (im->baked > 1 || (place == 0 && rank > 1));
}

amg_status amg_import_open_expand(amg_import_work *w)
{
    int64_t dims[AMG_MAX_RANK];
    int rank = 0;
    if (!w->im->baked || !amg_value_shape(value_of(w, 1), AMG_MAX_RANK, dims, &rank))
        return AMG_OK;
    const amg_value *x = value_of(w, 0);
    if (leave_batch(w->im, x, rank, dims))
        return add_numbers(w->im, w->proto->output[0], "shape", rank, dims,
                           &w->inputs[1], w->err);
    const int place = place_of_batch(w->im, rank, dims);
    if (place < 0 || !may_repeat(w->im, x, rank, place)) return AMG_OK;
    return add_shape(w->im, w->proto->output[0], rank, dims, place, &w->inputs[1],
                     w->err);
}

/* x, of which every sample gets the rows: [k,d,…] as [1,k,d,…]. */
static amg_status add_outer_dim(amg_import_work *w, int64_t *dims, int rank)
{
    for (int i = rank; i > 0; i--) dims[i] = dims[i - 1];
    dims[0] = 1;
    int in[2] = {w->inputs[0]};
    amg_status st =
        add_numbers(w->im, w->proto->output[0], "one", rank + 1, dims, &in[1], w->err);
    if (!st) w->inputs[0] = add_node(w, AMG_OP_RESHAPE, "rows", in, 2, NULL, 0);
    return st;
}

/* [k,d,…] as [N*k,d,…], by way of [N,k,d,…] but where k is 1. */
amg_status amg_import_open_tile(amg_import_work *w)
{
    int64_t repeats[AMG_MAX_RANK], dims[AMG_MAX_RANK], ones[AMG_MAX_RANK];
    int rank = 0;
    const amg_value *x = value_of(w, 0);
    if (!w->im->baked || !x || x->rank < 1 || x->rank == AMG_MAX_RANK ||
        !amg_value_shape(value_of(w, 1), AMG_MAX_RANK, repeats, &rank) ||
        rank != x->rank || repeats[0] != w->im->baked)
        return AMG_OK;
    for (int i = 0; i < rank; i++) {
        if (x->dims[i] < 1 || (i > 0 && repeats[i] != 1)) return AMG_OK;
        dims[i] = x->dims[i];
        ones[i] = 1;
    }
    ones[rank] = 1;
    const bool one = dims[0] == 1;
    amg_status st = one ? AMG_OK : add_outer_dim(w, dims, rank);
    if (!st)
        st = add_shape(w->im, w->proto->output[0], one ? rank : rank + 1, ones, 0,
                       &w->inputs[1], w->err);
    w->op = AMG_OP_EXPAND;
    if (one || st) return st;
    w->inputs[0] = add_node(w, AMG_OP_EXPAND, "each", w->inputs, 2, NULL, 0);
    w->op = AMG_OP_RESHAPE;
    dims[1] = -1;
    return add_numbers(w->im, w->proto->output[0], "back", rank, dims + 1,
                       &w->inputs[1], w->err);
}

static bool has_batch(const amg_value *v)
{
    return v && v->rank > 0 && v->dims[0] == AMG_DIM_BATCH;
}

amg_status amg_import_open_concat(amg_import_work *w)
{
    bool joins = false;
    for (int i = 0; i < w->num_inputs; i++) joins = joins || has_batch(value_of(w, i));
    if (w->im->baked != 1 || !joins || w->num_attrs != 1 || w->attrs[0].i == 0)
        return AMG_OK;
    amg_status st = AMG_OK;
    for (int i = 0; i < w->num_inputs && !st; i++) {
        const amg_value *v = value_of(w, i);
        int in[2] = {w->inputs[i]};
        if (!v || v->rank < 2 || v->dims[0] != 1) continue;
        int64_t ones[AMG_MAX_RANK];
        for (int d = 0; d < v->rank; d++) ones[d] = 1;
        st = add_shape(w->im, w->proto->output[0], v->rank, ones, 0, &in[1], w->err);
        if (!st) w->inputs[i] = add_node(w, AMG_OP_EXPAND, "rows", in, 2, NULL, 0);
    }
    return st;
}

/* target without the 0s and the -1 that it may have, of the exporter's samples; false:
 * it names the batch, or not all is known. */
static bool count_target(const amg_value *x, int64_t samples, int64_t *target, int rank)
{
    int64_t all, rest = 1;
    bool batch;
    int free_at = -1;
    if (!amg_dims_product(x->dims, x->rank, &all, &batch) || !batch ||
        !amg_mul_i64(all, samples, &all))
        return false;
    for (int i = 0; i < rank; i++) {
        if (target[i] == 0 && i < x->rank) target[i] = x->dims[i];
        if (target[i] == -1 && free_at < 0)
            free_at = i;
        else if (target[i] < 1 || !amg_mul_i64(rest, target[i], &rest))
            return false;
    }
    if (all % rest != 0) return false;
    if (free_at >= 0) target[free_at] = all / rest;
    return free_at >= 0 || all == rest;
}

/* ---- where the batch is in a dim of several times the batch ---- */

struct amg_batch_front {
    amg_batch_front *next;
    int value;
    int64_t front; /* 5: the dim is 5 times the batch; without an entry the batch is
                      first */
};

static int64_t front_of(const amg_import *im, int value)
{
    for (const amg_batch_front *f = im->fronts; f; f = f->next)
        if (f->value == value) return f->front;
    return 1;
}

/* Of a value with a batch: its dim. */
static int batch_dim(const amg_value *v)
{
    int d = 0;
    while (v->dims[d] >= 0) d++;
    return d;
}

static bool has_several(const amg_value *v)
{
    int64_t all;
    bool batch;
    return v && v->rank > 0 && amg_dims_product(v->dims, v->rank, &all, &batch) &&
           batch && v->dims[batch_dim(v)] != AMG_DIM_BATCH;
}

amg_status amg_import_note_front(amg_import_work *w, int value)
{
    amg_import *im = w->im;
    const amg_value *v = amg_builder_value(im->builder, value);
    if (!im->baked || !has_several(v)) return AMG_OK;
    int64_t front = w->front ? w->front : 1;
    for (int i = 0; !w->front && front == 1 && i < w->num_inputs; i++) {
        const amg_value *x = value_of(w, i);
        if (has_several(x) && x->dims[batch_dim(x)] == v->dims[batch_dim(v)])
            front = front_of(im, w->inputs[i]);
    }
    if (front == 1) return AMG_OK;
    amg_batch_front *f = amg_arena_alloc(&im->arena, sizeof *f);
    if (!f) return amg_import_no_memory(w);
    *f = (amg_batch_front){im->fronts, value, front};
    im->fronts = f;
    return AMG_OK;
}

/* Of a Reshape for the exporter's samples. */
typedef struct {
    int64_t before;  /* so much lies in memory in front of the batch */
    int64_t samples; /* the number that is the batch */
    int64_t behind;  /* of x's dim that has it: 2 of [5,N*2,8] */
    bool splits;     /* x's last dim */
} reshaped;

/* The dim of target that the batch is in, *front: how much of that is in front of it;
 * -1: none. A dim of just the samples goes first. Of one sample there may be two:
 * [5,N,16] as [5,16] is [5*N,16], rows; as [5,2,8], which splits, [5,N*2,8], heads; and
 * what is behind stays with the batch where it may. */
static int find_batch(const reshaped *x, const int64_t *target, int rank,
                      int64_t *front)
{
    int found = -1;
    int64_t reached = 1;
    for (int i = 0; i < rank && x->before % reached == 0; reached *= target[i++]) {
        const int64_t f = x->before / reached;
        const bool alone = f == 1 && target[i] == x->samples;
        const bool behind = f == 1 && target[i] == x->behind * x->samples;
        if (target[i] % (f * x->samples) != 0 ||
            (found >= 0 && !alone && !behind && !x->splits))
            continue;
        found = i;
        *front = f;
        if (alone) break;
    }
    return found;
}

amg_status amg_import_open_reshape(amg_import_work *w)
{
    int64_t target[AMG_MAX_RANK];
    int rank = 0;
    const amg_value *x = value_of(w, 0);
    if (!w->im->baked || !x || x->rank < 1 ||
        !amg_value_shape(value_of(w, 1), AMG_MAX_RANK, target, &rank) || rank < 1 ||
        !count_target(x, w->im->baked, target, rank))
        return AMG_OK;
    const int64_t front = front_of(w->im, w->inputs[0]);
    const int batch = batch_dim(x);
    reshaped r = {.before = front,
                  .samples = w->im->baked,
                  .behind = -x->dims[batch] / front,
                  .splits = target[rank - 1] < x->dims[x->rank - 1]};
    for (int d = 0; d < batch; d++) r.before *= x->dims[d];
    const int at = find_batch(&r, target, rank, &w->front);
    if (at < 0) return AMG_OK;
    target[at] = -1;
    return add_numbers(w->im, w->proto->output[0], "shape", rank, target, &w->inputs[1],
                       w->err);
}

/* Whether indices are 0, 1 … to all of flat, whose samples lie one behind the other. */
static bool reads_in_order(const amg_import_work *w, const amg_value *flat,
                           const amg_value *indices)
{
    if (!flat || flat->rank != 1 || flat->dims[0] >= 0 || !indices ||
        indices->dtype != AMG_I64 || indices->rank < 1 || !indices->data.data ||
        indices->dims[0] != w->im->fixed_batch)
        return false;
    const int64_t *at = indices->data.data;
    const int64_t count = amg_tensor_count(&indices->data);
    for (int64_t i = 0; i < count; i++)
        if (at[i] != i) return false;
    return count == -flat->dims[0] * w->im->fixed_batch;
}

/* Also at the first attempt: with the first sample of several read alone, or some of
 * many, shapes may fit. */
amg_status amg_import_open_gather(amg_import_work *w)
{
    const amg_value *indices = value_of(w, 1);
    if (!w->im->fixed_batch || !reads_in_order(w, value_of(w, 0), indices))
        return AMG_OK;
    int64_t dims[AMG_MAX_RANK];
    memcpy(dims, indices->dims, sizeof dims);
    dims[0] = -1;
    w->op = AMG_OP_RESHAPE;
    w->num_attrs = 0;
    return add_numbers(w->im, w->proto->output[0], "shape", indices->rank, dims,
                       &w->inputs[1], w->err);
}

/* Whether all of t along that dim is equal; `first`, of as many bytes as one of them:
 * what it is. */
static bool has_equal_rows(const amg_tensor *t, int place, char *first)
{
    size_t row = t->size_bytes;
    for (int i = 0; i <= place; i++) row /= (size_t)t->dims[i];
    const size_t rows = t->size_bytes / row, count = (size_t)t->dims[place];
    for (size_t i = 0; i < rows; i++) {
        const char *at = (const char *)t->data + i * row;
        char *its = first + i / count * row;
        if (i % count == 0) memcpy(its, at, row);
        if (memcmp(its, at, row) != 0) return false;
    }
    return true;
}

amg_status amg_import_open_rows(amg_import *im, const char *name, const amg_tensor *t,
                                amg_param_said said, int *value, amg_error *err)
{
    const bool constant = said == AMG_SAID_CONSTANT || !amg_dtype_is_float(t->dtype);
    const int place = place_of_batch(im, t->rank, t->dims);
    if (!constant || t->rank < 2 || place < 0 || im->baked == 1 || !t->data ||
        !t->size_bytes)
        return AMG_OK;
    amg_tensor first = {.rank = t->rank};
    int64_t dims[AMG_MAX_RANK];
    memcpy(dims, t->dims, sizeof dims);
    dims[place] = 1;
    char *data = amg_arena_alloc(&im->arena, t->size_bytes);
    const char *row = free_name(im, name, "row");
    if (!data || !row)
        return amg_fail(err, AMG_NO_MEMORY, -1, name, "no memory for a row");
    if (!has_equal_rows(t, place, data)) return AMG_OK;
    amg_status st = amg_tensor_view(t->dtype, t->rank, dims, data, &first, err);
    int in[2];
    if (!st) st = add_shape(im, name, t->rank, t->dims, place, &in[1], err);
    if (st) return st;
    in[0] = amg_builder_param(im->builder, row, &first);
    if (amg_dtype_is_float(t->dtype))
        amg_builder_say(im->builder, in[0], AMG_SAID_CONSTANT);
    *value = amg_builder_node(im->builder, AMG_OP_EXPAND, name, in, 2, NULL, 0, name);
    return AMG_OK;
}

/* ---- samples that are counted ---- */

/* An I64 constant of B numbers; else NULL. */
static const int64_t *numbers_of(const amg_import_work *w, int value)
{
    const amg_value *v =
        value == AMG_NO_VALUE ? NULL : amg_builder_value(w->im->builder, value);
    return v && v->kind == AMG_VALUE_PARAM && v->dtype == AMG_I64 && v->rank == 1 &&
                   v->dims[0] == w->im->baked
               ? v->data.data
               : NULL;
}

/* Whether a value is 0, step, 2 step … */
static bool counts_by(const amg_import_work *w, int value, int64_t step)
{
    const int64_t *numbers = numbers_of(w, value);
    for (int64_t i = 0; numbers && i < w->im->baked; i++)
        if (numbers[i] != i * step) return false;
    return numbers != NULL;
}

static int add_number(amg_import_work *w, const char *word, int64_t v)
{
    amg_tensor t;
    const char *name = free_name(w->im, w->proto->output[0], word);
    const amg_status st = amg_tensor_view(AMG_I64, 0, NULL, &v, &t, NULL);
    return st || !name ? AMG_NO_VALUE : amg_builder_param(w->im->builder, name, &t);
}

/* 0, 1 … to the number of samples. */
static int add_range(amg_import_work *w)
{
    const amg_attr slice[2] = {amg_int("start", 0), amg_int("end", 1)};
    const int first =
        add_node(w, AMG_OP_SHAPE, "batch", &w->im->batch_value, 1, slice, 2);
    const int limit = add_node(w, AMG_OP_SQUEEZE, "count", &first, 1, NULL, 0);
    const int in[3] = {add_number(w, "start", 0), limit, add_number(w, "delta", 1)};
    return add_node(w, AMG_OP_RANGE, "range", in, 3, NULL, 0);
}

amg_status amg_import_open_counts(amg_import_work *w)
{
    if (!w->im->baked) return AMG_OK;
    for (int i = 0; w->op == AMG_OP_MUL && i < w->num_inputs; i++)
        if (counts_by(w, w->inputs[i], 1)) w->inputs[i] = add_range(w);
    if (w->op != AMG_OP_SCATTER_ELEMENTS || w->num_inputs != 3 ||
        !counts_by(w, w->inputs[0], 0) || !counts_by(w, w->inputs[2], 1))
        return AMG_OK;
    w->inputs[2] = add_range(w);
    const int zero = add_number(w, "zero", 0);
    const int shape = add_node(w, AMG_OP_SHAPE, "places", &w->inputs[2], 1, NULL, 0);
    w->inputs[0] =
        add_node(w, AMG_OP_EXPAND, "zeros", (int[]){zero, shape}, 2, NULL, 0);
    return AMG_OK;
}
