/* amalgam demo: the whole cycle on Fashion-MNIST, by the program's own verbs, each
 * command shown as the user would type it. Consumes the data set's folder, leaves
 * everything in a folder to look at. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "cli/options.h"
#include "cli/picture.h"
#include "cli/ui.h"
#include "cli/verbs.h"

#define FASHION_MNIST "/usr/share/datasets/fashion-mnist"

/* One random split at home: 45 % private training, 5 % private validation, the other
 * half covers, so that all streams are exchangeable. */
#define TRAIN_PART "@train[0%-45%:seed=1]"
#define VAL_PART "@train[45%-50%:seed=1]"
#define POOL_PART "@train[50%-100%:seed=1]"

enum { MAX_ARGS = 32, MAX_LINE = 4096 };

/* What stands behind %D, %O and %K in the commands below. */
typedef struct {
    const char *data, *out, *decoys;
} places;

static const char *fill_in(const places *p, const char *word)
{
    if (word[0] != '%') return NULL;
    return word[1] == 'D'   ? p->data
           : word[1] == 'O' ? p->out
           : word[1] == 'K' ? p->decoys
                            : NULL;
}

/* Prints "$ PROGRAM WORDS" as the user would type it and runs the verb. Words are
 * separated by one space; argv[0] of a program of its own is the program. */
static int run(int (*verb)(int, char **), const char *program, const char *words,
               const places *p)
{
    char text[MAX_LINE], *argv[MAX_ARGS] = {text};
    int argc = 1;
    size_t at = 0;
    for (const char *w = words; *w; w++) {
        const char *put = fill_in(p, w);
        size_t n = put ? strlen(put) : 1;
        if (at + n + 1 >= sizeof text || argc == MAX_ARGS - 1) return CLI_FAILURE;
        memcpy(text + at, put ? put : w, n);
        if (put) w++;
        if (!put && *w == ' ') text[at] = 0, argv[argc++] = text + at + 1;
        at += n;
    }
    text[at] = 0;
    printf("\n$ %s", program);
    for (int i = strcmp(program, argv[0]) ? 0 : 1; i < argc; i++)
        printf(" %s", argv[i]);
    printf("\n");
    fflush(stdout);
    double start = ui_now();
    int code = verb(argc, argv);
    printf("  [%.1f s]\n", ui_now() - start);
    return code;
}

#define TRAINING                                                                       \
    "--epochs 10 --batch 64 --optimizer sgd --lr 0.05 --momentum 0.9 --weight-decay "  \
    "5e-4 "                                                                            \
    "--schedule cosine --seed 7"

static int run_cycle(const places *p)
{
    const struct {
        const char *title;
        int (*verb)(int, char **);
        const char *program, *words;
    } steps[] = {
        {"1. A small network", verb_zoo, "amalgam",
         "zoo lenet --input 1x28x28 --classes 10 -o %O/model.onnx"},
        {"2. At home: mix it and the private half of the images with decoys",
         verb_obfuscate, "amalgam",
         "obfuscate --model %O/model.onnx --train %D" TRAIN_PART " --val %D" VAL_PART
         " --decoys %K --decoys-from %D" POOL_PART " --key %O/job.key -o %O/job"},
        {"3. On the cloud: train the mixture", verb_train_job, "amalgam-train",
         "amalgam-train %O/job " TRAINING},
        {"4. At home: take the original, trained, out of it", verb_extract, "amalgam",
         "extract --key %O/job.key --weights %O/job/out/weights.safetensors -o "
         "%O/trained.onnx"},
        {"5. For comparison: the same model trained alone on the private half",
         verb_train, "amalgam",
         "train --model %O/model.onnx --train %D" TRAIN_PART " --val %D" VAL_PART
         " -o %O/alone.onnx " TRAINING},
        {"6. Both on the real test set", verb_eval, "amalgam",
         "eval --model %O/trained.onnx --data %D@test"},
        {NULL, verb_eval, "amalgam", "eval --model %O/alone.onnx --data %D@test"},
        {"7. The proof: alone and inside the job, bit for bit", verb_verify, "amalgam",
         "verify --key %O/job.key --job %O/job --steps 20"},
    };
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        if (steps[i].title) printf("\n%s\n", steps[i].title);
        int code = run(steps[i].verb, steps[i].program, steps[i].words, p);
        if (code) return code;
    }
    return CLI_OK;
}

/* Do both trainings agree? The files hold the same graph, so equal bytes mean equal
 * weights. */
static int compare_files(const char *out)
{
    char a[65], b[65];
    int64_t size;
    amg_error err = {0};
    char *trained = amg_path_join(out, "trained.onnx"),
         *alone = amg_path_join(out, "alone.onnx");
    amg_status st = trained && alone
                        ? amg_file_sha256(trained, a, &size, &err)
                        : amg_fail(&err, AMG_NO_MEMORY, -1, out, "no memory");
    if (!st) st = amg_file_sha256(alone, b, &size, &err);
    amg_free(trained);
    amg_free(alone);
    if (st) return ui_error(&err);
    bool equal = !strcmp(a, b);
    printf("\ntrained.onnx %.16s…\nalone.onnx   %.16s…   %s\n", a, b,
           equal ? "the same file" : "THEY DIFFER");
    return equal ? CLI_OK : CLI_FAILURE;
}

static int draw_picture(const char *data, const char *out)
{
    amg_error err = {0};
    char spec[1024];
    char *job = amg_path_join(out, "job"), *png = amg_path_join(out, "sample.png");
    snprintf(spec, sizeof spec, "%s%s", data, TRAIN_PART);
    amg_status st = job && png ? cli_picture(spec, job, png, &err)
                               : amg_fail(&err, AMG_NO_MEMORY, -1, out, "no memory");
    if (!st)
        printf(
            "\n%s: one sample; its row in the job; and the candidates that a reader of "
            "the job can make of it\n",
            png);
    amg_free(job);
    amg_free(png);
    return st ? ui_error(&err) : CLI_OK;
}

int verb_demo(int argc, char **argv)
{
    const char *data = FASHION_MNIST, *out = "demo";
    int64_t decoys = 1;
    const cli_option table[] = {
        {"data", CLI_STRING, &data, "DIR",
         "Fashion-MNIST in IDX form (" FASHION_MNIST ")"},
        {"decoys", CLI_INT, &decoys, "K", "number of decoys (1)", 1, 3},
        {"o", CLI_STRING, &out, "DIR", "folder for everything it makes (demo/)"},
    };
    const cli_command command = {
        .name = "amalgam demo",
        .synopsis = "[--data DIR] [--decoys K] [-o DIR]",
        .about = "The whole cycle on real images in about a minute: obfuscate, train, "
                 "extract,\n"
                 "evaluate beside plain training, verify bit for bit, and a picture.",
        .options = table,
        .num_options = sizeof table / sizeof *table};
    int code = cli_parse(&command, argc, argv, NULL);
    if (code != CLI_GO_ON) return code;
    amg_error err = {0};
    if (!amg_path_is_dir(data)) {
        amg_fail(&err, AMG_NOT_FOUND, -1, data, "no such folder");
        amg_hint(&err, "apt-get install dataset-fashion-mnist, or --data DIR");
        return ui_error(&err);
    }
    if (amg_dir_make(out, &err)) {
        if (err.code == AMG_EXISTS)
            amg_hint(&err, "remove it, or choose another with -o");
        return ui_error(&err);
    }
    double start = ui_now();
    char count[8];
    snprintf(count, sizeof count, "%d", (int)decoys);
    code = run_cycle(&(places){data, out, count});
    if (code) amg_dir_remove(out); /* made above, so nothing of the user's is in it */
    if (!code) code = compare_files(out);
    if (!code) code = draw_picture(data, out);
    if (!code)
        printf("\nall of it in %.0f s; the files are in %s/\n", ui_now() - start, out);
    return code ? code : ui_flush() ? CLI_OK : CLI_FAILURE;
}
