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

/* <logits, dy> for the parameters in b. */
static double objective(const bound *b, const amg_tensor *dy)
{
    const float *logits;
    int64_t classes;
    double sum = 0;
    assert_ok(amg_plan_load(b->plan, &b->params, err));
    assert_ok(amg_plan_forward(b->plan, 5, &logits, &classes, err));
    for (int64_t i = 0; i < amg_tensor_count(dy); i++)
        sum += (double)logits[i] * (double)((const float *)dy->data)[i];
    return sum;
}

/* Moves one parameter along its own gradient g by +-h: the objective must change by
 * 2 h |g|^2. An all-zero gradient would pass any such test, hence the first assertion.
 */
static void check_direction(bound *b, int i, const float *grad, const amg_tensor *dy)
{
    amg_tensor *t = &b->params.items[i].tensor;
    float *value = t->data;
    int64_t n = amg_tensor_count(t);
    double norm = norm_of(grad, n);
    assert_true(norm > 1e-4);
    float *saved = amg_malloc(t->size_bytes);
    assert_non_null(saved);
    memcpy(saved, value, t->size_bytes);
    double h = 3e-4 / norm, at[2];
    for (int side = 0; side < 2; side++) {
        for (int64_t k = 0; k < n; k++)
            value[k] = (float)((double)saved[k] + (side ? h : -h) * (double)grad[k]);
        at[side] = objective(b, dy);
    }
    memcpy(value, saved, t->size_bytes);
    amg_free(saved);
    double slope = (at[1] - at[0]) / (2 * h * norm * norm);
    /* Rounding of the f32 forward passes and kinks of Relu and MaxPool leave up to
     * .006, least at this h. A wrong factor or a lost term is off by far more. */
    if (!(fabs(slope - 1) < 0.01))
        fail_msg("%s: slope is %.4f of the gradient's", b->params.items[i].name, slope);
}

static void gradients_match_finite_differences(void **state)
{
    (void)state;
    amg_safetensors *st = open_goldens("network.safetensors");
    amg_graph *graph = network_graph(st, 0.3f); /* with dropout, one mask throughout */
    golden g = {st, "network", NULL};
    const amg_tensor *x = golden_get(&g, "", "x"), *dy = golden_get(&g, "", "dy");
    bound b = bind_plan(graph, (amg_plan_options){.training = true, .seed = 11});
    memcpy(amg_plan_input(b.plan), x->data, x->size_bytes);
    (void)objective(&b, dy);
    assert_ok(amg_plan_backward(b.plan, dy->data, err));
    amg_params grads;
    assert_ok(amg_params_like(&b.params, &grads, err));
    assert_ok(amg_plan_store_grad(b.plan, &grads, err));
    for (int i = 0; i < grads.count; i++)
        if (grads.items[i].role == AMG_ROLE_TRAINABLE)
            check_direction(&b, i, grads.items[i].tensor.data, dy);
    amg_params_clear(&grads);
    bound_clear(&b);
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
