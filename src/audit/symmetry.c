/* The symmetry attack: samples whose values the job mixes (obfuscate --symmetry), as
 * the cloud sees them, and put back in order by what public images of the same size say
 * about neighbours: moments and correlations of the values of a block, matched one to
 * one (matching.h). Nothing can pass: it says how little or much the mixing hides.
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

static amg_status take_stats(const images *from, const cutting *c,
                             amg_variable_stats *out, amg_error *err)
{
    const int64_t count = c->dims[0] * c->dims[1] * c->dims[2];
    int64_t most = MAX_FLOATS / c->values / c->blocks;
    if (most > MAX_BLOCKS / c->blocks) most = MAX_BLOCKS / c->blocks;
    if (most < 1) most = 1;
    const int64_t num = from->num_images < most ? from->num_images : most;
    float *rows = amg_malloc((size_t)(num * c->blocks * c->values) * sizeof *rows);
    float *image = amg_malloc((size_t)count * sizeof *image);
    void *raw = amg_malloc((size_t)count * sizeof(float));
    amg_status st = rows && image && raw ? AMG_OK : no_memory(err);
    float *to = rows;
    for (int64_t i = 0; i < num && !st; i++) {
        st = read_image(from, i * from->num_images / num, raw, image, c, err);
        for (int64_t b = 0; b < c->blocks && !st; b++)
            for (int64_t v = 0; v < c->values; v++) *to++ = image[pixel_of(c, b, v)];
    }
    if (!st)
        st = amg_variable_stats_of(rows, num * c->blocks, c->values,
                                   c->block[0] * c->block[1], out, err);
    amg_free(rows);
    amg_free(image);
    amg_free(raw);
    return st;
}

/* ---- images put back ---- */

/* match[v]: the place of a block that value v of the job's is taken for; NULL: its own.
 */
static void put_back(const amg_evidence *e, const cutting *c, const int32_t *match,
                     int64_t row, float *seen, float *out)
{
    amg_evidence_sample(e, e->original, row, seen);
    for (int64_t b = 0; b < c->blocks; b++)
        for (int64_t v = 0; v < c->values; v++)
            out[pixel_of(c, b, match ? match[v] : v)] = seen[pixel_of(c, b, v)];
}

/* Mean likeness over some rows, a finding and a picture. how: what was done, and source
 * of it, for the sentence. */
static amg_status report(const amg_attack_task *task, const cutting *c,
                         const int32_t *match, const char *metric, const char *title,
                         const char *how, const char *source, amg_error *err)
{
    const amg_evidence *e = task->evidence;
    const size_t bytes = (size_t)(c->dims[0] * c->dims[1] * c->dims[2]) * sizeof(float);
    float *seen = amg_malloc(bytes), *out = amg_malloc(bytes), *own = amg_malloc(bytes);
    const int64_t rows = e->num_rows < COMPARED_ROWS ? e->num_rows : COMPARED_ROWS;
    amg_finding f = amg_finding_new(attack, metric);
    amg_picture picture = {.title = title, .stream = e->original};
    amg_status st = seen && out && own ? AMG_OK : no_memory(err);
    f.value = 0;
    for (int64_t i = 0; i < rows && !st; i++) {
        const int64_t row = i * e->num_rows / rows;
        float low, range;
        amg_picture_range(e, row, &low, &range);
        put_back(e, c, match, row, seen, out);
        amg_evidence_original(e, row, own);
        const double ssim = amg_ssim(out, own, c->dims, (double)range);
        f.value += ssim / (double)rows;
        if (i == 0) picture.ssim = ssim;
    }
    if (!st && match) { /* as the cloud sees it: the candidate's picture */
        put_back(e, c, match, 0, seen, out);
        st = amg_picture_add(e, 0, c->dims, out, picture, task->findings, err);
    }
    if (!st)
        st = amg_findings_add(task->findings, &f, err,
                              "%s%s, your samples are like themselves to %.2f "
                              "(structural similarity; 1: the same, 0: nothing in "
                              "common).",
                              how, source, f.value);
    amg_free(seen);
    amg_free(out);
    amg_free(own);
    return st;
}

/* One public set; *used stays as it was if its images are others. */
static amg_status try_set(const amg_attack_task *task, const cutting *c,
                          const amg_variable_stats *seen, const char *spec, bool *used,
                          amg_error *err)
{
    amg_dataset *ds = NULL;
    amg_variable_stats known = {0};
    amg_status st = amg_dataset_open(spec, &ds, err);
    if (st) return st;
    const amg_dataset_info *info = amg_dataset_get_info(ds);
    int32_t *match = amg_calloc((size_t)c->values, sizeof *match);
    const bool fits = info->rank == 3 && info->dtype != AMG_I32 &&
                      memcmp(info->dims, c->dims, sizeof c->dims) == 0;
    if (!match) st = no_memory(err);
    if (!st && fits) {
        const images from = {.ds = ds, .num_images = info->num_samples};
        *used = true;
        st = take_stats(&from, c, &known, err);
        if (!st) st = amg_match_variables(seen, &known, match, err);
        if (!st)
            st = report(task, c, match, "SSIM of samples put back in order",
                        "Put back in order by public images",
                        "Put back in order by the statistics of ", spec, err);
    }
    amg_variable_stats_clear(&known);
    amg_free(match);
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
    amg_variable_stats seen = {0};
    bool used = false;
    amg_status st = report(task, &c, NULL, "SSIM of samples as the cloud sees them",
                           NULL, "With their values mixed", "", err);
    if (st || task->options->num_lookup == 0) return st;
    if (c.values > MAX_VALUES)
        return amg_findings_skip(task->findings, attack, err,
                                 "blocks of %lld values are too many to match",
                                 (long long)c.values);
    const images own = {.e = e, .num_images = e->num_rows};
    st = take_stats(&own, &c, &seen, err);
    for (int i = 0; i < task->options->num_lookup && !st; i++)
        st = try_set(task, &c, &seen, task->options->lookup[i], &used, err);
    if (!st && !used)
        st = amg_findings_skip(task->findings, attack, err,
                               "no --aux set has images of this size");
    amg_variable_stats_clear(&seen);
    return st;
}
