"""`dsvd curve`: tables, the picture, and what can be got wrong."""

from __future__ import annotations

import shutil
import struct
import sys
from pathlib import Path

import pytest
from safetensors.torch import save_file

from dsvd_registry.encoding.request import DEFAULT_TAUS

from .conftest import Dsvd, fine_tuned
from .program import run
from .test_cli_bad_input import files, told
from .test_cli_imports import HEAVY, imported
from .test_cli_weights import table

WITHOUT_MATPLOTLIB = """
import sys
sys.modules["matplotlib"] = None
from dsvd_registry.cli import main
sys.exit(main())
"""
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def ft(filled: Path, here: Path, checkpoints: Path) -> Path:
    """A fine-tune beside the registry that has its base."""
    return Path(shutil.copy(checkpoints / "ft.safetensors", here / "ft.safetensors"))


def size_of(picture: Path) -> tuple[int, int]:
    """Width and height of a PNG file."""
    data = picture.read_bytes()
    assert data.startswith(PNG)
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def test_of_a_file(dsvd: Dsvd, ft: Path, here: Path) -> None:
    before = files(here)
    shown = dsvd("curve", ft.name, "--base", "sd15", "--taus", "0.5,0.2,0.9")
    assert (shown.code, shown.err) == (0, "")
    assert files(here) == before
    assert shown.out.startswith("ft.safetensors, ")
    assert "against sd15; nothing is stored\n" in shown.out
    points = table(shown.out, "tau ")
    assert [row[0] for row in points] == ["0.2", "0.5", "0.9"]
    assert all(len(row) == 4 for row in points)  # no column of what the noise cap did
    errors = [float(row[3]) for row in points]
    assert errors == sorted(errors, reverse=True)
    ranks = {row[0]: row[1:] for row in table(shown.out, "layers ")}
    assert ranks["conv_in"][0] == "32.0"
    assert ranks.keys() == {"conv_in", "down", "up"}
    assert [float(rank) for rank in ranks["down"][1:]] == sorted(map(float, ranks["down"][1:]))
    added = dsvd("add", ft.name, "--base", "sd15", "--tau", "0.2")
    assert f"relative error of the whole delta {points[0][3]};" in added.out


def test_of_a_version(dsvd: Dsvd, filled: Path) -> None:
    shown = dsvd("curve", "subject-42@1")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.startswith("subject-42@1, of ")
    assert "stores up to tau 0.5\nsize: what is read of it; error: estimated" in shown.out
    taus = [row[0] for row in table(shown.out, "tau ")]
    assert taus == ["0.06", "0.1", "0.2", "0.35", "0.5"]
    high = table(dsvd("curve", "subject-42@1", "--taus", "0.2,0.8").out, "tau ")[1]
    assert high == ["0.8", "not stored"]
    asked = dsvd("curve", "subject-42@2", "--json").document["points"]
    assert [point["tau"] for point in asked] == [*DEFAULT_TAUS]


def test_as_json(dsvd: Dsvd, ft: Path) -> None:
    found = dsvd("curve", ft.name, "--base", "sd15", "--json").document
    fields = {"source", "base", "stored_tau", "source_size", "points", "groups", "plot"}
    assert found.keys() == fields
    assert (found["source"], found["base"], found["stored_tau"]) == ("ft.safetensors", "sd15", None)
    assert found["plot"] is None
    assert [point["tau"] for point in found["points"]] == [*DEFAULT_TAUS]
    point, group = found["points"][4], found["groups"][0]
    assert point.keys() == {
        *("tau", "is_served", "size", "error", "parameters", "uncapped_parameters"),
        *("groups", "tensors"),
    }
    assert point["groups"][0].keys() == {"group", "low_rank", "rank"}
    assert point["tensors"][0].keys() == {"name", "rank", "tau_rank"}
    assert group.keys() == {
        *("group", "tensors", "full_rank", "places", "values", "tau_places"),
    }
    assert len(group["tau_places"]) == len(found["points"])
    version = dsvd("curve", "subject-42@1", "--taus", "0.1,0.9", "--json").document
    assert (version["source"], version["stored_tau"]) == ("subject-42@1", 0.5)
    assert [point["is_served"] for point in version["points"]] == [True, False]


def test_what_the_noise_cap_saves_is_a_column(dsvd: Dsvd, filled: Path, here: Path) -> None:
    half = {name: tensor.bfloat16() for name, tensor in fine_tuned(1, 0.001).items()}
    save_file(half, here / "half.safetensors")
    words = ("half.safetensors", "--base", "sd15")
    shown = dsvd("curve", *words, "--taus", "0.1,0.95").out
    assert "kept  without the noise cap" in shown
    first, last = table(shown, "tau ")
    assert first[4] == first[5]
    kept, uncapped = (int(cell.replace(",", "")) for cell in last[4:6])
    assert kept < uncapped
    assert "without" not in dsvd("curve", *words, "--taus", "0.95", "--keep-noise").out
    added = dsvd("add", *words, "--tau", "0.95")
    capped = dsvd("show", "half", "--json").document["report"]["capped"]
    assert (
        f"the rounding noise of half precision: {len(capped)} tensors capped, "
        f"1/{uncapped / kept:.3g} of the parameters that tau alone would keep\n"
    ) in added.out
    rows = table(dsvd("show", "half", "--tensors").out, "kind      dtype")
    assert {row[-1] for row in rows} >= set(capped)
    assert "rounding noise" not in dsvd("show", "subject-42").out


@pytest.mark.parametrize("source", ["ft.safetensors", "subject-42@2"])
def test_the_picture(dsvd: Dsvd, ft: Path, here: Path, source: str) -> None:
    base = ["--base", "sd15"] if source == ft.name else []
    words = (source, *base, "--taus", "0.1,0.2,0.5")
    shown = dsvd("curve", *words, "--plot", "curve.png")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.endswith("\nwrote curve.png\n")
    width, height = size_of(here / "curve.png")
    assert 1000 < width < 3000
    assert 500 < height < width
    data = (here / "curve.png").read_bytes()
    assert 20_000 < len(data) < 1_000_000
    told(dsvd("curve", *words, "--plot", "curve.png"), 4, "curve.png exists already", "--force")
    again = dsvd("curve", *words, "--plot", "curve.png", "--force", "--json")
    assert again.document["plot"] == "curve.png"
    assert (here / "curve.png").read_bytes() == data
    assert not list(here.glob(".dsvd-tmp-*"))


def test_a_picture_of_what_has_no_singular_values(dsvd: Dsvd, filled: Path, here: Path) -> None:
    weights = {"mid_block.norm.bias": fine_tuned(1)["mid_block.norm.bias"]}
    save_file(weights, here / "bias.safetensors")
    words = ("curve", "bias.safetensors", "--base=sd15", "--taus=0.1", "--plot=curve.png")
    shown = dsvd(*words)
    assert (shown.code, shown.err) == (0, "")
    assert "no tensor of it is stored as low-rank\n" in shown.out
    size_of(here / "curve.png")


@pytest.mark.parametrize(
    ("words", "code", "told_words"),
    [
        ("curve", 2, ["REF|FILE"]),
        ("curve ft.safetensors", 2, ["ft.safetensors is a file", "--base"]),
        ("curve ./ft.safetensors", 2, ["--base"]),
        ("curve nowhere.ckpt --base sd15", 9, ["nowhere.ckpt", "No such file"]),
        ("curve text.bin --base sd15", 5, ["text.bin is not a checkpoint"]),
        ("curve ft.safetensors --base sd51", 3, ["Did you mean sd15?"]),
        ("curve subjct-42", 3, ["no file is named subjct-42", "Did you mean subject-42?"]),
        ("curve subject-42@7", 3, ["subject-42@7"]),
        ("curve subject-42 --base sd15", 2, ["its base is known"]),
        ("curve subject-42 --keep-noise", 2, ["subject-42@2"]),
        ("curve subject-42 --taus 0", 2, ["tau 0.0", "(0, 1]"]),
        ("curve subject-42 --taus 0.5,1.5", 2, ["tau 1.5"]),
        ("curve subject-42 --taus 0.5,much", 2, ["0.5,much", "0.2,0.5,0.8"]),
        ("curve subject-42 --taus ,", 2, ["--taus"]),
        ("curve subject-42 --plot curve.pdf", 2, ["does not end with .png"]),
        ("curve subject-42 --plot no/where.png", 9, ["no folder no"]),
        ("curve subject-42 --plot mine.png", 4, ["mine.png", "--force"]),
        ("curve subject-42 --plot folder.png --force", 2, ["not a plain file"]),
        ("curve ft.safetensors --base sd15 --device abacus", 2, ["abacus"]),
    ],
)
def test_bad_words(
    dsvd: Dsvd, ft: Path, here: Path, words: str, code: int, told_words: list[str]
) -> None:
    (here / "text.bin").write_text("no checkpoint")
    (here / "mine.png").write_text("mine")
    (here / "folder.png").mkdir()
    before = files(here)
    told(dsvd(*words.split()), code, *told_words)
    assert dsvd(*words.split(), "--json").error["exit_code"] == code
    assert files(here) == before


def test_without_matplotlib(ft: Path, here: Path) -> None:
    words = ("curve", "subject-42", "--plot", "curve.png")
    failed = run(sys.executable, "-c", WITHOUT_MATPLOTLIB, *words, cwd=here)
    told(failed, 2, "matplotlib", "pip install 'dsvd-registry[plot]'")
    assert run(sys.executable, "-c", WITHOUT_MATPLOTLIB, *words[:2], cwd=here).code == 0


def test_a_version_needs_no_torch(filled: Path, here: Path) -> None:
    modules = imported(here, "curve", "subject-42")
    assert not modules.intersection((*HEAVY, "matplotlib"))


@pytest.mark.parametrize(
    ("words", "asked", "account"),
    [
        (["--tau=0.3"], "tau 0.3", " at tau 0.3, grid noise 0.015"),
        (["--max-error=0.4"], "error 0.4", "; asked: relative error 0.4; reached 0."),
        (["--budget=4kB"], "4.0 kB", "; asked: 4.0 kB; reached relative error 0."),
    ],
)
def test_what_was_asked_for_is_told(
    dsvd: Dsvd, ft: Path, words: list[str], asked: str, account: str
) -> None:
    added = dsvd("add", ft.name, "--base", "sd15", *words)
    assert added.code == 0, added.err
    assert account in added.out.splitlines()[1]
    assert account in dsvd("show", "ft").out
    (row,) = table(dsvd("ls", "ft").out, "version ")
    assert row[3] == asked
    report = dsvd("show", "ft", "--json").document["report"]
    asked_for = [name for name in ("max_error", "budget") if report[name] is not None]
    assert len(asked_for) == (0 if "--tau=0.3" in words else 1)
    assert 0 < report["error"] < 1
    assert dsvd("curve", "ft", "--json").document["points"][-1]["is_served"]
