"""`dsvd remote`, `push`, `pull` and `clone`, as a person and a program meet them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dsvd_registry import Registry, number_format

from .conftest import Dsvd


@pytest.fixture
def studio(here: Path, filled: Path, dsvd: Dsvd) -> Path:
    """An empty registry, which the one in the current folder knows as `studio`."""
    Registry.init(here / "studio").close()
    assert dsvd("remote", "add", "studio", "studio").code == 0
    return here / "studio"


def size_of_objects(root: Path) -> int:
    return sum(path.stat().st_size for path in (root / "objects").rglob("*") if path.is_file())


def test_push_and_pull(here: Path, studio: Path, dsvd: Dsvd) -> None:
    foreseen = dsvd("push", "studio", "--all", "--dry-run")
    assert size_of_objects(studio) == 0
    pushed = dsvd("push", "studio", "subject-42@2")
    figure = number_format.size(size_of_objects(studio))
    assert pushed.code == 0 and pushed.err == ""
    assert pushed.out == (
        "added to studio: the base sd15\n"
        "added in studio: subject-42@2 as subject-42@1\n"
        f"copied: 3 objects, {figure}\n"
    )
    both = dsvd("push", "studio", "--all")
    assert both.out.startswith("added in studio: subject-42@1 as subject-42@2\ncopied: 1 object, ")
    assert both.out.endswith("\nin studio already: 1 version\n")
    assert foreseen.out == (
        "would be added to studio: the base sd15\n"
        "would be added in studio: subject-42@1\n"
        "would be added in studio: subject-42@2\n"
        f"would be copied: 4 objects, {number_format.size(size_of_objects(studio))}\n"
    )
    again = dsvd("push", "studio", "--all")
    assert again.out == "nothing to do: studio has 2 versions already\n"
    assert dsvd("alias", "set", "prod", "subject-42@2", "--registry", studio).code == 0
    found = dsvd("pull", "studio", "subject-42@prod", "--json").document
    assert found == {
        "versions": [
            {
                "ref": "subject-42@2",
                "arrived": "subject-42@1",
                "change": "completed",
                "staying": [],
            }
        ],
        "bases": [],
        "objects": 0,
        "bytes": 0,
        "dry_run": False,
    }
    assert dsvd("alias", "set", "prod", "subject-42@1", "--registry", studio).code == 0
    stays = dsvd("pull", "studio", "--all").out.splitlines()
    assert stays == [
        "the alias subject-42@prod stands for another version in this registry, and stays; in the other "
        "one it is subject-42@1",
        "nothing to do: this registry has 2 versions already",
    ]


def test_remotes(here: Path, studio: Path, dsvd: Dsvd) -> None:
    assert dsvd("remote", "ls").out == f"remote  registry\nstudio  {studio}\n"
    assert dsvd("remote", "ls", "--json").document == [{"name": "studio", "url": str(studio)}]
    refused = dsvd("remote", "add", "cloud", "s3://me:secret@bucket/prefix")
    assert refused.code == 2 and "secret" not in refused.err
    assert dsvd("remote", "rm", "studio").out == f"forgot the remote studio, {studio}\n"
    assert dsvd("remote", "ls").err.startswith("no remotes yet; ")
    gone = dsvd("push", "studio", "--all")
    assert gone.code == 3 and "`dsvd remote add NAME URL`" in gone.err


@pytest.mark.parametrize("command", ["push", "pull"])
def test_what_is_meant_must_be_said(studio: Path, dsvd: Dsvd, command: str) -> None:
    for words in ((), ("subject-42", "--all")):
        refused = dsvd(command, "studio", *words)
        assert refused.code == 2 and "Give refs, or --all for all versions." in refused.err


def test_clone(here: Path, filled: Path, dsvd: Dsvd) -> None:
    (here / "desks").mkdir()
    said = dsvd("clone", filled, "desks/one")
    assert said.code == 0 and said.out == (
        f"made a registry in {here}/desks/one: 2 versions, 1 base\n"
        "its remote origin is the one that it was made from\n"
    )
    assert dsvd("ls", "--json", "--registry", "desks/one").document == dsvd("ls", "--json").document
    pulled = dsvd("pull", "origin", "--all", "--registry", "desks/one")
    assert pulled.out == "nothing to do: this registry has 2 versions already\n"
    taken = dsvd("clone", filled, "desks/one")
    assert taken.code == 4 and "is a registry already" in taken.err
    document = dsvd("clone", "desks/one", "--json").document
    assert document == {"path": str(here / "one"), "versions": 2, "bases": 1}
