/* Learning-rate schedules; the tables are torch.optim.lr_scheduler's, those of
 * make_schedule_goldens.py and:
 *     o = torch.optim.SGD(p, lr=0.4)
 *     CosineAnnealingLR(o, T_max=10) · StepLR(o, step_size=2, gamma=0.1)
 *     SequentialLR(o, [LinearLR(o, 1/4, total_iters=3),
 *                      CosineAnnealingLR(o, T_max=10)], [4])
 * one line of o.param_groups[0]["lr"] before each step. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "engine/optimizer.h"

#include "schedule_goldens.h"

static const double cosine[10] = {0.4,
                                  0.39021130325903075,
                                  0.3618033988749895,
                                  0.3175570504584947,
                                  0.26180339887498955,
                                  0.20000000000000004,
                                  0.13819660112501056,
                                  0.08244294954150541,
                                  0.03819660112501054,
                                  0.009788696740969296};
static const double step_lr[7] = {0.4, 0.4, 0.04, 0.04, 0.004, 0.004, 0.0004};

static const double warm_cosine[14] = {0.1,
                                       0.2,
                                       0.30000000000000004,
                                       0.4,
                                       0.4,
                                       0.39021130325903075,
                                       0.3618033988749895,
                                       0.3175570504584947,
                                       0.26180339887498955,
                                       0.20000000000000004,
                                       0.13819660112501056,
                                       0.08244294954150541,
                                       0.03819660112501054,
                                       0.009788696740969296};

static void assert_near(double a, double b) { assert_true(fabs(a - b) <= 1e-15); }

static void constant_stays(void **state)
{
    (void)state;
    const amg_optimizer_options o = {.lr = 0.4};
    assert_true(amg_schedule_lr(&o, 0, 10, 5) == 0.4);
    assert_true(amg_schedule_lr(&o, 9, 10, 5) == 0.4);
}

static void cosine_equals_pytorch_and_reaches_zero(void **state)
{
    (void)state;
    const amg_optimizer_options o = {.lr = 0.4, .schedule = AMG_SCHEDULE_COSINE};
    for (int t = 0; t < 10; t++) assert_near(amg_schedule_lr(&o, t, 10, 5), cosine[t]);
    assert_true(amg_schedule_lr(&o, 10, 10, 5) == 0);
}

static void step_equals_pytorch_once_per_epoch(void **state)
{
    (void)state;
    amg_optimizer_options o = {
        .lr = 0.4, .schedule = AMG_SCHEDULE_STEP, .step_epochs = 2, .step_gamma = 0.1};
    for (int epoch = 0; epoch < 7; epoch++)
        for (int t = 0; t < 3; t++)
            assert_near(amg_schedule_lr(&o, epoch * 3 + t, 21, 3), step_lr[epoch]);
    o.step_gamma = 0; /* the default is PyTorch's */
    assert_near(amg_schedule_lr(&o, 6, 21, 3), step_lr[2]);
}

static void warm_up_rises_in_a_line_and_joins_the_schedule(void **state)
{
    (void)state;
    amg_optimizer_options o = {.lr = 0.4, .warmup_steps = 4};
    for (int t = 0; t < 4; t++)
        assert_near(amg_schedule_lr(&o, t, 14, 7), 0.4 * (t + 1) / 4);
    assert_near(amg_schedule_lr(&o, 4, 14, 7), 0.4);
    /* After it the cosine runs over the steps that are left. */
    o.schedule = AMG_SCHEDULE_COSINE;
    for (int t = 0; t < 14; t++)
        assert_near(amg_schedule_lr(&o, t, 14, 7), warm_cosine[t]);
}

static void warm_up_longer_than_the_training_is_harmless(void **state)
{
    (void)state;
    const amg_optimizer_options o = {
        .lr = 0.4, .schedule = AMG_SCHEDULE_COSINE, .warmup_steps = 100};
    assert_near(amg_schedule_lr(&o, 9, 10, 5), 0.04);
}

static void linear_equals_pytorch_and_reaches_zero(void **state)
{
    (void)state;
    amg_optimizer_options o = {.lr = 0.4, .schedule = AMG_SCHEDULE_LINEAR};
    for (int t = 0; t < 10; t++) assert_near(amg_schedule_lr(&o, t, 10, 5), linear[t]);
    assert_true(amg_schedule_lr(&o, 10, 10, 5) == 0);
    o.warmup_steps = 3;
    for (int t = 0; t < 10; t++)
        assert_near(amg_schedule_lr(&o, t + 3, 13, 5), linear[t]);
}

static void one_cycle_equals_pytorch_whatever_its_length(void **state)
{
    (void)state;
    static const struct {
        const double *lr;
        int steps;
    } cases[] = {
        {one_cycle_1, 2}, {one_cycle_2, 3}, {one_cycle_7, 8}, {one_cycle_20, 21}};
    const amg_optimizer_options o = {.lr = 0.4, .schedule = AMG_SCHEDULE_ONE_CYCLE};
    for (int c = 0; c < 4; c++)
        for (int t = 0; t < cases[c].steps; t++)
            assert_near(amg_schedule_lr(&o, t, cases[c].steps, 5), cases[c].lr[t]);
    assert_true(amg_schedule_lr(&o, 0, 1, 1) > 0); /* all of it is one step */
    amg_optimizer_options warm = o;
    warm.warmup_steps = 1;
    assert_int_equal(amg_optimizer_check(&warm, NULL), AMG_INVALID);
}

static void check_plateau(amg_optimizer_options o, const double *expected)
{
    o.schedule = AMG_SCHEDULE_PLATEAU;
    amg_plateau p = amg_plateau_begin(&o);
    for (size_t i = 0; i < sizeof plateau_losses / sizeof *plateau_losses; i++) {
        amg_plateau_observe(&o, plateau_losses[i], &p);
        assert_true(p.lr == expected[i]);
    }
}

static void plateau_equals_pytorch(void **state)
{
    (void)state;
    check_plateau((amg_optimizer_options){.lr = 0.4, .plateau_patience = 1}, plateau);
    check_plateau((amg_optimizer_options){.lr = 0.4, .plateau_factor = 0.5},
                  plateau_own);
    check_plateau((amg_optimizer_options){.lr = 1.5e-8, .plateau_factor = 0.5},
                  plateau_tiny);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(constant_stays),
        cmocka_unit_test(cosine_equals_pytorch_and_reaches_zero),
        cmocka_unit_test(step_equals_pytorch_once_per_epoch),
        cmocka_unit_test(linear_equals_pytorch_and_reaches_zero),
        cmocka_unit_test(one_cycle_equals_pytorch_whatever_its_length),
        cmocka_unit_test(plateau_equals_pytorch),
        cmocka_unit_test(warm_up_rises_in_a_line_and_joins_the_schedule),
        cmocka_unit_test(warm_up_longer_than_the_training_is_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
