/* Recognises what networks for text are made of: attention, and the mean of a
 * document's embeddings. As emit_fuse.c: a match gives its last node the function's
 * inputs. */
#include <math.h>

#include "emit/emit_fuse.h"
#include "graph/drop_mask.h"

/* ---- attention, as exporters take F.scaled_dot_product_attention apart:
 *      dropout(softmax((q * s) @ (k^T * s) [+ mask])) @ v with s = d ** -0.25.
 * Another scale, or one of the scores, is somebody's own formula and stays one. ---- */

/* What the step reads: q, what k is transposed from, v, mask, ratio of the dropout. */
enum { QUERY, KEY, VALUE, MASK, RATIO };

/* Whether a mask keeps each position from seeing later ones, and does no more. */
static bool is_causal(const amg_value *mask)
{
    if (mask->kind != AMG_VALUE_PARAM || mask->role != AMG_ROLE_CONSTANT ||
        mask->dtype != AMG_F32 || !mask->data.data || mask->rank < 2)
        return false;
    int64_t n = mask->dims[mask->rank - 1];
    if (amg_tensor_count(&mask->data) != n * n || mask->dims[mask->rank - 2] != n)
        return false;
    const float *number = mask->data.data;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++)
            if (number[i * n + j] != (j > i ? -INFINITY : 0.0f)) return false;
    return true;
}

/* The keys out of what the exporter transposes: one permutation for two. */
static void add_keys(amg_emit *e, const amg_emit_step *s)
{
    const amg_attr *perm = amg_attr_find(s->inner, "perm");
    int rank = perm->count;
    bool moved = false;
    for (int i = 0; i < rank - 2; i++) moved = moved || perm->ints[i] != i;
    amg_emit_operand(e, s, KEY);
    if (!moved && perm->ints[rank - 1] == rank - 2) return;
    amg_text_add(&e->out, ".permute(");
    for (int i = 0; i < rank; i++)
        amg_text_add(&e->out, "%s%lld", i ? ", " : "",
                     (long long)perm->ints[i < rank - 2 ? i : 2 * rank - 3 - i]);
    amg_text_add(&e->out, ")");
}

static amg_status emit_attention(amg_emit *e, const amg_emit_step *s)
{
    const amg_value *mask = amg_emit_in(e, s, MASK), *v = amg_emit_in(e, s, RATIO);
    double ratio = 0.5;
    if (v && !amg_value_number(v, &ratio))
        return amg_emit_fail(e, s, "its dropout's ratio is not a constant number");
    e->uses_attention = true;
    amg_emit_format(e, s, "attention(%0, ");
    add_keys(e, s);
    amg_emit_format(e, s, ", %2");
    if (mask && is_causal(mask))
        amg_text_add(&e->out, ", causal=True");
    else if (mask)
        amg_emit_format(e, s, ", mask=%3");
    if (s->num_inputs > RATIO) {
        amg_text_add(&e->out, ", dropout=");
        amg_text_float(&e->out, (float)ratio);
        amg_text_add(&e->out, " if self.training else 0.0");
    }
    amg_text_add(&e->out, ")");
    return AMG_OK;
}

/* x of x * s, a product by the number s. */
static int find_scaled(const amg_graph *g, int value, double s)
{
    const amg_node *mul = amg_graph_maker(g, value, AMG_OP_MUL);
    return mul ? amg_graph_beside_number(g, mul, s) : AMG_NO_VALUE;
}

/* q and k of (q * s) @ (k^T * s); *transpose: the node of k^T. */
static bool find_scores(const amg_graph *g, int value, int rank, int *inputs,
                        const amg_node **transpose)
{
    const amg_node *scores = amg_graph_maker(g, value, AMG_OP_MAT_MUL);
    if (!scores) return false;
    const amg_value *scaled = &g->values[scores->inputs[0]];
    if (scaled->rank != rank || scaled->dims[rank - 1] < 1) return false;
    double number = pow((double)scaled->dims[rank - 1], -0.25);
    inputs[QUERY] = find_scaled(g, scores->inputs[0], number);
    *transpose =
        amg_graph_maker(g, find_scaled(g, scores->inputs[1], number), AMG_OP_TRANSPOSE);
    const amg_attr *perm = *transpose ? amg_attr_find(*transpose, "perm") : NULL;
    if (inputs[QUERY] == AMG_NO_VALUE || !perm || perm->kind != AMG_ATTR_INTS ||
        perm->count != rank)
        return false;
    inputs[KEY] = (*transpose)->inputs[0];
    return true;
}

bool amg_fuse_attention(const amg_graph *g, amg_emit_step *s)
{
    if (s->node->op != AMG_OP_MAT_MUL) return false;
    const amg_node *drop = amg_graph_maker(g, s->node->inputs[0], AMG_OP_DROPOUT);
    const amg_node *soft =
        amg_graph_maker(g, drop ? drop->inputs[0] : s->node->inputs[0], AMG_OP_SOFTMAX);
    int rank = g->values[s->node->outputs[0]].rank;
    int64_t axis = soft ? amg_attr_int(soft, "axis", -1) : 0;
    if (drop && !amg_drop_is_plain(drop)) return false;
    if (!soft || rank < 3 || (axis != -1 && axis != rank - 1)) return false;
    const amg_node *add = amg_graph_maker(g, soft->inputs[0], AMG_OP_ADD), *transpose;
    int inputs[] = {[VALUE] = s->node->inputs[1],
                    [MASK] = add ? add->inputs[1] : AMG_NO_VALUE,
                    [RATIO] =
                        drop && drop->num_inputs > 1 ? drop->inputs[1] : AMG_NO_VALUE};
    if (!find_scores(g, add ? add->inputs[0] : soft->inputs[0], rank, inputs,
                     &transpose))
        return false;
    amg_fuse_set(s, emit_attention, drop ? RATIO + 1 : MASK + 1, inputs);
    s->inner = transpose;
    return true;
}

/* ---- the mean of a document's embeddings, padding left out:
 *      share @ table[tokens] with share = kept / max(sum(kept), 1), kept = 1 - (tokens
 * == pad). A plain mean over the positions is somebody's own, and stays one. ---- */

enum { TOKENS, TABLE, PAD };

static amg_status emit_embedding_bag(amg_emit *e, const amg_emit_step *s)
{
    double pad = 0;
    if (!amg_value_number(amg_emit_in(e, s, PAD), &pad))
        return amg_emit_fail(e, s, "its padding is not a constant number");
    amg_emit_format(e, s, "F.embedding_bag(%0, %1, mode=\"mean\", padding_idx=");
    amg_text_add(&e->out, "%lld)", (long long)pad);
    return AMG_OK;
}

/* Whether n adds up [N,L] along L, to [N,1]. */
static bool is_row_sum(const amg_graph *g, const amg_node *n)
{
    int64_t axis;
    int count = 0;
    return n->num_inputs == 2 && g->values[n->inputs[0]].rank == 2 &&
           amg_emit_ints(&g->values[n->inputs[1]], 1, &axis, &count) && count == 1 &&
           (axis == 1 || axis == -1) && amg_attr_int(n, "keepdims", 1) != 0;
}

/* The node that compares tokens with padding, from the share of each position. */
static const amg_node *find_padding(const amg_graph *g, int share)
{
    const amg_node *div = amg_graph_maker(g, share, AMG_OP_DIV);
    const amg_node *clip = div ? amg_graph_maker(g, div->inputs[1], AMG_OP_CLIP) : NULL;
    const amg_node *sum =
        clip ? amg_graph_maker(g, clip->inputs[0], AMG_OP_REDUCE_SUM) : NULL;
    if (!sum || clip->num_inputs != 2 || !amg_graph_is_number(g, clip->inputs[1], 1) ||
        sum->inputs[0] != div->inputs[0] || !is_row_sum(g, sum))
        return NULL;
    const amg_node *kept = amg_graph_maker(g, div->inputs[0], AMG_OP_SUB);
    if (!kept || !amg_graph_is_number(g, kept->inputs[0], 1)) return NULL;
    const amg_node *cast = amg_graph_maker(g, kept->inputs[1], AMG_OP_CAST);
    return cast ? amg_graph_maker(g, cast->inputs[0], AMG_OP_EQUAL) : NULL;
}

bool amg_fuse_embedding_bag(const amg_graph *g, amg_emit_step *s)
{
    if (s->node->op != AMG_OP_RESHAPE || g->values[s->node->outputs[0]].rank != 2)
        return false;
    const amg_node *mean = amg_graph_maker(g, s->node->inputs[0], AMG_OP_MAT_MUL);
    const amg_node *row =
        mean ? amg_graph_maker(g, mean->inputs[0], AMG_OP_RESHAPE) : NULL;
    const amg_node *looked_up =
        mean ? amg_graph_maker(g, mean->inputs[1], AMG_OP_GATHER) : NULL;
    const amg_node *padding = row ? find_padding(g, row->inputs[0]) : NULL;
    if (!padding || !looked_up || amg_attr_int(looked_up, "axis", 0) != 0) return false;
    const amg_value *table = &g->values[looked_up->inputs[0]];
    const amg_value *tokens = &g->values[looked_up->inputs[1]];
    const amg_value *shares = &g->values[row->outputs[0]];
    double pad;
    if (table->kind != AMG_VALUE_PARAM || table->rank != 2 || tokens->rank != 2 ||
        shares->rank != 3 || shares->dims[1] != 1 ||
        padding->inputs[0] != looked_up->inputs[1] ||
        !amg_value_number(&g->values[padding->inputs[1]], &pad))
        return false;
    amg_fuse_set(
        s, emit_embedding_bag, 3,
        (int[]){looked_up->inputs[1], looked_up->inputs[0], padding->inputs[1]});
    return true;
}
