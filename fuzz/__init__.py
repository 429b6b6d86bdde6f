"""Coverage-guided fuzzing of every reader of bytes that may come from anywhere: `make fuzz`.

Each target is a module with `read(data, folder)`, which reads `data` in all the ways that there are
and may use the empty `folder`, and `seeds()`. It ends well, or in a `DsvdError`; all else is a bug.
What a run finds is written to corpus/TARGET, where tests/hostile/test_corpus.py reads it ever after.
"""

from pathlib import Path

HERE = Path(__file__).parent
VALID = HERE.parent / "spec" / "vectors" / "valid"
TARGETS = (
    *("container", "header", "payload"),
    *("residual", "event", "listing", "manifest", "signature"),
    *("safetensors", "torch_zip", "torch_legacy", "pickle_machine", "lora"),
)


def corpus(target: str) -> Path:
    """The folder of the inputs that are kept for a target."""
    return HERE / "corpus" / target
