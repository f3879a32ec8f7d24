/* Operators that reduce, sum up, search or pad along axes, and those that are lowered
 * to others, forward and backward, against PyTorch's values (make_axis_goldens.py), and
 * gradients against finite differences. More than 500 lines: a list of small cases. */
#include "node_fixture.h"

/* axes: attribute, count of them 0: all. */
static int reduced(const golden *g, amg_op op, int x, int count, const int64_t *axes,
                   int64_t keep)
{
    amg_attr attrs[] = {amg_int("keepdims", keep), amg_ints("axes", count, axes)};
    return amg_builder_node(g->b, op, "reduced", &x, 1, attrs, count ? 2 : 1, NULL);
}

#define REDUCTION(name, op)                                                            \
    static int name##_last(const golden *g, int x)                                     \
    {                                                                                  \
        return reduced(g, op, x, 1, (int64_t[]){-1}, 0);                               \
    }                                                                                  \
    static int name##_middle(const golden *g, int x)                                   \
    {                                                                                  \
        return reduced(g, op, x, 1, (int64_t[]){1}, 1);                                \
    }                                                                                  \
    static int name##_outer(const golden *g, int x)                                    \
    {                                                                                  \
        return reduced(g, op, x, 2, (int64_t[]){2, 0}, 0);                             \
    }                                                                                  \
    static int name##_wide(const golden *g, int x)                                     \
    {                                                                                  \
        return reduced(g, op, x, 1, (int64_t[]){-2}, 0);                               \
    }                                                                                  \
    static int name##_all(const golden *g, int x)                                      \
    {                                                                                  \
        return reduced(g, op, x, 0, NULL, 1);                                          \
    }
REDUCTION(max, AMG_OP_REDUCE_MAX)
REDUCTION(min, AMG_OP_REDUCE_MIN)
REDUCTION(prod, AMG_OP_REDUCE_PROD)
REDUCTION(l1, AMG_OP_REDUCE_L1)
REDUCTION(l2, AMG_OP_REDUCE_L2)
REDUCTION(log_sum, AMG_OP_REDUCE_LOG_SUM)
REDUCTION(log_sum_exp, AMG_OP_REDUCE_LOG_SUM_EXP)
REDUCTION(sum_square, AMG_OP_REDUCE_SUM_SQUARE)
#undef REDUCTION

static int min_first(const golden *g, int x)
{
    return reduced(g, AMG_OP_REDUCE_MIN, x, 1, (int64_t[]){0}, 0);
}
static int max_conv(const golden *g, int x)
{
    int y = PLAIN(AMG_OP_CONV, x, PARAM("w"));
    return reduced(g, AMG_OP_REDUCE_MAX, y, 2, (int64_t[]){2, 3}, 0);
}

static int cumulative(const golden *g, amg_op op, int x, int64_t axis,
                      int64_t exclusive, int64_t reverse)
{
    amg_attr attrs[] = {amg_int("exclusive", exclusive), amg_int("reverse", reverse)};
    int in[2] = {x, index_scalar(g, "axis", axis)};
    return amg_builder_node(g->b, op, "sum", in, 2, attrs, 2, NULL);
}
static int summed(const golden *g, int x, int64_t axis, int64_t exclusive,
                  int64_t reverse)
{
    return cumulative(g, AMG_OP_CUM_SUM, x, axis, exclusive, reverse);
}
static int multiplied(const golden *g, int x, int64_t axis, int64_t exclusive,
                      int64_t reverse)
{
    return cumulative(g, AMG_OP_CUM_PROD, x, axis, exclusive, reverse);
}
static int cum_sum(const golden *g, int x) { return summed(g, x, 1, 0, 0); }
static int cum_sum_last(const golden *g, int x) { return summed(g, x, -1, 0, 0); }
static int cum_sum_reverse(const golden *g, int x) { return summed(g, x, 1, 0, 1); }
static int cum_sum_exclusive(const golden *g, int x) { return summed(g, x, -2, 1, 0); }
static int cum_sum_both(const golden *g, int x) { return summed(g, x, 0, 1, 1); }
static int cum_prod(const golden *g, int x) { return multiplied(g, x, 1, 0, 0); }
static int cum_prod_reverse(const golden *g, int x)
{
    return multiplied(g, x, 1, 0, 1);
}
static int cum_prod_exclusive(const golden *g, int x)
{
    return multiplied(g, x, 1, 1, 0);
}
static int cum_prod_both(const golden *g, int x) { return multiplied(g, x, 0, 1, 1); }
static int cum_prod_zeros(const golden *g, int x) { return multiplied(g, x, -1, 0, 0); }

/* x times the index, which the engine has as I64. */
static int by_index(const golden *g, int x, amg_op op, int64_t axis, int64_t last)
{
    amg_attr attrs[] = {amg_int("axis", axis), amg_int("select_last_index", last)};
    int at = amg_builder_node(g->b, op, "index", &x, 1, attrs, 2, NULL);
    at = WITH(AMG_OP_CAST, amg_int("to", amg_dtype_onnx(AMG_F32)), at);
    return PLAIN(AMG_OP_MUL, x, at);
}
static int arg_max(const golden *g, int x)
{
    return by_index(g, x, AMG_OP_ARG_MAX, 1, 0);
}
static int arg_min_outer(const golden *g, int x)
{
    return by_index(g, x, AMG_OP_ARG_MIN, 0, 0);
}
static int arg_max_last(const golden *g, int x)
{
    return by_index(g, x, AMG_OP_ARG_MAX, -1, 1);
}

static int padded(const golden *g, int x, const char *mode, int count,
                  const int64_t *pads, float value)
{
    amg_attr attr = {.name = "mode", .kind = AMG_ATTR_STRING, .s = mode};
    int in[3] = {x, vector(g, "pads", count, pads), network_scalar(g, "value", value)};
    return amg_builder_node(g->b, AMG_OP_PAD, "pad", in, value != 0 ? 3 : 2, &attr, 1,
                            NULL);
}
/* x times a number made of whole ones. */
static int by_whole(const golden *g, int x, int whole)
{
    whole = WITH(AMG_OP_CAST, amg_int("to", amg_dtype_onnx(AMG_F32)), whole);
    return PLAIN(AMG_OP_MUL, x, whole);
}
static int as_whole(const golden *g, int x, amg_dtype dtype)
{
    return WITH(AMG_OP_CAST, amg_int("to", amg_dtype_onnx(dtype)), x);
}
static int whole_prod(const golden *g, int x)
{
    return by_whole(
        g, x,
        reduced(g, AMG_OP_REDUCE_PROD, as_whole(g, x, AMG_I32), 1, (int64_t[]){0}, 0));
}
static int whole_least(const golden *g, int x)
{
    return by_whole(g, x,
                    reduced(g, AMG_OP_REDUCE_MIN, as_whole(g, x, AMG_I64), 2,
                            (int64_t[]){0, -1}, 1));
}
static int whole_any(const golden *g, int x)
{
    const int some = PLAIN(AMG_OP_GREATER, x, network_scalar(g, "five", 5));
    return by_whole(g, x, reduced(g, AMG_OP_REDUCE_MAX, some, 1, (int64_t[]){2}, 1));
}
static int whole_pad(const golden *g, int x)
{
    const int pads[2] = {vector(g, "pads", 6, (int64_t[]){0, 0, 1, 0, 0, 2}),
                         vector(g, "whole_pads", 6, (int64_t[]){0, 0, 2, 0, 0, 1})};
    const int whole = PLAIN(AMG_OP_PAD, as_whole(g, x, AMG_I64), pads[1],
                            index_scalar(g, "seven", 7));
    return by_whole(g, PLAIN(AMG_OP_PAD, x, pads[0], network_scalar(g, "two", 2)),
                    whole);
}
static int whole_top(const golden *g, int x)
{
    const int in[2] = {as_whole(g, x, AMG_I32), vector(g, "k", 1, (int64_t[]){2})};
    int top[2];
    amg_builder_node_multi(g->b, AMG_OP_TOP_K, "top", in, 2, NULL, 0,
                           (const char *[]){"values", "places"}, 2, top);
    const int first = PLAIN(AMG_OP_SLICE, x, vector(g, "start", 1, (int64_t[]){0}),
                            vector(g, "end", 1, (int64_t[]){2}),
                            vector(g, "axis", 1, (int64_t[]){2}));
    return by_whole(g, first, top[0]);
}

#define PADS(...)                                                                      \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[])             \
    {                                                                                  \
        __VA_ARGS__                                                                    \
    }
static int pad_number(const golden *g, int x)
{
    return padded(g, x, "constant", PADS(2, 0, 1, 0, 1, 2), -1.5f);
}
static int pad_last(const golden *g, int x)
{
    return padded(g, x, "constant", PADS(0, 3, 0, 1), 0);
}
static int pad_image(const golden *g, int x, const char *mode)
{
    return padded(g, x, mode, PADS(0, 0, 3, 2, 0, 0, 0, 1), 0);
}
static int pad_reflect(const golden *g, int x) { return pad_image(g, x, "reflect"); }
static int pad_edge(const golden *g, int x) { return pad_image(g, x, "edge"); }
static int pad_wrap(const golden *g, int x) { return pad_image(g, x, "wrap"); }
static int pad_reflect_rows(const golden *g, int x)
{
    return padded(g, x, "reflect", PADS(0, 0, 5, 0, 0, 2), 0);
}

/* ---- what is lowered to others ----------------------------------------------------
 */

static int pad_cut(const golden *g, int x)
{
    return padded(g, x, "constant", PADS(0, 1, -2, 0, -1, 1), 0.5f);
}
static int pad_wrap_far(const golden *g, int x)
{
    return padded(g, x, "wrap", PADS(0, 4, 0, 2), 0);
}
static int pad_reflect_samples(const golden *g, int x)
{
    return padded(g, x, "reflect", PADS(2, 0, 0, 0), 0);
}
static int depth_to_space(const golden *g, int x)
{
    amg_attr attrs[] = {amg_int("blocksize", 2),
                        {.name = "mode", .kind = AMG_ATTR_STRING, .s = "CRD"}};
    return amg_builder_node(g->b, AMG_OP_DEPTH_TO_SPACE, "shuffle", &x, 1, attrs, 2,
                            NULL);
}
static int space_to_depth(const golden *g, int x)
{
    return WITH(AMG_OP_SPACE_TO_DEPTH, amg_int("blocksize", 2), x);
}
static int gemm_all(const golden *g, int x)
{
    amg_attr attrs[] = {amg_int("transA", 1), amg_int("transB", 1),
                        amg_flt("alpha", 0.5f), amg_flt("beta", 3)};
    int in[3] = {x, PARAM("b"), PARAM("c")};
    return amg_builder_node(g->b, AMG_OP_GEMM, "gemm", in, 3, attrs, 4, NULL);
}
static int gemm_activations(const golden *g, int x)
{
    amg_attr attrs[] = {amg_int("transB", 1), amg_flt("beta", -1)};
    int first =
        PLAIN(AMG_OP_SLICE, x, VECTOR("start", 0), VECTOR("end", 1), VECTOR("axes", 1));
    int in[3] = {x, PLAIN(AMG_OP_TANH, x), first};
    return amg_builder_node(g->b, AMG_OP_GEMM, "gemm", in, 3, attrs, 2, NULL);
}
static int mat_mul_vector(const golden *g, int x)
{
    return PLAIN(AMG_OP_MAT_MUL, x, PLAIN(AMG_OP_TANH, PARAM("w")));
}
static int mat_mul_left_vector(const golden *g, int x)
{
    return PLAIN(AMG_OP_MAT_MUL, PLAIN(AMG_OP_TANH, PARAM("w")), x);
}

static int einsum(const golden *g, const char *equation, int count, const int *in)
{
    amg_attr attr = {.name = "equation", .kind = AMG_ATTR_STRING, .s = equation};
    return amg_builder_node(g->b, AMG_OP_EINSUM, "einsum", in, count, &attr, 1, NULL);
}
#define EINSUM(name, equation)                                                         \
    static int name(const golden *g, int x)                                            \
    {                                                                                  \
        return einsum(g, equation, 2, (int[]){x, PLAIN(AMG_OP_TANH, x)});              \
    }
EINSUM(einsum_heads, "bqhd,bkhd->bhqk")
EINSUM(einsum_outer, "bqhd,bkhd->bqkhd")
EINSUM(einsum_summed, "bqhd, bkhd ->")
EINSUM(einsum_implicit, "zyxw,zvxw")
EINSUM(einsum_rows, "...d,...d->...")
EINSUM(einsum_batch, "bqhd,bqhe->de")
#undef EINSUM
static int einsum_weight(const golden *g, int x)
{
    return einsum(g, "bsd,dh->bsh", 2, (int[]){x, PARAM("w")});
}
static int einsum_weight_left(const golden *g, int x)
{
    return einsum(g, "hd,bsd->bhs", 2, (int[]){PARAM("w"), x});
}
static int einsum_diagonal(const golden *g, int x)
{
    return einsum(g, "bii->bi", 1, &x);
}
static int einsum_trace(const golden *g, int x) { return einsum(g, "bii->b", 1, &x); }
static int einsum_three(const golden *g, int x)
{
    return einsum(g, "bsd,de,ef->bsf", 3, (int[]){x, PARAM("u"), PARAM("w")});
}

static int rms_norm(const golden *g, int x)
{
    return PLAIN(AMG_OP_RMS_NORM, x, PARAM("scale"));
}
static int rms_norm_wide(const golden *g, int x)
{
    amg_attr attrs[] = {amg_int("axis", 1), amg_flt("epsilon", 1e-3f)};
    return amg_builder_node(g->b, AMG_OP_RMS_NORM, "norm", (int[]){x, PARAM("scale")},
                            2, attrs, 2, NULL);
}
static int lp_norm(const golden *g, int x)
{
    return WITH(AMG_OP_LP_NORM, amg_int("axis", 1), x);
}
static int lp_norm_1(const golden *g, int x)
{
    return WITH(AMG_OP_LP_NORM, amg_int("p", 1), x);
}
static int mean_variance(const golden *g, int x)
{
    return PLAIN(AMG_OP_MEAN_VARIANCE_NORM, x);
}
static int layer_norm_statistics(const golden *g, int x)
{
    int in[2] = {x, PARAM("scale")}, out[3];
    amg_builder_node_multi(g->b, AMG_OP_LAYER_NORM, "norm", in, 2, NULL, 0, NULL, 3,
                           out);
    return PLAIN(AMG_OP_MUL, PLAIN(AMG_OP_MUL, out[0], out[1]), out[2]);
}

static int attend(const golden *g, int x, int mask, int num_attrs,
                  const amg_attr *attrs)
{
    int in[4] = {x, PLAIN(AMG_OP_TANH, x), PLAIN(AMG_OP_MUL, x, x), mask};
    return amg_builder_node(g->b, AMG_OP_ATTENTION, "attention", in,
                            mask == AMG_NO_VALUE ? 3 : 4, attrs, num_attrs, NULL);
}
static int attention(const golden *g, int x)
{
    amg_attr attrs[] = {amg_int("q_num_heads", 3), amg_int("kv_num_heads", 3)};
    return attend(g, x, AMG_NO_VALUE, 2, attrs);
}
static int attention_causal(const golden *g, int x)
{
    amg_attr attrs[] = {amg_int("q_num_heads", 3), amg_int("kv_num_heads", 3),
                        amg_int("is_causal", 1), amg_flt("scale", 0.3f)};
    return attend(g, x, AMG_NO_VALUE, 4, attrs);
}
static int attention_mask(const golden *g, int x)
{
    return attend(g, x, PARAM("mask"), 0, NULL);
}
static int attention_shared(const golden *g, int x)
{
    int half[2];
    amg_attr axis = amg_int("axis", 1);
    amg_builder_node_multi(g->b, AMG_OP_SPLIT, "split", &x, 1, &axis, 1, NULL, 2, half);
    return PLAIN(AMG_OP_ATTENTION, x, PLAIN(AMG_OP_TANH, half[0]), half[1]);
}
static int attention_bools(const golden *g, int x)
{
    uint8_t seen[25];
    amg_tensor t;
    for (int i = 0; i < 25; i++) seen[i] = i / 5 != 2 && i % 5 > 0;
    assert_ok(amg_tensor_view(AMG_BOOL, 2, (int64_t[]){5, 5}, seen, &t, err));
    return attend(g, x, amg_builder_param(g->b, "seen", &t), 0, NULL);
}

static int index_of(const golden *g, int rank, const int64_t *dims, const int64_t *v)
{
    amg_tensor t;
    assert_ok(amg_tensor_view(AMG_I64, rank, dims, v, &t, err));
    return amg_builder_param(g->b, "index", &t);
}
static int gather_elements(const golden *g, int x)
{
    int at = index_of(g, 3, (int64_t[]){2, 2, 2}, (int64_t[]){0, 2, 1, 1, 2, 0, -1, 1});
    return WITH(AMG_OP_GATHER_ELEMENTS, amg_int("axis", -1), x, at);
}
static int gather_elements_middle(const golden *g, int x)
{
    int at = WITH(AMG_OP_ARG_MAX, amg_int("axis", 1), x);
    return WITH(AMG_OP_GATHER_ELEMENTS, amg_int("axis", 1), x, at);
}
static int gather_nd(const golden *g, int x)
{
    int at = index_of(g, 2, (int64_t[]){3, 2}, (int64_t[]){1, 2, 0, -1, 1, 2});
    return PLAIN(AMG_OP_GATHER_ND, x, at);
}
static int gather_nd_batch(const golden *g, int x)
{
    int at = index_of(g, 3, (int64_t[]){2, 2, 1}, (int64_t[]){1, 0, 2, 2});
    return WITH(AMG_OP_GATHER_ND, amg_int("batch_dims", 1), x, at);
}
static int scattered(const golden *g, amg_op op, int x, int at, const char *how)
{
    amg_attr attrs[] = {{.name = "reduction", .kind = AMG_ATTR_STRING, .s = how},
                        amg_int("axis", 1)};
    return amg_builder_node(g->b, op, "scatter", (int[]){x, at, PARAM("u")}, 3, attrs,
                            op == AMG_OP_SCATTER_ELEMENTS ? 2 : 1, NULL);
}
static int scatter_elements(const golden *g, int x)
{
    int at = index_of(g, 2, (int64_t[]){2, 2}, (int64_t[]){2, 0, 1, -1});
    return scattered(g, AMG_OP_SCATTER_ELEMENTS, x, at, "none");
}
static int scatter_elements_add(const golden *g, int x)
{
    int at = index_of(g, 2, (int64_t[]){2, 2}, (int64_t[]){2, 2, 1, 2});
    return scattered(g, AMG_OP_SCATTER_ELEMENTS, PLAIN(AMG_OP_MUL, x, x), at, "add");
}
static int scatter_nd(const golden *g, int x)
{
    int at = index_of(g, 2, (int64_t[]){2, 1}, (int64_t[]){3, 1});
    return scattered(g, AMG_OP_SCATTER_ND, PLAIN(AMG_OP_MUL, x, x), at, "none");
}
static int scatter_nd_add(const golden *g, int x)
{
    int at = index_of(g, 2, (int64_t[]){3, 1}, (int64_t[]){3, 1, 3});
    return scattered(g, AMG_OP_SCATTER_ND, x, at, "add");
}
static int triu(const golden *g, int x)
{
    return PLAIN(AMG_OP_TRILU, x, index_scalar(g, "k", 1));
}
static int tril(const golden *g, int x)
{
    return WITH(AMG_OP_TRILU, amg_int("upper", 0), x, index_scalar(g, "k", -1));
}

/* Outputs of a TopK: its values and, as floats, their places. */
static void top_of(const golden *g, int x, int64_t k, int64_t axis, int64_t largest,
                   int out[2])
{
    const amg_attr attrs[] = {amg_int("axis", axis), amg_int("largest", largest)};
    const int in[2] = {x, vector(g, "k", 1, &k)};
    amg_builder_node_multi(g->b, AMG_OP_TOP_K, "top", in, 2, attrs, 2, NULL, 2, out);
    out[1] = WITH(AMG_OP_CAST, amg_int("to", amg_dtype_onnx(AMG_F32)), out[1]);
}
static int top_k(const golden *g, int x)
{
    int top[2];
    top_of(g, x, 3, -1, 1, top);
    return top[0];
}
static int top_k_least(const golden *g, int x)
{
    int top[2];
    top_of(g, x, 2, 1, 0, top);
    return PLAIN(AMG_OP_MUL, top[0], top[1]);
}
static int top_k_sorted(const golden *g, int x)
{
    int top[2];
    top_of(g, x, 40, 1, 1, top);
    return PLAIN(AMG_OP_MUL, top[0], top[1]);
}

/* x times how many are above 0, counted as dtype along axes; */
static int counted(const golden *g, int x, amg_dtype dtype, int count,
                   const int64_t *axes, int64_t keep)
{
    float zero = 0;
    amg_tensor t;
    assert_ok(amg_tensor_view(AMG_F32, 0, NULL, &zero, &t, err));
    int y = PLAIN(AMG_OP_GREATER, x, amg_builder_param(g->b, "zero", &t));
    y = WITH(AMG_OP_CAST, amg_int("to", amg_dtype_onnx(dtype)), y);
    y = WITH(AMG_OP_REDUCE_SUM, amg_int("keepdims", keep), y,
             vector(g, "axes", count, axes));
    if (!keep) y = PLAIN(AMG_OP_UNSQUEEZE, y, VECTOR("last", -1));
    y = WITH(AMG_OP_CAST, amg_int("to", amg_dtype_onnx(AMG_F32)), y);
    return PLAIN(AMG_OP_MUL, x, y);
}
static int sum_whole(const golden *g, int x)
{
    return counted(g, x, AMG_I64, 1, (int64_t[]){1}, 1);
}
static int sum_whole_outer(const golden *g, int x)
{
    return counted(g, x, AMG_I32, 2, (int64_t[]){0, -1}, 0);
}

#define OF_REDUCTION(name)                                                             \
    {#name "_last", name##_last}, {#name "_middle", name##_middle},                    \
        {#name "_outer", name##_outer}, {#name "_wide", name##_wide},                  \
    {                                                                                  \
#name "_all", name##_all                                                       \
    }

static const golden_case cases[] = {
    OF_REDUCTION(max),
    OF_REDUCTION(min),
    OF_REDUCTION(prod),
    OF_REDUCTION(l1),
    OF_REDUCTION(l2),
    OF_REDUCTION(log_sum),
    OF_REDUCTION(log_sum_exp),
    OF_REDUCTION(sum_square),
    {"max_ties", max_last},
    {"min_ties", min_first},
    {"prod_zeros", prod_last},
    {"l1_zeros", l1_last},
    {"l2_zeros", l2_last},
    {"log_sum_exp_far", log_sum_exp_last},
    {"max_conv", max_conv},
    {"cum_sum", cum_sum},
    {"cum_sum_last", cum_sum_last},
    {"cum_sum_reverse", cum_sum_reverse},
    {"cum_sum_exclusive", cum_sum_exclusive},
    {"cum_sum_both", cum_sum_both},
    {"cum_prod", cum_prod},
    {"cum_prod_reverse", cum_prod_reverse},
    {"cum_prod_exclusive", cum_prod_exclusive},
    {"cum_prod_both", cum_prod_both},
    {"cum_prod_zeros", cum_prod_zeros},
    {"whole_prod", whole_prod},
    {"whole_least", whole_least},
    {"whole_any", whole_any},
    {"whole_pad", whole_pad},
    {"arg_max", arg_max},
    {"arg_min_outer", arg_min_outer},
    {"arg_max_last", arg_max_last},
    {"pad_number", pad_number},
    {"pad_last", pad_last},
    {"pad_reflect", pad_reflect},
    {"pad_edge", pad_edge},
    {"pad_wrap", pad_wrap},
    {"pad_reflect_rows", pad_reflect_rows},
    {"rms_norm", rms_norm},
    {"rms_norm_wide", rms_norm_wide},
    {"gather_elements", gather_elements},
    {"gather_elements_middle", gather_elements_middle},
    {"gather_nd", gather_nd},
    {"gather_nd_batch", gather_nd_batch},
    {"scatter_elements", scatter_elements},
    {"scatter_elements_add", scatter_elements_add},
    {"scatter_nd", scatter_nd},
    {"scatter_nd_add", scatter_nd_add},
    {"triu", triu},
    {"tril", tril},
};
#define NUM_CASES (sizeof cases / sizeof *cases)

static const golden_case lowered[] = {
    {"pad_cut", pad_cut},
    {"pad_wrap_far", pad_wrap_far},
    {"pad_reflect_samples", pad_reflect_samples},
    {"depth_to_space", depth_to_space},
    {"space_to_depth", space_to_depth},
    {"gemm_all", gemm_all},
    {"gemm_activations", gemm_activations},
    {"mat_mul_vector", mat_mul_vector},
    {"mat_mul_left_vector", mat_mul_left_vector},
    {"einsum_heads", einsum_heads},
    {"einsum_outer", einsum_outer},
    {"einsum_summed", einsum_summed},
    {"einsum_implicit", einsum_implicit},
    {"einsum_rows", einsum_rows},
    {"einsum_batch", einsum_batch},
    {"einsum_weight", einsum_weight},
    {"einsum_weight_left", einsum_weight_left},
    {"einsum_diagonal", einsum_diagonal},
    {"einsum_trace", einsum_trace},
    {"einsum_three", einsum_three},
    {"lp_norm", lp_norm},
    {"lp_norm_1", lp_norm_1},
    {"mean_variance", mean_variance},
    {"layer_norm_statistics", layer_norm_statistics},
    {"attention", attention},
    {"attention_causal", attention_causal},
    {"attention_mask", attention_mask},
    {"attention_shared", attention_shared},
    {"attention_bools", attention_bools},
    {"whole_top", whole_top},
    {"top_k", top_k},
    {"top_k_least", top_k_least},
    {"top_k_sorted", top_k_sorted},
    {"sum_whole", sum_whole},
    {"sum_whole_outer", sum_whole_outer},
};
#define NUM_LOWERED (sizeof lowered / sizeof *lowered)

static void matches_pytorch(void **state)
{
    check_golden_case("axis.safetensors", *state);
}

/* Folded first, as every graph is before the engine gets it. */
static void matches_pytorch_when_lowered(void **state)
{
    amg_safetensors *st = open_goldens("axis.safetensors");
    golden g = {st, ((const golden_case *)*state)->name, NULL};
    amg_graph *read = golden_case_graph(&g, *state), *planned = NULL;
    assert_ok(
        amg_graph_plan_batch(read, golden_get(&g, "", "x")->dims[0], &planned, err));
    for (int i = 0; i < planned->num_values; i++)
        if (planned->values[i].kind == AMG_VALUE_PARAM &&
            golden_find(&g, "d_", planned->values[i].name))
            planned->values[i].role = AMG_ROLE_TRAINABLE;
    check_golden(&g, planned, (amg_plan_options){.training = true});
    amg_graph_free(planned);
    amg_graph_free(read);
    amg_safetensors_close(st);
}

/* Of cases without kinks close by. */
static void gradients_match_finite_differences(void **state)
{
    (void)state;
    static const golden_case smooth[] = {{"max_last", max_last},
                                         {"prod_middle", prod_middle},
                                         {"l2_outer", l2_outer},
                                         {"log_sum_wide", log_sum_wide},
                                         {"sum_square_all", sum_square_all},
                                         {"log_sum_exp_outer", log_sum_exp_outer},
                                         {"cum_sum_both", cum_sum_both},
                                         {"cum_prod_exclusive", cum_prod_exclusive},
                                         {"cum_prod_reverse", cum_prod_reverse},
                                         {"pad_reflect", pad_reflect},
                                         {"rms_norm", rms_norm}};
    amg_safetensors *st = open_goldens("axis.safetensors");
    for (size_t i = 0; i < sizeof smooth / sizeof *smooth; i++) {
        golden g = {st, smooth[i].name, NULL};
        amg_graph *graph = golden_case_graph(&g, &smooth[i]);
        check_finite_differences(&g, graph, 1);
        amg_graph_free(graph);
    }
    amg_safetensors_close(st);
}

int main(void)
{
    enum { OTHERS = 1 };
    struct CMUnitTest tests[NUM_CASES + NUM_LOWERED + OTHERS] = {
        cmocka_unit_test(gradients_match_finite_differences)};
    static golden_case mutable_cases[NUM_CASES], mutable_lowered[NUM_LOWERED];
    memcpy(mutable_cases, cases, sizeof cases);
    memcpy(mutable_lowered, lowered, sizeof lowered);
    for (size_t i = 0; i < NUM_CASES; i++)
        tests[OTHERS + i] = (struct CMUnitTest){cases[i].name, matches_pytorch, NULL,
                                                NULL, &mutable_cases[i]};
    for (size_t i = 0; i < NUM_LOWERED; i++)
        tests[OTHERS + NUM_CASES + i] =
            (struct CMUnitTest){lowered[i].name, matches_pytorch_when_lowered, NULL,
                                NULL, &mutable_lowered[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
