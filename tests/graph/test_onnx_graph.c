/* ONNX ⇄ graph on real files: exports of PyTorch against what the onnx package reads in
 * them (goldens: make_onnx_goldens.py), and the bytes that we write. */
#include <unistd.h>
#include <zlib.h>

#include "base/file.h"
#include "onnx_fixture.h"

/* ---- PyTorch's exports ---- */

static const char *data_path(const char *file, char out[512])
{
    const char *root = getenv("AMALGAM_SOURCE_ROOT");
    snprintf(out, 512, "%s/tests/graph/data/%s", root ? root : ".", file);
    return out;
}

static amg_graph *read_golden(const char *file)
{
    char path[512];
    amg_error err = {0};
    amg_graph *g = NULL;
    if (amg_graph_read_onnx(data_path(file, path), &g, &err))
        fail_msg("%s: %s: %s", file, err.where, err.what);
    return g;
}

static void reads_what_pytorch_exports(void **state)
{
    (void)state;
    static const struct {
        const char *file, *ops;
    } rows[] = {
        {"cnn_ts9.onnx", "Conv BatchNormalization Clip MaxPool Dropout Flatten Gemm"},
        {"cnn_ts11.onnx",
         "Conv BatchNormalization Cast Cast Clip MaxPool Dropout Flatten Gemm"},
        {"cnn_ts13.onnx",
         "Conv BatchNormalization Cast Cast Clip MaxPool Dropout Flatten Gemm"},
        {"cnn_ts17.onnx",
         "Conv BatchNormalization Cast Cast Clip MaxPool Dropout Flatten Gemm"},
        {"cnn_ts17_fixed.onnx",
         "Conv BatchNormalization Cast Cast Clip MaxPool Dropout Flatten Gemm"},
        {"cnn_dynamo18.onnx", "Conv Clip MaxPool Reshape Gemm"},
        {"cnn_dynamo20.onnx", "Conv Clip MaxPool Reshape Gemm"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        amg_graph *g = read_golden(rows[i].file);
        char names[1024];
        op_names(g, names);
        assert_string_equal(names, rows[i].ops);
        assert_int_equal(g->num_inputs, 1);
        assert_int_equal(g->num_outputs, 1);
        assert_true(g->has_weights);
        expect_shape(g, "input", "F32[N,3,8,8]");
        expect_shape(g, "logits", "F32[N,5]");
        assert_int_equal(value_of(g, "fc.weight")->role, AMG_ROLE_TRAINABLE);
        for (int n = 0; n < g->num_nodes; n++) {
            assert_int_equal(g->nodes[n].num_outputs, 1);
            if (g->nodes[n].op != AMG_OP_DROPOUT) continue;
            assert_int_equal(g->nodes[n].num_inputs, 2);
            assert_int_equal(g->nodes[n].num_attrs, 0);
            const amg_value *ratio = &g->values[g->nodes[n].inputs[1]];
            assert_int_equal(ratio->kind, AMG_VALUE_PARAM);
            assert_float_equal(*(const float *)ratio->data.data, 0.25f, 0);
            assert_int_equal(value_of(g, "bn.running_mean")->role, AMG_ROLE_BUFFER);
        }
        amg_graph_free(g);
    }
}

static void weights_are_those_that_the_onnx_package_reads(void **state)
{
    (void)state;
    char path[512], file[64], name[64], dims[64], open_file[64] = "";
    unsigned long crc;
    FILE *list = fopen(data_path("cnn_weights.txt", path), "r");
    assert_non_null(list);
    amg_graph *g = NULL;
    int num_lines = 0;
    for (; fscanf(list, "%63s %63s %63s %lx", file, name, dims, &crc) == 4;
         num_lines++) {
        if (strcmp(file, open_file)) {
            amg_graph_free(g);
            g = read_golden(file);
            snprintf(open_file, sizeof open_file, "%s", file);
        }
        const amg_value *v = value_of(g, name);
        char found[64] = "";
        for (int i = 0; i < v->rank; i++)
            snprintf(found + strlen(found), sizeof found - strlen(found), "%s%d",
                     i ? "x" : "", (int)v->dims[i]);
        assert_int_equal(v->kind, AMG_VALUE_PARAM);
        assert_string_equal(found, dims);
        assert_int_equal(crc32(0, v->data.data, (unsigned)v->data.size_bytes), crc);
    }
    assert_int_equal(num_lines, 5 * 8 + 2 * 4);
    amg_graph_free(g);
    fclose(list);
}

static void an_exported_file_cut_anywhere_never_passes(void **state)
{
    (void)state;
    char path[512];
    amg_map map;
    assert_int_equal(amg_map_open(data_path("cnn_ts17.onnx", path), &map, NULL),
                     AMG_OK);
    for (size_t cut = 0; cut < map.size; cut += 7) {
        uint8_t *exact = malloc(cut ? cut : 1);
        memcpy(exact, map.data, cut);
        amg_graph *g = NULL;
        amg_error err = {0};
        amg_status st = amg_graph_parse_onnx(exact, cut, "m", &g, &err);
        /* The opset stands behind the graph: a cut between fields loses it. */
        assert_true(st == AMG_TRUNCATED || (st == AMG_MALFORMED && err.offset == -1));
        assert_true(err.offset <= (int64_t)cut);
        assert_null(g);
        free(exact);
    }
    amg_map_close(&map);
}

/* ---- writing ---- */

static const char *const goldens[] = {
    "cnn_ts9.onnx",        "cnn_ts11.onnx",     "cnn_ts13.onnx",    "cnn_ts17.onnx",
    "cnn_ts17_fixed.onnx", "cnn_dynamo18.onnx", "cnn_dynamo20.onnx"};

static bool holds(const uint8_t *data, size_t size, const char *text)
{
    return memmem(data, size, text, strlen(text)) != NULL;
}

static void write_read_write_gives_the_same_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(goldens); i++) {
        amg_graph *g = read_golden(goldens[i]), *again;
        uint8_t *a, *b;
        size_t a_size, b_size;
        assert_int_equal(amg_graph_pack_onnx(g, AMG_PACK_WHOLE, &a, &a_size, NULL),
                         AMG_OK);
        assert_int_equal(amg_graph_parse_onnx(a, a_size, "again", &again, NULL),
                         AMG_OK);
        assert_int_equal(amg_graph_pack_onnx(again, AMG_PACK_WHOLE, &b, &b_size, NULL),
                         AMG_OK);
        assert_int_equal(a_size, b_size);
        assert_memory_equal(a, b, a_size);
        assert_int_equal(g->num_nodes, again->num_nodes);
        assert_false(holds(a, a_size, "pytorch"));
        amg_free(a);
        amg_free(b);
        amg_graph_free(g);
        amg_graph_free(again);
    }
}

static void written_metadata_are_canonical(void **state)
{
    (void)state;
    amg_graph *g = read_golden("cnn_ts17.onnx");
    uint8_t *data;
    size_t size;
    assert_int_equal(amg_graph_pack_onnx(g, AMG_PACK_WHOLE, &data, &size, NULL),
                     AMG_OK);
    amg_onnx *onnx;
    assert_int_equal(amg_onnx_parse(data, size, "m", NULL, &onnx, NULL), AMG_OK);
    const Onnx__ModelProto *m = amg_onnx_model(onnx);
    assert_int_equal(m->ir_version, 8);
    assert_int_equal(m->n_opset_import, 1);
    assert_int_equal(m->opset_import[0]->version, 17);
    assert_string_equal(m->graph->name, "g");
    assert_null(m->producer_name);
    assert_null(m->producer_version);
    assert_null(m->domain);
    assert_null(m->doc_string);
    assert_false(m->has_model_version);
    assert_int_equal(m->n_metadata_props, 0);
    assert_int_equal(m->graph->n_value_info, 0);
    const Onnx__TensorShapeProto *s = m->graph->output[0]->type->tensor_type->shape;
    assert_string_equal(s->dim[0]->dim_param, "N");
    assert_int_equal(s->dim[1]->dim_value, 5);
    for (size_t i = 0; i < m->graph->n_node; i++) {
        assert_null(m->graph->node[i]->doc_string);
        assert_int_equal(m->graph->node[i]->n_output, 1);
        for (size_t k = 0; k < m->graph->node[i]->n_attribute; k++)
            assert_string_not_equal(m->graph->node[i]->attribute[k]->name,
                                    "training_mode");
    }
    for (size_t i = 0; i < m->graph->n_initializer; i++)
        assert_true(m->graph->initializer[i]->has_raw_data);
    amg_onnx_close(onnx);
    amg_free(data);
    amg_graph_free(g);
}

static void weightless_form_keeps_shapes_and_constants(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(goldens); i++) {
        amg_graph *g = read_golden(goldens[i]), *bare;
        uint8_t *a, *b;
        size_t a_size, b_size;
        assert_int_equal(amg_graph_pack_onnx(g, AMG_PACK_BARE, &a, &a_size, NULL),
                         AMG_OK);
        assert_int_equal(amg_graph_parse_onnx(a, a_size, "bare", &bare, NULL), AMG_OK);
        assert_false(bare->has_weights);
        expect_shape(bare, "fc.weight", "F32[5,64]");
        expect_shape(bare, "logits", "F32[N,5]");
        assert_null(value_of(bare, "fc.weight")->data.data);
        for (int v = 0; v < bare->num_values; v++)
            if (bare->values[v].kind == AMG_VALUE_PARAM)
                assert_int_equal(bare->values[v].role == AMG_ROLE_CONSTANT,
                                 bare->values[v].data.data != NULL);
        assert_int_equal(amg_graph_pack_onnx(bare, AMG_PACK_BARE, &b, &b_size, NULL),
                         AMG_OK);
        assert_int_equal(a_size, b_size);
        assert_memory_equal(a, b, a_size);

        uint8_t *none = NULL;
        amg_error err = {0};
        assert_int_equal(
            amg_graph_pack_onnx(bare, AMG_PACK_WHOLE, &none, &b_size, &err),
            AMG_INVALID);
        assert_string_equal(err.where, "conv.weight");
        assert_null(none);
        amg_free(a);
        amg_free(b);
        amg_graph_free(g);
        amg_graph_free(bare);
    }
}

static void a_written_file_reads_back(void **state)
{
    (void)state;
    char dir[256], path[300];
    const char *base = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/amg-graph-XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/m.onnx", dir);
    amg_graph *g = read_golden("cnn_ts13.onnx"), *again = NULL;
    assert_int_equal(amg_graph_write_onnx(path, g, NULL), AMG_OK);
    assert_int_equal(amg_graph_read_onnx(path, &again, NULL), AMG_OK);
    const amg_value *a = value_of(g, "conv.weight"),
                    *b = value_of(again, "conv.weight");
    assert_memory_equal(a->data.data, b->data.data, a->data.size_bytes);
    amg_graph_free(g);
    amg_graph_free(again);
    amg_dir_remove(dir);
}

/* Fails the n-th request for each n, until reading succeeds. ASan finds what leaks. */
static void any_failed_allocation_is_reported(void **state)
{
    (void)state;
    char path[512];
    data_path("cnn_ts13.onnx", path);
    long n = 1;
    for (bool done = false; !done; n++) {
        long countdown = n;
        amg_graph *g = NULL;
        uint8_t *data = NULL;
        size_t size;
        amg_alloc_fail_after(&countdown);
        amg_status st = amg_graph_read_onnx(path, &g, NULL);
        if (!st) st = amg_graph_pack_onnx(g, AMG_PACK_WHOLE, &data, &size, NULL);
        amg_alloc_fail_after(NULL);
        done = st == AMG_OK;
        if (!done) assert_int_equal(st, AMG_NO_MEMORY);
        amg_free(data);
        amg_graph_free(g);
        assert_true(n < 5000);
    }
    assert_true(n > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_pytorch_exports),
        cmocka_unit_test(weights_are_those_that_the_onnx_package_reads),
        cmocka_unit_test(an_exported_file_cut_anywhere_never_passes),
        cmocka_unit_test(write_read_write_gives_the_same_bytes),
        cmocka_unit_test(written_metadata_are_canonical),
        cmocka_unit_test(weightless_form_keeps_shapes_and_constants),
        cmocka_unit_test(a_written_file_reads_back),
        cmocka_unit_test(any_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
