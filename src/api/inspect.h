/* What a file or job shows to whoever holds it, as a JSON object. */
#ifndef AMG_API_INSPECT_H
#define AMG_API_INSPECT_H

#include <jansson.h>

#include "amalgam/status.h"

/* path: a job folder, .onnx, .safetensors, .npy, or a key file (recognised by content
 * where the name does not tell). *out is a new reference. Field "kind" says what it is.
 */
AMG_MUST_CHECK amg_status amg_inspect(const char *path, json_t **out, amg_error *err);

#endif
