/* The option parser: --name VALUE, --name=VALUE, -o VALUE, --flag. Consumes a table,
 * produces values in the caller's variables; the first mistake is reported with what
 * was found and expected. */
#include "cli/options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/ui.h"

static void print_option(const cli_option *o)
{
    char left[64];
    snprintf(left, sizeof left, "  %s%s%s%s", strlen(o->name) == 1 ? "-" : "--",
             o->name, o->metavar ? " " : "", o->metavar ? o->metavar : "");
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

static int usage_error(const cli_command *c, const char *what, const char *name)
{
    fprintf(stderr, "amalgam: error: %s: %s%s%s\n", c->name, what, name ? " " : "",
            name ? name : "");
    fprintf(stderr, "amalgam: hint: %s --help explains every option\n", c->name);
    return CLI_USAGE;
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
    char what[512];
    snprintf(what, sizeof what, "%s%s: found '%.100s', expected %s",
             strlen(o->name) == 1 ? "-" : "--", o->name, value, expected);
    return usage_error(c, what, NULL);
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
        snprintf(expected, sizeof expected, "a %s from %g to %g",
                 whole ? "whole number" : "number", o->min, o->max);
        return bad_value(c, o, value, expected);
    }
    if (whole)
        *(int64_t *)o->target = number;
    else
        *(double *)o->target = real;
    return CLI_GO_ON;
}

static int set_value(const cli_command *c, const cli_option *o, const char *value)
{
    switch (o->kind) {
    case CLI_FLAG: *(bool *)o->target = true; break;
    case CLI_STRING: *(const char **)o->target = value; break;
    case CLI_INT:
    case CLI_REAL: return set_number(c, o, value);
    case CLI_CHOICE: return set_choice(c, o, value);
    }
    return CLI_GO_ON;
}

int cli_parse(const cli_command *c, int argc, char **argv, const char **positional)
{
    bool seen[64] = {0};
    if (positional) *positional = NULL;
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (!strcmp(a, "--help") || !strcmp(a, "-h")) {
            print_help(c);
            return ui_flush() ? CLI_OK : CLI_FAILURE;
        }
        if (a[0] != '-' || !a[1]) {
            if (!c->positional || *positional)
                return usage_error(c, "unexpected argument", a);
            *positional = a;
            continue;
        }
        const char *name = a + (a[1] == '-' ? 2 : 1), *equals = strchr(name, '=');
        size_t length = equals ? (size_t)(equals - name) : strlen(name);
        const cli_option *o = find_option(c, name, length);
        if (!o || (a[1] != '-') != (length == 1))
            return usage_error(c, "unknown option", a);
        const char *value = equals ? equals + 1 : NULL;
        if (o->kind == CLI_FLAG && value) return usage_error(c, "takes no value:", a);
        if (o->kind != CLI_FLAG && !value) {
            if (i + 1 == argc) return usage_error(c, "no value after", a);
            value = argv[++i];
        }
        size_t index = (size_t)(o - c->options);
        if (seen[index]) return usage_error(c, "given twice:", a);
        seen[index] = true;
        int code = set_value(c, o, value);
        if (code != CLI_GO_ON) return code;
    }
    for (size_t i = 0; i < c->num_options; i++)
        if (c->options[i].required && !seen[i]) {
            char name[64];
            snprintf(name, sizeof name, "%s%s",
                     strlen(c->options[i].name) == 1 ? "-" : "--", c->options[i].name);
            return usage_error(c, "missing", name);
        }
    if (c->positional && !*positional) return usage_error(c, "missing", c->positional);
    return CLI_GO_ON;
}
