/* What image.c asks of the two codecs: a file in memory to interleaved 8-bit pixels. A
 * private header of image*.c. */
#ifndef AMG_FORMATS_IMAGE_CODEC_H
#define AMG_FORMATS_IMAGE_CODEC_H

#include "amalgam/status.h"
#include <stddef.h>

/* Longest side accepted (JPEG's own limit, used for PNG too). */
#define AMG_IMAGE_MAX_SIDE 65500

/* Pixels row by row, grey (1 channel) or RGB (3), interleaved as both libraries deliver
 * them. The caller frees data with amg_free. */
typedef struct {
    int64_t height, width;
    int channels;
    uint8_t *data;
} amg_pixels;

/* Decode a whole file. name is for errors. out is written on success only. */
AMG_MUST_CHECK amg_status amg_png_decode(const uint8_t *data, size_t size_bytes,
                                         const char *name, amg_pixels *out,
                                         amg_error *err);
AMG_MUST_CHECK amg_status amg_jpeg_decode(const uint8_t *data, size_t size_bytes,
                                          const char *name, amg_pixels *out,
                                          amg_error *err);

#endif
