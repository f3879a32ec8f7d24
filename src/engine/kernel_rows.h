/* Loops over whole numbers and bools, and comparisons and choices of any type: what
 * kernel_logic.c runs along rows of any broadcast. */
#ifndef AMG_ENGINE_KERNEL_ROWS_H
#define AMG_ENGINE_KERNEL_ROWS_H

#include "graph/graph.h"

/* y[i] = f(in[0][i * stride[0]], …): a run along which each operand either advances
 * (stride 1) or repeats (0), one of them advancing unless n is 1. */
typedef void (*amg_row_fn)(void *y, const void *const *in, const int64_t *stride,
                           int64_t n);

/* The loop of an operator whose last operand is of this type: F32, I64, I32, U8 or
 * BOOL. NULL: there is none. */
amg_row_fn amg_row_find(const amg_node *node, amg_dtype dtype);

#endif
