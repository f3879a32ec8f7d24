/* The key file's payload: what is packed parses to the same, and each malformed payload
 * is refused with its code and offset. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "graph/onnx_graph.h"
#include "graph/zoo.h"
#include "obfuscate/plan.h"

#define SHA256 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

#define HEAD                                                                           \
    "{\"version\":1,\"mode\":\"streams\",\"num_decoys\":3,\"dims\":[1,8,8],"           \
    "\"dtype\":\"U8\",\"amount\":0.0,\"num_classes\":4,\"cover_classes\":4,"           \
    "\"permute_labels\":true,\"preprocess\":{\"dtype\":\"U8\",\"mean\":[0.5],"         \
    "\"std\":[0.25]},\"names\":[],\"original_output\":\"o3\","                         \
    "\"job_sha256\":\"" SHA256 "\"}"

static amg_graph *small_graph(void)
{
    const amg_zoo_options options = {.name = "mlp",
                                     .channels = 1,
                                     .height = 8,
                                     .width = 8,
                                     .num_classes = 4,
                                     .seed = 1};
    amg_graph *g = NULL;
    amg_error err = {0};
    if (amg_zoo_build(&options, &g, &err) != AMG_OK)
        fail_msg("%s: %s", err.where, err.what);
    return g;
}

/* A payload that names every trainable of the graph. */
static amg_key_payload make_payload(void)
{
    amg_key_payload p = {.shape = {.mode = AMG_MODE_PAPER,
                                   .num_decoys = 2,
                                   .dims = {1, 8, 8},
                                   .dtype = AMG_F32,
                                   .amount = 0.1,
                                   .num_classes = 4,
                                   .cover_classes = 4,
                                   .permute_labels = true},
                         .preprocess = {.data_dtype = AMG_F32,
                                        .num_channels = 1,
                                        .mean = {0.1f},
                                        .std = {0.3f}},
                         .names.output = "o17",
                         .job_sha256 = SHA256};
    p.original = small_graph();
    p.names.job = amg_calloc((size_t)p.original->num_values, sizeof(char *));
    p.names.own = amg_calloc((size_t)p.original->num_values, sizeof(char *));
    for (int v = 0; v < p.original->num_values; v++) {
        if (p.original->values[v].role != AMG_ROLE_TRAINABLE) continue;
        char job[32];
        snprintf(job, sizeof job, "p%d\"\\\xc3\xa4", v); /* needs escapes and UTF-8 */
        p.names.job[p.names.count] = amg_strdup(job);
        p.names.own[p.names.count++] = amg_strdup(p.original->values[v].name);
    }
    assert_true(p.names.count >= 4);
    return p;
}

static void what_is_packed_parses_to_the_same(void **state)
{
    (void)state;
    amg_key_payload p = make_payload(), q = {0};
    uint8_t *data = NULL, *again = NULL;
    size_t size = 0, size_again = 0;
    amg_error err = {0};
    assert_int_equal(amg_key_payload_pack(&p, &data, &size, &err), AMG_OK);
    if (amg_key_payload_parse(data, size, &q, &err) != AMG_OK)
        fail_msg("%s: %s", err.where, err.what);
    assert_int_equal(q.shape.mode, AMG_MODE_PAPER);
    assert_int_equal(q.shape.num_decoys, 2);
    assert_memory_equal(q.shape.dims, p.shape.dims, sizeof p.shape.dims);
    assert_int_equal(q.shape.dtype, AMG_F32);
    assert_true(q.shape.amount == 0.1);
    assert_int_equal(q.shape.num_classes, 4);
    assert_int_equal(q.shape.cover_classes, 4);
    assert_true(q.shape.permute_labels);
    assert_int_equal(q.preprocess.data_dtype, AMG_F32);
    assert_int_equal(q.preprocess.num_channels, 1);
    assert_true(q.preprocess.mean[0] == 0.1f && q.preprocess.std[0] == 0.3f);
    assert_string_equal(q.names.output, "o17");
    assert_string_equal(q.job_sha256, SHA256);
    assert_int_equal(q.names.count, p.names.count);
    for (int i = 0; i < p.names.count; i++) {
        assert_string_equal(q.names.job[i], p.names.job[i]);
        assert_string_equal(q.names.own[i], p.names.own[i]);
    }
    assert_int_equal(q.original->num_nodes, p.original->num_nodes);
    assert_false(q.original->has_weights);
    assert_int_equal(amg_key_payload_pack(&q, &again, &size_again, &err), AMG_OK);
    assert_int_equal(size, size_again);
    assert_memory_equal(data, again, size);
    amg_free(data);
    amg_free(again);
    amg_key_payload_clear(&p);
    amg_key_payload_clear(&q);
    assert_null(q.original);
}

static void tokens_and_windows_parse_to_what_was_packed(void **state)
{
    (void)state;
    amg_key_payload p = make_payload(), q = {0};
    uint8_t *data = NULL;
    size_t size = 0;
    amg_error err = {0};
    p.shape = (amg_plan_shape){.num_decoys = 2,
                               .dims = {1, 9, 1},
                               .dtype = AMG_I32,
                               .num_classes = 40,
                               .cover_classes = 40,
                               .permute_labels = true,
                               .vocab = 40,
                               .tokens_are_classes = true,
                               .num_fixed = 2,
                               .fixed = {1, 39}};
    p.preprocess = (amg_preprocess){.data_dtype = AMG_I32, .windows = true};
    assert_int_equal(amg_key_payload_pack(&p, &data, &size, &err), AMG_OK);
    if (amg_key_payload_parse(data, size, &q, &err) != AMG_OK)
        fail_msg("%s: %s", err.where, err.what);
    assert_int_equal(q.shape.vocab, 40);
    assert_true(q.shape.tokens_are_classes);
    assert_int_equal(q.shape.num_fixed, 2);
    assert_memory_equal(q.shape.fixed, p.shape.fixed, sizeof p.shape.fixed);
    assert_true(q.preprocess.windows);
    amg_free(data);
    amg_key_payload_clear(&q);

    p.shape.vocab = p.shape.num_fixed = 0; /* nothing of tokens is in it then */
    p.shape.tokens_are_classes = p.preprocess.windows = false;
    assert_int_equal(amg_key_payload_pack(&p, &data, &size, &err), AMG_OK);
    assert_null(memmem(data, size, "\"tokens\"", 8));
    assert_null(memmem(data, size, "\"windows\"", 9));
    assert_null(memmem(data, size, "\"block\"", 7));
    amg_free(data);
    p.shape.dtype = AMG_F32;
    p.shape.block[0] = 3;
    p.shape.block[1] = 1;
    p.shape.patches = true;
    p.preprocess = (amg_preprocess){.data_dtype = AMG_F32};
    assert_int_equal(amg_key_payload_pack(&p, &data, &size, &err), AMG_OK);
    if (amg_key_payload_parse(data, size, &q, &err) != AMG_OK)
        fail_msg("%s: %s", err.where, err.what);
    assert_memory_equal(q.shape.block, p.shape.block, sizeof p.shape.block);
    assert_true(q.shape.patches);
    assert_false(q.shape.rotate);
    amg_free(data);
    amg_key_payload_clear(&q);
    p.shape.rotate = true; /* of bytes: the preprocess says what they were */
    p.preprocess.data_dtype = AMG_U8;
    assert_int_equal(amg_key_payload_pack(&p, &data, &size, &err), AMG_OK);
    if (amg_key_payload_parse(data, size, &q, &err) != AMG_OK)
        fail_msg("%s: %s", err.where, err.what);
    assert_true(q.shape.rotate && q.preprocess.data_dtype == AMG_U8);
    amg_free(data);
    amg_key_payload_clear(&q);
    p.shape.rotate = false;
    assert_int_equal(amg_key_payload_pack(&p, &data, &size, &err), AMG_INVALID);
    p.preprocess.data_dtype = AMG_F32;
    p.shape.patches = false; /* keys of older jobs */
    assert_int_equal(amg_key_payload_pack(&p, &data, &size, &err), AMG_OK);
    assert_null(memmem(data, size, "\"patches\"", 9));
    if (amg_key_payload_parse(data, size, &q, &err) != AMG_OK)
        fail_msg("%s: %s", err.where, err.what);
    assert_false(q.shape.patches);
    amg_free(data);
    amg_key_payload_clear(&q);
    p.preprocess = (amg_preprocess){.data_dtype = AMG_U8, .windows = true};
    p.shape.dtype = AMG_U8;
    assert_int_equal(amg_key_payload_pack(&p, &data, &size, &err), AMG_INVALID);
    amg_key_payload_clear(&p);
}

static void weights_are_not_in_it(void **state)
{
    (void)state;
    amg_key_payload p = make_payload();
    uint8_t *data = NULL;
    size_t size = 0;
    assert_int_equal(amg_key_payload_pack(&p, &data, &size, NULL), AMG_OK);
    for (int v = 0; v < p.original->num_values; v++) {
        const amg_value *value = &p.original->values[v];
        if (value->role == AMG_ROLE_TRAINABLE && value->data.size_bytes >= 64)
            assert_null(memmem(data, size, value->data.data, 64));
    }
    amg_free(data);
    amg_key_payload_clear(&p);
}

static void wrong_payloads_are_not_packed(void **state)
{
    (void)state;
    for (int i = 0; i < 6; i++) {
        amg_key_payload p = make_payload();
        uint8_t *data = NULL;
        size_t size = 0;
        amg_error err = {0};
        if (i == 0) p.shape.num_decoys = 0;
        if (i == 1) p.preprocess.num_channels = 3;
        if (i == 2) p.preprocess.std[0] = 0;
        if (i == 3) p.preprocess.mean[0] = NAN;
        if (i == 4) p.names.output[0] = '\0';
        if (i == 5) p.names.own[0][0] ^= 1; /* no longer a parameter */
        assert_int_equal(amg_key_payload_pack(&p, &data, &size, &err), AMG_INVALID);
        assert_null(data);
        amg_key_payload_clear(&p);
    }
}

/* ---- malformed payloads: heads are changed by replacing a part of HEAD ---- */

static uint8_t *with_head(const char *head, size_t *size)
{
    uint8_t *onnx = NULL, *data;
    size_t onnx_size = 0, n = strlen(head);
    amg_graph *g = small_graph();
    assert_int_equal(amg_graph_pack_onnx(g, AMG_PACK_BARE, &onnx, &onnx_size, NULL),
                     AMG_OK);
    *size = 4 + n + onnx_size;
    data = malloc(*size); /* exact, so that ASan sees a read too far */
    for (int i = 0; i < 4; i++) data[i] = (uint8_t)(n >> 8 * i);
    memcpy(data + 4, head, n);
    memcpy(data + 4 + n, onnx, onnx_size);
    amg_free(onnx);
    amg_graph_free(g);
    return data;
}

static void assert_refused(const uint8_t *data, size_t size, amg_status code,
                           int64_t offset, const char *part)
{
    amg_key_payload p = {0};
    amg_error err = {0};
    assert_int_equal(amg_key_payload_parse(data, size, &p, &err), code);
    if (err.offset != offset || !strstr(err.what, part))
        fail_msg("found \"%s\" at %lld, expected \"%s\" at %lld", err.what,
                 (long long)err.offset, part, (long long)offset);
    assert_null(p.original);
    assert_null(p.names.job);
}

/* HEAD itself parses: what follows fails for its change alone. */
static void the_unchanged_head_is_good(void **state)
{
    (void)state;
    size_t size = 0;
    uint8_t *data = with_head(HEAD, &size);
    amg_key_payload p = {0};
    amg_error err = {0};
    if (amg_key_payload_parse(data, size, &p, &err) != AMG_OK)
        fail_msg("%s: %s", err.where, err.what);
    amg_key_payload_clear(&p);
    free(data);
}

#define TOKENS(vocab, fixed, are_classes)                                              \
    "\"names\":[],\"tokens\":{\"vocab\":" vocab ",\"fixed\":[" fixed                   \
    "],\"are_classes\":" are_classes "}"

static void every_broken_rule_has_its_code_and_place(void **state)
{
    (void)state;
    const struct {
        const char *from, *to;
        amg_status code;
        int64_t skip; /* from the start of `from` to the refused value; -1: offset 4 */
        const char *part;
    } cases[] = {
        {"\"version\":1", "\"version\":2", AMG_UNSUPPORTED, -1, "version 2"},
        {"\"version\":1", "\"version\":0", AMG_MALFORMED, 10, ""},
        {"\"streams\"", "\"stream\"", AMG_MALFORMED, 0, "stream"},
        {"\"num_decoys\":3", "\"num_decoys\":0", AMG_MALFORMED, 13, ""},
        {"\"num_decoys\":3", "\"num_decoys\":256", AMG_MALFORMED, 13, ""},
        {"[1,8,8]", "[1,8]", AMG_MALFORMED, 0, ""},
        {"[1,8,8]", "[1,0,8]", AMG_MALFORMED, 3, ""},
        {"[1,8,8]", "[1,100000,100000]", AMG_MALFORMED, -1, "grow beyond"},
        {"\"dtype\":\"U8\"", "\"dtype\":\"I8\"", AMG_MALFORMED, 8, "I8"},
        {"\"amount\":0.0", "\"amount\":0.5", AMG_MALFORMED, -1, "amount"},
        {"\"amount\":0.0", "\"amount\":\"\"", AMG_MALFORMED, 9, "a number"},
        {"\"permute_labels\":true", "\"permute_labels\":1", AMG_MALFORMED, 17, "true"},
        {"[0.25]", "[0.25,1]", AMG_MALFORMED, 0, "found 2"},
        {"[0.25]", "[0.0]", AMG_MALFORMED, -1, "std 0"},
        {"[0.25]", "[1e300]", AMG_MALFORMED, 1, "does not fit"},
        {"\"names\":[]", "\"names\":[[\"a\"]]", AMG_MALFORMED, 9, ""},
        {"\"names\":[]", "\"names\":[[\"a\",\"b\"]]", AMG_MALFORMED, -1,
         "no parameter of the original"},
        {"\"names\":[]", "\"names\":[[\"\",\"b\"]]", AMG_MALFORMED, -1, "empty"},
        {"\"o3\"", "\"\"", AMG_MALFORMED, -1, "original_output"},
        {"0123456789abcdef", "0123456789abcdeF", AMG_MALFORMED, -1, "job_sha256"},
        {"0123456789abcdef", "123456789abcdef", AMG_MALFORMED, -1, "job_sha256"},
        {"\"o3\"", "7", AMG_MALFORMED, 0, ""},
        {",\"names\":[]", "", AMG_MALFORMED, -1, "names"},
        {"\"std\":[0.25]", "\"std\":[0.25],\"windows\":1", AMG_MALFORMED, 23, "true"},
        {"\"std\":[0.25]", "\"std\":[0.25],\"windows\":true", AMG_MALFORMED, -1,
         "windows of U8"},
        {"\"names\":[]", "\"names\":[],\"tokens\":[]", AMG_MALFORMED, 20, ""},
        {"\"names\":[]", "\"names\":[],\"tokens\":{\"vocab\":9,\"fixed\":[]}",
         AMG_MALFORMED, 20, "are_classes"},
        {"\"names\":[]", TOKENS("0", "", "false"), AMG_MALFORMED, 29, ""},
        {"\"names\":[]", TOKENS("9", "9", "false"), AMG_MALFORMED, 40, ""},
        {"\"names\":[]", TOKENS("9", "", "2"), AMG_MALFORMED, 56, "true"},
        {"\"names\":[]", TOKENS("9", "", "false"), AMG_MALFORMED, -1, "data of U8"},
        {"\"names\":[]", "\"names\":[],\"more\":1", AMG_MALFORMED, 18, "more"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char head[1024];
        const char *at = strstr(HEAD, cases[i].from);
        assert_non_null(at);
        const int before = (int)(at - strstr(HEAD, "{\"version"));
        snprintf(head, sizeof head, "%.*s%s%s", before, HEAD, cases[i].to,
                 at + strlen(cases[i].from));
        size_t size = 0;
        uint8_t *data = with_head(head, &size);
        assert_refused(data, size, cases[i].code,
                       cases[i].skip < 0 ? 4 : 4 + before + cases[i].skip,
                       cases[i].part);
        free(data);
    }
}

static void a_head_that_is_no_json_is_refused(void **state)
{
    (void)state;
    size_t size = 0;
    uint8_t *data = with_head("{\"version\":1,,}", &size);
    assert_refused(data, size, AMG_MALFORMED, 4 + 14, "");
    free(data);
}

static void truncation_is_told_as_one(void **state)
{
    (void)state;
    size_t size = 0;
    uint8_t *data = with_head(HEAD, &size);
    for (size_t cut = 0; cut < 4 + strlen(HEAD); cut += 7) {
        uint8_t *part = malloc(cut ? cut : 1);
        memcpy(part, data, cut);
        assert_refused(part, cut, AMG_TRUNCATED, (int64_t)cut, "ends before");
        free(part);
    }
    memset(data, 0xff, 4);
    assert_refused(data, size, AMG_MALFORMED, 0, "4294967295 bytes");
    free(data);
}

static void a_cut_network_is_refused(void **state)
{
    (void)state;
    size_t size = 0;
    uint8_t *data = with_head(HEAD, &size);
    amg_key_payload p = {0};
    amg_error err = {0};
    assert_int_not_equal(amg_key_payload_parse(data, size - 5, &p, &err), AMG_OK);
    assert_int_not_equal(amg_key_payload_parse(data, 4 + strlen(HEAD), &p, &err),
                         AMG_OK);
    assert_null(p.original);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_packed_parses_to_the_same),
        cmocka_unit_test(tokens_and_windows_parse_to_what_was_packed),
        cmocka_unit_test(weights_are_not_in_it),
        cmocka_unit_test(wrong_payloads_are_not_packed),
        cmocka_unit_test(the_unchanged_head_is_good),
        cmocka_unit_test(every_broken_rule_has_its_code_and_place),
        cmocka_unit_test(a_head_that_is_no_json_is_refused),
        cmocka_unit_test(truncation_is_told_as_one),
        cmocka_unit_test(a_cut_network_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
