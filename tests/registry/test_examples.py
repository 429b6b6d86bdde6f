"""The examples of the public API: each docstring's runs, in a folder and a registry of its own."""

from __future__ import annotations

import doctest
import inspect
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from safetensors.torch import save_file

from dsvd_registry import Registry, registry

PUBLIC = {
    name: member
    for name, member in inspect.getmembers(Registry)
    if not name.startswith("_") and (inspect.isroutine(member) or isinstance(member, property))
}
WITH_EXAMPLES = [
    test
    for part in Registry.__mro__  # the class is joined of its methods, by what they are about
    if part.__module__.startswith("dsvd_registry.registry")
    for test in doctest.DocTestFinder().find(part)
    if test.examples
]


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the examples suppose it: checkpoints, a key, a backup, and a registry `.dsvd`."""
    folder = tmp_path_factory.mktemp("studio")
    generator = torch.Generator().manual_seed(7)
    base = {"unet.weight": torch.randn(16, 16, generator=generator)}
    files = {"sd15": base, "other": {"unet.weight": torch.randn(16, 16, generator=generator)}}
    for name in ("ft", "ft2"):
        change = 0.01 * torch.outer(*torch.randn(2, 16, generator=generator))
        files[name] = {"unet.weight": base["unet.weight"] + change}
    for name, tensors in files.items():
        save_file(tensors, folder / f"{name}.safetensors")
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(pem)
    (folder / "notes.txt").write_text("5 photographs of Rex\n")
    (folder / "backup").mkdir()
    (folder / "models").mkdir()
    files["models/subject-7"] = {"unet.weight": base["unet.weight"] + change.T}
    save_file(files["models/subject-7"], folder / "models/subject-7.safetensors")
    with Registry.init(folder / ".dsvd") as opened:
        opened.add_base("sd15", folder / "sd15.safetensors")
        for name in ("ft", "ft2"):
            opened.add(folder / f"{name}.safetensors", base="sd15", name="subject-42")
        opened.set_alias("prod", "subject-42@1")
        opened.add_tag("subject-42@1", "dog")
    return folder


@pytest.fixture
def names(
    studio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, object]]:
    """The names that an example knows."""
    place = tmp_path / "studio"
    shutil.copytree(studio, place)
    monkeypatch.chdir(place)
    monkeypatch.delenv("DSVD_REGISTRY", raising=False)
    with Registry.open(place / ".dsvd") as opened:
        yield {"Registry": Registry, "registry": opened, "os": os}


@pytest.mark.parametrize("example", WITH_EXAMPLES, ids=lambda example: example.name)
def test_an_example_gives_what_it_says(
    example: doctest.DocTest, names: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    example.globs = names
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL)
    runner.run(example, clear_globs=False)
    assert runner.summarize(verbose=False).failed == 0, capsys.readouterr().out


def test_every_example_is_run() -> None:
    shown = [name for name, member in PUBLIC.items() if ">>> " in (inspect.getdoc(member) or "")]
    assert set(shown) <= {example.name.rpartition(".")[2] for example in WITH_EXAMPLES}


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_method_is_documented(name: str) -> None:
    """It says what it does, what its parameters are where it has several, and shows an example."""
    text = inspect.getdoc(PUBLIC[name]) or ""
    assert text
    if isinstance(PUBLIC[name], property) or name == "close":
        return
    assert "Example:" in text
    described = [
        parameter
        for parameter in inspect.signature(PUBLIC[name]).parameters
        if parameter not in {"self", "cls"}
    ]
    if len(described) > 2:
        assert "Args:" in text
        assert [
            one for one in described if f"    {one}:" not in text and f"**{one}:" not in text
        ] == []


def test_what_a_method_gives_is_exported() -> None:
    """Every type of our own in a public signature can be imported from `dsvd_registry.registry`."""
    known = {*registry.__all__, "Self", "Path", "Callable", "Iterable", "Sequence", "datetime"}
    known |= {"str", "bool", "int", "float", "None", "list", "tuple", "Unpack", "Literal"}
    known |= {"BinaryIO", "dict", "Executor", "Mapping"}
    unknown = set()
    for member in PUBLIC.values():
        function = member.fget if isinstance(member, property) else member
        for annotation in inspect.get_annotations(inspect.unwrap(function)).values():
            unknown |= set(_words(annotation)) - known
    assert unknown == set()


def _words(annotation: str) -> list[str]:
    return "".join(c if c.isalnum() or c == "_" else " " for c in annotation).split()
