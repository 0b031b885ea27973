"""Make the files that native/record_format.toml describes; `--check` only says which are stale.

python tools/generate.py [--check]
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "native/record_format.toml"
BANNER = "made by tools/generate.py from native/record_format.toml: do not edit"
SIZES = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "f64": 8, "char": 1}
C_TYPES = {
    "u8": "uint8_t",
    "u16": "uint16_t",
    "u32": "uint32_t",
    "u64": "uint64_t",
    "f64": "double",
    "char": "char",
}
STRUCT_CODES = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "f64": "d"}


def lay_out(struct: dict[str, Any], sizes: dict[str, int]) -> tuple[list[dict[str, Any]], int]:
    """Give every field of a struct its offset; returns the fields and the struct's size."""
    fields, offset = [], 0
    for kind, name, doc in struct["fields"]:
        if kind == "pad128":
            offset = -(-offset // 128) * 128
            continue
        match = re.fullmatch(r"(\w+?)(?:\[(\d+)\])?", kind)
        assert match, kind
        base, count = match[1], int(match[2] or 1)
        align = min(sizes[base], 8)
        if base in sizes and base not in SIZES:
            align = 8
        if offset % align:
            raise SystemExit(f"{struct['name']}.{name}: not aligned to {align}")
        fields.append(
            {
                "base": base,
                "count": count,
                "array": bool(match[2]),
                "type": kind,
                "name": name,
                "doc": doc,
                "offset": offset,
            }
        )
        offset += sizes[base] * count
    size = struct.get("size", -(-offset // 8) * 8)
    if offset > size:
        raise SystemExit(f"{struct['name']}: {offset} bytes do not fit {size}")
    return fields, size


def c_header(spec: dict[str, Any], layouts: dict[str, Any]) -> str:
    out = [
        f"/* {BANNER} */",
        "#ifndef WBPF_FORMAT_H",
        "#define WBPF_FORMAT_H",
        "#ifndef __bpf__",
        "#include <stddef.h>",
        "#include <stdint.h>",
        "#endif",
        "",
    ]
    for name, item in spec["constants"].items():
        value = item["value"]
        text = (
            f"0x{value:x}ULL"
            if value > 0xFFFFFFFF
            else (f"0x{value:x}u" if value > 0x7FFFFFF else str(value))
        )
        out.append(f"#define WBPF_{name} {text} /* {item['doc']} */")
    for enum, items in spec["enums"].items():
        out += ["", f"/* {items['doc']} */", f"enum wbpf_{enum} {{"]
        out += [
            f"  WBPF_{enum.upper()}_{name} = {item['value']},"
            + (f" /* {item['doc']} */" if item["doc"] else "")
            for name, item in items.items()
            if name != "doc"
        ]
        out.append("};")
    for struct in spec["structs"]:
        fields, size = layouts[struct["name"]]
        out += ["", f"/* {struct['doc']} */", f"struct wbpf_{struct['name']} {{"]
        at, pads = 0, 0
        for f in fields:
            if f["offset"] > at:
                out.append(f"  uint8_t pad{pads}[{f['offset'] - at}];")
                pads += 1
            ctype = C_TYPES.get(f["base"], f"struct wbpf_{f['base']}")
            array = f"[{f['count']}]" if f["array"] else ""
            comment = f" /* {f['doc']} */" if f["doc"] else ""
            out.append(f"  {ctype} {f['name']}{array};{comment}")
            at = f["offset"] + layouts_size(f["base"], layouts) * f["count"]
        if size > at:
            out.append(f"  uint8_t pad{pads}[{size - at}];")
        out += ["};", f'_Static_assert(sizeof(struct wbpf_{struct["name"]}) == {size}, "{struct["name"]}");']
    text = "\n".join([*out, "", "#endif", ""])
    text = text.replace(
        "#ifndef __bpf__",
        "#ifdef __cplusplus\n#define _Static_assert static_assert\n#endif\n#ifndef __bpf__",
        1,
    )
    done = subprocess.run(
        [clang_format(), "--assume-filename=native/include/wbpf/format.h"],
        input=text,
        text=True,
        capture_output=True,
        check=True,
        cwd=ROOT,
    )
    return done.stdout


def clang_format() -> str:
    beside = Path(sys.executable).parent / "clang-format"
    return str(beside) if beside.exists() else "clang-format"


def layouts_size(base: str, layouts: dict[str, Any]) -> int:
    return SIZES[base] if base in SIZES else int(layouts[base][1])


def python_layout(spec: dict[str, Any], layouts: dict[str, Any]) -> str:
    out = [
        f"# {BANNER}",
        '"""Numbers and structures of the record format (docs/record-format.md)."""',
        "",
        "from __future__ import annotations",
        "",
        "from enum import IntEnum, IntFlag",
        "from struct import Struct",
        "",
    ]
    for name, item in spec["constants"].items():
        out.append(f"{name} = {item['value'] if item['value'] < 65536 else hex(item['value'])}")
    for enum, items in spec["enums"].items():
        title = "".join(part.capitalize() for part in enum.split("_"))
        out += [
            "",
            "",
            f"class {title}({'IntFlag' if enum == 'flag' else 'IntEnum'}):",
            f'    """{items["doc"][0].upper() + items["doc"][1:]}."""',
            "",
        ]
        out += [f"    {name} = {item['value']}" for name, item in items.items() if name != "doc"]
    out += ["", ""]
    for struct in spec["structs"]:
        fields, size = layouts[struct["name"]]
        if struct["name"] == "segment_header":
            continue
        code, at = "<", 0
        for f in fields:
            if f["offset"] > at:
                code += f"{f['offset'] - at}x"
            if f["base"] == "char" or (f["base"] == "u8" and f["array"]):
                code += f"{f['count']}s"
            else:
                code += STRUCT_CODES[f["base"]] * f["count"]
            at = f["offset"] + layouts_size(f["base"], layouts) * f["count"]
        if size > at:
            code += f"{size - at}x"
        names = ", ".join(f["name"] for f in fields)
        out += [f"#: {struct['doc']}: {names}".rstrip(), f'{struct["name"].upper()} = Struct("{code}")']
    return "\n".join([*out, ""])


def docs_tables(spec: dict[str, Any], layouts: dict[str, Any]) -> str:
    out = ["", "### Constants", "", "| name | value | meaning |", "|---|---|---|"]
    for name, item in spec["constants"].items():
        value = item["value"] if item["value"] < 65536 else hex(item["value"])
        out.append(f"| `{name}` | {value} | {item['doc']} |")
    for enum, items in spec["enums"].items():
        out += ["", f"### enum {enum}: {items['doc']}", "", "| value | name | meaning |", "|---|---|---|"]
        out += [
            f"| {item['value']} | `{name}` | {item['doc']} |" for name, item in items.items() if name != "doc"
        ]
    for struct in spec["structs"]:
        fields, size = layouts[struct["name"]]
        out += [
            "",
            f"### {struct['name']} ({size} bytes): {struct['doc']}",
            "",
            "| offset | type | field | meaning |",
            "|---|---|---|---|",
        ]
        out += [f"| {f['offset']} | {f['type']} | `{f['name']}` | {f['doc']} |" for f in fields]
    return "\n".join([*out, ""])


def with_tables(page: Path, tables: str) -> str:
    begin, end = "<!-- generated: begin -->\n", "<!-- generated: end -->"
    text = page.read_text()
    head, rest = text.split(begin)
    return head + begin + tables + end + rest.split(end)[1]


def main() -> int:
    spec = tomllib.loads(SOURCE.read_text())
    sizes, layouts = dict(SIZES), {}
    for struct in spec["structs"]:
        fields, size = lay_out(struct, sizes)
        layouts[struct["name"]] = (fields, size)
        sizes[struct["name"]] = size
    page = ROOT / "docs/record-format.md"
    files = {
        ROOT / "native/include/wbpf/format.h": c_header(spec, layouts),
        ROOT / "src/wbpf/records/layout.py": python_layout(spec, layouts),
        page: with_tables(page, docs_tables(spec, layouts)),
    }
    stale = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv:
        for path in stale:
            print(f"stale: {path.relative_to(ROOT)}: run python tools/generate.py")
        return bool(stale)
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[path])
    return 0


if __name__ == "__main__":
    sys.exit(main())
