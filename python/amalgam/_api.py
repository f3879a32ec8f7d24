"""What users call: obfuscate, audit, extract, train, inspect. Consumes models, data sets and paths; leaves the work to
the other modules and the C library, and nothing behind when it fails or is stopped.
"""
from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import warnings
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple, Union

from . import _export, _model
from . import _library as lib
from ._data import Rows, check_disjoint, open_data, open_tokens
from ._errors import AmalgamError
from ._outputs import Loss, Wanted
from ._watch import Watch

Path = Union[str, "os.PathLike[str]"]


@dataclass(frozen=True)
class _Folder:
    """A job folder."""
    path: str

    @property
    def weights(self) -> str:
        """Where training leaves what `extract` takes."""
        return os.path.join(self.path, "out", "weights.safetensors")

    def __fspath__(self) -> str:
        return self.path


@dataclass(frozen=True)
class Job(_Folder):
    """A job folder and its key. chance: how often the cloud's guess, which sub-network is yours, is right;
    compute, upload: how many times as much as without decoys."""
    key: str
    decoys: int
    train_samples: int
    val_samples: int
    own_parameters: int
    job_parameters: int
    compute: float
    upload: float
    job_bytes: int
    seconds: float
    notes: List[str] = field(default_factory=list)

    @property
    def chance(self) -> float:
        return 1 / (self.decoys + 1)

    def __repr__(self) -> str:
        text = (f"Job({self.path!r}, key={self.key!r}): {self.train_samples} training and {self.val_samples} "
                f"validation samples, {self.job_bytes / 1e6:.1f} MB\n"
                f"  {self.decoys} decoy{'s' * (self.decoys != 1)}: {self.job_parameters:,} parameters, "
                f"{self.own_parameters:,} of them yours; the cloud's guess is right 1 time in "
                f"{self.decoys + 1}\n  compute {self.compute:.1f}x, upload {self.upload:.1f}x")
        return "\n  ".join([text, *self.notes])


@dataclass(frozen=True)
class Training:
    """What native training did: heads in the job's order (nothing says which one is yours)."""
    weights: str
    steps: int
    seconds: float
    heads: List[Dict[str, Any]]


def obfuscate(model: Any, train: Any, val: Any = None, *, decoys: int = 1, decoys_from: Any = None,
              val_decoys_from: Any = None, key: Path, out: Path, task: Optional[str] = None,
              preprocess: Any = None, columns: Optional[Sequence[str]] = None,
              passphrase: Optional[str] = None, keep_classes: bool = False, decoy_arch: str = "auto",
              decoy_start: str = "auto", walk_steps: Optional[int] = None, noise: Optional[str] = None, amount: Optional[float] = None,
              model_amount: Optional[float] = None, seq: Optional[int] = None, stride: Optional[int] = None,
              pad: Optional[int] = None, keep_tokens: bool = False, symmetry: bool = False, rotate: bool = False,
              pair_classes: bool = False, loss: Loss = None, outputs: Wanted = None,
              class_weights: Union[str, Sequence[float], None] = None, freeze: Union[str, Sequence[str]] = (), freeze_norm_stats: bool = False,
              progress: bool = True, seed_hex: Optional[str] = None) -> Job:
    """Makes a job folder for the cloud and a key for you, or neither.

    model: an nn.Module, which stays as it is, or the path of an .onnx file.
    train, val, decoys_from, val_decoys_from: a torch Dataset, TensorDataset or Subset, (x, y) of arrays or
        tensors, x alone (reconstruction), a Hugging Face dataset with `columns`, or a DATA spec. uint8 data are
        scaled to 0..1; decoys_from fills the decoys' streams, best a random part of the same source. x is a tuple,
        or a dict by the names of forward's arguments, where the module takes several inputs; y is a tuple, or a dict by
        the outputs' names, where it gives several outputs.
    pair_classes: each cover is of the class of the sample it stands beside, for a pool with other shares of the
        classes than your data.
    task: "classification", "regression", "reconstruction", "multi_label" (targets of 0 or 1, several of which may be 1;
        binary cross entropy of logits), "multi_task" (several outputs) or "lm" (a language model); told from the model
        and the targets if left out: integers are classes, numbers a regression, none a reconstruction or, of a token
        set, "lm".
    seq, stride, pad: a language model's data are windows of seq + 1 tokens, or a text as one row of them (or a
        token set, "text:FOLDER"), cut every stride (seq) tokens; the model takes [N, seq] and gives [N, seq, V]
        or [N * seq, V]. Next tokens equal to pad do not count. Documents with classes: their first seq tokens.
    keep_tokens: the vocabulary keeps its numbers (it is permuted, and put back by `extract`, otherwise).
    symmetry: mix the values of each sample and the columns of the first layer, where that is dense or a
        convolution of blocks (a vision transformer's), and the blocks with their positions, where nothing else
        tells them apart: against a casual look, no more. `extract` puts them back;
        the weights equal those trained without it up to rounding.
    rotate: the same by a secret rotation of the values of each block (docs/symmetry.md): data take four bytes a
        value, SGD alone trains them, and public data of the same kind undo most of it.
    loss: of numbers "mse", "l1", "huber", "huber:0.5" (delta) or "smooth_l1" likewise (beta); 1 where no number is given.
        Of several outputs one a output, each with its weight, in their order "cross_entropy+0.5*huber:0.5", or a dict
        by their names; also "bce", of targets from 0 to 1.
    outputs: those of the module's that are trained, by name or by place from 0 on: "logits", ["class", "box"]. All, if
        left out; the module's others are not in the job.
    class_weights: of cross entropy, one a class, or "balanced": counted, so that classes count alike however rare.
    freeze: parameters that do not train, beside those with requires_grad=False: names with *, ? and [...]. Frozen
        ones come back as they were; the job shows which they are, in each sub-network alike.
    freeze_norm_stats: batch norms whose weights are frozen keep their running statistics and normalise with them,
        as eval() does; without it statistics go on, as in PyTorch.
    preprocess: (means, deviations), one number a channel, as torchvision's Normalize.
    keep_classes: classes keep their numbers (they are permuted, and put back by `extract`, otherwise).
    noise, amount, model_amount: the paper's mode instead of decoys_from; weak, and it says so.
    seed_hex: for tests: the secret, instead of fresh randomness.

    Raises AmalgamError (ExportError: the module, DataError: the data), KeyboardInterrupt; then neither `out`
    nor `key` is there.
    """
    lib.library()  # before anything is exported: without it all would be in vain
    key, out = os.path.abspath(key), os.path.abspath(out)
    text = _model.Text(_predicts_tokens(task, train), seq, stride, pad)
    graph = _model.read_file(model)
    takes = _model.count_inputs(model, graph)
    sets = _open_sets(train, val, decoys_from, val_decoys_from, columns, text, takes)
    mean, std = _normalisation(preprocess)
    with tempfile.TemporaryDirectory(prefix="amalgam-") as folder:
        kept = _pattern_list(freeze) if freeze_norm_stats else None
        ready = _model.prepare(model, graph, sets, _model.Asked((mean, std), text, kept, outputs, loss), folder)
        options = {"model": ready.path, "loss": ready.loss, "class_weights": _weights(class_weights), "freeze": _patterns(freeze, ready.frozen), "freeze_norm_stats": freeze_norm_stats, "out": out, "key": key, "task": "lm" if text.predicts else task,
                   "seq": seq, "stride": stride, "keep_tokens": keep_tokens, "symmetry": symmetry, "rotate": rotate,
                   "pair_classes": pair_classes, "decoys": decoys, "decoy_arch": decoy_arch, "decoy_start": decoy_start, "walk_steps": walk_steps,
                   "keep_classes": keep_classes, "mean": mean, "std": std, "amount": amount,
                   "model_amount": model_amount, "note": ready.note, "seed_hex": seed_hex}
        if noise is not None:
            kind, _, values = noise.partition(":")
            options.update(noise=kind, noise_values=values or None)
        return _make_job(options, sets, passphrase, progress, ready.unread)


@dataclass(frozen=True)
class Owner:
    """One owner's part of a packed job; what the fields mean, `obfuscate` says."""
    model: Any
    train: Any
    key: Path
    val: Any = None
    task: Optional[str] = None
    preprocess: Any = None
    columns: Optional[Sequence[str]] = None
    passphrase: Optional[str] = None
    keep_classes: bool = False
    keep_tokens: bool = False
    symmetry: bool = False
    seq: Optional[int] = None
    stride: Optional[int] = None
    pad: Optional[int] = None
    loss: Loss = None
    outputs: Wanted = None
    class_weights: Union[str, Sequence[float], None] = None
    freeze: Union[str, Sequence[str]] = ()
    freeze_norm_stats: bool = False
    seed_hex: Optional[str] = None


@dataclass(frozen=True)
class Packed(_Folder):
    """A packed job and its keys, in the order of the owners; compute: how many times as much as the owners'
    trainings together."""
    keys: List[str]
    train_samples: int
    val_samples: int
    own_parameters: List[int]
    job_parameters: int
    compute: float
    job_bytes: int
    seconds: float

    def __repr__(self) -> str:
        return (f"Packed({self.path!r}): {len(self.keys)} owners, each with {self.train_samples} training and "
                f"{self.val_samples} validation samples, {self.job_bytes / 1e6:.1f} MB\n"
                f"  compute {self.compute:.2f}x that of the owners' own trainings together")


def pack(owners: Sequence[Owner], *, out: Path, progress: bool = True, seed_hex: Optional[str] = None) -> Packed:
    """Several owners' trainings in one job, each the others' cover, and a key for each, or nothing (docs/pack.md).

    Samples are of one shape and type, all owners have one task and as many samples. `extract` with an owner's key
    gives that owner's model and no other. seed_hex: for tests.

    Raises what `obfuscate` raises; then neither `out` nor any key is there.
    """
    lib.library()
    out = os.path.abspath(out)
    parts = (lib.Owner * len(owners))()
    alive: List[Any] = []  # what parts point to
    keys = [os.path.abspath(w.key) for w in owners]
    there = [p for p in (out, *keys) if os.path.lexists(p)]
    watch = Watch(progress)
    with tempfile.TemporaryDirectory(prefix="amalgam-") as folder:
        for i, w in enumerate(owners):
            text = _model.Text(_predicts_tokens(w.task, w.train), w.seq, w.stride, w.pad)
            graph = _model.read_file(w.model)
            takes = _model.count_inputs(w.model, graph)
            sets = _open_sets(w.train, w.val, None, None, w.columns, text, takes)
            mean, std = _normalisation(w.preprocess)
            own = os.path.join(folder, str(i))
            os.mkdir(own)
            kept = _pattern_list(w.freeze) if w.freeze_norm_stats else None
            asked = _model.Asked((mean, std), text, kept, w.outputs, w.loss)
            ready = _model.prepare(w.model, graph, sets, asked, own)
            parts[i].options = lib.options({
                "model": ready.path, "loss": ready.loss, "class_weights": _weights(w.class_weights), "freeze": _patterns(w.freeze, ready.frozen), "freeze_norm_stats": w.freeze_norm_stats, "key": keys[i], "task": "lm" if text.predicts else w.task, "seq": w.seq,
                "stride": w.stride, "keep_tokens": w.keep_tokens, "symmetry": w.symmetry, "keep_classes": w.keep_classes, "mean": mean,
                "std": std, "note": ready.note, "seed_hex": w.seed_hex})
            parts[i].passphrase = w.passphrase.encode() if w.passphrase is not None else None
            alive.append(_fill_datasets(parts[i].data, sets, watch))
        try:
            with watch:
                made = _call_watched(watch, "amalgam_pack", lib.options({"out": out, "seed_hex": seed_hex}),
                                     len(owners), parts, lib.byref(watch.progress))
            watch.check()
        except KeyboardInterrupt:
            _remove_all(p for p in (out, *keys) if p not in there)
            raise
    return Packed(out, keys, made["train_samples"], made["val_samples"], made["own_parameters"],
                  made["job_parameters"], made["compute_factor"], made["job_bytes"], made["seconds"])


def _remove_all(paths: Iterable[str]) -> None:
    """What a call made that was stopped after the library's last look: it leaves nothing all the same."""
    for path in paths:
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        elif os.path.lexists(path):
            os.unlink(path)


def _predicts_tokens(task: Optional[str], train: Any) -> bool:
    if task is not None or not isinstance(train, (str, os.PathLike)):
        return task in ("lm", "language_model")
    info = lib.call("amalgam_data_info", lib.encode(train))
    return info["kind"] == "text" and info["target_dtype"] is None


def _open_sets(train: Any, val: Any, covers: Any, val_covers: Any,
               columns: Optional[Sequence[str]], text: _model.Text, takes: Optional[int]) -> Dict[str, Any]:
    given = {"train": (train, "training data"), "val": (val, "validation data"),
             "covers": (covers, "covers (decoys_from)"), "val_covers": (val_covers, "covers of the validation data")}
    sets = {k: open_tokens(data, name, columns, text.seq, text.stride) if text.predicts
            else open_data(data, name, columns, takes) for k, (data, name) in given.items()}
    if sets["train"] is None:
        raise AmalgamError("no training data", where="train")
    if text.pad is not None and not (text.predicts and isinstance(sets["train"], Rows)):
        raise AmalgamError("is for a language model's windows", where="pad",
                           hint="a token set has its own; a classifier's graph says what it ignores")
    for own in ("train", "val"):
        for pool in ("covers", "val_covers"):
            check_disjoint(sets[own], sets[pool])
    return sets


def _normalisation(preprocess: Any) -> Tuple[Optional[List[float]], Optional[List[float]]]:
    if preprocess is None:
        return None, None
    if isinstance(preprocess, dict):
        if set(preprocess) != {"mean", "std"}:
            raise AmalgamError(f"has {sorted(preprocess)}, expected mean and std", where="preprocess")
        preprocess = (preprocess["mean"], preprocess["std"])
    try:
        mean, std = ([float(v) for v in part] for part in preprocess)
    except (TypeError, ValueError):
        raise AmalgamError("expected (means, deviations), one number a channel", where="preprocess") from None
    return mean, std


def _weights(given: Union[str, Sequence[float], None]) -> Optional[str]:
    return given if given is None or isinstance(given, str) else ",".join(f"{float(w):.9g}" for w in given)


def _pattern_list(given: Union[str, Sequence[str]]) -> List[str]:
    texts = [given] if isinstance(given, str) else list(given)
    return [pattern for text in texts for pattern in text.split(",")]


def _patterns(given: Union[str, Sequence[str]], names: List[str]) -> Optional[str]:
    """The library's list of patterns: those given, and names as they are."""
    patterns = [given] if isinstance(given, str) else list(given)
    patterns += [re.sub(r"([\\*?\[\],])", r"\\\1", name) for name in names]
    return ",".join(patterns) or None


def _make_job(options: Dict[str, Any], sets: Dict[str, Any], passphrase: Optional[str], progress: bool,
              unread: int) -> Job:
    out, key = options["out"], options["key"]
    there = [p for p in (out, key) if os.path.lexists(p)]
    watch = Watch(progress)
    data = lib.Datasets()
    structs = _fill_datasets(data, sets, watch)  # noqa: F841, keeps them alive
    try:
        with watch:
            made = _call_watched(watch, "amalgam_obfuscate", lib.options(options),
                                 passphrase.encode() if passphrase is not None else None,
                                 lib.byref(data), lib.byref(watch.progress))
            job = Job(out, key, made["decoys"], made["train_samples"], made["val_samples"],
                      made["own_parameters"], made["job_parameters"], made["compute_factor"],
                      made["upload_factor"], made["job_bytes"], made["seconds"], _notes(options, made, unread))
        watch.check()
        return job
    except KeyboardInterrupt:
        if not there:
            _remove_all((out, key))
        raise


def _fill_datasets(data: Any, sets: Dict[str, Any], watch: Watch) -> List[Any]:
    """Points the struct's members to the sets; returns what must outlive them."""
    structs = []
    for name, rows in sets.items():
        if isinstance(rows, Rows):
            structs.append(rows.struct(watch))
            getattr(data, name).dataset = lib.ctypes.pointer(structs[-1])
        elif rows is not None:
            getattr(data, name).spec = lib.encode(rows)
    return structs


def _call_watched(watch: Watch, function: str, *arguments: Any) -> Any:
    """A library call whose failure may stand for an exception in the caller's code, or for Ctrl-C."""
    try:
        return lib.call(function, *arguments)
    except AmalgamError:
        watch.check()  # what was raised in the caller's code says more than its echo
        raise


# What was measured of noise between tokens (docs/threat-model.md).
_WEAKNESS = {None: "tokens drawn evenly are told from the text by how often they occur (AUC 1.000)",
             "unigram": "tokens of this kind are told from the text by their neighbours (AUC 1.000)",
             "bigram": "a score of three tokens in a row found the text every time"}


def _notes(options: Dict[str, Any], made: Dict[str, Any], unread: int) -> List[str]:
    notes = []
    if unread:
        notes.append(f"note: nothing reads {unread:,} values of the module's parameters, such as a table's rows for "
                     "positions that samples do not have: they stay as they are, weight decay or not")
    if options.get("noise") or options.get("amount"):
        notes.append("warning: paper mode: " + _WEAKNESS.get(options.get("noise"), _WEAKNESS[None])
                     if made["tokens_permuted"] or made["tokens_kept"] else
                     "warning: paper mode: noise of this kind was undone exactly from 64-256 images without "
                     "the model")
    if made["unknown_init"] and not made["same_start"]:
        notes.append(f"warning: no known initialisation law fits {made['unknown_init']} of the parameters (a "
                     "pretrained model?): freshly drawn decoys beside them are recognisable; decoy_start=\"same\" "
                     "hides which one it is")
    elif made["unknown_init"] and options["decoy_start"] == "auto":
        notes.append(f"note: decoy_start same: no known initialisation law fits {made['unknown_init']} of the "
                     "parameters (a pretrained model?), so decoys start from the same weights; weights that have "
                     "seen your data before still know it again")
    if made["task"] == "classification" and not made["classes_permuted"] and not options["keep_classes"]:
        notes.append("note: classes are not permuted: the model does not end in a plain linear layer with "
                     "distinct rows")
    if made["tokens_kept"] and not options["keep_tokens"]:
        notes.append(f"note: tokens keep their numbers: {made['tokens_kept']}")
    asked = options["decoy_arch"]
    if made["textbook"] and not made["same_arch"]:
        notes.append(f"warning: the model is the catalogue's {made['textbook']}: whoever knows it names it among "
                     "walked decoys; decoy_arch=\"same\" hides which one it is")
    elif made["textbook"] and asked == "auto":
        notes.append(f"note: decoy_arch same: the model is the catalogue's {made['textbook']}, which would stand "
                     "out among others; the job shows what it is, not which")
    elif made["same_arch"] and asked != "same" and not made["same_start"]:
        notes.append("note: decoy_arch same: a walk finds nothing to change in this model")
    if made["passed_over"]:
        notes.append(f"note: {made['passed_over']} covers were passed over: equal to a sample of another stream")
    return notes


def extract(key: Path, weights: Path, model: Any = None, *, passphrase: Optional[str] = None,
            onnx: Optional[Path] = None) -> Dict[str, Any]:
    """The original, trained: a state_dict under the module's own names, in its order, buffers included.

    weights: JOB/out/weights.safetensors, or a checkpoint. Everything in it is checked; nothing is executed.
    model: the module, where the key was made from an .onnx file and cannot know its buffers; its state_dict
        must then have the same names and shapes. It is not changed.
    onnx: also write the trained model as a file.
    Tensors are torch's where torch is installed, else numpy arrays.
    """
    tensors: Dict[str, Any] = {}

    def each(_: Any, name: bytes, role: bytes, tensor: Any, error: Any) -> int:
        try:
            if role != b"constant":
                tensors[name.decode()] = lib.tensor_array(tensor.contents)
            return lib.OK
        except Exception as e:
            return lib.fill(error, lib.INVALID, name.decode("utf-8", "replace"), str(e))

    options = {"key": os.fspath(key), "weights": os.fspath(weights), "onnx": os.fspath(onnx) if onnx else None}
    found = lib.call("amalgam_extract", lib.options(options), _passphrase(key, passphrase),
                     lib.TensorFunction(each), None)
    if found["key_is_loose"]:
        warnings.warn(f"{os.fspath(key)} may be read by others: chmod 600", stacklevel=2)
    note = json.loads(found["note"]) if found["note"] else None
    state = _state(tensors, note, found["steps"])
    return _as_torch(state if model is None else _like_model(state, model, found["steps"]))


def _passphrase(key: Path, given: Optional[str]) -> Optional[bytes]:
    if given is None and lib.needs_passphrase(key):
        raise AmalgamError("is protected by a passphrase", code="INVALID", where=os.fspath(key),
                           hint="give passphrase=…")
    return given.encode() if given is not None else None


def _state(tensors: Dict[str, Any], note: Any, steps: Optional[int]) -> Dict[str, Tuple[Any, str]]:
    """name -> (array, dtype) in the state_dict's order."""
    import numpy as np
    if note is None:
        return {n: (t, "float32") for n, t in tensors.items()}
    if note.get("format") != 1:
        raise AmalgamError(f"note of format {note.get('format')}, this package reads 1", code="UNSUPPORTED",
                           where="key")
    state: Dict[str, Tuple[Any, str]] = {}
    for name, kind, *rest in note["state"]:
        if kind == "tensor":
            if rest[0] not in tensors:
                raise AmalgamError(f"has no tensor \"{rest[0]}\"", code="NOT_FOUND", where="key")
            state[name] = (tensors[rest[0]], "float32")
        elif kind == "counter":
            state[name] = (np.array(rest[0] + (steps or 0) * rest[1], dtype=np.int64), "int64")
        else:
            state[name] = (_export.unpack(*rest), rest[0])
    return state


def _like_model(state: Dict[str, Tuple[Any, str]], model: Any, steps: Optional[int]) -> Dict[str, Any]:
    """The same in the model's order, with its own where the key knows nothing; names and shapes must agree."""
    own = model.state_dict()
    unknown = sorted(set(state) - set(own))
    if unknown:
        raise AmalgamError(f"the key's model has \"{unknown[0]}\", this one does not", code="MISMATCH",
                           where=type(model).__name__, hint="is it the model that the key was made with?")
    result: Dict[str, Any] = {}
    for name, t in own.items():
        if name not in state:
            counts = name.endswith("num_batches_tracked") and steps
            result[name] = t + steps if counts else t.clone()
        elif tuple(state[name][0].shape) != tuple(t.shape):
            raise AmalgamError(f"\"{name}\" is {list(t.shape)}, the key's model has {list(state[name][0].shape)}",
                               code="MISMATCH", where=type(model).__name__)
        else:
            result[name] = state[name]
    return result


def _as_torch(state: Dict[str, Any]) -> Dict[str, Any]:
    try:
        import torch
    except ImportError:
        return {n: v[0] if isinstance(v, tuple) else v for n, v in state.items()}
    from collections import OrderedDict
    result: Dict[str, Any] = OrderedDict()
    for name, value in state.items():
        if isinstance(value, tuple):
            array, dtype = value
            t = torch.from_numpy(array)
            value = t.view(torch.bfloat16) if dtype == "bfloat16" else t
        result[name] = value
    return result


def train(job: Union[Job, Path], *, progress: bool = True, **options: Any) -> Training:
    """Trains a job on this machine with the native engine, as amalgam-train does, and writes JOB/out/.

    options: batch, accumulate, epochs, max_steps, seed, optimizer ("sgd", "adam", "adamw", "rmsprop", "adagrad",
    "lion"), lr, momentum, nesterov, weight_decay, beta1, beta2, epsilon, alpha, centered, lr_decay,
    initial_accumulator, clip, label_smoothing, augment ("crop4", "hflip", "crop4,hflip"), schedule ("constant", "step", "cosine", "linear", "one-cycle",
    "plateau"), warmup, step_epochs, step_gamma, plateau_patience, plateau_factor, ema, best, early_stop,
    precision ("f32", "bf16"), threads, checkpoint_steps, resume.
    Ctrl-C leaves a checkpoint for resume=True.
    """
    watch = Watch(progress)
    with watch:
        made = _call_watched(watch, "amalgam_train_job", lib.encode(job), lib.options(options),
                             lib.byref(watch.progress))
    watch.check()
    return Training(made["weights"], made["steps"], made["seconds"], made["heads"])


@dataclass(frozen=True)
class Audit:
    """What an audit found. verdict: "pass", "FAIL", "report" (nothing could pass or fail) or "skipped" (nothing
    was measured). findings: docs/audit.md has their members. A passing audit is no proof."""
    verdict: str
    sentence: str
    candidates: int
    rows: int
    seconds: float
    findings: List[Dict[str, Any]]

    @property
    def passed(self) -> bool:
        return self.verdict == "pass"

    @property
    def failed(self) -> List[Dict[str, Any]]:
        return [f for f in self.findings if f["verdict"] == "FAIL"]

    def __str__(self) -> str:
        lines = [f"{self.rows:,} samples, {self.candidates} candidates, {self.seconds:.1f} s"]
        for f in self.findings:
            if "value" not in f or f["value"] == 0 and f["verdict"] == "pass":
                continue  # skipped, or one of many checks that found nothing
            interval = f" [{f['low']:.3f}, {f['high']:.3f}]" if "low" in f and "high" in f else ""
            chance = f"{f['chance']:.3f}" if "chance" in f else ""
            lines.append(f"{f['attack']:11} {f['value']:<6.3g}{interval:16} {chance:6} {f['verdict']:7} "
                         f"{f.get('metric', '')}")
        lines += [f"FAIL {f['attack']}: {f['text']}" for f in self.failed]
        return "\n".join([*lines, self.sentence])


def audit(job: Union[Job, Path], *, key: Optional[Path] = None, attacks: Optional[str] = None,
          aux: Sequence[Path] = (), source: Optional[Path] = None, other: Union[Job, Path, None] = None,
          secrets: Optional[int] = None, rows: Optional[int] = None, seed: Optional[int] = None,
          max_id: Optional[float] = None, html: Optional[Path] = None, passphrase: Optional[str] = None,
          progress: bool = True) -> Audit:
    """Plays the curious cloud against a job and says how far each attack comes beside a blind guess.

    key: scores the guesses; a Job brings its own. Without one you see what an attacker would guess.
    attacks: names with commas, or "all"; without it those that have what they need, but not "shadow".
    aux: DATA specs of what the cloud may have: public sets, your pool. other: an earlier job of the same data.
    source, secrets: of "shadow": the DATA spec that private samples and covers were parts of, jobs to make (60).
    rows: samples to look at (10,000). max_id: an identification rate that may pass.
    html: a page to write; it shows your data.
    """
    key = job.key if key is None and isinstance(job, Job) else key
    options = {"key": _as_text(key), "attacks": attacks, "aux": [_as_text(a) for a in aux], "source": _as_text(source),
               "other": _as_text(other), "secrets": secrets, "rows": rows, "seed": seed, "max_id": max_id,
               "html": _as_text(html)}
    secret = _passphrase(key, passphrase) if key is not None else None
    watch = Watch(progress)
    with watch:
        found = _call_watched(watch, "amalgam_audit", lib.encode(job), lib.options(options), secret,
                              lib.byref(watch.progress))
    watch.check()
    return Audit(found["verdict"], found["sentence"], found["candidates"], found["rows"], found["seconds"],
                 found["findings"])


def _as_text(path: Any) -> Optional[str]:
    return None if path is None else os.fspath(path)


def inspect(path: Union[Job, Path]) -> Dict[str, Any]:
    """What a job folder (the cloud's view), .onnx, .safetensors, .npy or key file holds. For a model that
    cannot be read: its operators, each with "covered", and "problem", the library's words."""
    try:
        return lib.call("amalgam_inspect", lib.encode(path))
    except AmalgamError as e:
        if e.code != "UNSUPPORTED" or not os.fspath(path).endswith(".onnx"):
            raise
        found = lib.call("amalgam_operators", lib.encode(path))
        return {"kind": "onnx model", "problem": str(e), **found}
