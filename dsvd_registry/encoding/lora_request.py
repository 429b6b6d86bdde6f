"""The request for a LoRA file to be stored as a version."""

from __future__ import annotations

from dataclasses import dataclass

from .. import canonical
from ..checkpoint import Checkpoint
from ..errors import CheckpointError, InvalidArgument
from ..fs import storage_errors
from ..hashing import sha256
from ..lora import Configuration, keeps_alphas_apart
from ..lora.alpha import CONFIG_FILE, MAX_CONFIG_BYTES
from .request import DEFAULT_GRID_NOISE, LosslessRequest, Request, TauRequest

LORA_TAU = 1.0  # the default: a LoRA is small already


@dataclass(frozen=True)
class LoraRequest:
    """A tau and options for merging a LoRA file.

    `tau`, `grid_noise`: as of `TauRequest`, for the spectrum of the LoRA itself.
    `skip_unsupported`: leave out and list changes that cannot be merged. `configuration`: the one
    in the file's own header, or in PEFT's configuration file next to it; `configuration_sha256` is
    the digest of the latter, None without one.
    """

    tau: float
    grid_noise: float
    skip_unsupported: bool
    configuration: Configuration
    configuration_sha256: str | None

    @classmethod
    def of(cls, checkpoint: Checkpoint, request: Request, skip_unsupported: bool) -> LoraRequest:
        """Make the request and read the configuration.

        Raises `InvalidArgument` for options that only whole checkpoints take, `CheckpointError` for
        a configuration that is missing or damaged.
        """
        if isinstance(request, LosslessRequest):  # the layers as without it, and the file beside
            request = TauRequest(LORA_TAU, DEFAULT_GRID_NOISE, keep_noise=False)
        if not isinstance(request, TauRequest) or request.keep_noise:
            raise InvalidArgument(
                f"{checkpoint.path} is a LoRA file, which takes none of max_error, budget and "
                "keep_noise",
                "Give a tau, or leave it out to store the whole LoRA.",
            )
        configuration, digest = _configuration(checkpoint)
        tau = LORA_TAU if request.by_default else request.tau
        return cls(tau, request.grid_noise, skip_unsupported, configuration, digest)

    def settings(self) -> str:
        """Canonical JSON of the request; equal requests have equal settings."""
        values: dict[str, object] = {"grid_noise": self.grid_noise, "tau": self.tau}
        if self.skip_unsupported:
            values["skip_unsupported"] = True
        if self.configuration_sha256 is not None:
            values["adapter_config"] = self.configuration_sha256
        return canonical.encode_small(values).decode()


def _configuration(checkpoint: Checkpoint) -> tuple[Configuration, str | None]:
    """The configuration of a LoRA, and the SHA-256 of its file if it comes from one.

    PEFT writes the alphas only into a file next to the weights. Raises `CheckpointError` if that
    file is missing: without it the weights would be wrong, and nobody would notice.
    """
    configuration = Configuration.of_header(checkpoint)
    if configuration.fields or not keeps_alphas_apart(checkpoint.tensors):
        return configuration, None
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
