/* What the demonstrations share. Consumes steps as text, runs the program's own verbs.
 */
#include "cli/demo.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "cli/options.h"
#include "cli/ui.h"

enum { MAX_ARGS = 48, MAX_LINE = 4096 };

static const char *fill_in(const demo_places *p, const char *word)
{
    if (word[0] != '%') return NULL;
    switch (word[1]) {
    case 'D': return p->data;
    case 'O': return p->out;
    case 'K': return p->decoys;
    case 'T': return p->train;
    case 'V': return p->val;
    case 'E': return p->test;
    case 'P': return p->pool;
    default: return NULL;
    }
}

/* Prints "$ PROGRAM WORDS" as the user would type it and runs the verb. argv[0] of a
 * program of its own is the program. */
static int run(const demo_step *step, const demo_places *p)
{
    char text[MAX_LINE], *argv[MAX_ARGS] = {text};
    int argc = 1;
    size_t at = 0;
    for (const char *w = step->words; *w; w++) {
        const char *put = fill_in(p, w);
        size_t n = put ? strlen(put) : 1;
        if (at + n + 1 >= sizeof text || argc == MAX_ARGS - 1) return CLI_FAILURE;
        memcpy(text + at, put ? put : w, n);
        if (put) w++;
        if (!put && *w == ' ') text[at] = 0, argv[argc++] = text + at + 1;
        at += n;
    }
    text[at] = 0;
    printf("\n$ %s", step->program);
    for (int i = strcmp(step->program, argv[0]) ? 0 : 1; i < argc; i++)
        printf(" %s", argv[i]);
    printf("\n");
    fflush(stdout);
    double start = ui_now();
    int code = step->verb(argc, argv);
    printf("  [%.1f s]\n", ui_now() - start);
    return code;
}

int demo_run(const demo_step *steps, size_t num_steps, const demo_places *places)
{
    for (size_t i = 0; i < num_steps; i++) {
        if (steps[i].title) printf("\n%s\n", steps[i].title);
        int code = run(&steps[i], places);
        if (code) return code;
    }
    return CLI_OK;
}

/* The files hold the same graph, so equal bytes mean equal weights. */
int demo_compare(const char *out)
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
