"""The same nodes for a ComfyUI without the V3 schema."""

from __future__ import annotations

from typing import Any

from .subjects import NONE, apply_subject, fingerprint, load_checkpoint, names
from .texts import CATEGORY, DISPLAY, ROWS, TIPS

Inputs = dict[str, dict[str, tuple[Any, ...]]]


def _subject(suffix: str = "", first: tuple[str, ...] = ()) -> dict[str, tuple[Any, ...]]:
    """The inputs that choose a subject's version."""
    return {
        f"subject{suffix}": ([*first, *names()], {"tooltip": TIPS["subject"]}),
        f"version{suffix}": ("STRING", {"default": "latest", "tooltip": TIPS["version"]}),
    }


def _number(default: float, least: float, most: float, step: float, tip: str) -> tuple[Any, ...]:
    limits = {"default": default, "min": least, "max": most, "step": step}
    return ("FLOAT", {**limits, "tooltip": TIPS[tip]})


class LoadCheckpoint:
    CATEGORY, FUNCTION = CATEGORY, "execute"
    DESCRIPTION = TIPS["DsvdLoadCheckpoint"]
    RETURN_TYPES = ("MODEL", "CLIP", "VAE")

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        return {"required": {**_subject(), "tau": _number(0.0, 0.0, 1.0, 0.01, "tau")}}

    @classmethod
    def VALIDATE_INPUTS(cls, subject: str) -> bool:  # noqa: N802
        """Take any name: the node itself says best what is wrong with one."""
        return True

    @classmethod
    def IS_CHANGED(cls, subject: str, version: str, **_: Any) -> str:  # noqa: N802
        return fingerprint(subject, version)

    def execute(self, subject: str, version: str, tau: float) -> tuple[Any, ...]:
        return load_checkpoint(subject, version, tau)


class ApplySubject:
    CATEGORY, FUNCTION = CATEGORY, "execute"
    DESCRIPTION = TIPS["DsvdApplySubject"]
    RETURN_TYPES = ("MODEL", "CLIP")

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        strength = _number(1.0, -10.0, 10.0, 0.05, "strength")
        return {
            "required": {"model": ("MODEL",), **_subject(), "strength": strength},
            "optional": {"clip": ("CLIP", {"tooltip": TIPS["clip"]})},
        }

    @classmethod
    def VALIDATE_INPUTS(cls, subject: str) -> bool:  # noqa: N802
        return True

    @classmethod
    def IS_CHANGED(cls, subject: str, version: str, **_: Any) -> str:  # noqa: N802
        return fingerprint(subject, version)

    def execute(
        self, model: Any, subject: str, version: str, strength: float, clip: Any = None
    ) -> tuple[Any, ...]:
        return apply_subject(model, clip, subject, version, strength)


class ApplySubjects:
    CATEGORY, FUNCTION = CATEGORY, "execute"
    DESCRIPTION = TIPS["DsvdApplySubjects"]
    RETURN_TYPES = ("MODEL", "CLIP")

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:  # noqa: N802
        required: dict[str, tuple[Any, ...]] = {"model": ("MODEL",)}
        for row in range(1, ROWS + 1):
            required |= _subject(f"_{row}", (NONE,))
            required[f"weight_{row}"] = _number(1.0, -10.0, 10.0, 0.05, "strength")
        return {"required": required, "optional": {"clip": ("CLIP", {"tooltip": TIPS["clip"]})}}

    @classmethod
    def VALIDATE_INPUTS(  # noqa: N802
        cls,
        subject_1: str,
        subject_2: str,
        subject_3: str,
        subject_4: str,
    ) -> bool:
        return True

    @classmethod
    def IS_CHANGED(cls, **inputs: Any) -> list[str]:  # noqa: N802
        rows = range(1, ROWS + 1)
        return [fingerprint(inputs[f"subject_{row}"], inputs[f"version_{row}"]) for row in rows]

    def execute(self, model: Any, clip: Any = None, **inputs: Any) -> tuple[Any, ...]:
        for row in range(1, ROWS + 1):
            chosen = (inputs[f"{name}_{row}"] for name in ("subject", "version", "weight"))
            model, clip = apply_subject(model, clip, *chosen)
        return model, clip


NODE_CLASS_MAPPINGS = {
    "DsvdLoadCheckpoint": LoadCheckpoint,
    "DsvdApplySubject": ApplySubject,
    "DsvdApplySubjects": ApplySubjects,
}
NODE_DISPLAY_NAME_MAPPINGS = DISPLAY
