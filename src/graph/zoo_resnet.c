/* ResNet (He et al. 2016) with torchvision's names and its v1.5 bottleneck (stride in
 * the 3x3 convolution). CIFAR form: conv1 is 3x3 with stride 1 and there is no maxpool;
 * everything behind the stem is the same. */
#include "graph/zoo_layers.h"

typedef int (*block_fn)(amg_zoo_net *net, int x, int64_t width, int64_t stride);

/* The block's other arm: x itself, or a strided 1x1 convolution when the shape changes.
 */
static int shortcut(amg_zoo_net *net, int x, int64_t out, int64_t stride)
{
    const amg_value *value = amg_builder_value(net->builder, x);
    if (!value || (stride == 1 && value->dims[1] == out)) return x;
    size_t mark = amg_zoo_enter(net, "downsample");
    amg_zoo_conv_shape conv = {.out = out, .kernel = 1, .stride = stride};
    x = amg_zoo_batch_norm(net, "1", amg_zoo_conv(net, "0", x, conv));
    amg_zoo_leave(net, mark);
    return x;
}

static int basic_block(amg_zoo_net *net, int x, int64_t width, int64_t stride)
{
    amg_zoo_conv_shape conv1 = {.out = width, .kernel = 3, .stride = stride, .pad = 1};
    amg_zoo_conv_shape conv2 = {.out = width, .kernel = 3, .pad = 1};
    int y = amg_zoo_batch_norm(net, "bn1", amg_zoo_conv(net, "conv1", x, conv1));
    y = amg_zoo_relu(net, "relu1", y);
    y = amg_zoo_batch_norm(net, "bn2", amg_zoo_conv(net, "conv2", y, conv2));
    y = amg_zoo_add(net, "add", y, shortcut(net, x, width, stride));
    return amg_zoo_relu(net, "relu2", y);
}

static int bottleneck(amg_zoo_net *net, int x, int64_t width, int64_t stride)
{
    amg_zoo_conv_shape conv1 = {.out = width, .kernel = 1};
    amg_zoo_conv_shape conv2 = {.out = width, .kernel = 3, .stride = stride, .pad = 1};
    amg_zoo_conv_shape conv3 = {.out = 4 * width, .kernel = 1};
    int y = amg_zoo_batch_norm(net, "bn1", amg_zoo_conv(net, "conv1", x, conv1));
    y = amg_zoo_relu(net, "relu1", y);
    y = amg_zoo_batch_norm(net, "bn2", amg_zoo_conv(net, "conv2", y, conv2));
    y = amg_zoo_relu(net, "relu2", y);
    y = amg_zoo_batch_norm(net, "bn3", amg_zoo_conv(net, "conv3", y, conv3));
    y = amg_zoo_add(net, "add", y, shortcut(net, x, 4 * width, stride));
    return amg_zoo_relu(net, "relu3", y);
}

static int stem(amg_zoo_net *net, int x)
{
    amg_zoo_conv_shape conv = {.out = 64, .kernel = 7, .stride = 2, .pad = 3};
    if (net->small) conv = (amg_zoo_conv_shape){.out = 64, .kernel = 3, .pad = 1};
    x = amg_zoo_batch_norm(net, "bn1", amg_zoo_conv(net, "conv1", x, conv));
    x = amg_zoo_relu(net, "relu", x);
    return net->small ? x : amg_zoo_max_pool(net, "maxpool", x, 3, 2, 1);
}

static int resnet(amg_zoo_net *net, int x, block_fn block, const int num_blocks[4])
{
    net->laws = (amg_zoo_laws){.conv_weight = AMG_INIT_HE_FAN_OUT,
                               .linear_weight = AMG_INIT_UNIFORM_FAN_IN,
                               .linear_bias = AMG_INIT_UNIFORM_FAN_IN};
    x = stem(net, x);
    for (int stage = 0; stage < 4; stage++)
        for (int i = 0; i < num_blocks[stage]; i++) {
            size_t mark = amg_zoo_enter(net, "layer%d.%d", stage + 1, i);
            x = block(net, x, 64 << stage, stage > 0 && i == 0 ? 2 : 1);
            amg_zoo_leave(net, mark);
        }
    x = amg_zoo_flatten(net, amg_zoo_global_pool(net, "avgpool", x));
    return amg_zoo_logits(net, "fc", x);
}

int amg_zoo_resnet18(amg_zoo_net *net, int x)
{
    return resnet(net, x, basic_block, (const int[4]){2, 2, 2, 2});
}

int amg_zoo_resnet34(amg_zoo_net *net, int x)
{
    return resnet(net, x, basic_block, (const int[4]){3, 4, 6, 3});
}

int amg_zoo_resnet50(amg_zoo_net *net, int x)
{
    return resnet(net, x, bottleneck, (const int[4]){3, 4, 6, 3});
}
