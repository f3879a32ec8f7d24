/* A sum of losses over parts of a row against PyTorch, and what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "engine/sum_loss.h"

#include "sum_loss_goldens.h"

enum { COLUMNS = 2, OWN = 1 }; /* of targets: those of other heads stand between */

typedef struct {
    amg_criterion c;
    float targets[SAMPLES * COLUMNS * TARGETS];
    amg_batch batch;
    float scratch[SAMPLES * (OUTPUTS + TARGETS)];
    amg_loss_result r[AMG_MAX_LOSSES];
    amg_error err;
} sum;

static void open_sum(sum *s)
{
    memset(s, 0, sizeof *s);
    s->c.name = "row";
    s->c.count = OUTPUTS;
    s->c.targets = TARGETS;
    s->c.objective.loss = AMG_LOSS_SUM;
    s->c.objective.column = OWN;
    s->c.objective.num_parts = PARTS;
    memcpy(s->c.objective.parts, parts, sizeof parts);
    for (int i = 0; i < SAMPLES; i++)
        for (int j = 0; j < TARGETS; j++) {
            s->targets[(i * COLUMNS + OWN) * TARGETS + j] = golden_y[i * TARGETS + j];
            s->targets[(i * COLUMNS + !OWN) * TARGETS + j] = NAN;
        }
    s->batch.targets = (uint8_t *)s->targets;
    s->batch.target_bytes = sizeof(float) * COLUMNS * TARGETS;
    s->batch.size = SAMPLES;
}

static amg_status run(sum *s, const float *x, float *dx)
{
    return amg_sum_loss(&s->c, &s->batch, SAMPLES, x, smoothing, s->scratch, dx, s->r,
                        &s->err);
}

static void assert_near(double have, double want, double scale)
{
    if (!(fabs(have - want) <= 1e-6 * (scale + fabs(want))))
        fail_msg("%.9g is not %.9g", have, want);
}

static void check_losses(const sum *s)
{
    assert_near(s->r[0].loss, sum_loss, 1);
    assert_int_equal(s->r[0].counted, SAMPLES);
    for (int i = 0; i < PARTS; i++) {
        assert_near(s->r[1 + i].loss, part_losses[i], 1);
        assert_int_equal(s->r[1 + i].top1, part_hits[i]);
        assert_int_equal(s->r[1 + i].counted, part_counts[i]);
    }
}

static void the_sum_is_pytorch_s(void **state)
{
    (void)state;
    sum s;
    float x[SAMPLES * OUTPUTS], dx[SAMPLES * OUTPUTS];
    open_sum(&s);
    assert_int_equal(run(&s, golden_x, dx), AMG_OK);
    check_losses(&s);
    for (int i = 0; i < SAMPLES * OUTPUTS; i++) assert_near(dx[i], golden_dx[i], 0.1);
    /* The gradient in the output's place, and none at all. */
    memcpy(x, golden_x, sizeof x);
    assert_int_equal(run(&s, x, x), AMG_OK);
    check_losses(&s);
    assert_memory_equal(x, dx, sizeof x);
    assert_int_equal(run(&s, golden_x, NULL), AMG_OK);
    check_losses(&s);
}

static void sizes_follow_from_dims_and_losses(void **state)
{
    (void)state;
    int64_t outputs, targets;
    assert_int_equal(amg_loss_parts_measure(parts, PARTS, &outputs, &targets, NULL),
                     AMG_OK);
    assert_int_equal(outputs, OUTPUTS);
    assert_int_equal(targets, TARGETS);
    amg_loss_part bad = parts[1];
    bad.dims[1] = INT64_MAX;
    assert_int_equal(amg_loss_parts_measure(&bad, 1, &outputs, &targets, NULL),
                     AMG_INVALID);
    bad = parts[0];
    bad.rank = 0; /* no classes */
    assert_int_equal(amg_loss_parts_measure(&bad, 1, &outputs, &targets, NULL),
                     AMG_INVALID);
}

static void targets_must_be_of_their_part(void **state)
{
    (void)state;
    static const struct {
        int at; /* in the row of targets */
        float value;
        const char *what;
    } bad[] = {
        {0, 4, "for output 0 is 4, expected a class from 0 to 3"},
        {0, -1, "for output 0 is -1, expected a class from 0 to 3"},
        {0, 1.5f, "for output 0 is 1.5, expected a class from 0 to 3"},
        {8, 3, "for output 2 is 3, expected a class from 0 to 2"},
        {9, 1.01f, "for output 3 is 1.01, expected 0 to 1"},
        {0, NAN, "for output 0 is nan"},
    };
    sum s;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        open_sum(&s);
        s.targets[(3 * COLUMNS + OWN) * TARGETS + bad[i].at] = bad[i].value;
        assert_int_equal(run(&s, golden_x, NULL), AMG_INVALID);
        if (!strstr(s.err.what, bad[i].what)) fail_msg("%s", s.err.what);
        assert_non_null(strstr(s.err.what, "of sample 3 of the batch"));
        assert_string_equal(s.err.where, "row");
    }
}

static void terms_are_read_as_people_write_them(void **state)
{
    (void)state;
    amg_loss_part p[AMG_MAX_PARTS];
    int count;
    assert_int_equal(
        amg_loss_terms_parse("cross_entropy+0.5*huber:1e+1+2e-1*bce", p, &count, NULL),
        AMG_OK);
    assert_int_equal(count, 3);
    assert_int_equal(p[0].loss, AMG_LOSS_CROSS_ENTROPY);
    assert_true(p[0].weight == 1 && p[0].delta == 0);
    assert_int_equal(p[1].loss, AMG_LOSS_HUBER);
    assert_true(p[1].weight == 0.5f && p[1].delta == 10);
    assert_int_equal(p[2].loss, AMG_LOSS_BCE);
    assert_true(p[2].weight == 0.2f);
    static const char *const bad[] = {
        "",
        "+mse",
        "mse+",
        "0*mse",
        "-1*mse",
        "nan*mse",
        "2mse",
        "2*",
        "sum",
        "mse+sum",
        "huber:x",
        "huber:+mse",
        "mse:1",
        "l2",
        "2*2*l1",
        "1e99*mse",
        "mse++mse",
        "mse+0.5*",
        "mse+mse+mse+mse+mse+mse+mse+mse+mse+mse+mse+mse+mse+mse+mse+mse+mse"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (amg_loss_terms_parse(bad[i], p, &count, NULL) != AMG_INVALID)
            fail_msg("\"%s\" was taken", bad[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sum_is_pytorch_s),
        cmocka_unit_test(sizes_follow_from_dims_and_losses),
        cmocka_unit_test(targets_must_be_of_their_part),
        cmocka_unit_test(terms_are_read_as_people_write_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
