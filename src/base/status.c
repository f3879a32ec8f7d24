/* Status names and the error record. Consumes a format and its arguments, produces one
 * clean line; knows nothing of who reports. */
#include "amalgam/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *amg_status_name(amg_status code)
{
#define CASE(name, value, text)                                                        \
    case AMG_##name: return #name;
    switch (code) {
        AMG_STATUS_LIST(CASE)
    case AMG_STATUS_COUNT: break;
    }
#undef CASE
    return "?";
}

const char *amg_status_text(amg_status code)
{
#define CASE(name, value, text)                                                        \
    case AMG_##name: return text;
    switch (code) {
        AMG_STATUS_LIST(CASE)
    case AMG_STATUS_COUNT: break;
    }
#undef CASE
    return "unknown status";
}

/* Names in hostile files may hold terminal escapes; nothing below space is shown. */
static void clean(char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f) *s = '?';
}

static void set_where(amg_error *err, amg_status code, int64_t offset,
                      const char *where)
{
    err->code = code;
    err->offset = offset;
    err->hint[0] = 0;
    snprintf(err->where, sizeof err->where, "%s", where ? where : "");
    clean(err->where);
}

amg_status(amg_fail)(amg_error *err, amg_status code, int64_t offset, const char *where,
                     const char *fmt, ...)
{
    if (!err) return code;
    set_where(err, code, offset, where);
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->what, sizeof err->what, fmt, args);
    va_end(args);
    clean(err->what);
    return code;
}

amg_status(amg_fail_errno)(amg_error *err, int errnum, const char *where,
                           const char *fmt, ...)
{
    amg_status code = AMG_IO;
    if (errnum == ENOENT) code = AMG_NOT_FOUND;
    if (errnum == ENOMEM) code = AMG_NO_MEMORY;
    if (errnum == EEXIST) code = AMG_EXISTS;
    if (!err) return code;
    set_where(err, code, -1, where);
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->what, sizeof err->what, fmt, args);
    va_end(args);
    size_t n = strlen(err->what);
    snprintf(err->what + n, sizeof err->what - n, ": %s", strerror(errnum));
    clean(err->what);
    return code;
}

void amg_hint(amg_error *err, const char *fmt, ...)
{
    if (!err) return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->hint, sizeof err->hint, fmt, args);
    va_end(args);
    clean(err->hint);
}
