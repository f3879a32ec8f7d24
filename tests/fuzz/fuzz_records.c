/* Fuzz target: any bytes as a text file. The first byte says how to read it: format,
 * header, columns. What is accepted must hold what tokenizing builds on: valid UTF-8
 * without NUL, records in order, a label that ends. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "text/records.h"
#include "text/utf8.h"

static void check_record(const amg_record *r, int64_t line, int64_t offset)
{
    if (r->size > AMG_MAX_RECORD_BYTES) abort();
    if (r->line <= line || r->offset <= offset) abort();
    if (amg_utf8_valid(r->text, r->size, false) != r->size) abort();
    if (memchr(r->text, 0, r->size) != NULL) abort();
    if (amg_utf8_valid(r->label, strlen(r->label), false) != strlen(r->label)) abort();
}

static void read_all(const char *path, const amg_records_options *o)
{
    amg_records *r = NULL;
    amg_error err = {0};
    if (amg_records_open(path, o, &r, &err) != AMG_OK) {
        if (r != NULL || err.code == AMG_OK) abort();
        return;
    }
    int64_t line = 0, offset = -1, done, all;
    amg_record record;
    for (bool end = false;
         amg_records_next(r, &record, &end, &err) == AMG_OK && !end;) {
        check_record(&record, line, offset);
        line = record.line;
        offset = record.offset;
    }
    amg_records_position(r, &done, &all);
    if (done < 0 || done > all) abort();
    amg_records_close(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const columns[] = {NULL, "text", "2", "1,2"};
    if (size == 0) return 0;
    const amg_records_options o = {.format = (amg_records_format)(data[0] & 3),
                                   .header = (data[0] & 4) != 0,
                                   .text = columns[data[0] >> 3 & 3],
                                   .label = (data[0] & 32) != 0 ? "1" : NULL};
    const int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data + 1, size - 1) != (ssize_t)(size - 1)) abort();
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    read_all(path, &o);
    close(fd);
    return 0;
}
