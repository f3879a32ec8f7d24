/* A picture of one sample before and after. Row i of a job is the owner's sample i, so
 * row 0 fits sample 0. The candidates need no key: every select stands in the job. */
#include "cli/picture.h"

#include <string.h>

#include "base/alloc.h"
#include "engine/job.h"
#include "formats/image.h"

enum { ZOOM = 6, GAP = 4 };

typedef struct {
    amg_dataset *ds;
    amg_job job;
    uint8_t *own, *row, *candidate;
    uint8_t *targets; /* of the row: read with it */
    amg_tensor canvas;
} drawing;

/* Copies image [C,h,w] enlarged into canvas at column x. */
static void paste(amg_tensor *canvas, const uint8_t *image, int64_t h, int64_t w,
                  int64_t x)
{
    int64_t C = canvas->dims[0], H = canvas->dims[1], W = canvas->dims[2];
    uint8_t *to = canvas->data;
    for (int64_t c = 0; c < C; c++)
        for (int64_t i = 0; i < h * ZOOM; i++)
            for (int64_t j = 0; j < w * ZOOM; j++)
                to[(c * H + i) * W + x + j] = image[(c * h + i / ZOOM) * w + j / ZOOM];
}

/* The image that one Gather of the job's graph selects from the row; false: this node
 * selects none. */
static bool select_candidate(const drawing *d, int node)
{
    const amg_graph *g = d->job.graph;
    const int64_t n = (int64_t)amg_dataset_get_info(d->ds)->sample_bytes;
    if (g->nodes[node].op != AMG_OP_GATHER) return false;
    const amg_tensor *index = &g->values[g->nodes[node].inputs[1]].data;
    const int64_t *at = index->data;
    if (index->dtype != AMG_I64 || amg_tensor_count(index) != n) return false;
    for (int64_t i = 0; i < n; i++) {
        if (at[i] < 0 || (uint64_t)at[i] >= d->job.train.sample_bytes) return false;
        d->candidate[i] = d->row[at[i]];
    }
    return true;
}

static amg_status draw(drawing *d, const char *png, amg_error *err)
{
    const int64_t *a = amg_dataset_get_info(d->ds)->dims, *b = d->job.train.dims;
    const amg_graph *g = d->job.graph;
    int64_t height = a[1] > b[1] ? a[1] : b[1];
    int64_t width = a[2] + GAP + b[2] + g->num_outputs * (a[2] + GAP);
    int64_t dims[3] = {a[0], height * ZOOM, width * ZOOM};
    amg_status st = amg_tensor_new(AMG_U8, 3, dims, &d->canvas, err);
    if (st) return st;
    memset(d->canvas.data, 255, d->canvas.size_bytes);
    paste(&d->canvas, d->own, a[1], a[2], 0);
    paste(&d->canvas, d->row, b[1], b[2], (a[2] + GAP) * ZOOM);
    int64_t x = a[2] + GAP + b[2] + GAP;
    for (int i = 0; i < g->num_nodes && x < width; i++) {
        if (!select_candidate(d, i)) continue;
        paste(&d->canvas, d->candidate, a[1], a[2], x * ZOOM);
        x += a[2] + GAP;
    }
    return amg_image_write_png(png, &d->canvas, err);
}

amg_status cli_picture(const char *data, const char *job_dir, const char *png,
                       amg_error *err)
{
    drawing d = {0};
    amg_status st = amg_dataset_open(data, &d.ds, err);
    if (!st) st = amg_job_open(job_dir, false, &d.job, err);
    if (st) goto done;
    const amg_dataset_info *info = amg_dataset_get_info(d.ds);
    const amg_source *train = &d.job.train;
    if (train->dtype != AMG_U8 || info->dtype != AMG_U8 || train->rank != 3 ||
        info->rank != 3 || info->dims[0] != train->dims[0] ||
        (info->dims[0] != 1 && info->dims[0] != 3)) {
        st = amg_fail(err, AMG_UNSUPPORTED, -1, data,
                      "only 8-bit grey or RGB can be drawn");
        goto done;
    }
    d.own = amg_malloc(info->sample_bytes);
    d.candidate = amg_malloc(info->sample_bytes);
    d.row = amg_malloc(train->sample_bytes);
    d.targets = amg_calloc((size_t)train->num_columns * (size_t)train->target_count + 1,
                           sizeof(int32_t));
    if (!d.own || !d.candidate || !d.row || !d.targets) {
        st = amg_fail(err, AMG_NO_MEMORY, -1, png, "no memory");
        goto done;
    }
    st = amg_dataset_read(d.ds, 0, d.own, NULL, err);
    if (!st) st = train->read(train, 0, d.row, d.targets, err);
    if (!st) st = draw(&d, png, err);
done:
    amg_tensor_clear(&d.canvas);
    amg_free(d.own);
    amg_free(d.candidate);
    amg_free(d.row);
    amg_free(d.targets);
    amg_job_close(&d.job);
    amg_dataset_close(d.ds);
    return st;
}
