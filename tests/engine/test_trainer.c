/* The trainer: it learns every task; heads are independent; class permutations are
 * exact; errors leave everything as it was. */
#include "train_fixture.h"

#include "base/alloc.h"
#include "engine/class_order.h"

static const net_head cnn = {.prefix = "a.", .seed = 1, .width = 8};
static const net_head other = {.prefix = "b.", .seed = 2, .width = 12};
static const net_head linear = {.prefix = "c.", .seed = 3};
static const int32_t map[CLASSES] = {3, 5, 0, 6, 2, 1, 4};

static void training_learns_and_reports_its_results(void **state)
{
    (void)state;
    session s;
    amg_head_result again;
    session_open(&s, &cnn, 1, NULL);
    s.options.epochs = 12;
    session_train(&s);
    const amg_head_result *r = &s.result.heads[0];
    assert_int_equal(s.result.num_heads, 1);
    assert_int_equal(s.result.steps, 12 * 6); /* the incomplete batch is dropped */
    assert_true(r->train_accuracy > 0.8);
    assert_true(r->val_top1 > 0.8 && r->val_top1 <= r->val_top5 && r->val_top5 <= 1);
    assert_true(r->val_loss > 0 && r->val_loss < log(CLASSES) / 2);
    assert_true(s.result.workspace_bytes > 0);

    /* The same through the public evaluation, with another batch size. */
    assert_int_equal(amg_evaluate(s.graph, 0, &s.params[0], &s.val, &s.objectives[0], 7,
                                  NULL, &again, &s.err),
                     AMG_OK);
    assert_true(fabs(again.val_loss - r->val_loss) < 1e-5);
    assert_true(again.val_top1 == r->val_top1 && again.val_top5 == r->val_top5);
    assert_true(isnan(again.train_loss));
    session_close(&s);
}

/* Twelve epochs at this rate; the losses of training and validation must fall below
 * `below`. */
static void check_learning(net_form form, double lr, double below)
{
    session s;
    amg_head_result again;
    const net_head head = {.prefix = "a.",
                           .seed = 1,
                           .width = form == NET_NUMBERS ? 0 : 8, /* they are linear */
                           .form = form};
    session_open(&s, &head, 1, NULL);
    s.options.epochs = 12;
    s.options.label_smoothing = 0;
    s.options.optimizer.lr = lr;
    session_train(&s);
    const amg_head_result *r = &s.result.heads[0];
    const bool classes = form == NET_MAP;
    assert_true(r->train_loss > 0 && r->train_loss < below);
    assert_true(r->val_loss > 0 && r->val_loss < below);
    assert_int_equal(isnan(r->train_accuracy), !classes);
    assert_int_equal(isnan(r->val_top1), !classes);
    assert_int_equal(isnan(r->val_top5), !classes);
    /* Of pixels, not of samples. */
    if (classes) assert_true(r->train_accuracy > 0.7 && r->val_top1 <= 1);
    if (classes) assert_true(r->val_top1 > 0.7 && r->val_top5 == 1);
    assert_int_equal(amg_evaluate(s.graph, 0, &s.params[0], &s.val, &s.objectives[0], 7,
                                  NULL, &again, &s.err),
                     AMG_OK);
    assert_true(fabs(again.val_loss - r->val_loss) < 1e-5);
    assert_int_equal(isnan(again.val_top1), !classes);
    session_close(&s);
}

/* What a constant guess gives: log 3 over the classes of a pixel, the variance of the
 * numbers and of the halved image. */
static void class_maps_numbers_and_images_are_learned(void **state)
{
    (void)state;
    check_learning(NET_MAP, 0.5, log(MAP_CLASSES) / 2);
    check_learning(NET_NUMBERS, 0.2, 0.1);
    check_learning(NET_IMAGE, 0.2, 0.02);
}

static void a_head_of_any_task_trains_alone_as_among_others(void **state)
{
    (void)state;
    const net_form forms[3] = {NET_MAP, NET_NUMBERS, NET_IMAGE};
    for (int f = 0; f < 3; f++) {
        session alone, among;
        net_head heads[3] = {other, cnn, {.prefix = "c.", .seed = 3, .width = 5}};
        amg_params before;
        for (int h = 0; h < 3; h++) heads[h].form = forms[f];
        session_open(&alone, &heads[1], 1, NULL);
        session_open(&among, heads, 3, NULL);
        assert_int_equal(amg_params_new(alone.graph, 0, &before, NULL), AMG_OK);
        session_train(&alone);
        session_train(&among);
        assert_params_equal(&alone.params[0], &among.params[1]);
        assert_memory_equal(&alone.result.heads[0], &among.result.heads[1],
                            sizeof(amg_head_result));
        assert_false(params_are_equal(&alone.params[0], &before));
        amg_params_clear(&before);
        session_close(&alone);
        session_close(&among);
    }
}

static void targets_that_do_not_fit_the_output_are_refused(void **state)
{
    (void)state;
    session s;
    net_head head = {.prefix = "a.", .seed = 1, .width = 4, .form = NET_NUMBERS};
    session_open(&s, &head, 1, NULL);
    s.train.target_dims[0] = 3;
    assert_int_equal(session_run(&s, NULL), AMG_MISMATCH);
    assert_non_null(strstr(s.err.what, "are F32[3], the output asks for F32[2]"));
    s.train.target_dims[0] = NUMBERS;
    s.val.target_dtype = AMG_I32;
    assert_int_equal(session_run(&s, NULL), AMG_MISMATCH);
    assert_non_null(strstr(s.err.what, "are I32[2], the output asks for F32[2]"));
    session_close(&s);

    head.form = NET_MAP;
    session_open(&s, &head, 1, NULL);
    s.train.target_rank = 1;
    assert_int_equal(session_run(&s, NULL), AMG_MISMATCH);
    assert_non_null(strstr(s.err.what, "are I32[6], the output asks for I32[6,6]"));
    session_close(&s);

    head.form = NET_IMAGE;
    session_open(&s, &head, 1, NULL);
    s.objectives[0].target = "a.relu_y"; /* eight channels */
    assert_int_equal(session_run(&s, NULL), AMG_MISMATCH);
    assert_non_null(strstr(s.err.what, "its target \"a.relu_y\" is F32[16,4,6,6]"));
    s.objectives[0].target = "a.decode_y"; /* its own output */
    assert_int_equal(session_run(&s, NULL), AMG_UNSUPPORTED);
    assert_non_null(strstr(s.err.what, "depends on trained parameters"));
    s.objectives[0].target = "image";
    assert_int_equal(session_run(&s, NULL), AMG_NOT_FOUND);
    assert_string_equal(s.err.where, "a.decode_y");
    s.objectives[0].target = NULL;
    assert_int_equal(session_run(&s, NULL), AMG_MISMATCH);
    assert_non_null(strstr(s.err.what, "target column is 0, the data have 0"));
    session_close(&s);
}

static void a_head_trains_alone_as_among_others(void **state)
{
    (void)state;
    session alone, among;
    const net_head heads[3] = {other, cnn, linear};
    session_open(&alone, &cnn, 1, NULL);
    session_open(&among, heads, 3, NULL);
    amg_params initial = alone.params[0];
    assert_int_equal(amg_params_like(&alone.params[0], &initial, NULL), AMG_OK);
    session_train(&alone);
    session_train(&among);
    assert_params_equal(&alone.params[0], &among.params[1]);
    assert_memory_equal(&alone.result.heads[0], &among.result.heads[1],
                        sizeof(amg_head_result));
    assert_false(params_are_equal(&alone.params[0], &initial));
    amg_params_clear(&initial);
    session_close(&alone);
    session_close(&among);
}

/* rows of `permuted` at map[c] must be the rows of `plain` at c, bit for bit; other
 * parameters equal. */
static void assert_permuted(const amg_params *plain, const amg_params *permuted)
{
    for (int i = 0; i < plain->count; i++) {
        const amg_tensor *a = &plain->items[i].tensor, *b = &permuted->items[i].tensor;
        const bool rows = strstr(plain->items[i].name, "fc.") != NULL;
        const size_t row = a->size_bytes / (size_t)a->dims[0];
        for (int64_t r = 0; r < a->dims[0]; r++) {
            const int64_t at = rows ? map[r] : r;
            if (memcmp((char *)a->data + (size_t)r * row,
                       (char *)b->data + (size_t)at * row, row) != 0)
                fail_msg("%s, row %d", plain->items[i].name, (int)r);
        }
    }
}

static void check_permutation(net_head head, amg_optimizer_kind kind)
{
    session plain, permuted;
    session_open(&plain, &head, 1, NULL);
    head.map = map;
    session_open(&permuted, &head, 1, NULL);
    plain.options.optimizer.kind = permuted.options.optimizer.kind = kind;
    assert_false(params_are_equal(&plain.params[0], &permuted.params[0]));
    session_train(&plain);
    session_train(&permuted);
    assert_permuted(&plain.params[0], &permuted.params[0]);
    /* Training and validation figures too, to the last bit. */
    assert_memory_equal(&plain.result.heads[0], &permuted.result.heads[0],
                        sizeof(amg_head_result));
    session_close(&plain);
    session_close(&permuted);
}

static void permuting_classes_permutes_the_trained_bits(void **state)
{
    (void)state;
    check_permutation(cnn, AMG_OPT_SGD);
    check_permutation(linear, AMG_OPT_SGD);
    for (amg_optimizer_kind kind = AMG_OPT_ADAM; kind <= AMG_OPT_LION; kind++)
        check_permutation(cnn, kind);
}

static void canonical_order_and_back_is_the_identity(void **state)
{
    (void)state;
    session s, permuted;
    amg_params copy, permuted_copy;
    amg_class_order order, permuted_order;
    net_head head = cnn;
    session_open(&s, &head, 1, NULL);
    head.map = map;
    session_open(&permuted, &head, 1, NULL);
    assert_int_equal(amg_class_order_init(s.graph, 0, true, &s.params[0], &order, NULL),
                     0);
    assert_int_equal(amg_class_order_init(permuted.graph, 0, true, &permuted.params[0],
                                          &permuted_order, NULL),
                     0);
    assert_non_null(order.classes.rank);
    for (int c = 0; c < CLASSES; c++)
        assert_int_equal(amg_class_order_label(&order, c),
                         amg_class_order_label(&permuted_order, map[c]));

    assert_int_equal(amg_params_new(s.graph, 0, &copy, NULL), AMG_OK);
    assert_int_equal(amg_params_new(permuted.graph, 0, &permuted_copy, NULL), AMG_OK);
    amg_class_order_to_canonical(&order, &copy);
    amg_class_order_to_canonical(&permuted_order, &permuted_copy);
    assert_false(params_are_equal(&copy, &s.params[0]));
    assert_params_equal(&copy, &permuted_copy);
    amg_class_order_to_natural(&order, &copy);
    amg_class_order_to_natural(&permuted_order, &permuted_copy);
    assert_params_equal(&copy, &s.params[0]);
    assert_params_equal(&permuted_copy, &permuted.params[0]);

    amg_params_clear(&copy);
    amg_params_clear(&permuted_copy);
    amg_class_order_clear(&order);
    amg_class_order_clear(&permuted_order);
    session_close(&s);
    session_close(&permuted);
}

static void equal_class_rows_stay_in_natural_order(void **state)
{
    (void)state;
    session s;
    amg_class_order order;
    session_open(&s, &linear, 1, NULL);
    for (int i = 0; i < s.params[0].count; i++)
        memset(s.params[0].items[i].tensor.data, 0,
               s.params[0].items[i].tensor.size_bytes);
    assert_int_equal(amg_class_order_init(s.graph, 0, true, &s.params[0], &order, NULL),
                     0);
    assert_null(order.classes.rank);
    assert_int_equal(amg_class_order_label(&order, 4), 4);
    session_train(&s);
    assert_true(s.result.heads[0].train_accuracy > 0.3);
    amg_class_order_clear(&order);
    session_close(&s);
}

/* How far apart, relative L2. */
static double params_distance(const amg_params *a, const amg_params *b)
{
    double off = 0, all = 0;
    for (int i = 0; i < a->count; i++) {
        const float *x = a->items[i].tensor.data, *y = b->items[i].tensor.data;
        for (int64_t j = 0; j < amg_tensor_count(&a->items[i].tensor); j++) {
            off += pow((double)x[j] - (double)y[j], 2);
            all += pow((double)x[j], 2);
        }
    }
    return sqrt(off / all);
}

static void accumulated_parts_train_as_the_whole_batch_does(void **state)
{
    (void)state;
    session whole, parts;
    session_open(&whole, &linear, 1,
                 NULL); /* clipped, without batch norm and dropout */
    session_open(&parts, &linear, 1, NULL);
    parts.options.accumulate = 4;
    session_train(&whole);
    session_train(&parts);
    assert_true(params_distance(&whole.params[0], &parts.params[0]) < 1e-5);
    assert_int_equal(parts.result.steps, whole.result.steps);
    assert_true(fabs(parts.result.heads[0].train_loss -
                     whole.result.heads[0].train_loss) < 1e-5);
    session_close(&whole);
    session_close(&parts);

    session_open(&parts, &linear, 1, NULL);
    parts.options.accumulate = 3;
    assert_int_equal(session_run(&parts, NULL), AMG_INVALID);
    assert_non_null(strstr(parts.err.what, "16 does not divide into 3 parts"));
    session_close(&parts);
}

/* Of heads[1] alone and among three, the same bits and figures. */
static void check_alone_and_among(const amg_train_options *options)
{
    session alone, among;
    const net_head heads[3] = {other, cnn, linear};
    session_open(&alone, &cnn, 1, NULL);
    session_open(&among, heads, 3, NULL);
    alone.options = among.options = *options;
    session_train(&alone);
    session_train(&among);
    assert_params_equal(&alone.params[0], &among.params[1]);
    assert_memory_equal(&alone.result.heads[0], &among.result.heads[1],
                        sizeof(amg_head_result));
    session_close(&alone);
    session_close(&among);
}

static void every_recipe_is_exact_among_other_heads(void **state)
{
    (void)state;
    amg_train_options o = session_options();
    o.accumulate = 2;
    check_alone_and_among(&o);
    o.epochs = 6;
    o.optimizer.warmup_steps = 0;
    o.optimizer.schedule = AMG_SCHEDULE_ONE_CYCLE;
    check_alone_and_among(&o);
    o.optimizer.schedule = AMG_SCHEDULE_PLATEAU;
    o.optimizer.plateau_factor = 0.5;
    check_alone_and_among(&o);
    o.ema = 0.8;
    check_alone_and_among(&o);
    o.best = true;
    check_alone_and_among(&o);
    o.early_stop = 1;
    check_alone_and_among(&o);
    o.best = false;
    check_alone_and_among(&o);
}

static void an_average_is_what_validation_measures_and_what_comes_out(void **state)
{
    (void)state;
    session s, plain;
    session_open(&s, &cnn, 1, NULL);
    session_open(&plain, &cnn, 1, NULL);
    s.options.ema = 0.9;
    session_train(&s);
    session_train(&plain);
    assert_false(params_are_equal(&s.params[0], &plain.params[0]));
    /* Averaging changes no step: the running statistics are the same. */
    const int mean = amg_params_find(&s.params[0], "a.bn.mean");
    assert_memory_equal(s.params[0].items[mean].tensor.data,
                        plain.params[0].items[mean].tensor.data,
                        s.params[0].items[mean].tensor.size_bytes);
    amg_head_result again;
    assert_int_equal(amg_evaluate(s.graph, 0, &s.params[0], &s.val, &s.objectives[0],
                                  16, NULL, &again, &s.err),
                     AMG_OK);
    assert_true(fabs(again.val_loss - s.result.heads[0].val_loss) < 1e-5);
    assert_true(again.val_loss != plain.result.heads[0].val_loss);
    session_close(&s);
    session_close(&plain);
}

static void frozen_weights_are_their_own_average(void **state)
{
    (void)state;
    static const char *const frozen[] = {"a.conv.w"};
    session s;
    amg_params before;
    session_open(&s, &cnn, 1, NULL);
    s.task.frozen = frozen;
    s.task.num_frozen = 1;
    s.options.ema = 0.9;
    s.options.best = true;
    assert_int_equal(amg_params_new(s.graph, 0, &before, NULL), AMG_OK);
    session_train(&s);
    for (int i = 0; i < before.count; i++) {
        const amg_tensor *a = &before.items[i].tensor,
                         *b = &s.params[0].items[i].tensor;
        const bool same = !memcmp(a->data, b->data, a->size_bytes);
        assert_int_equal(same, !strcmp(before.items[i].name, frozen[0]));
    }
    amg_params_clear(&before);
    session_close(&s);
}

/* By hand: epoch after epoch, each a training of its own that is stopped there. */
static void the_best_epoch_comes_out_and_heads_stop_by_themselves(void **state)
{
    (void)state;
    enum { EPOCHS = 12, PATIENCE = 3 };
    const net_head heads[2] = {cnn, linear};
    session best, each;
    amg_train_options o = session_options();
    o.epochs = EPOCHS;
    o.optimizer.schedule = AMG_SCHEDULE_CONSTANT;
    session_open(&best, heads, 2, NULL);
    best.options = o;
    best.options.best = true;
    best.options.early_stop = PATIENCE;
    session_train(&best);
    double lowest[2] = {INFINITY, INFINITY};
    int at[2] = {0, 0};
    for (int epoch = 1; epoch <= EPOCHS; epoch++) {
        session_open(&each, heads, 2, NULL);
        each.options = o;
        each.options.max_steps = 6 * epoch;
        session_train(&each);
        for (int h = 0; h < 2; h++) {
            const double loss = each.result.heads[h].val_loss;
            if (loss >= lowest[h] || epoch - at[h] > PATIENCE) continue;
            lowest[h] = loss;
            at[h] = epoch;
            if (best.result.head_steps[h] == 6 * epoch)
                assert_params_equal(&each.params[h], &best.params[h]);
        }
        session_close(&each);
    }
    for (int h = 0; h < 2; h++) {
        assert_int_equal(best.result.head_steps[h], 6 * at[h]);
        assert_true(best.result.heads[h].val_loss == lowest[h]);
    }
    assert_true(best.result.head_steps[0] != best.result.head_steps[1]);
    assert_true(best.result.steps < 6 * EPOCHS); /* both have stopped */
    session_close(&best);

    session_open(&best, heads, 2, NULL);
    best.task.val = NULL;
    best.options.early_stop = 1;
    assert_int_equal(session_run(&best, NULL), AMG_INVALID);
    assert_non_null(strstr(best.err.what, "stopping early needs them"));
    best.options.best = true;
    assert_int_equal(session_run(&best, NULL), AMG_INVALID);
    assert_non_null(strstr(best.err.what, "keeping the best weights needs them"));
    session_close(&best);
}

static void a_plateau_lowers_the_rate_of_its_own_head(void **state)
{
    (void)state;
    session s, constant;
    const net_head heads[2] = {cnn, linear};
    session_open(&s, heads, 2, NULL);
    session_open(&constant, heads, 2, NULL);
    s.options.optimizer.schedule = AMG_SCHEDULE_PLATEAU;
    s.options.optimizer.plateau_factor = 1e-9; /* from then on nothing changes */
    constant.options.optimizer.schedule = AMG_SCHEDULE_CONSTANT;
    s.options.epochs = constant.options.epochs = 20;
    session_train(&s);
    session_train(&constant);
    assert_false(params_are_equal(&s.params[0], &constant.params[0]));
    assert_false(params_are_equal(&s.params[1], &constant.params[1]));
    session_close(&s);
    session_close(&constant);
}

/* The first row of the table that begins with `what`, its milliseconds; -1: none. */
static double profile_row(const char *text, const char *what)
{
    double ms, share, all = 0, found = -1;
    for (const char *p = text; (p = strchr(p, '\n'));) {
        const char *line = ++p, *end = strchr(p, '\n');
        if (!end || sscanf(line, "%lf %lf %%", &ms, &share) != 2) continue;
        all += share;
        const char *at = strstr(line, what);
        if (at && at < end && found < 0) found = ms;
    }
    assert_true(all > 99 && all < 101);
    return found;
}

static void a_profile_shows_where_the_time_goes_and_changes_nothing(void **state)
{
    (void)state;
    const net_head heads[2] = {cnn, linear};
    session s, plain;
    char *text = NULL;
    size_t size = 0;
    session_open(&s, heads, 2, NULL);
    session_open(&plain, heads, 2, NULL);
    s.options.profile = open_memstream(&text, &size);
    session_train(&s);
    session_train(&plain);
    fclose(s.options.profile);
    for (int h = 0; h < 2; h++) assert_params_equal(&s.params[h], &plain.params[h]);
    assert_non_null(strstr(text, "a step of 16 samples (20 steps, 2 sub-networks"));
    static const char *const rows[] = {
        "forward   Conv", "backward  Conv",    "forward   Gemm",
        "backward  Gemm", "forward   MaxPool", "reading data",
        "loss",           "optimizer",         "all else"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!(profile_row(text, rows[i]) >= 0))
            fail_msg("%s: not in\n%s", rows[i], text);
    assert_non_null(strstr(text, "memory: workspace"));
    assert_non_null(strstr(text, "F32[16,8,6,6]")); /* the convolution's result */
    free(text);
    session_close(&s);
    session_close(&plain);
}

static void seeds_change_the_order_of_batches(void **state)
{
    (void)state;
    session a, b;
    session_open(&a, &linear, 1, NULL);
    session_open(&b, &linear, 1, NULL);
    b.options.seed++;
    session_train(&a);
    session_train(&b);
    assert_false(params_are_equal(&a.params[0], &b.params[0]));
    session_close(&a);
    session_close(&b);
}

static void a_loss_that_is_no_number_stops_with_head_and_step(void **state)
{
    (void)state;
    session s;
    const net_head heads[2] = {linear, cnn};
    amg_params before;
    session_open(&s, heads, 2, NULL);
    /* Head 1 is fed a weight that overflows in the first step. */
    const int w = amg_params_find(&s.params[1], "a.fc.w");
    assert_true(w >= 0);
    for (int i = 0; i < CLASSES; i++)
        ((float *)s.params[1].items[w].tensor.data)[i] = 3e38f;
    assert_int_equal(amg_params_new(s.graph, 0, &before, NULL), AMG_OK);
    assert_int_equal(session_run(&s, NULL), AMG_NOT_FINITE);
    assert_string_equal(s.err.where, "head 1");
    assert_non_null(strstr(s.err.what, "at step 0"));
    assert_params_equal(&s.params[0], &before); /* nothing half-trained comes out */
    amg_params_clear(&before);
    session_close(&s);
}

static void weights_that_overflow_in_the_last_step_do_not_come_out(void **state)
{
    (void)state;
    session s;
    amg_params before;
    session_open(&s, &linear, 1, NULL);
    s.options.optimizer = (amg_optimizer_options){.lr = 1e300};
    s.options.max_steps = 1;
    s.options.epochs = 1;
    assert_int_equal(amg_params_new(s.graph, 0, &before, NULL), AMG_OK);
    assert_int_equal(session_run(&s, NULL), AMG_NOT_FINITE);
    assert_params_equal(&s.params[0], &before);
    amg_params_clear(&before);
    session_close(&s);
}

static void options_and_data_out_of_range_are_refused(void **state)
{
    (void)state;
    session s;
    session_open(&s, &linear, 1, NULL);
    const amg_train_options good = s.options;
#define REFUSED(change, code, text)                                                    \
    do {                                                                               \
        change;                                                                        \
        assert_int_equal(session_run(&s, NULL), code);                                 \
        assert_non_null(strstr(s.err.what, text));                                     \
        s.options = good;                                                              \
    } while (0)
    REFUSED(s.options.batch = 101, AMG_INVALID, "100 samples, less than one batch");
    REFUSED(s.options.batch = -1, AMG_INVALID, "negative");
    REFUSED(s.options.label_smoothing = 1.5f, AMG_INVALID, "label smoothing is 1.5");
    REFUSED(s.options.optimizer.lr = 0, AMG_INVALID, "learning rate");
    REFUSED(s.options.resume = true, AMG_INVALID, "resuming needs a folder");
    REFUSED(s.options.epochs = INT64_MAX, AMG_OVERFLOW, "too many epochs");
    REFUSED(s.task.num_params_sets = 0, AMG_INVALID, "0 parameter sets for 1 head");
    s.task.num_params_sets = 1;
    REFUSED(s.objectives[0].column = 1, AMG_MISMATCH,
            "target column is 1, the data have 1");
    s.objectives[0].column = 0;
    REFUSED(s.train.dims[1] = 5, AMG_MISMATCH, "F32[1,5,6]");
    s.train.dims[1] = SIDE;
    REFUSED(s.val.num_samples = 0, AMG_INVALID, "no samples");
#undef REFUSED
    session_close(&s);
}

static void more_heads_than_the_limit_are_refused(void **state)
{
    (void)state;
    session s;
    static net_head heads[AMG_MAX_HEADS + 1];
    static char prefixes[AMG_MAX_HEADS + 1][16];
    for (int h = 0; h <= AMG_MAX_HEADS; h++) {
        snprintf(prefixes[h], sizeof prefixes[h], "h%d.", h);
        heads[h] = (net_head){.prefix = prefixes[h], .seed = (uint64_t)h};
    }
    session_open(&s, heads, 1, NULL);
    amg_graph *many = make_net(heads, AMG_MAX_HEADS + 1);
    s.task.graph = many;
    assert_int_equal(session_run(&s, NULL), AMG_INVALID);
    assert_non_null(strstr(s.err.what, "65 heads, expected 1 to 64"));
    amg_graph_free(many);
    session_close(&s);
}

static void a_sample_that_cannot_be_read_stops_the_training(void **state)
{
    (void)state;
    session s;
    session_open(&s, &linear, 1, NULL);
    s.train_data.bad = 42;
    assert_int_equal(session_run(&s, NULL), AMG_IO);
    assert_string_equal(s.err.what, "sample 42");
    session_close(&s);
}

/* Counts events; asks to stop once num_trained "train" events have come. */
typedef struct {
    int train, ends, resumed, stop_after;
    amg_progress_event last_end;
} events;

static bool count_event(void *context, const amg_progress_event *e)
{
    events *n = context;
    n->train += strcmp(e->stage, "train") == 0;
    n->resumed += strcmp(e->stage, "resume") == 0;
    if (e->end_of_epoch) {
        n->ends++;
        n->last_end = *e;
    }
    return n->stop_after == 0 || n->train < n->stop_after;
}

static void every_epoch_ends_with_one_event(void **state)
{
    (void)state;
    session s;
    events n = {0};
    const amg_progress progress = {count_event, &n};
    session_open(&s, &linear, 1, NULL);
    assert_int_equal(session_run(&s, &progress), AMG_OK);
    assert_int_equal(n.ends, 4);
    assert_true(n.train >= 4); /* the last step of each epoch is always told */
    assert_string_equal(n.last_end.stage, "evaluate");
    assert_int_equal(n.last_end.epoch, 4);
    assert_int_equal(n.last_end.num_epochs, 4);
    assert_int_equal(n.last_end.done, 24);
    assert_int_equal(n.last_end.total, 24);
    assert_true(n.last_end.loss == s.result.heads[0].val_loss);
    assert_true(n.last_end.accuracy == s.result.heads[0].val_top1);
    session_close(&s);
}

static void progress_can_stop_the_training(void **state)
{
    (void)state;
    session s;
    events n = {.stop_after = 1};
    const amg_progress progress = {count_event, &n};
    session_open(&s, &linear, 1, NULL);
    assert_int_equal(session_run(&s, &progress), AMG_INTERRUPTED);
    assert_int_equal(n.train, 1);
    session_close(&s);
}

static long allocations_of(int64_t max_steps)
{
    static long countdown; /* outlives a failing assertion */
    session s;
    countdown = 1000000000;
    session_open(&s, &cnn, 1, NULL);
    s.task.val = NULL;
    s.options.max_steps = max_steps;
    amg_alloc_fail_after(&countdown);
    session_train(&s);
    amg_alloc_fail_after(NULL);
    session_close(&s);
    return 1000000000 - countdown;
}

static void a_step_allocates_nothing(void **state)
{
    (void)state;
    const long two = allocations_of(2);
    assert_true(two > 0);
    assert_int_equal(two, allocations_of(20));
}

static void running_out_of_memory_is_an_error_at_any_moment(void **state)
{
    (void)state;
    static long countdown; /* outlives a failing assertion */
    session s;
    long failures = 0;
    session_open(&s, &linear, 1, NULL);
    s.options.max_steps = 6; /* with one validation */
    for (long n = 1;; n++, failures++) {
        countdown = n;
        amg_alloc_fail_after(&countdown);
        const amg_status status = session_run(&s, NULL);
        amg_alloc_fail_after(NULL);
        if (!status) break;
        assert_int_equal(status, AMG_NO_MEMORY);
    }
    assert_true(failures > 10);
    session_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(training_learns_and_reports_its_results),
        cmocka_unit_test(class_maps_numbers_and_images_are_learned),
        cmocka_unit_test(a_head_of_any_task_trains_alone_as_among_others),
        cmocka_unit_test(targets_that_do_not_fit_the_output_are_refused),
        cmocka_unit_test(a_head_trains_alone_as_among_others),
        cmocka_unit_test(permuting_classes_permutes_the_trained_bits),
        cmocka_unit_test(canonical_order_and_back_is_the_identity),
        cmocka_unit_test(equal_class_rows_stay_in_natural_order),
        cmocka_unit_test(accumulated_parts_train_as_the_whole_batch_does),
        cmocka_unit_test(every_recipe_is_exact_among_other_heads),
        cmocka_unit_test(an_average_is_what_validation_measures_and_what_comes_out),
        cmocka_unit_test(frozen_weights_are_their_own_average),
        cmocka_unit_test(the_best_epoch_comes_out_and_heads_stop_by_themselves),
        cmocka_unit_test(a_plateau_lowers_the_rate_of_its_own_head),
        cmocka_unit_test(a_profile_shows_where_the_time_goes_and_changes_nothing),
        cmocka_unit_test(seeds_change_the_order_of_batches),
        cmocka_unit_test(a_loss_that_is_no_number_stops_with_head_and_step),
        cmocka_unit_test(weights_that_overflow_in_the_last_step_do_not_come_out),
        cmocka_unit_test(options_and_data_out_of_range_are_refused),
        cmocka_unit_test(more_heads_than_the_limit_are_refused),
        cmocka_unit_test(a_sample_that_cannot_be_read_stops_the_training),
        cmocka_unit_test(every_epoch_ends_with_one_event),
        cmocka_unit_test(progress_can_stop_the_training),
        cmocka_unit_test(a_step_allocates_nothing),
        cmocka_unit_test(running_out_of_memory_is_an_error_at_any_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
