/* The terms of a sum of losses: as people write them, as job.json has them, and how
 * many elements of an output and of a target each takes. Knows no graph. */
#include "formats/loss_parts.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

/* ---- sizes ---- */

static int64_t product(int rank, const int64_t *dims)
{
    int64_t n = 1;
    for (int i = 0; i < rank; i++) n *= dims[i];
    return n;
}

int64_t amg_loss_part_outputs(const amg_loss_part *part)
{
    return product(part->rank, part->dims);
}

int64_t amg_loss_part_targets(const amg_loss_part *part)
{
    const bool classes = part->loss == AMG_LOSS_CROSS_ENTROPY;
    return product(part->rank - classes, part->dims + classes);
}

bool amg_loss_part_takes(const amg_loss_part *part, float target)
{
    if (part->loss == AMG_LOSS_BCE) return target >= 0 && target <= 1;
    return part->loss != AMG_LOSS_CROSS_ENTROPY ||
           (target >= 0 && target < (float)part->dims[0] && target == truncf(target));
}

bool amg_loss_parts_equal(const amg_loss_part *a, const amg_loss_part *b, int count)
{
    for (int i = 0; i < count; i++)
        if (a[i].loss != b[i].loss || a[i].delta != b[i].delta ||
            a[i].weight != b[i].weight || a[i].rank != b[i].rank ||
            memcmp(a[i].dims, b[i].dims, (size_t)a[i].rank * sizeof *a[i].dims) != 0)
            return false;
    return true;
}

amg_status amg_loss_parts_measure(const amg_loss_part *parts, int count,
                                  int64_t *outputs, int64_t *targets, amg_error *err)
{
    static const char where[] = "loss";
    int64_t all = 0;
    *targets = 0;
    for (int i = 0; i < count; i++) {
        int64_t size = 1;
        for (int d = 0; d < parts[i].rank; d++)
            if (parts[i].dims[d] < 1 || !amg_mul_i64(size, parts[i].dims[d], &size))
                return amg_fail(err, AMG_INVALID, -1, where,
                                "part %d has a dim that is no number", i);
        if (parts[i].loss == AMG_LOSS_CROSS_ENTROPY && parts[i].rank < 1)
            return amg_fail(err, AMG_INVALID, -1, where,
                            "part %d has no classes for cross_entropy", i);
        if (!amg_add_i64(all, size, &all))
            return amg_fail(err, AMG_INVALID, -1, where, "its parts overflow");
        *targets += amg_loss_part_targets(&parts[i]); /* no more than all */
    }
    *outputs = all;
    return AMG_OK;
}

/* ---- as people write them ---- */

static amg_status bad_term(const char *term, amg_error *err)
{
    return amg_fail(err, AMG_INVALID, -1, "loss",
                    "found \"%.40s\", expected WEIGHT*LOSS[:DELTA], joined by '+', as "
                    "in cross_entropy+0.5*huber:0.5",
                    term);
}

/* "WEIGHT*"; *at goes behind it. Without one the weight is 1. */
static bool parse_weight(const char **at, float *weight)
{
    char *end;
    *weight = 1;
    const float value = strtof(*at, &end);
    if (end == *at) return true;
    if (*end != '*' || !(value >= FLT_MIN) || !isfinite(value)) return false;
    *weight = value;
    *at = end + 1;
    return true;
}

/* Where a loss ends: a threshold may hold a '+' itself, as in 1e+2. */
static const char *end_of_loss(const char *at)
{
    char *end;
    at += strcspn(at, ":+");
    if (*at != ':') return at;
    (void)strtof(at + 1, &end);
    return end + strcspn(end, "+");
}

amg_status amg_loss_terms_parse(const char *text, amg_loss_part parts[AMG_MAX_PARTS],
                                int *count, amg_error *err)
{
    const char *at = text;
    int n = 0;
    for (;; at++) {
        char loss[64];
        if (n == AMG_MAX_PARTS)
            return amg_fail(err, AMG_INVALID, -1, "loss", "more than %d terms",
                            AMG_MAX_PARTS);
        amg_loss_part *part = &parts[n];
        *part = (amg_loss_part){0};
        if (!parse_weight(&at, &part->weight)) return bad_term(at, err);
        const char *end = end_of_loss(at);
        const size_t length = (size_t)(end - at);
        if (length == 0 || length >= sizeof loss) return bad_term(at, err);
        memcpy(loss, at, length);
        loss[length] = 0;
        const amg_status st = amg_loss_parse(loss, &part->loss, &part->delta, err);
        if (st) return st;
        n++;
        at = end;
        if (!*at) break;
    }
    *count = n;
    return AMG_OK;
}

/* ---- in job.json ---- */

static amg_status read_dims(const amg_json_node *node, amg_loss_part *part,
                            amg_error *err)
{
    const size_t least = part->loss == AMG_LOSS_CROSS_ENTROPY;
    size_t rank;
    amg_status st = amg_json_array(node, least, AMG_MAX_RANK - 1, &rank, err);
    part->rank = (int)(st ? 0 : rank);
    for (int i = 0; i < part->rank && !st; i++) {
        const amg_json_node dim = amg_json_element(node, (size_t)i);
        st = amg_json_int(&dim, 1, INT32_MAX, &part->dims[i], err);
    }
    return st;
}

static amg_status read_part(const amg_json_node *node, amg_loss_part *part,
                            amg_error *err)
{
    static const char *const keys[] = {"dims", "loss", "weight", "delta"};
    const amg_json_node loss = amg_json_member(node, "loss");
    const bool known = json_is_string(loss.value) &&
                       amg_loss_find_name(json_string_value(loss.value), &part->loss) &&
                       part->loss != AMG_LOSS_SUM;
    amg_status st = amg_json_object(
        node, keys, known && amg_loss_has_delta(part->loss) ? 4 : 3, err);
    if (st) return st;
    if (!known)
        return amg_json_fail(
            &loss, err, AMG_UNSUPPORTED,
            "expected cross_entropy, mse, l1, huber, smooth_l1 or bce");
    const amg_json_node dims = amg_json_member(node, "dims");
    const amg_json_node weight = amg_json_member(node, "weight");
    const amg_json_node delta = amg_json_member(node, "delta");
    st = read_dims(&dims, part, err);
    if (!st) st = amg_json_real(&weight, FLT_MIN, &part->weight, err);
    if (!st && amg_loss_has_delta(part->loss))
        st = amg_json_real(&delta, FLT_MIN, &part->delta, err);
    return st;
}

amg_status amg_loss_parts_read(const amg_json_node *node, amg_arena *arena,
                               amg_head *head, amg_error *err)
{
    size_t count;
    amg_status st = amg_json_array(node, 1, AMG_MAX_PARTS, &count, err);
    if (st) return st;
    amg_loss_part *parts = amg_arena_array(arena, count, sizeof *parts);
    if (!parts)
        return amg_fail(err, AMG_NO_MEMORY, -1, node->doc->name, "no memory for parts");
    for (size_t i = 0; i < count && !st; i++) {
        const amg_json_node part = amg_json_element(node, i);
        st = read_part(&part, &parts[i], err);
    }
    head->parts = parts;
    head->num_parts = (int)count;
    return st;
}

static json_t *part_json(const amg_loss_part *p)
{
    json_t *dims = json_array();
    for (int i = 0; i < p->rank; i++)
        json_array_append_new(dims, json_integer(p->dims[i]));
    json_t *delta = amg_loss_has_delta(p->loss) ? json_real((double)p->delta) : NULL;
    return json_pack("{s:o, s:s, s:o*, s:f}", "dims", dims, "loss",
                     amg_loss_name(p->loss), "delta", delta, "weight",
                     (double)p->weight);
}

json_t *amg_loss_parts_json(const amg_head *head)
{
    json_t *list = json_array();
    for (int i = 0; i < head->num_parts; i++)
        if (json_array_append_new(list, part_json(&head->parts[i]))) {
            json_decref(list);
            return NULL;
        }
    return list;
}
