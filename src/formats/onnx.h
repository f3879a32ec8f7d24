/* ONNX files as plain structs: protobuf-c over the distribution's onnx.proto, plus
 * external data. No operator is known here; graph/ gives the bytes meaning. The
 * generated header is a private detail of formats/onnx*.c and graph/onnx_import.c,
 * graph/onnx_export.c ("onnx.pb-c.h"). */
#ifndef AMG_FORMATS_ONNX_H
#define AMG_FORMATS_ONNX_H

#include "base/file.h"
#include "base/tensor.h"

struct Onnx__ModelProto;
struct Onnx__TensorProto;
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

/* A TensorProto of this model as a tensor: raw_data, typed fields or external data;
 * size checked against dims. The view lives until amg_onnx_close (typed fields that
 * need widening become owned). External data: relative path beneath the model's folder
 * only, regular file, one hard link, no symbolic link in any component
 * (AMG_UNSAFE_PATH), offset and length inside the file. */
AMG_MUST_CHECK amg_status amg_onnx_tensor(amg_onnx *onnx,
                                          const struct Onnx__TensorProto *proto,
                                          amg_tensor *out, amg_error *err);

/* Packs and writes a model, beside and renamed. Tensors larger than external_threshold
 * bytes go to BASENAME.data beside it when the model would pass 2 GiB (0 = decide so by
 * itself). */
AMG_MUST_CHECK amg_status amg_onnx_write(const char *path,
                                         const struct Onnx__ModelProto *model,
                                         amg_error *err);
/* Packs into an owned buffer (amg_free). */
AMG_MUST_CHECK amg_status amg_onnx_pack(const struct Onnx__ModelProto *model,
                                        uint8_t **data, size_t *size_bytes,
                                        amg_error *err);

#endif
