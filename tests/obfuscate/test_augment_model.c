/* Tests of obfuscate/augment_model: the job graph and what it shows. */
#include "job_fixture.h"

#include "graph/class_rows.h"

static const amg_value *named(const amg_graph *g, const char *name)
{
    int v = amg_graph_find_value(g, name);
    if (v < 0) fail_msg("no value \"%s\"", name);
    return &g->values[v];
}

static void subnetworks_share_the_input_only(void **state)
{
    (void)state;
    job_fixture f;
    open_job(&f, 1, "resnet18", AMG_DECOY_WALK);
    int *owner = calloc((size_t)f.job->num_nodes, sizeof *owner);
    amg_error err = {0};
    if (amg_graph_subnetworks(f.job, owner, &err)) fail_msg("%s", err.what);
    assert_int_equal(f.job->num_outputs, JOB_DECOYS + 1);
    const amg_value *x = &f.job->values[f.job->inputs[0]];
    assert_int_equal(x->dtype, AMG_U8);
    assert_int_equal(x->dims[2], (JOB_DECOYS + 1) * 32);
    for (int h = 0; h <= JOB_DECOYS; h++)
        assert_int_equal(f.job->values[f.job->outputs[h]].dims[1], 10);
    amg_graph *planned = NULL;
    if (amg_graph_plan_batch(f.job, 2, &planned, &err)) fail_msg("%s", err.what);
    amg_graph_free(planned);
    free(owner);
    close_job(&f);
}

/* Head h selects what the plan gives slot h, in its order. */
static void every_head_selects_its_stream(void **state)
{
    (void)state;
    job_fixture f;
    open_job(&f, 2, "lenet", AMG_DECOY_WALK);
    int *order = calloc((size_t)f.job->num_nodes, sizeof *order);
    for (int h = 0; h <= JOB_DECOYS; h++) {
        int n = amg_graph_canonical_order(f.job, h, order), selects = 0;
        for (int i = 0; i < n; i++) {
            const amg_node *node = &f.job->nodes[order[i]];
            if (node->op != AMG_OP_GATHER) continue;
            const amg_value *index = &f.job->values[node->inputs[1]];
            selects++;
            assert_int_equal(index->dtype, AMG_I64);
            assert_int_equal(index->dims[0], f.plan.num_values);
            for (int64_t j = 0; j < f.plan.num_values; j++)
                assert_int_equal(((const int64_t *)index->data.data)[j],
                                 f.plan.subnets[h].select[j]);
        }
        assert_int_equal(selects, 1);
    }
    free(order);
    close_job(&f);
}

static void the_key_names_every_parameter_of_the_original(void **state)
{
    (void)state;
    job_fixture f;
    open_job(&f, 3, "resnet18", AMG_DECOY_WALK);
    const amg_graph *g = f.original;
    amg_class_rows rows;
    int count = 0, permuted = 0;
    char head[16];
    assert_true(amg_class_rows_find(g, 0, &rows));
    for (int v = 0; v < g->num_values; v++)
        count += g->values[v].kind == AMG_VALUE_PARAM &&
                 g->values[v].role != AMG_ROLE_CONSTANT;
    assert_int_equal(f.payload.names.count, count);
    for (int i = 0; i < count; i++) {
        const amg_value *own = named(g, f.payload.names.own[i]);
        const amg_value *job = named(f.job, f.payload.names.job[i]);
        int axis = -1;
        for (int r = 0; r < rows.num_params; r++)
            if (own == &g->values[rows.params[r]]) axis = rows.axis[r];
        assert_int_equal(own->role, job->role);
        assert_true(amg_tensor_same_shape(&own->data, &job->data));
        if (axis < 0) {
            assert_memory_equal(own->data.data, job->data.data, own->data.size_bytes);
            continue;
        }
        assert_int_equal(axis, 0);
        size_t row = own->data.size_bytes / 10;
        const int32_t *map = f.plan.subnets[f.plan.original].label_map;
        for (int c = 0; c < 10; c++)
            assert_memory_equal((const char *)own->data.data + (size_t)c * row,
                                (const char *)job->data.data + (size_t)map[c] * row,
                                row);
        permuted++;
    }
    assert_int_equal(permuted, 2);
    snprintf(head, sizeof head, "h%d", f.plan.original);
    assert_string_equal(f.payload.names.output, head);
    close_job(&f);
}

/* Decoys of the original's own architecture differ from it in the select index alone:
 * no attribute, name, order, dtype or constant tells. */
static void same_decoys_differ_in_nothing_but_their_stream(void **state)
{
    (void)state;
    const char *models[] = {"lenet", "mobilenet_v2"};
    for (int m = 0; m < 2; m++) {
        job_fixture f;
        open_job(&f, 4, models[m], AMG_DECOY_SAME);
        char *own = structure(f.job, f.plan.original);
        for (int h = 0; h <= JOB_DECOYS; h++) {
            char *other = structure(f.job, h);
            assert_int_equal(distance(own, other), h == f.plan.original ? 0 : 2);
            free(other);
        }
        free(own);
        close_job(&f);
    }
}

static void no_name_of_the_original_is_in_the_job(void **state)
{
    (void)state;
    job_fixture f;
    open_job(&f, 5, "lenet", AMG_DECOY_WALK);
    for (int v = 0; v < f.job->num_values; v++) {
        const char *name = f.job->values[v].name;
        assert_non_null(strchr("xpvh", name[0]));
        assert_int_equal(strspn(name + 1, "0123456789"), strlen(name + 1));
    }
    for (int n = 0; n < f.job->num_nodes; n++)
        assert_string_equal(f.job->nodes[n].name, "");
    close_job(&f);
}

/* First of the h-th head's parameters that the file's order names. */
static int first_owner(const job_fixture *f)
{
    int *params = calloc((size_t)f->job->num_values, sizeof *params);
    int best = f->job->num_values, owner = -1;
    for (int h = 0; h <= JOB_DECOYS; h++) {
        int n = amg_graph_canonical_params(f->job, h, params);
        for (int i = 0; i < n; i++)
            if (params[i] < best) best = params[i], owner = h;
    }
    free(params);
    return owner;
}

/* Whose parameter comes first in the file, over secrets: a third each. 4 deviations of
 * 90 draws of 1/3 are 17.9. */
static void the_first_parameter_is_anyones(void **state)
{
    (void)state;
    int own = 0;
    for (unsigned s = 0; s < 90; s++) {
        job_fixture f;
        open_job(&f, s, "lenet", AMG_DECOY_SAME);
        own += first_owner(&f) == f.plan.original;
        close_job(&f);
    }
    assert_in_range(own, 13, 47);
}

static void same_secret_same_job(void **state)
{
    (void)state;
    job_fixture a, b;
    open_job(&a, 6, "lenet", AMG_DECOY_WALK);
    open_job(&b, 6, "lenet", AMG_DECOY_WALK);
    assert_int_equal(a.job->num_values, b.job->num_values);
    for (int v = 0; v < a.job->num_values; v++) {
        const amg_value *x = &a.job->values[v], *y = &b.job->values[v];
        assert_string_equal(x->name, y->name);
        assert_true(x->data.size_bytes == y->data.size_bytes);
        if (x->data.size_bytes)
            assert_memory_equal(x->data.data, y->data.data, x->data.size_bytes);
    }
    close_job(&a);
    close_job(&b);
}

static void equal_class_rows_forbid_a_permutation(void **state)
{
    (void)state;
    amg_graph *g = zoo("lenet");
    assert_true(amg_labels_permutable(g));
    const amg_value *w = named(g, "fc3.weight"), *b = named(g, "fc3.bias");
    memcpy((char *)w->data.data + 84 * 4, w->data.data, 84 * 4);
    memcpy((char *)b->data.data + 4, b->data.data, 4);
    assert_false(amg_labels_permutable(g));
    amg_graph_free(g);
}

static void every_failing_allocation_is_reported(void **state)
{
    (void)state;
    job_fixture f;
    open_job(&f, 7, "lenet", AMG_DECOY_SAME);
    amg_job_network networks[JOB_DECOYS + 1];
    for (int s = 0; s <= JOB_DECOYS; s++)
        networks[s] =
            (amg_job_network){f.subnets[s], &f.payload.preprocess, &f.payload.shape};
    long n = 0;
    for (amg_status st = AMG_NO_MEMORY; st; n += 1 + n / 20) {
        amg_graph *out = NULL;
        amg_job_names names[JOB_DECOYS + 1] = {{0}};
        char **targets = NULL;
        long countdown = n + 1;
        amg_alloc_fail_after(&countdown);
        st =
            amg_augment_model(f.secret, &f.plan, networks, &out, names, &targets, NULL);
        amg_alloc_fail_after(NULL);
        assert_true(st == AMG_OK || (st == AMG_NO_MEMORY && !out && !targets));
        for (int i = 0; i <= JOB_DECOYS; i++) {
            if (targets) amg_free(targets[i]);
            assert_true(st == AMG_OK || !names[i].job);
            amg_job_names_clear(&names[i]);
        }
        amg_free(targets);
        amg_graph_free(out);
    }
    assert_true(n > 50);
    close_job(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(subnetworks_share_the_input_only),
        cmocka_unit_test(every_head_selects_its_stream),
        cmocka_unit_test(the_key_names_every_parameter_of_the_original),
        cmocka_unit_test(same_decoys_differ_in_nothing_but_their_stream),
        cmocka_unit_test(no_name_of_the_original_is_in_the_job),
        cmocka_unit_test(the_first_parameter_is_anyones),
        cmocka_unit_test(same_secret_same_job),
        cmocka_unit_test(equal_class_rows_forbid_a_permutation),
        cmocka_unit_test(every_failing_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
