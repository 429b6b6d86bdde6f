"""Subjects in a live pipeline: put in and taken out in memory, without a file.

    from dsvd_registry.runtime import SubjectSwitcher
    switcher = SubjectSwitcher(pipe, registry)
    with switcher.subject("subject-42"):
        image = pipe("a photo of sks dog").images[0]

Importing this imports torch, and diffusers only once a file in the original layout is met.
"""

from .switcher import SubjectSwitcher

__all__ = ["SubjectSwitcher"]
