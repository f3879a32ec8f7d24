/* Activation functions that exporters take apart, and that have a row of their own:
 * Gelu in both forms, Mish. All end with a Mul; the nodes before it go where nothing
 * else reads them. */
#include <math.h>

#include "graph/lower.h"
#include "graph/pattern.h"

#define SQRT_2_BY_PI 0.79788456080286535588
#define CUBE 0.044715

/* What value is number * or number + of; AMG_NO_VALUE if it is not. */
static int beside(const amg_graph *g, int value, amg_op op, double number)
{
    const amg_node *n = amg_graph_maker(g, value, op);
    return n ? amg_graph_beside_number(g, n, number) : AMG_NO_VALUE;
}

/* x of 1 + erf(x / sqrt 2); AMG_NO_VALUE if value is something else. */
static int find_erf(const amg_graph *g, int value)
{
    const int of = amg_graph_operand(g, beside(g, value, AMG_OP_ADD, 1), AMG_OP_ERF);
    const amg_node *div = amg_graph_maker(g, of, AMG_OP_DIV);
    if (div && amg_graph_is_number(g, div->inputs[1], sqrt(2))) return div->inputs[0];
    return beside(g, of, AMG_OP_MUL, sqrt(0.5));
}

/* x of a * b * c, where one is a half, one x and one the sum with erf. */
static int find_gelu(const amg_graph *g, const amg_node *n)
{
    for (int side = 0; side < 2; side++) {
        const amg_node *inner = amg_graph_maker(g, n->inputs[side], AMG_OP_MUL);
        if (!inner) continue;
        const int factors[3] = {n->inputs[1 - side], inner->inputs[0],
                                inner->inputs[1]};
        for (int i = 0; i < 3; i++) {
            const int x = find_erf(g, factors[i]);
            const int a = factors[(i + 1) % 3], b = factors[(i + 2) % 3];
            if (x != AMG_NO_VALUE && ((a == x && amg_graph_is_number(g, b, 0.5)) ||
                                      (b == x && amg_graph_is_number(g, a, 0.5))))
                return x;
        }
    }
    return AMG_NO_VALUE;
}

/* x of 0.5 * (x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * (x * (x * x)))))) */
static int find_gelu_tanh(const amg_graph *g, const amg_node *n)
{
    const amg_node *outer =
        amg_graph_maker(g, amg_graph_beside_number(g, n, 0.5), AMG_OP_MUL);
    if (!outer) return AMG_NO_VALUE;
    const int x = outer->inputs[0];
    const int tanh =
        amg_graph_operand(g, beside(g, outer->inputs[1], AMG_OP_ADD, 1), AMG_OP_TANH);
    const amg_node *sum =
        amg_graph_maker(g, beside(g, tanh, AMG_OP_MUL, SQRT_2_BY_PI), AMG_OP_ADD);
    if (!sum || sum->inputs[0] != x) return AMG_NO_VALUE;
    const amg_node *cube =
        amg_graph_maker(g, beside(g, sum->inputs[1], AMG_OP_MUL, CUBE), AMG_OP_MUL);
    if (!cube || cube->inputs[0] != x) return AMG_NO_VALUE;
    const amg_node *square = amg_graph_maker(g, cube->inputs[1], AMG_OP_MUL);
    return square && square->inputs[0] == x && square->inputs[1] == x ? x
                                                                      : AMG_NO_VALUE;
}

/* x of x * tanh(softplus(x)) */
static int find_mish(const amg_graph *g, const amg_node *n)
{
    const int x = n->inputs[0], t = amg_graph_operand(g, n->inputs[1], AMG_OP_TANH);
    return amg_graph_operand(g, t, AMG_OP_SOFTPLUS) == x ? x : AMG_NO_VALUE;
}

static const struct {
    int (*find)(const amg_graph *g, const amg_node *n);
    amg_op op;
    const char *approximate; /* Gelu's attribute; NULL: none */
} functions[] = {{find_gelu, AMG_OP_GELU, NULL},
                 {find_gelu_tanh, AMG_OP_GELU, "tanh"},
                 {find_mish, AMG_OP_MISH, NULL}};
enum { NUM_FUNCTIONS = sizeof functions / sizeof *functions };

static bool is_function(const amg_graph *g, const amg_node *n)
{
    for (int i = 0; i < NUM_FUNCTIONS; i++)
        if (functions[i].find(g, n) != AMG_NO_VALUE) return true;
    return false;
}

static void lower_function(amg_lower *l, int *out)
{
    const amg_graph *g = l->r->g;
    int i = 0, x = functions[0].find(g, l->node);
    while (x == AMG_NO_VALUE) x = functions[++i].find(g, l->node);
    const amg_attr form = {
        .name = "approximate", .kind = AMG_ATTR_STRING, .s = functions[i].approximate};
    out[0] =
        amg_lower_node(l, functions[i].op, 1, &l->r->map[x], form.s != NULL, &form);
}

const amg_lower_rule amg_lower_activation = {is_function, lower_function};
