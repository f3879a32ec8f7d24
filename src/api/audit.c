/* amalgam_audit: the audit of a job folder, as a report in JSON and, if asked, a page.
 * Consumes JSON options; what is measured is src/audit's business. */
#include <string.h>

#include "api/api.h"
#include "api/options.h"
#include "audit/report.h"

enum { MAX_AUX = 64 };

typedef struct {
    amg_audit_options audit;
    const char *aux[MAX_AUX];
    const char *html;
} request;

/* The program's options, defaults and ranges (cli/verb_audit.c). Strings live in doc.
 */
static amg_status read_options(const char *text, request *r, amg_json *doc,
                               amg_error *err)
{
    amg_audit_options *o = &r->audit;
    int64_t secrets = 0, seed = 0;
    const api_option table[] = {
        {"key", API_STRING, &o->key},
        {"attacks", API_STRING, &o->attacks},
        {"aux", API_STRINGS, r->aux, .max_count = MAX_AUX, .count = &o->num_lookup},
        {"source", API_STRING, &o->source},
        {"secrets", API_INT, &secrets, 2, 100000},
        {"other", API_STRING, &o->other},
        {"rows", API_INT, &o->max_rows, 1, 1e9},
        {"seed", API_INT, &seed, 0, 9e15},
        {"max_id", API_REAL, &o->max_identification, 1e-6, 1},
        {"html", API_STRING, &r->html},
    };
    const amg_status st =
        api_options_read(text, table, sizeof table / sizeof *table, doc, err);
    if (st) return st;
    o->lookup = r->aux;
    o->secrets = (int)secrets;
    o->seed = (uint64_t)seed;
    return AMG_OK;
}

static amg_status check(const request *r, amg_error *err)
{
    const amg_audit_options *o = &r->audit;
    if (o->max_identification > 0 && !o->key)
        return amg_fail(err, AMG_INVALID, -1, "options",
                        "\"max_id\" needs \"key\": without it no guess is right or "
                        "wrong");
    if (r->html && o->key && !strcmp(r->html, o->key))
        return amg_fail(err, AMG_INVALID, -1, r->html,
                        "would be written and is also the key");
    return r->html ? amg_audit_check_page(r->html, o->job, err) : AMG_OK;
}

amg_status amalgam_audit(const char *job, const char *options, const char *passphrase,
                         const amg_progress *progress, char **result, amg_error *err)
{
    request r = {.audit = {.job = job}};
    amg_json doc;
    amg_passphrase pass = {0};
    amg_audit_report report = {0};
    amg_status st = read_options(options, &r, &doc, err);
    if (st) return st;
    st = check(&r, err);
    if (!st) st = api_passphrase_init(passphrase, &pass, err);
    r.audit.passphrase = pass.text ? &pass : NULL;
    if (!st) st = amg_audit_run(&r.audit, progress, &report, err);
    if (!st && r.html) st = amg_audit_write_html(&report, &r.audit, r.html, err);
    if (!st) st = amg_audit_json(&report, result, err);
    amg_audit_report_clear(&report);
    api_passphrase_clear(&pass);
    amg_json_clear(&doc);
    return st;
}
