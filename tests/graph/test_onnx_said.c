/* What a file says of its tensors (graph/onnx_said.h): y = w * x / t * gain, in which w
 * is a weight to anyone, gain is one of more than one element, and t is a number. */
#include "onnx_fixture.h"

#define SIGNATURE "pkg.torch.export.ExportedProgram.graph_signature"

static Onnx__TensorProto *ones(model *m, const char *name, size_t rank,
                               const int64_t *dims, size_t count)
{
    Onnx__TensorProto *t = init(m, name, 1, rank, dims, 4 * count);
    for (size_t i = 0; i < count; i++) ((float *)(void *)t->raw_data.data)[i] = 1;
    return t;
}

typedef struct {
    model m;
    Onnx__TensorProto *w, *t, *gain;
} network;

static void start_network(network *n)
{
    model *m = &n->m;
    start(m, 17);
    n->w = ones(m, "w", 4, (int64_t[]){4, 3, 1, 1}, 12);
    n->t = ones(m, "t", 0, NULL, 1);
    n->gain = ones(m, "gain", 3, (int64_t[]){4, 1, 1}, 4);
    node(m, "Conv", "x w", "a");
    node(m, "Div", "a t", "b");
    node(m, "Mul", "b gain", "y");
}

/* Which of w, t and gain train: one letter each, '-' otherwise. */
static void expect_trained(network *n, const char *expected)
{
    static const char *const names[] = {"w", "t", "gain"};
    amg_graph *g = must_import(&n->m), *again = NULL, *both[2];
    uint8_t *data;
    size_t size;
    assert_int_equal(amg_graph_pack_onnx(g, AMG_PACK_WHOLE, &data, &size, NULL),
                     AMG_OK);
    assert_int_equal(amg_graph_parse_onnx(data, size, "again", &again, NULL), AMG_OK);
    both[0] = g;
    both[1] = again; /* a written file says the same */
    for (int k = 0; k < 2; k++) {
        char found[4] = "---";
        for (int i = 0; i < 3; i++)
            if (value_of(both[k], names[i])->role == AMG_ROLE_TRAINABLE)
                found[i] = names[i][0];
        assert_string_equal(found, expected);
        amg_graph_free(both[k]);
    }
    amg_free(data);
}

static void say(const network *n, const char *t, const char *gain)
{
    n->t->doc_string = (char *)(uintptr_t)t;
    n->gain->doc_string = (char *)(uintptr_t)gain;
}

/* The wire bytes of metadata_props, a field that an old onnx.proto does not know. */
static void put_metadata(model *m, ProtobufCMessage *message, uint32_t tag,
                         const char *key, const char *text)
{
    const size_t key_size = strlen(key), value = strlen(text);
    uint8_t *bytes = amg_arena_alloc(&m->arena, key_size + value + 16), *at = bytes;
    assert_true(key_size < 128 && value < 16384 - key_size - 8);
    const size_t entry = key_size + value + 5;
    *at++ = (uint8_t)(entry | 128);
    *at++ = (uint8_t)(entry >> 7);
    *at++ = 1 << 3 | 2;
    *at++ = (uint8_t)key_size;
    memcpy(at, key, key_size);
    at += key_size;
    *at++ = 2 << 3 | 2;
    *at++ = (uint8_t)(value | 128);
    *at++ = (uint8_t)(value >> 7);
    memcpy(at, text, value);
    ProtobufCMessageUnknownField *u = amg_arena_alloc(&m->arena, sizeof *u);
    *u = (ProtobufCMessageUnknownField){tag, PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED,
                                        entry + 2, bytes};
    message->n_unknown_fields = 1;
    message->unknown_fields = u;
}

static void put_signature(network *n, const char *text)
{
    put_metadata(&n->m, &n->m.g.base, 16, SIGNATURE, text);
}

static void without_a_word_what_reads_a_tensor_decides(void **state)
{
    (void)state;
    network n;
    start_network(&n);
    expect_trained(&n, "w-g");
}

static void a_tensor_may_say_it_itself(void **state)
{
    (void)state;
    network n;
    start_network(&n);
    say(&n, "weight", "constant");
    expect_trained(&n, "wt-");
    start_network(&n);
    say(&n, "a comment", "a comment");
    expect_trained(&n, "w-g");
    start_network(&n);
    n.w->doc_string = (char *)(uintptr_t) "constant";
    say(&n, "weight", NULL);
    expect_trained(&n, "-tg");
}

static void a_signature_says_it(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "\n# inputs\np_w: PARAMETER target='w'\np_t: PARAMETER target='t'\n"
        "b_gain: BUFFER target='gain' persistent=False\nx: USER_INPUT\n",
        "ExportGraphSignature(input_specs=[InputSpec(kind=<InputKind.PARAMETER: 2>, "
        "arg=TensorArgument(name='p_w'), target='w', persistent=None), "
        "InputSpec(kind=<InputKind.PARAMETER: 2>, arg=TensorArgument(name='p_t'), "
        "target='t', persistent=None), InputSpec(kind=<InputKind.CONSTANT_TENSOR: 4>, "
        "arg=TensorArgument(name='c_gain'), target='gain', persistent=None)])",
        /* of gain nothing: the exporter's own number */
        "p_w: PARAMETER target='w'\np_t: PARAMETER target='t'\n",
    };
    for (size_t i = 0; i < COUNT(texts); i++) {
        network n;
        start_network(&n);
        put_signature(&n, texts[i]);
        expect_trained(&n, "wt-");
    }
}

static void a_lost_parameter_leaves_others_unclear(void **state)
{
    (void)state;
    network n;
    start_network(&n);
    put_signature(&n, "p_w: PARAMETER target='w'\np_s: PARAMETER target='scale'\n");
    expect_failure(&n.m, AMG_UNSUPPORTED, "t",
                   "perhaps of the module's parameter \"scale\"");
    start_network(&n);
    say(&n, "weight", "constant");
    put_signature(&n, "p_w: PARAMETER target='w'\np_s: PARAMETER target='scale'\n");
    expect_trained(&n, "wt-");
}

static void from_torchscript(model *m)
{
    m->m.producer_name = keep(m, "pytorch");
    for (size_t k = 0; k < m->g.n_node; k++) m->g.node[k]->name = keep(m, "/node");
}

static void names_by_torchscript_are_a_modules(void **state)
{
    (void)state;
    static const char *const own[] = {"t", "0.t", "t_1"};
    static const char *const made[] = {"onnx::Div_7", "/Constant_output_0", "17"};
    for (size_t i = 0; i < 2 * COUNT(own); i++) {
        network n;
        const bool is_own = i < COUNT(own);
        const char *name = is_own ? own[i] : made[i - COUNT(own)];
        start_network(&n);
        from_torchscript(&n.m);
        n.t->name = n.m.g.node[1]->input[1] = keep(&n.m, name);
        amg_graph *g = must_import(&n.m);
        assert_int_equal(value_of(g, name)->role,
                         is_own ? AMG_ROLE_TRAINABLE : AMG_ROLE_CONSTANT);
        amg_graph_free(g);
    }
}

/* Nodes of the exporter's own passes are numbered; others' names say nothing. */
static void numbered_nodes_are_torchscript_s_too(void **state)
{
    (void)state;
    static const char *const names[] = {"Relu_2569", "Relu_a", "relu_2569"};
    for (size_t i = 0; i < COUNT(names); i++) {
        network n;
        start_network(&n);
        node(&n.m, "Relu", "y", "z");
        n.m.g.output[0]->name = keep(&n.m, "z");
        from_torchscript(&n.m);
        n.m.g.node[n.m.g.n_node - 1]->name = keep(&n.m, names[i]);
        amg_graph *g = must_import(&n.m);
        assert_int_equal(value_of(g, "t")->role,
                         i == 0 ? AMG_ROLE_TRAINABLE : AMG_ROLE_CONSTANT);
        amg_graph_free(g);
    }
}

/* x * exp(t): behind a function, and with the result of a weight; ahead of all weights
 * numbers normalise the data. */
static void a_module_s_number_trains_behind_a_weight(void **state)
{
    (void)state;
    network n;
    model *m = &n.m;
    start(m, 17);
    ones(m, "w", 4, (int64_t[]){4, 3, 1, 1}, 12);
    ones(m, "t", 0, NULL, 1);
    ones(m, "gain", 3, (int64_t[]){3, 1, 1}, 3);
    node(m, "Div", "x gain", "a");
    node(m, "Conv", "a w", "b");
    node(m, "Exp", "t", "e");
    node(m, "Mul", "e b", "y");
    from_torchscript(m);
    expect_trained(&n, "wt-");
}

/* w / |w| * gain: what a layer's weight is made of trains, but for a mask. */
static void what_a_weight_is_made_of_trains(void **state)
{
    (void)state;
    for (int masked = 0; masked < 2; masked++) {
        network n;
        model *m = &n.m;
        start(m, 17);
        ones(m, "w", 4, (int64_t[]){4, 3, 1, 1}, 12);
        ones(m, "t", 0, NULL, 1);
        Onnx__TensorProto *gain = ones(m, "gain", 4, (int64_t[]){4, 1, 1, 1}, 4);
        if (masked) ((float *)(void *)gain->raw_data.data)[2] = 0;
        node(m, "ReduceL2", "w", "norm");
        node(m, "Div", "w norm", "a");
        node(m, "Mul", "gain a", "b");
        node(m, "Div", "x t", "c");
        node(m, "Conv", "c b", "y");
        from_torchscript(m);
        expect_trained(&n, masked ? "w--" : "w-g");
    }
}

/* Shares of branches; a mask of zeros and ones, frequencies times positions: not. */
static void what_is_computed_of_a_module_s_tensor_alone_trains(void **state)
{
    (void)state;
    static const struct {
        const char *ops[3][3]; /* operator, inputs, output: of gain and t */
        bool binary;
        const char *expected;
    } cases[] = {
        {{{"Softmax", "gain", "share"}}, false, "w-g"},
        {{{"ReduceSum", "gain", "s"}, {"Add", "s t", "u"}, {"Div", "gain u", "share"}},
         false,
         "wtg"},
        {{{"Sub", "onnx::one gain", "share"}}, true, "w--"},
        {{{"Mul", "gain onnx::places", "s"}, {"Sin", "s", "share"}}, false, "w--"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        network n;
        model *m = &n.m;
        start(m, 17);
        ones(m, "w", 4, (int64_t[]){4, 3, 1, 1}, 12);
        ones(m, "t", 0, NULL, 1);
        ones(m, "onnx::one", 0, NULL, 1);
        ones(m, "onnx::places", 3, (int64_t[]){4, 1, 1}, 4);
        Onnx__TensorProto *gain = ones(m, "gain", 3, (int64_t[]){4, 1, 1}, 4);
        if (cases[i].binary) ((float *)(void *)gain->raw_data.data)[2] = 0;
        node(m, "Div", "x t", "a");
        node(m, "Conv", "a w", "b");
        for (int k = 0; k < 3 && cases[i].ops[k][0]; k++) {
            const char *const *op = cases[i].ops[k];
            node(m, op[0], op[1], op[2]);
        }
        node(m, "Mul", "share b", "y");
        from_torchscript(m);
        expect_trained(&n, cases[i].expected);
    }
}

/* As layers start in places (ConViT's values): no mask. */
static void an_identity_matrix_trains(void **state)
{
    (void)state;
    network n;
    model *m = &n.m;
    start(m, 17);
    ones(m, "t", 0, NULL, 1);
    ones(m, "gain", 1, (int64_t[]){8}, 8);
    Onnx__TensorProto *w = ones(m, "w", 2, (int64_t[]){8, 8}, 64);
    for (int i = 0; i < 64; i++) ((float *)(void *)w->raw_data.data)[i] = i % 9 == 0;
    node(m, "Transpose", "w", "moved");
    attr_ints(m, "perm", INTS(1, 0));
    node(m, "Div", "x t", "a");
    node(m, "MatMul", "a moved", "b");
    node(m, "Add", "b gain", "y");
    from_torchscript(m);
    expect_trained(&n, "w-g");
}

/* A line for each of the data's columns trains; what normalises them does not. */
static void what_makes_more_of_the_data_trains(void **state)
{
    (void)state;
    static const struct {
        int64_t dims[3];
        size_t rank, count;
        const char *expected;
    } cases[] = {
        {{3, 1, 5}, 3, 15, "wtg"}, /* five numbers for each of three channels */
        {{3, 1, 1}, 3, 3, "w--"},  /* one for each */
        {{5}, 1, 5, "w--"},        /* five for all: frequencies */
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        network n;
        model *m = &n.m;
        start(m, 17);
        ones(m, "gain", cases[i].rank, cases[i].dims, cases[i].count);
        ones(m, "t", cases[i].rank, cases[i].dims, cases[i].count);
        ones(m, "w", 4, (int64_t[]){4, 3, 1, 1}, 12);
        node(m, "GlobalAveragePool", "x", "a");
        node(m, "Mul", "a gain", "b");
        node(m, "Add", "t b", "c");
        node(m, "Conv", "c w", "y");
        from_torchscript(m);
        expect_trained(&n, cases[i].expected);
    }
}

static void a_constant_node_is_one_where_weights_are_initializers(void **state)
{
    (void)state;
    for (int has_weights = 0; has_weights < 2; has_weights++) {
        model m;
        start(&m, 17);
        static const float numbers[12] = {0};
        if (has_weights) ones(&m, "w", 4, (int64_t[]){4, 3, 1, 1}, 12);
        node(&m, "Constant", "", "c");
        Onnx__TensorProto *t = new_tensor_proto(&m);
        t->has_data_type = 1;
        t->data_type = 1;
        t->n_dims = 4;
        t->dims = amg_arena_array(&m.arena, 4, sizeof *t->dims);
        memcpy(t->dims, (int64_t[]){4, 3, 1, 1}, 4 * sizeof *t->dims);
        t->has_raw_data = 1;
        t->raw_data.len = sizeof numbers;
        t->raw_data.data = (uint8_t *)(uintptr_t)numbers;
        attr(&m, "value", 4)->t = t;
        node(&m, "Conv", "x c", "a");
        if (has_weights)
            node(&m, "Conv", "x w", "b");
        else
            node(&m, "Relu", "a", "b");
        node(&m, "Add", "a b", "y");
        amg_graph *g = must_import(&m);
        assert_int_equal(value_of(g, "c")->role,
                         has_weights ? AMG_ROLE_CONSTANT : AMG_ROLE_TRAINABLE);
        amg_graph_free(g);
    }
}

/* x.detach(): as we write it, and as dynamo's exporter does. */
static void an_identity_may_stop_gradients(void **state)
{
    (void)state;
    static const char *const calls[] = {"torch.ops.aten.detach.default",
                                        "torch.ops.aten.clone.default"};
    for (int form = 0; form < 4; form++) {
        network n;
        start_network(&n);
        model *m = &n.m;
        Onnx__NodeProto *stop = m->g.node[2];
        stop->op_type = keep(m, "Identity");
        stop->n_input = 1;
        node(m, "Mul", "y gain", "z");
        m->outputs[0]->name = keep(m, "z");
        if (form == 1) stop->doc_string = keep(m, "no gradient");
        if (form >= 2) {
            char text[96];
            snprintf(text, sizeof text, "call_function[target=%s](args = (%%detach,))",
                     calls[form - 2]);
            put_metadata(m, &stop->base, 9, "pkg.torch.onnx.fx_node", text);
        }
        expect_trained(&n, form == 1 || form == 2 ? "---" : "w-g");
    }
}

/* nn.Embedding(padding_idx), of which dynamo's exporter says the call. */
static void a_padded_row_gets_no_gradient(void **state)
{
    (void)state;
    static const struct {
        const char *call;
        bool padded;
    } rows[] = {
        {"aten.embedding.default](args = (%p, %x, 3), kwargs = {})", true},
        {"aten.embedding.default](args = (%p, %x, 0, False), kwargs = {})", true},
        {"aten.embedding.default](args = (%p, %x, -1), kwargs = {})", false},
        {"aten.embedding.default](args = (%p, %x), kwargs = {})", false},
        {"aten.embedding.default](args = (%p, %x, ", false},
        {"aten.embedding.default](args = (%p", false},
        {"aten.index_select.default](args = (%p, 0, 3), kwargs = {})", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        model m;
        char text[128];
        start(&m, 17);
        ones(&m, "w", 2, (int64_t[]){9, 4}, 36);
        node(&m, "Cast", "x", "tokens");
        attr_int(&m, "to", 7);
        node(&m, "Gather", "w tokens", "y");
        snprintf(text, sizeof text, "%%e : call_function[target=torch.ops.%s",
                 rows[i].call);
        put_metadata(&m, &m.g.node[1]->base, 9, "pkg.torch.onnx.fx_node", text);
        amg_graph *g = must_import(&m);
        int stops = 0;
        for (int k = 0; k < g->num_nodes; k++)
            stops += g->nodes[k].op == AMG_OP_STOP_GRADIENT;
        assert_int_equal(stops, rows[i].padded);
        assert_int_equal(g->nodes[g->num_nodes - 1].op,
                         rows[i].padded ? AMG_OP_WHERE : AMG_OP_GATHER);
        amg_graph_free(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_word_what_reads_a_tensor_decides),
        cmocka_unit_test(a_tensor_may_say_it_itself),
        cmocka_unit_test(a_signature_says_it),
        cmocka_unit_test(a_lost_parameter_leaves_others_unclear),
        cmocka_unit_test(names_by_torchscript_are_a_modules),
        cmocka_unit_test(numbered_nodes_are_torchscript_s_too),
        cmocka_unit_test(a_module_s_number_trains_behind_a_weight),
        cmocka_unit_test(what_a_weight_is_made_of_trains),
        cmocka_unit_test(what_is_computed_of_a_module_s_tensor_alone_trains),
        cmocka_unit_test(an_identity_matrix_trains),
        cmocka_unit_test(what_makes_more_of_the_data_trains),
        cmocka_unit_test(an_identity_may_stop_gradients),
        cmocka_unit_test(a_padded_row_gets_no_gradient),
        cmocka_unit_test(a_constant_node_is_one_where_weights_are_initializers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
