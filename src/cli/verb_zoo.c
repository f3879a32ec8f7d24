/* amalgam zoo: writes a known model with PyTorch's initialisation. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/options.h"
#include "cli/ui.h"
#include "cli/verbs.h"
#include "graph/onnx_graph.h"
#include "graph/zoo.h"

/* "3x32x32" */
static bool parse_shape(const char *text, amg_zoo_options *o)
{
    int used = 0;
    long long c, h, w;
    if (sscanf(text, "%lldx%lldx%lld%n", &c, &h, &w, &used) != 3 || text[used])
        return false;
    o->channels = c;
    o->height = h;
    o->width = w;
    return true;
}

int verb_zoo(int argc, char **argv)
{
    const char *name = NULL, *input = "3x32x32", *out = NULL;
    int64_t classes = 10, seed = -1;
    bool list = false;
    const cli_option table[] = {
        {"input", CLI_STRING, &input, "CxHxW",
         "one sample (3x32x32); sides up to 64 get the CIFAR form\nwith its 3x3 stem, "
         "larger "
         "ones the ImageNet form"},
        {"classes", CLI_INT, &classes, "N", "number of classes (10)", 2, 1 << 20},
        {"seed", CLI_INT, &seed, "N",
         "of the initial weights. Without it they are random: for a real\njob leave it "
         "out, "
         "since whoever guesses the seed knows the weights",
         0, 9e15},
        {"list", CLI_FLAG, &list, NULL, "print the models' names"},
        {"o", CLI_STRING, &out, "ONNX", "file to write"},
    };
    const cli_command command = {
        .name = "amalgam zoo",
        .synopsis = "MODEL --input CxHxW --classes N -o model.onnx",
        .about = "Writes a model with torchvision's parameter names and initialisation "
                 "laws.",
        .examples =
            "  amalgam zoo resnet18 --input 3x32x32 --classes 10 -o model.onnx\n"
            "  amalgam zoo --list",
        .options = table,
        .num_options = sizeof table / sizeof *table,
        .positional = "MODEL"};
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--list")) {
            const char *const *names;
            int n = amg_zoo_names(&names);
            for (int j = 0; j < n; j++) printf("%s\n", names[j]);
            return ui_flush() ? CLI_OK : CLI_FAILURE;
        }
    int code = cli_parse(&command, argc, argv, &name);
    if (code != CLI_GO_ON) return code;

    amg_error err = {0};
    amg_zoo_options options = {.name = name, .num_classes = classes};
    if (!out || !parse_shape(input, &options)) {
        fprintf(stderr, "amalgam: error: amalgam zoo: %s%s\n",
                out ? "--input: expected CxHxW, e.g. 3x32x32, found " : "missing -o",
                out ? input : "");
        return CLI_USAGE;
    }
    if (seed >= 0)
        options.seed = (uint64_t)seed;
    else
        randombytes_buf(&options.seed, sizeof options.seed);
    amg_graph *g = NULL;
    amg_status st = amg_zoo_build(&options, &g, &err);
    if (!st) st = amg_graph_write_onnx(out, g, &err);
    if (!st) {
        char count[32];
        printf("%s: %s, input [N,%lld,%lld,%lld], %lld classes, %s parameters\n", out,
               name, (long long)options.channels, (long long)options.height,
               (long long)options.width, (long long)classes,
               ui_count(amg_graph_num_trainable(g), count));
    }
    amg_graph_free(g);
    if (st) return ui_error(&err);
    return ui_flush() ? CLI_OK : CLI_FAILURE;
}
