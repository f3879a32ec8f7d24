/* The table from operator to PyTorch form, and what the forms share: names of values,
 * constants as numbers, axes and dims. */
#include "emit/emit_ops.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Shapes and index arithmetic that a job's graph has left behind: amg_graph_plan_batch
 * folds them, as their operands are constants. */
static amg_status emit_folded(amg_emit *e, const amg_emit_step *s)
{
    return amg_emit_fail(e, s,
                         "is left in the job's graph, expected to be folded: it reads "
                         "what is known only while training");
}

static amg_status emit_identity(amg_emit *e, const amg_emit_step *s)
{
    amg_emit_operand(e, s, 0);
    return AMG_OK;
}

/* X(operator, form): a row for each operator, so that the assertion below counts them.
 */
#define FORM_LIST(X)                                                                   \
    X(CONV, amg_emit_conv)                                                             \
    X(BATCH_NORM, amg_emit_batch_norm)                                                 \
    X(RELU, amg_emit_function)                                                         \
    X(LEAKY_RELU, amg_emit_activation)                                                 \
    X(CLIP, amg_emit_clip)                                                             \
    X(SIGMOID, amg_emit_function)                                                      \
    X(TANH, amg_emit_function)                                                         \
    X(MAX_POOL, amg_emit_max_pool)                                                     \
    X(AVERAGE_POOL, amg_emit_average_pool)                                             \
    X(GLOBAL_AVERAGE_POOL, amg_emit_global_pool)                                       \
    X(GLOBAL_MAX_POOL, amg_emit_global_pool)                                           \
    X(LP_POOL, emit_folded)                                                            \
    X(GLOBAL_LP_POOL, emit_folded)                                                     \
    X(GEMM, amg_emit_gemm)                                                             \
    X(MAT_MUL, amg_emit_binary)                                                        \
    X(EINSUM, emit_folded)                                                             \
    X(ADD, amg_emit_binary)                                                            \
    X(SUB, amg_emit_binary)                                                            \
    X(MUL, amg_emit_binary)                                                            \
    X(DIV, amg_emit_binary)                                                            \
    X(MAX, amg_emit_function)                                                          \
    X(MIN, amg_emit_function)                                                          \
    X(CONCAT, amg_emit_concat)                                                         \
    X(FLATTEN, amg_emit_flatten)                                                       \
    X(RESHAPE, amg_emit_reshape)                                                       \
    X(DROPOUT, amg_emit_dropout)                                                       \
    X(BERNOULLI, emit_folded)                                                          \
    X(RANDOM_UNIFORM_LIKE, amg_emit_noise)                                             \
    X(RANDOM_NORMAL_LIKE, amg_emit_noise)                                              \
    X(IDENTITY, emit_identity)                                                         \
    X(STOP_GRADIENT, amg_emit_function)                                                \
    X(REDUCE_MEAN, amg_emit_reduce)                                                    \
    X(PAD, amg_emit_pad)                                                               \
    X(CENTER_CROP_PAD, emit_folded)                                                    \
    X(DEPTH_TO_SPACE, emit_folded)                                                     \
    X(SPACE_TO_DEPTH, emit_folded)                                                     \
    X(CONV_TRANSPOSE, amg_emit_conv_transpose)                                         \
    X(DEFORM_CONV, emit_folded)                                                        \
    X(CAUSAL_CONV, emit_folded)                                                        \
    X(RESIZE, amg_emit_resize)                                                         \
    X(COL2IM, amg_emit_col2im)                                                         \
    X(GRID_SAMPLE, amg_emit_grid_sample)                                               \
    X(AFFINE_GRID, emit_folded)                                                        \
    X(LSTM, amg_emit_lstm)                                                             \
    X(GRU, amg_emit_gru)                                                               \
    X(RNN, amg_emit_rnn)                                                               \
    X(INSTANCE_NORM, amg_emit_instance_norm)                                           \
    X(GROUP_NORM, amg_emit_group_norm)                                                 \
    X(ELU, amg_emit_activation)                                                        \
    X(CELU, amg_emit_activation)                                                       \
    X(SELU, amg_emit_activation)                                                       \
    X(MISH, amg_emit_function)                                                         \
    X(SOFTSIGN, amg_emit_function)                                                     \
    X(SHRINK, amg_emit_shrink)                                                         \
    X(THRESHOLDED_RELU, amg_emit_activation)                                           \
    X(SOFTPLUS, amg_emit_function)                                                     \
    X(HARD_SIGMOID, amg_emit_activation)                                               \
    X(HARD_SWISH, amg_emit_function)                                                   \
    X(PRELU, amg_emit_prelu)                                                           \
    X(GATHER, amg_emit_gather)                                                         \
    X(GATHER_ELEMENTS, amg_emit_gather_elements)                                       \
    X(GATHER_ND, amg_emit_gather_nd)                                                   \
    X(SCATTER_ELEMENTS, amg_emit_scatter)                                              \
    X(SCATTER_ND, amg_emit_scatter)                                                    \
    X(REVERSE_SEQUENCE, emit_folded)                                                   \
    X(ONE_HOT, emit_folded)                                                            \
    X(EYE_LIKE, emit_folded)                                                           \
    X(CAST, amg_emit_cast)                                                             \
    X(SHAPE, emit_folded)                                                              \
    X(SIZE, emit_folded)                                                               \
    X(SLICE, amg_emit_slice)                                                           \
    X(SQUEEZE, amg_emit_squeeze)                                                       \
    X(UNSQUEEZE, amg_emit_squeeze)                                                     \
    X(TRANSPOSE, amg_emit_transpose)                                                   \
    X(CONSTANT, emit_folded)                                                           \
    X(CONSTANT_OF_SHAPE, amg_emit_constant_of_shape)                                   \
    X(RANGE, amg_emit_range)                                                           \
    X(WHERE, amg_emit_function)                                                        \
    X(EQUAL, amg_emit_function)                                                        \
    X(IS_NAN, amg_emit_function)                                                       \
    X(IS_INF, amg_emit_is_inf)                                                         \
    X(MOD, amg_emit_mod)                                                               \
    X(TRILU, amg_emit_trilu)                                                           \
    X(EXPAND, amg_emit_expand)                                                         \
    X(LAYER_NORM, amg_emit_layer_norm)                                                 \
    X(RMS_NORM, amg_emit_rms_norm)                                                     \
    X(LP_NORM, emit_folded)                                                            \
    X(LRN, emit_folded)                                                                \
    X(MEAN_VARIANCE_NORM, emit_folded)                                                 \
    X(ATTENTION, emit_folded)                                                          \
    X(ROTARY_EMBEDDING, emit_folded)                                                   \
    X(SOFTMAX, amg_emit_softmax)                                                       \
    X(LOG_SOFTMAX, amg_emit_softmax)                                                   \
    X(HARDMAX, emit_folded)                                                            \
    X(GELU, amg_emit_activation)                                                       \
    X(ERF, amg_emit_function)                                                          \
    X(EXP, amg_emit_function)                                                          \
    X(LOG, amg_emit_function)                                                          \
    X(SQRT, amg_emit_function)                                                         \
    X(NEG, amg_emit_function)                                                          \
    X(ABS, amg_emit_function)                                                          \
    X(SIGN, amg_emit_function)                                                         \
    X(FLOOR, amg_emit_function)                                                        \
    X(CEIL, amg_emit_function)                                                         \
    X(ROUND, amg_emit_function)                                                        \
    X(SIN, amg_emit_function)                                                          \
    X(COS, amg_emit_function)                                                          \
    X(TAN, amg_emit_function)                                                          \
    X(ASIN, amg_emit_function)                                                         \
    X(ACOS, amg_emit_function)                                                         \
    X(ATAN, amg_emit_function)                                                         \
    X(SINH, amg_emit_function)                                                         \
    X(COSH, amg_emit_function)                                                         \
    X(ASINH, amg_emit_function)                                                        \
    X(ACOSH, amg_emit_function)                                                        \
    X(ATANH, amg_emit_function)                                                        \
    X(RECIPROCAL, amg_emit_function)                                                   \
    X(POW, amg_emit_pow)                                                               \
    X(SPLIT, amg_emit_split)                                                           \
    X(TILE, amg_emit_tile)                                                             \
    X(REDUCE_SUM, amg_emit_reduce)                                                     \
    X(REDUCE_MAX, amg_emit_reduce)                                                     \
    X(REDUCE_MIN, amg_emit_reduce)                                                     \
    X(REDUCE_PROD, amg_emit_reduce)                                                    \
    X(REDUCE_L1, amg_emit_reduce)                                                      \
    X(REDUCE_L2, amg_emit_reduce)                                                      \
    X(REDUCE_LOG_SUM, amg_emit_reduce)                                                 \
    X(REDUCE_LOG_SUM_EXP, amg_emit_reduce)                                             \
    X(REDUCE_SUM_SQUARE, amg_emit_reduce)                                              \
    X(ARG_MAX, amg_emit_arg)                                                           \
    X(ARG_MIN, amg_emit_arg)                                                           \
    X(TOP_K, amg_emit_top_k)                                                           \
    X(CUM_SUM, amg_emit_cumulative)                                                    \
    X(CUM_PROD, amg_emit_cumulative)                                                   \
    X(GREATER, amg_emit_function)                                                      \
    X(LESS, amg_emit_function)                                                         \
    X(GREATER_OR_EQUAL, amg_emit_function)                                             \
    X(LESS_OR_EQUAL, amg_emit_function)                                                \
    X(NOT, amg_emit_function)                                                          \
    X(AND, amg_emit_function)                                                          \
    X(OR, amg_emit_function)                                                           \
    X(XOR, amg_emit_function)

#define FORM_ROW(id, form) [AMG_OP_##id] = (form),
#define FORM_NUMBER(id, form) FORM_##id,
static const amg_emit_form table[AMG_OP_COUNT] = {FORM_LIST(FORM_ROW)};

enum { FORM_LIST(FORM_NUMBER) FORM_COUNT };
_Static_assert((int)FORM_COUNT == (int)AMG_OP_COUNT, "a form for every operator");

amg_emit_form amg_emit_form_get(amg_op op)
{
    assert((unsigned)op < AMG_OP_COUNT && table[op]);
    return table[op];
}

int amg_emit_id(const amg_emit_step *s, int i)
{
    return i < s->num_inputs ? s->inputs[i] : AMG_NO_VALUE;
}

const amg_value *amg_emit_in(const amg_emit *e, const amg_emit_step *s, int i)
{
    int id = amg_emit_id(s, i);
    return id == AMG_NO_VALUE ? NULL : &e->g->values[id];
}

const amg_value *amg_emit_result(const amg_emit *e, const amg_emit_step *s)
{
    return &e->g->values[s->node->outputs[0]];
}

void amg_emit_value(amg_emit *e, int id)
{
    const amg_value *v = id == AMG_NO_VALUE ? NULL : &e->g->values[id];
    if (!v) {
        amg_text_add(&e->out, "None");
    } else if (v->kind != AMG_VALUE_PARAM) {
        amg_text_add(&e->out, "%s", v->name);
    } else if (v->role != AMG_ROLE_CONSTANT) {
        amg_text_add(&e->out, "self.%s", v->name);
    } else {
        if (e->constants[id] < 0) e->constants[id] = e->num_constants++;
        amg_text_add(&e->out, "self.c%03d", e->constants[id]);
    }
}

void amg_emit_operand(amg_emit *e, const amg_emit_step *s, int i)
{
    amg_emit_value(e, amg_emit_id(s, i));
}

void amg_emit_format(amg_emit *e, const amg_emit_step *s, const char *fmt)
{
    for (; *fmt; fmt++) {
        if (*fmt != '%')
            amg_text_add(&e->out, "%c", *fmt);
        else if (*++fmt == '%')
            amg_text_add(&e->out, "%%");
        else
            amg_emit_operand(e, s, *fmt - '0');
    }
}

amg_status amg_emit_fail(const amg_emit *e, const amg_emit_step *s, const char *fmt,
                         ...)
{
    char text[384], where[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    snprintf(where, sizeof where, "node of \"%.100s\" (%s)",
             e->g->values[s->node->outputs[0]].name, amg_op_get(s->node->op)->name);
    return amg_fail(e->err, AMG_UNSUPPORTED, -1, where, "%s", text);
}

static bool is_constant(const amg_value *v)
{
    return v && v->kind == AMG_VALUE_PARAM && v->role == AMG_ROLE_CONSTANT &&
           v->data.data;
}

bool amg_emit_ints(const amg_value *v, int max, int64_t *out, int *count)
{
    if (!is_constant(v) || v->rank > 1 || (v->dtype != AMG_I64 && v->dtype != AMG_I32))
        return false;
    int64_t n = amg_tensor_count(&v->data);
    if (n > max) return false;
    for (int64_t i = 0; i < n; i++)
        out[i] = v->dtype == AMG_I64 ? ((const int64_t *)v->data.data)[i]
                                     : ((const int32_t *)v->data.data)[i];
    *count = (int)n;
    return true;
}

amg_status amg_emit_axes(const amg_emit *e, const amg_emit_step *s, int input, int rank,
                         int64_t *axes, int *count)
{
    const amg_attr *attr = amg_attr_find(s->node, "axes");
    const amg_value *v = amg_emit_in(e, s, input);
    int64_t given[AMG_MAX_RANK];
    unsigned mask = 0;
    int n = 0;
    if (v && !amg_emit_ints(v, AMG_MAX_RANK, given, &n))
        return amg_emit_fail(e, s, "axes are not constant");
    if (!v && attr && attr->kind == AMG_ATTR_INTS && attr->count <= AMG_MAX_RANK) {
        n = attr->count;
        memcpy(given, attr->ints, (size_t)n * sizeof *given);
    }
    for (int i = 0; i < n; i++) {
        int64_t axis = given[i] < 0 ? given[i] + rank : given[i];
        if (axis < 0 || axis >= rank)
            return amg_emit_fail(e, s, "axis %lld is out of range for rank %d",
                                 (long long)given[i], rank);
        mask |= 1u << axis;
    }
    *count = 0;
    for (int i = 0; i < rank; i++)
        if (mask >> i & 1) axes[(*count)++] = i;
    return AMG_OK;
}

void amg_emit_dims(amg_emit *e, int rank, const int64_t *dims, bool free_batch)
{
    for (int i = 0; i < rank; i++) {
        if (i) amg_text_add(&e->out, ", ");
        if (dims[i] >= 0)
            amg_text_add(&e->out, "%lld", (long long)dims[i]);
        else if (free_batch)
            amg_text_add(&e->out, "-1");
        else
            amg_text_add(&e->out, "%s.shape[0]", e->g->values[e->g->inputs[0]].name);
        if (dims[i] < -1 && !free_batch)
            amg_text_add(&e->out, " * %lld", -(long long)dims[i]);
    }
}

const char *amg_emit_dtype(amg_dtype dtype)
{
    switch (dtype) {
    case AMG_F32: return "float32";
    case AMG_F64: return "float64";
    case AMG_F16: return "float16";
    case AMG_BF16: return "bfloat16";
    case AMG_U8: return "uint8";
    case AMG_I8: return "int8";
    case AMG_I16: return "int16";
    case AMG_I32: return "int32";
    case AMG_I64: return "int64";
    case AMG_BOOL: return "bool";
    default: return NULL;
    }
}
