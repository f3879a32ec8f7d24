/* amalgam audit: plays the curious cloud against a job and prints what it learned. The
 * exit code stops an upload script: 0 passed, 3 failed, 1 nothing was measured. Options
 * in, a table or JSON out; the work is done in src/audit. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/report.h"
#include "base/alloc.h"
#include "cli/data_options.h"
#include "cli/options.h"
#include "cli/passphrase.h"
#include "cli/ui.h"
#include "cli/verbs.h"

enum { CLI_AUDIT_FAILED = 3, COLUMNS = 80, METRIC = 49, REASON = 21 };
#define ROW                                                                            \
    "%-11s %-21s %-6s %-7s " /* attack, figure, chance, verdict: METRIC wide           \
                              */

/* ---- the table ---- */

/* Words from the given column on; lines that follow are indented so far. Texts quote
 * names that others chose: what would move the cursor is not printed. */
static void print_words(const char *text, int column, int indent)
{
    bool first = true;
    while (*text) {
        const int length = (int)strcspn(text, " ");
        if (!first && column + 1 + length > COLUMNS) {
            printf("\n%*s", indent, "");
            column = indent;
        } else if (!first) {
            putchar(' ');
            column++;
        }
        ui_print_text(text, (size_t)length);
        column += length;
        text += length + (text[length] == ' ');
        first = false;
    }
    putchar('\n');
}

static void print_finding(const amg_finding *f)
{
    char figure[AMG_AUDIT_FIGURE], chance[AMG_AUDIT_FIGURE];
    if (f->verdict == AMG_VERDICT_SKIPPED) {
        printf("%-11s skipped: ", f->attack);
        print_words(f->text, REASON, REASON);
        return;
    }
    printf(ROW, f->attack, amg_audit_figure(f, figure),
           amg_audit_number(f->chance, chance), amg_verdict_name(f->verdict));
    print_words(f->metric, METRIC, METRIC);
}

/* Checks that found nothing have one line for each attack. */
static void print_checks(const char *attack, int count)
{
    printf(ROW, attack, "0", "", amg_verdict_name(AMG_VERDICT_PASS));
    printf("%d check%s that found nothing\n", count, count == 1 ? "" : "s");
}

static void print_report(const amg_audit_report *r, const char *html)
{
    char rows[32], all[32], memory[32], sentence[AMG_AUDIT_SENTENCE];
    printf("%s of %s samples, %d candidates, %.1f s, %s of memory\n\n",
           ui_count(r->num_rows, rows), ui_count(r->total_rows, all), r->num_streams,
           r->seconds, ui_bytes((double)r->peak_bytes, memory));
    printf(ROW "of what\n", "attack", "figure", "chance", "verdict");
    for (int i = 0; i < r->findings.count; i++) {
        const amg_finding *f = &r->findings.items[i];
        const int checks = amg_audit_count_checks(r, i);
        if (checks) print_checks(f->attack, checks);
        if (!amg_audit_is_check(f)) print_finding(f);
    }
    printf("\n");
    for (int i = 0; i < r->findings.count; i++) {
        const amg_finding *f = &r->findings.items[i];
        if (f->verdict != AMG_VERDICT_FAIL) continue;
        print_words(f->text, printf("FAIL %s: ", f->attack), 2);
    }
    if (html) printf("%s: the report. It shows your data: keep it at home\n", html);
    print_words(amg_audit_sentence(r, sentence), 0, 2);
}

static int exit_code(const amg_audit_report *r)
{
    switch (amg_audit_verdict(r)) {
    case AMG_VERDICT_FAIL: return CLI_AUDIT_FAILED;
    case AMG_VERDICT_SKIPPED: return CLI_FAILURE;
    case AMG_VERDICT_PASS:
    case AMG_VERDICT_REPORT: break;
    }
    return CLI_OK;
}

/* ---- the verb ---- */

static amg_status print_json(const amg_audit_report *r, amg_error *err)
{
    char *text = NULL;
    amg_status st = amg_audit_json(r, &text, err);
    if (!st) fputs(text, stdout);
    amg_free(text);
    return st;
}

static int run(const amg_audit_options *o, const char *html, bool json, bool quiet)
{
    amg_error err = {0};
    amg_audit_report report = {0};
    ui_progress bar;
    const amg_progress progress = ui_progress_init(&bar, quiet || json);
    amg_status st = html ? amg_audit_check_page(html, o->job, &err) : AMG_OK;
    if (!st) st = amg_audit_run(o, &progress, &report, &err);
    ui_progress_clear(&bar);
    if (!st && html) st = amg_audit_write_html(&report, o, html, &err);
    if (!st && json) st = print_json(&report, &err);
    if (!st && !json) print_report(&report, html);
    const int code = st ? ui_error(&err) : exit_code(&report);
    amg_audit_report_clear(&report);
    return ui_flush() ? code : CLI_FAILURE;
}

/* Paragraphs of --help, the table of attacks last. */
static void write_about(char *out, size_t size)
{
    const char *what, *name;
    size_t n = (size_t)snprintf(
        out, size,
        "Plays the curious cloud against a job: what can somebody learn who holds "
        "all of\n"
        "it but the key? Each figure stands beside what guessing would give, with its "
        "95 %%\n"
        "interval. With --key the guesses are scored, and a finding fails whose "
        "interval\n"
        "misses what may pass; without it you see what an attacker would guess.\n\n"
        "Exit code 0: passed; 3: a finding failed; 1: it could not be done, or no "
        "attack\n"
        "applied; 2: wrong options. A passing audit is no proof.\n\nattacks:\n");
    for (int i = 0; (name = amg_audit_attack_name(i, &what)) && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, "  %-12s %s\n", name, what);
    if (n < size) snprintf(out + n, size - n, "\n%s", CLI_DATA_HELP);
}

int verb_audit(int argc, char **argv)
{
    amg_audit_options o = {0};
    const char *html = NULL;
    int64_t fd = -1, secrets = 60, seed = 0;
    bool json = false, quiet = false;
    char about[4096];
    int code = CLI_FAILURE;
    amg_error err = {0};
    amg_passphrase pass = {0};
    cli_list aux = {.items = amg_malloc((size_t)argc * sizeof *aux.items)};
    const cli_option table[] = {
        {"key", CLI_STRING, &o.key, "FILE", "the job's key, to score the guesses"},
        {"attacks", CLI_STRING, &o.attacks, "LIST",
         "names with commas, or all (without it: those that have\n"
         "what they need, but not shadow)"},
        {"aux", CLI_REPEAT, &aux, "DATA",
         "lookup: what the cloud may have, public sets or your\n"
         "pool; may be given several times"},
        {"source", CLI_STRING, &o.source, "DATA",
         "shadow: the set of which private data and covers were\n"
         "parts; dealt anew for each secret"},
        {"secrets", CLI_INT, &secrets, "N", "shadow: jobs to make (60)", 2, 100000},
        {"other", CLI_STRING, &o.other, "JOB",
         "reupload: an earlier job of the same data"},
        {"rows", CLI_INT, &o.max_rows, "N", "samples to look at (10,000)", 1, 1e9},
        {"seed", CLI_INT, &seed, "S", "of the audit's own draws (0)", 0, 9e15},
        {"max-id", CLI_REAL, &o.max_identification, "P",
         "let an identification rate up to P pass (by default\n"
         "chance must lie in its interval)",
         1e-6, 1},
        {"html", CLI_STRING, &html, "FILE",
         "write the report as one page, with pictures"},
        {"json", CLI_FLAG, &json, NULL, "one JSON object on stdout"},
        {"passphrase-fd", CLI_INT, &fd, "N",
         "read the key's passphrase from this descriptor", 0, 1024},
        {"quiet", CLI_FLAG, &quiet, NULL, "no progress"},
    };
    const cli_command command = {
        .name = "amalgam audit",
        .synopsis = "JOB [--key FILE] [options]",
        .about = about,
        .examples =
            "  amalgam audit job --key job.key --html audit.html\n"
            "  amalgam audit job --key job.key && rsync -a job/ cloud:job/\n"
            "  amalgam audit job --key job.key --attacks shadow --source data@train\n"
            "  amalgam audit job --key job.key --aux pool --aux public@train\n"
            "  amalgam audit job --attacks naturalness,graph --json",
        .options = table,
        .num_options = sizeof table / sizeof *table,
        .positional = "JOB"};
    if (!aux.items) {
        ui_error(&(amg_error){.code = AMG_NO_MEMORY, .offset = -1});
        goto done;
    }
    write_about(about, sizeof about);
    code = cli_parse(&command, argc, argv, &o.job);
    if (code != CLI_GO_ON) goto done;
    if (o.max_identification > 0 && !o.key) {
        code = cli_usage_error(&command, "without the key no guess is right or wrong",
                               "--max-id needs --key");
        goto done;
    }
    if (cli_same_file(html, o.key)) {
        code = cli_usage_error(&command, NULL,
                               "%s: would be written and is also the key", html);
        goto done;
    }
    o.lookup = aux.items;
    o.num_lookup = aux.count;
    o.secrets = (int)secrets;
    o.seed = (uint64_t)seed;
    if (o.key && cli_passphrase_for(o.key, (int)fd, &pass, &err)) {
        code = ui_error(&err);
        goto done;
    }
    o.passphrase = pass.text ? &pass : NULL;
    code = run(&o, html, json, quiet);
    cli_passphrase_clear(&pass);
done:
    amg_free(aux.items);
    return code;
}
