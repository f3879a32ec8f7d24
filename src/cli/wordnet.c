/* WordNet's data files: a licence, each of its lines behind two spaces, then a line for
 * each synset (wndb(5WN)):
 *
 *   00008299 29 v 01 wink 2 003 @ ... | signal by winking; "She winked at him"
 *   offset   category                   definition          examples
 *
 * Consumes the four files, produces a CSV file. Knows nothing of tokens. */
#include "cli/wordnet.h"

#include <string.h>

#include "base/alloc.h"
#include "base/file.h"

/* The lexicographer files by their number, as lexnames(5WN) lists them; WordNet's
 * packages do not contain that list in a form to be read. */
static const char *const categories[CLI_WORDNET_CATEGORIES] = {
    "adj.all",          "adj.pert",           "adv.all",
    "noun.Tops",        "noun.act",           "noun.animal",
    "noun.artifact",    "noun.attribute",     "noun.body",
    "noun.cognition",   "noun.communication", "noun.event",
    "noun.feeling",     "noun.food",          "noun.group",
    "noun.location",    "noun.motive",        "noun.object",
    "noun.person",      "noun.phenomenon",    "noun.plant",
    "noun.possession",  "noun.process",       "noun.quantity",
    "noun.relation",    "noun.shape",         "noun.state",
    "noun.substance",   "noun.time",          "verb.body",
    "verb.change",      "verb.cognition",     "verb.communication",
    "verb.competition", "verb.consumption",   "verb.contact",
    "verb.creation",    "verb.emotion",       "verb.motion",
    "verb.perception",  "verb.possession",    "verb.social",
    "verb.stative",     "verb.weather",       "adj.ppl",
};

/* Two digits behind the offset's eight and a space; -1 if they are no category. */
static int find_category(const char *line, size_t size)
{
    if (size < 12 || line[8] != ' ' || line[11] != ' ') return -1;
    const int tens = line[9] - '0', ones = line[10] - '0';
    if (tens < 0 || tens > 9 || ones < 0 || ones > 9) return -1;
    return 10 * tens + ones < CLI_WORDNET_CATEGORIES ? 10 * tens + ones : -1;
}

/* What stands between "| " and the first example, without spaces at its end. */
static const char *find_gloss(const char *line, size_t size, size_t *length)
{
    const char *bar = memmem(line, size, "| ", 2);
    if (!bar) return NULL;
    const char *gloss = bar + 2, *end = line + size;
    const char *example = memmem(gloss, (size_t)(end - gloss), "; \"", 3);
    if (example) end = example;
    while (end > gloss && end[-1] == ' ') end--;
    *length = (size_t)(end - gloss);
    return *length ? gloss : NULL;
}

/* A quoted field: quotes are doubled. */
static void write_quoted(FILE *to, const char *text, size_t size)
{
    fputc('"', to);
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '"') fputc('"', to);
        fputc(text[i], to);
    }
    fputc('"', to);
}

/* One data file. rows grows by its synsets. */
static amg_status append(const char *path, FILE *to, int64_t *rows, amg_error *err)
{
    amg_map map;
    amg_status status = amg_map_open(path, &map, err);
    if (status) return status;
    const char *data = (const char *)map.data;
    int64_t number = 1;
    for (size_t at = 0; at < map.size && !status; number++) {
        const char *line = data + at, *newline = memchr(line, '\n', map.size - at);
        const size_t size = newline ? (size_t)(newline - line) : map.size - at;
        at += size + 1;
        if (size >= 2 && line[0] == ' ' && line[1] == ' ') continue; /* the licence */
        size_t length;
        const int category = find_category(line, size);
        const char *gloss = find_gloss(line, size, &length);
        if (category < 0 || !gloss) {
            status = amg_fail(err, AMG_MALFORMED, line - data, path,
                              "line %lld is no synset with a category below %d and a "
                              "gloss",
                              (long long)number, CLI_WORDNET_CATEGORIES);
            break;
        }
        fprintf(to, "%s,", categories[category]);
        write_quoted(to, gloss, length);
        fputc('\n', to);
        ++*rows;
    }
    amg_map_close(&map);
    return status;
}

amg_status cli_wordnet_csv(const char *dir, const char *csv, int64_t *rows,
                           amg_error *err)
{
    static const char *const files[] = {"data.noun", "data.verb", "data.adj",
                                        "data.adv"};
    amg_outfile out = {0};
    *rows = 0;
    amg_status status = amg_outfile_open(csv, 0644, true, &out, err);
    if (!status) fprintf(out.stream, "category,gloss\n");
    for (int i = 0; i < 4 && !status; i++) {
        char *path = amg_path_join(dir, files[i]);
        status = path ? append(path, out.stream, rows, err)
                      : amg_fail(err, AMG_NO_MEMORY, -1, dir, "a path");
        amg_free(path);
    }
    if (!status) status = amg_outfile_commit(&out, true, err);
    amg_outfile_abort(&out);
    return status;
}
