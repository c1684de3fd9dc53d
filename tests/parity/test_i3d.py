"""FVD's I3D and its extractor against PyTorch, random weights, float32.

All blocks, and 224 px: `python -m pytest -m slow tests/parity/test_i3d.py`.
"""

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

from lisa_jax.evaluation import extractors
from lisa_jax.evaluation.networks import i3d

TOLERANCE = 1e-4  # of logits of size 1

POOLS = {"Mixed_3b": ((1, 3, 3), (1, 2, 2)), "Mixed_4b": ((3, 3, 3), (2, 2, 2)), "Mixed_5b": ((2, 2, 2), (2, 2, 2))}
MIXED = {
    "Mixed_3b": [64, 96, 128, 16, 32, 32],
    "Mixed_3c": [128, 128, 192, 32, 96, 64],
    "Mixed_4b": [192, 96, 208, 16, 48, 64],
    "Mixed_4c": [160, 112, 224, 24, 64, 64],
    "Mixed_4d": [128, 128, 256, 24, 64, 64],
    "Mixed_4e": [112, 144, 288, 32, 64, 64],
    "Mixed_4f": [256, 160, 320, 32, 128, 128],
    "Mixed_5b": [256, 160, 320, 32, 128, 128],
    "Mixed_5c": [384, 192, 384, 48, 128, 128],
}


def same_padded(x, kernel, stride):
    """TensorFlow's "SAME", with zeros, as `InceptionI3d.compute_pad` has it."""
    pads = []
    for size, k, s in zip(x.shape[2:], kernel, stride, strict=True):
        total = max(k - s, 0) if size % s == 0 else max(k - size % s, 0)
        pads = [total // 2, total - total // 2, *pads]
    return F.pad(x, pads)


class Reference:
    """`InceptionI3d` as a function; a convolution's weights are drawn when it is first used."""

    def __init__(self, blocks):
        self.blocks = blocks
        self.weights = {}
        self.generator = torch.Generator().manual_seed(0)

    def normal(self, *shape, mean=0.0, std=1.0):
        return mean + std * torch.randn(shape, generator=self.generator)

    def unit(self, x, name, features, kernel=1, stride=1, plain=False):
        w, width = self.weights, x.shape[1]
        if f"{name}.conv3d.weight" not in w:
            w[f"{name}.conv3d.weight"] = self.normal(
                features, width, *[kernel] * 3, std=((1 if plain else 2) / (width * kernel**3)) ** 0.5
            )
            if plain:
                w[f"{name}.conv3d.bias"] = self.normal(features)
            else:
                w[f"{name}.bn.weight"] = self.normal(features, mean=1, std=0.1)
                w[f"{name}.bn.bias"] = self.normal(features, std=0.1)
                w[f"{name}.bn.running_mean"] = self.normal(features, std=0.1)
                w[f"{name}.bn.running_var"] = self.normal(features, mean=1, std=0.1).abs()
                w[f"{name}.bn.num_batches_tracked"] = torch.tensor(1)
        x = F.conv3d(
            same_padded(x, [kernel] * 3, [stride] * 3),
            w[f"{name}.conv3d.weight"],
            w.get(f"{name}.conv3d.bias"),
            stride=stride,
        )
        if plain:
            return x
        parts = ("running_mean", "running_var", "weight", "bias")
        return F.relu(F.batch_norm(x, *(w[f"{name}.bn.{part}"] for part in parts), eps=1e-3))

    def pooled(self, x, kernel, stride):
        return F.max_pool3d(same_padded(x, kernel, stride), kernel, stride)

    def mixed(self, x, name, c):
        one = self.unit(x, f"{name}.b0", c[0])
        three = self.unit(self.unit(x, f"{name}.b1a", c[1]), f"{name}.b1b", c[2], 3)
        other = self.unit(self.unit(x, f"{name}.b2a", c[3]), f"{name}.b2b", c[4], 3)
        return torch.cat([one, three, other, self.unit(self.pooled(x, [3] * 3, [1] * 3), f"{name}.b3b", c[5])], 1)

    @torch.no_grad()
    def __call__(self, x):
        x = self.pooled(self.unit(x, "Conv3d_1a_7x7", 64, 7, 2), [1, 3, 3], [1, 2, 2])
        x = self.unit(self.unit(x, "Conv3d_2b_1x1", 64), "Conv3d_2c_3x3", 192, 3)
        for name in self.blocks:
            x = self.mixed(self.pooled(x, *POOLS[name]) if name in POOLS else x, name, MIXED[name])
        x = F.avg_pool3d(x, (2, *x.shape[3:]), stride=1)
        return self.unit(x, "logits", 400, plain=True)[..., 0, 0].mean(2)


def written(folder, blocks, suffix):
    """The reference, and its weights in a file as the repository pytorch-i3d has them, or as safetensors."""
    reference = Reference(blocks)
    reference(torch.zeros(1, 3, 9, 32, 32))
    path = folder / f"i3d{suffix}"
    if suffix == ".safetensors":
        safetensors.torch.save_file(reference.weights, path)
    else:
        torch.save(reference.weights, path, _use_new_zipfile_serialization=False)
    return reference, path


@pytest.mark.parametrize(
    # 11 frames of 35 px: poolings are padded unevenly.
    ("size", "frames", "blocks", "suffix"),
    [
        (35, 11, ("Mixed_3b", "Mixed_4b"), ".safetensors"),
        pytest.param(35, 11, tuple(MIXED), ".pt", marks=pytest.mark.slow),
        pytest.param(224, 9, tuple(MIXED), ".safetensors", marks=pytest.mark.slow),
    ],
)
def test_logits_of_clips(size, frames, blocks, suffix, tmp_path, monkeypatch, max_difference):
    monkeypatch.setattr(extractors, "_I3D_SIZE", size)
    monkeypatch.setattr(i3d, "_BLOCKS", {name: i3d._BLOCKS[name] for name in blocks})
    reference, path = written(tmp_path, blocks, suffix)
    clips = np.random.default_rng(0).integers(0, 256, (2, frames, 40, 32, 3), dtype=np.uint8)
    clips[1] //= 3
    extractor = extractors.load_extractor("i3d", path)
    pixels = torch.from_numpy(clips).permute(0, 4, 1, 2, 3).float()
    pixels = F.interpolate(pixels, (frames, size, size), mode="trilinear", align_corners=False)
    expected = reference(2 * pixels / 255 - 1)
    assert expected.shape == (2, 400) and 0.1 < expected.std() < 10
    assert (expected[0] - expected[1]).abs().max() > 0.1
    assert max_difference([expected], [extractor.features(clips)]) < TOLERANCE
    assert extractor.distance == "fvd_i3d"
    assert extractor.identity["name"] == f"i3d_{size}px_bilinear_logits"


def test_clips_that_are_too_short_and_files_that_are_no_tensors_are_refused(tmp_path):
    _, path = written(tmp_path, tuple(MIXED), ".safetensors")
    extractor = extractors.load_extractor("i3d", path)
    with pytest.raises(ValueError, match="9 frames or more, but they have 8"):
        extractor.features(np.zeros((1, 8, 32, 32, 3), np.uint8))
    script = tmp_path / "i3d_torchscript.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), script)
    with pytest.raises(ValueError, match="TorchScript"):
        extractors.load_extractor("i3d", script)
    with pytest.raises(ValueError, match="I3D needs a file of weights"):
        extractors.load_extractor("i3d")
