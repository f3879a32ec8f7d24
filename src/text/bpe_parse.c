/* tokenizer.json -> a byte pair encoding: its parts, options and tokens. Consumes
 * checked JSON; the tables are built in bpe_tables.c, the steps around the model in
 * bpe_steps.c. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "formats/token_set.h"
#include "text/bpe_private.h"

static void *pcre2_alloc(size_t size, void *unused)
{
    (void)unused;
    return amg_malloc(size);
}

static void pcre2_free(void *p, void *unused)
{
    (void)unused;
    amg_free(p);
}

/* Refuses members that this version does not know: they may change tokens. */
static amg_status check_members(const amg_json_node *object, const char *const *known,
                                amg_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(object->value, key, value)
    {
        int i = 0;
        while (known[i] != NULL && strcmp(key, known[i]) != 0) i++;
        if (known[i] != NULL) continue;
        const amg_json_node member = amg_json_member(object, key);
        return amg_json_fail(&member, err, AMG_UNSUPPORTED,
                             "a member that is not covered");
    }
    return AMG_OK;
}

static amg_status require(const amg_json_node *object, const char *key,
                          amg_json_node *out, amg_error *err)
{
    *out = amg_json_member(object, key);
    if (out->value != NULL) return AMG_OK;
    return amg_json_fail(object, err, AMG_MALFORMED, "lacks the member \"%s\"", key);
}

/* null and "" are nothing. */
static amg_status refuse_affix(const amg_bpe_parser *p, const char *key)
{
    const amg_json_node node = amg_json_member(&p->model, key);
    if (node.value == NULL || json_is_null(node.value)) return AMG_OK;
    const char *text;
    const amg_status st = amg_json_string(&node, &text, p->err);
    if (st != AMG_OK || *text == 0) return st;
    return amg_json_fail(&node, p->err, AMG_UNSUPPORTED, "is not covered");
}

static amg_status parse_model_options(amg_bpe_parser *p)
{
    static const char *const known[] = {
        "type",     "dropout",       "unk_token", "continuing_subword_prefix",
        "fuse_unk", "byte_fallback", "vocab",     "end_of_word_suffix",
        "merges",   "ignore_merges", NULL};
    amg_bpe *b = p->bpe;
    amg_status st = check_members(&p->model, known, p->err);
    if (st == AMG_OK) st = refuse_affix(p, "continuing_subword_prefix");
    if (st == AMG_OK) st = refuse_affix(p, "end_of_word_suffix");
    if (st == AMG_OK)
        st = amg_bpe_get_bool(&p->model, "fuse_unk", false, &b->fuse_unknown, p->err);
    if (st == AMG_OK)
        st = amg_bpe_get_bool(&p->model, "byte_fallback", false, &b->byte_fallback,
                              p->err);
    if (st == AMG_OK)
        st = amg_bpe_get_bool(&p->model, "ignore_merges", false, &b->ignore_merges,
                              p->err);
    if (st != AMG_OK) return st;
    const amg_json_node dropout = amg_json_member(&p->model, "dropout");
    const bool off =
        dropout.value == NULL || json_is_null(dropout.value) ||
        (json_is_number(dropout.value) && !(json_number_value(dropout.value) > 0));
    if (off) return AMG_OK;
    return amg_json_fail(&dropout, p->err, AMG_UNSUPPORTED,
                         "merges at random are not covered");
}

/* "type" may be absent: older files have none. */
static amg_status find_parts(amg_bpe_parser *p)
{
    static const char *const known[] = {
        "version",       "truncation",     "padding", "added_tokens", "normalizer",
        "pre_tokenizer", "post_processor", "decoder", "model",        NULL};
    amg_status st = AMG_OK;
    if (!json_is_object(p->root->value))
        return amg_json_fail(p->root, p->err, AMG_MALFORMED, "expected an object");
    st = check_members(p->root, known, p->err);
    if (st == AMG_OK) st = require(p->root, "model", &p->model, p->err);
    if (st != AMG_OK) return st;
    if (!json_is_object(p->model.value))
        return amg_json_fail(&p->model, p->err, AMG_MALFORMED, "expected an object");
    const amg_json_node type = amg_json_member(&p->model, "type");
    const char *name = "BPE";
    if (type.value != NULL) st = amg_json_string(&type, &name, p->err);
    if (st != AMG_OK) return st;
    if (strcmp(name, "BPE") != 0)
        return amg_json_fail(&type, p->err, AMG_UNSUPPORTED,
                             "the model \"%s\" is not covered, only BPE is", name);
    st = require(&p->model, "vocab", &p->vocab, p->err);
    if (st == AMG_OK) st = require(&p->model, "merges", &p->merges, p->err);
    if (st == AMG_OK && !json_is_object(p->vocab.value))
        st = amg_json_fail(&p->vocab, p->err, AMG_MALFORMED, "expected an object");
    p->added = amg_json_member(p->root, "added_tokens");
    return st;
}

/* Text and number of added token i. */
amg_status amg_bpe_get_added(const amg_bpe_parser *p, size_t i, amg_json_node *node,
                             const char **text, int64_t *id)
{
    static const char *const keys[] = {"id",     "content", "single_word", "lstrip",
                                       "rstrip", "special", "normalized"};
    *node = amg_json_element(&p->added, i);
    amg_status st = amg_json_object(node, keys, 7, p->err);
    if (st != AMG_OK) return st;
    const amg_json_node content = amg_json_member(node, "content"),
                        number = amg_json_member(node, "id");
    st = amg_json_string(&content, text, p->err);
    if (st == AMG_OK) st = amg_json_int(&number, 0, AMG_BPE_MAX_TOKENS - 1, id, p->err);
    if (st == AMG_OK && **text == 0)
        st = amg_json_fail(&content, p->err, AMG_MALFORMED, "an empty token");
    return st;
}

size_t amg_bpe_num_added(const amg_bpe_parser *p)
{
    return json_array_size(p->added.value);
}

/* The highest number of a token, which says how many there are. */
static amg_status measure(amg_bpe_parser *p)
{
    int64_t id, most = -1;
    const char *key;
    json_t *value;
    json_object_foreach(p->vocab.value, key, value)
    {
        const amg_json_node node = amg_json_member(&p->vocab, key);
        const amg_status st =
            amg_json_int(&node, 0, AMG_BPE_MAX_TOKENS - 1, &id, p->err);
        if (st != AMG_OK) return st;
        if (id > most) most = id;
    }
    const json_t *added = p->added.value;
    if (added != NULL && !json_is_null(added) && !json_is_array(added))
        return amg_json_fail(&p->added, p->err, AMG_MALFORMED, "expected an array");
    for (size_t i = 0; i < amg_bpe_num_added(p); i++) {
        amg_json_node node;
        const amg_status st = amg_bpe_get_added(p, i, &node, &key, &id);
        if (st != AMG_OK) return st;
        if (id > most) most = id;
    }
    if (most < 0)
        return amg_json_fail(&p->vocab, p->err, AMG_MALFORMED, "has no token");
    p->bpe->size = most + 1;
    return AMG_OK;
}

static amg_status collect_tokens(amg_bpe_parser *p)
{
    p->tokens = amg_calloc((size_t)p->bpe->size, sizeof *p->tokens);
    if (p->tokens == NULL) return amg_bpe_no_memory(p->root->doc->name, p->err);
    const char *key;
    json_t *value;
    json_object_foreach(p->vocab.value, key, value)
    {
        amg_bpe_token *t = &p->tokens[json_integer_value(value)];
        if (t->text != NULL) {
            const amg_json_node node = amg_json_member(&p->vocab, key);
            return amg_json_fail(&node, p->err, AMG_MALFORMED,
                                 "the number of \"%s\", too", t->text);
        }
        *t = (amg_bpe_token){.text = key};
    }
    for (size_t i = 0; i < amg_bpe_num_added(p); i++) {
        amg_json_node node;
        const char *text;
        int64_t id;
        const amg_status st = amg_bpe_get_added(p, i, &node, &text, &id);
        if (st != AMG_OK) return st;
        const char *other = p->tokens[id].text;
        if (other != NULL && strcmp(other, text) != 0)
            return amg_json_fail(&node, p->err, AMG_MALFORMED,
                                 "the number of \"%s\", too", other);
        p->tokens[id] = (amg_bpe_token){.text = text, .added = true};
    }
    return AMG_OK;
}

/* A token by its first name that there is, or AMG_NO_TOKEN. */
static int64_t find_named(const amg_bpe_parser *p, const char *const *names)
{
    for (; *names != NULL; names++)
        for (int64_t id = p->bpe->size - 1; id >= 0; id--)
            if (p->tokens[id].text != NULL && strcmp(p->tokens[id].text, *names) == 0)
                return id;
    return AMG_NO_TOKEN;
}

/* A tokenizer.json does not say which token ends a text: known names do. */
static amg_status find_special(amg_bpe_parser *p)
{
    static const char *const eos[] = {"<|endoftext|>", "</s>",  "<|end_of_text|>",
                                      "<eos>",         "[EOS]", NULL};
    static const char *const pad[] = {"<pad>", "[PAD]", "<|pad|>", "<|padding|>", NULL};
    amg_bpe *b = p->bpe;
    b->eos = find_named(p, eos);
    b->pad = find_named(p, pad);
    b->unknown = AMG_NO_TOKEN;
    const amg_json_node node = amg_json_member(&p->model, "unk_token");
    if (node.value == NULL || json_is_null(node.value)) return AMG_OK;
    const char *text;
    int32_t id = 0;
    amg_status st = amg_json_string(&node, &text, p->err);
    if (st == AMG_OK) st = amg_bpe_find_token(p, &node, text, &id);
    if (st == AMG_OK) b->unknown = id;
    return st;
}

/* The members that are read, in one order. */
static amg_status print_json(amg_bpe_parser *p)
{
    static const char *const read[] = {"added_tokens", "decoder",       "model",
                                       "normalizer",   "pre_tokenizer", NULL};
    json_t *object = json_object();
    bool done = object != NULL;
    for (int i = 0; read[i] != NULL && done; i++) {
        json_t *value = json_object_get(p->root->value, read[i]);
        done =
            json_object_set_new(object, read[i],
                                value != NULL ? json_incref(value) : json_null()) == 0;
    }
    char *text = done ? json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    done = text != NULL && amg_chars_append(&p->bpe->json, text, strlen(text));
    free(text);
    json_decref(object);
    return done ? AMG_OK : amg_bpe_no_memory(p->root->doc->name, p->err);
}

static amg_status parse(amg_bpe_parser *p)
{
    amg_status st = find_parts(p);
    if (st == AMG_OK) st = parse_model_options(p);
    if (st == AMG_OK) st = amg_bpe_parse_steps(p->root, p->bpe, p->err);
    if (st == AMG_OK) st = measure(p);
    if (st == AMG_OK) st = collect_tokens(p);
    if (st == AMG_OK) st = amg_bpe_build_tables(p);
    if (st == AMG_OK) st = find_special(p);
    return st == AMG_OK ? print_json(p) : st;
}

amg_status amg_bpe_parse(const amg_json_node *tokenizer, amg_bpe **out, amg_error *err)
{
    amg_bpe *b = amg_calloc(1, sizeof *b);
    if (b == NULL) return amg_bpe_no_memory(tokenizer->doc->name, err);
    amg_bpe_parser p = {.bpe = b, .root = tokenizer, .err = err};
    b->pool = amg_calloc(1, sizeof *b->pool);
    if (b->pool != NULL) pthread_mutex_init(&b->pool->lock, NULL);
    b->memory = pcre2_general_context_create(pcre2_alloc, pcre2_free, NULL);
    const bool made = b->pool != NULL && b->memory != NULL;
    const amg_status st =
        made ? parse(&p) : amg_bpe_no_memory(tokenizer->doc->name, err);
    amg_free(p.tokens);
    if (st == AMG_OK)
        *out = b;
    else
        amg_bpe_free(b);
    return st;
}
