/* curves.c: what metrics.jsonl says, and files that a cloud might send instead. */
#include "../formats/fixture.h"

#include <math.h>

#include "audit/curves.h"

static const char good[] =
    "{\"step\":50,\"epoch\":1,\"lr\":0.1,\"heads\":[{\"loss\":2.5,\"accuracy\":0.25},"
    "{\"loss\":2}],\"images_per_second\":8.5}\n"
    "{\"step\":100,\"epoch\":1,\"lr\":0.1,\"heads\":[{},{\"loss\":1.5}]}\n"
    "{\"step\":100,\"epoch\":1,\"end_of_epoch\":true,\"lr\":0.1,\"heads\":["
    "{\"loss\":1.75,\"val_loss\":1.25},{\"loss\":1.625,\"val_loss\":1.125}]}\n"
    "{\"step\":150,\"epoch\":2,\"lr\":0.1,\"heads\":[{\"accuracy\":1},{}]}\n";

static const char *put(void **state, const char *text)
{
    put_file(state, "job/out/metrics.jsonl", text, strlen(text));
    return in_dir(state, "job");
}

static void curves_hold_what_the_file_says(void **state)
{
    amg_curves c;
    assert_ok(amg_curves_read(put(state, good), 2, &c, &err));
    const amg_curve *steps = &c.kinds[AMG_CURVE_STEPS];
    assert_int_equal(steps->count, 2); /* the line without a loss is no point */
    assert_true(steps->step[0] == 50 && steps->step[1] == 100);
    assert_true(steps->loss[0] == 2.5 && steps->loss[1] == 2);
    assert_true(isnan(steps->loss[2]) && steps->loss[3] == 1.5);
    const amg_curve *epochs = &c.kinds[AMG_CURVE_EPOCHS];
    assert_int_equal(epochs->count, 1);
    assert_true(epochs->loss[0] == 1.75 && epochs->loss[1] == 1.625);
    const amg_curve *validation = &c.kinds[AMG_CURVE_VALIDATION];
    assert_int_equal(validation->count, 1);
    assert_true(validation->step[0] == 100);
    assert_true(validation->loss[0] == 1.25 && validation->loss[1] == 1.125);
    amg_curves_clear(&c);
}

static void a_last_line_that_was_cut_off_is_passed_over(void **state)
{
    char text[sizeof good + 32];
    amg_curves c;
    snprintf(text, sizeof text, "%s{\"step\":200,\"epo", good);
    assert_ok(amg_curves_read(put(state, text), 2, &c, &err));
    assert_int_equal(c.kinds[AMG_CURVE_STEPS].count, 2);
    amg_curves_clear(&c);
    assert_ok(amg_curves_read(put(state, ""), 2, &c, &err));
    assert_int_equal(c.kinds[AMG_CURVE_STEPS].count, 0);
    amg_curves_clear(&c);
}

static void what_is_no_line_of_metrics_is_refused_at_its_byte(void **state)
{
    const struct {
        const char *line;
        amg_status status;
    } cases[] = {
        {"\n", AMG_MALFORMED},
        {"[]\n", AMG_MALFORMED},
        {"{\"step\":50,\"heads\":7}\n", AMG_MALFORMED},
        {"{\"heads\":[{},{}]}\n", AMG_MALFORMED},
        {"{\"step\":-1,\"heads\":[{},{}]}\n", AMG_MALFORMED},
        {"{\"step\":1.5,\"heads\":[{},{}]}\n", AMG_MALFORMED},
        {"{\"step\":149,\"heads\":[{},{}]}\n", AMG_MALFORMED}, /* after 150 */
        {"{\"step\":200,\"heads\":[{\"loss\":1e999},{}]}\n", AMG_MALFORMED},
        {"{\"step\":200,\"heads\":[{\"loss\":NaN},{}]}\n", AMG_MALFORMED},
        {"{\"step\":200,\"step\":200,\"heads\":[{},{}]}\n", AMG_MALFORMED},
        {"{\"step\":200,\"heads\":[{}]}\n", AMG_MISMATCH},
        {"{\"step\":200,\"heads\":[{},{},{}]}\n", AMG_MISMATCH},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[sizeof good + 128];
        amg_curves c;
        snprintf(text, sizeof text, "%s%s", good, cases[i].line);
        assert_failed(amg_curves_read(put(state, text), 2, &c, &err), cases[i].status,
                      (int64_t)sizeof good - 1);
    }
}

static void a_job_that_was_not_trained_has_no_curves(void **state)
{
    amg_curves c;
    assert_failed(amg_curves_read(*state, 2, &c, &err), AMG_NOT_FOUND, -1);
}

static void every_failed_allocation_is_reported(void **state)
{
    const char *job = put(state, good);
    amg_status st = AMG_NO_MEMORY;
    long n = 0;
    while (st != AMG_OK) {
        amg_curves c;
        long countdown = ++n;
        amg_alloc_fail_after(&countdown);
        st = amg_curves_read(job, 2, &c, NULL);
        amg_alloc_fail_after(NULL);
        if (st == AMG_OK)
            amg_curves_clear(&c);
        else
            assert_int_equal(st, AMG_NO_MEMORY);
        assert_true(n < 100);
    }
    assert_true(n > 6);
}

#define IN_DIR(test)                                                                   \
    cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIR(curves_hold_what_the_file_says),
        IN_DIR(a_last_line_that_was_cut_off_is_passed_over),
        IN_DIR(what_is_no_line_of_metrics_is_refused_at_its_byte),
        IN_DIR(a_job_that_was_not_trained_has_no_curves),
        IN_DIR(every_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
