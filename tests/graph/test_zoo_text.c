/* The zoo's networks for text against PyTorch: names, shapes, counts and initialisation
 * of every parameter (tests/graph/data/zoo_text.txt, written by make_zoo_reference.py),
 * what is trained and what is not, and what the options may not be. That they compute
 * what PyTorch computes is tests/interop's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "zoo_fixture.h"

/* Options in which what is not said is open. */
static amg_zoo_options filled(amg_zoo_options o)
{
    if (o.num_classes == 0) o.num_classes = 5;
    if (o.dropout == 0) o.dropout = NAN;
    if (o.pad == 0) o.pad = -1;
    if (o.seed == 0) o.seed = 1;
    return o;
}

#define TEXT(...) filled((amg_zoo_options){__VA_ARGS__})

static amg_graph *build(amg_zoo_options options)
{
    amg_graph *g = NULL;
    amg_error err = {0};
    if (amg_zoo_build(&options, &g, &err))
        fail_msg("%s: %s: %s", options.name, err.where, err.what);
    return g;
}

/* The graph as a job trains it, of batches of n. */
static amg_graph *plan(const amg_graph *g, int64_t n)
{
    amg_graph *planned = NULL;
    amg_error err = {0};
    if (amg_graph_plan_batch(g, n, &planned, &err))
        fail_msg("%s: %s", err.where, err.what);
    return planned;
}

static void check_count(const char *name, const amg_graph *g, int64_t expected)
{
    int64_t found;
    amg_error err = {0};
    if (amg_zoo_count_trainable(g, &found, &err))
        fail_msg("%s: %s", err.where, err.what);
    if (found != expected)
        fail_msg("%s trains %" PRId64 " scalars, not %" PRId64, name, found, expected);
}

static void models_are_those_of_pytorch(void **state)
{
    (void)state;
    FILE *f = open_data("zoo_text.txt");
    char line[256], name[64], entry[128], shape[64], own[64];
    amg_graph *g = NULL;
    int num_models = 0, num_entries = 0;
    while (fgets(line, sizeof line, f)) {
        amg_zoo_options o = TEXT(.name = name, .vocab = 0);
        int64_t scalars;
        double std, largest;
        if (sscanf(line,
                   "model %63s %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64
                   " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64,
                   name, &o.vocab, &o.seq, &o.width_model, &o.layers, &o.heads,
                   &o.width_hidden, &o.num_classes, &o.pad, &scalars) == 10) {
            amg_graph_free(g);
            g = build(o);
            check_count(name, g, scalars);
            num_models++;
            continue;
        }
        assert_int_equal(
            sscanf(line, "%127s %63s %lg %lg", entry, shape, &std, &largest), 4);
        const amg_value *v = get_value(g, entry);
        assert_int_equal(v->kind, AMG_VALUE_PARAM);
        assert_string_equal(shape_text(v, own), shape);
        check_law(v, std, largest);
        num_entries++;
    }
    assert_int_equal(num_models, 14);
    assert_int_equal(num_entries, 153);
    amg_graph_free(g);
    fclose(f);
}

static void inputs_are_tokens_and_outputs_logits(void **state)
{
    (void)state;
    const char *const *names;
    const int num_names = amg_zoo_names(&names);
    int num_text = 0;
    for (int i = 0; i < num_names; i++) {
        if (!amg_zoo_is_text(names[i])) continue;
        amg_graph *g = build(TEXT(.name = names[i], .vocab = 40, .seq = 9)),
                  *planned = plan(g, 3);
        assert_int_equal(g->num_inputs, 1);
        assert_int_equal(g->num_outputs, 1);
        const amg_value *in = &g->values[g->inputs[0]];
        const amg_value *out = &g->values[g->outputs[0]];
        assert_string_equal(in->name, "input");
        assert_int_equal(in->dtype, AMG_I64);
        assert_int_equal(in->rank, 2);
        assert_memory_equal(in->dims, ((int64_t[]){AMG_DIM_BATCH, 9}), 16);
        assert_string_equal(out->name, "logits");
        const bool lm = amg_zoo_is_language_model(names[i]);
        assert_int_equal(out->rank, lm ? 3 : 2);
        assert_memory_equal(
            out->dims,
            (lm ? (int64_t[]){AMG_DIM_BATCH, 9, 40} : (int64_t[]){AMG_DIM_BATCH, 5, 0}),
            (size_t)out->rank * 8);
        assert_int_equal(planned->values[planned->outputs[0]].dims[0], 3);
        for (int n = 0; n < g->num_nodes; n++)
            assert_ptr_equal(find_node(g, g->nodes[n].name), &g->nodes[n]);
        amg_graph_free(planned);
        amg_graph_free(g);
        num_text++;
    }
    assert_int_equal(num_text, 5);
}

static void the_output_layer_of_gpt_is_its_embedding(void **state)
{
    (void)state;
    amg_graph *g = build(TEXT(.name = "gpt", .vocab = 40, .layers = 1));
    const int table = amg_graph_find_value(g, "transformer.wte.weight");
    const amg_node *lookup = get_node(g, "transformer.wte");
    const amg_node *head = get_node(g, "lm_head");
    assert_int_equal(lookup->op, AMG_OP_GATHER);
    assert_int_equal(lookup->inputs[0], table);
    assert_int_equal(head->op, AMG_OP_GEMM);
    assert_int_equal(head->num_inputs, 2);
    assert_int_equal(head->inputs[1], table);
    assert_int_equal(amg_attr_int(head, "transB", 0), 1);
    amg_graph_free(g);
}

/* Golden: PyTorch's example, position 3 of d_model 6:
 *   pe[3] = sin, cos of 3 * exp(2 i * (-log(10000) / 6)), i = 0, 1, 2 */
static void sines_of_positions_and_masks_do_not_train(void **state)
{
    (void)state;
    static const float golden[6] = {0.141120f, -0.989992f, 0.138798f,
                                    0.990321f, 0.006463f,  0.999979f};
    amg_graph *g =
        build(TEXT(.name = "transformer_lm", .vocab = 40, .width_model = 6, .seq = 5));
    amg_graph *folded = plan(g, AMG_DIM_BATCH);
    const amg_value *pe = get_value(folded, "pos_encoder.minus_pe");
    const amg_value *mask = get_value(folded, "causal_mask");
    assert_int_equal(pe->role, AMG_ROLE_CONSTANT);
    assert_int_equal(mask->role, AMG_ROLE_CONSTANT);
    const amg_node *add = get_node(folded, "pos_encoder.add");
    assert_int_equal(add->op, AMG_OP_SUB);
    const float *row = (const float *)pe->data.data + 3 * 6, *m = mask->data.data;
    for (int i = 0; i < 6; i++) assert_true(fabsf(-row[i] - golden[i]) < 1e-5f);
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < 5; j++)
            assert_true(j > i ? m[i * 5 + j] == -INFINITY : m[i * 5 + j] == 0);
    amg_graph_free(folded);
    amg_graph_free(g);
}

/* The ratio of the node NAME. */
static float ratio_of(const amg_graph *g, const char *name)
{
    const amg_node *node = get_node(g, name);
    assert_int_equal(node->op, AMG_OP_DROPOUT);
    return *(const float *)g->values[node->inputs[1]].data.data;
}

static void dropout_is_where_the_authors_have_it(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        int count; /* with two layers */
        struct {
            const char *node;
            float ratio;
        } some[3];
    } golden[] = {
        {"transformer_lm",
         9,
         {{"pos_encoder.dropout", .2f},
          {"encoder.layers.1.self_attn.attention_dropout", .1f},
          {"encoder.layers.0.dropout2", .1f}}},
        {"gpt",
         7,
         {{"transformer.drop", .2f},
          {"transformer.h.1.attn.attention_dropout", .2f},
          {"transformer.h.0.mlp.dropout", .2f}}},
        {"lstm", 2, {{"lstm.dropout_l0", .5f}, {"dropout", .5f}, {"dropout", .5f}}},
        {"text_cnn", 1, {{"dropout", .5f}, {"dropout", .5f}, {"dropout", .5f}}},
    };
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        amg_zoo_options o = TEXT(.name = golden[i].model, .vocab = 20);
        if (strcmp(o.name, "text_cnn") != 0) o.layers = 2;
        amg_graph *g = build(o);
        assert_int_equal(count_ops(g, AMG_OP_DROPOUT), golden[i].count);
        for (int k = 0; k < 3; k++)
            assert_true(ratio_of(g, golden[i].some[k].node) == golden[i].some[k].ratio);
        amg_graph_free(g);
        o.dropout = 0.25;
        g = build(o);
        assert_int_equal(count_ops(g, AMG_OP_DROPOUT), golden[i].count);
        for (int k = 0; k < 3; k++)
            assert_true(ratio_of(g, golden[i].some[k].node) == 0.25f);
        amg_graph_free(g);
        o.dropout = 0;
        g = build(o);
        assert_int_equal(count_ops(g, AMG_OP_DROPOUT), 0);
        amg_graph_free(g);
    }
}

static void a_pad_is_compared_with_and_never_trains(void **state)
{
    (void)state;
    static const char *const models[] = {"text_cnn", "embedding_bag", "lstm"};
    for (int i = 0; i < 3; i++) {
        amg_graph *g = build(TEXT(.name = models[i], .vocab = 20, .pad = 7));
        const amg_node *equal = get_node(g, "is_pad");
        assert_int_equal(equal->op, AMG_OP_EQUAL);
        assert_int_equal(equal->inputs[0], g->inputs[0]);
        const amg_value *pad = &g->values[equal->inputs[1]];
        assert_int_equal(pad->dtype, AMG_I64);
        assert_int_equal(*(const int64_t *)pad->data.data, 7);
        amg_graph_free(g);
        g = build(TEXT(.name = models[i], .vocab = 20));
        assert_null(find_node(g, "is_pad"));
        amg_graph_free(g);
    }
}

/* nn.Embedding(padding_idx) */
static void the_embedding_of_padding_is_zero_in_a_text_cnn(void **state)
{
    (void)state;
    amg_graph *g =
        build(TEXT(.name = "text_cnn", .vocab = 20, .width_model = 3, .pad = 7));
    const float *table = get_value(g, "embedding.weight")->data.data;
    for (int i = 0; i < 60; i++) assert_true((table[i] == 0) == (i / 3 == 7));
    amg_graph_free(g);
}

static void weights_depend_on_the_seed(void **state)
{
    (void)state;
    const char *const names[] = {"embedding.weight", "lstm.bias_hh_l0", "fc.weight"};
    amg_graph *g = build(TEXT(.name = "lstm", .vocab = 20)),
              *again = build(TEXT(.name = "lstm", .vocab = 20));
    amg_graph *other = build(TEXT(.name = "lstm", .vocab = 20, .seed = 2));
    for (int i = 0; i < 3; i++) {
        const amg_tensor *a = &get_value(g, names[i])->data;
        const amg_tensor *b = &get_value(again, names[i])->data;
        const amg_tensor *c = &get_value(other, names[i])->data;
        assert_memory_equal(a->data, b->data, a->size_bytes);
        assert_memory_not_equal(a->data, c->data, a->size_bytes);
    }
    amg_graph_free(g);
    amg_graph_free(again);
    amg_graph_free(other);
}

static void bad_options_are_refused(void **state)
{
    (void)state;
    const struct {
        amg_zoo_options options;
        const char *what;
    } cases[] = {
        {{.name = "gpt", .vocab = 0}, "vocab is 0, expected 2 to 16777216"},
        {{.name = "gpt", .vocab = -3}, "vocab is -3, expected 2 to 16777216"},
        {{.name = "gpt", .vocab = 20, .seq = 4097}, "seq is 4097, expected 1 to 4096"},
        {{.name = "lstm", .vocab = 20, .seq = -1}, "seq is -1, expected 1 to 65536"},
        {{.name = "text_cnn", .vocab = 20, .seq = 4}, "seq is 4, expected 5 to 65536"},
        {{.name = "text_cnn", .vocab = 20, .num_classes = 1},
         "classes is 1, expected 2 to 16777216"},
        {{.name = "gpt", .vocab = 20, .heads = 5},
         "d_model is 384, expected a multiple of the 5 heads"},
        {{.name = "transformer_lm", .vocab = 20, .width_model = 9, .heads = 3},
         "d_model is 9, expected an even number: a sine and a cosine a position"},
        {{.name = "gpt", .vocab = 20, .layers = -2},
         "layers is -2, expected 1 to 1024"},
        {{.name = "gpt", .vocab = 20, .width_hidden = INT64_MAX},
         "hidden is 9223372036854775807, expected 1 to 262144"},
        {{.name = "gpt", .vocab = 20, .width_model = INT64_MAX},
         "d_model is 9223372036854775807, expected 1 to 65536"},
        {{.name = "embedding_bag", .vocab = 20, .heads = 2},
         "heads is 2, but this model has none"},
        {{.name = "text_cnn", .vocab = 20, .layers = 2},
         "layers is 2, but this model has none"},
        {{.name = "embedding_bag", .vocab = 20, .width_hidden = 2},
         "hidden is 2, but this model has none"},
        {{.name = "embedding_bag", .vocab = 20, .dropout = 0.5},
         "dropout is 0.5, but this model has none"},
        {{.name = "gpt", .vocab = 20, .dropout = 1},
         "dropout is 1, expected 0 or more and less than 1"},
        {{.name = "gpt", .vocab = 20, .dropout = -0.1},
         "dropout is -0.1, expected 0 or more and less than 1"},
        {{.name = "lstm", .vocab = 20, .pad = 20}, "pad is 20, expected 0 to 19"},
        {{.name = "lstm", .vocab = 20, .pad = -2}, "pad is -2, expected 0 to 19"},
        {{.name = "gpt", .vocab = 20, .pad = 3},
         "pad is 3, but a language model's windows are full"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        amg_error err = {0};
        amg_graph *g = NULL;
        const amg_zoo_options options = filled(cases[i].options);
        assert_int_equal(amg_zoo_build(&options, &g, &err), AMG_INVALID);
        assert_null(g);
        assert_int_equal(err.code, AMG_INVALID);
        assert_int_equal(err.offset, -1);
        assert_string_equal(err.where, cases[i].options.name);
        assert_string_equal(err.what, cases[i].what);
    }
}

/* Fails each allocation of a build in turn, until one build gets through. */
static void running_out_of_memory_is_an_error_anywhere(void **state)
{
    (void)state;
    const amg_zoo_options models[] = {
        {.name = "gpt",
         .vocab = 20,
         .seq = 6,
         .width_model = 8,
         .heads = 2,
         .layers = 1},
        {.name = "transformer_lm",
         .vocab = 20,
         .seq = 6,
         .width_model = 8,
         .layers = 1},
        {.name = "text_cnn", .vocab = 20, .seq = 6, .width_model = 8, .pad = 2},
        {.name = "lstm",
         .vocab = 20,
         .seq = 6,
         .width_model = 8,
         .width_hidden = 4,
         .pad = 2}};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        const amg_zoo_options options = filled(models[i]);
        int num_failures = 0;
        for (long n = 1;; n++) {
            long countdown = n;
            amg_error err = {0};
            amg_graph *g = NULL;
            amg_alloc_fail_after(&countdown);
            amg_status status = amg_zoo_build(&options, &g, &err);
            amg_alloc_fail_after(NULL);
            if (!status) {
                assert_true(countdown > 0);
                amg_graph_free(g);
                break;
            }
            assert_int_equal(status, AMG_NO_MEMORY);
            assert_null(g);
            num_failures++;
        }
        assert_true(num_failures > 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_are_those_of_pytorch),
        cmocka_unit_test(inputs_are_tokens_and_outputs_logits),
        cmocka_unit_test(the_output_layer_of_gpt_is_its_embedding),
        cmocka_unit_test(sines_of_positions_and_masks_do_not_train),
        cmocka_unit_test(dropout_is_where_the_authors_have_it),
        cmocka_unit_test(a_pad_is_compared_with_and_never_trains),
        cmocka_unit_test(the_embedding_of_padding_is_zero_in_a_text_cnn),
        cmocka_unit_test(weights_depend_on_the_seed),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(running_out_of_memory_is_an_error_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
