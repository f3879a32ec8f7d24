/* LSTM, GRU and RNN with initial states, both ways and in both layouts, as files have
 * them, against PyTorch's values (make_recurrent_goldens.py) and finite differences. */
#include "golden_onnx.h"

int main(void) { return run_onnx_cases("recurrent.safetensors", 21); }
