"""Write docs/licences.md from what is installed; `--check` says instead whether it is stale.

    python tools/licences.py [--check]

Fails when a package that users install has a licence that is not known to go with Apache-2.0 code.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, distribution, metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/licences.md"
# What packages call permissive licences, and the file-level copyleft that asks nothing of an importer.
ACCEPTED = re.compile(r"\b(apache|mit|bsd|isc|psf|cc0|unlicense|public domain|zlib|mpl[- ]2)", re.IGNORECASE)


def licence_of(package: str) -> str:
    """What a package's metadata says of its licence, in a few words."""
    fields = metadata(package)
    for name in ("License-Expression", "License"):
        text = " ".join(fields.get_all(name) or [])
        if text and len(text) < 60 and text.upper() != "UNKNOWN":
            return text
    classifiers = fields.get_all("Classifier") or []
    return ", ".join(text.split(" :: ")[-1] for text in classifiers if text.startswith("License"))


def closure(requirements: list[str], extra: str = "") -> set[str]:
    """The installed packages that requirements name, directly or through others."""
    found: set[str] = set()
    todo = [(text, extra) for text in requirements]
    while todo:
        text, wanted = todo.pop()
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate({"extra": wanted}):
            continue
        try:
            needs = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        if name not in found:
            found.add(name)
            todo += [(need, extra) for extra in ["", *requirement.extras] for need in needs]
    return found


def table(packages: set[str]) -> list[str]:
    return [
        "| package | licence |",
        "|---|---|",
        *(f"| {name} | {licence_of(name)} |" for name in sorted(packages)),
        "",
    ]


def main() -> int:
    own = distribution("wbpf")
    requirements = own.requires or []
    shipped = closure(requirements)
    lines = [
        "<!-- made by tools/licences.py: do not edit -->",
        "# Licences of what wBPF stands on",
        "",
        "wBPF itself is under the [Apache License 2.0](../LICENSE). It holds no source of other projects:",
        "these packages are installed beside it. What their metadata says:",
        "",
        "## Always installed",
        "",
        *table(shipped),
    ]
    for extra in sorted(own.metadata.get_all("Provides-Extra") or []):
        more = closure(requirements, extra) - shipped
        lines += [f"## With the extra `[{extra}]`", "", *table(more)]
        shipped |= more
    compiled = closure(["nanobind"])
    lines += ["## Compiled in", "", *table(compiled)]
    locked = re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    developers = {name for name in locked if closure([name])} - shipped - compiled
    lines += ["## For developers only", "", *table(developers)]
    text = "\n".join(lines).rstrip() + "\n"

    refused = {name: licence_of(name) for name in shipped | compiled if not ACCEPTED.search(licence_of(name))}
    if refused:
        print(f"not known to go with Apache-2.0: {refused}", file=sys.stderr)
        return 1
    if "--check" in sys.argv[1:]:
        if PAGE.exists() and PAGE.read_text() == text:
            return 0
        print("docs/licences.md is stale: make it with `make generate`", file=sys.stderr)
        return 1
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
