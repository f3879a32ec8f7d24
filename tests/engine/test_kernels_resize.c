/* Resize over one, two and three dims in every mode that PyTorch has, as files have it,
 * against PyTorch's values (make_resize_goldens.py) and finite differences. */
#include "golden_onnx.h"

int main(void) { return run_onnx_cases("resize.safetensors", 19); }
