/* See freeze.h. An owner names initializers of the model as read; what trains are the
 * folded graph's parameters, which may be made of several of them (graph/origin.h). So
 * patterns mark initializers, and a parameter is frozen where all that it is made of
 * is marked. */
#include "graph/freeze.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

enum { MAX_NAME = 255, NUM_NEAR = 3 };

/* One search. Marks are per value of the model as read. */
typedef struct {
    const amg_graph *source, *folded;
    const amg_origin *origin;
    bool *trains, *marked, *homes; /* homes: of the parameter at hand */
    int num_trainables;            /* of folded */
    amg_frozen found;
} search;

static amg_status no_memory(amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, "freeze", "no memory for names");
}

static bool is_trainable(const amg_value *v)
{
    return v->kind == AMG_VALUE_PARAM && v->role == AMG_ROLE_TRAINABLE;
}

/* ---- patterns ---- */

static int smallest(int a, int b, int c)
{
    const int less = a < b ? a : b;
    return less < c ? less : c;
}

/* How many characters must be inserted, left out or replaced; of long names only the
 * beginning counts. */
static int edit_distance(const char *a, const char *b)
{
    int row[MAX_NAME + 1];
    const int n = (int)strnlen(b, MAX_NAME);
    for (int j = 0; j <= n; j++) row[j] = j;
    for (int i = 1; i <= MAX_NAME && a[i - 1]; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            const int replaced = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = smallest(row[j] + 1, row[j - 1] + 1, replaced);
        }
    }
    return row[n];
}

/* The names of trained initializers that are nearest to the pattern. */
static amg_status not_found(const search *s, const char *pattern, amg_error *err)
{
    const char *near[NUM_NEAR] = {0};
    int distance[NUM_NEAR] = {0};
    for (int v = 0; v < s->source->num_values; v++) {
        if (!s->trains[v]) continue;
        const char *name = s->source->values[v].name;
        const int d = edit_distance(pattern, name);
        int i = NUM_NEAR;
        while (i > 0 && (!near[i - 1] || d < distance[i - 1])) i--;
        for (int j = NUM_NEAR - 1; j > i; j--) {
            near[j] = near[j - 1];
            distance[j] = distance[j - 1];
        }
        if (i == NUM_NEAR) continue;
        near[i] = name;
        distance[i] = d;
    }
    (void)amg_fail(err, AMG_NOT_FOUND, -1, "freeze",
                   "\"%.100s\" matches none of the model's weights", pattern);
    amg_hint(err, "there are %.80s%s%.80s%s%.80s (amalgam inspect names them all)",
             near[0] ? near[0] : "none", near[1] ? ", " : "", near[1] ? near[1] : "",
             near[2] ? ", " : "", near[2] ? near[2] : "");
    return AMG_NOT_FOUND;
}

static amg_status mark_matching(search *s, const char *pattern, amg_error *err)
{
    bool any = false;
    for (int v = 0; v < s->source->num_values; v++) {
        if (!s->trains[v] || fnmatch(pattern, s->source->values[v].name, 0)) continue;
        s->marked[v] = any = true;
    }
    return any ? AMG_OK : not_found(s, pattern, err);
}

/* The patterns between the commas of text; one behind a backslash is no border. */
static amg_status mark_list(search *s, const char *text, amg_error *err)
{
    char *list = amg_strdup(text);
    if (!list) return no_memory(err);
    amg_status status = AMG_OK;
    char *pattern = list;
    for (char *at = list; !status; at++) {
        if (*at == '\\' && at[1]) {
            at++;
            continue;
        }
        if (*at && *at != ',') continue;
        const bool last = !*at;
        *at = 0;
        status = mark_matching(s, pattern, err);
        pattern = at + 1;
        if (last) break;
    }
    amg_free(list);
    return status;
}

/* ---- parameters ---- */

static amg_status add(search *s, const char *name, amg_error *err)
{
    amg_frozen *f = &s->found;
    for (int i = 0; i < f->count; i++)
        if (!strcmp(f->names[i], name)) return AMG_OK;
    if (!(f->names[f->count] = amg_strdup(name))) return no_memory(err);
    f->count++;
    return AMG_OK;
}

/* Freezes folded's trainable v if all of its homes are marked. */
static amg_status freeze(search *s, int v, amg_error *err)
{
    const char *marked = NULL, *other = NULL;
    amg_origin_find_homes(s->origin, v, s->homes);
    for (int i = 0; i < s->source->num_values; i++) {
        if (!s->homes[i]) continue;
        if (s->marked[i])
            marked = s->source->values[i].name;
        else
            other = s->source->values[i].name;
    }
    if (!marked) return AMG_OK;
    if (!other) return add(s, s->folded->values[v].name, err);
    (void)amg_fail(err, AMG_UNSUPPORTED, -1, "freeze",
                   "\"%.100s\" would be frozen and \"%.100s\" not, but the two train "
                   "as one parameter",
                   marked, other);
    amg_hint(err, "freeze both, or none of them");
    return AMG_UNSUPPORTED;
}

static bool is_frozen(const search *s, int v)
{
    for (int i = 0; v != AMG_NO_VALUE && i < s->found.count; i++)
        if (!strcmp(s->found.names[i], s->folded->values[v].name)) return true;
    return false;
}

/* The running statistics of batch norms whose scale and bias are frozen. */
static amg_status freeze_stats(search *s, amg_error *err)
{
    const int before = s->found.count;
    for (int n = 0; n < s->folded->num_nodes; n++) {
        const amg_node *node = &s->folded->nodes[n];
        if (node->op != AMG_OP_BATCH_NORM || !is_frozen(s, node->inputs[1]) ||
            !is_frozen(s, node->inputs[2]))
            continue;
        for (int i = 3; i < 5; i++) {
            amg_status status = add(s, s->folded->values[node->inputs[i]].name, err);
            if (status) return status;
        }
    }
    if (s->found.count > before) return AMG_OK;
    return amg_fail(err, AMG_INVALID, -1, "freeze",
                    "no batch norm has its scale and bias frozen, so there are no "
                    "running statistics to freeze");
}

static amg_status freeze_all(search *s, bool norm_stats, amg_error *err)
{
    amg_status status = AMG_OK;
    s->found.names =
        amg_calloc((size_t)s->folded->num_values + 1, sizeof *s->found.names);
    if (!s->found.names) return no_memory(err);
    for (int v = 0; v < s->folded->num_values && !status; v++)
        if (is_trainable(&s->folded->values[v])) status = freeze(s, v, err);
    if (!status && s->found.count == s->num_trainables)
        return amg_fail(err, AMG_INVALID, -1, "freeze",
                        "all %d weights of the model are frozen: nothing would train",
                        s->num_trainables);
    return !status && norm_stats ? freeze_stats(s, err) : status;
}

static void find_trained(search *s)
{
    for (int v = 0; v < s->folded->num_values; v++) {
        if (!is_trainable(&s->folded->values[v])) continue;
        s->num_trainables++;
        amg_origin_find_homes(s->origin, v, s->homes);
        for (int i = 0; i < s->source->num_values; i++)
            s->trains[i] = s->trains[i] || s->homes[i];
    }
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

amg_status amg_frozen_find(const amg_origin *o, const char *const *patterns,
                           int num_patterns, bool norm_stats, amg_frozen *out,
                           amg_error *err)
{
    search s = {
        .source = amg_origin_source(o), .folded = amg_origin_folded(o), .origin = o};
    const size_t n = (size_t)s.source->num_values + 1;
    amg_status status = AMG_OK;
    *out = (amg_frozen){0};
    if (num_patterns == 0) return AMG_OK;
    s.trains = amg_calloc(n, sizeof *s.trains);
    s.marked = amg_calloc(n, sizeof *s.marked);
    s.homes = amg_calloc(n, sizeof *s.homes);
    if (s.trains && s.marked && s.homes)
        find_trained(&s);
    else
        status = no_memory(err);
    for (int i = 0; i < num_patterns && !status; i++)
        status = mark_list(&s, patterns[i], err);
    if (!status) status = freeze_all(&s, norm_stats, err);
    amg_free(s.trains);
    amg_free(s.marked);
    amg_free(s.homes);
    if (status) {
        amg_frozen_clear(&s.found);
        return status;
    }
    qsort(s.found.names, (size_t)s.found.count, sizeof *s.found.names, by_bytes);
    *out = s.found;
    return AMG_OK;
}

void amg_frozen_clear(amg_frozen *f)
{
    for (int i = 0; i < f->count; i++) amg_free(f->names[i]);
    amg_free(f->names);
    *f = (amg_frozen){0};
}

bool amg_frozen_has(const char *const *names, int count, const char *name)
{
    return count > 0 &&
           bsearch(&name, names, (size_t)count, sizeof *names, by_bytes) != NULL;
}
