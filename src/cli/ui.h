/* What the programs show: errors and progress on stderr, data on stdout. The library
 * itself never prints. */
#ifndef AMG_CLI_UI_H
#define AMG_CLI_UI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "amalgam/progress.h"
#include "amalgam/status.h"

/* Prints "amalgam: error: WHERE: WHAT (offset N)" and the hint; returns exit code 1. */
int ui_error(const amg_error *err);
/* One line on stderr, "amalgam: " before it. */
void ui_note(const char *fmt, ...) AMG_PRINTF(1, 2);
/* Text to stdout that others may have chosen: a byte that would move the cursor or
 * change colours is printed as '?'. */
void ui_print_text(const char *text, size_t length);
/* Flushes stdout; false (and an error line) if it could not be written. */
bool ui_flush(void);

/* A progress bar on a terminal, a plain line every ten seconds and for each epoch
 * otherwise. */
typedef struct {
    bool terminal, drawn;
    const char *stage;    /* the one being shown, since `started` with `first` done */
    double started, last; /* seconds; last: when something was shown */
    int64_t first;
    amg_progress_event train; /* the latest of this stage */
} ui_progress;

/* quiet: nothing is shown, but Ctrl-C, TERM and HUP still ask for a clean stop. p must
 * outlive the result. */
amg_progress ui_progress_init(ui_progress *p, bool quiet);
/* Ends the bar's line; harmless if none was drawn. */
void ui_progress_clear(ui_progress *p);

/* "12.3 MB", "4.1 kB"; returns buf. */
const char *ui_bytes(double bytes, char buf[32]);
/* "1,234,567"; returns buf. */
const char *ui_count(int64_t n, char buf[32]);
/* Seconds since an arbitrary start. */
double ui_now(void);

#endif
