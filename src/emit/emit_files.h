/* The files of a job that are the same in every job, as tools/embed.py puts them into
 * the program: train.py and what lies in src/emit/job/. */
#ifndef AMG_EMIT_EMIT_FILES_H
#define AMG_EMIT_EMIT_FILES_H

#include <stddef.h>

typedef struct {
    const char *path; /* in the job folder, with '/' */
    const unsigned char *data;
    size_t size_bytes;
} amg_emit_file;

/* Sorted bytewise by path; ends with a NULL path. */
extern const amg_emit_file amg_emit_files[];

#endif
