/* amalgam extract: trained weights + key -> the original, trained. */
#include <stdio.h>
#include <string.h>

#include "cli/options.h"
#include "cli/passphrase.h"
#include "cli/ui.h"
#include "cli/verbs.h"
#include "extract/extract.h"

/* An output replaces what has its name: that must not be an input, least of all the
 * key, nor the other output. */
static const char *find_clash(const amg_extract_options *o)
{
    const char *const outputs[] = {o->out_onnx, o->out_safetensors};
    for (int i = 0; i < 2; i++)
        if (cli_same_file(outputs[i], o->key) || cli_same_file(outputs[i], o->weights))
            return outputs[i];
    return cli_same_file(o->out_onnx, o->out_safetensors) ? o->out_onnx : NULL;
}

int verb_extract(int argc, char **argv)
{
    amg_extract_options o = {0};
    int64_t fd = -1;
    const cli_option table[] = {
        {"key", CLI_STRING, &o.key, "FILE", "the job's key", .required = true},
        {"weights", CLI_STRING, &o.weights, "FILE",
         "JOB/out/weights.safetensors, or a checkpoint beside it", .required = true},
        {"o", CLI_STRING, &o.out_onnx, "ONNX", "the trained original",
         .required = true},
        {"safetensors", CLI_STRING, &o.out_safetensors, "FILE",
         "its weights alone, under their own names"},
        {"passphrase-fd", CLI_INT, &fd, "N",
         "read the key's passphrase from this descriptor", 0, 1024},
    };
    const cli_command command = {
        .name = "amalgam extract",
        .synopsis = "--key FILE --weights FILE -o trained.onnx [--safetensors FILE]",
        .about =
            "Takes the original, now trained, out of the weights that came back. "
            "Everything\n"
            "in the file is checked; on any doubt there is one error and no output.",
        .examples =
            "  amalgam extract --key job.key --weights job/out/weights.safetensors -o "
            "trained.onnx",
        .options = table,
        .num_options = sizeof table / sizeof *table};
    int code = cli_parse(&command, argc, argv, NULL);
    if (code != CLI_GO_ON) return code;

    const char *clash = find_clash(&o);
    if (clash)
        return cli_usage_error(&command, NULL, "%s: would be written and is also %s",
                               clash,
                               cli_same_file(clash, o.key)       ? "the key"
                               : cli_same_file(clash, o.weights) ? "the weights file"
                                                                 : "the other output");

    amg_error err = {0};
    amg_passphrase pass;
    amg_extract_result result;
    amg_status st = cli_passphrase_for(o.key, (int)fd, &pass, &err);
    if (st) return ui_error(&err);
    o.passphrase = pass.text ? &pass : NULL;
    st = amg_extract(&o, &result, &err);
    cli_passphrase_clear(&pass);
    if (st) return ui_error(&err);
    if (result.key_is_loose) cli_warn_loose(o.key);
    char count[32];
    printf("%s: %d tensor%s, %s trained parameters\n", o.out_onnx, result.num_params,
           amg_plural(result.num_params), ui_count(result.num_scalars, count));
    return ui_flush() ? CLI_OK : CLI_FAILURE;
}
