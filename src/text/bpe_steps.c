/* The steps of a tokenizer.json around its model: pre_tokenizer becomes patterns;
 * normalizer, post_processor and decoder are looked at for what would change tokens or
 * text in a way that is not covered, and refused by name. */
#include <string.h>

#include "text/bpe_private.h"

/* What ByteLevel cuts by when nothing else is said: GPT-2's pattern. */
static const char gpt2_pattern[] =
    "\"'s|'t|'re|'ve|'m|'ll|'d| ?\\\\p{L}+| ?\\\\p{N}+|"
    " ?[^\\\\s\\\\p{L}\\\\p{N}]+|\\\\s+(?!\\\\S)|\\\\s+\"";

amg_status amg_bpe_get_bool(const amg_json_node *object, const char *key, bool absent,
                            bool *out, amg_error *err)
{
    const amg_json_node node = amg_json_member(object, key);
    if (node.value != NULL && !json_is_boolean(node.value) && !json_is_null(node.value))
        return amg_json_fail(&node, err, AMG_MALFORMED, "expected true or false");
    *out = json_is_boolean(node.value) ? json_is_true(node.value) : absent;
    return AMG_OK;
}

amg_status amg_bpe_get_type(const amg_json_node *object, const char **out,
                            amg_error *err)
{
    const amg_json_node type = amg_json_member(object, "type");
    if (!json_is_object(object->value) || type.value == NULL)
        return amg_json_fail(object, err, AMG_MALFORMED,
                             "expected an object with the member \"type\"");
    return amg_json_string(&type, out, err);
}

/* A pattern that is written here, not in the file: node says where it is asked for. */
static amg_status compile_own(const amg_json_node *node, const char *quoted, amg_bpe *b,
                              amg_bpe_step *step, amg_error *err)
{
    json_t *text = json_loads(quoted, JSON_DECODE_ANY, NULL);
    if (text == NULL) return amg_bpe_no_memory(node->doc->name, err);
    amg_json_node pattern = *node;
    pattern.value = text;
    const amg_status st =
        amg_bpe_compile(&pattern, false, b->memory, &step->pattern, err);
    json_decref(text);
    return st;
}

static amg_status parse_byte_level(const amg_json_node *node, amg_bpe *b,
                                   amg_bpe_step *step, amg_error *err)
{
    bool cuts = true;
    amg_status st =
        amg_bpe_get_bool(node, "add_prefix_space", true, &step->prefix_space, err);
    if (st == AMG_OK) st = amg_bpe_get_bool(node, "use_regex", true, &cuts, err);
    b->byte_level = true;
    step->behavior = AMG_SPLIT_ISOLATED;
    if (st != AMG_OK || !cuts) return st;
    return compile_own(node, gpt2_pattern, b, step, err);
}

static amg_status parse_behavior(const amg_json_node *node, amg_bpe_step *step,
                                 amg_error *err)
{
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    const amg_json_node behavior = amg_json_member(node, "behavior");
    const char *text;
    if (behavior.value == NULL)
        return amg_json_fail(node, err, AMG_MALFORMED, "lacks the member \"behavior\"");
    const amg_status st = amg_json_string(&behavior, &text, err);
    if (st != AMG_OK) return st;
    for (int i = 0; i < 5; i++) {
        if (strcmp(text, names[i]) != 0) continue;
        step->behavior = (amg_split_behavior)i;
        return AMG_OK;
    }
    return amg_json_fail(&behavior, err, AMG_UNSUPPORTED,
                         "the behavior \"%s\" is not covered", text);
}

static amg_status parse_split(const amg_json_node *node, amg_bpe *b, amg_bpe_step *step,
                              amg_error *err)
{
    const amg_json_node pattern = amg_json_member(node, "pattern");
    amg_status st = parse_behavior(node, step, err);
    if (st == AMG_OK) st = amg_bpe_get_bool(node, "invert", false, &step->invert, err);
    if (st != AMG_OK) return st;
    if (!json_is_object(pattern.value))
        return amg_json_fail(node, err, AMG_MALFORMED, "lacks the object \"pattern\"");
    const amg_json_node regex = amg_json_member(&pattern, "Regex"),
                        text = amg_json_member(&pattern, "String");
    if (regex.value == NULL && text.value == NULL)
        return amg_json_fail(&pattern, err, AMG_UNSUPPORTED,
                             "neither a \"Regex\" nor a \"String\"");
    const bool literal = regex.value == NULL;
    return amg_bpe_compile(literal ? &text : &regex, literal, b->memory, &step->pattern,
                           err);
}

static amg_status parse_digits(const amg_json_node *node, amg_bpe *b,
                               amg_bpe_step *step, amg_error *err)
{
    bool each;
    const amg_status st =
        amg_bpe_get_bool(node, "individual_digits", false, &each, err);
    if (st != AMG_OK) return st;
    step->behavior = each ? AMG_SPLIT_ISOLATED : AMG_SPLIT_CONTIGUOUS;
    return compile_own(node, "\"\\\\p{N}\"", b, step, err);
}

static amg_status parse_step(const amg_json_node *node, amg_bpe *b, amg_error *err)
{
    const char *type;
    amg_status st = amg_bpe_get_type(node, &type, err);
    if (st != AMG_OK) return st;
    if (b->num_steps == AMG_BPE_MAX_STEPS || b->byte_level)
        return amg_json_fail(node, err, AMG_UNSUPPORTED,
                             b->byte_level ? "a step behind ByteLevel is not covered"
                                           : "more than %d steps are not covered",
                             AMG_BPE_MAX_STEPS);
    amg_bpe_step *step = &b->steps[b->num_steps++];
    if (strcmp(type, "ByteLevel") == 0) return parse_byte_level(node, b, step, err);
    if (strcmp(type, "Split") == 0) return parse_split(node, b, step, err);
    if (strcmp(type, "Digits") == 0) return parse_digits(node, b, step, err);
    return amg_json_fail(node, err, AMG_UNSUPPORTED,
                         "the pre-tokenizer \"%s\" is not covered", type);
}

/* Calls parse on a step, or on each of a Sequence; absent and null are none. */
static amg_status walk(const amg_json_node *node, const char *list, amg_bpe *b,
                       amg_status (*parse)(const amg_json_node *, amg_bpe *,
                                           amg_error *),
                       amg_error *err)
{
    if (node->value == NULL || json_is_null(node->value)) return AMG_OK;
    const char *type;
    amg_status st = amg_bpe_get_type(node, &type, err);
    if (st != AMG_OK || strcmp(type, "Sequence") != 0)
        return st == AMG_OK ? parse(node, b, err) : st;
    const amg_json_node steps = amg_json_member(node, list);
    if (steps.value == NULL)
        return amg_json_fail(node, err, AMG_MALFORMED, "lacks the member \"%s\"", list);
    size_t count;
    st = amg_json_array(&steps, 0, SIZE_MAX, &count, err);
    for (size_t i = 0; i < count && st == AMG_OK; i++) {
        const amg_json_node one = amg_json_element(&steps, i);
        st = parse(&one, b, err);
    }
    return st;
}

/* One of the types in list, or refused as a kind of thing. */
static amg_status expect_type(const amg_json_node *node, const char *const *list,
                              const char *kind, amg_error *err)
{
    const char *type;
    const amg_status st = amg_bpe_get_type(node, &type, err);
    if (st != AMG_OK) return st;
    for (; *list != NULL; list++)
        if (strcmp(type, *list) == 0) return AMG_OK;
    return amg_json_fail(node, err, AMG_UNSUPPORTED, "the %s \"%s\" is not covered",
                         kind, type);
}

static amg_status refuse_normalizer(const amg_json_node *node, amg_bpe *b,
                                    amg_error *err)
{
    (void)b;
    static const char *const none[] = {NULL};
    return expect_type(node, none, "normalizer", err);
}

/* These set tokens around a text, for models that want a beginning; corpora have none.
 */
static amg_status check_post_processor(const amg_json_node *node, amg_bpe *b,
                                       amg_error *err)
{
    (void)b;
    static const char *const harmless[] = {"ByteLevel", "TemplateProcessing",
                                           "BertProcessing", "RobertaProcessing", NULL};
    return expect_type(node, harmless, "post-processor", err);
}

/* Decoding is the concatenation of tokens; these say that, too. */
static amg_status check_decoder(const amg_json_node *node, amg_bpe *b, amg_error *err)
{
    (void)b;
    static const char *const plain[] = {"ByteLevel", "ByteFallback", "Fuse", NULL};
    return expect_type(node, plain, "decoder", err);
}

amg_status amg_bpe_parse_steps(const amg_json_node *tokenizer, amg_bpe *b,
                               amg_error *err)
{
    const amg_json_node normalizer = amg_json_member(tokenizer, "normalizer"),
                        steps = amg_json_member(tokenizer, "pre_tokenizer"),
                        post = amg_json_member(tokenizer, "post_processor"),
                        decoder = amg_json_member(tokenizer, "decoder");
    amg_status st = walk(&normalizer, "normalizers", b, refuse_normalizer, err);
    if (st == AMG_OK) st = walk(&steps, "pretokenizers", b, parse_step, err);
    if (st == AMG_OK) st = walk(&post, "processors", b, check_post_processor, err);
    if (st == AMG_OK) st = walk(&decoder, "decoders", b, check_decoder, err);
    return st;
}
