/* Cases of a goldens file that bring their graph along as an ONNX file (goldens.py):
 * each is imported, planned, run forward and backward, and compared with PyTorch; the
 * smooth ones with finite differences of the engine's own forward pass, too. */
#ifndef AMG_TESTS_GOLDEN_ONNX_H
#define AMG_TESTS_GOLDEN_ONNX_H

#include "graph/onnx_graph.h"
#include "plan_fixture.h"

/* A test and its case, for _cmocka_run_group_tests. */
typedef struct {
    const char *file;
    char name[64];
} onnx_case;

/* Both are the caller's; the planned graph shares the weights of the one that was read.
 */
static inline amg_graph *onnx_case_graph(const golden *g, amg_graph **out)
{
    const amg_tensor *model = golden_get(g, "", "model"), *x = golden_get(g, "", "x");
    amg_graph *read = NULL, *planned = NULL;
    assert_ok(
        amg_graph_parse_onnx(model->data, model->size_bytes, g->name, &read, err));
    *out = read;
    for (int i = 0; i < read->num_values; i++)
        if (read->values[i].kind == AMG_VALUE_PARAM &&
            golden_find(g, "d_", read->values[i].name))
            read->values[i].role = AMG_ROLE_TRAINABLE;
    assert_ok(amg_graph_plan_batch(read, x->dims[0], &planned, err));
    for (int i = 0; i < planned->num_values; i++)
        if (planned->values[i].kind == AMG_VALUE_PARAM &&
            golden_find(g, "d_", planned->values[i].name))
            planned->values[i].role = AMG_ROLE_TRAINABLE;
    return planned;
}

static inline void onnx_case_matches_pytorch(void **state)
{
    const onnx_case *c = *state;
    amg_safetensors *st = open_goldens(c->file);
    golden g = {st, c->name, NULL};
    amg_graph *read, *graph = onnx_case_graph(&g, &read);
    check_golden(&g, graph, (amg_plan_options){.training = true});
    if (golden_find(&g, "", "smooth")) check_finite_differences(&g, graph, 1);
    amg_graph_free(graph);
    amg_graph_free(read);
    amg_safetensors_close(st);
}

/* Runs every case of the file; at_least: cases that it is known to have. */
static inline int run_onnx_cases(const char *file, size_t at_least)
{
    static const char suffix[] = ".model";
    amg_safetensors *st = open_goldens(file);
    const size_t count = amg_safetensors_count(st);
    onnx_case *cases = amg_calloc(count + 1, sizeof *cases);
    struct CMUnitTest *tests = amg_calloc(count + 1, sizeof *tests);
    size_t n = 0;
    for (size_t i = 0; cases && tests && i < count; i++) {
        const char *name = amg_safetensors_at(st, i)->name;
        const char *dot = strrchr(name, '.');
        if (!dot || strcmp(dot, suffix) != 0) continue;
        (void)snprintf(cases[n].name, sizeof cases[n].name, "%.*s", (int)(dot - name),
                       name);
        cases[n].file = file;
        tests[n] = (struct CMUnitTest){.name = cases[n].name,
                                       .test_func = onnx_case_matches_pytorch,
                                       .initial_state = &cases[n]};
        n++;
    }
    amg_safetensors_close(st);
    int failed = n < at_least ? 1 : _cmocka_run_group_tests(file, tests, n, NULL, NULL);
    if (n < at_least) (void)fprintf(stderr, "%zu cases, expected %zu\n", n, at_least);
    amg_free(cases);
    amg_free(tests);
    return failed;
}

#endif
