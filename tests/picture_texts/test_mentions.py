from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dsvd_registry.pictures import Mention, mentions_in, picture_texts

from .drawn import (
    PARAMETERS,
    exif_of_a1111,
    png,
    png_of_comfyui,
    webp_of_comfyui,
    with_exif,
)

A, B, C = "1a2b3c4d5e", "00112233aabb", "ffeeddccbbaa"
LORAS = f'Lora hashes: "style: {B}, my_dog-2: {C}"'
OF_A1111 = f"{PARAMETERS}Model hash: {A}, Model: subject-42@3, VAE hash: 735e4c3a44, {LORAS}"
EXPECTED = [
    Mention("checkpoint", "subject-42@3", A),
    Mention("lora", "style", B),
    Mention("lora", "my_dog-2", C),
]

PROMPT = {
    "3": {"class_type": "KSampler", "inputs": {"seed": 5, "sampler_name": "euler", "model": ["10", 0]}},
    "4": {
        "class_type": "CheckpointLoaderSimple",
        "inputs": {"ckpt_name": "dsvd/checkpoints/subject-42@3.safetensors"},
    },
    "10": {
        "class_type": "LoraLoader",
        "inputs": {"lora_name": "people\\my dog.safetensors", "strength_model": 1.0, "model": ["4", 0]},
    },
    "11": {"class_type": "VAELoader", "inputs": {"vae_name": "vae-ft-mse.safetensors"}},
    "15": {"class_type": "UpscaleModelLoader", "inputs": {"model_name": "4x.pth"}},
    "12": {"class_type": "UNETLoader", "inputs": {"unet_name": "other.safetensors"}},
    "13": {
        "class_type": "DsvdApplySubjects",
        "inputs": {
            "subject_1": "cat", "version_1": "latest", "weight_1": 0.6,
            "subject_2": "hat", "version_2": "2", "weight_2": 0.4,
            "subject_3": "(none)", "version_3": "latest", "weight_3": 1.0,
            "model": ["4", 0],
        },
    },
    "14": {"class_type": "LoadImage", "inputs": {"image": "cat.png"}},
}  # fmt: skip
WORKFLOW = {
    "nodes": [
        {
            "type": "CheckpointLoaderSimple",
            "mode": 0,
            "widgets_values": ["a/subject-42@3.safetensors"],
        },
        {"type": "LoraLoader", "mode": 0, "widgets_values": ["my dog.safetensors", 1, 1]},
        {"type": "LoraLoader", "mode": 4, "widgets_values": ["bypassed.safetensors", 1, 1]},
        {"type": "DsvdLoadCheckpoint", "mode": 0, "widgets_values": ["cat", "prod", 0]},
        {"type": "Note", "mode": 0, "widgets_values": ["see lora.safetensors"]},
        {"type": "VAELoader", "widgets_values": ["vae-ft-mse.safetensors"]},
    ]
}
OF_PROMPT = [
    Mention("checkpoint", "subject-42@3"),
    Mention("checkpoint", "other"),
    Mention("checkpoint", "cat@latest"),
    Mention("checkpoint", "hat@2"),
    Mention("lora", "my dog"),
]
OF_WORKFLOW = [
    Mention("checkpoint", "subject-42@3"),
    Mention("checkpoint", "cat@prod"),
    Mention("lora", "my dog"),
]


def little_endian(text: str, code: bytes = b"UNICODE\0", encoding: str = "utf-16-le") -> Image.Exif:
    """EXIF as Pillow writes it."""
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = code + text.encode(encoding)
    return exif


@pytest.mark.parametrize(
    "made",
    [
        lambda text: png({"parameters": text}),
        lambda text: png({"parameters": "猫 " + text}),
        lambda text: with_exif(exif_of_a1111(text), "JPEG"),
        lambda text: with_exif(exif_of_a1111("猫 " + text), "WEBP"),
        lambda text: with_exif(little_endian(text), "JPEG"),
        lambda text: with_exif(little_endian(text, b"ASCII\0\0\0", "ascii"), "WEBP"),
    ],
    ids=["png", "png-utf8", "jpeg", "webp", "jpeg-little-endian", "webp-ascii"],
)
def test_pictures_of_a1111(tmp_path: Path, made: Callable[[str], bytes]) -> None:
    (tmp_path / "picture").write_bytes(made(OF_A1111))
    assert mentions_in(picture_texts(tmp_path / "picture")) == EXPECTED


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (f"Model hash: {A}", [Mention("checkpoint", None, A), Mention("lora", "style")]),
        ("Model: folder/name.v2", [Mention("checkpoint", "name.v2"), Mention("lora", "style")]),
        (
            'Hashes: {"model": "1a2b3c4d5e", "lora:style": "00112233aabb", "vae": "735e4c3a44"}',
            [Mention("checkpoint", None, A), Mention("lora", "style", B)],
        ),
        (
            f'Model hash: {A}, Model: x, Hashes: {{"model": "{A}", "embed:neg": "aaaaaaaa"}}, RNG: CPU',
            [Mention("checkpoint", "x", A), Mention("lora", "style")],
        ),
        ('Note: "a, Model: not this", Model: "it, that"', [
            Mention("checkpoint", "it, that"), Mention("lora", "style"),
        ]),
        ('Lora hashes: "style: NOTHEX"', [Mention("lora", "style")]),
    ],
)  # fmt: skip
def test_parameters_of_a1111_forge_and_civitai(end: str, expected: list[Mention]) -> None:
    assert mentions_in([PARAMETERS + end]) == expected


def test_pictures_of_comfyui(tmp_path: Path) -> None:
    picture = tmp_path / "picture"
    picture.write_bytes(png_of_comfyui(PROMPT))
    assert mentions_in(picture_texts(picture)) == OF_PROMPT
    picture.write_bytes(png({"workflow": json.dumps(WORKFLOW)}))
    assert mentions_in(picture_texts(picture)) == OF_WORKFLOW
    both = {*OF_PROMPT, *OF_WORKFLOW}
    for made in (webp_of_comfyui(PROMPT, WORKFLOW), png_of_comfyui(PROMPT, WORKFLOW)):
        picture.write_bytes(made)
        found = mentions_in(picture_texts(picture))
        assert set(found) == both and len(found) == len(both)
    # As extensions for JPEG write it: one JSON for both, in the user comment.
    comment = json.dumps({"prompt": PROMPT, "workflow": WORKFLOW})
    picture.write_bytes(with_exif(little_endian(comment, b"", "utf-8"), "JPEG"))
    assert set(mentions_in(picture_texts(picture))) == both


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a dog",
        "Steps: ",
        '{"prompt": ' + "[" * 100_000,
        json.dumps({"nodes": [None, 5, {"type": 7, "widgets_values": {"a": [1]}}], "x": None}),
        json.dumps({"1": {"class_type": ["x"], "inputs": {"ckpt_name": ["4", 0], "lora_name": 5}}}),
        json.dumps({"1": {"class_type": "DsvdLoadCheckpoint", "inputs": {"subject": {}}}}),
        json.dumps([PROMPT]),
        json.dumps({"a": [[]] * 400_000, **PROMPT}),  # some 50 MB of objects
        "Steps: 1, Hashes: {" + '"' * 1000 + "}",
        "Steps: 1, Lora hashes: " + '"' + "\\" * 50_000,
        "Steps: 1, " + "a" * 100_000,
        "Steps: 1, " + "a:" * 100_000,
        "Steps: 1, " + " " * 1_000_000 + "-",
        "Steps: 1, " + "<lora:" * 100_000 + " Hashes:" * 100_000,
    ],
)
def test_other_texts_mention_nothing(text: str) -> None:
    assert mentions_in([text]) == []


def test_a_picture_mentions_no_more_than_a_person_can_read() -> None:
    nodes: dict[str, Any] = {
        str(number): {"class_type": "LoraLoader", "inputs": {"lora_name": f"{number}.safetensors"}}
        for number in range(5000)
    }
    nodes["long"] = {
        "class_type": "LoraLoader",
        "inputs": {"lora_name": "x" * 5000 + ".safetensors"},
    }
    found = mentions_in([json.dumps(nodes), json.dumps(nodes)])
    assert len(found) == 200 and all(len(mention.name or "") < 5 for mention in found)
