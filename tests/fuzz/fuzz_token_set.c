/* Fuzz target: any bytes as the files of a token set. The input is tokens.json,
 * tokens-00000.npy, documents.npy and labels.npy, each behind its size (u16,
 * little-endian). What is opened must be whole: every token that can be read is
 * in the vocabulary, and a data set of it reads to its end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "formats/dataset.h"
#include "formats/token_set.h"
#include "fuzz.h"

enum { MAX_SEQ = 8 };

static void make_path(char path[512], const char *dir, const char *name)
{
    snprintf(path, 512, "%s/%s", dir, name);
}

/* Writes the files as far as the bytes go. */
static void put_files(const char *dir, const uint8_t *data, size_t size)
{
    static const char *const names[] = {"tokens.json", "tokens-00000.npy",
                                        "documents.npy", "labels.npy"};
    for (int i = 0; i < 4; i++) {
        char path[512];
        make_path(path, dir, names[i]);
        unlink(path);
        if (size < 2) continue;
        size_t n = (size_t)data[0] | (size_t)data[1] << 8;
        data += 2;
        size -= 2;
        if (n > size) n = size;
        FILE *f = fopen(path, "wb");
        if (f == NULL || fwrite(data, 1, n, f) != n || fclose(f) != 0) abort();
        data += n;
        size -= n;
    }
}

static void read_tokens(const amg_token_set *set)
{
    const amg_token_info *info = &set->info;
    if (set->documents[0] != 0 ||
        set->documents[info->num_documents] != info->num_tokens)
        abort();
    for (int64_t i = 0; i < info->num_tokens; i++) {
        int32_t token;
        amg_error err;
        const amg_status st = amg_token_set_read(set, i, 1, &token, &err);
        if (st == AMG_OK ? token < 0 || token >= info->vocab_size
                         : st != AMG_MALFORMED || err.offset < 0)
            abort();
    }
}

static void read_samples(const char *dir)
{
    amg_dataset *ds;
    int32_t x[MAX_SEQ + 1], y;
    for (int64_t seq = 1; seq <= MAX_SEQ; seq += MAX_SEQ - 1) {
        if (amg_dataset_open_window(dir, &(amg_window){seq, 1}, &ds, NULL) != AMG_OK)
            continue;
        const amg_dataset_info *info = amg_dataset_get_info(ds);
        for (int64_t i = 0; i < info->num_samples; i++) {
            const amg_status st = amg_dataset_read(ds, i, x, &y, NULL);
            if (st != AMG_OK && st != AMG_MALFORMED) abort();
            if (st == AMG_OK && (x[0] < 0 || x[0] >= info->vocab_size)) abort();
        }
        amg_dataset_close(ds);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char dir[256];
    const char *root = getenv("TMPDIR");
    amg_token_set set;
    snprintf(dir, sizeof dir, "%s/amg-fuzz-XXXXXX", root != NULL ? root : "/tmp");
    if (mkdtemp(dir) == NULL) abort();
    put_files(dir, data, size);
    if (amg_token_set_open(dir, &set, NULL) == AMG_OK) {
        read_tokens(&set);
        read_samples(dir);
        amg_token_set_close(&set);
    }
    amg_dir_remove(dir);
    return 0;
}
