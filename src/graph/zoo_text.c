/* The zoo's networks for text: what each takes, and what it is without options. The
 * networks themselves stand in zoo_<name>.c. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "graph/zoo_layers.h"

#define MAX_VOCAB (1 << 24)
#define MAX_SEQ 65536
#define MAX_SEQ_ATTENTION 4096 /* its mask is seq x seq */
#define MAX_WIDTH 65536
#define MAX_LAYERS 1024
#define MAX_CLASSES (1 << 24)

/* 0: it has no such thing. dropout NAN: several, which its file tells. width_hidden -4:
 * four times d_model. */
struct amg_zoo_text {
    const char *name;
    amg_zoo_fn build;
    bool is_language_model;
    int64_t seq, min_seq, max_seq;
    int64_t width_model, layers, heads, width_hidden;
    double dropout;
};

static const amg_zoo_text rows[] = {
    /* PyTorch's word_language_model with its default options */
    {"transformer_lm", amg_zoo_transformer_lm, true, 35, 1, MAX_SEQ_ATTENTION, 200, 2,
     2, 200, NAN},
    /* nanoGPT's network for a Shakespeare of characters */
    {"gpt", amg_zoo_gpt, true, 256, 1, MAX_SEQ_ATTENTION, 384, 6, 6, -4, 0.2},
    /* CNN-rand of Kim's paper; hidden: filters of each width */
    {"text_cnn", amg_zoo_text_cnn, false, 64, 5, MAX_SEQ, 300, 0, 0, 100, 0.5},
    /* torchtext's tutorial */
    {"embedding_bag", amg_zoo_embedding_bag, false, 64, 1, MAX_SEQ, 64, 0, 0, 0, 0},
    {"lstm", amg_zoo_lstm, false, 64, 1, MAX_SEQ, 100, 1, 0, 128, 0.5},
};
enum { NUM_ROWS = sizeof rows / sizeof *rows };

const amg_zoo_text *amg_zoo_text_find(const char *name)
{
    for (int i = 0; i < NUM_ROWS; i++)
        if (strcmp(rows[i].name, name) == 0) return &rows[i];
    return NULL;
}

amg_zoo_fn amg_zoo_text_build(const amg_zoo_text *text) { return text->build; }

bool amg_zoo_is_text(const char *name) { return amg_zoo_text_find(name) != NULL; }

bool amg_zoo_is_language_model(const char *name)
{
    const amg_zoo_text *text = amg_zoo_text_find(name);
    return text && text->is_language_model;
}

/* *value becomes the network's own, 0 is left open; a network without such an option
 * takes none. */
static amg_status settle(const amg_zoo_text *t, const char *what, int64_t own,
                         int64_t most, int64_t *value, amg_error *err)
{
    if (*value != 0 && own == 0)
        return amg_fail(err, AMG_INVALID, -1, t->name,
                        "%s is %" PRId64 ", but this model has none", what, *value);
    if (*value == 0) *value = own;
    return own == 0 ? AMG_OK : amg_zoo_check_range(t->name, what, *value, 1, most, err);
}

static amg_status settle_dropout(const amg_zoo_text *t, double *dropout, amg_error *err)
{
    if (isnan(*dropout)) {
        *dropout = t->dropout;
    } else if (!(*dropout >= 0 && *dropout < 1)) {
        return amg_fail(err, AMG_INVALID, -1, t->name,
                        "dropout is %g, expected 0 or more and less than 1", *dropout);
    } else if (*dropout > 0 && t->dropout == 0) {
        return amg_fail(err, AMG_INVALID, -1, t->name,
                        "dropout is %g, but this model has none", *dropout);
    }
    return AMG_OK;
}

static amg_status check_vocab(const amg_zoo_text *t, int64_t vocab, amg_error *err)
{
    amg_status s = amg_zoo_check_range(t->name, "vocab", vocab, 2, MAX_VOCAB, err);
    if (s && vocab == 0)
        amg_hint(err, "give the number of tokens: `amalgam tokenize` prints it");
    return s;
}

static amg_status check_pad(const amg_zoo_text *t, const amg_zoo_options *o,
                            amg_error *err)
{
    if (o->pad == -1) return AMG_OK;
    if (t->is_language_model)
        return amg_fail(err, AMG_INVALID, -1, t->name,
                        "pad is %" PRId64 ", but a language model's windows are full",
                        o->pad);
    return amg_zoo_check_range(t->name, "pad", o->pad, 0, o->vocab - 1, err);
}

static amg_status check_attention(const amg_zoo_text *t, const amg_zoo_options *o,
                                  amg_error *err)
{
    if (o->width_model % o->heads != 0)
        return amg_fail(err, AMG_INVALID, -1, t->name,
                        "d_model is %" PRId64 ", expected a multiple of the %" PRId64
                        " heads",
                        o->width_model, o->heads);
    if (t->build == amg_zoo_transformer_lm && o->width_model % 2 != 0)
        return amg_fail(err, AMG_INVALID, -1, t->name,
                        "d_model is %" PRId64
                        ", expected an even number: a sine and a cosine a position",
                        o->width_model);
    return AMG_OK;
}

amg_status amg_zoo_text_resolve(const amg_zoo_text *t, const amg_zoo_options *options,
                                amg_zoo_options *out, amg_error *err)
{
    amg_zoo_options o = *options;
    int64_t seq = o.seq ? o.seq : t->seq;
    amg_status s = check_vocab(t, o.vocab, err);
    if (!s && !t->is_language_model)
        s = amg_zoo_check_range(t->name, "classes", o.num_classes, 2, MAX_CLASSES, err);
    if (!s) s = amg_zoo_check_range(t->name, "seq", seq, t->min_seq, t->max_seq, err);
    o.seq = seq;
    if (!s) s = settle(t, "d_model", t->width_model, MAX_WIDTH, &o.width_model, err);
    if (!s) s = settle(t, "layers", t->layers, MAX_LAYERS, &o.layers, err);
    if (!s) s = settle(t, "heads", t->heads, MAX_WIDTH, &o.heads, err);
    const int64_t hidden =
        t->width_hidden < 0 ? -t->width_hidden * o.width_model : t->width_hidden;
    if (!s) s = settle(t, "hidden", hidden, MAX_WIDTH * 4, &o.width_hidden, err);
    if (!s) s = settle_dropout(t, &o.dropout, err);
    if (!s) s = check_pad(t, &o, err);
    if (!s && t->heads) s = check_attention(t, &o, err);
    if (!s) *out = o;
    return s;
}
