/* Layers of the zoo: each writes its parameters, then its node. A parameter's random
 * stream is its ordinal in the state_dict, so its first values depend on the seed and
 * its place alone. Consumes builder values, produces builder values; knows no network.
 */
#include "graph/zoo_layers.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* scope + name + suffix, into out; returns out. The zoo's names are ours and fit. */
static const char *full_name(const amg_zoo_net *net, const char *name,
                             const char *suffix, char out[AMG_ZOO_NAME])
{
    size_t used = strlen(net->scope);
    memcpy(out, net->scope, used);
    snprintf(out + used, AMG_ZOO_NAME - used, "%s%s", name, suffix);
    return out;
}

int amg_zoo_param(amg_zoo_net *net, const char *name, const char *suffix,
                  amg_init_law law, int rank, const int64_t *dims)
{
    char text[AMG_ZOO_NAME];
    amg_tensor shape = {.dtype = AMG_F32, .rank = rank};
    memcpy(shape.dims, dims, (size_t)rank * sizeof *dims);
    if (net->no_weights)
        return amg_builder_param_absent(
            net->builder, full_name(net, name, suffix, text), AMG_F32, rank, dims);
    int param =
        amg_builder_param(net->builder, full_name(net, name, suffix, text), &shape);
    amg_rng rng = amg_rng_init(net->seed, net->num_params++);
    if (param != AMG_NO_VALUE)
        amg_init_fill(&law, amg_builder_data(net->builder, param), &rng);
    return param;
}

int amg_zoo_constant(amg_zoo_net *net, const char *name, const char *suffix,
                     const amg_tensor *t)
{
    char text[AMG_ZOO_NAME];
    return amg_builder_param(net->builder, full_name(net, name, suffix, text), t);
}

/* A number. */
static int add_constant(amg_zoo_net *net, const char *name, const char *suffix,
                        float value)
{
    amg_tensor t = {.dtype = AMG_F32, .data = &value, .size_bytes = sizeof value};
    return amg_zoo_constant(net, name, suffix, &t);
}

int amg_zoo_node(amg_zoo_net *net, amg_op op, const char *name, const int *inputs,
                 int num_inputs, const amg_attr *attrs, int num_attrs,
                 const char *output)
{
    char text[AMG_ZOO_NAME];
    return amg_builder_node(net->builder, op, full_name(net, name, "", text), inputs,
                            num_inputs, attrs, num_attrs, output);
}

static int add_node(amg_zoo_net *net, amg_op op, const char *name, const int *inputs,
                    int num_inputs, const amg_attr *attrs, int num_attrs)
{
    return amg_zoo_node(net, op, name, inputs, num_inputs, attrs, num_attrs, NULL);
}

void amg_zoo_split(amg_zoo_net *net, const char *name, int x, int64_t axis, int count,
                   int *out)
{
    char text[AMG_ZOO_NAME];
    amg_builder_node_multi(net->builder, AMG_OP_SPLIT, full_name(net, name, "", text),
                           &x, 1, (amg_attr[]){amg_int("axis", axis)}, 1, NULL, count,
                           out);
}

int64_t amg_zoo_dim(const amg_zoo_net *net, int x, int axis)
{
    const amg_value *value = amg_builder_value(net->builder, x);
    return value && axis < value->rank ? value->dims[axis] : 1;
}

size_t amg_zoo_enter(amg_zoo_net *net, const char *fmt, ...)
{
    size_t mark = strlen(net->scope);
    va_list args;
    va_start(args, fmt);
    vsnprintf(net->scope + mark, sizeof net->scope - mark - 1, fmt, args);
    va_end(args);
    strcat(net->scope, ".");
    return mark;
}

void amg_zoo_leave(amg_zoo_net *net, size_t mark) { net->scope[mark] = 0; }

int amg_zoo_conv(amg_zoo_net *net, const char *name, int x, amg_zoo_conv_shape shape)
{
    int64_t groups = shape.groups ? shape.groups : 1;
    int64_t stride = shape.stride ? shape.stride : 1;
    int64_t k = shape.kernel;
    int64_t dims[4] = {shape.out, amg_zoo_dim(net, x, 1) / groups, k, k};
    amg_init_law law = amg_init_law_of(net->laws.conv_weight, 4, dims);
    int inputs[3] = {x, amg_zoo_param(net, name, ".weight", law, 4, dims)};
    if (shape.bias) {
        law.kind = net->laws.conv_bias;
        inputs[2] = amg_zoo_param(net, name, ".bias", law, 1, dims);
    }
    int64_t pads[4] = {shape.pad, shape.pad, shape.pad, shape.pad};
    amg_attr attrs[] = {
        amg_ints("dilations", 2, (int64_t[]){1, 1}), amg_int("group", groups),
        amg_ints("kernel_shape", 2, (int64_t[]){k, k}), amg_ints("pads", 4, pads),
        amg_ints("strides", 2, (int64_t[]){stride, stride})};
    return add_node(net, AMG_OP_CONV, name, inputs, shape.bias ? 3 : 2, attrs, 5);
}

int amg_zoo_batch_norm(amg_zoo_net *net, const char *name, int x)
{
    const amg_init_law zero = {.kind = AMG_INIT_ZERO}, one = {.kind = AMG_INIT_ONE};
    int64_t channels = amg_zoo_dim(net, x, 1);
    int inputs[5] = {x};
    inputs[1] = amg_zoo_param(net, name, ".weight", one, 1, &channels);
    inputs[2] = amg_zoo_param(net, name, ".bias", zero, 1, &channels);
    inputs[3] = amg_zoo_param(net, name, ".running_mean", zero, 1, &channels);
    inputs[4] = amg_zoo_param(net, name, ".running_var", one, 1, &channels);
    /* ONNX's momentum is the share kept, PyTorch's 0.1 the share replaced. */
    amg_attr attrs[] = {amg_flt("epsilon", 1e-5f), amg_flt("momentum", 0.9f)};
    return add_node(net, AMG_OP_BATCH_NORM, name, inputs, 5, attrs, 2);
}

int amg_zoo_relu(amg_zoo_net *net, const char *name, int x)
{
    return add_node(net, AMG_OP_RELU, name, &x, 1, NULL, 0);
}

int amg_zoo_relu6(amg_zoo_net *net, const char *name, int x)
{
    int inputs[3] = {x, add_constant(net, name, ".min", 0.0f),
                     add_constant(net, name, ".max", 6.0f)};
    return add_node(net, AMG_OP_CLIP, name, inputs, 3, NULL, 0);
}

int amg_zoo_max_pool(amg_zoo_net *net, const char *name, int x, int64_t kernel,
                     int64_t stride, int64_t pad)
{
    amg_attr attrs[] = {amg_ints("kernel_shape", 2, (int64_t[]){kernel, kernel}),
                        amg_ints("pads", 4, (int64_t[]){pad, pad, pad, pad}),
                        amg_ints("strides", 2, (int64_t[]){stride, stride})};
    return add_node(net, AMG_OP_MAX_POOL, name, &x, 1, attrs, 3);
}

int amg_zoo_average_pool(amg_zoo_net *net, const char *name, int x, int64_t kernel_h,
                         int64_t kernel_w)
{
    int64_t kernel[2] = {kernel_h, kernel_w};
    amg_attr attrs[] = {amg_ints("kernel_shape", 2, kernel),
                        amg_ints("strides", 2, kernel)};
    return add_node(net, AMG_OP_AVERAGE_POOL, name, &x, 1, attrs, 2);
}

int amg_zoo_global_pool(amg_zoo_net *net, const char *name, int x)
{
    return add_node(net, AMG_OP_GLOBAL_AVERAGE_POOL, name, &x, 1, NULL, 0);
}

int amg_zoo_flatten(amg_zoo_net *net, int x)
{
    return add_node(net, AMG_OP_FLATTEN, "flatten", &x, 1,
                    (amg_attr[]){amg_int("axis", 1)}, 1);
}

int amg_zoo_dropout(amg_zoo_net *net, const char *name, int x, float ratio)
{
    int inputs[2] = {x, add_constant(net, name, ".ratio", ratio)};
    return add_node(net, AMG_OP_DROPOUT, name, inputs, 2, NULL, 0);
}

int amg_zoo_add(amg_zoo_net *net, const char *name, int a, int b)
{
    return add_node(net, AMG_OP_ADD, name, (int[]){a, b}, 2, NULL, 0);
}

int amg_zoo_concat(amg_zoo_net *net, const char *name, const int *x, int count)
{
    return add_node(net, AMG_OP_CONCAT, name, x, count,
                    (amg_attr[]){amg_int("axis", 1)}, 1);
}

/* output: the value's name, NULL for any. */
static int gemm(amg_zoo_net *net, const char *name, int x, int weight, int bias,
                const char *output)
{
    return amg_zoo_node(net, AMG_OP_GEMM, name, (int[]){x, weight, bias},
                        bias == AMG_NO_VALUE ? 2 : 3,
                        (amg_attr[]){amg_int("transB", 1)}, 1, output);
}

int amg_zoo_gemm(amg_zoo_net *net, const char *name, int x, int weight, int bias)
{
    return gemm(net, name, x, weight, bias, NULL);
}

static int linear(amg_zoo_net *net, const char *name, int x, int64_t out,
                  const char *output)
{
    int64_t dims[2] = {out, amg_zoo_dim(net, x, 1)};
    amg_init_law law = amg_init_law_of(net->laws.linear_weight, 2, dims);
    law.scale = net->laws.linear_scale;
    int weight = amg_zoo_param(net, name, ".weight", law, 2, dims);
    law.kind = net->laws.linear_bias;
    int bias = amg_zoo_param(net, name, ".bias", law, 1, dims);
    return gemm(net, name, x, weight, bias, output);
}

int amg_zoo_linear(amg_zoo_net *net, const char *name, int x, int64_t out)
{
    return linear(net, name, x, out, NULL);
}

int amg_zoo_logits(amg_zoo_net *net, const char *name, int x)
{
    return linear(net, name, x, net->num_classes, "logits");
}
