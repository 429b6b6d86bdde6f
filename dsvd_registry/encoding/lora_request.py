"""What a LoRA file is to be stored with. No tensor is needed to say it."""

from __future__ import annotations

from dataclasses import dataclass

from ..checkpoint import Checkpoint
from ..errors import CheckpointError, InvalidArgument
from ..fs import storage_errors
from ..hashing import sha256
from ..lora import Configuration, keeps_alphas_apart
from ..lora.alpha import CONFIG_FILE, MAX_CONFIG_BYTES
from ..store import event_json
from .request import Request, TauRequest

LORA_TAU = 1.0  # nobody asked for another: a LoRA is small as it is
SOURCE_FORMAT = "lora"


@dataclass(frozen=True)
class LoraRequest:
    """`tau`, `grid_noise`: as for `TauRequest`, of the LoRA's own spectrum.

    `skip_unsupported`: what cannot be merged is left out and listed. `configuration`: of the file, or
    of the one beside it, which then counts among the settings by its SHA-256.
    """

    tau: float
    grid_noise: float
    skip_unsupported: bool
    configuration: Configuration
    configuration_sha256: str | None

    @classmethod
    def of(cls, checkpoint: Checkpoint, request: Request, skip_unsupported: bool) -> LoraRequest:
        """Raises `InvalidArgument` for what is asked of whole checkpoints only, `CheckpointError`."""
        if not isinstance(request, TauRequest) or request.keep_noise:
            raise InvalidArgument(
                f"{checkpoint.path} is a LoRA file, which takes none of max_error, budget and "
                "keep_noise",
                "Give it a tau, or nothing: it is stored whole by default.",
            )
        configuration, digest = _configuration(checkpoint)
        tau = LORA_TAU if request.by_default else request.tau
        return cls(tau, request.grid_noise, skip_unsupported, configuration, digest)

    def settings(self) -> str:
        """Canonical JSON by which the same request is recognised."""
        values: dict[str, object] = {"grid_noise": self.grid_noise, "tau": self.tau}
        if self.skip_unsupported:
            values["skip_unsupported"] = True
        if self.configuration_sha256 is not None:
            values["adapter_config"] = self.configuration_sha256
        return event_json.dump(values).decode()


def _configuration(checkpoint: Checkpoint) -> tuple[Configuration, str | None]:
    """PEFT's configuration, and the SHA-256 of its file where it has one.

    PEFT writes alphas into a file beside the weights alone. Raises `CheckpointError` where it is not
    there: without it the weights would be wrong, and nothing would show it.
    """
    found = Configuration.of_header(checkpoint)
    if found.fields or not keeps_alphas_apart(checkpoint.tensors):
        return found, None
    path = checkpoint.path.parent / CONFIG_FILE
    with storage_errors(path):
        if not path.is_file():
            raise CheckpointError(
                f"{checkpoint.path} was saved by PEFT, and {CONFIG_FILE} is not beside it: it has the "
                "alphas that the factors are to be scaled by",
                f"Put PEFT's {CONFIG_FILE} into its folder; one with {{}} in it scales by 1.",
            )
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise CheckpointError(f"{path} has more than {MAX_CONFIG_BYTES} bytes")
        data = path.read_bytes()
    return Configuration.parse(data, str(path)), sha256(data)
