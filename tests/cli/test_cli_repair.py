"""`dsvd verify --all --repair`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dsvd_registry import Registry

from .conftest import Dsvd

ONE, TWO = "subject-42@1", "subject-42@2"


def damaged(dsvd: Dsvd, filled: Path, which: str = "container") -> Path:
    """An object with another byte at its end."""
    if which == "container":
        digest = dsvd("show", ONE, "--json").document["container"]
    else:
        digest = dsvd("base", "show", "sd15", "--json").document["file"]
    path = filled / "objects" / digest[:2] / digest
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    return path


def test_nothing_to_do(dsvd: Dsvd, filled: Path) -> None:
    done = dsvd("verify", "--all", "--repair")
    assert (done.code, done.out, done.err) == (0, "2 versions, 1 base: all is well\n", "")
    document = dsvd("verify", "--all", "--repair", "--deep", "--json").document
    assert document["is_well"] and document["verified"]["deep"]
    assert (document["catalog"], document["restored"], document["lost"]) == (None, [], [])


def test_restored(dsvd: Dsvd, filled: Path, checkpoints: Path) -> None:
    path = damaged(dsvd, filled, "base")
    done = dsvd("verify", "--all", "--repair", "--from", checkpoints)
    assert (done.code, done.err) == (0, "")
    title, row, _, last = done.out.splitlines()
    assert title.split()[:2] == ["object", "SHA-256"]
    assert row.split()[:3] == ["restored", "base", path.name[:12]]
    assert str(checkpoints / "base.safetensors") in row
    assert row.endswith(f"base sd15, {ONE}, {TWO}")
    assert last == "2 versions, 1 base: all is well"


def test_lost_and_brought_back(dsvd: Dsvd, filled: Path, here: Path) -> None:
    dsvd("export", ONE, "--format=dsvd", "-o", "it.dsvd")
    path = damaged(dsvd, filled)
    done = dsvd("verify", "--all", "--repair")
    assert done.code == 1
    row = done.out.splitlines()[1]
    assert row.split()[:3] == ["lost", "container", path.name[:12]]
    aside = filled / "quarantine" / path.name
    assert aside.is_file() and str(aside) in row and row.endswith(ONE)
    assert done.out.splitlines()[-1].startswith("2 versions, 1 base: 1 finding")
    assert "dsvd import" in done.err and "--from" in done.err
    assert dsvd("materialize", TWO, "-o", "two.safetensors").code == 0
    assert dsvd("du").out.splitlines()[-1].endswith("set aside as damaged, in `quarantine`")
    document = dsvd("verify", "--all", "--repair", "--json")
    assert document.code == 1
    (lost,) = document.document["lost"]
    assert lost["subjects"] == [ONE] and lost["quarantined"] == str(aside)
    assert dsvd("import", "it.dsvd", "--name=subject-42").code == 0
    assert dsvd("verify", "--all", "--deep").code == 0


def test_a_catalog_that_cannot_be_opened(dsvd: Dsvd, filled: Path) -> None:
    before = dsvd("ls", "--json").document
    (filled / "catalog.sqlite").write_bytes(b"nothing of a database" * 500)
    assert dsvd("verify").code == 8
    done = dsvd("verify", "--all", "--repair")
    assert done.code == 0
    assert done.out.splitlines()[0].startswith("catalog rebuilt from ")
    assert "catalog.sqlite.damaged-1" in done.out
    assert dsvd("ls", "--json").document == before


def test_the_registry_is_named_before_or_after(dsvd: Dsvd, filled: Path, here: Path) -> None:
    shutil.move(filled, here / "moved")
    for words in (
        ("--registry", here / "moved", "verify", "--all", "--repair"),
        ("verify", "--all", "--repair", "--registry", here / "moved"),
    ):
        assert dsvd(*words).code == 0


@pytest.mark.parametrize(
    "words",
    [
        "--repair",
        f"{ONE} --repair",
        f"{ONE} --all --repair",
        "--all --from x",
        "--all --repair --from x",
    ],
)
def test_wrong_words(dsvd: Dsvd, filled: Path, words: str) -> None:
    assert dsvd("verify", *words.split()).code == 2


def test_what_is_well_is_not_touched(dsvd: Dsvd, filled: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (filled / "objects").rglob("*")}
    assert dsvd("verify", "--all", "--repair").code == 0
    assert before == {path: path.stat().st_mtime_ns for path in (filled / "objects").rglob("*")}
    assert not (filled / "quarantine").exists()


def test_the_last_findings_are_kept(dsvd: Dsvd, filled: Path) -> None:
    """By a check of everything and by a repair, not by one of a single version."""
    kept = filled / "verified.json"
    dsvd("verify", TWO)
    assert not kept.exists()
    damaged(dsvd, filled)
    dsvd("verify", "--all")
    with Registry.open(filled) as registry:
        found = registry.last_verified()
        assert found is not None and found.found == 1
        (finding,) = found.verified.findings
        assert finding.subjects == (ONE,)
        dsvd("verify", "--all", "--repair")  # which sets the object aside, and finds it missing
        again = registry.last_verified()
        assert again is not None and again.ended > found.ended
        for text in (
            "",
            "{",
            "[]",
            "{}",
            '{"findings":[{}]}',
            '{"ended":7,"findings":[],"found":0}',
        ):
            kept.write_text(text)
            assert registry.last_verified() is None
