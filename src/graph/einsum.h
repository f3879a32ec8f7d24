/* Einsum's equation, private to graph/: which label each dim of each operand has. */
#ifndef AMG_GRAPH_EINSUM_H
#define AMG_GRAPH_EINSUM_H

#include "base/tensor.h"

#define AMG_EINSUM_OPERANDS 16
/* a to z, A to Z, then the dims that "..." stands for, counted from the last one. */
#define AMG_EINSUM_ELLIPSIS 52
#define AMG_EINSUM_LABELS (AMG_EINSUM_ELLIPSIS + AMG_MAX_RANK)

typedef struct {
    int rank;
    int label[AMG_MAX_RANK];
} amg_einsum_term;

typedef struct {
    int num_operands;
    amg_einsum_term operand[AMG_EINSUM_OPERANDS], result;
} amg_einsum;

/* ranks: of the operands. Returns NULL, or what is wrong with the equation. */
const char *amg_einsum_parse(const char *equation, int num_operands, const int *ranks,
                             amg_einsum *out);

#endif
