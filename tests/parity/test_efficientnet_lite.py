"""EfficientNet-Lite0 and its extractor against PyTorch on the packaged weights, float32."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lisa_jax.evaluation import extractors

TOLERANCE = 4e-5  # of features up to 6; builds of PyTorch differ among themselves

# (blocks, kernel, stride of the first)
STAGES = ((1, 3, 1), (2, 3, 2), (2, 5, 2), (3, 3, 2), (3, 5, 1), (4, 5, 2), (1, 3, 1))


def conv_same(x, weight, stride=1, groups=1):
    """Padding as TensorFlow's "SAME": what is left over goes to the right and below."""
    padding = []
    for length in (x.shape[3], x.shape[2]):
        total = max((math.ceil(length / stride) - 1) * stride + weight.shape[2] - length, 0)
        padding += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, padding), weight, stride=stride, groups=groups)


@torch.no_grad()
def reference(weights, x):
    def norm(x, name):
        names = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(weights[f"{name}.{part}"] for part in names), eps=1e-3)

    x = F.relu6(norm(conv_same(x, weights["_conv_stem.weight"], 2), "_bn0"))
    strides = [stride if first == 0 else 1 for blocks, _, stride in STAGES for first in range(blocks)]
    for index, stride in enumerate(strides):
        block, y = f"_blocks.{index}", x
        if index > 0:
            y = F.relu6(norm(conv_same(y, weights[f"{block}._expand_conv.weight"]), f"{block}._bn0"))
        kernel = weights[f"{block}._depthwise_conv.weight"]
        y = F.relu6(norm(conv_same(y, kernel, stride, groups=len(kernel)), f"{block}._bn1"))
        y = norm(conv_same(y, weights[f"{block}._project_conv.weight"]), f"{block}._bn2")
        x = x + y if x.shape == y.shape else y
    return F.relu6(norm(conv_same(x, weights["_conv_head.weight"]), "_bn1")).mean(dim=(2, 3))


@pytest.fixture(scope="module")
def weights():
    path = extractors._packaged_effnet_lite0()
    return torch.load(path, weights_only=True)


@pytest.fixture
def smooth_pictures():
    """Three random pictures (40, 56) with detail at several scales, uint8."""
    noise = torch.rand(3, 3, 10, 14)
    pictures = F.interpolate(noise, scale_factor=4, mode="bicubic") + 0.1 * torch.randn(3, 3, 40, 56)
    return (255 * pictures.clamp(0, 1)).byte().permute(0, 2, 3, 1).numpy()


def test_features_of_pictures(weights, smooth_pictures, monkeypatch, max_difference):
    monkeypatch.setattr(extractors, "_EFFNET_SIZE", 51)  # odd: at every stride more padding after than before
    features = extractors.load_extractor("effnet_lite0").features(smooth_pictures)
    pixels = torch.from_numpy(np.array(extractors.dither(smooth_pictures, np.arange(3)))).permute(0, 3, 1, 2)
    # Anti-aliasing matters along the second axis, which shrinks.
    pixels = F.interpolate(pixels, (51, 51), mode="bicubic", antialias=True, align_corners=False)
    expected = reference(weights, (pixels - 127) / 128)
    assert expected.std(dim=0).mean() > 0.05  # the pictures are told apart
    assert max_difference([expected], [features]) < TOLERANCE


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save({"features.0.weight": torch.zeros(64, 3, 11, 11)}, tmp_path / "alexnet.pth")
    with pytest.raises(
        ValueError, match=r"alexnet\.pth does not hold the weights of EfficientNetLite0: 246 tensor\(s\)"
    ):
        extractors.load_extractor("effnet_lite0", tmp_path / "alexnet.pth")
