import dataclasses
import json

import numpy as np
import pytest

from lisa_jax.evaluation.extractors import Extractor
from lisa_jax.evaluation.quality import quality, require_comparable


def colour(images, indices):
    """A network of three features: the mean colour."""
    return np.asarray(images, np.float32).mean(axis=(1, 2))


EXTRACTOR = Extractor("colour", "fd_colour", "colour_any_size", "ab" * 32, colour)


@pytest.fixture(scope="module")
def pictures():
    """40 flat pictures of random colours and 40 others of the same kind."""
    colours = np.random.default_rng(0).integers(100, 160, (2, 40, 1, 1, 3), dtype=np.uint8)
    return np.broadcast_to(colours, (2, 40, 8, 8, 3)).copy()


def test_real_pictures_are_at_the_floor_and_dark_ones_are_not(pictures):
    real, references = pictures
    at_floor, dark = quality(real, references, EXTRACTOR), quality(real // 2, references, EXTRACTOR)
    floor = at_floor["halves"]["real"]
    assert dark["halves"]["real"] == floor  # the references' affair alone
    spread = at_floor["halves"]["real_spread"]["fd_colour"]
    assert abs(at_floor["halves"]["samples"]["fd_colour"] - floor["fd_colour"]) < 3 * spread
    assert dark["halves"]["samples"]["fd_colour"] > floor["fd_colour"] + 10 * spread
    assert dark["precision_colour"] < 0.3 < 0.7 < at_floor["precision_colour"]
    assert at_floor["intervals"]["kid_colour"][0] < 0 < at_floor["intervals"]["kid_colour"][1]
    assert 0 < dark["intervals"]["kid_colour"][0] < dark["kid_colour"] < dark["intervals"]["kid_colour"][1]


def test_result_says_what_it_is_of_and_goes_into_json(pictures):
    result = quality(pictures[0], pictures[1][:30], EXTRACTOR, seed=3)
    assert json.loads(json.dumps(result)) == result == quality(pictures[0], pictures[1][:30], EXTRACTOR, seed=3)
    assert result["extractor"] == {"name": "colour_any_size", "sha256": "ab" * 32}
    assert (result["examples"], result["references"], result["halves"]["examples"]) == (40, 30, 15)
    assert result["image_size"] == [8, 8]
    measures = {"fd_colour", "kid_colour", "precision_colour", "recall_colour"}
    assert measures <= result.keys() and result["intervals"].keys() == result["halves"]["real"].keys() == measures
    assert result["intervals"] != quality(pictures[0], pictures[1][:30], EXTRACTOR, seed=4)["intervals"]


def test_results_of_other_networks_or_numbers_are_not_compared(pictures):
    result = quality(pictures[0], pictures[1], EXTRACTOR)
    require_comparable(result, dict(result))
    other_weights = dataclasses.replace(EXTRACTOR, sha256="cd" * 32)
    with pytest.raises(ValueError, match=r"'extractor'.*abab.*cdcd.*cannot be compared"):
        require_comparable(result, quality(pictures[0], pictures[1], other_weights))
    other_resizing = dataclasses.replace(EXTRACTOR, pipeline="colour_bicubic")
    with pytest.raises(ValueError, match=r"'extractor'.*colour_any_size.*colour_bicubic.*cannot be compared"):
        require_comparable(result, quality(pictures[0], pictures[1], other_resizing))
    with pytest.raises(ValueError, match="'examples' 40 and 20 cannot be compared"):
        require_comparable(result, quality(pictures[0][:20], pictures[1], EXTRACTOR))


def test_refusals(pictures):
    with pytest.raises(ValueError, match="sizes must agree"):
        quality(pictures[0][:, :4], pictures[1], EXTRACTOR)
    with pytest.raises(ValueError, match="needs 8 pictures or more, but there are 7 samples"):
        quality(pictures[0][:7], pictures[1], EXTRACTOR)
    with pytest.raises(ValueError, match="must be uint8"):
        quality(pictures[0].astype(np.float32), pictures[1], EXTRACTOR)
