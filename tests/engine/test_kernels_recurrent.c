/* LSTM, GRU and RNN with initial states, both ways, in both layouts and over sequences
 * of unequal length, as files have them, against PyTorch's values
 * (make_recurrent_goldens.py) and finite differences. Lengths that come with the data:
 * full ones change no bit, others than 1 to S end the run. */
#include "golden_onnx.h"

enum { BATCH = 3, STEPS = 4, INPUTS = 2, HIDDEN = 5, ROW = STEPS * INPUTS + 1 };

static int weight(amg_builder *b, const char *name, int64_t rows, int64_t columns)
{
    amg_tensor t = {.dtype = AMG_F32, .rank = 3, .dims = {2, rows, columns}};
    const int id = amg_builder_param(b, name, &t);
    amg_tensor *data = amg_builder_data(b, id);
    for (int64_t i = 0; data && i < amg_tensor_count(data); i++)
        ((float *)data->data)[i] = sinf((float)(i + rows));
    return id;
}

static int ints(amg_builder *b, const char *name, int64_t count, const int64_t *v)
{
    amg_tensor t;
    assert_ok(amg_tensor_view(AMG_I64, 1, &count, v, &t, err));
    return amg_builder_param(b, name, &t);
}

/* Of rows [a sequence, its length]: Y of an LSTM both ways. */
static bound bind_lstm(bool reads_length, amg_graph **g)
{
    amg_builder *b = amg_builder_new();
    const amg_attr axis = amg_int("axis", 1);
    const amg_attr how[] = {
        {.name = "direction", .kind = AMG_ATTR_STRING, .s = "bidirectional"},
        amg_int("layout", 1)};
    const amg_attr i32 = amg_int("to", amg_dtype_onnx(AMG_I32));
    int parts[2], y[3];
    int x = amg_builder_input(b, "x", AMG_F32, 2, (int64_t[]){AMG_DIM_BATCH, ROW});
    int sizes = ints(b, "sizes", 2, (int64_t[]){ROW - 1, 1});
    amg_builder_node_multi(b, AMG_OP_SPLIT, "split", (int[]){x, sizes}, 2, &axis, 1,
                           (const char *[]){"steps", "length"}, 2, parts);
    int shape = ints(b, "shape", 3, (int64_t[]){0, STEPS, INPUTS});
    int steps = amg_builder_node(b, AMG_OP_RESHAPE, "r", (int[]){parts[0], shape}, 2,
                                 NULL, 0, NULL);
    int flat = ints(b, "flat", 1, (int64_t[]){-1});
    int length = amg_builder_node(b, AMG_OP_RESHAPE, "f", (int[]){parts[1], flat}, 2,
                                  NULL, 0, NULL);
    length = amg_builder_node(b, AMG_OP_CAST, "c", &length, 1, &i32, 1, NULL);
    int in[5] = {steps, weight(b, "w", 4 * HIDDEN, INPUTS),
                 weight(b, "r", 4 * HIDDEN, HIDDEN), AMG_NO_VALUE, length};
    amg_builder_node_multi(b, AMG_OP_LSTM, "lstm", in, reads_length ? 5 : 3, how, 2,
                           (const char *[]){"y", "h", "c"}, 3, y);
    amg_builder_output(b, y[0]);
    amg_graph *symbolic = NULL;
    assert_ok(amg_builder_finish(b, &symbolic, err));
    amg_builder_free(b);
    assert_ok(amg_graph_plan_batch(symbolic, BATCH, g, err));
    bound made = bind_plan(*g, (amg_plan_options){.training = true});
    amg_graph_free(symbolic);
    return made;
}

static amg_status run_lstm(bound *b, const float *lengths, const float **y,
                           int64_t *count, amg_error *err)
{
    float *x = amg_plan_input(b->plan);
    for (int n = 0; n < BATCH; n++) {
        for (int i = 0; i < ROW - 1; i++) x[n * ROW + i] = cosf((float)(n * ROW + i));
        x[n * ROW + ROW - 1] = lengths[n];
    }
    return amg_plan_forward(b->plan, 0, y, count, err);
}

static void full_lengths_change_no_bit(void **state)
{
    (void)state;
    amg_graph *g[2];
    amg_params grads[2];
    const float *y[2], full[BATCH] = {STEPS, STEPS, STEPS};
    bound b[2];
    int64_t count;
    for (int i = 0; i < 2; i++) {
        b[i] = bind_lstm(i == 1, &g[i]);
        assert_ok(run_lstm(&b[i], full, &y[i], &count, err));
        assert_ok(amg_plan_backward(b[i].plan, y[0], err));
        assert_ok(amg_params_like(&b[i].params, &grads[i], err));
        assert_ok(amg_plan_store_grad(b[i].plan, &grads[i], err));
    }
    assert_memory_equal(y[0], y[1], sizeof(float) * (size_t)count);
    assert_int_equal(grads[0].count, 2);
    for (int i = 0; i < 2; i++) {
        const amg_tensor *t = &grads[0].items[i].tensor;
        assert_memory_equal(t->data, grads[1].items[i].tensor.data, t->size_bytes);
        assert_true(norm_of(t->data, amg_tensor_count(t)) > 0);
    }
    for (int i = 0; i < 2; i++) {
        amg_params_clear(&grads[i]);
        bound_clear(&b[i]);
        amg_graph_free(g[i]);
    }
}

static void a_length_out_of_range_ends_the_run(void **state)
{
    (void)state;
    static const float bad[2][BATCH] = {{1, 0, STEPS}, {1, STEPS + 1, 2}};
    amg_graph *g;
    bound b = bind_lstm(true, &g);
    const float *y;
    int64_t count;
    for (int i = 0; i < 2; i++) {
        amg_error err = {0};
        assert_int_equal(run_lstm(&b, bad[i], &y, &count, &err), AMG_INVALID);
        assert_string_equal(err.where, "node \"lstm\" (LSTM)");
        assert_non_null(strstr(err.what, i ? "has length 5, expected 1 to 4"
                                           : "sequence 1 of the batch has length 0"));
    }
    bound_clear(&b);
    amg_graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_lengths_change_no_bit),
        cmocka_unit_test(a_length_out_of_range_ends_the_run),
    };
    return run_onnx_cases("recurrent.safetensors", 37) +
           cmocka_run_group_tests(tests, NULL, NULL);
}
