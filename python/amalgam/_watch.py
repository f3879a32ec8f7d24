"""Long calls of the library: Ctrl-C, progress. Consumes signals and the library's reports; shows a tqdm bar
where tqdm is installed, else a line every ten seconds, on stderr.

While the library works, Ctrl-C must not raise wherever Python happens to be: in a callback it would be lost or
leave a half-made answer. So it only sets a flag, the library stops cleanly at its next report and undoes what
it made, and KeyboardInterrupt is raised then. Only while the caller's own code runs (a Dataset's __getitem__)
does it raise at once, inside a try of ours.
"""
from __future__ import annotations

import math
import signal
import sys
import threading
import time
from typing import Any, Callable, Optional

from . import _library as lib


class Watch:
    """A context in which one library call runs. `progress` is for the call; after it, `check()`."""

    def __init__(self, show: bool) -> None:
        self.interrupted = False
        self.exception: Optional[BaseException] = None
        self._in_callers_code = False
        self._before: Any = None
        self._bar = _make_display(show)
        self._report = lib.ReportFunction(self._on_report)
        self.progress = lib.Progress(self._report, None)

    def __enter__(self) -> "Watch":
        if threading.current_thread() is threading.main_thread():
            before = signal.getsignal(signal.SIGINT)
            if callable(before):
                self._before = before
                signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, *_: Any) -> None:
        self._bar.close()
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _on_signal(self, signum: int, frame: Any) -> None:
        self.interrupted = True
        if self._in_callers_code:
            raise KeyboardInterrupt

    def callers_code(self, work: Callable[[], int]) -> Optional[int]:
        """work(), which may run code that is not ours; None if it raised, and then `exception` is what."""
        try:
            self._in_callers_code = True
            if self.interrupted:
                raise KeyboardInterrupt
            result = work()
            self._in_callers_code = False
            return result
        except BaseException as e:  # it goes on as a status through C, and is raised again after the call
            self._in_callers_code = False
            if self.exception is None:
                self.exception = e
            return None

    def _on_report(self, _: Any, event: Any) -> bool:
        if self.interrupted or self.exception is not None:
            return False
        self.callers_code(lambda: self._bar.show(event.contents))
        return self.exception is None

    def check(self) -> None:
        """Raises what happened in the caller's code, or KeyboardInterrupt."""
        if self.exception is not None:
            raise self.exception
        if self.interrupted:
            raise KeyboardInterrupt


class _Silent:
    def show(self, event: lib.Event) -> int:
        return 0

    def close(self) -> None:
        pass


def _describe(event: lib.Event) -> str:
    text = event.stage.decode()
    if event.num_epochs:
        text += f" epoch {event.epoch}/{event.num_epochs}"
        if event.loss == event.loss:
            text += f" loss {event.loss:.4f}"
            if event.predicts_tokens and event.loss < 700:
                text += f" perplexity {math.exp(event.loss):.2f}"
        if event.accuracy == event.accuracy:
            text += f" accuracy {100 * event.accuracy:.2f} %"
    return text


class _Lines(_Silent):
    def __init__(self) -> None:
        self._last = time.monotonic()

    def show(self, event: lib.Event) -> int:
        now = time.monotonic()
        if now - self._last >= 10:
            self._last = now
            print(f"amalgam: {_describe(event)}  {event.done}/{event.total}", file=sys.stderr, flush=True)
        return 0


class _Tqdm(_Silent):
    def __init__(self, tqdm: Any) -> None:
        self._tqdm = tqdm
        self._bar: Any = None
        self._stage = b""

    def show(self, event: lib.Event) -> int:
        if self._bar is None or event.stage != self._stage:
            self.close()
            self._stage = event.stage
            self._bar = self._tqdm(total=event.total, delay=1, leave=False, file=sys.stderr)
        self._bar.total = event.total
        self._bar.set_description_str(_describe(event), refresh=False)
        self._bar.update(max(0, event.done - self._bar.n))
        return 0

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _make_display(show: bool) -> Any:
    if not show:
        return _Silent()
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return _Lines()
    return _Tqdm(tqdm)
