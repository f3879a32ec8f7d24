/* What the two files of binary operators share: the operators, their gradients, and the
 * general walk for shapes that broadcast in other ways than by channel. */
#ifndef AMG_ENGINE_KERNEL_BINARY_H
#define AMG_ENGINE_KERNEL_BINARY_H

#include "engine/kernel.h"

typedef enum {
    AMG_BINARY_ADD,
    AMG_BINARY_SUB,
    AMG_BINARY_MUL,
    AMG_BINARY_DIV,
    AMG_BINARY_MAX,
    AMG_BINARY_MIN,
    AMG_BINARY_POW,
    AMG_BINARY_FMOD,
    AMG_BINARY_MOD,
    AMG_BINARY_PRELU /* x, slope */
} amg_binary;

typedef enum {
    AMG_OPERAND_FULL,
    AMG_OPERAND_SCALAR,
    AMG_OPERAND_CHANNEL,
    AMG_OPERAND_GENERAL
} amg_operand;

/* Begins the state of a node, so that backward knows which file made it. */
typedef enum { AMG_BINARY_BLOCKED, AMG_BINARY_GENERAL } amg_binary_kind;

static inline amg_binary amg_binary_of(const amg_node *n)
{
    switch (n->op) {
    case AMG_OP_SUB: return AMG_BINARY_SUB;
    case AMG_OP_MUL: return AMG_BINARY_MUL;
    case AMG_OP_DIV: return AMG_BINARY_DIV;
    case AMG_OP_MAX: return AMG_BINARY_MAX;
    case AMG_OP_MIN: return AMG_BINARY_MIN;
    case AMG_OP_POW: return AMG_BINARY_POW;
    case AMG_OP_MOD:
        return amg_attr_int(n, "fmod", 0) ? AMG_BINARY_FMOD : AMG_BINARY_MOD;
    case AMG_OP_PRELU: return AMG_BINARY_PRELU;
    default: return AMG_BINARY_ADD;
    }
}

/* Whether its gradient looks at its operands. */
static inline bool amg_binary_looks(amg_binary op)
{
    return op != AMG_BINARY_ADD && op != AMG_BINARY_SUB;
}

/* amg_binary_gradient of the operators that it leaves out: in loops over elements it
 * must stay small. */
float amg_binary_other_gradient(amg_binary op, int which, float dy, float a, float b);

/* d(a op b) / d(operand which) * dy. */
static inline float amg_binary_gradient(amg_binary op, int which, float dy, float a,
                                        float b)
{
    switch (op) {
    case AMG_BINARY_ADD: return dy;
    case AMG_BINARY_SUB: return which ? -dy : dy;
    case AMG_BINARY_MUL: return which ? dy * a : dy * b;
    case AMG_BINARY_DIV: return which ? -dy * a / (b * b) : dy / b;
    default: return amg_binary_other_gradient(op, which, dy, a, b);
    }
}

/* dst[i] = a[i * as] op b[i * bs]; as, bs are 0 or 1, both 0 only if n is
 * 1. dst may be a or b. */
void amg_binary_row(amg_binary op, float *dst, const float *a, int64_t as,
                    const float *b, int64_t bs, int64_t n);
/* Whether the gradient of operand which is dy op the other operand. */
static inline bool amg_binary_repeats(amg_binary op, int which)
{
    return op == AMG_BINARY_MUL || (op == AMG_BINARY_DIV && which == 0);
}

void amg_broadcast_forward(amg_plan *p, int node);
void amg_broadcast_backward(amg_plan *p, int node);

#endif
