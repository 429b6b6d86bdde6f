"""Everything about versions and bases but their weights."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path

import pytest

from .conftest import Dsvd, base_weights

VERSION_FIELDS = {
    "ref",
    "model",
    "number",
    "size",
    "container",
    "base",
    "base_name",
    "source",
    "tau",
    "note",
    "tags",
    "aliases",
    "added",
    "summary",
}


def refs(dsvd: Dsvd, *words: str) -> list[str]:
    return [version["ref"] for version in dsvd("ls", *words, "--json").document]


def test_init_makes_the_users_registry(dsvd: Dsvd, here: Path) -> None:
    made = dsvd("init", "--json").document
    assert Path(made["path"]).is_relative_to(here.parent / "home")
    assert dsvd("ls").code == 0


def test_init_where_registry_says(dsvd: Dsvd, here: Path) -> None:
    assert dsvd("--registry", "there", "init").out.startswith(f"made a registry in {here}/there\n")
    assert dsvd("--registry", "there", "ls").code == 0
    assert dsvd("ls", "--registry", "there").code == 0
    assert dsvd("--registry", "there", "init", "elsewhere").code == 2
    assert dsvd("init", "there").code == 4


def test_the_folder_and_the_variable_are_searched(
    dsvd: Dsvd, here: Path, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = here / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert refs(dsvd) == ["subject-42@1", "subject-42@2"]
    assert dsvd("init", below / "empty").code == 0
    monkeypatch.setenv("DSVD_REGISTRY", str(below / "empty"))
    assert refs(dsvd) == []


def test_empty_lists_say_what_to_do(dsvd: Dsvd, here: Path) -> None:
    dsvd("init", ".dsvd")
    for words in (("ls",), ("base", "ls")):
        listed = dsvd(*words)
        assert (listed.code, listed.out) == (0, "")
        assert "adds one" in listed.err
        assert dsvd(*words, "--json").out == "[]\n"


def test_a_version_as_json(dsvd: Dsvd, filled: Path) -> None:
    listed = dsvd("ls", "--json").document
    assert all(version.keys() >= VERSION_FIELDS for version in listed)
    first = listed[0]
    assert first["source"].keys() == {"format", "sha256", "size"}
    assert (first["ref"], first["base_name"], first["tau"]) == ("subject-42@1", "sd15", 0.5)
    assert (first["aliases"], listed[1]["aliases"]) == ([], ["latest"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", first["added"])
    shown = dsvd("show", "subject-42@1", "--json").document
    assert {key: shown[key] for key in first} == first
    assert shown.keys() - first.keys() == {"report", "signers", "metadata", "attachments"}


def test_ls_filters(dsvd: Dsvd, filled: Path) -> None:
    dsvd("tag", "add", "subject-42@1", "good")
    assert refs(dsvd, "subject-*") == ["subject-42@1", "subject-42@2"]
    assert refs(dsvd, "style-*") == []
    assert refs(dsvd, "--tag", "good") == ["subject-42@1"]
    assert len(refs(dsvd, "--base", "sd15")) == 2
    for past in ("1h", "7d", "2w", "2020-01-31", "2020-01-31T10:00:00+02:00"):
        assert len(refs(dsvd, "--since", past)) == 2
    for future in ("0h", "9999-01-01"):
        assert refs(dsvd, "--since", future) == []
    assert dsvd("ls", "--since", "0h").err == "no version matches\n"
    for nonsense in ("soon", "7", "7y", "-7d", "99999999999w", "2020-13-01", ""):
        assert dsvd("ls", f"--since={nonsense}").code == 2


def test_ls_is_one_line_a_version(dsvd: Dsvd, filled: Path) -> None:
    dsvd("note", "subject-42@2", "a first line " + "x" * 300 + "\nand a second")
    heading, *lines = dsvd("ls").out.splitlines()
    titles = ("version", "aliases", "base", "fidelity", "size", "source", "error", "added", "note")
    assert heading.split() == list(titles)
    assert [line.split()[0] for line in lines] == ["subject-42@1", "subject-42@2"]
    assert lines[1].endswith("x" * 300 + " ...")
    assert lines[0] == lines[0].rstrip()


def test_log_shows_removed_versions(dsvd: Dsvd, filled: Path) -> None:
    assert dsvd("rm", "subject-42@1", "--yes").out == "removed subject-42@1\n"
    assert refs(dsvd) == ["subject-42@2"]
    first, second = dsvd("log", "subject-42", "--json").document
    assert first["removed"].endswith("Z")
    assert second["removed"] is None
    assert "removed" in dsvd("log", "subject-42").out


def test_rm_is_not_done_unasked(dsvd: Dsvd, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    refused = dsvd("rm", "subject-42@1")
    assert refused.code == 2
    assert "--yes" in refused.err
    assert len(refs(dsvd)) == 2


def test_aliases(dsvd: Dsvd, filled: Path) -> None:
    assert dsvd("alias", "set", "prod", "subject-42@1").out == (
        "subject-42@prod is now subject-42@1\n"
    )
    assert dsvd("show", "subject-42@prod", "--json").document["aliases"] == ["prod"]
    assert dsvd("rm", "subject-42@1", "--yes").code == 4
    moved = dsvd("alias", "set", "prod", "subject-42", "--json").document
    assert (moved["ref"], moved["aliases"]) == ("subject-42@2", ["latest", "prod"])
    assert dsvd("alias", "rm", "subject-42@prod").out == (
        "removed subject-42@prod; it stood for subject-42@2\n"
    )
    assert dsvd("alias", "rm", "subject-42@prod").code == 3
    assert dsvd("alias", "rm", "subject-42").code == 2
    assert dsvd("alias", "set", "latest", "subject-42@1").code == 2


def test_tags(dsvd: Dsvd, filled: Path) -> None:
    assert dsvd("tag", "add", "subject-42", "good").out == "subject-42@2 has the tags good\n"
    assert dsvd("tag", "add", "subject-42", "better", "--json").document["tags"] == [
        "better",
        "good",
    ]
    assert dsvd("tag", "rm", "subject-42", "good").code == 0
    assert dsvd("tag", "rm", "subject-42", "better").out == "subject-42@2 has no tags\n"
    assert dsvd("tag", "rm", "subject-42", "better").code == 3


def test_notes(dsvd: Dsvd, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert dsvd("note", "subject-42@1", "looks good").out == "subject-42@1 has a new note\n"
    monkeypatch.setattr("sys.stdin", io.StringIO("line one\nline two\n"))
    assert dsvd("note", "subject-42@1", "-", "--json").document["note"] == "line one\nline two"
    assert "note       line one\n           line two\n" in dsvd("show", "subject-42@1").out
    assert dsvd("note", "subject-42@1", "").out == "subject-42@1 has no note\n"


def test_what_could_steer_a_terminal_is_escaped(dsvd: Dsvd, filled: Path) -> None:
    dsvd("note", "subject-42@1", "\x1b[2J\u202egood [red]x[/red] :smile:")
    for words in (("ls",), ("show", "subject-42@1"), ("log", "subject-42")):
        out = dsvd(*words).out
        assert "\\x1b[2J\\u202egood [red]x[/red] :smile:" in out
        assert "\x1b" not in out
    assert "\x1b" not in dsvd("show", "\x1b[31m").err


def test_bases(dsvd: Dsvd, filled: Path, here: Path, checkpoints: Path) -> None:
    listed = dsvd("base", "ls", "--json").document
    assert [base["name"] for base in listed] == ["sd15"]
    digest = listed[0]["digest"]
    assert digest[:12] in dsvd("base", "ls").out
    shown = dsvd("base", "show", digest[:12], "--json").document
    assert shown["name"] == "sd15"
    assert {tensor["name"] for tensor in shown["tensors"]} == set(base_weights())
    assert "32x4x3x3  conv_in.weight" in dsvd("base", "show", "sd15").out
    refused = dsvd("base", "rm", "sd15")
    assert refused.code == 4
    assert "subject-42@1" in refused.err
    linked = dsvd("base", "add", "ft", "--link", checkpoints / "ft.safetensors", "--json").document
    assert linked["link"] == str(checkpoints / "ft.safetensors")
    assert "linked to" in dsvd("base", "ls").out
    assert dsvd("base", "rm", "ft").out == "removed the base ft\n"


def test_base_add_tells_where_the_bytes_are(dsvd: Dsvd, here: Path, checkpoints: Path) -> None:
    dsvd("init", ".dsvd")
    assert (
        "copied into the registry" in dsvd("base", "add", "a", checkpoints / "base.safetensors").out
    )
    assert "linked to" in dsvd("base", "add", "b", checkpoints / "ft.safetensors", "--link").out


def test_verify_of_one_and_of_all(dsvd: Dsvd, filled: Path) -> None:
    assert dsvd("verify").out == "2 versions, 1 base: all is well\n"
    assert dsvd("verify", "--all").out == "2 versions, 1 base: all is well\n"
    assert dsvd("verify", "subject-42@1").out == "1 version, 1 base: all is well\n"
    assert dsvd("verify", "subject-42@1", "--all").code == 2
    found = dsvd("verify", "--json").document
    assert (found["is_well"], found["findings"], found["versions"]) == (True, [], 2)


def test_du_and_gc(dsvd: Dsvd, filled: Path) -> None:
    before = dsvd("du", "--json").document
    assert before["reclaimable"] == 0
    assert [model["name"] for model in before["models"]] == ["subject-42"]
    size = dsvd("rm", "subject-42@1", "--yes", "--json").document["size"]
    assert dsvd("du", "--json").document["reclaimable"] == size
    assert "kept 1 unneeded object younger than 14 days" in dsvd("gc").out
    would = dsvd("gc", "--grace", "0", "--dry-run", "--json").document
    assert (would["objects"], would["bytes"], would["dry_run"]) == (1, size, True)
    assert dsvd("gc", "--grace", "0").out.startswith("removed 1 object and 0 temporary files, ")
    after = dsvd("du", "--json").document
    assert (after["total"], after["reclaimable"]) == (before["total"] - size, 0)
    assert dsvd("du").out.endswith(" in all, 0 B reclaimable\n")
    assert dsvd("gc", "--grace", "-1").code == 2


def test_catalog_rebuild_gives_everything_back(dsvd: Dsvd, filled: Path) -> None:
    dsvd("alias", "set", "prod", "subject-42@1")
    before = dsvd("ls", "--json").document
    for path in filled.glob("catalog.sqlite*"):
        path.unlink()
    out = dsvd("catalog", "rebuild").out
    assert out == "rebuilt from 4 events: 1 base, 1 model, 2 versions, 1 alias\n"
    assert dsvd("ls", "--json").document == before
    (filled / "catalog.sqlite").write_bytes(b"no database at all" * 100)
    for path in filled.glob("catalog.sqlite-*"):
        path.unlink()
    assert dsvd("ls").code == 8
    rebuilt = dsvd("catalog", "rebuild", "--json").document
    assert Path(rebuilt["set_aside"]).exists()
    assert dsvd("ls", "--json").document == before


def test_a_registry_can_be_moved(dsvd: Dsvd, filled: Path, here: Path) -> None:
    shutil.move(filled, here / "moved")
    assert dsvd("--registry", here / "moved", "verify").code == 0


def test_catalog_backup(dsvd: Dsvd, filled: Path, here: Path) -> None:
    assert (
        dsvd("catalog", "backup").out == f"copied the catalog to {filled}/catalog.sqlite.backup\n"
    )
    assert dsvd("catalog", "backup", "copy.sqlite").code == 0
    assert dsvd("catalog", "backup", "copy.sqlite").code == 4
    forced = dsvd("catalog", "backup", "copy.sqlite", "--force", "--json")
    assert forced.document["path"] == "copy.sqlite"
    (filled / "catalog.sqlite").unlink()
    (here / "copy.sqlite").rename(filled / "catalog.sqlite")
    assert "subject-42@2" in dsvd("ls").out
