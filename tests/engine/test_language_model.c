/* Training language models: PyTorch's losses; a renumbered vocabulary changes no bit,
 * with tied weights and without; padding does not count; tokens that are no class are
 * refused. */
#include "lm_fixture.h"

#include "engine/class_order.h"

enum { STEPS = 20 };

typedef struct {
    const char *name;
    bool tied, has_ignore;
    int32_t ignore;
    float label_smoothing;
    double losses[STEPS];
} lm_golden;

#include "lm_goldens.h"

/* ---- PyTorch ---- */

typedef struct {
    double losses[STEPS];
    int64_t last;
} loss_log;

static bool log_loss(void *context, const amg_progress_event *e)
{
    loss_log *log = context;
    assert_true(e->predicts_tokens);
    if (strcmp(e->stage, "train") != 0) return true;
    log->losses[e->done - 1] = e->loss;
    log->last = e->done;
    return true;
}

static void twenty_losses_equal_pytorch(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof lm_goldens / sizeof *lm_goldens; i++) {
        const lm_golden *g = &lm_goldens[i];
        lm_session s;
        loss_log log = {{0}, 0};
        const amg_progress progress = {log_loss, &log};
        lm_open(&s, make_lm(g->tied), g->has_ignore ? g->ignore : -1);
        s.options.batch = WINDOWS; /* an epoch is a step */
        s.options.epochs = STEPS;
        s.options.label_smoothing = g->label_smoothing;
        s.options.optimizer.lr = 0.05;
        s.options.optimizer.warmup_steps = 4;
        assert_int_equal(lm_run(&s, &progress), AMG_OK);
        assert_int_equal(log.last, STEPS);
        /* Both compute in f32, in another order. */
        for (int t = 0; t < STEPS; t++)
            if (!(fabs(log.losses[t] - g->losses[t]) < 1e-5))
                fail_msg("%s, step %d: %.8f, expected %.8f", g->name, t, log.losses[t],
                         g->losses[t]);
        lm_close(&s);
    }
}

/* ---- a renumbered vocabulary ---- */

static const int32_t map[VOCAB] = {4, 11, 0, 8, 6, 12, 2, 5, 10, 1, 9, 3, 7};
static int32_t back[VOCAB];

static amg_graph *untied(void) { return make_lm(false); }
static amg_graph *tied(void) { return make_lm(true); }
static amg_graph *gpt(void) { return make_zoo_lm("gpt"); }
static amg_graph *transformer_lm(void) { return make_zoo_lm("transformer_lm"); }

typedef amg_graph *(*make_fn)(void);
static const make_fn networks[] = {untied, tied, gpt, transformer_lm};
enum { NUM_NETWORKS = sizeof networks / sizeof *networks };

static void open_renumbered(lm_session *s, make_fn make, int32_t pad)
{
    for (int t = 0; t < VOCAB; t++) back[map[t]] = t;
    lm_open(s, make(), pad < 0 ? pad : map[pad]);
    s->law.map = map;
    lm_renumber(s->fed, &s->params, map);
}

static void check_renumbered(make_fn make, int32_t pad, amg_optimizer_kind kind)
{
    lm_session plain, renumbered;
    amg_params before;
    lm_open(&plain, make(), pad);
    open_renumbered(&renumbered, make, pad);
    plain.options.optimizer.kind = renumbered.options.optimizer.kind = kind;
    assert_int_equal(amg_params_new(plain.fed, 0, &before, NULL), AMG_OK);
    assert_false(params_are_equal(&plain.params, &renumbered.params));
    lm_train(&plain);
    lm_train(&renumbered);
    assert_false(params_are_equal(&plain.params, &before));
    lm_renumber(renumbered.fed, &renumbered.params, back);
    assert_params_equal(&plain.params, &renumbered.params);
    /* Training and validation figures too, to the last bit. */
    assert_memory_equal(&plain.result.heads[0], &renumbered.result.heads[0],
                        sizeof(amg_head_result));
    assert_true(plain.result.heads[0].val_counted > 0);
    amg_params_clear(&before);
    lm_close(&plain);
    lm_close(&renumbered);
}

static void renumbering_the_vocabulary_changes_no_bit(void **state)
{
    (void)state;
    for (int n = 0; n < NUM_NETWORKS; n++)
        check_renumbered(networks[n], -1, AMG_OPT_ADAMW);
    check_renumbered(untied, 3, AMG_OPT_ADAMW);
    check_renumbered(tied, 3, AMG_OPT_SGD);
}

/* Stopped within an epoch and resumed, with renumbered tokens: the rows of the
 * checkpoint are the task's, and go back into the same order. */
static void a_renumbered_run_resumes_to_the_same_bits(void **state)
{
    (void)state;
    for (int n = 0; n < NUM_NETWORKS; n++) {
        lm_session straight, resumed;
        char dir[64];
        make_temp_dir(dir);
        lm_open(&straight, networks[n](), 3);
        open_renumbered(&resumed, networks[n], 3);
        lm_train(&straight);
        resumed.task.out_dir = dir;
        resumed.options.max_steps = 5;
        lm_train(&resumed);
        lm_close(&resumed);
        open_renumbered(&resumed, networks[n], 3);
        resumed.task.out_dir = dir;
        resumed.options.resume = true;
        lm_train(&resumed);
        assert_int_equal(resumed.result.steps, 12);
        lm_renumber(resumed.fed, &resumed.params, back);
        assert_params_equal(&straight.params, &resumed.params);
        assert_memory_equal(&straight.result.heads[0], &resumed.result.heads[0],
                            sizeof(amg_head_result));
        lm_close(&straight);
        lm_close(&resumed);
        amg_dir_remove(dir);
    }
}

static void a_checkpoint_of_other_padding_is_another_run_s(void **state)
{
    (void)state;
    lm_session s;
    char dir[64];
    make_temp_dir(dir);
    lm_open(&s, tied(), 3);
    s.task.out_dir = dir;
    lm_train(&s);
    lm_close(&s);
    lm_open(&s, tied(), 4);
    s.task.out_dir = dir;
    s.options.resume = true;
    assert_int_equal(lm_run(&s, NULL), AMG_MISMATCH);
    assert_non_null(strstr(s.err.what, "trained for"));
    lm_close(&s);
    amg_dir_remove(dir);
}

static void open_order(const lm_session *s, amg_graph **planned, amg_class_order *order)
{
    assert_int_equal(amg_graph_plan_batch(s->fed, 4, planned, NULL), AMG_OK);
    assert_int_equal(amg_class_order_init(*planned, 0, true, &s->params, order, NULL),
                     AMG_OK);
}

static void tables_are_ordered_with_the_classes_where_they_are_tied(void **state)
{
    (void)state;
    for (int n = 0; n < NUM_NETWORKS; n++) {
        const bool one = networks[n] == tied || networks[n] == gpt;
        lm_session s, renumbered;
        amg_graph *planned, *other;
        amg_class_order order, renumbered_order;
        amg_params copy;
        lm_open(&s, networks[n](), -1);
        open_renumbered(&renumbered, networks[n], -1);
        open_order(&s, &planned, &order);
        open_order(&renumbered, &other, &renumbered_order);
        assert_non_null(order.classes.rank);
        assert_int_equal(order.tokens.rank == NULL, one);
        assert_int_equal(order.num_lookups, 1);
        assert_ptr_equal(order.lookups[0].rank,
                         one ? order.classes.rank : order.tokens.rank);
        for (int t = 0; t < VOCAB; t++) {
            assert_int_equal(amg_class_order_label(&order, t),
                             amg_class_order_label(&renumbered_order, map[t]));
            assert_int_equal(order.lookups[0].rank[t],
                             renumbered_order.lookups[0].rank[map[t]]);
        }

        assert_int_equal(amg_params_new(s.fed, 0, &copy, NULL), AMG_OK);
        amg_class_order_to_canonical(&order, &copy);
        assert_false(params_are_equal(&copy, &s.params));
        amg_class_order_to_canonical(&renumbered_order, &renumbered.params);
        assert_params_equal(&copy, &renumbered.params);
        amg_class_order_to_natural(&order, &copy);
        assert_params_equal(&copy, &s.params);

        amg_params_clear(&copy);
        amg_class_order_clear(&order);
        amg_class_order_clear(&renumbered_order);
        amg_graph_free(planned);
        amg_graph_free(other);
        lm_close(&s);
        lm_close(&renumbered);
    }
}

static void equal_rows_of_a_table_stay_in_natural_order(void **state)
{
    (void)state;
    for (int n = 0; n < 2; n++) {
        lm_session s;
        amg_graph *planned;
        amg_class_order order;
        lm_open(&s, networks[n](), -1);
        float *table = s.params.items[amg_params_find(&s.params, "wte")].tensor.data;
        memcpy(table + 5 * WIDTH, table + 2 * WIDTH, WIDTH * sizeof *table);
        open_order(&s, &planned, &order);
        assert_null(order.tokens.rank);
        assert_int_equal(order.classes.rank == NULL, networks[n] == tied);
        assert_int_equal(order.num_lookups, 0);
        s.options.epochs = 30;
        lm_train(&s);
        assert_true(s.result.heads[0].val_loss < log(VOCAB) - 0.1);
        amg_class_order_clear(&order);
        amg_graph_free(planned);
        lm_close(&s);
    }
}

/* ---- what counts ---- */

static void padding_is_left_out_of_means_and_accuracies(void **state)
{
    (void)state;
    int64_t padding = 0;
    for (int64_t i = 0; i < WINDOWS; i++)
        for (int64_t j = 1; j <= SEQ; j++) padding += lm_token(i, j) == 3;
    assert_true(padding > 0);
    lm_session s;
    lm_open(&s, untied(), 3);
    s.options.epochs = 60;
    s.options.optimizer.lr = 0.05;
    lm_train(&s);
    const amg_head_result *r = &s.result.heads[0];
    assert_true(r->val_counted == (double)(WINDOWS * SEQ - padding));
    assert_true(r->val_top1 > 0.3 && r->val_top1 <= r->val_top5 && r->val_top5 <= 1);

    /* By hand: the sum over all positions is that of both kinds. */
    amg_head_result all, padded;
    amg_objective o = s.objective;
    o.has_ignore = false;
    assert_int_equal(
        amg_evaluate(s.fed, 0, &s.params, &s.source, &o, 5, NULL, &all, NULL), AMG_OK);
    assert_true(all.val_counted == WINDOWS * SEQ);
    assert_true(all.val_loss > r->val_loss); /* nobody taught it that token */
    assert_int_equal(amg_evaluate(s.fed, 0, &s.params, &s.source, &s.objective, 5, NULL,
                                  &padded, NULL),
                     AMG_OK);
    assert_true(fabs(padded.val_loss - r->val_loss) < 1e-5);
    assert_true(padded.val_top1 == r->val_top1 && padded.val_counted == r->val_counted);
    lm_close(&s);
}

/* SGD: Adam would make steps of the rounding where a gradient is 0. */
static void parts_of_a_batch_weigh_by_the_tokens_that_count(void **state)
{
    (void)state;
    lm_session s[2];
    for (int n = 0; n < 2; n++) {
        lm_open(&s[n], untied(), 3);
        s[n].options.batch = WINDOWS;
        s[n].options.accumulate = n ? 6 : 1;
        s[n].options.optimizer = (amg_optimizer_options){.lr = 0.5, .clip_norm = 0.5};
        lm_train(&s[n]);
    }
    double most = 0, moved = 0;
    amg_params before;
    assert_int_equal(amg_params_new(s[0].fed, 0, &before, NULL), AMG_OK);
    for (int i = 0; i < before.count; i++) {
        const float *a = s[0].params.items[i].tensor.data;
        const float *b = s[1].params.items[i].tensor.data;
        const float *c = before.items[i].tensor.data;
        for (int64_t j = 0; j < amg_tensor_count(&before.items[i].tensor); j++) {
            most = fmax(most, fabs((double)a[j] - (double)b[j]));
            moved = fmax(moved, fabs((double)a[j] - (double)c[j]));
        }
    }
    assert_true(moved > 0.1 && most < 1e-6);
    amg_params_clear(&before);
    for (int n = 0; n < 2; n++) lm_close(&s[n]);
}

static void padding_alone_teaches_nothing(void **state)
{
    (void)state;
    lm_session s;
    amg_params before;
    lm_open(&s, tied(), 3);
    s.law.all_alike = true;
    s.options.optimizer = (amg_optimizer_options){.kind = AMG_OPT_SGD, .lr = 0.1};
    assert_int_equal(amg_params_new(s.fed, 0, &before, NULL), AMG_OK);
    lm_train(&s);
    assert_params_equal(&s.params, &before);
    assert_true(isnan(s.result.heads[0].train_loss));
    assert_true(isnan(s.result.heads[0].val_loss));
    assert_true(s.result.heads[0].val_counted == 0);
    amg_params_clear(&before);
    lm_close(&s);
}

static void metrics_count_tokens(void **state)
{
    (void)state;
    lm_session s;
    char dir[64], path[128];
    amg_map file;
    make_temp_dir(dir);
    lm_open(&s, tied(), -1);
    s.task.out_dir = dir;
    lm_train(&s);
    snprintf(path, sizeof path, "%s/metrics.jsonl", dir);
    assert_int_equal(amg_map_open(path, &file, NULL), AMG_OK);
    assert_non_null(memmem(file.data, file.size, "\"tokens_per_second\":", 20));
    assert_null(memmem(file.data, file.size, "images", 6));
    amg_map_close(&file);
    lm_close(&s);
    amg_dir_remove(dir);
}

/* ---- what is refused ---- */

static void a_token_that_is_no_class_is_named(void **state)
{
    (void)state;
    for (int n = 0; n < 2; n++) {
        lm_session s;
        amg_params before;
        lm_open(&s, networks[n](), -1);
        assert_int_equal(amg_params_new(s.fed, 0, &before, NULL), AMG_OK);
        s.law.last = VOCAB; /* only predicted, never looked up */
        assert_int_equal(lm_run(&s, NULL), AMG_INVALID);
        assert_string_equal(s.err.where, s.fed->values[s.fed->outputs[0]].name);
        assert_string_equal(s.err.what,
                            "token 13 at position 5 of sample 0 of the batch is to be "
                            "predicted, expected 0 to 12");
        s.law.last = -1;
        assert_int_equal(lm_run(&s, NULL), AMG_INVALID);
        assert_non_null(strstr(s.err.what, "token -1 at position 5"));
        assert_params_equal(&s.params, &before);
        /* Padding may be beyond the classes: it is never predicted. */
        s.law.last = VOCAB;
        s.objective.has_ignore = true;
        s.objective.ignore = VOCAB;
        lm_train(&s);
        assert_true(s.result.heads[0].val_counted == WINDOWS * (SEQ - 1));
        amg_params_clear(&before);
        lm_close(&s);
    }
}

static void next_tokens_that_do_not_fit_the_output_are_refused(void **state)
{
    (void)state;
    lm_session s;
    lm_open(&s, untied(), -1);
    s.objective.target = s.fed->values[s.fed->nodes[0].outputs[0]].name; /* windows */
    assert_int_equal(lm_run(&s, NULL), AMG_MISMATCH);
    assert_non_null(strstr(s.err.what, "output is F32[4,6,13], its target"));
    assert_non_null(strstr(s.err.what, "is I64[4,7]"));
    s.objective.target = "look_out"; /* looked up */
    assert_int_equal(lm_run(&s, NULL), AMG_MISMATCH);
    assert_non_null(strstr(s.err.what, "is F32[4,6,8]"));
    s.objective.target = "nothing";
    assert_int_equal(lm_run(&s, NULL), AMG_NOT_FOUND);
    lm_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(twenty_losses_equal_pytorch),
        cmocka_unit_test(renumbering_the_vocabulary_changes_no_bit),
        cmocka_unit_test(a_renumbered_run_resumes_to_the_same_bits),
        cmocka_unit_test(a_checkpoint_of_other_padding_is_another_run_s),
        cmocka_unit_test(tables_are_ordered_with_the_classes_where_they_are_tied),
        cmocka_unit_test(equal_rows_of_a_table_stay_in_natural_order),
        cmocka_unit_test(padding_is_left_out_of_means_and_accuracies),
        cmocka_unit_test(parts_of_a_batch_weigh_by_the_tokens_that_count),
        cmocka_unit_test(padding_alone_teaches_nothing),
        cmocka_unit_test(metrics_count_tokens),
        cmocka_unit_test(a_token_that_is_no_class_is_named),
        cmocka_unit_test(next_tokens_that_do_not_fit_the_output_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
