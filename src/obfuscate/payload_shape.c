/* A plan's shape <-> members of the key payload's head. Knows neither the rest of the
 * head nor the network. */
#include "obfuscate/payload_shape.h"

#include <string.h>

static const char *const mode_names[] = {"streams", "paper", "pack"};

/* ---- out ---- */

static json_t *tokens_json(const amg_plan_shape *s)
{
    json_t *fixed = json_array();
    for (int i = 0; i < s->num_fixed; i++)
        json_array_append_new(fixed, json_integer(s->fixed[i]));
    return json_pack("{s:I, s:o, s:b}", "vocab", (json_int_t)s->vocab, "fixed", fixed,
                     "are_classes", s->tokens_are_classes);
}

json_t *amg_payload_shape_json(const amg_plan_shape *s)
{
    json_t *shape =
        json_pack("{s:s, s:i, s:[I, I, I], s:s, s:f, s:I, s:I, s:b}", "mode",
                  mode_names[s->mode], "num_decoys", s->num_decoys, "dims",
                  (json_int_t)s->dims[0], (json_int_t)s->dims[1],
                  (json_int_t)s->dims[2], "dtype", amg_dtype_name(s->dtype), "amount",
                  s->amount, "num_classes", (json_int_t)s->num_classes, "cover_classes",
                  (json_int_t)s->cover_classes, "permute_labels", s->permute_labels);
    if (shape && s->vocab > 0 && json_object_set_new(shape, "tokens", tokens_json(s))) {
        json_decref(shape);
        return NULL;
    }
    if (shape && s->block[0] > 0 &&
        json_object_set_new(
            shape, "block",
            json_pack("[I, I]", (json_int_t)s->block[0], (json_int_t)s->block[1]))) {
        json_decref(shape);
        return NULL;
    }
    if (shape && ((s->patches && json_object_set_new(shape, "patches", json_true())) ||
                  (s->rotate && json_object_set_new(shape, "rotate", json_true())))) {
        json_decref(shape);
        return NULL;
    }
    return shape;
}

/* ---- in ---- */

size_t amg_payload_shape_keys(const char *const **keys, size_t *num_optional)
{
    static const char *const names[] = {
        "mode",          "num_decoys",     "dims",   "dtype", "amount",  "num_classes",
        "cover_classes", "permute_labels", "tokens", "block", "patches", "rotate"};
    *keys = names;
    *num_optional = 4;
    return sizeof names / sizeof names[0];
}

amg_status amg_payload_parse_object(const amg_json_node *node, const char *const *keys,
                                    size_t num_keys, size_t num_optional,
                                    amg_error *err)
{
    const char *present[32];
    size_t count = 0;
    for (size_t i = 0; i < num_keys; i++)
        if (i + num_optional < num_keys || json_object_get(node->value, keys[i]))
            present[count++] = keys[i];
    return amg_json_object(node, present, count, err);
}

amg_status amg_payload_parse_bool(const amg_json_node *node, bool *out, amg_error *err)
{
    if (!json_is_boolean(node->value))
        return amg_json_fail(node, err, AMG_MALFORMED, "expected true or false");
    *out = json_is_true(node->value);
    return AMG_OK;
}

amg_status amg_payload_parse_dtype(const amg_json_node *node, amg_dtype *out,
                                   amg_error *err)
{
    const char *name = NULL;
    amg_status st = amg_json_string(node, &name, err);
    if (st != AMG_OK) return st;
    *out = amg_dtype_find_name(name);
    if (*out == AMG_U8 || *out == AMG_F32 || *out == AMG_I32) return AMG_OK;
    return amg_json_fail(node, err, AMG_MALFORMED,
                         "found \"%s\", expected U8, F32 or I32", name);
}

static amg_status parse_mode(const amg_json_node *node, amg_mode *out, amg_error *err)
{
    const char *name = NULL;
    amg_status st = amg_json_string(node, &name, err);
    if (st != AMG_OK) return st;
    for (int i = 0; i < 3; i++)
        if (strcmp(name, mode_names[i]) == 0) {
            *out = (amg_mode)i;
            return AMG_OK;
        }
    return amg_json_fail(node, err, AMG_MALFORMED,
                         "found \"%s\", expected streams, paper or pack", name);
}

static amg_status parse_tokens(const amg_json_node *node, amg_plan_shape *out,
                               amg_error *err)
{
    static const char *const keys[] = {"vocab", "fixed", "are_classes"};
    amg_status st = amg_json_object(node, keys, 3, err);
    if (st != AMG_OK) return st;
    const amg_json_node vocab = amg_json_member(node, "vocab");
    const amg_json_node fixed = amg_json_member(node, "fixed");
    const amg_json_node classes = amg_json_member(node, "are_classes");
    size_t count = 0;
    st = amg_json_int(&vocab, 1, AMG_MAX_CLASSES, &out->vocab, err);
    if (st == AMG_OK) st = amg_json_array(&fixed, 0, AMG_MAX_FIXED_TOKENS, &count, err);
    for (size_t i = 0; st == AMG_OK && i < count; i++) {
        const amg_json_node token = amg_json_element(&fixed, i);
        st = amg_json_int(&token, 0, out->vocab - 1, &out->fixed[i], err);
    }
    out->num_fixed = (int)count;
    if (st == AMG_OK)
        st = amg_payload_parse_bool(&classes, &out->tokens_are_classes, err);
    return st;
}

static amg_status parse_block(const amg_json_node *node, amg_plan_shape *out,
                              amg_error *err)
{
    size_t count = 0;
    amg_status st = amg_json_array(node, 2, 2, &count, err);
    for (size_t i = 0; st == AMG_OK && i < 2; i++) {
        const amg_json_node side = amg_json_element(node, i);
        st = amg_json_int(&side, 1, out->dims[1 + i], &out->block[i], err);
    }
    return st;
}

amg_status amg_payload_shape_parse(const amg_json_node *root, amg_plan_shape *out,
                                   amg_error *err)
{
    const amg_json_node mode = amg_json_member(root, "mode");
    const amg_json_node decoys = amg_json_member(root, "num_decoys");
    const amg_json_node dims = amg_json_member(root, "dims");
    const amg_json_node dtype = amg_json_member(root, "dtype");
    const amg_json_node amount = amg_json_member(root, "amount");
    const amg_json_node classes = amg_json_member(root, "num_classes");
    const amg_json_node covers = amg_json_member(root, "cover_classes");
    const amg_json_node permute = amg_json_member(root, "permute_labels");
    const bool has_tokens = json_object_get(root->value, "tokens") != NULL;
    int64_t num_decoys = 0;
    size_t count = 0;
    amg_status st = parse_mode(&mode, &out->mode, err);
    if (st == AMG_OK) st = amg_json_int(&decoys, 1, AMG_MAX_DECOYS, &num_decoys, err);
    if (st == AMG_OK) st = amg_json_array(&dims, 3, 3, &count, err);
    for (size_t i = 0; st == AMG_OK && i < 3; i++) {
        const amg_json_node dim = amg_json_element(&dims, i);
        st = amg_json_int(&dim, 1, INT32_MAX, &out->dims[i], err);
    }
    if (st == AMG_OK) st = amg_payload_parse_dtype(&dtype, &out->dtype, err);
    if (st == AMG_OK && !json_is_number(amount.value))
        st = amg_json_fail(&amount, err, AMG_MALFORMED, "expected a number");
    if (st == AMG_OK)
        st = amg_json_int(&classes, 1, AMG_MAX_CLASSES, &out->num_classes, err);
    if (st == AMG_OK)
        st = amg_json_int(&covers, 1, AMG_MAX_CLASSES, &out->cover_classes, err);
    if (st == AMG_OK) st = amg_payload_parse_bool(&permute, &out->permute_labels, err);
    if (st == AMG_OK && has_tokens) {
        const amg_json_node tokens = amg_json_member(root, "tokens");
        st = parse_tokens(&tokens, out, err);
    }
    const amg_json_node block = amg_json_member(root, "block");
    if (st == AMG_OK && block.value) st = parse_block(&block, out, err);
    const amg_json_node patches = amg_json_member(root, "patches");
    if (st == AMG_OK && patches.value)
        st = amg_payload_parse_bool(&patches, &out->patches, err);
    const amg_json_node rotate = amg_json_member(root, "rotate");
    if (st == AMG_OK && rotate.value)
        st = amg_payload_parse_bool(&rotate, &out->rotate, err);
    out->num_decoys = (int)num_decoys;
    out->amount = json_number_value(amount.value);
    return st;
}
