"""The numbers of the format. Each stands in spec/dsvd-container-v1.md, section "Limits"."""

MAGIC = b"\x89DSVD\r\n\x1a"
VERSION = 1
PROLOGUE_SIZE = 32
CHECKED_PROLOGUE_SIZE = 24

MAX_HEADER_JSON = 1 << 24
MAX_HEADER_STORED = MAX_HEADER_JSON + (1 << 16)
MAX_FRAME_RAW = 1 << 26
MAX_FRAME_STORED = MAX_FRAME_RAW + (1 << 20)
MAX_TENSORS = 1 << 17
MAX_FRAMES = 1 << 18
MAX_PARTS = 1 << 20
MAX_SOURCE_HEADER = 1 << 24
MAX_WINDOW = 1 << 27
MAX_BASE_TENSORS_PER_RECORD = 64
MAX_DIMENSIONS = 32
MAX_NAME_BYTES = 4096
MAX_SIZE = (1 << 53) - 1  # of any count, dimension or byte size: what JSON readers keep exactly

MAX_MAGNITUDE = (1 << 31) - 1  # of an integer of the grid
MIN_EXPONENT = -126
MAX_EXPONENT = 126  # also with the bit lengths of the operands added

FEATURES: frozenset[str] = frozenset()  # names that `requires` may hold
