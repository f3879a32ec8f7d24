/* amalgam zoo: writes a known model with PyTorch's initialisation. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/options.h"
#include "cli/ui.h"
#include "cli/verbs.h"
#include "graph/onnx_graph.h"
#include "graph/zoo.h"

enum { MAX_SIDE = 1 << 16 };

/* "3x32x32" */
static bool parse_shape(const char *text, amg_zoo_options *o)
{
    int64_t *const dims[] = {&o->channels, &o->height, &o->width};
    for (int i = 0; i < 3; i++) {
        char *end;
        long side = strtol(text, &end, 10);
        if (end == text || side < 1 || side > MAX_SIDE || *end != (i < 2 ? 'x' : 0))
            return false;
        *dims[i] = side;
        text = end + 1;
    }
    return true;
}

static int list_models(void)
{
    const char *const *names;
    int n = amg_zoo_names(&names);
    for (int i = 0; i < n; i++) printf("%s\n", names[i]);
    return ui_flush() ? CLI_OK : CLI_FAILURE;
}

/* A seed of the system's: whoever guesses the seed knows the initial weights. */
static amg_status random_seed(uint64_t *seed, amg_error *err)
{
    if (sodium_init() < 0)
        return amg_fail(err, AMG_IO, -1, "libsodium", "cannot start");
    randombytes_buf(seed, sizeof *seed);
    return AMG_OK;
}

static int write_model(const amg_zoo_options *o, const char *out)
{
    amg_error err = {0};
    amg_graph *g = NULL;
    char count[32];
    amg_status st = amg_zoo_build(o, &g, &err);
    if (!st) st = amg_graph_write_onnx(out, g, &err);
    if (!st)
        printf("%s: %s, input [N,%lld,%lld,%lld], %lld classes, %s parameters\n", out,
               o->name, (long long)o->channels, (long long)o->height,
               (long long)o->width, (long long)o->num_classes,
               ui_count(amg_graph_num_trainable(g), count));
    amg_graph_free(g);
    if (st) return ui_error(&err);
    return ui_flush() ? CLI_OK : CLI_FAILURE;
}

int verb_zoo(int argc, char **argv)
{
    const char *name = NULL, *input = "3x32x32", *out = NULL;
    int64_t classes = 10, seed = -1;
    bool list = false;
    const cli_option table[] = {
        {"input", CLI_STRING, &input, "CxHxW",
         "one sample (3x32x32); sides up to 64 get the CIFAR form\nwith its 3x3 stem, "
         "larger ones the ImageNet form"},
        {"classes", CLI_INT, &classes, "N", "number of classes (10)", 2, 1 << 20},
        {"seed", CLI_INT, &seed, "N",
         "of the initial weights. Without it they are random: for a real\njob leave it "
         "out, since whoever guesses the seed knows the weights",
         0, 9e15},
        {"o", CLI_STRING, &out, "ONNX", "file to write", .required = true},
        {"list", CLI_FLAG, &list, NULL, "print the models' names", .alone = true},
    };
    const cli_command command = {
        .name = "amalgam zoo",
        .synopsis = "MODEL --input CxHxW --classes N -o ONNX  |  --list",
        .about = "Writes a model with torchvision's parameter names and initialisation "
                 "laws.",
        .examples =
            "  amalgam zoo resnet18 --input 3x32x32 --classes 10 -o model.onnx\n"
            "  amalgam zoo --list",
        .options = table,
        .num_options = sizeof table / sizeof *table,
        .positional = "MODEL"};
    int code = cli_parse(&command, argc, argv, &name);
    if (code != CLI_GO_ON) return code;
    if (list) return list_models();
    amg_error err = {0};
    amg_zoo_options options = {.name = name, .num_classes = classes};
    if (!parse_shape(input, &options))
        return cli_usage_error(&command, NULL,
                               "--input: found '%.100s', expected CxHxW, e.g. 3x32x32",
                               input);
    if (seed >= 0)
        options.seed = (uint64_t)seed;
    else if (random_seed(&options.seed, &err))
        return ui_error(&err);
    return write_model(&options, out);
}
