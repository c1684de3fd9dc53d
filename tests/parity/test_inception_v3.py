"""FID's InceptionV3 and its extractor against PyTorch, random weights, float32."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lisa_jax.evaluation import extractors

TOLERANCE = 1e-5  # of features of size 1


class Reference:
    """The network as a function; a convolution's weights are drawn when it is first used."""

    def __init__(self):
        self.weights = {}
        self.generator = torch.Generator().manual_seed(0)

    def normal(self, *shape, mean=0.0, std=1.0):
        return mean + std * torch.randn(shape, generator=self.generator)

    def conv(self, x, name, features, kernel, stride=1, padding=0):
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        w, width = self.weights, x.shape[1]
        if f"{name}.conv.weight" not in w:
            fan_in = width * kernel[0] * kernel[1]
            w[f"{name}.conv.weight"] = self.normal(features, width, *kernel, std=(2 / fan_in) ** 0.5)
            w[f"{name}.bn.weight"] = self.normal(features, mean=1, std=0.1)
            w[f"{name}.bn.bias"] = self.normal(features, std=0.1)
            w[f"{name}.bn.running_mean"] = self.normal(features, std=0.1)
            w[f"{name}.bn.running_var"] = self.normal(features, mean=1, std=0.1).abs()
            w[f"{name}.bn.num_batches_tracked"] = torch.tensor(1)
        parts = ("running_mean", "running_var", "weight", "bias")
        x = F.conv2d(x, w[f"{name}.conv.weight"], stride=stride, padding=padding)
        return F.relu(F.batch_norm(x, *(w[f"{name}.bn.{part}"] for part in parts), eps=1e-3))

    def pooled(self, x, name, features, maximum=False):
        pooled = F.max_pool2d(x, 3, 1, 1) if maximum else F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        return self.conv(pooled, f"{name}.branch_pool", features, 1)

    def block_a(self, x, name, pool_features):
        one = self.conv(x, f"{name}.branch1x1", 64, 1)
        five = self.conv(self.conv(x, f"{name}.branch5x5_1", 48, 1), f"{name}.branch5x5_2", 64, 5, padding=2)
        three = self.conv(x, f"{name}.branch3x3dbl_1", 64, 1)
        three = self.conv(three, f"{name}.branch3x3dbl_2", 96, 3, padding=1)
        three = self.conv(three, f"{name}.branch3x3dbl_3", 96, 3, padding=1)
        return torch.cat([one, five, three, self.pooled(x, name, pool_features)], 1)

    def block_b(self, x, name):
        three = self.conv(x, f"{name}.branch3x3", 384, 3, stride=2)
        double = self.conv(x, f"{name}.branch3x3dbl_1", 64, 1)
        double = self.conv(double, f"{name}.branch3x3dbl_2", 96, 3, padding=1)
        double = self.conv(double, f"{name}.branch3x3dbl_3", 96, 3, stride=2)
        return torch.cat([three, double, F.max_pool2d(x, 3, 2)], 1)

    def block_c(self, x, name, width):
        one = self.conv(x, f"{name}.branch1x1", 192, 1)
        seven = self.conv(x, f"{name}.branch7x7_1", width, 1)
        seven = self.conv(seven, f"{name}.branch7x7_2", width, (1, 7), padding=(0, 3))
        seven = self.conv(seven, f"{name}.branch7x7_3", 192, (7, 1), padding=(3, 0))
        double = self.conv(x, f"{name}.branch7x7dbl_1", width, 1)
        double = self.conv(double, f"{name}.branch7x7dbl_2", width, (7, 1), padding=(3, 0))
        double = self.conv(double, f"{name}.branch7x7dbl_3", width, (1, 7), padding=(0, 3))
        double = self.conv(double, f"{name}.branch7x7dbl_4", width, (7, 1), padding=(3, 0))
        double = self.conv(double, f"{name}.branch7x7dbl_5", 192, (1, 7), padding=(0, 3))
        return torch.cat([one, seven, double, self.pooled(x, name, 192)], 1)

    def block_d(self, x, name):
        three = self.conv(self.conv(x, f"{name}.branch3x3_1", 192, 1), f"{name}.branch3x3_2", 320, 3, stride=2)
        seven = self.conv(x, f"{name}.branch7x7x3_1", 192, 1)
        seven = self.conv(seven, f"{name}.branch7x7x3_2", 192, (1, 7), padding=(0, 3))
        seven = self.conv(seven, f"{name}.branch7x7x3_3", 192, (7, 1), padding=(3, 0))
        seven = self.conv(seven, f"{name}.branch7x7x3_4", 192, 3, stride=2)
        return torch.cat([three, seven, F.max_pool2d(x, 3, 2)], 1)

    def block_e(self, x, name, maximum):
        def fork(x, prefix, first, second):
            row = self.conv(x, f"{name}.{prefix}{first}", 384, (1, 3), padding=(0, 1))
            return [row, self.conv(x, f"{name}.{prefix}{second}", 384, (3, 1), padding=(1, 0))]

        one = self.conv(x, f"{name}.branch1x1", 320, 1)
        three = fork(self.conv(x, f"{name}.branch3x3_1", 384, 1), "branch3x3_", "2a", "2b")
        double = self.conv(self.conv(x, f"{name}.branch3x3dbl_1", 448, 1), f"{name}.branch3x3dbl_2", 384, 3, padding=1)
        double = fork(double, "branch3x3dbl_", "3a", "3b")
        return torch.cat([one, *three, *double, self.pooled(x, name, 192, maximum)], 1)

    @torch.no_grad()
    def __call__(self, x):
        """x in -1..1, (n, 3, H, W)."""
        x = self.conv(x, "Conv2d_1a_3x3", 32, 3, stride=2)
        x = self.conv(x, "Conv2d_2a_3x3", 32, 3)
        x = F.max_pool2d(self.conv(x, "Conv2d_2b_3x3", 64, 3, padding=1), 3, 2)
        x = self.conv(x, "Conv2d_3b_1x1", 80, 1)
        x = F.max_pool2d(self.conv(x, "Conv2d_4a_3x3", 192, 3), 3, 2)
        for name, features in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
            x = self.block_a(x, name, features)
        x = self.block_b(x, "Mixed_6a")
        for name, width in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
            x = self.block_c(x, name, width)
        x = self.block_d(x, "Mixed_7a")
        x = self.block_e(x, "Mixed_7b", maximum=False)
        return self.block_e(x, "Mixed_7c", maximum=True).mean(dim=(2, 3))


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """The reference, and its weights in a file as pytorch-fid's are."""
    reference = Reference()
    reference(torch.zeros(1, 3, 75, 75))
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    classifier = {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    torch.save(reference.weights | classifier, path, _use_new_zipfile_serialization=False)
    return reference, path


@pytest.mark.parametrize(
    # 107 px: the last blocks have 2 x 2 positions, so that averages with and without padding differ.
    ("size", "pictures"),
    [(107, (2, 120, 90, 3)), pytest.param(299, (2, 320, 256, 3), marks=pytest.mark.slow)],
)
def test_features_of_pictures(network, size, pictures, monkeypatch, max_difference):
    reference, path = network
    monkeypatch.setattr(extractors, "_INCEPTION_SIZE", size)
    images = np.random.default_rng(0).integers(0, 256, pictures, dtype=np.uint8)
    images[1] = images[1] // 2 + np.arange(pictures[2], dtype=np.uint8)[:, None] // 2
    features = extractors.load_extractor("inception_v3", path).features(images)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    pixels = F.interpolate(pixels, (size, size), mode="bilinear", align_corners=False)
    expected = reference(2 * pixels - 1)
    assert expected.shape == (2, 2048) and 0.1 < expected.std() < 3
    assert (expected[0] - expected[1]).abs().max() > 0.1
    assert max_difference([expected], [features]) < TOLERANCE
