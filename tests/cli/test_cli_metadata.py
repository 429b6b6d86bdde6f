"""Metadata and attachments on the command line: whatever they hold, the terminal and JSON stay whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hostile_text import HOSTILE_TEXTS, INVALID_TEXTS
from small_pictures import picture

from dsvd_registry import Registry
from dsvd_registry.errors import InvalidArgument

from .conftest import Dsvd


def test_set_get_and_remove(dsvd: Dsvd, filled: Path) -> None:
    said = dsvd("meta", "set", "subject-42", "trigger=sks dog", "source=a=b", "empty=")
    assert said.code == 0 and said.out.splitlines() == [
        'empty    ""',
        "source   a=b",
        "trigger  sks dog",
    ]
    assert dsvd("meta", "get", "subject-42@2", "trigger").out == "sks dog\n"
    found = dsvd("meta", "get", "subject-42", "--json").document
    assert found == {
        "ref": "subject-42@2",
        "metadata": {"empty": "", "source": "a=b", "trigger": "sks dog"},
    }
    assert dsvd("meta", "rm", "subject-42", "empty", "source").out == "trigger  sks dog\n"
    assert "trigger  sks dog" in dsvd("show", "subject-42").out
    assert dsvd("meta", "get", "subject-42@1").out == "subject-42@1 has no metadata\n"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("meta", "set", "subject-42", "nothing"), 2),
        (("meta", "set", "subject-42", "a=1", "a=2"), 2),
        (("meta", "set", "subject-42", "a b=1"), 2),
        (("meta", "set", "nobody", "a=1"), 3),
        (("meta", "get", "subject-42", "trigger"), 3),
        (("meta", "rm", "subject-42", "trigger"), 3),
        (("attach", "subject-42", "missing.png"), 2),
        (("detach", "subject-42", "missing.png"), 3),
        (("attachments", "nobody"), 3),
        (("add", "x.safetensors", "--meta=a"), 2),
    ],
)
def test_mistakes_are_told(dsvd: Dsvd, filled: Path, words: tuple[str, ...], code: int) -> None:
    said = dsvd(*words)
    assert said.code == code and said.out == "" and "hint:" in said.err
    assert dsvd(*words, "--json").error["exit_code"] == code


def test_attach_list_and_detach(dsvd: Dsvd, filled: Path, here: Path) -> None:
    (here / "Größe.png").write_bytes(picture())
    (here / "note.txt").write_text("a note")
    said = dsvd("attach", "subject-42", "Größe.png", "note.txt", "--json").document
    assert [(one["name"], one["role"]) for one in said["attachments"]] == [
        ("Grosse.png", "preview"),
        ("note.txt", "note"),
    ]
    listed = dsvd("attachments", "subject-42")
    assert "Grosse.png" in listed.out and "image/png" in listed.out
    written = dsvd("attachments", "subject-42", "--beside", "rex.safetensors")
    assert "wrote rex.preview.png" in written.out
    assert (here / "rex.preview.png").read_bytes() == picture()
    shown = dsvd("show", "subject-42", "--json").document
    assert [one["name"] for one in shown["attachments"]] == ["Grosse.png", "note.txt"]
    assert dsvd("detach", "subject-42", "note.txt").out == "removed note.txt from subject-42@2\n"


def test_add_lists_what_it_takes_in(
    dsvd: Dsvd, filled: Path, checkpoints: Path, here: Path
) -> None:
    (here / "new.safetensors").write_bytes((checkpoints / "ft.safetensors").read_bytes())
    (here / "new.preview.png").write_bytes(picture())
    (here / "new.civitai.info").write_text('{"trainedWords": ["sks \\u001b[31mdog"]}')
    (here / "new.json").write_bytes(b"\xff")
    (here / "mine.png").write_bytes(picture(seed=1))
    said = dsvd(
        *("add", "new.safetensors", "--base=sd15", "--meta=licence=CC0", "--preview=mine.png"),
    )
    assert said.code == 0, said.err
    assert (
        "taken in: 1 key of metadata, new.preview.png (sample), new.civitai.info (sidecar)"
        in said.out
    )
    assert "not taken in: new.json: " in said.out and "\x1b" not in said.out
    assert dsvd("meta", "get", "new", "trigger").out == "sks \\x1b[31mdog\n"
    again = dsvd("add", "new.safetensors", "--base=sd15", "--trigger=mine", "--json").document
    assert again["taken_in"]["keys"] == []
    assert dsvd("meta", "get", "new", "trigger").out == "mine\n"


def test_hostile_texts_are_shown_harmlessly_and_come_back(dsvd: Dsvd, filled: Path) -> None:
    """Values, in the terminal: no character that controls it; as JSON: to the character."""
    keys = {name.replace(" ", "-"): text for name, text in HOSTILE_TEXTS.items()}
    with Registry.open(filled) as registry:
        registry.set_metadata("subject-42", keys)
        registry.set_note("subject-42", HOSTILE_TEXTS["colour"] + HOSTILE_TEXTS["bidi"])
    for words in (
        ("meta", "get", "subject-42"),
        *(("meta", "get", "subject-42", key) for key in keys),
        ("show", "subject-42"),
        ("ls",),
    ):
        said = dsvd(*words)
        assert said.code == 0
        assert "".join(said.out.split("\n")).isprintable(), words
    for words in (("meta", "get", "subject-42"), ("show", "subject-42")):
        said = dsvd(*words, "--json")
        assert json.loads(said.out)["metadata"] == keys
        assert "\x1b" not in said.out and "\r" not in said.out


def test_invalid_texts_are_refused(filled: Path) -> None:
    with Registry.open(filled) as registry:
        for text in INVALID_TEXTS.values():
            with pytest.raises(InvalidArgument):
                registry.set_metadata("subject-42", {"fine": "x", "key": text})
            with pytest.raises(InvalidArgument):
                registry.set_metadata("subject-42", {text: "x"})
        assert dict(registry.metadata("subject-42")) == {}


@pytest.mark.parametrize("name", HOSTILE_TEXTS)
def test_hostile_names_of_files_become_plain_names(
    name: str, dsvd: Dsvd, filled: Path, here: Path
) -> None:
    text = HOSTILE_TEXTS[name].replace("/", "_")[:40]
    (here / f"{text}.png").write_bytes(picture())
    said = dsvd("attach", "subject-42", f"{text}.png", "--json")
    assert said.code == 0, said.err
    (one,) = said.document["attachments"]
    assert one["name"].isascii() and one["name"].endswith(".png")
    assert set(one["name"]) <= set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"
    )
