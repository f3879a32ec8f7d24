/* Opening the files that an ONNX model names as its external data. The names come from
 * the model, so they are hostile: they must stay beneath the model's own folder. */
#ifndef AMG_FORMATS_ONNX_EXTERNAL_H
#define AMG_FORMATS_ONNX_EXTERNAL_H

#include "amalgam/status.h"

/* How a path is walked: the kernel's openat2 where it has it, or by hand, component by
 * component. Both apply the same rules; a caller names one only to test it. */
typedef enum {
    AMG_BENEATH_AUTO,
    AMG_BENEATH_OPENAT2, /* AMG_UNSUPPORTED where the kernel lacks it */
    AMG_BENEATH_BY_HAND
} amg_beneath;

/* Opens location (relative to the folder base_dir) for reading; the caller closes *fd.
 * AMG_UNSAFE_PATH, naming location and the rule, if location is empty, absolute, has an
 * empty or ".." component, passes a symbolic link anywhere below base_dir, or ends at
 * something that is not a regular file with exactly one hard link (a second link may
 * stand outside the folder); also if base_dir is empty. AMG_NOT_FOUND if missing.
 * base_dir itself is the user's and may be reached through links. Thread-safe. */
AMG_MUST_CHECK amg_status amg_open_beneath(const char *base_dir, const char *location,
                                           amg_beneath how, int *fd, amg_error *err);

/* The folder of a file's path, heap: "dir" of "dir/model.onnx", "." of "model.onnx",
 * "/" of "/model.onnx". NULL when out of memory. */
char *amg_folder_of(const char *path);

#endif
