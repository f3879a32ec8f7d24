"""The package's exceptions. Consumes the C library's error record or a message of our own; prints nothing."""
from __future__ import annotations

from typing import Optional


class AmalgamError(Exception):
    """What went wrong, as the C library or this package found it.

    code: its name, e.g. "MISMATCH" (include/amalgam/status.h lists them); where: the file, node, tensor or
    data set; offset: byte in that file, or None; hint: what you can do, or "".
    """

    def __init__(self, what: str, *, code: str = "INVALID", where: str = "", offset: Optional[int] = None,
                 hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.code = code
        self.where = where
        self.offset = offset
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        if self.offset is not None:
            text += f" (at byte {self.offset})"
        return f"{text}\nhint: {self.hint}" if self.hint else text


class WrongKeyError(AmalgamError):
    """The key file is not the job's, is damaged, or its passphrase is another one. Which of it, nothing tells."""


class DataError(AmalgamError):
    """A data set, or one row of it, cannot be used."""


class ExportError(AmalgamError):
    """The module cannot go through: `where` names the submodule."""
