/* PNG through libpng, read from memory and written to a file or to memory. libpng
 * reports by calling back; the callback fills the amg_error and jumps to the setjmp of
 * the job. All state is in the caller's struct, so that no local variable is lost in
 * the jump. Nothing is printed. Knows nothing of planes wanted or of data sets. */
#include "formats/image_codec.h"

#include <png.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "formats/image.h"

/* No deflate stream unpacks to more than this many times its size: a match of 258 bytes
 * costs at least two bits. */
#define DEFLATE_MAX_RATIO 1032

/* One reading or writing in progress. */
typedef struct {
    const char *name;
    amg_error *err;
    amg_status status;
    bool out_of_memory;
    png_structp png;
    png_infop info;
    jmp_buf jump;
    /* reading */
    const uint8_t *data;
    size_t size, pos;
    size_t chunk, next_chunk; /* where this chunk and the one after it begin */
    amg_pixels out;
    /* writing */
    const amg_tensor *image;
    FILE *stream;
    uint8_t *row;
} png_job;

static png_voidp job_malloc(png_structp png, png_alloc_size_t size)
{
    png_job *job = png_get_mem_ptr(png);
    void *p = amg_malloc(size);
    if (p == NULL) job->out_of_memory = true;
    return p;
}

static void job_free(png_structp png, png_voidp p)
{
    (void)png;
    amg_free(p);
}

/* Keeps the first failure and leaves libpng. */
static void job_error(png_structp png, png_const_charp message)
{
    png_job *job = png_get_error_ptr(png);
    if (job->status != AMG_OK) {
        /* the callback that failed has said why */
    } else if (job->out_of_memory) {
        job->status =
            amg_fail(job->err, AMG_NO_MEMORY, -1, job->name, "no memory for libpng");
    } else {
        job->status =
            amg_fail(job->err, AMG_MALFORMED, (int64_t)job->chunk, job->name,
                     "the PNG chunk that begins here is damaged: %s", message);
    }
    longjmp(job->jump, 1);
}

/* Warnings of libpng concern colour profiles, dates and text: never a pixel, since
 * checksum errors are made fatal below. */
static void job_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

/* Every chunk is 4 bytes of length, 4 of type, the data, 4 of checksum; libpng asks for
 * the first 8 in one call. Following them gives errors the offset of their chunk. */
static void job_read(png_structp png, png_bytep out, size_t length)
{
    png_job *job = png_get_io_ptr(png);
    if (length > job->size - job->pos) {
        job->status = amg_fail(job->err, AMG_TRUNCATED, (int64_t)job->size, job->name,
                               "the PNG ends inside the chunk at byte %zu", job->chunk);
        png_error(png, "truncated");
    }
    memcpy(out, job->data + job->pos, length);
    if (job->pos == job->next_chunk && length == 8) {
        job->chunk = job->pos;
        job->next_chunk = job->pos + 12 + png_get_uint_32(out);
    }
    job->pos += length;
}

static void job_refuse(png_job *job, amg_status status, int64_t offset,
                       const char *what)
{
    job->status = amg_fail(job->err, status, offset, job->name, "%ux%u pixels: %s",
                           png_get_image_width(job->png, job->info),
                           png_get_image_height(job->png, job->info), what);
    longjmp(job->jump, 1);
}

/* Sides within limits, and a file long enough to hold them: otherwise a hundred bytes
 * could ask for 12 GB. Width is at byte 16, height at byte 20. */
static void check_size(png_job *job)
{
    const uint64_t width = png_get_image_width(job->png, job->info);
    const uint64_t height = png_get_image_height(job->png, job->info);
    if (width > AMG_IMAGE_MAX_SIDE)
        job_refuse(job, AMG_UNSUPPORTED, 16, "a side is longer than 65500");
    if (height > AMG_IMAGE_MAX_SIDE)
        job_refuse(job, AMG_UNSUPPORTED, 20, "a side is longer than 65500");
    const uint64_t bits = (uint64_t)png_get_bit_depth(job->png, job->info) *
                          png_get_channels(job->png, job->info);
    if (width * height * bits / 8 / DEFLATE_MAX_RATIO > job->size)
        job_refuse(job, AMG_TRUNCATED, (int64_t)job->size,
                   "the file is too short to hold them");
}

/* Asks libpng to deliver 8-bit grey or RGB whatever the file holds. */
static int set_transforms(png_job *job)
{
    const int color = png_get_color_type(job->png, job->info);
    if (color == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(job->png);
    if (color == PNG_COLOR_TYPE_GRAY) png_set_expand_gray_1_2_4_to_8(job->png);
    png_set_scale_16(job->png);
    png_set_strip_alpha(job->png);
    const int passes = png_set_interlace_handling(job->png);
    png_read_update_info(job->png, job->info);
    return passes;
}

static void read_pixels(png_job *job)
{
    if (setjmp(job->jump) != 0) return;
    png_set_read_fn(job->png, job, job_read);
    png_set_user_limits(job->png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_crc_action(job->png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    png_read_info(job->png, job->info);
    check_size(job);
    const int passes = set_transforms(job);
    amg_pixels *out = &job->out;
    out->width = png_get_image_width(job->png, job->info);
    out->height = png_get_image_height(job->png, job->info);
    out->channels = png_get_channels(job->png, job->info);
    const size_t row_bytes = png_get_rowbytes(job->png, job->info);
    out->data = amg_calloc((size_t)out->height, row_bytes);
    if (out->data == NULL) {
        job->out_of_memory = true;
        png_error(job->png, "pixels");
    }
    for (int pass = 0; pass < passes; pass++)
        for (int64_t y = 0; y < out->height; y++)
            png_read_row(job->png, out->data + (size_t)y * row_bytes, NULL);
    png_read_end(job->png, NULL);
}

amg_status amg_png_decode(const uint8_t *data, size_t size_bytes, const char *name,
                          amg_pixels *out, amg_error *err)
{
    png_job job = {
        .name = name, .err = err, .data = data, .size = size_bytes, .next_chunk = 8};
    job.png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &job, job_error,
                                       job_warning, &job, job_malloc, job_free);
    job.info = job.png != NULL ? png_create_info_struct(job.png) : NULL;
    if (job.info != NULL)
        read_pixels(&job);
    else
        job.out_of_memory = true;
    png_destroy_read_struct(&job.png, &job.info, NULL);
    if (job.status == AMG_OK && job.out_of_memory)
        job.status = amg_fail(err, AMG_NO_MEMORY, -1, name, "no memory for libpng");
    if (job.status == AMG_OK)
        *out = job.out;
    else
        amg_free(job.out.data);
    return job.status;
}

static void job_write(png_structp png, png_bytep data, size_t length)
{
    png_job *job = png_get_io_ptr(png);
    /* a failed write shows in ferror, which amg_outfile_commit checks */
    fwrite(data, 1, length, job->stream);
}

static void job_flush(png_structp png) { (void)png; }

static void write_pixels(png_job *job)
{
    const amg_tensor *image = job->image;
    const size_t channels = (size_t)image->dims[0];
    const size_t height = (size_t)image->dims[1], width = (size_t)image->dims[2];
    const uint8_t *planes = image->data;
    if (setjmp(job->jump) != 0) return;
    png_set_write_fn(job->png, job, job_write, job_flush);
    png_set_IHDR(job->png, job->info, (png_uint_32)width, (png_uint_32)height, 8,
                 channels == 1 ? PNG_COLOR_TYPE_GRAY : PNG_COLOR_TYPE_RGB,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    png_set_compression_level(job->png, 6);
    png_set_filter(job->png, PNG_FILTER_TYPE_BASE, PNG_ALL_FILTERS);
    png_write_info(job->png, job->info);
    for (size_t y = 0; y < height; y++) {
        for (size_t x = 0; x < width; x++)
            for (size_t c = 0; c < channels; c++)
                job->row[x * channels + c] = planes[(c * height + y) * width + x];
        png_write_row(job->png, job->row);
    }
    png_write_end(job->png, NULL);
}

static amg_status encode(const char *path, const amg_tensor *image, FILE *stream,
                         amg_error *err)
{
    png_job job = {.name = path, .err = err, .image = image, .stream = stream};
    job.row = amg_calloc((size_t)image->dims[0], (size_t)image->dims[2]);
    job.png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, &job, job_error,
                                        job_warning, &job, job_malloc, job_free);
    job.info = job.png != NULL ? png_create_info_struct(job.png) : NULL;
    if (job.info != NULL && job.row != NULL)
        write_pixels(&job);
    else
        job.status = amg_fail(err, AMG_NO_MEMORY, -1, path, "no memory for libpng");
    png_destroy_write_struct(&job.png, &job.info);
    amg_free(job.row);
    return job.status;
}

static amg_status check_image(const char *name, const amg_tensor *image, amg_error *err)
{
    const int64_t *dims = image->dims;
    if (image->dtype == AMG_U8 && image->rank == 3 && (dims[0] == 1 || dims[0] == 3) &&
        dims[1] >= 1 && dims[1] <= AMG_IMAGE_MAX_SIDE && dims[2] >= 1 &&
        dims[2] <= AMG_IMAGE_MAX_SIDE)
        return AMG_OK;
    char shape[AMG_SHAPE_TEXT];
    return amg_fail(err, AMG_INVALID, -1, name,
                    "the image is %s, expected U8 [1 or 3,H,W] with sides up to %d",
                    amg_shape_text(image->dtype, image->rank, dims, shape),
                    AMG_IMAGE_MAX_SIDE);
}

amg_status amg_image_write_png(const char *path, const amg_tensor *image,
                               amg_error *err)
{
    amg_outfile file = {0};
    amg_status status = check_image(path, image, err);
    if (status == AMG_OK) status = amg_outfile_open(path, 0644, false, &file, err);
    if (status == AMG_OK) status = encode(path, image, file.stream, err);
    if (status == AMG_OK) status = amg_outfile_commit(&file, false, err);
    amg_outfile_abort(&file);
    return status;
}

amg_status amg_image_encode_png(const amg_tensor *image, const char *name,
                                uint8_t **png, size_t *size_bytes, amg_error *err)
{
    char *text = NULL; /* libc's, not of our allocator */
    size_t size = 0;
    uint8_t *copy = NULL;
    amg_status status = check_image(name, image, err);
    if (status != AMG_OK) return status;
    FILE *stream = open_memstream(&text, &size);
    if (stream != NULL) {
        status = encode(name, image, stream, err);
        const bool complete = ferror(stream) == 0;
        if (fclose(stream) == 0 && complete) copy = amg_malloc(size);
    }
    if (status == AMG_OK && copy == NULL)
        status = amg_fail(err, AMG_NO_MEMORY, -1, name, "no memory for the PNG");
    if (status == AMG_OK) {
        memcpy(copy, text, size);
        *png = copy;
        *size_bytes = size;
    } else {
        amg_free(copy);
    }
    free(text);
    return status;
}
