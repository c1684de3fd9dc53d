"""Low resolution: similarity to the real picture by PSNR and SSIM, and consistency with the condition."""

import numpy as np

from lisa_jax.evaluation.measures.task_measures import TaskMeasures

_SIGMA = 1.5
_RADIUS = 5  # an 11 x 11 window, as in the paper
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def psnr(images: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of each picture in dB: float64 (n,) from uint8 (n, H, W, 3); equal pictures give inf.

    Raises:
      ValueError: shapes differ.
    """
    _check(images, references)
    error = np.mean(np.square(images.astype(np.float64) - references.astype(np.float64)), axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        return 10 * np.log10(255.0**2 / error)


def ssim(images: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Structural similarity of each picture: float64 (n,) from uint8 (n, H, W, 3), mean over pixels and channels.

    Wang et al. 2004: Gaussian window of sigma 1.5 and 11 pixels, population covariances, the border of five pixels
    left out; equal to scikit-image's `structural_similarity(gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=255, channel_axis=-1)`.

    Raises:
      ValueError: shapes differ, or a side is under 11 pixels.
    """
    _check(images, references)
    if min(images.shape[1:3]) < 2 * _RADIUS + 1:
        raise ValueError(f"SSIM needs pictures of {2 * _RADIUS + 1} pixels or more, but they are {images.shape[1:3]}.")
    a, b = images.astype(np.float64), references.astype(np.float64)
    mean_a, mean_b = _blur(a), _blur(b)
    variance_a, variance_b = _blur(a * a) - mean_a**2, _blur(b * b) - mean_b**2
    covariance = _blur(a * b) - mean_a * mean_b
    similarity = (2 * mean_a * mean_b + _C1) * (2 * covariance + _C2)
    similarity /= (mean_a**2 + mean_b**2 + _C1) * (variance_a + variance_b + _C2)
    inner = slice(_RADIUS, -_RADIUS)
    return similarity[:, inner, inner].mean(axis=(1, 2, 3))


def lowres_psnr(images: np.ndarray, references: np.ndarray, factor: int = 4) -> np.ndarray:
    """PSNR in dB after averaging boxes of factor x factor pixels: is the low resolution picture kept? float64 (n,).

    Raises:
      ValueError: shapes differ, or a side is no multiple of the factor.
    """
    _check(images, references)
    small = [_box_average(part, factor) for part in (images, references)]
    error = np.mean(np.square(small[0] - small[1]), axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        return 10 * np.log10(255.0**2 / error)


def _box_average(images: np.ndarray, factor: int) -> np.ndarray:
    n, height, width, channels = images.shape
    if height % factor or width % factor:
        raise ValueError(f"pictures of {height}x{width} do not divide into boxes of {factor}.")
    boxes = images.reshape(n, height // factor, factor, width // factor, factor, channels)
    return boxes.astype(np.float64).mean(axis=(2, 4))


def _blur(images: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    return ndimage.gaussian_filter(images, (0, _SIGMA, _SIGMA, 0), truncate=3.5, mode="reflect")


def _check(images: np.ndarray, references: np.ndarray) -> None:
    if images.shape != references.shape:
        raise ValueError(f"images are {images.shape}, but references {references.shape}: sizes must agree.")


LOWRES = TaskMeasures(
    {"psnr": psnr, "ssim": ssim, "lowres_psnr": lowres_psnr},
    against="references",
    any_pictures=True,
    protocol={
        "psnr": "dB of uint8 RGB; mean over pictures",
        "ssim": "Gaussian window of 11 pixels; mean over pictures",
        "lowres_psnr": "PSNR of averages over boxes of 4 x 4 pixels; mean over pictures",
    },
)
