/* amalgam pack: several owners -> one job, a key for each. Options in, a summary out;
 * the work is done in src/obfuscate/pack.c. */
#include "obfuscate/pack.h"

#include <stdio.h>

#include "base/alloc.h"
#include "cli/options.h"
#include "cli/pack_spec.h"
#include "cli/ui.h"
#include "cli/verbs.h"

static void print_result(const amg_pack_options *o, const amg_pack_result *r)
{
    char train[32], val[32], own[32], all[32];
    printf("%s: %d owners, each with %s training and %s validation samples, "
           "%lldx%lldx%lld -> %lldx%lldx%lld, %.1f MB, %.1f s\n",
           o->out, r->num_owners, ui_count(r->num_train, train),
           ui_count(r->num_val, val), (long long)r->dims[0], (long long)r->dims[1],
           (long long)r->dims[2], (long long)r->out_dims[0], (long long)r->out_dims[1],
           (long long)r->out_dims[2], (double)r->job_bytes / 1e6, r->seconds);
    printf("compute %.2fx that of the owners' own trainings together; %s parameters\n",
           r->compute_factor, ui_count(r->job_params, all));
    for (int i = 0; i < r->num_owners; i++)
        printf("%s: the key of %s, %s parameters\n", o->owners[i].key,
               o->owners[i].model, ui_count(r->own_params[i], own));
    printf("among owners of alike data the cloud's guess of one is right 1 time in as "
           "many\n");
}

static int run(amg_pack_options *o, const cli_list *specs, bool quiet)
{
    amg_error err = {0};
    amg_status st = AMG_OK;
    amg_pack_result r = {0};
    cli_pack_spec *read = amg_calloc((size_t)specs->count + 1, sizeof *read);
    amg_obfuscate_options *owners =
        amg_calloc((size_t)specs->count + 1, sizeof *owners);
    if (!read || !owners) st = amg_fail(&err, AMG_NO_MEMORY, -1, "pack", "no memory");
    for (int i = 0; i < specs->count && !st; i++) {
        st = cli_pack_spec_read(specs->items[i], &read[i], &err);
        owners[i] = read[i].options;
    }
    o->owners = owners;
    o->num_owners = specs->count;
    if (!st) {
        ui_progress bar;
        const amg_progress progress = ui_progress_init(&bar, quiet);
        st = amg_pack(o, &progress, &r, &err);
        ui_progress_clear(&bar);
    }
    if (!st) print_result(o, &r);
    for (int i = 0; read && i < specs->count; i++) cli_pack_spec_clear(&read[i]);
    amg_free(read);
    amg_free(owners);
    if (st) return ui_error(&err);
    return ui_flush() ? CLI_OK : CLI_FAILURE;
}

int verb_pack(int argc, char **argv)
{
    amg_pack_options o = {0};
    cli_list specs = {.items = amg_malloc((size_t)argc * sizeof *specs.items)};
    bool quiet = false;
    const cli_option table[] = {
        {"o", CLI_STRING, &o.out, "JOB", "job folder to make", .required = true},
        {"seed-hex", CLI_STRING, &o.seed_hex, "HEX",
         "for tests: the job's secret as 64 hex digits"},
        {"quiet", CLI_FLAG, &quiet, NULL, "no progress"},
    };
    const cli_command command = {
        .name = "amalgam pack",
        .synopsis = "SPEC SPEC [SPEC...] -o JOB",
        .about =
            "Makes one job of several trainings, each of which is the others' cover, "
            "and a key for\n"
            "each: the cloud computes what they cost together, and nothing for decoys. "
            "Each key\n"
            "extracts its owner's model and no other.\n\n"
            "A SPEC is a JSON file, paths relative to the current folder:\n"
            "  {\"model\": \"a.onnx\", \"train\": \"a@train[0:5000]\", \"key\": "
            "\"a.key\"}\n"
            "and, if wanted, \"val\", \"task\", \"loss\", \"seq\", \"normalize\", "
            "\"freeze\", \"freeze_norm_stats\",\n"
            "\"keep_classes\", \"keep_tokens\", \"symmetry\", as the options of "
            "amalgam obfuscate.\n\n"
            "All samples have one shape and type, all owners one task and as many "
            "samples. Owners of\n"
            "different kinds of data are told apart by their data; which owner is "
            "whom, they are not.\n",
        .examples =
            "  amalgam pack a.json b.json c.json d.json -o job/\n"
            "  amalgam-train job/ --epochs 10\n"
            "  amalgam extract --key a.key --weights job/out/weights.safetensors "
            "-o a-trained.onnx\n",
        .options = table,
        .num_options = sizeof table / sizeof *table,
        .positional = "SPEC",
        .positionals = &specs};
    int code = CLI_FAILURE;
    if (specs.items) code = cli_parse(&command, argc, argv, NULL);
    if (code == CLI_GO_ON && specs.count < 2)
        code = cli_usage_error(&command, NULL, "expected two SPECs or more, found %d",
                               specs.count);
    if (code == CLI_GO_ON) code = run(&o, &specs, quiet);
    amg_free(specs.items);
    return code;
}
