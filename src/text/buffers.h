/* Growing amg_tokens and amg_chars (text/tokenizer.h). */
#ifndef AMG_TEXT_BUFFERS_H
#define AMG_TEXT_BUFFERS_H

#include <stdbool.h>

#include "text/tokenizer.h"

/* Room for count more; false: out of memory. */
bool amg_tokens_reserve(amg_tokens *t, int64_t count);
/* Appends; false: out of memory. */
bool amg_chars_append(amg_chars *t, const char *data, size_t size);

#endif
