"""Do things in clips move as they do in the real ones? Temporal consistency, measured by optical flow.

Flow is Farnebäck's (OpenCV's `calcOpticalFlowFarneback` with the settings of TecoGAN's evaluation): no network. Both
are errors, and neither alone is enough. `tof` is 0 of the real motion. `warping_error` shows flicker, and a clip that
stands still has none: read it beside the real clips', for less than theirs is not better. Over the 128 test clips of
`figures_video`, 8 frames of 32 px:

    clips                              warping_error   tof
    real                                       .0034     0
    real, brightness +-12 by frame             .0083   .001
    real, the first frame held                 .0020   .387
    of other examples                          .0064   .608
"""

import cv2
import numpy as np

PROTOCOL = {
    "warping_error": "squared difference, summed over RGB in 0..1, of each frame and the next one warped by the real "
    "clip's Farneback flow, where that is consistent forwards and backwards; mean over pixels, pairs and clips",
    "tof": "L1 distance of the Farneback flows of sample and real clip, pixels a frame; mean over pixels, pairs, clips",
}
_FARNEBACK = {
    "pyr_scale": 0.5,
    "levels": 3,
    "winsize": 15,
    "iterations": 3,
    "poly_n": 5,
    "poly_sigma": 1.2,
    "flags": 0,
}


def motion(clips: np.ndarray, references: np.ndarray) -> dict[str, float]:
    """Both measures over all clips.

    Args:
      clips: uint8 (n, F, H, W, 3).
      references: the real ones, likewise.

    Returns:
      "warping_error": E_warp of Lai et al., "Learning Blind Video Temporal Consistency", arXiv 1808.00449, with the
        flow of the real clips: sum(M |V_t - warp(V_t+1)|^2) / sum(M); M leaves out what the test of Ruder et al.,
        arXiv 1604.08610, takes for occluded. "tof": tOF of Chu et al. (TecoGAN), arXiv 1811.09393.
    Raises:
      ValueError: other shapes than each other's, or fewer than two frames.
    """
    if clips.shape != references.shape or clips.ndim != 5 or clips.shape[1] < 2:
        raise ValueError(
            f"Motion is measured of clips uint8 (n, F, H, W, 3) of two frames or more, but samples are {clips.shape} "
            f"and real clips {references.shape}."
        )
    pairs = [_pair(clip, real, t) for clip, real in zip(clips, references, strict=True) for t in range(len(real) - 1)]
    warping, flows = np.mean(pairs, axis=0)
    return {"warping_error": float(warping), "tof": float(flows)}


def optical_flow(frame: np.ndarray, following: np.ndarray) -> np.ndarray:
    """Where each pixel of a frame is in the following one: float32 (H, W, 2), x and y in pixels, of uint8 (H, W, 3)."""
    grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (frame, following)]
    return cv2.calcOpticalFlowFarneback(*grey, None, **_FARNEBACK)


def warped(following: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """The following frame moved back along the flow, bilinear; edges go on. Any float32 (H, W, c)."""
    height, width = flow.shape[:2]
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    places = (columns + flow[..., 0], rows + flow[..., 1])
    return cv2.remap(following, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def seen_in_both(forward: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """Pixels of the first of two frames that are not occluded in the second: bool (H, W).

    Those whose flow there and back again ends where it began: |f + b|^2 <= .01 (|f|^2 + |b|^2) + .5.
    """
    back = warped(backward, forward)
    lengths = np.square(forward).sum(-1) + np.square(back).sum(-1)
    return np.square(forward + back).sum(-1) <= 0.01 * lengths + 0.5


def _pair(clip: np.ndarray, real: np.ndarray, t: int) -> tuple[float, float]:
    """Warping error and distance of flows of frames t and t + 1."""
    flow = optical_flow(real[t], real[t + 1])
    seen = seen_in_both(flow, optical_flow(real[t + 1], real[t]))
    frame, following = (np.float32(clip[number]) / 255 for number in (t, t + 1))
    error = np.square(frame - warped(following, flow)).sum(-1)
    distance = np.abs(optical_flow(clip[t], clip[t + 1]) - flow).sum(-1)
    return float(error[seen].mean() if seen.any() else 0.0), float(distance.mean())
