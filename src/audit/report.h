/* What the forms of the report share: the verdict on the whole, its sentence, figures
 * as text, and the pieces of the page. */
#ifndef AMG_AUDIT_REPORT_H
#define AMG_AUDIT_REPORT_H

#include <stdio.h>

#include "audit/audit.h"
#include "audit/curves.h"

#define AMG_AUDIT_FIGURE 64
#define AMG_AUDIT_SENTENCE 320

/* FAIL if a finding failed; else PASS if one passed; else REPORT if one was reported;
 * else SKIPPED: nothing was measured. */
amg_verdict amg_audit_verdict(const amg_audit_report *report);
/* A failed finding that names the original's stream: the attacker knows which it is. */
bool amg_audit_identified(const amg_audit_report *report);
/* "At chance: …", "Told apart: …", "Identified: …"; returns out. */
const char *amg_audit_sentence(const amg_audit_report *report,
                               char out[AMG_AUDIT_SENTENCE]);
/* "0.523"; "" for NaN. Returns out. */
const char *amg_audit_number(double value, char out[AMG_AUDIT_FIGURE]);
/* "0.523 [0.481, 0.566]", "4" of what was counted, and what an attacker would name
 * where nothing passes or fails: "guess: 2". Returns out. */
const char *amg_audit_figure(const amg_finding *f, char out[AMG_AUDIT_FIGURE]);
/* A check that found nothing: passed with 0, no chance and no interval beside it. */
bool amg_audit_is_check(const amg_finding *f);
/* Finding i is the first such check of its attack: how many it has; else 0. They are
 * shown together. */
int amg_audit_count_checks(const amg_audit_report *report, int i);

/* The page's style sheet. */
extern const char amg_html_style[];
/* Whether a page may be written there: not inside the job, into a folder that exists.
 */
AMG_MUST_CHECK amg_status amg_audit_check_page(const char *path, const char *job,
                                               amg_error *err);
/* text with what HTML gives a meaning replaced, and control characters by '?'. */
void amg_html_text(FILE *to, const char *text);
/* One kind of loss as a line for each head, the original's before the others' (-1: not
 * known). Nothing if there are fewer than two points. */
void amg_svg_curve(FILE *to, const amg_curve *curve, int num_heads, int original,
                   const char *title);
/* Where a figure and its interval lie between 0 and 1, beside chance and the range that
 * passes. Nothing if it is no share. */
void amg_svg_figure(FILE *to, const amg_finding *f);

#endif
