"""Each reader of bytes that may come from anywhere, as a function that reads all that there is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from dsvd_registry.checkpoint import open_checkpoint
from dsvd_registry.checkpoint.folder_listing import parse_listing
from dsvd_registry.container.reader import Container
from dsvd_registry.container.records import DenseRecord, LowRankRecord
from dsvd_registry.lora import Configuration, read_adapter
from dsvd_registry.reconstruction.base_weights import Manifest
from dsvd_registry.signing.signature import decode
from dsvd_registry.store import EventLog
from dsvd_registry.store.registry_folder import RegistryFolder
from fuzz import residual
from fuzz.event import with_checksum

Read = Callable[[bytes, Path], None]


def read_container(data: bytes, folder: Path) -> None:
    path = folder / "hostile.dsvd"
    path.write_bytes(data)
    with Container(path) as container:
        container.check_file()
        container.source_headers()
        for number in range(len(container.header.tree or ())):
            for _ in container.stored_file(number):
                pass
        for number, record in enumerate(container.header.tensors):
            container.raw(number)
            if isinstance(record, LowRankRecord):
                container.components(number, record.rank)
            if isinstance(record, DenseRecord):
                container.elements(number)


def read_residual(data: bytes, folder: Path) -> None:
    """Over predictions of all exponents; what one run is taken of is never larger."""
    residual.read_file(data, folder)


def read_checkpoint(data: bytes, folder: Path) -> None:
    """Safetensors or a pickle, by what the bytes say."""
    path = folder / "hostile.ckpt"
    path.write_bytes(data)
    with open_checkpoint(path) as checkpoint:
        for name, info in checkpoint.tensors.items():
            assert len(checkpoint.read(name)) == info.nbytes


def read_lora(data: bytes, folder: Path) -> None:
    path = folder / "hostile.safetensors"
    path.write_bytes(data)
    with open_checkpoint(path) as checkpoint:
        read_adapter(checkpoint, Configuration.of_header(checkpoint))


def read_listing(data: bytes, folder: Path) -> None:
    parse_listing(data)


def read_manifest(data: bytes, folder: Path) -> None:
    Manifest.from_bytes(data, "the manifest")


def read_signature(data: bytes, folder: Path) -> None:
    decode(data, "the signature")


def read_log(data: bytes, folder: Path) -> None:
    """As event 1 of a log, with its right checksum: who writes there can compute one as well."""
    root = folder / "log"
    shutil.rmtree(root, ignore_errors=True)
    log = RegistryFolder(root)
    shard = log.events / "000000"
    shard.mkdir(parents=True)
    (shard / "000000001.json").write_bytes(with_checksum(data))
    list(EventLog(log).after())


READERS: dict[str, Read] = {
    "container": read_container,
    "residual": read_residual,
    "checkpoint": read_checkpoint,
    "lora": read_lora,
    "listing": read_listing,
    "manifest": read_manifest,
    "signature": read_signature,
    "log": read_log,
}
