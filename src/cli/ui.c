/* Errors, progress, numbers for people. Consumes events and records, prints; knows no
 * format or algorithm. */
#include "cli/ui.h"

#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int ui_error(const amg_error *err)
{
    fprintf(stderr, "amalgam: error: ");
    if (err->where[0]) fprintf(stderr, "%s: ", err->where);
    fprintf(stderr, "%s", err->what[0] ? err->what : amg_status_text(err->code));
    if (err->offset >= 0) fprintf(stderr, " (at byte %lld)", (long long)err->offset);
    fprintf(stderr, "\n");
    if (err->hint[0]) fprintf(stderr, "amalgam: hint: %s\n", err->hint);
    return 1;
}

void ui_note(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "amalgam: ");
    vfprintf(stderr, fmt, args);
    fprintf(stderr, "\n");
    va_end(args);
}

bool ui_flush(void)
{
    if (!fflush(stdout) && !ferror(stdout)) return true;
    fprintf(stderr, "amalgam: error: stdout: cannot write\n");
    return false;
}

double ui_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

const char *ui_bytes(double bytes, char buf[32])
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB"};
    int u = 0;
    while (bytes >= 1000 && u < 4) bytes /= 1000, u++;
    snprintf(buf, 32, u ? "%.1f %s" : "%.0f %s", bytes, units[u]);
    return buf;
}

const char *ui_count(int64_t n, char buf[32])
{
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%lld", (long long)n), at = 0;
    for (int i = 0; i < length && at < 30; i++) {
        if (i && (length - i) % 3 == 0 && digits[i - 1] != '-') buf[at++] = ',';
        buf[at++] = digits[i];
    }
    buf[at] = 0;
    return buf;
}

/* First Ctrl-C: a clean stop at the next report. Second: the system's default. */
static volatile sig_atomic_t interrupted;

static void on_interrupt(int sig)
{
    interrupted = 1;
    signal(sig, SIG_DFL);
}

static const char *duration(double seconds, char buf[32])
{
    long s = seconds > 0 && seconds < 1e9 ? (long)seconds : 0;
    if (s >= 3600)
        snprintf(buf, 32, "%ldh%02ldm", s / 3600, s / 60 % 60);
    else
        snprintf(buf, 32, "%ldm%02lds", s / 60, s % 60);
    return buf;
}

/* "epoch 2/3  step 120/469  loss 0.412  acc 85.1%  5210 images/s" without the parts
 * that do not apply. */
static void describe(const amg_progress_event *e, char *buf, size_t size)
{
    int n = snprintf(buf, size, "%-8s", e->stage);
    size_t at = n > 0 ? (size_t)n : 0;
#define ADD(...)                                                                       \
    at += at < size ? (size_t)snprintf(buf + at, size - at, __VA_ARGS__) : 0
    if (e->num_epochs)
        ADD("  epoch %lld/%lld", (long long)e->epoch, (long long)e->num_epochs);
    if (e->total) ADD("  %lld/%lld", (long long)e->done, (long long)e->total);
    if (!isnan(e->loss)) ADD("  loss %.4f", e->loss);
    if (!isnan(e->accuracy)) ADD("  accuracy %.2f %%", 100 * e->accuracy);
    if (e->per_second > 0) ADD("  %.0f images/s", e->per_second);
#undef ADD
}

static void draw_bar(ui_progress *p, const amg_progress_event *e)
{
    enum { WIDTH = 20 };
    char text[256], eta[32] = "", bar[WIDTH + 1];
    double share = e->total > 0 ? (double)e->done / (double)e->total : 0;
    if (share > 1) share = 1;
    for (int i = 0; i < WIDTH; i++) bar[i] = i < (int)(share * WIDTH) ? '#' : '.';
    bar[WIDTH] = 0;
    describe(e, text, sizeof text);
    if (share > 0) duration((ui_now() - p->started) * (1 - share) / share, eta);
    fprintf(stderr, "\r[%s] %s%s%s\x1b[K", bar, text, eta[0] ? "  ETA " : "", eta);
    fflush(stderr);
    p->drawn = true;
}

static bool report(void *context, const amg_progress_event *e)
{
    ui_progress *p = context;
    double now = ui_now();
    char text[256];
    bool last = e->done >= e->total;
    if (e->end_of_epoch) {
        ui_progress_clear(p);
        describe(e, text, sizeof text);
        fprintf(stderr, "%s\n", text);
    } else if (p->terminal) {
        if (e->done <= 1) p->started = now;
        if (last || now - p->last > 0.1) {
            draw_bar(p, e);
            p->last = now;
        }
    } else if (now - p->last > 10) {
        describe(e, text, sizeof text);
        fprintf(stderr, "%s\n", text);
        p->last = now;
    }
    return !interrupted;
}

static bool report_quietly(void *context, const amg_progress_event *e)
{
    (void)context;
    (void)e;
    return !interrupted;
}

amg_progress ui_progress_init(ui_progress *p, bool quiet)
{
    *p = (ui_progress){.terminal = isatty(STDERR_FILENO) != 0, .started = ui_now()};
    p->last = p->started;
    signal(SIGINT, on_interrupt);
    signal(SIGTERM, on_interrupt);
    return (amg_progress){.report = quiet ? report_quietly : report, .context = p};
}

void ui_progress_clear(ui_progress *p)
{
    if (p->drawn) fprintf(stderr, "\r\x1b[K");
    p->drawn = false;
}
