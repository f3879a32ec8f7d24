/* One owner's part of a packed job: a JSON file with the options of `amalgam obfuscate`
 * that are an owner's own. */
#ifndef AMG_CLI_PACK_SPEC_H
#define AMG_CLI_PACK_SPEC_H

#include "base/file.h"
#include "formats/json.h"
#include "obfuscate/obfuscate.h"

/* {"model": "a.onnx", "train": DATA, "key": "a.key",
 *  "val": DATA, "task": "classify", "seq": 35, "normalize": "0.5/0.25",
 *  "loss": "mse", "class_weights": "balanced", "freeze": "features.*",
 *  "freeze_norm_stats": false, "keep_classes": false,
 *  "keep_tokens": false, "symmetry": false, "seed_hex": "…"}
 * The first three are required; paths are relative to the current folder. Zeroed is
 * valid for clear; options borrow from it until then. */
typedef struct {
    amg_map map;
    amg_json doc;
    amg_obfuscate_options options;
    const char *freeze; /* what options.freeze points to: a spec stays where it is */
} cli_pack_spec;

AMG_MUST_CHECK amg_status cli_pack_spec_read(const char *path, cli_pack_spec *out,
                                             amg_error *err);
void cli_pack_spec_clear(cli_pack_spec *spec);

#endif
