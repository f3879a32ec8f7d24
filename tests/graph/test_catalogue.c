/* The catalogue: the zoo's networks are found in each form and size, whatever their
 * names are, alone and as a part of a larger graph; others are not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "graph/catalogue.h"
#include "zoo_fixture.h"

static amg_graph *build(const amg_zoo_options *options)
{
    amg_zoo_options o = *options;
    amg_graph *raw = NULL, *folded = NULL;
    amg_error err = {0};
    const bool is_text = amg_zoo_is_text(o.name);
    o.dropout = NAN;
    o.pad = -1;
    o.no_weights = strcmp(o.name, "lstm") != 0; /* see catalogue.c */
    if (!is_text && !o.channels) o.channels = 3;
    if (!is_text && !o.num_classes) o.num_classes = 10;
    if (amg_zoo_build(&o, &raw, &err) ||
        amg_graph_plan_batch(raw, AMG_DIM_BATCH, &folded, &err))
        fail_msg("%s: %s: %s", o.name, err.where, err.what);
    amg_graph_free(raw);
    return folded;
}

static amg_catalogue_data data_of(const amg_zoo_options *o)
{
    return (amg_catalogue_data){
        .dims = {o->channels ? o->channels : 3, o->height, o->width},
        .num_classes = o->num_classes ? o->num_classes : 10,
        .seq = o->seq,
        .is_model = amg_zoo_is_language_model(o->name)};
}

static const char *find(const amg_graph *g, const int *owner, int subnet,
                        const amg_catalogue_data *data)
{
    const char *name;
    amg_error err = {0};
    if (amg_catalogue_find(g, owner, subnet, data, &name, &err))
        fail_msg("%s: %s", err.where, err.what);
    return name;
}

static void must_find(const amg_zoo_options *o)
{
    amg_graph *g = build(o);
    const amg_catalogue_data data = data_of(o);
    const char *name = find(g, NULL, 0, &data);
    if (!name || strcmp(name, o->name) != 0)
        fail_msg("%s of %dx%d, seq %d was found to be %s", o->name, (int)o->height,
                 (int)o->width, (int)o->seq, name ? name : "none");
    amg_graph_free(g);
}

static void networks_for_images_are_found(void **state)
{
    (void)state;
    const char *const *names;
    const int num = amg_zoo_names(&names);
    for (int i = 0; i < num; i++) {
        if (amg_zoo_is_text(names[i])) continue;
        must_find(&(amg_zoo_options){.name = names[i], .height = 32, .width = 32});
        must_find(&(amg_zoo_options){
            .name = names[i], .height = 224, .width = 224, .num_classes = 1000});
        must_find(&(amg_zoo_options){
            .name = names[i], .channels = 1, .height = 48, .width = 40});
    }
}

static void a_form_of_other_images_is_found(void **state)
{
    (void)state;
    const amg_zoo_options o = {.name = "resnet18", .height = 224, .width = 224};
    amg_graph *g = build(&o);
    amg_catalogue_data data = data_of(&o);
    data.dims[1] = data.dims[2] = 48; /* small images into the large stem */
    assert_string_equal(find(g, NULL, 0, &data), "resnet18");
    amg_graph_free(g);
}

static void networks_for_text_are_found_in_any_size(void **state)
{
    (void)state;
    must_find(&(amg_zoo_options){.name = "transformer_lm", .vocab = 900, .seq = 35});
    must_find(&(amg_zoo_options){.name = "transformer_lm",
                                 .vocab = 900,
                                 .seq = 20,
                                 .width_model = 32,
                                 .layers = 5,
                                 .heads = 4,
                                 .width_hidden = 77});
    must_find(&(amg_zoo_options){.name = "gpt", .vocab = 256, .seq = 64});
    must_find(&(amg_zoo_options){.name = "gpt",
                                 .vocab = 256,
                                 .seq = 64,
                                 .width_model = 48,
                                 .layers = 12,
                                 .heads = 3,
                                 .width_hidden = 100});
    must_find(&(amg_zoo_options){
        .name = "text_cnn", .vocab = 500, .seq = 40, .num_classes = 4});
    must_find(&(amg_zoo_options){.name = "text_cnn",
                                 .vocab = 500,
                                 .seq = 40,
                                 .num_classes = 4,
                                 .width_model = 30,
                                 .width_hidden = 25});
    must_find(&(amg_zoo_options){.name = "embedding_bag",
                                 .vocab = 500,
                                 .seq = 40,
                                 .num_classes = 4,
                                 .width_model = 31});
    must_find(&(amg_zoo_options){.name = "lstm",
                                 .vocab = 500,
                                 .seq = 40,
                                 .num_classes = 4,
                                 .width_model = 31,
                                 .layers = 2,
                                 .width_hidden = 50});
}

static amg_node *first(const amg_graph *g, amg_op op)
{
    for (int n = 0; n < g->num_nodes; n++)
        if (g->nodes[n].op == op) return &g->nodes[n];
    fail_msg("no such node");
    abort(); /* gcc does not know that cmocka never returns */
}

static void what_is_changed_is_none(void **state)
{
    (void)state;
    const amg_zoo_options o = {.name = "resnet18", .height = 32, .width = 32};
    amg_graph *g = build(&o);
    amg_catalogue_data data = data_of(&o);
    int64_t *width = &g->values[first(g, AMG_OP_CONV)->inputs[1]].dims[0];
    ++*width;
    assert_null(find(g, NULL, 0, &data));
    --*width;
    first(g, AMG_OP_RELU)->op = AMG_OP_LEAKY_RELU;
    assert_null(find(g, NULL, 0, &data));
    first(g, AMG_OP_LEAKY_RELU)->op = AMG_OP_RELU;
    assert_non_null(find(g, NULL, 0, &data));
    data.num_classes = 11;
    assert_null(find(g, NULL, 0, &data));
    data.num_classes = 10;
    data.dims[0] = 1;
    assert_null(find(g, NULL, 0, &data));
    amg_graph_free(g);
}

/* A vocabulary is no hidden width: an lstm of that would have 160 GB of weights. */
static void a_large_vocabulary_costs_nothing(void **state)
{
    (void)state;
    const amg_zoo_options o = {.name = "embedding_bag",
                               .vocab = 100000,
                               .seq = 16,
                               .width_model = 8,
                               .num_classes = 4};
    amg_graph *g = build(&o);
    amg_catalogue_data data = data_of(&o);
    data.num_classes = 5; /* no network of the catalogue is this one then */
    assert_null(find(g, NULL, 0, &data));
    amg_graph_free(g);
}

static void a_part_is_looked_at_alone(void **state)
{
    (void)state;
    const amg_zoo_options o = {.name = "lenet", .height = 32, .width = 32};
    amg_graph *g = build(&o);
    const amg_catalogue_data data = data_of(&o);
    int *owner = amg_calloc((size_t)g->num_nodes, sizeof *owner);
    for (int n = 0; n < g->num_nodes; n++) owner[n] = 3;
    assert_string_equal(find(g, owner, 3, &data), "lenet");
    assert_null(find(g, owner, 2, &data));
    owner[g->num_nodes - 1] = 2;
    assert_null(find(g, owner, 3, &data));
    amg_free(owner);
    amg_graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(networks_for_images_are_found),
        cmocka_unit_test(a_form_of_other_images_is_found),
        cmocka_unit_test(networks_for_text_are_found_in_any_size),
        cmocka_unit_test(what_is_changed_is_none),
        cmocka_unit_test(a_large_vocabulary_costs_nothing),
        cmocka_unit_test(a_part_is_looked_at_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
