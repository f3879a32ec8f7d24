/* Augmentation: the images of train.py, which is plain PyTorch, byte for byte, and the
 * same of floats. */
#include "plan_fixture.h"

#include "engine/augment.h"

typedef struct {
    unsigned kinds;
    int64_t dims[4]; /* N, C, H, W */
    uint64_t seed;
    int64_t step, first;
    uint8_t y[1024];
} augment_golden;

#include "augment_goldens.h"

enum { NUM_GOLDENS = sizeof augment_goldens / sizeof *augment_goldens };

/* The generator's images: 2, 3, … 255, 1 and again. */
static uint8_t pixel(int64_t i) { return (uint8_t)((1 + i) % 255 + 1); }

static void images_equal_pytorch_s(void **state)
{
    (void)state;
    for (int g = 0; g < NUM_GOLDENS; g++) {
        const augment_golden *a = &augment_goldens[g];
        const int64_t size = a->dims[1] * a->dims[2] * a->dims[3];
        for (int64_t n = 0; n < a->dims[0]; n++) {
            uint8_t x[1024], y[1024];
            float wide[1024], wide_y[1024];
            for (int64_t i = 0; i < size; i++) wide[i] = x[i] = pixel(n * size + i);
            const amg_image_draw draw =
                amg_image_draw_at(a->kinds, a->seed, a->step, a->first + n);
            amg_image_draw_apply(&draw, x, a->dims[1], a->dims[2], a->dims[3], 1, y);
            amg_image_draw_apply(&draw, wide, a->dims[1], a->dims[2], a->dims[3], 4,
                                 wide_y);
            assert_memory_equal(y, a->y + n * size, (size_t)size);
            for (int64_t i = 0; i < size; i++) assert_true(wide_y[i] == (float)y[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(images_equal_pytorch_s)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
