"""The benchmark harness end to end on a tiny pair, and its failure where figures disagree."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from benchmarks import __main__ as program
from benchmarks import add, lossless, materialize, memory, noise, rate, size, switch, verify
from benchmarks.harness import results
from benchmarks.harness.bench import Bench, FullSvd
from benchmarks.harness.checks import Disagreement, check_error, check_ranks
from benchmarks.harness.fresh import TaskFailed, run_fresh
from benchmarks.harness.machine import this_machine
from benchmarks.harness.results import Section
from benchmarks.harness.rows import Aim, Row, markdown
from benchmarks.subjects.pair import BadPair, Subject
from benchmarks.subjects.spectra import TABLE_2, TAUS, group_of, rank_at, singular_values
from benchmarks.subjects.streamed import StreamedSafetensors
from benchmarks.subjects.synthetic import (
    DELTA_RMS,
    exact_delta,
    full_rank_delta,
    make_pair,
    merged_delta,
    noisy_delta,
)
from benchmarks.subjects.unets import SD15, TINY
from benchmarks.yardsticks import algorithm_1, eight_bit, fixed_rank, zstd
from benchmarks.yardsticks.lossless import METHODS

SHAPES: dict[str, tuple[int, ...]] = {
    "conv_in.weight": (32, 4, 3, 3),
    "down_blocks.0.weight": (48, 64),
    "down_blocks.0.bias": (48,),
    "mid_block.weight": (64, 32, 3, 3),
    "up_blocks.0.weight": (96, 40),
    "conv_out.weight": (4, 32, 3, 3),
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Use one thread: for such small layers more threads cost more than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    folder = tmp_path / "pair"
    folder.mkdir()
    make_pair(folder, SHAPES, exact_delta, dtypes=("fp32",))
    return Subject(
        "tiny", folder / "base.fp32.safetensors", folder / "tuned.fp32.safetensors", aims=True
    )


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A harness in this process, with a full SVD of small subjects, without the extra `bench`."""
    monkeypatch.setattr(fixed_rank, "LONGEST_SIDE", 64)
    monkeypatch.setattr(lossless, "yardsticks", lambda: METHODS)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return Bench(scratch, runs=1, in_process=True)


def test_a_switch_of_a_tiny_pipeline(bench: Bench, tmp_path: Path) -> None:
    make_pair(tmp_path, TINY.shapes(), exact_delta, dtypes=("fp32",))
    files = (tmp_path / f"{side}.fp32.safetensors" for side in ("base", "tuned"))
    records = program.run_figure(switch, bench, Subject("tiny", *files))
    assert [record["what"] for record in records] == [
        *2 * ["switch to a subject made ahead"],
        *2 * ["switch"],
    ]
    assert not any(bench.scratch.iterdir())


@pytest.mark.parametrize("figure", [add, size, rate, materialize, verify, memory, lossless, noise])
def test_each_figure_gives_rows_and_leaves_nothing_behind(
    figure: ModuleType, bench: Bench, subject: Subject
) -> None:
    records = program.run_figure(figure, bench, subject)
    table = markdown([("tiny", record) for record in records])
    assert len(table.splitlines()) == len(records) + 2
    assert json.loads(json.dumps(records)) == [dict(record) for record in records]
    assert all(math.isfinite(float(str(record["ours"]))) for record in records)
    assert [path for path in bench.scratch.iterdir() if "algorithm-1-" not in path.name] == []


def test_a_wrong_rank_fails_the_figure_and_is_named(
    bench: Bench, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = bench.full_svd(subject)
    values = dict(right.compressed.values)
    values["mid_block.weight"] = torch.ones(64, dtype=torch.float64)
    wrong = FullSvd(replace(right.compressed, values=values), right.seconds)
    monkeypatch.setattr(bench, "full_svd", lambda _: wrong)
    with pytest.raises(Disagreement, match=r"1 ranks at tau 0\.5 differ:\n  mid_block\.weight: "):
        add.measure(bench, subject)


def test_an_error_larger_than_claimed_fails_the_figure(
    bench: Bench, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = size.relative_error
    monkeypatch.setattr(size, "relative_error", lambda *sides: 1.001 * true(*sides))
    with pytest.raises(Disagreement, match="is over the report's"):
        size.measure(bench, subject)


def test_an_error_larger_than_asked_for_is_a_disagreement() -> None:
    check_error(0.3, claimed=0.3, asked=0.3)
    check_error(0.30002, claimed=0.3)
    with pytest.raises(Disagreement, match="asked for"):
        check_error(0.30002, claimed=0.3, asked=0.3)


def test_ranks_may_differ_at_the_edge_alone() -> None:
    values = {"layer": torch.tensor([0.5 - 2e-5, 0.3, 0.2 + 2e-5], dtype=torch.float64)}
    assert check_ranks({"layer": 2}, values, 0.5) == 0
    assert check_ranks({"layer": 1}, values, 0.5) == 1
    with pytest.raises(Disagreement, match="layer: 3, where a full SVD gives 2"):
        check_ranks({"layer": 3}, values, 0.5)


def test_the_program_ends_with_1_where_a_figure_fails(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def fail(*_: object) -> list[Row]:
        raise Disagreement("ranks differ")

    monkeypatch.setenv("DSVD_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(add, "measure", fail)
    paths = ["--pair", str(subject.base), str(subject.tuned), "--subject", "pair"]
    monkeypatch.setattr("sys.argv", ["benchmarks", "add", *paths])
    assert program.main() == 1
    assert "FAILED: add, pair: ranks differ" in capsys.readouterr().err
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_program_tells_what_it_could_not_run(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def lacks(*_: object) -> list[Row]:
        raise ModuleNotFoundError("No module named 'zipnn'")

    monkeypatch.setenv("DSVD_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(lossless, "measure", lacks)
    monkeypatch.setattr(lossless, "SUBJECTS", ("pair",))
    monkeypatch.setattr("sys.argv", ["benchmarks", "lossless"])
    assert program.main() == 0
    told = "## Not run\n\n- lossless, pair: no pair was given with --pair\n"
    assert capsys.readouterr().out == told
    paths = ["--pair", str(subject.base), str(subject.tuned), "--subject", "pair"]
    monkeypatch.setattr("sys.argv", ["benchmarks", "lossless", *paths])
    assert program.main() == 0
    told = "## Not run\n\n- lossless, pair: No module named 'zipnn'\n"
    assert capsys.readouterr().out == told


@pytest.mark.parametrize(
    "arguments", [["speed"], ["add", "--subject", "pair"], ["add", "--runs", "0"]]
)
def test_what_the_program_does_not_know_is_refused(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks", *arguments])
    with pytest.raises(SystemExit, match="2"):
        program.main()
    assert "error:" in capsys.readouterr().err


def test_a_task_runs_in_a_process_of_its_own(subject: Subject) -> None:
    outcome = run_fresh("sha256", {"files": [str(subject.base)]}, memory=True)
    assert [len(digest) for digest in outcome.answer["sha256"]] == [64]
    assert 0 < outcome.seconds < 5
    with pytest.raises(TaskFailed, match="sha256 ended with 1"):
        run_fresh("sha256", {"files": [str(subject.base.parent)]})


def test_a_second_sitting_replaces_its_own_sections_alone(tmp_path: Path) -> None:
    figures = {"add": "Seconds.", "startup": "More seconds."}
    machine = this_machine()
    row = Row("add, tau 0.5", "s", 20.0, 3, "Algorithm 1", 200.0, 1, Aim(1 / 8, 1 / 12))
    plain = {"command": "dsvd ls", "median_seconds": 0.3}
    first = [Section("add", "one", machine, "1", [row.record()])]
    results.write([*first, Section("startup", "", machine, "1", [plain])], figures, tmp_path)
    later = Section("add", "two", replace(machine, cpu="other"), "2", [row.record()])
    results.write([later], figures, tmp_path)
    assert {(s.figure, s.subject) for s in results.read(tmp_path)} == {
        ("add", "one"),
        ("add", "two"),
        ("startup", ""),
    }
    results.write([replace(later, subject="one")], figures, tmp_path)
    text = (tmp_path / "RESULTS.md").read_text()
    assert "| 20.0 s | Algorithm 1 | 1 | 200.0 s | 1/10.0 | 1/8.0 (stretch 1/12.0): met |" in text
    assert "| dsvd ls | 0.3 |" in text
    assert text.index("## add") < text.index("## startup")
    add_part = text.split("## startup")[0]
    assert (add_part.count("dsvd-registry 2 on other"), add_part.count("dsvd-registry 1")) == (1, 0)
    assert platform.node() not in text


def test_the_spectra_have_the_ranks_of_the_papers_table() -> None:
    ranks: dict[str, list[list[int]]] = {}
    for name, shape in SD15.shapes().items():
        if len(shape) >= 2 and not name.startswith("time_embedding"):
            values = singular_values(group_of(name), min(shape[0], math.prod(shape[1:])))
            found = [len(values), *(rank_at(values, tau) for tau in TAUS)]
            ranks.setdefault(group_of(name), []).append(found)
    for group, (full_rank, expected) in TABLE_2.items():
        means = [sum(column) / len(column) for column in zip(*ranks[group], strict=True)]
        assert means == pytest.approx([full_rank, *expected], abs=0.51)


@pytest.mark.parametrize("exact", [True, False])
def test_made_pairs_have_the_ranks_wanted(exact: bool, tmp_path: Path) -> None:
    shape = (160, 30, 3, 3)
    make = exact_delta if exact else noisy_delta
    make_pair(tmp_path, {"mid_block.weight": shape}, make, dtypes=("fp32", "fp16"))
    sides = {path.stem: load_file(path)["mid_block.weight"] for path in tmp_path.iterdir()}
    delta = sides["tuned.fp32"].double() - sides["base.fp32"].double()
    values = torch.linalg.svdvals(delta.reshape(160, -1))
    wanted = singular_values("mid", 160)
    for tau in (0.06, 0.2, 0.5):
        assert algorithm_1.rank_at(values, tau) == pytest.approx(
            rank_at(wanted, tau), abs=0 if exact else 3
        )
    assert float(delta.square().mean().sqrt()) == pytest.approx(DELTA_RMS, rel=1e-3)
    assert torch.equal(sides["tuned.fp32"].half(), sides["tuned.fp16"])


def test_hard_deltas_are_hard(tmp_path: Path) -> None:
    """A merge has the components of both fine-tunes; white noise needs nearly half of the ranks."""
    found = {}
    for make in (exact_delta, merged_delta, full_rank_delta):
        (folder := tmp_path / make.__name__).mkdir()
        make_pair(folder, {"mid_block.weight": (160, 240)}, make, dtypes=("fp32",))
        base, tuned = (
            load_file(folder / f"{side}.fp32.safetensors")["mid_block.weight"].double()
            for side in ("base", "tuned")
        )
        values = torch.linalg.svdvals(tuned - base)
        found[make] = algorithm_1.rank_at(values, 0.5)
    assert 1.3 * found[exact_delta] < found[merged_delta] < found[full_rank_delta]
    assert found[full_rank_delta] > 0.25 * 160


def test_the_yardsticks_do_what_they_are_named_for(bench: Bench, subject: Subject) -> None:
    svd = bench.full_svd(subject)
    assert bench.full_svd(subject) is svd
    name = "down_blocks.0.weight"
    low = load_file(svd.compressed.cut(0.2, bench.scratch / "low"))
    high = load_file(svd.compressed.file)
    rank = svd.compressed.ranks(0.2)[name]
    assert low[f"{name}.A"].dtype == torch.float16
    assert torch.equal(low[f"{name}.A"], high[f"{name}.A"][:, :rank])
    with subject.open() as pair:
        delta = pair.delta(name).double()
        made = algorithm_1.Result(pair, svd.compressed.file).tensor(name) - pair.base(name)
        values = svd.compressed.values[name]
        lost = values[svd.compressed.ranks(0.5)[name] :].norm()
        assert float((made - delta).norm()) == pytest.approx(float(lost), rel=1e-3)
        scale = float(pair.tuned(name).abs().max()) / 127
        off = eight_bit.tensor(pair, name) - pair.tuned(name)
        assert 0.4 * scale < float(off.abs().max()) < 0.501 * scale
        assert eight_bit.size(pair) == sum(map(math.prod, SHAPES.values())) + 4 * len(SHAPES)
        whole = zstd.size_of_xor(pair)
        part = zstd.size_of_xor(pair, limit=40_000)
    assert whole.share == 1
    assert part.share < 0.5
    assert part.stored == pytest.approx(whole.stored, rel=0.1)


def test_a_streamed_file_takes_its_tensors_in_order_and_whole(tmp_path: Path) -> None:
    kinds = {"a": (torch.float16, (3, 2)), "b": (torch.float32, (1,))}
    tensors = {"a": torch.randn(3, 2).half(), "b": torch.ones(1)}
    with StreamedSafetensors(tmp_path / "file", kinds) as file:
        for name, tensor in tensors.items():
            file.write(name, tensor)
    read = load_file(tmp_path / "file")
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())
    for name, problem in (("a", "1 tensors are missing"), ("b", "b is not the next tensor")):
        with (
            pytest.raises(ValueError, match=problem),
            StreamedSafetensors(tmp_path / "file", kinds) as file,
        ):
            file.write(name, tensors[name])


def test_files_that_are_no_pair_are_refused(subject: Subject, tmp_path: Path) -> None:
    subject.check()
    make_pair(tmp_path, {"conv_in.weight": (4, 4)}, exact_delta, dtypes=("fp32",))
    with pytest.raises(BadPair, match=r"conv_in\.weight of base and fine-tune differ in shape"):
        replace(subject, base=tmp_path / "base.fp32.safetensors").check()
    with pytest.raises(BadPair, match="not a pair of safetensors files"):
        replace(subject, tuned=tmp_path / "absent").check()
