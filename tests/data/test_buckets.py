import pytest

from lisa_jax.data.buckets import make_buckets, nearest_bucket


@pytest.mark.parametrize(("base", "step", "ratio"), [(512, 64, 2.0), (768, 64, 2.5), (1024, 64, 4.0), (64, 8, 1.5)])
def test_buckets_are_of_equal_area_and_fit_the_network(base, step, ratio):
    buckets = make_buckets(base, step, ratio)
    assert len(set(buckets)) == len(buckets) > 2
    assert (base, base) in buckets
    for height, width in buckets:
        assert height % step == 0 and width % step == 0
        assert max(height, width) <= ratio * min(height, width)
        # Rounding one side to a multiple of step changes the area by half a step's worth at most.
        assert abs(height * width - base**2) <= max(height, width) * step / 2
        assert (width, height) in buckets


def test_the_list_is_static():
    # Prepared data sets and compiled steps depend on it.
    assert make_buckets(512) == (
        (704, 384),
        (640, 384),
        (576, 448),
        (512, 512),
        (448, 576),
        (384, 640),
        (384, 704),
    )
    assert make_buckets(512, max_ratio=1.0) == ((512, 512),)


def test_nearest_bucket_by_aspect_ratio_alone():
    buckets = make_buckets(512)
    assert nearest_bucket(1000, 1000, buckets) == (512, 512)
    assert nearest_bucket(1080, 1920, buckets) == (384, 704)
    assert nearest_bucket(4000, 3000, buckets) == (576, 448)
    assert nearest_bucket(10, 10_000, buckets) == (384, 704)
    for height, width in [(480, 640), (333, 500), (800, 700)]:
        assert nearest_bucket(height, width, buckets) == nearest_bucket(width, height, buckets)[::-1]


def test_errors():
    with pytest.raises(
        ValueError, match=r"^--image_size=500 must be a multiple of 64, as all sides of --buckets are\.$"
    ):
        make_buckets(500)
    with pytest.raises(ValueError, match=r"max_ratio is 0\.5"):
        make_buckets(512, max_ratio=0.5)
    with pytest.raises(ValueError, match="no buckets"):
        nearest_bucket(1, 1, ())
    with pytest.raises(ValueError, match="0x5"):
        nearest_bucket(5, 0, make_buckets(512))
