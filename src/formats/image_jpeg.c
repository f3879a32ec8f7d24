/* JPEG through libjpeg-turbo, read from memory. The library reports by calling back;
 * the callback fills the amg_error and jumps to the setjmp of the job, whose state
 * is in the caller's struct. Warnings about corrupt data, which the library would paint
 * over with grey, are errors here. Nothing is printed. Knows nothing of planes or data
 * sets.
 */
#include "formats/image_codec.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>

#include <jerror.h>
#include <jpeglib.h>

#include "base/alloc.h"

/* Real progressive files have about ten scans; thousands are an attack on our time. */
#define MAX_SCANS 100
/* A block of 8x8 samples costs at least one bit with Huffman codes, so no file holds
 * more pixels a byte. */
#define MAX_PIXELS_PER_BYTE 512

/* One decoding in progress. libjpeg hands back &cinfo, whose client_data is the job. */
typedef struct {
    struct jpeg_decompress_struct cinfo;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf jump;
    const char *name;
    amg_error *err;
    const uint8_t *data;
    size_t size;
    amg_status status;
    amg_pixels out;
} jpeg_job;

static amg_status status_of(int message)
{
    switch (message) {
    case JERR_OUT_OF_MEMORY: return AMG_NO_MEMORY;
    case JWRN_JPEG_EOF:
    case JERR_INPUT_EOF:
    case JERR_INPUT_EMPTY: return AMG_TRUNCATED;
    case JERR_IMAGE_TOO_BIG:
    case JERR_BAD_PRECISION:
    case JERR_SOF_UNSUPPORTED:
    case JERR_ARITH_NOTIMPL:
    case JERR_CONVERSION_NOTIMPL: return AMG_UNSUPPORTED;
    default: return AMG_MALFORMED;
    }
}

/* The library writes its read position back between units of work only, so the offset
 * is where the last unit ended: a little before the damage. */
static int64_t position(const jpeg_job *job)
{
    const struct jpeg_source_mgr *source = job->cinfo.src;
    if (source == NULL || source->bytes_in_buffer > job->size) return 0;
    return (int64_t)(job->size - source->bytes_in_buffer);
}

static _Noreturn void refuse(jpeg_job *job, amg_status status, int64_t offset,
                             const char *what)
{
    job->status =
        amg_fail(job->err, status, offset, job->name, "the JPEG file: %s", what);
    longjmp(job->jump, 1);
}

static void job_error_exit(j_common_ptr common)
{
    jpeg_job *job = common->client_data;
    char message[JMSG_LENGTH_MAX];
    common->err->format_message(common, message);
    const amg_status status = status_of(common->err->msg_code);
    refuse(job, status, status == AMG_TRUNCATED ? (int64_t)job->size : position(job),
           message);
}

/* level -1 is a warning: corrupt data, apart from three remarks about metadata. */
static void job_emit_message(j_common_ptr common, int level)
{
    const int code = common->err->msg_code;
    if (level < 0 && code != JWRN_JFIF_MAJOR && code != JWRN_ADOBE_XFORM &&
        code != JWRN_BOGUS_ICC)
        job_error_exit(common);
}

static void job_output_message(j_common_ptr common) { (void)common; }

static void job_progress(j_common_ptr common)
{
    jpeg_job *job = common->client_data;
    if (job->cinfo.input_scan_number > MAX_SCANS)
        refuse(job, AMG_MALFORMED, position(job), "more than 100 scans");
}

static void check_header(jpeg_job *job)
{
    const struct jpeg_decompress_struct *cinfo = &job->cinfo;
    if (cinfo->arith_code)
        refuse(job, AMG_UNSUPPORTED, position(job), "arithmetic coding");
    if (cinfo->jpeg_color_space == JCS_CMYK || cinfo->jpeg_color_space == JCS_YCCK ||
        (cinfo->num_components != 1 && cinfo->num_components != 3))
        refuse(job, AMG_UNSUPPORTED, position(job), "colours are not grey or RGB");
    const uint64_t pixels = (uint64_t)cinfo->image_width * cinfo->image_height;
    if (pixels / MAX_PIXELS_PER_BYTE > job->size)
        refuse(job, AMG_TRUNCATED, (int64_t)job->size,
               "too short to hold the pixels that its header promises");
}

static void read_pixels(jpeg_job *job)
{
    struct jpeg_decompress_struct *cinfo = &job->cinfo;
    if (setjmp(job->jump) != 0) return;
    jpeg_create_decompress(cinfo);
    job->progress.progress_monitor = job_progress;
    cinfo->progress = &job->progress;
    jpeg_mem_src(cinfo, job->data, job->size);
    jpeg_read_header(cinfo, TRUE);
    check_header(job);
    cinfo->out_color_space = cinfo->num_components == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_start_decompress(cinfo);
    amg_pixels *out = &job->out;
    out->width = cinfo->output_width;
    out->height = cinfo->output_height;
    out->channels = cinfo->output_components;
    const size_t row_bytes = (size_t)out->width * (size_t)out->channels;
    out->data = amg_calloc((size_t)out->height, row_bytes);
    if (out->data == NULL) refuse(job, AMG_NO_MEMORY, -1, "no memory for its pixels");
    while (cinfo->output_scanline < cinfo->output_height) {
        JSAMPROW row = out->data + cinfo->output_scanline * row_bytes;
        jpeg_read_scanlines(cinfo, &row, 1);
    }
    jpeg_finish_decompress(cinfo);
}

amg_status amg_jpeg_decode(const uint8_t *data, size_t size_bytes, const char *name,
                           amg_pixels *out, amg_error *err)
{
    jpeg_job job = {.name = name, .err = err, .data = data, .size = size_bytes};
    job.cinfo.err = jpeg_std_error(&job.errors);
    job.errors.error_exit = job_error_exit;
    job.errors.emit_message = job_emit_message;
    job.errors.output_message = job_output_message;
    job.cinfo.client_data = &job;

    read_pixels(&job);
    jpeg_destroy_decompress(&job.cinfo);
    if (job.status == AMG_OK)
        *out = job.out;
    else
        amg_free(job.out.data);
    return job.status;
}
