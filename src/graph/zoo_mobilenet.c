/* MobileNetV2 (Sandler et al. 2018), torchvision's names. CIFAR form, as in the usual
 * CIFAR ports: the stem (features.0) and the 24-channel stage (features.2) have stride
 * 1 instead of 2, so that 32x32 ends as 4x4 before the global pooling; parameters are
 * the same in both forms. */
#include <stdio.h>

#include "graph/zoo_layers.h"

/* A stage of inverted residuals: n blocks, the first with the stage's stride. */
typedef struct {
    int64_t expansion, channels;
    int num_blocks;
    int64_t stride, small_stride;
} stage;

static const stage stages[] = {
    {1, 16, 1, 1, 1}, {6, 24, 2, 2, 1},  {6, 32, 3, 2, 2},  {6, 64, 4, 2, 2},
    {6, 96, 3, 1, 1}, {6, 160, 3, 2, 2}, {6, 320, 1, 1, 1},
};
enum { NUM_STAGES = sizeof stages / sizeof *stages };

/* Convolution, batch norm, ReLU6 as modules name.0, name.1, name.2. */
static int conv_unit(amg_zoo_net *net, int x, int index, amg_zoo_conv_shape conv)
{
    size_t mark = amg_zoo_enter(net, "%d", index);
    x = amg_zoo_batch_norm(net, "1", amg_zoo_conv(net, "0", x, conv));
    x = amg_zoo_relu6(net, "2", x);
    amg_zoo_leave(net, mark);
    return x;
}

/* Widen (unless expansion is 1), filter each channel, narrow without activation. */
static int inverted_residual(amg_zoo_net *net, int x, int64_t in, int64_t expansion,
                             int64_t out, int64_t stride)
{
    int64_t hidden = in * expansion;
    amg_zoo_conv_shape widen = {.out = hidden, .kernel = 1};
    amg_zoo_conv_shape filter = {
        .out = hidden, .kernel = 3, .stride = stride, .pad = 1, .groups = hidden};
    amg_zoo_conv_shape narrow = {.out = out, .kernel = 1};
    int index = 0, y = x;
    char name[16];
    size_t mark = amg_zoo_enter(net, "conv");
    if (expansion != 1) y = conv_unit(net, y, index++, widen);
    y = conv_unit(net, y, index++, filter);
    snprintf(name, sizeof name, "%d", index++);
    y = amg_zoo_conv(net, name, y, narrow);
    snprintf(name, sizeof name, "%d", index);
    y = amg_zoo_batch_norm(net, name, y);
    amg_zoo_leave(net, mark);
    return stride == 1 && in == out ? amg_zoo_add(net, "add", x, y) : y;
}

static int features(amg_zoo_net *net, int x)
{
    size_t mark = amg_zoo_enter(net, "features");
    int index = 0;
    int64_t channels = 32;
    amg_zoo_conv_shape stem = {.out = channels, .kernel = 3, .pad = 1};
    stem.stride = net->small ? 1 : 2;
    x = conv_unit(net, x, index++, stem);
    for (int s = 0; s < NUM_STAGES; s++)
        for (int i = 0; i < stages[s].num_blocks; i++) {
            int64_t stride = net->small ? stages[s].small_stride : stages[s].stride;
            size_t block = amg_zoo_enter(net, "%d", index++);
            x = inverted_residual(net, x, channels, stages[s].expansion,
                                  stages[s].channels, i == 0 ? stride : 1);
            channels = stages[s].channels;
            amg_zoo_leave(net, block);
        }
    x = conv_unit(net, x, index, (amg_zoo_conv_shape){.out = 1280, .kernel = 1});
    amg_zoo_leave(net, mark);
    return x;
}

int amg_zoo_mobilenet_v2(amg_zoo_net *net, int x)
{
    net->laws = (amg_zoo_laws){.conv_weight = AMG_INIT_HE_FAN_OUT,
                               .linear_weight = AMG_INIT_NORMAL_001,
                               .linear_bias = AMG_INIT_ZERO};
    x = features(net, x);
    x = amg_zoo_flatten(net, amg_zoo_global_pool(net, "avgpool", x));
    size_t mark = amg_zoo_enter(net, "classifier");
    x = amg_zoo_logits(net, "1", amg_zoo_dropout(net, "0", x, 0.2f));
    amg_zoo_leave(net, mark);
    return x;
}
