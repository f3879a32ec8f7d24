/* amalgam zoo: writes a known model with PyTorch's initialisation. */
#include <math.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static void print_model(const char *out, const char *name, const amg_graph *g,
                        int64_t num_trainable)
{
    char count[32];
    const amg_value *x = &g->values[g->inputs[0]], *y = &g->values[g->outputs[0]];
    printf("%s: %s, input [N", out, name);
    for (int i = 1; i < x->rank; i++) printf(",%lld", (long long)x->dims[i]);
    if (amg_zoo_is_language_model(name))
        printf("] tokens of %lld, ", (long long)y->dims[2]);
    else
        printf("]%s, %lld classes, ", amg_zoo_is_text(name) ? " tokens" : "",
               (long long)y->dims[1]);
    printf("%s parameters\n", ui_count(num_trainable, count));
}

static int write_model(const amg_zoo_options *o, const char *out)
{
    amg_error err = {0};
    amg_graph *g = NULL;
    int64_t num_trainable = 0;
    amg_status st = amg_zoo_build(o, &g, &err);
    if (!st) st = amg_zoo_count_trainable(g, &num_trainable, &err);
    if (!st) st = amg_graph_write_onnx(out, g, &err);
    if (!st) print_model(out, o->name, g, num_trainable);
    amg_graph_free(g);
    if (st) return ui_error(&err);
    return ui_flush() ? CLI_OK : CLI_FAILURE;
}

static bool is_model(const char *name)
{
    const char *const *names;
    int n = amg_zoo_names(&names);
    while (n > 0 && strcmp(names[n - 1], name) != 0) n--;
    return n > 0;
}

/* Options of the other kind of network: said, not ignored. NULL: there are none. */
static const char *find_foreign(const amg_zoo_options *o, bool has_input,
                                bool has_classes)
{
    if (!is_model(o->name)) return NULL; /* which the zoo says with a list */
    if (!amg_zoo_is_text(o->name))
        return o->vocab             ? "--vocab"
               : o->seq             ? "--seq"
               : o->width_model     ? "--d-model"
               : o->layers          ? "--layers"
               : o->heads           ? "--heads"
               : o->width_hidden    ? "--hidden"
               : !isnan(o->dropout) ? "--dropout"
               : o->pad >= 0        ? "--pad"
                                    : NULL;
    if (has_input) return "--input";
    return has_classes && amg_zoo_is_language_model(o->name) ? "--classes" : NULL;
}

int verb_zoo(int argc, char **argv)
{
    const char *name = NULL, *input = NULL, *out = NULL;
    int64_t classes = -1, seed = -1;
    amg_zoo_options o = {.dropout = NAN, .pad = -1};
    bool list = false;
    const cli_option table[] = {
        {"input", CLI_STRING, &input, "CxHxW",
         "images: one sample (3x32x32); sides up to 64 get the CIFAR form\nwith its "
         "3x3 "
         "stem, larger ones the ImageNet form"},
        {"classes", CLI_INT, &classes, "N", "number of classes (10)", 2, 1 << 20},
        {"vocab", CLI_INT, &o.vocab, "N",
         "text: number of tokens, as `amalgam tokenize` prints it", 2, 1 << 24},
        {"seq", CLI_INT, &o.seq, "N",
         "text: tokens a sample (transformer_lm 35, gpt 256, others 64)", 1, 65536},
        {"d-model", CLI_INT, &o.width_model, "N",
         "text: width of the embeddings (transformer_lm 200, gpt 384,\ntext_cnn 300, "
         "embedding_bag 64, lstm 100)",
         1, 65536},
        {"layers", CLI_INT, &o.layers, "N", "transformer_lm (2), gpt (6), lstm (1)", 1,
         1024},
        {"heads", CLI_INT, &o.heads, "N",
         "of attention: transformer_lm (2), gpt (6); they divide d-model", 1, 65536},
        {"hidden", CLI_INT, &o.width_hidden, "N",
         "width of the feed-forward part (transformer_lm 200, gpt\n4 x d-model), "
         "filters of each size (text_cnn 100), state (lstm 128)",
         1, 1 << 18},
        {"dropout", CLI_REAL, &o.dropout, "P",
         "text: 0 leaves it out (transformer_lm 0.2 behind the positions\nand 0.1 in "
         "the layers, gpt 0.2, text_cnn and lstm 0.5)",
         0, 0.999},
        {"pad", CLI_INT, &o.pad, "TOKEN",
         "text_cnn, embedding_bag, lstm: the token that fills up short\ndocuments, "
         "which the model then leaves out",
         0, (1 << 24) - 1},
        {"seed", CLI_INT, &seed, "N",
         "of the initial weights. Without it they are random: for a real\njob leave it "
         "out, since whoever guesses the seed knows the weights",
         0, 9e15},
        {"o", CLI_STRING, &out, "ONNX", "file to write", .required = true},
        {"list", CLI_FLAG, &list, NULL, "print the models' names", .alone = true},
    };
    const cli_command command = {
        .name = "amalgam zoo",
        .synopsis =
            "MODEL [--input CxHxW | --vocab N] [--classes N] -o ONNX  |  --list",
        .about =
            "Writes a model with the parameter names and initialisation laws of its\n"
            "PyTorch form.\n\n"
            "Images: lenet, mlp, and torchvision's CNNs.\n"
            "Language models: transformer_lm (PyTorch's word_language_model), gpt\n"
            "(nanoGPT's). Text classifiers: text_cnn (Kim), embedding_bag "
            "(torchtext's\n"
            "tutorial), lstm. They take tokens [N,seq] and need --vocab.",
        .examples =
            "  amalgam zoo resnet18 --input 3x32x32 --classes 10 -o model.onnx\n"
            "  amalgam zoo transformer_lm --vocab 33278 -o lm.onnx\n"
            "  amalgam zoo embedding_bag --vocab 20000 --seq 64 --pad 0 --classes 4 -o "
            "bag.onnx\n"
            "  amalgam zoo --list",
        .options = table,
        .num_options = sizeof table / sizeof *table,
        .positional = "MODEL"};
    int code = cli_parse(&command, argc, argv, &name);
    if (code != CLI_GO_ON) return code;
    if (list) return list_models();
    amg_error err = {0};
    o.name = name;
    o.num_classes = classes < 0 ? 10 : classes;
    const char *foreign = find_foreign(&o, input != NULL, classes >= 0);
    if (!parse_shape(input ? input : "3x32x32", &o))
        return cli_usage_error(&command, NULL,
                               "--input: found '%.100s', expected CxHxW, e.g. 3x32x32",
                               input);
    if (foreign)
        return cli_usage_error(&command, NULL, "%s is not an option of %.100s", foreign,
                               name);
    if (seed >= 0)
        o.seed = (uint64_t)seed;
    else if (random_seed(&o.seed, &err))
        return ui_error(&err);
    return write_model(&o, out);
}
