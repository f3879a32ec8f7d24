/* The list of findings: keeps what attacks report, in order, and gives each its verdict
 * from its numbers alone. Texts live in the list's arena, pictures are owned. Knows
 * nothing of attacks or jobs. */
#include "audit/finding.h"

#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/alloc.h"

const char *amg_verdict_name(amg_verdict v)
{
    static const char *const names[] = {"pass", "FAIL", "report", "skipped"};
    return names[v];
}

amg_finding amg_finding_new(const char *attack, const char *metric)
{
    return (amg_finding){.attack = attack,
                         .metric = metric,
                         .value = NAN,
                         .low = NAN,
                         .high = NAN,
                         .chance = NAN,
                         .pass_low = NAN,
                         .pass_high = NAN,
                         .guess = -1,
                         .verdict = AMG_VERDICT_REPORT};
}

/* One end of the range may be open (NaN). */
static amg_verdict judge(const amg_finding *f)
{
    const bool interval = !isnan(f->low) && !isnan(f->high) && !f->by_value;
    const double low = interval ? f->low : f->value;
    const double high = interval ? f->high : f->value;
    if (isnan(f->value) || (isnan(f->pass_low) && isnan(f->pass_high)))
        return AMG_VERDICT_REPORT;
    return high < f->pass_low || low > f->pass_high ? AMG_VERDICT_FAIL
                                                    : AMG_VERDICT_PASS;
}

static amg_status no_memory(amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, "audit", "no memory for findings");
}

/* The formatted text in the arena; NULL when out of memory. */
AMG_PRINTF(2, 0)
static const char *write_text(amg_arena *arena, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    const int length = vsnprintf(NULL, 0, format, args);
    char *text = length < 0 ? NULL : amg_arena_alloc(arena, (size_t)length + 1);
    if (text) vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    return text;
}

/* items with room for one more element of size bytes; NULL when out of memory, items
 * are then as they were. */
static void *with_room(void *items, int count, int *capacity, size_t size)
{
    if (count < *capacity) return items;
    if (*capacity > INT_MAX / 2) return NULL;
    const int larger = *capacity ? *capacity * 2 : 16;
    void *grown = amg_realloc(items, (size_t)larger * size);
    if (grown) *capacity = larger;
    return grown;
}

AMG_PRINTF(4, 0)
static amg_status append(amg_findings *f, const amg_finding *finding, amg_error *err,
                         const char *format, va_list args)
{
    const char *text = write_text(&f->arena, format, args);
    if (!text) return no_memory(err);
    amg_finding *items = with_room(f->items, f->count, &f->capacity, sizeof *f->items);
    if (!items) return no_memory(err);
    f->items = items;
    items[f->count] = *finding;
    items[f->count++].text = text;
    return AMG_OK;
}

amg_status amg_findings_add(amg_findings *f, const amg_finding *finding, amg_error *err,
                            const char *format, ...)
{
    amg_finding judged = *finding;
    judged.verdict = judge(finding);
    va_list args;
    va_start(args, format);
    const amg_status st = append(f, &judged, err, format, args);
    va_end(args);
    return st;
}

amg_status amg_findings_skip(amg_findings *f, const char *attack, amg_error *err,
                             const char *format, ...)
{
    amg_finding skipped = amg_finding_new(attack, "");
    skipped.verdict = AMG_VERDICT_SKIPPED;
    va_list args;
    va_start(args, format);
    const amg_status st = append(f, &skipped, err, format, args);
    va_end(args);
    return st;
}

amg_status amg_findings_add_picture(amg_findings *f, amg_picture *picture,
                                    amg_error *err)
{
    amg_picture *pictures = with_room(f->pictures, f->num_pictures,
                                      &f->picture_capacity, sizeof *f->pictures);
    if (!pictures) {
        amg_tensor_clear(&picture->image);
        return no_memory(err);
    }
    f->pictures = pictures;
    pictures[f->num_pictures++] = *picture;
    picture->image = (amg_tensor){0};
    return AMG_OK;
}

void amg_findings_clear(amg_findings *f)
{
    for (int i = 0; i < f->num_pictures; i++) amg_tensor_clear(&f->pictures[i].image);
    amg_free(f->pictures);
    amg_free(f->items);
    amg_arena_clear(&f->arena);
    *f = (amg_findings){0};
}
