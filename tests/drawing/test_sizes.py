"""How large prompted pictures are."""

import pytest

from lisa_jax.drawing.sizes import Sizes, SizeText, cropped_to, size_of


def latents(height, width):
    if height % 8 or width % 8:
        raise ValueError(f"{height} x {width} are no multiples of 8")
    return height // 8, width // 8, 4


@pytest.mark.parametrize("picture", [(512, 512), (96, 128), (3000, 2000), (601, 600), (64, 200)])
def test_a_picture_keeps_its_shape_at_the_area_of_training(picture):
    height, width = Sizes((512, 512), latents).of(picture)
    assert height % 8 == width % 8 == 0
    assert width / height == pytest.approx(picture[1] / picture[0], rel=0.02)
    assert height * width == pytest.approx(512 * 512, rel=0.05)
    assert cropped_to(picture, (height, width)) is None
    assert Sizes((512, 512), latents).of(picture[::-1]) == (width, height)


def test_beyond_four_to_one_the_middle_is_used():
    assert Sizes((512, 512), latents).of((100, 10_000)) == (256, 1024)
    assert cropped_to((100, 10_000), (256, 1024)) == (100, 400)


def test_a_size_that_is_asked_for_is_taken_or_refused():
    assert Sizes((512, 512), latents, size_of("96x128")).of((7, 7)) == (96, 128)
    assert cropped_to((24, 40), (16, 16)) == (24, 24)
    assert size_of("64") == (64, 64)
    assert all(map(SizeText().takes, ("64", "96x128", "1x4096")))
    with pytest.raises(ValueError, match="100 x 128 are no multiples"):
        Sizes((512, 512), latents, (100, 128))
    assert not any(map(SizeText().takes, ("0", "-8", "8x0", "nan", "8x", "8x8x8", "99999", "1e3", "", " 8", None)))
