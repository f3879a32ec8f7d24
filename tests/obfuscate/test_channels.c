/* Tests of obfuscate/channels: which dims change together, and which may not. */
#include "arch_fixture.h"

#include "base/alloc.h"
#include "obfuscate/channels.h"

typedef struct {
    amg_graph *g;
    amg_channels c;
} fixture;

static int find(const amg_graph *g, const char *name)
{
    int v = amg_graph_find_value(g, name);
    if (v < 0) fail_msg("no value \"%s\"", name);
    return v;
}

static int group_of(const fixture *f, const char *value)
{
    const amg_feature_list *l = &f->c.values[find(f->g, value)];
    assert_int_equal(l->count, 1);
    return amg_channels_root(&f->c, l->segments[0].group);
}

static bool is_frozen(const fixture *f, const char *value)
{
    return f->c.frozen[group_of(f, value)];
}

static int param(amg_builder *b, const char *name, int rank, const int64_t *dims)
{
    amg_tensor t = {.dtype = AMG_F32, .rank = rank};
    memcpy(t.dims, dims, (size_t)rank * sizeof *dims);
    return amg_builder_param(b, name, &t);
}
#define PARAM(b, name, ...)                                                            \
    param(b, name, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)),          \
          (int64_t[]){__VA_ARGS__})

static int input(amg_builder *b)
{
    return amg_builder_input(b, "x", AMG_F32, 4, (int64_t[]){AMG_DIM_BATCH, 3, 8, 8});
}

static int conv(amg_builder *b, const char *name, int x, int weight, int64_t group)
{
    return amg_builder_node(b, AMG_OP_CONV, name, (int[]){x, weight}, 2,
                            (amg_attr[]){amg_int("group", group)}, 1, name);
}

static int head(amg_builder *b, int x, int64_t features)
{
    x = amg_builder_node(b, AMG_OP_FLATTEN, "flat", &x, 1, NULL, 0, "flat");
    return amg_builder_node(
        b, AMG_OP_GEMM, "fc",
        (int[]){x, PARAM(b, "fc.w", 10, features), PARAM(b, "fc.b", 10)}, 3,
        (amg_attr[]){amg_int("transB", 1)}, 1, "fc");
}

static fixture finish(amg_builder *b, int output)
{
    fixture f;
    amg_error err = {0};
    amg_builder_output(b, output);
    if (amg_builder_finish(b, &f.g, &err)) fail_msg("%s: %s", err.where, err.what);
    amg_builder_free(b);
    assert_int_equal(amg_channels_init(f.g, &f.c, NULL), AMG_OK);
    return f;
}

static void close_fixture(fixture *f)
{
    amg_channels_clear(&f->c);
    amg_graph_free(f->g);
}

/* Size of a parameter's dim once the group of value is so wide. */
static int64_t size_if(const fixture *f, const char *value, int64_t width,
                       const char *name, int dim)
{
    int64_t widths[64];
    const amg_feature_list *l = f->c.params[find(f->g, name)].dim[dim];
    for (int i = 0; i < f->c.num_groups; i++) widths[i] = f->c.width[i];
    widths[group_of(f, value)] = width;
    return l ? amg_channels_size(&f->c, l, widths) : -1;
}

static void a_width_moves_all_dims_that_follow_it(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = conv(b, "c", input(b), PARAM(b, "c.w", 4, 3, 3, 3), 1);
    x = amg_builder_node(b, AMG_OP_BATCH_NORM, "bn",
                         (int[]){x, PARAM(b, "bn.w", 4), PARAM(b, "bn.b", 4),
                                 PARAM(b, "bn.m", 4), PARAM(b, "bn.v", 4)},
                         5, NULL, 0, "bn");
    x = amg_builder_node(b, AMG_OP_RELU, "r", &x, 1, NULL, 0, "r");
    fixture f = finish(b, head(b, x, 4 * 36));
    assert_int_equal(group_of(&f, "c"), group_of(&f, "r"));
    assert_false(is_frozen(&f, "c"));
    assert_int_equal(size_if(&f, "c", 5, "c.w", 0), 5);
    assert_int_equal(size_if(&f, "c", 5, "c.w", 1), 3);
    assert_int_equal(size_if(&f, "c", 5, "bn.v", 0), 5);
    assert_int_equal(size_if(&f, "c", 5, "fc.w", 1), 5 * 36);
    assert_int_equal(size_if(&f, "c", 5, "fc.w", 0), 10);
    assert_true(is_frozen(&f, "x"));
    assert_true(is_frozen(&f, "fc"));
    close_fixture(&f);
}

static void add_ties_groups_and_concat_chains_them(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = input(b);
    int p = conv(b, "p", x, PARAM(b, "p.w", 4, 3, 1, 1), 1);
    int q = conv(b, "q", x, PARAM(b, "q.w", 4, 3, 1, 1), 1);
    int sum = amg_builder_node(b, AMG_OP_ADD, "s", (int[]){p, q}, 2, NULL, 0, "s");
    int r = conv(b, "r", x, PARAM(b, "r.w", 2, 3, 1, 1), 1);
    int cat = amg_builder_node(b, AMG_OP_CONCAT, "cat", (int[]){sum, r}, 2,
                               (amg_attr[]){amg_int("axis", 1)}, 1, "cat");
    fixture f = finish(b, head(b, cat, 6 * 64));
    assert_int_equal(group_of(&f, "p"), group_of(&f, "q"));
    assert_int_not_equal(group_of(&f, "p"), group_of(&f, "r"));
    assert_int_equal(f.c.values[find(f.g, "cat")].count, 2);
    assert_int_equal(size_if(&f, "r", 7, "fc.w", 1), (4 + 7) * 64);
    assert_int_equal(size_if(&f, "p", 7, "q.w", 0), 7);
    close_fixture(&f);
}

static void a_depthwise_convolution_carries_its_input(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int x = conv(b, "c", input(b), PARAM(b, "c.w", 4, 3, 1, 1), 1);
    x = conv(b, "d", x, PARAM(b, "d.w", 4, 1, 3, 3), 4);
    fixture f = finish(b, head(b, x, 4 * 36));
    assert_int_equal(group_of(&f, "c"), group_of(&f, "d"));
    assert_int_equal(size_if(&f, "c", 6, "d.w", 0), 6);
    assert_int_equal(size_if(&f, "c", 6, "d.w", 1), -1);
    close_fixture(&f);
}

static void what_cannot_be_resized_is_frozen(void **state)
{
    (void)state;
    /* A grouped convolution of more than one channel a group. */
    amg_builder *b = amg_builder_new();
    int x = conv(b, "c", input(b), PARAM(b, "c.w", 4, 3, 1, 1), 1);
    x = conv(b, "g", x, PARAM(b, "g.w", 4, 2, 1, 1), 2);
    fixture f = finish(b, head(b, x, 4 * 64));
    assert_true(is_frozen(&f, "c"));
    assert_true(is_frozen(&f, "g"));
    close_fixture(&f);

    /* A weight that another operator, unknown here, reads too. */
    b = amg_builder_new();
    int w = PARAM(b, "w", 4, 2, 1, 1);
    x = conv(b, "c", input(b), PARAM(b, "c.w", 2, 3, 1, 1), 1);
    int p = conv(b, "p", x, w, 1);
    int q = conv(b, "q", p, w, 2);
    int sum = amg_builder_node(b, AMG_OP_ADD, "s", (int[]){p, q}, 2, NULL, 0, "s");
    f = finish(b, head(b, sum, 4 * 64));
    assert_true(is_frozen(&f, "p"));
    assert_true(is_frozen(&f, "c"));
    close_fixture(&f);

    /* A vector of constants on features. */
    b = amg_builder_new();
    x = amg_builder_node(b, AMG_OP_FLATTEN, "f0", (int[]){input(b)}, 1, NULL, 0, "f0");
    x = amg_builder_node(b, AMG_OP_GEMM, "h", (int[]){x, PARAM(b, "h.w", 6, 192)}, 2,
                         (amg_attr[]){amg_int("transB", 1)}, 1, "h");
    x = amg_builder_node(b, AMG_OP_SUB, "k", (int[]){x, PARAM(b, "k.c", 6)}, 2, NULL, 0,
                         "k");
    x = amg_builder_node(b, AMG_OP_GEMM, "o", (int[]){x, PARAM(b, "o.w", 10, 6)}, 2,
                         (amg_attr[]){amg_int("transB", 1)}, 1, "o");
    f = finish(b, x);
    assert_true(is_frozen(&f, "h"));
    close_fixture(&f);
}

/* Groups of two CIFAR forms, counted by hand from the networks' papers. */
static void zoo_models_have_the_groups_their_structure_gives(void **state)
{
    (void)state;
    const struct {
        const char *name;
        int movable;
    } models[] = {
        {"lenet", 4},        /* two convolutions, two hidden layers */
        {"resnet18", 4 + 8}, /* a residual stream a stage, one inside each block */
    };
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        fixture f = {.g = zoo(models[m].name)};
        assert_int_equal(amg_channels_init(f.g, &f.c, NULL), AMG_OK);
        int movable = 0;
        for (int i = 0; i < f.c.num_groups; i++)
            movable += amg_channels_root(&f.c, i) == i && !f.c.frozen[i];
        assert_int_equal(movable, models[m].movable);
        close_fixture(&f);
    }
}

static void every_failing_allocation_is_reported(void **state)
{
    (void)state;
    amg_graph *g = zoo("lenet");
    long n = 0;
    for (amg_status st = AMG_NO_MEMORY; st; n++) {
        amg_channels c;
        long countdown = n + 1;
        amg_alloc_fail_after(&countdown);
        st = amg_channels_init(g, &c, NULL);
        amg_alloc_fail_after(NULL);
        if (!st)
            amg_channels_clear(&c);
        else
            assert_int_equal(st, AMG_NO_MEMORY);
    }
    assert_true(n > 1);
    amg_graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_width_moves_all_dims_that_follow_it),
        cmocka_unit_test(add_ties_groups_and_concat_chains_them),
        cmocka_unit_test(a_depthwise_convolution_carries_its_input),
        cmocka_unit_test(what_cannot_be_resized_is_frozen),
        cmocka_unit_test(zoo_models_have_the_groups_their_structure_gives),
        cmocka_unit_test(every_failing_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
