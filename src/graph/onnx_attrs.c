/* Attributes of ONNX nodes. Consumes AttributeProtos, produces amg_attrs; and knows
 * which attributes each operator may have in the graph's one form. Values are the shape
 * rules' business. */
#include <limits.h>
#include <string.h>

#include "graph/onnx_import.h"

#define MAX_ATTRS 64

static const struct {
    amg_op op;
    const char *name;
    amg_attr_kind kind;
} known[] = {
    {AMG_OP_CONV, "auto_pad", AMG_ATTR_STRING},
    {AMG_OP_CONV, "dilations", AMG_ATTR_INTS},
    {AMG_OP_CONV, "group", AMG_ATTR_INT},
    {AMG_OP_CONV, "kernel_shape", AMG_ATTR_INTS},
    {AMG_OP_CONV, "pads", AMG_ATTR_INTS},
    {AMG_OP_CONV, "strides", AMG_ATTR_INTS},
    {AMG_OP_BATCH_NORM, "epsilon", AMG_ATTR_FLOAT},
    {AMG_OP_BATCH_NORM, "momentum", AMG_ATTR_FLOAT},
    {AMG_OP_LEAKY_RELU, "alpha", AMG_ATTR_FLOAT},
    {AMG_OP_MAX_POOL, "auto_pad", AMG_ATTR_STRING},
    {AMG_OP_MAX_POOL, "ceil_mode", AMG_ATTR_INT},
    {AMG_OP_MAX_POOL, "dilations", AMG_ATTR_INTS},
    {AMG_OP_MAX_POOL, "kernel_shape", AMG_ATTR_INTS},
    {AMG_OP_MAX_POOL, "pads", AMG_ATTR_INTS},
    {AMG_OP_MAX_POOL, "strides", AMG_ATTR_INTS},
    {AMG_OP_AVERAGE_POOL, "auto_pad", AMG_ATTR_STRING},
    {AMG_OP_AVERAGE_POOL, "ceil_mode", AMG_ATTR_INT},
    {AMG_OP_AVERAGE_POOL, "count_include_pad", AMG_ATTR_INT},
    {AMG_OP_AVERAGE_POOL, "dilations", AMG_ATTR_INTS},
    {AMG_OP_AVERAGE_POOL, "kernel_shape", AMG_ATTR_INTS},
    {AMG_OP_AVERAGE_POOL, "pads", AMG_ATTR_INTS},
    {AMG_OP_AVERAGE_POOL, "strides", AMG_ATTR_INTS},
    {AMG_OP_LP_POOL, "auto_pad", AMG_ATTR_STRING},
    {AMG_OP_LP_POOL, "ceil_mode", AMG_ATTR_INT},
    {AMG_OP_LP_POOL, "dilations", AMG_ATTR_INTS},
    {AMG_OP_LP_POOL, "kernel_shape", AMG_ATTR_INTS},
    {AMG_OP_LP_POOL, "p", AMG_ATTR_INT},
    {AMG_OP_LP_POOL, "pads", AMG_ATTR_INTS},
    {AMG_OP_LP_POOL, "strides", AMG_ATTR_INTS},
    {AMG_OP_GLOBAL_LP_POOL, "p", AMG_ATTR_INT},
    {AMG_OP_GEMM, "alpha", AMG_ATTR_FLOAT},
    {AMG_OP_GEMM, "beta", AMG_ATTR_FLOAT},
    {AMG_OP_GEMM, "transA", AMG_ATTR_INT},
    {AMG_OP_GEMM, "transB", AMG_ATTR_INT},
    {AMG_OP_CONCAT, "axis", AMG_ATTR_INT},
    {AMG_OP_FLATTEN, "axis", AMG_ATTR_INT},
    {AMG_OP_RESHAPE, "allowzero", AMG_ATTR_INT},
    {AMG_OP_BERNOULLI, "dtype", AMG_ATTR_INT},
    {AMG_OP_RANDOM_UNIFORM_LIKE, "dtype", AMG_ATTR_INT},
    {AMG_OP_RANDOM_UNIFORM_LIKE, "high", AMG_ATTR_FLOAT},
    {AMG_OP_RANDOM_UNIFORM_LIKE, "low", AMG_ATTR_FLOAT},
    {AMG_OP_RANDOM_NORMAL_LIKE, "dtype", AMG_ATTR_INT},
    {AMG_OP_RANDOM_NORMAL_LIKE, "mean", AMG_ATTR_FLOAT},
    {AMG_OP_RANDOM_NORMAL_LIKE, "scale", AMG_ATTR_FLOAT},
    {AMG_OP_REDUCE_MEAN, "axes", AMG_ATTR_INTS},
    {AMG_OP_REDUCE_MEAN, "keepdims", AMG_ATTR_INT},
    {AMG_OP_PAD, "mode", AMG_ATTR_STRING},
    {AMG_OP_CENTER_CROP_PAD, "axes", AMG_ATTR_INTS},
    {AMG_OP_EINSUM, "equation", AMG_ATTR_STRING},
    {AMG_OP_DEPTH_TO_SPACE, "blocksize", AMG_ATTR_INT},
    {AMG_OP_DEPTH_TO_SPACE, "mode", AMG_ATTR_STRING},
    {AMG_OP_SPACE_TO_DEPTH, "blocksize", AMG_ATTR_INT},
    {AMG_OP_SPACE_TO_DEPTH, "mode", AMG_ATTR_STRING},
    {AMG_OP_GATHER_ELEMENTS, "axis", AMG_ATTR_INT},
    {AMG_OP_GATHER_ND, "batch_dims", AMG_ATTR_INT},
    {AMG_OP_SCATTER_ELEMENTS, "axis", AMG_ATTR_INT},
    {AMG_OP_SCATTER_ELEMENTS, "reduction", AMG_ATTR_STRING},
    {AMG_OP_SCATTER_ND, "reduction", AMG_ATTR_STRING},
    {AMG_OP_REVERSE_SEQUENCE, "batch_axis", AMG_ATTR_INT},
    {AMG_OP_REVERSE_SEQUENCE, "time_axis", AMG_ATTR_INT},
    {AMG_OP_ONE_HOT, "axis", AMG_ATTR_INT},
    {AMG_OP_CONV_TRANSPOSE, "auto_pad", AMG_ATTR_STRING},
    {AMG_OP_CONV_TRANSPOSE, "dilations", AMG_ATTR_INTS},
    {AMG_OP_CONV_TRANSPOSE, "group", AMG_ATTR_INT},
    {AMG_OP_CONV_TRANSPOSE, "kernel_shape", AMG_ATTR_INTS},
    {AMG_OP_CONV_TRANSPOSE, "output_padding", AMG_ATTR_INTS},
    {AMG_OP_CONV_TRANSPOSE, "output_shape", AMG_ATTR_INTS},
    {AMG_OP_CONV_TRANSPOSE, "pads", AMG_ATTR_INTS},
    {AMG_OP_CONV_TRANSPOSE, "strides", AMG_ATTR_INTS},
    {AMG_OP_DEFORM_CONV, "dilations", AMG_ATTR_INTS},
    {AMG_OP_DEFORM_CONV, "group", AMG_ATTR_INT},
    {AMG_OP_DEFORM_CONV, "kernel_shape", AMG_ATTR_INTS},
    {AMG_OP_DEFORM_CONV, "offset_group", AMG_ATTR_INT},
    {AMG_OP_DEFORM_CONV, "pads", AMG_ATTR_INTS},
    {AMG_OP_DEFORM_CONV, "strides", AMG_ATTR_INTS},
    {AMG_OP_CAUSAL_CONV, "activation", AMG_ATTR_STRING},
    {AMG_OP_RESIZE, "antialias", AMG_ATTR_INT},
    {AMG_OP_RESIZE, "coordinate_transformation_mode", AMG_ATTR_STRING},
    {AMG_OP_RESIZE, "cubic_coeff_a", AMG_ATTR_FLOAT},
    {AMG_OP_RESIZE, "exclude_outside", AMG_ATTR_INT},
    {AMG_OP_RESIZE, "mode", AMG_ATTR_STRING},
    {AMG_OP_RESIZE, "nearest_mode", AMG_ATTR_STRING},
    {AMG_OP_COL2IM, "dilations", AMG_ATTR_INTS},
    {AMG_OP_COL2IM, "pads", AMG_ATTR_INTS},
    {AMG_OP_COL2IM, "strides", AMG_ATTR_INTS},
    {AMG_OP_GRID_SAMPLE, "align_corners", AMG_ATTR_INT},
    {AMG_OP_GRID_SAMPLE, "mode", AMG_ATTR_STRING},
    {AMG_OP_GRID_SAMPLE, "padding_mode", AMG_ATTR_STRING},
    {AMG_OP_AFFINE_GRID, "align_corners", AMG_ATTR_INT},
    {AMG_OP_LSTM, "direction", AMG_ATTR_STRING},
    {AMG_OP_LSTM, "hidden_size", AMG_ATTR_INT},
    {AMG_OP_LSTM, "input_forget", AMG_ATTR_INT},
    {AMG_OP_LSTM, "layout", AMG_ATTR_INT},
    {AMG_OP_GRU, "direction", AMG_ATTR_STRING},
    {AMG_OP_GRU, "hidden_size", AMG_ATTR_INT},
    {AMG_OP_GRU, "layout", AMG_ATTR_INT},
    {AMG_OP_GRU, "linear_before_reset", AMG_ATTR_INT},
    {AMG_OP_RNN, "activations", AMG_ATTR_STRING},
    {AMG_OP_RNN, "direction", AMG_ATTR_STRING},
    {AMG_OP_RNN, "hidden_size", AMG_ATTR_INT},
    {AMG_OP_RNN, "layout", AMG_ATTR_INT},
    {AMG_OP_INSTANCE_NORM, "epsilon", AMG_ATTR_FLOAT},
    {AMG_OP_GROUP_NORM, "epsilon", AMG_ATTR_FLOAT},
    {AMG_OP_GROUP_NORM, "num_groups", AMG_ATTR_INT},
    {AMG_OP_ELU, "alpha", AMG_ATTR_FLOAT},
    {AMG_OP_CELU, "alpha", AMG_ATTR_FLOAT},
    {AMG_OP_SELU, "alpha", AMG_ATTR_FLOAT},
    {AMG_OP_SELU, "gamma", AMG_ATTR_FLOAT},
    {AMG_OP_SHRINK, "bias", AMG_ATTR_FLOAT},
    {AMG_OP_SHRINK, "lambd", AMG_ATTR_FLOAT},
    {AMG_OP_THRESHOLDED_RELU, "alpha", AMG_ATTR_FLOAT},
    {AMG_OP_HARD_SIGMOID, "alpha", AMG_ATTR_FLOAT},
    {AMG_OP_HARD_SIGMOID, "beta", AMG_ATTR_FLOAT},
    {AMG_OP_GATHER, "axis", AMG_ATTR_INT},
    {AMG_OP_LAYER_NORM, "axis", AMG_ATTR_INT},
    {AMG_OP_LAYER_NORM, "epsilon", AMG_ATTR_FLOAT},
    {AMG_OP_RMS_NORM, "axis", AMG_ATTR_INT},
    {AMG_OP_RMS_NORM, "epsilon", AMG_ATTR_FLOAT},
    {AMG_OP_LP_NORM, "axis", AMG_ATTR_INT},
    {AMG_OP_LP_NORM, "p", AMG_ATTR_INT},
    {AMG_OP_LRN, "alpha", AMG_ATTR_FLOAT},
    {AMG_OP_LRN, "beta", AMG_ATTR_FLOAT},
    {AMG_OP_LRN, "bias", AMG_ATTR_FLOAT},
    {AMG_OP_LRN, "size", AMG_ATTR_INT},
    {AMG_OP_MEAN_VARIANCE_NORM, "axes", AMG_ATTR_INTS},
    {AMG_OP_ATTENTION, "is_causal", AMG_ATTR_INT},
    {AMG_OP_ATTENTION, "kv_num_heads", AMG_ATTR_INT},
    {AMG_OP_ATTENTION, "left_window_size", AMG_ATTR_INT},
    {AMG_OP_ATTENTION, "q_num_heads", AMG_ATTR_INT},
    {AMG_OP_ATTENTION, "qk_matmul_output_mode", AMG_ATTR_INT},
    {AMG_OP_ATTENTION, "right_window_size", AMG_ATTR_INT},
    {AMG_OP_ATTENTION, "scale", AMG_ATTR_FLOAT},
    {AMG_OP_ATTENTION, "softcap", AMG_ATTR_FLOAT},
    {AMG_OP_ROTARY_EMBEDDING, "interleaved", AMG_ATTR_INT},
    {AMG_OP_ROTARY_EMBEDDING, "num_heads", AMG_ATTR_INT},
    {AMG_OP_ROTARY_EMBEDDING, "rotary_embedding_dim", AMG_ATTR_INT},
    {AMG_OP_SOFTMAX, "axis", AMG_ATTR_INT},
    {AMG_OP_LOG_SOFTMAX, "axis", AMG_ATTR_INT},
    {AMG_OP_HARDMAX, "axis", AMG_ATTR_INT},
    {AMG_OP_GELU, "approximate", AMG_ATTR_STRING},
    {AMG_OP_SPLIT, "axis", AMG_ATTR_INT},
    {AMG_OP_REDUCE_SUM, "keepdims", AMG_ATTR_INT},
    {AMG_OP_REDUCE_MAX, "axes", AMG_ATTR_INTS},
    {AMG_OP_REDUCE_MAX, "keepdims", AMG_ATTR_INT},
    {AMG_OP_REDUCE_MIN, "axes", AMG_ATTR_INTS},
    {AMG_OP_REDUCE_MIN, "keepdims", AMG_ATTR_INT},
    {AMG_OP_REDUCE_PROD, "axes", AMG_ATTR_INTS},
    {AMG_OP_REDUCE_PROD, "keepdims", AMG_ATTR_INT},
    {AMG_OP_REDUCE_L1, "axes", AMG_ATTR_INTS},
    {AMG_OP_REDUCE_L1, "keepdims", AMG_ATTR_INT},
    {AMG_OP_REDUCE_L2, "axes", AMG_ATTR_INTS},
    {AMG_OP_REDUCE_L2, "keepdims", AMG_ATTR_INT},
    {AMG_OP_REDUCE_LOG_SUM, "axes", AMG_ATTR_INTS},
    {AMG_OP_REDUCE_LOG_SUM, "keepdims", AMG_ATTR_INT},
    {AMG_OP_REDUCE_LOG_SUM_EXP, "axes", AMG_ATTR_INTS},
    {AMG_OP_REDUCE_LOG_SUM_EXP, "keepdims", AMG_ATTR_INT},
    {AMG_OP_REDUCE_SUM_SQUARE, "axes", AMG_ATTR_INTS},
    {AMG_OP_REDUCE_SUM_SQUARE, "keepdims", AMG_ATTR_INT},
    {AMG_OP_ARG_MAX, "axis", AMG_ATTR_INT},
    {AMG_OP_ARG_MAX, "keepdims", AMG_ATTR_INT},
    {AMG_OP_ARG_MAX, "select_last_index", AMG_ATTR_INT},
    {AMG_OP_ARG_MIN, "axis", AMG_ATTR_INT},
    {AMG_OP_ARG_MIN, "keepdims", AMG_ATTR_INT},
    {AMG_OP_ARG_MIN, "select_last_index", AMG_ATTR_INT},
    {AMG_OP_TOP_K, "axis", AMG_ATTR_INT},
    {AMG_OP_TOP_K, "largest", AMG_ATTR_INT},
    {AMG_OP_TOP_K, "sorted", AMG_ATTR_INT},
    {AMG_OP_CUM_SUM, "exclusive", AMG_ATTR_INT},
    {AMG_OP_CUM_SUM, "reverse", AMG_ATTR_INT},
    {AMG_OP_CUM_PROD, "exclusive", AMG_ATTR_INT},
    {AMG_OP_CUM_PROD, "reverse", AMG_ATTR_INT},
    {AMG_OP_CAST, "to", AMG_ATTR_INT},
    {AMG_OP_EYE_LIKE, "dtype", AMG_ATTR_INT},
    {AMG_OP_EYE_LIKE, "k", AMG_ATTR_INT},
    {AMG_OP_MOD, "fmod", AMG_ATTR_INT},
    {AMG_OP_IS_INF, "detect_negative", AMG_ATTR_INT},
    {AMG_OP_IS_INF, "detect_positive", AMG_ATTR_INT},
    {AMG_OP_TRILU, "upper", AMG_ATTR_INT},
    {AMG_OP_SHAPE, "start", AMG_ATTR_INT},
    {AMG_OP_SHAPE, "end", AMG_ATTR_INT},
    {AMG_OP_TRANSPOSE, "perm", AMG_ATTR_INTS},
    {AMG_OP_CONSTANT_OF_SHAPE, "value", AMG_ATTR_TENSOR},
};

/* What reading one node's attributes needs. */
typedef struct {
    amg_import *im;
    const char *where;
    amg_error *err;
} reader;

static amg_status read_string(reader *r, const ProtobufCBinaryData *s, amg_attr *a)
{
    if (s->len && memchr(s->data, 0, s->len))
        return amg_fail(r->err, AMG_MALFORMED, -1, r->where,
                        "attribute %s holds a 0 byte", a->name);
    a->s =
        amg_arena_strndup(&r->im->arena, s->len ? (const char *)s->data : "", s->len);
    return a->s ? AMG_OK
                : amg_fail(r->err, AMG_NO_MEMORY, -1, r->where,
                           "no memory for the node");
}

/* The strings of a list, joined by commas. */
static amg_status read_strings(reader *r, const Onnx__AttributeProto *p, amg_attr *a)
{
    size_t size = 1;
    for (size_t i = 0; i < p->n_strings; i++) size += p->strings[i].len + 1;
    char *text = amg_arena_alloc(&r->im->arena, size);
    if (!text)
        return amg_fail(r->err, AMG_NO_MEMORY, -1, r->where, "no memory for the node");
    a->s = text;
    for (size_t i = 0; i < p->n_strings; i++) {
        const ProtobufCBinaryData *s = &p->strings[i];
        if (s->len && memchr(s->data, 0, s->len))
            return amg_fail(r->err, AMG_MALFORMED, -1, r->where,
                            "attribute %s holds a 0 byte", a->name);
        if (i) *text++ = ',';
        if (s->len) memcpy(text, s->data, s->len);
        text += s->len;
    }
    *text = 0;
    return AMG_OK;
}

static amg_status read_attr(reader *r, const Onnx__AttributeProto *p, amg_attr *a)
{
    amg_status st;
    a->name = p->name;
    if (p->n_ints > INT_MAX || p->n_floats > INT_MAX)
        return amg_fail(r->err, AMG_MALFORMED, -1, r->where, "attribute %s is too long",
                        p->name);
    switch (p->has_type ? (int)p->type : 0) {
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT:
        *a = amg_flt(p->name, p->f);
        return AMG_OK;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT:
        *a = amg_int(p->name, p->i);
        return AMG_OK;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS:
        *a = amg_ints(p->name, (int)p->n_ints, p->ints);
        return AMG_OK;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS:
        a->kind = AMG_ATTR_FLOATS;
        a->count = (int)p->n_floats;
        a->floats = p->floats;
        return AMG_OK;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING:
        a->kind = AMG_ATTR_STRING;
        return read_string(r, &p->s, a);
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS:
        if (strcmp(p->name, "activations") != 0) break;
        a->kind = AMG_ATTR_STRING;
        return read_strings(r, p, a);
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR:
        a->kind = AMG_ATTR_TENSOR;
        if (!p->t) break;
        return amg_onnx_tensor(r->im->onnx, p->t, &a->tensor, r->err);
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH:
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPHS:
        st = amg_fail(r->err, AMG_UNSUPPORTED, -1, r->where,
                      "attribute %s is a subgraph", p->name);
        amg_hint(r->err, "docs/onnx.md lists what is read; loops are not");
        return st;
    default: break;
    }
    return amg_fail(r->err, p->has_type && p->type ? AMG_UNSUPPORTED : AMG_MALFORMED,
                    -1, r->where, "attribute %s is of type %d, which is not read",
                    p->name, p->has_type ? (int)p->type : 0);
}

/* Whether one of the num attributes has this name. */
static bool is_there(const amg_attr *attrs, int num, const char *name)
{
    for (int i = 0; i < num; i++)
        if (!strcmp(attrs[i].name, name)) return true;
    return false;
}

amg_status amg_import_attrs(amg_import *im, const Onnx__NodeProto *p, const char *where,
                            amg_attr **attrs, int *num, amg_error *err)
{
    reader r = {.im = im, .where = where, .err = err};
    if (p->n_attribute > MAX_ATTRS)
        return amg_fail(err, AMG_MALFORMED, -1, where, "%zu attributes, at most %d",
                        p->n_attribute, MAX_ATTRS);
    *attrs = amg_arena_array(&im->arena, p->n_attribute + 1, sizeof **attrs);
    if (!*attrs)
        return amg_fail(err, AMG_NO_MEMORY, -1, where, "no memory for the node");
    for (size_t i = 0; i < p->n_attribute; i++) {
        const char *name = p->attribute[i]->name;
        if (!name || !name[0])
            return amg_fail(err, AMG_MALFORMED, -1, where, "attribute %zu has no name",
                            i);
        if (is_there(*attrs, *num, name))
            return amg_fail(err, AMG_MALFORMED, -1, where,
                            "attribute %s is there twice", name);
        amg_status st = read_attr(&r, p->attribute[i], &(*attrs)[*num]);
        if (st) return st;
        ++*num;
    }
    return AMG_OK;
}

static amg_status check_attr(amg_op op, const amg_attr *a, const char *where,
                             amg_error *err)
{
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        if (known[k].op != op || strcmp(known[k].name, a->name)) continue;
        if (known[k].kind == a->kind) return AMG_OK;
        return amg_fail(err, AMG_MALFORMED, -1, where,
                        "attribute %s is of another type than ONNX says", a->name);
    }
    return amg_fail(err, AMG_UNSUPPORTED, -1, where,
                    "attribute %s is not one that is read for this operator", a->name);
}

amg_status amg_import_check_attrs(amg_op op, const amg_attr *attrs, int num,
                                  const char *where, amg_error *err)
{
    for (int i = 0; i < num; i++) {
        amg_status st = check_attr(op, &attrs[i], where, err);
        if (st) return st;
    }
    return AMG_OK;
}
