"""The reader of PyTorch files against PyTorch, in both of its formats."""

import collections

import ml_dtypes
import numpy as np
import pytest
import torch

from lisa_jax.evaluation.torch_file import read_torch_file

DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")


@pytest.fixture(params=[True, False], ids=["zip", "legacy"])
def save(request, tmp_path):
    """value -> path of a file in one of the formats."""

    def write(value):
        torch.save(value, tmp_path / "file.pth", _use_new_zipfile_serialization=request.param)
        return tmp_path / "file.pth"

    return write


def test_every_dtype_and_layout(save):
    numbers = torch.arange(24).reshape(2, 3, 4)
    tensors = {dtype: (numbers % 5).to(getattr(torch, dtype)) for dtype in DTYPES}
    tensors |= {
        "transposed": numbers.float().permute(2, 0, 1),
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "slice": numbers[1, 1:, ::2],
        "broadcast": torch.tensor([3.0]).expand(2, 4),
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.randn(3)),
    }
    read = read_torch_file(save(tensors))
    assert list(read) == list(tensors)
    for name, tensor in tensors.items():
        expected = ml_dtypes.bfloat16 if name == "bfloat16" else tensor.detach().numpy().dtype
        assert (read[name].dtype, read[name].shape) == (expected, tuple(tensor.shape)), name
        np.testing.assert_array_equal(read[name].astype(float), tensor.detach().double().numpy(), name)


def test_state_dict_of_a_module(save):
    module = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3))
    state = module.state_dict()
    assert isinstance(state, collections.OrderedDict) and state._metadata  # goes into the file as well
    read = read_torch_file(save(state))
    assert list(read) == list(state)
    assert all(np.array_equal(read[name], state[name].numpy()) for name in state)


def test_a_whole_module_or_a_checkpoint_is_refused(save):
    with pytest.raises(ValueError, match=r"asks for 'torch\.nn\.modules\.linear\.Linear'"):
        read_torch_file(save(torch.nn.Linear(2, 2)))
    with pytest.raises(ValueError, match="holds 'state_dict', a dict"):
        read_torch_file(save({"state_dict": {"weight": torch.zeros(2)}, "epoch": 3}))


def test_truncated(save):
    path = save({"weight": torch.randn(1000)})
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ValueError, match="damaged"):
        read_torch_file(path)
