/* Tests of obfuscate/decoy_arch: the walk is symmetric, its networks plan and stay
 * within bounds, the original is no medoid, paper mode's amounts are kept. */
#include "arch_fixture.h"

#include <math.h>

#include "obfuscate/decoy_arch.h"

static amg_graph *decoy(unsigned secret, const amg_graph *g, int index, int k,
                        int64_t classes, amg_decoy_options o)
{
    amg_secret *s = numbered_secret(secret);
    amg_graph *out = NULL;
    amg_error err = {0};
    if (amg_decoy_arch_make(s, g, index, k, classes, &o, &out, &err))
        fail_msg("secret %u: %s: %s", secret, err.where, err.what);
    amg_secret_free(s);
    return out;
}

static void up_and_down_the_ladder_are_inverse(void **state)
{
    (void)state;
    int moved = 0;
    for (int64_t w = 1; w < 5000; w++) {
        int64_t up = amg_decoy_ladder(w, true), down = amg_decoy_ladder(w, false);
        assert_true(up >= w && down <= w && down >= 1);
        if (up != w) assert_int_equal(amg_decoy_ladder(up, false), w);
        if (down != w) assert_int_equal(amg_decoy_ladder(down, true), w);
        moved += up != w && down != w;
    }
    assert_true(moved > 2000);
    assert_int_equal(amg_decoy_ladder(64, true), 96);
    assert_int_equal(amg_decoy_ladder(96, true), 128);
    assert_int_equal(amg_decoy_ladder(64, false), 48);
    assert_int_equal(amg_decoy_ladder(144, true), 216); /* mobilenet_v2 has 144 */
}

/* What a walk of 3 + 3 steps can do at most to the number of parameters is far below
 * this; a bound of memory on the cloud. */
static void walks_of_every_zoo_model_plan_and_stay_bounded(void **state)
{
    (void)state;
    const char *const *names;
    int count = amg_zoo_names(&names);
    double widest = 1;
    for (int m = 0; m < count; m++) {
        amg_graph *g = zoo(names[m]);
        double own = (double)amg_graph_num_trainable(g);
        unsigned walks = g->num_nodes < 100 ? 30 : 4;
        for (unsigned s = 0; s < walks; s++) {
            const int64_t classes = amg_zoo_is_language_model(names[m]) ? 0 : 10;
            amg_graph *d = decoy(s, g, 1, 1, classes, (amg_decoy_options){0});
            double factor = (double)amg_graph_num_trainable(d) / own;
            assert_plans(d, g, 10);
            if (factor > 16 || factor < 1.0 / 16)
                fail_msg("%s, secret %u: %g times the parameters", names[m], s, factor);
            if (factor > widest) widest = factor;
            amg_graph_free(d);
        }
        amg_graph_free(g);
    }
    assert_true(widest > 1.2); /* the walk goes somewhere */
}

/* Conv 3x3 of 4 (pads 1), relu, conv of 4, relu, mean, 2 classes. */
static amg_graph *tiny(void)
{
    amg_builder *b = amg_builder_new();
    const int64_t pads[4] = {1, 1, 1, 1};
    const int64_t kernel[2] = {3, 3};
    amg_attr conv[] = {amg_ints("kernel_shape", 2, kernel), amg_ints("pads", 4, pads)};
    amg_tensor w1 = {.dtype = AMG_F32, .rank = 4, .dims = {4, 1, 3, 3}};
    amg_tensor w2 = {.dtype = AMG_F32, .rank = 4, .dims = {4, 4, 3, 3}};
    amg_tensor w3 = {.dtype = AMG_F32, .rank = 2, .dims = {2, 4}};
    int x = amg_builder_input(b, "x", AMG_F32, 4, (int64_t[]){AMG_DIM_BATCH, 1, 8, 8});
    x = amg_builder_node(b, AMG_OP_CONV, "c1",
                         (int[]){x, amg_builder_param(b, "w1", &w1)}, 2, conv, 2, NULL);
    x = amg_builder_node(b, AMG_OP_RELU, "r1", &x, 1, NULL, 0, NULL);
    x = amg_builder_node(b, AMG_OP_CONV, "c2",
                         (int[]){x, amg_builder_param(b, "w2", &w2)}, 2, conv, 2, NULL);
    x = amg_builder_node(b, AMG_OP_RELU, "r2", &x, 1, NULL, 0, NULL);
    x = amg_builder_node(b, AMG_OP_GLOBAL_AVERAGE_POOL, "mean", &x, 1, NULL, 0, NULL);
    x = amg_builder_node(b, AMG_OP_FLATTEN, "flat", &x, 1, NULL, 0, NULL);
    x = amg_builder_node(b, AMG_OP_GEMM, "fc",
                         (int[]){x, amg_builder_param(b, "w3", &w3)}, 2,
                         (amg_attr[]){amg_int("transB", 1)}, 1, NULL);
    amg_builder_output(b, x);
    amg_graph *g = NULL;
    amg_error err = {0};
    if (amg_builder_finish(b, &g, &err)) fail_msg("%s: %s", err.where, err.what);
    amg_builder_free(b);
    return g;
}

enum { STEPS = 1600, MAX_STATES = 40 };

static amg_graph *step(amg_keystream *k, const amg_graph *g, int serial)
{
    amg_graph *out = NULL;
    amg_error err = {0};
    if (amg_decoy_step(k, g, serial, &out, &err))
        fail_msg("%s: %s", err.where, err.what);
    return out;
}

/* How often STEPS single steps from a lead to b. */
static int count_steps(amg_keystream *k, const amg_graph *a, const amg_graph *b)
{
    char *goal = structure(b, 0);
    int hits = 0;
    for (int i = 0; i < STEPS; i++) {
        amg_graph *c = step(k, a, 1000 + i);
        char *text = structure(c, 0);
        hits += !strcmp(goal, text);
        free(text);
        amg_graph_free(c);
    }
    free(goal);
    return hits;
}

/* How many kernels are the smallest (stretches stand once, where depths differ). */
static int count_walls(const amg_graph *g, bool stretches)
{
    amg_region r[256];
    int walls = 0, n = stretches ? amg_arch_regions(g, r) : g->num_nodes;
    for (int i = 0; i < n; i++)
        walls += stretches
                     ? !r[i].repeated
                     : amg_arch_kernel_can(g, i, 1) && !amg_arch_kernel_can(g, i, -1);
    return walls;
}

/* Steps away and back, the ones from a wall as if it were none. */
static void compare_ways(const amg_graph *a, const amg_graph *b, int away, int back)
{
    const bool depths = a->num_nodes != b->num_nodes;
    const int off = count_walls(a, depths) - count_walls(b, depths);
    const double x = off > 0 ? AMG_DECOY_WALL : 1, y = off < 0 ? AMG_DECOY_WALL : 1;
    if (fabs(x * away - y * back) > 4.5 * sqrt(x * x * away + y * y * back + 1))
        fail_msg("%d steps away and %d back, %d walls", away, back, off);
    assert_true(away > 0 && back > 0);
}

/* From a start and a few walks away from it: each edge walked is counted both ways. Of
 * STEPS tries, an edge of p = 1/24 gives 67 +- 8; the difference of two has a deviation
 * of 11.5, so a walk that is twice as likely one way (67 against 133) is found at 4.5
 * deviations of it. */
/* tries: steps from each start, of which half or fewer lead elsewhere. */
static void check_symmetry(amg_graph *(*make)(void), int tries)
{
    amg_keystream *k = numbered_stream(5, AMG_PURPOSE_DECOY_ARCH);
    int edges = 0;
    for (int start = 0; start < 4; start++) {
        amg_graph *a = make();
        for (int i = 0; i < 3 * start; i++) {
            amg_graph *next = step(k, a, 1 + i);
            amg_graph_free(a);
            a = next;
        }
        for (int i = 0; i < tries; i++) {
            amg_graph *b = step(k, a, 100 + i);
            if (!same_structure(a, b)) {
                int away = count_steps(k, a, b), back = count_steps(k, b, a);
                edges++;
                compare_ways(a, b, away, back);
            }
            amg_graph_free(b);
        }
        amg_graph_free(a);
    }
    assert_true(edges >= 8);
    amg_keystream_free(k);
}

static amg_graph *two_recurrent_layers(void) { return stacked_lstm(2); }

static void a_step_leads_back_as_often_as_away(void **state)
{
    (void)state;
    check_symmetry(tiny, 4);
    check_symmetry(two_recurrent_layers, 8);
}

/* Whether candidate 0 has the smallest sum of distances to the others, ties shared. */
static double medoid_share(char *const *text, int count)
{
    int best = 1 << 30, ties = 0;
    bool first = false;
    for (int i = 0; i < count; i++) {
        int sum = 0;
        for (int j = 0; j < count; j++) sum += distance(text[i], text[j]);
        if (sum < best) best = sum, ties = 0, first = false;
        if (sum == best) ties++, first = first || i == 0;
    }
    return first ? 1.0 / ties : 0;
}

/* 100 secrets, k = 3, chance .25: the interval is four standard deviations of a
 * binomial. Decoys that are walks from the original itself, beside it, are found. */
static void the_original_is_no_medoid_and_no_smallest_of_its_candidates(void **state)
{
    (void)state;
    enum { SECRETS = 100, K = 3 };
    const char *models[] = {"lenet", "vgg16", "lstm"};
    for (int m = 0; m < 3; m++) {
        amg_graph *g = m < 2 ? zoo(models[m]) : two_recurrent_layers();
        double hidden = 0, naive = 0, smallest = 0;
        for (unsigned s = 0; s < SECRETS; s++) {
            char *text[K + 1] = {structure(g, 0)}, *direct[K + 1] = {structure(g, 0)};
            bool larger = true;
            for (int i = 1; i <= K; i++) {
                amg_graph *d = decoy(s, g, i, K, 10, (amg_decoy_options){0});
                text[i] = structure(d, 0);
                larger &= amg_graph_num_trainable(d) > amg_graph_num_trainable(g);
                amg_graph_free(d);
                amg_keystream *k =
                    numbered_stream(1000 + s * 8 + (unsigned)i, AMG_PURPOSE_DECOY_ARCH);
                amg_graph *a = step(k, g, 1), *b = step(k, a, 2), *c = step(k, b, 3);
                direct[i] = structure(c, 0);
                amg_graph_free(a);
                amg_graph_free(b);
                amg_graph_free(c);
                amg_keystream_free(k);
            }
            hidden += medoid_share(text, K + 1);
            naive += medoid_share(direct, K + 1);
            smallest += larger;
            for (int i = 0; i <= K; i++) free(text[i]), free(direct[i]);
        }
        print_message(
            "%s: medoid %.3f of %d secrets (chance .25), smallest %.3f; walks "
            "from the original itself: %.3f\n",
            models[m], hidden / SECRETS, SECRETS, smallest / SECRETS, naive / SECRETS);
        double four = 4 * sqrt(.25 * .75 / SECRETS);
        assert_true(hidden / SECRETS < .25 + four);
        assert_true(hidden / SECRETS > .25 - four);
        assert_true(smallest / SECRETS < .25 + four); /* VGG-16 without walls: .56 */
        assert_true(naive / SECRETS > .25 + four);
        amg_graph_free(g);
    }
}

static void decoys_differ_by_index_and_secret_and_repeat_by_both(void **state)
{
    (void)state;
    amg_graph *g = zoo("vgg16");
    amg_decoy_options o = {.walk_steps = 6};
    amg_graph *a = decoy(1, g, 1, 2, 10, o), *again = decoy(1, g, 1, 2, 10, o);
    amg_graph *b = decoy(1, g, 2, 2, 10, o), *c = decoy(2, g, 1, 2, 10, o);
    assert_true(same_structure(a, again));
    assert_false(same_structure(a, b));
    assert_false(same_structure(a, c));
    amg_graph_free(a);
    amg_graph_free(again);
    amg_graph_free(b);
    amg_graph_free(c);
    amg_graph_free(g);
}

static void same_decoys_are_copies_but_for_their_classes(void **state)
{
    (void)state;
    amg_graph *g = zoo("resnet18");
    amg_decoy_options o = {.arch = AMG_DECOY_SAME};
    amg_graph *a = decoy(1, g, 1, 1, 10, o), *b = decoy(1, g, 1, 1, 17, o);
    assert_true(same_structure(g, a));
    assert_plans(b, g, 17);
    char *x = structure(g, 0), *y = structure(b, 0);
    assert_int_equal(distance(x, y), 2); /* the last layer's line, both ways */
    free(x);
    free(y);
    amg_graph_free(a);
    amg_graph_free(b);
    amg_graph_free(g);
}

static void covers_of_other_classes_give_every_model_another_head(void **state)
{
    (void)state;
    const char *models[] = {"lenet", "mlp", "mobilenet_v2", "vgg16"};
    for (int m = 0; m < 4; m++) {
        amg_graph *g = zoo(models[m]);
        for (unsigned s = 0; s < 4; s++) {
            amg_graph *d = decoy(s, g, 1, 1, s % 2 ? 3 : 100, (amg_decoy_options){0});
            assert_plans(d, g, s % 2 ? 3 : 100);
            amg_graph_free(d);
        }
        amg_graph_free(g);
    }
}

/* One linear layer, from the data to the classes. */
static amg_graph *regression(void)
{
    amg_builder *b = amg_builder_new();
    amg_tensor w = {.dtype = AMG_F32, .rank = 2, .dims = {10, 7}};
    int x = amg_builder_input(b, "x", AMG_F32, 2, (int64_t[]){AMG_DIM_BATCH, 7});
    x = amg_builder_node(b, AMG_OP_GEMM, "fc",
                         (int[]){x, amg_builder_param(b, "w", &w)}, 2,
                         (amg_attr[]){amg_int("transB", 1)}, 1, NULL);
    amg_builder_output(b, x);
    amg_graph *g = NULL;
    assert_int_equal(amg_builder_finish(b, &g, NULL), AMG_OK);
    amg_builder_free(b);
    return g;
}

/* The zoo's networks have something to change: a table's width, a feed-forward layer,
 * filters, an activation. */
static void networks_without_anything_to_change_are_known(void **state)
{
    (void)state;
    const struct {
        const char *name;
        bool walks;
    } models[] = {{"transformer_lm", true}, {"gpt", true},  {"text_cnn", true},
                  {"embedding_bag", true},  {"lstm", true}, {"lenet", true},
                  {"regression", false}};
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        amg_graph *g = !models[m].walks                      ? regression()
                       : strcmp(models[m].name, "lstm") == 0 ? stacked_lstm(1)
                                                             : zoo(models[m].name);
        amg_error err = {0};
        bool walks = !models[m].walks;
        assert_int_equal(amg_decoy_can_walk(g, &walks, &err), AMG_OK);
        if (walks != models[m].walks) fail_msg("%s: %d", models[m].name, walks);
        amg_graph *d = decoy(1, g, 1, 1, 0, (amg_decoy_options){.walk_steps = 24});
        char *own = structure(g, 0), *other = structure(d, 0);
        if (!strcmp(own, other) == walks)
            fail_msg("%s walked: %d", models[m].name, walks);
        free(own);
        free(other);
        amg_graph_free(d);
        amg_graph_free(g);
    }
}

static void paper_modes_decoys_have_the_parameters_asked_for(void **state)
{
    (void)state;
    const char *models[] = {"resnet18", "lenet", "mlp"};
    const double amounts[] = {.25, .5, 1.0, 2.0};
    const int decoys[] = {1, 3};
    for (int m = 0; m < 3; m++) {
        amg_graph *g = zoo(models[m]);
        double own = (double)amg_graph_num_trainable(g);
        for (int a = 0; a < 4; a++)
            for (int k = 0; k < 2; k++) {
                double sum = 0;
                for (int i = 1; i <= decoys[k]; i++) {
                    amg_graph *d =
                        decoy(3, g, i, decoys[k], 10,
                              (amg_decoy_options){.model_amount = amounts[a]});
                    sum += (double)amg_graph_num_trainable(d);
                    assert_plans(d, g, 10);
                    amg_graph_free(d);
                }
                if (fabs(sum / (amounts[a] * own) - 1) > .05)
                    fail_msg("%s: %d decoys have %.0f parameters, %g x %.0f expected",
                             models[m], decoys[k], sum, amounts[a], own);
            }
        amg_graph_free(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(up_and_down_the_ladder_are_inverse),
        cmocka_unit_test(walks_of_every_zoo_model_plan_and_stay_bounded),
        cmocka_unit_test(a_step_leads_back_as_often_as_away),
        cmocka_unit_test(the_original_is_no_medoid_and_no_smallest_of_its_candidates),
        cmocka_unit_test(decoys_differ_by_index_and_secret_and_repeat_by_both),
        cmocka_unit_test(same_decoys_are_copies_but_for_their_classes),
        cmocka_unit_test(covers_of_other_classes_give_every_model_another_head),
        cmocka_unit_test(networks_without_anything_to_change_are_known),
        cmocka_unit_test(paper_modes_decoys_have_the_parameters_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
