/* What an ONNX model shows, and whether it can be trained. */
#ifndef AMG_API_INSPECT_MODEL_H
#define AMG_API_INSPECT_MODEL_H

#include <jansson.h>

#include "amalgam/status.h"
#include "base/tensor.h"

/* {"kind", "trainable", "graph": inputs, outputs, operators, parameters, cost}. A model
 * that cannot be trained has "why" and, if there are some, "operators_not_covered" with
 * how often each occurs; "graph" only if it can be read. *out is a new reference, NULL
 * if a name is not UTF-8. Fails where the file is no ONNX model. */
AMG_MUST_CHECK amg_status amg_inspect_model(const char *path, json_t **out,
                                            amg_error *err);

/* {"dtype", "shape"} of a tensor; a new reference. */
json_t *amg_inspect_shape(const amg_tensor *t);

#endif
