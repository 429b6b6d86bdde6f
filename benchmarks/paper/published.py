"""Figures that the Delta-SVD paper reports (arXiv 2508.16863, tables 1 and 2), for SD 1.5."""

from __future__ import annotations

FULL_MB = 3276.8
"""The paper's size of a full fine-tune."""

STORED_MB = {0.8: 982.5, 0.5: 353.8, 0.2: 75.4, 0.06: 12.1}
"""Its sizes of factors in fp16, by tau."""

LORA_RANK, LORA_MB = 128, 48.7
INT8_MB = 1638
RATIO = 270
"""The compression that its abstract leads to: the full size over that at tau 0.06."""
