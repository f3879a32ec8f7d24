/* Images as planes: tells PNG from JPEG by signature, has the codec decode it, turns
 * interleaved pixels into [C,H,W] and grey into RGB or back. Knows nothing of libpng or
 * libjpeg (image_png.c, image_jpeg.c) and nothing of data sets. */
#include "formats/image.h"

#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "formats/image_codec.h"

static const uint8_t png_signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
static const uint8_t jpeg_signature[3] = {0xff, 0xd8, 0xff};

static bool starts_with(const uint8_t *data, size_t size, const uint8_t *prefix,
                        size_t length)
{
    return size >= length && memcmp(data, prefix, length) == 0;
}

/* Luma of ITU-R BT.601 in 16-bit fixed point, as libjpeg and Pillow's convert("L")
 * round it. */
static uint8_t luma(const uint8_t rgb[3])
{
    uint32_t sum = 19595u * rgb[0] + 38470u * rgb[1] + 7471u * rgb[2] + 32768u;
    return (uint8_t)(sum >> 16);
}

static void to_planes(const amg_pixels *in, int channels, uint8_t *out)
{
    const size_t plane = (size_t)in->height * (size_t)in->width;
    const uint8_t *p = in->data;
    if (channels == in->channels) {
        for (size_t i = 0; i < plane; i++)
            for (int c = 0; c < channels; c++) out[(size_t)c * plane + i] = *p++;
    } else if (channels == 1) {
        for (size_t i = 0; i < plane; i++) out[i] = luma(p + 3 * i);
    } else {
        for (int c = 0; c < channels; c++) memcpy(out + (size_t)c * plane, p, plane);
    }
}

amg_status amg_image_parse(const void *data, size_t size_bytes, const char *name,
                           int want_channels, amg_tensor *out, amg_error *err)
{
    if (want_channels != 0 && want_channels != 1 && want_channels != 3)
        return amg_fail(err, AMG_INVALID, -1, name,
                        "%d channels asked for, expected 0 (as in the file), 1 or 3",
                        want_channels);
    amg_pixels pixels;
    amg_status status;
    if (starts_with(data, size_bytes, png_signature, sizeof png_signature))
        status = amg_png_decode(data, size_bytes, name, &pixels, err);
    else if (starts_with(data, size_bytes, jpeg_signature, sizeof jpeg_signature))
        status = amg_jpeg_decode(data, size_bytes, name, &pixels, err);
    else if (size_bytes < sizeof png_signature)
        status = amg_fail(err, AMG_TRUNCATED, (int64_t)size_bytes, name,
                          "%zu bytes are no image, expected PNG or JPEG", size_bytes);
    else
        status = amg_fail(err, AMG_MALFORMED, 0, name,
                          "neither the signature of PNG nor that of JPEG");
    if (status != AMG_OK) return status;

    const int channels = want_channels != 0 ? want_channels : pixels.channels;
    const int64_t dims[3] = {channels, pixels.height, pixels.width};
    amg_tensor planes;
    status = amg_tensor_new(AMG_U8, 3, dims, &planes, err);
    if (status == AMG_OK) {
        to_planes(&pixels, channels, planes.data);
        *out = planes;
    }
    amg_free(pixels.data);
    return status;
}

amg_status amg_image_read(const char *path, int want_channels, amg_tensor *out,
                          amg_error *err)
{
    amg_map map;
    amg_status status = amg_map_open(path, &map, err);
    if (status != AMG_OK) return status;
    status = amg_image_parse(map.data, map.size, path, want_channels, out, err);
    amg_map_close(&map);
    return status;
}
