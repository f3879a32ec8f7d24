/* Convolutions and pools of one, two and three dims, as files have them, against
 * PyTorch's values (make_window_goldens.py) and finite differences. */
#include "golden_onnx.h"

int main(void) { return run_onnx_cases("windows.safetensors", 54); }
