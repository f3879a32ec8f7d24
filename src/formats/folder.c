/* Folders of PNG and JPEG files by class. Consumes a folder tree, produces samples that
 * are decoded when read (image.c). Class folders are sorted bytewise, over all splits
 * together, so that a class has one label in train and in test. Symbolic links are
 * refused: a link in somebody's data set may lead anywhere. */
#include "formats/folder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/file.h"
#include "formats/image.h"

typedef struct {
    const char *name; /* in the arena */
    int64_t label;
} folder_file;

typedef struct {
    amg_arena arena;
    const char *root;     /* PATH or PATH/SPLIT */
    const char **classes; /* sorted, distinct */
    int64_t num_classes;
    folder_file *files;
    int64_t num_files, room;
    int64_t dims[3];
} folder_set;

typedef enum { ENTRY_FILE, ENTRY_FOLDER, ENTRY_LINK, ENTRY_OTHER } entry_type;

static amg_status out_of_memory(const char *where, amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, where, "no memory for the list of images");
}

static amg_status get_type(const char *dir, const char *name, entry_type *out,
                           amg_error *err)
{
    char *path = amg_path_join(dir, name);
    if (path == NULL) return out_of_memory(dir, err);
    struct stat s;
    amg_status st = AMG_OK;
    if (lstat(path, &s) != 0)
        st = amg_fail_errno(err, errno, path, "cannot tell what it is");
    else if (S_ISLNK(s.st_mode))
        *out = ENTRY_LINK;
    else
        *out = S_ISDIR(s.st_mode)   ? ENTRY_FOLDER
               : S_ISREG(s.st_mode) ? ENTRY_FILE
                                    : ENTRY_OTHER;
    amg_free(path);
    return st;
}

static bool is_image_name(const char *name)
{
    const char *dot = strrchr(name, '.');
    return name[0] != '.' && dot != NULL &&
           (strcasecmp(dot, ".png") == 0 || strcasecmp(dot, ".jpg") == 0 ||
            strcasecmp(dot, ".jpeg") == 0);
}

static amg_status refuse_link(const char *dir, const char *name, amg_error *err)
{
    const amg_status st =
        amg_fail(err, AMG_UNSAFE_PATH, -1, dir,
                 "\"%s\" is a symbolic link, expected a file or folder", name);
    amg_hint(err, "put the images themselves there, or name the folder linked to");
    return st;
}

/* Calls visit(context, dir, name) for every sub-folder that is not hidden. */
typedef amg_status (*visit_fn)(void *context, const char *dir, const char *name,
                               amg_error *err);
static amg_status each_folder(const char *dir, visit_fn visit, void *context,
                              amg_error *err)
{
    char **list;
    size_t count;
    amg_status st = amg_dir_list(dir, &list, &count, err);
    if (st != AMG_OK) return st;
    for (size_t i = 0; i < count && st == AMG_OK; i++) {
        entry_type type = ENTRY_OTHER;
        if (list[i][0] == '.') continue;
        st = get_type(dir, list[i], &type, err);
        if (st != AMG_OK) break;
        if (type == ENTRY_FOLDER)
            st = visit(context, dir, list[i], err);
        else if (type == ENTRY_LINK)
            st = refuse_link(dir, list[i], err);
    }
    amg_dir_list_free(list, count);
    return st;
}

static amg_status note_folder(void *found, const char *dir, const char *name,
                              amg_error *err)
{
    (void)dir, (void)name, (void)err;
    *(bool *)found = true;
    return AMG_OK;
}

/* PATH/train is a split if it holds folders; if it holds images, it is a class that
 * happens to be called train. */
static amg_status find_present(const char *path, unsigned *present, amg_error *err)
{
    *present = 0;
    for (amg_dataset_split s = AMG_SPLIT_TRAIN; s < AMG_SPLIT_COUNT; s++) {
        const char *name = amg_split_name(s);
        char *dir = amg_path_join(path, name);
        if (dir == NULL) return out_of_memory(path, err);
        bool found = false;
        entry_type type = ENTRY_OTHER;
        amg_status st = AMG_OK;
        if (amg_path_exists(dir)) st = get_type(path, name, &type, err);
        if (type == ENTRY_LINK) st = refuse_link(path, name, err);
        if (type == ENTRY_FOLDER) st = each_folder(dir, note_folder, &found, err);
        amg_free(dir);
        if (st != AMG_OK) return st;
        if (found) *present |= 1u << s;
    }
    return AMG_OK;
}

/* ---- recognition ---- */

static amg_status note_images(void *found, const char *dir, const char *name,
                              amg_error *err)
{
    if (*(bool *)found) return AMG_OK;
    char *path = amg_path_join(dir, name);
    if (path == NULL) return out_of_memory(dir, err);
    char **list;
    size_t count;
    const amg_status st = amg_dir_list(path, &list, &count, err);
    amg_free(path);
    if (st != AMG_OK) return st;
    for (size_t i = 0; i < count; i++)
        if (is_image_name(list[i])) *(bool *)found = true;
    amg_dir_list_free(list, count);
    return AMG_OK;
}

static amg_status folder_recognise(const char *path, bool *yes, amg_error *err)
{
    unsigned present;
    *yes = false;
    amg_status st = find_present(path, &present, err);
    if (st != AMG_OK) return st;
    if (present == 0) return each_folder(path, note_images, yes, err);
    for (amg_dataset_split s = AMG_SPLIT_TRAIN; s < AMG_SPLIT_COUNT; s++) {
        if ((present & 1u << s) == 0) continue;
        char *dir = amg_path_join(path, amg_split_name(s));
        if (dir == NULL) return out_of_memory(path, err);
        st = each_folder(dir, note_images, yes, err);
        amg_free(dir);
        if (st != AMG_OK) return st;
    }
    return AMG_OK;
}

/* ---- opening ---- */

static amg_status add_class(void *context, const char *dir, const char *name,
                            amg_error *err)
{
    folder_set *set = context;
    if ((set->num_classes & (set->num_classes - 1)) == 0) { /* full at powers of 2 */
        const size_t room = set->num_classes == 0 ? 1 : 2 * (size_t)set->num_classes;
        const char **grown = amg_realloc(set->classes, room * sizeof *grown);
        if (grown == NULL) return out_of_memory(dir, err);
        set->classes = grown;
    }
    const char *copy = amg_arena_strdup(&set->arena, name);
    if (copy == NULL) return out_of_memory(dir, err);
    set->classes[set->num_classes++] = copy;
    return AMG_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void sort_classes(folder_set *set)
{
    if (set->num_classes == 0) return;
    qsort(set->classes, (size_t)set->num_classes, sizeof *set->classes, compare_names);
    int64_t kept = 1;
    for (int64_t i = 1; i < set->num_classes; i++)
        if (strcmp(set->classes[i], set->classes[kept - 1]) != 0)
            set->classes[kept++] = set->classes[i];
    set->num_classes = kept;
}

static amg_status add_file(folder_set *set, const char *name, int64_t label,
                           amg_error *err)
{
    if (set->num_files == set->room) {
        const int64_t room = set->room == 0 ? 64 : 2 * set->room;
        folder_file *grown = amg_realloc(set->files, (size_t)room * sizeof *set->files);
        if (grown == NULL) return out_of_memory(set->root, err);
        set->files = grown;
        set->room = room;
    }
    const char *copy = amg_arena_strdup(&set->arena, name);
    if (copy == NULL) return out_of_memory(set->root, err);
    set->files[set->num_files++] = (folder_file){.name = copy, .label = label};
    return AMG_OK;
}

/* Files that are not images by name are passed over; a class may be missing in one
 * split. */
static amg_status add_images(folder_set *set, int64_t label, amg_error *err)
{
    char *dir = amg_path_join(set->root, set->classes[label]);
    if (dir == NULL) return out_of_memory(set->root, err);
    char **list = NULL;
    size_t count = 0;
    amg_status st = AMG_OK;
    if (amg_path_is_dir(dir)) st = amg_dir_list(dir, &list, &count, err);
    for (size_t i = 0; i < count && st == AMG_OK; i++) {
        entry_type type;
        if (!is_image_name(list[i])) continue;
        st = get_type(dir, list[i], &type, err);
        if (st != AMG_OK) break;
        if (type == ENTRY_LINK)
            st = refuse_link(dir, list[i], err);
        else if (type != ENTRY_FILE)
            st = amg_fail(err, AMG_MALFORMED, -1, dir,
                          "\"%s\" is not a regular file, expected an image", list[i]);
        else
            st = add_file(set, list[i], label, err);
    }
    amg_dir_list_free(list, count);
    amg_free(dir);
    return st;
}

/* ROOT/CLASS/NAME, heap. */
static char *file_path(const folder_set *set, int64_t row)
{
    const folder_file *file = &set->files[row];
    char *dir = amg_path_join(set->root, set->classes[file->label]);
    char *path = dir != NULL ? amg_path_join(dir, file->name) : NULL;
    amg_free(dir);
    return path;
}

static amg_status read_image(const folder_set *set, int64_t row, int want_channels,
                             amg_tensor *out, amg_error *err)
{
    char *path = file_path(set, row);
    if (path == NULL) return out_of_memory(set->root, err);
    const amg_status st = amg_image_read(path, want_channels, out, err);
    amg_free(path);
    return st;
}

static amg_status list_classes(folder_set *set, const char *path, unsigned present,
                               amg_error *err)
{
    if (present == 0) return each_folder(path, add_class, set, err);
    for (amg_dataset_split s = AMG_SPLIT_TRAIN; s < AMG_SPLIT_COUNT; s++) {
        if ((present & 1u << s) == 0) continue;
        char *dir = amg_path_join(path, amg_split_name(s));
        if (dir == NULL) return out_of_memory(path, err);
        const amg_status st = each_folder(dir, add_class, set, err);
        amg_free(dir);
        if (st != AMG_OK) return st;
    }
    return AMG_OK;
}

static amg_status set_root(folder_set *set, const char *path, amg_dataset_split split,
                           amg_error *err)
{
    char *root = split == AMG_SPLIT_NONE ? amg_strdup(path)
                                         : amg_path_join(path, amg_split_name(split));
    if (root != NULL) set->root = amg_arena_strdup(&set->arena, root);
    amg_free(root);
    return set->root != NULL ? AMG_OK : out_of_memory(path, err);
}

static void folder_close(void *opaque)
{
    folder_set *set = opaque;
    if (set == NULL) return;
    amg_arena_clear(&set->arena);
    amg_free(set->classes);
    amg_free(set->files);
    amg_free(set);
}

static amg_status fill(folder_set *set, const char *path, amg_dataset_split *split,
                       amg_error *err)
{
    unsigned present;
    amg_status st = find_present(path, &present, err);
    if (st != AMG_OK) return st;
    if (present != 0 || *split != AMG_SPLIT_NONE) {
        st = amg_split_choose(path, present, *split, split, err);
        if (st != AMG_OK) return st;
    }
    st = set_root(set, path, *split, err);
    if (st == AMG_OK) st = list_classes(set, path, present, err);
    if (st != AMG_OK) return st;
    sort_classes(set);
    for (int64_t label = 0; label < set->num_classes; label++) {
        st = add_images(set, label, err);
        if (st != AMG_OK) return st;
    }
    if (set->num_files == 0)
        return amg_fail(err, AMG_NOT_FOUND, -1, set->root,
                        "no images in %lld class folders, expected "
                        "CLASS/NAME.png|jpg|jpeg",
                        (long long)set->num_classes);
    return AMG_OK;
}

static amg_status folder_open(const char *path, amg_dataset_split *split, void **out,
                              amg_dataset_info *info, amg_error *err)
{
    folder_set *set = amg_calloc(1, sizeof *set);
    if (set == NULL) return out_of_memory(path, err);
    amg_tensor first = {0};
    amg_status st = fill(set, path, split, err);
    if (st == AMG_OK) st = read_image(set, 0, 0, &first, err);
    if (st != AMG_OK) {
        folder_close(set);
        return st;
    }
    memcpy(set->dims, first.dims, sizeof set->dims);
    amg_dataset_describe_images(info, AMG_U8, first.dims);
    info->num_samples = set->num_files;
    info->num_classes = set->num_classes;
    amg_tensor_clear(&first);
    *out = set;
    return AMG_OK;
}

/* A grey image in a set of RGB images is widened, which loses nothing; the other way
 * round would, and is an error like any other shape. */
static amg_status folder_read(const void *opaque, int64_t row, void *x, void *y,
                              amg_error *err)
{
    const folder_set *set = opaque;
    if (x != NULL) {
        amg_tensor image;
        const amg_status st =
            read_image(set, row, set->dims[0] == 3 ? 3 : 0, &image, err);
        if (st != AMG_OK) return st;
        const bool fits = memcmp(image.dims, set->dims, sizeof set->dims) == 0;
        if (fits) memcpy(x, image.data, image.size_bytes);
        char found[AMG_SHAPE_TEXT], expected[AMG_SHAPE_TEXT];
        amg_shape_text(AMG_U8, 3, image.dims, found);
        amg_tensor_clear(&image);
        if (!fits) {
            char *path = file_path(set, row);
            const amg_status wrong =
                amg_fail(err, AMG_MISMATCH, -1, path != NULL ? path : set->root,
                         "the image is %s, the first of the set is %s", found,
                         amg_shape_text(AMG_U8, 3, set->dims, expected));
            amg_free(path);
            return wrong;
        }
    }
    amg_dataset_put_label(y, set->files[row].label);
    return AMG_OK;
}

static const char *folder_class_name(const void *opaque, int64_t label)
{
    return ((const folder_set *)opaque)->classes[label];
}

const amg_dataset_kind amg_dataset_folder = {
    .name = "folder",
    .holds = "folder of CLASS/*.png|jpg",
    .is_folder = true,
    .recognise = folder_recognise,
    .open = folder_open,
    .close = folder_close,
    .read = folder_read,
    .class_name = folder_class_name,
};
