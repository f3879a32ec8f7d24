/* ONNX files as plain structs: protobuf-c over the distribution's onnx.proto, plus
 * external data. No operator is known here; graph/ gives the bytes meaning. The
 * generated header is a private detail of formats/onnx*.c and graph/onnx_*.c
 * ("onnx.pb-c.h"). */
#ifndef AMG_FORMATS_ONNX_H
#define AMG_FORMATS_ONNX_H

#include "base/file.h"
#include "base/tensor.h"

struct Onnx__ModelProto;
struct Onnx__TensorProto;
struct Onnx__GraphProto;
struct Onnx__NodeProto;
typedef struct amg_onnx amg_onnx;

/* Unpacks PATH. External data are looked for beneath PATH's folder when a tensor asks
 * for them. */
AMG_MUST_CHECK amg_status amg_onnx_open(const char *path, amg_onnx **out,
                                        amg_error *err);
/* Unpacks a buffer (copied). base_dir NULL: external data are refused. name is for
 * errors. */
AMG_MUST_CHECK amg_status amg_onnx_parse(const void *data, size_t size_bytes,
                                         const char *name, const char *base_dir,
                                         amg_onnx **out, amg_error *err);
void amg_onnx_close(amg_onnx *onnx);
const struct Onnx__ModelProto *amg_onnx_model(const amg_onnx *onnx);

/* The text that a graph's, or a node's, metadata_props have under key: size bytes of
 * the model, not terminated. false: there is none. */
bool amg_onnx_graph_metadata(const struct Onnx__GraphProto *graph, const char *key,
                             const char **text, size_t *size_bytes);
bool amg_onnx_node_metadata(const struct Onnx__NodeProto *node, const char *key,
                            const char **text, size_t *size_bytes);

/* A TensorProto of this model as a tensor: raw_data, typed fields or external data;
 * size checked against dims, bools against 0 and 1. The view lives until amg_onnx_close
 * (typed fields that need narrowing, and external data at an odd offset, become owned:
 * amg_tensor_clear in any case). Errors name the tensor. External data: relative path
 * beneath the model's folder only, regular file, one hard link, no symbolic link in any
 * component (AMG_UNSAFE_PATH), offset and length inside the file. */
AMG_MUST_CHECK amg_status amg_onnx_tensor(amg_onnx *onnx,
                                          const struct Onnx__TensorProto *proto,
                                          amg_tensor *out, amg_error *err);

/* Its dtype, dims and size only, checked in the same way; data is NULL. For tensors
 * that were stored without data (data_location EXTERNAL with no external_data). */
AMG_MUST_CHECK amg_status amg_onnx_tensor_shape(const struct Onnx__TensorProto *proto,
                                                amg_tensor *out, amg_error *err);

/* Packs and writes a model, beside and renamed. When it would pass 2 GiB, protobuf's
 * limit, raw tensors of 1 KiB and more go to BASENAME.data beside it as external data.
 */
AMG_MUST_CHECK amg_status amg_onnx_write(const char *path,
                                         const struct Onnx__ModelProto *model,
                                         amg_error *err);
/* The same with the limit given: external data are used above max_bytes. */
AMG_MUST_CHECK amg_status amg_onnx_write_split(const char *path,
                                               const struct Onnx__ModelProto *model,
                                               size_t max_bytes, amg_error *err);
/* Packs into an owned buffer (amg_free). AMG_OVERFLOW above 2 GiB. */
AMG_MUST_CHECK amg_status amg_onnx_pack(const struct Onnx__ModelProto *model,
                                        uint8_t **data, size_t *size_bytes,
                                        amg_error *err);

#endif
