/* Initial weights of decoys. For each parameter of the original: which of the usual
 * laws (PyTorch's defaults, He, Xavier, N(0,.01), N(0,.02), constants) explains its
 * values? The decoy's parameter, whose shape may differ, is drawn by that law with its
 * own fans. Draws come from the key's stream, so that no generator can be recognised by
 * its numbers. */
#include "obfuscate/decoy_init.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "graph/rewrite.h"

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

/* In order of preference: the first that fits explains the values. */
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
};

typedef struct {
    double in, out;
} fans;

/* Fans of a weight as PyTorch counts them; of a vector, those of the weight of the node
 * that uses it. */
static fans fans_of(const amg_graph *g, int v)
{
    int weight = v;
    bool linear = false, transposed = false;
    for (int i = 0; i < g->num_nodes; i++)
        for (int j = 1; j < g->nodes[i].num_inputs; j++)
            if (g->nodes[i].inputs[j] == v && g->nodes[i].op != AMG_OP_BATCH_NORM) {
                const amg_node *n = &g->nodes[i];
                if (g->values[n->inputs[1]].kind == AMG_VALUE_PARAM)
                    weight = n->inputs[1];
                linear = n->op == AMG_OP_GEMM || n->op == AMG_OP_MAT_MUL;
                transposed = linear && !amg_attr_int(n, "transB", 0);
            }
    const amg_value *w = &g->values[weight];
    double area = 1;
    for (int d = 2; d < w->rank; d++) area *= (double)w->dims[d];
    if (w->rank < 2) return (fans){1, 1};
    double d0 = (double)w->dims[0] * area, d1 = (double)w->dims[1] * area;
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

typedef struct {
    double mean, deviation, max;
    int64_t count;
    bool constant;
    float first;
} moments;

static moments measure(const amg_tensor *t)
{
    const float *x = t->data;
    moments m = {.count = amg_tensor_count(t), .constant = true};
    if (!m.count) return m;
    m.first = x[0];
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < m.count; i++) {
        sum += x[i];
        squares += (double)x[i] * x[i];
        if (fabs(x[i]) > m.max) m.max = fabs(x[i]);
        m.constant = m.constant && x[i] == m.first;
    }
    m.mean = sum / (double)m.count;
    double variance = squares / (double)m.count - m.mean * m.mean;
    m.deviation = variance > 0 ? sqrt(variance) : 0;
    return m;
}

/* Six standard errors of the mean and the deviation (kurtosis 1.8 and 3), and the
 * support. */
static bool explains(const law *l, double scale, const moments *m)
{
    double n = (double)m->count;
    double expected = l->kind == LAW_UNIFORM ? scale / sqrt(3) : scale;
    double kurtosis = l->kind == LAW_UNIFORM ? 1.8 : 3;
    if (fabs(m->mean) > 6 * expected / sqrt(n)) return false;
    if (fabs(m->deviation - expected) > 6 * expected * sqrt((kurtosis - 1) / (4 * n)))
        return false;
    if (l->kind == LAW_UNIFORM) return m->max <= scale * (1 + 1e-6);
    return n < 64 || m->max > 1.5 * expected; /* a uniform law has no tail */
}

/* The law of one parameter; false: none known, then *l is a normal law of its own mean
 * (in *mean). */
static bool find_law(const amg_graph *g, int v, law *l, double *mean)
{
    moments m = measure(&g->values[v].data);
    fans f = fans_of(g, v);
    *mean = 0;
    if (m.constant) {
        *l = (law){LAW_CONSTANT, FAN_NONE, m.first};
        return true;
    }
    for (size_t i = 0; i < sizeof known_laws / sizeof *known_laws; i++)
        if (explains(&known_laws[i], scale_of(&known_laws[i], f), &m)) {
            *l = known_laws[i];
            return true;
        }
    *l = (law){LAW_NORMAL, FAN_NONE, m.deviation};
    *mean = m.mean;
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
static bool on_lattice(const amg_graph *original)
{
    int64_t pairs = 0, whole = 0;
    for (int v = 0; v < original->num_values; v++) {
        const amg_value *val = &original->values[v];
        law l;
        double mean;
        if (val->kind != AMG_VALUE_PARAM || val->role != AMG_ROLE_TRAINABLE) continue;
        if (find_law(original, v, &l, &mean) && l.kind == LAW_NORMAL)
            count_lattice(&val->data, scale_of(&l, fans_of(original, v)), &pairs,
                          &whole);
    }
    return pairs >= 4 && whole * 10 > pairs * 8;
}

/* The original's parameter that a skeleton's one descends from: the name up to the
 * first '~' that an edit added. */
static int ancestor(const amg_graph *original, const char *name)
{
    int v = amg_graph_find_value(original, name);
    char base[320];
    size_t n = strlen(name);
    while (v < 0 && n > 0) {
        while (n > 0 && name[n - 1] != '~') n--;
        if (n < 2 || n > sizeof base) return -1;
        n--;
        memcpy(base, name, n);
        base[n] = 0;
        v = amg_graph_find_value(original, base);
    }
    return v;
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

amg_status amg_decoy_init(amg_keystream *k, const amg_graph *original,
                          const amg_graph *skeleton, amg_graph **out, int *num_unknown,
                          amg_error *err)
{
    drawn d = {.skeleton = skeleton};
    amg_status st = AMG_OK;
    bool lattice = on_lattice(original);
    *num_unknown = 0;
    d.tensors = amg_calloc((size_t)skeleton->num_values, sizeof *d.tensors);
    if (!d.tensors) return amg_fail(err, AMG_NO_MEMORY, -1, "decoy", "no memory");
    for (int v = 0; !st && v < skeleton->num_values; v++) {
        const amg_value *val = &skeleton->values[v];
        if (val->kind != AMG_VALUE_PARAM || val->role == AMG_ROLE_CONSTANT) continue;
        int from = ancestor(original, val->name);
        if (from < 0 || !original->values[from].data.data) {
            st =
                amg_fail(err, AMG_NOT_FOUND, -1, val->name,
                         "the original has no weights for this parameter of its decoy");
            break;
        }
        law l;
        double mean;
        if (!find_law(original, from, &l, &mean)) (*num_unknown)++;
        st = amg_tensor_new(AMG_F32, val->rank, val->dims, &d.tensors[v], err);
        if (!st)
            draw(k, &l, scale_of(&l, fans_of(skeleton, v)), mean, lattice,
                 &d.tensors[v]);
    }
    if (!st) st = amg_graph_with_weights(skeleton, get_drawn, &d, out, err);
    for (int v = 0; v < skeleton->num_values; v++) amg_tensor_clear(&d.tensors[v]);
    amg_free(d.tensors);
    return st;
}
