/* A multi-layer perceptron on the flattened image, hidden layers of 512 and 256 with
 * ReLU, drawn as PyTorch's Linear draws itself. One form for all sizes. */
#include "graph/zoo_layers.h"

int amg_zoo_mlp(amg_zoo_net *net, int x)
{
    net->laws.linear_weight = AMG_INIT_UNIFORM_FAN_IN;
    net->laws.linear_bias = AMG_INIT_UNIFORM_FAN_IN;
    x = amg_zoo_flatten(net, x);
    x = amg_zoo_relu(net, "relu1", amg_zoo_linear(net, "fc1", x, 512));
    x = amg_zoo_relu(net, "relu2", amg_zoo_linear(net, "fc2", x, 256));
    return amg_zoo_logits(net, "fc3", x);
}
