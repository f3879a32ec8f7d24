/* The part of the key payload's head that a plan is made from, private to payload.c. */
#ifndef AMG_OBFUSCATE_PAYLOAD_SHAPE_H
#define AMG_OBFUSCATE_PAYLOAD_SHAPE_H

#include "formats/json.h"
#include "obfuscate/plan.h"

/* The members of the head (docs/key.md) that describe the shape; NULL when out of
 * memory. */
json_t *amg_payload_shape_json(const amg_plan_shape *shape);
/* Their names, those that may be absent last: *num_optional of them. */
size_t amg_payload_shape_keys(const char *const **keys, size_t *num_optional);
/* root: checked to hold the members. Types and ranges are checked, not yet what several
 * members say together. */
AMG_MUST_CHECK amg_status amg_payload_shape_parse(const amg_json_node *root,
                                                  amg_plan_shape *out, amg_error *err);

AMG_MUST_CHECK amg_status amg_payload_parse_dtype(const amg_json_node *node,
                                                  amg_dtype *out, amg_error *err);
AMG_MUST_CHECK amg_status amg_payload_parse_bool(const amg_json_node *node, bool *out,
                                                 amg_error *err);
/* The value is an object with the members keys, of which the last num_optional may be
 * absent. */
AMG_MUST_CHECK amg_status amg_payload_parse_object(const amg_json_node *node,
                                                   const char *const *keys,
                                                   size_t num_keys, size_t num_optional,
                                                   amg_error *err);

#endif
