/* See einsum.h; and the shape rule. */
#include "graph/einsum.h"

#include <ctype.h>
#include <string.h>

#include "graph/infer.h"

/* One term up to ',', '-' or the end. rank -1: as long as it is; else what "..." has to
 * fill. *at is moved behind it. */
static const char *read_term(const char **at, int rank, int ellipsis,
                             amg_einsum_term *term)
{
    int letters = 0, dots_at = -1, label[AMG_MAX_RANK + 1] = {0};
    for (; **at && **at != ',' && **at != '-'; ++*at) {
        if (**at == ' ') continue;
        if (strncmp(*at, "...", 3) == 0) {
            if (dots_at >= 0) return "has \"...\" twice in one term";
            dots_at = letters;
            *at += 2;
        } else if (isalpha((unsigned char)**at) && letters < AMG_MAX_RANK) {
            label[letters++] =
                islower((unsigned char)**at) ? **at - 'a' : **at - 'A' + 26;
        } else {
            return "has a sign that is no label, or too many labels";
        }
    }
    const int filled = dots_at < 0 ? 0 : rank < 0 ? ellipsis : rank - letters;
    if (filled < 0 || letters + filled > AMG_MAX_RANK ||
        (rank >= 0 && letters + filled != rank))
        return "does not fit the operands' numbers of dims";
    term->rank = 0;
    for (int i = 0; i <= letters; i++) {
        for (int k = filled; i == dots_at && k > 0; k--)
            term->label[term->rank++] = AMG_EINSUM_ELLIPSIS + k - 1;
        if (i < letters) term->label[term->rank++] = label[i];
    }
    return NULL;
}

/* Without "->": the dims of "...", and every label that is there once, by the alphabet:
 * capitals first. */
static void make_result(amg_einsum *e, int ellipsis)
{
    int times[AMG_EINSUM_LABELS] = {0};
    for (int i = 0; i < e->num_operands; i++)
        for (int d = 0; d < e->operand[i].rank; d++) times[e->operand[i].label[d]]++;
    e->result.rank = 0;
    for (int k = ellipsis; k > 0; k--)
        e->result.label[e->result.rank++] = AMG_EINSUM_ELLIPSIS + k - 1;
    for (int i = 0; i < 52 && e->result.rank < AMG_MAX_RANK; i++) {
        const int label = (i + 26) % 52;
        if (times[label] == 1) e->result.label[e->result.rank++] = label;
    }
}

static const char *check_result(const amg_einsum *e)
{
    bool there[AMG_EINSUM_LABELS] = {false}, used[AMG_EINSUM_LABELS] = {false};
    for (int i = 0; i < e->num_operands; i++)
        for (int d = 0; d < e->operand[i].rank; d++)
            there[e->operand[i].label[d]] = true;
    for (int d = 0; d < e->result.rank; d++) {
        const int label = e->result.label[d];
        if (!there[label] || used[label])
            return "has a label in its result that is in no operand, or twice";
        used[label] = true;
    }
    return NULL;
}

const char *amg_einsum_parse(const char *equation, int num_operands, const int *ranks,
                             amg_einsum *out)
{
    const char *at = equation, *wrong;
    int ellipsis = 0;
    if (num_operands < 1 || num_operands > AMG_EINSUM_OPERANDS)
        return "has too many operands";
    out->num_operands = num_operands;
    for (int i = 0; i < num_operands; i++) {
        wrong = read_term(&at, ranks[i], 0, &out->operand[i]);
        if (wrong) return wrong;
        int filled = 0;
        for (int d = 0; d < out->operand[i].rank; d++)
            filled += out->operand[i].label[d] >= AMG_EINSUM_ELLIPSIS;
        if (filled > ellipsis) ellipsis = filled;
        if (i + 1 < num_operands && *at++ != ',') return "has too few terms";
    }
    if (!*at) {
        make_result(out, ellipsis);
        return NULL;
    }
    if (strncmp(at, "->", 2) != 0) return "has too many terms";
    at += 2;
    wrong = read_term(&at, -1, ellipsis, &out->result);
    if (!wrong && *at) wrong = "goes on behind its result";
    return wrong ? wrong : check_result(out);
}

amg_status amg_infer_einsum(const amg_infer *c)
{
    const int num = c->node->num_inputs;
    int ranks[AMG_EINSUM_OPERANDS];
    int64_t size[AMG_EINSUM_LABELS], dims[AMG_MAX_RANK];
    amg_einsum e;
    amg_infer_out(c, 0)->dtype = amg_infer_in(c, 0)->dtype;
    for (int i = 0; i < num && i < AMG_EINSUM_OPERANDS; i++) {
        ranks[i] = amg_infer_in(c, i)->rank;
        if (ranks[i] < 0) return AMG_OK;
    }
    const char *equation = amg_attr_string(c->node, "equation", "");
    const char *wrong = amg_einsum_parse(equation, num, ranks, &e);
    if (wrong)
        return amg_node_fail(c->node, AMG_MISMATCH, c->err, "equation \"%.100s\" %s",
                             equation, wrong);
    /* As many as two batch dims fewer than a value may have (lower_einsum.c). */
    bool there[AMG_EINSUM_LABELS] = {false};
    int num_labels = 0;
    for (int i = 0; i < AMG_EINSUM_LABELS; i++) size[i] = 1;
    for (int i = 0; i < num; i++)
        for (int d = 0; d < ranks[i]; d++) {
            num_labels += !there[e.operand[i].label[d]];
            there[e.operand[i].label[d]] = true;
        }
    if (num_labels > AMG_MAX_RANK - 1)
        return amg_node_fail(c->node, AMG_UNSUPPORTED, c->err,
                             "equation \"%.100s\" has %d labels, at most %d", equation,
                             num_labels, AMG_MAX_RANK - 1);
    for (int i = 0; i < num; i++)
        for (int d = 0; d < ranks[i]; d++) {
            const int label = e.operand[i].label[d];
            const int64_t dim = amg_infer_in(c, i)->dims[d];
            if (size[label] != 1 && dim != 1 && dim != size[label])
                return amg_node_fail(
                    c->node, AMG_MISMATCH, c->err,
                    "equation \"%.100s\": dim %d of operand %d is %lld, "
                    "expected %lld",
                    equation, d, i, (long long)dim, (long long)size[label]);
            if (dim != 1) size[label] = dim;
        }
    for (int d = 0; d < e.result.rank; d++) dims[d] = size[e.result.label[d]];
    amg_infer_set(c, 0, amg_infer_in(c, 0)->dtype, e.result.rank, dims);
    return AMG_OK;
}
