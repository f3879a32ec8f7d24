/* Functions of ONNX files: calls are written out; what cannot be is refused. That the
 * result computes the same is tests/interop/test_onnx.py's. */
#include "onnx_fixture.h"

#define NEWEST 17

typedef struct {
    Onnx__FunctionProto proto, *list[4];
    Onnx__OperatorSetIdProto opset, *opsets[1];
} function;

/* The graph's last num_nodes nodes become the body of a function of the model. */
static void make_function(model *m, function *f, const char *name, const char *inputs,
                          const char *outputs, size_t num_nodes, int64_t opset)
{
    onnx__function_proto__init(&f->proto);
    onnx__operator_set_id_proto__init(&f->opset);
    f->opset.has_version = 1;
    f->opset.version = opset;
    f->opsets[0] = &f->opset;
    f->proto.opset_import = f->opsets;
    f->proto.n_opset_import = 1;
    f->proto.name = keep(m, name);
    f->proto.domain = keep(m, "own");
    f->proto.input = split(m, inputs, &f->proto.n_input);
    f->proto.output = split(m, outputs, &f->proto.n_output);
    f->proto.node = amg_arena_array(&m->arena, num_nodes + 1, sizeof *f->proto.node);
    m->g.n_node -= num_nodes;
    memcpy(f->proto.node, m->nodes + m->g.n_node, num_nodes * sizeof *f->proto.node);
    f->proto.n_node = num_nodes;
    if (!m->m.functions)
        m->m.functions = amg_arena_array(&m->arena, 4, sizeof *m->m.functions);
    m->m.functions[m->m.n_functions++] = &f->proto;
}

static void call(model *m, const char *name, const char *inputs, const char *outputs)
{
    node(m, name, inputs, outputs);
    m->last->domain = keep(m, "own");
}

static void attr_ref(model *m, const char *name, int type, const char *of)
{
    attr(m, name, type)->ref_attr_name = keep(m, of);
}

static void calls_become_the_bodies_nodes(void **state)
{
    (void)state;
    model m;
    function inner, outer;
    char names[1024];
    start(&m, NEWEST);
    node(&m, "LeakyRelu", "a", "r");
    attr_ref(&m, "alpha", 1, "slope");
    node(&m, "Add", "r a", "b");
    make_function(&m, &inner, "Leaky", "a unused", "b", 2, NEWEST);
    call(&m, "Leaky", "a", "h");
    attr_ref(&m, "slope", 1, "outer_slope");
    call(&m, "Leaky", "h", "b");
    make_function(&m, &outer, "Twice", "a", "b", 2, NEWEST);
    call(&m, "Twice", "x", "t");
    attr_float(&m, "outer_slope", 0.25f);
    node(&m, "Relu", "t", "y");
    amg_graph *g = must_import(&m);
    op_names(g, names);
    assert_string_equal(names, "LeakyRelu Add LeakyRelu Add Relu");
    expect_shape(g, "t/h", "F32[N,3,8,8]");
    expect_shape(g, "t/h/r", "F32[N,3,8,8]");
    assert_true(amg_attr_float(&g->nodes[0], "alpha", 0) == 0.25f);
    assert_null(amg_attr_find(&g->nodes[2], "alpha")); /* that call gives no slope */
    amg_graph_free(g);
}

static void a_body_has_an_opset_of_its_own(void **state)
{
    (void)state;
    model m;
    function f;
    start(&m, NEWEST);
    node(&m, "Unsqueeze", "a", "u");
    attr_ints(&m, "axes", INTS(2)); /* an attribute until 13 */
    make_function(&m, &f, "Old", "a", "u", 1, 11);
    call(&m, "Old", "x", "o");
    node(&m, "Squeeze", "o axes", "y");
    init_ints(&m, "axes", INTS(2));
    amg_graph *g = must_import(&m);
    expect_shape(g, "o", "F32[N,3,1,8,8]");
    expect_shape(g, "y", "F32[N,3,8,8]");
    amg_graph_free(g);
}

static void names_of_the_graph_are_avoided(void **state)
{
    (void)state;
    model m;
    function f;
    start(&m, NEWEST);
    node(&m, "Relu", "a", "r");
    node(&m, "Neg", "r", "b");
    make_function(&m, &f, "F", "a", "b", 2, NEWEST);
    call(&m, "F", "x", "c");
    node(&m, "Add", "c x", "c/r");
    node(&m, "Relu", "c/r", "y");
    amg_graph *g = must_import(&m);
    expect_shape(g, "c#2/r", "F32[N,3,8,8]");
    amg_graph_free(g);
}

static void bad_functions_are_refused(void **state)
{
    (void)state;
    model m;
    function f, g;
    start(&m, NEWEST);
    call(&m, "F", "a", "b");
    make_function(&m, &f, "F", "a", "b", 1, NEWEST);
    call(&m, "F", "x", "y");
    expect_failure(&m, AMG_MALFORMED, "m.onnx", "functions nest deeper than 64");
    start(&m, NEWEST); /* nothing is ever added, but the calls double with each level */
    call(&m, "G", "a", "-");
    call(&m, "G", "a", "-");
    make_function(&m, &f, "F", "a", "b", 2, NEWEST);
    call(&m, "F", "a", "-");
    call(&m, "F", "a", "-");
    make_function(&m, &g, "G", "a", "b", 2, NEWEST);
    call(&m, "F", "x", "y");
    expect_failure(&m, AMG_MALFORMED, "m.onnx", "functions nest deeper than 64");
    start(&m, NEWEST);
    node(&m, "Relu", "a", "b");
    make_function(&m, &f, "F", "a", "b", 1, NEWEST);
    node(&m, "Neg", "a", "b");
    make_function(&m, &g, "F", "a", "b", 1, NEWEST);
    call(&m, "F", "x", "y");
    expect_failure(&m, AMG_UNSUPPORTED, "m.onnx", "\"F\" is there twice");
    start(&m, NEWEST);
    node(&m, "Relu", "a", "b");
    make_function(&m, &f, "F", "a", "b", 1, NEWEST);
    call(&m, "F", "x x", "y");
    expect_failure(&m, AMG_MALFORMED, "node \"n0\" (F)",
                   "at most the function's 1 and 1");
    start(&m, NEWEST);
    node(&m, "Relu", "a", "b");
    make_function(&m, &f, "F", "a", "b", 1, 5);
    call(&m, "F", "x", "y");
    expect_failure(&m, AMG_UNSUPPORTED, "m.onnx", "function \"F\" is of opset 5");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_become_the_bodies_nodes),
        cmocka_unit_test(a_body_has_an_opset_of_its_own),
        cmocka_unit_test(names_of_the_graph_are_avoided),
        cmocka_unit_test(bad_functions_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
