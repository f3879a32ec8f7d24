"""Runs generated modules (model.py) with the PyTorch of this Python, which has to have nothing
else: test_emit.py starts it with PyTorch 2 and with 1.13.

    python emit_run.py FOLDER...

Each FOLDER holds model.py, constants.safetensors, weights.safetensors and in.safetensors (x).
Writes FOLDER/torch-VERSION.safetensors: the outputs in evaluation mode, by name. Prints one line of
JSON a folder: parameters and buffers with their shapes, and what went wrong, if anything.
"""
import importlib.util
import json
import pathlib
import struct
import sys
import traceback

import torch

DTYPES = {"F32": torch.float32, "F64": torch.float64, "I64": torch.int64, "I32": torch.int32,
          "U8": torch.uint8, "BOOL": torch.bool}


def load(path):
    data = pathlib.Path(path).read_bytes()
    size = struct.unpack_from("<Q", data)[0]
    body, tensors = data[8 + size:], {}
    for name, entry in json.loads(data[8:8 + size]).items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        dtype = DTYPES[entry["dtype"]]
        flat = torch.frombuffer(bytearray(body[begin:end]), dtype=dtype) if end > begin else \
            torch.empty(0, dtype=dtype)
        tensors[name] = flat.reshape(entry["shape"])
    return tensors


def save(path, tensors):
    header, body = {}, b""
    for name, t in tensors.items():
        t = t.detach().contiguous().float()
        data = bytes(t.reshape(-1).view(torch.uint8).tolist())
        header[name] = {"dtype": "F32", "shape": list(t.shape),
                        "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + body)


def run(folder):
    spec = importlib.util.spec_from_file_location("model", folder / "model.py")
    module = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode = True
    spec.loader.exec_module(module)
    model = module.Model()
    given = {**load(folder / "constants.safetensors"), **load(folder / "weights.safetensors")}
    state = {}
    for net in model.nets:
        state.update({n: list(t.shape) for n, t in net.state_dict().items()})
        for name, t in [*net.named_parameters(), *net.named_buffers()]:
            if given[name].shape != t.shape or given[name].dtype != t.dtype:
                raise ValueError(f"{name}: {given[name].dtype} {list(given[name].shape)} in the "
                                 f"file, {t.dtype} {list(t.shape)} in the module")
            with torch.no_grad():
                t.copy_(given[name])
    x = load(folder / "in.safetensors")["x"]
    for net in model.nets:  # a training step must run, too
        net.train()
        y = net(x)
        if any(p.requires_grad for p in net.parameters()):
            y.float().square().mean().backward()
            if any(p.grad is None for p in net.parameters()):
                raise ValueError("a parameter has no gradient")
    with torch.no_grad():       # the running statistics have moved
        for net in model.nets:
            for name, t in net.named_buffers():
                t.copy_(given[name])
    model.eval()
    with torch.no_grad():
        outputs = model(x)
    version = ".".join(torch.__version__.split(".")[:2])
    save(folder / f"torch-{version}.safetensors",
         {net.output: y for net, y in zip(model.nets, outputs)})
    return state


def main():
    torch.manual_seed(1)
    torch.set_num_threads(2)
    for folder in map(pathlib.Path, sys.argv[1:]):
        line = {"folder": str(folder), "torch": torch.__version__}
        try:
            line["state"] = run(folder)
        except Exception as error:  # whatever a generated module can do wrong
            frame = traceback.extract_tb(error.__traceback__)[-1]
            line["error"] = f"{type(error).__name__}: {error} ({frame.line})"
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
