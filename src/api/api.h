/* What the files of the public interface share. */
#ifndef AMG_API_API_H
#define AMG_API_API_H

#include <jansson.h>

#include "amalgam/amalgam.h"
#include "formats/dataset.h"
#include "key/keyfile.h"

/* value as text for the caller (amalgam_free), in *out. Takes over the reference; NULL,
 * jansson's way of failing, is AMG_NO_MEMORY. */
AMG_MUST_CHECK amg_status api_result(json_t *value, char **out, amg_error *err);

/* A number, null where it is none: JSON has no NaN. */
json_t *api_real(double v);

/* dims as a JSON array. */
json_t *api_dims(int rank, const int64_t *dims);

/* Opens a data set that is a function; one that is a spec, or none, is not opened: *out
 * NULL. The set borrows d until it is closed. */
AMG_MUST_CHECK amg_status api_dataset_open(const amalgam_data *d, amg_dataset **out,
                                           amg_error *err);

/* A passphrase in locked memory, zeroed without text; wiped and freed by clear. */
AMG_MUST_CHECK amg_status api_passphrase_init(const char *text, amg_passphrase *out,
                                              amg_error *err);
void api_passphrase_clear(amg_passphrase *p);

#endif
