/* The report in words: what all findings together say, and figures as text. Consumes a
 * report, writes into the caller's buffers; knows no form of output. */
#include "audit/report.h"

#include <math.h>
#include <string.h>

void amg_audit_report_clear(amg_audit_report *report)
{
    amg_findings_clear(&report->findings);
    *report = (amg_audit_report){.original = -1};
}

amg_verdict amg_audit_verdict(const amg_audit_report *report)
{
    bool passed = false, reported = false;
    if (report->num_failed) return AMG_VERDICT_FAIL;
    for (int i = 0; i < report->findings.count; i++) {
        passed |= report->findings.items[i].verdict == AMG_VERDICT_PASS;
        reported |= report->findings.items[i].verdict == AMG_VERDICT_REPORT;
    }
    return passed     ? AMG_VERDICT_PASS
           : reported ? AMG_VERDICT_REPORT
                      : AMG_VERDICT_SKIPPED;
}

static bool names_original(const amg_audit_report *report, const amg_finding *f)
{
    return report->original >= 0 && f->guess == report->original;
}

bool amg_audit_identified(const amg_audit_report *report)
{
    for (int i = 0; i < report->findings.count; i++) {
        const amg_finding *f = &report->findings.items[i];
        if (f->verdict == AMG_VERDICT_FAIL && names_original(report, f)) return true;
    }
    return false;
}

/* "corr, naturalness and c2st": attacks with findings of this verdict; with naming,
 * only where they name the original. */
static void list_attacks(const amg_audit_report *report, amg_verdict verdict,
                         bool naming, char *out, size_t size)
{
    const char *names[AMG_MAX_ATTACKS];
    int num_names = 0;
    for (int i = 0; i < report->findings.count; i++) {
        const amg_finding *f = &report->findings.items[i];
        bool listed = f->verdict != verdict || (naming && !names_original(report, f));
        for (int j = 0; j < num_names; j++) listed |= !strcmp(names[j], f->attack);
        if (!listed && num_names < AMG_MAX_ATTACKS) names[num_names++] = f->attack;
    }
    size_t n = 0;
    out[0] = 0;
    for (int i = 0; i < num_names && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, "%s%s",
                              !i                   ? ""
                              : i == num_names - 1 ? " and "
                                                   : ", ",
                              names[i]);
}

const char *amg_audit_sentence(const amg_audit_report *report,
                               char out[AMG_AUDIT_SENTENCE])
{
    char names[160];
    const int n = report->num_streams;
    const char *text = NULL;
    switch (amg_audit_verdict(report)) {
    case AMG_VERDICT_FAIL:
        list_attacks(report, AMG_VERDICT_FAIL, amg_audit_identified(report), names,
                     sizeof names);
        snprintf(out, AMG_AUDIT_SENTENCE,
                 amg_audit_identified(report)
                     ? "Identified: %s picked your network out of %d candidates."
                     : "Told apart: %s found a difference between yours and the rest "
                       "(%d candidates).",
                 names, n);
        return out;
    case AMG_VERDICT_PASS:
        /* A guess that nothing scores may be luck, or be right every time: it is said.
         */
        list_attacks(report, AMG_VERDICT_REPORT, true, names, sizeof names);
        snprintf(
            out, AMG_AUDIT_SENTENCE,
            "At chance in all that was scored: a guess is right 1 time in %d.%s%s%s", n,
            names[0] ? " But unscored guesses name yours: " : "", names,
            names[0] ? "." : "");
        return out;
    case AMG_VERDICT_REPORT:
        text = report->original < 0
                   ? "Not scored: without the key nobody can say which guess is right."
                   : "Not scored: the attacks that were run have nothing to pass.";
        break;
    case AMG_VERDICT_SKIPPED:
        text = "Nothing was measured: no attack that was run applies to this job.";
        break;
    }
    snprintf(out, AMG_AUDIT_SENTENCE, "%s", text);
    return out;
}

const char *amg_audit_number(double value, char out[AMG_AUDIT_FIGURE])
{
    out[0] = 0;
    if (isnan(value)) return out;
    const double size = fabs(value);
    snprintf(out, AMG_AUDIT_FIGURE,
             size < 10    ? "%.3f"
             : size < 1e4 ? "%.1f"
                          : "%.3g",
             value);
    return out;
}

const char *amg_audit_figure(const amg_finding *f, char out[AMG_AUDIT_FIGURE])
{
    char value[AMG_AUDIT_FIGURE], low[AMG_AUDIT_FIGURE], high[AMG_AUDIT_FIGURE];
    const bool counted = f->value == floor(f->value) && fabs(f->value) < 1e9;
    const bool guessed = f->verdict == AMG_VERDICT_REPORT && f->guess >= 0;
    amg_audit_number(f->value, value);
    if (!isnan(f->low) && !isnan(f->high)) {
        snprintf(out, AMG_AUDIT_FIGURE, "%.16s [%.16s, %.16s]", value,
                 amg_audit_number(f->low, low), amg_audit_number(f->high, high));
        return out;
    }
    int n = counted ? snprintf(out, AMG_AUDIT_FIGURE, "%.0f", f->value)
                    : snprintf(out, AMG_AUDIT_FIGURE, "%.16s", value);
    if (guessed)
        snprintf(out + n, (size_t)(AMG_AUDIT_FIGURE - n), "%sguess: %d", n ? ", " : "",
                 f->guess);
    return out;
}

bool amg_audit_is_check(const amg_finding *f)
{
    return f->verdict == AMG_VERDICT_PASS && f->value == 0 && isnan(f->chance) &&
           isnan(f->low);
}

int amg_audit_count_checks(const amg_audit_report *report, int i)
{
    const amg_finding *items = report->findings.items;
    int n = 0;
    if (!amg_audit_is_check(&items[i])) return 0;
    for (int j = 0; j < report->findings.count; j++) {
        if (strcmp(items[j].attack, items[i].attack) || !amg_audit_is_check(&items[j]))
            continue;
        if (j < i) return 0;
        n++;
    }
    return n;
}
