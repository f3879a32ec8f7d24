/* Text that grows, numbers as Python writes them, and lines of Python no longer than
 * 100 columns. Knows nothing of graphs. */
#ifndef AMG_EMIT_EMIT_TEXT_H
#define AMG_EMIT_EMIT_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "amalgam/status.h"

enum { AMG_TEXT_COLUMNS = 100 };

/* A zeroed text is valid and empty; data is NULL until something was added. Running out
 * of memory is kept in no_memory and makes later calls do nothing. */
typedef struct {
    char *data;
    size_t length, room;
    bool no_memory;
} amg_text;

void amg_text_clear(amg_text *t); /* frees */
void amg_text_reset(amg_text *t); /* empty, keeps its room */
void amg_text_add(amg_text *t, const char *fmt, ...) AMG_PRINTF(2, 3);
const char *amg_text_get(const amg_text *t); /* "" if empty */

/* Adds statement as one line, indented by `indent` spaces; where it is longer than
 * AMG_TEXT_COLUMNS it goes on, eight further in, at a space between parentheses. */
void amg_text_statement(amg_text *t, int indent, const char *statement);

/* "(2, 3)", "(2,)" for one, "()" for none. */
void amg_text_tuple(amg_text *t, int count, const int64_t *v);
/* A float32 as the shortest decimal that reads back to it: what a person wrote and what
 * PyTorch's own float64 arguments hold (1e-05, not 9.9999997e-06). */
void amg_text_float(amg_text *t, float v);

#endif
