"""A small registry with a file of every kind: to be damaged."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from safetensors.torch import save_file
from small_pictures import picture

from dsvd_registry import Registry

from .conftest import object_path

VERSIONS = ("subject@1", "subject@2", "other@1", "linked@1", "tree@1")
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32))).private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
)


@dataclass(frozen=True)
class Mixed:
    """A registry and what was put into it; `root` is the registry's folder.

    `subject` (signed, two versions) and `other` are of the base `file`, `linked` of one that is
    linked, `tree` of one that is a folder.
    """

    place: Path

    @property
    def root(self) -> Path:
        return self.place / "registry"

    def source(self, name: str) -> Path:
        return self.place / name

    def copied(self, place: Path) -> Mixed:
        """The registry alone; the files that it was made of stay where they are."""
        shutil.copytree(self.root, place / "registry")
        for path in self.place.iterdir():
            if path.name != "registry":
                (place / path.name).symlink_to(path)
        return Mixed(place)

    def object(self, registry: Registry, kind: str) -> Path:
        """The path of the object of a kind (`ReferencedObject.kind`) that the tests damage."""
        file, tree, version = (
            registry.base("file"),
            registry.base("tree"),
            registry.version("subject@1"),
        )
        other = registry.version("other")
        assert other.residual is not None
        (signature,) = registry.repository.catalog.signatures("subject@1")
        digest = {
            "container": version.container,
            "base": file.file,
            "manifest": file.manifest,
            "manifest of a folder": tree.manifest,
            "manifest of a link": registry.base("link").manifest,
            "signature": signature.signature,
            "residual": other.residual.sha256,
            "listing": tree.file,
            "attachment": registry.attachments("subject@1")[0].sha256,
        }
        if kind in digest:
            return object_path(self.root, digest[kind])
        assert kind == "file of a base"
        listed = json.loads(object_path(self.root, tree.file).read_bytes())
        return object_path(self.root, max(listed, key=lambda file: int(file["size"]))["sha256"])


KINDS = (
    *("container", "base", "manifest", "manifest of a folder", "manifest of a link"),
    *("signature", "listing", "file of a base", "residual", "attachment"),
)
HITS = {
    "container": {"subject@1"},
    "signature": {"subject@1"},
    "attachment": {"subject@1"},
    "residual": {"other@1"},
    "base": {"base file", "subject@1", "subject@2", "other@1"},
    "manifest": {"base file", "subject@1", "subject@2", "other@1"},
    "manifest of a link": {"base link", "linked@1"},
    "manifest of a folder": {"base tree", "tree@1"},
    "listing": {"base tree", "tree@1"},
    "file of a base": {"base tree", "tree@1"},
}


def make(place: Path) -> Mixed:
    """Make it in an empty folder."""
    make_numbers = torch.Generator().manual_seed(5)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=make_numbers)

    def tuned(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: w + 0.01 * normal(*w.shape) for name, w in weights.items()}

    for name in ("file", "link"):
        base = {"w": normal(16, 12), "b": normal(16)}
        save_file(base, place / f"{name}.safetensors")
        save_file(tuned(base), place / f"{name}-tuned.safetensors")
    (place / "tree").mkdir()
    (place / "tree/config.json").write_text('{"of": "a model"}')
    base = {"w": normal(12, 10)}
    save_file(base, place / "tree/diffusion_pytorch_model.safetensors")
    save_file(tuned(base), place / "tree-tuned.safetensors")
    (place / "key").write_bytes(KEY)
    with Registry.init(place / "registry") as registry:
        registry.add_base("file", place / "file.safetensors")
        registry.add_base("link", place / "link.safetensors", link=True)
        registry.add_base("tree", place / "tree")
        for tau in (0.8, 0.5):
            registry.add(place / "file-tuned.safetensors", base="file", name="subject", tau=tau)
        tuned_file = place / "file-tuned.safetensors"
        registry.add(tuned_file, base="file", name="other", tau=0.3, lossless=True)
        registry.add(place / "link-tuned.safetensors", base="link", name="linked", tau=0.5)
        registry.add(place / "tree-tuned.safetensors", base="tree", name="tree", tau=0.5)
        registry.set_alias("prod", "subject@1")
        registry.add_tag("other@1", "good")
        (place / "preview.png").write_bytes(picture())
        registry.attach("subject@1", place / "preview.png")
        registry.sign("subject@1", place / "key")
        registry.export_container("subject@1", place / "exported.dsvd")
        registry.export_container("other@1", place / "other.dsvd")
        assert registry.verify(deep=True).is_well
    return Mixed(place)
