/* Drawing tokens: the filters against PyTorch, the draws against their probabilities.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "engine/sampler.h"

enum { MAX_TOKENS = 16 };

typedef struct {
    int tokens;
    double temperature;
    int top_k;
    double top_p;
    int never;
    float logits[MAX_TOKENS];
    double p[MAX_TOKENS];
} sampler_golden;

#include "sampler_goldens.h"

enum { NUM_GOLDENS = sizeof goldens / sizeof goldens[0] };

static amg_sampler open_sampler(const sampler_golden *g, uint64_t seed)
{
    const amg_sampling o = {.temperature = g->temperature,
                            .top_k = g->top_k,
                            .top_p = g->top_p,
                            .has_never = g->never >= 0,
                            .never = g->never,
                            .seed = seed};
    amg_sampler s;
    assert_int_equal(amg_sampler_init(&o, g->tokens, &s, NULL), AMG_OK);
    return s;
}

static void probabilities_equal_pytorch(void **state)
{
    (void)state;
    for (int i = 0; i < NUM_GOLDENS; i++) {
        const sampler_golden *g = &goldens[i];
        amg_sampler s = open_sampler(g, 1);
        double p[MAX_TOKENS] = {0}, total = 0;
        assert_int_equal(amg_sampler_weigh(&s, g->logits, NULL), AMG_OK);
        for (int64_t k = 0; k < s.num_kept; k++) total += s.candidates[k].weight;
        for (int64_t k = 0; k < s.num_kept; k++)
            p[s.candidates[k].token] = s.candidates[k].weight / total;
        /* Both in float64 from the same float32 logits. */
        for (int t = 0; t < g->tokens; t++) {
            assert_true(fabs(p[t] - g->p[t]) <= 1e-12);
            assert_true((p[t] == 0) == (g->p[t] == 0));
        }
        amg_sampler_clear(&s);
    }
}

/* 20,000 draws: a frequency is within five standard deviations of its probability. */
static void tokens_are_drawn_as_often_as_their_probability_says(void **state)
{
    (void)state;
    enum { DRAWS = 20000 };
    for (int i = 0; i < NUM_GOLDENS; i++) {
        const sampler_golden *g = &goldens[i];
        amg_sampler s = open_sampler(g, 7);
        int count[MAX_TOKENS] = {0};
        for (int n = 0; n < DRAWS; n++) {
            int32_t token;
            assert_int_equal(amg_sampler_draw(&s, g->logits, &token, NULL), AMG_OK);
            assert_in_range(token, 0, g->tokens - 1);
            count[token]++;
        }
        for (int t = 0; t < g->tokens; t++) {
            const double p = g->p[t],
                         far = 5 * sqrt(DRAWS * p * (1 - p)) + 1e-6 * DRAWS;
            assert_true(fabs(count[t] - DRAWS * p) <= far);
            if (p == 0) assert_int_equal(count[t], 0);
        }
        amg_sampler_clear(&s);
    }
}

static void draw_many(uint64_t seed, int32_t out[100])
{
    amg_sampler s = open_sampler(&goldens[1], seed);
    for (int i = 0; i < 100; i++)
        assert_int_equal(amg_sampler_draw(&s, goldens[1].logits, &out[i], NULL),
                         AMG_OK);
    amg_sampler_clear(&s);
}

static void a_seed_gives_its_tokens_again_and_another_gives_others(void **state)
{
    (void)state;
    int32_t a[100], b[100], c[100];
    draw_many(3, a);
    draw_many(3, b);
    draw_many(4, c);
    assert_memory_equal(a, b, sizeof a);
    assert_memory_not_equal(a, c, sizeof a);
}

static void temperature_zero_takes_the_first_of_the_most_likely(void **state)
{
    (void)state;
    const float logits[] = {1, 5, -2, 5, 9};
    const amg_sampling o = {.has_never = true, .never = 4};
    amg_sampler s;
    int32_t token = -1;
    assert_int_equal(amg_sampler_init(&o, 5, &s, NULL), AMG_OK);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(amg_sampler_draw(&s, logits, &token, NULL), AMG_OK);
        assert_int_equal(token, 1);
    }
    amg_sampler_clear(&s);
}

static void logits_far_apart_neither_overflow_nor_draw_the_impossible(void **state)
{
    (void)state;
    const float logits[] = {-3e38f, 3e38f, -3e38f};
    const amg_sampling o = {.temperature = 1e-3, .seed = 2};
    amg_sampler s;
    int32_t token = -1;
    assert_int_equal(amg_sampler_init(&o, 3, &s, NULL), AMG_OK);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(amg_sampler_draw(&s, logits, &token, NULL), AMG_OK);
        assert_int_equal(token, 1);
    }
    amg_sampler_clear(&s);
}

static void what_is_no_number_is_named(void **state)
{
    (void)state;
    const float bad[][3] = {{0, NAN, 0}, {0, 0, INFINITY}, {-INFINITY, 0, 0}};
    const char *const token[] = {"token 1", "token 2", "token 0"};
    const amg_sampling o = {.temperature = 1};
    amg_sampler s;
    assert_int_equal(amg_sampler_init(&o, 3, &s, NULL), AMG_OK);
    for (int i = 0; i < 3; i++) {
        amg_error err = {0};
        int32_t drawn = -9;
        assert_int_equal(amg_sampler_draw(&s, bad[i], &drawn, &err), AMG_NOT_FINITE);
        assert_non_null(strstr(err.what, token[i]));
        assert_int_equal(drawn, -9);
    }
    amg_sampler_clear(&s);
}

static void options_out_of_range_are_refused(void **state)
{
    (void)state;
    const struct {
        amg_sampling o;
        int64_t vocab;
        const char *where;
    } cases[] = {
        {{.temperature = -1}, 5, "temperature"},
        {{.temperature = NAN}, 5, "temperature"},
        {{.top_k = -1}, 5, "top-k"},
        {{.top_p = 1.5}, 5, "top-p"},
        {{.top_p = NAN}, 5, "top-p"},
        {{.temperature = 1}, 0, "vocabulary"},
        {{.has_never = true}, 1, "vocabulary"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        amg_sampler s;
        amg_error err = {0};
        assert_int_equal(amg_sampler_init(&cases[i].o, cases[i].vocab, &s, &err),
                         AMG_INVALID);
        assert_string_equal(err.where, cases[i].where);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probabilities_equal_pytorch),
        cmocka_unit_test(tokens_are_drawn_as_often_as_their_probability_says),
        cmocka_unit_test(a_seed_gives_its_tokens_again_and_another_gives_others),
        cmocka_unit_test(temperature_zero_takes_the_first_of_the_most_likely),
        cmocka_unit_test(logits_far_apart_neither_overflow_nor_draw_the_impossible),
        cmocka_unit_test(what_is_no_number_is_named),
        cmocka_unit_test(options_out_of_range_are_refused),
    };
    return cmocka_run_group_tests_name("sampler", tests, NULL, NULL);
}
