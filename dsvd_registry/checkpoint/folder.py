"""A checkpoint in a folder, as diffusers saves one: one file or several shards per sub-model.

A tensor's name begins with the folder of its file: `unet/conv_in.weight`. All other files of the
model, such as configurations and tokenizers, are kept as they are.
"""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ..errors import CheckpointError
from ..fs import storage_errors
from ..hashing import sha256_file
from .checkpoint import Checkpoint, Copier, LeftOut, check_count, check_name, naming, shown
from .folder_listing import check_paths
from .folder_sorting import is_in_another_form, sort_files
from .folder_walk import walk
from .mapping import MappedFile
from .safetensors_file import SafetensorsFile, parse_header
from .sub_models import CONFIGURATION, PIPELINE, has_weights, is_of_training, named_folders
from .tensor_info import TensorInfo
from .tree import ListedFile, TensorFile, Tree
from .weight_files import INCOMPLETE, TENSORS, set_name


def is_checkpoint_folder(path: Path) -> bool:
    """Return whether `path` is a folder that is one checkpoint.

    The folder may be a pipeline's, a sub-model's, or one that accelerate saved in a training.
    Raises `StorageError`.
    """
    with storage_errors(path):
        if not path.is_dir():
            return False
        entries = list(os.scandir(path))
        names = {entry.name for entry in entries}
        if PIPELINE in names or (CONFIGURATION in names and has_weights(names)):
            return True
        if not any(map(is_of_training, names)):
            return False
        inside = ({one.name for one in os.scandir(entry)} for entry in entries if entry.is_dir())
        return has_weights(names) or any(CONFIGURATION in n and has_weights(n) for n in inside)


@dataclass(frozen=True)
class FolderFiles:
    """The files of a folder, by their relative paths.

    `places`: the real path of each. `weights`: for each safetensors file, the name of its set (see
    `weight_files`). `extras`: files that are kept although the model does not need them.
    `promised`: the tensors of each file, by the index of its shards. `known`: files whose digests
    are known already.
    """

    places: Mapping[str, Path]
    weights: Mapping[str, str]
    extras: frozenset[str] = frozenset()
    left_out: tuple[LeftOut, ...] = ()
    promised: Mapping[str, list[str]] = field(default_factory=dict)
    known: Mapping[str, ListedFile] = field(default_factory=dict)


def files_below(folder: Path, *, keep_extras: bool = False) -> FolderFiles:
    """List the files of a checkpoint's folder, and those that are left out.

    `keep_extras`: keep files that are not the model's.

    Raises:
        StorageError: if the folder cannot be read.
        CheckpointError: if the folder is incomplete, or weights would be lost.
    """
    with naming(folder):
        walked = walk(folder, named_folders(folder))
        _check_leads_somewhere(path for path in walked.dangling if path.endswith(".json"))
        arranged = sort_files(walked.files)
        left = {} if keep_extras else arranged.extras
        _check_leads_somewhere(path for path in walked.dangling if path not in left)
    return FolderFiles(
        {path: place for path, place in walked.files.items() if path not in left},
        arranged.weights,
        frozenset(arranged.extras.keys() - left.keys()),
        tuple(LeftOut(*path_and_reason) for path_and_reason in dict.fromkeys(left.values()))
        + walked.left_out,
        arranged.promised,
    )


def stored_files(
    places: Mapping[str, Path], listed: Mapping[str, ListedFile]
) -> Iterator[FolderFiles]:
    """Two ways to read stored files as a folder: by today's rules, then with all safetensors files.

    Earlier versions of this program read every folder the second way.
    """
    try:
        arranged = sort_files(places)
    except CheckpointError:
        pass
    else:
        yield FolderFiles(places, arranged.weights, frozenset(arranged.extras), known=listed)
    every = {path: set_name(PurePosixPath(path).name) for path in places if path.endswith(TENSORS)}
    yield FolderFiles(places, every, known=listed)


def linked_files(folder: Path) -> Iterator[FolderFiles]:
    """The same two ways for a linked folder, which its owner may change, without the files left out.

    Raises `StorageError`, `CheckpointError`.
    """
    walked = walk(folder, named_folders(folder))
    places = {path: walked.files[path] for path in walked.files.keys() - walked.dangling}
    for files in stored_files(places, {}):
        kept = {
            path: place
            for path, place in places.items()
            if path not in files.extras and not is_in_another_form(path)
        }
        yield FolderFiles(kept, files.weights)


class FolderCheckpoint(Checkpoint):
    """An open folder. Raises `CheckpointError` for the first rule that it, or a file in it, breaks."""

    format = "diffusers"
    header = None

    def __init__(self, path: Path, files: FolderFiles) -> None:
        self.path, self.left_out = path, files.left_out
        self._opened = contextlib.ExitStack()
        self._owners: dict[str, tuple[SafetensorsFile, str]] = {}
        self.tensors: dict[str, TensorInfo] = {}
        try:
            self.tree = self._open(files)
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

    def _open(self, files: FolderFiles) -> Tree:
        # Sorting by character is sorting by UTF-8 bytes; half a surrogate pair has none.
        paths = sorted(files.places)
        with naming(self.path):
            check_paths(paths)
        if not files.weights:
            raise CheckpointError(f"{self.path} is a folder without a safetensors file in it")
        prefixes = _prefixes(files.weights)
        tensors: list[TensorFile] = []
        homes: dict[str, str] = {}
        for path in sorted(files.weights):
            with _opened_tensors(files.places[path]) as file:
                self._opened.callback(file.close)
            with naming(self.path):
                self._take(file, prefixes[path], path)
                _check_promised(file, path, files.promised.get(path, []))
            tensors.append(TensorFile(path, prefixes[path], file.header))
            homes |= {prefixes[path] + name: path for name in file.tensors}
        others: list[ListedFile] = []
        extras: list[ListedFile] = []
        for path in paths:
            if path not in prefixes:
                listed = files.known.get(path) or _listed(path, files.places[path])
                (extras if path in files.extras else others).append(listed)
        places = {path: files.places[path] for path in paths}
        return Tree(tuple(tensors), tuple(others), places, homes, tuple(extras))

    def _take(self, file: SafetensorsFile, prefix: str, path: str) -> None:
        for own, info in file.tensors.items():
            name = prefix + own
            check_name(name)
            if name in self.tensors:
                raise CheckpointError(
                    f"{path} has the tensor {shown(own)}, and so has another file"
                )
            self.tensors[name] = TensorInfo(name, info.dtype, info.shape)
            self._owners[name] = file, own
        check_count(len(self.tensors))


def _check_leads_somewhere(dangling: Iterator[str]) -> None:
    """Raise `CheckpointError` for the first of these broken links, if there is one."""
    for path in sorted(dangling):
        raise CheckpointError(f"{shown(path)} is a broken link", INCOMPLETE)


def _check_promised(file: SafetensorsFile, path: str, promised: list[str]) -> None:
    """Raise `CheckpointError` if the file lacks a tensor that the index lists for it.

    Of two tensors that share memory one is stored, and the file's metadata names the other.
    """
    metadata, _ = parse_header(file.header)
    for name in promised:
        if name not in file.tensors and name not in (metadata or {}):
            raise CheckpointError(
                f"{path} lacks the tensor {shown(name)}, which the index lists for it",
                INCOMPLETE,
            )


def _listed(path: str, place: Path) -> ListedFile:
    with storage_errors(place):
        size = place.stat().st_size
    return ListedFile(path, sha256_file(place), size)


def _prefixes(weights: Mapping[str, str]) -> dict[str, str]:
    """The prefix of each file's tensor names: its folder, if the folder has one set of weights.

    Of several sets, such as variants, the first by name has the folder's prefix, and each other its
    own.
    """
    models: dict[PurePosixPath, set[str]] = defaultdict(set)
    for path, model in weights.items():
        models[PurePosixPath(path).parent].add(model)
    prefixes = {}
    for path, model in weights.items():
        parent = PurePosixPath(path).parent
        first = min(models[parent], key=lambda name: (len(name), name))
        words = [*parent.parts, *([] if model == first else [model])]
        prefixes[path] = "".join(f"{word}/" for word in words)
    return prefixes


@contextlib.contextmanager
def _opened_tensors(place: Path) -> Iterator[SafetensorsFile]:
    mapped = MappedFile(place)
    try:
        yield SafetensorsFile(mapped)
    except BaseException:
        mapped.close()
        raise
