/* amalgam tokenize: text files -> a token set. Options in, a summary out; the work is
 * done in src/text/. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/parallel.h"
#include "cli/options.h"
#include "cli/ui.h"
#include "cli/verbs.h"
#include "text/tokenize.h"

static const char *const formats[] = {"text", "csv", "tsv", "jsonl", NULL};

typedef struct {
    cli_list inputs;
    const char *out, *tokenizer, *vocab, *text, *label, *classes;
    int format; /* index into formats; -1: by name */
    bool lower, punctuation, pad, header, whole_file, quiet;
    int64_t max_vocab, min_count, threads;
} arguments;

/* The lines of a file of class names. */
typedef struct {
    char *text;
    const char **names;
    int count;
} name_list;

static void free_names(name_list *n)
{
    amg_free(n->text);
    amg_free(n->names);
}

/* One name a line, CR LF allowed, empty lines passed over. */
static amg_status read_names(const char *path, name_list *out, amg_error *err)
{
    amg_map map;
    amg_status st = amg_map_open(path, &map, err);
    if (st != AMG_OK) return st;
    const char *nul = map.size > 0 ? memchr(map.data, 0, map.size) : NULL;
    out->text = amg_malloc(map.size + 1);
    out->names = amg_malloc((map.size / 2 + 1) * sizeof *out->names);
    if (nul != NULL) {
        st = amg_fail(err, AMG_MALFORMED, nul - (const char *)map.data, path,
                      "a NUL byte, which no text has");
    } else if (out->text == NULL || out->names == NULL) {
        st = amg_fail(err, AMG_NO_MEMORY, -1, path, "no memory for its names");
    } else {
        if (map.size > 0) memcpy(out->text, map.data, map.size);
        out->text[map.size] = 0;
        char *rest = out->text;
        for (char *line; (line = strsep(&rest, "\r\n")) != NULL;)
            if (line[0] != 0) out->names[out->count++] = line;
        if (out->count == 0)
            st = amg_fail(err, AMG_MALFORMED, 0, path, "not one name of a class");
    }
    amg_map_close(&map);
    return st;
}

/* What the table of options cannot express; else CLI_GO_ON. */
static int check(const cli_command *command, const arguments *a)
{
    const bool word = a->vocab == NULL && strcmp(a->tokenizer, "word") == 0;
    const bool shapes_words =
        a->lower || a->punctuation || a->pad || a->max_vocab != 0 || a->min_count != 0;
    if (a->vocab != NULL && strcmp(a->tokenizer, "word") != 0)
        return cli_usage_error(command, NULL,
                               "--vocab and --tokenizer both say what tokens are");
    if (!word && shapes_words)
        return cli_usage_error(
            command, NULL,
            "--lower, --punctuation, --pad, --max-vocab and --min-count are for "
            "vocabularies made here");
    if (a->classes != NULL && a->label == NULL)
        return cli_usage_error(command, "--label COL says where the labels are",
                               "--classes without --label");
    return CLI_GO_ON;
}

static void print_summary(const char *out, const amg_tokenize_result *r)
{
    char documents[32], tokens[32], size[32], bytes[32];
    printf("%s: %s document%s, %s token%s, vocabulary %s", out,
           ui_count(r->info.num_documents, documents),
           amg_plural(r->info.num_documents), ui_count(r->info.num_tokens, tokens),
           amg_plural(r->info.num_tokens), ui_count(r->info.vocab_size, size));
    if (r->info.num_classes > 0)
        printf(", %lld class%s", (long long)r->info.num_classes,
               r->info.num_classes == 1 ? "" : "es");
    printf("\nunknown %.2f %% (%s), %s of text at %.1f MB/s\n",
           100.0 * (double)r->unknown / (double)r->info.num_tokens,
           ui_count(r->unknown, tokens), ui_bytes((double)r->bytes, bytes),
           (double)r->bytes / 1e6 / (r->seconds > 0 ? r->seconds : 1e-9));
}

static int run(const arguments *a)
{
    const bool byte = strcmp(a->tokenizer, "byte") == 0;
    const bool word = strcmp(a->tokenizer, "word") == 0;
    amg_tokenize_options o = {
        .inputs = a->inputs.items,
        .num_inputs = a->inputs.count,
        .records = {.format = (amg_records_format)(a->format >= 0 ? a->format : 0),
                    .format_by_name = a->format < 0,
                    .text = a->text,
                    .label = a->label,
                    .header = a->header},
        .kind = byte ? AMG_TOKENIZER_BYTE : AMG_TOKENIZER_WORD,
        .vocabulary = a->vocab != NULL || byte || word ? a->vocab : a->tokenizer,
        .words = {.lower = a->lower,
                  .punctuation = a->punctuation,
                  .max_size = a->max_vocab,
                  .min_count = a->min_count,
                  .pad = a->pad},
        .whole_file = a->whole_file,
        .out = a->out};
    amg_error err = {0};
    name_list names = {0};
    ui_progress bar;
    amg_tokenize_result result;
    amg_set_threads((int)a->threads);
    amg_status st = AMG_OK;
    if (a->classes != NULL) st = read_names(a->classes, &names, &err);
    o.classes = names.names;
    o.num_classes = names.count;
    const amg_progress progress = ui_progress_init(&bar, a->quiet);
    if (st == AMG_OK) st = amg_tokenize(&o, &progress, &result, &err);
    ui_progress_clear(&bar);
    free_names(&names);
    if (st != AMG_OK) return ui_error(&err);
    print_summary(a->out, &result);
    return ui_flush() ? CLI_OK : CLI_FAILURE;
}

int verb_tokenize(int argc, char **argv)
{
    arguments a = {.tokenizer = "word", .format = -1};
    a.inputs.items = amg_malloc((size_t)argc * sizeof *a.inputs.items);
    if (a.inputs.items == NULL)
        return ui_error(&(amg_error){.code = AMG_NO_MEMORY, .offset = -1});
    const cli_option table[] = {
        {"o", CLI_STRING, &a.out, "SET", "folder to make: the token set",
         .required = true},
        {"tokenizer", CLI_STRING, &a.tokenizer, "T",
         "word (default): what spaces separate, the vocabulary made from\n"
         "the text; byte: 256 tokens, any text; or a PATH: tokenizer.json\n"
         "of Hugging Face, or a folder with it or with GPT-2's vocab.json\n"
         "and merges.txt"},
        {"vocab", CLI_STRING, &a.vocab, "PATH",
         "use the vocabulary (and classes) of another token set: validation\n"
         "data must be read with that of the training data"},
        {"lower", CLI_FLAG, &a.lower, NULL, "words in lower case"},
        {"punctuation", CLI_FLAG, &a.punctuation, NULL,
         "each character of punctuation is a word of its own"},
        {"max-vocab", CLI_INT, &a.max_vocab, "N",
         "at most N tokens, the most frequent; others become <unk>", 4, INT32_MAX},
        {"min-count", CLI_INT, &a.min_count, "N", "rarer words become <unk> (1)", 1,
         INT32_MAX},
        {"pad", CLI_FLAG, &a.pad, NULL,
         "a vocabulary with <pad>; with --label it always has one"},
        {"format", CLI_CHOICE, &a.format, "F",
         "text, csv, tsv or jsonl; without it by the file's name (.gz is\n"
         "looked through)",
         .choices = formats},
        {"text", CLI_STRING, &a.text, "COL",
         "the text's column, by number from 1 or by name (the last; jsonl:\n"
         "\"text\"); several are joined by a space: 2,3"},
        {"label", CLI_STRING, &a.label, "COL",
         "the label's column: documents for a classifier"},
        {"header", CLI_FLAG, &a.header, NULL, "csv, tsv: the first row names columns"},
        {"classes", CLI_STRING, &a.classes, "FILE",
         "class names in order, one a line (the labels found, sorted);\n"
         "labels are names, or numbers from 1 where no name is a number"},
        {"whole-file", CLI_FLAG, &a.whole_file, NULL,
         "a file is one document, line ends kept; else each line is one"},
        {"threads", CLI_INT, &a.threads, "N",
         "the bytes written do not depend on it (all cores)", 1, 1024},
        {"quiet", CLI_FLAG, &a.quiet, NULL, "no progress"},
    };
    const cli_command command = {
        .name = "amalgam tokenize",
        .synopsis = "FILE... -o SET [options]",
        .about =
            "Turns text into a token set: numbers in .npy files, and vocabulary.json, "
            "which says\n"
            "what they mean and stays at home. Use it as --train text:SET.\n\n"
            "Without --label the set is one stream for a language model, <eos> behind "
            "each\n"
            "document; with it, documents for a classifier, each cut or filled up with "
            "<pad>\n"
            "when it is used.",
        .examples =
            "  amalgam tokenize wiki.train.txt -o wiki.train\n"
            "  amalgam tokenize wiki.valid.txt -o wiki.valid --vocab wiki.train\n"
            "  amalgam tokenize shakespeare.txt -o plays --tokenizer byte "
            "--whole-file\n"
            "  amalgam tokenize train.csv.gz -o news --text 2,3 --label 1 --lower "
            "--punctuation",
        .options = table,
        .num_options = sizeof table / sizeof *table,
        .positional = "FILE",
        .positionals = &a.inputs};
    int code = cli_parse(&command, argc, argv, NULL);
    if (code == CLI_GO_ON) code = check(&command, &a);
    if (code == CLI_GO_ON) code = run(&a);
    amg_free(a.inputs.items);
    return code;
}
