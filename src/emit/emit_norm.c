/* Forms of normalisation, dropout and noise. */
#include <stdio.h>
#include <stdlib.h>

#include "emit/emit_ops.h"
#include "graph/drop_mask.h"

/* PyTorch's momentum weighs the new value, ONNX's the old one: the shortest decimal m
 * for which 1 - m is the attribute, which is what the module's author wrote. */
static void add_momentum(amg_emit *e, float onnx_momentum)
{
    char text[32];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, 1 - (double)onnx_momentum);
        if ((float)(1 - strtod(text, NULL)) == onnx_momentum) break;
    }
    amg_text_add(&e->out, "%s", text);
}

static void add_epsilon(amg_emit *e, const amg_emit_step *s)
{
    amg_text_float(&e->out, amg_attr_float(s->node, "epsilon", 1e-5f));
}

amg_status amg_emit_batch_norm(amg_emit *e, const amg_emit_step *s)
{
    const bool fixed = e->fixed && e->fixed[amg_emit_id(s, 3)];
    amg_emit_format(e, s, "batch_norm(%0, %3, %4, %1, %2, ");
    amg_text_add(&e->out, fixed ? "False, " : "self.training, ");
    add_momentum(e, amg_attr_float(s->node, "momentum", 0.9f));
    amg_text_add(&e->out, ", ");
    add_epsilon(e, s);
    amg_text_add(&e->out, ")");
    return AMG_OK;
}

amg_status amg_emit_layer_norm(amg_emit *e, const amg_emit_step *s)
{
    const amg_value *w = amg_emit_in(e, s, 1);
    if (w->rank < 1) return amg_emit_fail(e, s, "scale has no shape");
    amg_emit_format(e, s, "F.layer_norm(%0, ");
    amg_text_tuple(&e->out, w->rank, w->dims);
    amg_emit_format(e, s, ", %1, %2, ");
    add_epsilon(e, s);
    amg_text_add(&e->out, ")");
    return AMG_OK;
}

/* As networks write it by hand; F.rms_norm is PyTorch 2.4's. */
amg_status amg_emit_rms_norm(amg_emit *e, const amg_emit_step *s)
{
    int64_t axes[AMG_MAX_RANK];
    const int count = amg_emit_in(e, s, 1)->rank;
    if (count < 1) return amg_emit_fail(e, s, "scale has no shape");
    for (int i = 0; i < count; i++) axes[i] = i - count;
    amg_emit_format(e, s, "%0 * torch.rsqrt(%0.pow(2).mean(");
    amg_text_tuple(&e->out, count, axes);
    amg_text_add(&e->out, ", keepdim=True) + ");
    add_epsilon(e, s);
    amg_emit_format(e, s, ") * %1");
    return AMG_OK;
}

amg_status amg_emit_instance_norm(amg_emit *e, const amg_emit_step *s)
{
    amg_emit_format(e, s, "F.instance_norm(%0, weight=%1, bias=%2, eps=");
    add_epsilon(e, s);
    amg_text_add(&e->out, ")");
    return AMG_OK;
}

amg_status amg_emit_group_norm(amg_emit *e, const amg_emit_step *s)
{
    amg_emit_format(e, s, "F.group_norm(%0, ");
    amg_text_add(&e->out, "%lld", (long long)amg_attr_int(s->node, "num_groups", 1));
    amg_emit_format(e, s, ", %1, %2, ");
    add_epsilon(e, s);
    amg_text_add(&e->out, ")");
    return AMG_OK;
}

/* The same by rows of draws (graph/drop_mask.h), in the form that draws and rounds as
 * the module did. */
static void add_shared_dropout(amg_emit *e, const amg_emit_step *s, float ratio)
{
    const amg_value *x = amg_emit_in(e, s, 0);
    int64_t dims[AMG_MAX_RANK];
    amg_drop_mask_dims(s->node, x, dims);
    e->uses_drop = true;
    amg_emit_format(e, s, "drop(%0, (");
    amg_emit_dims(e, x->rank, dims, false);
    amg_text_add(&e->out, x->rank == 1 ? ",), " : "), ");
    amg_text_float(&e->out, ratio);
    if (amg_attr_find(s->node, AMG_DROP_DRAW))
        amg_text_add(&e->out, ", \"%s\", \"%s\"",
                     amg_attr_string(s->node, AMG_DROP_DRAW, ""),
                     amg_attr_string(s->node, AMG_DROP_ORDER, ""));
    amg_emit_format(e, s, ") if self.training else %0");
}

amg_status amg_emit_dropout(amg_emit *e, const amg_emit_step *s)
{
    double ratio = 0.5;
    if (amg_emit_in(e, s, 1) && !amg_value_number(amg_emit_in(e, s, 1), &ratio))
        return amg_emit_fail(e, s, "its ratio is not a constant number");
    if (!amg_drop_is_plain(s->node)) {
        add_shared_dropout(e, s, (float)ratio);
        return AMG_OK;
    }
    amg_emit_format(e, s, "F.dropout(%0, ");
    amg_text_float(&e->out, (float)ratio);
    amg_text_add(&e->out, ", self.training)");
    return AMG_OK;
}

bool amg_emit_noise_by_shape(const amg_graph *g, const amg_node *node)
{
    const amg_value *like = &g->values[node->inputs[0]];
    return like->kind == AMG_VALUE_PARAM ||
           amg_graph_maker(g, node->inputs[0], AMG_OP_CONSTANT_OF_SHAPE) ||
           amg_graph_maker(g, node->inputs[0], AMG_OP_EXPAND);
}

/* What torch.randn and torch.rand call; in evaluation the mean. */
amg_status amg_emit_noise(amg_emit *e, const amg_emit_step *s)
{
    const amg_value *out = amg_emit_result(e, s);
    const bool normal = s->node->op == AMG_OP_RANDOM_NORMAL_LIKE;
    const float from = amg_attr_float(s->node, normal ? "mean" : "low", 0);
    const float by = amg_attr_float(s->node, normal ? "scale" : "high", 1);
    if (out->rank < 0) return amg_emit_fail(e, s, "the shape is not known");
    e->uses_noise = true;
    amg_text_add(&e->out, "noise(self, ");
    if (amg_emit_noise_by_shape(e->g, s->node)) {
        amg_text_add(&e->out, "torch.empty((");
        amg_emit_dims(e, out->rank, out->dims, false);
        amg_text_add(&e->out, out->rank == 1 ? ",), " : "), ");
        amg_text_add(&e->out, "device=%s.device)", e->g->values[e->g->inputs[0]].name);
    } else {
        amg_emit_format(e, s, "torch.empty_like(%0)");
    }
    amg_text_add(&e->out, ", \"%s\", ", normal ? "normal_" : "uniform_");
    amg_text_float(&e->out, from);
    amg_text_add(&e->out, ", ");
    amg_text_float(&e->out, by);
    amg_text_add(&e->out, ", ");
    amg_text_float(&e->out, normal ? from : from + (by - from) / 2);
    amg_text_add(&e->out, ")");
    return AMG_OK;
}
