"""Python's log lines in the current trace."""

from __future__ import annotations

import logging

from wbpf._native import enabled, log


class LogHandler(logging.Handler):
    """Records log lines, with their severities in OpenTelemetry's numbers.

    It formats as any handler does; the default is the message and a traceback.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Record one line."""
        level = severity(record.levelno)
        if not enabled(level):
            return
        try:
            log(self.format(record), level)
        except Exception:  # noqa: BLE001 - as logging asks: a line that can't be formatted is its business
            self.handleError(record)


def severity(levelno: int) -> int:
    """OpenTelemetry's severity number of a level of `logging`: four steps to each of its ten.

    https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber
    """
    return max(1, min(24, 1 + levelno * 4 // 10))
