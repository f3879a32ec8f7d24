/* ONNX → graph: each difference between opsets brought to one form, and models that lie
 * or ask for more than there is. All models are made here, as protobuf. More than 500
 * lines: a list of small cases. */
#include "graph/origin.h"
#include "onnx_fixture.h"

/* ---- one form for all opsets ---- */

static const amg_node *node_of(const amg_graph *g, amg_op op)
{
    int i = 0;
    while (i < g->num_nodes && g->nodes[i].op != op) i++;
    if (i == g->num_nodes) fail_msg("no %s", amg_op_get(op)->name);
    return &g->nodes[i];
}

/* Input i of n is a constant with these elements. */
static void expect_ints(const amg_graph *g, const amg_node *n, int i, size_t count,
                        const int64_t *expected)
{
    assert_true(i < n->num_inputs);
    const amg_value *v = &g->values[n->inputs[i]];
    assert_int_equal(v->kind, AMG_VALUE_PARAM);
    assert_int_equal(v->dtype, AMG_I64);
    assert_int_equal(v->rank, 1);
    assert_int_equal(v->dims[0], count);
    assert_memory_equal(v->data.data, expected, count * sizeof *expected);
}

static void expect_scalar(const amg_graph *g, const amg_node *n, int i, float expected)
{
    assert_true(i < n->num_inputs);
    const amg_value *v = &g->values[n->inputs[i]];
    assert_int_equal(v->kind, AMG_VALUE_PARAM);
    assert_int_equal(v->dtype, AMG_F32);
    assert_int_equal(v->rank, 0);
    assert_float_equal(*(const float *)v->data.data, expected, 0);
}

/* op(inputs) of opset 18 on x F32[N,3,8,8], i I64[8], f F32[8] and number F32: what the
 * graph has instead. */
static void expect_parts(const char *op, const char *inputs, const char *parts)
{
    model m;
    start(&m, 18);
    init(&m, "i", 7, 1, (int64_t[]){8}, 64);
    init(&m, "f", 1, 1, (int64_t[]){8}, 32);
    init(&m, "number", 1, 1, (int64_t[]){1}, 4);
    node(&m, op, inputs, "y");
    amg_graph *g = must_import(&m);
    char ops[1024];
    op_names(g, ops);
    assert_string_equal(ops, parts);
    expect_shape(g, "y", "F32[N,3,8,8]");
    amg_graph_free(g);
}

static void some_operators_are_read_in_parts(void **state)
{
    (void)state;
    expect_parts("Sum", "x", "Identity");
    expect_parts("Sum", "x f", "Add");
    expect_parts("Sum", "x f x number", "Add Add Add");
    expect_parts("Mean", "x", "Identity");
    expect_parts("Mean", "x f", "Add Div");
    expect_parts("Mean", "x f x", "Add Add Div");
    expect_parts("Max", "x", "Identity");
    expect_parts("Max", "f x x", "Max Max");
    expect_parts("Min", "x f", "Min");
    expect_parts("Swish", "x", "Sigmoid Mul");
    expect_parts("Clip", "x number", "Clip");
    expect_parts("Clip", "x", "Clip");
    expect_parts("Pow", "x f", "Pow");
    expect_parts("Pow", "x i", "Cast Pow");
}

static void parts_keep_clear_of_names_in_the_file(void **state)
{
    (void)state;
    model m;
    start(&m, 18);
    node(&m, "Sum", "x x x", "y_sum1");
    node(&m, "Sum", "x y_sum1 x", "y");
    amg_graph *g = must_import(&m);
    assert_int_equal(g->num_nodes, 4);
    expect_shape(g, "y_sum1_1", "F32[N,3,8,8]");
    amg_graph_free(g);
}

static void parts_refuse_what_their_operator_does(void **state)
{
    (void)state;
    model m;
    start(&m, 24);
    node(&m, "Swish", "x", "y");
    attr_int(&m, "alpha", 1);
    expect_failure(&m, AMG_MALFORMED, "node \"n0\" (Swish)",
                   "no attribute but a number alpha");
    start(&m, 18);
    node(&m, "Sum", "", "y");
    expect_failure(&m, AMG_MALFORMED, "node \"n0\" (Sum)", "0 inputs");
    start(&m, 18);
    node(&m, "Max", "x - x", "y");
    expect_failure(&m, AMG_MALFORMED, "node \"n0\" (Max)",
                   "input 1 is absent, expected a value");
}

/* relu6, as an exporter writes it: its bounds are float64 numbers, cast. */
static void a_bound_in_double_is_a_number(void **state)
{
    (void)state;
    model m;
    start(&m, 18);
    double six = 6;
    memcpy(init(&m, "six", 11, 0, NULL, 8)->raw_data.data, &six, 8);
    node(&m, "Cast", "six", "bound");
    attr_int(&m, "to", 1);
    node(&m, "Clip", "x - bound", "y");
    amg_graph *g = must_import(&m), *folded = NULL;
    amg_error err = {0};
    assert_int_equal(amg_graph_plan_batch(g, AMG_DIM_BATCH, &folded, &err), AMG_OK);
    char ops[1024];
    op_names(folded, ops);
    assert_string_equal(ops, "Clip");
    assert_true(*(const float *)value_of(folded, "bound")->data.data == 6);
    amg_graph_free(folded);
    amg_graph_free(g);
}

/* Bounds of other types and shapes become numbers, computed ones Max and Min. */
static void clip_bounds_become_numbers(void **state)
{
    (void)state;
    model m;
    start(&m, 18);
    int64_t two = 2;
    memcpy(init(&m, "two", 7, 0, NULL, 8)->raw_data.data, &two, 8);
    node(&m, "ReduceMean", "x", "mean");
    attr_int(&m, "keepdims", 0);
    node(&m, "Clip", "x - two", "z");
    node(&m, "Clip", "z mean two", "y");
    m.last->input[2] = keep(&m, "mean");
    amg_graph *g = must_import(&m);
    char ops[1024];
    op_names(g, ops);
    assert_string_equal(ops, "ReduceMean Clip Max Min");
    expect_shape(g, "z_max", "F32[]");
    assert_true(*(const float *)value_of(g, "z_max")->data.data == 2);
    amg_graph_free(g);
}

static void clip_bounds_become_inputs(void **state)
{
    (void)state;
    model m;
    start(&m, 10);
    node(&m, "Clip", "x", "y");
    attr_float(&m, "max", 6);
    attr_float(&m, "min", -1);
    amg_graph *g = must_import(&m);
    const amg_node *n = node_of(g, AMG_OP_CLIP);
    assert_int_equal(n->num_inputs, 3);
    assert_int_equal(n->num_attrs, 0);
    expect_scalar(g, n, 1, -1);
    expect_scalar(g, n, 2, 6);
    amg_graph_free(g);

    start(&m, 10); /* without a lower bound */
    node(&m, "Clip", "x", "y");
    attr_float(&m, "max", 6);
    g = must_import(&m);
    n = node_of(g, AMG_OP_CLIP);
    assert_int_equal(n->inputs[1], AMG_NO_VALUE);
    expect_scalar(g, n, 2, 6);
    amg_graph_free(g);
}

static void dropout_ratio_becomes_an_input_and_training_mode_goes(void **state)
{
    (void)state;
    model m;
    start(&m, 9);
    node(&m, "Dropout", "x", "y mask");
    attr_float(&m, "ratio", 0.25f);
    amg_graph *g = must_import(&m);
    const amg_node *n = node_of(g, AMG_OP_DROPOUT);
    expect_scalar(g, n, 1, 0.25f);
    assert_int_equal(n->num_attrs, 0);
    assert_int_equal(n->num_outputs, 1);
    amg_graph_free(g);

    start(&m, 13);
    *(uint8_t *)init(&m, "train", 9, 0, NULL, 1)->raw_data.data = 1;
    node(&m, "Dropout", "x - train", "y");
    attr_int(&m, "seed", 5);
    g = must_import(&m);
    n = node_of(g, AMG_OP_DROPOUT);
    assert_int_equal(n->num_inputs, 1); /* ratio absent: ONNX's 0.5 */
    assert_int_equal(n->num_attrs, 0);
    amg_graph_free(g);
}

static void pads_become_inputs_and_cover_all_axes(void **state)
{
    (void)state;
    model m;
    start(&m, 9);
    node(&m, "Pad", "x", "y");
    attr_ints(&m, "pads", INTS(0, 0, 1, 2, 0, 0, 3, 4));
    attr_float(&m, "value", 0);
    amg_graph *g = must_import(&m);
    const amg_node *n = node_of(g, AMG_OP_PAD);
    assert_int_equal(n->num_inputs, 2);
    assert_int_equal(n->num_attrs, 0);
    expect_ints(g, n, 1, INTS(0, 0, 1, 2, 0, 0, 3, 4));
    expect_shape(g, "y", "F32[N,3,12,14]");
    amg_graph_free(g);

    start(&m, 9);
    node(&m, "Pad", "x", "y");
    attr_ints(&m, "pads", INTS(0, 0, 1, 2, 0, 0, 3, 4));
    attr_float(&m, "value", 2);
    g = NULL;
    amg_error err = {0};
    if (import(&m, &g, &err) == AMG_OK) /* the shape rule may insist on zeros */
        expect_scalar(g, node_of(g, AMG_OP_PAD), 2, 2);
    else
        assert_int_equal(err.code, AMG_UNSUPPORTED);
    amg_graph_free(g);

    start(&m, 18); /* the same as above, in another order of axes */
    init_ints(&m, "pads", INTS(2, 1, 4, 3));
    init_ints(&m, "axes", INTS(-1, 2));
    node(&m, "Pad", "x pads - axes", "y");
    g = must_import(&m);
    n = node_of(g, AMG_OP_PAD);
    assert_int_equal(n->num_inputs, 2);
    expect_ints(g, n, 1, INTS(0, 0, 1, 2, 0, 0, 3, 4));
    expect_shape(g, "y", "F32[N,3,12,14]");
    amg_graph_free(g);
}

static void slice_squeeze_and_unsqueeze_lists_become_inputs(void **state)
{
    (void)state;
    model m;
    start(&m, 9);
    node(&m, "Slice", "x", "y");
    attr_ints(&m, "axes", INTS(2));
    attr_ints(&m, "starts", INTS(1));
    attr_ints(&m, "ends", INTS(5));
    amg_graph *g = must_import(&m);
    const amg_node *n = node_of(g, AMG_OP_SLICE);
    assert_int_equal(n->num_attrs, 0);
    expect_ints(g, n, 1, INTS(1));
    expect_ints(g, n, 2, INTS(5));
    expect_ints(g, n, 3, INTS(2));
    amg_graph_free(g);

    start(&m, 11);
    node(&m, "Unsqueeze", "x", "u");
    attr_ints(&m, "axes", INTS(1, 5));
    node(&m, "Squeeze", "u", "y");
    attr_ints(&m, "axes", INTS(-1));
    g = must_import(&m);
    expect_ints(g, node_of(g, AMG_OP_UNSQUEEZE), 1, INTS(1, 5));
    expect_ints(g, node_of(g, AMG_OP_SQUEEZE), 1, INTS(-1));
    expect_shape(g, "y", "F32[N,1,3,8,8]");
    amg_graph_free(g);
}

/* Nodes that only made an attribute go with it. */
static void what_an_attribute_was_computed_by_goes(void **state)
{
    (void)state;
    model m;
    start(&m, 18);
    init_ints(&m, "axis", INTS(2));
    init_ints(&m, "shape", INTS(-1));
    node(&m, "Reshape", "axis shape", "axes");
    node(&m, "ReduceMean", "x axes", "y");
    amg_graph *g = must_import(&m);
    char ops[1024];
    op_names(g, ops);
    assert_string_equal(ops, "ReduceMean");
    expect_shape(g, "y", "F32[N,3,1,8]");
    assert_int_equal(g->num_values, 2);
    amg_graph_free(g);
}

static void reduce_mean_axes_become_an_attribute(void **state)
{
    (void)state;
    for (int opset = 13; opset <= 18; opset += 5) {
        model m;
        start(&m, opset);
        if (opset == 18) init_ints(&m, "axes", INTS(2, 3));
        node(&m, "ReduceMean", opset == 18 ? "x axes" : "x", "y");
        if (opset == 13) attr_ints(&m, "axes", INTS(2, 3));
        attr_int(&m, "keepdims", 0);
        amg_graph *g = must_import(&m);
        const amg_node *n = node_of(g, AMG_OP_REDUCE_MEAN);
        assert_int_equal(n->num_inputs, 1);
        const amg_attr *a = amg_attr_find(n, "axes");
        assert_non_null(a);
        assert_int_equal(a->count, 2);
        assert_int_equal(a->ints[0], 2);
        assert_int_equal(a->ints[1], 3);
        expect_shape(g, "y", "F32[N,3]");
        amg_graph_free(g);
    }
    model m;
    start(&m, 18);
    node(&m, "ReduceMean", "x", "y");
    attr_int(&m, "noop_with_empty_axes", 1);
    amg_graph *g = must_import(&m);
    assert_int_equal(g->nodes[0].op, AMG_OP_IDENTITY);
    amg_graph_free(g);
}

static void reductions_over_no_axes_work_on_elements(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        amg_op op;
    } rows[] = {{"ReduceMax", AMG_OP_IDENTITY}, {"ReduceSum", AMG_OP_IDENTITY},
                {"ReduceL1", AMG_OP_ABS},       {"ReduceL2", AMG_OP_ABS},
                {"ReduceLogSum", AMG_OP_LOG},   {"ReduceLogSumExp", AMG_OP_IDENTITY},
                {"ReduceSumSquare", AMG_OP_MUL}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        model m;
        start(&m, 18);
        node(&m, rows[i].name, "x", "y");
        attr_int(&m, "noop_with_empty_axes", 1);
        amg_graph *g = must_import(&m);
        assert_int_equal(g->nodes[0].op, rows[i].op);
        expect_shape(g, "y", "F32[N,3,8,8]");
        amg_graph_free(g);
    }
}

static void batch_norm_keeps_one_output_and_no_training_mode(void **state)
{
    (void)state;
    for (int opset = 9; opset <= 15; opset += 6) {
        model m;
        start(&m, opset);
        static const char *const names[] = {"s", "b", "mean", "var"};
        for (size_t i = 0; i < COUNT(names); i++)
            init(&m, names[i], 1, 1, (int64_t[]){3}, 12);
        node(&m, "BatchNormalization", "x s b mean var",
             opset == 9 ? "y o1 o2 o3 o4" : "y o1 o2");
        attr_float(&m, "epsilon", 0.5f);
        if (opset == 15) attr_int(&m, "training_mode", 1);
        amg_graph *g = must_import(&m);
        assert_int_equal(g->nodes[0].num_outputs, 1);
        assert_int_equal(g->nodes[0].num_attrs, 1);
        assert_float_equal(amg_attr_float(&g->nodes[0], "epsilon", 0), 0.5f, 0);
        amg_graph_free(g);
    }
}

static void attributes_newer_than_what_we_write_go(void **state)
{
    (void)state;
    model m;
    start(&m, 20);
    node(&m, "Cast", "x", "y");
    attr_int(&m, "to", 1);
    attr_int(&m, "saturate", 1);
    amg_graph *g = must_import(&m);
    assert_int_equal(g->nodes[0].num_attrs, 1);
    amg_graph_free(g);
}

static void assert_ints_attr(const amg_graph *g, const char *name, int count,
                             const int64_t *values)
{
    const amg_attr *a = amg_attr_find(&g->nodes[0], name);
    assert_non_null(a);
    assert_int_equal(a->count, count);
    assert_memory_equal(a->ints, values, sizeof *values * (size_t)count);
}

/* x is [N,3,8,8]. */
static void automatic_padding_is_written_out(void **state)
{
    (void)state;
    model m;
    start(&m, 12);
    node(&m, "MaxPool", "x", "y");
    attr_ints(&m, "kernel_shape", INTS(3, 2));
    attr_ints(&m, "strides", INTS(3, 1));
    attr_text(&m, "auto_pad", "SAME_LOWER");
    amg_graph *g = must_import(&m);
    assert_null(amg_attr_find(&g->nodes[0], "auto_pad"));
    assert_ints_attr(g, "pads", INTS(1, 1, 0, 0));
    amg_graph_free(g);

    start(&m, 12);
    init(&m, "w", 1, INTS(3, 2, 4, 3), sizeof(float) * 3 * 2 * 4 * 3);
    node(&m, "ConvTranspose", "x w", "y");
    attr_ints(&m, "output_shape", INTS(10, 12));
    g = must_import(&m);
    assert_null(amg_attr_find(&g->nodes[0], "output_shape"));
    assert_ints_attr(g, "pads", INTS(1, 0, 0, 0));
    assert_ints_attr(g, "output_padding", INTS(0, 2));
    amg_graph_free(g);
}

/* An RNN both ways over [N,S,I]. */
static void start_rnn(model *m, const char *one, const char *other)
{
    start(m, 14);
    init(m, "w", 1, INTS(2, 6, 8), sizeof(float) * 2 * 6 * 8);
    init(m, "r", 1, INTS(2, 6, 6), sizeof(float) * 2 * 6 * 6);
    node(m, "Squeeze", "x axis", "t");
    init_ints(m, "axis", INTS(1));
    m->inputs[0] = info(m, "x", "N,1,8,8");
    node(m, "RNN", "t w r", "y");
    attr_int(m, "hidden_size", 6);
    attr_int(m, "layout", 1);
    attr_text(m, "direction", "bidirectional");
    attr_texts(m, "activations", 2, (const char *[]){one, other});
}

static void activations_of_recurrent_layers_are_pytorchs(void **state)
{
    (void)state;
    model m;
    start_rnn(&m, "Tanh", "tanh"); /* PyTorch's exporter writes small letters */
    amg_graph *g = must_import(&m);
    assert_null(amg_attr_find(node_of(g, AMG_OP_RNN), "activations"));
    amg_graph_free(g);

    start_rnn(&m, "Relu", "Relu");
    g = must_import(&m);
    uint8_t *data;
    size_t size;
    amg_graph *again = NULL;
    assert_int_equal(amg_graph_pack_onnx(g, AMG_PACK_WHOLE, &data, &size, NULL),
                     AMG_OK);
    assert_int_equal(amg_graph_parse_onnx(data, size, "again", &again, NULL), AMG_OK);
    amg_free(data);
    assert_string_equal(
        amg_attr_string(node_of(again, AMG_OP_RNN), "activations", "none"), "Relu");
    amg_graph_free(again);
    amg_graph_free(g);

    start_rnn(&m, "Relu", "Tanh");
    expect_failure(&m, AMG_UNSUPPORTED, "node \"n1\" (RNN)",
                   "activations are Relu,Tanh");
}

static void constants_become_initializers(void **state)
{
    (void)state;
    model m;
    start(&m, 13);
    node(&m, "Constant", "", "c");
    attr_float(&m, "value_float", 2.5f);
    node(&m, "Add", "x c", "t");
    node(&m, "Constant", "", "shape");
    attr_ints(&m, "value_ints", INTS(-1, 192));
    node(&m, "Reshape", "t shape", "y");
    amg_graph *g = must_import(&m);
    assert_int_equal(g->num_nodes, 2);
    expect_scalar(g, &g->nodes[0], 1, 2.5f);
    expect_ints(g, &g->nodes[1], 1, INTS(-1, 192));
    assert_int_equal(g->values[g->nodes[1].inputs[1]].role, AMG_ROLE_CONSTANT);
    amg_graph_free(g);
}

/* x.view(x.size(0), -1) as exporters write it: shape arithmetic up to the output. */
static void an_output_behind_shape_arithmetic_is_written_with_its_shape(void **state)
{
    (void)state;
    model m;
    start(&m, 13);
    memcpy(init(&m, "zero", 7, 0, NULL, 8)->raw_data.data, &(int64_t){0}, 8);
    init_ints(&m, "axis", INTS(0));
    init_ints(&m, "rest", INTS(-1));
    node(&m, "Shape", "x", "s");
    node(&m, "Gather", "s zero", "n");
    node(&m, "Unsqueeze", "n axis", "n1");
    node(&m, "Concat", "n1 rest", "to");
    attr_int(&m, "axis", 0);
    node(&m, "Reshape", "x to", "y");
    amg_graph *g = must_import(&m);
    uint8_t *data;
    size_t size;
    amg_onnx *onnx;
    assert_int_equal(amg_graph_pack_onnx(g, AMG_PACK_WHOLE, &data, &size, NULL),
                     AMG_OK);
    assert_int_equal(amg_onnx_parse(data, size, "m", NULL, &onnx, NULL), AMG_OK);
    const Onnx__ValueInfoProto *y = amg_onnx_model(onnx)->graph->output[0];
    const Onnx__TensorShapeProto *shape = y->type->tensor_type->shape;
    assert_non_null(shape);
    assert_int_equal(shape->n_dim, 2);
    assert_string_equal(shape->dim[0]->dim_param, "N");
    assert_int_equal(shape->dim[1]->dim_value, 192);
    amg_onnx_close(onnx);
    amg_free(data);
    amg_graph_free(g);
}

static void inputs_that_are_initializers_are_initializers(void **state)
{
    (void)state;
    model m;
    start(&m, 9);
    m.m.ir_version = 3;
    m.inputs[m.g.n_input++] = info(&m, "w", "3,8,8");
    init(&m, "w", 1, 3, (int64_t[]){3, 8, 8}, 768);
    node(&m, "Add", "x w", "y");
    amg_graph *g = must_import(&m);
    assert_int_equal(g->num_inputs, 1);
    assert_int_equal(value_of(g, "w")->kind, AMG_VALUE_PARAM);
    amg_graph_free(g);
}

static void a_fixed_batch_becomes_free(void **state)
{
    (void)state;
    model m;
    start(&m, 13);
    m.inputs[0] = info(&m, "x", "16,3,8,8");
    node(&m, "Relu", "x", "y");
    amg_graph *g = must_import(&m);
    expect_shape(g, "y", "F32[N,3,8,8]");
    amg_graph_free(g);
}

static void absent_outputs_of_an_lstm_get_names_of_their_own(void **state)
{
    (void)state;
    model m;
    start(&m, 14);
    m.inputs[0] = info(&m, "x", "N,5,8");
    init(&m, "w", 1, 3, (int64_t[]){1, 24, 8}, 24 * 8 * 4);
    init(&m, "r", 1, 3, (int64_t[]){1, 24, 6}, 24 * 6 * 4);
    node(&m, "LSTM", "x w r", "- y_absent0 c");
    attr_int(&m, "layout", 1);
    node(&m, "Add", "y_absent0 c", "y");
    amg_graph *g = must_import(&m);
    const amg_node *n = node_of(g, AMG_OP_LSTM), *add = node_of(g, AMG_OP_ADD);
    assert_int_equal(n->num_outputs, 3);
    assert_int_equal(add->inputs[0], n->outputs[1]);
    assert_int_equal(add->inputs[1], n->outputs[2]);
    assert_string_equal(g->values[n->outputs[1]].name, "y_absent0");
    assert_string_equal(g->values[n->outputs[0]].name, "y_absent0_absent0");
    amg_graph_free(g);
}

static void unsorted_nodes_are_sorted_and_unneeded_ones_left_out(void **state)
{
    (void)state;
    model m;
    start(&m, 13);
    init(&m, "unused", 1, 1, (int64_t[]){1}, 4);
    node(&m, "Tanh", "b", "y");
    node(&m, "Sigmoid", "a", "b");
    node(&m, "NonMaxSuppression", "a", "dead"); /* not even supported */
    node(&m, "Relu", "x", "a");
    amg_graph *g = must_import(&m);
    char names[1024];
    op_names(g, names);
    assert_string_equal(names, "Relu Sigmoid Tanh");
    assert_int_equal(amg_graph_find_value(g, "unused"), -1);
    assert_int_equal(amg_graph_find_value(g, "dead"), -1);
    amg_graph_free(g);
}

static void made_up_names_avoid_names_of_the_file(void **state)
{
    (void)state;
    model m;
    start(&m, 11);
    init(&m, "y_axes", 1, 3, (int64_t[]){3, 8, 8}, 768);
    node(&m, "Add", "x y_axes", "a");
    node(&m, "Unsqueeze", "a", "y");
    attr_ints(&m, "axes", INTS(1));
    amg_graph *g = must_import(&m);
    expect_ints(g, node_of(g, AMG_OP_UNSQUEEZE), 1, INTS(1));
    assert_non_null(value_of(g, "y_axes_1"));
    amg_graph_free(g);
}

/* ---- sequences ---- */

/* x is split along its three channels; parts: a number or sizes. */
static void start_sequence(model *m, size_t num_parts, const int64_t *parts, int64_t at)
{
    start(m, 18);
    int64_t dims[] = {(int64_t)num_parts};
    const size_t count = num_parts ? num_parts : 1;
    memcpy(
        init(m, "parts", 7, num_parts > 0, dims, count * sizeof *parts)->raw_data.data,
        parts, count * sizeof *parts);
    memcpy(init(m, "at", 7, 0, NULL, sizeof at)->raw_data.data, &at, sizeof at);
    node(m, "SplitToSequence", "x parts", "s");
    attr_int(m, "axis", 1);
    node(m, "SequenceAt", "s at", "y");
}

static void a_part_of_a_sequence_is_an_output_of_split(void **state)
{
    (void)state;
    static const struct {
        size_t num_parts;
        int64_t parts[3], at;
        const char *shape;
    } cases[] = {{0, {2}, 0, "F32[N,2,8,8]"},
                 {0, {2}, 1, "F32[N,1,8,8]"},
                 {0, {1}, -3, "F32[N,1,8,8]"},
                 {2, {1, 2}, -1, "F32[N,2,8,8]"}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        model m;
        start_sequence(&m, cases[i].num_parts, cases[i].parts, cases[i].at);
        amg_graph *g = must_import(&m);
        char ops[1024];
        op_names(g, ops);
        assert_string_equal(ops, "Split Identity");
        expect_shape(g, "y", cases[i].shape);
        const int part =
            (int)((cases[i].at + g->nodes[0].num_outputs) % g->nodes[0].num_outputs);
        assert_int_equal(g->nodes[1].inputs[0], g->nodes[0].outputs[part]);
        amg_graph_free(g);
    }
}

/* Of an axis whose size follows from constants that are not folded yet: 3 in twos. */
static void the_last_part_of_one_size_may_be_smaller(void **state)
{
    (void)state;
    for (int64_t at = 0; at < 2; at++) {
        model m;
        amg_graph *planned = NULL;
        const int64_t shape[] = {0, 3, 8, 8}, size = 2;
        start(&m, 18);
        memcpy(init(&m, "p", 7, 1, (int64_t[]){1}, 8)->raw_data.data, shape, 8);
        memcpy(init(&m, "q", 7, 1, (int64_t[]){3}, 24)->raw_data.data, shape + 1, 24);
        memcpy(init(&m, "size", 7, 0, NULL, 8)->raw_data.data, &size, 8);
        memcpy(init(&m, "at", 7, 0, NULL, 8)->raw_data.data, &at, 8);
        node(&m, "Shape", "x", "all");
        node(&m, "Gather", "all p", "n");
        node(&m, "Abs", "n", "same"); /* not followed by shape inference */
        node(&m, "Concat", "same q", "shape");
        attr_int(&m, "axis", 0);
        node(&m, "Reshape", "x shape", "r");
        node(&m, "SplitToSequence", "r size", "s");
        attr_int(&m, "axis", 1);
        node(&m, "SequenceAt", "s at", "y");
        amg_graph *g = must_import(&m);
        assert_int_equal(amg_graph_plan_batch(g, 5, &planned, NULL), AMG_OK);
        expect_shape(planned, "y", at == 0 ? "F32[5,2,8,8]" : "F32[5,1,8,8]");
        amg_graph_free(planned);
        amg_graph_free(g);
    }
}

static void sequences_that_nothing_is_known_of_are_refused(void **state)
{
    (void)state;
    model m;
    start_sequence(&m, 0, (int64_t[]){2}, 2);
    expect_failure(&m, AMG_MALFORMED, "node \"n1\" (SequenceAt)",
                   "position 2 of a sequence of 2");
    start_sequence(&m, 0, (int64_t[]){0}, 0);
    expect_failure(&m, AMG_UNSUPPORTED, "node \"n0\" (SplitToSequence)",
                   "splits 3 into parts of 0");
    start_sequence(&m, 2, (int64_t[]){2, 2}, 0);
    expect_failure(&m, AMG_MISMATCH, "node \"n0\" (Split)", "");
    start_sequence(&m, 0, (int64_t[]){2}, 0);
    m.nodes[1]->input[0] = keep(&m, "x");
    expect_failure(&m, AMG_UNSUPPORTED, "node \"n1\" (SequenceAt)",
                   "input 0 is not what a SplitToSequence made");
    start_sequence(&m, 0, (int64_t[]){2}, 0);
    m.nodes[1]->op_type = keep(&m, "ConcatFromSequence");
    expect_failure(&m, AMG_UNSUPPORTED, "node \"n1\" (ConcatFromSequence)",
                   "ConcatFromSequence of opset 18 is not supported");
    start_sequence(&m, 0, (int64_t[]){2}, 0);
    m.nodes[0]->attribute[0]->i = 0; /* the batch */
    expect_failure(&m, AMG_UNSUPPORTED, "node \"n0\" (SplitToSequence)",
                   "splits axis 0, expected one whose size is known");
}

/* ---- files that lie, or ask for more than there is ---- */

static void unknown_operators_are_named(void **state)
{
    (void)state;
    model m;
    start(&m, 13);
    node(&m, "NonMaxSuppression", "x", "y");
    expect_failure(&m, AMG_UNSUPPORTED, "node \"n0\" (NonMaxSuppression)",
                   "operator NonMaxSuppression of opset 13 is not supported");
    start(&m, 13);
    node(&m, "Relu", "x", "y");
    m.last->domain = keep(&m, "com.microsoft");
    expect_failure(&m, AMG_UNSUPPORTED, "node \"n0\" (Relu)",
                   "operator Relu of domain \"com.microsoft\"");
    start(&m, 13);
    node(&m, "", "x", "y");
    m.last->op_type = NULL;
    m.last->name = NULL;
    expect_failure(&m, AMG_UNSUPPORTED, "node \"y\" ()", "is not supported");

    /* The hint leads to the list. */
    start(&m, 13);
    node(&m, "Loop", "x", "y");
    amg_error err = {0};
    amg_graph *g;
    assert_int_equal(import(&m, &g, &err), AMG_UNSUPPORTED);
    assert_non_null(strstr(err.hint, "docs/ops.md"));

    start(&m, 13); /* ONNX's own domain by its long name is fine */
    node(&m, "Relu", "x", "y");
    m.last->domain = keep(&m, "ai.onnx");
    amg_graph_free(must_import(&m));
}

static void attributes_of_kinds_that_are_not_read_are_named(void **state)
{
    (void)state;
    static const struct {
        amg_status code;
        int type;
        const char *what;
    } rows[] = {{AMG_UNSUPPORTED, 5, "attribute a is a subgraph"},
                {AMG_UNSUPPORTED, 10, "attribute a is a subgraph"},
                {AMG_UNSUPPORTED, 8, "of type 8"},
                {AMG_UNSUPPORTED, 11, "of type 11"},
                {AMG_UNSUPPORTED, 99, "of type 99"},
                {AMG_MALFORMED, 0, "of type 0"}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        model m;
        start(&m, 13);
        node(&m, "Relu", "x", "y");
        attr(&m, "a", rows[i].type);
        expect_failure(&m, rows[i].code, "node \"n0\" (Relu)", rows[i].what);
    }
    model m;
    start(&m, 13);
    node(&m, "Relu", "x", "y");
    attr_int(&m, "a", 1);
    attr_int(&m, "a", 1);
    expect_failure(&m, AMG_MALFORMED, "node \"n0\" (Relu)",
                   "attribute a is there twice");
    start(&m, 9);
    node(&m, "Clip", "x", "y");
    attr_int(&m, "min", 1);
    expect_failure(&m, AMG_MALFORMED, "node \"n0\" (Clip)",
                   "attribute min is of another");
    start(&m, 9);
    node(&m, "Slice", "x", "y");
    attr_ints(&m, "starts", INTS(1, 2));
    attr_ints(&m, "ends", INTS(1));
    expect_failure(&m, AMG_MALFORMED, "node \"n0\" (Slice)", "2, 1 and -1 entries");
}

static void attributes_that_onnx_does_not_give_an_operator_are_refused(void **state)
{
    (void)state;
    model m;
    start(&m,
          13); /* axes are an input since 13: ignored, they would change the shape */
    node(&m, "Squeeze", "x", "y");
    attr_ints(&m, "axes", INTS(1));
    expect_failure(&m, AMG_UNSUPPORTED, "node \"n0\" (Squeeze)",
                   "attribute axes is not one that is read");
    start(&m, 13);
    node(&m, "Concat", "x x", "y");
    attr_float(&m, "axis", 1);
    expect_failure(&m, AMG_MALFORMED, "node \"n0\" (Concat)",
                   "attribute axis is of another type");
    start(&m, 13); /* axes as inputs since 18 */
    init_ints(&m, "axes", INTS(2, 3));
    node(&m, "ReduceMean", "x axes", "y");
    expect_failure(&m, AMG_MALFORMED, "node \"n0\" (ReduceMean)",
                   "2 inputs, expected at most 1 in opset 13");
}

static void broken_wiring_is_malformed(void **state)
{
    (void)state;
    model m;
    start(&m, 13);
    node(&m, "Add", "x ghost", "y");
    expect_failure(&m, AMG_MALFORMED, "node \"n0\" (Add)",
                   "input 1, \"ghost\", is produced by nothing");
    start(&m, 13);
    node(&m, "Relu", "x", "y");
    node(&m, "Tanh", "x", "y");
    expect_failure(&m, AMG_MALFORMED, "m.onnx",
                   "value \"y\" has two producers: a node and a node");
    start(&m, 13);
    node(&m, "Relu", "x", "x");
    expect_failure(&m, AMG_MALFORMED, "m.onnx",
                   "value \"x\" has two producers: a graph input and a node");
    start(&m, 13);
    init(&m, "w", 1, 1, (int64_t[]){1}, 4);
    init(&m, "w", 1, 1, (int64_t[]){1}, 4);
    node(&m, "Add", "x w", "y");
    expect_failure(&m, AMG_MALFORMED, "m.onnx", "an initializer and an initializer");
    start(&m, 13);
    node(&m, "Add", "x b", "a");
    node(&m, "Relu", "a", "b");
    node(&m, "Relu", "b", "y");
    expect_failure(&m, AMG_MALFORMED, "node \"n1\" (Relu)",
                   "input 0, \"a\", depends on the node itself");
    start(&m, 13);
    node(&m, "Relu", "y", "y");
    expect_failure(&m, AMG_MALFORMED, "node \"n0\" (Relu)",
                   "depends on the node itself");
    start(&m, 13);
    node(&m, "Relu", "x", "z");
    expect_failure(&m, AMG_MALFORMED, "m.onnx",
                   "graph output \"y\" is produced by nothing");
    start(&m, 13);
    node(&m, "Relu", "x", "y");
    m.outputs[m.g.n_output++] = info(&m, "y", NULL);
    expect_failure(&m, AMG_MALFORMED, "y", "an output twice");
    start(&m, 13);
    node(&m, "Relu", "x", "y");
    m.g.n_output = 0;
    expect_failure(&m, AMG_MALFORMED, "m.onnx", "no output");
    start(&m, 13);
    m.outputs[0] = info(&m, "x", NULL);
    expect_failure(&m, AMG_UNSUPPORTED, "m.onnx", "not the first output of a node");
}

static void outputs_that_are_dropped_cannot_be_read(void **state)
{
    (void)state;
    model m;
    start(&m, 13);
    node(&m, "MaxPool", "x", "d mask");
    attr_ints(&m, "kernel_shape", INTS(2, 2));
    node(&m, "Cast", "mask", "y");
    attr_int(&m, "to", 1);
    expect_failure(&m, AMG_UNSUPPORTED, "node \"n1\" (Cast)",
                   "\"mask\", is an output that is not computed");
    start(&m, 13);
    node(&m, "Dropout", "x", "- y");
    expect_failure(&m, AMG_UNSUPPORTED, "node \"n0\" (Dropout)",
                   "first output is absent");
    start(&m, 13);
    node(&m, "MaxPool", "x", "d y");
    attr_ints(&m, "kernel_shape", INTS(2, 2));
    expect_failure(&m, AMG_UNSUPPORTED, "m.onnx", "\"y\" is not the first output");
}

static void numbers_of_inputs_are_checked(void **state)
{
    (void)state;
    model m;
    start(&m, 13);
    node(&m, "Relu", "x x", "y");
    expect_failure(&m, AMG_MALFORMED, "node \"n0\" (Relu)",
                   "2 inputs, expected 1 to 1");
    start(&m, 13);
    node(&m, "Add", "x", "y");
    expect_failure(&m, AMG_MALFORMED, "node \"n0\" (Add)", "1 input, expected 2 to 2");
    start(&m, 13);
    node(&m, "Add", "- x", "y");
    expect_failure(&m, AMG_MALFORMED, "node \"n0\" (Add)", "input 0 is absent");
    char many[2 * 65 + 1];
    for (int i = 0; i < 65; i++) memcpy(many + 2 * i, "x ", 2);
    many[2 * 65] = 0;
    start(&m, 13);
    node(&m, "Add", many, "y");
    expect_failure(&m, AMG_MALFORMED, "node \"n0\" (Add)", "65 inputs, at most 64");
    start(&m, 13); /* a list may be longer */
    node(&m, "Concat", many, "y");
    attr_int(&m, "axis", 1);
    amg_graph *g = must_import(&m);
    expect_shape(g, "y", "F32[N,195,8,8]");
    amg_graph_free(g);
}

static void data_inputs_have_known_shapes(void **state)
{
    (void)state;
    static const struct {
        amg_status code;
        const char *shape, *what;
    } rows[] = {
        {AMG_UNSUPPORTED, "N,3,height,8", "dim 2 is symbolic (\"height\")"},
        {AMG_MALFORMED, "N,3,0,8", "dim 2 is 0"},
        {AMG_MALFORMED, "N,-3,8,8", "dim 1 is -3"},
        {AMG_UNSUPPORTED, "", "no shape"},
        {AMG_UNSUPPORTED, "N,1,1,1,1,1,1,1,1", "9 dims, at most 8"},
        {AMG_UNSUPPORTED, NULL, "not a dense tensor"},
    };
    model m;
    for (size_t i = 0; i < COUNT(rows); i++) {
        start(&m, 13);
        m.inputs[0] = info(&m, "x", rows[i].shape);
        node(&m, "Relu", "x", "y");
        expect_failure(&m, rows[i].code, "input \"x\"", rows[i].what);
    }
    start(&m, 13);
    m.g.n_input = 0;
    init(&m, "w", 1, 1, (int64_t[]){1}, 4);
    node(&m, "Relu", "w", "y");
    expect_failure(&m, AMG_UNSUPPORTED, "m.onnx", "no data input");
}

/* A table in half floats that is made float32 first: numbers, once folded. A weight in
 * half floats could not come back as what it was. */
static void half_floats_under_a_cast_are_constants(void **state)
{
    (void)state;
    for (int weight = 0; weight < 2; weight++) {
        model m;
        start(&m, 17);
        init(&m, "w", 1, 4, (int64_t[]){4, 3, 1, 1}, 48);
        Onnx__TensorProto *t = init(&m, "table", 10, 1, (int64_t[]){8}, 16);
        for (int i = 0; i < 8; i++) ((uint16_t *)(void *)t->raw_data.data)[i] = 0x3e00;
        if (!weight) t->doc_string = keep(&m, "constant");
        node(&m, "Conv", "x w", "a");
        node(&m, "Cast", "table", "c");
        attr_int(&m, "to", 1);
        node(&m, "Mul", "a c", "y");
        amg_graph *g = must_import(&m), *folded = NULL;
        amg_error err = {0};
        assert_int_equal(amg_graph_plan_batch(g, 2, &folded, NULL), AMG_OK);
        const amg_value *c = value_of(folded, "c");
        assert_int_equal(c->dtype, AMG_F32);
        assert_true(((const float *)c->data.data)[7] == 1.5f);
        assert_int_equal(c->role, weight ? AMG_ROLE_TRAINABLE : AMG_ROLE_CONSTANT);
        assert_int_equal(amg_graph_origin_check(g, &err),
                         weight ? AMG_UNSUPPORTED : AMG_OK);
        if (weight) assert_non_null(strstr(err.what, "\"table\" (F16) is no weight"));
        amg_graph_free(folded);
        amg_graph_free(g);
    }
}

static void weights_are_float32_and_fit_their_dims(void **state)
{
    (void)state;
    static const struct {
        amg_status code;
        int type;
        size_t size_bytes;
        int64_t dim;
        const char *what;
    } rows[] = {
        {AMG_UNSUPPORTED, 10, 6, 3, "float type F16, expected F32"},
        {AMG_UNSUPPORTED, 11, 24, 3, "float type F64, expected F32"},
        {AMG_UNSUPPORTED, 16, 6, 3, "float type BF16, expected F32"},
        {AMG_UNSUPPORTED, 8, 0, 3, "data type 8"},
        {AMG_MISMATCH, 1, 11, 3, "raw_data has 11 bytes, its dims say 12"},
        {AMG_MISMATCH, 1, 13, 3, "raw_data has 13 bytes, its dims say 12"},
        {AMG_MALFORMED, 1, 12, -3, "dim 0 is -3"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        model m;
        start(&m, 13);
        init(&m, "w", rows[i].type, 1, &rows[i].dim, rows[i].size_bytes);
        node(&m, "Add", "x w", "y");
        expect_failure(&m, rows[i].code, "tensor \"w\"", rows[i].what);
    }
    model m;
    start(&m, 13);
    Onnx__TensorProto *t = init(&m, "w", 1, 1, (int64_t[]){1LL << 62}, 0);
    t->has_raw_data = 0; /* absent data of an absurd size */
    t->has_data_location = 1;
    t->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
    node(&m, "Add", "x w", "y");
    expect_failure(&m, AMG_OVERFLOW, "tensor \"w\"", "does not fit");
    start(&m, 13);
    t = init(&m, "w", 7, 1, (int64_t[]){2}, 0);
    t->has_raw_data = 0; /* absent, and no weight: nothing could bring it back */
    t->has_data_location = 1;
    t->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
    node(&m, "Reshape", "x w", "y");
    expect_failure(&m, AMG_MALFORMED, "tensor \"w\"", "a constant without data");
}

static void opsets_out_of_range_are_refused(void **state)
{
    (void)state;
    static const struct {
        amg_status code;
        int64_t opset;
        const char *what;
    } rows[] = {{AMG_UNSUPPORTED, 8, "opset 8, expected 9 to 28"},
                {AMG_UNSUPPORTED, 29, "opset 29, expected 9 to 28"},
                {AMG_UNSUPPORTED, -1, "opset -1"}};
    model m;
    for (size_t i = 0; i < COUNT(rows); i++) {
        start(&m, rows[i].opset);
        node(&m, "Relu", "x", "y");
        expect_failure(&m, rows[i].code, "m.onnx", rows[i].what);
    }
    start(&m, 13);
    m.m.n_opset_import = 0;
    expect_failure(&m, AMG_MALFORMED, "m.onnx", "does not say which opset");
    start(&m, 13);
    m.m.graph = NULL;
    expect_failure(&m, AMG_MALFORMED, "m.onnx", "no graph");
}

static void byte_errors_keep_their_offset(void **state)
{
    (void)state;
    static const uint8_t wrong_wire[] = {0x08, 8, 0x38, 1}; /* graph as a varint */
    amg_graph *g = NULL;
    amg_error err = {0};
    assert_int_equal(amg_graph_parse_onnx(wrong_wire, sizeof wrong_wire, "m", &g, &err),
                     AMG_MALFORMED);
    assert_int_equal(err.offset, 2);
    assert_int_equal(amg_graph_parse_onnx(wrong_wire, 1, "m", &g, &err), AMG_TRUNCATED);
    assert_int_equal(err.offset, 1);
    assert_null(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(some_operators_are_read_in_parts),
        cmocka_unit_test(parts_keep_clear_of_names_in_the_file),
        cmocka_unit_test(parts_refuse_what_their_operator_does),
        cmocka_unit_test(clip_bounds_become_numbers),
        cmocka_unit_test(a_bound_in_double_is_a_number),
        cmocka_unit_test(clip_bounds_become_inputs),
        cmocka_unit_test(dropout_ratio_becomes_an_input_and_training_mode_goes),
        cmocka_unit_test(pads_become_inputs_and_cover_all_axes),
        cmocka_unit_test(slice_squeeze_and_unsqueeze_lists_become_inputs),
        cmocka_unit_test(what_an_attribute_was_computed_by_goes),
        cmocka_unit_test(reduce_mean_axes_become_an_attribute),
        cmocka_unit_test(reductions_over_no_axes_work_on_elements),
        cmocka_unit_test(batch_norm_keeps_one_output_and_no_training_mode),
        cmocka_unit_test(attributes_newer_than_what_we_write_go),
        cmocka_unit_test(automatic_padding_is_written_out),
        cmocka_unit_test(activations_of_recurrent_layers_are_pytorchs),
        cmocka_unit_test(constants_become_initializers),
        cmocka_unit_test(an_output_behind_shape_arithmetic_is_written_with_its_shape),
        cmocka_unit_test(inputs_that_are_initializers_are_initializers),
        cmocka_unit_test(a_fixed_batch_becomes_free),
        cmocka_unit_test(absent_outputs_of_an_lstm_get_names_of_their_own),
        cmocka_unit_test(unsorted_nodes_are_sorted_and_unneeded_ones_left_out),
        cmocka_unit_test(made_up_names_avoid_names_of_the_file),
        cmocka_unit_test(a_part_of_a_sequence_is_an_output_of_split),
        cmocka_unit_test(the_last_part_of_one_size_may_be_smaller),
        cmocka_unit_test(sequences_that_nothing_is_known_of_are_refused),
        cmocka_unit_test(unknown_operators_are_named),
        cmocka_unit_test(attributes_of_kinds_that_are_not_read_are_named),
        cmocka_unit_test(attributes_that_onnx_does_not_give_an_operator_are_refused),
        cmocka_unit_test(broken_wiring_is_malformed),
        cmocka_unit_test(outputs_that_are_dropped_cannot_be_read),
        cmocka_unit_test(numbers_of_inputs_are_checked),
        cmocka_unit_test(data_inputs_have_known_shapes),
        cmocka_unit_test(half_floats_under_a_cast_are_constants),
        cmocka_unit_test(weights_are_float32_and_fit_their_dims),
        cmocka_unit_test(opsets_out_of_range_are_refused),
        cmocka_unit_test(byte_errors_keep_their_offset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
