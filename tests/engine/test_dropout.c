/* Dropout whose draws count for several elements (graph/drop_mask.h): what is dropped,
 * where, how often and by what it is divided, in row-major memory and in oneDNN's
 * channel blocks. And noise. */
#include "plan_fixture.h"

#include "graph/drop_mask.h"

#define RATIO 0.25f
#define SCALE (1 / (1 - RATIO))
enum { MAX_ELEMENTS = 1 << 17 };

typedef struct {
    const char *name;
    int rank, num_axes;
    int64_t dims[4], axes[3];
    bool conv; /* behind a convolution to 20 channels, which fill no block */
} mask_case;

/* clang-format off */
static const mask_case cases[] = {
    {"samples of a vector", 2, 1, {3000, 5}, {1}, false},
    {"samples of an image", 4, 3, {2000, 4, 2, 3}, {1, 2, 3}, false},
    {"samples of a blocked image", 4, 3, {400, 16, 3, 3}, {1, 2, 3}, true},
    {"channels", 4, 2, {300, 7, 2, 3}, {2, 3}, false},
    {"channels of a blocked image", 4, 2, {100, 16, 3, 3}, {2, 3}, true},
    {"channels of a sequence", 3, 1, {200, 9, 10}, {1}, false},
    {"pixels", 4, 1, {100, 3, 5, 6}, {1}, false},
    {"pixels of a blocked image", 4, 1, {100, 16, 3, 3}, {1}, true}};
/* clang-format on */

static int parameter(amg_builder *b, const char *name, int rank, const int64_t *dims)
{
    amg_tensor t = {.dtype = AMG_F32, .rank = rank};
    memcpy(t.dims, dims, (size_t)rank * sizeof *dims);
    const int id = amg_builder_param(b, name, &t);
    amg_tensor *data = amg_builder_data(b, id);
    for (int64_t i = 0; data && i < amg_tensor_count(data); i++)
        ((float *)data->data)[i] = 0.5f + (float)(i % 7) / 8;
    return id;
}

/* dropout(conv(x)) or dropout(x * w), then once more by another mask where twice. */
static amg_graph *make_graph(const mask_case *c, bool twice)
{
    amg_builder *b = amg_builder_new();
    const float number = RATIO;
    amg_tensor t;
    assert_ok(amg_tensor_view(AMG_F32, 0, NULL, &number, &t, err));
    const int x = amg_builder_input(b, "x", AMG_F32, c->rank, c->dims);
    const int ratio = amg_builder_param(b, "ratio", &t);
    const amg_attr pads = amg_ints("pads", 4, (int64_t[]){1, 1, 1, 1});
    const amg_attr axes = amg_ints(AMG_DROP_AXES, c->num_axes, c->axes);
    int y;
    if (c->conv) {
        const int in[] = {x, parameter(b, "k", 4, (int64_t[]){20, 16, 3, 3}),
                          parameter(b, "w", 1, (int64_t[]){20})};
        y = amg_builder_node(b, AMG_OP_CONV, "conv", in, 3, &pads, 1, NULL);
    } else {
        const int in[] = {x, parameter(b, "w", c->rank, c->dims)};
        y = amg_builder_node(b, AMG_OP_MUL, "mul", in, 2, NULL, 0, NULL);
    }
    for (int i = 0; i <= twice; i++)
        y = amg_builder_node(b, AMG_OP_DROPOUT, i ? "second" : "drop",
                             (int[]){y, ratio}, 2, &axes, 1, NULL);
    amg_builder_output(b, y);
    amg_graph *g = NULL;
    assert_ok(amg_builder_finish(b, &g, err));
    amg_builder_free(b);
    g->values[amg_graph_find_value(g, "w")].role = AMG_ROLE_TRAINABLE;
    return g;
}

/* y of count elements, inputs all the same in each call. */
static void run(const bound *b, int64_t step, int64_t in_count, float *out,
                int64_t *count)
{
    const float *y;
    for (int64_t i = 0; i < in_count; i++)
        ((float *)amg_plan_input(b->plan))[i] = 0.25f + (float)(i % 5) / 4;
    assert_ok(amg_plan_forward(b->plan, step, &y, count, err));
    assert_in_range(*count, 1, MAX_ELEMENTS);
    memcpy(out, y, (size_t)*count * sizeof *out);
}

static int64_t product(const int64_t *dims, int rank)
{
    int64_t n = 1;
    for (int i = 0; i < rank; i++) n *= dims[i];
    return n;
}

/* The draw of element i: its place in the mask. */
static int64_t draw_of(const mask_case *c, const int64_t *dims, int64_t i)
{
    int64_t at = 0, stride = 1;
    for (int d = c->rank - 1; d >= 0; d--) {
        bool shared = false;
        for (int k = 0; k < c->num_axes; k++) shared = shared || c->axes[k] == d;
        if (!shared) at += i % dims[d] * stride;
        if (!shared) stride *= dims[d];
        i /= dims[d];
    }
    return at;
}

/* kept[draw] by what came out; all that a draw counts for goes the same way. */
static void read_mask(const mask_case *c, const int64_t *dims, const float *whole,
                      const float *y, int64_t count, int8_t *kept)
{
    memset(kept, -1, MAX_ELEMENTS);
    for (int64_t i = 0; i < count; i++) {
        const int64_t draw = draw_of(c, dims, i);
        const int8_t keep = y[i] != 0;
        assert_true(whole[i] != 0);
        if (kept[draw] >= 0) assert_int_equal(kept[draw], keep);
        kept[draw] = keep;
        if (keep) assert_float_equal(y[i], whole[i] * SCALE, 1e-5f * fabsf(y[i]));
    }
}

static void one_draw_counts_along_the_axes(void **state)
{
    const mask_case *c = *state;
    static float whole[MAX_ELEMENTS], y[MAX_ELEMENTS], again[MAX_ELEMENTS],
        dy[MAX_ELEMENTS];
    static int8_t kept[MAX_ELEMENTS], other[MAX_ELEMENTS];
    const int64_t in_count = product(c->dims, c->rank);
    int64_t dims[4], count;
    memcpy(dims, c->dims, sizeof dims);
    if (c->conv) dims[1] = 20;
    amg_graph *g = make_graph(c, false);
    bound b = bind_plan(g, (amg_plan_options){.training = false});
    run(&b, 7, in_count, whole, &count);
    bound_clear(&b);

    b = bind_plan(g, (amg_plan_options){.training = true, .seed = 3});
    run(&b, 8, in_count, again, &count);
    read_mask(c, dims, whole, again, count, other);
    run(&b, 7, in_count, y, &count);
    read_mask(c, dims, whole, y, count, kept);
    int64_t draws = 0, num_kept = 0, same = 0;
    for (; draws < MAX_ELEMENTS && kept[draws] >= 0; draws++) {
        num_kept += kept[draws];
        same += kept[draws] == other[draws];
    }
    /* Six standard deviations; the same mask in both steps would agree in all. */
    const double spread = 6 * sqrt((double)draws * RATIO * (1 - RATIO));
    assert_true(fabs((double)num_kept - (double)draws * (1 - RATIO)) < spread);
    assert_true((double)same < 0.8 * (double)draws);

    for (int64_t i = 0; i < count; i++) dy[i] = 1;
    assert_ok(amg_plan_backward(b.plan, dy, err));
    const amg_plan_slot *slot = amg_plan_slot_at(b.plan, c->conv); /* behind "k" */
    double expected[20] = {0};
    for (int64_t i = 0; i < count; i++) {
        const double gradient = kept[draw_of(c, dims, i)] ? (double)SCALE : 0;
        const double x = 0.25 + (double)(i % 5) / 4;
        if (c->conv)
            expected[i / (dims[2] * dims[3]) % dims[1]] += gradient;
        else
            assert_float_equal(slot->grad[i], x * gradient, 1e-5 * x);
    }
    for (int k = 0; c->conv && k < 20; k++)
        assert_float_equal(slot->grad[k], expected[k], 1e-4 * expected[k]);
    bound_clear(&b);
    amg_graph_free(g);
}

/* Two of them drop other elements, and each those of its own place in the network. */
static void masks_are_those_of_their_place(void **state)
{
    (void)state;
    static float first[MAX_ELEMENTS], both[MAX_ELEMENTS];
    const mask_case *c = &cases[0];
    const int64_t in_count = product(c->dims, c->rank);
    int64_t count, num_first = 0, num_both = 0;
    for (int twice = 0; twice < 2; twice++) {
        amg_graph *g = make_graph(c, twice);
        bound b = bind_plan(g, (amg_plan_options){.training = true, .seed = 3});
        run(&b, 7, in_count, twice ? both : first, &count);
        bound_clear(&b);
        amg_graph_free(g);
    }
    for (int64_t i = 0; i < count; i++) {
        num_first += first[i] != 0;
        num_both += both[i] != 0;
        if (first[i] == 0) assert_true(both[i] == 0);
    }
    assert_true(num_both * 100 < num_first * 85 && num_both * 100 > num_first * 65);
}

/* ---- noise: RandomNormalLike of mean 3 and deviation 2, RandomUniformLike of [1, 5)
 * ---- */

enum { NUM_DRAWN = 60000 };

static amg_graph *noise_graph(bool normal)
{
    amg_builder *b = amg_builder_new();
    const int64_t dims[] = {NUM_DRAWN / 4, 4};
    const amg_attr attrs[2] = {
        {.name = normal ? "mean" : "low", .kind = AMG_ATTR_FLOAT, .f = normal ? 3 : 1},
        {.name = normal ? "scale" : "high",
         .kind = AMG_ATTR_FLOAT,
         .f = normal ? 2 : 5}};
    int y[2] = {amg_builder_input(b, "x", AMG_F32, 2, dims)};
    const int x = y[0];
    for (int i = 0; i < 2; i++)
        y[i] = amg_builder_node(
            b, normal ? AMG_OP_RANDOM_NORMAL_LIKE : AMG_OP_RANDOM_UNIFORM_LIKE,
            i ? "b" : "a", &x, 1, attrs, 2, NULL);
    const amg_attr axis = amg_int("axis", 1);
    amg_builder_output(
        b, amg_builder_node(b, AMG_OP_CONCAT, "both", y, 2, &axis, 1, NULL));
    amg_graph *g = NULL;
    assert_ok(amg_builder_finish(b, &g, err));
    amg_builder_free(b);
    return g;
}

/* The k-th of the two noises. */
static void draw_noise(const bound *b, int64_t step, int k, float *out)
{
    static float both[MAX_ELEMENTS];
    int64_t count;
    run(b, step, NUM_DRAWN, both, &count);
    assert_int_equal(count, 2 * NUM_DRAWN);
    for (int i = 0; i < NUM_DRAWN; i++) out[i] = both[i / 4 * 8 + 4 * k + i % 4];
}

/* Whether a share of all, or a mean of independent numbers, is within six of its
 * standard deviations. */
static void expect_near(double found, double expected, double deviation)
{
    const double spread = 6 * deviation / sqrt(NUM_DRAWN);
    if (!(fabs(found - expected) < spread))
        fail_msg("found %g, expected %g within %g", found, expected, spread);
}

static void noise_has_its_law_and_repeats(void **state)
{
    (void)state;
    static float a[NUM_DRAWN], other[NUM_DRAWN];
    for (int normal = 0; normal < 2; normal++) {
        amg_graph *g = noise_graph(normal);
        bound b = bind_plan(g, (amg_plan_options){.training = true, .seed = 3});
        draw_noise(&b, 7, 0, a);
        double mean = 0, variance = 0, inner = 0, along = 0;
        const double expected = normal ? 4 : 16.0 / 12;
        for (int i = 0; i < NUM_DRAWN; i++) {
            const double d = (double)a[i] - 3;
            if (!normal) assert_true(a[i] >= 1 && a[i] < 5);
            mean += (double)a[i] / NUM_DRAWN;
            variance += d * d / NUM_DRAWN;
            inner += (fabs(d) < (normal ? 2 : 1)) / (double)NUM_DRAWN;
            if (i) along += d * ((double)a[i - 1] - 3) / NUM_DRAWN;
        }
        expect_near(mean, 3, sqrt(expected));
        expect_near(variance, expected, normal ? expected * sqrt(2) : 1.2);
        expect_near(inner, normal ? 0.682689 : 0.5, 0.5);
        expect_near(along, 0, expected);
        draw_noise(&b, 7, 0, other);
        assert_memory_equal(a, other, sizeof a);
        draw_noise(&b, 8, 0, other);
        assert_memory_not_equal(a, other, sizeof a);
        draw_noise(&b, 7, 1, other);
        assert_memory_not_equal(a, other, sizeof a);
        bound_clear(&b);
        b = bind_plan(g, (amg_plan_options){.training = false});
        draw_noise(&b, 7, 0, a);
        for (int i = 0; i < NUM_DRAWN; i++) assert_true(a[i] == 3);
        bound_clear(&b);
        amg_graph_free(g);
    }
}

int main(void)
{
    enum { NUM_CASES = sizeof cases / sizeof *cases, OTHERS = 2 };
    struct CMUnitTest tests[NUM_CASES + OTHERS] = {
        cmocka_unit_test(masks_are_those_of_their_place),
        cmocka_unit_test(noise_has_its_law_and_repeats)};
    static mask_case mutable_cases[NUM_CASES];
    memcpy(mutable_cases, cases, sizeof cases);
    for (int i = 0; i < NUM_CASES; i++)
        tests[OTHERS + i] =
            (struct CMUnitTest){cases[i].name, one_draw_counts_along_the_axes, NULL,
                                NULL, &mutable_cases[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
