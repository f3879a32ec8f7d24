/* The symmetry attack: samples whose values the job mixes (obfuscate --symmetry), as
 * the cloud sees them, and put back in order by what public images of the same size say
 * about neighbours: moments and correlations of the values of a block, matched one to
 * one (matching.h). Where patches change places, too, they are matched in the same way,
 * once their values are back: neighbours' borders continue each other. Nothing can
 * pass: it says how little or much the mixing hides.
 *
 * The mixing is the same for all streams, so it is looked at on the original's. Takes
 * less than a second for blocks of 8 x 8 in three channels, seconds for images of 28 x
 * 28, most of a minute for 3 x 32 x 32. */
#include <math.h>
#include <string.h>

#include "audit/attack.h"
#include "audit/matching.h"
#include "audit/pictures.h"
#include "audit/stats.h"
#include "base/alloc.h"
#include "formats/dataset.h"

enum { COMPARED_ROWS = 32, MAX_BLOCKS = 20000, MAX_VALUES = 3072 };
/* What is taken of a patch, all channels together: its mean and those of its borders.
 */
enum { ALL, TOP, BOTTOM, LEFT, RIGHT, NUM_FACTS };
#define MAX_FLOATS ((int64_t)1 << 26) /* of the blocks of one set */

static const char attack[] = "symmetry";

static amg_status no_memory(amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, attack, "no memory for blocks");
}

/* How images are cut. */
typedef struct {
    int64_t dims[3], block[2];
    int64_t values; /* of a block, all channels */
    int64_t blocks; /* of an image */
} cutting;

static cutting cutting_of(const amg_evidence *e)
{
    cutting c = {.values = 0};
    memcpy(c.dims, e->streams[e->original].dims, sizeof c.dims);
    memcpy(c.block, e->block, sizeof c.block);
    c.values = c.dims[0] * c.block[0] * c.block[1];
    c.blocks = c.dims[1] / c.block[0] * (c.dims[2] / c.block[1]);
    return c;
}

/* Where value v of a block (channel, row, column) lies in the image. */
static int64_t pixel_of(const cutting *c, int64_t block, int64_t v)
{
    const int64_t area = c->block[0] * c->block[1], across = c->dims[2] / c->block[1];
    const int64_t y = block / across * c->block[0] + v % area / c->block[1];
    const int64_t x = block % across * c->block[1] + v % c->block[1];
    return (v / area * c->dims[1] + y) * c->dims[2] + x;
}

/* ---- blocks of many images ---- */

typedef struct {
    const amg_evidence *e; /* the original's stream, or */
    const amg_dataset *ds; /* a public set */
    int64_t num_images;
    const int32_t *match; /* the place of a block that each value is taken for; NULL:
                             its own */
} images;

static amg_status read_image(const images *from, int64_t i, void *raw, float *out,
                             const cutting *c, amg_error *err)
{
    const int64_t count = c->dims[0] * c->dims[1] * c->dims[2];
    if (from->e) {
        amg_evidence_sample(from->e, from->e->original, i, out);
        return AMG_OK;
    }
    const amg_status st = amg_dataset_read(from->ds, i, raw, NULL, err);
    const bool bytes = amg_dataset_get_info(from->ds)->dtype == AMG_U8;
    for (int64_t v = 0; v < count && !st; v++)
        out[v] = bytes ? (float)((const uint8_t *)raw)[v] : ((const float *)raw)[v];
    return st;
}

/* A row for each block: its values. */
static void add_values(const images *from, const cutting *c, const float *image,
                       float *to)
{
    (void)from;
    for (int64_t b = 0; b < c->blocks; b++)
        for (int64_t v = 0; v < c->values; v++) *to++ = image[pixel_of(c, b, v)];
}

/* A row for the image: each fact of all blocks. */
static void add_facts(const images *from, const cutting *c, const float *image,
                      float *to)
{
    const int64_t h = c->block[0], w = c->block[1];
    memset(to, 0, (size_t)(NUM_FACTS * c->blocks) * sizeof *to);
    for (int64_t b = 0; b < c->blocks; b++)
        for (int64_t v = 0; v < c->values; v++) {
            const float x = image[pixel_of(c, b, v)];
            const int64_t place = (from->match ? from->match[v] : v) % (h * w);
            const int64_t row = place / w, column = place % w;
            to[ALL * c->blocks + b] += x;
            if (row == 0) to[TOP * c->blocks + b] += x;
            if (row == h - 1) to[BOTTOM * c->blocks + b] += x;
            if (column == 0) to[LEFT * c->blocks + b] += x;
            if (column == w - 1) to[RIGHT * c->blocks + b] += x;
        }
}

/* What is looked at: rows of so many variables, several of an image. */
typedef struct {
    void (*add)(const images *from, const cutting *c, const float *image, float *to);
    int64_t rows, variables, group;
} summary;

static summary values_of(const cutting *c)
{
    return (summary){add_values, c->blocks, c->values, c->block[0] * c->block[1]};
}

static summary facts_of(const cutting *c)
{
    return (summary){add_facts, 1, NUM_FACTS * c->blocks, c->blocks};
}

static amg_status take_stats(const images *from, const cutting *c, const summary *what,
                             amg_variable_stats *out, amg_error *err)
{
    const int64_t count = c->dims[0] * c->dims[1] * c->dims[2];
    const int64_t floats = what->rows * what->variables; /* of an image */
    int64_t most = MAX_FLOATS / floats;
    if (most > MAX_BLOCKS / what->rows) most = MAX_BLOCKS / what->rows;
    if (most < 1) most = 1;
    const int64_t num = from->num_images < most ? from->num_images : most;
    float *rows = amg_malloc((size_t)(num * floats) * sizeof *rows);
    float *image = amg_malloc((size_t)count * sizeof *image);
    void *raw = amg_malloc((size_t)count * sizeof(float));
    amg_status st = rows && image && raw ? AMG_OK : no_memory(err);
    for (int64_t i = 0; i < num && !st; i++) {
        st = read_image(from, i * from->num_images / num, raw, image, c, err);
        if (!st) what->add(from, c, image, rows + i * floats);
    }
    if (!st)
        st = amg_variable_stats_of(rows, num * what->rows, what->variables, what->group,
                                   out, err);
    amg_free(rows);
    amg_free(image);
    amg_free(raw);
    return st;
}

/* ---- images put back ---- */

/* What each value of a block, and each block, of the job's is taken for; NULL: for what
 * stands there. */
typedef struct {
    int32_t *values, *blocks;
} order;

static void put_back(const amg_evidence *e, const cutting *c, const order *o,
                     int64_t row, float *seen, float *out)
{
    amg_evidence_sample(e, e->original, row, seen);
    for (int64_t b = 0; b < c->blocks; b++)
        for (int64_t v = 0; v < c->values; v++)
            out[pixel_of(c, o->blocks ? o->blocks[b] : b,
                         o->values ? o->values[v] : v)] = seen[pixel_of(c, b, v)];
}

/* How like the owner's some rows put back are, in the mean; *first: the first of them.
 */
static amg_status compare(const amg_evidence *e, const cutting *c, const order *o,
                          double *mean, double *first, amg_error *err)
{
    const size_t bytes = (size_t)(c->dims[0] * c->dims[1] * c->dims[2]) * sizeof(float);
    float *seen = amg_malloc(bytes), *out = amg_malloc(bytes), *own = amg_malloc(bytes);
    const int64_t rows = e->num_rows < COMPARED_ROWS ? e->num_rows : COMPARED_ROWS;
    const bool ok = seen && out && own;
    *mean = 0;
    for (int64_t i = 0; i < rows && ok; i++) {
        const int64_t row = i * e->num_rows / rows;
        float low, range;
        amg_picture_range(e, row, &low, &range);
        put_back(e, c, o, row, seen, out);
        amg_evidence_original(e, row, own);
        const double ssim = amg_ssim(out, own, c->dims, (double)range);
        *mean += ssim / (double)rows;
        if (i == 0) *first = ssim;
    }
    amg_free(seen);
    amg_free(out);
    amg_free(own);
    return ok ? AMG_OK : no_memory(err);
}

/* Left for right: within blocks, and blocks where they change places. */
static void mirror(const cutting *c, order *o)
{
    const int32_t w = (int32_t)c->block[1], across = (int32_t)c->dims[2] / w;
    for (int64_t v = 0; v < c->values; v++)
        o->values[v] += w - 1 - 2 * (o->values[v] % w);
    for (int64_t b = 0; o->blocks && b < c->blocks; b++)
        o->blocks[b] += across - 1 - 2 * (o->blocks[b] % across);
}

/* Statistics of photographs hardly tell left from right, who looks at one does: what
 * came out the other way round is no worse found. */
static amg_status take_better_side(const amg_evidence *e, const cutting *c, order *o,
                                   amg_error *err)
{
    double as_is = 0, turned = 0, first;
    amg_status st = compare(e, c, o, &as_is, &first, err);
    mirror(c, o);
    if (!st) st = compare(e, c, o, &turned, &first, err);
    if (turned <= as_is) mirror(c, o);
    return st;
}

static amg_status add_picture(const amg_attack_task *task, const cutting *c,
                              const order *o, const char *title, double ssim,
                              amg_error *err)
{
    const amg_evidence *e = task->evidence;
    const amg_picture picture = {.title = title, .stream = e->original, .ssim = ssim};
    const size_t bytes = (size_t)(c->dims[0] * c->dims[1] * c->dims[2]) * sizeof(float);
    float *seen = amg_malloc(bytes), *out = amg_malloc(bytes);
    amg_status st = seen && out ? AMG_OK : no_memory(err);
    if (!st) put_back(e, c, o, 0, seen, out);
    if (!st) st = amg_picture_add(e, 0, c->dims, out, picture, task->findings, err);
    amg_free(seen);
    amg_free(out);
    return st;
}

/* Mean likeness over some rows, a finding and, where something was put back, a picture
 * (as the cloud sees it is the candidate's). how: what was done, and source of it, for
 * the sentence. */
static amg_status report(const amg_attack_task *task, const cutting *c, const order *o,
                         const char *metric, const char *how, const char *source,
                         amg_error *err)
{
    amg_finding f = amg_finding_new(attack, metric);
    double first = 0;
    amg_status st = compare(task->evidence, c, o, &f.value, &first, err);
    if (!st && o->values)
        st = add_picture(task, c, o, "Put back in order by public images", first, err);
    if (!st)
        st = amg_findings_add(task->findings, &f, err,
                              "%s%s, your samples are like themselves to %.2f "
                              "(structural similarity; 1: the same, 0: nothing in "
                              "common).",
                              how, source, f.value);
    return st;
}

/* Blocks, once their values are back. */
static amg_status match_blocks(const images *own, const images *public,
                               const cutting *c, int32_t *match, amg_error *err)
{
    const summary facts = facts_of(c);
    amg_variable_stats seen = {0}, known = {0};
    amg_status st = take_stats(own, c, &facts, &seen, err);
    if (!st) st = take_stats(public, c, &facts, &known, err);
    if (!st) st = amg_match_variables(&seen, &known, true, match, err);
    amg_variable_stats_clear(&seen);
    amg_variable_stats_clear(&known);
    return st;
}

/* seen: of the values of all blocks of the job. */
static amg_status find_order(const amg_evidence *e, const amg_variable_stats *seen,
                             const images *public, const cutting *c, order *o,
                             amg_error *err)
{
    const images own = {.e = e, .num_images = e->num_rows, .match = o->values};
    const summary values = values_of(c);
    amg_variable_stats known = {0};
    amg_status st = take_stats(public, c, &values, &known, err);
    if (!st) st = amg_match_variables(seen, &known, false, o->values, err);
    if (!st && o->blocks) st = match_blocks(&own, public, c, o->blocks, err);
    amg_variable_stats_clear(&known);
    return st;
}

/* One public set; *used stays as it was if its images are others. */
static amg_status try_set(const amg_attack_task *task, const cutting *c,
                          const amg_variable_stats *seen, const char *spec, bool *used,
                          amg_error *err)
{
    const amg_evidence *e = task->evidence;
    const bool patches = e->patches && NUM_FACTS * c->blocks <= MAX_VALUES;
    amg_dataset *ds = NULL;
    amg_status st = amg_dataset_open(spec, &ds, err);
    if (st) return st;
    const amg_dataset_info *info = amg_dataset_get_info(ds);
    order o = {.values = amg_calloc((size_t)c->values, sizeof *o.values)};
    if (patches) /* each fact of all blocks, matched alike: of the first we make use */
        o.blocks = amg_calloc((size_t)(NUM_FACTS * c->blocks), sizeof *o.blocks);
    const bool fits = info->rank == 3 && info->dtype != AMG_I32 &&
                      memcmp(info->dims, c->dims, sizeof c->dims) == 0;
    if (!o.values || (patches && !o.blocks)) st = no_memory(err);
    if (!st && fits) {
        const images from = {.ds = ds, .num_images = info->num_samples};
        *used = true;
        st = find_order(e, seen, &from, c, &o, err);
        if (!st) st = take_better_side(e, c, &o, err);
        if (!st)
            st = report(task, c, &o, "SSIM of samples put back in order",
                        "Put back in order by the statistics of ", spec, err);
    }
    amg_free(o.values);
    amg_free(o.blocks);
    amg_dataset_close(ds);
    return st;
}

amg_status amg_attack_symmetry(const amg_attack_task *task, amg_error *err)
{
    const amg_evidence *e = task->evidence;
    if (!e->has_truth)
        return amg_findings_skip(task->findings, attack, err,
                                 "needs the key: it compares images with yours");
    if (!e->own_order)
        return amg_findings_skip(task->findings, attack, err,
                                 "the job does not mix the values of samples (amalgam "
                                 "obfuscate --symmetry)");
    if (!e->is_image)
        return amg_findings_skip(task->findings, attack, err, "needs images");
    const cutting c = cutting_of(e);
    const order as_seen = {0};
    amg_variable_stats seen = {0};
    bool used = false;
    amg_status st = report(task, &c, &as_seen, "SSIM of samples as the cloud sees them",
                           "With their values mixed", "", err);
    if (st || task->options->num_lookup == 0) return st;
    if (c.values > MAX_VALUES)
        return amg_findings_skip(task->findings, attack, err,
                                 "blocks of %lld values are too many to match",
                                 (long long)c.values);
    const images own = {.e = e, .num_images = e->num_rows};
    const summary values = values_of(&c);
    st = take_stats(&own, &c, &values, &seen, err);
    for (int i = 0; i < task->options->num_lookup && !st; i++)
        st = try_set(task, &c, &seen, task->options->lookup[i], &used, err);
    if (!st && !used)
        st = amg_findings_skip(task->findings, attack, err,
                               "no --aux set has images of this size");
    amg_variable_stats_clear(&seen);
    return st;
}
