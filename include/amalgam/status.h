/* Status codes and the error record: how every fallible function of Amalgam reports.
 *
 * A function returns amg_status (0 = ok) and, when the caller passes an amg_error,
 * fills it with what was found, what was expected and where. The record is owned by the
 * caller; there is no global error state. Outputs are written on success only. */
#ifndef AMALGAM_STATUS_H
#define AMALGAM_STATUS_H

#include <stdint.h>

#if defined(__GNUC__)
#define AMG_MUST_CHECK __attribute__((warn_unused_result))
#define AMG_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#define AMG_API __attribute__((visibility("default")))
#else
#define AMG_MUST_CHECK
#define AMG_PRINTF(fmt, first)
#define AMG_API
#endif

/* X(name, value, text): one list makes the enum, the names and the documentation. */
#define AMG_STATUS_LIST(X)                                                             \
    X(OK, 0, "ok")                                                                     \
    X(NO_MEMORY, 1, "out of memory")                                                   \
    X(IO, 2, "the operating system refused a file operation")                          \
    X(NOT_FOUND, 3, "a file or a named thing does not exist")                          \
    X(EXISTS, 4, "a file exists that must not be overwritten")                         \
    X(TRUNCATED, 5, "the data end before they should")                                 \
    X(MALFORMED, 6, "the data break the rules of their format")                        \
    X(UNSUPPORTED, 7, "valid, but not supported here")                                 \
    X(MISMATCH, 8, "two things that must agree do not")                                \
    X(INVALID, 9, "an argument or option is out of range")                             \
    X(OVERFLOW, 10, "a size does not fit")                                             \
    X(BAD_KEY, 11, "wrong or damaged key")                                             \
    X(UNSAFE_PATH, 12, "a path leaves the folder it must stay in")                     \
    X(NOT_FINITE, 13, "NaN or infinity where finite numbers are required")             \
    X(BACKEND, 14, "the compute library reported a failure")                           \
    X(INTERRUPTED, 15, "stopped on request")

#define AMG_STATUS_ENUM(name, value, text) AMG_##name = value,
typedef enum { AMG_STATUS_LIST(AMG_STATUS_ENUM) AMG_STATUS_COUNT } amg_status;
#undef AMG_STATUS_ENUM

/* What went wrong. A zeroed record is "no error yet".
 * offset: byte position in the file or buffer where the trouble was found, -1 if none
 * applies. where: the file, node or tensor; what: found and expected, one line without
 * a final dot; hint: what the user can do, empty if there is nothing to say. */
typedef struct {
    amg_status code;
    int64_t offset;
    char where[256];
    char what[512];
    char hint[256];
} amg_error;

/* Name of a status, e.g. "TRUNCATED"; never NULL. */
AMG_API const char *amg_status_name(amg_status code);
/* One-line meaning of a status; never NULL. */
AMG_API const char *amg_status_text(amg_status code);

/* Fills *err (NULL allowed) and returns code, so that a failure is one statement:
 *     return amg_fail(err, AMG_MISMATCH, -1, name, "found %d dims, expected 4", rank);
 * Text that does not fit is cut. Control characters in the result become '?'. */
amg_status amg_fail(amg_error *err, amg_status code, int64_t offset, const char *where,
                    const char *fmt, ...) AMG_PRINTF(5, 6);

/* Like amg_fail, with ": " and the text of errnum (an errno value) after the message.
 */
amg_status amg_fail_errno(amg_error *err, int errnum, const char *where,
                          const char *fmt, ...) AMG_PRINTF(4, 5);

/* A failure is never AMG_OK, said so that compilers and analysers know it, too. */
static inline amg_status amg_not_ok(amg_status code)
{
    if (code == AMG_OK) __builtin_unreachable();
    return code;
}
#define amg_fail(...) amg_not_ok(amg_fail(__VA_ARGS__))
#define amg_fail_errno(...) amg_not_ok(amg_fail_errno(__VA_ARGS__))

/* For messages that count: "%d input%s", n, amg_plural(n). */
static inline const char *amg_plural(int64_t n) { return n == 1 ? "" : "s"; }

/* Adds a hint to an error already filled; NULL err allowed. */
void amg_hint(amg_error *err, const char *fmt, ...) AMG_PRINTF(2, 3);

#endif
