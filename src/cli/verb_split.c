/* amalgam split: a token set -> disjoint ones. Options in, a summary out; the work is
 * done in src/text/split.c. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "cli/options.h"
#include "cli/ui.h"
#include "cli/verbs.h"
#include "text/tokenize.h"

enum { DEFAULT_CHUNK = 1024 };

/* "50,50" into shares, which is [count]; NULL: all equal. */
static bool parse_shares(const char *text, int count, double *shares)
{
    for (int i = 0; i < count; i++) {
        char *end = NULL;
        shares[i] = text != NULL ? strtod(text, &end) : 1;
        if (text == NULL) continue;
        if (end == text || !isfinite(shares[i]) || shares[i] <= 0) return false;
        if (*end != (i < count - 1 ? ',' : 0)) return false;
        text = end + 1;
    }
    return true;
}

static int run(const amg_split_options *o, bool quiet)
{
    amg_error err = {0};
    ui_progress bar;
    int64_t all = 0;
    char documents[32], tokens[32];
    amg_token_info *parts = amg_calloc((size_t)o->num_parts, sizeof *parts);
    const amg_progress progress = ui_progress_init(&bar, quiet);
    amg_status st = parts != NULL ? amg_split_tokens(o, &progress, parts, &err)
                                  : amg_fail(&err, AMG_NO_MEMORY, -1, o->input,
                                             "no memory to split it");
    ui_progress_clear(&bar);
    for (int i = 0; st == AMG_OK && i < o->num_parts; i++) all += parts[i].num_tokens;
    for (int i = 0; st == AMG_OK && i < o->num_parts; i++)
        printf("%s: %s document%s, %s token%s (%.2f %%)\n", o->outs[i],
               ui_count(parts[i].num_documents, documents),
               amg_plural(parts[i].num_documents),
               ui_count(parts[i].num_tokens, tokens), amg_plural(parts[i].num_tokens),
               100.0 * (double)parts[i].num_tokens / (double)all);
    amg_free(parts);
    if (st != AMG_OK) return ui_error(&err);
    return ui_flush() ? CLI_OK : CLI_FAILURE;
}

int verb_split(int argc, char **argv)
{
    const char *input = NULL, *shares_text = NULL;
    bool documents = false, quiet = false;
    int64_t chunk = 0, seed = 0;
    cli_list outs = {.items = amg_malloc((size_t)argc * sizeof *outs.items)};
    double *shares = amg_malloc((size_t)argc * sizeof *shares);
    int code = CLI_FAILURE;
    const cli_option table[] = {
        {"o", CLI_LIST, &outs, "A B [C...]", "token sets to make, two at least",
         .required = true},
        {"shares", CLI_STRING, &shares_text, "X,Y,...",
         "how much of the pieces each gets, in any unit (equal)"},
        {"chunk", CLI_INT, &chunk, "N", "tokens to a piece (1024)", 1, 1e15},
        {"documents", CLI_FLAG, &documents, NULL,
         "whole documents instead; sets with labels: always"},
        {"seed", CLI_INT, &seed, "S", "the same seed deals out the same way", 0, 9e15,
         .required = true},
        {"quiet", CLI_FLAG, &quiet, NULL, "no progress"},
    };
    const cli_command command = {
        .name = "amalgam split",
        .synopsis = "SET -o A B [C...] --seed S [options]",
        .about =
            "Deals the pieces of a token set out to new sets, at random: one to train "
            "on, others\n"
            "to validate or to fill decoys. Every token goes to one of them; pieces "
            "keep their\n"
            "order, and each set gets the vocabulary.\n\n"
            "Decoys must look as the original does. Contiguous parts of a corpus "
            "differ "
            "in topic\n"
            "and are told apart (.68-1.00, chance .25), random ones are not (.23) if "
            "original and\n"
            "decoys are drawn by the same law. Covers are drawn sample by sample. So "
            "for a\n"
            "language model deal out its windows themselves, as parts of one set:\n"
            "  --train text:SET[0%-25%:seed=S] --decoys-from text:SET[25%-100%:seed=S]",
        .examples =
            "  amalgam split news -o news.own news.pool --shares 25,75 --seed 7",
        .options = table,
        .num_options = sizeof table / sizeof *table,
        .positional = "SET"};
    if (outs.items == NULL || shares == NULL) {
        ui_error(&(amg_error){.code = AMG_NO_MEMORY, .offset = -1});
        goto done;
    }
    code = cli_parse(&command, argc, argv, &input);
    if (code != CLI_GO_ON) goto done;
    if (outs.count < 2)
        code =
            cli_usage_error(&command, NULL, "-o: found one set, expected two or more");
    else if (documents && chunk > 0)
        code = cli_usage_error(&command, NULL,
                               "--chunk and --documents both say what a piece is");
    else if (!parse_shares(shares_text, outs.count, shares))
        code = cli_usage_error(&command, NULL,
                               "--shares: found '%.100s', expected %d positive numbers "
                               "with commas between them",
                               shares_text, outs.count);
    else
        code = run(&(amg_split_options){.input = input,
                                        .num_parts = outs.count,
                                        .outs = outs.items,
                                        .shares = shares,
                                        .chunk = documents   ? 0
                                                 : chunk > 0 ? chunk
                                                             : DEFAULT_CHUNK,
                                        .seed = (uint64_t)seed},
                   quiet);
done:
    amg_free(shares);
    amg_free(outs.items);
    return code;
}
