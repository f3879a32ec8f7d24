/* Layers of the zoo: one call per torchvision module, which adds the module's node and
 * its parameters under PyTorch's names ("layer1.0.conv1.weight") in state_dict order
 * and draws their values. Private to zoo*.c. Values are builder ids; after an error in
 * the builder every call passes AMG_NO_VALUE on, and amg_builder_finish reports it. */
#ifndef AMG_GRAPH_ZOO_LAYERS_H
#define AMG_GRAPH_ZOO_LAYERS_H

#include "graph/builder.h"
#include "graph/init.h"
#include "graph/zoo.h"

#define AMG_ZOO_NAME 128 /* longest module path and parameter name, with its 0 */

/* How a network's author draws its weights. Norms always start at the identity. */
typedef struct {
    amg_init_kind conv_weight, conv_bias, linear_weight, linear_bias;
    double linear_scale; /* of linear_weight, where that law has one */
} amg_zoo_laws;

/* A network being built. */
typedef struct {
    amg_builder *builder;
    amg_zoo_laws laws; /* set by the network before its first layer */
    bool small;        /* CIFAR form: sides up to 64 */
    int64_t min_side;  /* the smaller of height and width */
    int64_t num_classes;
    const amg_zoo_options *text; /* what amg_zoo_text_resolve made of the options */
    bool no_weights;
    uint64_t seed;
    uint64_t num_params; /* state_dict entries so far: the next one's random stream */
    char scope[AMG_ZOO_NAME]; /* path of the module being built: "" or "layer1.0." */
} amg_zoo_net;

/* A network: from the input x, an image [N,C,H,W] or tokens I64 [N,L], to its logits:
 * [N,classes], of a language model [N,L,vocab]. */
typedef int (*amg_zoo_fn)(amg_zoo_net *net, int x);

/* Opens a submodule: names of following layers begin with its path. Returns the mark
 * that amg_zoo_leave takes back. */
size_t amg_zoo_enter(amg_zoo_net *net, const char *fmt, ...) AMG_PRINTF(2, 3);
void amg_zoo_leave(amg_zoo_net *net, size_t mark);

/* Square convolution; stride 0 and groups 0 mean 1. */
typedef struct {
    int64_t out, kernel, stride, pad, groups;
    bool bias;
} amg_zoo_conv_shape;

/* What layers are made of: the next entry of the state_dict, NAME SUFFIX, drawn by law;
 * a copy of t that no training changes, not in the state_dict; a node with one output,
 * named output or (NULL) after the node; a dim of x (1 after an error: then nothing is
 * built from it). */
int amg_zoo_param(amg_zoo_net *net, const char *name, const char *suffix,
                  amg_init_law law, int rank, const int64_t *dims);
int amg_zoo_constant(amg_zoo_net *net, const char *name, const char *suffix,
                     const amg_tensor *t);
int amg_zoo_node(amg_zoo_net *net, amg_op op, const char *name, const int *inputs,
                 int num_inputs, const amg_attr *attrs, int num_attrs,
                 const char *output);
/* Equal parts of x along axis. */
void amg_zoo_split(amg_zoo_net *net, const char *name, int x, int64_t axis, int count,
                   int *out);
int64_t amg_zoo_dim(const amg_zoo_net *net, int x, int axis);

int amg_zoo_conv(amg_zoo_net *net, const char *name, int x, amg_zoo_conv_shape shape);
int amg_zoo_batch_norm(amg_zoo_net *net, const char *name, int x);
int amg_zoo_relu(amg_zoo_net *net, const char *name, int x);
/* Clip to [0, 6]. */
int amg_zoo_relu6(amg_zoo_net *net, const char *name, int x);
int amg_zoo_max_pool(amg_zoo_net *net, const char *name, int x, int64_t kernel,
                     int64_t stride, int64_t pad);
/* Windows side by side: the stride is the kernel. */
int amg_zoo_average_pool(amg_zoo_net *net, const char *name, int x, int64_t kernel_h,
                         int64_t kernel_w);
int amg_zoo_global_pool(amg_zoo_net *net, const char *name, int x); /* [N,C,1,1] */
int amg_zoo_flatten(amg_zoo_net *net, int x);                       /* [N,C*H*W] */
int amg_zoo_dropout(amg_zoo_net *net, const char *name, int x, float ratio);
int amg_zoo_add(amg_zoo_net *net, const char *name, int a, int b);
/* Along axis 1, the channels. */
int amg_zoo_concat(amg_zoo_net *net, const char *name, const int *x, int count);
int amg_zoo_linear(amg_zoo_net *net, const char *name, int x, int64_t out);
/* A linear layer of given parameters on rows [R,in]; bias AMG_NO_VALUE: none. */
int amg_zoo_gemm(amg_zoo_net *net, const char *name, int x, int weight, int bias);
/* The last layer: amg_zoo_linear to the classes; its value is "logits". */
int amg_zoo_logits(amg_zoo_net *net, const char *name, int x);

/* A network for text (zoo_text.c); NULL: name is none. */
typedef struct amg_zoo_text amg_zoo_text;
const amg_zoo_text *amg_zoo_text_find(const char *name);
amg_zoo_fn amg_zoo_text_build(const amg_zoo_text *text);
/* options, checked, with the network's own values where they leave them open. */
AMG_MUST_CHECK amg_status amg_zoo_text_resolve(const amg_zoo_text *text,
                                               const amg_zoo_options *options,
                                               amg_zoo_options *out, amg_error *err);
/* Fails unless least <= found <= most; what: the option. */
AMG_MUST_CHECK amg_status amg_zoo_check_range(const char *model, const char *what,
                                              int64_t found, int64_t least,
                                              int64_t most, amg_error *err);

/* The networks. What their two forms are is said in their files. */
int amg_zoo_lenet(amg_zoo_net *net, int x);
int amg_zoo_mlp(amg_zoo_net *net, int x);
int amg_zoo_resnet18(amg_zoo_net *net, int x);
int amg_zoo_resnet34(amg_zoo_net *net, int x);
int amg_zoo_resnet50(amg_zoo_net *net, int x);
int amg_zoo_vgg16(amg_zoo_net *net, int x);
int amg_zoo_vgg16_bn(amg_zoo_net *net, int x);
int amg_zoo_densenet121(amg_zoo_net *net, int x);
int amg_zoo_mobilenet_v2(amg_zoo_net *net, int x);
int amg_zoo_transformer_lm(amg_zoo_net *net, int tokens);
int amg_zoo_gpt(amg_zoo_net *net, int tokens);
int amg_zoo_text_cnn(amg_zoo_net *net, int tokens);
int amg_zoo_embedding_bag(amg_zoo_net *net, int tokens);
int amg_zoo_lstm(amg_zoo_net *net, int tokens);

#endif
