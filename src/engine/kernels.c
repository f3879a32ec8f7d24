/* The table from operator to emitters: the engine's column of the operator table in
 * graph/op.h. Operators that constant folding removes have no row functions. */
#include "engine/kernel.h"

/* clang-format off */
static const amg_kernel_row table[] = {
    [AMG_OP_CONV] = {NULL, amg_conv_forward, amg_conv_backward},
    [AMG_OP_BATCH_NORM] = {NULL, amg_norm_forward, amg_norm_backward},
    [AMG_OP_RELU] = {amg_relu_prepare, amg_activation_forward, amg_activation_backward},
    [AMG_OP_LEAKY_RELU] = {NULL, amg_activation_forward, amg_activation_backward},
    [AMG_OP_CLIP] = {NULL, amg_activation_forward, amg_activation_backward},
    [AMG_OP_SIGMOID] = {NULL, amg_activation_forward, amg_activation_backward},
    [AMG_OP_TANH] = {NULL, amg_activation_forward, amg_activation_backward},
    [AMG_OP_MAX_POOL] = {NULL, amg_pool_forward, amg_pool_backward},
    [AMG_OP_AVERAGE_POOL] = {NULL, amg_pool_forward, amg_pool_backward},
    [AMG_OP_GLOBAL_AVERAGE_POOL] = {NULL, amg_global_pool_forward, amg_global_pool_backward},
    [AMG_OP_GEMM] = {NULL, amg_gemm_forward, amg_gemm_backward},
    [AMG_OP_MAT_MUL] = {NULL, amg_gemm_forward, amg_gemm_backward},
    [AMG_OP_ADD] = {NULL, amg_binary_forward, amg_binary_backward},
    [AMG_OP_SUB] = {NULL, amg_binary_forward, amg_binary_backward},
    [AMG_OP_MUL] = {NULL, amg_binary_forward, amg_binary_backward},
    [AMG_OP_DIV] = {NULL, amg_binary_forward, amg_binary_backward},
    [AMG_OP_CONCAT] = {NULL, amg_concat_forward, amg_concat_backward},
    [AMG_OP_FLATTEN] = {NULL, amg_view_forward, amg_view_backward},
    [AMG_OP_RESHAPE] = {NULL, amg_view_forward, amg_view_backward},
    [AMG_OP_DROPOUT] = {NULL, amg_dropout_forward, amg_dropout_backward},
    [AMG_OP_IDENTITY] = {NULL, amg_view_forward, amg_view_backward},
    [AMG_OP_REDUCE_MEAN] = {NULL, amg_global_pool_forward, amg_global_pool_backward},
    [AMG_OP_PAD] = {NULL, amg_pad_forward, amg_pad_backward},
    [AMG_OP_GATHER] = {NULL, amg_gather_forward, NULL},
    [AMG_OP_CAST] = {NULL, amg_cast_forward, NULL},
    [AMG_OP_SHAPE] = {NULL, NULL, NULL},
    [AMG_OP_SLICE] = {NULL, NULL, NULL},
    [AMG_OP_SQUEEZE] = {NULL, amg_view_forward, amg_view_backward},
    [AMG_OP_UNSQUEEZE] = {NULL, amg_view_forward, amg_view_backward},
    [AMG_OP_TRANSPOSE] = {NULL, NULL, NULL},
    [AMG_OP_CONSTANT] = {NULL, NULL, NULL},
    [AMG_OP_CONSTANT_OF_SHAPE] = {NULL, NULL, NULL},
    [AMG_OP_RANGE] = {NULL, NULL, NULL},
    [AMG_OP_WHERE] = {NULL, NULL, NULL},
    [AMG_OP_EQUAL] = {NULL, NULL, NULL},
    [AMG_OP_EXPAND] = {NULL, NULL, NULL},
};
/* clang-format on */
_Static_assert(sizeof table / sizeof *table == AMG_OP_COUNT,
               "every operator has a row; the last one must be written out");

const amg_kernel_row *amg_kernel_get(amg_op op) { return &table[op]; }
