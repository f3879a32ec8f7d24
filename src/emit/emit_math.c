/* Forms of arithmetic: products of matrices, elementwise functions, softmax. */
#include <math.h>
#include <string.h>

#include "emit/emit_ops.h"

/* An operand of an elementwise operator: a constant of one number, where the other
 * operand has its shape anyway, is written as that number. */
static void add_number_or_value(amg_emit *e, const amg_emit_step *s, int i)
{
    const amg_value *v = amg_emit_in(e, s, i), *other = amg_emit_in(e, s, 1 - i);
    double number;
    bool plain = other->kind != AMG_VALUE_PARAM && v->dtype == AMG_F32 &&
                 v->rank <= other->rank && amg_value_number(v, &number) &&
                 isfinite(number);
    if (plain)
        amg_text_float(&e->out, (float)number);
    else
        amg_emit_operand(e, s, i);
}

static bool is_vector(const amg_value *v, int64_t n)
{
    return v->rank == 1 && v->dims[0] == n;
}

amg_status amg_emit_gemm(amg_emit *e, const amg_emit_step *s)
{
    const amg_value *w = amg_emit_in(e, s, 1), *bias = amg_emit_in(e, s, 2);
    float alpha = amg_attr_float(s->node, "alpha", 1);
    float beta = amg_attr_float(s->node, "beta", 1);
    bool trans_b = amg_attr_int(s->node, "transB", 0) != 0;
    if (amg_attr_int(s->node, "transA", 0) != 0 || alpha != 1 || (bias && beta != 1))
        return amg_emit_fail(e, s, "has transA, alpha or beta, expected a plain layer");
    bool plain_bias =
        !bias || (w->rank == 2 && is_vector(bias, w->dims[trans_b ? 0 : 1]));
    if (trans_b)
        amg_emit_format(e, s,
                        !bias        ? "F.linear(%0, %1)"
                        : plain_bias ? "F.linear(%0, %1, %2)"
                                     : "F.linear(%0, %1) + %2");
    else
        amg_emit_format(e, s,
                        !bias        ? "torch.mm(%0, %1)"
                        : plain_bias ? "torch.addmm(%2, %0, %1)"
                                     : "torch.mm(%0, %1) + %2");
    return AMG_OK;
}

amg_status amg_emit_binary(amg_emit *e, const amg_emit_step *s)
{
    const char *sign = " + ";
    switch (s->node->op) {
    case AMG_OP_MAT_MUL: amg_emit_format(e, s, "torch.matmul(%0, %1)"); return AMG_OK;
    case AMG_OP_SUB: sign = " - "; break;
    case AMG_OP_MUL: sign = " * "; break;
    case AMG_OP_DIV: sign = " / "; break;
    default: break;
    }
    if (s->node->op == AMG_OP_DIV && amg_emit_result(e, s)->dtype != AMG_F32) {
        amg_emit_format(e, s, "torch.div(%0, %1, rounding_mode=\"trunc\")");
        return AMG_OK;
    }
    add_number_or_value(e, s, 0);
    amg_text_add(&e->out, "%s", sign);
    add_number_or_value(e, s, 1);
    return AMG_OK;
}

/* Operators that are one function of PyTorch. */
amg_status amg_emit_function(amg_emit *e, const amg_emit_step *s)
{
    static const struct {
        amg_op op;
        const char *text;
    } functions[] = {
        {AMG_OP_RELU, "F.relu(%0)"},
        {AMG_OP_SIGMOID, "torch.sigmoid(%0)"},
        {AMG_OP_TANH, "torch.tanh(%0)"},
        {AMG_OP_SOFTPLUS, "F.softplus(%0)"},
        {AMG_OP_HARD_SWISH, "F.hardswish(%0)"},
        {AMG_OP_MISH, "F.mish(%0)"},
        {AMG_OP_SOFTSIGN, "F.softsign(%0)"},
        {AMG_OP_ERF, "torch.erf(%0)"},
        {AMG_OP_EXP, "torch.exp(%0)"},
        {AMG_OP_LOG, "torch.log(%0)"},
        {AMG_OP_SQRT, "torch.sqrt(%0)"},
        {AMG_OP_NEG, "-%0"},
        {AMG_OP_ABS, "torch.abs(%0)"},
        {AMG_OP_SIGN, "torch.sign(%0)"},
        {AMG_OP_FLOOR, "torch.floor(%0)"},
        {AMG_OP_CEIL, "torch.ceil(%0)"},
        {AMG_OP_ROUND, "torch.round(%0)"},
        {AMG_OP_STOP_GRADIENT, "%0.detach()"},
        {AMG_OP_SIN, "torch.sin(%0)"},
        {AMG_OP_COS, "torch.cos(%0)"},
        {AMG_OP_TAN, "torch.tan(%0)"},
        {AMG_OP_ASIN, "torch.asin(%0)"},
        {AMG_OP_ACOS, "torch.acos(%0)"},
        {AMG_OP_ATAN, "torch.atan(%0)"},
        {AMG_OP_SINH, "torch.sinh(%0)"},
        {AMG_OP_COSH, "torch.cosh(%0)"},
        {AMG_OP_ASINH, "torch.asinh(%0)"},
        {AMG_OP_ACOSH, "torch.acosh(%0)"},
        {AMG_OP_ATANH, "torch.atanh(%0)"},
        {AMG_OP_RECIPROCAL, "torch.reciprocal(%0)"},
        {AMG_OP_MAX, "torch.maximum(%0, %1)"},
        {AMG_OP_MIN, "torch.minimum(%0, %1)"},
        {AMG_OP_IS_NAN, "torch.isnan(%0)"},
        {AMG_OP_XOR, "torch.logical_xor(%0, %1)"},
        {AMG_OP_WHERE, "torch.where(%0, %1, %2)"},
        {AMG_OP_EQUAL, "torch.eq(%0, %1)"},
        {AMG_OP_GREATER, "torch.gt(%0, %1)"},
        {AMG_OP_LESS, "torch.lt(%0, %1)"},
        {AMG_OP_GREATER_OR_EQUAL, "torch.ge(%0, %1)"},
        {AMG_OP_LESS_OR_EQUAL, "torch.le(%0, %1)"},
        {AMG_OP_NOT, "torch.logical_not(%0)"},
        {AMG_OP_AND, "torch.logical_and(%0, %1)"},
        {AMG_OP_OR, "torch.logical_or(%0, %1)"},
    };
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (functions[i].op == s->node->op) {
            amg_emit_format(e, s, functions[i].text);
            return AMG_OK;
        }
    return amg_emit_fail(e, s, "has no PyTorch function");
}

amg_status amg_emit_mod(amg_emit *e, const amg_emit_step *s)
{
    amg_emit_format(e, s,
                    amg_attr_int(s->node, "fmod", 0) ? "torch.fmod(%0, %1)"
                                                     : "torch.remainder(%0, %1)");
    return AMG_OK;
}

amg_status amg_emit_is_inf(amg_emit *e, const amg_emit_step *s)
{
    const bool below = amg_attr_int(s->node, "detect_negative", 1) != 0;
    const bool above = amg_attr_int(s->node, "detect_positive", 1) != 0;
    amg_emit_format(e, s,
                    below && above ? "torch.isinf(%0)"
                    : above        ? "torch.isposinf(%0)"
                    : below        ? "torch.isneginf(%0)"
                                   : "torch.zeros_like(%0, dtype=torch.bool)");
    return AMG_OK;
}

amg_status amg_emit_pow(amg_emit *e, const amg_emit_step *s)
{
    const amg_value *exponent = amg_emit_in(e, s, 1);
    double number;
    if (!amg_value_number(exponent, &number) || !isfinite(number) ||
        exponent->rank > amg_emit_in(e, s, 0)->rank) {
        amg_emit_format(e, s, "torch.pow(%0, %1)");
        return AMG_OK;
    }
    amg_emit_format(e, s, "torch.pow(%0, ");
    amg_text_float(&e->out, (float)number);
    amg_text_add(&e->out, ")");
    return AMG_OK;
}

amg_status amg_emit_clip(amg_emit *e, const amg_emit_step *s)
{
    const amg_value *low = amg_emit_in(e, s, 1), *high = amg_emit_in(e, s, 2);
    double a = 0, b = 0;
    if ((low && !amg_value_number(low, &a)) || (high && !amg_value_number(high, &b)))
        return amg_emit_fail(e, s, "bounds are not constant numbers");
    if (low && high && a == 0 && b == 6) {
        amg_emit_format(e, s, "F.relu6(%0)");
        return AMG_OK;
    }
    if (!low && !high) {
        amg_emit_operand(e, s, 0);
        return AMG_OK;
    }
    /* At a bound hardtanh has no gradient and clamp has one; a module with both bounds
     * is nn.Hardtanh more often. */
    bool both = low && high && a <= b;
    amg_emit_format(e, s, both ? "F.hardtanh(%0" : "torch.clamp(%0");
    if (low) {
        amg_text_add(&e->out, both ? ", " : ", min=");
        amg_text_float(&e->out, (float)a);
    }
    if (high) {
        amg_text_add(&e->out, both ? ", " : ", max=");
        amg_text_float(&e->out, (float)b);
    }
    amg_text_add(&e->out, ")");
    return AMG_OK;
}

/* An elementwise function with a number of its own. */
static void add_call(amg_emit *e, const amg_emit_step *s, const char *function,
                     float number)
{
    amg_text_add(&e->out, "%s(", function);
    amg_emit_operand(e, s, 0);
    amg_text_add(&e->out, ", ");
    amg_text_float(&e->out, number);
    amg_text_add(&e->out, ")");
}

static amg_status hard_sigmoid(amg_emit *e, const amg_emit_step *s)
{
    float alpha = amg_attr_float(s->node, "alpha", 0.2f);
    float beta = amg_attr_float(s->node, "beta", 0.5f);
    if (beta == 0.5f && fabsf(alpha - 1.0f / 6) < 1e-6f) {
        amg_emit_format(e, s, "F.hardsigmoid(%0)");
        return AMG_OK;
    }
    amg_text_add(&e->out, "torch.clamp(");
    amg_text_float(&e->out, alpha);
    amg_emit_format(e, s, " * %0 + ");
    amg_text_float(&e->out, beta);
    amg_text_add(&e->out, ", 0.0, 1.0)");
    return AMG_OK;
}

/* PyTorch's constants are fixed; an exporter rounds them to float32. */
static amg_status selu(amg_emit *e, const amg_emit_step *s)
{
    float alpha = amg_attr_float(s->node, "alpha", 1.6732632f);
    float gamma = amg_attr_float(s->node, "gamma", 1.050701f);
    if (fabsf(alpha - 1.6732632f) < 1e-5f && fabsf(gamma - 1.050701f) < 1e-5f) {
        amg_emit_format(e, s, "F.selu(%0)");
        return AMG_OK;
    }
    amg_text_float(&e->out, gamma);
    amg_text_add(&e->out, " * ");
    add_call(e, s, "F.elu", alpha);
    return AMG_OK;
}

static amg_status thresholded_relu(amg_emit *e, const amg_emit_step *s)
{
    amg_emit_format(e, s, "F.threshold(%0, ");
    amg_text_float(&e->out, amg_attr_float(s->node, "alpha", 1));
    amg_text_add(&e->out, ", 0.0)");
    return AMG_OK;
}

amg_status amg_emit_shrink(amg_emit *e, const amg_emit_step *s)
{
    float lambd = amg_attr_float(s->node, "lambd", 0.5f);
    float bias = amg_attr_float(s->node, "bias", 0);
    if (bias == 0.0f || (bias == lambd && lambd >= 0)) {
        add_call(e, s, bias == 0.0f ? "F.hardshrink" : "F.softshrink", lambd);
        return AMG_OK;
    }
    amg_emit_format(e, s, "torch.where(%0 < ");
    amg_text_float(&e->out, -lambd);
    amg_emit_format(e, s, ", %0 + ");
    amg_text_float(&e->out, bias);
    amg_emit_format(e, s, ", torch.where(%0 > ");
    amg_text_float(&e->out, lambd);
    amg_emit_format(e, s, ", %0 - ");
    amg_text_float(&e->out, bias);
    amg_emit_format(e, s, ", torch.zeros_like(%0)))");
    return AMG_OK;
}

amg_status amg_emit_activation(amg_emit *e, const amg_emit_step *s)
{
    const amg_node *n = s->node;
    switch (n->op) {
    case AMG_OP_LEAKY_RELU:
        add_call(e, s, "F.leaky_relu", amg_attr_float(n, "alpha", 0.01f));
        return AMG_OK;
    case AMG_OP_ELU:
        add_call(e, s, "F.elu", amg_attr_float(n, "alpha", 1));
        return AMG_OK;
    case AMG_OP_CELU:
        add_call(e, s, "F.celu", amg_attr_float(n, "alpha", 1));
        return AMG_OK;
    case AMG_OP_THRESHOLDED_RELU: return thresholded_relu(e, s);
    case AMG_OP_HARD_SIGMOID: return hard_sigmoid(e, s);
    case AMG_OP_SELU: return selu(e, s);
    default: break;
    }
    bool tanh = strcmp(amg_attr_string(n, "approximate", "none"), "tanh") == 0;
    amg_emit_format(e, s, tanh ? "F.gelu(%0, approximate=\"tanh\")" : "F.gelu(%0)");
    return AMG_OK;
}

amg_status amg_emit_prelu(amg_emit *e, const amg_emit_step *s)
{
    /* ONNX's slope broadcasts to x; PyTorch's is a vector along the channels. */
    const amg_value *x = amg_emit_in(e, s, 0), *slope = amg_emit_in(e, s, 1);
    int64_t count = 1;
    for (int i = 0; i < slope->rank; i++) count *= slope->dims[i];
    int channel = slope->rank - (x->rank - 1); /* the slope's dim of the channels */
    if (slope->rank == 1 && (count == 1 || (x->rank == 2 && count == x->dims[1])))
        amg_emit_format(e, s, "F.prelu(%0, %1)");
    else if (count == 1 || (channel >= 0 && channel < slope->rank &&
                            slope->dims[channel] == count && count == x->dims[1]))
        amg_emit_format(e, s, "F.prelu(%0, %1.reshape(-1))");
    else
        amg_emit_format(e, s, "torch.where(%0 > 0, %0, %0 * %1)");
    return AMG_OK;
}

amg_status amg_emit_softmax(amg_emit *e, const amg_emit_step *s)
{
    amg_emit_format(e, s,
                    s->node->op == AMG_OP_SOFTMAX ? "torch.softmax(%0, dim="
                                                  : "torch.log_softmax(%0, dim=");
    amg_text_add(&e->out, "%lld)", (long long)amg_attr_int(s->node, "axis", -1));
    return AMG_OK;
}
