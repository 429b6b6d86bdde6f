"""Everything of a result file but its data (spec, section "Result files")."""

from __future__ import annotations

from .. import canonical
from ..checkpoint.layout import SafetensorsLayout, canonical_layout, derived_layout, kept_layout
from ..checkpoint.model import TensorInfo
from ..checkpoint.safetensors_file import parse_header
from ..container.header import content_digest
from ..container.reader import Container
from ..container.records import Header
from ..errors import CheckpointError, ContainerError


def checked_layout(container: Container, tau: float) -> SafetensorsLayout:
    """The layout of the result at `tau`.

    Raises `ContainerError` where the source's header is not of the container's tensors, or the
    result at the stored tau has another size than is recorded.
    """
    header, source_header = container.header, container.source_header()
    try:
        layout = result_layout(header, source_header, header.encoding.tau)
    except ContainerError as error:
        raise ContainerError(f"{container.path}: {error}") from error
    if layout.size != header.results[0].size:
        raise ContainerError(
            f"{container.path}: the result has {layout.size} bytes, where {header.results[0].size} "
            "are recorded"
        )
    return layout if tau == header.encoding.tau else result_layout(header, source_header, tau)


def result_layout(header: Header, source_header: bytes | None, tau: float) -> SafetensorsLayout:
    """The header of the result file and the order of its data (spec, section "Result files").

    Raises `ContainerError` if `source_header` is not one for the header's tensors.
    """
    if source_header is not None:
        _check_source_header(source_header, header)
        if not header.is_lossy:
            return kept_layout(source_header)
    metadata = own_metadata(header, tau)
    if source_header is not None:
        return derived_layout(source_header, metadata)
    tensors = (TensorInfo(t.name, t.dtype, t.shape) for t in header.tensors)
    return canonical_layout(tensors, {"format": "pt", **metadata})


def own_metadata(header: Header, tau: float) -> dict[str, str]:
    """What a result file says of where it came from."""
    return {
        "dsvd.base": header.base_digest,
        "dsvd.container": content_digest(header),
        "dsvd.tau": canonical.encode(tau).decode(),
    }


def _check_source_header(source_header: bytes, header: Header) -> None:
    try:
        _, entries = parse_header(source_header)
    except CheckpointError as error:
        raise ContainerError(f"the source's header is not a safetensors header: {error}") from error
    infos = {name: (entry.info.dtype, entry.info.shape) for name, entry in entries.items()}
    if infos != {tensor.name: (tensor.dtype, tensor.shape) for tensor in header.tensors}:
        raise ContainerError("the source's header is not of the container's tensors")
