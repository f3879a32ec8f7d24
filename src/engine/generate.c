/* What comes next. Consumes a language model's graph, produces logits of one position,
 * through the engine that measures trained models. Knows no text and draws nothing. */
#include "engine/generate.h"

#include <string.h>

#include "base/alloc.h"
#include "engine/plan.h"

struct amg_generator {
    amg_graph *planned; /* for one window */
    amg_plan *plan;
    void *workspace;
    int64_t seq, vocab;
};

/* Of a graph planned for a batch of one. */
static amg_status check_shape(const amg_graph *g, const char *name, int64_t *seq,
                              int64_t *vocab, amg_error *err)
{
    if (g->num_inputs != 1 || g->num_outputs != 1)
        return amg_fail(err, AMG_UNSUPPORTED, -1, name,
                        "found %d input%s and %d output%s, expected one of each",
                        g->num_inputs, amg_plural(g->num_inputs), g->num_outputs,
                        amg_plural(g->num_outputs));
    const amg_value *x = &g->values[g->inputs[0]], *y = &g->values[g->outputs[0]];
    const int last = y->rank - 1;
    const bool windows = x->dtype == AMG_I64 && x->rank == 2 && x->dims[0] == 1;
    const bool logits = y->dtype == AMG_F32 && (y->rank == 2 || y->rank == 3) &&
                        (last == 1 || y->dims[0] == 1);
    if (!windows || !logits || y->dims[last - 1] != x->dims[1]) {
        char in[AMG_SHAPE_TEXT], made[AMG_SHAPE_TEXT];
        return amg_fail(err, AMG_UNSUPPORTED, -1, name,
                        "no language model: from %s it makes %s, expected I64[1,seq] "
                        "and F32[1,seq,vocabulary]",
                        amg_shape_text(x->dtype, x->rank, x->dims, in),
                        amg_shape_text(y->dtype, y->rank, y->dims, made));
    }
    *seq = x->dims[1];
    *vocab = y->dims[last];
    return AMG_OK;
}

/* Runs the window; row: the position whose logits are asked for. */
static amg_status run(amg_generator *g, const int32_t *tokens, int64_t count,
                      int64_t fill, int64_t row, const float **logits, amg_error *err)
{
    int64_t *x = amg_plan_input(g->plan), made;
    for (int64_t i = 0; i < g->seq; i++) x[i] = i < count ? tokens[i] : fill;
    amg_status status = amg_plan_forward(g->plan, 0, logits, &made, err);
    if (!status) *logits += row * g->vocab;
    return status;
}

/* The first position's logits must be the same whatever stands behind it. */
static amg_status check_causal(amg_generator *g, const char *name, amg_error *err)
{
    const size_t bytes = (size_t)g->vocab * sizeof(float);
    const float *logits;
    const int32_t first = 0;
    if (g->seq == 1 || g->vocab == 1) return AMG_OK;
    float *kept = amg_malloc(bytes);
    if (!kept) return amg_fail(err, AMG_NO_MEMORY, -1, name, "%zu bytes", bytes);
    amg_status status = run(g, &first, 1, 0, 0, &logits, err);
    if (!status) memcpy(kept, logits, bytes);
    if (!status) status = run(g, &first, 1, g->vocab - 1, 0, &logits, err);
    if (!status && memcmp(kept, logits, bytes))
        status = amg_fail(err, AMG_UNSUPPORTED, -1, name,
                          "its predictions depend on the tokens behind them: it cannot "
                          "continue a text");
    amg_free(kept);
    return status;
}

static amg_status prepare(const amg_graph *model, const char *name, amg_generator *g,
                          amg_error *err)
{
    const amg_plan_options inference = {.training = false};
    amg_params params = {0};
    amg_status status = amg_graph_plan_batch(model, 1, &g->planned, err);
    if (!status) status = check_shape(g->planned, name, &g->seq, &g->vocab, err);
    if (!status) status = amg_params_new(g->planned, 0, &params, err);
    if (!status) status = amg_plan_new(g->planned, 0, &inference, &g->plan, err);
    if (!status) {
        const size_t bytes = amg_plan_workspace_bytes(g->plan);
        g->workspace = amg_alloc_aligned(bytes);
        if (!g->workspace)
            status =
                amg_fail(err, AMG_NO_MEMORY, -1, name, "workspace of %zu bytes", bytes);
        else
            amg_plan_bind(g->plan, g->workspace);
    }
    if (!status) status = amg_plan_load(g->plan, &params, err);
    amg_params_clear(&params);
    return status ? status : check_causal(g, name, err);
}

amg_status amg_generator_new(const amg_graph *model, const char *name,
                             amg_generator **out, amg_error *err)
{
    amg_generator *g = amg_calloc(1, sizeof *g);
    if (!g) return amg_fail(err, AMG_NO_MEMORY, -1, name, "generator");
    const amg_status status = prepare(model, name, g, err);
    if (status)
        amg_generator_free(g);
    else
        *out = g;
    return status;
}

void amg_generator_free(amg_generator *g)
{
    if (!g) return;
    amg_plan_free(g->plan);
    amg_free_aligned(g->workspace);
    if (g->planned) amg_graph_free(g->planned);
    amg_free(g);
}

int64_t amg_generator_vocab(const amg_generator *g) { return g->vocab; }

int64_t amg_generator_seq(const amg_generator *g) { return g->seq; }

amg_status amg_generator_next(amg_generator *g, const int32_t *context, int64_t count,
                              const float **logits, amg_error *err)
{
    if (count < 1) return amg_fail(err, AMG_INVALID, -1, "context", "no tokens");
    const int64_t seen = count < g->seq ? count : g->seq;
    context += count - seen;
    for (int64_t i = 0; i < seen; i++)
        if (context[i] < 0 || context[i] >= g->vocab)
            return amg_fail(err, AMG_INVALID, -1, "context",
                            "token %d, expected 0 to %lld", (int)context[i],
                            (long long)g->vocab - 1);
    return run(g, context, seen, 0, seen - 1, logits, err);
}
