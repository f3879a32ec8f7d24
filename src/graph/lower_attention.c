/* See lower.h: Attention as the products that exporters write
 * scaled_dot_product_attention as, in which emit/ recognises PyTorch's function:
 *
 *     softmax((q * s) @ (k^T * s) [+ mask]) @ v        s = sqrt(scale)
 *
 * N batch, H heads, L queries, S keys, D size of a head: q [N,H,L,D], k and v
 * [N,H,S,D]; as three dims [N,L,H*D]. Fewer heads of keys serve several of queries
 * each. Keys and values from before come first, and count as seen; of those given, a
 * number for each sample may say how many count. */
#include <float.h>
#include <math.h>

#include "base/alloc.h"
#include "graph/lower.h"

static bool always(const amg_graph *g, const amg_node *node)
{
    (void)g;
    (void)node;
    return true;
}

/* Input i as [N,L,H,D], the heads behind the positions; or [N,H,L,D], as given. */
static int split_heads(amg_lower *l, int i, int64_t heads)
{
    const amg_value *v = amg_lower_in(l->r->g, l->node, i);
    if (v->rank == 4) return amg_lower_value(l, i);
    const int64_t dims[4] = {v->dims[0], v->dims[1], heads, v->dims[2] / heads};
    return amg_lower_reshape(l, amg_lower_value(l, i), 4, dims);
}

/* Heads of keys or values, [N,H,…], each as often as queries share it. */
static int share_heads(amg_lower *l, int x, int64_t kv_heads, int64_t heads)
{
    const int64_t count = heads, times = heads / kv_heads;
    const amg_attr axis = amg_int("axis", 1);
    if (times == 1) return x;
    int64_t *index = amg_calloc((size_t)count, sizeof *index);
    if (!index) return AMG_NO_VALUE;
    for (int64_t i = 0; i < count; i++) index[i] = i / times;
    int at = amg_lower_constant(l, AMG_I64, 1, &count, index);
    amg_free(index);
    return amg_lower_node(l, AMG_OP_GATHER, 2, (int[]){x, at}, 1, &axis);
}

/* Whether query i sees key j by their places: not what comes behind it by more than
 * right, nor in front of it by more than left; below 0: all. Queries stand behind the
 * keys from before. */
typedef struct {
    int64_t left, right, L, S, before;
} window;

static bool sees(const window *w, int64_t i, int64_t j)
{
    i += w->before;
    return (w->right < 0 || j <= i + w->right) && (w->left < 0 || j >= i - w->left);
}

/* The window as numbers to add, or as bools. */
static int make_window(amg_lower *l, const window *w, amg_dtype dtype)
{
    const amg_tensor t = {.dtype = dtype, .rank = 2, .dims = {w->L, w->S}};
    char name[AMG_REPLACE_NAME];
    amg_lower_name(l, name);
    int id = amg_builder_param(l->r->b, name, &t);
    const amg_tensor *made = amg_builder_data(l->r->b, id);
    for (int64_t i = 0; made && i < w->L * w->S; i++) {
        const bool seen = sees(w, i / w->S, i % w->S);
        if (dtype == AMG_BOOL)
            ((uint8_t *)made->data)[i] = seen;
        else
            ((float *)made->data)[i] = seen ? 0 : -INFINITY;
    }
    amg_builder_say(l->r->b, id, AMG_SAID_CONSTANT);
    return id;
}

/* How far keys stand behind queries whose last one is at `last`: j - i + last of S keys
 * and L queries. */
static int make_distances(amg_lower *l, int64_t L, int64_t S, int64_t last)
{
    const amg_tensor t = {.dtype = AMG_I64, .rank = 2, .dims = {L, S}};
    char name[AMG_REPLACE_NAME];
    amg_lower_name(l, name);
    int id = amg_builder_param(l->r->b, name, &t);
    const amg_tensor *made = amg_builder_data(l->r->b, id);
    for (int64_t i = 0; made && i < L * S; i++)
        ((int64_t *)made->data)[i] = i % S - i / S + last;
    return id;
}

/* Where only the first keys of each sample count, input 6: those, and the window with
 * the last query at the last of them. */
static int see_first(amg_lower *l, const window *w)
{
    const amg_value *q = amg_lower_in(l->r->g, l->node, 0);
    const int64_t dims[4] = {q->dims[0], 1, 1, 1};
    const int count = amg_lower_reshape(l, amg_lower_value(l, 6), 4, dims);
    int seen = amg_lower_binary(l, AMG_OP_LESS, make_distances(l, 1, w->S, 0), count);
    for (int side = 0; side < 2; side++) {
        const int64_t far = side ? w->right : -w->left;
        if ((side ? w->right : w->left) < 0) continue;
        const int near =
            amg_lower_binary(l, side ? AMG_OP_LESS_OR_EQUAL : AMG_OP_GREATER_OR_EQUAL,
                             make_distances(l, w->L, w->S, w->L - far), count);
        seen = amg_lower_binary(l, AMG_OP_AND, seen, near);
    }
    return seen;
}

/* A mask of fewer keys than there are says nothing of the rest, which then is not seen.
 */
static int find_mask(amg_lower *l, const window *w)
{
    const amg_value *mask = amg_lower_in(l->r->g, l->node, 3);
    const int64_t axis = mask->rank - 1, given = mask->dims[axis];
    if (given == 1 || given == w->S) return amg_lower_value(l, 3);
    if (mask->dtype == AMG_F32) {
        int64_t pads[8] = {0};
        pads[2 * axis + 1] = w->S - given;
        int in[3] = {amg_lower_value(l, 3), amg_lower_ints(l, 2 * mask->rank, pads),
                     amg_lower_float(l, -INFINITY)};
        return amg_lower_node(l, AMG_OP_PAD, 3, in, 0, NULL);
    }
    const int place = make_distances(l, 1, w->S, 0);
    const int last = amg_lower_ints(l, -1, &(int64_t){given - 1});
    const amg_attr attr = amg_int("axis", axis);
    int at = amg_lower_binary(l, AMG_OP_MIN, place, last);
    at = amg_lower_reshape(l, at, 1, &w->S);
    at = amg_lower_node(l, AMG_OP_GATHER, 2, (int[]){amg_lower_value(l, 3), at}, 1,
                        &attr);
    return amg_lower_binary(l, AMG_OP_AND, at,
                            amg_lower_binary(l, AMG_OP_LESS_OR_EQUAL, place, last));
}

static int softmax(amg_lower *l, int scores)
{
    const amg_attr axis = amg_int("axis", -1);
    return amg_lower_node(l, AMG_OP_SOFTMAX, 1, &scores, 1, &axis);
}

/* Numbers are added to the scores: *biased. */
static int weigh(amg_lower *l, int scores, const window *w, bool has_window,
                 int *biased)
{
    if (has_window)
        scores = amg_lower_binary(l, AMG_OP_ADD, scores, make_window(l, w, AMG_F32));
    if (amg_lower_in(l->r->g, l->node, 3))
        scores = amg_lower_binary(l, AMG_OP_ADD, scores, find_mask(l, w));
    *biased = scores;
    return softmax(l, scores);
}

/* Bools choose; a query that sees nothing gives zeros. */
static int choose(amg_lower *l, int scores, int seen, int *biased)
{
    int in[3] = {seen, scores, amg_lower_float(l, -INFINITY)};
    if (l->node->num_outputs > 3)
        *biased = amg_lower_node(l, AMG_OP_WHERE, 3, in, 0, NULL);
    in[2] = amg_lower_float(l, -FLT_MAX);
    in[1] = softmax(l, amg_lower_node(l, AMG_OP_WHERE, 3, in, 0, NULL));
    in[2] = amg_lower_float(l, 0);
    return amg_lower_node(l, AMG_OP_WHERE, 3, in, 0, NULL);
}

static int cap(amg_lower *l, int scores, float most)
{
    if (most == 0) return scores;
    int number = amg_lower_float(l, most);
    int y = amg_lower_binary(l, AMG_OP_DIV, scores, number);
    return amg_lower_binary(l, AMG_OP_MUL, amg_lower_unary(l, AMG_OP_TANH, y), number);
}

static int find_weights(amg_lower *l, int scores, window w, int *biased)
{
    const amg_value *mask = amg_lower_in(l->r->g, l->node, 3);
    const bool counts = amg_lower_in(l->r->g, l->node, 6) != NULL;
    if (amg_attr_int(l->node, "is_causal", 0)) w.right = 0;
    const bool has_window = w.left >= 0 || w.right >= 0;
    const bool by_bools = mask && mask->dtype == AMG_BOOL;
    if (!counts && !by_bools) return weigh(l, scores, &w, has_window, biased);
    if (mask && !by_bools)
        scores = amg_lower_binary(l, AMG_OP_ADD, scores, find_mask(l, &w));
    int seen = by_bools ? find_mask(l, &w) : see_first(l, &w);
    if (by_bools && (counts || has_window))
        seen =
            amg_lower_binary(l, AMG_OP_AND, seen,
                             counts ? see_first(l, &w) : make_window(l, &w, AMG_BOOL));
    return choose(l, scores, seen, biased);
}

/* Keys or values behind those of input i, which may be absent. */
static int behind(amg_lower *l, int i, int x)
{
    const amg_attr axis = amg_int("axis", 2);
    if (!amg_lower_in(l->r->g, l->node, i)) return x;
    return amg_lower_node(l, AMG_OP_CONCAT, 2, (int[]){amg_lower_value(l, i), x}, 1,
                          &axis);
}

/* Queries, keys and values, [N,H,…]: part; *turned: keys as they were split, whose
 * heads stand behind the positions. present: outputs 1 and 2 of the node. */
static void split_parts(amg_lower *l, int64_t heads, int64_t kv_heads, int part[3],
                        bool *turned, int *present)
{
    static const int64_t inner[4] = {0, 2, 1, 3};
    const bool flat = amg_lower_in(l->r->g, l->node, 0)->rank == 3;
    const bool grows = l->node->num_outputs > 1 || amg_lower_in(l->r->g, l->node, 4);
    *turned = flat && kv_heads == heads && !grows;
    for (int i = 0; i < 3; i++) {
        part[i] = split_heads(l, i, i ? kv_heads : heads);
        if (flat && (i != 1 || !*turned))
            part[i] = amg_lower_transpose(l, part[i], 4, inner);
        if (!i) continue;
        present[i - 1] = part[i] = behind(l, 3 + i, part[i]);
        part[i] = share_heads(l, part[i], kv_heads, heads);
    }
}

static void lower(amg_lower *l, int *out)
{
    static const int64_t inner[4] = {0, 2, 1, 3}, turn[4] = {0, 2, 3, 1},
                         flip[4] = {0, 1, 3, 2};
    const amg_value *q = amg_lower_in(l->r->g, l->node, 0);
    const amg_value *k = amg_lower_in(l->r->g, l->node, 1);
    const amg_value *past = amg_lower_in(l->r->g, l->node, 4);
    const amg_value *y = &l->r->g->values[l->node->outputs[0]];
    const bool flat = q->rank == 3;
    const int64_t heads = flat ? amg_attr_int(l->node, "q_num_heads", 1) : q->dims[1];
    const int64_t kv_heads =
        flat ? amg_attr_int(l->node, "kv_num_heads", 1) : k->dims[1];
    const int64_t D = flat ? q->dims[2] / heads : q->dims[3];
    const float given = amg_attr_float(l->node, "scale", 0);
    const double scale = given != 0 ? (double)given : 1 / sqrt((double)D);
    window w = {.left = amg_attr_int(l->node, "left_window_size", -1),
                .right = amg_attr_int(l->node, "right_window_size", -1),
                .L = q->dims[flat ? 1 : 2],
                .S = k->dims[flat ? 1 : 2],
                .before = past ? past->dims[2] : 0};
    int part[3], shown[4] = {0};
    bool turned;
    w.S += w.before;
    split_parts(l, heads, kv_heads, part, &turned, out + 1);
    part[1] = amg_lower_transpose(l, part[1], 4, turned ? turn : flip);
    const int by = amg_lower_float(l, (float)sqrt(scale));
    shown[0] = amg_lower_binary(l, AMG_OP_MAT_MUL,
                                amg_lower_binary(l, AMG_OP_MUL, part[0], by),
                                amg_lower_binary(l, AMG_OP_MUL, part[1], by));
    shown[1] = cap(l, shown[0], amg_attr_float(l->node, "softcap", 0));
    shown[3] = find_weights(l, shown[1], w, &shown[2]);
    out[0] = amg_lower_binary(l, AMG_OP_MAT_MUL, shown[3], part[2]);
    if (flat)
        out[0] =
            amg_lower_reshape(l, amg_lower_transpose(l, out[0], 4, inner), 3, y->dims);
    out[3] = shown[amg_attr_int(l->node, "qk_matmul_output_mode", 0) & 3];
}

const amg_lower_rule amg_lower_attention = {always, lower};
