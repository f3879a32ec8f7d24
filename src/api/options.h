/* Options as the library's callers give them: one JSON object, read through a table of
 * what is known. Knows no option by name. */
#ifndef AMG_API_OPTIONS_H
#define AMG_API_OPTIONS_H

#include <stdbool.h>

#include "formats/json.h"

typedef enum {
    API_STRING,  /* const char *, borrowed from the document */
    API_BOOL,    /* bool */
    API_INT,     /* int64_t in [min, max] */
    API_REAL,    /* double in [min, max] */
    API_CHOICE,  /* int: index into choices */
    API_STRINGS, /* const char *[max_count], borrowed, how many in *count */
    API_REALS,   /* float[max_count], how many in *count */
    API_INTS     /* int64_t[max_count] in [min, max], how many in *count */
} api_kind;

/* A null in the JSON is as if the option were left out: value stays what it was. */
typedef struct {
    const char *name;
    api_kind kind;
    void *value;
    double min, max;
    const char *const *choices; /* NULL-terminated */
    int max_count;
    int *count;
    bool required;
} api_option;

/* Reads text (NULL: "{}") into the table's values. AMG_INVALID: an unknown or missing
 * option, a value out of range; AMG_MALFORMED: broken JSON, a value of another type.
 * Strings live until amg_json_clear(doc), which is due after success only. */
AMG_MUST_CHECK amg_status api_options_read(const char *text, const api_option *table,
                                           int num_options, amg_json *doc,
                                           amg_error *err);

#endif
