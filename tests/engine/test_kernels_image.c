/* Operators that are read in parts, and those on images that have no window, as files
 * have them, against PyTorch's values (make_image_goldens.py) and finite differences.
 */
#include "golden_onnx.h"

int main(void) { return run_onnx_cases("images.safetensors", 61); }
