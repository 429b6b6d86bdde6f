"""The models that the texts of a picture mention, in the ways of A1111, Forge and ComfyUI."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from ..canonical import MAX_WEIGHT, weight

Role = Literal["checkpoint", "lora"]

MAX_MENTIONS = 200
MAX_NAME = 300  # characters
ENDINGS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".sft", ".gguf")
OUR_NODES = "Dsvd"  # the beginning of their types
NO_SUBJECT = "(none)"

# The last line of A1111's parameters: `Name: value, Name: "a value, quoted"`. Every repetition is
# bounded, or ends at a sign that none of it may be, so that no text takes long.
_PARAMETER = re.compile(r'(\w[\w \-/]{0,60}):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')
_LORA_IN_PROMPT = re.compile(r"<(?:lora|lyco):([^:<>\n]{1,300})(?::[^<>\n]{0,60})?>")
_HASHES = re.compile(r"(?:^|[\s,])Hashes:\s*(\{[^{}]*\})")
_HEX = re.compile(r"(?:0x)?([0-9a-f]{8,64})")


@dataclass(frozen=True)
class Mention:
    """A model that a picture was made with.

    `name`: of its file without folder and ending, or the ref of a version; None where the picture has
    none. `digest`: hexadecimal digits from its beginning; None where the picture has none.
    """

    role: Role
    name: str | None
    digest: str | None = None


def mentions_in(texts: Iterable[str]) -> list[Mention]:
    """Every model that the texts of a picture mention, each once, the checkpoints first.

    A mention of a name alone is left out where another one has a digest for it.
    """
    found: dict[Mention, None] = {}
    for text in texts:
        for mention in _in_text(text):
            if mention.name or mention.digest:
                found[mention] = None
            if len(found) >= MAX_MENTIONS:
                break
    with_digest = {(mention.role, mention.name) for mention in found if mention.digest}
    with_name = {mention.digest for mention in found if mention.digest and mention.name}
    left = [
        mention
        for mention in found
        if (mention.digest or (mention.role, mention.name) not in with_digest)
        and (mention.name or mention.digest not in with_name)
    ]
    return sorted(left, key=lambda mention: mention.role)


def _in_text(text: str) -> Iterator[Mention]:
    for prefix in ("prompt:", "workflow:"):  # of ComfyUI's texts in EXIF
        text = text.removeprefix(prefix)
    if not text.lstrip().startswith("{"):
        yield from _in_parameters(text)
        return
    value = _parsed(text)
    if not isinstance(value, dict):
        return
    parts = [value[key] for key in ("prompt", "workflow") if isinstance(value.get(key), dict)]
    for graph in parts or [value]:
        yield from _in_graph(graph)


def _parsed(text: str) -> Any:
    """The value of JSON; None for a text that is none, or would take much memory."""
    try:
        return json.loads(text) if weight(text.encode(errors="replace")) <= MAX_WEIGHT else None
    except (ValueError, RecursionError):
        return None


# A1111 and Forge


def _in_parameters(text: str) -> Iterator[Mention]:
    """The mentions in a text of A1111: a prompt, then a line of `Name: value` that has "Steps"."""
    if "Steps: " not in text:
        return
    prompt, _, line = text.strip().rpartition("\n")
    if (hashes := _HASHES.search(line)) is not None:
        yield from _in_hashes(_parsed(hashes[1]))
        line = line[: hashes.start()] + line[hashes.end() :]
    given = {name: _unquoted(value) for name, value in _PARAMETER.findall(line)}
    yield Mention("checkpoint", _stem(given.get("Model", "")), _digest(given.get("Model hash", "")))
    for pair in given.get("Lora hashes", "").split(","):
        name, _, digest = pair.rpartition(":")
        yield Mention("lora", _stem(name), _digest(digest))
    for name in _LORA_IN_PROMPT.findall(prompt):
        yield Mention("lora", _stem(name))


def _in_hashes(value: Any) -> Iterator[Mention]:
    """The mentions in the JSON that Civitai's extension adds: {"model": digest, "lora:name": digest}."""
    for key, digest in value.items() if isinstance(value, dict) else ():
        kind, _, name = key.partition(":")
        if kind.lower() in ("model", "lora", "lyco") and isinstance(digest, str):
            role: Role = "checkpoint" if kind.lower() == "model" else "lora"
            yield Mention(role, _stem(name), _digest(digest))


def _unquoted(value: str) -> str:
    value = value.strip()
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value
    found = _parsed(value)
    return found if isinstance(found, str) else value[1:-1]


# ComfyUI


def _in_graph(graph: dict[str, Any]) -> Iterator[Mention]:
    """The mentions in a graph: the one that was run, by ids of nodes, or the one that is edited."""
    nodes = graph.get("nodes")
    if isinstance(nodes, list):
        for node in nodes:
            if isinstance(node, dict) and node.get("mode", 0) not in (2, 4):  # muted, bypassed
                yield from _in_widgets(str(node.get("type", "")), node.get("widgets_values"))
        return
    for node in graph.values():
        if isinstance(node, dict) and isinstance(node.get("inputs"), dict):
            yield from _in_inputs(str(node.get("class_type", "")), node["inputs"])


def _in_inputs(node: str, inputs: dict[str, Any]) -> Iterator[Mention]:
    if node.startswith(OUR_NODES):
        for key, subject in inputs.items():
            if key.startswith("subject"):
                version = inputs.get("version" + key.removeprefix("subject"))
                yield from _subject(subject, version)
        return
    for key, value in inputs.items():
        if isinstance(value, str) and (key.endswith("_name") or _is_file(value)):
            yield from _file(f"{node} {key}", value)


def _in_widgets(node: str, values: Any) -> Iterator[Mention]:
    if isinstance(values, dict):
        values = list(values.values())
    if not isinstance(values, list):
        return
    if node.startswith(OUR_NODES):
        # Name, version and strength of each subject, in this order; a number comes between two.
        texts = [value for value in values if isinstance(value, str)]
        for subject, version in zip(texts[::2], texts[1::2], strict=False):
            yield from _subject(subject, version)
        return
    for value in values:
        if isinstance(value, str) and _is_file(value):
            yield from _file(node, value)


def _subject(name: Any, version: Any) -> Iterator[Mention]:
    if isinstance(name, str) and name != NO_SUBJECT:
        which = str(version) if isinstance(version, str | int) else ""
        yield Mention("checkpoint", _short(f"{name}@{which}" if which else name))


def _file(place: str, value: str) -> Iterator[Mention]:
    """The mention of a file, by the words of its node and input; none for a VAE and the like."""
    words = place.lower()
    if "lora" in words:
        yield Mention("lora", _stem(value))
    elif any(word in words for word in ("ckpt", "checkpoint", "unet", "diffusion_model")):
        yield Mention("checkpoint", _stem(value))


# Names and digests


def _is_file(value: str) -> bool:
    return value.lower().endswith(ENDINGS)


def _stem(name: str) -> str | None:
    """The name of a file without folder and ending; None for an empty one."""
    name = PurePosixPath(name.strip().replace("\\", "/")).name
    for ending in ENDINGS:
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
    return _short(name)


def _short(name: str) -> str | None:
    return name.strip() if 0 < len(name.strip()) <= MAX_NAME else None


def _digest(text: str) -> str | None:
    found = _HEX.fullmatch(text.strip().lower())
    return None if found is None else found[1]
