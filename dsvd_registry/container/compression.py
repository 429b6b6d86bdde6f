"""One zstd frame, bounded and checked (spec, section "Compression")."""

from __future__ import annotations

from collections.abc import Sequence

import zstandard

from ..errors import ContainerError
from ..fs import Bytes
from .limits import MAX_WINDOW

# Integers of the grid repeat nothing: what is worth finding is their frequencies, and of matches
# only long ones, as those of zeros.
NUMBERS = zstandard.ZstdCompressionParameters.from_level(
    1, strategy=zstandard.STRATEGY_FAST, hash_log=6, min_match=7, write_content_size=1
)
BYTES = zstandard.ZstdCompressionParameters.from_level(1, write_content_size=1)
TEXT = zstandard.ZstdCompressionParameters.from_level(19, write_content_size=1)
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def compress(data: Bytes, parameters: zstandard.ZstdCompressionParameters) -> bytes:
    """A single zstd frame with its content size, without dictionary or checksum."""
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)


def compress_blocks(
    blocks: Sequence[bytes], parameters: zstandard.ZstdCompressionParameters
) -> bytes:
    """The same frame of all `blocks` together, each of which is a block of zstd, or several."""
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    frame = compressor.compressobj(size=sum(map(len, blocks)))
    written = []
    for block in blocks:
        written += [frame.compress(block), frame.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)]
    return b"".join([*written, frame.flush()])


def decompress(data: Bytes, size: int, where: str) -> bytes:
    """Exactly `size` bytes from exactly one frame. Raises `ContainerError` that names `where`.

    The size that the frame declares is compared before anything is decompressed, so the memory
    taken is `size` and the caller's bound on it holds.
    """
    if bytes(data[:4]) != ZSTD_MAGIC:
        raise ContainerError(f"{where} is not a zstd frame")
    try:
        parameters = zstandard.get_frame_parameters(data)
        if parameters.content_size != size:
            raise ContainerError(f"{where} does not hold the {size} bytes that it should")
        if parameters.window_size > MAX_WINDOW:
            raise ContainerError(f"{where} asks for a zstd window of over {MAX_WINDOW} bytes")
        if parameters.dict_id:
            raise ContainerError(f"{where} needs a zstd dictionary")
        decompressor = zstandard.ZstdDecompressor()
        content = decompressor.decompress(data, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ContainerError(f"{where}: {error}") from error
    if len(content) != size:
        raise ContainerError(f"{where} does not hold the {size} bytes that it should")
    return content
