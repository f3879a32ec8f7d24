/* Signals that come while oneDNN works: it has the stack pointer in its own buffers
 * then, so handlers must run on a stack of their own, or they write into the numbers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "base/rng.h"
#include "engine/dnnl.h"

enum { SIDE = 384, TIMES = 200 };

static volatile sig_atomic_t signals, elsewhere;

static void on_alarm(int sig)
{
    stack_t now;
    (void)sig;
    signals++;
    if (!sigaltstack(NULL, &now) && !(now.ss_flags & SS_ONSTACK)) elsewhere++;
}

static void multiply(const float *a, const float *b, float *c)
{
    amg_dnnl_gemm(false, false, SIDE, SIDE, SIDE, a, SIDE, b, SIDE, 0, c, SIDE);
}

static void products_are_the_same_under_a_rain_of_signals(void **state)
{
    (void)state;
    const size_t size = SIDE * SIDE * sizeof(float);
    float *a = malloc(size), *b = malloc(size), *quiet = malloc(size);
    float *c = malloc(size);
    amg_rng rng = amg_rng_init(1, 0);
    for (int i = 0; i < SIDE * SIDE; i++) {
        a[i] = (float)amg_rng_normal(&rng);
        b[i] = (float)amg_rng_normal(&rng);
    }
    multiply(a, b, quiet);
    const struct sigaction act = {.sa_handler = on_alarm,
                                  .sa_flags = SA_ONSTACK | SA_RESTART};
    sigaction(SIGALRM, &act, NULL);
    const struct itimerval often = {{0, 200}, {0, 200}}, never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &often, NULL);
    int wrong = 0;
    for (int i = 0; i < TIMES; i++) {
        multiply(a, b, c);
        wrong += memcmp(quiet, c, size) != 0;
    }
    setitimer(ITIMER_REAL, &never, NULL);
    assert_true(signals > 10);
    assert_int_equal(elsewhere, 0);
    assert_int_equal(wrong, 0);
    free(a);
    free(b);
    free(c);
    free(quiet);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_the_same_under_a_rain_of_signals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
