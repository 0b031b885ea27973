"""What a daemon is: opened, served until told to stop, closed; alone in a process or inside another one."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from wbpf.errors import AccessError, ConfigError

T = TypeVar("T")
LOG = logging.getLogger("wbpf")


class Daemon(ABC):
    """A daemon: embedded with `start()` and `stop()` (or `with`), or with a process to itself in `run()`."""

    name: str

    def __init__(self) -> None:
        self._work: list[asyncio.Task[Any]] = []
        self.failed: asyncio.Event | None = None

    def work(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Do something in the background until `close()`. A daemon does not go on when it fails."""
        if self.failed is None:
            self.failed = asyncio.Event()
        task = asyncio.ensure_future(coroutine)
        self._work.append(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if task in self._work:
            self._work.remove(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            LOG.critical("a task failed", exc_info=error, extra={"fields": {"daemon": self.name}})
            if self.failed is not None:
                self.failed.set()

    async def end_work(self) -> None:
        """Cancel what is done in the background."""
        for task in list(self._work):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task

    @abstractmethod
    async def open(self) -> None:
        """Bind, connect, begin to work.

        Raises:
            WbpfError: it can't.
        """

    @abstractmethod
    async def close(self) -> None:
        """Give everything back. Also after an `open()` that failed half-way."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What a program that started this daemon wants to know: addresses, paths."""

    def start(self) -> Self:
        """Open it on a thread of its own and return when it works.

        Raises:
            WbpfError: it can't be opened.
        """
        _loop().run(self._open_or_close())
        return self

    def stop(self) -> None:
        """Close it."""
        _loop().run(self.close())

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def _open_or_close(self) -> None:
        try:
            await self.open()
        except BaseException:
            await self.close()
            raise

    def run(self, when_ready: Callable[[], None] = lambda: None, with_stdin: bool = False) -> int:
        """Serve until SIGTERM or Ctrl-C.

        Args:
            when_ready: called when the daemon works.
            with_stdin: stop also when standard input ends: with the process that holds its other end.

        Returns:
            Exit status.

        Raises:
            WbpfError: it can't be opened.
        """
        with contextlib.suppress(OSError):  # what `ps` and `top` show; the kernel keeps 15 characters
            Path("/proc/self/comm").write_text(f"wbpf-{self.name}")
        try:
            return asyncio.run(self._serve(when_ready, with_stdin))
        except KeyboardInterrupt:
            return 130

    async def _serve(self, when_ready: Callable[[], None], with_stdin: bool) -> int:
        loop = asyncio.get_running_loop()
        stopped, self.failed = asyncio.Event(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
        if with_stdin:
            _when_stdin_ends(lambda: loop.call_soon_threadsafe(stopped.set))
        await self._open_or_close()
        try:
            when_ready()
            # What was made so far lives as long as the process: no need to look at it in every collection.
            gc.collect()
            gc.freeze()
            ends = [asyncio.ensure_future(event.wait()) for event in (stopped, self.failed)]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for end in ends:
                end.cancel()
            return 1 if self.failed.is_set() else 0
        finally:
            gc.unfreeze()
            await self.close()


def _when_stdin_ends(then: Any) -> None:
    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            then()

    threading.Thread(target=watch, name="stdin", daemon=True).start()


def write_ready_file(path: Path, facts: Mapping[str, Any]) -> None:
    """Write facts as JSON, so that a reader sees all or nothing.

    Raises:
        ConfigError, AccessError: the file can't be written.
    """
    try:
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            json.dump(facts, file)
        Path(file.name).replace(path)
    except PermissionError as error:
        raise AccessError(f"ready file {path} can't be written", "permission denied") from error
    except OSError as error:
        raise ConfigError(f"ready file {path} can't be written", error.strerror or str(error)) from error


class _Loop:
    """One event loop on one thread, for all daemons embedded in this process."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wbpf-daemons", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


_LOOPS: dict[int, _Loop] = {}
_LOCK = threading.Lock()


def _loop() -> _Loop:
    with _LOCK:
        if os.getpid() not in _LOOPS:  # a forked child has no thread that runs its parent's loop
            _LOOPS[os.getpid()] = _Loop()
        return _LOOPS[os.getpid()]


class LineFormatter(logging.Formatter):
    """One line an entry: time, level, logger, message, and the fields given as `extra={"fields": {...}}`."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = getattr(record, "fields", {})
        if record.exc_info:
            fields = {**fields, "exception": self.formatException(record.exc_info)}
        pairs = [
            ("time", self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}"),
            ("level", record.levelname.lower()),
            ("logger", record.name),
            ("message", record.getMessage()),
            *fields.items(),
        ]
        return " ".join(f"{key}={_quoted(value)}" for key, value in pairs)


def _quoted(value: object) -> str:
    text = str(value)
    return text if text and not set(text) & set(' "=\n\t') else json.dumps(text, ensure_ascii=False)


def log_to_stderr(level: str = "warning") -> None:
    """Set the process's logging up.

    Raises:
        ConfigError: there is no such level.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ConfigError(f"log level {level!r} can't be used", "", "use debug, info, warning or error")
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=number, handlers=[handler], force=True)
    for noisy in ("asyncio", "grpc"):
        logging.getLogger(noisy).setLevel(max(number, logging.WARNING))
