"""Coverage-guided fuzzing of every reader of untrusted bytes: `make fuzz`.

Each target is a module with `seeds()`, the first inputs, and `read(data, folder)`, which reads `data`
in every possible way and may use the empty `folder`. A call must succeed or raise a `DsvdError`; any
other end is a bug. The input of a bug is written to corpus/TARGET, and tests/hostile/test_corpus.py
reads it from then on.
"""

from pathlib import Path

HERE = Path(__file__).parent
VALID = HERE.parent / "spec" / "vectors" / "valid"
TARGETS = (
    *("container", "header", "payload"),
    *("residual", "event", "listing", "manifest", "signature", "picture"),
    *("safetensors", "torch_zip", "torch_legacy", "pickle_machine", "lora"),
)


def corpus(target: str) -> Path:
    """The folder of a target's stored inputs."""
    return HERE / "corpus" / target
