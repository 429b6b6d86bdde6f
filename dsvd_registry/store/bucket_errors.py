"""Errors of object storage services, each as one sentence that says what to do.

A service's own text is not repeated: it has addresses and request numbers, and may have more. Its
status and the short code that all of them give (`<Code>NoSuchBucket</Code>`) are told.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from ..errors import DsvdError, NotFound, StorageError

Deed = Literal["read", "write", "list", "delete"]

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,64})</Code>")
_REGION = re.compile(r"<Region>([a-z0-9-]{1,40})</Region>|expecting '([a-z0-9-]{1,40})'")

_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"}
_NOT_ACCEPTED = {
    "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidSecurity",
    "AuthenticationFailed", "InvalidAuthenticationInfo", "NoAuthenticationInformation",
}  # fmt: skip
_NO_BUCKET = {"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"}
_ELSEWHERE = {
    "PermanentRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
}
_BUSY = {"SlowDown", "RequestTimeout", "InternalError", "ServerBusy", "OperationAborted"}
_RIGHTS = {
    "read": "s3:GetObject, and s3:ListBucket, without which a key that is missing looks forbidden",
    "write": "s3:PutObject",
    "list": "s3:ListBucket",
    "delete": "s3:DeleteObject",
}


@dataclass(frozen=True)
class ServiceRefusal:
    """A failed request: the status of the answer, None if none came; its code, "" without one.

    `text`: the client's own words, which are searched and never shown.
    """

    status: int | None
    code: str
    text: str

    @classmethod
    def of(cls, error: BaseException) -> ServiceRefusal:
        """The refusal that an error of the client tells of."""
        text = str(error)
        status, code = _STATUS.search(text), _CODE.search(text)
        return cls(int(status[1]) if status else None, code[1] if code else "", text)

    @property
    def is_missing_bucket(self) -> bool:
        """True if the bucket does not exist."""
        return self.code in _NO_BUCKET

    @property
    def is_passing(self) -> bool:
        """True if the same request may succeed in a moment."""
        if self.status is None:
            return not self._lacks_credential and not self._is_elsewhere
        return self.status in (408, 429) or self.status >= 500 or self.code in _BUSY

    @property
    def _lacks_credential(self) -> bool:
        # The last place that is asked for one is an address that only a machine in the cloud has.
        return "169.254." in self.text or "metadata.google.internal" in self.text

    @property
    def _is_elsewhere(self) -> bool:
        is_redirect = "redirect without LOCATION" in self.text or self.status in (301, 307)
        return is_redirect or self.code in _ELSEWHERE

    def error(self, place: str, deed: Deed) -> DsvdError:
        """The error to raise: what was refused at `place`, and what to do."""
        told = " ".join(str(part) for part in (self.status, self.code) if part)
        if self.is_missing_bucket:
            return NotFound(
                f"the bucket of {place} does not exist",
                "Make it with the tools of the service, or correct the name.",
            )
        if self._is_elsewhere:
            region = _REGION.search(self.text)
            where = f": it is in {region[1] or region[2]}" if region else ""
            return StorageError(
                f"{place} is in another region than the one that is asked{where}",
                "Set AWS_REGION to the region of the bucket.",
            )
        if self.code in _EXPIRED or (self.status in (401, 403) and "expired" in self.text.lower()):
            return StorageError(
                f"the credential for {place} has expired",
                "Sign in again with the tools of the service, then run this again.",
            )
        if self._lacks_credential:
            return StorageError(
                f"no credential was found for {place}",
                "Set the variables of the service, such as AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY.",
            )
        if self.code == "RequestTimeTooSkewed":
            return StorageError(
                f"the clock of this machine is too far from that of {place}", "Set the clock."
            )
        if self.code in _NOT_ACCEPTED or self.status == 401:
            return StorageError(
                f"the credential for {place} is not accepted ({told})",
                "Check the variables of the service, or sign in again with its tools.",
            )
        if self.status == 403 or "lacked the necessary privileges" in self.text:
            return StorageError(
                f"this credential may not {deed} in {place}",
                f"Ask whoever runs the bucket for the right ({_RIGHTS[deed]}).",
            )
        if self.status is None:
            return StorageError(
                f"{place} cannot be reached, or breaks off its answers",
                "Check the network, and the endpoint (AWS_ENDPOINT_URL, or that of the service).",
            )
        return StorageError(
            f"the service of {place} refused to {deed} ({told})",
            "Run it again in a moment." if self.is_passing else "Look the code up in its manual.",
        )
