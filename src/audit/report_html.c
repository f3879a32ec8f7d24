/* The report as one page for the owner of the data: verdict, pictures, attacks, loss
 * curves, what cannot be hidden, how it was measured. Self-contained: pictures are data
 * URIs, curves are SVG, there is no script. Every text is escaped, since findings quote
 * names and metrics.jsonl comes from the cloud. Consumes a report, writes one file. */
#include "audit/report.h"

#include <math.h>
#include <sodium.h>
#include <string.h>

#include "audit/pictures.h"
#include "base/alloc.h"
#include "base/file.h"
#include "formats/image.h"

void amg_html_text(FILE *to, const char *text)
{
    for (const char *c = text; *c; c++) {
        switch (*c) {
        case '&': fputs("&amp;", to); break;
        case '<': fputs("&lt;", to); break;
        case '>': fputs("&gt;", to); break;
        case '"': fputs("&quot;", to); break;
        case '\'': fputs("&#39;", to); break;
        default: fputc((unsigned char)*c < 0x20 || *c == 0x7f ? '?' : *c, to);
        }
    }
}

static const char *verdict_class(amg_verdict v)
{
    static const char *const classes[] = {"pass", "fail", "report", "skipped"};
    return classes[v];
}

/* ---- verdict ---- */

static const char *meaning(const amg_audit_report *r)
{
    switch (amg_audit_verdict(r)) {
    case AMG_VERDICT_PASS:
        return "The attacks that can be scored did not find what is yours more often "
               "than guessing would. Read the reported findings, too: a guess there "
               "that names yours may be luck, or be right every time. This is no "
               "proof: an attack that is not in the list, more samples, or one sample "
               "that the cloud knows already may find it.";
    case AMG_VERDICT_FAIL:
        return amg_audit_identified(r)
                   ? "Whoever holds this job can tell which candidate is yours, and "
                     "then has your samples, your network and its weights. Do not "
                     "upload it; the findings marked FAIL say what gave it away."
                   : "Something in this job differs between what is yours and what is "
                     "not, more than chance explains, and leads to your samples. Do "
                     "not upload it before the findings marked FAIL are mended.";
    case AMG_VERDICT_REPORT:
        return r->original < 0
                   ? "The table holds what somebody without your key would guess. Run "
                     "the audit with --key to learn whether the guesses are right."
                   : "The attacks that were run show something that cannot be hidden, "
                     "or could not be compared with chance. Run all of them before "
                     "you upload the job.";
    case AMG_VERDICT_SKIPPED: break;
    }
    return "The table says what each attack needs. Nothing is known about this job.";
}

static void write_verdict(FILE *to, const amg_audit_report *r)
{
    char sentence[AMG_AUDIT_SENTENCE];
    fprintf(to, "<header class=\"verdict %s\">\n<h1>",
            verdict_class(amg_audit_verdict(r)));
    amg_html_text(to, amg_audit_sentence(r, sentence));
    fputs("</h1>\n<p>", to);
    amg_html_text(to, meaning(r));
    fputs("</p>\n</header>\n", to);
    if (r->original >= 0)
        fputs("<p class=\"soft\">This page shows your data and says which candidate is "
              "yours: keep it where the key is.</p>\n",
              to);
}

/* ---- pictures ---- */

static amg_status write_image(FILE *to, const amg_picture *p, amg_error *err)
{
    uint8_t *png = NULL;
    size_t size = 0;
    amg_status st = amg_image_encode_png(&p->image, p->title, &png, &size, err);
    if (st) return st;
    const size_t room = sodium_base64_ENCODED_LEN(size, sodium_base64_VARIANT_ORIGINAL);
    char *text = amg_malloc(room);
    if (text) {
        sodium_bin2base64(text, room, png, size, sodium_base64_VARIANT_ORIGINAL);
        fprintf(to, "<img alt=\"\" src=\"data:image/png;base64,%s\">\n", text);
    } else {
        st = amg_fail(err, AMG_NO_MEMORY, -1, p->title, "no memory for a picture");
    }
    amg_free(text);
    amg_free(png);
    return st;
}

static bool is_first_picture(const amg_picture *p)
{
    return p->title == amg_picture_sample || p->title == amg_picture_row ||
           p->title == amg_picture_candidate;
}

/* What an attack made that is most like the owner's sample; NULL if nothing is. */
static const amg_picture *best_reconstruction(const amg_findings *f)
{
    const amg_picture *best = NULL;
    for (int i = 0; i < f->num_pictures; i++) {
        const amg_picture *p = &f->pictures[i];
        if (is_first_picture(p) || isnan(p->ssim)) continue;
        if (!best || p->ssim > best->ssim) best = p;
    }
    return best;
}

static void write_caption(FILE *to, const amg_audit_report *r, const amg_picture *p)
{
    amg_html_text(to, p->title);
    if (p->title == amg_picture_candidate)
        fprintf(to, " %d%s", p->stream, p->stream == r->original ? ", yours" : "");
    else if (p->stream >= 0)
        fprintf(to, " (candidate %d)", p->stream);
    if (p == best_reconstruction(&r->findings)) fputs(": the best reconstruction", to);
    if (!isnan(p->ssim)) fprintf(to, "<br>SSIM %.2f", p->ssim);
}

static amg_status write_pictures(FILE *to, const amg_audit_report *r, amg_error *err)
{
    const amg_findings *f = &r->findings;
    amg_status st = AMG_OK;
    fputs("<section>\n<h2>What the cloud sees</h2>\n", to);
    if (!f->num_pictures) {
        fputs("<p>No pictures: samples are no images.</p>\n</section>\n", to);
        return AMG_OK;
    }
    fprintf(to,
            "<p>One sample. The model's first step picks each of the %d candidates out "
            "of what the cloud is sent, so the cloud can do it, too.",
            r->num_streams);
    if (r->original >= 0)
        fputs(" SSIM is the likeness to your sample: 1 is the same picture.", to);
    fputs("</p>\n<div class=\"pictures\">\n", to);
    for (int i = 0; i < f->num_pictures && !st; i++) {
        const amg_picture *p = &f->pictures[i];
        const bool own = p->title == amg_picture_sample ||
                         (p->stream >= 0 && p->stream == r->original);
        fprintf(to, "<figure%s>\n", own ? " class=\"own\"" : "");
        st = write_image(to, p, err);
        fputs("<figcaption>", to);
        write_caption(to, r, p);
        fputs("</figcaption>\n</figure>\n", to);
    }
    fputs("</div>\n</section>\n", to);
    return st;
}

/* ---- attacks ---- */

/* Checks that found nothing, folded up: finding first and those of its attack after. */
static void write_checks(FILE *to, const amg_findings *f, int first, int count)
{
    fputs("<tr class=\"pass\">\n<th scope=\"row\">", to);
    amg_html_text(to, f->items[first].attack);
    fprintf(to,
            "</th>\n<td class=\"figure\" data-label=\"figure\">0</td>\n<td "
            "class=\"chance\" data-label=\"chance\"></td>\n<td class=\"word\">%s</td>\n"
            "<td><details><summary>%d check%s that found nothing</summary><ul>\n",
            amg_verdict_name(AMG_VERDICT_PASS), count, count == 1 ? "" : "s");
    for (int i = first; i < f->count; i++) {
        const amg_finding *check = &f->items[i];
        if (strcmp(check->attack, f->items[first].attack) || !amg_audit_is_check(check))
            continue;
        fputs("<li><span class=\"metric\">", to);
        amg_html_text(to, check->metric);
        fputs("</span>", to);
        amg_html_text(to, check->text);
        fputs("</li>\n", to);
    }
    fputs("</ul></details></td>\n</tr>\n", to);
}

static void write_finding(FILE *to, const amg_finding *f)
{
    char text[AMG_AUDIT_FIGURE];
    fprintf(to, "<tr class=\"%s\">\n<th scope=\"row\">", verdict_class(f->verdict));
    amg_html_text(to, f->attack);
    fputs("<span class=\"metric\">", to);
    amg_html_text(to, f->metric);
    fputs("</span></th>\n<td class=\"figure\" data-label=\"figure\">", to);
    amg_html_text(to, amg_audit_figure(f, text));
    amg_svg_figure(to, f);
    fputs("</td>\n<td class=\"chance\" data-label=\"chance\">", to);
    amg_html_text(to, amg_audit_number(f->chance, text));
    fputs("</td>\n<td class=\"word\">", to);
    amg_html_text(to, amg_verdict_name(f->verdict));
    fputs("</td>\n<td>", to);
    amg_html_text(to, f->text);
    fputs("</td>\n</tr>\n", to);
}

static void write_attacks(FILE *to, const amg_audit_report *r)
{
    fputs("<section>\n<h2>Attacks</h2>\n<p>Each figure stands beside the one that pure "
          "guessing would give, with the interval in which it lies 95 times in 100. A "
          "finding fails if that interval misses the green range; what has no range is "
          "only reported. Candidates (streams) are numbered in the order of the job's "
          "heads, from 0.</p>\n"
          "<table>\n<thead><tr><th>attack</th><th>figure</th><th>chance</th>"
          "<th>verdict</th><th>what it means</th></tr></thead>\n<tbody>\n",
          to);
    for (int i = 0; i < r->findings.count; i++) {
        const amg_finding *f = &r->findings.items[i];
        const int checks = amg_audit_count_checks(r, i);
        if (checks) write_checks(to, &r->findings, i, checks);
        if (!amg_audit_is_check(f)) write_finding(to, f);
    }
    fputs("</tbody>\n</table>\n</section>\n", to);
}

/* ---- loss curves ---- */

static void draw_curves(FILE *to, const amg_curves *c, int original)
{
    const amg_curve *train = &c->kinds[AMG_CURVE_STEPS];
    if (train->count < 2) train = &c->kinds[AMG_CURVE_EPOCHS];
    const amg_curve *validation = &c->kinds[AMG_CURVE_VALIDATION];
    if (train->count < 2 && validation->count < 2) {
        fputs("<p>The training was too short to draw.</p>\n", to);
        return;
    }
    fprintf(to, "<p>The cloud has these for every candidate.%s</p>\n",
            original < 0 ? ""
                         : " The thick line is yours; it should not stand out "
                           "among the thin ones.");
    fputs("<div class=\"plots\">\n", to);
    amg_svg_curve(to, train, c->num_heads, original, "Training loss");
    amg_svg_curve(to, validation, c->num_heads, original, "Validation loss");
    fputs("</div>\n", to);
}

/* A file that cannot be read is told on the page: the audit itself did not need it. */
static amg_status write_curves(FILE *to, const amg_audit_report *r, const char *job,
                               amg_error *err)
{
    amg_curves curves = {0};
    amg_error why = {0};
    const amg_status st = amg_curves_read(job, r->num_streams, &curves, &why);
    if (st == AMG_NO_MEMORY) {
        if (err) *err = why;
        return st;
    }
    fputs("<section>\n<h2>Loss curves</h2>\n", to);
    if (st == AMG_NOT_FOUND) {
        fputs("<p>The job has not been trained: there is no out/metrics.jsonl.</p>\n",
              to);
    } else if (st) {
        fputs("<p>out/metrics.jsonl cannot be drawn: ", to);
        amg_html_text(to, why.what);
        fputs(".</p>\n", to);
    } else {
        draw_curves(to, &curves, r->original);
    }
    fputs("</section>\n", to);
    amg_curves_clear(&curves);
    return AMG_OK;
}

/* ---- what holds for every job ---- */

static void write_limits(FILE *to, const amg_audit_report *r)
{
    fprintf(to,
            "<section>\n<h2>What cannot be hidden</h2>\n<ul>\n"
            "<li>This is obfuscation. It is no encryption and no differential "
            "privacy.</li>\n"
            "<li>Every sample of yours lies in the job in clear, as one of %d "
            "candidates, for everybody who holds the data.</li>\n"
            "<li>One right guess opens everything: all samples, the network and its "
            "weights.</li>\n"
            "<li>Whoever knows one of your samples, your field, or where the covers "
            "come from finds yours at once.</li>\n"
            "<li>Not hidden at all: how many samples there are and how large, the "
            "number of classes, how it is trained, and every loss and accuracy.</li>\n"
            "<li>Covers that differ slightly from your data are found as the number of "
            "samples grows.</li>\n",
            r->num_streams);
    if (r->paper_mode)
        fputs("<li>This job hides samples in noise (paper mode). Noise of any "
              "kind is undone from a few hundred samples, and the model says at once "
              "which candidate is no noise.</li>\n",
              to);
    fputs("<li>A passing audit is no proof.</li>\n</ul>\n</section>\n", to);
}

static void write_method(FILE *to, const amg_audit_report *r,
                         const amg_audit_options *options)
{
    fprintf(to,
            "<section>\n<h2>How this was measured</h2>\n<dl>\n"
            "<dt>samples</dt><dd>%lld of %lld</dd>\n"
            "<dt>candidates</dt><dd>%d</dd>\n"
            "<dt>scored with the key</dt><dd>%s</dd>\n"
            "<dt>time</dt><dd>%.1f s",
            (long long)r->num_rows, (long long)r->total_rows, r->num_streams,
            r->original < 0 ? "no" : "yes", r->seconds);
    for (int i = 0; i < r->num_times; i++) {
        fputs(i ? ", " : ": ", to);
        amg_html_text(to, r->times[i].attack);
        fprintf(to, " %.1f", r->times[i].seconds);
    }
    fprintf(to,
            "</dd>\n<dt>memory at most</dt><dd>%.2f GB</dd>\n"
            "<dt>seed</dt><dd>%llu</dd>\n"
            "<dt>version</dt><dd>amalgam %s</dd>\n</dl>\n</section>\n",
            1e-9 * (double)r->peak_bytes, (unsigned long long)options->seed,
            AMG_VERSION);
}

static amg_status write_page(FILE *to, const amg_audit_report *r,
                             const amg_audit_options *options, amg_error *err)
{
    fprintf(to,
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
            "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src "
            "'none'; style-src 'unsafe-inline'; img-src data:\">\n"
            "<title>Amalgam audit</title>\n<style>\n%s</style>\n</head>\n<body>\n"
            "<main>\n",
            amg_html_style);
    write_verdict(to, r);
    amg_status st = write_pictures(to, r, err);
    write_attacks(to, r);
    if (!st) st = write_curves(to, r, options->job, err);
    write_limits(to, r);
    write_method(to, r, options);
    fputs("</main>\n</body>\n</html>\n", to);
    return st;
}

amg_status amg_audit_check_page(const char *path, const char *job, amg_error *err)
{
    bool inside;
    amg_status st = amg_path_inside(path, job, &inside, err);
    if (st || !inside) return st;
    amg_fail(err, AMG_UNSAFE_PATH, -1, path,
             "the report must not lie in the job folder");
    amg_hint(err, "the job goes to the cloud, what the audit found does not");
    return AMG_UNSAFE_PATH;
}

amg_status amg_audit_write_html(const amg_audit_report *report,
                                const amg_audit_options *options, const char *path,
                                amg_error *err)
{
    amg_outfile file = {0};
    amg_status st = amg_audit_check_page(path, options->job, err);
    if (!st) st = amg_outfile_open(path, 0600, false, &file, err);
    if (!st) st = write_page(file.stream, report, options, err);
    if (!st) st = amg_outfile_commit(&file, false, err);
    amg_outfile_abort(&file);
    return st;
}
