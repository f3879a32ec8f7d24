/* Initial weights of decoys. For each parameter of the original: which of the usual
 * laws (PyTorch's defaults, He, Xavier, N(0,.01), N(0,.02), U(.1), constants) explains
 * its values? The decoy's parameter, whose shape may differ, is drawn by that law with
 * its own fans. Draws come from the key's stream, so that no generator can be
 * recognised by its numbers. */
#include "obfuscate/decoy_init.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "graph/rewrite.h"
#include "obfuscate/channels.h"

typedef enum { LAW_CONSTANT, LAW_UNIFORM, LAW_NORMAL } law_kind;
/* How the scale follows from the fans of the weight: scale = gain * f(fan). */
typedef enum { FAN_NONE, FAN_IN, FAN_OUT, FAN_BOTH } fan_mode;

/* scale: bound of the uniform law, deviation of the normal one, value of the constant.
 */
typedef struct {
    law_kind kind;
    fan_mode fan;
    double gain;
} law;

/* Of those that fit a parameter, the one that fits most of the model's parameters of
 * its rank is taken (authors draw all of a kind by one law; a square layer fits two),
 * then the first. */
static const law known_laws[] = {
    {LAW_UNIFORM, FAN_IN, 1},                   /* PyTorch's default, weight and bias */
    {LAW_NORMAL, FAN_OUT, 1.4142135623730951},  /* He, fan out (torchvision's ResNet) */
    {LAW_NORMAL, FAN_IN, 1.4142135623730951},   /* He, fan in (DenseNet) */
    {LAW_UNIFORM, FAN_IN, 2.449489742783178},   /* He, uniform: sqrt(6 / fan in) */
    {LAW_UNIFORM, FAN_OUT, 2.449489742783178},  /* He, uniform, fan out */
    {LAW_UNIFORM, FAN_BOTH, 2.449489742783178}, /* Xavier: sqrt(6 / (in + out)) */
    {LAW_NORMAL, FAN_BOTH, 1.4142135623730951}, /* Xavier, normal */
    {LAW_NORMAL, FAN_IN, 1},                    /* LeCun */
    {LAW_NORMAL, FAN_NONE, .01}, /* VGG's and MobileNet's linear layers */
    {LAW_NORMAL, FAN_NONE, .02}, /* transformers */
    {LAW_NORMAL, FAN_NONE, 1},   /* embeddings, class tokens of torch.randn */
    {LAW_UNIFORM, FAN_NONE, .1}, /* word_language_model's embedding and decoder */
    {LAW_UNIFORM, FAN_NONE, .5}, /* torchtext's EmbeddingBag */
};
enum { NUM_LAWS = sizeof known_laws / sizeof *known_laws };

typedef struct {
    double in, out;
} fans;

/* The layer that parameter v belongs to: the one that reads it, or the one whose result
 * it is added to (a bias beside a MatMul). NULL: none. */
static const amg_node *layer_of(const amg_graph *g, int v)
{
    for (int i = 0; i < g->num_nodes; i++)
        for (int j = 0; j < g->nodes[i].num_inputs; j++) {
            const amg_node *n = &g->nodes[i];
            if (n->inputs[j] != v) continue;
            if (amg_is_layer(n)) return n;
            int other = n->op == AMG_OP_ADD ? n->inputs[1 - j] : AMG_NO_VALUE;
            int producer = other == AMG_NO_VALUE ? -1 : g->values[other].producer;
            if (producer >= 0 && amg_is_layer(&g->nodes[producer]))
                return &g->nodes[producer];
        }
    return NULL;
}

/* Fans of a weight as PyTorch counts them; of a bias, those of its layer's weight. All
 * of a recurrent layer go by its hidden values. */
static fans fans_of(const amg_graph *g, int v)
{
    const amg_node *layer = layer_of(g, v);
    if (!layer) return (fans){1, 1};
    const amg_value *w = &g->values[layer->inputs[1]];
    if (w->rank < 2) return (fans){1, 1};
    if (amg_is_recurrent(layer)) {
        const amg_value *r = &g->values[layer->inputs[2]];
        double hidden = (double)r->dims[r->rank - 1];
        return (fans){hidden, hidden};
    }
    double area = 1;
    for (int d = 2; d < w->rank; d++) area *= (double)w->dims[d];
    double d0 = (double)w->dims[0] * area, d1 = (double)w->dims[1] * area;
    bool window = layer->op == AMG_OP_CONV || layer->op == AMG_OP_CONV_TRANSPOSE;
    bool transposed = !window && !amg_attr_int(layer, "transB", 0);
    return transposed ? (fans){d0, d1} : (fans){d1, d0};
}

static double scale_of(const law *l, fans f)
{
    switch (l->fan) {
    case FAN_IN: return l->gain / sqrt(f.in);
    case FAN_OUT: return l->gain / sqrt(f.out);
    case FAN_BOTH: return l->gain / sqrt(f.in + f.out);
    case FAN_NONE: break;
    }
    return l->gain;
}

/* Whether v is a table that a Gather looks up rows of: a padding token's row is zero
 * there, whatever the law. */
static bool is_table(const amg_graph *g, int v)
{
    for (int i = 0; i < g->num_nodes; i++)
        if (g->nodes[i].op == AMG_OP_GATHER && g->nodes[i].inputs[0] == v &&
            g->values[v].rank > 1)
            return true;
    return false;
}

static bool is_zero_row(const amg_tensor *t, int64_t row)
{
    const int64_t width = t->dims[0] ? amg_tensor_count(t) / t->dims[0] : 0;
    const float *x = (const float *)t->data + row * width;
    for (int64_t i = 0; i < width; i++)
        if (x[i] != 0) return false;
    return true;
}

typedef struct {
    double mean, deviation, max;
    int64_t count;
    bool constant;
    float first;
} moments;

/* table: without rows of zeros, if there are others. */
static moments measure(const amg_tensor *t, bool table)
{
    const float *x = t->data;
    const int64_t count = amg_tensor_count(t), width = table ? count / t->dims[0] : 0;
    moments m = {.constant = true};
    if (!count) return m;
    m.first = x[0];
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < count; i++) {
        m.constant = m.constant && x[i] == m.first;
        if (table && i % width == 0 && is_zero_row(t, i / width)) {
            m.constant = m.constant && x[i + width - 1] == m.first;
            i += width - 1;
            continue;
        }
        m.count++;
        sum += x[i];
        squares += (double)x[i] * x[i];
        if (fabs(x[i]) > m.max) m.max = fabs(x[i]);
    }
    if (!m.count) return m;
    m.mean = sum / (double)m.count;
    double variance = squares / (double)m.count - m.mean * m.mean;
    m.deviation = variance > 0 ? sqrt(variance) : 0;
    return m;
}

/* Six standard errors of the mean and of the logarithm of the deviation (kurtosis 1.8
 * and 3), and the support: a uniform law ends at 1.73 deviations. */
static bool explains(const law *l, double scale, const moments *m)
{
    double n = (double)m->count;
    double expected = l->kind == LAW_UNIFORM ? scale / sqrt(3) : scale;
    double kurtosis = l->kind == LAW_UNIFORM ? 1.8 : 3;
    if (fabs(m->mean) > 6 * expected / sqrt(n)) return false;
    if (fabs(log(m->deviation / expected)) > 6 * sqrt((kurtosis - 1) / (4 * n)))
        return false;
    if (l->kind == LAW_UNIFORM) return m->max <= scale * (1 + 1e-6);
    return n < 256 || m->max > 1.9 * expected;
}

/* What is known of the original's weights. */
typedef struct {
    const amg_graph *g;
    const uint8_t *mine; /* per value: whether to look at it; NULL: at all */
    moments *moments;    /* per value; of trainables and buffers */
    int votes[AMG_MAX_RANK + 1][NUM_LAWS]; /* by rank: parameters that the law fits */
    law residual;                          /* gain 0: none; see find_residual */
    bool lattice;                          /* see count_lattice */
} study;

static bool has_weights(const amg_value *v)
{
    return v->kind == AMG_VALUE_PARAM && v->role != AMG_ROLE_CONSTANT && v->data.data;
}

static bool is_studied(const study *s, int v)
{
    return has_weights(&s->g->values[v]) && (!s->mine || s->mine[v]);
}

/* The law of one parameter; false: none known, then *l is a normal law of its own mean
 * (in *mean). */
static bool find_law(const study *s, int v, law *l, double *mean)
{
    const moments *m = &s->moments[v];
    const int *votes = s->votes[s->g->values[v].rank];
    fans f = fans_of(s->g, v);
    int best = -1;
    *mean = 0;
    if (m->constant) {
        *l = (law){LAW_CONSTANT, FAN_NONE, m->first};
        return true;
    }
    for (int i = 0; i < NUM_LAWS; i++)
        if (explains(&known_laws[i], scale_of(&known_laws[i], f), m) &&
            (best < 0 || votes[i] > votes[best]))
            best = i;
    if (best >= 0) {
        *l = known_laws[best];
        return true;
    }
    if (s->residual.gain > 0 && explains(&s->residual, s->residual.gain, m)) {
        *l = s->residual;
        return true;
    }
    *l = (law){LAW_NORMAL, FAN_NONE, m->deviation};
    *mean = m->mean;
    /* Of 32 normals one lies beyond 1.8 deviations as good as always. */
    if (m->count >= 32 && m->max < 1.8 * m->deviation &&
        fabs(m->mean) < 6 * m->deviation / sqrt((double)m->count)) {
        *l = (law){LAW_UNIFORM, FAN_NONE, m->max};
        *mean = 0;
    }
    return false;
}

/* PyTorch's normal_ makes normals in pairs (x[i], x[i+8]) of blocks of 16 from uniforms
 * of 24 bits, so 2^24 (1 - exp(-r^2/2)) of a pair is a whole number. Decoys without
 * that lattice beside an original with it are found from their initial weights alone.
 * Counts such pairs where float rounding leaves the number legible (up to 1e5):
 * *num_pairs of them, *num_whole within a tenth of a whole number. */
static void count_lattice(const amg_tensor *t, double scale, int64_t *num_pairs,
                          int64_t *num_whole)
{
    const float *x = t->data;
    int64_t n = amg_tensor_count(t),
            tail = n % 16 ? 16 : 0; /* the tail is drawn twice */
    for (int64_t i = 0; i + 16 + tail <= n; i += 16)
        for (int64_t j = i; j < i + 8; j++) {
            double a = x[j] / scale, b = x[j + 8] / scale;
            double k = 0x1p24 * -expm1(-(a * a + b * b) / 2);
            if (k < 1 || k > 1e5) continue;
            ++*num_pairs;
            *num_whole += fabs(k - round(k)) < 0.1;
        }
}

/* Sixteen normals as PyTorch draws them. */
static void draw_block(amg_keystream *k, double scale, float *x)
{
    for (int j = 0; j < 8; j++) {
        float u = 1 - (float)(amg_keystream_u32(k) >> 8) * 0x1p-24f;
        float v = (float)(amg_keystream_u32(k) >> 8) * 0x1p-24f;
        float r = sqrtf(-2 * logf(u)), angle = 2 * (float)M_PI * v;
        x[j] = r * cosf(angle) * (float)scale;
        x[j + 8] = r * sinf(angle) * (float)scale;
    }
}

static void draw(amg_keystream *k, const law *l, double scale, double mean,
                 bool lattice, amg_tensor *t)
{
    float *x = t->data;
    int64_t n = amg_tensor_count(t);
    if (l->kind == LAW_NORMAL && lattice && n >= 16) {
        for (int64_t i = 0; i + 16 <= n; i += 16) draw_block(k, scale, x + i);
        if (n % 16) draw_block(k, scale, x + n - 16);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        if (l->kind == LAW_CONSTANT)
            x[i] = (float)l->gain;
        else if (l->kind == LAW_UNIFORM) /* 24 bits, as PyTorch and the zoo draw them */
            x[i] = (float)(amg_keystream_u32(k) >> 8) * 0x1p-24f * (float)(2 * scale) -
                   (float)scale;
        else
            x[i] = (float)(mean + scale * amg_keystream_normal(k));
    }
}

/* Whether the model's normal weights came from PyTorch's generator: of independent
 * normals a fifth would be that near a whole number. */
static bool on_lattice(const study *s)
{
    int64_t pairs = 0, whole = 0;
    for (int v = 0; v < s->g->num_values; v++) {
        const amg_value *val = &s->g->values[v];
        law l;
        double mean;
        if (!is_studied(s, v) || !find_law(s, v, &l, &mean) || l.kind != LAW_NORMAL)
            continue;
        count_lattice(&val->data, scale_of(&l, fans_of(s->g, v)), &pairs, &whole);
    }
    return pairs >= 4 && whole * 10 > pairs * 8;
}

/* GPT-2 draws the projections into its residual stream by N(0, .02^2 / M), M of them:
 * a law that fits exactly as many matrices as it says, of those that no other fits. The
 * largest M that does: of small matrices, M - 1 may be near enough to M - 1 of them. */
static law find_residual(const study *s)
{
    enum { MAX_PROJECTIONS = 512 };
    const moments *rest[MAX_PROJECTIONS];
    int num_rest = 0;
    for (int v = 0; v < s->g->num_values; v++) {
        law other;
        double mean;
        if (is_studied(s, v) && s->g->values[v].rank == 2 &&
            num_rest < MAX_PROJECTIONS && !find_law(s, v, &other, &mean))
            rest[num_rest++] = &s->moments[v];
    }
    for (int m = num_rest; m >= 2; m--) {
        const law l = {LAW_NORMAL, FAN_NONE, .02 / sqrt(m)};
        int count = 0;
        for (int i = 0; i < num_rest; i++) count += explains(&l, l.gain, rest[i]);
        if (count == m) return l;
    }
    return (law){LAW_NORMAL, FAN_NONE, 0};
}

static bool is_residual(const study *s, const law *l)
{
    return l->kind == s->residual.kind && l->fan == s->residual.fan &&
           l->gain == s->residual.gain;
}

static amg_status study_weights(const amg_graph *g, const uint8_t *mine, study *s,
                                amg_error *err)
{
    *s = (study){.g = g, .mine = mine};
    s->moments = amg_calloc((size_t)g->num_values, sizeof *s->moments);
    if (!s->moments) return amg_fail(err, AMG_NO_MEMORY, -1, "decoy", "no memory");
    for (int v = 0; v < g->num_values; v++) {
        if (!is_studied(s, v)) continue;
        s->moments[v] = measure(&g->values[v].data, is_table(g, v));
        fans f = fans_of(g, v);
        for (int i = 0; !s->moments[v].constant && i < NUM_LAWS; i++)
            s->votes[g->values[v].rank][i] +=
                explains(&known_laws[i], scale_of(&known_laws[i], f), &s->moments[v]);
    }
    s->residual = find_residual(s);
    s->lattice = on_lattice(s);
    return AMG_OK;
}

static int count_unknown(const study *s)
{
    int count = 0;
    for (int v = 0; v < s->g->num_values; v++) {
        law l;
        double mean;
        count += is_studied(s, v) && !find_law(s, v, &l, &mean);
    }
    return count;
}

/* The original's parameter that a skeleton's one descends from: of the same name, or of
 * the name up to a '~' that an edit added. */
static int ancestor(const amg_graph *original, const char *name)
{
    size_t n = strlen(name);
    while (n > 0) {
        for (int v = 0; v < original->num_values; v++)
            if (!strncmp(original->values[v].name, name, n) &&
                !original->values[v].name[n])
                return v;
        do n--;
        while (n > 0 && name[n] != '~');
    }
    return -1;
}

/* What is padding in the original is padding in its decoys. */
static void copy_zero_rows(const amg_tensor *from, amg_tensor *to)
{
    if (from->dims[0] != to->dims[0]) return;
    const size_t row = to->size_bytes / (size_t)to->dims[0];
    for (int64_t r = 0; r < from->dims[0]; r++)
        if (is_zero_row(from, r)) memset((char *)to->data + (size_t)r * row, 0, row);
}

typedef struct {
    const amg_graph *skeleton;
    amg_tensor *tensors; /* per value */
} drawn;

static const amg_tensor *get_drawn(void *context, const amg_value *param)
{
    const drawn *d = context;
    return &d->tensors[param - d->skeleton->values];
}

/* The residual law of a decoy of another depth follows from how many of its own
 * matrices it is for. */
static void scale_residual(const study *s, const amg_graph *skeleton, double *gain)
{
    int count = 0;
    for (int v = 0; s->residual.gain > 0 && v < skeleton->num_values; v++) {
        law l;
        double mean;
        const amg_value *val = &skeleton->values[v];
        if (val->kind != AMG_VALUE_PARAM || val->role == AMG_ROLE_CONSTANT) continue;
        const int from = ancestor(s->g, val->name);
        count += from >= 0 && has_weights(&s->g->values[from]) &&
                 find_law(s, from, &l, &mean) && is_residual(s, &l);
    }
    *gain = count > 0 ? .02 / sqrt(count) : 0;
}

/* Whether a parameter may start as a copy of the one that it descends from. */
static bool is_same_shape(const amg_value *a, const amg_value *b)
{
    return a->rank == b->rank &&
           memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims) == 0;
}

amg_status amg_decoy_init(amg_keystream *k, const amg_graph *original,
                          const amg_graph *skeleton, bool same, amg_graph **out,
                          amg_error *err)
{
    drawn d = {.skeleton = skeleton};
    study s;
    amg_status st = study_weights(original, NULL, &s, err);
    if (st) return st;
    double residual_gain;
    scale_residual(&s, skeleton, &residual_gain);
    d.tensors = amg_calloc((size_t)skeleton->num_values, sizeof *d.tensors);
    if (!d.tensors) st = amg_fail(err, AMG_NO_MEMORY, -1, "decoy", "no memory");
    for (int v = 0; !st && v < skeleton->num_values; v++) {
        const amg_value *val = &skeleton->values[v];
        if (val->kind != AMG_VALUE_PARAM || val->role == AMG_ROLE_CONSTANT) continue;
        int from = ancestor(original, val->name);
        if (from < 0 || !has_weights(&original->values[from])) {
            st = amg_fail(err, AMG_NOT_FOUND, -1, val->name,
                          "the original has no weights for this parameter of its "
                          "decoy");
            break;
        }
        st = amg_tensor_new(AMG_F32, val->rank, val->dims, &d.tensors[v], err);
        if (!st && same && is_same_shape(val, &original->values[from])) {
            memcpy(d.tensors[v].data, original->values[from].data.data,
                   d.tensors[v].size_bytes);
            continue;
        }
        law l;
        double mean;
        bool known = find_law(&s, from, &l, &mean);
        if (is_residual(&s, &l)) l.gain = residual_gain;
        if (!st)
            draw(k, &l, scale_of(&l, fans_of(skeleton, v)), mean, known && s.lattice,
                 &d.tensors[v]);
        if (!st && is_table(original, from))
            copy_zero_rows(&original->values[from].data, &d.tensors[v]);
    }
    if (!st) st = amg_graph_with_weights(skeleton, get_drawn, &d, out, err);
    for (int v = 0; d.tensors && v < skeleton->num_values; v++)
        amg_tensor_clear(&d.tensors[v]);
    amg_free(d.tensors);
    amg_free(s.moments);
    return st;
}

amg_status amg_init_count_unknown(const amg_graph *g, int *count, amg_error *err)
{
    study s;
    const amg_status st = study_weights(g, NULL, &s, err);
    if (st) return st;
    *count = count_unknown(&s);
    amg_free(s.moments);
    return AMG_OK;
}

/* All laws that fit parameter v, as bits: a small tensor is explained by several. */
static uint32_t laws_of(const study *s, int v)
{
    uint32_t laws = 0;
    const fans f = fans_of(s->g, v);
    for (int i = 0; i < NUM_LAWS; i++)
        if (explains(&known_laws[i], scale_of(&known_laws[i], f), &s->moments[v]))
            laws |= UINT32_C(1) << i;
    if (s->residual.gain > 0 &&
        explains(&s->residual, s->residual.gain, &s->moments[v]))
        laws |= UINT32_C(1) << NUM_LAWS;
    return laws;
}

amg_status amg_init_fit_find(const amg_graph *g, const uint8_t *mine, amg_init_fit *out,
                             amg_error *err)
{
    study s;
    amg_status st = study_weights(g, mine, &s, err);
    if (st) return st;
    for (int v = 0; v < g->num_values; v++) {
        if (!is_studied(&s, v)) continue;
        law l;
        double mean;
        out[v] = (amg_init_fit){.constant = s.moments[v].constant,
                                .value = s.moments[v].first};
        if (out[v].constant) continue;
        out[v].laws = laws_of(&s, v);
        if (find_law(&s, v, &l, &mean) && l.kind == LAW_NORMAL)
            count_lattice(&g->values[v].data, scale_of(&l, fans_of(g, v)),
                          &out[v].pairs, &out[v].whole);
    }
    amg_free(s.moments);
    return AMG_OK;
}
