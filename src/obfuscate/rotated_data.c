/* Rotated data (see the header). Consumes a data set and a rotation; knows neither plan
 * nor network. */
#include "obfuscate/rotated_data.h"

#include "base/alloc.h"

/* The sample as the network of the original sees it. */
static void normalise(const amg_rotated_data *how, const void *x, double *out)
{
    const amg_preprocess *pre = &how->pre;
    const int64_t area = how->dims[1] * how->dims[2];
    for (int64_t i = 0; i < how->dims[0] * area; i++) {
        const int c = pre->num_channels > 1 ? (int)(i / area) : 0;
        const double v = pre->data_dtype == AMG_U8
                             ? (double)((const uint8_t *)x)[i] / 255
                             : (double)((const float *)x)[i];
        out[i] = pre->num_channels > 0
                     ? (v - (double)pre->mean[c]) / (double)pre->std[c]
                     : v;
    }
}

static amg_status rotate_sample(const void *context, const void *x, float *out,
                                amg_error *err)
{
    const amg_rotated_data *how = context;
    const int64_t count = how->dims[0] * how->dims[1] * how->dims[2];
    const size_t room = (size_t)(count + 2 * how->rotation->n);
    double *values = amg_calloc(room, sizeof *values);
    if (!values)
        return amg_fail(err, AMG_NO_MEMORY, -1, "rotation", "no memory for a sample");
    normalise(how, x, values);
    amg_rotation_apply_sample(how->rotation, how->dims, how->block, values,
                              values + count, out);
    amg_free(values);
    return AMG_OK;
}

amg_status amg_rotated_data_open(const amg_dataset *set, const amg_rotated_data *how,
                                 amg_dataset **out, amg_error *err)
{
    return amg_dataset_map(set, rotate_sample, how, out, err);
}
