/* Functions of one input that exporters take apart: logsigmoid, log1p,
 * rsqrt, glu. Each has a kernel of its own in PyTorch, whose bits, or
 * gradient's, are not those of its parts. The order of operands is the exporter's: it
 * tells log1p(x) from log(x + 1) as people write it. */
#include "emit/emit_fuse.h"

/* The statements. */
static amg_status emit_log_sigmoid(amg_emit *e, const amg_emit_step *s)
{
    amg_emit_format(e, s, "F.logsigmoid(%0)");
    return AMG_OK;
}

static amg_status emit_log1p(amg_emit *e, const amg_emit_step *s)
{
    amg_emit_format(e, s, "torch.log1p(%0)");
    return AMG_OK;
}

static amg_status emit_rsqrt(amg_emit *e, const amg_emit_step *s)
{
    amg_emit_format(e, s, "torch.rsqrt(%0)");
    return AMG_OK;
}

static amg_status emit_glu(amg_emit *e, const amg_emit_step *s)
{
    amg_emit_format(e, s, "F.glu(%0, ");
    amg_text_add(&e->out, "%lld)", (long long)amg_attr_int(s->inner, "axis", 0));
    return AMG_OK;
}

static int find_log_sigmoid(const amg_graph *g, const amg_node *n)
{
    return n->op == AMG_OP_LOG ? amg_graph_operand(g, n->inputs[0], AMG_OP_SIGMOID)
                               : AMG_NO_VALUE;
}

/* log(1 + x) */
static int find_log1p(const amg_graph *g, const amg_node *n)
{
    const amg_node *add =
        n->op == AMG_OP_LOG ? amg_graph_maker(g, n->inputs[0], AMG_OP_ADD) : NULL;
    return add && amg_graph_is_number(g, add->inputs[0], 1) ? add->inputs[1]
                                                            : AMG_NO_VALUE;
}

/* 1 / sqrt(x) */
static int find_rsqrt(const amg_graph *g, const amg_node *n)
{
    if (n->op != AMG_OP_DIV || !amg_graph_is_number(g, n->inputs[0], 1))
        return AMG_NO_VALUE;
    return amg_graph_operand(g, n->inputs[1], AMG_OP_SQRT);
}

/* a * sigmoid(b), where a and b are the halves of x. */
static bool match_glu(const amg_graph *g, amg_emit_step *s)
{
    if (s->node->op != AMG_OP_MUL) return false;
    const amg_node *half = amg_graph_maker(g, s->node->inputs[0], AMG_OP_SPLIT);
    const int gate = amg_graph_operand(g, s->node->inputs[1], AMG_OP_SIGMOID);
    if (!half || half->num_outputs != 2 || s->node->inputs[0] != half->outputs[0] ||
        gate != half->outputs[1])
        return false;
    const amg_value *a = &g->values[half->outputs[0]], *b = &g->values[gate];
    for (int d = 0; d < a->rank; d++)
        if (a->dims[d] != b->dims[d]) return false;
    amg_fuse_set(s, emit_glu, 1, &half->inputs[0]);
    s->inner = half;
    return true;
}

bool amg_fuse_unit(const amg_graph *g, amg_emit_step *s)
{
    static const struct {
        int (*find)(const amg_graph *g, const amg_node *n);
        amg_emit_form form;
    } units[] = {{find_log1p, emit_log1p},
                 {find_log_sigmoid, emit_log_sigmoid},
                 {find_rsqrt, emit_rsqrt}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        const int x = units[i].find(g, s->node);
        if (x == AMG_NO_VALUE) continue;
        amg_fuse_set(s, units[i].form, 1, &x);
        return true;
    }
    return match_glu(g, s);
}
