"""Make the files that native/guest_abi.toml describes; `--check` only says which are stale.

python tools/generate_guest_abi.py [--check]
"""

from __future__ import annotations

import sys
import textwrap
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "native/guest_abi.toml"
BANNER = "made by tools/generate_guest_abi.py from native/guest_abi.toml: do not edit"
HANDLES = {"object": "o", "program": "p", "link": "l", "map": "m", "ring": "r", "socket": "k"}
NUMBERS = {"i32": "i", "u32": "u", "i64": "I", "u64": "U"}
MEMORY = {"text": "t", "bytes": "b", "buffer": "w", "inout": "x"}
RESULTS = {"ok": "i32", "count": "i32", "bytes": "i32", "number": "i64"} | dict.fromkeys(HANDLES, "i32")
C_NUMBERS = {"i32": "int32_t", "u32": "uint32_t", "i64": "int64_t", "u64": "uint64_t"}
GO_NUMBERS = {"i32": "int32", "u32": "uint32", "i64": "int64", "u64": "uint64"}


class Word(NamedTuple):
    """A parameter as the module passes it: one Wasm value.

    Args:
        kind: `i32`, `u32`, `i64`, `u64`, `const` (a pointer read), `mut` (written), or a struct's name.
    """

    name: str
    kind: str


def words(params: list[list[str]]) -> list[Word]:
    out: list[Word] = []
    for kind, name in params:
        if kind in HANDLES:
            out.append(Word(name, "i32"))
        elif kind in NUMBERS:
            out.append(Word(name, kind))
        elif kind in MEMORY:
            out.append(Word(name, "const" if kind in ("text", "bytes") else "mut"))
            out.append(Word(f"{name}_bytes", "u32"))
        else:
            out.append(Word(name, kind.split()[1]))
    return out


def codes(params: list[list[str]]) -> str:
    """Each parameter as one letter of the host's table; structs are `s`."""
    letters = HANDLES | NUMBERS | MEMORY
    return "".join(letters.get(kind, "s") for kind, _ in params)


def struct_bytes(struct: dict[str, Any]) -> int:
    return sum({"u32": 4, "u64": 8}[kind] for kind, _, _ in struct["fields"])


def camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def c_structs(spec: dict[str, Any], prefix: str) -> list[str]:
    """Constants and structs; the host has other names for them, since it has structs like them."""
    out = []
    for name, item in spec["constants"].items():
        value = item["value"] if item["value"] < 65536 else f"{item['value']:#x}u"
        name = f"{prefix.upper()}_{name.removeprefix('WBPF_').removeprefix(f'{prefix.upper()}_')}"
        out.append(f"#define {name} {value} /* {item['doc']} */")
    for struct in spec["structs"]:
        out += ["", f"/* {struct['name']}: {struct['doc']} */", f"struct {prefix}_{struct['name']} {{"]
        for kind, name, doc in struct["fields"]:
            comment = f" /* {doc} */" if doc else ""
            out.append(f"    {C_NUMBERS[kind]} {name};{comment}")
        out.append("};")
    return out


def c_type(word: Word) -> str:
    if word.kind in C_NUMBERS:
        return f"{C_NUMBERS[word.kind]} {word.name}"
    pointer = {"const": "const void", "mut": "void"}.get(word.kind, f"struct wbpf_{word.kind}")
    return f"{pointer} *{word.name}"


def c_header(spec: dict[str, Any]) -> str:
    out = [
        f"/* {BANNER} */",
        "/* clang-format off */",
        "/* The imports of a module for wBPF, as they are; wbpf.h makes them pleasant. */",
        "#ifndef WBPF_GUEST_ABI_H",
        "#define WBPF_GUEST_ABI_H",
        "",
        "#include <stdint.h>",
        "",
        *c_structs(spec, "wbpf"),
        "",
        "#ifdef __wasm__",
        "#define WBPF_IMPORT(name) \\",
        f'    __attribute__((import_module("{spec["module"]}"), import_name(#name)))',
        "",
        "/* Tells the host what the module was built for. */",
        '__attribute__((weak, export_name("wbpf_abi"))) int32_t wbpf_abi(void)',
        "{",
        "    return WBPF_ABI_VERSION;",
        "}",
    ]
    for function in spec["functions"]:
        parameters = ", ".join(map(c_type, words(function["params"]))) or "void"
        result = C_NUMBERS[RESULTS[function["result"]]]
        name = function["name"]
        out += ["", *c_comment(function["doc"])]
        out.append(f"WBPF_IMPORT({name}) {result} wbpf_abi_{name}({parameters});")
    return "\n".join([*out, "", "#endif", "#endif", ""])


def c_comment(text: str) -> list[str]:
    lines = textwrap.wrap(text, 100)
    if len(lines) == 1:
        return [f"/* {text} */"]
    return [f"/* {lines[0]}", *(f" * {line}" for line in lines[1:-1]), f" * {lines[-1]} */"]


def rust(spec: dict[str, Any]) -> str:
    out = [
        f"// {BANNER}",
        "//! The imports of a module for wBPF, as they are.",
        "#![allow(missing_docs)]",
        "",
    ]
    out += [
        f"/// {item['doc']}\npub const {name.removeprefix('WBPF_')}: u32 = {item['value']};"
        for name, item in spec["constants"].items()
    ]
    for struct in spec["structs"]:
        out += ["", f"/// {struct['doc']}", "#[repr(C)]", "#[derive(Clone, Copy, Debug, Default)]"]
        out.append(f"pub struct {camel(struct['name'])} {{")
        for kind, name, doc in struct["fields"]:
            if doc:
                out.append(f"    /// {doc}")
            out.append(f"    pub {'r#type' if name == 'type' else name}: {kind},")
        out.append("}")
    out += ["", f'#[link(wasm_import_module = "{spec["module"]}")]', 'extern "C" {']
    for function in spec["functions"]:
        parameters = ", ".join(f"{word.name}: {rust_type(word)}" for word in words(function["params"]))
        out += [f"    /// {line}" for line in textwrap.wrap(function["doc"], 96)]
        out.append(f"    pub fn {function['name']}({parameters}) -> {RESULTS[function['result']]};")
    return "\n".join([*out, "}", ""])


def rust_type(word: Word) -> str:
    if word.kind in C_NUMBERS:
        return word.kind
    return {"const": "*const u8", "mut": "*mut u8"}.get(word.kind, f"*mut {camel(word.kind)}")


def go(spec: dict[str, Any]) -> str:
    out = [f"// {BANNER}", "", "//go:build wasip1", "", "package wbpf", "", 'import "unsafe"', "", "const ("]
    for name, item in spec["constants"].items():
        short = camel(name.removeprefix("WBPF_").lower())
        out.append(f"\t// {short}: {item['doc']}.\n\t{short} = {item['value']}")
    out.append(")")
    for struct in spec["structs"]:
        title = camel(struct["name"])
        out += ["", f"// {title}: {struct['doc']}.", f"type {title} struct {{"]
        width = max(len(camel(name)) for _, name, _ in struct["fields"])
        out += [
            f"\t{camel(name):{width}} {GO_NUMBERS[kind]}" + (f" // {doc}" if doc else "")
            for kind, name, doc in struct["fields"]
        ]
        out.append("}")
    for function in spec["functions"]:
        parameters = ", ".join(f"{go_name(word.name)} {go_type(word)}" for word in words(function["params"]))
        name = f"abi{camel(function['name'])}"
        out += ["", *(f"// {line}" for line in textwrap.wrap(f"{name}: {function['doc']}", 100))]
        out += ["//", f"//go:wasmimport {spec['module']} {function['name']}", "//go:noescape"]
        out.append(f"func {name}({parameters}) {GO_NUMBERS[RESULTS[function['result']]]}")
    return "\n".join([*out, ""])


def go_name(name: str) -> str:
    whole = camel(name)
    short = whole[0].lower() + whole[1:]
    return f"{short}_" if short in ("map", "type") else short


def go_type(word: Word) -> str:
    return GO_NUMBERS.get(word.kind, "unsafe.Pointer")


def host_table(spec: dict[str, Any]) -> str:
    sizes = {struct["name"]: struct_bytes(struct) for struct in spec["structs"]}
    out = [
        f"/* {BANNER} */",
        "/* clang-format off */",
        "#ifndef WBPF_HOSTCALLS_ABI_H",
        "#define WBPF_HOSTCALLS_ABI_H",
        "",
        "#include <stdint.h>",
        "",
        *c_structs(spec, "abi"),
        "",
        "/* each(name, parameters, bytes of the struct among them, result is 64 bits wide)",
        " * Parameters: o p l m r k handles, i u I U numbers, t text, b bytes, w buffer, x inout, s struct.",
        " */",
    ]
    for title, native in (("NATIVE", True), ("SCRIPTED", False)):
        out.append(f"#define WBPF_{title}_FUNCTIONS(each) \\")
        chosen = [function for function in spec["functions"] if function.get("native", False) is native]
        for function in chosen:
            struct = next((kind.split()[1] for kind, _ in function["params"] if " " in kind), None)
            wide = int(RESULTS[function["result"]] == "i64")
            size = sizes[struct] if struct else 0
            end = "" if function is chosen[-1] else " \\"
            out.append(f'    each({function["name"]}, "{codes(function["params"])}", {size}, {wide}){end}')
        out.append("")
    return "\n".join([*out, "#endif", ""])


def docs_tables(spec: dict[str, Any]) -> str:
    out = ["", "### Functions", "", "| function | what it does | returns | errors |", "|---|---|---|---|"]
    for function in spec["functions"]:
        parameters = ", ".join(f"{kind} {name}" for kind, name in function["params"])
        errors = "; ".join(f"`-{name}` {text}" for name, text in function.get("errors", {}).items())
        out.append(
            f"| `{function['name']}` ({parameters}) | {function['doc']} | {function['result']} | {errors} |"
        )
    out += ["", "### Constants", "", "| name | value | meaning |", "|---|---|---|"]
    for name, item in spec["constants"].items():
        value = item["value"] if item["value"] < 65536 else hex(item["value"])
        out.append(f"| `{name}` | {value} | {item['doc']} |")
    for struct in spec["structs"]:
        out += [
            "",
            f"### wbpf_{struct['name']} ({struct_bytes(struct)} bytes): {struct['doc']}",
            "",
            "| offset | type | field | meaning |",
            "|---|---|---|---|",
        ]
        offset = 0
        for kind, name, doc in struct["fields"]:
            out.append(f"| {offset} | {kind} | `{name}` | {doc} |")
            offset += {"u32": 4, "u64": 8}[kind]
    return "\n".join([*out, ""])


def with_tables(page: Path, tables: str) -> str:
    begin, end = "<!-- generated: begin -->\n", "<!-- generated: end -->"
    head, rest = page.read_text().split(begin)
    return head + begin + tables + end + rest.split(end)[1]


def main() -> int:
    spec = tomllib.loads(SOURCE.read_text())
    page = ROOT / "docs/guest-abi.md"
    files = {
        ROOT / "sdk/c/include/wbpf/guest_abi.h": c_header(spec),
        ROOT / "sdk/rust/src/abi.rs": rust(spec),
        ROOT / "sdk/go/abi.go": go(spec),
        ROOT / "native/hostcalls/abi.h": host_table(spec),
        page: with_tables(page, docs_tables(spec)),
    }
    stale = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv:
        for path in stale:
            print(f"stale: {path.relative_to(ROOT)}: run python tools/generate_guest_abi.py")
        return bool(stale)
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[path])
    return 0


if __name__ == "__main__":
    sys.exit(main())
