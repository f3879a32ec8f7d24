/* The promise for models of several outputs: a convolutional trunk under a classifier
 * and a box, obfuscated, trained as a job and extracted, has the same bits as trained
 * alone; and the file has the outputs that it had. On made-up data. */
#include "cycle_fixture.h"

#include <math.h>

#include "base/file.h"
#include "base/rng.h"
#include "engine/augment.h"
#include "engine/job.h"
#include "extract/extract.h"
#include "formats/npy.h"
#include "graph/builder.h"
#include "graph/onnx_graph.h"
#include "obfuscate/obfuscate.h"

enum { ROWS = 48, SIDE = 8, CHANNELS = 6, CLASSES = 4, BOX = 3, DECOYS = 2 };
enum { MOST_ROWS = DECOYS * ROWS, PIXELS = SIDE * SIDE, WIDTH = CHANNELS * PIXELS / 4 };
static const char losses[] = "cross_entropy+0.5*huber:0.25";

/* ---- model and data ---- */

static int linear(amg_builder *b, const char *weight, const char *bias, int x,
                  int64_t in, int64_t out, const char *name)
{
    const amg_attr transposed = amg_int("transB", 1);
    const int inputs[3] = {x, parameter(b, weight, 2, (int64_t[]){out, in}),
                           parameter(b, bias, 1, &out)};
    return amg_builder_node(b, AMG_OP_GEMM, weight, inputs, 3, &transposed, 1, name);
}

/* Classes, and a box of [3, 1] as a convolution gives it. */
static void write_model(const places *p)
{
    amg_builder *b = amg_builder_new();
    amg_graph *g = NULL;
    amg_error err = {0};
    const amg_attr conv[] = {amg_ints("pads", 4, (int64_t[]){1, 1, 1, 1}),
                             amg_ints("strides", 2, (int64_t[]){2, 2})};
    int x = amg_builder_input(b, "x", AMG_F32, 4,
                              (int64_t[]){AMG_DIM_BATCH, 1, SIDE, SIDE});
    const int inputs[] = {x, parameter(b, "cw", 4, (int64_t[]){CHANNELS, 1, 3, 3}),
                          parameter(b, "cb", 1, (int64_t[]){CHANNELS})};
    x = amg_builder_node(b, AMG_OP_CONV, "conv", inputs, 3, conv, 2, NULL);
    x = amg_builder_node(b, AMG_OP_RELU, "relu", &x, 1, NULL, 0, NULL);
    const amg_attr axis = amg_int("axis", 1);
    x = amg_builder_node(b, AMG_OP_FLATTEN, "flat", &x, 1, &axis, 1, NULL);
    const int box = linear(b, "bw", "bb", x, WIDTH, BOX, "box_row");
    amg_builder_output(b, linear(b, "aw", "ab", x, WIDTH, CLASSES, "logits"));
    amg_tensor two = {.dtype = AMG_I64, .rank = 1, .dims = {1}, .size_bytes = 8};
    const int at = amg_builder_param(b, "at", &two);
    *(int64_t *)amg_builder_data(b, at)->data = 2;
    amg_builder_output(b, amg_builder_node(b, AMG_OP_UNSQUEEZE, "column",
                                           (int[]){box, at}, 2, NULL, 0, "box"));
    must(amg_builder_finish(b, &g, &err), &err);
    must(amg_graph_write_onnx(p->model, g, &err), &err);
    amg_graph_free(g);
    amg_builder_free(b);
}

static void write_array(const char *path, amg_dtype dtype, int rank,
                        const int64_t *dims, const void *data)
{
    amg_tensor t;
    amg_error err = {0};
    must(amg_tensor_view(dtype, rank, dims, data, &t, &err), &err);
    must(amg_npy_write(path, &t, &err), &err);
}

/* Images; the class is where the light is, the box is of the first pixels. */
static void write_data(const places *p, const char *prefix, int64_t rows,
                       char train[2 * PATH], char val[2 * PATH])
{
    static float x[MOST_ROWS * PIXELS], box[MOST_ROWS * BOX];
    static int64_t classes[MOST_ROWS];
    amg_rng rng = amg_rng_init((uint64_t)rows, 1);
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t k = 0; k < PIXELS; k++)
            x[i * PIXELS + k] = amg_rng_uniform(&rng) - 0.5f;
        for (int64_t k = 0; k < BOX; k++) box[i * BOX + k] = 2 * x[i * PIXELS + k];
        classes[i] = (int64_t)(i * 7 % CLASSES);
        x[i * PIXELS + 9 * classes[i]] += 1;
    }
    char path[3][PATH];
    static const char names[] = "xyb";
    for (int i = 0; i < 3; i++)
        snprintf(path[i], PATH, "%s/%s%c.npy", p->dir, prefix, names[i]);
    write_array(path[0], AMG_F32, 4, (int64_t[]){rows, 1, SIDE, SIDE}, x);
    write_array(path[1], AMG_I64, 1, &rows, classes);
    write_array(path[2], AMG_F32, 3, (int64_t[]){rows, BOX, 1}, box);
    /* Three quarters to train, the rest to validate. */
    snprintf(train, 2 * PATH, "%.150s,%.150s+%.150s[0:%d]", path[0], path[1], path[2],
             (int)rows / 4 * 3);
    snprintf(val, 2 * PATH, "%.150s,%.150s+%.150s[%d:]", path[0], path[1], path[2],
             (int)rows / 4 * 3);
}

/* ---- the cycle ---- */

static amg_train_options training(void)
{
    return (amg_train_options){
        .batch = 8,
        .epochs = 3,
        .seed = 9,
        .label_smoothing = 0.1f,
        .threads = 2,
        .optimizer = {.lr = 0.05, .momentum = 0.9, .weight_decay = 5e-4}};
}

static amg_obfuscate_options obfuscation(const places *p, int decoys)
{
    return (amg_obfuscate_options){.model = p->model,
                                   .train = p->train,
                                   .val = p->val,
                                   .covers = p->covers,
                                   .val_covers = p->val_covers,
                                   .task_by_data = true,
                                   .loss = {.loss = losses},
                                   .num_decoys = decoys,
                                   .key = p->key,
                                   .out = p->job};
}

static void train_job(const places *p, amg_train_result *t)
{
    amg_train_options options = training();
    amg_error err = {0};
    options.max_steps = 7;
    must(amg_job_train(p->job, &options, NULL, t, &err), &err);
    options.max_steps = 0;
    options.resume = true;
    must(amg_job_train(p->job, &options, NULL, t, &err), &err);
}

static amg_train_result train_alone(const places *p, const char *loss)
{
    const amg_train_options options = training();
    const amg_plain_task plain = {.model = p->model,
                                  .train = p->train,
                                  .val = p->val,
                                  .task_by_data = true,
                                  .loss = {.loss = loss},
                                  .out_onnx = p->alone};
    amg_train_result r;
    amg_error err = {0};
    must(amg_plain_train(&plain, &options, NULL, &r, &err), &err);
    return r;
}

static void open_all(places *p)
{
    open_places(p);
    write_model(p);
    write_data(p, "t", ROWS, p->train, p->val);
    write_data(p, "c", MOST_ROWS, p->covers, p->val_covers);
}

static void check_parts(const amg_train_result *t, const amg_train_result *alone)
{
    bool found = false;
    for (int h = 0; h < t->num_heads; h++) {
        const amg_head_result *r = &t->heads[h];
        assert_true(r->num_parts == 2 && isnan(r->val_top1));
        assert_true(r->parts[0].val_accuracy >= 0 && r->parts[0].val_accuracy <= 1);
        assert_true(isnan(r->parts[1].val_accuracy));
        const double sum = r->parts[0].val_loss + 0.5 * r->parts[1].val_loss;
        assert_true(fabs(sum - r->val_loss) < 1e-6);
        const amg_head_result *own = &alone->heads[0];
        found = found || (r->val_loss == own->val_loss &&
                          r->parts[0].val_accuracy == own->parts[0].val_accuracy &&
                          r->parts[1].val_loss == own->parts[1].val_loss);
    }
    assert_true(found);
}

static void several_outputs_are_exact(void **state)
{
    (void)state;
    for (int decoys = 1; decoys <= DECOYS; decoys++) {
        places p;
        amg_obfuscate_result r;
        amg_train_result t;
        amg_extract_result e;
        amg_error err = {0};
        open_all(&p);
        const amg_obfuscate_options o = obfuscation(&p, decoys);
        must(amg_obfuscate(&o, NULL, &r, &err), &err);
        assert_int_equal(r.task, AMG_TASK_MULTI_TASK);
        assert_false(r.labels_permuted);
        train_job(&p, &t);
        const amg_extract_options x = {
            .key = p.key, .weights = p.weights, .out_onnx = p.mine};
        must(amg_extract(&x, &e, &err), &err);
        const amg_train_result alone = train_alone(&p, losses);
        assert_true(files_equal(p.mine, p.alone));
        check_parts(&t, &alone);
        amg_graph *g;
        must(amg_graph_read_onnx(p.mine, &g, &err), &err);
        assert_int_equal(g->num_outputs, 2);
        assert_string_equal(g->values[g->outputs[0]].name, "logits");
        assert_string_equal(g->values[g->outputs[1]].name, "box");
        assert_int_equal(g->values[g->outputs[1]].rank, 3);
        amg_graph_free(g);
        train_alone(&p, "cross_entropy+huber:0.25"); /* the weight counts */
        assert_false(files_equal(p.mine, p.alone));
        amg_dir_remove(p.dir);
    }
}

/* The box of [3, 1] might be a map of the image's pixels. */
static void maps_are_not_augmented(void **state)
{
    (void)state;
    places p;
    amg_train_result r;
    amg_train_options options = training();
    amg_error err = {0};
    open_all(&p);
    const amg_plain_task plain = {.model = p.model,
                                  .train = p.train,
                                  .task_by_data = true,
                                  .loss = {.loss = losses},
                                  .out_onnx = p.alone};
    options.augment = AMG_AUGMENT_HFLIP;
    assert_int_equal(amg_plain_train(&plain, &options, NULL, &r, &err),
                     AMG_UNSUPPORTED);
    assert_non_null(strstr(err.what, "the targets are images, too"));
    assert_false(amg_path_exists(p.alone));
    amg_dir_remove(p.dir);
}

static void what_does_not_fit_leaves_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *loss, *what;
    } bad[] = {
        {NULL, "0 terms for the model's 2 outputs: \"logits\" F32[N,4], \"box\" "},
        {"cross_entropy", "1 term for the model's 2 outputs"},
        {"mse+mse", "targets are F32[4], the losses of"},
        {"cross_entropy+bce", "has the target"},
        {"l2+mse", "expected cross_entropy, mse, l1"},
    };
    places p;
    amg_obfuscate_result r;
    open_all(&p);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        amg_error err = {0};
        amg_obfuscate_options o = obfuscation(&p, 1);
        o.loss.loss = bad[i].loss;
        assert_true(amg_obfuscate(&o, NULL, &r, &err) != AMG_OK);
        if (!strstr(err.what, bad[i].what)) fail_msg("%s", err.what);
        assert_false(amg_path_exists(p.job) || amg_path_exists(p.key));
    }
    amg_dir_remove(p.dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(several_outputs_are_exact),
        cmocka_unit_test(maps_are_not_augmented),
        cmocka_unit_test(what_does_not_fit_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
