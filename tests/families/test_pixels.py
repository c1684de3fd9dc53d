import pytest

from lisa_jax.families.pixels import PIXELS


def test_a_video_s_size_is_refused_by_a_base_of_images():
    assert PIXELS.shape(8, 16) == (8, 16, 3)
    with pytest.raises(ValueError, match=r"makes images of \(H, W\), but data\.image_size is 2 x 8 x 8"):
        PIXELS.moments_shape(2, 8, 8)
