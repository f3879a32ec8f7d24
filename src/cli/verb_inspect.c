/* amalgam inspect: prints what src/api/inspect.c found, for people or as JSON. */
#include "api/inspect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/options.h"
#include "cli/ui.h"
#include "cli/verbs.h"

/* Names come from files that others made. */
static void print_safely(const char *text) { ui_print_text(text, strlen(text)); }

/* "key: value" lines, nested ones indented; short leaves stay on one line as JSON. */
static void print_plain(json_t *value, int indent)
{
    const char *key;
    json_t *child;
    json_object_foreach(value, key, child)
    {
        printf("%*s", indent, "");
        print_safely(key);
        printf(": ");
        char *flat = json_dumps(child, JSON_COMPACT | JSON_ENCODE_ANY);
        bool nested = json_is_object(child) && flat && strlen(flat) > 72;
        if (json_is_string(child)) {
            print_safely(json_string_value(child));
            printf("\n");
        } else if (nested) {
            printf("\n");
            print_plain(child, indent + 2);
        } else if (json_is_array(child) && flat && strlen(flat) > 72) {
            printf("\n");
            for (size_t i = 0; i < json_array_size(child); i++) {
                char *row = json_dumps(json_array_get(child, i), JSON_ENCODE_ANY);
                printf("%*s- ", indent + 2, "");
                print_safely(row ? row : "?");
                printf("\n");
                free(row);
            }
        } else {
            print_safely(flat ? flat : "?");
            printf("\n");
        }
        free(flat);
    }
}

int verb_inspect(int argc, char **argv)
{
    const char *path = NULL;
    bool json = false;
    const cli_option table[] = {
        {"json", CLI_FLAG, &json, NULL, "one JSON object on stdout"},
    };
    const cli_command command = {
        .name = "amalgam inspect",
        .synopsis = "FILE|JOB [--json]",
        .about =
            "Shows what a file or a job folder tells whoever holds it: an ONNX model, "
            "a\n"
            "safetensors, .npy or key file, or a job, as the cloud sees it. Every "
            "listed file\n"
            "of a job is checked against its SHA-256.\n"
            "Of an ONNX model it says whether Amalgam can train it, and if not, which "
            "node\n"
            "stands in the way.",
        .examples = "  amalgam inspect model.onnx\n  amalgam inspect job/\n"
                    "  amalgam inspect trained.onnx --json",
        .options = table,
        .num_options = 1,
        .positional = "FILE|JOB"};
    int code = cli_parse(&command, argc, argv, &path);
    if (code != CLI_GO_ON) return code;
    amg_error err = {0};
    json_t *shown = NULL;
    if (amg_inspect(path, &shown, &err)) return ui_error(&err);
    if (json) {
        json_dumpf(shown, stdout, JSON_INDENT(2));
        printf("\n");
    } else {
        print_plain(shown, 0);
    }
    json_decref(shown);
    return ui_flush() ? CLI_OK : CLI_FAILURE;
}
