/* A whole small network against PyTorch, and gradients against finite differences of
 * the engine's own forward pass. */
#include "plan_fixture.h"

static void check_network(bool no_winograd)
{
    amg_safetensors *st = open_goldens("network.safetensors");
    amg_graph *graph = network_graph(st, 0);
    golden g = {st, "network", NULL};
    check_golden(&g, graph,
                 (amg_plan_options){.training = true, .no_winograd = no_winograd});
    amg_graph_free(graph);
    amg_safetensors_close(st);
}

static void network_matches_pytorch(void **state)
{
    (void)state;
    check_network(false);
}

static void network_matches_pytorch_without_winograd(void **state)
{
    (void)state;
    check_network(true);
}

static void gradients_match_finite_differences(void **state)
{
    (void)state;
    amg_safetensors *st = open_goldens("network.safetensors");
    amg_graph *graph = network_graph(st, 0.3f); /* with dropout, one mask throughout */
    golden g = {st, "network", NULL};
    check_finite_differences(&g, graph, 11);
    amg_graph_free(graph);
    amg_safetensors_close(st);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(network_matches_pytorch),
        cmocka_unit_test(network_matches_pytorch_without_winograd),
        cmocka_unit_test(gradients_match_finite_differences)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
