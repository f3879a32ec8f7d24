"""libamalgam through ctypes: its structs, its functions, its errors. Consumes Python values, produces JSON
objects or exceptions; knows nothing of torch or of data sets.

The library is found, in this order: $AMALGAM_LIBRARY, beside this file (a wheel), where the system looks.
"""
from __future__ import annotations

import ctypes
import functools
import json
import os
from ctypes import (CFUNCTYPE, POINTER, Structure, byref, c_bool, c_char, c_char_p, c_double, c_int, c_int64,
                    c_size_t, c_void_p)
from typing import Any

from ._errors import AmalgamError, WrongKeyError

MAX_RANK = 8
OK, INVALID, INTERRUPTED = 0, 9, 15


class Error(Structure):
    """amg_error"""
    _fields_ = [("code", c_int), ("offset", c_int64), ("where", c_char * 256), ("what", c_char * 512),
                ("hint", c_char * 256)]


class Event(Structure):
    """amg_progress_event"""
    _fields_ = [("stage", c_char_p), ("done", c_int64), ("total", c_int64), ("epoch", c_int64),
                ("num_epochs", c_int64), ("loss", c_double), ("accuracy", c_double),
                ("per_second", c_double), ("end_of_epoch", c_bool), ("predicts_tokens", c_bool)]


ReportFunction = CFUNCTYPE(c_bool, c_void_p, POINTER(Event))


class Progress(Structure):
    """amg_progress"""
    _fields_ = [("report", ReportFunction), ("context", c_void_p)]


class Tensor(Structure):
    """amalgam_tensor"""
    _fields_ = [("dtype", c_char_p), ("rank", c_int), ("dims", c_int64 * MAX_RANK), ("data", c_void_p),
                ("size_bytes", c_size_t)]


ReadFunction = CFUNCTYPE(c_int, c_void_p, POINTER(c_int64), c_int64, c_void_p, c_void_p, POINTER(Error))
TensorFunction = CFUNCTYPE(c_int, c_void_p, c_char_p, c_char_p, POINTER(Tensor), POINTER(Error))


class Dataset(Structure):
    """amalgam_dataset"""
    _fields_ = [("source", c_char_p), ("dtype", c_char_p), ("rank", c_int), ("dims", c_int64 * MAX_RANK),
                ("num_samples", c_int64), ("num_classes", c_int64), ("target_dtype", c_char_p),
                ("target_rank", c_int), ("target_dims", c_int64 * MAX_RANK), ("vocab_size", c_int64),
                ("pad", c_int64), ("stride", c_int64), ("context", c_void_p), ("read", ReadFunction)]


class Data(Structure):
    """amalgam_data"""
    _fields_ = [("spec", c_char_p), ("dataset", POINTER(Dataset))]


class Datasets(Structure):
    """amalgam_datasets"""
    _fields_ = [("train", Data), ("val", Data), ("covers", Data), ("val_covers", Data)]


class Owner(Structure):
    """amalgam_owner"""
    _fields_ = [("options", c_char_p), ("passphrase", c_char_p), ("data", Datasets)]


_SIGNATURES = {
    "amalgam_version": (c_char_p, []),
    "amalgam_free": (None, [c_void_p]),
    "amalgam_status_name": (c_char_p, [c_int]),
    "amalgam_status_text": (c_char_p, [c_int]),
    "amalgam_obfuscate": (c_int, [c_char_p, c_char_p, POINTER(Datasets), POINTER(Progress), POINTER(c_void_p),
                                  POINTER(Error)]),
    "amalgam_pack": (c_int, [c_char_p, c_int, POINTER(Owner), POINTER(Progress), POINTER(c_void_p), POINTER(Error)]),
    "amalgam_extract": (c_int, [c_char_p, c_char_p, TensorFunction, c_void_p, POINTER(c_void_p),
                                POINTER(Error)]),
    "amalgam_key_needs_passphrase": (c_int, [c_char_p, POINTER(c_bool), POINTER(Error)]),
    "amalgam_train_job": (c_int, [c_char_p, c_char_p, POINTER(Progress), POINTER(c_void_p), POINTER(Error)]),
    "amalgam_audit": (c_int, [c_char_p, c_char_p, c_char_p, POINTER(Progress), POINTER(c_void_p), POINTER(Error)]),
    "amalgam_run": (c_int, [c_char_p, POINTER(Tensor), POINTER(Tensor), POINTER(Error)]),
    "amalgam_inspect": (c_int, [c_char_p, POINTER(c_void_p), POINTER(Error)]),
    "amalgam_operators": (c_int, [c_char_p, POINTER(c_void_p), POINTER(Error)]),
    "amalgam_data_info": (c_int, [c_char_p, POINTER(c_void_p), POINTER(Error)]),
    "amalgam_zoo": (c_int, [c_char_p, POINTER(c_void_p), POINTER(Error)]),
}


def _find() -> str:
    chosen = os.environ.get("AMALGAM_LIBRARY")
    if chosen:
        return chosen
    bundled = os.path.join(os.path.dirname(os.path.abspath(__file__)), "libamalgam.so")
    return bundled if os.path.exists(bundled) else "libamalgam.so"


@functools.lru_cache(maxsize=None)
def library() -> ctypes.CDLL:
    """The loaded library, its functions typed."""
    path = _find()
    try:
        loaded = ctypes.CDLL(path)
    except OSError as e:
        raise AmalgamError(f"cannot load libamalgam: {e}", code="IO", where=path,
                           hint="pip install . builds it; AMALGAM_LIBRARY names one that is elsewhere") from e
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


def version() -> str:
    return library().amalgam_version().decode()


def exception(error: Error) -> AmalgamError:
    """The exception that a filled amg_error stands for."""
    def text(raw: bytes) -> str:
        return raw.decode("utf-8", "replace")
    code = library().amalgam_status_name(error.code).decode()
    what = text(error.what) or library().amalgam_status_text(error.code).decode()
    kind = WrongKeyError if code == "BAD_KEY" else AmalgamError
    # An error that was never filled has offset 0 and says nothing about a byte.
    offset = error.offset if error.offset >= 0 and error.what else None
    return kind(what, code=code, where=text(error.where), offset=offset, hint=text(error.hint))


def fill(error: "ctypes._Pointer[Error]", code: int, where: str, what: str) -> int:
    """Fills the record that a callback was given; returns code."""
    if error:
        record = error.contents
        record.code, record.offset = code, -1
        record.where, record.what = _cut(where, 255), _cut(what, 511)
    return code


def _cut(text: str, limit: int) -> bytes:
    return text.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore").encode()


def encode(path: Any) -> bytes:
    """A path or text as the library takes it."""
    raw = os.fsencode(path)
    if b"\0" in raw:
        raise AmalgamError("holds a NUL", where=repr(path))
    return raw


def options(values: "dict[str, Any]") -> bytes:
    """Options as JSON; what is None is left out."""
    return json.dumps({k: v for k, v in values.items() if v is not None}).encode()


def call(function: str, *arguments: Any) -> Any:
    """Calls FUNCTION(arguments…, char **result, amg_error *err); the result's JSON as an object."""
    text, error = c_void_p(), Error()
    if getattr(library(), function)(*arguments, byref(text), byref(error)) != OK:
        raise exception(error)
    try:
        return json.loads(ctypes.string_at(text).decode())
    finally:
        library().amalgam_free(text)


def needs_passphrase(key: Any) -> bool:
    needs, error = c_bool(), Error()
    if library().amalgam_key_needs_passphrase(encode(key), byref(needs), byref(error)) != OK:
        raise exception(error)
    return needs.value


def run(model: Any, dtype: str, array: Any) -> Any:
    """A model's forward pass in inference form on one batch: a numpy array, C-contiguous, of that dtype."""
    import numpy as np
    given, found, error = Tensor(dtype.encode(), array.ndim), Tensor(), Error()
    given.dims[:array.ndim] = array.shape
    given.data, given.size_bytes = array.ctypes.data, array.nbytes
    if library().amalgam_run(encode(model), byref(given), byref(found), byref(error)) != OK:
        raise exception(error)
    try:
        flat = np.frombuffer(ctypes.string_at(found.data, found.size_bytes), dtype=np.float32)
        return flat.reshape(found.dims[:found.rank])
    finally:
        library().amalgam_free(found.data)


def tensor_array(tensor: Tensor) -> Any:
    """A copy of a tensor of the library's as a numpy array."""
    import numpy as np
    types = {"F32": "<f4", "F64": "<f8", "U8": "|u1", "I8": "|i1", "I32": "<i4", "I64": "<i8", "BOOL": "|b1"}
    raw = ctypes.string_at(tensor.data, tensor.size_bytes) if tensor.size_bytes else b""
    return np.frombuffer(raw, dtype=types[tensor.dtype.decode()]).reshape(tensor.dims[:tensor.rank]).copy()


