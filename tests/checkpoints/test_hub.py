"""Checkpoints by their names on the hub: the client as it is, in processes of its own, against a server on loopback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from toys.hub_server import COMMIT, HubServer

from lisa_jax.checkpoints.checkpoint import open_checkpoint
from lisa_jax.files.hub import hub_file, hub_name

# Prints, for each name on the command line, the folder or why there is none; components behind a ! are left out.
OPEN = """
import json, sys
from lisa_jax.checkpoints.checkpoint import CheckpointError, open_checkpoint
def opened(spec):
    try:
        name, *left_out = spec.split("!")
        return str(open_checkpoint(name, left_out).folder)
    except CheckpointError as error:
        return f"refused: {error}"
print(json.dumps([opened(spec) for spec in sys.argv[1:]]))
"""
UNET = "diffusion_pytorch_model"
# Also of components that no family has yet: what a pipeline consists of is read off its index.
PARTS = {"unet": UNET, "vae": UNET, "text_encoder": "model", "text_encoder_2": "model", "safety_checker": "model"}
PIECES = f"/lfs/an-owner/network/{COMMIT}/{UNET}.safetensors"


def write_base(folder, endings=("",)):
    """A repository with what is read of a base, and with what is not; components' weights under these endings."""
    tensors = {"a": np.arange(100, dtype=np.float32)}
    for part, stem in PARTS.items():
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text(json.dumps({"part": part}))
        (folder / part / f"{stem}.bin").write_bytes(b"pickle")
        for ending in endings:
            save_file(tensors, folder / part / f"{stem}{ending}.safetensors")
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "merges.txt").write_text("a b\n")
    (folder / "tokenizer" / "spiece.model").write_bytes(b"pieces")
    index = {"_class_name": "SomePipeline", **{part: ["a_library", "AClass"] for part in (*PARTS, "tokenizer")}}
    (folder / "model_index.json").write_text(json.dumps(index | {"text_encoder_3": [None, None]}))
    (folder / "README.md").write_text("---\nlicense: openrail++\n---\n")
    (folder / "LICENSE.md").write_text("The terms.")
    (folder / "whole.ckpt").write_bytes(b"pickle")
    save_file(tensors, folder / "whole.safetensors")
    return folder


def opened(specs, tmp_path, **env):
    """What the client in a process of its own makes of names."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    env = (
        clean | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1,localhost"} | env
    )
    env["PYTHONPATH"] = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", OPEN, *specs], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def files(folder):
    return {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()}


def test_a_name_of_the_hub_is_fetched_once_with_what_is_read_alone(tmp_path):
    repositories = {
        "an-owner/base": write_base(tmp_path / "served", ("", ".fp16")),
        "an-owner/lean": tmp_path / "served",
        "an-owner/half": write_base(tmp_path / "half", (".fp16",)),
        "an-owner/gated": write_base(tmp_path / "gated"),
        # The client writes 10 MB at once.
        "an-owner/network": tmp_path / "network",
    }
    (tmp_path / "network").mkdir()
    (tmp_path / "network" / "config.json").write_text("{}")
    save_file({"a": np.arange(3_000_000, dtype=np.float32)}, tmp_path / "network" / f"{UNET}.safetensors")
    names = [
        "an-owner/network",
        "an-owner/base@v1",
        "an-owner/lean!text_encoder_2",
        "an-owner/half",
        "an-owner/gated",
        "an-owner/bas",
        "an-owner/base@v2",
        "an-owner/closed",
        "an-owner/half/whole.safetensors@v1",
        "an-owner/half/hole.safetensors",
    ]
    read = {part: stem for part, stem in PARTS.items() if part != "safety_checker"}
    weights = {f"{part}/{stem}" for part, stem in read.items()}
    texts = {f"{part}/config.json" for part in read}
    texts |= {"model_index.json", "tokenizer/merges.txt", "tokenizer/spiece.model", "README.md", "LICENSE.md"}
    with HubServer(
        repositories,
        gated=("an-owner/gated",),
        answers={"/an-owner/closed/": (403, {})},
        breaks=("an-owner/network",),
    ) as hub:
        found = opened(names, tmp_path, HF_ENDPOINT=hub.url)
        network, base, lean, half, gated, misspelt, revision, closed, one, none = found
        # Whether it answers, and the client's own request.
        assert sum("an-owner/network/revision" in path for _, path, _ in hub.requests) == 2
        # The download that broke goes on from where it was.
        transfers = [asked for method, path, asked in hub.requests if (method, path) == ("GET", PIECES)]
        assert transfers == [None, f"bytes={10 * 2**20}-"]
        (with_token,) = opened(["an-owner/gated"], tmp_path, HF_ENDPOINT=hub.url, HF_TOKEN="token")
    assert Path(base).name == COMMIT
    assert files(base) == texts | {f"{name}.safetensors" for name in weights}
    assert files(lean) == {name for name in files(base) if not name.startswith("text_encoder_2/")}
    assert f"snapshots/{COMMIT}/whole.safetensors holds neither a Stable Diffusion" in one
    assert none.endswith("an-owner/half has no file hole.safetensors: mind the spelling.")
    assert files(half) == texts | {"whole.safetensors"} | {f"{name}.fp16.safetensors" for name in weights}
    assert files(with_token) == files(base)
    components = {"unet": UNET, "vae": UNET, "text_encoder": "model", "tokenizer": None}
    served = open_checkpoint(repositories["an-owner/base"])
    assert open_checkpoint(base).fingerprint(components) == served.fingerprint(components)

    assert open_checkpoint(network).tensors()["a"].read()[-1] == 2_999_999

    assert "an-owner/gated is gated: accept its terms" in gated and "hf auth login" in gated
    assert "an-owner/bas is neither a folder here nor a repository" in misspelt
    assert revision.endswith("an-owner/base is there, but has no revision v2.")
    assert "an-owner/closed" in closed and "refuses it (status 403): log in" in closed
    assert all("\n" not in message for message in (gated, misspelt, revision, closed))

    # The server is gone.
    offline = opened(["an-owner/base@v1", "an-owner/other"], tmp_path, HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="1")
    assert offline[0] == base and "HF_HUB_OFFLINE is set" in offline[1]
    gone = opened(["an-owner/base@v1", "an-owner/other"], tmp_path, HF_ENDPOINT=hub.url)
    assert gone[0] == base and f"{hub.url} cannot be reached" in gone[1]


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("owner/name", "owner/name"),
        ("owner/name@refs/pr/1", "owner/name"),
        ("/owner/name", None),
        ("./name", None),
        ("a/b/c", None),
        ("name", None),
        # A folder of that name wins, and so does one that it would lie in.
        ("bases/sd21", None),
        ("bases/missing", None),
        ("owner/missing.safetensors", None),
        ("owner/missing.parquet", None),
        ("owner/name/a.safetensors", None),
    ],
)
def test_what_is_a_name_of_the_hub(tmp_path, monkeypatch, spec, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bases" / "sd21").mkdir(parents=True)
    assert hub_name(spec) == name


@pytest.mark.parametrize(
    ("spec", "file"),
    [
        ("owner/name/a.safetensors", ("owner/name", "a.safetensors")),
        ("owner/name/v1/a-b.safetensors@main", ("owner/name@main", "v1/a-b.safetensors")),
        ("owner/name/../a.safetensors", None),
        ("owner/name/a.ckpt", None),
        ("owner/a.safetensors", None),
        ("bases/missing/a.safetensors", None),
    ],
)
def test_what_is_a_file_of_the_hub(tmp_path, monkeypatch, spec, file):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bases").mkdir()
    assert hub_file(spec) == file


def test_a_file_of_the_hub_is_fetched_without_other_weights(tmp_path):
    served = {"an-owner/base": write_base(tmp_path / "served")}
    with HubServer(served) as hub:
        opened(["an-owner/base/whole.safetensors"], tmp_path, HF_ENDPOINT=hub.url)
        gets = [path for method, path, _ in hub.requests if method == "GET" and path.startswith("/lfs/")]
    assert gets == [f"/lfs/an-owner/base/{COMMIT}/whole.safetensors"]
