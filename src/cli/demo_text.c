/* amalgam demo --text: WordNet's definitions, classified by the lexicographer's file
 * that they come from. Consumes the folder of data files, leaves everything in a folder
 * to look at. */
#include <stdio.h>

#include "base/alloc.h"
#include "base/file.h"
#include "cli/demo.h"
#include "cli/ui.h"
#include "cli/verbs.h"
#include "cli/wordnet.h"

#define TRAINING                                                                       \
    "--epochs 4 --batch 128 --optimizer adamw --lr 0.01 --weight-decay 0.1 "           \
    "--schedule cosine --warmup "                                                      \
    "100 --clip 1 --seed 7"

static int make_csv(const demo_places *p)
{
    amg_error err = {0};
    int64_t rows = 0;
    char count[32], *csv = amg_path_join(p->out, "glosses.csv");
    amg_status st = csv ? cli_wordnet_csv(p->data, csv, &rows, &err)
                        : amg_fail(&err, AMG_NO_MEMORY, -1, p->out, "no memory");
    if (!st)
        printf("%s: %s definitions of WordNet in %d categories\n", csv,
               ui_count(rows, count), CLI_WORDNET_CATEGORIES);
    amg_free(csv);
    return st ? ui_error(&err) : 0;
}

int demo_text(const char *data, const char *out, int decoys)
{
    /* The pool is a little larger than K private parts: definitions that occur twice
     * are passed over. */
    static const demo_places parts[] = {
        {.decoys = "1",
         .train = "[0%-38%:seed=1]",
         .val = "[38%-42%:seed=1]",
         .test = "[42%-52%:seed=1]",
         .pool = "[52%-100%:seed=1]"},
        {.decoys = "2",
         .train = "[0%-26%:seed=1]",
         .val = "[26%-28%:seed=1]",
         .test = "[28%-38%:seed=1]",
         .pool = "[38%-100%:seed=1]"},
        {.decoys = "3",
         .train = "[0%-19%:seed=1]",
         .val = "[19%-21%:seed=1]",
         .test = "[21%-31%:seed=1]",
         .pool = "[31%-100%:seed=1]"},
    };

    static const demo_step steps[] = {
        {"1. Text becomes tokens; the vocabulary stays at home", verb_tokenize,
         "amalgam",
         "tokenize %O/glosses.csv --header --text gloss --label category --lower "
         "--punctuation --max-vocab 20000 -o %O/glosses"},
        {"2. A small network", verb_zoo, "amalgam",
         "zoo embedding_bag --vocab 20000 --seq 24 --d-model 32 --pad 0 --classes 45 "
         "-o %O/model.onnx"},
        {"3. At home: mix it and the private part of the text with decoys",
         verb_obfuscate, "amalgam",
         "obfuscate --model %O/model.onnx --task classify --train text:%O/glosses%T "
         "--val "
         "text:%O/glosses%V --decoys %K --decoys-from text:%O/glosses%P --key "
         "%O/job.key "
         "-o %O/job"},
        {"4. On the cloud: train the mixture", verb_train_job, "amalgam-train",
         "amalgam-train %O/job " TRAINING},
        {"5. At home: take the original, trained, out of it", verb_extract, "amalgam",
         "extract --key %O/job.key --weights %O/job/out/weights.safetensors -o "
         "%O/trained.onnx"},
        {"6. For comparison: the same model trained alone on the private part",
         verb_train, "amalgam",
         "train --model %O/model.onnx --train text:%O/glosses%T --val "
         "text:%O/glosses%V "
         "-o %O/alone.onnx " TRAINING},
        {"7. Both on text that neither has seen", verb_eval, "amalgam",
         "eval --model %O/trained.onnx --data text:%O/glosses%E"},
        {NULL, verb_eval, "amalgam",
         "eval --model %O/alone.onnx --data text:%O/glosses%E"},
        {"8. The proof: alone and inside the job, bit for bit", verb_verify, "amalgam",
         "verify --key %O/job.key --job %O/job --steps 20"},
    };
    demo_places places = parts[decoys - 1];
    places.data = data;
    places.out = out;
    int code = make_csv(&places);
    return code ? code : demo_run(steps, sizeof steps / sizeof *steps, &places);
}
