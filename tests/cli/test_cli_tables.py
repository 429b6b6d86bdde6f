"""Tables as people see them."""

from __future__ import annotations

import pytest

from dsvd_registry.cli.tables import figure, print_fields, print_table, text


def test_columns_are_aligned_and_lines_end_where_they_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [("subject-1", "2.2 MB", ""), ("s", "844 B", "a note")]
    print_table((text("version"), figure("size"), text("note")), rows)
    assert capsys.readouterr().out == (
        "version      size  note\n"  #
        "subject-1  2.2 MB\n"
        "s           844 B  a note\n"
    )


def test_an_optional_column_without_cells_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    columns = (text("version"), text("tags", optional=True), text("note", optional=True))
    print_table(columns, [("a", "", "x"), ("b",)])
    assert capsys.readouterr().out == "version  note\na        x\nb\n"


def test_a_table_without_rows_is_its_heading(capsys: pytest.CaptureFixture[str]) -> None:
    print_table((text("version"), figure("size"), text("note", optional=True)), [])
    assert capsys.readouterr().out == "version  size\n"


def test_wide_and_narrow_signs_keep_the_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """猫 takes two places, an accent that is a sign of its own none."""
    rows = [("猫", "猫", "|"), ("cafe\u0301", "1", "|"), ("abcdef", "22", "|")]
    print_table((text("name"), figure("n"), text("")), rows)
    assert capsys.readouterr().out == (
        "name     n\n"  #
        "猫      猫  |\n"
        "cafe\u0301     1  |\n"
        "abcdef  22  |\n"
    )


def test_what_could_steer_a_terminal_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    print_table((text("a"), text("b")), [("\x1b[2J", "[red]x[/red]"), ("y\n", ":smile:")])
    assert capsys.readouterr().out == (
        "a        b\n"  #
        "\\x1b[2J  [red]x[/red]\n"
        "y\\n      :smile:\n"
    )


def test_fields_without_a_value_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    print_fields((("version", "a@1"), ("tags", ""), ("note", "one\ntwo")))
    assert capsys.readouterr().out == "version  a@1\nnote     one\n         two\n"
