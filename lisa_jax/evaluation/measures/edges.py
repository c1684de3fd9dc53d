"""Do the lines of a generated picture lie where the line condition asked for them? F1 between two line maps.

The thresholds suit OpenMoji's black outlines on white and were chosen on 400 training drawings; at a line's soft border
the two functions agree: a line art value of 160 is a black line that leaves 95 of 255. Means over the 143 test drawings
(ceiling: the real pictures; floor: the pictures of other emoji):

    size  tolerance  ceiling  floor
      32          0     .895   .148
      32          1     .958   .497
      64          0     .913   .163
      64          1     .958   .379

A ceiling below 1 is the drawings' own doing: near-black fills, and lines that the picture paints over in another
colour.
"""

import numpy as np

_DARK_BELOW = 96
_LIT_FROM = 256 - _DARK_BELOW


def dark_lines(image: np.ndarray) -> np.ndarray:
    """The drawn lines of a picture: bool (H, W), true where every channel of the uint8 (H, W, 3) image is dark.

    Every channel rather than the luminance, because saturated reds and blues are dark too but are no lines. Large
    near-black areas (a black cat) count as lines as well.
    """
    return image.max(axis=-1) < _DARK_BELOW


def lit_lines(lineart: np.ndarray) -> np.ndarray:
    """The lines of a condition, white on black: bool (H, W) from uint8 (H, W, 1) or (H, W, 3)."""
    return lineart.max(axis=-1) >= _LIT_FROM


def line_f1(prediction: np.ndarray, reference: np.ndarray, tolerance: int = 1) -> float:
    """F1 of two line maps, where a pixel is right when the other map has one at most `tolerance` pixels away.

    Precision is the share of predicted pixels near a reference pixel, recall the share of reference pixels near a
    predicted one (the boundary measure of Martin, Fowlkes and Malik 2004, with dilation in place of their matching);
    distance is the larger of the horizontal and the vertical one.

    Args:
      prediction: bool (H, W).
      reference: bool (H, W).
      tolerance: 0 or more. A whole pixel is coarse at 32 px, where lines are dense: there 0 tells right from wrong
        better.

    Returns:
      0 to 1; 1 when both maps are empty, 0 when just one is.

    Raises:
      ValueError: a map is not boolean and two-dimensional, shapes differ, or tolerance is negative.
    """
    for name, lines in (("prediction", prediction), ("reference", reference)):
        if lines.dtype != np.bool_ or lines.ndim != 2:
            raise ValueError(f"{name} must be a bool (H, W) line map, but is {lines.dtype} {lines.shape}.")
    if prediction.shape != reference.shape:
        raise ValueError(f"prediction is {prediction.shape}, but reference is {reference.shape}: sizes must agree.")
    if tolerance < 0:
        raise ValueError(f"tolerance is {tolerance}, but must be 0 or more.")
    if not prediction.any() and not reference.any():
        return 1.0
    if not prediction.any() or not reference.any():
        return 0.0
    precision = np.mean(_widen(reference, tolerance)[prediction])
    recall = np.mean(_widen(prediction, tolerance)[reference])
    if precision + recall == 0:
        return 0.0
    return float(2 * precision * recall / (precision + recall))


def _widen(lines: np.ndarray, tolerance: int) -> np.ndarray:
    from scipy import ndimage

    side = 2 * tolerance + 1
    return ndimage.maximum_filter(lines, size=side, mode="constant", cval=False)
