"""A registry as a read-only folder of ordinary files, by FUSE."""

from __future__ import annotations

from .program import MountOptions, log_path, serve, start, unmount

__all__ = ["MountOptions", "log_path", "serve", "start", "unmount"]
