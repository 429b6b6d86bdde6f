"""What the pages draw: tiles whose areas are bytes, the places of layers, ticks, marks."""

from __future__ import annotations

import hashlib
import itertools
import math
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsvd_registry.charts import Scale
from dsvd_registry.server.pages.block_map import block_of, layer_of
from dsvd_registry.server.pages.mark import HEIGHT, WIDTH, drawn
from dsvd_registry.server.pages.page import link
from dsvd_registry.server.pages.tree_map import Share, tree_map


@given(st.lists(st.integers(0, 10**9), max_size=40))
def test_tiles_have_the_areas_of_their_bytes_and_fill_the_plane(sizes: list[int]) -> None:
    shares = [Share(str(number), size, "model", "") for number, size in enumerate(sizes)]
    tiles = tree_map(shares, 960, 440)
    assert sorted(tile.share.name for tile in tiles) == sorted(s.name for s in shares if s.bytes)
    total = sum(sizes)
    for tile in tiles:
        share = tile.share.bytes / total
        assert tile.width * tile.height == pytest.approx(960 * 440 * share, rel=1e-4)
        assert -1e-3 <= tile.x <= tile.x + tile.width <= 960 + 1e-3
        assert -1e-3 <= tile.y <= tile.y + tile.height <= 440 + 1e-3
    for one, other in itertools.combinations(tiles, 2):
        across = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
        down = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
        assert min(across, down) < 1e-3, "two tiles overlap"


@pytest.mark.parametrize(
    ("name", "block", "layer"),
    [
        ("unet.conv_in.weight", "conv in", "other"),
        ("down_blocks.2.resnets.1.conv1.weight", "down 2", "ResNet conv 1"),
        (
            "unet/mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight",
            "mid",
            "cross-attn k",
        ),
        ("unet.up_blocks.3.resnets.0.time_emb_proj.bias", "up 3", "time projection"),
        ("model.diffusion_model.input_blocks.0.0.weight", "conv in", "other"),
        ("model.diffusion_model.input_blocks.11.0.in_layers.2.weight", "in 11", "ResNet conv 1"),
        ("model.diffusion_model.input_blocks.3.0.op.weight", "in 3", "resampling"),
        (
            "model.diffusion_model.middle_block.1.transformer_blocks.0.ff.net.2.bias",
            "mid",
            "feed-forward",
        ),
        ("model.diffusion_model.output_blocks.5.0.skip_connection.weight", "out 5", "shortcut"),
        ("model.diffusion_model.out.2.weight", "conv out", "other"),
        ("model.diffusion_model.time_embed.0.weight", "time", "other"),
        ("cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight", None, None),
        ("first_stage_model.decoder.mid.block_1.conv1.weight", None, None),
        ("transformer_blocks.0.attn.to_q.weight", None, None),
    ],
)
def test_the_place_of_a_layer(name: str, block: str | None, layer: str | None) -> None:
    found = block_of(name)
    assert (None if found is None else found[2]) == block
    if layer is not None:
        assert layer_of(name) == layer


def test_blocks_stand_in_the_order_of_a_forward_pass() -> None:
    names = (
        "conv_in",
        "down_blocks.0",
        "down_blocks.2",
        "down_blocks.10",
        "mid_block",
        "up_blocks.0",
    )
    places = [block_of(f"unet.{name}.x.weight") for name in (*names, "conv_out", "time_embedding")]
    assert None not in places
    assert places == sorted(places)  # type: ignore[type-var]


@given(st.floats(1e-6, 1e6), st.floats(1.01, 1e9))
def test_ticks_are_round_numbers_on_the_scale(low: float, ratio: float) -> None:
    scale = Scale(low, low * ratio)
    assert (scale.share(scale.low), scale.share(scale.high)) == (0, pytest.approx(1))
    for tick in scale.ticks:
        assert scale.low <= tick <= scale.high * 1.001
        power = 10.0 ** math.floor(math.log10(tick * 1.0001))
        assert round(tick / power, 6) in (1, 2, 5)


def test_a_mark_is_drawn_from_the_digest_alone() -> None:
    digests = [hashlib.sha256(bytes([number])).hexdigest() for number in range(20)]
    marks = [drawn(digest) for digest in digests]
    assert marks == [drawn(digest) for digest in digests]
    assert len(set(marks)) == len(marks)
    for mark in marks:
        for band in ElementTree.fromstring(mark):
            assert float(band.get("x", 0)) + float(band.attrib["width"]) <= WIDTH
            assert float(band.get("y", 0)) + float(band.attrib["height"]) <= HEIGHT


def test_an_address_holds_whatever_it_is_given() -> None:
    assert link("/versions/a@1") == "/versions/a@1"
    assert link("/x y?/#", q='"&<', none="", empty=None) == "/x%20y%3F/%23?q=%22%26%3C"
