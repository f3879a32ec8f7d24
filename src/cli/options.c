/* The option parser: --name VALUE, --name=VALUE, -o VALUE, --flag. Consumes a table,
 * produces values in the caller's variables; the first mistake is reported with what
 * was found and expected. */
#include "cli/options.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/ui.h"

enum { MAX_OPTIONS = 64 };

static const char *dashes(const cli_option *o)
{
    return strlen(o->name) == 1 ? "-" : "--";
}

static void print_option(const cli_option *o)
{
    char left[64];
    snprintf(left, sizeof left, "  %s%s%s%s", dashes(o), o->name, o->metavar ? " " : "",
             o->metavar ? o->metavar : "");
    const char *text = o->help;
    bool first = true;
    while (*text) { /* help texts break at '\n' */
        const char *end = strchr(text, '\n');
        int n = end ? (int)(end - text) : (int)strlen(text);
        if (first && strlen(left) > 25)
            printf("%s\n%-26s%.*s\n", left, "", n, text);
        else
            printf("%-26s%.*s\n", first ? left : "", n, text);
        first = false;
        text += n + (end != NULL);
    }
}

static void print_help(const cli_command *c)
{
    printf("usage: %s %s\n\n%s\n", c->name, c->synopsis, c->about);
    if (c->num_options) printf("\noptions:\n");
    for (size_t i = 0; i < c->num_options; i++) print_option(&c->options[i]);
    print_option(&(cli_option){.name = "help", .help = "this text"});
    if (c->examples) printf("\nexamples:\n%s\n", c->examples);
}

int cli_usage_error(const cli_command *c, const char *hint, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "amalgam: error: ");
    vfprintf(stderr, fmt, args);
    va_end(args);
    if (hint)
        fprintf(stderr, "\namalgam: hint: %s\n", hint);
    else
        fprintf(stderr, "\namalgam: hint: %s --help explains every option\n", c->name);
    return CLI_USAGE;
}

bool cli_same_file(const char *a, const char *b)
{
    struct stat s, t;
    if (!a || !b) return false;
    if (!strcmp(a, b)) return true;
    return !stat(a, &s) && !stat(b, &t) && s.st_dev == t.st_dev && s.st_ino == t.st_ino;
}

static const cli_option *find_option(const cli_command *c, const char *name,
                                     size_t length)
{
    for (size_t i = 0; i < c->num_options; i++)
        if (strlen(c->options[i].name) == length &&
            !strncmp(c->options[i].name, name, length))
            return &c->options[i];
    return NULL;
}

static int bad_value(const cli_command *c, const cli_option *o, const char *value,
                     const char *expected)
{
    return cli_usage_error(c, NULL, "%s%s: found '%.100s', expected %s", dashes(o),
                           o->name, value, expected);
}

static int set_choice(const cli_command *c, const cli_option *o, const char *value)
{
    char expected[256] = "one of";
    for (int i = 0; o->choices[i]; i++) {
        if (!strcmp(o->choices[i], value)) {
            *(int *)o->target = i;
            return CLI_GO_ON;
        }
        size_t n = strlen(expected);
        snprintf(expected + n, sizeof expected - n, " %s", o->choices[i]);
    }
    return bad_value(c, o, value, expected);
}

static int set_number(const cli_command *c, const cli_option *o, const char *value)
{
    char *end, expected[128];
    bool whole = o->kind == CLI_INT;
    errno = 0;
    double real = whole ? 0 : strtod(value, &end);
    long long number = whole ? strtoll(value, &end, 10) : 0;
    double v = whole ? (double)number : real;
    bool ok =
        end != value && !*end && !errno && isfinite(v) && v >= o->min && v <= o->max;
    if (!ok) {
        snprintf(expected, sizeof expected, "a %s from %.15g to %.15g",
                 whole ? "whole number" : "number", o->min, o->max);
        return bad_value(c, o, value, expected);
    }
    if (whole)
        *(int64_t *)o->target = number;
    else
        *(double *)o->target = real;
    return CLI_GO_ON;
}

static void add_word(cli_list *list, const char *word)
{
    list->items[list->count++] = word;
}

static int set_value(const cli_command *c, const cli_option *o, const char *value)
{
    switch (o->kind) {
    case CLI_FLAG: *(bool *)o->target = true; break;
    case CLI_STRING: *(const char **)o->target = value; break;
    case CLI_INT:
    case CLI_REAL: return set_number(c, o, value);
    case CLI_CHOICE: return set_choice(c, o, value);
    case CLI_LIST:
    case CLI_REPEAT: add_word(o->target, value); break;
    }
    return CLI_GO_ON;
}

/* What the table says must be there. */
static int check_complete(const cli_command *c, const bool *seen, bool has_positional)
{
    for (size_t i = 0; i < c->num_options; i++)
        if (seen[i] && c->options[i].alone) return CLI_GO_ON;
    for (size_t i = 0; i < c->num_options; i++)
        if (c->options[i].required && !seen[i])
            return cli_usage_error(c, NULL, "%s: missing %s%s", c->name,
                                   dashes(&c->options[i]), c->options[i].name);
    if (c->positional && !c->positional_optional && !has_positional)
        return cli_usage_error(c, NULL, "%s: missing %s", c->name, c->positional);
    return CLI_GO_ON;
}

static bool is_option(const char *word) { return word[0] == '-' && word[1] != 0; }

/* One option at argv[*i], its value there or in the next word. */
static int parse_option(const cli_command *c, int argc, char **argv, int *i, bool *seen)
{
    const char *a = argv[*i], *name = a + (a[1] == '-' ? 2 : 1);
    const char *equals = strchr(name, '=');
    size_t length = equals ? (size_t)(equals - name) : strlen(name);
    const cli_option *o = find_option(c, name, length);
    if (!o || (a[1] != '-') != (length == 1))
        return cli_usage_error(c, NULL, "%s: unknown option %s", c->name, a);
    const char *value = equals ? equals + 1 : NULL;
    if (o->kind == CLI_FLAG && value)
        return cli_usage_error(c, NULL, "--%s takes no value", o->name);
    if (o->kind != CLI_FLAG && !value) {
        if (*i + 1 == argc)
            return cli_usage_error(c, NULL, "%s%s: its value is missing", dashes(o),
                                   o->name);
        value = argv[++*i];
    }
    size_t index = (size_t)(o - c->options);
    if (seen[index] && o->kind != CLI_REPEAT)
        return cli_usage_error(c, NULL, "%s%s is given twice", dashes(o), o->name);
    seen[index] = true;
    int code = set_value(c, o, value);
    while (o->kind == CLI_LIST && *i + 1 < argc && !is_option(argv[*i + 1]))
        code = set_value(c, o, argv[++*i]);
    return code;
}

int cli_parse(const cli_command *c, int argc, char **argv, const char **positional)
{
    bool seen[MAX_OPTIONS] = {0}, has_positional = false;
    assert(c->num_options <= MAX_OPTIONS);
    if (positional) *positional = NULL;
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            print_help(c);
            return ui_flush() ? CLI_OK : CLI_FAILURE;
        }
    for (int i = 1; i < argc; i++) {
        if (is_option(argv[i])) {
            int code = parse_option(c, argc, argv, &i, seen);
            if (code != CLI_GO_ON) return code;
        } else if (!c->positional || (has_positional && !c->positionals)) {
            return cli_usage_error(c, NULL, "%s: unexpected argument '%s'", c->name,
                                   argv[i]);
        } else {
            if (c->positionals)
                add_word(c->positionals, argv[i]);
            else
                *positional = argv[i];
            has_positional = true;
        }
    }
    return check_complete(c, seen, has_positional);
}
