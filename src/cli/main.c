/* amalgam: the owner's program. Finds the verb, runs it; holds no logic. */
#include <stdio.h>
#include <string.h>

#include "cli/options.h"
#include "cli/ui.h"
#include "cli/verbs.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *about;
} verbs[] = {
    {"obfuscate", verb_obfuscate,
     "model + data -> a job folder for the cloud and a key for you"},
    {"pack", verb_pack, "several owners' models and data -> one job, a key for each"},
    {"train", verb_train, "train a job folder, or a plain model"},
    {"extract", verb_extract, "trained weights + key -> your model, trained"},
    {"eval", verb_eval, "loss and accuracy of a model on a data set"},
    {"generate", verb_generate, "text from a language model"},
    {"verify", verb_verify, "prove that training inside a job equals training alone"},
    {"inspect", verb_inspect, "what a file or job shows to whoever holds it"},
    {"audit", verb_audit, "what the cloud can learn from a job, measured"},
    {"tokenize", verb_tokenize, "text files -> a set of tokens"},
    {"split", verb_split, "a set of tokens -> disjoint ones, dealt out at random"},
    {"zoo", verb_zoo, "write a known model with fresh initial weights"},
    {"demo", verb_demo, "the whole cycle on real images or text, in about a minute"},
};

static void print_help(FILE *to)
{
    fprintf(
        to,
        "amalgam: train neural networks on rented machines without handing over the "
        "model or the data\n\nusage: amalgam VERB [options]     (amalgam VERB --help "
        "explains each)\n\n");
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        fprintf(to, "  %-10s %s\n", verbs[i].name, verbs[i].about);
    fprintf(
        to,
        "\nthe cycle:\n"
        "  amalgam obfuscate --model model.onnx --train DATA --decoys-from POOL \\\n"
        "                    --key job.key -o job/\n"
        "  amalgam audit job/ --key job.key     (exit code 0: it passed)\n"
        "  (upload job/, train it there: python train.py --epochs 3 in it, or\n"
        "   amalgam-train job/ --epochs 3; bring job/out/ back)\n"
        "  amalgam extract --key job.key --weights job/out/weights.safetensors "
        "-o trained.onnx\n");
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return CLI_USAGE;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") ||
        !strcmp(argv[1], "help")) {
        print_help(stdout);
        return ui_flush() ? CLI_OK : CLI_FAILURE;
    }
    if (!strcmp(argv[1], "--version")) {
        printf("amalgam %s\n", AMG_VERSION);
        return ui_flush() ? CLI_OK : CLI_FAILURE;
    }
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (!strcmp(argv[1], verbs[i].name)) return verbs[i].run(argc - 1, argv + 1);
    fprintf(stderr,
            "amalgam: error: unknown verb '%s'\namalgam: hint: amalgam --help lists "
            "the verbs\n",
            argv[1]);
    return CLI_USAGE;
}
