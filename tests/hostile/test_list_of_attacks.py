"""Each attack that has a name, and where it is tried; beside these, every reader is fuzzed (fuzz/).

A name without a colon is a vector of spec/vectors/invalid, refused by both readers of a container.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from spec.invalid_merges import INVALID

TESTS = Path(__file__).parents[1]

ATTACKS: dict[str, tuple[str, ...]] = {
    "header length 0, size +- 1, 2^31, 2^33, 2^63, 2^64-1": (
        "hostile/test_named_attacks.py:test_header_length_of_safetensors",
        "hostile/test_named_attacks.py:test_header_length_of_a_container",
        *("stored-over-limit", "stored-over-file", "header-over-limit", "header-size"),
    ),
    "deep JSON": ("hostile/test_named_attacks.py:test_deep_json", "source-deep"),
    "huge JSON": (
        "hostile/test_named_attacks.py:test_huge_json",
        "hostile/test_memory.py:test_the_largest",
        "hostile/test_memory.py:test_the_heaviest",
        *("entries", "dimensions", "source-header-values"),
    ),
    "duplicate keys": (
        "hostile/test_named_attacks.py:test_duplicate_keys",
        "source-key-twice",
    ),
    "NaN": (
        "hostile/test_named_attacks.py:test_nan_and_other_numbers",
        *("noise-nan", "nan-signalling", "norm-infinite"),
    ),
    "5000-digit integers": (
        "hostile/test_named_attacks.py:test_integer_of_so_many_digits",
        *("size-2-63", "uint-no-end"),
    ),
    "shapes whose product overflows": (
        "hostile/test_named_attacks.py:test_shape_whose_product_overflows",
        *("shape-product", "base-shape-product"),
    ),
    "overlapping and gapped frames": ("raw-not-its-frame", "frame-digest", "cut", "tree-part-more"),
    "repeated frames": ("tables-twice", "elements-twice", "bytes-twice", "components-twice"),
    "trailing frames": (
        "followed",
        "frame-zstd-followed",
        "frame-then-another",
        "header-then-another",
    ),
    "zstd bombs": (
        "hostile/test_bombs.py:test_refused",
        "hostile/test_bombs.py:test_read",
        "hostile/test_bombs.py:test_residual_refused",
        "hostile/test_bombs.py:test_residual_read",
        *("raw-over-limit", "frame-window", "header-window"),
    ),
    "zip bombs, deflated": (
        "hostile/test_bombs.py:test_refused",
        "hostile/test_bombs.py:test_read",
        "checkpoint/test_pickle_file.py:test_a_deflated_entry_that_is_longer_or_shorter_than_it_says",
        "checkpoint/test_pickle_file.py:test_damage_in_a_deflated_zip",
    ),
    "pictures: bombs in their texts, EXIF that lies, texts that take long": (
        "picture_texts/test_picture_texts.py:test_a_bomb_is_not_inflated",
        "picture_texts/test_picture_texts.py:test_broken_exif_is_passed_over",
        "picture_texts/test_picture_texts.py:test_changed_bytes_do_no_harm",
        "picture_texts/test_mentions.py:test_other_texts_mention_nothing",
    ),
    "skippable frames": ("header-skippable", "frame-skippable", "frame-then-skippable"),
    "frames with a dictionary": ("header-dictionary", "frame-dictionary"),
    "an exactness bound that lies": (
        *("bound-2-53", "table-bound", "table-a-other", "table-b-other", "rows-components-under"),
        *("rows-maximum-other", "rows-elements-over"),
    ),
    "a container that is not what the catalog says": (
        "registry/test_verify.py:test_a_container_that_is_another_than_the_catalog_says",
        "registry/test_verify.py:test_a_result_that_is_a_lie_is_found_by_deep_alone",
    ),
    "a residual of another container, and one that lies": (
        "registry/test_lossless_damage.py:test_a_whole_residual_of_another_container",
        "registry/test_lossless_damage.py:test_a_result_that_is_a_lie",
        "registry/test_lossless_damage.py:test_refused_on_coming_in",
        "registry/test_lossless_damage.py:test_a_foreign_one_that_is_in_the_store",
    ),
    "names with .., separators, NUL, control characters, bidi marks, reserved names": (
        "hostile/test_named_attacks.py:test_name_of_a_model",
        "hostile/test_named_attacks.py:test_path_of_a_folder",
        "hostile/test_names.py:test_a_model_is_not_called_by_every_file",
        "hostile/test_names.py:test_printable",
        "hostile/test_names.py:test_what_is_printed",
        *("tree-path-above", "tree-path-absolute", "tree-path-null", "tree-path-backslash"),
    ),
    "case and normalisation twins": (
        "hostile/test_names.py:test_twins_of_tensors_and_paths",
        "hostile/test_names.py:test_twins_of_models_and_labels",
    ),
    "symlinks as object or shard folder": ("hostile/test_named_attacks.py:test_link_planted_as",),
    "symlinks as a temporary file": (
        "hostile/test_named_attacks.py:test_link_planted_as_a_temporary_file",
    ),
    "symlinks as the store's folders": (
        "hostile/test_links_and_swaps.py:test_link_planted_as_a_folder",
        "hostile/test_links_and_swaps.py:test_link_planted_before_the_registry_is_made",
        "hostile/test_links_and_swaps.py:test_the_root_may_be_a_link",
    ),
    "symlinks out of a folder that is added": (
        "hostile/test_named_attacks.py:test_folder_with_links_out_of_it",
    ),
    "a file swapped between check and use": (
        "hostile/test_links_and_swaps.py:test_swapped_while_it_is_materialised",
        "hostile/test_links_and_swaps.py:test_swapped_while_it_is_added",
        "hostile/test_forged.py:test_a_tensor_of_the_base_forged_after_it_was_read",
        "registry/test_races.py:test_a_file_that_changes_while_it_is_read",
    ),
    "bypasses of weights_only": (
        "hostile/test_named_attacks.py:test_bypass_of_weights_only",
        "hostile/test_pickle_advisories.py:test_a_gadget",
        "hostile/test_pickle_advisories.py:test_tar_archive",
        "hostile/test_pickle_advisories.py:test_confused_types",
        "hostile/test_pickle_advisories.py:test_zip_that_fools_scanners",
    ),
    "a fine-tune made to look like another base": (
        "hostile/test_named_attacks.py:test_fine_tune_made_to_look_like_another_base",
        *("base-digest", "base-size", "base-dtype"),
    ),
    "changes that XXH3 does not show": (
        "hostile/test_forged.py:test_a_forged_tensor_of_the_base",
        "hostile/test_forged.py:test_a_tensor_of_the_base_forged_after_it_was_read",
    ),
    "manifests of more than they should hold": ("hostile/test_manifests.py:test_broken_manifest",),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_is_tried(attack: str) -> None:
    for where in ATTACKS[attack]:
        path, named, test = where.partition(":")
        if not named:
            assert where in INVALID, where
        else:
            assert re.search(rf"^def {test}\(", (TESTS / path).read_text(), re.MULTILINE), where
