/* Passphrases. They live in sodium_malloc memory from the first byte on; the terminal's
 * echo is off while typing and comes back on every path, signals included. */
#include "cli/passphrase.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "cli/ui.h"

enum { MAX_PASSPHRASE = 1024 };

/* A signal that came while the echo was off: delivered again once it is on. */
static volatile sig_atomic_t caught;

static void on_signal(int sig) { caught = sig; }

/* unblocked: the signals' mask while waiting, NULL where they are not blocked. */
static amg_status read_line(int fd, const char *where, const sigset_t *unblocked,
                            amg_passphrase *out, amg_error *err)
{
    char *text = sodium_malloc(MAX_PASSPHRASE);
    if (!text) return amg_fail(err, AMG_NO_MEMORY, -1, where, "no locked memory");
    size_t n = 0;
    for (;;) {
        struct pollfd waiting = {.fd = fd, .events = POLLIN};
        bool ready = !unblocked || ppoll(&waiting, 1, NULL, unblocked) >= 0;
        ssize_t got = ready ? read(fd, text + n, 1) : -1;
        if (got < 0 && errno == EINTR && !caught) continue;
        if (got < 0 || n + 1 == MAX_PASSPHRASE) {
            amg_status st = got < 0
                                ? amg_fail_errno(err, errno, where, "cannot read it")
                                : amg_fail(err, AMG_INVALID, -1, where,
                                           "longer than %d bytes", MAX_PASSPHRASE - 1);
            sodium_free(text);
            return st;
        }
        if (got == 0 || text[n] == '\n') break;
        n++;
    }
    if (n == 0) {
        sodium_free(text);
        return amg_fail(err, AMG_INVALID, -1, where, "is empty");
    }
    *out = (amg_passphrase){text, n};
    return AMG_OK;
}

static amg_status ask(int tty, const char *prompt, amg_passphrase *out, amg_error *err)
{
    struct termios old, silent;
    if (tcgetattr(tty, &old))
        return amg_fail_errno(err, errno, "terminal", "cannot ask");
    silent = old;
    silent.c_lflag &= ~(tcflag_t)ECHO;
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    enum { NUM_SIGNALS = sizeof signals / sizeof *signals };
    struct sigaction before[NUM_SIGNALS], now = {.sa_handler = on_signal};
    sigset_t blocked, unblocked;
    caught = 0;
    sigemptyset(&blocked);
    for (int i = 0; i < NUM_SIGNALS; i++) sigaddset(&blocked, signals[i]);
    /* Blocked but while waiting: one that comes just before would be missed. */
    sigprocmask(SIG_BLOCK, &blocked, &unblocked);
    for (int i = 0; i < NUM_SIGNALS; i++) sigaction(signals[i], &now, &before[i]);
    amg_status st = AMG_OK;
    if (tcsetattr(tty, TCSAFLUSH, &silent))
        st = amg_fail_errno(err, errno, "terminal", "cannot hide what is typed");
    if (!st && write(tty, prompt, strlen(prompt)) < 0)
        errno = 0; /* the question is a courtesy */
    if (!st) st = read_line(tty, "passphrase", &unblocked, out, err);
    tcsetattr(tty, TCSAFLUSH, &old);
    if (write(tty, "\n", 1) < 0) errno = 0;
    for (int i = 0; i < NUM_SIGNALS; i++) sigaction(signals[i], &before[i], NULL);
    sigprocmask(SIG_SETMASK, &unblocked, NULL); /* one still waiting strikes here */
    if (caught) raise(caught);
    return st;
}

void cli_passphrase_clear(amg_passphrase *p)
{
    sodium_free(p->text);
    *p = (amg_passphrase){0};
}

amg_status cli_passphrase_read(int fd, bool confirm, amg_passphrase *out,
                               amg_error *err)
{
    if (sodium_init() < 0)
        return amg_fail(err, AMG_IO, -1, "libsodium", "cannot start");
    if (fd >= 0) return read_line(fd, "--passphrase-fd", NULL, out, err);
    int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (tty < 0) {
        amg_fail_errno(err, errno, "passphrase", "there is no terminal to ask on");
        amg_hint(err, "give it through a file descriptor: --passphrase-fd 3 3<file");
        return AMG_IO;
    }
    amg_passphrase again = {0};
    amg_status st = ask(tty, "passphrase: ", out, err);
    if (!st && confirm) {
        st = ask(tty, "once more: ", &again, err);
        if (!st && (again.length != out->length ||
                    sodium_memcmp(again.text, out->text, out->length)))
            st = amg_fail(err, AMG_MISMATCH, -1, "passphrase", "the two differ");
        cli_passphrase_clear(&again);
        if (st) cli_passphrase_clear(out);
    }
    close(tty);
    return st;
}

amg_status cli_passphrase_for(const char *key, int fd, amg_passphrase *out,
                              amg_error *err)
{
    bool needs = false;
    *out = (amg_passphrase){0};
    amg_status st = amg_keyfile_needs_passphrase(key, &needs, err);
    if (st || !needs) return st;
    return cli_passphrase_read(fd, false, out, err);
}

void cli_warn_loose(const char *key)
{
    ui_note("warning: %s may be read by others: chmod 600 %s", key, key);
}
