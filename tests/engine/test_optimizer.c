/* Optimizers against torch.optim, Lion against its paper's formula, over ten steps;
 * clipping, option checks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "base/parallel.h"
#include "base/rng.h"
#include "engine/optimizer.h"

typedef struct {
    const char *name;
    amg_optimizer_options options;
    float values[8]; /* after ten steps: two parameters of 5 and 3 elements */
} optimizer_golden;

#include "optimizer_goldens.h"

enum { STEPS = 10, COUNT = 8, FIRST = 5 };

/* The law of make_optimizer_goldens.py. */
static void fill_gradient(int step, float *grad)
{
    for (int i = 0; i < COUNT; i++) grad[i] = (float)((i * 7 + step * 5) % 11 - 5) / 8;
}

static void ten_steps_equal_pytorch(void **state)
{
    (void)state;
    for (size_t c = 0; c < sizeof goldens / sizeof goldens[0]; c++) {
        const amg_optimizer_options *o = &goldens[c].options;
        float value[COUNT], grad[COUNT], states[3][COUNT] = {{0}};
        const amg_plan_slot slots[2] = {
            {value, grad, {states[0], states[1], states[2]}, FIRST},
            {value + FIRST,
             grad + FIRST,
             {states[0] + FIRST, states[1] + FIRST, states[2] + FIRST},
             COUNT - FIRST}};
        for (int i = 0; i < COUNT; i++) value[i] = ((float)i - 3.5f) / 4;
        for (int step = 0; step < STEPS; step++) {
            fill_gradient(step, grad);
            const double squares = amg_sum_of_squares(slots[0].grad, slots[0].count) +
                                   amg_sum_of_squares(slots[1].grad, slots[1].count);
            const float scale = amg_clip_scale(o->clip_norm, squares);
            for (int s = 0; s < 2; s++)
                amg_optimizer_update_slot(o, o->lr, step, scale, &slots[s]);
        }
        /* Both round to float32 at every step; ten steps leave a few last bits. */
        for (int i = 0; i < COUNT; i++)
            if (!(fabsf(value[i] - goldens[c].values[i]) <= 5e-7f))
                fail_msg("%s, element %d: %.9g, PyTorch has %.9g", goldens[c].name, i,
                         (double)value[i], (double)goldens[c].values[i]);
    }
}

static void padding_stays_zero_under_every_rule(void **state)
{
    (void)state;
    for (size_t c = 0; c < sizeof goldens / sizeof goldens[0]; c++) {
        float value[2] = {1, 0}, grad[2] = {0.5f, 0}, states[3][2] = {{0}};
        const amg_plan_slot slot = {value, grad, {states[0], states[1], states[2]}, 2};
        for (int step = 0; step < 3; step++)
            amg_optimizer_update_slot(&goldens[c].options, 0.1, step, 1, &slot);
        assert_true(value[1] == 0);
        assert_true(value[0] != 1);
    }
}

static void the_sum_of_squares_does_not_depend_on_threads(void **state)
{
    (void)state;
    enum { N = 1100003 }; /* more than one round of blocks, with a rest */
    static float x[N];
    amg_rng rng = amg_rng_init(5, 0);
    long double exact = 0;
    for (int i = 0; i < N; i++) {
        x[i] = amg_rng_uniform(&rng) - 0.5f;
        exact += (long double)x[i] * x[i];
    }
    amg_set_threads(1);
    const double one = amg_sum_of_squares(x, N);
    amg_set_threads(2);
    const double two = amg_sum_of_squares(x, N);
    amg_set_threads(0);
    assert_true(one == two);
    assert_true(fabs(one - (double)exact) < 1e-9 * one);
    assert_true(amg_sum_of_squares(x, 0) == 0);
}

static void clipping_leaves_small_gradients_alone(void **state)
{
    (void)state;
    assert_true(amg_clip_scale(0, 1e12) == 1);
    assert_true(amg_clip_scale(2, 3.99) == 1);
    assert_true(fabsf(amg_clip_scale(2, 16) - 0.5f) < 1e-6f);
}

static void states_are_counted(void **state)
{
    (void)state;
    amg_optimizer_options o = {.kind = AMG_OPT_SGD, .lr = 1};
    assert_int_equal(amg_optimizer_num_states(&o), 0);
    o.momentum = 0.9;
    assert_int_equal(amg_optimizer_num_states(&o), 1);
    o.kind = AMG_OPT_ADAMW;
    assert_int_equal(amg_optimizer_num_states(&o), 2);
    o.kind = AMG_OPT_RMSPROP;
    assert_int_equal(amg_optimizer_num_states(&o), 2);
    o.centered = true;
    assert_int_equal(amg_optimizer_num_states(&o), 3);
    o.momentum = 0;
    assert_int_equal(amg_optimizer_num_states(&o), 2);
    o.kind = AMG_OPT_LION;
    assert_int_equal(amg_optimizer_num_states(&o), 1);
}

/* The variance of equal gradients is 0 but for rounding, and then may be below. */
static void centered_rmsprop_stays_a_number_where_gradients_are_constant(void **state)
{
    (void)state;
    enum { N = 64 };
    const amg_optimizer_options o = {
        .kind = AMG_OPT_RMSPROP, .lr = 1e-9, .alpha = 0.5, .centered = true};
    float value[N] = {0}, grad[N], square[N] = {0}, mean[N] = {0};
    const amg_plan_slot slot = {value, grad, {square, mean}, N};
    for (int i = 0; i < N; i++) grad[i] = 0.1f + (float)i / 7;
    for (int step = 0; step < 100; step++)
        amg_optimizer_update_slot(&o, o.lr, step, 1, &slot);
    int below = 0;
    for (int i = 0; i < N; i++) {
        assert_true(isfinite(value[i]));
        below += square[i] < mean[i] * mean[i];
    }
    assert_true(below > 0); /* or the test shows nothing */
}

static void options_out_of_range_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *word; /* must be in the message */
        amg_optimizer_options o;
    } bad[] = {
        {"learning rate", {.lr = 0}},
        {"learning rate", {.lr = -1}},
        {"learning rate", {.lr = (double)NAN}},
        {"momentum", {.lr = 1, .momentum = 1}},
        {"Nesterov", {.lr = 1, .nesterov = true}},
        {"weight decay", {.lr = 1, .weight_decay = -1}},
        {"centered", {.lr = 1, .centered = true}},
        {"alpha", {.lr = 1, .kind = AMG_OPT_RMSPROP, .alpha = 1}},
        {"decay", {.lr = 1, .kind = AMG_OPT_ADAGRAD, .lr_decay = -1}},
        {"accumulator", {.lr = 1, .kind = AMG_OPT_ADAGRAD, .initial_accumulator = -1}},
        {"betas", {.lr = 1, .kind = AMG_OPT_ADAM, .beta2 = 1}},
        {"epsilon", {.lr = 1, .epsilon = -1}},
        {"clip", {.lr = 1, .clip_norm = (double)INFINITY}},
        {"warm-up", {.lr = 1, .warmup_steps = -1}},
        {"epochs", {.lr = 1, .schedule = AMG_SCHEDULE_STEP}},
        {"factor",
         {.lr = 1, .schedule = AMG_SCHEDULE_STEP, .step_epochs = 1, .step_gamma = -1}},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        amg_error err = {0};
        assert_int_equal(amg_optimizer_check(&bad[i].o, &err), AMG_INVALID);
        assert_non_null(strstr(err.what, bad[i].word));
    }
    for (size_t i = 0; i < sizeof goldens / sizeof goldens[0]; i++)
        assert_int_equal(amg_optimizer_check(&goldens[i].options, NULL), AMG_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_steps_equal_pytorch),
        cmocka_unit_test(padding_stays_zero_under_every_rule),
        cmocka_unit_test(the_sum_of_squares_does_not_depend_on_threads),
        cmocka_unit_test(clipping_leaves_small_gradients_alone),
        cmocka_unit_test(states_are_counted),
        cmocka_unit_test(centered_rmsprop_stays_a_number_where_gradients_are_constant),
        cmocka_unit_test(options_out_of_range_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
