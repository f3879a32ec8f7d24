/* Errors, progress, numbers for people. Consumes events and records, prints; knows no
 * format or algorithm. */
#include "cli/ui.h"

#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
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

void ui_print_text(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        const unsigned char c = (unsigned char)text[i];
        const unsigned char next = i + 1 < length ? (unsigned char)text[i + 1] : 0;
        const bool c1 = c == 0xc2 && next >= 0x80 && next < 0xa0; /* U+0080 to U+009F */
        putchar(c1 || c < 0x20 || c == 0x7f ? '?' : c);
        i += c1;
    }
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
    (void)sig;
    interrupted = 1;
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

/* Appends to the text in buf; what does not fit is cut. */
AMG_PRINTF(3, 4) static void add(char *buf, size_t size, const char *fmt, ...)
{
    size_t at = strlen(buf);
    va_list args;
    va_start(args, fmt);
    vsnprintf(buf + at, size - at, fmt, args);
    va_end(args);
}

/* "train  epoch 2/3  step 120/469  loss 0.412  accuracy 85.1 %  5210 samples/s" without
 * the parts that do not apply. */
static void describe(const amg_progress_event *e, char *buf, size_t size)
{
    snprintf(buf, size, "%s", e->stage);
    if (e->num_epochs)
        add(buf, size, "  epoch %lld/%lld  step", (long long)e->epoch,
            (long long)e->num_epochs);
    if (e->total) add(buf, size, " %lld/%lld", (long long)e->done, (long long)e->total);
    if (!isnan(e->loss) && e->num_epochs) {
        add(buf, size, "  loss %.4f", e->loss);
        if (e->predicts_tokens) add(buf, size, "  perplexity %.2f", exp(e->loss));
    }
    if (!isnan(e->accuracy) && e->num_epochs)
        add(buf, size, "  accuracy %.2f %%", 100 * e->accuracy);
    if (e->per_second > 0)
        add(buf, size, "  %.0f %s/s", e->per_second,
            e->predicts_tokens ? "tokens" : "samples");
}

static int terminal_columns(void)
{
    struct winsize w;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) || w.ws_col < 20 ? 80 : w.ws_col;
}

/* One line that never wraps: the text first, then as much bar as there is room for. */
static void draw_bar(ui_progress *p, const amg_progress_event *e, double now)
{
    enum { MAX_BAR = 24, MIN_BAR = 6 };
    char text[256], eta[32], bar[MAX_BAR + 4] = "";
    const int room = terminal_columns() - 1; /* the last column would wrap */
    describe(e, text, sizeof text);
    if (e->total > e->done && e->done > p->first) {
        double each = (now - p->started) / (double)(e->done - p->first);
        add(text, sizeof text, "  ETA %s",
            duration(each * (double)(e->total - e->done), eta));
    }
    int width = room - (int)strlen(text) - 3;
    if (width > MAX_BAR) width = MAX_BAR;
    if (width >= MIN_BAR && e->total > 0) {
        double share = (double)e->done / (double)e->total;
        bar[0] = '[';
        for (int i = 0; i < width; i++) bar[i + 1] = i < share * width ? '#' : '.';
        memcpy(bar + 1 + width, "] ", 3);
    }
    fprintf(stderr, "\r%s%.*s\x1b[K", bar, room, text);
    fflush(stderr);
    p->drawn = true;
}

/* The epoch's line stays: its last training report, and validation where there is one.
 */
static void print_epoch(ui_progress *p, const amg_progress_event *e)
{
    char text[256];
    describe(p->train.stage ? &p->train : e, text, sizeof text);
    if (!isnan(e->loss)) {
        add(text, sizeof text, "  validation loss %.4f", e->loss);
        if (e->predicts_tokens)
            add(text, sizeof text, "  perplexity %.2f", exp(e->loss));
    }
    if (!isnan(e->accuracy))
        add(text, sizeof text, "  accuracy %.2f %%", 100 * e->accuracy);
    ui_progress_clear(p);
    fprintf(stderr, "%s\n", text);
}

static bool report(void *context, const amg_progress_event *e)
{
    ui_progress *p = context;
    double now = ui_now();
    char text[256];
    if (!p->stage || strcmp(p->stage, e->stage)) {
        p->stage = e->stage;
        p->started = now;
        p->first = e->done;
    }
    if (!strcmp(e->stage, "train")) p->train = *e;
    if (e->end_of_epoch) {
        print_epoch(p, e);
        p->last = now;
    } else if (p->terminal) {
        if (e->done >= e->total || now - p->last > 0.1) {
            draw_bar(p, e, now);
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
    *p = (ui_progress){.terminal = isatty(STDERR_FILENO) != 0, .last = ui_now()};
    const struct sigaction stop = {.sa_handler = on_interrupt,
                                   .sa_flags = SA_ONSTACK | SA_RESETHAND | SA_RESTART};
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGHUP, &stop, NULL);
    return (amg_progress){.report = quiet ? report_quietly : report, .context = p};
}

void ui_progress_clear(ui_progress *p)
{
    if (p->drawn) fprintf(stderr, "\r\x1b[K");
    p->drawn = false;
}
