/* Shape rules of Attention, legend as in lower_attention.c, and RotaryEmbedding. */
#include "graph/infer.h"

typedef struct {
    int64_t N, H, L, D; /* of queries; of keys and values: S for L */
} heads;

/* Input i as heads; false: it does not split so. */
static bool read_heads(const amg_value *v, int64_t count, heads *out)
{
    if (v->rank == 4) {
        *out = (heads){v->dims[0], v->dims[1], v->dims[2], v->dims[3]};
        return v->dims[1] > 0 && v->dims[2] > 0 && v->dims[3] > 0;
    }
    if (v->rank != 3 || count < 1 || v->dims[1] < 1 || v->dims[2] < 1 ||
        v->dims[2] % count != 0)
        return false;
    *out = (heads){v->dims[0], count, v->dims[1], v->dims[2] / count};
    return true;
}

static amg_status check_mask(const amg_infer *c, const heads *q, const heads *k)
{
    const amg_value *mask = amg_infer_find_in(c, 3);
    if (!mask || mask->rank < 0) return AMG_OK;
    const int64_t wanted[4] = {q->N, q->H, q->L, k->L};
    bool fits = (mask->dtype == AMG_F32 || mask->dtype == AMG_BOOL) &&
                mask->rank >= 1 && mask->rank <= 4;
    for (int d = 0; fits && d < mask->rank; d++)
        fits = mask->dims[d] == 1 || mask->dims[d] == wanted[4 - mask->rank + d] ||
               (d == mask->rank - 1 && mask->dims[d] > 0 && mask->dims[d] < k->L);
    if (fits) return AMG_OK;
    char found[AMG_SHAPE_TEXT], expected[AMG_SHAPE_TEXT];
    return amg_node_fail(c->node, AMG_UNSUPPORTED, c->err,
                         "mask is %s, expected F32 or BOOL that broadcasts to %s, "
                         "or is of fewer keys",
                         amg_shape_text(mask->dtype, mask->rank, mask->dims, found),
                         amg_shape_text(AMG_F32, 4, wanted, expected));
}

/* Keys and values from before, inputs 4 and 5, [N,H,past,D]; none: *past 0. */
static amg_status find_past(const amg_infer *c, const heads *h, int64_t *past)
{
    const amg_value *in[2] = {amg_infer_find_in(c, 4), amg_infer_find_in(c, 5)};
    if (!in[0] && !in[1]) return AMG_OK;
    bool fits = in[0] && in[1];
    for (int i = 0; fits && i < 2; i++)
        fits = in[i]->rank == 4 && in[i]->dtype == AMG_F32 &&
               in[i]->dims[0] == h[1 + i].N && in[i]->dims[1] == h[1 + i].H &&
               in[i]->dims[2] == in[0]->dims[2] && in[i]->dims[3] == h[1 + i].D &&
               in[i]->dims[2] >= 0;
    if (!fits)
        return amg_node_fail(
            c->node, AMG_MISMATCH, c->err,
            "keys and values from before do not fit those that follow");
    *past = in[0]->dims[2];
    return AMG_OK;
}

/* How many keys of each sample count: input 6, [N]. */
static amg_status check_counts(const amg_infer *c, int64_t N)
{
    const amg_value *counts = amg_infer_find_in(c, 6);
    if (!counts) return AMG_OK;
    char text[AMG_SHAPE_TEXT];
    if (amg_infer_find_in(c, 4))
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "has keys from before and a number of keys that count, "
                             "expected one of them");
    if (counts->dtype == AMG_I64 && counts->rank == 1 && counts->dims[0] == N)
        return AMG_OK;
    return amg_node_fail(
        c->node, AMG_MISMATCH, c->err,
        "numbers of keys that count are %s, expected I64 of one for "
        "each sample",
        amg_shape_text(counts->dtype, counts->rank, counts->dims, text));
}

amg_status amg_infer_attention(const amg_infer *c)
{
    const amg_value *in[3];
    heads h[3];
    for (int i = 0; i < 3; i++) in[i] = amg_infer_in(c, i);
    amg_infer_out(c, 0)->dtype = in[0]->dtype;
    for (int i = 1; i < c->node->num_outputs; i++)
        amg_infer_out(c, i)->dtype = in[0]->dtype;
    for (int i = 0; i < c->node->num_inputs; i++)
        if (i != 3 && amg_infer_find_in(c, i) && amg_infer_find_in(c, i)->rank < 0)
            return AMG_OK;
    const int64_t q_heads = amg_attr_int(c->node, "q_num_heads", 0);
    const int64_t kv_heads = amg_attr_int(c->node, "kv_num_heads", 0);
    bool fits = in[0]->dtype == AMG_F32;
    for (int i = 0; i < 3; i++)
        fits = fits && in[i]->rank == in[0]->rank && in[i]->dtype == AMG_F32 &&
               read_heads(in[i], i ? kv_heads : q_heads, &h[i]);
    fits = fits && h[0].N == h[1].N && h[0].N == h[2].N && h[1].H == h[2].H &&
           h[1].L == h[2].L && h[0].D == h[1].D && h[0].H % h[1].H == 0;
    if (!fits) {
        char text[3][AMG_SHAPE_TEXT];
        for (int i = 0; i < 3; i++)
            amg_shape_text(in[i]->dtype, in[i]->rank, in[i]->dims, text[i]);
        return amg_node_fail(
            c->node, AMG_MISMATCH, c->err,
            "queries %s, keys %s and values %s of %lld and %lld heads do "
            "not fit",
            text[0], text[1], text[2], (long long)q_heads, (long long)kv_heads);
    }
    int64_t past = 0;
    amg_status s = find_past(c, h, &past);
    h[1].L += past;
    if (!s) s = check_counts(c, h[0].N);
    if (!s) s = check_mask(c, &h[0], &h[1]);
    if (s) return s;
    for (int i = 1; i < 3 && i < c->node->num_outputs; i++)
        amg_infer_set(c, i, AMG_F32, 4, (int64_t[]){h[i].N, h[i].H, h[1].L, h[i].D});
    if (c->node->num_outputs > 3)
        amg_infer_set(c, 3, AMG_F32, 4, (int64_t[]){h[0].N, h[0].H, h[0].L, h[1].L});
    if (in[0]->rank == 4)
        amg_infer_set(c, 0, AMG_F32, 4, (int64_t[]){h[0].N, h[0].H, h[0].L, h[2].D});
    else
        amg_infer_set(c, 0, AMG_F32, 3, (int64_t[]){h[0].N, h[0].L, h[0].H * h[2].D});
    return AMG_OK;
}

/* The dims of tables of R / 2 numbers for each position: [positions,R/2] where position
 * ids choose, else [N,S,R/2]. */
static bool are_tables(const amg_infer *c, const amg_value *x, int64_t half)
{
    const bool chosen = amg_infer_find_in(c, 3) != NULL;
    const int64_t S = x->dims[x->rank == 4 ? 2 : 1];
    for (int i = 1; i < 3; i++) {
        const amg_value *v = amg_infer_in(c, i);
        if (v->rank != (chosen ? 2 : 3) || v->dims[v->rank - 1] != half ||
            v->dtype != x->dtype || (!chosen && v->dims[1] != S))
            return false;
    }
    return true;
}

/* x is [N,H,S,D], or [N,S,H*D] with num_heads. */
amg_status amg_infer_rotary(const amg_infer *c)
{
    const amg_value *x = amg_infer_in(c, 0), *ids = amg_infer_find_in(c, 3);
    amg_infer_out(c, 0)->dtype = x->dtype;
    for (int i = 0; i < c->node->num_inputs; i++)
        if (amg_infer_find_in(c, i) && amg_infer_find_in(c, i)->rank < 0) return AMG_OK;
    const int64_t num_heads = amg_attr_int(c->node, "num_heads", 0);
    int64_t rotated = amg_attr_int(c->node, "rotary_embedding_dim", 0), D = 0;
    if (x->rank == 4) D = x->dims[3];
    if (x->rank == 3 && num_heads > 0 && x->dims[2] % num_heads == 0)
        D = x->dims[2] / num_heads;
    if (rotated == 0) rotated = D;
    char text[AMG_SHAPE_TEXT];
    if (D < 1 || rotated < 2 || rotated > D || rotated % 2 != 0 ||
        (ids && ids->rank != 2) || !are_tables(c, x, rotated / 2))
        return amg_node_fail(c->node, AMG_MISMATCH, c->err,
                             "input %s of %lld heads, %lld of each rotated, does not "
                             "fit its tables of positions",
                             amg_shape_text(x->dtype, x->rank, x->dims, text),
                             (long long)num_heads, (long long)rotated);
    amg_infer_set(c, 0, x->dtype, x->rank, x->dims);
    return AMG_OK;
}
