"""The invalid golden containers whose result is a folder: the rest of `invalid_vectors`."""

from __future__ import annotations

import copy
from collections.abc import Callable

from . import exact
from .building import Built, base_files, file_header
from .exact import Json
from .invalid_vectors import (
    EXACTLY,
    INVALID,
    SIZES,
    SOURCE,
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
            if frame["content"] == "files":
                frame["parts"] = [[place[id(old[i])], count] for i, count in frame["parts"]]
        value["tree"] = new

    frames(f"tree-{name}", rule, edit, of=of)


def path(name: str, rule: str, new: str, place: int = CONFIG) -> None:
    def change(files: list[Json]) -> list[Json]:
        files[place]["path"] = new
        return sorted(files, key=lambda file: file["path"].encode())

    replaced(f"path-{name}", "Paths: " + rule, change)


NAMED_TREE = "`requires` MUST hold `tree` exactly if the header has the field `tree`"
header("tree-not-named", NAMED_TREE, lambda h: h.update(requires=[]), of="tree-of-one")
header("tree-not-there", NAMED_TREE, lambda h: h.pop("tree"), of="tree-of-one")
header("tree-not-there-single", NAMED_TREE, lambda h: h.update(requires=["tree"]))
ARRAY = "`tree` is an array of at least one object"
header("tree-no-array", ARRAY, lambda h: h.update(tree={}), of="tree-small")
header("tree-no-object", ARRAY, lambda h: h["tree"].insert(0, "a"), of="tree-of-one")
header("tree-empty", ARRAY, lambda h: h.update(tree=[]), of="tree-of-one")
SORTED = "`tree` is ascending by the UTF-8 bytes of `path`"
replaced("order", SORTED, lambda files: files[::-1])
replaced(
    "order-utf-16",
    SORTED,
    lambda files: sorted(files, key=lambda file: file["path"].encode("utf-16-be")),
    of="tree-names",
)
replaced("path-twice", "No path of `tree` twice", lambda files: [*files[:2], *files[1:]])
ONE_KIND = "Each file of `tree` is of one of three kinds"
tree("kind-unknown", ONE_KIND, lambda files: files[CONFIG].update(kind="link"))
tree("kind-missing", ONE_KIND, lambda files: files[CONFIG].pop("kind"))
for field, value in {"path": None, "sha256": None, "size": None, "prefix": ""}.items():
    tree(
        f"stored-{'unknown' if value == '' else 'no'}-{field}",
        EXACTLY + f"`{field}` of a stored file",
        lambda files, field=field, value=value: (
            files[CONFIG].pop(field) if value is None else files[CONFIG].update({field: value})
        ),
    )
tree("tensors-no-prefix", EXACTLY + "`prefix`", lambda files: files[FIRST].pop("prefix"))
tree("tensors-unknown-size", EXACTLY + "`size`", lambda files: files[FIRST].update(size=8))
tree("base-no-size", EXACTLY + "`size`", lambda files: files[INDEX].pop("size"))
LONG_PREFIX = "`prefix` is 0 to 4096 bytes"
tree("prefix-long", LONG_PREFIX, lambda f: f[0].update(prefix="x" * 4097), of="tree-kept")
tree("prefix-no-string", LONG_PREFIX, lambda files: files[0].update(prefix=0), of="tree-of-one")
tree("sha256-short", "`sha256` has 64 digits", lambda files: files[CONFIG].update(sha256="ab"))
tree("size-negative", "A size is at least 0", lambda files: files[EMPTY].update(size=-1))
tree(
    "size-real",
    "A real never stands where an integer is due",
    lambda files: files[EMPTY].update(size=0.0),
)

EMPTY_PART = "no part is empty"
path("empty", "1 to 4096 bytes", "")
path("long", "1 to 4096 bytes", "d/" * 2048 + "e")
path("absolute", EMPTY_PART, "/config.json")
path("slashes", EMPTY_PART, "unet//config.json")
path("folder", EMPTY_PART, "unet/config/")
path("dot", "no part ends in `.`", ".")
path("dot-within", "no part ends in `.`", "unet/./config.json")
path("above", "no part ends in `.`", "../config.json")
path("above-alone", "no part ends in `.`", "..")
path("above-within", "no part ends in `.`", "unet/../../config.json")
path("dots", "no part ends in `.`", "unet.../config.json")
path("ends-in-dot", "no part ends in `.`", "unet/config.")
path("ends-in-space", "no part ends in a space", "unet/config ")
path("space", "no part ends in a space", "unet/ /config.json")
for name, character in (
    *(("null", "\0"), ("tab", "\t"), ("line", "\n"), ("31", "\x1f"), ("127", "\x7f")),
    *(("backslash", "\\"), ("colon", ":"), ("star", "*"), ("question", "?"), ("quote", '"')),
    *(("less", "<"), ("greater", ">"), ("bar", "|")),
):
    path(name, f"no character {character!a}", f"unet/a{character}b")
path("temporary", "no part begins with `.dsvd-tmp-`", ".dsvd-tmp-0")
path("temporary-folder", "no part begins with `.dsvd-tmp-`", "unet/.dsvd-tmp-/config.json")
path("through-file", "no path is another's folder", "model.safetensors/config.json")
path("through-base", "no path is another's folder", "model_index.json/a/b")
path("of-a-folder", "no path is another's folder", "unet")
path("of-tensors", "no part ends in `.`", "../model.safetensors", 0)

RESULTS = "`results` has one entry for every file that holds tensors, in the order of `tree`"
header(
    "tree-result-path",
    RESULTS,
    lambda h: h["results"][1].update(path="text/other.safetensors"),
    of="tree-small",
)
header("tree-result-order", RESULTS, lambda h: h["results"].reverse(), of="tree-small")
header("tree-result-missing", RESULTS, lambda h: h["results"].pop(), of="tree-small")
header("tree-no-result", RESULTS, lambda h: h.update(results=[]), of="tree-small")
header(
    "tree-result-twice",
    RESULTS,
    lambda h: h["results"].append(h["results"][-1]),
    of="tree-small",
)
header(
    "tree-result-of-stored",
    RESULTS,
    lambda h: h["results"].insert(
        2, {key: h["tree"][CONFIG][key] for key in ("path", "sha256", "size")}
    ),
    of="tree-small",
)


def _all_stored(value: Json, contents: list[bytes]) -> None:
    data = contents[place(value, "source_header")]
    value["tree"] = [
        {"kind": "base", "path": "a", "sha256": exact.hashlib.sha256(data).hexdigest(), "size": 1}
    ]
    value["results"] = []


frames(
    "tree-no-tensors",
    "There is at least one file that holds tensors",
    _all_stored,
    of="tree-of-one",
)

HEADERS = "There is one `source_header` frame for each file that holds tensors"


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


frames("tree-header-missing", HEADERS, _last_header(_gone), of="tree-small")
frames("tree-header-twice", HEADERS, _last_header(_again), of="tree-small")
frames("tree-header-order", HEADERS + ", in the same order", _headers_turned, of="tree-small")
header(
    "tree-header-parts",
    "`source_header` has no parts",
    lambda h: h["frames"][place(h, "source_header")].update(parts=[[0, 1]]),
    of="tree-small",
)
frames(
    "tree-header-over-limit", "`raw` of a `source_header` is at most 2^24",
    source_header_of(lambda data: data + b" " * (2**24 + 1 - len(data))), of="tree-of-one",
)  # fmt: skip
NAMES = "The names of the records are, each once, the names in these headers with the `prefix`"


def headed(name: str, rule: str, number: int, **tensors: tuple[str, list[int]]) -> None:
    """Another header of a file; its tensors by name, `_` being none."""

    def edit(value: Json, contents: list[bytes]) -> None:
        found = {key if key != "_" else "": entry for key, entry in tensors.items()}
        contents[place(value, "source_header") + number] = file_header(found)

    frames(f"tree-{name}", rule, edit, of="tree-small")


LOW, RAW, DENSE_OF_TREE = ("F16", [3, 2]), ("I16", [2]), ("F32", [6])
headed("name-in-no-file", NAMES, 2, low=LOW)
headed("name-in-two-files", NAMES, 3, dense=DENSE_OF_TREE, raw=RAW)
headed("name-in-a-file-only", NAMES, 3, dense=DENSE_OF_TREE, more=RAW)
headed("name-with-prefix", NAMES, 3, **{"unet/dense": DENSE_OF_TREE})
headed("dtype", NAMES + "; dtypes and shapes agree", 2, raw=("U16", [2]), low=LOW)
headed("shape", NAMES + "; dtypes and shapes agree", 2, raw=RAW, low=("F16", [2, 3]))
tree("prefix", NAMES, lambda files: files[SECOND].update(prefix="unet"))


def _no_name(value: Json, contents: list[bytes]) -> None:
    value["tree"][0]["prefix"] = "low"
    contents[place(value, "source_header")] = file_header({"": ("F32", [3, 2])})


frames(
    "tree-name-empty", SOURCE + "the rules for a record's name hold for its keys", _no_name,
    of="tree-of-one",
)  # fmt: skip
frames(
    "tree-header-gap",
    SOURCE + "without gap or overlap",
    source_header_of(lambda data: data.replace(b"[0, 24]", b"[8, 32]")),
    of="tree-of-one",
)

FILE_PARTS = "Taken in file order, the parts of one file are all of it: "


def parts(
    name: str, rule: str, change: Callable[[list[list[int]]], object], extra: bytes = b""
) -> None:
    """Other parts of the first frame of files, and more bytes at its end, if need be."""

    def edit(value: Json, contents: list[bytes]) -> None:
        number, found = place(value, "files"), value["frames"][place(value, "files")]["parts"]
        change(found)
        contents[number] = (contents[number] + extra)[: sum(count for _, count in found)]

    frames(f"tree-{name}", FILE_PARTS + rule, edit, of="tree-small")


frames("tree-files-missing", FILE_PARTS + "no part", dropped("files"), of="tree-small")
frames("tree-files-twice", FILE_PARTS + "twice", doubled("files"), of="tree-small")
frames("tree-files-raw", SIZES + "files", one_more_byte("files"), of="tree-small")
parts("part-missing", "a part too few", lambda old: old[0].__setitem__(1, 2))
parts("part-more", "a part too many", lambda old: old.append([MERGES, 1]), b"x")
parts("part-of-base", "they are of stored files", lambda old: old.append([INDEX, 1]), b"x")
parts("part-of-tensors", "they are of stored files", lambda old: old.append([FIRST, 1]), b"x")
parts("part-of-nothing", "they are of stored files", lambda old: old.append([9, 1]), b"x")
parts("part-of-empty", "a file of size 0 has no part", lambda old: old.append([EMPTY, 1]), b"x")
parts("part-of-no-bytes", "a count of at least 1", lambda old: old.append([EMPTY, 0]))
tree("stored-size", FILE_PARTS + "`size` bytes", lambda files: files[CONFIG].update(size=17))
STORED = "A stored file has its SHA-256"
tree("stored-sha256", STORED, lambda files: files[CONFIG].update(sha256="00" * 32))
tree("empty-sha256", STORED, lambda files: files[EMPTY].update(sha256="00" * 32))
frames("tree-stored-bytes", STORED, content("files", patched(0, b"A")), of="tree-small")


def _second_files(value: Json, contents: list[bytes]) -> None:
    first = place(value, "files")
    contents[first], contents[first + 1] = contents[first][::-1], contents[first + 1]


frames("tree-files-order", STORED, _second_files, of="tree-small")


def _moved(content: str, before: str) -> Callable[[Json, list[bytes]], None]:
    def edit(value: Json, contents: list[bytes]) -> None:
        old, new = place(value, content), place(value, before)
        for held in (value["frames"], contents):
            held.insert(new, held.pop(old))

    return edit


BETWEEN = "Frames of `files` stand between those of `source_header` and of `components`"
frames("tree-files-first", BETWEEN, _moved("files", "source_header"), of="tree-small")
frames("tree-files-last", BETWEEN, _moved("components", "files"), of="tree-small")


def _files_of_single(value: Json, contents: list[bytes]) -> None:
    number = place(value, "components")
    value["frames"].insert(
        number, value["frames"][number] | {"content": "files", "parts": [[0, 1]]}
    )
    contents.insert(number, b"x")


frames("tree-files-of-single", "Without `tree` no frame holds files", _files_of_single)

HAS = "A file of the kind `base` is one that the base has, with this SHA-256"
tree("base-missing", HAS, lambda files: files[INDEX].update(sha256="00" * 32), error="base")


def _empty_of_base(files: list[Json]) -> None:
    files[INDEX] |= {"sha256": exact.hashlib.sha256(b"").hexdigest(), "size": 0}


tree("base-missing-empty", HAS, _empty_of_base, error="base")


def _of_tensors(built: Built) -> bytes:
    data = base_files(built)["unet/model.safetensors"]
    digest = exact.hashlib.sha256(data).hexdigest()
    told = {"sha256": digest, "size": len(data)}
    return with_header(built, lambda h: h["tree"][INDEX].update(told))


add(
    "tree-base-of-tensors", HAS + ": not one of tensors", _of_tensors, of="tree-small", error="base"
)


def _of_a_file(value: Json) -> None:
    digest = exact.hashlib.sha256(b"{}").hexdigest()
    value["tree"].append({"kind": "base", "path": "x", "sha256": digest, "size": 2})


header(
    "tree-base-is-a-file", HAS + ": a base that is a single file has none", _of_a_file,
    of="tree-of-one", error="base",
)  # fmt: skip
tree("base-size", "`size` is that of the base's file", lambda files: files[INDEX].update(size=8))
add(
    "tree-result-size", "The size of each result MUST be compared with `results`",
    lambda b: with_header(b, lambda h: h["results"][1].update(size=8), refit=False),
    of="tree-small",
)  # fmt: skip
for name, number in (("sha256", 3), ("sha256-kept", 1)):
    add(
        f"tree-result-{name}", "Each result at `encoding.tau` MUST have the SHA-256 of `results`",
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
    next(t for t in value["tensors"] if t["name"] == "text/copy")["kind"] = "dense"
    file = exact.result_file(value, data, built.tau, built.source_headers[1], "text/")
    told = {"sha256": exact.hashlib.sha256(file).hexdigest(), "size": len(file)}
    return with_header(built, lambda h: h["results"][1].update(told), refit=False)


add(
    "tree-kept-not-to-the-byte",
    "A result is kept to the byte where none of its own records is `low_rank` or `dense`",
    _not_kept,
    of="tree-small",
)


def _all_kept(value: Json) -> None:
    value["requires"], files = [], value.pop("tree")
    assert len(files) == 1


header(
    "tree-as-single", "Without `tree` the result is of the path `model.safetensors`", _all_kept,
    of="tree-of-one",
)  # fmt: skip
