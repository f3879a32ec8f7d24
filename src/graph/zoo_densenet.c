/* DenseNet-121 (Huang et al. 2017), torchvision's names: growth 32, bottleneck 4, a
 * layer reads the concatenation of all feature maps of its block. CIFAR form: conv0 is
 * 3x3 with stride 1 and there is no pool0; everything behind the stem is the same. */
#include "graph/zoo_layers.h"

#define GROWTH 32
#define BOTTLENECK 4
#define MAX_LAYERS 24 /* of a block */

/* New features [N,GROWTH,H,W] from a block's features so far. */
static int dense_layer(amg_zoo_net *net, const int *maps, int num_maps)
{
    amg_zoo_conv_shape conv1 = {.out = BOTTLENECK * GROWTH, .kernel = 1};
    amg_zoo_conv_shape conv2 = {.out = GROWTH, .kernel = 3, .pad = 1};
    /* torchvision's first layer concatenates one map: nothing to do */
    int x = num_maps == 1 ? maps[0] : amg_zoo_concat(net, "concat", maps, num_maps);
    x = amg_zoo_relu(net, "relu1", amg_zoo_batch_norm(net, "norm1", x));
    x = amg_zoo_conv(net, "conv1", x, conv1);
    x = amg_zoo_relu(net, "relu2", amg_zoo_batch_norm(net, "norm2", x));
    return amg_zoo_conv(net, "conv2", x, conv2);
}

static int dense_block(amg_zoo_net *net, int x, int num_layers)
{
    int maps[MAX_LAYERS + 1] = {x};
    for (int i = 0; i < num_layers; i++) {
        size_t mark = amg_zoo_enter(net, "denselayer%d", i + 1);
        maps[i + 1] = dense_layer(net, maps, i + 1);
        amg_zoo_leave(net, mark);
    }
    return amg_zoo_concat(net, "concat", maps, num_layers + 1);
}

/* Halves channels and sides. */
static int transition(amg_zoo_net *net, int x, int64_t channels)
{
    amg_zoo_conv_shape conv = {.out = channels / 2, .kernel = 1};
    x = amg_zoo_relu(net, "relu", amg_zoo_batch_norm(net, "norm", x));
    return amg_zoo_average_pool(net, "pool", amg_zoo_conv(net, "conv", x, conv), 2, 2);
}

static int stem(amg_zoo_net *net, int x)
{
    amg_zoo_conv_shape conv = {.out = 64, .kernel = 7, .stride = 2, .pad = 3};
    if (net->small) conv = (amg_zoo_conv_shape){.out = 64, .kernel = 3, .pad = 1};
    x = amg_zoo_batch_norm(net, "norm0", amg_zoo_conv(net, "conv0", x, conv));
    x = amg_zoo_relu(net, "relu0", x);
    return net->small ? x : amg_zoo_max_pool(net, "pool0", x, 3, 2, 1);
}

static int features(amg_zoo_net *net, int x)
{
    static const int num_layers[4] = {6, 12, MAX_LAYERS, 16};
    size_t mark = amg_zoo_enter(net, "features");
    int64_t channels = 64;
    x = stem(net, x);
    for (int i = 0; i < 4; i++) {
        size_t block = amg_zoo_enter(net, "denseblock%d", i + 1);
        x = dense_block(net, x, num_layers[i]);
        channels += num_layers[i] * GROWTH;
        amg_zoo_leave(net, block);
        if (i == 3) break;
        block = amg_zoo_enter(net, "transition%d", i + 1);
        x = transition(net, x, channels);
        channels /= 2;
        amg_zoo_leave(net, block);
    }
    x = amg_zoo_batch_norm(net, "norm5", x);
    amg_zoo_leave(net, mark);
    return x;
}

int amg_zoo_densenet121(amg_zoo_net *net, int x)
{
    net->laws = (amg_zoo_laws){.conv_weight = AMG_INIT_HE_FAN_IN,
                               .linear_weight = AMG_INIT_UNIFORM_FAN_IN,
                               .linear_bias = AMG_INIT_ZERO};
    x = amg_zoo_relu(net, "relu", features(net, x));
    x = amg_zoo_flatten(net, amg_zoo_global_pool(net, "avgpool", x));
    return amg_zoo_logits(net, "classifier", x);
}
