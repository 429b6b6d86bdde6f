"""A checkpoint that is a folder, as diffusers saves one: a file or some shards for each sub-model.

Tensors are called by the folder that their file is in, `unet/conv_in.weight`. Everything else, such
as configurations and tokenizers, is kept as it is.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from ..errors import CheckpointError
from ..fs import TEMPORARY_PREFIX, storage_errors
from ..hashing import sha256_file
from .listing import check_paths
from .mapping import MappedFile
from .model import Checkpoint, Copier, LeftOut, check_count, check_name, naming, shown
from .safetensors_file import SafetensorsFile
from .tensor_info import TensorInfo
from .tree import ListedFile, TensorFile, Tree

PIPELINE = "model_index.json"
CONFIGURATION = "config.json"
TENSORS = ".safetensors"
INDEX = ".safetensors.index.json"
OTHER_WEIGHTS = (
    *(".bin", ".ckpt", ".pt", ".pth", ".bin.index.json"),
    *(".onnx", ".onnx_data", ".msgpack", ".h5", ".pb", ".gguf"),
)
_SHARD = re.compile(r"-\d{5}-of-\d{5}")


def is_checkpoint_folder(path: Path) -> bool:
    """Whether `path` is a folder that is one checkpoint: a pipeline's, or a sub-model's.

    Raises `StorageError`.
    """
    with storage_errors(path):
        if not path.is_dir():
            return False
        names = {entry.name for entry in os.scandir(path)}
    has_tensors = any(name.endswith((TENSORS, INDEX)) for name in names)
    return PIPELINE in names or (CONFIGURATION in names and has_tensors)


def files_below(folder: Path) -> tuple[dict[str, Path], tuple[LeftOut, ...]]:
    """The files of a folder by their paths from it on, and what is none of the checkpoint's.

    Raises `StorageError`, and `CheckpointError` where weights would be lost.
    """
    found: dict[str, Path] = {}
    left_out: list[LeftOut] = []
    for path, place in _walk(folder):
        _check_text(path, folder)
        reason = _reason_to_leave(place)
        if reason is None:
            found[path] = place
        else:
            left_out.append(LeftOut(path, reason))
    _check_nothing_lost(found, left_out, folder)
    return found, tuple(left_out)


class FolderCheckpoint(Checkpoint):
    """An open folder. Raises `CheckpointError` for every rule that it, or a file of it, breaks.

    `files`: where each of its files lies, which need not be one folder.
    """

    format = "diffusers"
    header = None

    def __init__(
        self, path: Path, files: Mapping[str, Path], left_out: tuple[LeftOut, ...] = ()
    ) -> None:
        self.path, self.left_out = path, left_out
        self._opened = contextlib.ExitStack()
        self._owners: dict[str, tuple[SafetensorsFile, str]] = {}
        self.tensors: dict[str, TensorInfo] = {}
        try:
            # Characters go as their UTF-8 bytes do, and half a surrogate pair has none.
            self.tree = self._open({path: files[path] for path in sorted(files)})
        except BaseException:
            self._opened.close()
            raise

    def read(self, name: str) -> memoryview:
        file, own = self._owners[name]
        return file.read(own)

    def copier(self, name: str) -> Copier:
        file, own = self._owners[name]
        return file.copier(own)

    def release(self, name: str) -> None:
        file, own = self._owners[name]
        file.release(own)

    def close(self) -> None:
        self._opened.close()

    def _open(self, files: Mapping[str, Path]) -> Tree:
        with naming(self.path):
            check_paths(list(files))
        own = [path for path in files if path.endswith(TENSORS)]
        if not own:
            raise CheckpointError(f"{self.path} is a folder without a safetensors file in it")
        prefixes = _prefixes(own)
        tensors: list[TensorFile] = []
        homes: dict[str, str] = {}
        for path in own:
            with _opened_tensors(files[path]) as file:
                self._opened.callback(file.close)
            with naming(self.path):
                self._take(file, prefixes[path], path)
            tensors.append(TensorFile(path, prefixes[path], file.header))
            homes |= {prefixes[path] + name: path for name in file.tensors}
        others = []
        for path, place in files.items():
            if path not in prefixes:
                with storage_errors(place):
                    size = place.stat().st_size
                others.append(ListedFile(path, sha256_file(place), size))
        return Tree(tuple(tensors), tuple(others), files, homes)

    def _take(self, file: SafetensorsFile, prefix: str, path: str) -> None:
        for own, info in file.tensors.items():
            name = prefix + own
            check_name(name)
            if name in self.tensors:
                raise CheckpointError(f"{path} has the tensor {shown(own)}, as has another file")
            self.tensors[name] = TensorInfo(name, info.dtype, info.shape)
            self._owners[name] = file, own
        check_count(len(self.tensors))


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    def fail(error: OSError) -> None:
        raise error

    with storage_errors(folder):
        for where, folders, files in os.walk(folder, onerror=fail):
            above = Path(where)
            links = [name for name in folders if (above / name).is_symlink()]
            # Such as .git, and what a download keeps for itself.
            hidden = [name for name in folders if name.startswith(".")]
            folders[:] = sorted(set(folders) - {*links, *hidden})
            for name in sorted({*files, *links, *hidden}):
                yield (above / name).relative_to(folder).as_posix(), above / name


def _reason_to_leave(place: Path) -> str | None:
    """Why a file is not kept; None if it is. Links to files are followed: the hub's cache has them."""
    if not place.is_file() or place.name.startswith(TEMPORARY_PREFIX):
        return "a hidden folder, a link to a folder, or nothing that can be read"
    if place.name.lower().endswith(OTHER_WEIGHTS):
        return "weights in another form than safetensors"
    return None


def _check_text(path: str, folder: Path) -> None:
    """A name stands in the account, whether its file is kept or not."""
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise CheckpointError(
            f"{folder}: the file name {shown(path)} is not valid Unicode", "Rename that file."
        ) from error


def _check_nothing_lost(found: Mapping[str, Path], left_out: list[LeftOut], folder: Path) -> None:
    """Weights in another form may be left out where the same folder has safetensors."""
    kept = {PurePosixPath(path).parent for path in found if path.endswith(TENSORS)}
    for entry in left_out:
        path = PurePosixPath(entry.name)
        if path.name.lower().endswith(OTHER_WEIGHTS) and path.parent not in kept:
            raise CheckpointError(
                f"{folder}: {entry.name} has weights, and {path.parent} no safetensors file",
                "Save the model again with `safe_serialization=True`.",
            )


def _prefixes(paths: list[str]) -> dict[str, str]:
    """What the names of each file's tensors begin with: its folder, if one model is in it.

    Of several, such as variants of one, the first by name has the folder's, and each other its own.
    """
    models: dict[PurePosixPath, set[str]] = defaultdict(set)
    for path in paths:
        models[PurePosixPath(path).parent].add(_model_of(path))
    prefixes = {}
    for path in paths:
        parent, model = PurePosixPath(path).parent, _model_of(path)
        first = min(models[parent], key=lambda name: (len(name), name))
        words = [*parent.parts, *([] if model == first else [model])]
        prefixes[path] = "".join(f"{word}/" for word in words)
    return prefixes


def _model_of(path: str) -> str:
    """The name of a file without the number of its shard and its ending."""
    return _SHARD.sub("", PurePosixPath(path).name.removesuffix(TENSORS))


@contextlib.contextmanager
def _opened_tensors(place: Path) -> Iterator[SafetensorsFile]:
    mapped = MappedFile(place)
    try:
        yield SafetensorsFile(mapped)
    except BaseException:
        mapped.close()
        raise
