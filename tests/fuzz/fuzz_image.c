/* Fuzzes PNG and JPEG decoding. What decodes must be a whole grey or RGB image. */
#include "fuzz.h"
#include <stdlib.h>

#include "formats/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int channels[4] = {0, 1, 3, 0};
    const int want = channels[size & 3];
    amg_tensor image;
    amg_error err;
    if (amg_image_parse(data, size, "fuzz", want, &image, &err) != AMG_OK) return 0;
    if (image.rank != 3 || (image.dims[0] != 1 && image.dims[0] != 3) ||
        (want != 0 && image.dims[0] != want) ||
        image.size_bytes != (size_t)amg_tensor_count(&image))
        abort();
    amg_tensor_clear(&image);
    return 0;
}
