"""Subjects in a live pipeline, put in and taken out in memory, without a file.

    from dsvd_registry.runtime import SubjectSwitcher
    switcher = SubjectSwitcher(pipe, registry)
    with switcher.subject("subject-42"):
        image = pipe("a photo of sks dog").images[0]

Importing this imports torch. diffusers is imported only for a file in the original layout.
"""

from .switcher import SubjectSwitcher

__all__ = ["SubjectSwitcher"]
