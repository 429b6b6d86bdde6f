"""The metadata of a LoRA file comes back with exports, as do the files that tools look for beside it."""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from small_pictures import picture

from dsvd_registry.cli import main

from .small import base_weights, kohya, pairs, registry_of

KOHYA = {
    "ss_tag_frequency": '{"dog": {"a dog, é": 7}}',
    "ss_network_dim": "777",
    "ss_clip_skip": "2",
    "modelspec.title": "Dog",
    "modelspec.hash_sha256": "0x" + "ab" * 32,
    "sshs_model_hash": "cd",
    "own": "of nobody",
}


def metadata_of(file: Path) -> dict[str, str]:
    with safe_open(file, "pt") as opened:
        return dict(opened.metadata())


def test_it_comes_back_with_exports(tmp_path: Path) -> None:
    save_file(kohya(pairs()), tmp_path / "lora.safetensors", KOHYA)
    own = tmp_path / "own"
    own.mkdir()
    with registry_of(own, base_weights()) as registry:
        registry.add(
            tmp_path / "lora.safetensors", base="sd15", name="dog", metadata={"trigger": "sks"}
        )
        assert registry.metadata("dog")["modelspec.hash_sha256"] == KOHYA["modelspec.hash_sha256"]
        plain = tmp_path / "plain.safetensors"
        for format in ("peft", "kohya", "comfyui"):
            registry.export_lora("dog", tmp_path / f"{format}.safetensors", format=format)  # type: ignore[arg-type]
            found = metadata_of(tmp_path / f"{format}.safetensors")
            for key in ("ss_tag_frequency", "ss_clip_skip", "modelspec.title"):
                assert found[key] == KOHYA[key]
            assert found["modelspec.trigger_phrase"] == "sks"
            assert "777" not in found.values() and "modelspec.hash_sha256" not in found
            assert not {"own", "sshs_model_hash", "trigger"} & found.keys()
            assert found["dsvd.base"] == registry.version("dog").base
            assert found["format"] == "pt"
        for key in registry.metadata("dog"):
            registry.remove_metadata("dog", key)
        registry.export_lora("dog", plain, format="kohya")
        assert "ss_tag_frequency" not in metadata_of(plain)


def test_the_command_gives_the_preview_and_sidecars_back(tmp_path: Path) -> None:
    save_file(kohya(pairs()), tmp_path / "lora.safetensors", KOHYA)
    (tmp_path / "lora.webp").write_bytes(picture("WEBP"))
    (tmp_path / "lora.civitai.info").write_text('{"trainedWords": ["sks"]}')
    own = tmp_path / "own"
    own.mkdir()
    with registry_of(own, base_weights()) as registry:
        registry.add(tmp_path / "lora.safetensors", base="sd15", name="dog")
        assert registry.metadata("dog")["trigger"] == "sks"
        folder = str(registry.folder)
    (tmp_path / "out").mkdir()
    there = tmp_path / "out/rex.civitai.info"
    there.write_text("of somebody")
    words = ("export", "dog", "--format=peft", "-o", str(tmp_path / "out/rex.safetensors"))
    assert main(["--registry", folder, *words]) == 0
    assert there.read_text() == "of somebody"
    assert {path.name for path in there.parent.iterdir()} == {
        "rex.safetensors",
        "rex.civitai.info",
        "rex.preview.webp",
    }
    assert (there.parent / "rex.preview.webp").read_bytes() == picture("WEBP")
    beside = ("attachments", "dog", "--beside", str(tmp_path / "out/rex.safetensors"), "--force")
    assert main(["--registry", folder, *beside]) == 0
    assert there.read_text() == '{"trainedWords": ["sks"]}'
