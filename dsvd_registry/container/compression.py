"""Zstd frames, compressed and strictly decompressed (spec, section "Compression")."""

from __future__ import annotations

from collections.abc import Sequence

import zstandard

from ..errors import ContainerError
from ..fs import Bytes
from .limits import MAX_WINDOW

# Integers of the grid hardly repeat. Their frequencies compress well; only long matches, such as runs
# of zeros, are worth finding.
NUMBERS = zstandard.ZstdCompressionParameters.from_level(
    1, strategy=zstandard.STRATEGY_FAST, hash_log=6, min_match=7, write_content_size=1
)
BYTES = zstandard.ZstdCompressionParameters.from_level(1, write_content_size=1)
TEXT = zstandard.ZstdCompressionParameters.from_level(19, write_content_size=1)
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def compress(data: Bytes, parameters: zstandard.ZstdCompressionParameters) -> bytes:
    """Compress `data` to a single zstd frame with its content size, without dictionary or checksum."""
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)


def compress_blocks(
    blocks: Sequence[bytes], parameters: zstandard.ZstdCompressionParameters
) -> bytes:
    """Compress `blocks` to a single zstd frame in which each of them begins a new zstd block."""
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    frame = compressor.compressobj(size=sum(map(len, blocks)))
    written = []
    for block in blocks:
        written += [frame.compress(block), frame.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)]
    return b"".join([*written, frame.flush()])


def decompress(data: Bytes, size: int, where: str) -> bytes:
    """Decompress exactly one frame of exactly `size` bytes. Raises `ContainerError`, naming `where`.

    The size that the frame declares is compared before anything is decompressed. The memory taken
    is therefore `size`, which the caller has bounded.
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
