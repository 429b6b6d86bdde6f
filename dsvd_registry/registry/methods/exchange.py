"""Exchange with other registries: remotes, push and pull."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ...progress import Progress, silent
from .open_registry import OpenRegistry

if TYPE_CHECKING:
    from ..exchange.remotes import Remote
    from ..exchange.transfer import Exchanged


class ExchangeMethods(OpenRegistry):
    """Exchange with other registries: remotes, push and pull."""

    def remotes(self) -> tuple[Remote, ...]:
        """List the names that other registries have here.

        Example:
            >>> registry.remotes()
            ()
        """
        from ..exchange.remotes import remotes

        return remotes(self.repository.home)

    def add_remote(self, name: str, url: str | Path) -> Remote:
        """Give another registry a name, for `push` and `pull`. It need not be there yet.

        Args:
            name: The name that it has here.
            url: Its folder, as a path or as file:///PATH, or its place in a bucket as in `open`.

        Raises:
            InvalidArgument: The URL is of another kind, or may have a secret in it.
            Conflict: The name is that of another registry.

        Example:
            >>> registry.add_remote("studio", "/srv/studio").url
            '/srv/studio'
        """
        from ..exchange.remotes import add_remote

        return add_remote(self.repository.home, name, str(url))

    def remove_remote(self, name: str) -> Remote:
        """Forget a name of another registry, which stays as it is.

        Example:
            >>> registry.remove_remote("studio")
            Traceback (most recent call last):
            ...
            dsvd_registry.errors.NotFound: ...
        """
        from ..exchange.remotes import remove_remote

        return remove_remote(self.repository.home, name)

    def push(
        self,
        remote: str,
        refs: Iterable[str] | None = None,
        *,
        dry_run: bool = False,
        progress: Progress = silent,
    ) -> Exchanged:
        """Copy versions to a remote, with all that belongs to them and the bases that they need.

        Only objects that it lacks are copied. A version is recognised by its container, among the
        versions of the model of that name; if it is there, it keeps what it has and gets what it lacks.
        Otherwise it becomes the next version there. Many versions are one event. If it is
        stopped, the same call goes on.

        Args:
            remote: The name of the remote.
            refs: The versions; default: all.
            dry_run: Copy nothing, and tell what would be copied.
            progress: Called as the work goes on.

        Raises:
            Conflict: A model there has a name that differs in case alone.
            BaseMismatch: The file of a linked base is gone or was changed.
            ContainerError: A container is damaged.
            SignatureError: A signature is not valid.
            MissingExtra: There are signatures, and `cryptography` is not installed.

        Example:
            >>> Registry.init("studio").close()
            >>> remote = registry.add_remote("studio", "studio")
            >>> [version.arrived for version in registry.push("studio", ["subject-42@2"]).versions]
            ['subject-42@1']
        """
        from ..exchange.push_pull import push

        return push(remote, refs, self.repository, progress, dry_run=dry_run)

    def pull(
        self,
        remote: str,
        refs: Iterable[str] | None = None,
        *,
        dry_run: bool = False,
        progress: Progress = silent,
    ) -> Exchanged:
        """Copy versions from a remote, as `push` does to it.

        Args:
            remote: The name of the remote.
            refs: Versions of the remote; default: all.
            dry_run: As in `push`.
            progress: Called as the work goes on.

        Raises:
            Conflict: As in `push`.
            BaseMismatch: As in `push`.
            ContainerError: As in `push`.
            SignatureError: As in `push`.
            MissingExtra: As in `push`.

        Example:
            >>> with Registry.clone(".dsvd", "copy") as copy:
            ...     copy.pull("origin").changed
            ()
        """
        from ..exchange.push_pull import pull

        return pull(remote, refs, self.repository, progress, dry_run=dry_run)
