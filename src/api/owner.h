/* The options that amalgam_obfuscate and each owner of amalgam_pack have in common. */
#ifndef AMG_API_OWNER_H
#define AMG_API_OWNER_H

#include "api/api.h"
#include "api/options.h"
#include "obfuscate/obfuscate.h"

typedef struct {
    amg_obfuscate_options o;
    int task, num_mean, num_std; /* as they stand in the JSON */
    const char *freeze;
    amg_passphrase passphrase;
} api_owner;

enum { API_NUM_OWNER_OPTIONS = 17 };

/* Fills the beginning of a table whose values are w's; w is to stay where it is. */
void api_owner_options(api_owner *w, api_option table[API_NUM_OWNER_OPTIONS]);
/* After the options are read: checks them and opens the data, which w->o then holds. */
AMG_MUST_CHECK amg_status api_owner_open(api_owner *w, const char *passphrase,
                                         const amalgam_datasets *data, amg_error *err);
void api_owner_close(api_owner *w); /* also after a failure */

#endif
