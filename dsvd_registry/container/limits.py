"""Limits and constants of the format, as in spec/dsvd-container-v1.md, section "Limits"."""

from __future__ import annotations

from ..codec.components import MAX_EXPONENT as MAX_EXPONENT
from ..codec.components import MAX_MAGNITUDE as MAX_MAGNITUDE
from ..codec.components import MIN_EXPONENT as MIN_EXPONENT

MAGIC = b"\x89DSVD\r\n\x1a"
VERSION = 1
PROLOGUE_SIZE = 56
CHECKED_PROLOGUE_SIZE = 24

MAX_HEADER = 1 << 26
MAX_HEADER_STORED = MAX_HEADER + (1 << 20)
MAX_FRAME_RAW = 1 << 26
MAX_FRAME_STORED = MAX_FRAME_RAW + (1 << 20)
# A small file must not fill the memory, so what it may claim is limited by its own size.
FREE_HEADER = 1 << 22
MAX_HEADER_OF_STORED = 16  # bytes of a header for each stored byte, in headers of over FREE_HEADER
FREE_ENTRIES = 1 << 16
BYTES_OF_AN_ENTRY = 8  # of the file, for each entry of the header beyond FREE_ENTRIES
FREE_DIMENSIONS = 1 << 17  # of all shapes together; one more for each byte of the file
FREE_FRAME_RAW = 5 << 22
MAX_RAW_OF_STORED = 16  # raw bytes for each stored byte, in frames of over FREE_FRAME_RAW
FREE_COMPONENTS = 1 << 16
BYTES_OF_A_COMPONENT = 4  # of the file, for each component beyond FREE_COMPONENTS
MAX_TENSORS = 1 << 17
MAX_FRAMES = 1 << 18
MAX_PARTS = 1 << 20
MAX_COMPONENTS = 1 << 22  # of all tensors together: their tables are read on opening
MAX_SOURCE_HEADER = 1 << 24  # bytes of all source headers together
FREE_VALUES = 1 << 14  # of all source headers, beside those that their tensors need
MAX_WINDOW = 1 << 27
MAX_BASE_TENSORS_PER_RECORD = 64
MAX_DIMENSIONS = 32
MAX_NAME_BYTES = 4096
MAX_FORMAT_BYTES = 32  # of a source's format, and of a feature's name
MAX_FEATURES = 64
MAX_FILES = 1 << 14
MAX_MERGED = 1 << 12  # versions of a merge, and as many rules for layers
MAX_SIZE = (1 << 53) - 1  # of any count, dimension or byte size: exact in every JSON reader
