/* VGG-16 (Simonyan & Zisserman 2015), with and without batch norm, torchvision's names.
 * ImageNet form: the feature map is pooled to 7x7, where torchvision's adaptive pooling
 * has equal windows only if the map's sides are multiples of 7 (the identity at
 * 224x224); zoo.c refuses other sizes. CIFAR form: five poolings leave 32x32 as 1x1, so
 * the feature map is pooled to 1x1 and classifier.0 reads 512 values instead of 512*49;
 * the rest of the classifier (4096, 4096, dropout 0.5) is torchvision's. */
#include <stdio.h>

#include "graph/zoo_layers.h"

#define POOL (-1)

static const char *next_name(char name[16], int *index)
{
    snprintf(name, 16, "%d", (*index)++);
    return name;
}

static int features(amg_zoo_net *net, int x, bool batch_norm)
{
    static const int config[] = {64,   64,  POOL, 128, 128,  POOL, 256, 256, 256,
                                 POOL, 512, 512,  512, POOL, 512,  512, 512, POOL};
    size_t mark = amg_zoo_enter(net, "features");
    char name[16];
    int index = 0; /* in the nn.Sequential, which counts every module */
    for (size_t i = 0; i < sizeof config / sizeof *config; i++) {
        if (config[i] == POOL) {
            x = amg_zoo_max_pool(net, next_name(name, &index), x, 2, 2, 0);
            continue;
        }
        amg_zoo_conv_shape conv = {
            .out = config[i], .kernel = 3, .pad = 1, .bias = true};
        x = amg_zoo_conv(net, next_name(name, &index), x, conv);
        if (batch_norm) x = amg_zoo_batch_norm(net, next_name(name, &index), x);
        x = amg_zoo_relu(net, next_name(name, &index), x);
    }
    amg_zoo_leave(net, mark);
    return x;
}

static int classifier(amg_zoo_net *net, int x)
{
    size_t mark = amg_zoo_enter(net, "classifier");
    x = amg_zoo_relu(net, "1", amg_zoo_linear(net, "0", x, 4096));
    x = amg_zoo_dropout(net, "2", x, 0.5f);
    x = amg_zoo_relu(net, "4", amg_zoo_linear(net, "3", x, 4096));
    x = amg_zoo_dropout(net, "5", x, 0.5f);
    x = amg_zoo_logits(net, "6", x);
    amg_zoo_leave(net, mark);
    return x;
}

/* Pools to 7x7, or to 1x1 in the CIFAR form. */
static int pool(amg_zoo_net *net, int x)
{
    const amg_value *map = amg_builder_value(net->builder, x);
    if (!map) return x;
    if (net->small) return amg_zoo_global_pool(net, "avgpool", x);
    if (map->dims[2] == 7 && map->dims[3] == 7) return x;
    return amg_zoo_average_pool(net, "avgpool", x, map->dims[2] / 7, map->dims[3] / 7);
}

static int vgg16(amg_zoo_net *net, int x, bool batch_norm)
{
    net->laws = (amg_zoo_laws){.conv_weight = AMG_INIT_HE_FAN_OUT,
                               .conv_bias = AMG_INIT_ZERO,
                               .linear_weight = AMG_INIT_NORMAL_001,
                               .linear_bias = AMG_INIT_ZERO};
    x = pool(net, features(net, x, batch_norm));
    return classifier(net, amg_zoo_flatten(net, x));
}

int amg_zoo_vgg16(amg_zoo_net *net, int x) { return vgg16(net, x, false); }

int amg_zoo_vgg16_bn(amg_zoo_net *net, int x) { return vgg16(net, x, true); }
