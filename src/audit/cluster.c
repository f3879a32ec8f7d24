/* Cluster: which positions belong together, found from the data alone. Each position is
 * linked to those it goes together with more than chance would have it; what hangs
 * together is cut into as many clusters as the job has candidates.
 *
 *   neighbours ─► links above chance ─► parts; tiny ones are left over (noise)
 *              ─► eigenvectors of the normalised Laplacian ─► k-means ─► clusters
 *
 * Streams cannot pass: they are natural data, each by itself, so whoever holds the data
 * sees every sample as k+1 candidates; how many are exposed is reported. In paper mode
 * there is one cluster to find, the original's positions. Then the best cluster's
 * values, in the order that the model's select tells, are compared with the sample.
 *
 * Cost: beside corr's neighbours, seconds for 12,288 positions. Memory: 30 MB. */
#include <math.h>
#include <string.h>

#include "audit/positions.h"
#include "audit/rebuild.h"
#include "audit/spectral.h"
#include "audit/stats.h"
#include "base/alloc.h"
#include "base/progress.h"

enum {
    MAX_GROUPS = 64,    /* the eigenvectors' cost grows with the square */
    SMALLEST_PART = 20, /* parts below a 20th of a stream's size are left over */
    RESTARTS = 8        /* of k-means */
};
#define NOT_CONVERGED 1e-3
/* A stream is exposed if cluster and stream agree in so much of either. */
#define EXPOSED_SHARE 0.9

typedef struct {
    const amg_attack_task *task;
    const amg_evidence *e;
    const amg_neighbours *near;
    bool streams; /* each position is of exactly one; else of the original or noise */
    int groups;   /* to look for */
    int64_t n;    /* positions that were correlated */
    int32_t *stream;  /* [n] of which a position is; not streams: of the original, 0, or
                         noise, 1 */
    int32_t *cluster; /* [n] 0 .. groups - 1, or groups: left over */
    int32_t *node;    /* [n] node of the graph, -1: left over */
    int32_t *part;    /* [n] the part's first position, a forest while it is found */
    uint8_t *linked;  /* [n][top of near] */
    int64_t num_nodes;
    double residual; /* of the eigenvectors */
} clustering;

static amg_status no_memory(amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, "cluster", "no memory for the graph");
}

/* ---- what there is to find ---- */

/* Selects are public; in paper mode they overlap or leave positions to nobody. */
static void find_streams(clustering *c)
{
    int64_t taken = 0;
    bool twice = false;
    for (int64_t p = 0; p < c->n; p++) c->stream[p] = -1;
    for (int s = 0; s < c->e->num_streams; s++)
        for (int64_t i = 0; i < c->e->streams[s].num_values; i++) {
            const int64_t p = c->e->streams[s].select[i];
            if (p >= c->n) continue;
            twice |= c->stream[p] >= 0;
            taken += c->stream[p] < 0;
            c->stream[p] = s;
        }
    c->streams = !twice && taken == c->n;
    c->groups = c->streams ? c->e->num_streams : 1;
    if (!c->streams && c->e->has_truth)
        for (int64_t p = 0; p < c->n; p++) c->stream[p] = !c->e->is_own[p];
}

/* A position that never changes: it is the same in every stream, and no noise. */
static bool is_blank(const clustering *c, int64_t p)
{
    return c->near->corr[p * c->near->top] == 0;
}

/* ---- the graph ---- */

/* The largest |correlation| that one position has with all others by chance, but for
 * one position in a hundred (Fisher's z). */
static double chance_correlation(const clustering *c)
{
    const double rows = (double)amg_attack_neighbour_rows(c->e);
    const double z = -amg_normal_quantile(0.005 / (double)c->n);
    return tanh(z / sqrt(rows - 3));
}

static int64_t root(int32_t *part, int64_t p)
{
    while (part[p] != p) p = part[p] = part[part[p]];
    return p;
}

static bool is_near(const clustering *c, int64_t p, int64_t of)
{
    const int32_t *near = c->near->index + of * c->near->top;
    for (int t = 0; t < c->near->top; t++)
        if (near[t] == p) return true;
    return false;
}

/* Two positions are linked if each is a neighbour of the other: noise has its largest
 * correlations with real positions, but they have larger ones. */
static int64_t find_links(clustering *c, double chance)
{
    int64_t count = 0;
    for (int64_t p = 0; p < c->n; p++)
        for (int64_t l = p * c->near->top; l < (p + 1) * c->near->top; l++) {
            c->linked[l] = fabs((double)c->near->corr[l]) > chance &&
                           is_near(c, p, c->near->index[l]);
            count += c->linked[l];
        }
    return count;
}

/* Parts by union and find; nodes are the positions of those that are large enough.
 * size: room for n. */
static void find_nodes(clustering *c, int64_t *size)
{
    for (int64_t p = 0; p < c->n; p++) c->part[p] = (int32_t)p;
    for (int64_t l = 0; l < c->n * c->near->top; l++) {
        if (!c->linked[l]) continue;
        const int64_t a = root(c->part, l / c->near->top);
        const int64_t b = root(c->part, c->near->index[l]);
        c->part[a > b ? a : b] = (int32_t)(a > b ? b : a);
    }
    memset(size, 0, (size_t)c->n * sizeof *size);
    for (int64_t p = 0; p < c->n; p++) size[root(c->part, p)]++;
    int64_t least =
        c->e->streams[0].num_values * c->n / c->e->num_positions / SMALLEST_PART;
    least = least < 2 ? 2 : least;
    for (int64_t p = 0; p < c->n; p++)
        c->node[p] = size[root(c->part, p)] >= least ? (int32_t)c->num_nodes++ : -1;
}

static amg_status make_graph(const clustering *c, int64_t num_links, amg_links *g,
                             amg_error *err)
{
    g->n = c->num_nodes;
    g->start = amg_calloc((size_t)g->n + 1, sizeof *g->start);
    g->index = amg_malloc((size_t)num_links * sizeof *g->index);
    g->weight = amg_malloc((size_t)num_links * sizeof *g->weight);
    if (!g->start || !g->index || !g->weight) return no_memory(err);
    int64_t count = 0;
    for (int64_t p = 0; p < c->n; p++) {
        if (c->node[p] < 0) continue;
        for (int64_t l = p * c->near->top; l < (p + 1) * c->near->top; l++) {
            if (!c->linked[l]) continue;
            g->index[count] = c->node[c->near->index[l]];
            g->weight[count++] = fabsf(c->near->corr[l]);
        }
        g->start[c->node[p] + 1] = count;
    }
    return AMG_OK;
}

static void links_clear(amg_links *g)
{
    amg_free(g->start);
    amg_free(g->index);
    amg_free(g->weight);
}

/* ---- clusters ---- */

/* Each node's numbers to length 1 (Ng, Jordan and Weiss 2001), then k-means. */
static amg_status cut(clustering *c, const amg_links *g, amg_error *err)
{
    const int k = c->groups;
    double *x = amg_malloc((size_t)g->n * (size_t)k * sizeof *x);
    int32_t *cluster = amg_malloc((size_t)g->n * sizeof *cluster);
    amg_status st = x && cluster ? AMG_OK : no_memory(err);
    const uint64_t seed = c->task->seed;
    if (!st)
        st = amg_spectral_vectors(g, k, amg_rng_init(seed, 0), x, &c->residual, err);
    if (st) goto done;
    for (int64_t i = 0; i < g->n; i++) {
        double length = 0;
        for (int j = 0; j < k; j++) length += x[i * k + j] * x[i * k + j];
        for (int j = 0; j < k && length > 0; j++) x[i * k + j] /= sqrt(length);
    }
    st = amg_kmeans(x, g->n, k, k, RESTARTS, amg_rng_init(seed, 1), cluster, err);
    if (st) goto done;
    for (int64_t p = 0; p < c->n; p++)
        if (c->node[p] >= 0) c->cluster[p] = cluster[c->node[p]];
done:
    amg_free(x);
    amg_free(cluster);
    return st;
}

/* A position that is left over joins the cluster of its neighbours: each stream has all
 * of its positions. joined: room for n. */
static void join_left_over(clustering *c, int32_t *joined)
{
    memcpy(joined, c->cluster, (size_t)c->n * sizeof *joined);
    for (int64_t p = 0; p < c->n; p++) {
        double weight[MAX_GROUPS + 1] = {0};
        if (c->node[p] >= 0) continue;
        for (int64_t l = p * c->near->top; l < (p + 1) * c->near->top; l++)
            weight[c->cluster[c->near->index[l]]] += fabs((double)c->near->corr[l]);
        for (int32_t g = 0; g < c->groups; g++)
            if (weight[g] > 0 &&
                (joined[p] == c->groups || weight[g] > weight[joined[p]]))
                joined[p] = g;
    }
    memcpy(c->cluster, joined, (size_t)c->n * sizeof *joined);
}

static amg_status find_clusters(clustering *c, amg_error *err)
{
    amg_links g = {0};
    int64_t *room = amg_malloc((size_t)c->n * sizeof *room);
    if (!room) return no_memory(err);
    const int64_t num_links = find_links(c, chance_correlation(c));
    find_nodes(c, room);
    amg_free(room);
    for (int64_t p = 0; p < c->n; p++)
        c->cluster[p] =
            c->streams || (c->node[p] < 0 && !is_blank(c, p)) ? c->groups : 0;
    if (!c->streams || c->num_nodes <= c->groups) return AMG_OK;
    amg_status st = make_graph(c, num_links, &g, err);
    if (!st) st = amg_tick(c->task->progress, "cluster", 1, 2, err);
    if (!st) st = cut(c, &g, err);
    if (!st) join_left_over(c, c->part);
    links_clear(&g);
    return st;
}

/* ---- findings ---- */

static int64_t count_both(const clustering *c, int stream, int32_t cluster)
{
    const amg_stream *s = &c->e->streams[stream];
    int64_t both = 0;
    for (int64_t i = 0; i < s->num_values; i++)
        both += s->select[i] < c->n && c->cluster[s->select[i]] == cluster;
    return both;
}

/* The cluster that has most of a stream's positions, and how many; -1: none has any. */
static int32_t best_cluster(const clustering *c, int stream, int64_t *both)
{
    int32_t best = -1;
    *both = 0;
    for (int32_t g = 0; g < c->groups; g++) {
        const int64_t n = count_both(c, stream, g);
        if (n <= *both) continue;
        *both = n;
        best = g;
    }
    return best;
}

static int count_exposed(const clustering *c)
{
    int exposed = 0;
    for (int s = 0; s < c->e->num_streams; s++) {
        int64_t both, in_stream = 0, in_cluster = 0;
        const int32_t best = best_cluster(c, s, &both);
        for (int64_t p = 0; p < c->n; p++) {
            in_stream += c->stream[p] == s && !is_blank(c, p);
            in_cluster += c->cluster[p] == best;
        }
        exposed += (double)both >= EXPOSED_SHARE * (double)in_stream &&
                   (double)both >= EXPOSED_SHARE * (double)in_cluster;
    }
    return exposed;
}

/* Adjusted Rand index over the positions that tell something. */
static amg_status agreement(const clustering *c, double *ari, amg_error *err)
{
    int32_t *found = amg_malloc((size_t)c->n * 2 * sizeof *found),
            *truth = found + c->n;
    if (!found) return no_memory(err);
    int64_t n = 0;
    for (int64_t p = 0; p < c->n; p++) {
        if (is_blank(c, p)) continue;
        found[n] = c->cluster[p];
        truth[n++] = c->stream[p];
    }
    *ari = amg_adjusted_rand(found, truth, n);
    amg_free(found);
    return isnan(*ari) ? no_memory(err) : AMG_OK;
}

/* What did not come out well, for the end of a text. */
static const char *doubts(const clustering *c)
{
    return c->residual > NOT_CONVERGED
               ? " (The eigenvectors did not converge: a better attacker may do more.)"
               : "";
}

static amg_status report_streams(const clustering *c, double ari, amg_error *err)
{
    amg_findings *to = c->task->findings;
    amg_finding f = amg_finding_new("cluster", "clusters against candidates (ARI)");
    f.value = ari;
    f.chance = 0;
    amg_status st = amg_findings_add(
        to, &f, err,
        "Without the model, %lld of %lld positions were sorted by what goes together "
        "over %lld samples. The clusters agree with the %d candidates to %.3f (1: "
        "exactly, 0: by chance).%s",
        (long long)c->num_nodes, (long long)c->n,
        (long long)amg_attack_neighbour_rows(c->e), c->groups, ari, doubts(c));
    if (st) return st;
    f = amg_finding_new("cluster", "candidates exposed");
    f.value = count_exposed(c);
    return amg_findings_add(
        to, &f, err,
        "%d of %d candidates can be told from each other in the data alone; with the "
        "model all can. Each sample of yours is one of them, in clear: that cannot be "
        "hidden, only which one is yours.",
        (int)f.value, c->groups);
}

static amg_status report_noise(const clustering *c, int guess, double ari,
                               amg_error *err)
{
    amg_finding f = amg_finding_new("cluster", "clusters against the truth (ARI)");
    f.value = ari;
    f.chance = 0;
    f.guess = guess;
    return amg_findings_add(
        c->task->findings, &f, err,
        "%lld of %lld positions go together with others more than chance would have it "
        "(%lld samples): an attacker takes them for real and the rest for noise%s.%s",
        (long long)c->num_nodes, (long long)c->n,
        (long long)amg_attack_neighbour_rows(c->e),
        c->e->has_truth && ari == 1 ? ", and is right about every one" : "",
        c->e->has_truth && ari > 0.5 ? " Noise hides nothing here: use covers "
                                       "(--decoys-from)."
                                     : "");
}

static amg_status report(const clustering *c, double ari, amg_error *err)
{
    const amg_evidence *e = c->e;
    int64_t both;
    uint8_t *found = amg_calloc((size_t)e->num_positions, 1);
    if (!found) return no_memory(err);
    const bool own = c->streams && e->has_truth; /* the original's own cluster */
    const int32_t cluster = own ? best_cluster(c, e->original, &both) : 0;
    for (int64_t p = 0; p < c->n; p++)
        found[p] = c->cluster[p] == cluster || is_blank(c, p);
    const int stream = own ? e->original : amg_rebuild_stream(e, found);
    amg_status st =
        c->streams ? report_streams(c, ari, err) : report_noise(c, stream, ari, err);
    if (!st)
        st =
            amg_rebuild_report(c->task, "cluster",
                               c->streams ? "Rebuilt from the cluster of your candidate"
                                          : "Rebuilt from the cluster",
                               stream, found, err);
    amg_free(found);
    return st;
}

static amg_status run(clustering *c, amg_error *err)
{
    find_streams(c);
    if (c->groups > MAX_GROUPS)
        return amg_findings_skip(c->task->findings, "cluster", err,
                                 "the job has %d candidates, more than the %d that are "
                                 "sorted",
                                 c->groups, MAX_GROUPS);
    amg_status st = amg_tick(c->task->progress, "cluster", 0, 2, err);
    if (!st) st = find_clusters(c, err);
    if (st) return st;
    const bool known = c->streams || c->e->has_truth;
    double ari = NAN;
    if (known) st = agreement(c, &ari, err);
    return st ? st : report(c, ari, err);
}

amg_status amg_attack_cluster(const amg_attack_task *task, amg_error *err)
{
    const amg_evidence *e = task->evidence;
    if (e->num_rows < AMG_ROW_GROUPS || e->num_positions < 4)
        return amg_findings_skip(task->findings, "cluster", err,
                                 "needs %d samples and 4 values, the job has %lld and "
                                 "%lld",
                                 AMG_ROW_GROUPS, (long long)e->num_rows,
                                 (long long)e->num_positions);
    amg_status st = amg_attack_neighbours(task, err);
    if (st) return st;
    clustering c = {.task = task, .e = e, .near = task->neighbours};
    c.n = c.near->n;
    c.stream = amg_calloc((size_t)c.n, sizeof *c.stream);
    c.cluster = amg_calloc((size_t)c.n, sizeof *c.cluster);
    c.node = amg_calloc((size_t)c.n, sizeof *c.node);
    c.part = amg_calloc((size_t)c.n, sizeof *c.part);
    c.linked = amg_calloc((size_t)c.n, (size_t)c.near->top);
    st = c.stream && c.cluster && c.node && c.part && c.linked ? run(&c, err)
                                                               : no_memory(err);
    amg_free(c.stream);
    amg_free(c.cluster);
    amg_free(c.node);
    amg_free(c.part);
    amg_free(c.linked);
    return st;
}
