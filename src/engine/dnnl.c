/* oneDNN behind amg_layout and amg_primitive: the only file that calls oneDNN, and the
 * only one that knows which version it is.
 *
 * What differs between versions: in 2.x a memory descriptor is a struct and a primitive
 * is made in two steps (operation descriptor, primitive descriptor); in 3.x it is a
 * handle and one call does both, Winograd is gone. The #if blocks below hold exactly
 * that; everything above them is common. More than 500 lines because of it. */
#include "engine/dnnl.h"

#include <math.h>
#include <oneapi/dnnl/dnnl.h>
#include <oneapi/dnnl/dnnl_version.h>
#include <string.h>

#include "base/alloc.h"
#include "base/signal_stack.h"
#include "base/tensor.h"

#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t md_t;
typedef const_dnnl_memory_desc_t md_ref;
#else
typedef dnnl_memory_desc_t md_t;
typedef const dnnl_memory_desc_t *md_ref;
#endif

struct amg_layout {
    md_t md;
    int rank;
    size_t bytes;
    bool known; /* geometry is valid */
    amg_geometry geometry;
    int blocking; /* index among blockings, -1: row-major or unknown */
};

struct amg_primitive {
    dnnl_primitive_desc_t pd;
    dnnl_primitive_t handle;
    const amg_layout *layouts[AMG_ARG_COUNT]; /* NULL: no such argument */
    int num_args;
    amg_arg kinds[AMG_ARG_COUNT]; /* of args, which oneDNN wants dense */
    dnnl_exec_arg_t args[AMG_ARG_COUNT];
    dnnl_stream_t stream;
    const char *name;
};

struct amg_dnnl {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_attr_t attr;
    int num_layouts, num_primitives;
    amg_layout **layouts;
    amg_primitive **primitives;
};

/* For primitives that multiply in bf16. */
static void hint_bf16(amg_error *err, amg_status status)
{
    if (status == AMG_UNSUPPORTED)
        amg_hint(err, "bf16 needs a processor with AVX-512; f32 runs everywhere");
}

static amg_status fail_backend(amg_error *err, dnnl_status_t status, const char *what)
{
    if (status == dnnl_unimplemented)
        return amg_fail(err, AMG_UNSUPPORTED, -1, what, "oneDNN has no implementation");
    if (status == dnnl_out_of_memory)
        return amg_fail(err, AMG_NO_MEMORY, -1, what, "oneDNN ran out of memory");
    return amg_fail(err, AMG_BACKEND, -1, what, "oneDNN failed with status %d",
                    (int)status);
}

/* ---- memory descriptors, per version ----------------------------------------------
 */

#if DNNL_VERSION_MAJOR >= 3

static md_ref md_of(const amg_layout *l) { return l->md; }
static void md_clear(md_t *md)
{
    if (*md) (void)dnnl_memory_desc_destroy(*md);
}
static bool md_tagged(md_t *md, int rank, const int64_t *dims, dnnl_format_tag_t tag,
                      dnnl_data_type_t type)
{
    dnnl_dims_t d = {0};
    memcpy(d, dims, sizeof *dims * (size_t)rank);
    return dnnl_memory_desc_create_with_tag(md, rank, d, type, tag) == dnnl_success;
}
static bool md_copy(md_t *md, md_ref from)
{
    return dnnl_memory_desc_clone(md, from) == dnnl_success;
}
static int md_rank(md_ref md)
{
    int rank = 0;
    (void)dnnl_memory_desc_query(md, dnnl_query_ndims_s32, &rank);
    return rank;
}
static const int64_t *md_dims(md_ref md)
{
    dnnl_dims_t *dims = NULL;
    (void)dnnl_memory_desc_query(md, dnnl_query_dims, &dims);
    return *dims;
}
static bool md_is_any(md_ref md)
{
    dnnl_format_kind_t kind = dnnl_format_kind_undef;
    (void)dnnl_memory_desc_query(md, dnnl_query_format_kind, &kind);
    return kind == dnnl_format_kind_any;
}

#else

static md_ref md_of(const amg_layout *l) { return &l->md; }
static void md_clear(md_t *md) { (void)md; }
static bool md_tagged(md_t *md, int rank, const int64_t *dims, dnnl_format_tag_t tag,
                      dnnl_data_type_t type)
{
    dnnl_dims_t d = {0};
    memcpy(d, dims, sizeof *dims * (size_t)rank);
    return dnnl_memory_desc_init_by_tag(md, rank, d, type, tag) == dnnl_success;
}
static bool md_copy(md_t *md, md_ref from)
{
    *md = *from;
    return true;
}
static int md_rank(md_ref md) { return md->ndims; }
static const int64_t *md_dims(md_ref md) { return md->dims; }
static bool md_is_any(md_ref md) { return md->format_kind == dnnl_format_kind_any; }

#endif

/* ---- layouts ----------------------------------------------------------------------
 */

static const dnnl_format_tag_t plain_tags[] = {
    dnnl_format_tag_undef, dnnl_a,      dnnl_ab, dnnl_abc, dnnl_abcd, dnnl_abcde,
    dnnl_abcdef,           dnnl_abcdefg};
#define MAX_PLAIN_RANK 7

/* Channel blockings by rank: of one, two and three spatial dims. */
#define MIN_BLOCKED_RANK 3
#define MAX_BLOCKED_RANK 5
static const struct {
    dnnl_format_tag_t tag[MAX_BLOCKED_RANK - MIN_BLOCKED_RANK + 1];
    int64_t block; /* 0: all channels */
    const char *name;
} blockings[] = {
    {{dnnl_nCw16c, dnnl_nChw16c, dnnl_nCdhw16c}, 16, "nChw16c"},
    {{dnnl_nCw8c, dnnl_nChw8c, dnnl_nCdhw8c}, 8, "nChw8c"},
    {{dnnl_nCw4c, dnnl_nChw4c, dnnl_nCdhw4c}, 4, "nChw4c"}, /* grouped convolutions */
    {{dnnl_nwc, dnnl_nhwc, dnnl_ndhwc}, 0, "nhwc"},
};
#define NUM_BLOCKINGS ((int)(sizeof blockings / sizeof *blockings))

/* Does md place its elements, floats, as tag would? */
static bool md_matches(md_ref md, dnnl_format_tag_t tag)
{
    md_t other;
    if (!md_tagged(&other, md_rank(md), md_dims(md), tag, dnnl_f32)) return false;
#if DNNL_VERSION_MAJOR >= 3
    bool same = dnnl_memory_desc_equal(md, other);
#else
    bool same = dnnl_memory_desc_equal(md, &other);
#endif
    md_clear(&other);
    return same;
}

/* Index of md's channel blocking, -1 if it has none. */
static int find_blocking(md_ref md)
{
    const int rank = md_rank(md);
    if (rank < MIN_BLOCKED_RANK || rank > MAX_BLOCKED_RANK) return -1;
    for (int i = 0; i < NUM_BLOCKINGS; i++)
        if (md_matches(md, blockings[i].tag[rank - MIN_BLOCKED_RANK])) return i;
    return -1;
}

static void find_geometry(amg_layout *l)
{
    md_ref md = md_of(l);
    const int64_t *dims = md_dims(md);
    amg_geometry g = {.n = dims[0], .channels = 1, .spatial = 1, .block = 1};
    if (l->rank > 1) g.channels = dims[1];
    for (int i = 2; i < l->rank; i++) g.spatial *= dims[i];
    l->blocking = -1;
    if (l->rank <= MAX_PLAIN_RANK && md_matches(md, plain_tags[l->rank])) {
        l->known = true;
    } else if ((l->blocking = find_blocking(md)) >= 0) {
        l->known = true;
        g.block = blockings[l->blocking].block;
        if (g.block == 0) g.block = g.channels;
    }
    g.blocks = (g.channels + g.block - 1) / g.block;
    l->geometry = g;
}

/* The interned layout of md, which is copied. */
static const amg_layout *intern(amg_dnnl *d, md_ref md)
{
    for (int i = 0; i < d->num_layouts; i++)
        if (dnnl_memory_desc_equal(md_of(d->layouts[i]), md)) return d->layouts[i];
    amg_layout **grown =
        amg_realloc(d->layouts, sizeof(amg_layout *) * ((size_t)d->num_layouts + 1));
    if (!grown) return NULL;
    d->layouts = grown;
    amg_layout *l = amg_calloc(1, sizeof *l);
    if (!l) return NULL;
    if (!md_copy(&l->md, md)) {
        amg_free(l);
        return NULL;
    }
    l->rank = md_rank(md);
    if (!md_is_any(md)) {
        l->bytes = dnnl_memory_desc_get_size(md);
        find_geometry(l);
    }
    d->layouts[d->num_layouts++] = l;
    return l;
}

static const amg_layout *typed(amg_dnnl *d, int rank, const int64_t *dims,
                               dnnl_format_tag_t tag, dnnl_data_type_t type)
{
    md_t md;
    if (!md_tagged(&md, rank, dims, tag, type)) return NULL;
#if DNNL_VERSION_MAJOR >= 3
    const amg_layout *l = intern(d, md);
#else
    const amg_layout *l = intern(d, &md);
#endif
    md_clear(&md);
    return l;
}

static const amg_layout *tagged(amg_dnnl *d, int rank, const int64_t *dims,
                                dnnl_format_tag_t tag)
{
    return typed(d, rank, dims, tag, dnnl_f32);
}

const amg_layout *amg_layout_plain(amg_dnnl *d, int rank, const int64_t *dims)
{
    int64_t one = 1, folded[MAX_PLAIN_RANK];
    if (rank == 0) return tagged(d, 1, &one, dnnl_a);
    if (rank <= MAX_PLAIN_RANK) return tagged(d, rank, dims, plain_tags[rank]);
    memcpy(folded, dims, sizeof folded);
    for (int i = MAX_PLAIN_RANK; i < rank; i++) folded[MAX_PLAIN_RANK - 1] *= dims[i];
    return tagged(d, MAX_PLAIN_RANK, folded, plain_tags[MAX_PLAIN_RANK]);
}

const amg_layout *amg_layout_transposed(amg_dnnl *d, int64_t rows, int64_t columns)
{
    return tagged(d, 2, (int64_t[]){rows, columns}, dnnl_ba);
}

const amg_layout *amg_layout_bf16_matrix(amg_dnnl *d, int64_t rows, int64_t columns,
                                         bool transposed)
{
    return typed(d, 2, (int64_t[]){rows, columns}, transposed ? dnnl_ba : dnnl_ab,
                 dnnl_bf16);
}

const amg_layout *amg_layout_blocked_like(amg_dnnl *d, const amg_layout *like, int rank,
                                          const int64_t *dims)
{
    if (!like->known || like->geometry.block == 1 || rank < MIN_BLOCKED_RANK ||
        rank > MAX_BLOCKED_RANK)
        return amg_layout_plain(d, rank, dims);
    return tagged(d, rank, dims,
                  blockings[like->blocking].tag[rank - MIN_BLOCKED_RANK]);
}

size_t amg_layout_bytes(const amg_layout *l) { return l->bytes; }

bool amg_layout_geometry(const amg_layout *l, amg_geometry *out)
{
    if (l->known) *out = l->geometry;
    return l->known;
}

bool amg_layout_is_row_major(const amg_layout *l)
{
    const amg_geometry *g = &l->geometry;
    if (!l->known) return false;
    return g->block == 1 || (g->spatial == 1 && g->blocks * g->block == g->channels);
}

bool amg_layout_is_channels_last(const amg_layout *l)
{
    return l->known && l->blocking >= 0 && blockings[l->blocking].block == 0;
}

/* Whether two activations lie in the same channel blocks, whatever their ranks. */
static bool same_blocks(const amg_layout *a, const amg_layout *b)
{
    const amg_geometry *x = &a->geometry, *y = &b->geometry;
    return a->known && b->known && x->n == y->n && x->channels == y->channels &&
           x->spatial == y->spatial && x->block == y->block;
}

bool amg_layout_same_bytes(const amg_layout *a, const amg_layout *b)
{
    return a == b || (amg_layout_is_row_major(a) && amg_layout_is_row_major(b)) ||
           same_blocks(a, b);
}

const char *amg_layout_name(const amg_layout *l)
{
    if (!l->known) return "blocked";
    return l->geometry.block == 1 ? "plain" : blockings[l->blocking].name;
}

/* ---- context ----------------------------------------------------------------------
 */

amg_status amg_dnnl_new(amg_dnnl **out, amg_error *err)
{
    amg_dnnl *d = amg_calloc(1, sizeof *d);
    if (!d)
        return amg_fail(err, AMG_NO_MEMORY, -1, "oneDNN", "no memory for a context");
    dnnl_status_t s = dnnl_engine_create(&d->engine, dnnl_cpu, 0);
    if (!s) s = dnnl_stream_create(&d->stream, d->engine, dnnl_stream_default_flags);
    if (!s) s = dnnl_primitive_attr_create(&d->attr);
    if (!s)
        s = dnnl_primitive_attr_set_scratchpad_mode(d->attr, dnnl_scratchpad_mode_user);
    if (s) {
        amg_dnnl_free(d);
        return fail_backend(err, s, "oneDNN");
    }
    *out = d;
    return AMG_OK;
}

static void primitive_free(amg_primitive *p)
{
    for (int i = 0; i < p->num_args; i++)
        if (p->args[i].memory) (void)dnnl_memory_destroy(p->args[i].memory);
    if (p->handle) (void)dnnl_primitive_destroy(p->handle);
    if (p->pd) (void)dnnl_primitive_desc_destroy(p->pd);
    amg_free(p);
}

void amg_dnnl_free(amg_dnnl *d)
{
    if (!d) return;
    for (int i = 0; i < d->num_primitives; i++) primitive_free(d->primitives[i]);
    for (int i = 0; i < d->num_layouts; i++) {
        md_clear(&d->layouts[i]->md);
        amg_free(d->layouts[i]);
    }
    amg_free(d->primitives);
    amg_free(d->layouts);
    if (d->attr) (void)dnnl_primitive_attr_destroy(d->attr);
    if (d->stream) (void)dnnl_stream_destroy(d->stream);
    if (d->engine) (void)dnnl_engine_destroy(d->engine);
    amg_free(d);
}

/* ---- primitives -------------------------------------------------------------------
 */

static const int arg_ids[AMG_ARG_COUNT] = {
    [AMG_ARG_SRC] = DNNL_ARG_SRC,
    [AMG_ARG_DST] = DNNL_ARG_DST,
    [AMG_ARG_WEIGHTS] = DNNL_ARG_WEIGHTS,
    [AMG_ARG_BIAS] = DNNL_ARG_BIAS,
    [AMG_ARG_MEAN] = DNNL_ARG_MEAN,
    [AMG_ARG_VARIANCE] = DNNL_ARG_VARIANCE,
    [AMG_ARG_SCALE] = DNNL_ARG_SCALE,
    [AMG_ARG_SHIFT] = DNNL_ARG_SHIFT,
    [AMG_ARG_WORKSPACE] = DNNL_ARG_WORKSPACE,
    [AMG_ARG_SCRATCH] = DNNL_ARG_SCRATCHPAD,
    [AMG_ARG_DIFF_SRC] = DNNL_ARG_DIFF_SRC,
    [AMG_ARG_DIFF_DST] = DNNL_ARG_DIFF_DST,
    [AMG_ARG_DIFF_WEIGHTS] = DNNL_ARG_DIFF_WEIGHTS,
    [AMG_ARG_DIFF_BIAS] = DNNL_ARG_DIFF_BIAS,
    [AMG_ARG_DIFF_SCALE] = DNNL_ARG_DIFF_SCALE,
    [AMG_ARG_DIFF_SHIFT] = DNNL_ARG_DIFF_SHIFT,
};

bool amg_dnnl_is_reference(const char *implementation)
{
    const char *part = strstr(implementation, "ref"); /* ref:any, gemm:ref, bnorm_ref */
    return part && (part == implementation || part[-1] == ':' || part[-1] == '_');
}

/* A query that finds nothing: NULL in 2.x or a descriptor of rank 0. */
static bool md_present(md_ref md) { return md && md_rank(md) > 0; }

/* Fills p's arguments from its descriptor. */
static amg_status find_args(amg_dnnl *d, amg_primitive *p, const amg_layout *scale,
                            amg_error *err)
{
    for (int i = 0; i < AMG_ARG_COUNT; i++) {
        md_ref md =
            dnnl_primitive_desc_query_md(p->pd, dnnl_query_exec_arg_md, arg_ids[i]);
        const amg_layout *l = md_present(md) ? intern(d, md) : NULL;
        if (md_present(md) && !l)
            return amg_fail(err, AMG_NO_MEMORY, -1, p->name, "no memory for a layout");
        /* 2.x describes scale and shift as one [2, C] tensor whatever the flags. */
        bool vector = i == AMG_ARG_SCALE || i == AMG_ARG_SHIFT ||
                      i == AMG_ARG_DIFF_SCALE || i == AMG_ARG_DIFF_SHIFT;
        if (vector &&
            (l || (scale && i != AMG_ARG_DIFF_SCALE && i != AMG_ARG_DIFF_SHIFT)))
            l = scale;
        if (!l || l->bytes == 0) continue;
        p->layouts[i] = l;
        p->kinds[p->num_args] = (amg_arg)i;
        dnnl_exec_arg_t *arg = &p->args[p->num_args];
        arg->arg = arg_ids[i];
        dnnl_status_t s =
            dnnl_memory_create(&arg->memory, md_of(l), d->engine, DNNL_MEMORY_NONE);
        if (s) return fail_backend(err, s, p->name);
        p->num_args++;
    }
    return AMG_OK;
}

/* Wraps pd, which it owns from here on. scale: the layout of SCALE and SHIFT, for batch
 * normalisation only. */
static amg_status wrap(amg_dnnl *d, dnnl_primitive_desc_t pd, const amg_layout *scale,
                       bool allow_reference, const char *what, amg_primitive **out,
                       amg_error *err)
{
    amg_primitive **grown =
        amg_realloc(d->primitives, sizeof *grown * ((size_t)d->num_primitives + 1));
    if (grown) d->primitives = grown;
    amg_primitive *p = grown ? amg_calloc(1, sizeof *p) : NULL;
    if (!p) {
        (void)dnnl_primitive_desc_destroy(pd);
        return amg_fail(err, AMG_NO_MEMORY, -1, what, "no memory for a primitive");
    }
    p->pd = pd;
    p->stream = d->stream;
    p->name = "";
    (void)dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &p->name);
    amg_status status = AMG_OK;
    if (!allow_reference && amg_dnnl_is_reference(p->name))
        status =
            amg_fail(err, AMG_UNSUPPORTED, -1, what,
                     "oneDNN has only the reference implementation \"%s\"", p->name);
    if (!status) status = find_args(d, p, scale, err);
    if (!status) {
        dnnl_status_t s = dnnl_primitive_create(&p->handle, pd);
        if (s) status = fail_backend(err, s, what);
    }
    if (status) {
        primitive_free(p);
        return status;
    }
    d->primitives[d->num_primitives++] = p;
    *out = p;
    return AMG_OK;
}

const amg_layout *amg_primitive_layout(const amg_primitive *p, amg_arg arg)
{
    return p->layouts[arg];
}

const char *amg_primitive_name(const amg_primitive *p) { return p->name; }

amg_status amg_primitive_bind(amg_primitive *p, amg_arg arg, void *data, amg_error *err)
{
    for (int i = 0; i < p->num_args; i++) {
        if (p->kinds[i] != arg) continue;
        dnnl_status_t s = dnnl_memory_set_data_handle(p->args[i].memory, data);
        return s ? fail_backend(err, s, p->name) : AMG_OK;
    }
    return amg_fail(err, AMG_INVALID, -1, p->name, "the primitive has no argument %d",
                    (int)arg);
}

amg_status amg_primitive_run(const amg_primitive *p, amg_error *err)
{
    amg_signal_stacks();
    dnnl_status_t s =
        dnnl_primitive_execute(p->handle, p->stream, p->num_args, p->args);
    return s ? fail_backend(err, s, p->name) : AMG_OK;
}

/* ---- primitive descriptors, per version -------------------------------------------
 */

/* What a descriptor is made of: dims as oneDNN wants them, layouts, the forward hint.
 */
typedef struct {
    amg_pass pass;
    dnnl_alg_kind_t alg;
    const amg_layout *src, *weights, *bias, *dst;
    dnnl_dims_t strides, kernel, dilates, pad_begin, pad_end;
    const_dnnl_primitive_desc_t hint;
} request;

#if DNNL_VERSION_MAJOR >= 3

static md_ref md_or_null(const amg_layout *l) { return l ? l->md : NULL; }

static dnnl_status_t conv_desc(const amg_dnnl *d, const request *r,
                               dnnl_primitive_desc_t *pd)
{
    md_ref src = md_of(r->src), weights = md_of(r->weights), dst = md_of(r->dst);
    if (r->alg == dnnl_convolution_winograd)
        return dnnl_unimplemented; /* no x64 code */
    if (r->pass == AMG_PASS_FORWARD)
        return dnnl_convolution_forward_primitive_desc_create(
            pd, d->engine, dnnl_forward_training, r->alg, src, weights,
            md_or_null(r->bias), dst, r->strides, r->dilates, r->pad_begin, r->pad_end,
            d->attr);
    if (r->pass == AMG_PASS_BACKWARD_DATA)
        return dnnl_convolution_backward_data_primitive_desc_create(
            pd, d->engine, r->alg, src, weights, dst, r->strides, r->dilates,
            r->pad_begin, r->pad_end, r->hint, d->attr);
    return dnnl_convolution_backward_weights_primitive_desc_create(
        pd, d->engine, r->alg, src, weights, md_or_null(r->bias), dst, r->strides,
        r->dilates, r->pad_begin, r->pad_end, r->hint, d->attr);
}

static dnnl_status_t inner_desc(const amg_dnnl *d, const request *r,
                                dnnl_primitive_desc_t *pd)
{
    md_ref src = md_of(r->src), weights = md_of(r->weights), dst = md_of(r->dst);
    if (r->pass == AMG_PASS_FORWARD)
        return dnnl_inner_product_forward_primitive_desc_create(
            pd, d->engine, dnnl_forward_training, src, weights, md_or_null(r->bias),
            dst, d->attr);
    if (r->pass == AMG_PASS_BACKWARD_DATA)
        return dnnl_inner_product_backward_data_primitive_desc_create(
            pd, d->engine, src, weights, dst, r->hint, d->attr);
    return dnnl_inner_product_backward_weights_primitive_desc_create(
        pd, d->engine, src, weights, md_or_null(r->bias), dst, r->hint, d->attr);
}

static dnnl_status_t pool_desc(const amg_dnnl *d, const request *r, bool training,
                               dnnl_primitive_desc_t *pd)
{
    dnnl_dims_t none = {0};
    if (r->pass == AMG_PASS_FORWARD)
        return dnnl_pooling_forward_primitive_desc_create(
            pd, d->engine, training ? dnnl_forward_training : dnnl_forward_inference,
            r->alg, md_of(r->src), md_of(r->dst), r->strides, r->kernel, none,
            r->pad_begin, r->pad_end, d->attr);
    return dnnl_pooling_backward_primitive_desc_create(
        pd, d->engine, r->alg, md_of(r->src), md_of(r->dst), r->strides, r->kernel,
        none, r->pad_begin, r->pad_end, r->hint, d->attr);
}

static dnnl_status_t norm_desc(const amg_dnnl *d, const request *r, bool training,
                               float epsilon, unsigned flags, dnnl_primitive_desc_t *pd)
{
    md_ref data = md_of(r->src);
    if (r->pass == AMG_PASS_FORWARD)
        return dnnl_batch_normalization_forward_primitive_desc_create(
            pd, d->engine, training ? dnnl_forward_training : dnnl_forward_inference,
            data, data, epsilon, flags, d->attr);
    return dnnl_batch_normalization_backward_primitive_desc_create(
        pd, d->engine, dnnl_backward, data, data, data, epsilon, flags, r->hint,
        d->attr);
}

#else

static md_ref md_or_null(const amg_layout *l) { return l ? &l->md : NULL; }

static dnnl_status_t conv_desc(const amg_dnnl *d, const request *r,
                               dnnl_primitive_desc_t *pd)
{
    dnnl_convolution_desc_t desc;
    dnnl_status_t s;
    md_ref src = md_of(r->src), weights = md_of(r->weights), dst = md_of(r->dst);
    if (r->pass == AMG_PASS_FORWARD)
        s = dnnl_dilated_convolution_forward_desc_init(
            &desc, dnnl_forward_training, r->alg, src, weights, md_or_null(r->bias),
            dst, r->strides, r->dilates, r->pad_begin, r->pad_end);
    else if (r->pass == AMG_PASS_BACKWARD_DATA)
        s = dnnl_dilated_convolution_backward_data_desc_init(
            &desc, r->alg, src, weights, dst, r->strides, r->dilates, r->pad_begin,
            r->pad_end);
    else
        s = dnnl_dilated_convolution_backward_weights_desc_init(
            &desc, r->alg, src, weights, md_or_null(r->bias), dst, r->strides,
            r->dilates, r->pad_begin, r->pad_end);
    return s ? s : dnnl_primitive_desc_create(pd, &desc, d->attr, d->engine, r->hint);
}

static dnnl_status_t inner_desc(const amg_dnnl *d, const request *r,
                                dnnl_primitive_desc_t *pd)
{
    dnnl_inner_product_desc_t desc;
    dnnl_status_t s;
    md_ref src = md_of(r->src), weights = md_of(r->weights), dst = md_of(r->dst);
    if (r->pass == AMG_PASS_FORWARD)
        s = dnnl_inner_product_forward_desc_init(&desc, dnnl_forward_training, src,
                                                 weights, md_or_null(r->bias), dst);
    else if (r->pass == AMG_PASS_BACKWARD_DATA)
        s = dnnl_inner_product_backward_data_desc_init(&desc, src, weights, dst);
    else
        s = dnnl_inner_product_backward_weights_desc_init(&desc, src, weights,
                                                          md_or_null(r->bias), dst);
    return s ? s : dnnl_primitive_desc_create(pd, &desc, d->attr, d->engine, r->hint);
}

static dnnl_status_t pool_desc(const amg_dnnl *d, const request *r, bool training,
                               dnnl_primitive_desc_t *pd)
{
    dnnl_pooling_desc_t desc;
    dnnl_status_t s;
    if (r->pass == AMG_PASS_FORWARD)
        s = dnnl_pooling_forward_desc_init(
            &desc, training ? dnnl_forward_training : dnnl_forward_inference, r->alg,
            md_of(r->src), md_of(r->dst), r->strides, r->kernel, r->pad_begin,
            r->pad_end);
    else
        s = dnnl_pooling_backward_desc_init(&desc, r->alg, md_of(r->src), md_of(r->dst),
                                            r->strides, r->kernel, r->pad_begin,
                                            r->pad_end);
    return s ? s : dnnl_primitive_desc_create(pd, &desc, d->attr, d->engine, r->hint);
}

static dnnl_status_t norm_desc(const amg_dnnl *d, const request *r, bool training,
                               float epsilon, unsigned flags, dnnl_primitive_desc_t *pd)
{
    dnnl_batch_normalization_desc_t desc;
    dnnl_status_t s;
    md_ref data = md_of(r->src);
    if (r->pass == AMG_PASS_FORWARD)
        s = dnnl_batch_normalization_forward_desc_init(
            &desc, training ? dnnl_forward_training : dnnl_forward_inference, data,
            epsilon, flags);
    else
        s = dnnl_batch_normalization_backward_desc_init(&desc, dnnl_backward, data,
                                                        data, epsilon, flags);
    return s ? s : dnnl_primitive_desc_create(pd, &desc, d->attr, d->engine, r->hint);
}

#endif

/* ---- makers -----------------------------------------------------------------------
 */

static void set_dims(dnnl_dims_t out, int num_dims, const int64_t *in)
{
    for (int i = 0; i < num_dims; i++) out[i] = in[i];
}

/* The layout, or oneDNN's choice for these dims. */
static const amg_layout *or_any(amg_dnnl *d, const amg_layout *l, int rank,
                                const int64_t *dims, bool bf16)
{
    return l ? l
             : typed(d, rank, dims, dnnl_format_tag_any, bf16 ? dnnl_bf16 : dnnl_f32);
}

amg_status amg_dnnl_conv(amg_dnnl *d, amg_pass pass, const amg_conv_shape *shape,
                         const amg_layout *src, const amg_layout *weights,
                         const amg_layout *dst, const amg_primitive *forward,
                         amg_primitive **out, amg_error *err)
{
    const amg_conv_shape *s = shape;
    const int dims = s->num_dims;
    int64_t g = s->groups, oc = s->out_channels;
    int64_t in[2 + AMG_MAX_DIMS] = {s->n, s->in_channels};
    int64_t to[2 + AMG_MAX_DIMS] = {s->n, oc};
    int64_t grouped[3 + AMG_MAX_DIMS] = {g, oc / g, s->in_channels / g};
    int skip = g == 1; /* a dense convolution has no group dim */
    request r = {.pass = pass, .hint = forward ? forward->pd : NULL};
    for (int i = 0; i < dims; i++) {
        in[2 + i] = s->in[i];
        to[2 + i] = s->out[i];
        grouped[3 + i] = s->kernel[i];
        r.dilates[i] = s->dilation[i] - 1; /* oneDNN: 0 = none */
    }
    /* What is read is bf16, what is written f32. */
    const bool bf16 = s->bf16;
    r.src = or_any(d, src, 2 + dims, in, bf16 && pass != AMG_PASS_BACKWARD_DATA);
    r.weights = or_any(d, weights, 3 + dims - skip, grouped + skip,
                       bf16 && pass != AMG_PASS_BACKWARD_WEIGHTS);
    r.dst = or_any(d, dst, 2 + dims, to, bf16 && pass != AMG_PASS_FORWARD);
    if (s->bias) r.bias = amg_layout_plain(d, 1, &oc);
    if (!r.src || !r.weights || !r.dst || (s->bias && !r.bias))
        return amg_fail(err, AMG_NO_MEMORY, -1, "Conv", "no memory for layouts");
    set_dims(r.strides, dims, s->stride);
    set_dims(r.pad_begin, dims, s->pad_begin);
    set_dims(r.pad_end, dims, s->pad_end);

    dnnl_primitive_desc_t pd = NULL;
    dnnl_status_t status = dnnl_unimplemented;
    r.alg = dnnl_convolution_winograd;
    if (s->winograd) status = conv_desc(d, &r, &pd);
    r.alg = dnnl_convolution_direct;
    if (status) status = conv_desc(d, &r, &pd);
    amg_status st = status ? fail_backend(err, status, "Conv")
                           : wrap(d, pd, NULL, false, "Conv", out, err);
    if (s->bf16) hint_bf16(err, st);
    return st;
}

amg_status amg_dnnl_inner(amg_dnnl *d, amg_pass pass, bool bias, const amg_layout *src,
                          const amg_layout *weights, const amg_layout *dst,
                          const amg_primitive *forward, amg_primitive **out,
                          amg_error *err)
{
    request r = {.pass = pass,
                 .src = src,
                 .weights = weights,
                 .dst = dst,
                 .hint = forward ? forward->pd : NULL};
    if (bias) {
        r.bias = amg_layout_plain(d, 1, &dst->geometry.channels);
        if (!r.bias)
            return amg_fail(err, AMG_NO_MEMORY, -1, "Gemm", "no memory for layouts");
    }
    dnnl_primitive_desc_t pd = NULL;
    dnnl_status_t status = inner_desc(d, &r, &pd);
    if (status) return fail_backend(err, status, "Gemm");
    return wrap(d, pd, NULL, false, "Gemm", out, err);
}

static const dnnl_alg_kind_t pool_algs[] = {
    [AMG_POOL_MAX] = dnnl_pooling_max,
    [AMG_POOL_AVERAGE] = dnnl_pooling_avg_exclude_padding,
    [AMG_POOL_AVERAGE_PADDED] = dnnl_pooling_avg_include_padding,
};

amg_status amg_dnnl_pool(amg_dnnl *d, const amg_pool_shape *shape,
                         const amg_layout *src, const amg_layout *dst, bool training,
                         const amg_primitive *forward, amg_primitive **out,
                         amg_error *err)
{
    request r = {.pass = forward ? AMG_PASS_BACKWARD_DATA : AMG_PASS_FORWARD,
                 .alg = pool_algs[shape->kind],
                 .src = src,
                 .dst = dst,
                 .hint = forward ? forward->pd : NULL};
    set_dims(r.strides, shape->num_dims, shape->stride);
    set_dims(r.kernel, shape->num_dims, shape->kernel);
    set_dims(r.pad_begin, shape->num_dims, shape->pad_begin);
    set_dims(r.pad_end, shape->num_dims, shape->pad_end);
    dnnl_primitive_desc_t pd = NULL;
    dnnl_status_t status = pool_desc(d, &r, training, &pd);
    if (status) return fail_backend(err, status, "pooling");
    return wrap(d, pd, NULL, false, "pooling", out, err);
}

amg_status amg_dnnl_norm(amg_dnnl *d, const amg_norm_shape *shape,
                         const amg_layout *data, const amg_primitive *forward,
                         amg_primitive **out, amg_error *err)
{
    request r = {.pass = forward ? AMG_PASS_BACKWARD_DATA : AMG_PASS_FORWARD,
                 .src = data,
                 .hint = forward ? forward->pd : NULL};
    const amg_layout *scale = amg_layout_plain(d, 1, &data->geometry.channels);
    if (!scale)
        return amg_fail(err, AMG_NO_MEMORY, -1, "BatchNormalization",
                        "no memory for layouts");
    unsigned flags = dnnl_use_scale | dnnl_use_shift;
    if (shape->fuse_relu) flags |= dnnl_fuse_norm_relu;
    /* Forward always takes statistics: our own sums are exact, oneDNN's run in f32. */
    if (!shape->training || shape->fixed || !forward) flags |= dnnl_use_global_stats;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_status_t status =
        norm_desc(d, &r, shape->training, shape->epsilon, flags, &pd);
    if (status) return fail_backend(err, status, "BatchNormalization");
    return wrap(d, pd, scale, false, "BatchNormalization", out, err);
}

amg_status amg_dnnl_reorder(amg_dnnl *d, const amg_layout *from, const amg_layout *to,
                            bool allow_reference, amg_primitive **out, amg_error *err)
{
    dnnl_primitive_desc_t pd = NULL;
    dnnl_status_t status = dnnl_reorder_primitive_desc_create(
        &pd, md_of(from), d->engine, md_of(to), d->engine, d->attr);
    if (status) return fail_backend(err, status, "reorder");
    return wrap(d, pd, NULL, allow_reference, "reorder", out, err);
}

void amg_dnnl_gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k,
                   const float *a, int64_t lda, const float *b, int64_t ldb, float beta,
                   float *c, int64_t ldc)
{
    amg_signal_stacks();
    dnnl_status_t s = dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n,
                                 k, 1, a, lda, b, ldb, beta, c, ldc);
    for (int64_t i = 0; s && i < m; i++)
        for (int64_t j = 0; j < n; j++) c[i * ldc + j] = NAN;
}
