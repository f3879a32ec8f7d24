"""Amalgam: train on rented machines without handing over the model or the data.

    job = amalgam.obfuscate(model, train, val, decoys_from=covers, key="job.key", out="job")
    report = amalgam.audit(job)             # what the cloud can learn; print(report)
    # … the cloud trains job/ …
    model.load_state_dict(amalgam.extract("job.key", "job/out/weights.safetensors"))

docs/pytorch.md is the guide. Importing this imports neither torch nor numpy.
"""
from ._api import Audit, Job, Owner, Packed, Training, audit, extract, inspect, obfuscate, pack, train
from ._errors import AmalgamError, DataError, ExportError, WrongKeyError

__all__ = ["AmalgamError", "Audit", "DataError", "ExportError", "Job", "Owner", "Packed", "Training", "WrongKeyError",
           "audit", "extract", "inspect", "obfuscate", "pack", "train"]


def __getattr__(name: str) -> str:
    if name == "__version__":
        from ._library import version
        return version()
    raise AttributeError(f"module 'amalgam' has no attribute {name!r}")
