"""The registry as a program sees it: one method per thing that can be done, a module per kind of thing.

Most of a method's work is done by the module that it imports: what lists versions loads no numpy,
what needs no tensor no torch.
"""

from __future__ import annotations

from .intake import Intake
from .labels import Labels
from .outputs import Outputs
from .signatures import Signatures
from .upkeep import Upkeep


class Registry(Intake, Outputs, Labels, Signatures, Upkeep):
    """An open registry. Use it as a context manager, or call `close`.

    Besides what each method names, all raise `RegistryError` (the registry is damaged),
    `StorageError` (the operating system refused) and `NotFound` (for a ref or base that is not there).
    """
