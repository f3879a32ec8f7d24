/* Attention in one kernel (attention.h). Matrices are shared out among threads; each
 * thread takes those of the batch that are its own, brings them into its scratch, and
 * takes the results from there to where they belong.
 *
 *     S = scale Q K^T + mask    P = softmax(S)    O = P V
 *     dV = P^T dO    dP = dO V^T    dS = P (dP - sum(P dP))
 *     dQ = scale dS K    dK = scale dS^T Q */
#include <string.h>

#include "base/parallel.h"
#include "base/vector.h"
#include "engine/attention.h"
#include "engine/softmax_row.h"

typedef struct {
    const amg_attention *a;
    const float *x[AMG_ATTENTION_PARTS]; /* operands, mask; backward: x[AMG_O] is dO */
    float *y[AMG_ATTENTION_PARTS];       /* forward: y[AMG_O]; backward: gradients */
    float *weights, *scratch;
    const uint8_t *seen;    /* NULL: all is */
    const uint8_t *dropped; /* NULL: nothing is */
} context;

/* A thread's scratch: matrices of its own, row-major. */
typedef struct {
    float *q, *k, *v, *o, *s, *result;
} room;

static int64_t largest(const amg_attention *a)
{
    const int64_t q = a->l * a->d, k = a->s * a->d, v = a->s * a->e;
    const int64_t most = q > k ? q : k;
    return most > v ? most : v;
}

static int64_t room_floats(const amg_attention *a)
{
    const int64_t floats = a->l * a->d + a->s * a->d + a->s * a->e + a->l * a->e +
                           a->l * a->s + largest(a);
    return (floats + 15) / 16 * 16;
}

static room room_of(const context *c, int64_t slot)
{
    const amg_attention *a = c->a;
    room r = {.q = c->scratch + slot * a->slot_floats};
    r.k = r.q + a->l * a->d;
    r.v = r.k + a->s * a->d;
    r.o = r.v + a->s * a->e;
    r.s = r.o + a->l * a->e;
    r.result = r.s + a->l * a->s;
    return r;
}

AMG_VECTOR static void load(const amg_matrices *m, int64_t i, const float *src,
                            float scale, float *dst)
{
    const float *at = src + amg_walk_at(&m->batch, i);
    for (int64_t r = 0; r < m->rows; r++, dst += m->cols) {
        const float *row = at + m->row[r];
        if (m->col == 1) {
#pragma omp simd
            for (int64_t c = 0; c < m->cols; c++) dst[c] = row[c] * scale;
        } else {
            for (int64_t c = 0; c < m->cols; c++) dst[c] = row[c * m->col] * scale;
        }
    }
}

AMG_VECTOR static void store(const amg_matrices *m, int64_t i, const float *src,
                             float scale, float *dst)
{
    float *at = dst + amg_walk_at(&m->batch, i);
    for (int64_t r = 0; r < m->rows; r++, src += m->cols) {
        float *row = at + m->row[r];
        if (m->col == 1) {
#pragma omp simd
            for (int64_t c = 0; c < m->cols; c++) row[c] = src[c] * scale;
        } else {
            for (int64_t c = 0; c < m->cols; c++) row[c * m->col] = src[c] * scale;
        }
    }
}

static void add_mask(const amg_matrices *m, const float *mask, int64_t i, int64_t r,
                     float *row)
{
    const float *from = mask + amg_walk_at(&m->batch, i) + m->row[r];
#pragma omp simd
    for (int64_t c = 0; c < m->cols; c++) row[c] += from[c * m->col];
}

/* Row r of matrix i has number where it does not see. */
static void hide(const context *c, int64_t i, int64_t r, float number, float *row)
{
    const amg_matrices *m = &c->a->at[AMG_SEEN];
    const uint8_t *seen = c->seen + amg_walk_at(&m->batch, i) + m->row[r];
    const bool kept = c->a->kept;
    for (int64_t k = 0; k < m->cols; k++)
        if ((seen[k * m->col] != 0) != kept) row[k] = number;
}

AMG_VECTOR static void softmax(const context *c, int64_t i, float *s)
{
    const amg_attention *a = c->a;
    for (int64_t r = 0; r < a->l; r++, s += a->s) {
        if (c->seen && !a->masked_first) hide(c, i, r, a->instead, s);
        if (c->x[AMG_MASK]) add_mask(&a->at[AMG_MASK], c->x[AMG_MASK], i, r, s);
        if (c->seen && a->masked_first) hide(c, i, r, a->instead, s);
        amg_softmax_row(a->s, 1, false, s, s);
        if (a->hides) hide(c, i, r, 0, s);
    }
}

AMG_VECTOR static void softmax_gradient(const amg_attention *a, const float *p,
                                        float *s)
{
    for (int64_t r = 0; r < a->l; r++, s += a->s, p += a->s)
        amg_softmax_row_gradient(a->s, 1, false, p, s, s);
}

/* What dropout makes of s: weights forward, their gradient backward. */
AMG_VECTOR static void drop(const context *c, int64_t i, const float *s, float *out)
{
    const int64_t count = c->a->l * c->a->s;
    const uint8_t *kept = c->dropped + i * count;
    const float scale = c->a->kept_scale;
#pragma omp simd
    for (int64_t k = 0; k < count; k++) out[k] = kept[k] ? s[k] * scale : 0;
}

/* The weights of matrix i as V met them. */
static const float *dropped(const context *c, const room *m, int64_t i)
{
    const float *p = c->weights + i * c->a->l * c->a->s;
    if (!c->dropped) return p;
    drop(c, i, p, m->s);
    return m->s;
}

static void forward_one(const context *c, const room *m, int64_t i)
{
    const amg_attention *a = c->a;
    float *p = c->weights + i * a->l * a->s;
    load(&a->at[AMG_Q], i, c->x[AMG_Q], a->scale, m->q);
    load(&a->at[AMG_K], i, c->x[AMG_K], 1, m->k);
    load(&a->at[AMG_V], i, c->x[AMG_V], 1, m->v);
    amg_dnnl_gemm(false, true, a->l, a->s, a->d, m->q, a->d, m->k, a->d, 0, p, a->s);
    softmax(c, i, p);
    amg_dnnl_gemm(false, false, a->l, a->e, a->s, dropped(c, m, i), a->s, m->v, a->e, 0,
                  m->o, a->e);
    store(&a->at[AMG_O], i, m->o, 1, c->y[AMG_O]);
}

static void backward_one(const context *c, const room *m, int64_t i)
{
    const amg_attention *a = c->a;
    const float *p = c->weights + i * a->l * a->s;
    load(&a->at[AMG_O], i, c->x[AMG_O], 1, m->o);
    if (a->wants[AMG_V]) {
        amg_dnnl_gemm(true, false, a->s, a->e, a->l, dropped(c, m, i), a->s, m->o, a->e,
                      0, m->result, a->e);
        store(&a->at[AMG_V], i, m->result, 1, c->y[AMG_V]);
    }
    if (!a->wants[AMG_Q] && !a->wants[AMG_K]) return;
    load(&a->at[AMG_V], i, c->x[AMG_V], 1, m->v);
    amg_dnnl_gemm(false, true, a->l, a->s, a->e, m->o, a->e, m->v, a->e, 0, m->s, a->s);
    if (c->dropped) drop(c, i, m->s, m->s);
    softmax_gradient(a, p, m->s);
    for (int64_t r = 0; c->seen && r < a->l; r++) hide(c, i, r, 0, m->s + r * a->s);
    if (a->wants[AMG_Q]) {
        load(&a->at[AMG_K], i, c->x[AMG_K], 1, m->k);
        amg_dnnl_gemm(false, false, a->l, a->d, a->s, m->s, a->s, m->k, a->d, 0,
                      m->result, a->d);
        store(&a->at[AMG_Q], i, m->result, a->scale, c->y[AMG_Q]);
    }
    if (a->wants[AMG_K]) {
        load(&a->at[AMG_Q], i, c->x[AMG_Q], 1, m->q);
        amg_dnnl_gemm(true, false, a->s, a->d, a->l, m->s, a->s, m->q, a->d, 0,
                      m->result, a->d);
        store(&a->at[AMG_K], i, m->result, a->scale, c->y[AMG_K]);
    }
}

/* Slot t has the matrices t, t + slots, … */
static void forward_slots(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    for (int64_t t = begin; t < end; t++) {
        const room m = room_of(c, t);
        for (int64_t i = t; i < c->a->batch; i += c->a->slots) forward_one(c, &m, i);
    }
}

static void backward_slots(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    for (int64_t t = begin; t < end; t++) {
        const room m = room_of(c, t);
        for (int64_t i = t; i < c->a->batch; i += c->a->slots) backward_one(c, &m, i);
    }
}

/* ptr: output, weights, scratch, Q, K, V, mask, dropout's mask, SEEN; where one is
 * missing, anything. */
static void run_forward(const amg_call *call)
{
    const amg_attention *a = call->self;
    context c = {.a = a, .weights = call->ptr[1], .scratch = call->ptr[2]};
    c.y[AMG_O] = call->ptr[0];
    for (int k = 0; k < 3; k++) c.x[k] = call->ptr[3 + k];
    if (a->value[AMG_MASK] != AMG_NO_VALUE) c.x[AMG_MASK] = call->ptr[6];
    if (a->value[AMG_SEEN] != AMG_NO_VALUE) c.seen = a->seen ? a->seen : call->ptr[8];
    if (a->dropped != AMG_NO_BUFFER) c.dropped = call->ptr[7];
    amg_parallel_for(a->slots, 1, forward_slots, &c);
}

/* ptr: the output's gradient, weights, scratch, Q, K, V, their gradients, dropout's
 * mask, SEEN; where one is missing, anything. */
static void run_backward(const amg_call *call)
{
    const amg_attention *a = call->self;
    context c = {.a = a, .weights = call->ptr[1], .scratch = call->ptr[2]};
    c.x[AMG_O] = call->ptr[0];
    if (a->dropped != AMG_NO_BUFFER) c.dropped = call->ptr[9];
    if (a->value[AMG_SEEN] != AMG_NO_VALUE) c.seen = a->seen ? a->seen : call->ptr[10];
    for (int k = 0; k < 3; k++) {
        c.x[k] = call->ptr[3 + k];
        c.y[k] = call->ptr[6 + k];
        if (a->zero_bytes[k]) memset(c.y[k], 0, a->zero_bytes[k]);
    }
    amg_parallel_for(a->slots, 1, backward_slots, &c);
}

/* ---- compiling ---- */

static int read_plain(amg_plan *p, int node, int value)
{
    return amg_plan_read(p, node, value, amg_plan_plain(p, value));
}

static int scratch_of(amg_plan *p, const amg_attention *a)
{
    return amg_plan_temp(p, sizeof(float) * (size_t)(a->slot_floats * a->slots));
}

/* The buffer of SEEN; other: there is none, or the graph has its data. */
static int read_seen(amg_plan *p, int node, const amg_attention *a, int other)
{
    return a->value[AMG_SEEN] == AMG_NO_VALUE || a->seen
               ? other
               : read_plain(p, node, a->value[AMG_SEEN]);
}

static void forward(amg_plan *p, int node)
{
    amg_attention *a = p->nodes[node].self;
    const int y = a->value[AMG_O], mask = a->value[AMG_MASK];
    a->slots = amg_threads() < a->batch ? amg_threads() : (int)a->batch;
    a->slot_floats = room_floats(a);
    int buffers[9];
    for (int k = 0; k < 3; k++) buffers[3 + k] = read_plain(p, node, a->value[k]);
    buffers[6] = mask == AMG_NO_VALUE ? buffers[3] : read_plain(p, node, mask);
    if (a->value[AMG_SEEN] != AMG_NO_VALUE) {
        const amg_tensor *seen = amg_plan_constant(p, a->value[AMG_SEEN]);
        a->seen = seen ? seen->data : NULL;
    }
    buffers[8] = read_seen(p, node, a, buffers[3]);
    a->dropped = AMG_NO_BUFFER;
    if (a->dropout >= 0)
        a->dropped =
            amg_dropout_draw(p, a->dropout, a->batch * a->l * a->s, &a->kept_scale);
    buffers[7] = a->dropped == AMG_NO_BUFFER ? buffers[3] : a->dropped;
    a->weights = amg_plan_temp(p, sizeof(float) * (size_t)(a->batch * a->l * a->s));
    buffers[0] = amg_plan_define(p, y, amg_plan_plain(p, y));
    buffers[1] = a->weights;
    buffers[2] = scratch_of(p, a);
    amg_emit_kernel(p, node, "attention", run_forward, a, 9, buffers);
}

static int64_t count_of(const amg_value *v)
{
    int64_t count = 1;
    for (int d = 0; d < v->rank; d++) count *= v->dims[d];
    return count;
}

/* The first operand with the root of operand k. */
static int first_of(const amg_attention *a, int k)
{
    int first = 0;
    while (a->value[first] != a->value[k]) first++;
    return first;
}

/* Whether the operands from first on that come from its root cover that: views show no
 * element twice, and no two of these show the same one. */
static bool covers(amg_plan *p, const amg_attention *a, int first)
{
    const int64_t count = count_of(amg_plan_value(p, a->value[first]));
    const int64_t sizes[3] = {a->l * a->d, a->s * a->d, a->s * a->e};
    int64_t shown = 0;
    for (int k = first; k < 3; k++)
        if (a->value[k] == a->value[first]) shown += a->batch * sizes[k];
    return shown == count;
}

static void backward(amg_plan *p, int node)
{
    amg_attention *a = p->nodes[node].self;
    int buffers[11] = {amg_plan_grad(p, node, NULL), a->weights, scratch_of(p, a)};
    for (int k = 0; k < 3; k++) {
        buffers[3 + k] = read_plain(p, node, a->value[k]);
        buffers[6 + k] = buffers[3 + k];
    }
    for (int k = 0; k < 3; k++) {
        const int first = first_of(a, k);
        a->wants[k] = amg_plan_needs_grad(p, a->value[k]);
        if (!a->wants[k]) continue;
        const amg_layout *plain = amg_plan_plain(p, a->value[k]);
        buffers[6 + k] = first < k ? buffers[6 + first]
                                   : amg_plan_grad_target(p, a->value[k], plain);
        if (!p->status && first == k && !covers(p, a, k))
            a->zero_bytes[k] = amg_layout_bytes(plain);
    }
    buffers[9] = a->dropped == AMG_NO_BUFFER ? buffers[3] : a->dropped;
    buffers[10] = read_seen(p, node, a, buffers[3]);
    amg_emit_kernel(p, node, "attention backward", run_backward, a, 11, buffers);
    for (int k = 0; k < 3; k++)
        if (a->wants[k] && first_of(a, k) == k)
            amg_plan_give_grad(p, node, a->value[k], buffers[6 + k],
                               amg_plan_plain(p, a->value[k]));
}

const amg_kernel_row amg_attention_row = {NULL, forward, backward};
