/* The operator table: one row per ONNX operator that Amalgam knows. A row says how many
 * inputs and outputs, which shape rule, whether a gradient exists, and one line for the
 * coverage page; engine/ and emit/ hang their own functions on the same enum. */
#ifndef AMG_GRAPH_OP_H
#define AMG_GRAPH_OP_H

#include <stdbool.h>

/* X(enum, ONNX name, min in, max in, min out, max out, flags, note)
 * flags: D differentiable in some input, E elementwise (shape follows
 * broadcasting), F foldable on constants, T trains differently from how it infers. max
 * -1: any number. */
#define AMG_OP_D 1u
#define AMG_OP_E 2u
#define AMG_OP_F 4u
#define AMG_OP_T 8u

#define AMG_OP_LIST(X)                                                                 \
    X(CONV, "Conv", 2, 3, 1, 1, AMG_OP_D, "1-d, 2-d, 3-d; weights may be computed")    \
    X(BATCH_NORM, "BatchNormalization", 5, 5, 1, 3, AMG_OP_D | AMG_OP_T, "")           \
    X(RELU, "Relu", 1, 1, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")                    \
    X(LEAKY_RELU, "LeakyRelu", 1, 1, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")         \
    X(CLIP, "Clip", 1, 3, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")                    \
    X(SIGMOID, "Sigmoid", 1, 1, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")              \
    X(TANH, "Tanh", 1, 1, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")                    \
    X(MAX_POOL, "MaxPool", 1, 1, 1, 1, AMG_OP_D, "1-d, 2-d, 3-d; without Indices")     \
    X(AVERAGE_POOL, "AveragePool", 1, 1, 1, 1, AMG_OP_D, "1-d, 2-d, 3-d")              \
    X(GLOBAL_AVERAGE_POOL, "GlobalAveragePool", 1, 1, 1, 1, AMG_OP_D, "")              \
    X(GLOBAL_MAX_POOL, "GlobalMaxPool", 1, 1, 1, 1, AMG_OP_D, "")                      \
    X(LP_POOL, "LpPool", 1, 1, 1, 1, AMG_OP_D, "1-d, 2-d, 3-d")                        \
    X(GLOBAL_LP_POOL, "GlobalLpPool", 1, 1, 1, 1, AMG_OP_D, "")                        \
    X(GEMM, "Gemm", 2, 3, 1, 1, AMG_OP_D, "")                                          \
    X(MAT_MUL, "MatMul", 2, 2, 1, 1, AMG_OP_D, "")                                     \
    X(EINSUM, "Einsum", 1, -1, 1, 1, AMG_OP_D, "up to seven labels")                   \
    X(ADD, "Add", 2, 2, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")                      \
    X(SUB, "Sub", 2, 2, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")                      \
    X(MUL, "Mul", 2, 2, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")                      \
    X(DIV, "Div", 2, 2, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")                      \
    X(MAX, "Max", 2, 2, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "any number, in pairs")  \
    X(MIN, "Min", 2, 2, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "any number, in pairs")  \
    X(CONCAT, "Concat", 1, -1, 1, 1, AMG_OP_D | AMG_OP_F, "")                          \
    X(FLATTEN, "Flatten", 1, 1, 1, 1, AMG_OP_D, "")                                    \
    X(RESHAPE, "Reshape", 2, 2, 1, 1, AMG_OP_D | AMG_OP_F, "constant shape")           \
    X(DROPOUT, "Dropout", 1, 3, 1, 2, AMG_OP_D | AMG_OP_T, "constant ratio")           \
    X(BERNOULLI, "Bernoulli", 1, 1, 1, 1, AMG_OP_T, "as the mask of a dropout")        \
    X(RANDOM_UNIFORM_LIKE, "RandomUniformLike", 1, 1, 1, 1, AMG_OP_T,                  \
      "its mean in evaluation")                                                        \
    X(RANDOM_NORMAL_LIKE, "RandomNormalLike", 1, 1, 1, 1, AMG_OP_T,                    \
      "its mean in evaluation")                                                        \
    X(IDENTITY, "Identity", 1, 1, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")            \
    X(STOP_GRADIENT, "StopGradient", 1, 1, 1, 1, AMG_OP_E | AMG_OP_T,                  \
      "not ONNX's: x.detach(), an Identity by which the file says so")                 \
    X(REDUCE_MEAN, "ReduceMean", 1, 2, 1, 1, AMG_OP_D, "constant axes")                \
    X(PAD, "Pad", 2, 4, 1, 1, AMG_OP_D, "constant amounts; all modes")                 \
    X(CENTER_CROP_PAD, "CenterCropPad", 2, 2, 1, 1, AMG_OP_D, "constant shape")        \
    X(DEPTH_TO_SPACE, "DepthToSpace", 1, 1, 1, 1, AMG_OP_D, "")                        \
    X(SPACE_TO_DEPTH, "SpaceToDepth", 1, 1, 1, 1, AMG_OP_D, "")                        \
    X(CONV_TRANSPOSE, "ConvTranspose", 2, 3, 1, 1, AMG_OP_D,                           \
      "1-d, 2-d, 3-d; weights may be computed")                                        \
    X(DEFORM_CONV, "DeformConv", 3, 5, 1, 1, AMG_OP_D, "2-d")                          \
    X(CAUSAL_CONV, "CausalConvWithState", 2, 4, 1, 2, AMG_OP_D, "")                    \
    X(RESIZE, "Resize", 1, 4, 1, 1, AMG_OP_D, "nearest, linear, cubic; 1-d to 3-d")    \
    X(COL2IM, "Col2Im", 3, 3, 1, 1, AMG_OP_D, "constant shapes; in PyTorch 2-d")       \
    X(GRID_SAMPLE, "GridSample", 2, 2, 1, 1, AMG_OP_D,                                 \
      "2-d, 3-d; in PyTorch cubic of 2-d")                                             \
    X(AFFINE_GRID, "AffineGrid", 2, 2, 1, 1, AMG_OP_D, "constant size")                \
    X(LSTM, "LSTM", 3, 8, 1, 3, AMG_OP_D, "no clipping")                               \
    X(GRU, "GRU", 3, 6, 1, 2, AMG_OP_D, "no clipping")                                 \
    X(RNN, "RNN", 3, 6, 1, 2, AMG_OP_D, "tanh or relu, no clipping")                   \
    X(INSTANCE_NORM, "InstanceNormalization", 3, 3, 1, 1, AMG_OP_D, "")                \
    X(GROUP_NORM, "GroupNormalization", 3, 3, 1, 1, AMG_OP_D, "scale per channel")     \
    X(ELU, "Elu", 1, 1, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")                      \
    X(CELU, "Celu", 1, 1, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "alpha other than 0")  \
    X(SELU, "Selu", 1, 1, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")                    \
    X(MISH, "Mish", 1, 1, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")                    \
    X(SOFTSIGN, "Softsign", 1, 1, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")            \
    X(SHRINK, "Shrink", 1, 1, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")                \
    X(THRESHOLDED_RELU, "ThresholdedRelu", 1, 1, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, \
      "")                                                                              \
    X(SOFTPLUS, "Softplus", 1, 1, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")            \
    X(HARD_SIGMOID, "HardSigmoid", 1, 1, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")     \
    X(HARD_SWISH, "HardSwish", 1, 1, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")         \
    X(PRELU, "PRelu", 2, 2, 1, 1, AMG_OP_D | AMG_OP_F, "")                             \
    X(GATHER, "Gather", 2, 2, 1, 1, AMG_OP_D | AMG_OP_F,                               \
      "constant index; rows of a parameter by any index")                              \
    X(GATHER_ELEMENTS, "GatherElements", 2, 2, 1, 1, AMG_OP_D | AMG_OP_F, "")          \
    X(GATHER_ND, "GatherND", 2, 2, 1, 1, AMG_OP_D | AMG_OP_F,                          \
      "in PyTorch one batch dim at most")                                              \
    X(SCATTER_ELEMENTS, "ScatterElements", 3, 3, 1, 1, AMG_OP_D, "")                   \
    X(SCATTER_ND, "ScatterND", 3, 3, 1, 1, AMG_OP_D, "")                               \
    X(REVERSE_SEQUENCE, "ReverseSequence", 2, 2, 1, 1, AMG_OP_D, "")                   \
    X(ONE_HOT, "OneHot", 3, 3, 1, 1, AMG_OP_F, "of data; constant depth")              \
    X(EYE_LIKE, "EyeLike", 1, 1, 1, 1, AMG_OP_F, "folded")                             \
    X(CAST, "Cast", 1, 1, 1, 1, AMG_OP_F,                                              \
      "of data: between float32, int64, int32, uint8, bool")                           \
    X(SHAPE, "Shape", 1, 1, 1, 1, AMG_OP_F, "folded")                                  \
    X(SIZE, "Size", 1, 1, 1, 1, AMG_OP_F, "folded")                                    \
    X(SLICE, "Slice", 3, 5, 1, 1, AMG_OP_D | AMG_OP_F, "constant bounds and steps")    \
    X(SQUEEZE, "Squeeze", 1, 2, 1, 1, AMG_OP_D | AMG_OP_F, "constant axes")            \
    X(UNSQUEEZE, "Unsqueeze", 1, 2, 1, 1, AMG_OP_D | AMG_OP_F, "constant axes")        \
    X(TRANSPOSE, "Transpose", 1, 1, 1, 1, AMG_OP_D | AMG_OP_F, "")                     \
    X(CONSTANT, "Constant", 0, 0, 1, 1, AMG_OP_F, "becomes an initializer")            \
    X(CONSTANT_OF_SHAPE, "ConstantOfShape", 1, 1, 1, 1, AMG_OP_F, "folded")            \
    X(RANGE, "Range", 3, 3, 1, 1, AMG_OP_F, "folded, but for the samples' own")        \
    X(WHERE, "Where", 3, 3, 1, 1, AMG_OP_D | AMG_OP_F, "trains through both values")   \
    X(EQUAL, "Equal", 2, 2, 1, 1, AMG_OP_F, "")                                        \
    X(IS_NAN, "IsNaN", 1, 1, 1, 1, AMG_OP_F, "")                                       \
    X(IS_INF, "IsInf", 1, 1, 1, 1, AMG_OP_F, "")                                       \
    X(MOD, "Mod", 2, 2, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")                      \
    X(TRILU, "Trilu", 1, 2, 1, 1, AMG_OP_D | AMG_OP_F, "constant diagonal")            \
    X(EXPAND, "Expand", 2, 2, 1, 1, AMG_OP_D | AMG_OP_F, "constant shape")             \
    X(LAYER_NORM, "LayerNormalization", 2, 3, 1, 3, AMG_OP_D, "")                      \
    X(RMS_NORM, "RMSNormalization", 2, 2, 1, 1, AMG_OP_D, "")                          \
    X(LP_NORM, "LpNormalization", 1, 1, 1, 1, AMG_OP_D, "")                            \
    X(LRN, "LRN", 1, 1, 1, 1, AMG_OP_D, "")                                            \
    X(MEAN_VARIANCE_NORM, "MeanVarianceNormalization", 1, 1, 1, 1, AMG_OP_D, "")       \
    X(ATTENTION, "Attention", 3, 7, 1, 4, AMG_OP_D, "")                                \
    X(ROTARY_EMBEDDING, "RotaryEmbedding", 3, 4, 1, 1, AMG_OP_D, "")                   \
    X(SOFTMAX, "Softmax", 1, 1, 1, 1, AMG_OP_D, "")                                    \
    X(LOG_SOFTMAX, "LogSoftmax", 1, 1, 1, 1, AMG_OP_D, "")                             \
    X(HARDMAX, "Hardmax", 1, 1, 1, 1, AMG_OP_F, "of data; no gradient")                \
    X(GELU, "Gelu", 1, 1, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")                    \
    X(ERF, "Erf", 1, 1, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")                      \
    X(EXP, "Exp", 1, 1, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")                      \
    X(LOG, "Log", 1, 1, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")                      \
    X(SQRT, "Sqrt", 1, 1, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")                    \
    X(NEG, "Neg", 1, 1, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")                      \
    X(ABS, "Abs", 1, 1, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")                      \
    X(SIGN, "Sign", 1, 1, 1, 1, AMG_OP_E | AMG_OP_F,                                   \
      "no gradient: as PyTorch's, it is 0")                                            \
    X(FLOOR, "Floor", 1, 1, 1, 1, AMG_OP_E | AMG_OP_F,                                 \
      "no gradient: as PyTorch's, it is 0")                                            \
    X(CEIL, "Ceil", 1, 1, 1, 1, AMG_OP_E | AMG_OP_F,                                   \
      "no gradient: as PyTorch's, it is 0")                                            \
    X(ROUND, "Round", 1, 1, 1, 1, AMG_OP_E | AMG_OP_F,                                 \
      "no gradient: as PyTorch's, it is 0")                                            \
    X(SIN, "Sin", 1, 1, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")                      \
    X(COS, "Cos", 1, 1, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")                      \
    X(TAN, "Tan", 1, 1, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")                      \
    X(ASIN, "Asin", 1, 1, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")                    \
    X(ACOS, "Acos", 1, 1, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")                    \
    X(ATAN, "Atan", 1, 1, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")                    \
    X(SINH, "Sinh", 1, 1, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")                    \
    X(COSH, "Cosh", 1, 1, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")                    \
    X(ASINH, "Asinh", 1, 1, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")                  \
    X(ACOSH, "Acosh", 1, 1, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")                  \
    X(ATANH, "Atanh", 1, 1, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")                  \
    X(RECIPROCAL, "Reciprocal", 1, 1, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")        \
    X(POW, "Pow", 2, 2, 1, 1, AMG_OP_D | AMG_OP_E | AMG_OP_F, "")                      \
    X(SPLIT, "Split", 1, 2, 1, -1, AMG_OP_D | AMG_OP_F, "constant sizes")              \
    X(TILE, "Tile", 2, 2, 1, 1, AMG_OP_D | AMG_OP_F, "constant repeats")               \
    X(REDUCE_SUM, "ReduceSum", 1, 2, 1, 1, AMG_OP_D | AMG_OP_F, "constant axes")       \
    X(REDUCE_MAX, "ReduceMax", 1, 2, 1, 1, AMG_OP_D | AMG_OP_F, "constant axes")       \
    X(REDUCE_MIN, "ReduceMin", 1, 2, 1, 1, AMG_OP_D | AMG_OP_F, "constant axes")       \
    X(REDUCE_PROD, "ReduceProd", 1, 2, 1, 1, AMG_OP_D | AMG_OP_F, "constant axes")     \
    X(REDUCE_L1, "ReduceL1", 1, 2, 1, 1, AMG_OP_D | AMG_OP_F, "constant axes")         \
    X(REDUCE_L2, "ReduceL2", 1, 2, 1, 1, AMG_OP_D | AMG_OP_F, "constant axes")         \
    X(REDUCE_LOG_SUM, "ReduceLogSum", 1, 2, 1, 1, AMG_OP_D | AMG_OP_F,                 \
      "constant axes")                                                                 \
    X(REDUCE_LOG_SUM_EXP, "ReduceLogSumExp", 1, 2, 1, 1, AMG_OP_D | AMG_OP_F,          \
      "constant axes")                                                                 \
    X(REDUCE_SUM_SQUARE, "ReduceSumSquare", 1, 2, 1, 1, AMG_OP_D | AMG_OP_F,           \
      "constant axes")                                                                 \
    X(ARG_MAX, "ArgMax", 1, 1, 1, 1, AMG_OP_F, "of data; no gradient")                 \
    X(ARG_MIN, "ArgMin", 1, 1, 1, 1, AMG_OP_F, "of data; no gradient")                 \
    X(TOP_K, "TopK", 2, 2, 2, 2, AMG_OP_D, "constant number")                          \
    X(CUM_SUM, "CumSum", 2, 2, 1, 1, AMG_OP_D | AMG_OP_F, "constant axis")             \
    X(CUM_PROD, "CumProd", 2, 2, 1, 1, AMG_OP_D | AMG_OP_F, "constant axis")           \
    X(GREATER, "Greater", 2, 2, 1, 1, AMG_OP_F, "")                                    \
    X(LESS, "Less", 2, 2, 1, 1, AMG_OP_F, "")                                          \
    X(GREATER_OR_EQUAL, "GreaterOrEqual", 2, 2, 1, 1, AMG_OP_F, "")                    \
    X(LESS_OR_EQUAL, "LessOrEqual", 2, 2, 1, 1, AMG_OP_F, "")                          \
    X(NOT, "Not", 1, 1, 1, 1, AMG_OP_F, "")                                            \
    X(AND, "And", 2, 2, 1, 1, AMG_OP_F, "")                                            \
    X(OR, "Or", 2, 2, 1, 1, AMG_OP_F, "")                                              \
    X(XOR, "Xor", 2, 2, 1, 1, AMG_OP_F, "")

#define AMG_OP_ENUM(id, name, i0, i1, o0, o1, flags, note) AMG_OP_##id,
typedef enum { AMG_OP_LIST(AMG_OP_ENUM) AMG_OP_COUNT } amg_op;
#undef AMG_OP_ENUM

typedef struct {
    const char *name; /* ONNX op_type */
    int min_inputs, max_inputs, min_outputs, max_outputs;
    unsigned flags;
    const char *note; /* what of the operator is covered */
} amg_op_info;

const amg_op_info *amg_op_get(amg_op op);
/* Returns AMG_OP_COUNT if the name is unknown. */
amg_op amg_op_find(const char *onnx_name);

/* An ONNX operator that the graph has in parts. */
typedef struct {
    amg_op_info info;
    amg_op last; /* of the parts */
} amg_op_composed;

/* The i-th of them, NULL behind the last one. */
const amg_op_composed *amg_op_composed_at(int i);

#endif
