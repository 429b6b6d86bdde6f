"""Run the named figures (all by default) and print them as tables: `python -m benchmarks [NAME ...]`.

Full-size subjects are made at their first use (20 GB in the cache folder, minutes), and all figures
together take about an hour on two cores. Tables go to stdout, progress to stderr; at the end stands
what was not run, and why. The exit status is 1 if a yardstick and our run disagree on a rank, or if an
error is larger than claimed.

`python -m benchmarks paper` draws the Delta-SVD paper's tables and figures again.
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import sys
import tempfile
from pathlib import Path
from types import ModuleType

from dsvd_registry import DsvdError, __version__

from .harness import results
from .harness.bench import Bench
from .harness.checks import Disagreement
from .harness.fresh import TaskFailed
from .harness.machine import this_machine
from .harness.progress import say
from .harness.results import Section
from .harness.rows import Record
from .subjects import cache
from .subjects.pair import BadPair, Subject, Unsuited

FIGURES = (
    "add",
    "size",
    "rate",
    "materialize",
    "results",
    "mount",
    "switch",
    "verify",
    "memory",
    "lossless",
    "noise",
    "startup",
    "catalog",
    "commits",
    "cloud",
    "bulk",
    "served",
)
PAPER = "paper"  # a command of its own: `python -m benchmarks paper --help`
GIVEN = "pair"  # the key of the subject that --pair names


def main() -> int:
    if sys.argv[1:2] == [PAPER]:
        from .paper.command import main as paper  # needs diffusers, which no figure does

        return paper(sys.argv[2:])
    options = _parser().parse_args()
    if unknown := set(options.names) - set(FIGURES):
        _parser().error(f"no figure is called {min(unknown)}: choose from {', '.join(FIGURES)}")
    if options.runs < 1:
        _parser().error("--runs must be at least 1")
    given = None
    if options.pair:
        base, tuned = options.pair
        given = Subject(options.pair_name, base, tuned, trained=True)
        try:
            given.check()
        except BadPair as error:
            _parser().error(f"--pair: {error}")
    elif GIVEN in (options.subject or ()):
        _parser().error(f"--subject {GIVEN} needs --pair")
    folder = cache.default_folder()
    folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="run-", dir=folder))
    try:
        return _run(options, given, folder, Bench(scratch, options.runs))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _run(options: argparse.Namespace, given: Subject | None, folder: Path, bench: Bench) -> int:
    modules = {name: importlib.import_module(f".{name}", __package__) for name in FIGURES}
    failed, not_run = False, []
    for name in options.names or FIGURES:
        module, sections = modules[name], []
        if given is None and GIVEN in getattr(module, "SUBJECTS", ()) and not options.subject:
            not_run.append(f"{name}, {GIVEN}: no pair was given with --pair")
        for key in _subjects(module, options.subject, given is not None):
            try:
                subject = given if key == GIVEN else cache.subject(key, folder) if key else None
                say(f"{name}: {subject.title if subject else 'its own subject'}")
                records = run_figure(module, bench, subject)
            except (Unsuited, ModuleNotFoundError) as error:
                say(f"  left out: {error}")
                not_run.append(f"{name}, {key or 'its own subject'}: {error}")
                continue
            except (Disagreement, TaskFailed, DsvdError) as error:
                failed = True
                print(f"FAILED: {name}, {key}: {error}", file=sys.stderr, flush=True)
                continue
            title = subject.title if subject else ""
            sections.append(Section(name, title, this_machine(), __version__, records))
        if sections:
            print(f"## {name}\n\n{_text(module)}\n\n{results.tables(sections)}\n", flush=True)
        if sections and options.write:
            results.write(sections, {name: _text(module) for name, module in modules.items()})
    if not_run:
        print("\n".join(["## Not run", "", *(f"- {line}" for line in not_run)]), flush=True)
    return int(failed)


def run_figure(module: ModuleType, bench: Bench, subject: Subject | None) -> list[Record]:
    """Measure a figure. One without subjects makes its own, and its records have their own columns."""
    if subject is None:
        own: list[Record] = module.measure()
        return own
    return [row.record() for row in module.measure(bench, subject)]


def _subjects(module: ModuleType, chosen: list[str] | None, is_given: bool) -> tuple[str, ...]:
    """The keys of the subjects to run; "" for a figure without subjects."""
    own: tuple[str, ...] = getattr(module, "SUBJECTS", ())
    if not own:
        return ("",)
    return tuple(chosen or (key for key in own if key != GIVEN or is_given))


def _text(module: ModuleType) -> str:
    return (module.__doc__ or "").strip()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(FIGURES))
    parser.add_argument(
        "--subject",
        action="append",
        choices=(*cache.KEYS, GIVEN),
        help="only this subject, instead of the figure's own (may be repeated)",
    )
    parser.add_argument(
        "--pair", nargs=2, type=Path, metavar=("BASE", "FT"), help="one more subject: two files"
    )
    parser.add_argument(
        "--pair-name", default="given pair", metavar="TEXT", help="its name in the tables"
    )
    parser.add_argument(
        "--runs", type=int, default=3, help="repetitions of timed runs (%(default)s)"
    )
    parser.add_argument(
        "--write", action="store_true", help="update RESULTS.md and results.json in benchmarks/"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
