"""The reader against files written by hand; against PyTorch's own, tests/parity/test_torch_file.py."""

import collections
import io
import pickle
import zipfile

import numpy as np
import pytest

from lisa_jax.evaluation.torch_file import read_torch_file


class Name:
    """Pickles as the call `module.name(*arguments)`, whether or not there is such a thing here."""

    def __init__(self, name, *arguments):
        self.name, self.arguments = name, arguments


class Storage(collections.namedtuple("Storage", "kind key count")):
    """Pickles as PyTorch's reference to a storage."""


class Pickler(pickle._Pickler):
    """Writes names that cannot be imported."""

    def save(self, item, save_persistent_id=True):
        if isinstance(item, Name):
            module, name = item.name.rsplit(".", 1)
            self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
            if item.arguments:
                super().save(item.arguments)
                self.write(pickle.REDUCE)
        else:
            super().save(item, save_persistent_id)

    def persistent_id(self, item):
        if isinstance(item, Storage):
            return ("storage", Name(item.kind), item.key, "cpu", item.count)
        return None


def pickled(value):
    file = io.BytesIO()
    Pickler(file, protocol=2).dump(value)
    return file.getvalue()


def tensor(shape, strides, offset=0, count=6, kind="torch.FloatStorage"):
    arguments = (Storage(kind, "0", count), offset, shape, strides, False, collections.OrderedDict())
    return Name("torch._utils._rebuild_tensor_v2", *arguments)


@pytest.fixture
def saved(tmp_path):
    """value -> path of a zip archive like PyTorch's with this pickle and a storage of 0, 1, 2, 3, 4, 5."""

    def write(value, **entries):
        path = tmp_path / "weights.pth"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("weights/data.pkl", pickled(value))
            archive.writestr("weights/data/0", np.arange(6, dtype="<f4").tobytes())
            for name, content in entries.items():
                archive.writestr(f"weights/{name}", content)
        return path

    return write


def test_strides_and_offsets(saved):
    value = {"transposed": tensor((3, 2), (1, 3)), "end": tensor((2,), (2,), 3), "one": tensor((), (), 5)}
    read = read_torch_file(saved(value))
    np.testing.assert_array_equal(read["transposed"], [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(read["end"], [3, 5])
    assert read["one"] == 5 and read["one"].dtype == np.float32
    read["end"][0] = 7  # memory of its own
    assert read["transposed"][0, 1] == 3


@pytest.mark.parametrize(
    "name", ["os.system", "builtins.eval", "torch._utils._rebuild_sparse_tensor", "torch.storage._load_from_bytes"]
)
def test_a_name_that_is_no_part_of_a_tensor_is_refused_before_anything_runs(saved, tmp_path, name):
    trace = tmp_path / "trace"
    with pytest.raises(ValueError, match=f"asks for '{name}', which is no part of a tensor"):
        read_torch_file(saved({"weight": Name(name, f"touch {trace}")}))
    assert not trace.exists()


def test_a_dotted_name_does_not_reach_inside_an_allowed_one(saved):
    path = saved({})
    # Protocol 4 looks names up attribute by attribute.
    program = b"\x80\x04" + b"\x8c\x0bcollections" + b"\x8c\x1aOrderedDict.fromkeys.__doc" + b"\x93."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/data.pkl", program)
    with pytest.raises(ValueError, match=r"asks for 'collections\.OrderedDict\.fromkeys"):
        read_torch_file(path)


def test_other_contents_are_refused_by_name(saved):
    with pytest.raises(ValueError, match="holds 'epoch', a int: only a dictionary of tensors"):
        read_torch_file(saved({"weight": tensor((6,), (1,)), "epoch": 3}))
    with pytest.raises(ValueError, match="holds a list"):
        read_torch_file(saved([tensor((6,), (1,))]))
    with pytest.raises(ValueError, match="TorchScript"):
        read_torch_file(saved({}, **{"constants.pkl": b""}))
    with pytest.raises(ValueError, match="big-endian"):
        read_torch_file(saved({}, byteorder=b"big"))


@pytest.mark.parametrize(
    "value",
    [
        tensor((7,), (1,)),
        tensor((2,), (1,), offset=5),
        tensor((2,), (-1,), offset=1),
        tensor((2, 2), (3, 3)),
        tensor((6,), (1,), count=7),
        tensor((3,), (1,), count=3, kind="torch.HalfStorage"),
        # A number repeated until the memory is full.
        tensor((2**40,), (0,)),
    ],
)
def test_a_tensor_outside_its_storage_is_damage(saved, value):
    with pytest.raises(ValueError, match="damaged one"):
        read_torch_file(saved({"weight": value}))


def test_values_that_are_not_finite_are_named_by_tensor(saved):
    path = saved({"weight": tensor((6,), (1,))})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/data.pkl", pickled({"weight": tensor((6,), (1,))}))
        archive.writestr("weights/data/0", np.array([0, 1, np.nan, 3, 4, 5], "<f4").tobytes())
    with pytest.raises(ValueError, match=r"weights\.pth holds values that are not finite in weight"):
        read_torch_file(path)


@pytest.mark.parametrize(
    ("compression", "program", "message"),
    [
        # Puts an object into place 2,000,000,000 of the unpickler's memory.
        (zipfile.ZIP_STORED, b"\x80\x02}r" + (2 * 10**9).to_bytes(4, "little") + b".", "numbers an object 2000000000"),
        (zipfile.ZIP_DEFLATED, pickled({}), "is compressed, which PyTorch's files are not"),
    ],
)
def test_what_could_fill_the_memory_is_refused(tmp_path, compression, program, message):
    with zipfile.ZipFile(tmp_path / "weights.pth", "w", compression) as archive:
        archive.writestr("weights/data.pkl", program)
    with pytest.raises(ValueError, match=message):
        read_torch_file(tmp_path / "weights.pth")


def test_damaged_files(saved, tmp_path):
    path = saved({"weight": tensor((6,), (1,))})
    content = path.read_bytes()
    for damaged in (b"", b"not a file of weights", content[: len(content) // 2], pickled(5)):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"weights\.pth is no PyTorch file, or a damaged one"):
            read_torch_file(path)
    with pytest.raises(FileNotFoundError):
        read_torch_file(tmp_path / "nowhere.pth")
