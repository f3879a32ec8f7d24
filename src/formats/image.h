/* PNG and JPEG through libpng and libjpeg-turbo: 8-bit, grey or RGB, as planes [C,H,W].
 */
#ifndef AMG_FORMATS_IMAGE_H
#define AMG_FORMATS_IMAGE_H

#include "base/tensor.h"

/* Reads a file by its signature, not its name. Palette, alpha and 16 bits become 8-bit
 * grey or RGB (alpha dropped). want_channels: 1 or 3 converts, 0 keeps. Refuses sides
 * above 65,500. out: owned U8 tensor [C,H,W]. */
AMG_MUST_CHECK amg_status amg_image_read(const char *path, int want_channels,
                                         amg_tensor *out, amg_error *err);
/* The same from memory; name is for errors. */
AMG_MUST_CHECK amg_status amg_image_parse(const void *data, size_t size_bytes,
                                          const char *name, int want_channels,
                                          amg_tensor *out, amg_error *err);
/* Writes a U8 tensor [1|3,H,W] as PNG without time stamp or text, beside and renamed.
 */
AMG_MUST_CHECK amg_status amg_image_write_png(const char *path, const amg_tensor *image,
                                              amg_error *err);
/* The same bytes in memory: *png on the heap (amg_free). name is for errors. */
AMG_MUST_CHECK amg_status amg_image_encode_png(const amg_tensor *image,
                                               const char *name, uint8_t **png,
                                               size_t *size_bytes, amg_error *err);

#endif
