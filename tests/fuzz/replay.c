/* Runs one fuzz target over every file of the folders given, so that each finding and
 * each seed stays checked with any compiler. Prints how many; no file at all is a
 * failure, for then nothing was checked. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "fuzz.h"

/* The bytes are handed over in a buffer of exactly their size, for ASan's sake: a
 * mapping is readable up to the end of its page. */
static amg_status replay_file(const char *path, amg_error *err)
{
    amg_map map;
    amg_status st = amg_map_open(path, &map, err);
    if (st) return st;
    uint8_t *exact = amg_malloc(map.size);
    if (exact) {
        if (map.size) memcpy(exact, map.data, map.size);
        LLVMFuzzerTestOneInput(exact, map.size);
    } else {
        st = amg_fail(err, AMG_NO_MEMORY, -1, path, "no memory for its bytes");
    }
    amg_free(exact);
    amg_map_close(&map);
    return st;
}

static amg_status replay_folder(const char *folder, size_t *done, amg_error *err)
{
    char **names;
    size_t count;
    amg_status st = amg_dir_list(folder, &names, &count, err);
    if (st) return st;
    for (size_t i = 0; i < count && !st; i++) {
        char *path = amg_path_join(folder, names[i]);
        if (!path) abort();
        st = replay_file(path, err);
        amg_free(path);
        *done += !st;
    }
    amg_dir_list_free(names, count);
    return st;
}

int main(int argc, char **argv)
{
    size_t done = 0;
    for (int i = 1; i < argc; i++) {
        amg_error err;
        if (replay_folder(argv[i], &done, &err)) {
            fprintf(stderr, "%s: %s: %s\n", argv[0], err.where, err.what);
            return 1;
        }
    }
    printf("%s: %zu inputs replayed\n", argv[0], done);
    return done ? 0 : 1;
}
