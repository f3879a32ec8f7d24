/* The step of a plan that augments its images, in place, as soon as they are there. */
#include "engine/augment.h"

#include <string.h>

#include "base/parallel.h"
#include "engine/kernel.h"

typedef struct {
    unsigned kinds;
    int64_t samples, channels, height, width;
    int64_t parts; /* micro-batches of a step */
    size_t bytes;  /* of an element */
} augment;

typedef struct {
    const augment *a;
    const amg_call *call;
} context;

static void augment_range(void *arg, int64_t begin, int64_t end)
{
    const context *c = arg;
    const augment *a = c->a;
    const size_t size =
        (size_t)(a->channels * a->height * a->width) * a->bytes; /* of a sample */
    const int64_t step = c->call->step / a->parts, part = c->call->step % a->parts;
    for (int64_t i = begin; i < end; i++) {
        uint8_t *x = (uint8_t *)c->call->ptr[0] + (size_t)i * size;
        uint8_t *copy = (uint8_t *)c->call->ptr[1] + (size_t)i * size;
        const amg_image_draw draw =
            amg_image_draw_at(a->kinds, c->call->seed, step, part * a->samples + i);
        memcpy(copy, x, size);
        amg_image_draw_apply(&draw, copy, a->channels, a->height, a->width, a->bytes,
                             x);
    }
}

static void run_augment(const amg_call *call)
{
    const augment *a = call->self;
    context c = {a, call};
    amg_parallel_for(a->samples, 4, augment_range, &c);
}

void amg_plan_augment(amg_plan *p, int node)
{
    const amg_value *v = amg_plan_value(p, p->augmented);
    char text[AMG_SHAPE_TEXT];
    if (v->rank != 4 || (v->dtype != AMG_U8 && v->dtype != AMG_F32)) {
        amg_plan_fail(p, node, AMG_UNSUPPORTED,
                      "the sub-network takes %s, no images [C, H, W] that could be "
                      "cropped or mirrored",
                      amg_shape_text(v->dtype, v->rank - 1, v->dims + 1, text));
        return;
    }
    augment *a = amg_plan_alloc(p, 1, sizeof *a);
    const int x = amg_plan_read(p, node, p->augmented, NULL);
    if (p->status) return;
    *a = (augment){.kinds = p->options.augment,
                   .samples = v->dims[0],
                   .channels = v->dims[1],
                   .height = v->dims[2],
                   .width = v->dims[3],
                   .parts = p->options.parts ? p->options.parts : 1,
                   .bytes = amg_dtype_size(v->dtype)};
    const size_t size = (size_t)(a->samples * a->channels * a->height * a->width);
    amg_emit_kernel(p, node, "augment", run_augment, a, 2,
                    (int[]){x, amg_plan_temp(p, size * a->bytes)});
}
