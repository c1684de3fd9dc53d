import numpy as np
import pytest

from lisa_jax.evaluation.measures.lowres import lowres_psnr, psnr, ssim


@pytest.fixture
def pictures():
    generator = np.random.default_rng(0)
    smooth = generator.integers(0, 256, (3, 8, 8, 3)).repeat(4, axis=1).repeat(4, axis=2)
    noisy = smooth + generator.normal(0, 20, smooth.shape)
    return smooth.astype(np.uint8), np.clip(noisy, 0, 255).astype(np.uint8)


def test_psnr_of_a_constant_error():
    dark = np.full((2, 8, 8, 3), 100, np.uint8)
    assert psnr(dark + np.uint8(10), dark) == pytest.approx([10 * np.log10(255**2 / 100)] * 2)
    assert np.isinf(psnr(dark, dark)).all()


def test_ssim_by_its_definition(pictures):
    images, references = pictures
    assert ssim(images, images) == pytest.approx([1, 1, 1])
    # The formula written out at one pixel of one channel, with the paper's 11 x 11 window.
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    total = []
    for row in range(5, 27):
        for column in range(5, 27):
            for channel in range(3):
                a = images[0, row - 5 : row + 6, column - 5 : column + 6, channel].astype(float)
                b = references[0, row - 5 : row + 6, column - 5 : column + 6, channel].astype(float)
                ma, mb = (window * a).sum(), (window * b).sum()
                va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
                covariance = (window * (a - ma) * (b - mb)).sum()
                c1, c2 = 2.55**2, 7.65**2
                total.append((2 * ma * mb + c1) * (2 * covariance + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    assert ssim(images, references)[0] == pytest.approx(np.mean(total), abs=1e-10)


def test_lowres_psnr_sees_box_means_only(pictures):
    image = pictures[0]
    shuffled = image.copy()
    shuffled[:, :4, :4] = image[:, 3::-1, 3::-1]
    assert np.isinf(lowres_psnr(shuffled, image)).all()
    assert lowres_psnr(np.clip(image.astype(int) + 9, 0, 255).astype(np.uint8), image).max() < 40


def test_refusals(pictures):
    image = pictures[0]
    with pytest.raises(ValueError, match="sizes must agree"):
        psnr(image, image[:1])
    with pytest.raises(ValueError, match="11 pixels or more"):
        ssim(image[:, :8, :8], image[:, :8, :8])
    with pytest.raises(ValueError, match="boxes of 5"):
        lowres_psnr(image, image, 5)
