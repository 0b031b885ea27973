"""Who may import whom: the contract types that [tool.importlinter] in pyproject.toml uses, and their runner.

    python tools/import_rules.py

import-linter's own contracts want every package they name to exist and see no extension module, so these two
read direct imports and speak of the packages right below `wbpf`. The package's own `__init__.py` goes by the
name `__init__`.
"""

from __future__ import annotations

import ast
import sys
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output
from importlinter.cli import lint_imports

ROOT = "wbpf"
SOURCE = Path(__file__).resolve().parent.parent / "src"


def package_of(module: str) -> str:
    """The package right below the root that a module is in."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def module_file(module: str) -> Path:
    path = SOURCE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def native_imports(module: str) -> Iterator[int]:
    """The lines on which a module imports the extension module."""
    for node in ast.walk(ast.parse(module_file(module).read_text())):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        origin = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
        names = [origin + alias.name for alias in node.names]
        if any("_native" in name.split(".") for name in names):
            yield node.lineno


def imports(graph: ImportGraph) -> Iterator[tuple[str, str, int]]:
    """Each import across packages: the module that imports, the package imported, and the line."""
    for module in sorted(graph.modules):
        native = set(native_imports(module))
        for line in native:
            yield module, "_native", line
        for imported in sorted(graph.find_modules_directly_imported_by(module)):
            if package_of(imported) == package_of(module):
                continue
            for detail in graph.get_import_details(importer=module, imported=imported):
                if imported != ROOT or detail["line_number"] not in native:
                    yield module, package_of(imported), detail["line_number"]


def _names(required: bool = True) -> list[str]:
    # import-linter puts a list in the field's place when it reads the configuration.
    extra: dict[str, list[str]] = {} if required else {"default": []}
    return cast("list[str]", fields.ListField(subfield=fields.StringField(), required=required, **extra))


class _ImportRule(Contract):
    @abstractmethod
    def allows(self, importer: str, imported: str) -> bool: ...

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        broken = []
        for module, imported, line in imports(graph):
            importer = package_of(module)
            if not self.allows(importer, imported):
                path = module_file(module).relative_to(SOURCE.parent)
                broken.append(f"{path}:{line}: {importer} may not import {imported}")
        return ContractCheck(kept=not broken, metadata={"broken": broken})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for line in check.metadata["broken"]:
            output.print_error(line, bold=False)


class KnowsOnly(_ImportRule):
    """`packages` import nothing of the project but `knows`; not even each other."""

    type_name = "knows_only"
    packages: list[str] = _names()
    knows: list[str] = _names(required=False)

    def allows(self, importer: str, imported: str) -> bool:
        return importer not in self.packages or imported in self.knows


class KnownOnlyTo(_ImportRule):
    """`package` is imported by nobody but `importers`."""

    type_name = "known_only_to"
    package: str = cast("str", fields.StringField())
    importers: list[str] = _names(required=False)

    def allows(self, importer: str, imported: str) -> bool:
        return imported != self.package or importer in self.importers


if __name__ == "__main__":
    # The editable install's finder puts the folder of the built module first; the sources alone are wanted.
    sys.meta_path = [item for item in sys.meta_path if not type(item).__module__.startswith("_editable")]
    sys.path[:0] = [str(SOURCE), str(SOURCE.parent)]
    sys.exit(lint_imports(no_cache=True, no_logo=True))
