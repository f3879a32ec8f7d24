#!/usr/bin/env python3
"""Trains the job in this folder with PyTorch (1.13 or newer, nothing else needed).

Every sub-network of model.py learns on its own, one after the other within each step: own
loss, own optimizer, own gradient clipping. None can change a bit of another.

    python train.py --epochs 30 --lr 0.05 --momentum 0.9 --schedule cosine
    python train.py ... --resume                 go on after an interruption, same options
    torchrun --nproc_per_node 8 train.py ...     several GPUs (or CPU processes)
    python train.py --help                       all options

Reads   job.json, model.py, constants.safetensors, weights.safetensors, data/*.npy
Writes  out/weights.safetensors              the trained job
        out/metrics.jsonl                    one line each 50 steps and each epoch
        out/checkpoint-torch.safetensors     what --resume goes on from
With --ema the trained job is the average, with --best each sub-network's best epoch.

A step, exactly. Rows order[t*B .. t*B+B-1] of a permutation that depends on --seed and the
epoch alone; for each sub-network: torch.manual_seed(step_seed(seed, step)), forward, loss,
backward, clip, optimizer step. The last, incomplete batch of an epoch is dropped.
"""

# One long file on purpose: a job carries it, and whoever trains the job reads one file. It
# treats all sub-networks alike and must not know more of one than of another.

import argparse
import array
import contextlib
import ctypes
import hashlib
import importlib.util
import inspect
import json
import math
import mmap
import os
import queue
import re
import shutil
import signal
import struct
import sys
import threading
import time
import warnings
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F

METRICS_EVERY = 50      # steps
SAVE_EVERY = 60.0       # seconds, unless --checkpoint-steps says otherwise
CHECKPOINT = "checkpoint-torch.safetensors"
SCHEDULES = ("constant", "step", "cosine", "linear", "one-cycle", "plateau")
OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop", "adagrad", "lion")


class TrainError(Exception):
    """What the user can do something about: one line, and perhaps a hint."""

    def __init__(self, message, hint=None):
        super().__init__(message)
        self.hint = hint


class Interrupted(Exception):
    """SIGTERM or SIGINT came; the checkpoint is written."""


# ---- Random numbers: Philox4x32-10, a pure function of (seed, stream, index) -------------

LOW = 0xFFFFFFFF
ORDER_STREAM = 0x6F72646572 << 24       # "order", plus the epoch
DROPOUT_STREAM = 0x64726F70 << 32       # "drop"
AUGMENT_STREAM = 0x6175676D << 32       # "augm"


def philox(seed, counter):
    """Four int64 tensors of 32-bit words. counter: four ints or int64 tensors below 2^32
    (Salmon et al., 2011). A product of two words may wrap round in int64: its 64 bits are
    still the right ones."""
    k0, k1 = seed & LOW, seed >> 32 & LOW
    c0, c1, c2, c3 = torch.broadcast_tensors(*map(torch.as_tensor, counter))
    for _ in range(10):
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = ((p1 >> 32 & LOW) ^ c1 ^ k0, p1 & LOW,
                          (p0 >> 32 & LOW) ^ c3 ^ k1, p0 & LOW)
        k0, k1 = (k0 + 0x9E3779B9) & LOW, (k1 + 0xBB67AE85) & LOW
    return c0, c1, c2, c3


def draws(seed, stream, first, count):
    """64-bit draws first .. first+count-1 of a stream, as int64 [count] high and low words;
    two draws a block."""
    block = torch.arange(first // 2, (first + count + 1) // 2)
    words = philox(seed, (block & LOW, block >> 32, stream & LOW, stream >> 32))
    w = torch.stack(words, 1).reshape(-1, 2)[first % 2:][:count]
    return w[:, 1], w[:, 0]


def below(high, low, bound):
    """Draws modulo their bounds (up to 2^31), and which of them fall into the last,
    incomplete copy of [0, bound) and must be drawn again."""
    power = 2**32 % bound
    value = (high % bound * 2**32 + low) % bound
    return value, (high == 0) & (low < power * power % bound)


def epoch_order(seed, epoch, n, draw=draws):
    """The order of n samples in an epoch: Fisher-Yates, inside out."""
    order = array.array("q", bytes(8 * n))
    i = used = 0
    while i < n:
        high, low = draw(seed, ORDER_STREAM + epoch, used, min(n - i, 1 << 20))
        bound = torch.arange(i + 1, i + 1 + len(high))
        place, rejected = below(high, low, bound)
        good = int(rejected.nonzero()[0]) if rejected.any() else len(place)
        for j in place[:good].tolist():
            order[i] = order[j]
            order[j] = i
            i += 1
        used += min(good + 1, len(place))
    return torch.frombuffer(order, dtype=torch.int64) if n else torch.empty(0).long()


def step_seed(seed, step, part=0):
    """What torch.manual_seed gets before each forward of a step: the same for every
    sub-network. part: place of a micro-batch in the global batch, 0 for the whole."""
    w = philox(seed, (step & LOW, step >> 32, part, DROPOUT_STREAM >> 32))
    return int(w[0]) | (int(w[1]) & 0x7FFFFFFF) << 32


# ---- Files: safetensors both ways, .npy mapped -------------------------------------------

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16,
          "BF16": torch.bfloat16, "I64": torch.int64, "I32": torch.int32,
          "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
DESCRS = {"|u1": torch.uint8, "<f4": torch.float32, "<i4": torch.int32}


@contextlib.contextmanager
def replacing(path):
    """A file written beside path and renamed over it: whole or not at all."""
    beside = path.with_name(path.name + ".tmp")
    try:
        with open(beside, "wb") as f:
            yield f
            f.flush()
            os.fsync(f.fileno())
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def tensor_bytes(t):
    """The bytes of a contiguous CPU tensor, not copied."""
    return (ctypes.c_char * (t.numel() * t.element_size())).from_address(t.data_ptr())


def write_safetensors(path, tensors, metadata):
    """{name: tensor} sorted by name; metadata: {str: str}."""
    header, end = {"__metadata__": metadata}, 0
    names = sorted(tensors)
    for name in names:
        t = tensors[name]
        begin, end = end, end + t.numel() * t.element_size()
        header[name] = {"dtype": DTYPE_NAMES[t.dtype], "shape": list(t.shape),
                        "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path) as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for name in names:
            t = tensors[name].detach().cpu().contiguous()
            if t.numel():
                f.write(tensor_bytes(t))


def read_safetensors(path):
    """({name: tensor}, metadata); everything that the format demands is checked."""
    def need(good, what):
        if not good:
            raise TrainError(f"{path}: {what}")

    data = path.read_bytes()
    need(len(data) >= 8, f"{len(data)} bytes are no safetensors file")
    size, = struct.unpack_from("<Q", data)
    need(size <= len(data) - 8, f"the header of {size} bytes is cut off")
    try:
        header = json.loads(data[8:8 + size])
        metadata = header.pop("__metadata__", {})
        entries = sorted((*e["data_offsets"], name, DTYPES[e["dtype"]], tuple(e["shape"]))
                         for name, e in header.items())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainError(f"{path}: broken header: {error}") from None
    tensors, at = {}, 0
    body = memoryview(data)[8 + size:]
    for begin, end, name, dtype, shape in entries:
        need(begin == at and begin <= end <= len(body), f"{name}: bytes {begin} to {end}")
        need(all(isinstance(d, int) and d >= 0 for d in shape), f"{name}: shape {shape}")
        t = torch.empty(shape, dtype=dtype)
        need(t.numel() * t.element_size() == end - begin,
             f"{name}: {end - begin} bytes for shape {shape}")
        if t.numel():
            ctypes.memmove(t.data_ptr(), bytes(body[begin:end]), end - begin)
        tensors[name], at = t, end
    need(at == len(body), f"{len(body) - at} bytes beyond the last tensor")
    return tensors, metadata


def map_npy(path, dtype, shape):
    """The array of a .npy file as a tensor on mapped memory; shape is what it must have."""
    with open(path, "rb") as f:
        prefix = f.read(10)
        if prefix[:8] != b"\x93NUMPY\x01\x00" or len(prefix) < 10:
            raise TrainError(f"{path}: no .npy file of version 1.0")
        size, = struct.unpack_from("<H", prefix, 8)
        m = re.fullmatch(rb"\{'descr': '([<|]\w\d)', 'fortran_order': False, "
                         rb"'shape': \(([\d, ]*)\), \} *\n", f.read(size))
        if not m:
            raise TrainError(f"{path}: a .npy header that this script does not know")
        found = DESCRS.get(m[1].decode()), tuple(map(int, re.findall(rb"\d+", m[2])))
        if found != (dtype, tuple(shape)):
            raise TrainError(f"{path}: {m[1].decode()} {list(found[1])}, expected "
                             f"{dtype} {list(shape)}")
        expected = 10 + size + math.prod(shape) * torch.empty(0, dtype=dtype).element_size()
        if os.fstat(f.fileno()).st_size != expected:
            raise TrainError(f"{path}: not {expected} bytes, as its header says")
        memory = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
    with warnings.catch_warnings():     # "not writable": nobody writes to it
        warnings.simplefilter("ignore")
        return torch.frombuffer(memory, dtype=dtype, offset=10 + size).reshape(shape)


# ---- The job: job.json, its files, its model ---------------------------------------------

class Job:
    """What job.json says, checked against the files beside it."""

    def __init__(self, folder, check):
        self.folder = folder
        path = folder / "job.json"
        try:
            text = path.read_bytes()
            m = json.loads(text)
            if m["version"] != 1:
                raise TrainError(f"{path}: version {m['version']}, expected 1")
            self.hash = hashlib.sha256(text).hexdigest()
            self.heads = {head["output"]: head for head in m["heads"]}
            self.task, self.train, self.val = m["task"], m["train"], m["val"]
            self.dtype, self.dims = DTYPES[m["input"]["dtype"]], m["input"]["dims"]
            self.mixed = m["input"].get("mixed", False)
            self.rotated = m["input"].get("rotated", False)
            self.frozen = frozenset(m.get("frozen", ()))
            has_targets = self.task in ("classification", "regression", "multi_label",
                                        "multi_task")
            self.target = m["target"] if has_targets else None
            self.check_files(m["files"], check)
        except OSError as error:
            raise TrainError(f"{error.filename}: {error.strerror}",
                             "train.py runs in the job's folder, or with --job DIR") from None
        except (ValueError, KeyError, TypeError) as error:
            raise TrainError(f"{path}: not a job of this version: "
                             f"{type(error).__name__}: {error}") from None
        if self.task not in ("classification", "regression", "reconstruction",
                             "language_model", "multi_label", "multi_task"):
            raise TrainError(f"{path}: unknown task {self.task!r}")

    def check_files(self, files, hashes):
        for f in files:
            path = self.folder / f["path"]
            size = path.stat().st_size
            if size != f["size_bytes"]:
                raise TrainError(f"{path}: {size} bytes, expected {f['size_bytes']}",
                                 "the upload may be incomplete")
            if hashes and file_hash(path) != f["sha256"]:
                raise TrainError(f"{path}: its SHA-256 is not the one in job.json",
                                 "the file was damaged or changed; upload it again")

    def load_model(self):
        """The module model.py, and its sub-networks with their initial weights."""
        path = self.folder / "model.py"
        spec = importlib.util.spec_from_file_location("model", path)
        module = importlib.util.module_from_spec(spec)
        sys.dont_write_bytecode = True      # the job's folder stays as it is
        spec.loader.exec_module(module)
        nets = [net() for net in module.NETS]
        if sorted(net.output for net in nets) != sorted(self.heads):
            raise TrainError(f"{path}: its outputs are not the heads of job.json")
        values = {}
        for name in ("constants.safetensors", "weights.safetensors"):
            path = self.folder / name
            tensors, _ = read_safetensors(path)
            values.update(tensors)
        unused = set(values)
        for net in nets:
            for name, t in [*net.named_parameters(), *net.named_buffers()]:
                assign(t, values.get(name), name, path)
                unused.discard(name)
        if unused:
            raise TrainError(f"{path}: {min(unused)} is no weight of the model")
        unknown = self.frozen - {name for net in nets for name in net.state_dict()}
        if unknown:
            raise TrainError(f"job.json: {min(unknown)} is to be frozen, but is no parameter of "
                             "the model")
        return module, nets


def file_hash(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        for block in iter(lambda: f.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def assign(t, value, name, path):
    """Copies a value that was read from path into a parameter, buffer or state."""
    if value is None:
        raise TrainError(f"{path}: {name} is missing")
    if value.shape != t.shape or value.dtype != t.dtype:
        raise TrainError(f"{path}: {name} is {value.dtype} {list(value.shape)}, expected "
                         f"{t.dtype} {list(t.shape)}")
    with torch.no_grad():
        t.copy_(value)


# ---- Data: mapped shards, batches read ahead ---------------------------------------------

class Split:
    """The samples of one split, over its shards."""

    def __init__(self, job, split):
        self.ends, self.x, self.y = [], [], []
        for shard in split["shards"]:
            rows, path = shard["rows"], job.folder / shard["x"]
            self.ends.append(rows + (self.ends[-1] if self.ends else 0))
            self.x.append(map_npy(path, job.dtype, (rows, *job.dims)))
            if job.task == "language_model":
                check_tokens(self.x[-1], job.heads.values(), path)
            if job.target:
                path = job.folder / shard["y"]
                shape = (rows, len(job.heads), *job.target["dims"])
                self.y.append(map_npy(path, DTYPES[job.target["dtype"]], shape))
                if job.task == "classification":
                    check_labels(self.y[-1], job.heads.values(), path)
                if job.task == "multi_label":
                    check_degrees(self.y[-1], path)
                if job.task == "multi_task":
                    check_parts(self.y[-1], job.heads.values(), path)
        self.size = self.ends[-1] if self.ends else 0
        if self.size != split["num_samples"] or self.size > 2**31:
            raise TrainError(f"job.json: {self.size} rows, num_samples is "
                             f"{split['num_samples']} (at most 2^31)")

    def read(self, rows):
        """x and y (None where a value of the network is the target) of some rows, int64."""
        return gather(self.x, self.ends, rows), gather(self.y, self.ends, rows)


def check_labels(y, heads, path):
    for head in heads:
        column, classes = y[:, head["label_column"]], head["num_classes"]
        low, high = int(column.min()), int(column.max())
        if low < 0 or high >= classes:
            raise TrainError(f"{path}: labels {low} to {high} in column "
                             f"{head['label_column']}, expected 0 to {classes - 1}")


def check_degrees(y, path):
    low, high = float(y.min()), float(y.max())
    if not (low >= 0 and high <= 1):
        raise TrainError(f"{path}: labels {low:g} to {high:g}, expected 0 to 1")


def check_parts(y, heads, path):
    """The columns of each part of a sum: whole numbers below its classes, or degrees."""
    for head in heads:
        rows = y[:, head["label_column"]]
        for part, own in zip(head["parts"], rows.split(target_sizes(head["parts"]), 1)):
            if part["loss"] == "bce":
                check_degrees(own, path)
            if part["loss"] == "cross_entropy":
                check_labels(own.unsqueeze(1), [{"label_column": 0,
                                                 "num_classes": part["dims"][0]}], path)
                if not bool((own == own.round()).all()):
                    raise TrainError(f"{path}: labels that are no whole numbers")


def check_tokens(x, heads, path):
    tokens = max(head["num_classes"] for head in heads)
    known = (x >= 0) & (x < tokens)
    for ignored in {head.get("ignore_index") for head in heads} - {None}:
        known |= x == ignored
    if not known.all():
        raise TrainError(f"{path}: token {int(x[~known][0])}, expected 0 to {tokens - 1}")


def gather(shards, ends, rows):
    if len(shards) < 2:
        return shards[0].index_select(0, rows) if shards else None
    out = torch.empty((len(rows), *shards[0].shape[1:]), dtype=shards[0].dtype)
    of = torch.bucketize(rows, torch.tensor(ends), right=True)
    for s in of.unique().tolist():
        places = (of == s).nonzero().flatten()
        out[places] = shards[s].index_select(0, rows[places] - (ends[s] - len(shards[s])))
    return out


class Prefetch:
    """Reads batches ahead in a thread. batches yields rows; iterating yields what
    split.read gives for them, in pinned memory where a GPU waits for it."""

    def __init__(self, split, batches, pin):
        self.ready, self.closed = queue.Queue(2), threading.Event()
        self.thread = threading.Thread(target=self.fill, args=(split, batches, pin),
                                       daemon=True)
        self.thread.start()

    def fill(self, split, batches, pin):
        try:
            for rows in batches:
                batch = split.read(rows)
                if pin:
                    batch = [t if t is None else t.pin_memory() for t in batch]
                if not self.put(batch):
                    return
            self.put(None)
        except BaseException as error:      # raised again where the batch is awaited
            self.put(error)

    def put(self, item):
        while not self.closed.is_set():
            with contextlib.suppress(queue.Full):
                self.ready.put(item, timeout=0.1)
                return True
        return False

    def __iter__(self):
        while True:
            item = self.ready.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def close(self):
        self.closed.set()
        self.thread.join()


# ---- Classes in canonical order ----------------------------------------------------------

class ClassOrder:
    """The classes of a head, sorted by the bytes of their initial rows in the last layer.

    A job may number classes as it likes; sums over classes would then round differently.
    So a head is trained in an order that depends on the rows alone, and stored in its own.
    Heads whose classes have no rows, or two equal ones, stay as they are."""

    def __init__(self, net, natural):
        self.rows, self.rank = {}, None
        if natural or not net.class_rows:
            return
        keys = None
        for name, dim in net.class_rows:
            t = getattr(net, name).detach().movedim(dim, 0).contiguous()
            raw, size = bytes(tensor_bytes(t)), t[0].numel() * t.element_size()
            rows = [raw[i:i + size] for i in range(0, len(raw), size)]
            keys = rows if keys is None else [a + b for a, b in zip(keys, rows)]
        if len(set(keys)) == len(keys):
            order = torch.tensor(sorted(range(len(keys)), key=keys.__getitem__))
            self.rows, self.order, self.rank = dict(net.class_rows), order, order.argsort()

    def canonical(self, name, t):
        """A parameter or its state as it is trained; others come back as they are."""
        if name not in self.rows:
            return t
        return t.index_select(self.rows[name], self.order.to(t.device))

    def natural(self, name, t):
        """The same as it is stored."""
        if name not in self.rows:
            return t
        return t.index_select(self.rows[name], self.rank.to(t.device))

    def classes(self, t):
        """One value a class, in the order of training."""
        return t if self.rank is None else t[self.order]

    def labels(self, y):
        y = y.long()
        if self.rank is None:
            return y
        self.rank = self.rank.to(y.device)
        return self.rank[y]


# ---- Several processes -------------------------------------------------------------------

class World:
    """This process among all: torchrun's or Slurm's variables, or alone."""

    def __init__(self, device):
        env = os.environ
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        if "SLURM_PROCID" in env and "MASTER_ADDR" in env and "RANK" not in env:
            names = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")
        try:
            self.rank, self.size, local = (int(env.get(n, d)) for n, d in zip(names, "010"))
        except ValueError:
            raise TrainError(f"{', '.join(names)}: expected numbers") from None
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cuda" and local >= torch.cuda.device_count():
            raise TrainError(f"process {local} of this machine has no GPU: "
                             f"{torch.cuda.device_count()} found", "--device cpu")
        self.device = torch.device(device, local) if device == "cuda" else torch.device("cpu")
        if device == "cuda":
            torch.cuda.set_device(self.device)
        self.control = None
        if self.size > 1:
            if "MASTER_ADDR" not in env:
                raise TrainError("MASTER_ADDR is not set", "start with torchrun")
            env.setdefault("MASTER_PORT", "29500")
            dist.init_process_group("nccl" if device == "cuda" else "gloo", store=self.store(),
                                    rank=self.rank, world_size=self.size)
            if device == "cuda":    # what the hosts agree on need not wait for the GPUs
                self.control = dist.new_group(backend="gloo")

    def store(self):
        """Where the processes find each other; None: PyTorch's own way. Plain torchrun keeps one
        store for all restarts, and PyTorch 2.13 reads from it the addresses of the processes that
        were killed: each restart needs keys of its own. Only on one machine do all count alike."""
        env = os.environ
        if env.get("TORCHELASTIC_USE_AGENT_STORE") != "True" \
                or env.get("LOCAL_WORLD_SIZE") != env.get("WORLD_SIZE"):
            return None
        store = dist.TCPStore(env["MASTER_ADDR"], int(env["MASTER_PORT"]), self.size, False)
        return dist.PrefixStore("restart " + env.get("TORCHELASTIC_RESTART_COUNT", "0"), store)

    def agree(self, *flags):
        """Each flag, true where any process says so."""
        if self.size == 1:
            return flags
        t = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(t, dist.ReduceOp.MAX, group=self.control)
        return tuple(bool(flag) for flag in t)

    def sum(self, t):
        """Sums a tensor over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(t)
        return t

    def part(self, rows):
        """This process's share of a global batch; shares of the last one may differ."""
        share = -(-len(rows) // self.size)
        return rows[self.rank * share:(self.rank + 1) * share]

    def close(self):
        if self.size > 1:
            dist.destroy_process_group()


class GlobalBatchNorm(torch.autograd.Function):
    """Batch norm over the batches of all processes, which are equally large, so that the
    gradients that DDP averages are those of one process with the whole batch."""

    @staticmethod
    def forward(ctx, x, weight, bias, running_mean, running_var, momentum, eps):
        dims = [0, *range(2, x.dim())]
        shape = [1, -1] + [1] * (x.dim() - 2)
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        own = torch.stack(torch.var_mean(wide, dims, unbiased=False))
        every = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(every, own)
        variances, means = torch.stack(every, 1)
        mean = means.mean(0)
        var = (variances + (means - mean) ** 2).mean(0)
        count = x.numel() // x.shape[1] * len(every)
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(var * (count / (count - 1)), momentum)
        scale = (var + eps).rsqrt()
        normal = (wide - mean.view(shape)) * scale.view(shape)
        ctx.save_for_backward(normal, weight, scale)
        ctx.dims, ctx.shape, ctx.count = dims, shape, count
        return (normal * weight.view(shape) + bias.view(shape)).to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        normal, weight, scale = ctx.saved_tensors
        wide = grad.to(normal.dtype)
        sums = torch.stack([wide.sum(ctx.dims), (wide * normal).sum(ctx.dims)])
        dbias, dweight = sums.clone()
        dist.all_reduce(sums)
        of_one, of_normal = (sums / ctx.count).view(2, *ctx.shape)
        dx = (wide - of_one - normal * of_normal) * (weight * scale).view(ctx.shape)
        return dx.to(grad.dtype), dweight, dbias, None, None, None, None


def global_batch_norm(x, running_mean, running_var, weight=None, bias=None, training=False,
                      momentum=0.1, eps=1e-5):
    """F.batch_norm over all processes: what model.batch_norm becomes."""
    if not training:
        return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    return GlobalBatchNorm.apply(x, weight, bias, running_mean, running_var, momentum, eps)


# ---- Augmentation in the sub-networks ----------------------------------------------------

class Augmentation:
    """Random crops of the image padded by 4 (crop4) and mirroring (hflip), the same for
    every sub-network: drawn from (seed, step, place in the global batch)."""

    def __init__(self, kinds):
        self.crop, self.flip = "crop4" in kinds, "hflip" in kinds

    def draw(self, seed, step, first, count, device):
        place = torch.arange(first, first + count)
        w = philox(seed, (step & LOW, step >> 32, place, AUGMENT_STREAM >> 32))
        none = torch.zeros_like(place)
        self.dy, self.dx = (w[0] % 9, w[1] % 9) if self.crop else (none, none)
        self.mirror = (w[2] & 1 if self.flip else none).bool()
        self.dy, self.dx, self.mirror = (t.to(device).view(-1, 1)
                                         for t in (self.dy, self.dx, self.mirror))

    def __call__(self, x):
        if x.dim() != 4:
            raise TrainError(f"--augment: sub-networks take {list(x.shape[1:])}, no images "
                             "[C, H, W]")
        pad = 4 if self.crop else 0
        rows = torch.arange(x.shape[2], device=x.device) + self.dy
        columns = torch.arange(x.shape[3], device=x.device).expand(len(x), -1)
        columns = torch.where(self.mirror, x.shape[3] - 1 - columns, columns) + self.dx
        sample = torch.arange(len(x), device=x.device).view(-1, 1, 1)
        padded = F.pad(x, [pad] * 4).permute(0, 2, 3, 1)
        picked = padded[sample, rows.unsqueeze(2), columns.unsqueeze(1)]
        return picked.permute(0, 3, 1, 2).contiguous()


# ---- One sub-network ---------------------------------------------------------------------

class Lion(torch.optim.Optimizer):
    """Steps of one size, in the direction of the sign of a mean of gradients; weight decay
    apart from them (Chen et al., 2023)."""

    def __init__(self, parameters, lr, betas, weight_decay):
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                if not self.state[p]:
                    self.state[p]["exp_avg"] = torch.zeros_like(p)
                mean = self.state[p]["exp_avg"]
                p.mul_(1 - group["lr"] * group["weight_decay"])
                way = mean.mul(beta1).add_(p.grad, alpha=1 - beta1).sign_()
                p.add_(way, alpha=-group["lr"])
                mean.mul_(beta2).add_(p.grad, alpha=1 - beta2)


def make_optimizer(args, parameters):
    """torch.optim's, in its plain form where bits must not depend on the version."""
    kind = {"foreach": False} if args.deterministic else {}
    if args.optimizer == "sgd":
        return torch.optim.SGD(parameters, args.lr, momentum=args.momentum,
                               weight_decay=args.weight_decay, nesterov=args.nesterov, **kind)
    if args.optimizer == "rmsprop":
        return torch.optim.RMSprop(parameters, args.lr, args.alpha, args.epsilon,
                                   args.weight_decay, args.momentum, args.centered, **kind)
    if args.optimizer == "adagrad":
        return torch.optim.Adagrad(parameters, args.lr, args.lr_decay, args.weight_decay,
                                   args.initial_accumulator, args.epsilon, **kind)
    if args.optimizer == "lion":
        return Lion(parameters, args.lr, (args.beta1, args.beta2), args.weight_decay)
    make = torch.optim.Adam if args.optimizer == "adam" else torch.optim.AdamW
    return make(parameters, args.lr, (args.beta1, args.beta2), args.epsilon,
                args.weight_decay, **kind)


def state_names(args):
    """What the optimizer keeps for each parameter, in the order of the checkpoint."""
    buffer = ["momentum_buffer"] if args.momentum else []
    return {"sgd": buffer,
            "adam": ["exp_avg", "exp_avg_sq"],
            "adamw": ["exp_avg", "exp_avg_sq"],
            "rmsprop": ["square_avg", *buffer, *(["grad_avg"] if args.centered else [])],
            "adagrad": ["sum"],
            "lion": ["exp_avg"]}[args.optimizer]


def make_scaler(precision):
    if precision != "fp16":
        return None
    modern = getattr(torch.amp, "GradScaler", None)
    return modern("cuda") if modern else torch.cuda.amp.GradScaler()


def label_rank(logits, labels):
    """How many classes stand before the label, int64 [N, ...]: larger logits, and equal
    ones of a smaller index. Where a NaN is involved the label comes second."""
    labels = labels.unsqueeze(1)
    own = logits.gather(1, labels)
    shape = [1, -1] + [1] * (logits.dim() - 2)
    index = torch.arange(logits.shape[1], device=logits.device).view(shape)
    return (~((logits < own) | ((logits == own) & (index >= labels)))).sum(1)


def element_loss(head):
    """What a head without classes is trained for: loss(output, target)."""
    kind, delta = head["loss"], head.get("delta")
    if kind == "huber":
        return lambda x, y: F.huber_loss(x, y, delta=delta)
    if kind == "smooth_l1":
        return lambda x, y: F.smooth_l1_loss(x, y, beta=delta)
    return {"mse": F.mse_loss, "l1": F.l1_loss,
            "bce": F.binary_cross_entropy_with_logits}[kind]


def has_images(job):
    """Whether targets have neighbours, as the pixels of a class map do."""
    ranks = [len(part["dims"]) - (part["loss"] == "cross_entropy")
             for head in job.heads.values() for part in head.get("parts", ())]
    return max(ranks + [len(job.target["dims"])]) > 1


def output_sizes(parts):
    """Elements of each part of a sum in a row of outputs."""
    return [math.prod(part["dims"]) for part in parts]


def target_sizes(parts):
    """The same in a row of targets, where classes have one label for each position."""
    return [math.prod(part["dims"][part["loss"] == "cross_entropy":]) for part in parts]


def take_apart(parts, output, target):
    """(part, x, y) of each of a sum's parts, laid out as the module alone would have them."""
    rows = zip(output.split(output_sizes(parts), 1), target.split(target_sizes(parts), 1))
    for part, (x, y) in zip(parts, rows):
        x = x.reshape([-1, *part["dims"]]).contiguous()
        if part["loss"] == "cross_entropy":
            yield part, x, y.reshape([-1, *part["dims"][1:]]).long()
        else:
            yield part, x, y.reshape(x.shape).contiguous()


def part_loss(part, x, y, smoothing):
    if part["loss"] == "cross_entropy":
        return F.cross_entropy(x, y, label_smoothing=smoothing)
    return element_loss(part)(x, y)


def part_score(part, x, y):
    """Which share of the classes or labels is right; 0 where there are none."""
    if part["loss"] == "cross_entropy":
        return (x.argmax(1) == y).double().mean()
    if part["loss"] == "bce":
        return ((x > 0) == (y >= 0.5)).double().mean()
    return x.new_zeros((), dtype=torch.float64)


def find_top1(logits, labels):
    """bool [1, N, ...]: label_rank < 1, found with less work."""
    return (logits.argmax(1) == labels).unsqueeze(0)


def find_top1_and_top5(logits, labels):
    rank = label_rank(logits, labels)
    return torch.stack([rank < 1, rank < 5])


def sums_of(loss, count, hits):
    """float64 [loss, count, hits...]: sums over what counts, from a mean over it."""
    count = torch.as_tensor(count, dtype=torch.float64, device=loss.device)
    return torch.cat([torch.stack([loss.detach() * count, count]), hits])


class SubNetwork:
    """A net with its optimizer, loss scale and class order. frozen: parameters by name that do
    not train; running statistics among them are model.py's business."""

    def __init__(self, index, net, head, args, world, frozen):
        self.index, self.net, self.head, self.args = index, net, head, args
        self.world = world
        self.classifies = head["loss"] == "cross_entropy"
        self.labels = head["loss"] == "bce"         # of which several may apply
        self.scores = self.classifies or self.labels
        self.parts = head.get("parts")              # of several outputs
        self.element_loss = None if self.classifies or self.parts else element_loss(head)
        self.reads_text = self.classifies and "target" in head      # a language model
        self.ignore = head.get("ignore_index")
        self.per_sample = 1     # what is counted of each; a language model finds out
        natural = args.class_order == "natural" or not self.classifies or self.reads_text
        self.order = ClassOrder(net, natural)
        with torch.no_grad():
            for name, p in net.named_parameters():
                p.requires_grad_(name not in frozen)
                p.copy_(self.order.canonical(name, p))
        weights = head.get("class_weights")
        self.class_weights = None if weights is None else \
            self.order.classes(torch.tensor(weights, dtype=torch.float32)).to(world.device)
        self.trainable = {name: p for name, p in net.named_parameters() if p.requires_grad}
        if not self.trainable:
            raise TrainError(f"head {index}: all of its parameters are frozen: nothing would train")
        net.to(world.device)
        self.forward = torch.compile(net) if args.compile else net
        self.ddp = None
        if world.size > 1:
            cuda = world.device.type == "cuda"
            ddp = torch.nn.parallel.DistributedDataParallel
            options = inspect.signature(ddp).parameters
            own = "forward_sync_buffers" if "forward_sync_buffers" in options \
                else "broadcast_buffers"        # its older name
            self.ddp = ddp(self.forward, device_ids=[world.device] if cuda else None,
                           gradient_as_bucket_view=True, **{own: False})
        self.optimizer = make_optimizer(args, self.trainable.values())
        self.scaler = make_scaler(args.precision)
        self.plateau = Plateau(args)
        self.average = {}       # of the parameters, with --ema and after a step
        # Of the epoch with the lowest validation loss: its weights with --best, figures, steps.
        self.best, self.best_result, self.best_steps = {}, {}, 0
        self.bad_epochs = 0     # since then
        self.stopped_steps = 0  # by when it stopped early
        dtype = torch.float16 if args.precision == "fp16" else torch.bfloat16
        self.autocast = (lambda: torch.autocast(world.device.type, dtype)) if args.precision != "f32" \
            else contextlib.nullcontext

    def loss(self, forward, x, y, score, smoothing=0.0):
        """Mean loss of a batch; its sums_of, which count samples, or a language model's
        tokens, and where score(logits, labels) is true; how many would count at most."""
        with self.autocast():
            if self.reads_text:
                return self.token_loss(*forward(x), score, smoothing)
            hits = torch.empty(0, dtype=torch.float64, device=x.device)
            if self.head.get("target"):
                loss = self.element_loss(*forward(x))
            else:
                output, target = forward(x), y[:, self.head["label_column"]]
                if self.parts:
                    loss, hits = self.sum_loss(output, target, smoothing)
                elif self.classifies:
                    target = self.order.labels(target)
                    loss = F.cross_entropy(output, target, self.class_weights,
                                           label_smoothing=smoothing)
                    with torch.no_grad():
                        hits = score(output, target).flatten(1).double().mean(1) * len(x)
                else:
                    loss = self.element_loss(output, target)
                if self.labels:
                    with torch.no_grad():
                        right = (output > 0) == (target >= 0.5)
                        hits = right.flatten().double().mean().view(1) * len(x)
        return loss, sums_of(loss, len(x), hits), len(x)

    def sum_loss(self, output, target, smoothing):
        """The parts' losses, each times its weight, and while validating sums of each one's
        loss and score."""
        pieces = [*take_apart(self.parts, output, target)]
        losses = [part_loss(*piece, smoothing) for piece in pieces]
        loss = sum(part["weight"] * own for part, own in zip(self.parts, losses))
        if self.net.training:
            return loss, torch.empty(0, dtype=torch.float64, device=loss.device)
        scores = [part_score(*piece) for piece in pieces]
        pairs = [t.double() for pair in zip(losses, scores) for t in pair]
        return loss, torch.stack(pairs) * len(output)

    def token_loss(self, logits, tokens, score, smoothing):
        """The same for next tokens: one to predict at each position, the classes last."""
        logits, tokens = logits.reshape(-1, logits.shape[-1]), tokens.reshape(-1)
        ignore = {} if self.ignore is None else {"ignore_index": self.ignore}
        loss = F.cross_entropy(logits, tokens, label_smoothing=smoothing, **ignore)
        with torch.no_grad():
            hits, count = score(logits, tokens), len(tokens)
            if ignore:
                counts = tokens != self.ignore
                hits, count = hits & counts, counts.sum()
            hits = hits.sum(1).double()
        if ignore:      # the mean of no tokens is 0, as in amalgam-train, and not NaN
            loss = torch.where(count > 0, loss, loss.new_zeros(()))
        return loss, sums_of(loss, count, hits), len(tokens)

    def step(self, parts, seeds, lr, before=None):
        """One update from the micro-batches of a step; its sums_of. Gradients are gone
        afterwards, before the next sub-network needs memory."""
        args, forward, totals = self.args, self.ddp or self.forward, 0
        # Where parts differ in how many tokens they count, each weighs by its own.
        uneven = self.ignore is not None and len(parts) * self.world.size > 1
        for i, ((x, y), seed) in enumerate(zip(parts, seeds)):
            torch.manual_seed(seed)
            if before:
                before(i)
            partial = self.ddp and i + 1 < len(parts)
            with self.ddp.no_sync() if partial else contextlib.nullcontext():
                loss, sums, size = self.loss(forward, x, y, find_top1, args.label_smoothing)
                mean = loss / len(parts)
                if uneven:
                    mean = mean * (sums[1] / size).to(mean.dtype)
                (self.scaler.scale(mean) if self.scaler else mean).backward()
            totals, self.per_sample = totals + sums, size / len(x)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        if self.scaler:
            self.scaler.unscale_(self.optimizer)
        if uneven:
            counted = self.world.sum(totals[1].clone()).clamp(min=1)
            self.scale_gradients(size * len(parts) * self.world.size / counted)
        if args.clip:
            torch.nn.utils.clip_grad_norm_(self.trainable.values(), args.clip)
        if self.scaler:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.add_to_average()
        return totals

    @torch.no_grad()
    def add_to_average(self):
        """As torch.optim.swa_utils.AveragedModel does: the first one is a copy."""
        for name, p in self.trainable.items() if self.args.ema else ():
            if name in self.average:
                self.average[name].lerp_(p, 1 - self.args.ema)
            else:
                self.average[name] = p.detach().clone()

    @torch.no_grad()
    def swap_average(self):
        """The net computes with the average, and again with its own weights."""
        for name, average in self.average.items():
            own = self.trainable[name].detach().clone()
            self.trainable[name].copy_(average)
            average.copy_(own)

    def measured_weights(self):
        """Those that validation measures."""
        self.swap_average()
        out = {name: t.cpu().clone() for name, t in self.weights().items()}
        self.swap_average()
        return out

    def judge(self, result, step):
        """What an epoch's results mean for the next ones, by this sub-network alone."""
        self.plateau.observe(result.get("val_loss", result["loss"]))
        if "val_loss" not in result:
            return
        if result["val_loss"] < self.best_result.get("val_loss", math.inf):
            self.best_result, self.best_steps, self.bad_epochs = result, step, 0
            self.best = self.measured_weights() if self.args.best else {}
        else:
            self.bad_epochs += 1
        if self.args.early_stop and self.bad_epochs >= self.args.early_stop:
            self.stopped_steps = step

    def outcome(self):
        """The weights that come out."""
        return self.best or self.measured_weights()

    def steps_behind(self, step):
        """How many steps are behind them."""
        return self.best_steps if self.best else self.stopped_steps or step

    def scale_gradients(self, factor):
        for p in self.trainable.values():
            if p.grad is not None:
                p.grad.mul_(factor.to(p.grad.dtype))

    def weights(self):
        """{name: tensor} of parameters and buffers, classes in their own order."""
        return {name: self.order.natural(name, t.detach())
                for name, t in self.net.state_dict().items()}

    def tensors(self):
        """What a checkpoint holds: p<h>.<name>, s<h>.<i>.<name>, and where there are any the
        average e<h>.<name> and the best b<h>.<name>."""
        out = {f"p{self.index}.{name}": t for name, t in self.weights().items()}
        out.update((f"e{self.index}.{name}", self.order.natural(name, t))
                   for name, t in self.average.items())
        out.update((f"b{self.index}.{name}", t) for name, t in self.best.items())
        for i, key in enumerate(state_names(self.args)):
            for name, p in self.trainable.items():
                state = self.optimizer.state.get(p, {}).get(key)
                if state is not None:
                    out[f"s{self.index}.{i}.{name}"] = self.order.natural(name, state)
        return out

    def extra(self):
        """What else goes on: the optimizer's own step count, the loss scale, what judge knows."""
        state = next(iter(self.optimizer.state.values()), {})
        scaler = self.scaler.state_dict() if self.scaler else None
        return {"updates": int(state.get("step", 0)), "scaler": scaler,
                "plateau": [self.plateau.lr, self.plateau.best, self.plateau.bad_epochs],
                "best": [self.best_result, self.best_steps, self.bad_epochs],
                "stopped": self.stopped_steps}

    def restore(self, tensors, extra, path):
        """Takes what tensors and extra gave."""
        for name, t in self.net.state_dict().items():
            key = f"p{self.index}.{name}"
            assign(t, tensors.get(key), key, path)
            t.copy_(self.order.canonical(name, t))
        for i, key in enumerate(state_names(self.args)):
            for name, p in self.trainable.items():
                value = tensors.get(f"s{self.index}.{i}.{name}")
                if value is None:       # no update yet
                    continue
                state = torch.empty_like(p, requires_grad=False)
                assign(state, value, f"s{self.index}.{i}.{name}", path)
                self.optimizer.state[p][key] = self.order.canonical(name, state)
                if self.args.optimizer not in ("sgd", "lion"):
                    self.optimizer.state[p]["step"] = torch.tensor(float(extra["updates"]))
        if self.scaler:
            self.scaler.load_state_dict(extra["scaler"])
        self.plateau.lr, self.plateau.best, self.plateau.bad_epochs = extra["plateau"]
        self.best_result, self.best_steps, self.bad_epochs = extra["best"]
        self.stopped_steps = extra["stopped"]
        for name, p in self.trainable.items():
            value = tensors.get(f"e{self.index}.{name}")
            if value is not None:
                self.average[name] = torch.empty_like(p, requires_grad=False)
                assign(self.average[name], value, f"e{self.index}.{name}", path)
                self.average[name].copy_(self.order.canonical(name, self.average[name]))
        best = {name: f"b{self.index}.{name}" for name in self.net.state_dict()}
        self.best = {name: tensors[key] for name, key in best.items() if key in tensors}


# ---- Learning rate -----------------------------------------------------------------------

def anneal(begin, end, part):
    """Half a cosine."""
    return end + (begin - end) / 2 * (math.cos(math.pi * part) + 1)


def one_cycle(lr, step, total_steps):
    """OneCycleLR with its defaults: up from lr / 25 in 0.3 of the steps, then down to
    lr / 250000."""
    begin, top, last = lr / 25, 0.3 * total_steps - 1, total_steps - 1
    if step > last:
        return begin / 1e4
    if step <= top:
        return anneal(begin, lr, step / top)
    return anneal(lr, begin / 1e4, (step - top) / (last - top))


class Plateau:
    """ReduceLROnPlateau with its default threshold, 1e-4 of the best loss."""

    def __init__(self, args):
        self.args, self.lr, self.best, self.bad_epochs = args, args.lr, math.inf, 0

    def observe(self, loss):
        """The loss at the end of an epoch."""
        if loss < self.best * (1 - 1e-4):
            self.best, self.bad_epochs = loss, 0
        else:
            self.bad_epochs += 1
        if self.bad_epochs > self.args.plateau_patience:
            self.bad_epochs, lower = 0, self.lr * self.args.plateau_factor
            if self.lr - lower > 1e-8:
                self.lr = lower


def learning_rate(args, lr, step, total_steps, steps_per_epoch):
    """A linear warm-up over W steps, then constant, or * gamma every --step-epochs, or half
    a cosine or a line from W to the end; or one cycle."""
    warmup = args.warmup
    if args.schedule == "one-cycle":
        return one_cycle(lr, step, total_steps)
    if step < warmup:
        lr *= (step + 1) / warmup
    if args.schedule == "step":
        return lr * args.step_gamma ** (step // steps_per_epoch // args.step_epochs)
    if args.schedule == "cosine" and step > warmup:
        if step >= total_steps:
            return 0.0
        return lr * ((1 + math.cos(math.pi * (step - warmup) / (total_steps - warmup))) / 2)
    if args.schedule == "linear" and step > warmup:
        return lr * (max(total_steps - step, 0) / (total_steps - warmup))
    return lr


# ---- Metrics and progress ----------------------------------------------------------------

class MetricsLog:
    """metrics.jsonl. A resumed run keeps the lines that it had written by its checkpoint."""

    def __init__(self, path, step, epochs_done):
        kept = []
        if step and path.exists():
            for line in path.read_bytes().splitlines(keepends=True):
                try:
                    entry = json.loads(line)
                except ValueError:
                    break
                late = entry.get("end_of_epoch") and entry["epoch"] > epochs_done
                if entry["step"] > step or late or not line.endswith(b"\n"):
                    break
                kept.append(line)
        with replacing(path) as f:
            f.write(b"".join(kept))
        self.file = open(path, "a", encoding="utf-8")

    def write(self, step, epoch, end_of_epoch, lr, heads, unit, per_second):
        def number(x, digits=9):
            return float(f"{x:.{digits}g}")

        entry = {"step": step, "epoch": epoch}
        if end_of_epoch:
            entry["end_of_epoch"] = True
        if lr is not None:      # else each head has its own
            entry["lr"] = number(lr)
        entry["heads"] = [{k: number(v) for k, v in h.items()} for h in heads]
        entry[f"{unit}_per_second"] = number(per_second, 6)
        self.file.write(json.dumps(entry, separators=(",", ":")) + "\n")
        self.file.flush()


class Progress:
    """A bar on a terminal, a line every 10 seconds and each epoch elsewhere."""

    def __init__(self, quiet):
        self.quiet, self.terminal = quiet, sys.stderr.isatty()
        self.last = time.monotonic()

    def due(self):
        wait = 0.1 if self.terminal else 10
        return not self.quiet and time.monotonic() - self.last >= wait

    def show(self, text, done=None, keep=False):
        if self.quiet:
            return
        self.last = time.monotonic()
        if self.terminal:
            if done is not None:
                filled = int(20 * done)
                text = f"[{'#' * filled}{'.' * (20 - filled)}] {text}"
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"\r{text[:width]}\x1b[K" + ("\n" if keep else ""))
        else:
            sys.stderr.write(text + "\n")
        sys.stderr.flush()


def perplexity(loss):
    return math.exp(loss) if loss < 700 else math.inf


def with_perplexity(result):
    """Losses of a language model as perplexities beside them."""
    out = {}
    for key, value in result.items():
        out[key] = value
        if key.endswith("loss"):
            out[key.replace("loss", "perplexity")] = perplexity(value)
    return out


def show(key, value, digits=4):
    if key == "steps":
        return str(value)
    if key.endswith("perplexity"):
        return f"{value:.2f}"
    return f"{value:.{digits}f}" if key.endswith("loss") else f"{100 * value:.2f} %"


def duration(seconds):
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


# ---- The run -----------------------------------------------------------------------------

# Options that say which run this is; a checkpoint belongs to one run.
RECIPE = ("batch epochs ema best early_stop seed optimizer lr momentum nesterov "
          "weight_decay beta1 beta2 epsilon alpha centered lr_decay initial_accumulator "
          "clip label_smoothing schedule warmup step_epochs step_gamma plateau_patience "
          "plateau_factor precision accumulate augment local_batch_norm class_order").split()


class Run:
    def __init__(self, job, args, world, out):
        self.args, self.world, self.out = args, world, out
        self.train = Split(job, job.train)
        self.val = Split(job, job.val) if job.val["num_samples"] else None
        self.steps_per_epoch = self.train.size // args.batch
        if not self.steps_per_epoch:
            raise TrainError(f"{self.train.size} sample{'s' * (self.train.size != 1)}, less than one "
                             f"batch of {args.batch}", "choose a smaller --batch")
        self.total_steps = self.steps_per_epoch * args.epochs
        self.last_step = min(args.max_steps or self.total_steps, self.total_steps)
        module, nets = job.load_model()
        if world.size > 1 and not args.local_batch_norm:
            disable = getattr(getattr(torch, "compiler", None), "disable", lambda f: f)
            module.batch_norm = disable(global_batch_norm)
        self.heads = [SubNetwork(i, net, job.heads[net.output], args, world, job.frozen)
                      for i, net in enumerate(nets)]
        if not self.val and (args.best or args.early_stop):
            raise TrainError("--best and --early-stop: the job has no validation data",
                             "amalgam obfuscate takes them with --val")
        if args.augment and job.target and has_images(job):
            raise TrainError("--augment: the targets are images, too, and would have to be cropped "
                             "and mirrored alike")
        if args.augment and job.mixed:
            raise TrainError("--augment: the values of this job's samples are mixed: they have no "
                             "neighbours to crop or mirror")
        if args.optimizer != "sgd" and job.rotated:
            raise TrainError(f"--optimizer {args.optimizer}: the values of this job's samples are "
                             "rotated: only SGD trains them as it trains the original")
        self.augmentation = Augmentation(args.augment) if args.augment else None
        self.streams = None
        if args.streams and world.device.type == "cuda":
            self.streams = [torch.cuda.Stream() for _ in nets]
        self.identity = {"job": job.hash, **{k: getattr(args, k) for k in RECIPE}}
        self.step = self.epochs_done = 0
        self.sums = [{"epoch": [0.0] * 3, "window": [0.0] * 3} for _ in nets]
        self.results = [{} for _ in nets]
        self.pending = []       # sums_of [heads, 2 or 3] of each step since the last flush
        self.signal = None

    # -- checkpoint

    def save(self):
        """All processes call it: buffers that differ become those of the first one."""
        if self.saved == (self.step, self.epochs_done):
            return
        self.flush()
        self.share_buffers()
        if self.world.rank == 0:
            tensors = {}
            for head in self.heads:
                tensors.update(head.tensors())
            self.check_finite(tensors)
            state = {"step": self.step, "epochs_done": self.epochs_done, "sums": self.sums,
                     "results": self.results, "heads": [h.extra() for h in self.heads]}
            write_safetensors(self.out / CHECKPOINT, tensors,
                              {"identity": json.dumps(self.identity),
                               "job": self.identity["job"], "state": json.dumps(state),
                               "steps": str(self.step * self.args.accumulate)})
        self.saved, self.saved_at = (self.step, self.epochs_done), time.monotonic()

    def resume(self):
        path = self.out / CHECKPOINT
        if not path.exists():
            raise TrainError(f"{path}: no checkpoint to resume", "start without --resume")
        tensors, metadata = read_safetensors(path)
        try:
            identity = json.loads(metadata["identity"])
            state = json.loads(metadata["state"])
        except (KeyError, ValueError):
            raise TrainError(f"{path}: no checkpoint of train.py") from None
        differ = [k for k in self.identity if identity.get(k) != self.identity[k]]
        if differ:
            text = ", ".join(f"--{k.replace('_', '-')} {identity.get(k)} (now "
                             f"{self.identity[k]})" if k != "job" else "another job.json"
                             for k in differ)
            raise TrainError(f"{path}: the checkpoint of another run: {text}",
                             "resume with its options, or start without --resume")
        for head, extra in zip(self.heads, state["heads"]):
            head.restore(tensors, extra, path)
        self.step, self.epochs_done = state["step"], state["epochs_done"]
        self.sums, self.results = state["sums"], state["results"]

    def share_buffers(self):
        if self.world.size > 1 and self.args.local_batch_norm:
            for head in self.heads:
                for t in head.net.buffers():
                    dist.broadcast(t, 0)

    def check_finite(self, tensors):
        for name, t in tensors.items():
            if t.is_floating_point() and not bool(torch.isfinite(t).all()):
                raise TrainError(f"{name}: NaN or infinite after step {self.step}",
                                 "a smaller learning rate, a warm-up or --clip may help")

    # -- training

    def batches(self):
        """Rows of this process, one batch after the other, from the current step on."""
        order = None
        for step in range(self.step, self.last_step):
            epoch, place = divmod(step, self.steps_per_epoch)
            if order is None or place == 0:
                order = epoch_order(self.args.seed, epoch, self.train.size)
            first = place * self.args.batch
            yield self.world.part(order[first:first + self.args.batch])

    def train_step(self, batch):
        args, world = self.args, self.world
        x, y = (t if t is None else t.to(world.device, non_blocking=True) for t in batch)
        size = len(x) // args.accumulate
        parts = [(x[i:i + size], None if y is None else y[i:i + size])
                 for i in range(0, len(x), size)]
        first = world.rank * args.accumulate
        seeds = [step_seed(args.seed, self.step, first + i) for i in range(len(parts))]
        totals = []
        for i, head in enumerate(self.heads):
            if head.stopped_steps:
                totals.append(torch.zeros(3 if head.scores else 2, dtype=torch.float64,
                                          device=world.device))
                continue
            with self.stream(i, x, y):
                totals.append(head.step(parts, seeds, self.learning_rate(head, self.step),
                                        self.augment_part(head, size)))
        if self.streams:
            for stream in self.streams:
                torch.cuda.current_stream().wait_stream(stream)
        self.pending.append(torch.stack(totals))
        self.step += 1

    def augment_part(self, head, size):
        """What a sub-network does before each forward of a step."""
        if not self.augmentation:
            return None
        head.net.augment = self.augmentation
        first = self.world.rank * self.args.accumulate
        return lambda i: self.augmentation.draw(self.args.seed, self.step, (first + i) * size,
                                                size, self.world.device)

    def stream(self, i, x, y):
        if not self.streams:
            return contextlib.nullcontext()
        self.streams[i].wait_stream(torch.cuda.current_stream())
        for t in (x, y):
            if t is not None:
                t.record_stream(self.streams[i])
        return torch.cuda.stream(self.streams[i])

    def learning_rate(self, head, step):
        lr = head.plateau.lr if self.args.schedule == "plateau" else self.args.lr
        return learning_rate(self.args, lr, step, self.total_steps, self.steps_per_epoch)

    def flush(self):
        """Adds the pending steps to the sums; stops at a loss that is no number."""
        if not self.pending:
            return
        steps = self.world.sum(torch.stack(self.pending)).cpu()
        first = self.step - len(self.pending)
        self.pending = []
        for step, heads in enumerate(steps.tolist(), first):
            for h, found in enumerate(heads):
                if not math.isfinite(found[0]):
                    raise TrainError(f"head {h}: the loss is {found[0]} at step {step}",
                                     "a smaller learning rate, a warm-up or --clip may help")
                for sums in self.sums[h].values():
                    sums[:len(found)] = (a + b for a, b in zip(sums, found))

    def means(self, span):
        """Loss and accuracy of each head since the epoch's or the window's begin; nothing of
        those that have stopped."""
        out = []
        for head, sums in zip(self.heads, self.sums):
            if head.stopped_steps:
                out.append({})
                continue
            loss, count, hits = sums[span]
            out.append({"loss": loss / max(count, 1)})
            if head.scores:
                out[-1]["accuracy"] = hits / max(count, 1)
            sums[span] = [0.0] * 3
        return out

    def epoch_samples(self):
        return (self.step - self.epochs_done * self.steps_per_epoch) * self.args.batch

    def per_second(self):
        """Samples, or the tokens that a language model predicts in them."""
        seconds = max(time.monotonic() - self.timed_at, 1e-9)
        samples = (self.step - self.timed_step) * self.args.batch
        return samples * self.heads[0].per_sample / seconds

    def after_step(self):
        """Metrics, progress; whether a checkpoint is due."""
        cheap = self.world.size == 1 and self.world.device.type == "cpu"
        if cheap or self.step % METRICS_EVERY == 0:
            self.flush()
        if self.step % METRICS_EVERY == 0:
            self.write_metrics(self.means("window"), False)
        if self.progress and self.progress.due():
            self.report()
        if self.args.checkpoint_steps:
            return self.step % self.args.checkpoint_steps == 0
        return self.world.rank == 0 and time.monotonic() - self.saved_at >= SAVE_EVERY

    def write_metrics(self, heads, end_of_epoch):
        if self.log:
            lr = [self.learning_rate(head, self.step - 1) for head in self.heads]
            if self.args.schedule == "plateau":
                heads, lr = [{"lr": rate, **h} for rate, h in zip(lr, heads)], [None]
            self.log.write(self.step, self.epochs_done + 1, end_of_epoch, lr[0], heads,
                           "tokens" if self.heads[0].reads_text else "images", self.per_second())

    def report(self):
        sums = [s["epoch"] for h, s in zip(self.heads, self.sums) if not h.stopped_steps]
        loss, hits = (sum(s[i] / max(s[1], 1) for s in sums) / len(sums) for i in (0, 2))
        speed = self.per_second()
        left = (self.last_step - self.step) * self.args.batch * self.heads[0].per_sample
        text = f"epoch {self.epochs_done + 1}/{self.args.epochs}  step {self.step}" \
               f"/{self.last_step}  loss {loss:.4f}"
        if self.heads[0].reads_text:
            text += f"  perplexity {perplexity(loss):.2f}"
        if self.heads[0].scores:
            text += f"  accuracy {100 * hits:.2f} %"
        text += f"  {speed:.0f} {'tokens' if self.heads[0].reads_text else 'samples'}/s"
        if speed:
            text += f"  ETA {duration(left / speed)}"
        self.progress.show(text, self.step / self.last_step)

    def finish_epoch(self):
        """Validation and the epoch's line; done again if it is interrupted."""
        self.flush()
        val = self.validate() if self.val else [{}] * len(self.heads)
        self.results = [{**r, **t, **v}
                        for r, t, v in zip(self.results, self.means("epoch"), val)]
        self.write_metrics(self.results, True)
        for head, result in zip(self.heads, self.results):
            if not head.stopped_steps:
                head.judge(result, self.step)
        if self.progress:
            mean = {k: sum(r[k] for r in self.results) / len(self.heads)
                    for k in self.results[0]}
            if self.heads[0].reads_text:
                mean = with_perplexity(mean)
            self.progress.show(f"epoch {self.epochs_done + 1}/{self.args.epochs}  " + "  ".join(
                f"{k.replace('_', ' ')} {show(k, v)}" for k, v in mean.items()), keep=True)
        self.epochs_done += 1
        self.timed_step, self.timed_at = self.step, time.monotonic()

    def validate(self):
        """Loss, top-1 and top-5 of each head over the whole validation split; nothing of those
        that have stopped."""
        args, world = self.args, self.world
        self.share_buffers()
        width = 4 if self.heads[0].classifies else 3 if self.heads[0].labels else \
            2 + 2 * len(self.heads[0].parts or ())
        sums = torch.zeros(len(self.heads), width, dtype=torch.float64, device=world.device)
        rows = torch.arange(self.val.size).split(args.batch)
        reader = Prefetch(self.val, map(world.part, rows), world.device.type == "cuda")
        for head in self.heads:
            head.net.eval()
            head.net.augment = None
            head.swap_average()
        stop = False
        try:
            with torch.no_grad():
                for batch in reader:
                    stop, = world.agree(self.signal is not None)
                    if stop:
                        break
                    self.add_batch(sums, batch)
        finally:
            reader.close()
            for head in self.heads:
                head.net.train()
                head.swap_average()
        if stop:        # only now, since a checkpoint holds the weights that are trained
            self.stop_if_asked()
        out = []
        for head, (loss, count, *hits) in zip(self.heads, world.sum(sums).tolist()):
            if head.stopped_steps:
                out.append({})
                continue
            out.append({"val_loss": loss / max(count, 1)})
            if head.scores:
                out[-1]["val_top1"] = hits[0] / max(count, 1)
            if head.classifies:
                out[-1]["val_top5"] = hits[1] / max(count, 1)
            for i, part in enumerate(head.parts or ()):
                out[-1][f"val_{i}_loss"] = hits[2 * i] / max(count, 1)
                if part["loss"] in ("cross_entropy", "bce"):
                    out[-1][f"val_{i}_top1"] = hits[2 * i + 1] / max(count, 1)
        return out

    def add_batch(self, sums, batch):
        x, y = (t if t is None else t.to(self.world.device, non_blocking=True) for t in batch)
        if not len(x):      # the last batch may be too small for every process
            return
        for h, head in enumerate(self.heads):
            if head.stopped_steps:
                continue
            sums[h] += head.loss(head.forward, x, y, find_top1_and_top5)[1]

    def stop_if_asked(self, save=False):
        """Between steps: all processes agree on stopping and on saving."""
        stop, save = self.world.agree(self.signal is not None, save)
        if save or stop:
            self.save()
        if stop:
            raise Interrupted

    def fit(self):
        """Trains to the end; returns the results of the last epoch or its part."""
        world, first = self.world, self.world.rank == 0
        self.saved, self.saved_at = None, time.monotonic()
        self.timed_step, self.timed_at = self.step, time.monotonic()
        self.progress = Progress(self.args.quiet) if first else None
        self.log = None
        if first:
            self.log = MetricsLog(self.out / "metrics.jsonl", self.step, self.epochs_done)
        reader = Prefetch(self.train, self.batches(), world.device.type == "cuda")
        batches = iter(reader)
        try:
            while True:
                due = False
                if self.step == (self.epochs_done + 1) * self.steps_per_epoch:
                    self.finish_epoch()
                    due = not self.args.checkpoint_steps
                elif self.step < self.last_step and not all(h.stopped_steps for h in self.heads):
                    self.train_step(next(batches))
                    due = self.after_step()
                else:
                    break
                self.stop_if_asked(due)
            self.save()
        finally:
            reader.close()
        if self.epoch_samples():
            partial = self.means("epoch")
            self.results = [{**r, **p} for r, p in zip(self.results, partial)]
        self.results = [head.best_result if head.best else result
                        for head, result in zip(self.heads, self.results)]
        return self.results

    def write_weights(self):
        tensors, parts = {}, self.args.accumulate
        metadata = {"job": self.identity["job"], "steps": str(self.step * parts)}
        for head in self.heads:
            tensors.update(head.outcome())
            steps = head.steps_behind(self.step)
            if steps != self.step:
                metadata[f"steps.{head.net.output}"] = str(steps * parts)
        self.check_finite(tensors)
        write_safetensors(self.out / "weights.safetensors", tensors, metadata)


# ---- Options and the program -------------------------------------------------------------

def number(kind, low, high, open_low=False):
    """A type for argparse: a number from low (or above) to high."""
    def parse(text):
        value = kind(text)
        if not low <= value <= high or (open_low and value == low):
            raise argparse.ArgumentTypeError(f"{text} is not {'above' if open_low else 'from'} "
                                             f"{low} to {high}")
        return value
    parse.__name__ = "number"
    return parse


def augmentations(text):
    kinds = text.split(",")
    if not set(kinds) <= {"crop4", "hflip"}:
        raise argparse.ArgumentTypeError(f"{text}: expected crop4, hflip or crop4,hflip")
    return sorted(set(kinds))


def parse_options(argv):
    below_one = 1 - 1e-9
    p = argparse.ArgumentParser(
        prog="train.py", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Trains a job: every sub-network, one after the other within each step.\n"
        "Writes out/weights.safetensors, metrics.jsonl and checkpoints. Stopped or killed, it\n"
        "goes on with the same options and --resume. Needs PyTorch only.", allow_abbrev=False,
        epilog="examples:\n"
        "  python train.py --epochs 30 --batch 128 --lr 0.05 --momentum 0.9 \\\n"
        "      --weight-decay 5e-4 --schedule cosine --precision bf16\n"
        "  python train.py --optimizer adamw --lr 1e-3 --warmup 500 --clip 1\n"
        "  torchrun --nproc_per_node 8 --max-restarts 3 train.py --batch 1024 --lr 0.4\n"
        "  srun python train.py ...                with MASTER_ADDR set\n\n"
        "The same options train the same batches in the same order as amalgam-train.")

    def add(group, name, default, text, kind=None, **more):
        if kind:
            more.update(type=kind, metavar=more.get("metavar", "X"))
        shown = "" if default is None or default is False else f" ({default:g})" \
            if isinstance(default, (int, float)) else f" ({default})"
        group.add_argument(f"--{name}", default=default, help=text.replace("%", "%%") + shown,
                           **more)

    whole, real = (lambda lo, hi: number(int, lo, hi)), (lambda lo, hi: number(float, lo, hi))
    flag = {"action": "store_true"}

    g = p.add_argument_group("recipe")
    add(g, "epochs", 1, "passes over the data", whole(1, 10**6), metavar="N")
    add(g, "batch", 128, "samples a step, over all processes; an incomplete last batch of an "
        "epoch is dropped", whole(1, 1 << 20), metavar="N")
    add(g, "optimizer", "sgd", " | ".join(OPTIMIZERS), choices=OPTIMIZERS, metavar="NAME")
    add(g, "lr", 0.01, "learning rate", number(float, 0, 1e6, True))
    add(g, "momentum", 0.0, "of sgd and rmsprop", real(0, below_one))
    add(g, "nesterov", False, "Nesterov's form of momentum", **flag)
    add(g, "weight-decay", 0.0, "decoupled for adamw and lion, L2 for the others", real(0, 1e6))
    add(g, "beta1", 0.9, "of adam and adamw, first moment; of lion, the step's mean",
        real(1e-9, below_one))
    add(g, "beta2", None, "of adam and adamw, second moment (0.999); of lion, the mean kept (0.99)",
        real(1e-9, below_one))
    add(g, "epsilon", None, "of adam, adamw and rmsprop (1e-08), of adagrad (1e-10)",
        real(1e-30, 1))
    add(g, "alpha", 0.99, "of rmsprop: how long squares are remembered", real(1e-9, below_one))
    add(g, "centered", False, "rmsprop by the variance instead of the mean square", **flag)
    add(g, "lr-decay", 0.0, "of adagrad: step t has the rate / (1 + t X)", real(0, 1e6))
    add(g, "initial-accumulator", 0.0, "of adagrad: where its sums of squares begin",
        real(0, 1e6))
    add(g, "clip", 0.0, "clip each sub-network's gradient to this L2 norm; 0: off",
        real(0, 1e9))
    add(g, "label-smoothing", 0.0, "as in PyTorch", real(0, 1))
    add(g, "schedule", "constant", " | ".join(SCHEDULES) + ". cosine and linear fall to 0 at the "
        "end; one-cycle is PyTorch's OneCycleLR up to --lr, momentum left alone; plateau its "
        "ReduceLROnPlateau, for each sub-network by its own validation loss (training loss "
        "without validation data)", choices=SCHEDULES, metavar="NAME")
    add(g, "warmup", 0, "steps of linear warm-up", whole(0, 10**9), metavar="STEPS")
    add(g, "step-epochs", 30, "schedule step: every N epochs ...", whole(1, 10**6), metavar="N")
    add(g, "step-gamma", 0.1, "... the rate is multiplied by X", real(1e-9, 1e3))
    add(g, "plateau-patience", 10, "schedule plateau: after more than N epochs without a lower "
        "loss ...", whole(0, 10**6), metavar="N")
    add(g, "plateau-factor", 0.1, "... the rate is multiplied by X", real(1e-9, below_one))
    add(g, "ema", 0.0, "moving average of the weights, as 0.999: it is validated and is the "
        "result; running statistics are the last ones; 0: off", real(0, below_one),
        metavar="DECAY")
    add(g, "best", False, "the result is each sub-network's epoch of lowest validation loss", **flag)
    add(g, "early-stop", 0, "a sub-network stops after N epochs in a row without a lower validation "
        "loss; the others go on; 0: off. Mostly with --best", whole(0, 10**6), metavar="N")
    add(g, "seed", 1, "of batch order, dropout and augmentation", whole(0, 9 * 10**15),
        metavar="N")
    add(g, "augment", None, "crop4, hflip or crop4,hflip: random crops of the image padded by 4, "
        "mirroring; inside each sub-network", augmentations, metavar="KINDS")

    g = p.add_argument_group("how it runs")
    add(g, "device", "auto", "auto | cpu | cuda", choices=("auto", "cpu", "cuda"),
        metavar="NAME")
    add(g, "precision", "f32", "f32 | bf16 | fp16: mixed precision; fp16 with a loss scale for "
        "each sub-network", choices=("f32", "bf16", "fp16"), metavar="NAME")
    add(g, "compile", False, "torch.compile each sub-network (PyTorch 2)", **flag)
    add(g, "accumulate", 1, "split each batch into N parts that fit into memory; batch norm "
        "then sees the parts", whole(1, 1 << 20), metavar="N")
    add(g, "streams", False, "a CUDA stream for each sub-network: faster for small ones, takes "
        "the memory of all at once", **flag)
    add(g, "local-batch-norm", False, "several processes: statistics of each process alone, not "
        "of the whole batch", **flag)
    add(g, "deterministic", False, "the same bits each time on the same machine, with the same "
        "PyTorch and --threads", **flag)
    add(g, "threads", None, "CPU threads (PyTorch's choice)", whole(1, 1024), metavar="N")
    add(g, "class-order", "canonical", "canonical | natural: canonical trains any numbering of "
        "the classes to the same bits, as amalgam-train does; natural takes them as they come",
        choices=("canonical", "natural"), metavar="NAME")
    add(g, "quiet", False, "no progress", **flag)

    g = p.add_argument_group("files and interruptions")
    add(g, "job", None, "the job's folder (this script's, else an SM_CHANNEL_*)", Path,
        metavar="DIR")
    add(g, "out", None, "where results go (out in the job's folder; SM_OUTPUT_DATA_DIR)", Path,
        metavar="DIR")
    add(g, "check", False, "compare the SHA-256 of all files first", **flag)
    add(g, "max-steps", 0, "stop after N steps, with a checkpoint; the schedule still spans "
        "--epochs; 0: no limit", whole(0, 9 * 10**15), metavar="N")
    add(g, "checkpoint-steps", 0, "checkpoint every N steps; 0: each epoch and every 60 s",
        whole(0, 9 * 10**15), metavar="N")
    add(g, "resume", False, "go on from the last checkpoint, with the same options; with "
        "--deterministic on a CPU bit for bit", **flag)
    args = p.parse_args(argv)
    if args.nesterov and (args.optimizer != "sgd" or not args.momentum):
        p.error("--nesterov needs --optimizer sgd and a --momentum above 0")
    if args.schedule == "one-cycle" and args.warmup:
        p.error("--schedule one-cycle has a warm-up of its own: leave out --warmup")
    if args.centered and args.optimizer != "rmsprop":
        p.error("--centered needs --optimizer rmsprop")
    if args.beta2 is None:
        args.beta2 = 0.99 if args.optimizer == "lion" else 0.999
    if args.epsilon is None:
        args.epsilon = 1e-10 if args.optimizer == "adagrad" else 1e-8
    return args


def find_job(args):
    """--job, this script's folder, or the SageMaker channel that holds job.json."""
    if args.job:
        return args.job
    here = Path(__file__).resolve().parent
    channels = sorted(k for k in os.environ if k.startswith("SM_CHANNEL_"))
    channels.sort(key=lambda k: k != "SM_CHANNEL_TRAINING")
    for folder in [here, *(Path(os.environ[k]) for k in channels)]:
        if (folder / "job.json").is_file():
            return folder
    return here


def set_up(args):
    """PyTorch's global switches."""
    if tuple(int(n) for n in re.findall(r"\d+", torch.__version__)[:2]) < (1, 13):
        raise TrainError(f"PyTorch {torch.__version__}, expected 1.13 or newer")
    if args.compile and not hasattr(torch, "compile"):
        raise TrainError(f"--compile needs PyTorch 2, this is {torch.__version__}")
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = not args.deterministic


def check_world(args, world):
    parts = world.size * args.accumulate
    if args.batch % parts:
        raise TrainError(f"--batch {args.batch} does not divide into {world.size} processes x "
                         f"--accumulate {args.accumulate}",
                         f"choose a multiple of {parts}, such as {-(-args.batch // parts) * parts}")
    if args.precision == "fp16" and world.device.type != "cuda":
        raise TrainError("--precision fp16 needs a CUDA GPU", "--precision bf16 works on CPUs too")


def copy_results(out, first):
    """Where SageMaker looks for them."""
    for name, variable in (("weights.safetensors", "SM_MODEL_DIR"),
                           ("metrics.jsonl", "SM_OUTPUT_DATA_DIR")):
        folder = os.environ.get(variable)
        if folder and first and Path(folder).resolve() != out.resolve():
            Path(folder).mkdir(parents=True, exist_ok=True)
            with replacing(Path(folder) / name) as f, open(out / name, "rb") as source:
                shutil.copyfileobj(source, f)


def print_results(run, seconds):
    titles = {"loss": "train loss", "perplexity": "train ppl", "accuracy": "train acc",
              "val_loss": "val loss", "val_perplexity": "val ppl", "val_top1": "val top-1",
              "val_top5": "val top-5", "steps": "steps"}
    results = [with_perplexity(r) if head.reads_text else r
               for head, r in zip(run.heads, run.results)]
    if "val_top5" not in results[0]:
        titles["val_top1"] = "val acc"      # of all labels
    steps = [head.steps_behind(run.step) for head in run.heads]
    if set(steps) != {run.step}:
        results = [{**r, "steps": n} for r, n in zip(results, steps)]
    titles = {k: title for k, title in titles.items() if k in results[0]}
    text = run.heads[0].reads_text      # seven columns fit 80 characters only when narrow
    width = {k: len(title) + 2 if text else 13 for k, title in titles.items()}
    head = 4 if text else 6
    print(f"{'head':<{head}}" + "".join(f"{title:>{width[k]}}" for k, title in titles.items()))
    for i, r in enumerate(results):
        print(f"{i:<{head}}" + "".join(f"{show(k, r[k], 6):>{width[k]}}" for k in titles))
    for i, r in enumerate(results):
        for j in range(len(run.heads[i].parts or ())):
            if f"val_{j}_loss" in r:
                right = f", {100 * r[f'val_{j}_top1']:.2f} % right" if f"val_{j}_top1" in r else ""
                print(f"head {i}, validation, output {j}: loss {r[f'val_{j}_loss']:.6f}{right}")
    print(f"{run.step} step{'s' * (run.step != 1)}, {seconds:.1f} s")


def train(args):
    begin = time.monotonic()
    set_up(args)
    job = Job(find_job(args), args.check)
    out = args.out or Path(os.environ.get("SM_OUTPUT_DATA_DIR") or job.folder / "out")
    world = World(args.device)
    check_world(args, world)
    run = Run(job, args, world, out)
    restarted = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0 \
        or "SM_MODEL_DIR" in os.environ     # an interrupted spot instance is started anew
    if args.resume or (restarted and (out / CHECKPOINT).exists()):
        run.resume()
    out.mkdir(parents=True, exist_ok=True)

    def on_signal(number, _):
        run.signal = number
        signal.signal(number, signal.SIG_DFL)       # the second one ends it at once

    for number_ in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number_, on_signal)
    try:
        run.fit()
    except Interrupted:
        if world.rank == 0:
            print(f"\ntrain.py: stopped on request after step {run.step} of {run.last_step}; "
                  "go on with --resume", file=sys.stderr)
        return 128 + (run.signal or signal.SIGTERM)
    if world.rank == 0:
        run.write_weights()
        copy_results(out, True)
        print_results(run, time.monotonic() - begin)
    world.close()
    return 0


def main(argv=None):
    try:
        return train(parse_options(argv))
    except TrainError as error:
        print(f"train.py: error: {error}", file=sys.stderr)
        if error.hint:
            print(f"train.py: hint: {error.hint}", file=sys.stderr)
        return 1


def leave(code):
    """Ends the process. With several, at once: gloo's threads abort one in ten whose interpreter
    goes down in the usual way (PyTorch 2.13), and torchrun takes that for a failure."""
    if any(int(os.environ.get(name, "1")) > 1 for name in ("WORLD_SIZE", "SLURM_NTASKS")):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    leave(main())
