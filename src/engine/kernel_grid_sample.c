/* GridSample over two or three spatial dims in row-major memory, as PyTorch has it:
 * each position of the grid is a place in the input, a number from -1 to 1 along each
 * dim (the last one first), and its value a weighted sum of the elements around.
 *
 *     x [N,C,in...]   grid [N,out...,dims]   y [N,C,out...]
 *
 * Along a dim an output reads up to four elements; what it reads altogether is a list
 * of taps, which all channels share:
 *
 *     y = sum of x[at] * part    dx[at] += dy * part    dgrid = sum of dy * x[at] *
 * slope */
#include <math.h>
#include <string.h>

#include "base/parallel.h"
#include "engine/kernel.h"

enum { MOST_TAPS = 4, MOST_ALL = MOST_TAPS * MOST_TAPS * MOST_TAPS };

typedef enum { NEAREST, LINEAR, CUBIC } interpolation;
typedef enum { ZEROS, BORDER, REFLECTION } padding;

typedef struct {
    int dims;
    interpolation kind;
    padding outside;
    bool align; /* -1 and 1 are the middles of the corner elements, not their edges */
    int64_t n, channels, in[AMG_MAX_DIMS];
    int64_t inputs, outputs; /* elements of a channel */
} sampling;

/* Along one dim; at < 0: outside, where zeros are. */
typedef struct {
    int64_t at;
    float part, slope;
} tap;

/* Of all dims. */
typedef struct {
    int64_t at;
    float part, slope[AMG_MAX_DIMS];
} joined;

/* ---- places ---- */

/* A place on the input, and what it moves by where the grid's number does. */
typedef struct {
    float at, unit;
} place;

static place mirror(place p, float low, float high)
{
    const float span = high - low;
    if (span == 0) return (place){0, 0};
    float x = p.at - low;
    if (x < 0) {
        x = -x;
        p.unit = -p.unit;
    }
    const float rest = fmodf(x, span);
    if (fmodf(floorf(x / span), 2) == 0) return (place){rest + low, p.unit};
    return (place){span - rest + low, -p.unit};
}

static place clip(place p, int64_t count)
{
    const float last = (float)(count - 1);
    if (!(p.at > 0)) return (place){0, 0};
    return p.at >= last ? (place){last, 0} : p;
}

/* Where padding puts a place. */
static place inside(const sampling *s, place p, int64_t count)
{
    const float half = s->align ? 0 : 0.5f;
    if (s->outside == REFLECTION) p = mirror(p, -half, (float)(count - 1) + half);
    if (s->outside != ZEROS) p = clip(p, count);
    return p;
}

static place place_of(const sampling *s, float x, int64_t count)
{
    const float n = (float)count;
    place p = s->align ? (place){(x + 1) / 2 * (n - 1), (n - 1) / 2}
                       : (place){((x + 1) * n - 1) / 2, n / 2};
    if (s->kind != CUBIC) p = inside(s, p, count);
    /* No number, or none that an index can be. */
    if (!(fabsf(p.at) < 0x1p30f)) p = (place){-100, 0};
    return p;
}

static int64_t index_of(const sampling *s, int64_t i, int64_t count)
{
    if (s->kind == CUBIC) i = (int64_t)inside(s, (place){(float)i, 1}, count).at;
    return i >= 0 && i < count ? i : -1;
}

/* ---- taps ---- */

/* Keys' kernel at a distance of 0 to 1, and of 1 to 2; and their slopes. */
static void near_part(float d, float *part, float *slope)
{
    const float a = -0.75f;
    *part = ((a + 2) * d - (a + 3)) * d * d + 1;
    *slope = (3 * (a + 2) * d - 2 * (a + 3)) * d;
}

static void far_part(float d, float *part, float *slope)
{
    const float a = -0.75f;
    *part = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
    *slope = (3 * a * d - 10 * a) * d + 8 * a;
}

/* The taps of one dim; returns how many. */
static int find_taps(const sampling *s, float x, int64_t count, tap t[MOST_TAPS])
{
    const place p = place_of(s, x, count);
    if (s->kind == NEAREST) {
        t[0] = (tap){index_of(s, (int64_t)nearbyintf(p.at), count), 1, 0};
        return 1;
    }
    const int64_t first = (int64_t)floorf(p.at);
    const float u = p.at - (float)first;
    if (s->kind == LINEAR) {
        t[0] = (tap){index_of(s, first, count), 1 - u, -p.unit};
        t[1] = (tap){index_of(s, first + 1, count), u, p.unit};
        return 2;
    }
    far_part(u + 1, &t[0].part, &t[0].slope);
    near_part(u, &t[1].part, &t[1].slope);
    near_part(1 - u, &t[2].part, &t[2].slope);
    far_part(2 - u, &t[3].part, &t[3].slope);
    for (int i = 0; i < 4; i++) {
        t[i].at = index_of(s, first - 1 + i, count);
        t[i].slope *= i < 2 ? p.unit : -p.unit;
    }
    return 4;
}

/* What one position of the grid reads; returns how many elements. */
static int join_taps(const sampling *s, const float *grid, joined all[MOST_ALL])
{
    int count = 1;
    all[0] = (joined){.part = 1, .slope = {1, 1, 1}};
    for (int d = 0; d < s->dims; d++) {
        tap t[MOST_TAPS];
        joined before[MOST_ALL];
        const int each = find_taps(s, grid[s->dims - 1 - d], s->in[d], t);
        const int num_before = count;
        memcpy(before, all, sizeof *all * (size_t)count);
        count = 0;
        for (int i = 0; i < num_before; i++)
            for (int k = 0; k < each; k++) {
                if (t[k].at < 0) continue;
                joined *j = &all[count++];
                *j = before[i];
                j->at = j->at * s->in[d] + t[k].at;
                j->part *= t[k].part;
                for (int e = 0; e < s->dims; e++)
                    j->slope[e] *= e == d ? t[k].slope : t[k].part;
            }
    }
    return count;
}

/* ---- loops ---- */

typedef struct {
    const sampling *s;
    const float *x, *grid, *dy;
    float *y, *dx, *dgrid;
} context;

/* Unit: a position of a sample. */
static void forward_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const sampling *s = c->s;
    joined taps[MOST_ALL];
    for (int64_t u = begin; u < end; u++) {
        const int count = join_taps(s, c->grid + u * s->dims, taps);
        const int64_t n = u / s->outputs, o = u % s->outputs;
        for (int64_t k = 0; k < s->channels; k++) {
            const float *x = c->x + (n * s->channels + k) * s->inputs;
            float sum = 0;
            for (int i = 0; i < count; i++) sum += x[taps[i].at] * taps[i].part;
            c->y[(n * s->channels + k) * s->outputs + o] = sum;
        }
    }
}

/* One position's share of both gradients. */
static void spread(const context *c, int64_t n, int64_t o, const joined *taps,
                   int count)
{
    const sampling *s = c->s;
    float slope[AMG_MAX_DIMS] = {0};
    for (int64_t k = 0; k < s->channels; k++) {
        const int64_t channel = n * s->channels + k;
        const float dy = c->dy[channel * s->outputs + o];
        for (int i = 0; i < count; i++) {
            if (c->dx) c->dx[channel * s->inputs + taps[i].at] += dy * taps[i].part;
            if (!c->dgrid) continue;
            const float x = c->x[channel * s->inputs + taps[i].at];
            for (int d = 0; d < s->dims; d++) slope[d] += dy * x * taps[i].slope[d];
        }
    }
    for (int d = 0; c->dgrid && d < s->dims; d++)
        c->dgrid[(n * s->outputs + o) * s->dims + s->dims - 1 - d] = slope[d];
}

/* Unit: a sample, whose elements no other one reads. */
static void backward_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const sampling *s = c->s;
    joined taps[MOST_ALL];
    const int64_t size = s->channels * s->inputs;
    for (int64_t n = begin; n < end; n++) {
        if (c->dx) memset(c->dx + n * size, 0, sizeof(float) * (size_t)size);
        for (int64_t o = 0; o < s->outputs; o++) {
            const int count =
                join_taps(s, c->grid + (n * s->outputs + o) * s->dims, taps);
            spread(c, n, o, taps, count);
        }
    }
}

/* ptr: y, x, grid. */
static void run_forward(const amg_call *call)
{
    const sampling *s = call->self;
    context c = {.s = s, .y = call->ptr[0], .x = call->ptr[1], .grid = call->ptr[2]};
    amg_parallel_for(s->n * s->outputs, 64, forward_range, &c);
}

/* ptr: dx, dy, grid. */
static void run_to_input(const amg_call *call)
{
    const sampling *s = call->self;
    context c = {.s = s, .dx = call->ptr[0], .dy = call->ptr[1], .grid = call->ptr[2]};
    amg_parallel_for(s->n, 1, backward_range, &c);
}

/* ptr: dgrid, dy, grid, x. */
static void run_to_grid(const amg_call *call)
{
    const sampling *s = call->self;
    context c = {.s = s,
                 .dgrid = call->ptr[0],
                 .dy = call->ptr[1],
                 .grid = call->ptr[2],
                 .x = call->ptr[3]};
    amg_parallel_for(s->n, 1, backward_range, &c);
}

/* ---- emitting ---- */

static int read_plain(amg_plan *p, int node, int i)
{
    const int value = amg_plan_input_value(p, node, i);
    return amg_plan_read(p, node, value, amg_plan_plain(p, value));
}

static interpolation kind_of(const amg_node *n)
{
    const char *mode = amg_attr_string(n, "mode", "linear");
    return strcmp(mode, "nearest") == 0 ? NEAREST
           : strcmp(mode, "cubic") == 0 ? CUBIC
                                        : LINEAR;
}

static padding padding_of(const amg_node *n)
{
    const char *mode = amg_attr_string(n, "padding_mode", "zeros");
    return strcmp(mode, "border") == 0       ? BORDER
           : strcmp(mode, "reflection") == 0 ? REFLECTION
                                             : ZEROS;
}

void amg_grid_sample_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_value *x = amg_plan_value(p, n->inputs[0]);
    const amg_value *y = amg_plan_value(p, n->outputs[0]);
    sampling *s = amg_plan_alloc(p, 1, sizeof *s);
    if (!s) return;
    *s = (sampling){.dims = x->rank - 2,
                    .kind = kind_of(n),
                    .outside = padding_of(n),
                    .align = amg_attr_int(n, "align_corners", 0) != 0,
                    .n = x->dims[0],
                    .channels = x->dims[1],
                    .inputs = 1,
                    .outputs = 1};
    for (int d = 0; d < s->dims; d++) {
        s->in[d] = x->dims[2 + d];
        s->inputs *= x->dims[2 + d];
        s->outputs *= y->dims[2 + d];
    }
    p->nodes[node].self = s;
    int in[2] = {read_plain(p, node, 0), read_plain(p, node, 1)};
    int out = amg_plan_define(p, n->outputs[0], amg_plan_plain(p, n->outputs[0]));
    amg_emit_kernel(p, node, "grid sample", run_forward, s, 3,
                    (int[]){out, in[0], in[1]});
}

void amg_grid_sample_backward(amg_plan *p, int node)
{
    for (int i = 0; i < 2; i++) {
        const int value = amg_plan_input_value(p, node, i);
        if (!amg_plan_needs_grad(p, value)) continue;
        const amg_layout *plain = amg_plan_plain(p, value);
        int dy = amg_plan_grad(p, node, NULL);
        int d = amg_plan_grad_target(p, value, plain);
        int buffers[4] = {d, dy, read_plain(p, node, 1), read_plain(p, node, 0)};
        amg_emit_kernel(p, node, i ? "grid sample d-grid" : "grid sample d-input",
                        i ? run_to_grid : run_to_input, p->nodes[node].self, i ? 4 : 3,
                        buffers);
        amg_plan_give_grad(p, node, value, d, plain);
    }
}
