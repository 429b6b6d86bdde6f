"""The nodes, in ComfyUI's V3 schema."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import ComfyExtension, io

from .subjects import NONE, apply_subject, fingerprint, load_checkpoint, names
from .texts import CATEGORY, DISPLAY, ROWS, TIPS


def _subject(suffix: str = "", first: tuple[str, ...] = ()) -> list[Any]:
    """The inputs that choose a subject's version."""
    return [
        io.Combo.Input(f"subject{suffix}", options=[*first, *names()], tooltip=TIPS["subject"]),
        io.String.Input(f"version{suffix}", default="latest", tooltip=TIPS["version"]),
    ]


def _strength(name: str) -> Any:
    tip = TIPS["strength"]
    return io.Float.Input(name, default=1.0, min=-10.0, max=10.0, step=0.05, tooltip=tip)


class LoadCheckpoint(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DsvdLoadCheckpoint",
            display_name=DISPLAY["DsvdLoadCheckpoint"],
            category=CATEGORY,
            description=TIPS["DsvdLoadCheckpoint"],
            inputs=[
                *_subject(),
                io.Float.Input(
                    "tau", default=0.0, min=0.0, max=1.0, step=0.01, tooltip=TIPS["tau"]
                ),
            ],
            outputs=[io.Model.Output(), io.Clip.Output(), io.Vae.Output()],
        )

    @classmethod
    def validate_inputs(cls, subject: str) -> bool:
        """Take any name: the node itself says best what is wrong with one."""
        return True

    @classmethod
    def fingerprint_inputs(cls, subject: str, version: str, **_: Any) -> str:
        return fingerprint(subject, version)

    @classmethod
    def execute(cls, subject: str, version: str, tau: float) -> io.NodeOutput:
        return io.NodeOutput(*load_checkpoint(subject, version, tau))


class ApplySubject(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DsvdApplySubject",
            display_name=DISPLAY["DsvdApplySubject"],
            category=CATEGORY,
            description=TIPS["DsvdApplySubject"],
            inputs=[
                io.Model.Input("model"),
                io.Clip.Input("clip", optional=True, tooltip=TIPS["clip"]),
                *_subject(),
                _strength("strength"),
            ],
            outputs=[io.Model.Output(), io.Clip.Output()],
        )

    @classmethod
    def validate_inputs(cls, subject: str) -> bool:
        return True

    @classmethod
    def fingerprint_inputs(cls, subject: str, version: str, **_: Any) -> str:
        return fingerprint(subject, version)

    @classmethod
    def execute(
        cls, model: Any, subject: str, version: str, strength: float, clip: Any = None
    ) -> io.NodeOutput:
        return io.NodeOutput(*apply_subject(model, clip, subject, version, strength))


class ApplySubjects(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        rows = [
            [*_subject(f"_{row}", (NONE,)), _strength(f"weight_{row}")]
            for row in range(1, ROWS + 1)
        ]
        return io.Schema(
            node_id="DsvdApplySubjects",
            display_name=DISPLAY["DsvdApplySubjects"],
            category=CATEGORY,
            description=TIPS["DsvdApplySubjects"],
            inputs=[
                io.Model.Input("model"),
                io.Clip.Input("clip", optional=True, tooltip=TIPS["clip"]),
                *(one for row in rows for one in row),
            ],
            outputs=[io.Model.Output(), io.Clip.Output()],
        )

    @classmethod
    def validate_inputs(
        cls,
        subject_1: str,
        subject_2: str,
        subject_3: str,
        subject_4: str,
    ) -> bool:
        return True

    @classmethod
    def fingerprint_inputs(cls, **inputs: Any) -> list[str]:
        rows = range(1, ROWS + 1)
        return [fingerprint(inputs[f"subject_{row}"], inputs[f"version_{row}"]) for row in rows]

    @classmethod
    def execute(cls, model: Any, clip: Any = None, **inputs: Any) -> io.NodeOutput:
        for row in range(1, ROWS + 1):
            chosen = (inputs[f"{name}_{row}"] for name in ("subject", "version", "weight"))
            model, clip = apply_subject(model, clip, *chosen)
        return io.NodeOutput(model, clip)


class DsvdExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [LoadCheckpoint, ApplySubject, ApplySubjects]


async def comfy_entrypoint() -> DsvdExtension:
    return DsvdExtension()
