/* The plan's promises: same bits whatever happens around it, exact parameter transfer,
 * no allocation in a step, reuse of memory, errors that name the node. */
#include "plan_fixture.h"

#include "base/rng.h"

static int open_network(void **state)
{
    *state = open_goldens("network.safetensors");
    return 0;
}

static int close_network(void **state)
{
    amg_safetensors_close(*state);
    return 0;
}

static uint64_t hash(uint64_t h, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++) h = (h ^ bytes[i]) * UINT64_C(1099511628211);
    return h;
}

/* One training step with plain gradient descent; returns a hash of logits, gradients
 * and parameters. */
static uint64_t train_step(const bound *b, const amg_safetensors *st, int64_t step)
{
    golden g = {st, "network", NULL};
    const amg_tensor *x = golden_get(&g, "", "x"), *dy = golden_get(&g, "", "dy");
    const float *logits;
    int64_t count;
    memcpy(amg_plan_input(b->plan), x->data, x->size_bytes);
    assert_ok(amg_plan_forward(b->plan, step, &logits, &count, err));
    uint64_t h = hash(step ? 1 : 2, logits, dy->size_bytes);
    assert_ok(amg_plan_backward(b->plan, dy->data, err));
    for (int i = 0; i < amg_plan_num_slots(b->plan); i++) {
        const amg_plan_slot *s = amg_plan_slot_at(b->plan, i);
        size_t bytes = sizeof(float) * (size_t)s->count;
        h = hash(h, s->grad, bytes);
        for (int64_t k = 0; k < s->count; k++) s->value[k] -= 0.01f * s->grad[k];
        h = hash(h, s->value, bytes);
    }
    return h;
}

#define STEPS 3
static const amg_plan_options training = {.training = true, .seed = 5, .num_states = 2};

/* What happens between two steps. */
typedef enum { NOTHING, POISON, OTHER_PLAN } disturbance;

static void run_steps(const amg_safetensors *st, disturbance what, uint64_t out[STEPS])
{
    amg_graph *graph = network_graph(st, 0.5f);
    bound b = bind_plan(graph, training);
    bound other = bind_plan(graph, (amg_plan_options){.training = true, .seed = 6});
    amg_plan_bind(other.plan, b.workspace);
    for (int i = 0; i < STEPS; i++) {
        if (what == POISON) memset(b.workspace, 0xff, amg_plan_workspace_bytes(b.plan));
        if (what == OTHER_PLAN) (void)train_step(&other, st, i + 100);
        out[i] = train_step(&b, st, i);
    }
    bound_clear(&other);
    bound_clear(&b);
    amg_graph_free(graph);
}

static void assert_same_steps(const amg_safetensors *st, disturbance what)
{
    uint64_t expected[STEPS], found[STEPS];
    run_steps(st, NOTHING, expected);
    run_steps(st, what, found);
    assert_true(expected[1] != expected[2]); /* the steps do something */
    for (int i = 0; i < STEPS; i++) assert_true(expected[i] == found[i]);
}

static void a_rerun_gives_identical_bits(void **state)
{
    assert_same_steps(*state, NOTHING);
}
static void a_poisoned_workspace_changes_nothing(void **state)
{
    assert_same_steps(*state, POISON);
}
static void another_plan_on_the_workspace_changes_nothing(void **state)
{
    assert_same_steps(*state, OTHER_PLAN);
}

static void fill_random(amg_params *set, uint64_t seed)
{
    amg_rng rng = amg_rng_init(seed, 0);
    for (int i = 0; i < set->count; i++) {
        uint32_t *words = set->items[i].tensor.data;
        for (int64_t k = 0; k < amg_tensor_count(&set->items[i].tensor); k++) do
                words[k] = amg_rng_u32(&rng); /* any finite bits, also denormal */
            while ((words[k] & 0x7f800000u) == 0x7f800000u || words[k] << 1 == 0);
    }
}

static void assert_same_sets(const amg_params *a, const amg_params *b,
                             bool trainables_only)
{
    assert_int_equal(a->count, b->count);
    for (int i = 0; i < a->count; i++)
        if (!trainables_only || a->items[i].role == AMG_ROLE_TRAINABLE)
            assert_memory_equal(a->items[i].tensor.data, b->items[i].tensor.data,
                                a->items[i].tensor.size_bytes);
}

static void parameters_and_states_travel_exactly(void **state)
{
    amg_graph *graph = network_graph(*state, 0);
    bound b = bind_plan(graph, training);
    amg_params in, out;
    assert_ok(amg_params_like(&b.params, &in, err));
    assert_ok(amg_params_like(&b.params, &out, err));
    fill_random(&in, 1);
    assert_ok(amg_plan_load(b.plan, &in, err));
    assert_ok(amg_plan_store(b.plan, &out, err));
    assert_same_sets(&in, &out, false);
    for (int which = 0; which < 2; which++) {
        fill_random(&in, 2 + (uint64_t)which);
        assert_ok(amg_plan_load_state(b.plan, which, &in, err));
        assert_ok(amg_plan_store_state(b.plan, which, &out, err));
        assert_same_sets(&in, &out, true);
    }
    assert_int_equal(amg_plan_store_state(b.plan, 2, &out, NULL), AMG_INVALID);
    amg_params_clear(&in);
    amg_params_clear(&out);
    bound_clear(&b);
    amg_graph_free(graph);
}

static int64_t nonzeros(const float *a, int64_t n)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) count += a[i] != 0;
    return count;
}

/* The stem's 3 channels and the padding of blocked weights: as many nonzeros in
 * physical memory as in the plain tensors, after two updates. */
static void padding_of_blocked_weights_stays_zero(void **state)
{
    amg_graph *graph = network_graph(*state, 0);
    bound b = bind_plan(graph, training);
    (void)train_step(&b, *state, 0);
    (void)train_step(&b, *state, 1);
    amg_params grads;
    assert_ok(amg_params_like(&b.params, &grads, err));
    assert_ok(amg_plan_store(b.plan, &b.params, err));
    assert_ok(amg_plan_store_grad(b.plan, &grads, err));
    int slot = 0;
    for (int i = 0; i < grads.count; i++) {
        if (grads.items[i].role != AMG_ROLE_TRAINABLE) continue;
        const amg_plan_slot *s = amg_plan_slot_at(b.plan, slot++);
        int64_t n = amg_tensor_count(&grads.items[i].tensor);
        assert_true(s->count >= n);
        assert_int_equal(nonzeros(s->value, s->count),
                         nonzeros(b.params.items[i].tensor.data, n));
        assert_int_equal(nonzeros(s->grad, s->count),
                         nonzeros(grads.items[i].tensor.data, n));
    }
    assert_int_equal(slot, amg_plan_num_slots(b.plan));
    amg_params_clear(&grads);
    bound_clear(&b);
    amg_graph_free(graph);
}

static void running_statistics_move_in_backward_only(void **state)
{
    amg_graph *graph = network_graph(*state, 0);
    bound b = bind_plan(graph, training);
    amg_params after;
    assert_ok(amg_params_like(&b.params, &after, err));
    golden g = {*state, "network", NULL};
    const amg_tensor *x = golden_get(&g, "", "x");
    memcpy(amg_plan_input(b.plan), x->data, x->size_bytes);
    const float *logits;
    int64_t count;
    assert_ok(amg_plan_forward(b.plan, 0, &logits, &count, err));
    assert_ok(amg_plan_store(b.plan, &after, err));
    assert_same_sets(&b.params, &after, false);
    assert_ok(amg_plan_backward(b.plan, golden_get(&g, "", "dy")->data, err));
    assert_ok(amg_plan_store(b.plan, &after, err));
    int mean = amg_params_find(&after, "mean2");
    assert_true(mean >= 0);
    assert_memory_not_equal(after.items[mean].tensor.data,
                            b.params.items[mean].tensor.data,
                            after.items[mean].tensor.size_bytes);
    amg_params_clear(&after);
    bound_clear(&b);
    amg_graph_free(graph);
}

static void a_step_allocates_nothing(void **state)
{
    amg_graph *graph = network_graph(*state, 0.5f);
    bound b = bind_plan(graph, training);
    long countdown = 1000;
    amg_alloc_fail_after(&countdown);
    (void)train_step(&b, *state, 0);
    amg_alloc_fail_after(NULL);
    assert_int_equal(countdown, 1000);
    bound_clear(&b);
    amg_graph_free(graph);
}

static void failing_allocations_are_reported_and_leak_nothing(void **state)
{
    amg_graph *graph = network_graph(*state, 0.5f);
    amg_plan *plan = NULL;
    long n = 1;
    for (; n < 5000; n += n < 20 ? 1 : 7) {
        long countdown = n;
        amg_error error = {0};
        amg_alloc_fail_after(&countdown);
        amg_status status = amg_plan_new(graph, 0, &training, &plan, &error);
        amg_alloc_fail_after(NULL);
        if (status == AMG_OK) break;
        assert_int_equal(status, AMG_NO_MEMORY);
        assert_null(plan);
    }
    assert_true(n > 20); /* some requests did fail */
    assert_non_null(plan);
    amg_plan_free(plan);
    amg_graph_free(graph);
}

/* A chain of num_convs 1x1 convolutions over 16 channels. */
static amg_graph *chain(int num_convs)
{
    amg_builder *b = amg_builder_new();
    int64_t wdims[4] = {16, 16, 1, 1};
    amg_tensor w;
    assert_ok(amg_tensor_new(AMG_F32, 4, wdims, &w, err));
    int x =
        amg_builder_input(b, "x", AMG_F32, 4, (int64_t[]){AMG_DIM_BATCH, 16, 32, 32});
    for (int i = 0; i < num_convs; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "w%d", i);
        int in[2] = {x, amg_builder_param(b, name, &w)};
        x = amg_builder_node(b, AMG_OP_CONV, name, in, 2, NULL, 0, NULL);
    }
    amg_tensor_clear(&w);
    amg_builder_output(b, x);
    amg_graph *g = NULL, *planned = NULL;
    assert_ok(amg_builder_finish(b, &g, err));
    assert_ok(amg_graph_plan_batch(g, 4, &planned, err));
    amg_builder_free(b);
    amg_graph_free(g);
    return planned;
}

static size_t chain_workspace(int num_convs, bool train)
{
    amg_graph *g = chain(num_convs);
    amg_plan *plan = NULL;
    amg_plan_options options = {.training = train};
    assert_ok(amg_plan_new(g, 0, &options, &plan, err));
    size_t bytes = amg_plan_workspace_bytes(plan);
    amg_plan_free(plan);
    amg_graph_free(g);
    return bytes;
}

static void memory_is_reused_once_a_value_is_dead(void **state)
{
    (void)state;
    const size_t activation = sizeof(float) * 4 * 16 * 32 * 32;
    /* Evaluation keeps two activations at a time, however long the chain. */
    assert_int_equal(chain_workspace(4, false), chain_workspace(24, false));
    assert_true(chain_workspace(24, false) < 5 * activation);
    /* Training keeps one activation a layer; gradients reuse what has died. */
    size_t growth = chain_workspace(24, true) - chain_workspace(14, true);
    assert_in_range(growth, 10 * activation, 11 * activation);
}

/* x -> two different 3x3 convolutions -> Add; the second node is made first if swapped,
 * and every name differs. The Add's own operand order stays. */
static amg_graph *branches(bool swapped)
{
    amg_builder *b = amg_builder_new();
    int64_t wdims[4] = {16, 16, 3, 3};
    int x =
        amg_builder_input(b, swapped ? "q" : "x", AMG_F32, 4, (int64_t[]){2, 16, 8, 8});
    int out[2];
    for (int i = 0; i < 2; i++) {
        int branch = swapped ? 1 - i : i;
        amg_tensor w;
        assert_ok(amg_tensor_new(AMG_F32, 4, wdims, &w, err));
        amg_rng rng = amg_rng_init(9, (uint64_t)branch);
        for (int64_t k = 0; k < amg_tensor_count(&w); k++)
            ((float *)w.data)[k] = (float)amg_rng_normal(&rng);
        char name[16];
        (void)snprintf(name, sizeof name, swapped ? "z%d" : "a%d", i);
        int in[2] = {x, amg_builder_param(b, name, &w)};
        amg_tensor_clear(&w);
        out[branch] = amg_builder_node(b, AMG_OP_CONV, name, in, 2, NULL, 0, NULL);
    }
    amg_builder_output(b,
                       amg_builder_node(b, AMG_OP_ADD, "sum", out, 2, NULL, 0, NULL));
    amg_graph *g = NULL;
    assert_ok(amg_builder_finish(b, &g, err));
    amg_builder_free(b);
    return g;
}

static uint64_t branches_hash(bool swapped)
{
    amg_graph *g = branches(swapped);
    bound b = bind_plan(g, training);
    float *x = amg_plan_input(b.plan);
    for (size_t i = 0; i < amg_plan_input_bytes(b.plan) / sizeof *x; i++)
        x[i] = (float)(i % 17) - 8;
    const float *y;
    int64_t count;
    assert_ok(amg_plan_forward(b.plan, 0, &y, &count, err));
    static float dy[2 * 16 * 6 * 6];
    assert_int_equal(count, 2 * 16 * 6 * 6);
    memcpy(dy, y, sizeof dy);
    uint64_t h = hash(1, y, sizeof dy);
    assert_ok(amg_plan_backward(b.plan, dy, err));
    for (int i = 0; i < amg_plan_num_slots(b.plan); i++) {
        const amg_plan_slot *s = amg_plan_slot_at(b.plan, i);
        h = hash(h, s->grad, sizeof(float) * (size_t)s->count);
    }
    bound_clear(&b);
    amg_graph_free(g);
    return h;
}

static void names_and_file_order_do_not_matter(void **state)
{
    (void)state;
    assert_true(branches_hash(false) == branches_hash(true));
}

/* An autoencoder over normalised bytes: Cast, Mul ("image"), Conv, Relu, Conv of the
 * input's own shape [2,3,8,8]; and a second output, of the image alone. */
static amg_graph *autoencoder(void)
{
    const int64_t dims[4] = {2, 3, 8, 8}, hidden = 16;
    const float per_byte = 1.0f / 255;
    const amg_attr pads = amg_ints("pads", 4, (int64_t[]){1, 1, 1, 1});
    const amg_attr to = amg_int("to", amg_dtype_onnx(AMG_F32));
    amg_builder *b = amg_builder_new();
    amg_tensor t;
    int x = amg_builder_input(b, "x", AMG_U8, 4, dims);
    x = amg_builder_node(b, AMG_OP_CAST, "float", &x, 1, &to, 1, NULL);
    assert_ok(amg_tensor_view(AMG_F32, 0, NULL, &per_byte, &t, err));
    int in[2] = {x, amg_builder_param(b, "scale", &t)};
    int y = amg_builder_node(b, AMG_OP_MUL, "scale", in, 2, NULL, 0, "image");
    in[0] = y;
    amg_builder_output(
        b, amg_builder_node(b, AMG_OP_RELU, "side", in, 1, NULL, 0, "side"));
    for (int layer = 0; layer < 2; layer++) {
        const int64_t wide[4] = {layer ? 3 : hidden, layer ? hidden : 3, 3, 3};
        const char *name = layer ? "decode" : "encode";
        assert_ok(amg_tensor_new(AMG_F32, 4, wide, &t, err));
        for (int64_t i = 0; i < amg_tensor_count(&t); i++)
            ((float *)t.data)[i] = (float)((i * 7 + layer) % 11 - 5) * 0.03f;
        in[0] = y;
        in[1] = amg_builder_param(b, layer ? "w1" : "w0", &t);
        amg_tensor_clear(&t);
        y = amg_builder_node(b, AMG_OP_CONV, name, in, 2, &pads, 1, name);
        if (!layer)
            y = amg_builder_node(b, AMG_OP_RELU, "relu", &y, 1, NULL, 0, "relu");
    }
    amg_builder_output(b, y);
    amg_graph *g = NULL;
    assert_ok(amg_builder_finish(b, &g, err));
    amg_builder_free(b);
    return g;
}

#define IMAGES (2 * 3 * 8 * 8)

/* Three steps of gradient descent towards the image; returns a hash of outputs,
 * gradients and weights. With kept the plan's own image is the target, else a copy. */
static uint64_t autoencoder_hash(const amg_graph *g, const char *kept)
{
    amg_plan *plan = NULL;
    float target[IMAGES], dy[IMAGES];
    uint8_t bytes[IMAGES];
    uint64_t h = 1;
    for (int i = 0; i < IMAGES; i++) {
        bytes[i] = (uint8_t)(i * 37);
        target[i] = (float)bytes[i] * (1.0f / 255);
    }
    assert_ok(amg_plan_new(g, 1, &(amg_plan_options){.training = true, .kept = kept},
                           &plan, err));
    void *workspace = amg_alloc_aligned(amg_plan_workspace_bytes(plan));
    amg_params params;
    amg_plan_bind(plan, workspace);
    assert_ok(amg_params_new(g, 1, &params, err));
    assert_ok(amg_plan_load(plan, &params, err));
    for (int step = 0; step < 3; step++) {
        const float *y;
        int64_t count;
        memcpy(amg_plan_input(plan), bytes, sizeof bytes);
        assert_ok(amg_plan_forward(plan, step, &y, &count, err));
        assert_int_equal(count, IMAGES);
        assert_int_equal(amg_plan_kept(plan) != NULL, kept != NULL);
        if (kept) assert_memory_equal(amg_plan_kept(plan), target, sizeof target);
        for (int i = 0; i < IMAGES; i++) dy[i] = 2 * (y[i] - target[i]) / IMAGES;
        h = hash(h, y, sizeof dy);
        assert_ok(amg_plan_backward(plan, dy, err));
        for (int i = 0; i < amg_plan_num_slots(plan); i++) {
            const amg_plan_slot *s = amg_plan_slot_at(plan, i);
            h = hash(h, s->grad, sizeof(float) * (size_t)s->count);
            for (int64_t k = 0; k < s->count; k++) s->value[k] -= s->grad[k];
        }
    }
    amg_params_clear(&params);
    amg_free_aligned(workspace);
    amg_plan_free(plan);
    return h;
}

static void a_kept_value_is_readable_and_changes_no_bit(void **state)
{
    (void)state;
    amg_graph *g = autoencoder();
    assert_true(autoencoder_hash(g, "image") == autoencoder_hash(g, NULL));
    amg_graph_free(g);
}

static void only_a_value_that_no_trainable_reaches_can_be_kept(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        amg_status status;
    } cases[] = {{"relu", AMG_UNSUPPORTED}, /* depends on w0 */
                 {"x", AMG_UNSUPPORTED},    /* bytes */
                 {"side", AMG_INVALID},     /* of the other output */
                 {"nobody", AMG_NOT_FOUND}};
    amg_graph *g = autoencoder();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const amg_plan_options o = {.training = true, .kept = cases[i].name};
        amg_plan *plan = NULL;
        amg_error error = {0};
        assert_int_equal(amg_plan_new(g, 1, &o, &plan, &error), cases[i].status);
        assert_non_null(strstr(error.what, cases[i].name));
        assert_null(plan);
    }
    amg_graph_free(g);
}

/* Tokens that are both looked up and wanted back: of windows of three the last two. */
static void kept_tokens_are_readable(void **state)
{
    (void)state;
    static const char *const names[3] = {"begin", "end", "axis"};
    const int64_t table_dims[2] = {5, 2}, dims[2] = {2, 3}, one = 1;
    const int64_t bounds[3] = {1, 3, 1};
    const int64_t windows[2][3] = {{0, 3, 1}, {4, 2, 2}}, next[2][2] = {{3, 1}, {2, 2}};
    amg_builder *b = amg_builder_new();
    amg_tensor t;
    int in[4] = {amg_builder_input(b, "x", AMG_I64, 2, dims)};
    for (int i = 0; i < 3; i++) {
        assert_ok(amg_tensor_view(AMG_I64, 1, &one, bounds + i, &t, err));
        in[1 + i] = amg_builder_param(b, names[i], &t);
    }
    assert_ok(amg_tensor_new(AMG_F32, 2, table_dims, &t, err));
    const int table = amg_builder_param(b, "table", &t);
    amg_tensor_clear(&t);
    in[1] = amg_builder_node(b, AMG_OP_SLICE, "next", in, 4, NULL, 0, "next");
    in[0] = table;
    amg_builder_output(b,
                       amg_builder_node(b, AMG_OP_GATHER, "look", in, 2, NULL, 0, "y"));
    amg_graph *g = NULL;
    assert_ok(amg_builder_finish(b, &g, err));
    amg_builder_free(b);

    amg_plan *plan = NULL;
    const float *y;
    int64_t count;
    assert_ok(amg_plan_new(g, 0, &(amg_plan_options){.training = true, .kept = "next"},
                           &plan, err));
    void *workspace = amg_alloc_aligned(amg_plan_workspace_bytes(plan));
    amg_plan_bind(plan, workspace);
    memcpy(amg_plan_input(plan), windows, sizeof windows);
    assert_ok(amg_plan_forward(plan, 0, &y, &count, err));
    assert_int_equal(count, 8);
    assert_memory_equal(amg_plan_kept(plan), next, sizeof next);
    amg_free_aligned(workspace);
    amg_plan_free(plan);
    amg_graph_free(g);
}

/* A Gemm, or a Sigmoid behind it: whose output its backward reads. */
static amg_graph *gemm_graph(bool with_sigmoid)
{
    amg_builder *b = amg_builder_new();
    amg_tensor w = {.dtype = AMG_F32, .rank = 2, .dims = {5, 3}, .size_bytes = 60};
    int in[2] = {amg_builder_input(b, "x", AMG_F32, 2, (int64_t[]){4, 5}),
                 amg_builder_param(b, "w", &w)};
    int y = amg_builder_node(b, AMG_OP_GEMM, "gemm", in, 2, NULL, 0, NULL);
    const amg_op last = with_sigmoid ? AMG_OP_SIGMOID : AMG_OP_FLATTEN;
    amg_builder_output(b, amg_builder_node(b, last, "last", &y, 1, NULL, 0, NULL));
    amg_graph *g = NULL;
    assert_ok(amg_builder_finish(b, &g, err));
    amg_builder_free(b);
    amg_graph_classify(g);
    return g;
}

static void the_outputs_gradient_lies_over_it_unless_that_is_read(void **state)
{
    (void)state;
    for (int with_sigmoid = 0; with_sigmoid < 2; with_sigmoid++) {
        amg_graph *g = gemm_graph(with_sigmoid);
        bound b = bind_plan(g, (amg_plan_options){.training = true});
        float *x = amg_plan_input(b.plan), grad[15], dy[12];
        const float *y;
        int64_t count;
        for (int i = 0; i < 20; i++) x[i] = (float)(i % 7) - 3;
        for (int i = 0; i < 12; i++) dy[i] = (float)i - 4;
        assert_ok(amg_plan_forward(b.plan, 0, &y, &count, err));
        assert_true((amg_plan_doutput(b.plan) == y) == !with_sigmoid);
        assert_ok(amg_plan_backward(b.plan, dy, err));
        memcpy(grad, amg_plan_slot_at(b.plan, 0)->grad, sizeof grad);
        assert_true(norm_of(grad, 15) > 0);
        /* Written in place it is the same. */
        assert_ok(amg_plan_forward(b.plan, 0, &y, &count, err));
        memcpy(amg_plan_doutput(b.plan), dy, sizeof dy);
        assert_ok(amg_plan_backward(b.plan, amg_plan_doutput(b.plan), err));
        assert_memory_equal(grad, amg_plan_slot_at(b.plan, 0)->grad, sizeof grad);
        bound_clear(&b);
        amg_graph_free(g);
    }
}

static void an_unsupported_operator_names_its_node(void **state)
{
    (void)state;
    amg_builder *b = amg_builder_new();
    int64_t dims[4] = {2, 3, 4, 4};
    int64_t wdims[4] = {2, 3, 1, 1};
    amg_tensor w;
    assert_ok(amg_tensor_new(AMG_F32, 4, wdims, &w, err));
    int in[2] = {amg_builder_input(b, "x", AMG_F32, 4, dims),
                 amg_builder_param(b, "w", &w)};
    amg_tensor_clear(&w);
    int y = amg_builder_node(b, AMG_OP_CONV, "first", in, 2, NULL, 0, NULL);
    y = amg_builder_node(b, AMG_OP_SHAPE, "measure", &y, 1, NULL, 0, NULL);
    amg_builder_output(b, y);
    amg_graph *g = NULL;
    assert_ok(amg_builder_finish(b, &g, err));
    amg_plan *plan = NULL;
    amg_error error = {0};
    assert_int_equal(amg_plan_new(g, 0, &training, &plan, &error), AMG_UNSUPPORTED);
    assert_string_equal(error.where, "node \"measure\" (Shape)");
    assert_null(plan);
    assert_int_equal(amg_plan_new(g, 1, &training, &plan, &error), AMG_INVALID);
    amg_graph_free(g);
    amg_builder_free(b);
}

static void misuse_is_refused(void **state)
{
    amg_graph *graph = network_graph(*state, 0);
    amg_plan *plan = NULL;
    amg_plan_options evaluation = {.training = false};
    assert_ok(amg_plan_new(graph, 0, &evaluation, &plan, err));
    const float *y;
    float dy[40] = {0};
    int64_t count;
    assert_int_equal(amg_plan_forward(plan, 0, &y, &count, NULL), AMG_INVALID);
    assert_int_equal(amg_plan_backward(plan, dy, NULL), AMG_INVALID);
    assert_int_equal(amg_plan_num_slots(plan), 0);
    amg_params set;
    assert_ok(amg_params_new(graph, 0, &set, err));
    amg_error error = {0};
    set.items[0].tensor.dims[0]++;
    assert_int_equal(amg_plan_load(plan, &set, &error), AMG_MISMATCH);
    assert_string_equal(error.where, set.items[0].name);
    set.items[0].tensor.dims[0]--;
    set.count--;
    assert_int_equal(amg_plan_load(plan, &set, NULL), AMG_MISMATCH);
    set.count++;
    assert_ok(amg_plan_load(plan, &set, err));
    amg_params_clear(&set);
    amg_plan_free(plan);
    amg_graph_free(graph);
}

/* On AVX-512 with oneDNN 2.x the wide convolution takes Winograd; nowhere reference. */
static void description_names_every_implementation(void **state)
{
    amg_graph *graph = network_graph(*state, 0);
    bound b = bind_plan(graph, training);
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    assert_non_null(stream);
    amg_plan_describe(b.plan, stream);
    (void)fclose(stream);
    assert_non_null(strstr(text, "conv d-weights"));
    assert_non_null(strstr(text, "norm+relu"));
    assert_non_null(strstr(text, "add+relu"));
    assert_null(strstr(text, " ref"));
    assert_null(strstr(text, ":ref"));
    free(text);
    bound_clear(&b);
    amg_graph_free(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rerun_gives_identical_bits),
        cmocka_unit_test(a_poisoned_workspace_changes_nothing),
        cmocka_unit_test(another_plan_on_the_workspace_changes_nothing),
        cmocka_unit_test(parameters_and_states_travel_exactly),
        cmocka_unit_test(padding_of_blocked_weights_stays_zero),
        cmocka_unit_test(running_statistics_move_in_backward_only),
        cmocka_unit_test(a_step_allocates_nothing),
        cmocka_unit_test(failing_allocations_are_reported_and_leak_nothing),
        cmocka_unit_test(memory_is_reused_once_a_value_is_dead),
        cmocka_unit_test(names_and_file_order_do_not_matter),
        cmocka_unit_test(a_kept_value_is_readable_and_changes_no_bit),
        cmocka_unit_test(only_a_value_that_no_trainable_reaches_can_be_kept),
        cmocka_unit_test(kept_tokens_are_readable),
        cmocka_unit_test(the_outputs_gradient_lies_over_it_unless_that_is_read),
        cmocka_unit_test(an_unsupported_operator_names_its_node),
        cmocka_unit_test(misuse_is_refused),
        cmocka_unit_test(description_names_every_implementation)};
    return cmocka_run_group_tests(tests, open_network, close_network);
}
