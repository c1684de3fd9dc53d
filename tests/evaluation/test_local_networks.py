"""The manifest of a user's networks, and tiny ONNX networks run through onnxruntime."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from toys.hub_server import COMMIT, HubServer

from lisa_jax.evaluation.local_networks import ManifestError, load_network, local_file, read_manifest
from lisa_jax.evaluation.onnx_network import NetworkInput, prepare

ENTRY = {
    "format": "onnx",
    "size": [8, 8],
    "mean": [0.0, 0.0, 0.0],
    "std": [1.0, 1.0, 1.0],
    "channels": "rgb",
    "layout": "nchw",
}


def write_manifest(folder, **entries):
    """Write the manifest; each entry's sha256 is that of its file unless given."""
    for entry in entries.values():
        path = folder / entry["file"]
        weights = path / "model.safetensors" if path.is_dir() else path
        entry.setdefault("sha256", hashlib.sha256(weights.read_bytes()).hexdigest())
    (folder / "manifest.json").write_text(json.dumps(entries))


@pytest.fixture
def folder(tmp_path):
    """A folder of three checked files, one of each format, and an ONNX entry whose file is no ONNX."""
    (tmp_path / "alex.pth").write_bytes(b"alex")
    (tmp_path / "depth.onnx").write_bytes(b"not ONNX")
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip/model.safetensors").write_bytes(b"weights")
    write_manifest(
        tmp_path,
        alexnet={"file": "alex.pth", "format": "torch"},
        clip={"file": "clip", "format": "folder"},
        depth=ENTRY | {"file": "depth.onnx", "output": "inverse_depth"},
    )
    return tmp_path


def test_checked_files_are_found_with_their_identity(folder):
    found = local_file(folder, "alexnet")
    assert found.path == folder / "alex.pth"
    assert found.identity == {"file": "alex.pth", "sha256": hashlib.sha256(b"alex").hexdigest()}
    assert local_file(folder, "clip").path == folder / "clip"
    assert read_manifest(folder).keys() == {"alexnet", "clip", "depth"}


@pytest.mark.parametrize(("role", "name"), [("alexnet", "alex.pth"), ("clip", "clip/model.safetensors")])
def test_changed_and_lost_files_are_refused(folder, role, name):
    (folder / name).write_bytes(b"other weights")
    with pytest.raises(ManifestError, match=rf"{name} has the sha256 .* but manifest.json says .* for '{role}'"):
        local_file(folder, role)
    (folder / name).unlink()
    with pytest.raises(ManifestError, match=rf"{name}.*for '{role}', is missing"):
        local_file(folder, role)


def test_missing_entry_and_manifest_are_named(folder):
    with pytest.raises(ManifestError, match="has no entry 'pose': add one with file, sha256, format, size"):
        load_network(folder, "pose")
    (folder / "manifest.json").write_text("{")
    with pytest.raises(ManifestError, match="not valid JSON"):
        read_manifest(folder)
    (folder / "manifest.json").write_text('{"clip": 7}')
    with pytest.raises(ManifestError, match="entry 'clip' is 7, not an object"):
        read_manifest(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(ManifestError, match=r"manifest\.json is missing"):
        local_file(folder, "clip")


@pytest.mark.parametrize(
    ("role", "change", "message"),
    [
        ("vgg", {}, "entry 'vgg' is unknown"),
        ("depth", {"format": "torch"}, "'torch' is not supported, 'onnx' is"),
        ("depth", {"sha256": "abc"}, "not 64 small hexadecimal digits"),
        ("depth", {"sha": ""}, "unknown field 'sha'"),
        ("depth", {"size": [384]}, "size"),
        ("depth", {"size": [384, 0.5]}, "size"),
        ("depth", {"size": [10**9, 384]}, "size .* at most 8192"),
        ("depth", {"mean": [float("nan"), 0, 0]}, "mean"),
        ("depth", {"mean": [0.5]}, "mean"),
        ("depth", {"std": [1, 1, 0]}, "std"),
        ("depth", {"std": [1, 1, float("inf")]}, "std"),
        ("depth", {"mean": [0, 0, float("nan")]}, "mean"),
        ("depth", {"size": [10**6, 10**6]}, "size .* at most 8192"),
        ("depth", {"channels": "gray"}, "one of rgb, bgr"),
        ("depth", {"layout": "hwc"}, "one of nchw, nhwc"),
        ("depth", {"output": "logits"}, "one of inverse_depth, depth"),
        ("depth", {"output_names": "map"}, "output_names"),
        ("depth", {"mean": None}, "mean"),
        ("alexnet", {"size": [8, 8]}, "unknown field 'size'"),
        ("alexnet", {"file": 3}, "file 3"),
    ],
)
def test_entries_are_checked_by_field(folder, role, change, message):
    entries = json.loads((folder / "manifest.json").read_text())
    entries[role] = entries.get(role, {}) | change
    (folder / "manifest.json").write_text(json.dumps(entries))
    with pytest.raises(ManifestError, match=message):
        read_manifest(folder)


@pytest.mark.parametrize("field", ["file", "sha256", "format", "size", "mean", "std", "channels", "layout", "output"])
def test_absent_fields_are_named(folder, field):
    entries = json.loads((folder / "manifest.json").read_text())
    del entries["depth"][field]
    (folder / "manifest.json").write_text(json.dumps(entries))
    with pytest.raises(ManifestError, match=f"entry 'depth' has no '{field}'"):
        read_manifest(folder)


def test_pictures_are_resized_ordered_and_normalised():
    picture = np.zeros((4, 2, 3), np.uint8)
    picture[:] = (255, 0, 51)
    takes = NetworkInput((3, 5), (0.1, 0.2, 0.3), (0.5, 1.0, 2.0), "bgr", "nchw")
    pixels = prepare(picture, takes)
    assert pixels.shape == (1, 3, 3, 5) and pixels.dtype == np.float32
    np.testing.assert_allclose(pixels[0, :, 1, 2], [(0.2 - 0.1) / 0.5, -0.2, (1 - 0.3) / 2], rtol=1e-6)


# --- Through onnxruntime -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def build():
    """Write an ONNX network: (path, nodes, constants, outputs, shape of the input `x`, its type)."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    def write(path, nodes, constants, outputs, shape=(1, 3, 8, 8), dtype=TensorProto.FLOAT):
        graph = helper.make_graph(
            [helper.make_node(*node[:3], **node[3]) for node in nodes],
            "tiny",
            [helper.make_tensor_value_info("x", dtype, shape)],
            [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        )
        # An old version, which every onnxruntime reads.
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, path)

    write.FLOAT, write.FLOAT16, write.INT64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64
    return write


def first_channel(build, path, **options):
    """The network whose depth map is the first channel."""
    weights = np.float32([1, 0, 0]).reshape(1, 3, 1, 1)
    build(path, [("Conv", ["x", "w"], ["map"], {})], {"w": weights}, {"map": build.FLOAT}, **options)


def levels(*values):
    """A picture 8 x 8 of horizontal bands of grey, one value each."""
    rows = np.repeat(np.uint8(values), 8 // len(values))
    return np.broadcast_to(rows[:, None, None], (8, 8, 3))


@pytest.mark.parametrize(("channels", "expected"), [("rgb", 1.0), ("bgr", 0.2)])
def test_depth_network_sees_the_manifests_channels(build, tmp_path, channels, expected):
    first_channel(build, tmp_path / "depth.onnx", shape=("batch", 3, "height", "width"))
    write_manifest(tmp_path, depth=ENTRY | {"file": "depth.onnx", "output": "inverse_depth", "channels": channels})
    network = load_network(tmp_path, "depth")
    picture = np.zeros((16, 12, 3), np.uint8)
    picture[:] = (255, 0, 51)
    seen = network(np.stack([picture, np.zeros_like(picture)]))
    assert [(m.shape, m.dtype) for m in seen] == [((16, 12), np.float32)] * 2
    np.testing.assert_allclose(seen[0], expected, rtol=1e-6)
    np.testing.assert_allclose(seen[1], 0)
    assert network.file.identity["file"] == "depth.onnx"
    with pytest.raises(ValueError, match="uint8"):
        network(picture[None] / 255)


def test_segmentation_network_gives_labels(build, tmp_path):
    """Logits k v - k^2 / 2 of a grey v in 0..149 are highest at the class nearest to v."""
    classes = np.arange(150, dtype=np.float32)
    weights = np.stack([classes * 255, 0 * classes, 0 * classes], 1).reshape(150, 3, 1, 1)
    build(
        tmp_path / "segmentation.onnx",
        [("Conv", ["x", "w", "b"], ["logits"], {}), ("ArgMax", ["logits"], ["labels"], {"axis": 1, "keepdims": 0})],
        {"w": weights, "b": -(classes**2) / 2},
        {"logits": build.FLOAT, "labels": build.INT64},
    )
    pictures = np.stack([levels(0, 149), levels(3, 20)])
    entry = ENTRY | {"file": "segmentation.onnx"}
    for output in ("logits", "labels"):
        write_manifest(tmp_path, segmentation=entry | {"output": output, "output_names": [output]})
        seen = load_network(tmp_path, "segmentation")(pictures)
        np.testing.assert_array_equal(np.stack(seen), pictures[..., 0])
        assert seen[0].dtype == np.uint8
    write_manifest(tmp_path, segmentation=entry | {"output": "logits"})
    with pytest.raises(ValueError, match=r"segmentation\.onnx as 'segmentation': there are 2 outputs"):
        load_network(tmp_path, "segmentation")(pictures)


def test_pose_network_in_half_precision_and_channels_last(build, tmp_path):
    """Confidence of point k at a place is highest where the picture's grey is 10 k + 20."""
    greys = (10 * np.arange(18) + 20) / 255
    build(
        tmp_path / "pose.onnx",
        [
            ("ReduceMean", ["x"], ["grey"], {"axes": [3], "keepdims": 1}),
            ("Sub", ["grey", "levels"], ["error"], {}),
            ("Abs", ["error"], ["distance"], {}),
            ("Sub", ["one", "distance"], ["maps"], {}),
        ],
        {"levels": greys.astype(np.float16).reshape(1, 1, 1, 18), "one": np.float16([1])},
        {"maps": build.FLOAT16},
        shape=(1, 8, 8, 3),
        dtype=build.FLOAT16,
    )
    write_manifest(tmp_path, pose=ENTRY | {"file": "pose.onnx", "output": "heatmaps", "layout": "nhwc"})
    picture = np.full((8, 8, 3), 250, np.uint8)
    places = np.random.default_rng(0).permutation(64)[:18]
    picture.reshape(64, 3)[places] = (10 * np.arange(18) + 20)[:, None]
    (people,) = load_network(tmp_path, "pose")(picture[None])
    assert people.shape == (1, 18, 3) and people.dtype == np.float32
    np.testing.assert_allclose(people[0, :, 0], places % 8 + 0.5)
    np.testing.assert_allclose(people[0, :, 1], places // 8 + 0.5)
    assert (people[0, :, 2] > 0.99).all()


def test_files_that_do_not_fit_the_manifest_are_refused(build, folder, tmp_path):
    with pytest.raises(ValueError, match=r"depth\.onnx cannot be opened as one ONNX file"):
        load_network(folder, "depth")
    entry = ENTRY | {"file": "depth.onnx", "output": "inverse_depth"}
    first_channel(build, tmp_path / "depth.onnx", shape=(1, 3, 16, 8))
    write_manifest(tmp_path, depth=dict(entry))
    with pytest.raises(
        ValueError, match=r"takes \(1, 3, 16, 8\), but the manifest's size and layout give \(1, 3, 8, 8\)"
    ):
        load_network(tmp_path, "depth")
    first_channel(build, tmp_path / "depth.onnx")
    write_manifest(tmp_path, depth=entry | {"output_names": ["depth"]})
    with pytest.raises(ValueError, match="no output 'depth': it has map"):
        load_network(tmp_path, "depth")


def test_without_onnxruntime_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"pip install 'lisa_jax\[onnx\]'"):
        load_network(folder, "depth")


# The client reads its variables when it is imported, so it runs in a process of its own.
FIND = """
import json, sys
from lisa_jax.evaluation.local_networks import local_file
def found(folder, role):
    try:
        file = local_file(folder, role)
    except ValueError as error:
        return f"refused: {error}"
    return [str(file.path), file.identity]
print(json.dumps([found(*asked) for asked in json.loads(sys.argv[1])]))
"""


def found_on_hub(hub, asked, tmp_path):
    env = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    env |= {"HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1,localhost"}
    env |= {"PYTHONPATH": str(Path(__file__).parents[2]), "HF_ENDPOINT": hub.url}
    argv = [sys.executable, "-c", FIND, json.dumps(asked)]
    done = subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_networks_and_manifests_may_lie_on_the_hub(tmp_path):
    clip, nets, here, wrong = (tmp_path / name for name in ("clip", "nets", "here", "wrong"))
    for folder in (clip, nets / "depth", here, wrong):
        folder.mkdir(parents=True)
    (clip / "config.json").write_text("{}")
    (clip / "model.safetensors").write_bytes(b"weights")
    (nets / "depth" / "dpt.onnx").write_bytes(b"graph")
    (nets / "alex.pth").write_bytes(b"alex")
    weights, graph, alex = (hashlib.sha256(data).hexdigest() for data in (b"weights", b"graph", b"alex"))
    of_clip = {"file": "an-owner/clip@v1", "sha256": weights, "format": "folder"}
    of_depth = ENTRY | {"sha256": graph, "output": "inverse_depth"}
    of_alexnet = {"file": "alex.pth", "sha256": alex, "format": "torch"}
    far = {"clip": of_clip, "depth": of_depth | {"file": "an-owner/nets/depth/dpt.onnx@v1"}}
    near = {"clip": of_clip, "depth": of_depth | {"file": "depth/dpt.onnx"}, "alexnet": of_alexnet}
    none = {"depth": of_depth | {"file": "an-owner/nets/dept.onnx"}}
    for folder, manifest in ((here, far), (nets, near), (wrong, {"clip": of_clip | {"sha256": "0" * 64}} | none)):
        (folder / "manifest.json").write_text(json.dumps(manifest))
    asked = [(str(here), "clip"), (str(here), "depth"), (str(wrong), "clip"), (str(wrong), "depth")]
    asked += [("an-owner/nets", role) for role in near] + [("an-owner/clip", "clip"), ("an-owner/none", "clip")]
    with HubServer({"an-owner/clip": clip, "an-owner/nets": nets}) as hub:
        found = found_on_hub(hub, asked, tmp_path)
        fetched = [path for method, path, _ in hub.requests if method == "GET" and "alex" in path]
    assert Path(found[0][0]).name == COMMIT and found[0][1] == {"file": "an-owner/clip@v1", "sha256": weights}
    assert found[1][1] == {"file": "an-owner/nets/depth/dpt.onnx@v1", "sha256": graph}
    assert f"has the sha256 {weights}, but manifest.json says {'0' * 64} for 'clip'" in found[2]
    assert "dept.onnx, which manifest.json names for 'depth', is missing" in found[3]
    assert found[4] == found[0] and found[5][0] == found[1][0]
    assert found[5][1] == {"file": f"an-owner/nets/depth/dpt.onnx@{COMMIT}", "sha256": graph}
    assert Path(found[6][0]).read_bytes() == b"alex" and len(fetched) == 1
    assert "manifest.json is missing" in found[7]
    assert "an-owner/none is neither a folder here nor a repository" in found[8]
