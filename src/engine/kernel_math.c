/* Elementwise functions whose gradient is taken from their input: Gelu, Erf, Exp, Log,
 * Sqrt, Neg, Abs, Reciprocal, trigonometry, Pow with a constant exponent; and Sign,
 * Floor, Ceil and Round, which have none. In any channel blocking without padding,
 * which most of them would not leave zero; row-major otherwise. */
#include <math.h>
#include <string.h>

#include "base/parallel.h"
#include "engine/kernel.h"
#include "engine/vector.h"

#define GRAIN 4096

/* Gelu is x times the normal distribution up to x; or, by tanh,
 * 0.5 x (1 + tanh(u)), u = sqrt(2/pi) (x + 0.044715 x^3). */
#define SQRT_2_BY_PI 0.79788456080286535588f
#define TWO_BY_SQRT_PI 1.12837916709551257390f
#define ONE_BY_SQRT_2PI 0.39894228040143267794f
#define CUBE 0.044715f

typedef struct {
    amg_op op;
    bool approximate; /* Gelu by tanh */
    float exponent;   /* Pow */
    int64_t count;
    const amg_layout *layout;
} math_state;

typedef struct {
    const math_state *s;
    float *dst;
    const float *x, *dy;
} context;

/* 0.5 x (1 + tanh(u)) is x / (1 + e^-2u); which is the logistic function of 2u. */
AMG_INLINE float logistic_of_2u(float x)
{
    return amg_sigmoidf(2 * SQRT_2_BY_PI * (x + CUBE * x * x * x));
}

AMG_INLINE float gelu_tanh(float x) { return x * logistic_of_2u(x); }

AMG_INLINE float gelu_tanh_slope(float x)
{
    const float s = logistic_of_2u(x);
    const float inner = 2 * SQRT_2_BY_PI * (1 + 3 * CUBE * x * x);
    return s + x * s * (1 - s) * inner;
}

AMG_INLINE float gelu(float x)
{
    float bell;
    return x * amg_normalf(x, &bell);
}

AMG_INLINE float gelu_slope(float x)
{
    float bell;
    const float normal = amg_normalf(x, &bell);
    return normal + x * bell * ONE_BY_SQRT_2PI;
}

AMG_INLINE float squared(float x) { return x * x; }

static float power(float x, float e)
{
    if (e == 2) return x * x;
    if (e == 3) return x * x * x;
    if (e == 0.5f) return sqrtf(x);
    return powf(x, e);
}

AMG_VECTOR static void forward_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const math_state *s = c->s;
    const float *x = c->x;
    float *y = c->dst;
#define EACH(expression)                                                               \
    {                                                                                  \
        _Pragma("omp simd") for (int64_t i = begin; i < end; i++) y[i] = (expression); \
        return;                                                                        \
    }
    switch (s->op) {
    case AMG_OP_GELU:
        if (s->approximate) EACH(gelu_tanh(x[i]));
        EACH(gelu(x[i]));
    case AMG_OP_ERF: EACH(amg_erff(x[i]));
    case AMG_OP_EXP: EACH(expf(x[i]));
    case AMG_OP_LOG: EACH(logf(x[i]));
    case AMG_OP_SQRT: EACH(sqrtf(x[i]));
    case AMG_OP_NEG: EACH(-x[i]);
    case AMG_OP_ABS: EACH(fabsf(x[i]));
    case AMG_OP_RECIPROCAL: EACH(1 / x[i]);
    case AMG_OP_SIGN: EACH(x[i] > 0 ? 1 : x[i] < 0 ? -1 : x[i]);
    case AMG_OP_FLOOR: EACH(floorf(x[i]));
    case AMG_OP_CEIL: EACH(ceilf(x[i]));
    case AMG_OP_ROUND: EACH(rintf(x[i]));
    case AMG_OP_SIN: EACH(sinf(x[i]));
    case AMG_OP_COS: EACH(cosf(x[i]));
    case AMG_OP_TAN: EACH(tanf(x[i]));
    case AMG_OP_ASIN: EACH(asinf(x[i]));
    case AMG_OP_ACOS: EACH(acosf(x[i]));
    case AMG_OP_ATAN: EACH(atanf(x[i]));
    case AMG_OP_SINH: EACH(sinhf(x[i]));
    case AMG_OP_COSH: EACH(coshf(x[i]));
    case AMG_OP_ASINH: EACH(asinhf(x[i]));
    case AMG_OP_ACOSH: EACH(acoshf(x[i]));
    case AMG_OP_ATANH: EACH(atanhf(x[i]));
    default: EACH(power(x[i], s->exponent));
    }
}

AMG_VECTOR static void backward_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const math_state *s = c->s;
    const float *x = c->x, *dy = c->dy;
    float *y = c->dst, e = s->exponent;
    switch (s->op) {
    case AMG_OP_GELU:
        if (s->approximate) EACH(dy[i] * gelu_tanh_slope(x[i]));
        EACH(dy[i] * gelu_slope(x[i]));
    case AMG_OP_ERF: EACH(dy[i] * TWO_BY_SQRT_PI * amg_expf(-x[i] * x[i]));
    case AMG_OP_EXP: EACH(dy[i] * expf(x[i]));
    case AMG_OP_LOG: EACH(dy[i] / x[i]);
    case AMG_OP_SQRT: EACH(dy[i] / (2 * sqrtf(x[i])));
    case AMG_OP_NEG: EACH(-dy[i]);
    case AMG_OP_ABS: EACH(x[i] > 0 ? dy[i] : x[i] < 0 ? -dy[i] : 0 * x[i]);
    case AMG_OP_RECIPROCAL: EACH(-dy[i] / squared(x[i]));
    case AMG_OP_SIN: EACH(dy[i] * cosf(x[i]));
    case AMG_OP_COS: EACH(-dy[i] * sinf(x[i]));
    case AMG_OP_TAN: EACH(dy[i] * (1 + squared(tanf(x[i]))));
    case AMG_OP_ASIN: EACH(dy[i] / sqrtf(1 - squared(x[i])));
    case AMG_OP_ACOS: EACH(-dy[i] / sqrtf(1 - squared(x[i])));
    case AMG_OP_ATAN: EACH(dy[i] / (1 + squared(x[i])));
    case AMG_OP_SINH: EACH(dy[i] * coshf(x[i]));
    case AMG_OP_COSH: EACH(dy[i] * sinhf(x[i]));
    case AMG_OP_ASINH: EACH(dy[i] / sqrtf(squared(x[i]) + 1));
    case AMG_OP_ACOSH: EACH(dy[i] / sqrtf(squared(x[i]) - 1));
    case AMG_OP_ATANH: EACH(dy[i] / (1 - squared(x[i])));
    default: EACH(e == 0 ? 0 : dy[i] * e * power(x[i], e - 1));
    }
#undef EACH
}

static void run_forward(const amg_call *call)
{
    const math_state *s = call->self;
    context c = {.s = s, .dst = call->ptr[0], .x = call->ptr[1]};
    amg_parallel_for(s->count, GRAIN, forward_range, &c);
}

static void run_backward(const amg_call *call)
{
    const math_state *s = call->self;
    context c = {s, call->ptr[0], call->ptr[2], call->ptr[1]};
    amg_parallel_for(s->count, GRAIN, backward_range, &c);
}

/* Pow by one constant number that leaves x's shape as it is; other exponents are
 * kernel_binary.c's. */
static bool find_exponent(const amg_plan *p, int node, float *out)
{
    const amg_node *n = amg_plan_node(p, node);
    const amg_tensor *t = amg_plan_constant(p, n->inputs[1]);
    if (!t || amg_tensor_count(t) != 1 ||
        t->rank > amg_plan_value(p, n->inputs[0])->rank)
        return false;
    switch (t->dtype) {
    case AMG_F32: *out = *(const float *)t->data; return true;
    case AMG_I32: *out = (float)*(const int32_t *)t->data; return true;
    case AMG_I64: *out = (float)*(const int64_t *)t->data; return true;
    default: return false;
    }
}

static void find_approximation(amg_plan *p, int node, bool *out)
{
    const char *how = amg_attr_string(amg_plan_node(p, node), "approximate", "none");
    *out = strcmp(how, "tanh") == 0;
    if (!*out && strcmp(how, "none") != 0)
        amg_plan_fail(p, node, AMG_UNSUPPORTED,
                      "approximate is \"%.40s\", expected \"none\" or \"tanh\"", how);
}

/* The input's own layout unless it pads channels. */
static const amg_layout *choose_layout(amg_plan *p, int x)
{
    const amg_layout *own = amg_plan_layout(p, x);
    amg_geometry g;
    if (!own || (amg_layout_geometry(own, &g) && g.blocks * g.block == g.channels))
        return own;
    return amg_plan_plain(p, x);
}

void amg_math_forward(amg_plan *p, int node)
{
    const amg_node *n = amg_plan_node(p, node);
    int x = n->inputs[0];
    float exponent = 0;
    if (amg_logic_takes(p, node)) {
        amg_logic_forward(p, node);
        return;
    }
    if (n->op == AMG_OP_POW && !find_exponent(p, node, &exponent)) {
        amg_binary_forward(p, node);
        return;
    }
    math_state *s = amg_plan_alloc(p, 1, sizeof *s);
    if (!s) return;
    s->op = n->op;
    s->exponent = exponent;
    if (n->op == AMG_OP_GELU) find_approximation(p, node, &s->approximate);
    amg_plan_expect_f32(p, node, x);
    s->layout = choose_layout(p, x);
    if (p->status) return;
    s->count = (int64_t)(amg_layout_bytes(s->layout) / sizeof(float));
    p->nodes[node].self = s;
    int in = amg_plan_read(p, node, x, s->layout);
    int out = amg_plan_define_over(p, node, s->layout, in, n->op != AMG_OP_NEG);
    amg_emit_kernel(p, node, "math", run_forward, s, 2, (int[]){out, in});
}

void amg_math_backward(amg_plan *p, int node)
{
    float exponent;
    if (amg_plan_node(p, node)->op == AMG_OP_POW &&
        !find_exponent(p, node, &exponent)) {
        amg_binary_backward(p, node);
        return;
    }
    const math_state *s = p->nodes[node].self;
    int x = amg_plan_input_value(p, node, 0);
    int dy = amg_plan_grad(p, node, NULL);
    int dx =
        amg_plan_grad_exclusive(p, node) ? dy : amg_plan_grad_target(p, x, s->layout);
    amg_emit_kernel(p, node, "math backward", run_backward, s, 3,
                    (int[]){dx, dy, amg_plan_read(p, node, x, s->layout)});
    amg_plan_give_grad(p, node, x, dx, s->layout);
}
