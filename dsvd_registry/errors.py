"""The error classes. Every error carries its exit code, and a hint that says what to do next.

Exit codes are part of the public interface (docs/operators.md, "Exit codes") and never change their
meaning.
"""

from __future__ import annotations

BUG_EXIT_CODE = 70
"""The exit code for an error of any other class, which is a bug in the program."""


class DsvdError(Exception):
    """Base of every error that a user, a file or a machine can cause.

    `str(error)` is one sentence that says what was wrong and where. `hint` says what to do next.
    """

    exit_code = 1
    default_hint = ""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = self.default_hint if hint is None else hint


class DamageFound(DsvdError):
    """`verify` ran to its end and found something wrong."""

    exit_code = 1


class InvalidArgument(DsvdError):
    """An argument or an option that is not allowed."""

    exit_code = 2


class MissingExtra(InvalidArgument):
    """A function that needs a package which only an extra installs."""


class UnsureBase(InvalidArgument):
    """A base that is not sure: the caller must name the base of the checkpoint."""


class NotFound(DsvdError):
    """A ref, a base or a registry that does not exist."""

    exit_code = 3


class Conflict(DsvdError):
    """A request that would overwrite or orphan something."""

    exit_code = 4


class CheckpointError(DsvdError):
    """A file that is not a checkpoint, is truncated, or breaks its format's rules."""

    exit_code = 5
    default_hint = "Check that the file was downloaded or saved whole, and that it is a checkpoint."


class ContainerError(DsvdError):
    """A `.dsvd` container that breaks a rule of spec/dsvd-container-v1.md."""

    exit_code = 6
    default_hint = "Restore the file from a copy; `dsvd verify` names every damaged version."


class HeaderTooLarge(ContainerError):
    """A header that lists more than any reader accepts."""


class UnsupportedFeature(ContainerError):
    """A valid container with a feature that this version of the program does not know."""

    default_hint = "Install a newer dsvd-registry."


class BaseMismatch(DsvdError):
    """A base that is missing, damaged, or not the right one."""

    exit_code = 7


class RegistryError(DsvdError):
    """A registry that is damaged, was made by a newer version, or is not a registry."""

    exit_code = 8


class StorageError(DsvdError):
    """An operation that the system or a bucket refused: disk full, no permission, read error."""

    exit_code = 9


class TauNotServed(DsvdError):
    """A container that does not store the rank of the requested tau."""

    exit_code = 10


class ResultMismatch(DsvdError):
    """A materialised result whose SHA-256 is not the recorded one."""

    exit_code = 11
    default_hint = (
        "Nothing was left behind. Run `dsvd verify --deep` and report this with its output."
    )


class SignatureError(DsvdError):
    """A signature that is damaged, not valid, or of another container."""

    exit_code = 12
    default_hint = "Get the signature again from its source; until then do not trust the container."
