from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path

from picture_texts.drawn import PARAMETERS, png

from .conftest import Dsvd

HOSTILE = "\x1b[31mred\u202e<script>alert(1)</script>"


def test_a_digest_names_a_version(dsvd: Dsvd, filled: Path, checkpoints: Path) -> None:
    data = (checkpoints / "other.ckpt").read_bytes()
    found = dsvd("find", f"{zlib.crc32(data):08X}")
    assert found.code == 0 and found.err == ""
    assert [line.split("  ") for line in found.out.splitlines()[1:]] == [
        ["subject-42@2", "CRC32 of the source"]
    ]
    sha256 = hashlib.sha256(data).hexdigest()
    told = json.loads(dsvd("find", sha256[:10], "--json").out)
    (sought,) = told["sought"]
    (match,) = sought["matches"]
    assert (told["kind"], sought["digest"]) == ("digest", sha256[:10])
    assert (match["version"]["ref"], match["by"], match["of"]) == (
        "subject-42@2", "AutoV2", "source",
    )  # fmt: skip
    base = dsvd("find", checkpoints / "base.safetensors")
    assert base.out.splitlines()[1].split(None, 1) == ["sd15", "SHA-256 of the base's file"]


def test_a_picture_names_what_it_was_made_with(dsvd: Dsvd, filled: Path, here: Path) -> None:
    end = "Model: subject-42, Lora hashes: " + json.dumps(f"{HOSTILE}: 00112233aabb")
    (here / "made.png").write_bytes(png({"parameters": PARAMETERS + end}))
    found = dsvd("find", "made.png")
    assert found.code == 0
    assert "checkpoint subject-42" in found.out and "name of the model" in found.out
    assert "subject-42@2" in found.out and "not known here" in found.out
    assert "\x1b" not in found.out and "\u202e" not in found.out
    told = json.loads(dsvd("find", "made.png", "--json").out)
    assert [one["digest"] for one in told["sought"]] == [None, "00112233aabb", None]


def test_what_is_not_known_is_told(dsvd: Dsvd, filled: Path, here: Path) -> None:
    nothing = dsvd("find", "00112233aa")
    assert (nothing.code, nothing.out) == (3, "")
    assert "no version or base has the digest 00112233aa" in nothing.err
    assert "another tau" in nothing.err
    (here / "made.png").write_bytes(png({"parameters": f"x\nSteps: 1, Model: {HOSTILE}"}))
    stranger = dsvd("find", "made.png")
    assert stranger.code == 3 and "was made with what is not known here" in stranger.err
    assert "\x1b" not in stranger.err and "\u202e" not in stranger.err
    assert dsvd("find", "nothing.png").code == 2
