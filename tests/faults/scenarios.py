"""The commands that change a registry, each on the smallest registry that it needs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from safetensors.torch import save_file
from small_pictures import picture

from dsvd_registry import Registry
from dsvd_registry.errors import StorageError

TAU = 0.5
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32))).private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
)

Weights = dict[str, torch.Tensor]
Step = Callable[[Registry, Path], object]


@dataclass(frozen=True)
class Scenario:
    """`before`: what is done first, to an empty registry. `words`: the same command of `dsvd`.

    `originals`: paths of files that are always there, or can be restored.
    """

    name: str
    before: tuple[Step, ...]
    do: Step
    words: tuple[str, ...]
    originals: tuple[str, ...] = ()


def weights(seed: int, size: float) -> Weights:
    """A base (size 0), or a fine-tune of it with a tensor of its own."""
    numbers = torch.Generator().manual_seed(3)
    made = {
        "up.weight": torch.randn(24, 16, generator=numbers),
        "b": torch.randn(24, generator=numbers),
        "ids": torch.arange(4),
    }
    if size:
        numbers.manual_seed(seed)
        made["up.weight"] += (
            size * torch.randn(24, 2, generator=numbers) @ torch.randn(2, 16, generator=numbers)
        )
        made["b"] += size * torch.randn(24, generator=numbers)
        made["new"] = torch.randn(5, generator=numbers)
    return made


def write_sources(at: Path) -> None:
    """A base, two fine-tunes and a LoRA as files, a base and a fine-tune as folders, and a key."""
    save_file(weights(0, 0), at / "base.safetensors")
    save_file(weights(1, 0.01), at / "tuned.safetensors")
    save_file(weights(2, 0.01), at / "other.safetensors")
    numbers = torch.Generator().manual_seed(4)
    factors = {
        "up.lora_A.weight": torch.randn(2, 16, generator=numbers),
        "up.lora_B.weight": torch.randn(24, 2, generator=numbers),
    }
    save_file(factors, at / "lora.safetensors", {"trigger": "dog"})
    for name, made in (("base-folder", weights(0, 0)), ("tuned-folder", weights(1, 0.01))):
        (at / name).mkdir()
        made["up.weight"] = made["up.weight"] + 1  # another base than that of the file
        save_file(made, at / name / "diffusion_pytorch_model.safetensors")
        (at / name / "config.json").write_text(json.dumps({"_class_name": "UNet2DConditionModel"}))
    (at / "key").write_bytes(KEY)
    (at / "preview.png").write_bytes(picture())


def base(r: Registry, at: Path) -> None:
    r.add_base("sd15", at / "base.safetensors")


def version(r: Registry, at: Path) -> None:
    r.add(at / "tuned.safetensors", base="sd15", name="one", tau=TAU)


def lossless(r: Registry, at: Path) -> None:
    r.add(at / "tuned.safetensors", base="sd15", name="one", tau=TAU, lossless=True)


def lora(r: Registry, at: Path) -> None:
    r.add(at / "lora.safetensors", base="sd15", name="one")


def lossless_lora(r: Registry, at: Path) -> None:
    r.add(at / "lora.safetensors", base="sd15", name="one", lossless=True)


def mine(r: Registry, at: Path) -> None:
    """A folder to archive, and beside the whole the mounted file that a link can lead to."""
    (at / "mine").mkdir()
    shutil.copy(at / "tuned.safetensors", at / "mine/one.safetensors")
    mounted = at.parent / "mount/checkpoints"
    mounted.mkdir(parents=True, exist_ok=True)
    shutil.copy(at / "tuned.safetensors", mounted / "one@1.safetensors")


def my_lora(r: Registry, at: Path) -> None:
    (at / "mine").mkdir()
    shutil.copy(at / "lora.safetensors", at / "mine/one.safetensors")


def archived(r: Registry, at: Path, link_to: Path | None = None) -> None:
    for file in r.archive(r.plan_archive(at / "mine", link_to=link_to, base="sd15")).staying:
        if file.exit_code:
            assert file.exit_code == StorageError.exit_code, file
            raise StorageError(file.reason, file.hint)


def linked(r: Registry, at: Path) -> None:
    archived(r, at, at.parent / "mount")


def restored(r: Registry, at: Path) -> None:
    r.restore("one@1", at / "X", replace=True)


def other_version(r: Registry, at: Path) -> None:
    r.add(at / "other.safetensors", base="sd15", name="one", tau=TAU)


def folder_base(r: Registry, at: Path) -> None:
    r.add_base("folder", at / "base-folder")


def folder_version(r: Registry, at: Path) -> None:
    r.add(at / "tuned-folder", base="folder", name="one", tau=TAU)


def removed(r: Registry, at: Path) -> None:
    r.remove_version("one@1")


def signed(r: Registry, at: Path) -> None:
    r.sign("one@1", at / "key")


def exported(r: Registry, at: Path) -> None:
    r.export_container("one", at / "X", replace=True)


def materialized(r: Registry, at: Path) -> None:
    r.materialize("one", at / "X", replace=True)


def labelled(r: Registry, at: Path) -> None:
    r.set_alias("prod", "one@1")
    r.add_tag("one@1", "dog")
    r.set_note("one@1", "good")


def described(r: Registry, at: Path) -> None:
    r.set_metadata("one@1", {"trigger": "sks dog"})
    r.attach("one@1", at / "preview.png")


def remote(r: Registry, at: Path) -> None:
    """Another registry with versions of its own, beside the whole that is tried."""
    place = at.parent / "remote"
    if not place.exists():
        with Registry.init(place) as other:
            for step in (base, lossless, signed, described, labelled):
                step(other, at)
            other_version(other, at)
    r.add_remote("studio", place)


def beside(r: Registry, at: Path) -> None:
    """A preview and a sidecar beside the fine-tune."""
    (at / "tuned.png").write_bytes(picture(seed=1))
    (at / "tuned.civitai.info").write_text('{"trainedWords": ["sks"]}')


def leftover(r: Registry, at: Path) -> None:
    (at / "registry/tmp/.dsvd-tmp-0123456789abcdef").write_bytes(b"left by a crash")


def cut_catalog(r: Registry, at: Path) -> None:
    """A catalog that cannot be read; a program that was killed left it with a write-ahead log."""
    r.close()
    (at / "registry/catalog.sqlite").write_bytes(b"overwritten" * 99)
    (at / "registry/catalog.sqlite-wal").write_bytes(b"a log")


REBUILD = "catalog rebuild of a damaged one"

_ALL = [
    Scenario("base add", (), base, ("base", "add", "sd15", "base.safetensors")),
    Scenario("base add again", (base,), base, ("base", "add", "sd15", "base.safetensors")),
    Scenario(
        "base add --link", (base,),
        lambda r, at: r.add_base("sd15", at / "base.safetensors", link=True),
        ("base", "add", "sd15", "base.safetensors", "--link"),
    ),
    Scenario("base add of a folder", (), folder_base, ("base", "add", "folder", "base-folder")),
    Scenario(
        "base rm", (base,), lambda r, _: r.remove_base("sd15"), ("base", "rm", "sd15"),
    ),
    Scenario(
        "add", (base,), version,
        ("add", "tuned.safetensors", "--base=sd15", "--name=one", "--tau=0.5"),
    ),
    Scenario(
        "add of a folder", (folder_base,), folder_version,
        ("add", "tuned-folder", "--base=folder", "--name=one", "--tau=0.5"),
    ),
    Scenario(
        "add again with labels", (base, version),
        lambda r, at: r.add(
            at / "tuned.safetensors", base="sd15", name="one", tau=TAU, note="good", tags=["dog"]
        ),
        ("add", "tuned.safetensors", "--base=sd15", "--name=one", "--tau=0.5", "--tag=dog",
         "--note=good"),
    ),
    Scenario(
        "add to another model", (base, version),
        lambda r, at: r.add(at / "tuned.safetensors", base="sd15", name="two", tau=TAU),
        ("add", "tuned.safetensors", "--base=sd15", "--name=two", "--tau=0.5"),
    ),
    Scenario(
        "import",
        (base, version, signed, exported, removed, lambda r, _: r.collect_garbage(grace_days=0)),
        lambda r, at: r.import_container(at / "X", name="two"), ("import", "X", "--name=two"),
    ),
    Scenario(
        "import of a described one",
        (base, version, described, exported, removed, lambda r, _: r.collect_garbage(grace_days=0)),
        lambda r, at: r.import_container(at / "X", name="two"), ("import", "X", "--name=two"),
    ),
    Scenario(
        "pull", (remote,), lambda r, _: r.pull("studio"), ("pull", "studio", "--all"),
    ),
    Scenario(
        "add with files beside", (base, beside), version,
        ("add", "tuned.safetensors", "--base=sd15", "--name=one", "--tau=0.5"),
    ),
    Scenario(
        "add --lossless", (base,), lossless,
        ("add", "tuned.safetensors", "--base=sd15", "--name=one", "--tau=0.5", "--lossless"),
    ),
    Scenario(
        "add --lossless of a lossy one", (base, version), lossless,
        ("add", "tuned.safetensors", "--base=sd15", "--name=one", "--tau=0.5", "--lossless"),
    ),
    Scenario(
        "import of a lossless one",
        (base, lossless, exported, removed, lambda r, _: r.collect_garbage(grace_days=0)),
        lambda r, at: r.import_container(at / "X", name="two"), ("import", "X", "--name=two"),
    ),
    Scenario(
        "add --lossless of a LoRA", (base, lora), lossless_lora,
        ("add", "lora.safetensors", "--base=sd15", "--name=one", "--lossless"),
    ),
    Scenario(
        "import of a lossless LoRA",
        (base, lossless_lora, exported, removed, lambda r, _: r.collect_garbage(grace_days=0)),
        lambda r, at: r.import_container(at / "X", name="two"), ("import", "X", "--name=two"),
    ),
    Scenario(
        "thin of a LoRA", (base, lossless_lora), lambda r, _: r.thin("one@1"),
        ("thin", "one@1", "--yes"),
    ),
    Scenario(
        "export of a lossless LoRA", (base, lossless_lora), exported,
        ("export", "one", "-o", "X", "--format=dsvd"),
    ),
    Scenario(
        "archive", (base, mine), archived, ("archive", "mine", "--base=sd15", "--yes"),
        ("mine/one.safetensors",),
    ),
    Scenario(
        "archive --link-to", (base, mine), linked,
        ("archive", "mine", "--base=sd15", "--link-to=../mount", "--yes"), ("mine/one.safetensors",),
    ),
    Scenario(
        "restore", (base, my_lora, archived), restored,
        ("restore", "one@1", "-o", "X", "--force"), ("X",),
    ),
    Scenario(
        "thin", (base, lossless), lambda r, _: r.thin("one@1"), ("thin", "one@1", "--yes"),
    ),
    Scenario("rm", (base, version, other_version), removed, ("rm", "one@1", "--yes")),
    Scenario(
        "gc", (base, version, other_version, removed, leftover),
        lambda r, _: r.collect_garbage(grace_days=0), ("gc", "--grace=0"),
    ),
    Scenario(
        "alias set", (base, version, other_version, labelled),
        lambda r, _: r.set_alias("prod", "one@2"), ("alias", "set", "prod", "one@2"),
    ),
    Scenario(
        "alias rm", (base, version, labelled), lambda r, _: r.remove_alias("one", "prod"),
        ("alias", "rm", "one@prod"),
    ),
    Scenario(
        "tag", (base, version), lambda r, _: r.add_tag("one@1", "dog"), ("tag", "add", "one@1", "dog"),
    ),
    Scenario(
        "tag rm", (base, version, labelled), lambda r, _: r.remove_tag("one@1", "dog"),
        ("tag", "rm", "one@1", "dog"),
    ),
    Scenario(
        "note", (base, version, labelled), lambda r, _: r.set_note("one@1", "better"),
        ("note", "one@1", "better"),
    ),
    Scenario(
        "meta set", (base, version, labelled),
        lambda r, _: r.set_metadata("one@1", {"trigger": "sks dog", "licence": "CC0"}),
        ("meta", "set", "one@1", "trigger=sks dog", "licence=CC0"),
    ),
    Scenario(
        "meta rm", (base, version, described), lambda r, _: r.remove_metadata("one@1", "trigger"),
        ("meta", "rm", "one@1", "trigger"),
    ),
    Scenario(
        "attach", (base, version), lambda r, at: r.attach("one@1", at / "preview.png"),
        ("attach", "one@1", "preview.png"),
    ),
    Scenario(
        "detach", (base, version, described), lambda r, _: r.detach("one@1", "preview.png"),
        ("detach", "one@1", "preview.png"),
    ),
    Scenario("sign", (base, version), signed, ("sign", "one@1", "--key=key")),
    Scenario("materialize", (base, version), materialized, ("materialize", "one", "-o", "X")),
    Scenario(
        "materialize --force", (base, version, other_version,
        lambda r, at: r.materialize("one@1", at / "X")),
        materialized, ("materialize", "one", "-o", "X", "--force"),
    ),
    Scenario(
        "materialize of a folder", (folder_base, folder_version), materialized,
        ("materialize", "one", "-o", "X"),
    ),
    Scenario(
        "materialize --force of a folder", (folder_base, folder_version, materialized),
        materialized, ("materialize", "one", "-o", "X", "--force"),
    ),
    Scenario("export", (base, version, signed), exported, ("export", "one", "-o", "X", "--format=dsvd")),
    Scenario(
        "export --force", (base, version, signed, exported, other_version), exported,
        ("export", "one", "-o", "X", "--format=dsvd", "--force"),
    ),
    Scenario(
        "export of a described one", (base, version, described), exported,
        ("export", "one", "-o", "X", "--format=dsvd"),
    ),
    Scenario(
        "export of a lossless one", (base, lossless), exported,
        ("export", "one", "-o", "X", "--format=dsvd"),
    ),
    Scenario(
        "export --force over a lossless one", (base, lossless, exported, other_version), exported,
        ("export", "one", "-o", "X", "--format=dsvd", "--force"),
    ),
    Scenario(
        "catalog rebuild", (base, version, labelled),
        lambda _, at: Registry.rebuild_catalog(at / "registry"), ("catalog", "rebuild"),
    ),
    Scenario(
        REBUILD, (base, version, labelled, cut_catalog),
        lambda _, at: Registry.rebuild_catalog(at / "registry"), ("catalog", "rebuild"),
    ),
]  # fmt: skip
SCENARIOS = {scenario.name: scenario for scenario in _ALL}
# How many different states a crash may leave, at least. There are some more: see docs/tested.md.
STATES = {
    "base add": 50,
    "base add again": 28,
    "base add --link": 20,
    "base add of a folder": 95,
    "base rm": 12,
    "add": 54,
    "add of a folder": 54,
    "add again with labels": 12,
    "add to another model": 12,
    "import": 90,
    "import of a described one": 90,
    "pull": 90,
    "add with files beside": 90,
    "add --lossless": 100,
    "add --lossless of a lossy one": 40,
    "import of a lossless one": 80,
    "add --lossless of a LoRA": 26,
    "import of a lossless LoRA": 80,
    "thin of a LoRA": 12,
    "export of a lossless LoRA": 13,
    "archive": 200,
    "archive --link-to": 200,
    "restore": 15,
    "thin": 12,
    "rm": 12,
    "gc": 8,
    "alias set": 12,
    "alias rm": 12,
    "tag": 12,
    "tag rm": 12,
    "note": 12,
    "meta set": 12,
    "meta rm": 12,
    "attach": 26,
    "detach": 12,
    "sign": 26,
    "materialize": 9,
    "materialize --force": 9,
    "materialize of a folder": 18,
    "materialize --force of a folder": 26,
    "export": 13,
    "export --force": 10,
    "export of a described one": 13,
    "export of a lossless one": 13,
    "export --force over a lossless one": 10,
    "catalog rebuild": 5,
    REBUILD: 8,
}
FILES_COME_IN = tuple(
    name for name in SCENARIOS if name.split()[0] in ("base", "add", "import", "pull", "archive")
)
FILES_GO_OUT = tuple(
    name for name in SCENARIOS if name.split()[0] in ("materialize", "export", "restore")
)
NAMES_CHANGE = tuple(name for name in SCENARIOS if name not in FILES_COME_IN + FILES_GO_OUT)


def prepare(scenario: Scenario, at: Path) -> None:
    """Make `at` what it is before the command."""
    write_sources(at)
    with Registry.init(at / "registry") as registry:
        for step in scenario.before:
            step(registry, at)


def run(scenario: Scenario, at: Path) -> None:
    if "rebuild" in scenario.name:  # of a catalog that may not open
        Registry.rebuild_catalog(at / "registry")
        return
    with Registry.open(at / "registry") as registry:
        scenario.do(registry, at)
