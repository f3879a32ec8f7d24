/* The options of training: table, defaults, conversion, result table. */
#include "cli/train_options.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/ui.h"
#include "engine/augment.h"

static const char *const precisions[] = {"f32", "bf16", NULL};
static const char *const augmentations[] = {"none",        "crop4",       "hflip",
                                            "crop4,hflip", "hflip,crop4", NULL};

void cli_train_options(cli_train_args *a, int num_rows, cli_option *table)
{
    *a = (cli_train_args){.epochs = 1,
                          .batch = AMG_DEFAULT_BATCH,
                          .lr = 0.01,
                          .step_epochs = 30,
                          .step_gamma = AMG_STEP_GAMMA,
                          .plateau_patience = AMG_PLATEAU_PATIENCE,
                          .seed = 1};
    const cli_option rows[] = {
        {"batch", CLI_INT, &a->batch, "N",
         "samples a step (128); an incomplete last batch of an epoch\nis dropped", 1,
         1 << 20},
        {"accumulate", CLI_INT, &a->accumulate, "N",
         "split each batch into N parts, one in memory at a time, and\naverage their "
         "gradients; batch norm then sees the parts (1)",
         1, 1 << 20},
        {"optimizer", CLI_CHOICE, &a->optimizer, "NAME",
         "sgd | adam | adamw | rmsprop | adagrad | lion (sgd)", 0, 0,
         amg_optimizer_names},
        {"lr", CLI_REAL, &a->lr, "X", "learning rate (0.01)", 0, 1e6},
        {"momentum", CLI_REAL, &a->momentum, "X", "of sgd and rmsprop (0)", 0, 1},
        {"nesterov", CLI_FLAG, &a->nesterov, NULL, "Nesterov's form of momentum"},
        {"weight-decay", CLI_REAL, &a->weight_decay, "X",
         "decoupled for adamw and lion, L2 for the others (0)", 0, 1e6},
        {"beta1", CLI_REAL, &a->beta1, "X",
         "of adam and adamw, first moment; of lion, the step's mean (0.9)", 1e-9,
         1 - 1e-9},
        {"beta2", CLI_REAL, &a->beta2, "X",
         "of adam and adamw, second moment (0.999); of lion, the mean\nkept (0.99)",
         1e-9, 1 - 1e-9},
        {"epsilon", CLI_REAL, &a->epsilon, "X",
         "of adam, adamw and rmsprop (1e-8), of adagrad (1e-10)", 1e-30, 1},
        {"alpha", CLI_REAL, &a->alpha, "X",
         "of rmsprop: how long squares are remembered (0.99)", 1e-9, 1 - 1e-9},
        {"centered", CLI_FLAG, &a->centered, NULL,
         "rmsprop by the variance instead of the mean square"},
        {"lr-decay", CLI_REAL, &a->lr_decay, "X",
         "of adagrad: step t has the rate / (1 + t X) (0)", 0, 1e6},
        {"initial-accumulator", CLI_REAL, &a->initial_sum, "X",
         "of adagrad: where its sums of squares begin (0)", 0, 1e6},
        {"clip", CLI_REAL, &a->clip, "X",
         "clip each sub-network's gradient to this L2 norm (off)", 0, 1e9},
        {"label-smoothing", CLI_REAL, &a->label_smoothing, "X", "as in PyTorch (0)", 0,
         1},
        {"augment", CLI_CHOICE, &a->augment, "KINDS",
         "crop4, hflip or crop4,hflip: random crops of the image padded\nby 4, "
         "mirroring; inside each sub-network (none)",
         0, 0, augmentations},
        {"schedule", CLI_CHOICE, &a->schedule, "NAME",
         "constant | step | cosine | linear | one-cycle | plateau\n(constant). cosine "
         "and "
         "linear fall to 0 at the end; one-cycle is\nPyTorch's OneCycleLR up to --lr, "
         "momentum left alone; plateau\nits ReduceLROnPlateau, for each sub-network by "
         "its own\nvalidation loss (training loss without validation data)",
         0, 0, amg_schedule_names},
        {"warmup", CLI_INT, &a->warmup, "STEPS", "linear warm-up (0)", 0, 1e9},
        {"step-epochs", CLI_INT, &a->step_epochs, "N",
         "schedule step: every N epochs (30) ...", 1, 1e6},
        {"step-gamma", CLI_REAL, &a->step_gamma, "X",
         "... the rate is multiplied by X (0.1)", 1e-9, 1e3},
        {"plateau-patience", CLI_INT, &a->plateau_patience, "N",
         "schedule plateau: after more than N epochs without a lower\nloss (10) ...", 0,
         1e6},
        {"plateau-factor", CLI_REAL, &a->plateau_factor, "X",
         "... the rate is multiplied by X (0.1)", 1e-9, 1 - 1e-9},
        {"precision", CLI_CHOICE, &a->precision, "NAME",
         "f32 | bf16 (f32); bf16: convolutions and linear layers multiply\nin it, "
         "weights stay f32",
         0, 0, precisions},
        {"ema", CLI_REAL, &a->ema, "DECAY",
         "moving average of the weights, as 0.999: it is validated and is\nthe result "
         "(off); running statistics are the last ones",
         0, 1 - 1e-9},
        {"best", CLI_FLAG, &a->best, NULL,
         "the result is each sub-network's epoch of lowest validation loss"},
        {"early-stop", CLI_INT, &a->early_stop, "N",
         "a sub-network stops after N epochs in a row without a lower\nvalidation "
         "loss; "
         "the others go on (off). Mostly with --best",
         1, 1e6},
        {"threads", CLI_INT, &a->threads, "N",
         "CPU threads (all cores); the same number gives the same bits", 1, 1024},
        {"seed", CLI_INT, &a->seed, "N", "of batch order, dropout and augmentation (1)",
         0, 9e15},
        {"quiet", CLI_FLAG, &a->quiet, NULL, "no progress"},
        /* From here on: how long and with what interruptions. */
        {"epochs", CLI_INT, &a->epochs, "N", "passes over the data (1)", 1, 1e6},
        {"max-steps", CLI_INT, &a->max_steps, "N",
         "stop after N steps, with a checkpoint; the schedule still\nspans --epochs", 1,
         9e15},
        {"checkpoint-steps", CLI_INT, &a->checkpoint_steps, "N",
         "checkpoint every N steps (each epoch and every 60 s)", 1, 9e15},
        {"profile", CLI_FLAG, &a->profile, NULL,
         "measure 20 steps after the first 3: time of each operator, loss,\noptimizer, "
         "data; memory. On stdout"},
        {"resume", CLI_FLAG, &a->resume, NULL,
         "go on from the last checkpoint, bit for bit"},
    };
    _Static_assert(sizeof rows / sizeof *rows == CLI_NUM_TRAIN_OPTIONS, "rows");
    for (int i = 0; i < num_rows; i++) table[i] = rows[i];
}

amg_train_options cli_train_make(const cli_train_args *a)
{
    static const unsigned kinds[] = {0, AMG_AUGMENT_CROP4, AMG_AUGMENT_HFLIP,
                                     AMG_AUGMENT_CROP4 | AMG_AUGMENT_HFLIP,
                                     AMG_AUGMENT_CROP4 | AMG_AUGMENT_HFLIP};
    return (amg_train_options){.batch = a->batch,
                               .accumulate = a->accumulate,
                               .epochs = a->epochs,
                               .max_steps = a->max_steps,
                               .seed = (uint64_t)a->seed,
                               .ema = a->ema,
                               .best = a->best,
                               .early_stop = a->early_stop,
                               .label_smoothing = (float)a->label_smoothing,
                               .augment = kinds[a->augment],
                               .threads = (int)a->threads,
                               .bf16 = a->precision == 1,
                               .checkpoint_steps = a->checkpoint_steps,
                               .profile = a->profile ? stdout : NULL,
                               .resume = a->resume,
                               .optimizer = {.kind = (amg_optimizer_kind)a->optimizer,
                                             .lr = a->lr,
                                             .momentum = a->momentum,
                                             .weight_decay = a->weight_decay,
                                             .nesterov = a->nesterov,
                                             .beta1 = a->beta1,
                                             .beta2 = a->beta2,
                                             .epsilon = a->epsilon,
                                             .alpha = a->alpha,
                                             .centered = a->centered,
                                             .lr_decay = a->lr_decay,
                                             .initial_accumulator = a->initial_sum,
                                             .clip_norm = a->clip,
                                             .schedule = (amg_schedule_kind)a->schedule,
                                             .warmup_steps = a->warmup,
                                             .step_epochs = a->step_epochs,
                                             .step_gamma = a->step_gamma,
                                             .plateau_patience = a->plateau_patience,
                                             .plateau_factor = a->plateau_factor}};
}

/* The columns of the result table, as train.py has them, too. */
static const struct {
    const char *title;
    int decimals;
    const char *unit;
} columns[] = {{"train loss", 6, ""},  {"train ppl", 2, ""}, {"train acc", 2, " %"},
               {"val loss", 6, ""},    {"val ppl", 2, ""},   {"val top-1", 2, " %"},
               {"val top-5", 2, " %"}, {"steps", 0, ""}};
enum { TOP1 = 5, TOP5 = 6, NUM_COLUMNS = sizeof columns / sizeof *columns };

/* Steps behind the head's weights, where they are not the same for all. */
static double own_steps(const amg_train_result *r, int head)
{
    bool same = true;
    for (int i = 0; i < r->num_heads; i++) same &= r->head_steps[i] == r->steps;
    return same ? NAN : (double)r->head_steps[head];
}

/* NaN where there is nothing to tell. */
static void fill_row(const amg_train_result *r, int head, double row[NUM_COLUMNS])
{
    const amg_head_result *h = &r->heads[head];
    const double values[] = {h->train_loss,
                             r->predicts_tokens ? exp(h->train_loss) : NAN,
                             100 * h->train_accuracy,
                             h->val_loss,
                             r->predicts_tokens ? exp(h->val_loss) : NAN,
                             100 * h->val_top1,
                             100 * h->val_top5,
                             own_steps(r, head)};
    _Static_assert(sizeof values / sizeof *values == NUM_COLUMNS, "one a column");
    memcpy(row, values, sizeof values);
}

/* Where several labels apply, nothing is first or among five: all are counted. */
static const char *title_of(int column, const double row[NUM_COLUMNS])
{
    return column == TOP1 && isnan(row[TOP5]) ? "val acc" : columns[column].title;
}

void cli_parts_print(const char *before, const amg_head_result *r)
{
    for (int i = 0; i < (int)r->num_parts; i++) {
        printf("%soutput %d: loss %.6f", before, i, r->parts[i].val_loss);
        if (!isnan(r->parts[i].val_accuracy))
            printf(", %.2f %% right", 100 * r->parts[i].val_accuracy);
        printf("\n");
    }
}

/* Of several outputs, each one's own. */
static void print_parts(const amg_train_result *r)
{
    for (int i = 0; i < r->num_heads; i++) {
        char before[48];
        snprintf(before, sizeof before, "head %d, validation, ", i);
        cli_parts_print(before, &r->heads[i]);
    }
}

void cli_train_print(const amg_train_result *r)
{
    double first[NUM_COLUMNS], row[NUM_COLUMNS];
    int width[NUM_COLUMNS];
    fill_row(r, 0, first);
    printf("%-*s", r->predicts_tokens ? 4 : 6, "head");
    for (int c = 0; c < NUM_COLUMNS; c++) {
        /* All seven fit 80 columns only when narrow. */
        width[c] = r->predicts_tokens ? (int)strlen(columns[c].title) + 2 : 13;
        if (!isnan(first[c])) printf("%*s", width[c], title_of(c, first));
    }
    printf("\n");
    for (int i = 0; i < r->num_heads; i++) {
        fill_row(r, i, row);
        printf("%-*d", r->predicts_tokens ? 4 : 6, i);
        for (int c = 0; c < NUM_COLUMNS; c++)
            if (!isnan(first[c]))
                printf("%*.*f%s", width[c] - (int)strlen(columns[c].unit),
                       columns[c].decimals, row[c], columns[c].unit);
        printf("\n");
    }
    print_parts(r);
    printf("%lld step%s, %.1f s\n", (long long)r->steps, amg_plural(r->steps),
           r->seconds);
}
