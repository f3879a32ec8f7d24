/* Findings: every verdict by its numbers, order, texts of any length, pictures, and no
 * leak when memory ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "audit/finding.h"
#include "base/alloc.h"

static void a_new_finding_has_no_numbers(void **state)
{
    (void)state;
    const amg_finding f = amg_finding_new("corr", "AUC");
    assert_string_equal(f.attack, "corr");
    assert_string_equal(f.metric, "AUC");
    assert_true(isnan(f.value) && isnan(f.low) && isnan(f.high) && isnan(f.chance));
    assert_true(isnan(f.pass_low) && isnan(f.pass_high));
    assert_int_equal(f.guess, -1);
}

static void verdicts(void **state)
{
    (void)state;
    const struct {
        double value, low, high, pass_low, pass_high;
        amg_verdict verdict;
        bool by_value;
    } cases[] = {
        {0.52, 0.48, 0.56, 0.45, 0.55, AMG_VERDICT_PASS},
        {0.60, 0.54, 0.66, 0.45, 0.55, AMG_VERDICT_PASS},
        {0.60, 0.56, 0.64, 0.45, 0.55, AMG_VERDICT_FAIL},
        {0.30, 0.20, 0.44, 0.45, 0.55, AMG_VERDICT_FAIL},
        {0.30, 0.20, 0.45, 0.45, 0.55, AMG_VERDICT_PASS},
        {0.60, NAN, NAN, 0.45, 0.55, AMG_VERDICT_FAIL},
        {0.50, NAN, NAN, 0.45, 0.55, AMG_VERDICT_PASS},
        {0.90, 0.80, 0.95, NAN, 0.55, AMG_VERDICT_FAIL},
        {0.10, 0.05, 0.20, NAN, 0.55, AMG_VERDICT_PASS},
        {0.90, 0.80, 0.95, NAN, NAN, AMG_VERDICT_REPORT},
        {NAN, NAN, NAN, 0.45, 0.55, AMG_VERDICT_REPORT},
        {0.60, 0.54, 0.66, 0, 0.55, AMG_VERDICT_FAIL, .by_value = true},
        {0.54, 0.50, 0.58, 0, 0.55, AMG_VERDICT_PASS, .by_value = true},
    };
    amg_findings list = {0};
    amg_error err = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        amg_finding f = amg_finding_new("test", "share");
        f.value = cases[i].value;
        f.low = cases[i].low;
        f.high = cases[i].high;
        f.pass_low = cases[i].pass_low;
        f.pass_high = cases[i].pass_high;
        f.by_value = cases[i].by_value;
        assert_int_equal(amg_findings_add(&list, &f, &err, "case %zu", i), AMG_OK);
        assert_int_equal(list.items[i].verdict, cases[i].verdict);
    }
    assert_int_equal(list.count, sizeof cases / sizeof *cases);
    assert_string_equal(list.items[3].text, "case 3");
    assert_int_equal(amg_findings_skip(&list, "lookup", &err, "needs %s", "images"),
                     AMG_OK);
    assert_int_equal(list.items[list.count - 1].verdict, AMG_VERDICT_SKIPPED);
    assert_string_equal(list.items[list.count - 1].attack, "lookup");
    assert_string_equal(list.items[list.count - 1].text, "needs images");
    amg_findings_clear(&list);
    assert_int_equal(list.count, 0);
}

static void names(void **state)
{
    (void)state;
    assert_string_equal(amg_verdict_name(AMG_VERDICT_PASS), "pass");
    assert_string_equal(amg_verdict_name(AMG_VERDICT_FAIL), "FAIL");
    assert_string_equal(amg_verdict_name(AMG_VERDICT_REPORT), "report");
    assert_string_equal(amg_verdict_name(AMG_VERDICT_SKIPPED), "skipped");
}

static amg_picture new_picture(void)
{
    amg_picture p = {.title = "seen", .ssim = 0.5, .sample = 3, .stream = 1};
    assert_int_equal(
        amg_tensor_new(AMG_U8, 3, (const int64_t[]){1, 4, 5}, &p.image, NULL), AMG_OK);
    return p;
}

static void many_of_both(void **state)
{
    (void)state;
    enum { MANY = 50 };
    char long_text[5000];
    amg_findings list = {0};
    amg_error err = {0};
    memset(long_text, 'a', sizeof long_text);
    long_text[sizeof long_text - 1] = 0;
    for (int i = 0; i < MANY; i++) {
        const amg_finding f = amg_finding_new("test", "metric");
        amg_picture p = new_picture();
        assert_int_equal(amg_findings_add(&list, &f, &err, "%s", long_text), AMG_OK);
        assert_int_equal(amg_findings_add_picture(&list, &p, &err), AMG_OK);
        assert_null(p.image.data);
    }
    assert_int_equal(list.count, MANY);
    assert_int_equal(list.num_pictures, MANY);
    assert_string_equal(list.items[MANY - 1].text, long_text);
    assert_int_equal(list.pictures[MANY - 1].image.dims[2], 5);
    amg_findings_clear(&list);
}

/* Each request in turn fails; what was taken over is freed, what was there stays. */
static void without_memory(void **state)
{
    (void)state;
    for (long n = 1; n <= 2; n++) {
        amg_findings list = {0};
        amg_error err = {0};
        const amg_finding f = amg_finding_new("test", "metric");
        long countdown = n;
        amg_alloc_fail_after(&countdown);
        const amg_status st = amg_findings_add(&list, &f, &err, "text");
        amg_alloc_fail_after(NULL);
        assert_int_equal(st, AMG_NO_MEMORY);
        assert_int_equal(list.count, 0);
        amg_findings_clear(&list);
    }
    amg_findings list = {0};
    amg_error err = {0};
    amg_picture p = new_picture();
    long countdown = 1;
    amg_alloc_fail_after(&countdown);
    const amg_status st = amg_findings_add_picture(&list, &p, &err);
    amg_alloc_fail_after(NULL);
    assert_int_equal(st, AMG_NO_MEMORY);
    assert_null(p.image.data);
    amg_findings_clear(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_finding_has_no_numbers),
        cmocka_unit_test(verdicts),
        cmocka_unit_test(names),
        cmocka_unit_test(many_of_both),
        cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
