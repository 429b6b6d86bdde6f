"""Commands that need no tensor import neither torch nor diffusers, and alembic only if needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import run_python

HEAVY = (
    "torch",
    "scipy",
    "diffusers",
    "transformers",
    "alembic",
    "dsvd_registry.encoding.container_builder",
)
PROGRAM = """
import sys
{code}
print(*(name for name in {heavy} if name in sys.modules))
"""
OPEN = "from dsvd_registry import Registry; registry = Registry.open(sys.argv[1]); "


def imported(code: str, *arguments: object) -> set[str]:
    """The heavy modules that a fresh interpreter has imported after `code`."""
    return set(run_python(PROGRAM.format(code=code, heavy=HEAVY), *arguments).split())


@pytest.mark.parametrize(
    "code",
    [
        "import dsvd_registry; dsvd_registry.__version__",
        "from dsvd_registry.registry import Registry, Report, Verified",
        OPEN
        + "registry.versions(); registry.bases(); registry.base_tensors('sd15');"
        + "registry.report('subject'); registry.history('subject'); registry.usage();"
        + "assert registry.verify().is_well; registry.collect_garbage();"
        + "registry.set_note('subject', 'x');"
        + "registry.add_tag('subject', 'x'); registry.set_alias('x', 'subject')",
    ],
    ids=["version", "import", "use"],
)
def test_without_a_tensor(root: Path, code: str) -> None:
    assert imported(code, root) == set()


@pytest.mark.parametrize(
    "code",
    [
        "registry.materialize('subject', sys.argv[2] + '/out.safetensors')",
        "registry.path('subject', cache=sys.argv[2] + '/cache')",
        "assert registry.verify(deep=True).is_well",
        "list(registry.diff_base('subject'))",
        "registry.export_container('subject', sys.argv[2] + '/out.dsvd');"
        + "registry.import_container(sys.argv[2] + '/out.dsvd', name='again')",
    ],
    ids=["materialize", "path", "verify", "diff", "portable"],
)
def test_a_checkpoint_is_given_back_with_numpy_alone(root: Path, code: str, tmp_path: Path) -> None:
    assert imported(OPEN + code, root, tmp_path) == set()


def test_this_test_can_fail(root: Path) -> None:
    code = OPEN + "registry.tensors('subject').close()"
    assert imported(code, root) == {"torch"}
    code = "from dsvd_registry import Registry; Registry.init(sys.argv[1])"
    assert imported(code, root.parent / "new") == {"alembic"}


def test_a_base_is_added_without_torch(root: Path, pair: object) -> None:
    code = OPEN + "registry.add_base('other', sys.argv[2])"
    assert imported(code, root, pair.tuned_file) == set()  # type: ignore[attr-defined]
