/* Growing amg_tokens and amg_text (text/tokenizer.h). */
#ifndef AMG_TEXT_BUFFERS_H
#define AMG_TEXT_BUFFERS_H

#include <stdbool.h>

#include "text/tokenizer.h"

/* Room for count more; false: out of memory. */
bool amg_tokens_reserve(amg_tokens *t, int64_t count);
/* Appends; false: out of memory. */
bool amg_text_append(amg_text *t, const char *data, size_t size);

#endif
