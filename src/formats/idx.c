/* IDX arrays and the data sets made of them (MNIST and its kin). Consumes files or
 * bytes, produces checked views; big-endian floats become native when a sample is read.
 * Knows nothing of parts or of what the labels mean. */
#include "formats/idx.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/cursor.h"
#include "formats/gz.h"

#define MAX_HEADER (4 + 4 * AMG_IDX_MAX_RANK)

/* The third byte of the magic number. */
static amg_status parse_type(uint8_t code, const char *name, amg_dtype *out,
                             amg_error *err)
{
    switch (code) {
    case 0x08: *out = AMG_U8; return AMG_OK;
    case 0x0d: *out = AMG_F32; return AMG_OK;
    case 0x09:
    case 0x0b:
    case 0x0c:
    case 0x0e:
        return amg_fail(err, AMG_UNSUPPORTED, 2, name,
                        "IDX element type 0x%02x, expected 0x08 (unsigned byte) or "
                        "0x0d (float)",
                        code);
    default:
        return amg_fail(err, AMG_MALFORMED, 2, name, "no IDX element type is 0x%02x",
                        code);
    }
}

/* Reads the header; *total is the size that the whole file must have. data may hold
 * the header only. */
static amg_status parse_header(const void *data, size_t size, const char *name,
                               amg_idx *out, size_t *total, amg_error *err)
{
    amg_cursor c = amg_cursor_init(data, size);
    const uint8_t *magic = amg_cursor_bytes(&c, 4);
    if (magic == NULL)
        return amg_fail(err, AMG_TRUNCATED, 0, name,
                        "%zu bytes, an IDX header has at least 8", size);
    if (magic[0] != 0 || magic[1] != 0)
        return amg_fail(err, AMG_MALFORMED, 0, name,
                        "begins with %02x %02x, an IDX file begins with 00 00",
                        magic[0], magic[1]);
    amg_idx idx = {0};
    amg_status st = parse_type(magic[2], name, &idx.dtype, err);
    if (st != AMG_OK) return st;
    idx.rank = magic[3];
    if (idx.rank < 1 || idx.rank > AMG_IDX_MAX_RANK)
        return amg_fail(err, AMG_UNSUPPORTED, 3, name, "%d dims, expected 1 to %d",
                        idx.rank, AMG_IDX_MAX_RANK);
    size_t bytes = amg_dtype_size(idx.dtype);
    for (int i = 0; i < idx.rank; i++) {
        const int64_t at = (int64_t)c.pos;
        idx.dims[i] = amg_cursor_u32be(&c);
        if (c.failed)
            return amg_fail(err, AMG_TRUNCATED, at, name,
                            "the header ends before dim %d of %d", i, idx.rank);
        if (idx.dims[i] == 0)
            return amg_fail(err, AMG_MALFORMED, at, name, "dim %d is 0", i);
        if (!amg_mul_size(bytes, (size_t)idx.dims[i], &bytes) ||
            bytes > INT64_MAX - MAX_HEADER)
            return amg_fail(err, AMG_OVERFLOW, at, name,
                            "dims up to this one overflow the file size");
    }
    *total = c.pos + bytes;
    *out = idx;
    return AMG_OK;
}

static amg_status parse_plain(const void *data, size_t size, const char *name,
                              amg_idx *out, amg_error *err)
{
    amg_idx idx = {0};
    size_t total = 0;
    const amg_status st = parse_header(data, size, name, &idx, &total, err);
    if (st != AMG_OK) return st;
    if (size != total) {
        const bool less = size < total;
        return amg_fail(err, less ? AMG_TRUNCATED : AMG_MALFORMED,
                        (int64_t)(less ? size : total), name,
                        "%zu bytes, its header promises %zu", size, total);
    }
    idx.data = (const uint8_t *)data + 4 + 4 * (size_t)idx.rank;
    *out = idx;
    return AMG_OK;
}

/* Unpacks into a mapped temporary file, whose size the packed IDX header fixes. */
static amg_status unpack(const void *data, size_t size, const char *name, amg_map *out,
                         amg_error *err)
{
    amg_gz *gz;
    amg_status st = amg_gz_open(data, size, name, &gz, err);
    if (st != AMG_OK) return st;
    uint8_t head[MAX_HEADER];
    size_t got, want, more = 0, total;
    amg_idx idx;
    st = amg_gz_read(gz, head, 4, &got, err);
    if (st != AMG_OK) goto done;
    want = got == 4 && head[3] <= AMG_IDX_MAX_RANK ? 4 * (size_t)head[3] : 0;
    st = amg_gz_read(gz, head + got, want, &more, err);
    if (st != AMG_OK) goto done;
    st = parse_header(head, got + more, name, &idx, &total, err);
    if (st != AMG_OK) goto done;
    st = amg_gz_unpack(gz, head, got + more, total, out, err);
done:
    amg_gz_close(gz);
    return st;
}

amg_status amg_idx_parse(const void *data, size_t size_bytes, const char *name,
                         amg_idx *out, amg_error *err)
{
    if (!amg_gz_check(data, size_bytes))
        return parse_plain(data, size_bytes, name, out, err);
    amg_map map;
    amg_status st = unpack(data, size_bytes, name, &map, err);
    if (st != AMG_OK) return st;
    st = parse_plain(map.data, map.size, name, out, err);
    if (st == AMG_OK)
        out->map = map;
    else
        amg_map_close(&map);
    return st;
}

amg_status amg_idx_open(const char *path, amg_idx *out, amg_error *err)
{
    amg_map map;
    amg_status st = amg_map_open(path, &map, err);
    if (st != AMG_OK) return st;
    st = amg_idx_parse(map.data, map.size, path, out, err);
    if (st == AMG_OK && out->map.data == NULL)
        out->map = map;
    else
        amg_map_close(&map);
    return st;
}

void amg_idx_close(amg_idx *idx)
{
    amg_map_close(&idx->map);
    *idx = (amg_idx){0};
}

/* ---- the data set: images and labels of one split, side by side in a folder ---- */

typedef struct {
    amg_idx images, labels;
    int64_t sample_count; /* elements of a sample */
} idx_set;

static const char *const stems[AMG_SPLIT_COUNT] = {
    [AMG_SPLIT_TRAIN] = "train",
    [AMG_SPLIT_TEST] = "t10k",
};
static const char *const image_suffixes[] = {"idx3-ubyte", "idx4-ubyte", "idx3-float",
                                             "idx4-float", NULL};
static const char *const label_suffixes[] = {"idx1-ubyte", NULL};

/* Path of DIR/STEM-images-idx3-ubyte or one of its other usual spellings, plain before
 * packed; *out is NULL if none is there. */
static amg_status find_file(const char *dir, const char *stem, const char *what,
                            const char *const *suffixes, char **out, amg_error *err)
{
    *out = NULL;
    for (; *suffixes != NULL; suffixes++) {
        for (int form = 0; form < 4; form++) {
            char name[64];
            snprintf(name, sizeof name, "%s-%s%c%s%s", stem, what, ".-"[form % 2],
                     *suffixes, form < 2 ? "" : ".gz");
            char *path = amg_path_join(dir, name);
            if (path == NULL)
                return amg_fail(err, AMG_NO_MEMORY, -1, dir, "no memory for a path");
            if (amg_path_exists(path)) {
                *out = path;
                return AMG_OK;
            }
            amg_free(path);
        }
    }
    return AMG_OK;
}

typedef struct {
    char *images, *labels; /* heap, NULL where missing */
} split_files;

static void split_files_clear(split_files *files)
{
    amg_free(files->images);
    amg_free(files->labels);
    *files = (split_files){0};
}

static amg_status find_split(const char *dir, amg_dataset_split split, split_files *out,
                             amg_error *err)
{
    *out = (split_files){0};
    amg_status st =
        find_file(dir, stems[split], "images", image_suffixes, &out->images, err);
    if (st == AMG_OK)
        st = find_file(dir, stems[split], "labels", label_suffixes, &out->labels, err);
    if (st != AMG_OK) split_files_clear(out);
    return st;
}

/* Bit 1 << split for every split of which a file is there. */
static amg_status find_present(const char *dir, unsigned *present, amg_error *err)
{
    *present = 0;
    for (amg_dataset_split s = AMG_SPLIT_TRAIN; s <= AMG_SPLIT_TEST; s++) {
        split_files files;
        const amg_status st = find_split(dir, s, &files, err);
        if (st != AMG_OK) return st;
        if (files.images != NULL || files.labels != NULL) *present |= 1u << s;
        split_files_clear(&files);
    }
    return AMG_OK;
}

static amg_status idx_recognise(const char *path, bool *yes, amg_error *err)
{
    unsigned present;
    const amg_status st = find_present(path, &present, err);
    if (st == AMG_OK) *yes = present != 0;
    return st;
}

static amg_status open_labels(const char *path, amg_idx *out, amg_error *err)
{
    amg_idx labels = {0};
    const amg_status st = amg_idx_open(path, &labels, err);
    if (st != AMG_OK) return st;
    if (labels.dtype != AMG_U8 || labels.rank != 1) {
        char shape[AMG_SHAPE_TEXT];
        amg_shape_text(labels.dtype, labels.rank, labels.dims, shape);
        amg_idx_close(&labels);
        return amg_fail(err, AMG_MISMATCH, 2, path,
                        "labels are %s, expected one dim of U8", shape);
    }
    *out = labels;
    return AMG_OK;
}

static int64_t max_label(const amg_idx *labels)
{
    uint8_t largest = 0;
    for (int64_t i = 0; i < labels->dims[0]; i++)
        if (labels->data[i] > largest) largest = labels->data[i];
    return largest;
}

/* The largest label of the split that is not opened: both splits of a set must agree
 * on the number of classes, also where one of them lacks the last class. */
static amg_status other_max_label(const char *dir, amg_dataset_split opened,
                                  int64_t *out, amg_error *err)
{
    split_files files;
    amg_status st = find_split(
        dir, opened == AMG_SPLIT_TRAIN ? AMG_SPLIT_TEST : AMG_SPLIT_TRAIN, &files, err);
    if (st != AMG_OK) return st;
    *out = 0;
    if (files.labels != NULL) {
        amg_idx labels = {0};
        st = open_labels(files.labels, &labels, err);
        if (st == AMG_OK) {
            *out = max_label(&labels);
            amg_idx_close(&labels);
        }
    }
    split_files_clear(&files);
    return st;
}

static void idx_close_set(void *opaque)
{
    idx_set *set = opaque;
    if (set == NULL) return;
    amg_idx_close(&set->images);
    amg_idx_close(&set->labels);
    amg_free(set);
}

/* [N,H,W] or [N,C,H,W], as many as labels. */
static amg_status check_pair(const idx_set *set, const split_files *files,
                             amg_error *err)
{
    const amg_idx *images = &set->images;
    if (images->rank < 3)
        return amg_fail(err, AMG_MISMATCH, 3, files->images,
                        "images have %d dim%s, expected 3 [N,H,W] or 4 [N,C,H,W]",
                        images->rank, amg_plural(images->rank));
    if (images->dims[0] != set->labels.dims[0])
        return amg_fail(err, AMG_MISMATCH, 4, files->labels,
                        "%lld label%s, the image file has %lld sample%s",
                        (long long)set->labels.dims[0], amg_plural(set->labels.dims[0]),
                        (long long)images->dims[0], amg_plural(images->dims[0]));
    return AMG_OK;
}

static void describe(idx_set *set, int64_t other_max, amg_dataset_info *info)
{
    const amg_idx *images = &set->images;
    const int64_t own_max = max_label(&set->labels);
    const int64_t *sides = images->dims + images->rank - 2;
    const int64_t channels = images->rank == 4 ? images->dims[1] : 1;
    info->num_samples = images->dims[0];
    amg_dataset_describe_images(info, images->dtype,
                                (const int64_t[]){channels, sides[0], sides[1]});
    info->num_classes = (own_max > other_max ? own_max : other_max) + 1;
    set->sample_count = channels * sides[0] * sides[1];
}

static amg_status idx_open_set(const char *path, amg_dataset_split *split, void **out,
                               amg_dataset_info *info, amg_error *err)
{
    unsigned present;
    int64_t other_max;
    split_files files = {0};
    idx_set *set = NULL;
    amg_status st = find_present(path, &present, err);
    if (st == AMG_OK) st = amg_split_choose(path, present, *split, split, err);
    if (st == AMG_OK) st = find_split(path, *split, &files, err);
    if (st != AMG_OK) return st;
    if (files.images == NULL || files.labels == NULL) {
        const bool labels = files.labels == NULL;
        st = amg_fail(err, AMG_NOT_FOUND, -1, path, "%s-%s-%s-ubyte[.gz] is missing",
                      stems[*split], labels ? "labels" : "images",
                      labels ? "idx1" : "idx3");
        goto done;
    }
    set = amg_calloc(1, sizeof *set);
    if (set == NULL) {
        st = amg_fail(err, AMG_NO_MEMORY, -1, path, "no memory for the data set");
        goto done;
    }
    st = open_labels(files.labels, &set->labels, err);
    if (st == AMG_OK) st = amg_idx_open(files.images, &set->images, err);
    if (st == AMG_OK) st = check_pair(set, &files, err);
    if (st == AMG_OK) st = other_max_label(path, *split, &other_max, err);
    if (st != AMG_OK) goto done;
    describe(set, other_max, info);
    *out = set;
    set = NULL;
done:
    idx_close_set(set);
    split_files_clear(&files);
    return st;
}

static amg_status idx_read(const void *opaque, int64_t row, void *x, void *y,
                           amg_error *err)
{
    (void)err;
    const idx_set *set = opaque;
    const size_t count = (size_t)set->sample_count;
    amg_dataset_put_label(y, set->labels.data[row]);
    if (x == NULL) return AMG_OK;
    if (set->images.dtype == AMG_U8) {
        memcpy(x, set->images.data + (size_t)row * count, count);
        return AMG_OK;
    }
    const uint8_t *from = set->images.data + (size_t)row * count * sizeof(uint32_t);
    uint8_t *to = x;
    for (size_t i = 0; i < count; i++, from += 4, to += 4) {
        uint32_t bits;
        memcpy(&bits, from, sizeof bits);
        bits = __builtin_bswap32(bits);
        memcpy(to, &bits, sizeof bits);
    }
    return AMG_OK;
}

const amg_dataset_kind amg_dataset_idx = {
    .name = "idx",
    .holds = "folder with train-images-idx3-ubyte[.gz] and labels",
    .is_folder = true,
    .recognise = idx_recognise,
    .open = idx_open_set,
    .close = idx_close_set,
    .read = idx_read,
};
