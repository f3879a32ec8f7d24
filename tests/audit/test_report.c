/* report*.c on a report made by hand: the verdict in words, JSON that others can read,
 * and a page that shows what it should, keeps to itself and lets no text through as
 * markup. */
#include "../formats/fixture.h"

#include <jansson.h>
#include <math.h>
#include <sodium.h>
#include <sys/stat.h>

#include "audit/pictures.h"
#include "audit/report.h"
#include "formats/image.h"

#define HOSTILE "<script>alert(\"x\")</script> & 'y' \x1b[2J"

enum { STREAMS = 3, ORIGINAL = 1, SIDE = 5 };

static void add(amg_audit_report *r, const char *attack, double value, double low,
                double high, double pass_high, int guess, const char *text)
{
    amg_finding f = amg_finding_new(attack, "rate of \"hits\"");
    f.value = value;
    f.low = low;
    f.high = high;
    f.chance = isnan(value) ? NAN : 0.25;
    f.pass_low = isnan(pass_high) ? NAN : 0;
    f.pass_high = pass_high;
    f.guess = guess;
    assert_ok(amg_findings_add(&r->findings, &f, &err, "%s", text));
    r->num_failed +=
        r->findings.items[r->findings.count - 1].verdict == AMG_VERDICT_FAIL;
}

static amg_audit_report empty_report(void)
{
    return (amg_audit_report){.num_streams = STREAMS,
                              .original = ORIGINAL,
                              .num_rows = 1000,
                              .total_rows = 60000,
                              .num_times = 1,
                              .times = {{"corr", 1.5}},
                              .seconds = 2.25,
                              .peak_bytes = 123456789};
}

static void add_picture(amg_audit_report *r, const char *title, int stream, double ssim)
{
    const int64_t dims[3] = {1, SIDE, SIDE};
    amg_picture p = {.title = title, .stream = stream, .ssim = ssim};
    assert_ok(amg_tensor_new(AMG_U8, 3, dims, &p.image, &err));
    for (int i = 0; i < SIDE * SIDE; i++)
        ((uint8_t *)p.image.data)[i] = (uint8_t)(10 * i + stream);
    assert_ok(amg_findings_add_picture(&r->findings, &p, &err));
}

/* One of each verdict, texts that mean something to HTML. */
static amg_audit_report full_report(void)
{
    amg_audit_report r = empty_report();
    add(&r, "corr", 0.998, 0.996, 1, 0.6, -1, "It " HOSTILE);
    add(&r, "naturalness", 0.25, 0.2, 0.3, 0.25, 0, "fine");
    add(&r, "cluster", NAN, NAN, NAN, NAN, 2, "a guess");
    add(&r, "graph", INFINITY, NAN, NAN, NAN, -1, "not finite, \xff no UTF-8");
    assert_ok(amg_findings_skip(&r.findings, "reupload", &err, "needs %s", "--other"));
    add_picture(&r, amg_picture_sample, -1, NAN);
    for (int s = 0; s < STREAMS; s++)
        add_picture(&r, amg_picture_candidate, s, s == ORIGINAL ? 1 : 0.125);
    add_picture(&r, "By correlation " HOSTILE, -1, 0.5);
    add_picture(&r, "Another try", 2, 0.75);
    return r;
}

/* ---- words ---- */

static void expect_sentence(const amg_audit_report *r, amg_verdict verdict,
                            const char *expected)
{
    char sentence[AMG_AUDIT_SENTENCE];
    assert_int_equal(amg_audit_verdict(r), verdict);
    assert_string_equal(amg_audit_sentence(r, sentence), expected);
}

static void the_verdict_follows_the_findings(void **state)
{
    (void)state;
    amg_audit_report r = empty_report();
    assert_ok(amg_findings_skip(&r.findings, "corr", &err, "needs images"));
    expect_sentence(
        &r, AMG_VERDICT_SKIPPED,
        "Nothing was measured: no attack that was run applies to this job.");
    add(&r, "cluster", 3, NAN, NAN, NAN, -1, "");
    expect_sentence(&r, AMG_VERDICT_REPORT,
                    "Not scored: the attacks that were run have nothing to pass.");
    r.original = -1;
    expect_sentence(&r, AMG_VERDICT_REPORT,
                    "Not scored: without the key nobody can say which guess is right.");
    r.original = ORIGINAL;
    add(&r, "c2st", 0.25, 0.2, 0.3, 0.25, ORIGINAL, "");
    expect_sentence(&r, AMG_VERDICT_PASS,
                    "At chance in all that was scored: a guess is right 1 time in 3.");
    add(&r, "training", NAN, NAN, NAN, NAN, ORIGINAL + 1, "a wrong guess");
    add(&r, "graph", 1, NAN, NAN, NAN, ORIGINAL, "the only textbook network");
    expect_sentence(&r, AMG_VERDICT_PASS,
                    "At chance in all that was scored: a guess is right 1 time in 3. "
                    "But unscored guesses name yours: graph.");
    add(&r, "corr", 1, 0.9, 1, 0.6, -1, "");
    add(&r, "corr", 1, 0.9, 1, 0.6, -1, "");
    add(&r, "c2st", 1, 0.9, 1, 0.6, ORIGINAL + 1, "");
    assert_false(amg_audit_identified(&r));
    expect_sentence(&r, AMG_VERDICT_FAIL,
                    "Told apart: corr and c2st found a difference between yours and "
                    "the rest (3 candidates).");
    add(&r, "shadow", 1, 0.9, 1, 0.3, ORIGINAL, "");
    expect_sentence(&r, AMG_VERDICT_FAIL,
                    "Identified: shadow picked your network out of 3 candidates.");
    amg_audit_report_clear(&r);
}

static void figures_are_short(void **state)
{
    (void)state;
    char out[AMG_AUDIT_FIGURE];
    amg_finding f = amg_finding_new("a", "m");
    assert_string_equal(amg_audit_figure(&f, out), "");
    f.value = 4;
    assert_string_equal(amg_audit_figure(&f, out), "4");
    f.value = 4.5;
    f.guess = 2;
    assert_string_equal(amg_audit_figure(&f, out), "4.500, guess: 2");
    f.verdict = AMG_VERDICT_PASS;
    assert_string_equal(amg_audit_figure(&f, out), "4.500");
    f.verdict = AMG_VERDICT_REPORT;
    f.value = NAN;
    assert_string_equal(amg_audit_figure(&f, out), "guess: 2");
    f.value = 0.5234;
    f.guess = -1;
    assert_string_equal(amg_audit_figure(&f, out), "0.523");
    f.low = 0.4806;
    f.high = 0.5662;
    assert_string_equal(amg_audit_figure(&f, out), "0.523 [0.481, 0.566]");
    assert_string_equal(amg_audit_number(12.34, out), "12.3");
    assert_string_equal(amg_audit_number(1234567, out), "1.23e+06");
    assert_string_equal(amg_audit_number(NAN, out), "");
}

static void checks_that_found_nothing_are_told_together(void **state)
{
    (void)state;
    amg_audit_report r = empty_report();
    add(&r, "graph", 1, NAN, NAN, NAN, -1, "reported");
    for (int i = 0; i < 5; i++) {
        amg_finding f = amg_finding_new(i == 3 ? "lookup" : "graph", "names");
        f.value = i == 2; /* fails */
        f.pass_low = f.pass_high = 0;
        assert_ok(amg_findings_add(&r.findings, &f, &err, "check %d", i));
    }
    static const int counts[] = {0, 3, 0, 0, 1, 0};
    for (int i = 0; i < 6; i++)
        assert_int_equal(amg_audit_count_checks(&r, i), counts[i]);
    amg_audit_report_clear(&r);
}

/* ---- JSON ---- */

static void json_has_its_members_in_order_and_no_original(void **state)
{
    (void)state;
    amg_audit_report r = full_report();
    char *text = NULL;
    assert_ok(amg_audit_json(&r, &text, &err));
    static const char *const members[] = {
        "version",    "amalgam",    "verdict",  "sentence",      "scored",
        "candidates", "paper_mode", "rows",     "total_rows",    "seconds",
        "peak_bytes", "failed",     "findings", "attack_seconds"};
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    assert_int_equal(json_object_size(root), sizeof members / sizeof *members);
    const char *key;
    json_t *value;
    size_t i = 0;
    json_object_foreach(root, key, value) assert_string_equal(key, members[i++]);
    assert_string_equal(json_string_value(json_object_get(root, "verdict")), "FAIL");
    assert_true(json_is_true(json_object_get(root, "scored")));
    assert_int_equal(json_integer_value(json_object_get(root, "failed")), 1);
    assert_int_equal(text[strlen(text) - 1], '\n');
    assert_null(strstr(text, "original"));
    json_decref(root);
    amg_free(text);
    amg_audit_report_clear(&r);
}

/* Members of finding i of the full report: exactly these, in this order. */
static void expect_members(const json_t *findings, size_t i, const char *expected)
{
    char found[256] = "";
    const char *key;
    json_t *value, *f = json_array_get(findings, i);
    json_object_foreach(f, key, value)
    {
        const size_t n = strlen(found);
        snprintf(found + n, sizeof found - n, "%s ", key);
    }
    assert_string_equal(found, expected);
}

static void json_leaves_out_what_is_no_number(void **state)
{
    (void)state;
    amg_audit_report r = full_report();
    char *text = NULL;
    assert_ok(amg_audit_json(&r, &text, &err));
    json_t *root = json_loads(text, 0, NULL);
    const json_t *findings = json_object_get(root, "findings");
    assert_int_equal(json_array_size(findings), 5);
    expect_members(findings, 0,
                   "attack metric value low high chance pass_low pass_high verdict "
                   "text ");
    expect_members(findings, 1,
                   "attack metric value low high chance pass_low pass_high guess "
                   "verdict text ");
    expect_members(findings, 2, "attack metric guess verdict text ");
    expect_members(findings, 3, "attack metric chance verdict text ");
    expect_members(findings, 4, "attack verdict text ");
    const json_t *corr = json_array_get(findings, 0),
                 *graph = json_array_get(findings, 3);
    assert_string_equal(json_string_value(json_object_get(corr, "text")),
                        "It " HOSTILE);
    assert_true(json_real_value(json_object_get(corr, "low")) == 0.996);
    assert_string_equal(json_string_value(json_object_get(graph, "text")),
                        "not finite, ? no UTF-8");
    json_decref(root);
    amg_free(text);
    amg_audit_report_clear(&r);
}

static void json_is_written_for_its_owner_alone(void **state)
{
    amg_audit_report r = full_report();
    struct stat s;
    amg_map map;
    char *text = NULL;
    const char *path = in_dir(state, "report.json");
    assert_ok(amg_audit_write_json(&r, path, &err));
    assert_ok(amg_audit_json(&r, &text, &err));
    assert_int_equal(stat(path, &s), 0);
    assert_int_equal(s.st_mode & 0777, 0600);
    assert_ok(amg_map_open(path, &map, &err));
    assert_int_equal(map.size, strlen(text));
    assert_memory_equal(map.data, text, map.size);
    amg_map_close(&map);
    amg_free(text);
    amg_audit_report_clear(&r);
}

/* ---- the page ---- */

static char *read_text(const char *path)
{
    amg_map map;
    assert_ok(amg_map_open(path, &map, &err));
    char *text = malloc(map.size + 1);
    memcpy(text, map.data, map.size);
    text[map.size] = 0;
    amg_map_close(&map);
    return text;
}

static int count(const char *text, const char *word)
{
    int n = 0;
    for (; (text = strstr(text, word)); text += strlen(word)) n++;
    return n;
}

/* The page of a report on a job whose metrics.jsonl is this (NULL: none). free() it. */
static char *page_of(void **state, const amg_audit_report *r, const char *metrics)
{
    put_file(state, "job/job.json", "{}", 2);
    if (metrics) put_file(state, "job/out/metrics.jsonl", metrics, strlen(metrics));
    const amg_audit_options o = {.job = in_dir(state, "job")};
    const char *path = in_dir(state, "report.html");
    assert_ok(amg_audit_write_html(r, &o, path, &err));
    return read_text(path);
}

static const char metrics[] =
    "{\"step\":50,\"epoch\":1,\"heads\":[{\"loss\":2.5},{\"loss\":2},{\"loss\":2.2}]}\n"
    "{\"step\":100,\"epoch\":1,\"heads\":[{\"loss\":1.5},{\"loss\":1},{}]}\n"
    "{\"step\":150,\"epoch\":1,\"heads\":[{\"loss\":1},{\"loss\":0.5},{\"loss\":1}]}\n";

static void the_page_needs_nothing_from_elsewhere(void **state)
{
    amg_audit_report r = full_report();
    char *page = page_of(state, &r, metrics);
    assert_int_equal(count(page, "http:") + count(page, "https:"), 0);
    assert_int_equal(count(page, "<script") + count(page, "<link") +
                         count(page, "@import") + count(page, "url("),
                     0);
    assert_int_equal(count(page, "src="), 6);
    assert_int_equal(count(page, "src=\"data:image/png;base64,"), 6);
    assert_non_null(strstr(page, "default-src 'none'"));
    free(page);
    amg_audit_report_clear(&r);
}

static void no_text_becomes_markup(void **state)
{
    amg_audit_report r = full_report();
    char *page = page_of(state, &r, metrics);
    static const char escaped[] = "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; "
                                  "&amp; &#39;y&#39; ?[2J";
    assert_int_equal(count(page, escaped), 2); /* a finding's text, a picture's title */
    assert_int_equal(count(page, "alert"), 2);
    assert_null(strchr(page, '\x1b'));
    assert_non_null(strstr(page, "rate of &quot;hits&quot;"));
    free(page);
    amg_audit_report_clear(&r);
}

static void the_page_shows_every_finding_in_order(void **state)
{
    amg_audit_report r = full_report();
    char *page = page_of(state, &r, NULL);
    static const char *const in_order[] = {
        "<h1>Told apart: corr found",
        "What the cloud sees",
        "Your sample",
        "Candidate 1, yours<br>SSIM 1.00",
        "Candidate 2<br>SSIM 0.12",
        "Another try (candidate 2): the best reconstruction<br>SSIM 0.75",
        "<h2>Attacks</h2>",
        "0.998 [0.996, 1.000]",
        ">FAIL<",
        "0.250 [0.200, 0.300]",
        ">pass<",
        "guess: 2",
        ">report<",
        "needs --other",
        "The job has not been trained",
        "What cannot be hidden",
        "A passing audit is no proof",
        "1000 of 60000",
        "corr 1.5",
        "0.12 GB",
        "version</dt><dd>amalgam ",
        "</html>"};
    const char *at = page;
    for (size_t i = 0; i < sizeof in_order / sizeof *in_order; i++) {
        const char *next = strstr(at, in_order[i]);
        if (!next) fail_msg("not found, or out of order: %s", in_order[i]);
        at = next;
    }
    assert_int_equal(count(page, "the best reconstruction"), 1);
    free(page);
    amg_audit_report_clear(&r);
}

static void pictures_of_the_page_are_those_of_the_report(void **state)
{
    amg_audit_report r = full_report();
    char *page = page_of(state, &r, NULL);
    const char *at = page;
    for (int i = 0; i < r.findings.num_pictures; i++) {
        static const char before[] = "data:image/png;base64,";
        uint8_t png[4096];
        size_t size = 0;
        amg_tensor image;
        at = strstr(at, before);
        assert_non_null(at);
        at += strlen(before);
        assert_int_equal(sodium_base642bin(png, sizeof png, at, strcspn(at, "\""), NULL,
                                           &size, NULL, sodium_base64_VARIANT_ORIGINAL),
                         0);
        assert_ok(amg_image_parse(png, size, "picture", 0, &image, &err));
        assert_int_equal(image.size_bytes, SIDE * SIDE);
        assert_memory_equal(image.data, r.findings.pictures[i].image.data, SIDE * SIDE);
        amg_tensor_clear(&image);
    }
    free(page);
    amg_audit_report_clear(&r);
}

static void each_head_has_a_curve_and_the_original_is_on_top(void **state)
{
    amg_audit_report r = full_report();
    char *page = page_of(state, &r, metrics);
    assert_int_equal(count(page, "<svg class=\"plot\""), 1); /* no validation */
    assert_int_equal(count(page, "<path class=\"curve decoy\""), STREAMS - 1);
    assert_int_equal(count(page, "<path class=\"curve own\""), 1);
    assert_true(strstr(page, "curve own") > strstr(page, "candidate 2</title>"));
    /* steps 50 to 150 over x 40 to 352; losses 0 to 3 hold 0.5 to 2.5, by whole grid
     * lines of 0.5: y 22 is 2.5 and 186 is 0.5. Head 2 has a gap: two strokes. */
    assert_non_null(strstr(page, "d=\"M40.0 22.0L196.0 104.0L352.0 145.0\""));
    assert_non_null(strstr(page, "d=\"M40.0 63.0L196.0 145.0L352.0 186.0\""));
    assert_non_null(strstr(page, "d=\"M40.0 46.6M352.0 145.0\""));
    free(page);
    r.original = -1;
    page = page_of(state, &r, metrics);
    assert_int_equal(count(page, "curve own") + count(page, ", yours"), 0);
    assert_int_equal(count(page, "<path class=\"curve c"), STREAMS);
    free(page);
    amg_audit_report_clear(&r);
}

static void metrics_that_are_damaged_do_not_stop_the_report(void **state)
{
    amg_audit_report r = full_report();
    char *page = page_of(state, &r, "{\"step\":1,\"heads\":[{}]}\n");
    assert_non_null(
        strstr(page, "out/metrics.jsonl cannot be drawn: 1 heads, expected the job"));
    assert_int_equal(count(page, "<svg class=\"plot\""), 0);
    free(page);
    /* Losses of any size and no point but one: nothing to draw, nothing to crash. */
    free(page_of(state, &r,
                 "{\"step\":0,\"heads\":[{\"loss\":1e300},{\"loss\":-1e300},{}]}\n"
                 "{\"step\":0,\"heads\":[{\"loss\":1e300},{},{\"loss\":0}]}\n"));
    page = page_of(state, &r,
                   "{\"step\":7,\"heads\":[{\"loss\":1},{\"loss\":1},{\"loss\":1}]}\n"
                   "{\"step\":7,\"heads\":[{\"loss\":1},{\"loss\":1},{\"loss\":1}]}\n");
    assert_int_equal(count(page, "<svg class=\"plot\""), 1); /* all equal */
    const char *plot = strstr(page, "<svg class=\"plot\"");
    assert_int_equal(count(plot, "nan") + count(plot, "inf"), 0);
    free(page);
    amg_audit_report_clear(&r);
}

static void the_page_is_private_and_never_inside_the_job(void **state)
{
    amg_audit_report r = full_report();
    free(page_of(state, &r, metrics));
    struct stat s;
    assert_int_equal(stat(in_dir(state, "report.html"), &s), 0);
    assert_int_equal(s.st_mode & 0777, 0600);
    const amg_audit_options o = {.job = in_dir(state, "job")};
    static const char *const inside[] = {"job/report.html", "job/out/report.html"};
    for (int i = 0; i < 2; i++) {
        assert_failed(amg_audit_write_html(&r, &o, in_dir(state, inside[i]), &err),
                      AMG_UNSAFE_PATH, -1);
        assert_false(amg_path_exists(in_dir(state, inside[i])));
    }
    assert_failed(amg_audit_write_html(&r, &o, in_dir(state, "no/report.html"), &err),
                  AMG_NOT_FOUND, -1);
    amg_audit_report_clear(&r);
}

static void every_failed_allocation_leaves_no_page(void **state)
{
    amg_audit_report r = full_report();
    free(page_of(state, &r, metrics));
    const amg_audit_options o = {.job = in_dir(state, "job")};
    const char *path = in_dir(state, "other.html");
    amg_status st = AMG_NO_MEMORY;
    long n = 0;
    while (st != AMG_OK) {
        assert_false(amg_path_exists(path));
        long countdown = ++n;
        amg_alloc_fail_after(&countdown);
        st = amg_audit_write_html(&r, &o, path, NULL);
        amg_alloc_fail_after(NULL);
        assert_true(n < 1000);
    }
    assert_true(n > 10);
    amg_audit_report_clear(&r);
}

#define IN_DIR(test)                                                                   \
    cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_verdict_follows_the_findings),
        cmocka_unit_test(figures_are_short),
        cmocka_unit_test(checks_that_found_nothing_are_told_together),
        cmocka_unit_test(json_has_its_members_in_order_and_no_original),
        cmocka_unit_test(json_leaves_out_what_is_no_number),
        IN_DIR(json_is_written_for_its_owner_alone),
        IN_DIR(the_page_needs_nothing_from_elsewhere),
        IN_DIR(no_text_becomes_markup),
        IN_DIR(the_page_shows_every_finding_in_order),
        IN_DIR(pictures_of_the_page_are_those_of_the_report),
        IN_DIR(each_head_has_a_curve_and_the_original_is_on_top),
        IN_DIR(metrics_that_are_damaged_do_not_stop_the_report),
        IN_DIR(the_page_is_private_and_never_inside_the_job),
        IN_DIR(every_failed_allocation_leaves_no_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
