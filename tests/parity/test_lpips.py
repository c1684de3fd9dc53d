"""LPIPS against PyTorch: the authors' formula on torchvision's AlexNet layout, random weights."""

import numpy as np
import pytest
import torch
from torch import nn

from lisa_jax.evaluation.lpips import load_lpips, lpips
from lisa_jax.evaluation.networks.alexnet import CHANNELS


def torch_features():
    """torchvision's `alexnet().features`."""
    return nn.Sequential(
        nn.Conv2d(3, 64, kernel_size=11, stride=4, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(kernel_size=3, stride=2),
        nn.Conv2d(64, 192, kernel_size=5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(kernel_size=3, stride=2),
        nn.Conv2d(192, 384, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(kernel_size=3, stride=2),
    )


def torch_lpips(features, heads, images, references):
    """The authors' `LPIPS.forward`, version 0.1, not spatial."""
    shift = torch.tensor([-0.030, -0.088, -0.188])[None, :, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[None, :, None, None]
    x, y = (
        (torch.from_numpy(part.transpose(0, 3, 1, 2).astype(np.float32)) / 127.5 - 1 - shift) / scale
        for part in (images, references)
    )
    total, layers = 0, iter(heads)
    for module in features[:-1]:
        x, y = module(x), module(y)
        if isinstance(module, nn.ReLU):
            unit_x, unit_y = (part / (part.pow(2).sum(1, keepdim=True).sqrt() + 1e-10) for part in (x, y))
            total = total + nn.functional.conv2d((unit_x - unit_y) ** 2, next(layers)).mean((2, 3))
    return total[:, 0]


@pytest.fixture(scope="module")
def torch_parts():
    torch.manual_seed(0)
    heads = [torch.rand(1, channels, 1, 1) for channels in CHANNELS]
    return torch_features().eval(), heads


@pytest.fixture(scope="module")
def files(torch_parts, tmp_path_factory):
    """The two files as published: AlexNet with its classifier, and the heads in PyTorch's older format."""
    features, heads = torch_parts
    folder = tmp_path_factory.mktemp("lpips")
    backbone = {f"features.{name}": value for name, value in features.state_dict().items()}
    torch.save(backbone | {"classifier.6.bias": torch.zeros(1000)}, folder / "alexnet.pth")
    tensors = {f"lin{layer}.model.1.weight": head for layer, head in enumerate(heads)}
    torch.save(tensors, folder / "heads.pth", _use_new_zipfile_serialization=False)
    torch.save(tensors | {"lin1.model.1.weight": torch.zeros(1, 128, 1, 1)}, folder / "vgg.pth")
    return folder / "alexnet.pth", folder / "heads.pth", folder / "vgg.pth"


@pytest.fixture(scope="module")
def network(files):
    return load_lpips(*files[:2])


def pictures(count, height, width):
    rng = np.random.default_rng(0)
    references = rng.integers(0, 256, (count, height, width, 3), np.uint8)
    images = np.clip(references + rng.normal(0, 20, references.shape), 0, 255).astype(np.uint8)
    images[-1] = 255 - references[-1]
    return images, references


@pytest.mark.parametrize(("height", "width"), [(64, 64), (31, 50)])
def test_distances_equal_pytorch(network, torch_parts, height, width):
    images, references = pictures(3, height, width)
    images[0] = references[0] = 0  # flat pictures too, which differ in one place only
    images[0, :16] = 255
    with torch.no_grad():
        expected = torch_lpips(*torch_parts, images, references).numpy()
    distances = lpips(network, images, references, batch_size=2)
    difference = np.abs(distances - expected).max()
    print(f"{height}x{width} distances {np.round(distances, 4)}: max abs diff {difference:.2e}")
    assert distances.shape == (3,) and expected.min() > 0.01
    assert difference < 5e-6


def test_equal_pictures_have_no_distance(network):
    images, _ = pictures(2, 64, 64)
    assert (lpips(network, images, images, batch_size=2) == 0).all()


def test_other_files_are_refused_by_tensor(files):
    alexnet, heads, vgg = files
    with pytest.raises(ValueError, match=r"heads.pth is not torchvision's AlexNet: it has no tensor features\.0\.bias"):
        load_lpips(heads, heads)
    with pytest.raises(ValueError, match=r"not the heads of LPIPS for AlexNet: it has no tensor lin0"):
        load_lpips(alexnet, alexnet)
    with pytest.raises(ValueError, match=r"lin1\.model\.1\.weight is \(1, 128, 1, 1\), not \(1, 192, 1, 1\)"):
        load_lpips(alexnet, vgg)


def test_inputs_are_checked(network):
    images, references = pictures(2, 64, 64)
    with pytest.raises(ValueError, match="sizes must agree"):
        lpips(network, images, references[:1])
    with pytest.raises(ValueError, match="images must be uint8"):
        lpips(network, images / 255, references / 255)
    with pytest.raises(ValueError, match="31 px or more"):
        lpips(network, images[:, :30], references[:, :30])
