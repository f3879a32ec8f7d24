/* CIFAR-10 and CIFAR-100 binary folders. Consumes mapped files of fixed records,
 * produces checked samples and class names. Knows nothing of parts. */
#include "formats/cifar.h"

#include <string.h>

#include "base/alloc.h"
#include "base/file.h"

#define MAX_CLASSES 100

/* One record: label bytes, then 1024 red, 1024 green, 1024 blue. */
typedef struct {
    size_t record_bytes;
    size_t label_at; /* the last label byte is the one we use; pixels follow it */
    int num_classes, num_coarse;
    const char *names_file;
} layout;

static const layout layouts[] = {
    [AMG_CIFAR_10] = {1 + AMG_CIFAR_PIXELS, 0, 10, 0, "batches.meta.txt"},
    [AMG_CIFAR_100] = {2 + AMG_CIFAR_PIXELS, 1, 100, 20, "fine_label_names.txt"},
};

amg_status amg_cifar_parse(const void *data, size_t size_bytes, const char *name,
                           amg_cifar_variant variant, int64_t *num_records,
                           amg_error *err)
{
    const layout *form = &layouts[variant];
    const size_t rest = size_bytes % form->record_bytes;
    if (size_bytes == 0 || rest != 0)
        return amg_fail(err, AMG_TRUNCATED, (int64_t)(size_bytes - rest), name,
                        "%zu bytes, expected a multiple of %zu, one record", size_bytes,
                        form->record_bytes);
    const uint8_t *bytes = data;
    for (size_t at = 0; at < size_bytes; at += form->record_bytes) {
        if (form->num_coarse > 0 && bytes[at] >= form->num_coarse)
            return amg_fail(err, AMG_MALFORMED, (int64_t)at, name,
                            "coarse label %d, expected 0 to %d", bytes[at],
                            form->num_coarse - 1);
        const uint8_t label = bytes[at + form->label_at];
        if (label >= form->num_classes)
            return amg_fail(err, AMG_MALFORMED, (int64_t)(at + form->label_at), name,
                            "label %d, expected 0 to %d", label, form->num_classes - 1);
    }
    *num_records = (int64_t)(size_bytes / form->record_bytes);
    return AMG_OK;
}

amg_status amg_cifar_parse_names(char *text, size_t size_bytes, const char *name,
                                 amg_cifar_variant variant, const char **names,
                                 amg_error *err)
{
    const int expected = layouts[variant].num_classes;
    int count = 0;
    size_t at = 0;
    while (at < size_bytes) {
        const char *newline = memchr(text + at, '\n', size_bytes - at);
        const size_t end = newline != NULL ? (size_t)(newline - text) : size_bytes;
        size_t stop = end;
        if (stop > at && text[stop - 1] == '\r') stop--;
        for (size_t i = at; i < stop; i++)
            if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
                return amg_fail(err, AMG_MALFORMED, (int64_t)i, name,
                                "control character 0x%02x in a class name",
                                (unsigned char)text[i]);
        if (stop > at) { /* the official file ends with an empty line */
            if (count == expected)
                return amg_fail(err, AMG_MISMATCH, (int64_t)at, name,
                                "more than %d class names", expected);
            names[count++] = text + at;
        }
        text[stop] = 0;
        at = end + 1;
    }
    if (count != expected)
        return amg_fail(err, AMG_MISMATCH, (int64_t)size_bytes, name,
                        "%d class name%s, expected %d", count, amg_plural(count),
                        expected);
    return AMG_OK;
}

/* ---- the data set ---- */

typedef struct {
    amg_map map;
    int64_t num_records;
} cifar_file;

typedef struct {
    const layout *form;
    cifar_file *files;
    size_t num_files;
    char *names_text; /* NULL where the folder has no list of names */
    const char *names[MAX_CLASSES];
} cifar_set;

static bool starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

static bool ends(const char *s, const char *suffix)
{
    const size_t n = strlen(s), m = strlen(suffix);
    return n >= m && strcmp(s + n - m, suffix) == 0;
}

/* Which split of which variant a file name belongs to. */
static bool belongs(const char *name, amg_cifar_variant variant,
                    amg_dataset_split split)
{
    if (variant == AMG_CIFAR_100)
        return strcmp(name, split == AMG_SPLIT_TRAIN ? "train.bin" : "test.bin") == 0;
    if (split == AMG_SPLIT_TEST) return strcmp(name, "test_batch.bin") == 0;
    return starts(name, "data_batch_") && ends(name, ".bin");
}

static unsigned find_present(char *const *list, size_t count, amg_cifar_variant variant)
{
    unsigned present = 0;
    for (size_t i = 0; i < count; i++)
        for (amg_dataset_split s = AMG_SPLIT_TRAIN; s <= AMG_SPLIT_TEST; s++)
            if (belongs(list[i], variant, s)) present |= 1u << s;
    return present;
}

/* train.bin alone could be anything: the list of names makes it CIFAR-100. */
static amg_status cifar_recognise(const char *path, bool *yes, amg_error *err)
{
    char **list;
    size_t count;
    const amg_status st = amg_dir_list(path, &list, &count, err);
    if (st != AMG_OK) return st;
    bool named = false;
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i], layouts[AMG_CIFAR_100].names_file) == 0) named = true;
    *yes = find_present(list, count, AMG_CIFAR_10) != 0 ||
           (named && find_present(list, count, AMG_CIFAR_100) != 0);
    amg_dir_list_free(list, count);
    return AMG_OK;
}

static void cifar_close(void *opaque)
{
    cifar_set *set = opaque;
    if (set == NULL) return;
    for (size_t i = 0; i < set->num_files; i++) amg_map_close(&set->files[i].map);
    amg_free(set->files);
    amg_free(set->names_text);
    amg_free(set);
}

/* Maps DIR/NAME and appends it; set->files has room. */
static amg_status add_file(cifar_set *set, const char *dir, const char *name,
                           amg_cifar_variant variant, amg_error *err)
{
    char *path = amg_path_join(dir, name);
    if (path == NULL)
        return amg_fail(err, AMG_NO_MEMORY, -1, dir, "no memory for a path");
    cifar_file *file = &set->files[set->num_files];
    amg_status st = amg_map_open(path, &file->map, err);
    if (st == AMG_OK) {
        set->num_files++;
        st = amg_cifar_parse(file->map.data, file->map.size, path, variant,
                             &file->num_records, err);
    }
    amg_free(path);
    return st;
}

static amg_status read_names(cifar_set *set, const char *dir, amg_cifar_variant variant,
                             amg_error *err)
{
    char *path = amg_path_join(dir, set->form->names_file);
    if (path == NULL)
        return amg_fail(err, AMG_NO_MEMORY, -1, dir, "no memory for a path");
    amg_status st = AMG_OK;
    amg_map map = {0};
    if (!amg_path_exists(path)) goto done;
    st = amg_map_open(path, &map, err);
    if (st != AMG_OK) goto done;
    set->names_text = amg_calloc(1, map.size + 1);
    if (set->names_text == NULL) {
        st = amg_fail(err, AMG_NO_MEMORY, -1, path, "no memory for the class names");
        goto done;
    }
    if (map.size > 0) memcpy(set->names_text, map.data, map.size);
    st = amg_cifar_parse_names(set->names_text, map.size, path, variant, set->names,
                               err);
done:
    amg_map_close(&map);
    amg_free(path);
    return st;
}

static amg_status open_files(cifar_set *set, const char *path, char *const *list,
                             size_t count, amg_cifar_variant variant,
                             amg_dataset_split split, amg_error *err)
{
    set->form = &layouts[variant];
    set->files = amg_calloc(count, sizeof *set->files);
    if (set->files == NULL)
        return amg_fail(err, AMG_NO_MEMORY, -1, path, "no memory for the data set");
    for (size_t i = 0; i < count; i++) {
        if (!belongs(list[i], variant, split)) continue;
        const amg_status st = add_file(set, path, list[i], variant, err);
        if (st != AMG_OK) return st;
    }
    return read_names(set, path, variant, err);
}

static amg_status cifar_open(const char *path, amg_dataset_split *split, void **out,
                             amg_dataset_info *info, amg_error *err)
{
    char **list;
    size_t count;
    amg_status st = amg_dir_list(path, &list, &count, err);
    if (st != AMG_OK) return st;
    amg_cifar_variant variant = AMG_CIFAR_10;
    unsigned present = find_present(list, count, variant);
    if (present == 0) {
        variant = AMG_CIFAR_100;
        present = find_present(list, count, variant);
    }
    cifar_set *set = NULL;
    st = amg_split_choose(path, present, *split, split, err);
    if (st != AMG_OK) goto done;
    set = amg_calloc(1, sizeof *set);
    if (set == NULL) {
        st = amg_fail(err, AMG_NO_MEMORY, -1, path, "no memory for the data set");
        goto done;
    }
    st = open_files(set, path, list, count, variant, *split, err);
    if (st != AMG_OK) goto done;

    info->num_samples = 0;
    for (size_t i = 0; i < set->num_files; i++)
        info->num_samples += set->files[i].num_records;
    amg_dataset_describe_images(info, AMG_U8, (const int64_t[]){3, 32, 32});
    info->num_classes = set->form->num_classes;
    *out = set;
    set = NULL;
done:
    cifar_close(set);
    amg_dir_list_free(list, count);
    return st;
}

static amg_status cifar_read(const void *opaque, int64_t row, void *x, void *y,
                             amg_error *err)
{
    (void)err;
    const cifar_set *set = opaque;
    const cifar_file *file = set->files;
    while (row >= file->num_records) row -= (file++)->num_records;
    const uint8_t *record = file->map.data + (size_t)row * set->form->record_bytes;
    amg_dataset_put_label(y, record[set->form->label_at]);
    if (x != NULL) memcpy(x, record + set->form->label_at + 1, AMG_CIFAR_PIXELS);
    return AMG_OK;
}

static const char *cifar_class_name(const void *opaque, int64_t label)
{
    return ((const cifar_set *)opaque)->names[label];
}

const amg_dataset_kind amg_dataset_cifar = {
    .name = "cifar",
    .holds = "folder with data_batch_*.bin or CIFAR-100's train.bin",
    .is_folder = true,
    .recognise = cifar_recognise,
    .open = cifar_open,
    .close = cifar_close,
    .read = cifar_read,
    .class_name = cifar_class_name,
};
