/* Attention written in parts, against PyTorch's values (make_attention_goldens.py), and
 * whether it became one kernel: it must where heads are only views of what is computed,
 * and must not where gradients of its operands would meet. */
#include "node_fixture.h"

#include <float.h>

#include "engine/kernel.h"

static int project(const golden *g, int x, const char *weight)
{
    return PLAIN(AMG_OP_MAT_MUL, x, PARAM(weight));
}

static int turn(const golden *g, int x, int64_t a, int64_t b, int64_t c, int64_t d)
{
    return WITH(AMG_OP_TRANSPOSE, INTS("perm", a, b, c, d), x);
}

static int scaled(const golden *g, int x, const char *name, float by)
{
    return PLAIN(AMG_OP_MUL, x, network_scalar(g, name, by));
}

/* [samples, tokens, 2 * width] -> [samples, 2, tokens, width]; name: of a constant. */
static int heads(const golden *g, int x, const char *name, int64_t tokens,
                 int64_t width)
{
    const int64_t dims[4] = {2, tokens, 2, width};
    return turn(g, PLAIN(AMG_OP_RESHAPE, x, vector(g, name, 4, dims)), 0, 2, 1, 3);
}

static int joined(const golden *g, int x, int64_t tokens, int64_t width)
{
    const int64_t dims[3] = {2, tokens, 2 * width};
    return PLAIN(AMG_OP_RESHAPE, turn(g, x, 0, 2, 1, 3), vector(g, "joined", 3, dims));
}

/* As TorchScript's exporter writes nn.MultiheadAttention: the parts of the projection
 * are split off, samples and heads joined, and split again; half of the scale on either
 * side. 5 tokens, 3 samples, 2 heads of 4. */
static int packed(const golden *g, int x)
{
    float causal[25];
    amg_tensor t;
    int part[3], y = project(g, x, "qkv");
    for (int i = 0; i < 25; i++) causal[i] = i % 5 > i / 5 ? -INFINITY : 0;
    assert_ok(amg_tensor_view(AMG_F32, 2, (int64_t[]){5, 5}, causal, &t, err));
    const int mask = amg_builder_param(g->b, "mask", &t);
    y = PLAIN(AMG_OP_RESHAPE, y, VECTOR("three", 5, 3, 3, 8));
    y = turn(g, y, 2, 0, 1, 3);
    for (int i = 0; i < 3; i++) {
        static const char *const index[] = {"first", "second", "third"};
        static const char *const shape[] = {"flat_q", "flat_k", "flat_v"};
        static const char *const back[] = {"q_heads", "k_heads", "v_heads"};
        part[i] = PLAIN(AMG_OP_GATHER, y, index_scalar(g, index[i], i));
        part[i] = PLAIN(AMG_OP_RESHAPE, part[i], VECTOR(shape[i], 5, 6, 4));
        part[i] = WITH(AMG_OP_TRANSPOSE, INTS("perm", 1, 0, 2), part[i]);
        part[i] = PLAIN(AMG_OP_RESHAPE, part[i], VECTOR(back[i], 3, 2, 5, 4));
    }
    const float half = sqrtf(0.5f);
    const int k = scaled(g, turn(g, part[1], 0, 1, 3, 2), "half_k", half);
    y = PLAIN(AMG_OP_MAT_MUL, scaled(g, part[0], "half_q", half), k);
    y = PLAIN(AMG_OP_SOFTMAX, PLAIN(AMG_OP_ADD, mask, y));
    y = PLAIN(AMG_OP_MAT_MUL, y, part[2]);
    y = PLAIN(AMG_OP_RESHAPE, turn(g, y, 2, 0, 1, 3), VECTOR("rows", 5, 3, 8));
    return project(g, y, "out");
}

static int crossed(const golden *g, int x)
{
    int memory =
        PLAIN(AMG_OP_SLICE, x, VECTOR("start", 0), VECTOR("end", 3), VECTOR("axis", 1));
    memory = PLAIN(AMG_OP_TANH, memory);
    int mask =
        WITH(AMG_OP_GATHER, amg_int("axis", 2), memory, index_scalar(g, "column", 0));
    mask = PLAIN(AMG_OP_GREATER, mask, network_scalar(g, "zero", 0));
    mask = PLAIN(AMG_OP_WHERE, mask, network_scalar(g, "kept", 0),
                 network_scalar(g, "masked", -2));
    mask = PLAIN(AMG_OP_RESHAPE, mask, VECTOR("mask_shape", 2, 1, 1, 3));
    const int q = heads(g, project(g, x, "q"), "q_heads", 5, 4);
    const int k = heads(g, project(g, memory, "k"), "k_heads", 3, 4);
    const int v = heads(g, project(g, memory, "v"), "v_heads", 3, 3);
    int y = PLAIN(AMG_OP_MAT_MUL, q, turn(g, k, 0, 1, 3, 2));
    y = PLAIN(AMG_OP_ADD, PLAIN(AMG_OP_DIV, y, network_scalar(g, "two", 2)), mask);
    return joined(g, PLAIN(AMG_OP_MAT_MUL, PLAIN(AMG_OP_SOFTMAX, y), v), 5, 3);
}

/* Bools [1 or 2,1,5,5] of what each query sees; name: of the constant. */
static int seen_by(const golden *g, const char *name, int samples,
                   bool (*sees)(int sample, int i, int j))
{
    bool bools[50];
    amg_tensor t;
    for (int k = 0; k < 25 * samples; k++) bools[k] = sees(k / 25, k / 5 % 5, k % 5);
    assert_ok(
        amg_tensor_view(AMG_BOOL, 4, (int64_t[]){samples, 1, 5, 5}, bools, &t, err));
    return amg_builder_param(g->b, name, &t);
}

static bool sees_before(int sample, int i, int j) { return sample == 0 && j <= i; }
static bool sees_some(int sample, int i, int j)
{
    return sample == 0 ? j <= i : i != 3 && j != 1; /* query 3 of sample 1: nothing */
}

static int self_scores(const golden *g, int x)
{
    const int q = heads(g, project(g, x, "q"), "q_heads", 5, 4);
    const int k = heads(g, project(g, x, "k"), "k_heads", 5, 4);
    const int y = PLAIN(AMG_OP_MAT_MUL, q, turn(g, k, 0, 1, 3, 2));
    return PLAIN(AMG_OP_DIV, y, network_scalar(g, "two", 2));
}

static int self_values(const golden *g, int x, int weights)
{
    const int v = heads(g, project(g, x, "v"), "v_heads", 5, 3);
    return joined(g, PLAIN(AMG_OP_MAT_MUL, weights, v), 5, 3);
}

/* As GPT-2 was written: scores that are not to be seen give way to a low number. */
static int causal(const golden *g, int x)
{
    const int seen = seen_by(g, "seen", 1, sees_before);
    const int y =
        PLAIN(AMG_OP_WHERE, seen, self_scores(g, x), network_scalar(g, "low", -1e4f));
    return self_values(g, x, PLAIN(AMG_OP_SOFTMAX, y));
}

/* By the data, the other way round, with a number that leaves weight to what is hidden,
 * and a mask on top. */
static int hidden(const golden *g, int x)
{
    int seen = WITH(AMG_OP_GATHER, amg_int("axis", 2), x, index_scalar(g, "column", 0));
    seen = PLAIN(AMG_OP_LESS, seen, network_scalar(g, "zero", 0));
    seen = PLAIN(AMG_OP_RESHAPE, seen, VECTOR("mask_shape", 2, 1, 1, 5));
    int y =
        PLAIN(AMG_OP_WHERE, seen, network_scalar(g, "low", -0.5f), self_scores(g, x));
    const float slope[5] = {0, -0.25f, -0.5f, -0.75f, -1};
    amg_tensor t;
    assert_ok(amg_tensor_view(AMG_F32, 1, (int64_t[]){5}, slope, &t, err));
    const int mask = amg_builder_param(g->b, "slope", &t);
    amg_builder_say(g->b, mask, AMG_SAID_CONSTANT);
    y = PLAIN(AMG_OP_ADD, y, mask);
    return self_values(g, x, PLAIN(AMG_OP_SOFTMAX, y));
}

/* As Bloom was written: a slope along the keys, and then what is not to be seen. */
static int biased(const golden *g, int x)
{
    const float slope[5] = {0, -0.25f, -0.5f, -0.75f, -1};
    amg_tensor t;
    assert_ok(amg_tensor_view(AMG_F32, 1, (int64_t[]){5}, slope, &t, err));
    const int mask = amg_builder_param(g->b, "slope", &t);
    amg_builder_say(g->b, mask, AMG_SAID_CONSTANT);
    const int seen = seen_by(g, "seen", 2, sees_some);
    const int y = PLAIN(AMG_OP_ADD, mask, self_scores(g, x));
    return self_values(g, x,
                       PLAIN(AMG_OP_SOFTMAX, PLAIN(AMG_OP_WHERE, seen, y,
                                                   network_scalar(g, "low", -0.75f))));
}

/* As Attention by bools is lowered: where nothing is seen, the result is 0. */
static int unseen(const golden *g, int x)
{
    const int seen = seen_by(g, "seen", 2, sees_some);
    int y = PLAIN(AMG_OP_WHERE, seen, self_scores(g, x),
                  network_scalar(g, "low", -FLT_MAX));
    y = PLAIN(AMG_OP_WHERE, seen, PLAIN(AMG_OP_SOFTMAX, y),
              network_scalar(g, "none", 0));
    return self_values(g, x, y);
}

/* Weights that another condition hides than their scores stay in parts. */
static int half_hidden(const golden *g, int x)
{
    const int seen = seen_by(g, "seen", 1, sees_before);
    const int some = seen_by(g, "some", 2, sees_some);
    int y = PLAIN(AMG_OP_WHERE, seen, self_scores(g, x),
                  network_scalar(g, "low", -FLT_MAX));
    y = PLAIN(AMG_OP_WHERE, some, PLAIN(AMG_OP_SOFTMAX, y),
              network_scalar(g, "none", 0));
    return self_values(g, x, y);
}

/* Q, K and V from columns at.. of what x projects to; 2 heads of width 2. */
static int parts(const golden *g, int x, const int64_t at[3])
{
    static const char *const names[3][3] = {
        {"q0", "q1", "q2"}, {"k0", "k1", "k2"}, {"v0", "v1", "v2"}};
    const int all = project(g, x, "w"), axis = VECTOR("axis", 2);
    int part[3];
    for (int i = 0; i < 3; i++) {
        part[i] = PLAIN(AMG_OP_SLICE, all, VECTOR(names[i][0], at[i]),
                        VECTOR(names[i][1], at[i] + 4), axis);
        part[i] = heads(g, part[i], names[i][2], 5, 2);
    }
    int y = PLAIN(AMG_OP_MAT_MUL, part[0], turn(g, part[1], 0, 1, 3, 2));
    y = PLAIN(AMG_OP_SOFTMAX, scaled(g, y, "scale", sqrtf(0.5f)));
    return joined(g, PLAIN(AMG_OP_MAT_MUL, y, part[2]), 5, 2);
}

static int apart(const golden *g, int x) { return parts(g, x, (int64_t[]){8, 0, 4}); }
static int tied(const golden *g, int x) { return parts(g, x, (int64_t[]){4, 4, 12}); }
static int overlapping(const golden *g, int x)
{
    return parts(g, x, (int64_t[]){0, 2, 4});
}

/* With weights that are dropped; in_parts: somebody else reads them, too. */
static int dropping(const golden *g, int x, bool in_parts)
{
    const int q = heads(g, project(g, x, "q"), "q_heads", 5, 4);
    const int k = heads(g, project(g, x, "k"), "k_heads", 5, 4);
    const int v = heads(g, project(g, x, "v"), "v_heads", 5, 3);
    const int w =
        PLAIN(AMG_OP_SOFTMAX, PLAIN(AMG_OP_MAT_MUL, q, turn(g, k, 0, 1, 3, 2)));
    int y = PLAIN(AMG_OP_DROPOUT, w, network_scalar(g, "ratio", 0.25f));
    y = joined(g, PLAIN(AMG_OP_MAT_MUL, y, v), 5, 3);
    if (!in_parts) return y;
    const int none =
        PLAIN(AMG_OP_MUL, PLAIN(AMG_OP_REDUCE_SUM, w), network_scalar(g, "none", 0));
    return PLAIN(AMG_OP_ADD, y, PLAIN(AMG_OP_RESHAPE, none, VECTOR("one", 1, 1, 1)));
}
static int dropped(const golden *g, int x) { return dropping(g, x, false); }
static int dropped_in_parts(const golden *g, int x) { return dropping(g, x, true); }

/* ---- tests ---- */

typedef struct {
    golden_case c;
    int training, evaluation; /* how many of its steps are attention, forward */
} attention_case;

static const attention_case cases[] = {{{"packed", packed}, 1, 1},
                                       {{"crossed", crossed}, 1, 1},
                                       {{"causal", causal}, 1, 1},
                                       {{"hidden", hidden}, 1, 1},
                                       {{"biased", biased}, 1, 1},
                                       {{"unseen", unseen}, 1, 1},
                                       {{"half_hidden", half_hidden}, 0, 0},
                                       {{"apart", apart}, 1, 1},
                                       {{"tied", tied}, 0, 1},
                                       {{"overlapping", overlapping}, 0, 1}};
#define NUM_CASES (sizeof cases / sizeof *cases)

static void matches_pytorch(void **state)
{
    const attention_case *c = *state;
    check_golden_case("attention.safetensors", &c->c);
}

static int count_steps(const amg_graph *graph, bool training)
{
    int count = 0;
    bound b = bind_plan(graph, (amg_plan_options){.training = training});
    for (int i = 0; i < b.plan->num_steps; i++)
        count += strcmp(b.plan->steps[i].what, "attention") == 0;
    bound_clear(&b);
    return count;
}

static void becomes_one_kernel(void **state)
{
    const attention_case *c = *state;
    amg_safetensors *st = open_goldens("attention.safetensors");
    golden g = {st, c->c.name, NULL};
    amg_graph *graph = golden_case_graph(&g, &c->c);
    assert_int_equal(count_steps(graph, true), c->training);
    assert_int_equal(count_steps(graph, false), c->evaluation);
    amg_graph_free(graph);
    amg_safetensors_close(st);
}

static void gradients_match_finite_differences(void **state)
{
    const attention_case *c = *state;
    amg_safetensors *st = open_goldens("attention.safetensors");
    golden g = {st, c->c.name, NULL};
    amg_graph *graph = golden_case_graph(&g, &c->c);
    check_finite_differences(&g, graph, 1);
    amg_graph_free(graph);
    amg_safetensors_close(st);
}

enum { OUTPUTS = 60, WEIGHTS = 60 + 48 + 48 + 36 };

/* One step of a case with crossed's weights: its output and all gradients. */
static void run_step(const amg_safetensors *st, int (*build)(const golden *g, int x),
                     int attention, float out[OUTPUTS], float grads[WEIGHTS])
{
    golden g = {st, "crossed", NULL};
    amg_graph *graph = golden_case_graph(&g, &(golden_case){"crossed", build});
    assert_int_equal(count_steps(graph, true), attention);
    bound b = bind_plan(graph, (amg_plan_options){.training = true, .seed = 3});
    const amg_tensor *x = golden_get(&g, "", "x"), *dy = golden_get(&g, "", "dy");
    const float *y;
    int64_t count, at = 0;
    memcpy(amg_plan_input(b.plan), x->data, x->size_bytes);
    assert_ok(amg_plan_forward(b.plan, 7, &y, &count, err));
    assert_int_equal(count, OUTPUTS);
    memcpy(out, y, sizeof(float) * OUTPUTS);
    assert_ok(amg_plan_backward(b.plan, dy->data, err));
    for (int i = 0; i < amg_plan_num_slots(b.plan); i++) {
        const amg_plan_slot *slot = amg_plan_slot_at(b.plan, i);
        assert_true(at + slot->count <= WEIGHTS);
        memcpy(grads + at, slot->grad, sizeof(float) * (size_t)slot->count);
        at += slot->count;
    }
    assert_int_equal(at, WEIGHTS);
    bound_clear(&b);
    amg_graph_free(graph);
}

static void drops_what_dropout_drops(void **state)
{
    (void)state;
    float y[2][OUTPUTS], grads[2][WEIGHTS];
    amg_safetensors *st = open_goldens("attention.safetensors");
    run_step(st, dropped, 1, y[0], grads[0]);
    run_step(st, dropped_in_parts, 0, y[1], grads[1]);
    assert_true(norm_of(grads[0], WEIGHTS) > 0);
    assert_true(relative_error(y[0], y[1], OUTPUTS) < FORWARD_TOLERANCE);
    assert_true(relative_error(grads[0], grads[1], WEIGHTS) < GRADIENT_TOLERANCE);
    amg_safetensors_close(st);
}

int main(void)
{
    struct CMUnitTest tests[3 * NUM_CASES + 1] = {
        cmocka_unit_test(drops_what_dropout_drops)};
    static attention_case mutable_cases[NUM_CASES];
    memcpy(mutable_cases, cases, sizeof cases);
    for (size_t i = 0; i < NUM_CASES; i++) {
        void *c = &mutable_cases[i];
        const char *name = cases[i].c.name;
        struct CMUnitTest *test = tests + 1 + 3 * i;
        test[0] = (struct CMUnitTest){name, matches_pytorch, NULL, NULL, c};
        test[1] = (struct CMUnitTest){name, becomes_one_kernel, NULL, NULL, c};
        test[2] = (struct CMUnitTest){name, gradients_match_finite_differences, NULL,
                                      NULL, c};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
