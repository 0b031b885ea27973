from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from wbpf.cli.output import Column, Output, print_rows, visible
from wbpf.errors import ConfigError

COLUMNS = (
    Column("name"),
    Column("size", right=True),
    Column("hidden", shown=False),
    Column("tags", text=",".join),
)
ROWS: list[dict[str, Any]] = [
    {"name": "b\x1b[31m", "size": 5, "hidden": 1, "tags": ["x", "y"]},
    {"name": "本", "size": 1000, "hidden": None, "tags": []},
    {"name": "a", "size": None, "hidden": 2, "tags": ["z"]},
]


def test_columns_line_up(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(ROWS, COLUMNS)
    assert capsys.readouterr().out.splitlines() == [
        "NAME       SIZE  TAGS",
        "b\\x1b[31m     5  x,y",
        "本         1000",
        "a                z",
    ]


@pytest.mark.parametrize(("output", "parse"), [(Output.JSON, json.loads), (Output.YAML, yaml.safe_load)])
def test_json_and_yaml_have_all_fields(
    output: Output, parse: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(parse)
    print_rows(ROWS, COLUMNS, output)
    assert parse(capsys.readouterr().out) == ROWS
    print_rows([], COLUMNS, output)
    assert parse(capsys.readouterr().out) == []


def test_fields_choose_and_order(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(ROWS, COLUMNS, fields="hidden,name")
    assert capsys.readouterr().out.splitlines()[:2] == ["HIDDEN  NAME", "1       b\\x1b[31m"]
    print_rows(ROWS, COLUMNS, Output.JSON, fields="size")
    assert json.loads(capsys.readouterr().out) == [{"size": 5}, {"size": 1000}, {"size": None}]
    print_rows(ROWS, COLUMNS, fields="all")
    assert capsys.readouterr().out.splitlines()[0] == "NAME       SIZE  HIDDEN  TAGS"


def test_sorting_puts_what_is_missing_last(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(ROWS, COLUMNS, Output.JSON, fields="size", sort="size")
    assert json.loads(capsys.readouterr().out) == [{"size": 5}, {"size": 1000}, {"size": None}]
    print_rows(ROWS, COLUMNS, Output.JSON, fields="size", sort="-size")
    assert json.loads(capsys.readouterr().out) == [{"size": 1000}, {"size": 5}, {"size": None}]
    print_rows(ROWS, COLUMNS, Output.JSON, fields="name", sort="tags")
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == ["本", "b\x1b[31m", "a"]


@pytest.mark.parametrize("options", [{"fields": "nam"}, {"sort": "-nam"}])
def test_unknown_fields_are_guessed(options: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"did you mean name\?\n.*choose from name, size, hidden, tags"):
        print_rows(ROWS, COLUMNS, **options)  # type: ignore[arg-type]


def test_many_rows_are_not_held_in_memory(capsys: pytest.CaptureFixture[str]) -> None:
    printed = 0

    def rows() -> object:
        nonlocal printed
        for i in range(5000):
            yield {"name": str(i), "size": i, "hidden": i, "tags": []}
            if i == 4999:
                printed = len(capsys.readouterr().out)

    for output in Output:
        print_rows(rows(), COLUMNS, output)  # type: ignore[arg-type]
        assert printed > 20_000, output


def test_control_characters_are_written_out() -> None:
    assert visible("plain é") == "plain é"
    assert visible("a\x1b]0;t\x07\n\u202e") == "a\\x1b]0;t\\x07\\n\\u202e"
