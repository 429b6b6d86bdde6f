"""The invalid golden containers whose result is a folder: the rest of `invalid_vectors`."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable

from . import exact
from .building import Built, base_files, file_header
from .exact import Json
from .invalid_vectors import (
    INVALID,
    add,
    content,
    doubled,
    dropped,
    frames,
    header,
    one_more_byte,
    patched,
    place,
    source_header_of,
)
from .sealing import with_header

__all__ = ["INVALID"]  # with those of this module

# Files of tree-small by their place; 0, 2, 7 and 8 hold tensors, 3, 4 and 6 are stored.
INDEX, KEPT, EMPTY, MERGES, VOCABULARY, CONFIG, FIRST, SECOND = 1, 2, 3, 4, 5, 6, 7, 8


def tree(
    name: str,
    rule: str,
    change: Callable[[list[Json]], object],
    *,
    of: str = "tree-small",
    error: str = "container",
) -> None:
    header(f"tree-{name}", rule, lambda h: change(h["tree"]), of=of, error=error)


def replaced(
    name: str, rule: str, change: Callable[[list[Json]], list[Json]], *, of: str = "tree-small"
) -> None:
    """Other files, or another order of them: results, headers and parts go with theirs."""

    def edit(value: Json, contents: list[bytes]) -> None:
        old, new = value["tree"], change(value["tree"])
        place = {id(file): i for i, file in reversed([*enumerate(new)])}
        filled = [i for i, f in enumerate(value["frames"]) if f["content"] == "source_header"]
        headers = [contents[i] for i in filled]
        own = [file for file in old if file["kind"] == "tensors"]
        order = sorted(range(len(own)), key=lambda i: place[id(own[i])])
        for i, number in zip(filled, order, strict=True):
            contents[i] = headers[number]
            value["frames"][i]["raw"] = len(headers[number])
        value["results"] = [value["results"][number] for number in order]
        for frame in value["frames"]:
            for part in frame["parts"] if frame["content"] == "files" else ():
                part["tensor"] = place[id(old[part["tensor"]])]
        value["tree"] = new

    frames(f"tree-{name}", rule, edit, of=of)


def path(name: str, rule: str, new: str, place: int = CONFIG) -> None:
    def change(files: list[Json]) -> list[Json]:
        files[place]["path"] = new
        return sorted(files, key=lambda file: file["path"].encode())

    replaced(f"path-{name}", rule, change)


replaced("order", "D2", lambda files: files[::-1])
replaced(
    "order-utf-16", "D2",
    lambda files: sorted(files, key=lambda file: file["path"].encode("utf-16-be")),
    of="tree-names",
)  # fmt: skip
replaced("path-twice", "D2", lambda files: [*files[:2], *files[1:]])
tree("prefix-long", "F4", lambda f: f[0].update(prefix="x" * 4097), of="tree-kept")
tree("size-over-limit", "F3", lambda files: files[EMPTY].update(size=2**53))

path("empty", "F4", "")
path("long", "F4", "d/" * 2048 + "e")
path("absolute", "D1", "/config.json")
path("slashes", "D1", "unet//config.json")
path("folder", "D1", "unet/config/")
path("dot", "D1", ".")
path("dot-within", "D1", "unet/./config.json")
path("above", "D1", "../config.json")
path("above-alone", "D1", "..")
path("above-within", "D1", "unet/../../config.json")
path("dots", "D1", "unet.../config.json")
path("ends-in-dot", "D1", "unet/config.")
path("ends-in-space", "D1", "unet/config ")
path("space", "D1", "unet/ /config.json")
for name, character in (
    *(("null", "\0"), ("tab", "\t"), ("line", "\n"), ("31", "\x1f"), ("127", "\x7f")),
    *(("backslash", "\\"), ("colon", ":"), ("star", "*"), ("question", "?"), ("quote", '"')),
    *(("less", "<"), ("greater", ">"), ("bar", "|")),
):
    path(name, "D1", f"unet/a{character}b")
path("temporary", "D1", ".dsvd-tmp-0")
path("temporary-folder", "D1", "unet/.dsvd-tmp-/config.json")
path("through-file", "D2", "model.safetensors/config.json")
path("through-base", "D2", "model_index.json/a/b")
path("of-a-folder", "D2", "unet")
path("of-tensors", "D1", "../model.safetensors", 0)


def _all_stored(value: Json, contents: list[bytes]) -> None:
    data = contents[place(value, "source_header")]
    value["tree"] = [
        {"kind": "base", "path": "a", "sha256": hashlib.sha256(data).hexdigest(), "size": 1}
    ]
    value["results"] = []


frames("tree-no-tensors", "D3", _all_stored, of="tree-of-one")


def _last_header(change: Callable[[Json, list[bytes], int], object]) -> Callable[..., None]:
    def edit(value: Json, contents: list[bytes]) -> None:
        change(value, contents, place(value, "source_header") + 3)

    return edit


def _again(value: Json, contents: list[bytes], number: int) -> None:
    value["frames"].insert(number, copy.deepcopy(value["frames"][number]))
    contents.insert(number, contents[number])


def _gone(value: Json, contents: list[bytes], number: int) -> None:
    del value["frames"][number], contents[number]


def _headers_turned(value: Json, contents: list[bytes]) -> None:
    first = place(value, "source_header")
    for held in (value["frames"], contents):
        held[first : first + 4] = held[first : first + 4][::-1]


frames("tree-header-missing", "M8", _last_header(_gone), of="tree-small")
frames("tree-header-twice", "M8", _last_header(_again), of="tree-small")
frames("tree-header-order", "D4", _headers_turned, of="tree-small")
header(
    "tree-header-parts", "M2",
    lambda h: h["frames"][place(h, "source_header")].update(parts=[{"tensor": 0, "count": 1}]),
    of="tree-small",
)  # fmt: skip
frames(
    "tree-header-over-limit", "M9",
    source_header_of(lambda data: data + b" " * (2**24 + 1 - len(data))), of="tree-of-one",
)  # fmt: skip


def headed(name: str, rule: str, number: int, **tensors: tuple[str, list[int]]) -> None:
    """Another header of a file; its tensors by name, `_` being none."""

    def edit(value: Json, contents: list[bytes]) -> None:
        found = {key if key != "_" else "": entry for key, entry in tensors.items()}
        contents[place(value, "source_header") + number] = file_header(found)

    frames(f"tree-{name}", rule, edit, of="tree-small")


LOW, RAW, DENSE_OF_TREE = ("F16", [3, 2]), ("I16", [2]), ("F32", [6])
headed("name-in-no-file", "D4", 2, low=LOW)
headed("name-in-two-files", "D4", 3, dense=DENSE_OF_TREE, raw=RAW)
headed("name-in-a-file-only", "D4", 3, dense=DENSE_OF_TREE, more=RAW)
headed("name-with-prefix", "D4", 3, **{"unet/dense": DENSE_OF_TREE})
headed("dtype", "D4", 2, raw=("U16", [2]), low=LOW)
headed("shape", "D4", 2, raw=RAW, low=("F16", [2, 3]))
tree("prefix", "D4", lambda files: files[SECOND].update(prefix="unet"))


def _no_name(value: Json, contents: list[bytes]) -> None:
    value["tree"][0]["prefix"] = "low"
    contents[place(value, "source_header")] = file_header({"": ("F32", [3, 2])})


frames(
    "tree-name-empty", "S1", _no_name,
    of="tree-of-one",
)  # fmt: skip
frames(
    "tree-header-gap",
    "S1",
    source_header_of(lambda data: data.replace(b"[0, 24]", b"[8, 32]")),
    of="tree-of-one",
)


def parts(name: str, rule: str, change: Callable[[list[Json]], object], extra: bytes = b"") -> None:
    """Other parts of the first frame of files, and more bytes at its end, if need be."""

    def edit(value: Json, contents: list[bytes]) -> None:
        number, found = place(value, "files"), value["frames"][place(value, "files")]["parts"]
        change(found)
        contents[number] = (contents[number] + extra)[: sum(one["count"] for one in found)]

    frames(f"tree-{name}", rule, edit, of="tree-small")


def part(file: int, count: int) -> Json:
    return {"tensor": file, "count": count}


frames("tree-files-missing", "M4", dropped("files"), of="tree-small")
frames("tree-files-twice", "M4", doubled("files"), of="tree-small")
frames("tree-files-raw", "M6", one_more_byte("files"), of="tree-small")
parts("part-missing", "M4", lambda old: old[0].update(count=2))
parts("part-more", "M4", lambda old: old.append(part(MERGES, 1)), b"x")
parts("part-of-base", "M5", lambda old: old.append(part(INDEX, 1)), b"x")
parts("part-of-tensors", "M5", lambda old: old.append(part(FIRST, 1)), b"x")
parts("part-of-nothing", "M3", lambda old: old.append(part(9, 1)), b"x")
parts("part-of-empty", "M5", lambda old: old.append(part(EMPTY, 1)), b"x")
parts("part-of-no-bytes", "F3", lambda old: old.append(part(EMPTY, 0)))
tree("stored-size", "M4", lambda files: files[CONFIG].update(size=17))
tree("stored-sha256", "D5", lambda files: files[CONFIG].update(sha256="00" * 32))
tree("empty-sha256", "D5", lambda files: files[EMPTY].update(sha256="00" * 32))
frames("tree-stored-bytes", "D5", content("files", patched(0, b"A")), of="tree-small")


def _second_files(value: Json, contents: list[bytes]) -> None:
    first = place(value, "files")
    contents[first], contents[first + 1] = contents[first][::-1], contents[first + 1]


frames("tree-files-order", "D5", _second_files, of="tree-small")


def _moved(content: str, before: str) -> Callable[[Json, list[bytes]], None]:
    def edit(value: Json, contents: list[bytes]) -> None:
        old, new = place(value, content), place(value, before)
        for held in (value["frames"], contents):
            held.insert(new, held.pop(old))

    return edit


frames("tree-files-first", "M1", _moved("files", "source_header"), of="tree-small")
frames("tree-files-last", "M1", _moved("components", "files"), of="tree-small")


def _files_of_single(value: Json, contents: list[bytes]) -> None:
    number = place(value, "components")
    value["frames"].insert(
        number, value["frames"][number] | {"content": "files", "parts": [part(0, 1)]}
    )
    contents.insert(number, b"x")


frames("tree-files-of-single", "M3", _files_of_single)

tree("base-missing", "D6", lambda files: files[INDEX].update(sha256="00" * 32), error="base")


def _empty_of_base(files: list[Json]) -> None:
    files[INDEX] |= {"sha256": hashlib.sha256(b"").hexdigest(), "size": 0}


tree("base-missing-empty", "D6", _empty_of_base, error="base")


def _of_tensors(built: Built) -> bytes:
    data = base_files(built)["unet/model.safetensors"]
    digest = hashlib.sha256(data).hexdigest()
    told = {"sha256": digest, "size": len(data)}
    return with_header(built, lambda h: h["tree"][INDEX].update(told))


add("tree-base-of-tensors", "D6", _of_tensors, of="tree-small", error="base")


def _of_a_file(value: Json) -> None:
    digest = hashlib.sha256(b"{}").hexdigest()
    value["tree"].append({"kind": "base", "path": "x", "sha256": digest, "size": 2})


header(
    "tree-base-is-a-file", "D6", _of_a_file,
    of="tree-of-one", error="base",
)  # fmt: skip
tree("base-size", "D7", lambda files: files[INDEX].update(size=8))
add(
    "tree-result-size", "X1",
    lambda b: with_header(b, lambda h: h["results"][1].update(size=8), refit=False),
    of="tree-small",
)  # fmt: skip
for name, number in (("sha256", 3), ("sha256-kept", 1)):
    add(
        f"tree-result-{name}", "X3",
        lambda b, i=number: with_header(
            b, lambda h: h["results"][i].update(sha256="0" * 64), refit=False
        ),
        of="tree-small", error="result",
    )  # fmt: skip


def _not_kept(built: Built) -> bytes:
    """The file without a delta, as if it had one."""
    data = built.data_at(built.tau)
    assert data is not None
    value = copy.deepcopy(built.header)
    record = next(t for t in value["tensors"] if t["name"] == "text/copy")
    record.update(kind="dense", exponent=0, maximum=1, base_norm=0.0, norm=0.0, error=0.0)
    file = exact.result_file(value, data, built.tau, built.source_headers[1], "text/")
    told = {"sha256": hashlib.sha256(file).hexdigest(), "size": len(file)}
    return with_header(built, lambda h: h["results"][1].update(told), refit=False)


add(
    "tree-kept-not-to-the-byte",
    "X1",
    _not_kept,
    of="tree-small",
)
