/* amalgam demo: the whole cycle on Fashion-MNIST, or with --text on WordNet, by the
 * program's own verbs, each command shown as the user would type it. Consumes the data
 * set's folder, leaves everything in a folder to look at. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "cli/demo.h"
#include "cli/options.h"
#include "cli/picture.h"
#include "cli/ui.h"
#include "cli/verbs.h"

#define FASHION_MNIST "/usr/share/datasets/fashion-mnist"
#define WORDNET "/usr/share/wordnet"

#define TRAINING                                                                       \
    "--epochs 10 --batch 64 --optimizer sgd --lr 0.05 --momentum 0.9 --weight-decay "  \
    "5e-4 "                                                                            \
    "--schedule cosine --seed 7"

/* For K decoys; 45 % and 5 % of the images are private with one. */
static const demo_places image_parts[] = {
    {.decoys = "1",
     .train = "[0%-45%:seed=1]",
     .val = "[45%-50%:seed=1]",
     .pool = "[50%-100%:seed=1]"},
    {.decoys = "2",
     .train = "[0%-30%:seed=1]",
     .val = "[30%-33%:seed=1]",
     .pool = "[33%-100%:seed=1]"},
    {.decoys = "3",
     .train = "[0%-22%:seed=1]",
     .val = "[22%-24%:seed=1]",
     .pool = "[24%-100%:seed=1]"},
};

static int run_images(const demo_places *p)
{
    static const demo_step steps[] = {
        {"1. A small network", verb_zoo, "amalgam",
         "zoo lenet --input 1x28x28 --classes 10 -o %O/model.onnx"},
        {"2. At home: mix it and the private part of the images with decoys",
         verb_obfuscate, "amalgam",
         "obfuscate --model %O/model.onnx --train %D@train%T --val %D@train%V"
         " --decoys %K --decoys-from %D@train%P --key %O/job.key -o %O/job"},
        {"3. On the cloud: train the mixture", verb_train_job, "amalgam-train",
         "amalgam-train %O/job " TRAINING},
        {"4. At home: take the original, trained, out of it", verb_extract, "amalgam",
         "extract --key %O/job.key --weights %O/job/out/weights.safetensors -o "
         "%O/trained.onnx"},
        {"5. For comparison: the same model trained alone on the private part",
         verb_train, "amalgam",
         "train --model %O/model.onnx --train %D@train%T --val %D@train%V"
         " -o %O/alone.onnx " TRAINING},
        {"6. Both on the real test set", verb_eval, "amalgam",
         "eval --model %O/trained.onnx --data %D@test"},
        {NULL, verb_eval, "amalgam", "eval --model %O/alone.onnx --data %D@test"},
        {"7. The proof: alone and inside the job, bit for bit", verb_verify, "amalgam",
         "verify --key %O/job.key --job %O/job --steps 20"},
    };
    return demo_run(steps, sizeof steps / sizeof *steps, p);
}

static int draw_picture(const demo_places *p)
{
    amg_error err = {0};
    char spec[1024];
    char *job = amg_path_join(p->out, "job"),
         *png = amg_path_join(p->out, "sample.png");
    snprintf(spec, sizeof spec, "%s@train%s", p->data, p->train);
    amg_status st = job && png ? cli_picture(spec, job, png, &err)
                               : amg_fail(&err, AMG_NO_MEMORY, -1, p->out, "no memory");
    if (!st)
        printf(
            "\n%s: one sample; its row in the job; and the candidates that a reader of "
            "the job can make of it\n",
            png);
    amg_free(job);
    amg_free(png);
    return st ? ui_error(&err) : CLI_OK;
}

static int run_demo(bool text, const char *data, const char *out, int decoys)
{
    demo_places images = image_parts[decoys - 1];
    images.data = data;
    images.out = out;
    int code = text ? demo_text(data, out, decoys) : run_images(&images);
    if (code) amg_dir_remove(out); /* made here, so nothing of the user's is in it */
    if (!code) code = demo_compare(out);
    return code || text ? code : draw_picture(&images);
}

int verb_demo(int argc, char **argv)
{
    const char *data = NULL, *out = "demo";
    int64_t decoys = 1;
    bool text = false;
    const cli_option table[] = {
        {"text", CLI_FLAG, &text, NULL,
         "on text: WordNet's definitions, classified by their categories"},
        {"data", CLI_STRING, &data, "DIR",
         "Fashion-MNIST in IDX form (" FASHION_MNIST "),\n"
         "or WordNet's data files (" WORDNET ")"},
        {"decoys", CLI_INT, &decoys, "K", "number of decoys (1)", 1, 3},
        {"o", CLI_STRING, &out, "DIR", "folder for everything it makes (demo/)"},
    };
    const cli_command command = {
        .name = "amalgam demo",
        .synopsis = "[--text] [--data DIR] [--decoys K] [-o DIR]",
        .about = "The whole cycle on real images, or text, in about a minute: "
                 "obfuscate, train,\n"
                 "extract, evaluate beside plain training, verify bit for bit (and, of "
                 "images, a\n"
                 "picture).",
        .examples = "  amalgam demo --text -o demo-text",
        .options = table,
        .num_options = sizeof table / sizeof *table};
    int code = cli_parse(&command, argc, argv, NULL);
    if (code != CLI_GO_ON) return code;
    amg_error err = {0};
    if (!data) data = text ? WORDNET : FASHION_MNIST;
    if (!amg_path_is_dir(data)) {
        amg_fail(&err, AMG_NOT_FOUND, -1, data, "no such folder");
        amg_hint(&err, "apt-get install %s, or --data DIR",
                 text ? "wordnet-base" : "dataset-fashion-mnist");
        return ui_error(&err);
    }
    if (amg_dir_make(out, &err)) {
        if (err.code == AMG_EXISTS)
            amg_hint(&err, "remove it, or choose another with -o");
        return ui_error(&err);
    }
    double start = ui_now();
    code = run_demo(text, data, out, (int)decoys);
    if (!code)
        printf("\nall of it in %.0f s; the files are in %s/\n", ui_now() - start, out);
    return code ? code : ui_flush() ? CLI_OK : CLI_FAILURE;
}
