/* A picture of one sample before and after. Row i of a job is the owner's sample i, so
 * row 0 fits sample 0. */
#include "cli/picture.h"

#include <string.h>

#include "base/alloc.h"
#include "engine/job.h"
#include "formats/image.h"

enum { ZOOM = 6, GAP = 4 };

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

amg_status cli_picture(const char *data, const char *job_dir, const char *png,
                       amg_error *err)
{
    amg_dataset *ds = NULL;
    amg_job job = {0};
    amg_tensor canvas = {0};
    uint8_t *own = NULL, *mixed = NULL;
    int32_t *labels = NULL;
    amg_status st = amg_dataset_open(data, &ds, err);
    if (!st) st = amg_job_open(job_dir, false, &job, err);
    if (st) goto done;
    const int64_t *a = amg_dataset_get_info(ds)->dims, *b = job.train.dims;
    if (job.train.dtype != AMG_U8 || job.train.rank != 3 || a[0] != b[0] ||
        (a[0] != 1 && a[0] != 3)) {
        st = amg_fail(err, AMG_UNSUPPORTED, -1, data,
                      "only 8-bit grey or RGB can be drawn");
        goto done;
    }
    int64_t height = a[1] > b[1] ? a[1] : b[1];
    int64_t dims[3] = {a[0], height * ZOOM, (a[2] + GAP + b[2]) * ZOOM};
    own = amg_malloc(amg_dataset_get_info(ds)->sample_bytes);
    mixed = amg_malloc(job.train.sample_bytes);
    labels = amg_calloc((size_t)job.train.num_labels, sizeof *labels);
    if (!own || !mixed || !labels) {
        st = amg_fail(err, AMG_NO_MEMORY, -1, png, "no memory");
        goto done;
    }
    st = amg_dataset_read(ds, 0, own, NULL, err);
    if (!st) st = job.train.read(&job.train, 0, mixed, labels, err);
    if (!st) st = amg_tensor_new(AMG_U8, 3, dims, &canvas, err);
    if (st) goto done;
    memset(canvas.data, 255, canvas.size_bytes);
    paste(&canvas, own, a[1], a[2], 0);
    paste(&canvas, mixed, b[1], b[2], (a[2] + GAP) * ZOOM);
    st = amg_image_write_png(png, &canvas, err);
done:
    amg_tensor_clear(&canvas);
    amg_free(own);
    amg_free(mixed);
    amg_free(labels);
    amg_job_close(&job);
    amg_dataset_close(ds);
    return st;
}
