"""Data sets of Python's as the library takes them: a function that gives rows by number, nothing loaded whole.
Consumes whatever holds samples; produces Rows, which fill the library's buffers and name the row that is wrong.
Knows torch and `datasets` by what their objects can do, and imports none of them.

    str, PathLike            a DATA spec (docs/datasets.md): the library reads it itself
    (x, y), x                numpy arrays, memory maps or tensors; x alone where there is no target
    TensorDataset            the same
    Subset                   rows of another one
    anything with [i], len   items (x, y), [x, y] or x; PIL images become uint8 [C,H,W]
    Hugging Face datasets    with columns=("image", "label")
    x of whole numbers       with tokens=True: windows [L+1]; or one long row of them, cut into such

Where a module takes several inputs, x is a tuple of them or a dict by their names; so is y of one that gives several
outputs. (x1, x2, y) stands for ((x1, x2), y), and (x, y1, y2) for (x, (y1, y2)) where forward takes one argument.
"""
from __future__ import annotations

import ctypes
import os
from typing import Any, List, Optional, Sequence, Tuple, Union

from . import _library as lib
from ._arrays import find_sides, is_array, leaves, row_of, storage, to_array, unwrap
from ._errors import DataError
from ._parts import Part, Several, for_module, merge, order, split_item, split_target
from ._watch import Watch

NUMPY = {"U8": "|u1", "F32": "<f4", "I32": "<i4"}


class Windows:
    """A text as one row of tokens, cut into windows of seq + 1: each begins stride behind the one before."""

    def __init__(self, stream: Any, seq: int, stride: int) -> None:
        self.stream, self.seq, self.stride = stream, seq, stride

    def __len__(self) -> int:
        return max(0, (len(self.stream) - self.seq - 1) // self.stride + 1)

    def __getitem__(self, i: int) -> Any:
        return self.stream[i * self.stride:i * self.stride + self.seq + 1]


class Rows:
    """A data set whose shapes and types are those of its first row. inputs, targets: what a sample consists of; names,
    target_names: what it calls them, or (); dtype, shape, target_dtype (None: no targets), target_shape: what the library
    reads, where they are several one vector of all. tokens: samples are tokens, whatever integer type they come in.
    takes: how many inputs the model has at most, None: not known."""

    def __init__(self, name: str, data: Any, columns: Optional[Sequence[str]], tokens: bool = False,
                 takes: Optional[int] = None) -> None:
        self.name, self.tokens, self.takes = name, tokens, takes
        self.vocab, self.pad = 0, -1
        self.base, self.indices = unwrap(data)
        self.columns = tuple(columns) if columns else None
        self.arrays = find_sides(self.base)
        self.num = len(self.indices) if self.indices is not None else self._length()
        if self.num < 1:
            raise DataError("has no samples", where=name)
        self.num_classes = 0
        self.names: Tuple[str, ...] = ()
        self.inputs: List[Part] = []
        xs, self.first_target = self._sides_of(0, self._items([0])[0])
        self._describe(xs)
        self.target_dtype: Optional[str] = None
        self.target_shape: Tuple[int, ...] = ()
        self.expect(())

    def _describe(self, xs: List[Any]) -> None:
        """Of the first row: what a sample consists of, and what the library gets of it."""
        self.merged = len(xs) > 1
        self.inputs = self._parts("input", self.names, xs) if self.merged else [
            Part("sample", self._type(xs[0], 0), xs[0].shape)]
        self.dtype, self.shape = self.inputs[0].dtype, self.inputs[0].shape
        if self.merged:
            self.dtype, self.shape = "F32", (sum(x.size for x in xs),)

    def _parts(self, word: str, names: Sequence[str], arrays: List[Any]) -> List[Part]:
        labels = [f'{word} "{n}"' for n in names] or [f"{word} {i + 1}" for i in range(len(arrays))]
        return [Part(label, self._type(a, 0, bools=True), a.shape) for label, a in zip(labels, arrays)]

    def expect(self, outputs: Sequence[str]) -> None:
        """Of the first row: what its targets are for a model of these outputs, which is not known before: (5, 7) are
        two targets or one. (): not known yet."""
        self.outputs, self.targets, self.target_names = tuple(outputs), [], ()
        if self.first_target is None:
            return
        given = split_target(self.first_target, outputs)
        by_name = set(given.names) == set(outputs)
        self.target_names: Tuple[str, ...] = self.outputs if by_name else given.names
        ys = self._to_arrays(0, order(given, self.target_names))
        self.targets = self._parts("target", self.target_names, ys)
        self.target_dtype, self.target_shape = "F32", (sum(y.size for y in ys),)
        if len(ys) == 1:
            self.target_dtype, self.target_shape = "F32" if ys[0].dtype.kind == "f" else "I32", ys[0].shape

    def arrange(self, names: Sequence[str]) -> None:
        """Named inputs in that order from now on."""
        self.inputs = [self.inputs[self.names.index(n)] for n in names]
        self.names = tuple(names)

    def _length(self) -> int:
        if self.arrays is not None:
            lengths = {len(a) for side in self.arrays for a in leaves(side)}
            if len(lengths) != 1:
                raise DataError(f"samples and targets differ in number: {sorted(lengths)}", where=self.name)
            return lengths.pop()
        if hasattr(self.base, "dataset") and hasattr(self.base, "batch_size"):
            raise DataError(f"{type(self.base).__name__} gives batches, expected samples", where=self.name,
                            hint="its data set, loader.dataset: batches and their order are the training's options")
        try:
            return len(self.base)
        except TypeError:
            raise DataError(f"{type(self.base).__name__} has no length", where=self.name,
                            hint="a data set with len() and [i] is needed, not a stream") from None

    def _fail(self, row: int, what: str, code: str = "MISMATCH", hint: str = "") -> DataError:
        return DataError(f"row {row}: {what}", code=code, where=self.name, hint=hint)

    def _type(self, array: Any, row: int, bools: bool = False) -> str:
        """bools: they are a type of their own."""
        try:
            kind = storage(array.dtype)
            if bools and array.dtype.kind == "b":
                return "BOOL"
            return "I32" if self.tokens and kind == "U8" else kind
        except TypeError as e:
            raise self._fail(row, f"{e} cannot be used, expected numbers", "UNSUPPORTED",
                             "columns=(\"image\", \"label\") chooses columns; apply your transform first") from None

    def _items(self, rows: Sequence[int]) -> List[Any]:
        """The items as the data set gives them, all at once where it can."""
        at = [int(self.indices[r]) for r in rows] if self.indices is not None else [int(r) for r in rows]
        if self.arrays is not None:
            return [tuple(row_of(side, i) for side in self.arrays) for i in at]
        if self.columns and hasattr(self.base, "column_names"):
            for column in self.columns:
                if column not in self.base.column_names:
                    raise DataError(f"has no column \"{column}\"", code="NOT_FOUND", where=self.name,
                                    hint=f"columns: {', '.join(self.base.column_names)}")
            block = self.base[at]
            return list(zip(*(block[c] for c in self.columns)))
        if hasattr(self.base, "column_names"):
            raise DataError("columns are not chosen", where=self.name,
                            hint=f"columns=(x, y) out of {', '.join(self.base.column_names)}")
        return [self._item(row, i) for row, i in zip(rows, at)]

    def _item(self, row: int, index: int) -> Any:
        try:
            return self.base[index]
        except Exception as e:
            raise self._fail(row, f"the data set raised {type(e).__name__}: {e}", "IO") from e

    def _sides_of(self, row: int, item: Any) -> Tuple[List[Any], Any]:
        """([x, …], what it has as targets or None) of one item."""
        if isinstance(item, dict) and self.columns:
            item = tuple(item[c] for c in self.columns)
        if isinstance(item, dict):
            raise self._fail(row, f"is a dict of {', '.join(map(str, item))}", "UNSUPPORTED",
                             "columns=(x, y) or (x1, x2, y) chooses some of them; a module's inputs by name are "
                             "({name: x, …}, y)")
        parts = split_item(item, self.takes)
        if parts is None:
            raise self._fail(row, "has 0 parts, expected (x, y) or x", "UNSUPPORTED")
        x, y = parts
        given = x if isinstance(x, Several) else Several((x,))
        if not self.inputs:
            self.names = given.names
        else:
            self._check_form(row, "inputs", given, Several(tuple(self.inputs), self.names))
        return self._to_arrays(row, order(given, self.names)), y

    def _check_form(self, row: int, word: str, given: Several, first: Several) -> None:
        if set(given.names) != set(first.names) or len(given.arrays) != len(first.arrays):
            raise self._fail(row, f"sample has {word} {given}, the first one {first}")

    def _to_arrays(self, row: int, values: List[Any]) -> List[Any]:
        try:
            return [to_array(v) for v in values]
        except (TypeError, ValueError) as e:
            raise self._fail(row, str(e), "UNSUPPORTED") from e

    def check_inputs(self, row: int, xs: List[Any]) -> List[Any]:
        """xs in their stored types, or DataError."""
        if self.merged:
            return self._check_parts(row, self.inputs, xs)
        fail = self._failing(row)
        checked = [self.inputs[0].check(xs[0], self._type(xs[0], row), fail)]
        x = checked[0]
        if self.vocab and self.dtype == "I32" and x.size and (x.min() < 0 or x.max() >= self.vocab):
            worst = int(x.min()) if x.min() < 0 else int(x.max())
            raise fail(f"token {worst}, expected 0 to {self.vocab - 1}", "INVALID",
                       "the model gives a logit for each token of its vocabulary")
        return checked

    def _failing(self, row: int) -> Any:
        def fail(what: str, code: str = "MISMATCH", hint: str = "") -> DataError:
            return self._fail(row, what, code, hint)
        return fail

    def _check_parts(self, row: int, parts: List[Part], arrays: List[Any]) -> List[Any]:
        """Several inputs, or several targets, of a row, as floats hold them."""
        fail = self._failing(row)
        return [p.check_exact(p.check(a, self._type(a, row, bools=True), fail), fail) for p, a in zip(parts, arrays)]

    def check_sample(self, row: int, xs: List[Any]) -> Any:
        """What the library reads of a row, or DataError."""
        checked = self.check_inputs(row, xs)
        if not self.merged:
            return checked[0]
        return merge([for_module(x[None], i.dtype) for i, x in zip(self.inputs, checked)])[0]

    def check_targets(self, row: int, given: Any) -> Any:
        """What the library reads of a row's targets, or DataError."""
        if given is None:
            raise self._fail(row, "has no target, the first row had one")
        several = split_target(given, self.outputs)
        self._check_form(row, "targets", several, Several(tuple(self.targets), self.target_names))
        ys = self._to_arrays(row, order(several, self.target_names))
        if len(ys) == 1:
            return self._check_target(row, ys[0])
        return merge([y[None] for y in self._check_parts(row, self.targets, ys)])[0]

    def _check_target(self, row: int, y: Any) -> Any:
        """y in the stored type, or DataError."""
        import numpy as np
        if y.shape != self.target_shape:
            raise self._fail(row, f"target is {list(y.shape)}, the first one {list(self.target_shape)}")
        if self.target_dtype == "F32":
            y = y.astype(np.float32, copy=False)
            if not np.isfinite(y).all():
                raise self._fail(row, "target holds NaN or infinity", "NOT_FINITE")
            return y
        if y.dtype.kind == "f":
            raise self._fail(row, f"target is {y.dtype}, the first one was a class label")
        top = self.num_classes or 2 ** 31
        if y.size and (y.min() < 0 or y.max() >= top):
            worst = int(y.min()) if y.min() < 0 else int(y.max())
            raise self._fail(row, f"label {worst}, expected 0 to {top - 1}", "INVALID",
                             "the model's last layer needs one output for each class")
        return y.astype(np.int32, copy=False)

    def samples(self, rows: Sequence[int]) -> List[Any]:
        """Samples, checked: of each input a numpy array of its stored type."""
        import numpy as np
        checked = [self.check_inputs(r, self._sides_of(r, i)[0]) for r, i in zip(rows, self._items(rows))]
        return [np.stack(column) for column in zip(*checked)]

    def write(self, rows: Sequence[int], x: Optional[int], y: Optional[int]) -> int:
        """Rows into the library's buffers, given by address."""
        want_y = y and self.target_dtype is not None
        into_x = _view(x, self.dtype, (len(rows), *self.shape)) if x else None
        into_y = _view(y, self.target_dtype, (len(rows), *self.target_shape)) if want_y else None
        for at, (row, item) in enumerate(zip(rows, self._items(rows))):
            sample, target = self._sides_of(row, item)
            if into_x is not None:
                into_x[at, ...] = self.check_sample(row, sample)
            if into_y is not None:
                into_y[at, ...] = self.check_targets(row, target)
        return lib.OK

    def _stride(self) -> int:
        """How far windows that follow each other are apart; 0 where rows are a choice of them, or none."""
        return self.base.stride if isinstance(self.base, Windows) and self.indices is None else 0

    def struct(self, watch: Watch) -> lib.Dataset:
        """amalgam_dataset; lives as long as it is referenced, and `watch` beside it."""
        def read(_: Any, rows: Any, num: int, x: Any, y: Any, error: Any) -> int:
            if watch.callers_code(lambda: self.write(rows[:num], x, y)) == lib.OK:
                return lib.OK
            e = watch.exception
            if isinstance(e, KeyboardInterrupt):
                return lib.fill(error, lib.INTERRUPTED, self.name, "stopped on request")
            return lib.fill(error, lib.INVALID, self.name, f"{type(e).__name__}: {e}")
        made = lib.Dataset(source=self.name.encode(), dtype=self.dtype.encode(), rank=len(self.shape),
                           num_samples=self.num,
                           num_classes=self.num_classes if self.target_dtype == "I32" else 0,
                           target_dtype=self.target_dtype.encode() if self.target_dtype else None,
                           target_rank=len(self.target_shape), vocab_size=self.vocab, pad=self.pad,
                           stride=self._stride(), read=lib.ReadFunction(read))
        made.dims[:len(self.shape)] = self.shape
        made.target_dims[:len(self.target_shape)] = self.target_shape
        return made


def _view(address: int, dtype: Optional[str], shape: Tuple[int, ...]) -> Any:
    """The library's memory as a numpy array to write to."""
    import numpy as np
    count = 1
    for d in shape:
        count *= d
    itemsize = np.dtype(NUMPY[dtype or "F32"]).itemsize
    raw = (ctypes.c_char * (count * itemsize)).from_address(address)
    return np.frombuffer(raw, dtype=NUMPY[dtype or "F32"]).reshape(shape)


def open_data(data: Any, name: str, columns: Optional[Sequence[str]],
              takes: Optional[int] = None) -> Union[None, str, Rows]:
    """None, a DATA spec, or Rows. takes: as Rows has it."""
    if data is None:
        return None
    if isinstance(data, (str, os.PathLike)):
        return os.fspath(data)
    return Rows(name, data, columns, takes=takes)


def open_tokens(data: Any, name: str, columns: Optional[Sequence[str]], seq: Optional[int],
                stride: Optional[int]) -> Union[None, str, Rows]:
    """The same for a language model: Rows are windows of seq + 1 tokens without targets."""
    if data is None or isinstance(data, (str, os.PathLike)):
        return open_data(data, name, columns)
    arrays = find_sides(data)
    if arrays and len(arrays) == 1 and is_array(arrays[0]) and len(arrays[0].shape) == 1:
        if not seq:
            raise DataError("is one row of tokens, and it is not said how many the model takes", where=name,
                            hint="seq=…, or windows of that many tokens and the next")
        data = Windows(arrays[0], seq, stride or seq)
    rows = Rows(name, data, columns, tokens=True)
    if rows.target_dtype is not None:
        raise DataError("has targets; a language model learns the next token of samples alone", where=name)
    if rows.merged:
        raise DataError(f"samples have {len(rows.inputs)} inputs; a language model reads tokens alone", where=name,
                        code="UNSUPPORTED")
    if rows.dtype != "I32" or len(rows.shape) != 1 or rows.shape[0] < 3:
        raise DataError(f"samples are {rows.dtype}{list(rows.shape)}, expected windows of whole numbers, the "
                        "model's tokens and the one after them", where=name, code="MISMATCH")
    if seq and rows.shape[0] != seq + 1:
        raise DataError(f"windows are of {rows.shape[0]} tokens, expected {seq + 1}: seq and the one after them",
                        where=name, code="MISMATCH")
    return rows


def check_disjoint(own: Any, covers: Any) -> None:
    """The same rows on both sides would give the own stream away."""
    import numpy as np
    if not (isinstance(own, Rows) and isinstance(covers, Rows)):
        return
    if getattr(own.base, "stream", own.base) is not getattr(covers.base, "stream", covers.base):
        return
    sets = [np.arange(r.num) if r.indices is None else r.indices for r in (own, covers)]
    shared = np.intersect1d(*sets)
    if shared.size:
        raise DataError(f"shares {shared.size} sample{'s' * (shared.size != 1)} with {own.name}, e.g. its row {int(shared[0])}",
                        where=covers.name,
                        hint="split at random: torch.utils.data.random_split(dataset, [0.5, 0.5])")
