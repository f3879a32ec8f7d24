/* Command-line options: one table per verb feeds the parser, --help and the error
 * messages. */
#ifndef AMG_CLI_OPTIONS_H
#define AMG_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "amalgam/status.h"

typedef enum {
    CLI_FLAG,   /* bool * */
    CLI_STRING, /* const char ** */
    CLI_INT,    /* int64_t *, whole number within [min, max] */
    CLI_REAL,   /* double *, finite, within [min, max] */
    CLI_CHOICE, /* int *, index into choices */
    CLI_LIST,   /* cli_list *, the words up to the next option */
    CLI_REPEAT  /* cli_list *, one word each time it is given */
} cli_kind;

/* Words of the command line; items: the caller's, with room for argc of them. */
typedef struct {
    const char **items;
    int count;
} cli_list;

/* target keeps its value when the option is absent: set defaults before parsing. */
typedef struct {
    const char *name; /* without the dashes; "-o" style: one letter */
    cli_kind kind;
    void *target;
    const char *metavar, *help;
    double min, max;
    const char *const *choices; /* NULL-terminated */
    bool required;
    bool alone; /* a flag that asks for something else than the verb's work (--list):
                   where it is given, nothing is missed */
} cli_option;

typedef struct {
    const char *name;     /* "amalgam extract" */
    const char *synopsis; /* what follows the name in the usage line */
    const char *about;    /* paragraphs, '\n' */
    const char *examples; /* NULL: none */
    const cli_option *options;
    size_t num_options;
    const char *positional; /* metavar of the one positional argument; NULL: none */
    bool positional_optional;
    cli_list *positionals; /* not NULL: as many as are given, and here they go */
} cli_command;

enum { CLI_OK = 0, CLI_FAILURE = 1, CLI_USAGE = 2, CLI_GO_ON = -1 };

/* Parses argv[1..]. CLI_GO_ON: run the verb; else the exit code (--help was shown, or
 * usage was wrong and said so on stderr). *positional may be NULL when the command has
 * none. */
int cli_parse(const cli_command *command, int argc, char **argv,
              const char **positional);

/* Says on stderr what is wrong with the options, and hint (NULL: that --help explains
 * them); returns CLI_USAGE. For what the table cannot express. */
int cli_usage_error(const cli_command *command, const char *hint, const char *fmt, ...)
    AMG_PRINTF(3, 4);

/* Both name the same file, by name or behind links; false if one is NULL. */
bool cli_same_file(const char *a, const char *b);

#endif
