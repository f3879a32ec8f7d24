/* The model zoo: looks up the network, checks the options, runs its file between input
 * and output. What a network is stands in zoo_<name>.c; options of networks for text
 * are zoo_text.c's. */
#include "graph/zoo.h"

#include <inttypes.h>
#include <string.h>

#include "graph/zoo_layers.h"

#define SMALL_SIDE 64 /* the CIFAR form's largest side */
#define MAX_SIDE 65536
#define MAX_CHANNELS 65536
#define MAX_CLASSES (1 << 24)

/* X(name, smallest side in CIFAR form, in ImageNet form): what leaves one pixel to the
 * last pooling; 1 where padding keeps any image alive. */
#define IMAGE_LIST(X)                                                                  \
    X(lenet, 12, 12)                                                                   \
    X(mlp, 1, 1)                                                                       \
    X(resnet18, 1, 1)                                                                  \
    X(resnet34, 1, 1)                                                                  \
    X(resnet50, 1, 1)                                                                  \
    X(vgg16, 32, 32)                                                                   \
    X(vgg16_bn, 32, 32)                                                                \
    X(densenet121, 8, 29)                                                              \
    X(mobilenet_v2, 1, 1)

typedef struct {
    amg_zoo_fn build;
    int64_t min_side, min_side_large;
} image_row;

#define IMAGE_ROW(name, side, side_large) {amg_zoo_##name, side, side_large},
static const image_row image_rows[] = {IMAGE_LIST(IMAGE_ROW)};
#undef IMAGE_ROW

/* Networks for images in the order of their rows, then those for text. */
#define IMAGE_NAME(name, side, side_large) #name,
static const char *const names[] = {IMAGE_LIST(IMAGE_NAME) "transformer_lm", "gpt",
                                    "text_cnn", "embedding_bag", "lstm"};
#undef IMAGE_NAME

enum {
    NUM_IMAGE_MODELS = sizeof image_rows / sizeof *image_rows,
    NUM_MODELS = sizeof names / sizeof *names
};

static int64_t min_i64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t max_i64(int64_t a, int64_t b) { return a > b ? a : b; }

static amg_status fail_unknown(const char *name, amg_error *err)
{
    char list[256] = "";
    for (int i = 0; i < NUM_MODELS; i++) {
        if (i > 0) strcat(list, ", ");
        strcat(list, names[i]);
    }
    amg_status status = amg_fail(err, AMG_NOT_FOUND, -1, name, "unknown model");
    amg_hint(err, "the models are %s", list);
    return status;
}

amg_status amg_zoo_check_range(const char *model, const char *what, int64_t found,
                               int64_t least, int64_t most, amg_error *err)
{
    if (found >= least && found <= most) return AMG_OK;
    return amg_fail(err, AMG_INVALID, -1, model,
                    "%s is %" PRId64 ", expected %" PRId64 " to %" PRId64, what, found,
                    least, most);
}

/* VGG's pooling to 7x7 has equal windows only on a map of 7i x 7j. */
static amg_status check_vgg_side(const char *model, const char *what, int64_t side,
                                 amg_error *err)
{
    if (side / 32 % 7 == 0) return AMG_OK;
    amg_status status = amg_fail(err, AMG_UNSUPPORTED, -1, model,
                                 "%s is %" PRId64 ": %" PRId64
                                 " after five poolings, expected a multiple of 7",
                                 what, side, side / 32);
    amg_hint(err, "use sides of 224, 448, ..., or 32 to 64 for the CIFAR form");
    return status;
}

static amg_status check_image_options(const amg_zoo_options *o, const image_row *row,
                                      bool small, amg_error *err)
{
    int64_t least = small ? row->min_side : row->min_side_large;
    amg_status status =
        amg_zoo_check_range(o->name, "channels", o->channels, 1, MAX_CHANNELS, err);
    if (!status)
        status = amg_zoo_check_range(o->name, "classes", o->num_classes, 2, MAX_CLASSES,
                                     err);
    if (!status)
        status =
            amg_zoo_check_range(o->name, "height", o->height, least, MAX_SIDE, err);
    if (!status)
        status = amg_zoo_check_range(o->name, "width", o->width, least, MAX_SIDE, err);
    bool vgg = row->build == amg_zoo_vgg16 || row->build == amg_zoo_vgg16_bn;
    if (!status && vgg && !small)
        status = check_vgg_side(o->name, "height", o->height, err);
    if (!status && vgg && !small)
        status = check_vgg_side(o->name, "width", o->width, err);
    return status;
}

static amg_status build_image(const amg_zoo_options *o, const image_row *row,
                              amg_builder *b, amg_error *err)
{
    amg_zoo_net net = {.builder = b,
                       .small = max_i64(o->height, o->width) <= SMALL_SIDE,
                       .min_side = min_i64(o->height, o->width),
                       .num_classes = o->num_classes,
                       .no_weights = o->no_weights,
                       .seed = o->seed};
    amg_status status = check_image_options(o, row, net.small, err);
    if (status) return status;
    int64_t dims[4] = {AMG_DIM_BATCH, o->channels, o->height, o->width};
    int x = amg_builder_input(b, "input", AMG_F32, 4, dims);
    amg_builder_output(b, row->build(&net, x));
    return AMG_OK;
}

static amg_status build_text(const amg_zoo_options *options, const amg_zoo_text *text,
                             amg_builder *b, amg_error *err)
{
    amg_zoo_options o;
    amg_status status = amg_zoo_text_resolve(text, options, &o, err);
    if (status) return status;
    amg_zoo_net net = {.builder = b,
                       .text = &o,
                       .num_classes = o.num_classes,
                       .no_weights = o.no_weights,
                       .seed = o.seed};
    int64_t dims[2] = {AMG_DIM_BATCH, o.seq};
    int tokens = amg_builder_input(b, "input", AMG_I64, 2, dims);
    amg_builder_output(b, amg_zoo_text_build(text)(&net, tokens));
    return AMG_OK;
}

amg_status amg_zoo_build(const amg_zoo_options *options, amg_graph **out,
                         amg_error *err)
{
    int index = 0;
    while (index < NUM_MODELS && strcmp(names[index], options->name) != 0) index++;
    if (index == NUM_MODELS) return fail_unknown(options->name, err);

    amg_builder *b = amg_builder_new();
    if (!b)
        return amg_fail(err, AMG_NO_MEMORY, -1, options->name, "cannot start a graph");
    amg_status status =
        index < NUM_IMAGE_MODELS
            ? build_image(options, &image_rows[index], b, err)
            : build_text(options, amg_zoo_text_find(options->name), b, err);
    if (!status) status = amg_builder_finish(b, out, err);
    amg_builder_free(b);
    return status;
}

amg_status amg_zoo_count_trainable(const amg_graph *g, int64_t *count, amg_error *err)
{
    amg_graph *folded = NULL;
    amg_status status = amg_graph_plan_batch(g, AMG_DIM_BATCH, &folded, err);
    if (status) return status;
    *count = amg_graph_num_trainable(folded);
    amg_graph_free(folded);
    return AMG_OK;
}

int amg_zoo_names(const char *const **out)
{
    *out = names;
    return NUM_MODELS;
}
