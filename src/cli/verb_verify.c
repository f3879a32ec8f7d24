/* amalgam verify: prints what src/cli/verify.c found; exit code 1 if a bit differs. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/passphrase.h"
#include "cli/train_options.h"
#include "cli/ui.h"
#include "cli/verbs.h"
#include "cli/verify.h"

static void print_result(const amg_verify_result *r, bool json)
{
    char count[32];
    if (json) {
        json_t *o = json_pack("{s:I, s:i, s:i, s:I, s:i, s:I, s:o*}", "steps",
                              (json_int_t)r->steps, "threads", r->threads, "tensors",
                              r->num_tensors, "parameters", (json_int_t)r->num_scalars,
                              "tensors_different", r->num_different, "bits_different",
                              (json_int_t)r->bits_different, "rounding",
                              r->mixed ? json_real(r->rounding) : NULL);
        json_dumpf(o, stdout, JSON_INDENT(2));
        json_decref(o);
        printf("\n");
        return;
    }
    printf("verify: %s parameters, %lld bit%s (%lld step%s, %d thread%s)\n",
           ui_count(r->num_scalars, count), (long long)r->bits_different,
           r->bits_different == 1 ? " differs" : "s differ", (long long)r->steps,
           amg_plural(r->steps), r->threads, amg_plural(r->threads));
    if (r->mixed)
        printf(
            "the job mixes values (--symmetry%s): these are the bits of the original "
            "mixed alike; beside\ntraining in its own order, weights differ by %.1g "
            "(relative L2: rounding)\n",
            r->rotated ? "-rotate" : "", r->rounding);
}

int verb_verify(int argc, char **argv)
{
    enum { NUM_OWN = 5 };
    const char *key = NULL, *job = NULL;
    int64_t fd = -1, steps = 20;
    bool json = false;
    cli_train_args args;
    cli_option table[NUM_OWN + CLI_NUM_STEP_OPTIONS] = {
        {"key", CLI_STRING, &key, "FILE", "the job's key", .required = true},
        {"job", CLI_STRING, &job, "JOB", "the job folder as it was made",
         .required = true},
        {"steps", CLI_INT, &steps, "N", "training steps (20)", 1, 1e9},
        {"json", CLI_FLAG, &json, NULL, "one JSON object on stdout"},
        {"passphrase-fd", CLI_INT, &fd, "N",
         "read the key's passphrase from this descriptor", 0, 1024},
    };
    cli_train_options(&args, CLI_NUM_STEP_OPTIONS, table + NUM_OWN);
    args.lr = 0.05;
    args.momentum = 0.9;
    args.weight_decay = 5e-4;
    args.label_smoothing = 0.1;
    args.schedule = AMG_SCHEDULE_COSINE;
    const cli_command command = {
        .name = "amalgam verify",
        .synopsis = "--key FILE --job JOB [--steps N] [--json] [training options]",
        .about = "Trains the original alone and inside its job and compares every "
                 "parameter and\n"
                 "buffer bit for bit. Unless told otherwise the learning rate is 0.05, "
                 "and momentum\n"
                 "0.9, weight decay 5e-4, cosine schedule and label smoothing 0.1 are "
                 "on.",
        .examples = "  amalgam verify --key job.key --job job/ --steps 20",
        .options = table,
        .num_options = NUM_OWN + CLI_NUM_STEP_OPTIONS};
    int code = cli_parse(&command, argc, argv, NULL);
    if (code != CLI_GO_ON) return code;

    amg_error err = {0};
    amg_passphrase pass;
    amg_status st = cli_passphrase_for(key, (int)fd, &pass, &err);
    if (st) return ui_error(&err);
    amg_train_options options = cli_train_make(&args);
    options.max_steps = steps;
    const char *temp = getenv("TMPDIR");
    amg_verify_result r;
    ui_progress bar;
    amg_progress progress = ui_progress_init(&bar, args.quiet || json);
    st = amg_verify(key, pass.text ? &pass : NULL, job, temp && temp[0] ? temp : "/tmp",
                    &options, &progress, &r, &err);
    ui_progress_clear(&bar);
    cli_passphrase_clear(&pass);
    if (st) return ui_error(&err);
    print_result(&r, json);
    if (r.key_is_loose) cli_warn_loose(key);
    if (r.bits_different)
        ui_note("error: different in %d of %d tensor%s, the first is %s",
                r.num_different, r.num_tensors, amg_plural(r.num_tensors),
                r.first_different);
    return ui_flush() && !r.bits_different ? CLI_OK : CLI_FAILURE;
}
