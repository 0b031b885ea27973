"""Gathered traces in the formats of other tools."""

from wbpf.export.formats import DEFAULT, FORMATS, Format, export, format_of
from wbpf.export.plain import plain_fields, plain_trace, plain_value, record_id

__all__ = [
    "DEFAULT",
    "FORMATS",
    "Format",
    "export",
    "format_of",
    "plain_fields",
    "plain_trace",
    "plain_value",
    "record_id",
]
