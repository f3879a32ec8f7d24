/* The report as JSON (docs/audit.md has the schema): members in a fixed order, numbers
 * that there are none of left out. Which stream is the original's is never written. */
#include "audit/report.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"

#define SCHEMA_VERSION 1
#define DIGITS 6 /* of a figure; its interval is wider than any rounding */

/* Texts may quote names of files, which need not be UTF-8. */
static json_t *text_json(const char *text)
{
    json_t *value = json_string(text);
    char *copy = value ? NULL : amg_strdup(text);
    if (!copy) return value;
    for (char *c = copy; *c; c++)
        if ((unsigned char)*c >= 0x80) *c = '?';
    value = json_string(copy);
    amg_free(copy);
    return value;
}

/* NULL, which json_pack's "o*" leaves out. */
static json_t *number_json(double v) { return isfinite(v) ? json_real(v) : NULL; }

static json_t *finding_json(const amg_finding *f)
{
    return json_pack("{s:s, s:o*, s:o*, s:o*, s:o*, s:o*, s:o*, s:o*, s:o*, s:s, s:o}",
                     "attack", f->attack, "metric",
                     f->metric[0] ? json_string(f->metric) : NULL, "value",
                     number_json(f->value), "low", number_json(f->low), "high",
                     number_json(f->high), "chance", number_json(f->chance), "pass_low",
                     number_json(f->pass_low), "pass_high", number_json(f->pass_high),
                     "guess", f->guess >= 0 ? json_integer(f->guess) : NULL, "verdict",
                     amg_verdict_name(f->verdict), "text", text_json(f->text));
}

static json_t *findings_json(const amg_findings *f)
{
    json_t *array = json_array();
    for (int i = 0; i < f->count; i++)
        if (json_array_append_new(array, finding_json(&f->items[i]))) {
            json_decref(array);
            return NULL;
        }
    return array;
}

static json_t *times_json(const amg_audit_report *report)
{
    json_t *times = json_object();
    for (int i = 0; i < report->num_times; i++)
        if (json_object_set_new(times, report->times[i].attack,
                                json_real(report->times[i].seconds))) {
            json_decref(times);
            return NULL;
        }
    return times;
}

amg_status amg_audit_json(const amg_audit_report *report, char **out, amg_error *err)
{
    char sentence[AMG_AUDIT_SENTENCE];
    json_t *root = json_pack(
        "{s:i, s:s, s:s, s:s, s:b, s:i, s:b, s:I, s:I, s:f, s:I, s:i, s:o, s:o}",
        "version", SCHEMA_VERSION, "amalgam", AMG_VERSION, "verdict",
        amg_verdict_name(amg_audit_verdict(report)), "sentence",
        amg_audit_sentence(report, sentence), "scored", report->original >= 0,
        "candidates", report->num_streams, "paper_mode", report->paper_mode, "rows",
        (json_int_t)report->num_rows, "total_rows", (json_int_t)report->total_rows,
        "seconds", report->seconds, "peak_bytes", (json_int_t)report->peak_bytes,
        "failed", report->num_failed, "findings", findings_json(&report->findings),
        "attack_seconds", times_json(report));
    char *text =
        root ? json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(DIGITS)) : NULL;
    const size_t length = text ? strlen(text) : 0;
    char *copy = text ? amg_malloc(length + 2) : NULL;
    json_decref(root);
    if (copy) {
        memcpy(copy, text, length);
        memcpy(copy + length, "\n", 2);
    }
    free(text); /* jansson's own allocator */
    if (!copy)
        return amg_fail(err, AMG_NO_MEMORY, -1, "audit", "no memory for the report");
    *out = copy;
    return AMG_OK;
}

amg_status amg_audit_write_json(const amg_audit_report *report, const char *path,
                                amg_error *err)
{
    char *text = NULL;
    amg_status st = amg_audit_json(report, &text, err);
    if (!st) st = amg_file_write(path, 0600, false, text, strlen(text), err);
    amg_free(text);
    return st;
}
