/* The model zoo against torchvision: names, shapes, order, counts and initialisation of
 * every parameter (tests/graph/data/zoo_*.txt, written by make_zoo_reference.py), the
 * two forms, and what the options may not be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "zoo_fixture.h"

#define IMAGE(model, c, h, w, classes)                                                 \
    {                                                                                  \
        .name = (model), .channels = (c), .height = (h), .width = (w),                 \
        .num_classes = (classes)                                                       \
    }

static amg_graph *build(const char *name, int64_t c, int64_t h, int64_t w,
                        int64_t classes, uint64_t seed)
{
    amg_zoo_options options = {.name = name,
                               .channels = c,
                               .height = h,
                               .width = w,
                               .num_classes = classes,
                               .seed = seed};
    amg_graph *g = NULL;
    amg_error err = {0};
    if (amg_zoo_build(&options, &g, &err))
        fail_msg("%s: %s: %s", name, err.where, err.what);
    return g;
}

static void check_state_dict(const char *name, const amg_graph *g)
{
    char file[80], entry[128], shape[64], own[64];
    double std, largest;
    snprintf(file, sizeof file, "zoo_%s.txt", name);
    FILE *f = open_data(file);
    int v = -1, num_entries = 0;
    while (fscanf(f, "%127s %63s %lg %lg", entry, shape, &std, &largest) == 4) {
        v = next_entry(g, v + 1);
        if (v == g->num_values) fail_msg("%s: no %s", name, entry);
        const amg_value *value = &g->values[v];
        assert_string_equal(value->name, entry);
        assert_string_equal(shape_text(value, own), shape);
        bool running = strstr(entry, ".running_") != NULL;
        assert_int_equal(value->role, running ? AMG_ROLE_BUFFER : AMG_ROLE_TRAINABLE);
        check_law(value, std, largest);
        num_entries++;
    }
    assert_true(feof(f));
    assert_true(num_entries >= 32); /* vgg16, the shortest */
    assert_int_equal(next_entry(g, v + 1), g->num_values);
    fclose(f);
}

/* One pass, because a model of this size is built once: counts of both forms and, for
 * the ImageNet form, the whole state_dict. */
static void models_are_those_of_torchvision(void **state)
{
    (void)state;
    FILE *f = open_data("zoo_counts.txt");
    char name[64];
    int64_t c, h, w, classes, trainable;
    int num_models = 0, num_state_dicts = 0;
    while (fscanf(f, "%63s %" SCNd64 "x%" SCNd64 "x%" SCNd64 " %" SCNd64 " %" SCNd64,
                  name, &c, &h, &w, &classes, &trainable) == 6) {
        amg_graph *g = build(name, c, h, w, classes, 1);
        int64_t found = 0;
        for (int v = next_entry(g, 0); v < g->num_values; v = next_entry(g, v + 1))
            if (g->values[v].role == AMG_ROLE_TRAINABLE)
                found += amg_tensor_count(&g->values[v].data);
        if (found != trainable)
            fail_msg("%s %" PRId64 "x%" PRId64 ": %" PRId64 " scalars, not %" PRId64,
                     name, h, w, found, trainable);
        assert_int_equal(amg_graph_num_trainable(g), trainable);
        if (classes == 1000 && ++num_state_dicts) check_state_dict(name, g);
        amg_graph_free(g);
        num_models++;
    }
    assert_true(feof(f));
    assert_int_equal(num_models, 18);
    assert_int_equal(num_state_dicts, 7);
    fclose(f);
}

/* The counts that the literature and torchvision's documentation state. */
static void counts_are_the_published_ones(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t count;
    } published[] = {
        {"resnet18", 11689512},    {"resnet34", 21797672}, {"resnet50", 25557032},
        {"densenet121", 7978856},  {"vgg16", 138357544},   {"vgg16_bn", 138365992},
        {"mobilenet_v2", 3504872},
    };
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        char line[128];
        snprintf(line, sizeof line, "%s 3x224x224 1000 %" PRId64 "\n",
                 published[i].name, published[i].count);
        FILE *f = open_data("zoo_counts.txt");
        char found[128];
        bool there = false;
        while (!there && fgets(found, sizeof found, f)) there = !strcmp(found, line);
        fclose(f);
        if (!there) fail_msg("not in zoo_counts.txt: %s", line);
    }
}

static void names_lists_every_model(void **state)
{
    (void)state;
    const char *const *names;
    static const char *const expected[] = {
        "lenet", "mlp",      "resnet18",      "resnet34",     "resnet50",
        "vgg16", "vgg16_bn", "densenet121",   "mobilenet_v2", "transformer_lm",
        "gpt",   "text_cnn", "embedding_bag", "lstm"};
    assert_int_equal(amg_zoo_names(&names), 14);
    for (int i = 0; i < 14; i++) {
        assert_string_equal(names[i], expected[i]);
        assert_int_equal(amg_zoo_is_text(names[i]), i >= 9);
        assert_int_equal(amg_zoo_is_language_model(names[i]), i == 9 || i == 10);
    }
}

static void every_model_has_one_input_one_output_and_distinct_names(void **state)
{
    (void)state;
    const char *const *names;
    int num_names = amg_zoo_names(&names);
    for (int i = 0; i < num_names; i++) {
        if (strcmp(names[i], "vgg16") == 0) continue; /* vgg16_bn stands for both */
        if (amg_zoo_is_text(names[i])) continue;      /* test_zoo_text.c */
        amg_graph *g = build(names[i], 1, 32, 48, 7, 1);
        assert_int_equal(g->num_inputs, 1);
        assert_int_equal(g->num_outputs, 1);
        const amg_value *in = &g->values[g->inputs[0]];
        const amg_value *out = &g->values[g->outputs[0]];
        assert_string_equal(in->name, "input");
        assert_int_equal(in->dtype, AMG_F32);
        assert_memory_equal(in->dims, ((int64_t[]){AMG_DIM_BATCH, 1, 32, 48}), 32);
        assert_string_equal(out->name, "logits");
        assert_int_equal(out->rank, 2);
        assert_memory_equal(out->dims, ((int64_t[]){AMG_DIM_BATCH, 7}), 16);
        assert_true(g->has_weights);
        for (int n = 0; n < g->num_nodes; n++)
            assert_ptr_equal(find_node(g, g->nodes[n].name), &g->nodes[n]);
        amg_graph_free(g);
    }
}

/* Sides of the map that the node NAME reads. */
static void check_map(const amg_graph *g, const char *name, amg_op op, int64_t channels,
                      int64_t height, int64_t width)
{
    const amg_node *node = get_node(g, name);
    assert_int_equal(node->op, op);
    const amg_value *map = &g->values[node->inputs[0]];
    assert_memory_equal(map->dims,
                        ((int64_t[]){AMG_DIM_BATCH, channels, height, width}), 32);
}

static void small_inputs_get_the_cifar_form(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t channels;
        int max_pools;
    } models[] = {{"resnet18", 512, 0},
                  {"resnet50", 2048, 0},
                  {"densenet121", 1024, 0},
                  {"mobilenet_v2", 1280, 0}};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        amg_graph *g = build(models[i].name, 3, 32, 64, 10, 1);
        check_map(g, "avgpool", AMG_OP_GLOBAL_AVERAGE_POOL, models[i].channels, 4, 8);
        assert_int_equal(count_ops(g, AMG_OP_MAX_POOL), models[i].max_pools);
        amg_graph_free(g);
    }
}

static void larger_inputs_get_the_imagenet_form(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t channels;
        int max_pools;
    } models[] = {
        {"resnet18", 512, 1}, {"densenet121", 1024, 1}, {"mobilenet_v2", 1280, 0}};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        amg_graph *g = build(models[i].name, 3, 64, 96, 10, 1);
        check_map(g, "avgpool", AMG_OP_GLOBAL_AVERAGE_POOL, models[i].channels, 2, 3);
        assert_int_equal(count_ops(g, AMG_OP_MAX_POOL), models[i].max_pools);
        amg_graph_free(g);
    }
}

static void lenet_pads_only_sides_below_32(void **state)
{
    (void)state;
    amg_graph *g = build("lenet", 1, 28, 28, 10, 1);
    check_map(g, "relu1", AMG_OP_RELU, 6, 28, 28);
    check_map(g, "flatten", AMG_OP_FLATTEN, 16, 5, 5);
    amg_graph_free(g);
    g = build("lenet", 3, 32, 32, 10, 1);
    check_map(g, "relu1", AMG_OP_RELU, 6, 28, 28);
    check_map(g, "flatten", AMG_OP_FLATTEN, 16, 5, 5);
    amg_graph_free(g);
    g = build("lenet", 1, 12, 12, 10, 1);
    check_map(g, "flatten", AMG_OP_FLATTEN, 16, 1, 1);
    amg_graph_free(g);
}

static void vgg_pools_its_map_to_7x7_or_1x1(void **state)
{
    (void)state;
    amg_graph *g = build("vgg16", 3, 448, 224, 2, 1);
    check_map(g, "avgpool", AMG_OP_AVERAGE_POOL, 512, 14, 7);
    check_map(g, "flatten", AMG_OP_FLATTEN, 512, 7, 7);
    amg_graph_free(g);
    g = build("vgg16", 3, 32, 64, 2, 1);
    check_map(g, "avgpool", AMG_OP_GLOBAL_AVERAGE_POOL, 512, 1, 2);
    check_map(g, "flatten", AMG_OP_FLATTEN, 512, 1, 1);
    amg_graph_free(g);
}

static void check_dropout(const amg_graph *g, const char *name, float ratio)
{
    const amg_node *node = get_node(g, name);
    assert_int_equal(node->op, AMG_OP_DROPOUT);
    assert_int_equal(node->num_inputs, 2);
    const amg_value *v = &g->values[node->inputs[1]];
    assert_int_equal(v->role, AMG_ROLE_CONSTANT);
    assert_int_equal(v->rank, 0);
    assert_true(*(const float *)v->data.data == ratio);
}

static void dropout_is_where_torchvision_has_it(void **state)
{
    (void)state;
    amg_graph *g = build("vgg16", 3, 32, 32, 10, 1);
    assert_int_equal(count_ops(g, AMG_OP_DROPOUT), 2);
    check_dropout(g, "classifier.2", 0.5f);
    check_dropout(g, "classifier.5", 0.5f);
    amg_graph_free(g);
    g = build("mobilenet_v2", 3, 32, 32, 10, 1);
    assert_int_equal(count_ops(g, AMG_OP_DROPOUT), 1);
    check_dropout(g, "classifier.0", 0.2f);
    amg_graph_free(g);
}

static void batch_norm_keeps_nine_tenths_of_its_statistics(void **state)
{
    (void)state;
    amg_graph *g = build("resnet18", 3, 32, 32, 10, 1);
    const amg_node *bn = get_node(g, "layer3.1.bn2");
    assert_int_equal(bn->op, AMG_OP_BATCH_NORM);
    assert_true(amg_attr_float(bn, "momentum", 0) == 0.9f);
    assert_true(amg_attr_float(bn, "epsilon", 0) == 1e-5f);
    amg_graph_free(g);
}

static bool same_data(const amg_graph *a, const amg_graph *b, const char *name)
{
    const amg_value *x = get_value(a, name), *y = get_value(b, name);
    return x->data.size_bytes == y->data.size_bytes &&
           memcmp(x->data.data, y->data.data, x->data.size_bytes) == 0;
}

static void weights_depend_on_seed_and_place_alone(void **state)
{
    (void)state;
    amg_graph *g = build("lenet", 1, 28, 28, 10, 1);
    amg_graph *again = build("lenet", 1, 28, 28, 10, 1);
    amg_graph *more_classes = build("lenet", 1, 28, 28, 11, 1);
    amg_graph *reseeded = build("lenet", 1, 28, 28, 10, 2);
    for (int v = next_entry(g, 0); v < g->num_values; v = next_entry(g, v + 1)) {
        const char *name = g->values[v].name;
        assert_true(same_data(g, again, name));
        assert_true(same_data(g, more_classes, name) != !strncmp(name, "fc3.", 4));
        assert_false(same_data(g, reseeded, name));
    }
    amg_graph_free(g);
    amg_graph_free(again);
    amg_graph_free(more_classes);
    amg_graph_free(reseeded);
}

static void layers_of_one_shape_start_differently(void **state)
{
    (void)state;
    amg_graph *g = build("resnet18", 3, 32, 32, 10, 1);
    const amg_value *a = get_value(g, "layer1.0.conv1.weight");
    const amg_value *b = get_value(g, "layer1.0.conv2.weight");
    assert_int_equal(a->data.size_bytes, b->data.size_bytes);
    assert_memory_not_equal(a->data.data, b->data.data, 64);
    amg_graph_free(g);
}

static void bad_options_are_refused(void **state)
{
    (void)state;
    static const struct {
        amg_zoo_options options;
        amg_status code;
        const char *what;
    } cases[] = {
        {IMAGE("resnet19", 3, 32, 32, 10), AMG_NOT_FOUND, "unknown model"},
        {IMAGE("", 3, 32, 32, 10), AMG_NOT_FOUND, "unknown model"},
        {IMAGE("lenet", 1, 28, 28, 1), AMG_INVALID,
         "classes is 1, expected 2 to 16777216"},
        {IMAGE("lenet", 0, 28, 28, 10), AMG_INVALID,
         "channels is 0, expected 1 to 65536"},
        {IMAGE("lenet", 1, 11, 28, 10), AMG_INVALID,
         "height is 11, expected 12 to 65536"},
        {IMAGE("lenet", 1, 28, 11, 10), AMG_INVALID,
         "width is 11, expected 12 to 65536"},
        {IMAGE("mlp", 1, 0, 28, 10), AMG_INVALID, "height is 0, expected 1 to 65536"},
        {IMAGE("mlp", 1, -5, 28, 10), AMG_INVALID, "height is -5, expected 1 to 65536"},
        {IMAGE("mlp", 1, 28, INT64_MAX, 10), AMG_INVALID,
         "width is 9223372036854775807, expected 1 to 65536"},
        {IMAGE("vgg16", 3, 28, 28, 10), AMG_INVALID,
         "height is 28, expected 32 to 65536"},
        {IMAGE("densenet121", 3, 7, 8, 10), AMG_INVALID,
         "height is 7, expected 8 to 65536"},
        {IMAGE("densenet121", 3, 28, 65, 10), AMG_INVALID,
         "height is 28, expected 29 to 65536"},
        {IMAGE("vgg16_bn", 3, 224, 96, 10), AMG_UNSUPPORTED,
         "width is 96: 3 after five poolings, expected a multiple of 7"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        amg_error err = {0};
        amg_graph *g = NULL;
        assert_int_equal(amg_zoo_build(&cases[i].options, &g, &err), cases[i].code);
        assert_null(g);
        assert_int_equal(err.code, cases[i].code);
        assert_int_equal(err.offset, -1);
        assert_string_equal(err.where, cases[i].options.name);
        assert_string_equal(err.what, cases[i].what);
    }
}

static void hint_of_an_unknown_model_lists_the_models(void **state)
{
    (void)state;
    amg_error err = {0};
    amg_graph *g = NULL;
    amg_zoo_options options = IMAGE("vgg19", 3, 32, 32, 10);
    assert_int_equal(amg_zoo_build(&options, &g, &err), AMG_NOT_FOUND);
    const char *const *names;
    int num_names = amg_zoo_names(&names);
    for (int i = 0; i < num_names; i++) assert_non_null(strstr(err.hint, names[i]));
}

/* Fails each allocation of a build in turn, until one build gets through. */
static void running_out_of_memory_is_an_error_anywhere(void **state)
{
    (void)state;
    amg_zoo_options options = IMAGE("lenet", 1, 28, 28, 10);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_are_those_of_torchvision),
        cmocka_unit_test(counts_are_the_published_ones),
        cmocka_unit_test(names_lists_every_model),
        cmocka_unit_test(every_model_has_one_input_one_output_and_distinct_names),
        cmocka_unit_test(small_inputs_get_the_cifar_form),
        cmocka_unit_test(larger_inputs_get_the_imagenet_form),
        cmocka_unit_test(lenet_pads_only_sides_below_32),
        cmocka_unit_test(vgg_pools_its_map_to_7x7_or_1x1),
        cmocka_unit_test(dropout_is_where_torchvision_has_it),
        cmocka_unit_test(batch_norm_keeps_nine_tenths_of_its_statistics),
        cmocka_unit_test(weights_depend_on_seed_and_place_alone),
        cmocka_unit_test(layers_of_one_shape_start_differently),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(hint_of_an_unknown_model_lists_the_models),
        cmocka_unit_test(running_out_of_memory_is_an_error_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
