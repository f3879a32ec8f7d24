/* LeNet-5 (LeCun et al. 1998) as it is written in PyTorch today: ReLU, max pooling, a
 * plain last layer. The first convolution pads sides below 32 by 2, so that 28x28 and
 * 32x32 both reach the fully connected layers as 16x5x5 = 400 values. One form. */
#include "graph/zoo_layers.h"

int amg_zoo_lenet(amg_zoo_net *net, int x)
{
    net->laws = (amg_zoo_laws){.conv_weight = AMG_INIT_UNIFORM_FAN_IN,
                               .conv_bias = AMG_INIT_UNIFORM_FAN_IN,
                               .linear_weight = AMG_INIT_UNIFORM_FAN_IN,
                               .linear_bias = AMG_INIT_UNIFORM_FAN_IN};
    amg_zoo_conv_shape conv1 = {.out = 6, .kernel = 5, .bias = true};
    amg_zoo_conv_shape conv2 = {.out = 16, .kernel = 5, .bias = true};
    conv1.pad = net->min_side < 32 ? 2 : 0;
    x = amg_zoo_relu(net, "relu1", amg_zoo_conv(net, "conv1", x, conv1));
    x = amg_zoo_max_pool(net, "pool1", x, 2, 2, 0);
    x = amg_zoo_relu(net, "relu2", amg_zoo_conv(net, "conv2", x, conv2));
    x = amg_zoo_max_pool(net, "pool2", x, 2, 2, 0);
    x = amg_zoo_flatten(net, x);
    x = amg_zoo_relu(net, "relu3", amg_zoo_linear(net, "fc1", x, 120));
    x = amg_zoo_relu(net, "relu4", amg_zoo_linear(net, "fc2", x, 84));
    return amg_zoo_logits(net, "fc3", x);
}
