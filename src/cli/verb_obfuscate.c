/* amalgam obfuscate: makes the job folder and the key, and says what the choice costs
 * and hides. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/data_options.h"
#include "cli/options.h"
#include "cli/passphrase.h"
#include "cli/ui.h"
#include "cli/verbs.h"
#include "obfuscate/obfuscate.h"

/* "uniform", ..., "bigram", "values:FILE" */
static bool parse_noise(const char *text, amg_obfuscate_options *o)
{
    static const struct {
        const char *name;
        amg_noise noise;
    } kinds[] = {{"uniform", AMG_NOISE_UNIFORM},
                 {"gaussian", AMG_NOISE_GAUSSIAN},
                 {"laplace", AMG_NOISE_LAPLACE},
                 {"unigram", AMG_NOISE_UNIGRAM},
                 {"bigram", AMG_NOISE_BIGRAM}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(text, kinds[i].name)) {
            o->noise = kinds[i].noise;
            return true;
        }
    if (strncmp(text, "values:", 7) || !text[7]) return false;
    o->noise = AMG_NOISE_VALUES;
    o->noise_values = text + 7;
    return true;
}

/* What is no image is [1, d0, rest] to the plan: without the ones around it. */
static void print_dims(const int64_t d[3])
{
    if (d[0] == 1 && d[2] == 1)
        printf("%lld", (long long)d[1]);
    else
        printf("%lldx%lldx%lld", (long long)d[0], (long long)d[1], (long long)d[2]);
}

/* What the cloud reads as other numbers than yours. */
static void print_permuted(const amg_obfuscate_result *r)
{
    char vocab[32];
    const bool classes = r->labels_permuted && r->task == AMG_TASK_CLASSIFICATION;
    if (r->tokens_permuted)
        printf(
            "%s tokens are renumbered in the job, for each network in its own way%s; "
            "extract puts them back\n",
            ui_count(r->vocab, vocab), classes ? ", and classes" : "");
    else if (classes)
        printf("classes are renumbered in the job; extract puts them back\n");
}

static void print_result(const amg_obfuscate_options *o, const amg_obfuscate_result *r)
{
    char a[32], b[32];
    printf("%s: %lld training and %lld validation sample%s, ", o->out,
           (long long)r->num_train, (long long)r->num_val, amg_plural(r->num_val));
    print_dims(r->dims);
    printf(" -> ");
    print_dims(r->out_dims);
    printf(", %s, %.1f s\n", ui_bytes((double)r->job_bytes, a), r->seconds);
    printf("%d decoy%s: %s parameters in the job, %s of them yours\n", r->num_decoys,
           amg_plural(r->num_decoys), ui_count(r->job_params, a),
           ui_count(r->own_params, b));
    if (o->mode == AMG_MODE_STREAMS)
        printf("the cloud's guess is right 1 time in %d; compute %.1fx, upload %.1fx\n",
               r->num_decoys + 1, r->compute_factor, r->upload_factor);
    else
        printf("compute %.1fx, upload %.1fx\n", r->compute_factor, r->upload_factor);
    if (r->vocab) print_permuted(r);
    if (r->block[0])
        printf("values are %s within blocks of %lldx%lld%s in the job; extract puts "
               "the columns%s back\n",
               r->rotated ? "rotated" : "mixed", (long long)r->block[0],
               (long long)r->block[1],
               r->patches ? ", and the blocks among themselves," : "",
               r->patches ? " and positions" : "");
    printf("%s: the key. Keep it: without it the trained model cannot be taken out\n",
           o->key);
}

/* How many ways there are to choose the sample's positions, the paper's measure, beside
 * what makes it say nothing. */
static void print_search_space(const amg_obfuscate_result *r)
{
    double all = 1, own = 1;
    for (int d = 0; d < 3; d++) {
        all *= (double)r->out_dims[d];
        own *= (double)r->dims[d];
    }
    const double ln = lgamma(all + 1) - lgamma(own + 1) - lgamma(all - own + 1);
    ui_note(
        "note: there are 10^%.0f ways to choose %.0f of %.0f positions, the paper's "
        "search space; the attacks below try none of them (amalgam audit)",
        floor(ln / log(10)), own, all);
}

/* What was measured of the paper's noise (docs/threat-model.md). */
static void warn_of_noise(const amg_obfuscate_options *o, const amg_obfuscate_result *r)
{
    print_search_space(r);
    if (!r->vocab)
        ui_note(
            "warning: paper mode: noise of this kind was undone exactly from 64-256 "
            "images without the model, and with the model the original was recognised "
            "every time");
    else if (o->noise == AMG_NOISE_BIGRAM)
        ui_note("warning: paper mode: with the model, a trigram score told the text "
                "from such noise every time");
    else
        ui_note("warning: paper mode: %s tokens were told from the text by %s alone "
                "(AUC 1.000)",
                o->noise == AMG_NOISE_UNIGRAM ? "unigram" : "uniform",
                o->noise == AMG_NOISE_UNIGRAM ? "pairs of neighbours"
                                              : "how often each occurs");
    if (r->out_dims[1] * r->out_dims[2] < 2 * r->dims[1] * r->dims[2])
        ui_note("warning: --amount %g leaves room for %.2f of a decoy's own positions",
                o->amount,
                (double)(r->out_dims[1] * r->out_dims[2]) /
                        (double)(r->dims[1] * r->dims[2]) -
                    1);
    ui_note("hint: --decoys-from POOL, a random part of the same source, hides which "
            "sub-network is yours");
}

/* Why the cloud reads classes or tokens by their own numbers. */
static void note_kept(const amg_obfuscate_options *o, const amg_obfuscate_result *r)
{
    if (r->task == AMG_TASK_CLASSIFICATION && !o->keep_classes && !r->labels_permuted)
        ui_note(
            "note: classes are not permuted: the model does not end in a plain linear "
            "layer with distinct rows");
    if (r->task == AMG_TASK_MULTI_TASK && !o->keep_classes)
        ui_note("note: classes are not permuted: the model has several outputs");
    if (!r->tokens_kept) return;
    if (o->keep_tokens)
        ui_note("note: tokens keep their numbers (--keep-tokens): whoever has the "
                "vocabulary reads every candidate");
    else
        ui_note("note: tokens keep their numbers: %s; whoever has the vocabulary reads "
                "every candidate",
                r->tokens_kept);
}

/* Where decoys' weights begin, where that matters. */
static void note_start(const amg_obfuscate_options *o, const amg_obfuscate_result *r)
{
    const int n = r->num_unknown_init;
    if (n > 0 && !r->same_start)
        ui_note("warning: no known initialisation law fits %d of the parameters (a "
                "pretrained model? or running statistics, which torch.onnx.export "
                "moves): freshly drawn decoys beside them are "
                "recognisable; --decoy-start same hides which one it is",
                n);
    else if (n > 0 && o->decoys.start == AMG_START_AUTO)
        ui_note("note: --decoy-start same: no known initialisation law fits %d of the "
                "parameters (a pretrained model? or running statistics, which "
                "torch.onnx.export moves), so decoys start from the same weights; "
                "weights that have seen your data before still know it again",
                n);
}

/* Whose architecture decoys have, where that was not asked for or is not wise. */
static void note_arch(const amg_obfuscate_options *o, const amg_obfuscate_result *r)
{
    if (r->textbook && !r->same_arch)
        ui_note("warning: your model is the catalogue's %s: whoever knows it names it "
                "among walked decoys; --decoy-arch same hides which one it is",
                r->textbook);
    else if (o->decoys.arch == AMG_DECOY_SAME || !r->same_arch || r->same_start)
        return;
    else if (r->textbook && o->decoys.arch == AMG_DECOY_AUTO)
        ui_note("note: --decoy-arch same: your model is the catalogue's %s, which "
                "would stand out among others; the job shows what it is, not which",
                r->textbook);
    else
        ui_note("note: --decoy-arch same: a walk finds nothing to change in this "
                "model");
}

/* The measured truth about the choice; numbers from docs/threat-model.md. */
static void print_warnings(const amg_obfuscate_options *o,
                           const amg_obfuscate_result *r)
{
    if (o->mode == AMG_MODE_PAPER) warn_of_noise(o, r);
    if (o->rotate)
        ui_note(
            "note: --symmetry-rotate hides samples from a casual look, no more: "
            "statistics of public data of the same kind undo much of it "
            "(docs/symmetry.md); the "
            "trained weights equal those without it up to rounding, under SGD alone");
    else if (o->symmetry)
        ui_note("note: --symmetry hides samples from a casual look, no more: "
                "statistics of public data of the same kind undo it entirely "
                "(docs/symmetry.md); the trained weights equal those without it up to "
                "rounding");
    if (r->num_frozen)
        ui_note("note: %d weight%s frozen, in each decoy likewise; that they are shows "
                "in the job (docs/threat-model.md)",
                r->num_frozen, r->num_frozen == 1 ? " is" : "s are");
    if (r->patches_kept) ui_note("note: patches keep their order: %s", r->patches_kept);
    note_start(o, r);
    note_kept(o, r);
    note_arch(o, r);
    if (r->num_passed_over)
        ui_note("note: %lld pool samples were passed over: byte-equal to a sample of "
                "another stream",
                (long long)r->num_passed_over);
}

/* Options that say nothing together, or too little. */
static int check_choices(const cli_command *c, const amg_obfuscate_options *o,
                         bool paper, bool has_model_amount)
{
    const bool same = o->decoys.arch == AMG_DECOY_SAME;
    const bool walk = o->decoys.arch == AMG_DECOY_WALK;
    if (o->covers && paper)
        return cli_usage_error(c,
                               "covers hide which sub-network is yours, noise does not",
                               "--decoys-from and --noise/--amount exclude each other");
    if (!o->covers && !paper)
        return cli_usage_error(
            c,
            "split your source at random: --train 'DATA[50%:seed=1]' --decoys-from "
            "'DATA[50%-100%:seed=1]'; or see --noise and its warning",
            "nothing to fill the decoys' streams with: no --decoys-from");
    if (has_model_amount && (!paper || same))
        return cli_usage_error(
            c,
            paper ? "--decoy-arch same makes the decoys as large as the original"
                  : "decoys of another size than the original would give it away",
            "--model-amount goes with paper mode only, not with --decoy-arch same");
    if (o->decoys.start == AMG_START_SAME && (walk || (paper && !same)))
        return cli_usage_error(
            c, NULL,
            "--decoy-start same needs decoys of the model's own architecture "
            "(--decoy-arch same)");
    if (o->pair_classes && paper)
        return cli_usage_error(c, NULL, "--pair-classes needs --decoys-from");
    if (o->freeze_norm_stats && !o->num_freeze)
        return cli_usage_error(c, NULL, "--freeze-norm-stats needs --freeze");
    if (o->val_covers && (paper || !o->val))
        return cli_usage_error(c, NULL,
                               "--val-decoys-from needs --decoys-from and --val");
    return CLI_GO_ON;
}

static int run(int argc, char **argv, cli_list *freeze)
{
    amg_obfuscate_options o = {0};
    int64_t decoys = 1, fd = -1, walk = 0;
    int arch = 0, start = 0;
    double amount = -1, model_amount = -1;
    const char *noise = NULL, *normalize = NULL;
    int task = 0;
    bool passphrase = false, quiet = false;
    static const char *const archs[] = {"auto", "walk", "same", NULL};
    static const char *const starts[] = {"auto", "drawn", "same", NULL};
    const cli_option table[] = {
        {"model", CLI_STRING, &o.model, "ONNX", "your model, with its initial weights",
         .required = true},
        {"train", CLI_STRING, &o.train, "DATA", "your training data", .required = true},
        {"val", CLI_STRING, &o.val, "DATA", "validation data, measured on the cloud"},
        {"task", CLI_CHOICE, &task, "TASK", CLI_TASK_HELP, 0, 0, cli_tasks},
        {"seq", CLI_INT, &o.window.seq, "N", CLI_SEQ_HELP, 1, 1 << 20},
        {"stride", CLI_INT, &o.window.stride, "N", CLI_STRIDE_HELP, 1, 1 << 20},
        {"decoys", CLI_INT, &decoys, "K", "number of decoys (1): chance is 1/(K+1)", 1,
         63},
        {"decoys-from", CLI_STRING, &o.covers, "DATA",
         "pool of covers for the decoys' streams; best a random part\nof the same "
         "source as your data"},
        {"val-decoys-from", CLI_STRING, &o.val_covers, "DATA",
         "pool for the validation data (unused rest of --decoys-from)"},
        {"pair-classes", CLI_FLAG, &o.pair_classes, NULL,
         "each cover is of the class of the sample it stands beside: for\na pool with "
         "other shares of the classes than your data"},
        {"decoy-arch", CLI_CHOICE, &arch, "ARCH",
         "walk: random ones around a hidden centre; same: the\noriginal's; auto (the "
         "default): same if the original is one of\nthe catalogue (amalgam zoo), "
         "which stands out among others,\nelse walk",
         0, 0, archs},
        {"decoy-start", CLI_CHOICE, &start, "START",
         "drawn: decoys' weights are drawn by the laws of the model's;\nsame: they "
         "are the model's own; auto (the default): same for\na model whose weights "
         "follow no known law (a pretrained one)",
         0, 0, starts},
        {"walk-steps", CLI_INT, &walk, "N", "edits a walk makes (3)", 1, 1000},
        {"amount", CLI_REAL, &amount, "A",
         "paper mode: each side grows by A (0.5) instead of by covers", 0.01, 100},
        {"model-amount", CLI_REAL, &model_amount, "B",
         "paper mode: the decoys' parameters together are B times\nthe original's "
         "(0.5; with --decoy-arch same each has as many)",
         0.001, 1000},
        {"noise", CLI_STRING, &noise, "KIND",
         "paper mode: uniform | gaussian | laplace | values:FILE; for\ntokens uniform "
         "| "
         "unigram (as often as in your data) | bigram\n(after the one before, too)"},
        {"loss", CLI_STRING, &o.loss.loss, "LOSS", CLI_LOSS_HELP},
        {"class-weights", CLI_STRING, &o.loss.class_weights, "W,W,...",
         CLI_CLASS_WEIGHTS_HELP},
        {"freeze", CLI_REPEAT, freeze, "PATTERN",
         CLI_FREEZE_HELP ";\nin decoys the same weights are"},
        {"freeze-norm-stats", CLI_FLAG, &o.freeze_norm_stats, NULL,
         CLI_FREEZE_STATS_HELP},
        {"keep-classes", CLI_FLAG, &o.keep_classes, NULL,
         "do not permute the classes in the job (extract puts permuted\nones back)"},
        {"keep-tokens", CLI_FLAG, &o.keep_tokens, NULL,
         "do not renumber the vocabulary in the job (extract puts\nrenumbered ones "
         "back)"},
        {"symmetry", CLI_FLAG, &o.symmetry, NULL,
         "mix the values of each sample, and the patches of a vision\ntransformer, "
         "and the weights that read them: against a casual look,\nno more"},
        {"symmetry-rotate", CLI_FLAG, &o.rotate, NULL,
         "the same by a secret rotation of each patch, or of samples of at\nmost 1024 "
         "values: a little harder to undo; data take four bytes\na value, and SGD "
         "alone "
         "trains them (docs/symmetry.md)"},
        {"normalize", CLI_STRING, &normalize, "M/S", CLI_NORMALIZE_HELP},
        {"key", CLI_STRING, &o.key, "FILE", "key file to make, outside the job folder",
         .required = true},
        {"passphrase", CLI_FLAG, &passphrase, NULL,
         "protect the key with a passphrase"},
        {"passphrase-fd", CLI_INT, &fd, "N", "read the passphrase from this descriptor",
         0, 1024},
        {"seed-hex", CLI_STRING, &o.seed_hex, "HEX",
         "for tests: the secret as 64 hex digits instead of fresh randomness"},
        {"o", CLI_STRING, &o.out, "JOB", "job folder to make", .required = true},
        {"quiet", CLI_FLAG, &quiet, NULL, "no progress"},
    };
    const cli_command command = {
        .name = "amalgam obfuscate",
        .synopsis = "--model ONNX --train DATA --decoys-from DATA --key FILE -o JOB",
        .about = "Makes a job folder for the cloud and a key for you. The job holds "
                 "K+1 networks\n"
                 "over one mixed input; which of them is yours only the key tells. The "
                 "cloud sees\n"
                 "every real sample as one of K+1 candidates: odds, not "
                 "encryption.\n\n" CLI_DATA_HELP,
        .examples =
            "  amalgam obfuscate --model model.onnx --train 'mnist/@train[50%:seed=3]' "
            "\\\n"
            "      --decoys 1 --decoys-from 'mnist/@train[50%-100%:seed=3]' --key "
            "job.key -o job/\n"
            "  amalgam obfuscate --model model.onnx --train mnist/ --amount 0.5 "
            "--noise "
            "gaussian \\\n      --key job.key -o job/        (the paper's noise; "
            "weak)\n"
            "  amalgam obfuscate --model lm.onnx --train text:wiki.private --task lm "
            "--seq 35 \\\n"
            "      --decoys-from text:wiki.pool --key job.key -o job/    (see "
            "docs/text.md)\n"
            "  amalgam obfuscate --model pretrained.onnx --freeze 'features.*' --train "
            "mine/ \\\n"
            "      --decoys-from pool/ --key job.key -o job/    (fine-tunes the rest)",
        .options = table,
        .num_options = sizeof table / sizeof *table};
    int code = cli_parse(&command, argc, argv, NULL);
    if (code != CLI_GO_ON) return code;
    if (noise && !parse_noise(noise, &o))
        return cli_usage_error(&command, NULL,
                               "--noise: found '%.100s', expected uniform, gaussian, "
                               "laplace, unigram, bigram or values:FILE",
                               noise);
    const bool paper = noise || amount > 0;
    o.freeze = freeze->items;
    o.num_freeze = freeze->count;
    o.decoys.arch = (amg_decoy_arch)arch;
    o.decoys.start = (amg_decoy_start)start;
    code = check_choices(&command, &o, paper, model_amount > 0);
    if (code != CLI_GO_ON) return code;
    o.mode = paper ? AMG_MODE_PAPER : AMG_MODE_STREAMS;
    if (paper) o.amount = amount > 0 ? amount : 0.5;
    o.num_decoys = (int)decoys;
    o.task_by_data = !cli_task_find(task, &o.task);
    o.decoys.walk_steps = (int)walk;
    if (paper && o.decoys.arch != AMG_DECOY_SAME)
        o.decoys.model_amount = model_amount > 0 ? model_amount : 0.5;

    amg_error err = {0};
    amg_passphrase pass = {0};
    amg_obfuscate_result r = {0};
    if (cli_parse_normalize(normalize, &o.preprocess, &err)) {
        ui_error(&err);
        return CLI_USAGE;
    }
    if ((passphrase || fd >= 0) && cli_passphrase_read((int)fd, true, &pass, &err))
        return ui_error(&err);
    o.passphrase = pass.text ? &pass : NULL;
    ui_progress bar;
    amg_progress progress = ui_progress_init(&bar, quiet);
    amg_status st = amg_obfuscate(&o, &progress, &r, &err);
    ui_progress_clear(&bar);
    cli_passphrase_clear(&pass);
    if (st) return ui_error(&err);
    print_result(&o, &r);
    print_warnings(&o, &r);
    return ui_flush() ? CLI_OK : CLI_FAILURE;
}

int verb_obfuscate(int argc, char **argv)
{
    cli_list freeze = {.items = amg_calloc((size_t)argc + 1, sizeof *freeze.items)};
    const int code = freeze.items ? run(argc, argv, &freeze) : CLI_FAILURE;
    amg_free(freeze.items);
    return code;
}
