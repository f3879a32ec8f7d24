/* WordNet's database files as a CSV file of definitions and their categories, the text
 * of amalgam demo --text. */
#ifndef AMG_CLI_WORDNET_H
#define AMG_CLI_WORDNET_H

#include <stdint.h>

#include "amalgam/status.h"

enum { CLI_WORDNET_CATEGORIES = 45 };

/* dir has data.noun, data.verb, data.adj and data.adv in the form of wndb(5WN). Writes
 * one row each synset, "category,gloss" on top: the lexicographer file's name
 * ("noun.animal") and the definition without the examples that may follow it.
 * AMG_MALFORMED names file and line. */
AMG_MUST_CHECK amg_status cli_wordnet_csv(const char *dir, const char *csv,
                                          int64_t *rows, amg_error *err);

#endif
