/* Matching: assignments against all permutations, and a planted order found again from
 * data that share nothing but their law. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "audit/matching.h"
#include "base/alloc.h"
#include "base/rng.h"

enum { SMALL = 6, GROUP = 20, N = 2 * GROUP, ROWS = 4000 };

static double cost_of(const double *cost, const int32_t *column)
{
    double sum = 0;
    for (int i = 0; i < SMALL; i++) sum += cost[i * SMALL + column[i]];
    return sum;
}

/* The least cost of all ways to go on from row at. */
static double best_of(const double *cost, int at, unsigned taken)
{
    double best = at == SMALL ? 0 : HUGE_VAL;
    for (int c = 0; at < SMALL && c < SMALL; c++)
        if (!(taken & 1u << c))
            best = fmin(best,
                        cost[at * SMALL + c] + best_of(cost, at + 1, taken | 1u << c));
    return best;
}

static void the_cheapest_assignment_is_found(void **state)
{
    (void)state;
    amg_rng rng = amg_rng_init(3, 0);
    for (int round = 0; round < 200; round++) {
        double cost[SMALL * SMALL];
        int32_t column[SMALL];
        unsigned seen = 0;
        for (int i = 0; i < SMALL * SMALL; i++) /* with ties and below 0 */
            cost[i] = (double)amg_rng_below(&rng, 12) - 4;
        assert_int_equal(amg_assign(cost, SMALL, column, NULL), 0);
        for (int i = 0; i < SMALL; i++) seen |= 1u << column[i];
        assert_int_equal(seen, (1u << SMALL) - 1);
        assert_float_equal(cost_of(cost, column), best_of(cost, 0, 0), 1e-9);
    }
}

/* Two groups of values that drift along, the second after the first; the spread grows
 * along a group, so that no variable is like another. */
static void draw(uint64_t seed, const int32_t *place, float *rows)
{
    amg_rng rng = amg_rng_init(seed, 0);
    for (int r = 0; r < ROWS; r++) {
        double at = 0, shared = amg_rng_normal(&rng);
        for (int v = 0; v < N; v++) {
            if (v == GROUP) at = 0;
            at = 0.8 * at + 0.6 * amg_rng_normal(&rng);
            const double x = (at + 0.3 * shared) * (1 + 0.05 * (v % GROUP));
            rows[r * N + (place ? place[v] : v)] = (float)x;
        }
    }
}

static void a_planted_order_is_found_again(void **state)
{
    (void)state;
    float *rows = amg_malloc(sizeof(float) * ROWS * N);
    int32_t place[N], match[N];
    int64_t order[GROUP];
    amg_rng rng = amg_rng_init(11, 0);
    for (int g = 0; g < 2; g++) {
        amg_rng_permutation(&rng, GROUP, order);
        for (int v = 0; v < GROUP; v++)
            place[g * GROUP + v] = (int32_t)(g * GROUP + order[v]);
    }
    amg_variable_stats mixed, known;
    draw(1, place, rows);
    assert_int_equal(amg_variable_stats_of(rows, ROWS, N, GROUP, &mixed, NULL), 0);
    draw(2, NULL, rows);
    assert_int_equal(amg_variable_stats_of(rows, ROWS, N, GROUP, &known, NULL), 0);
    assert_int_equal(amg_match_variables(&mixed, &known, false, match, NULL), 0);
    int right = 0;
    for (int v = 0; v < N; v++) right += match[place[v]] == v;
    assert_in_range(right, N - 4, N);
    for (int v = 0; v < N; v++) assert_int_equal(match[v] / GROUP, v / GROUP);
    amg_variable_stats_clear(&mixed);
    amg_variable_stats_clear(&known);
    amg_free(rows);
}

/* Two groups that changed places in one way: what both say together decides. */
static void groups_that_move_alike_are_matched_alike(void **state)
{
    (void)state;
    float *rows = amg_malloc(sizeof(float) * ROWS * N);
    int32_t place[N], match[N];
    int64_t order[GROUP];
    amg_rng rng = amg_rng_init(12, 0);
    amg_rng_permutation(&rng, GROUP, order);
    for (int v = 0; v < N; v++)
        place[v] = (int32_t)(v / GROUP * GROUP + order[v % GROUP]);
    amg_variable_stats mixed, known;
    draw(1, place, rows);
    assert_int_equal(amg_variable_stats_of(rows, ROWS, N, GROUP, &mixed, NULL), 0);
    draw(2, NULL, rows);
    assert_int_equal(amg_variable_stats_of(rows, ROWS, N, GROUP, &known, NULL), 0);
    assert_int_equal(amg_match_variables(&mixed, &known, true, match, NULL), 0);
    int right = 0;
    for (int v = 0; v < N; v++) right += match[place[v]] == v;
    assert_in_range(right, N - 4, N);
    for (int v = 0; v < GROUP; v++)
        assert_int_equal(match[v + GROUP], match[v] + GROUP);
    amg_variable_stats_clear(&mixed);
    amg_variable_stats_clear(&known);
    amg_free(rows);
}

static void variables_that_never_change_are_no_trouble(void **state)
{
    (void)state;
    float rows[3 * 4] = {1, 2, 3, 4, 1, 2, 3, 5, 1, 2, 3, 6};
    int32_t match[4];
    unsigned seen = 0;
    amg_variable_stats s;
    assert_int_equal(amg_variable_stats_of(rows, 3, 4, 4, &s, NULL), 0);
    assert_float_equal(s.corr[0], 0, 0);
    assert_float_equal(s.corr[15], 1, 1e-6);
    assert_int_equal(amg_match_variables(&s, &s, false, match, NULL), 0);
    for (int v = 0; v < 4; v++) seen |= 1u << match[v];
    assert_int_equal(seen, 15);
    amg_variable_stats_clear(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cheapest_assignment_is_found),
        cmocka_unit_test(a_planted_order_is_found_again),
        cmocka_unit_test(groups_that_move_alike_are_matched_alike),
        cmocka_unit_test(variables_that_never_change_are_no_trouble),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
