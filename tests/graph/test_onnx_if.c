/* If of ONNX files: a condition that constants or shapes decide takes its branch, and
 * nothing of the other one is read; one of the data is refused. That the result
 * computes the same is ONNX's node tests' (tests/interop/test_nodes.py If AffineGrid).
 */
#include "onnx_fixture.h"

#define NEWEST 17

/* The graph's last num_nodes nodes become a branch of the node that is added next. */
static Onnx__GraphProto *branch(model *m, size_t num_nodes, const char *outputs)
{
    Onnx__GraphProto *g = amg_arena_alloc(&m->arena, sizeof *g);
    size_t count = 0;
    onnx__graph_proto__init(g);
    g->node = amg_arena_array(&m->arena, num_nodes + 1, sizeof *g->node);
    m->g.n_node -= num_nodes;
    memcpy(g->node, m->nodes + m->g.n_node, num_nodes * sizeof *g->node);
    g->n_node = num_nodes;
    char **names = split(m, outputs, &count);
    g->output = amg_arena_array(&m->arena, count + 1, sizeof *g->output);
    for (size_t i = 0; i < count; i++)
        g->output[g->n_output++] = info(m, names[i], NULL);
    return g;
}

static void branches(model *m, Onnx__GraphProto *taken, Onnx__GraphProto *other)
{
    if (taken) attr(m, "then_branch", 5)->g = taken;
    if (other) attr(m, "else_branch", 5)->g = other;
}

static void condition(model *m, bool value)
{
    init(m, "c", 9, 0, NULL, 1)->raw_data.data[0] = value;
}

static void a_constant_takes_its_branch(void **state)
{
    (void)state;
    for (int value = 0; value < 2; value++) {
        model m;
        char names[1024];
        start(&m, NEWEST);
        condition(&m, value);
        node(&m, "Relu", "x", "a");
        Onnx__GraphProto *taken = branch(&m, 1, "a");
        node(&m, "NonZero", "x", "a"); /* the same name, and no operator of ours */
        node(&m, "Tanh", "x", "b");
        Onnx__GraphProto *other = branch(&m, 2, "b");
        node(&m, "If", "c", "i");
        branches(&m, taken, other);
        node(&m, "Neg", "i", "y");
        amg_graph *g = must_import(&m);
        op_names(g, names);
        assert_string_equal(names, value ? "Relu Identity Neg" : "Tanh Identity Neg");
        expect_shape(g, value ? "i/then/a" : "i/else/b", "F32[N,3,8,8]");
        amg_graph_free(g);
    }
}

/* As TorchScript writes squeeze(1): the dim decides. */
static void a_shape_takes_its_branch(void **state)
{
    (void)state;
    model m;
    char names[1024];
    start(&m, NEWEST);
    init_ints(&m, "axes", INTS(1));
    init_ints(&m, "one", INTS(1));
    node(&m, "Shape", "x", "s");
    node(&m, "Gather", "s axes", "d");
    node(&m, "Equal", "d one", "e");
    node(&m, "Squeeze", "x axes", "a"); /* would not fit */
    Onnx__GraphProto *taken = branch(&m, 1, "a");
    node(&m, "Identity", "x", "b");
    Onnx__GraphProto *other = branch(&m, 1, "b");
    node(&m, "If", "e", "i");
    branches(&m, taken, other);
    node(&m, "Neg", "i", "y");
    amg_graph *g = must_import(&m), *planned = NULL;
    expect_shape(g, "y", "F32[N,3,8,8]");
    amg_error err = {0};
    assert_int_equal(amg_graph_plan_batch(g, AMG_DIM_BATCH, &planned, &err), AMG_OK);
    op_names(planned, names);
    assert_string_equal(names, "Neg");
    amg_graph_free(planned);
    amg_graph_free(g);
}

/* Branches in branches; values around them that only they read; weights of their own.
 */
static void nest(model *m)
{
    start(m, NEWEST);
    condition(m, true);
    node(m, "Abs", "x", "outer"); /* read by a branch alone */
    node(m, "Add", "outer w", "a");
    Onnx__GraphProto *inner = branch(m, 1, "a");
    init(m, "w", 1, 1, (int64_t[]){8}, 32);
    inner->initializer = amg_arena_array(&m->arena, 1, sizeof *inner->initializer);
    inner->initializer[inner->n_initializer++] = m->inits[--m->g.n_initializer];
    node(m, "Tanh", "x", "a");
    Onnx__GraphProto *rest = branch(m, 1, "a");
    node(m, "If", "c", "i");
    branches(m, inner, rest);
    node(m, "Sigmoid", "i", "b");
    Onnx__GraphProto *taken = branch(m, 2, "b outer");
    node(m, "Tanh", "x", "a");
    Onnx__GraphProto *other = branch(m, 1, "a a");
    node(m, "If", "c", "j k");
    branches(m, taken, other);
    node(m, "Mul", "j k", "y");
}

static void branches_see_what_is_around_them(void **state)
{
    (void)state;
    model m;
    char names[1024];
    nest(&m);
    amg_graph *g = must_import(&m);
    op_names(g, names);
    assert_string_equal(names, "Abs Add Identity Sigmoid Identity Identity Mul");
    expect_shape(g, "j/then/i/then/w", "F32[8]");
    amg_graph_free(g);
}

static void a_branch_stands_in_a_function(void **state)
{
    (void)state;
    model m;
    Onnx__FunctionProto f, *functions[1] = {&f};
    char names[1024];
    start(&m, NEWEST);
    condition(&m, false);
    node(&m, "LeakyRelu", "a", "r");
    attr(&m, "alpha", 1)->ref_attr_name = keep(&m, "slope");
    Onnx__GraphProto *other = branch(&m, 1, "r");
    node(&m, "Identity", "a", "r");
    Onnx__GraphProto *taken = branch(&m, 1, "r");
    node(&m, "If", "when", "b");
    branches(&m, taken, other);
    onnx__function_proto__init(&f);
    f.name = keep(&m, "F");
    f.domain = keep(&m, "own");
    f.input = split(&m, "a when", &f.n_input);
    f.output = split(&m, "b", &f.n_output);
    f.node = &m.nodes[--m.g.n_node];
    f.n_node = 1;
    Onnx__NodeProto *body[1] = {f.node[0]};
    f.node = body;
    m.m.functions = functions;
    m.m.n_functions = 1;
    node(&m, "F", "x c", "y");
    m.last->domain = keep(&m, "own");
    attr_float(&m, "slope", 0.25f);
    amg_graph *g = must_import(&m);
    op_names(g, names);
    assert_string_equal(names, "LeakyRelu Identity");
    assert_true(amg_attr_float(&g->nodes[0], "alpha", 0) == 0.25f);
    amg_graph_free(g);
}

static void what_the_data_decide_is_refused(void **state)
{
    (void)state;
    model m;
    start(&m, NEWEST);
    node(&m, "ReduceMax", "x", "h");
    attr_int(&m, "keepdims", 0);
    node(&m, "IsNaN", "h", "c");
    node(&m, "Relu", "x", "a");
    Onnx__GraphProto *taken = branch(&m, 1, "a");
    node(&m, "Tanh", "x", "a");
    Onnx__GraphProto *other = branch(&m, 1, "a");
    node(&m, "If", "c", "y");
    branches(&m, taken, other);
    expect_failure(&m, AMG_UNSUPPORTED, "node \"n2\" (If)",
                   "its condition, \"c\", depends on the data");
    start(&m, NEWEST);
    condition(&m, true);
    node(&m, "Relu", "x", "a");
    taken = branch(&m, 1, "a");
    node(&m, "If", "c", "y");
    branches(&m, taken, NULL);
    expect_failure(&m, AMG_MALFORMED, "node \"n0\" (If)",
                   "expected one input, and two branches of its 1 output");
    start(&m, NEWEST);
    condition(&m, true);
    node(&m, "Relu", "x", "a");
    taken = branch(&m, 1, "a");
    node(&m, "Relu", "b", "b");
    other = branch(&m, 1, "b");
    node(&m, "If", "c", "y");
    branches(&m, taken, other);
    expect_failure(&m, AMG_MALFORMED, "node \"n0\" (Relu)",
                   "depends on the node itself");
}

static void every_failing_allocation_is_one_clean_error(void **state)
{
    (void)state;
    model m;
    uint8_t *data;
    size_t size;
    nest(&m);
    assert_int_equal(amg_onnx_pack(&m.m, &data, &size, NULL), AMG_OK);
    amg_arena_clear(&m.arena);
    long n = 0;
    for (amg_status st = AMG_NO_MEMORY; st; n++) {
        amg_graph *g = NULL;
        long countdown = n + 1;
        amg_alloc_fail_after(&countdown);
        st = amg_graph_parse_onnx(data, size, "m.onnx", &g, NULL);
        amg_alloc_fail_after(NULL);
        assert_true(st == AMG_OK || (st == AMG_NO_MEMORY && !g));
        amg_graph_free(g);
    }
    assert_true(n > 50);
    amg_free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_constant_takes_its_branch),
        cmocka_unit_test(a_shape_takes_its_branch),
        cmocka_unit_test(branches_see_what_is_around_them),
        cmocka_unit_test(a_branch_stands_in_a_function),
        cmocka_unit_test(what_the_data_decide_is_refused),
        cmocka_unit_test(every_failing_allocation_is_one_clean_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
