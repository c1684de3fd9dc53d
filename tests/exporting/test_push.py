"""Exported folders pushed to a hub on loopback, by the client as it is, in a process of its own."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from toys.hub_server import HubServer

from lisa_jax.exporting.push import check_repository

# Pushes {network: folder} to each repository, in this format, and prints its address or why not.
PUSH = """
import json, sys, time
from pathlib import Path
from lisa_jax.exporting.push import push
# The client waits for seconds before it tries again.
time.sleep = lambda seconds: None
def pushed(repository, folders, weights="diffusion_pytorch_model.safetensors", module="temporal_controlnet.py"):
    try:
        folders = {name: Path(folder) for name, folder in folders.items()}
        return push(folders, repository, True, weights, module)
    except ValueError as error:
        return f"refused: {error}"
print(json.dumps([pushed(*each) for each in json.loads(sys.argv[1])]))
"""


OTHERS = ("notes.txt", ".lock", "pose.safetensors")


def pushed(asked, tmp_path, **env):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    env = clean | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"} | env
    env["PYTHONPATH"] = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", PUSH, json.dumps(asked)]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def write_export(folder, license="mit"):
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "diffusion_pytorch_model.safetensors").write_bytes(bytes(range(256)) * 1000)
    (folder / "README.md").write_text(f"---\nlicense: {license}\n---\n# A network\n")
    (folder / "samples.png").write_bytes(b"a picture")
    (folder / "temporal_controlnet.py").write_text("# In PyTorch.")
    # What an earlier export in the other layout left, and what others keep there.
    (folder / "pose.safetensors").write_bytes(b"another layout")
    (folder / "notes.txt").write_text("not for everybody")
    (folder / ".lock").write_text("")
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in OTHERS}


def test_what_an_export_wrote_is_pushed_and_nothing_else(tmp_path):
    export, odd, one = str(tmp_path / "export"), str(tmp_path / "odd"), "an-owner/one"
    wrote = write_export(tmp_path / "export")
    write_export(tmp_path / "odd", license="my own")
    asked = [(one, {"pose": export}), (one, {"pose": export}), ("an-owner/two", {"pose": export, "seg": export})]
    asked += [("an-owner/odd", {"pose": odd}), ("an-owner/file", {"pose": export}, None, None)]
    with HubServer({}) as hub:
        first, again, two, refused, _ = pushed(asked, tmp_path, HF_ENDPOINT=hub.url, HF_TOKEN="token")
        (stranger,) = pushed(asked[:1], tmp_path, HF_ENDPOINT=hub.url)
    assert first == again == f"{hub.url}/{one}" and two == f"{hub.url}/an-owner/two"
    card = {name: wrote[name] for name in ("README.md", "samples.png")}
    assert hub.pushed == {
        one: wrote,
        "an-owner/file": card | {"pose.safetensors": b"another layout"},
        "an-owner/two": {f"{place}/{name}": content for place in ("pose", "seg") for name, content in wrote.items()},
    }
    assert hub.made[one]["visibility"] == "private"
    assert '"license" must be one of' in refused and f"the export itself is kept in {odd}" in refused
    assert f"{one} was not pushed" in stranger and "(401); log in by `hf auth login`" in stranger
    (gone,) = pushed(asked[:1], tmp_path, HF_ENDPOINT=hub.url)
    assert f"{one} was not pushed to {hub.url}: " in gone and "refused" in gone
    (offline,) = pushed(asked[:1], tmp_path, HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE is set" in offline
    assert all("\n" not in message for message in (refused, stranger, gone, offline))


def test_a_hub_that_fails_while_an_export_is_pushed_is_told_in_one_sentence(tmp_path):
    export, other = str(tmp_path / "export"), tmp_path / "other"
    write_export(tmp_path / "export")
    write_export(other)
    (other / "diffusion_pytorch_model.safetensors").write_bytes(b"other weights")
    # By repository: what fails, how, and what is told of it. The first two are asked about none in their addresses.
    stages = {
        "made": ("/api/repos/create", 503, "says 'status 503'"),
        "card": ("/api/validate-yaml", 502, "does not answer as a hub does"),
        "list": ("/an-owner/list/preupload/", 403, "does not let you write there (403); log in by `hf auth login`"),
        "batch": ("/an-owner/batch.git/", 500, "says 'status 500'"),
        "put": (
            f"/put/{hashlib.sha256(b'other weights').hexdigest()}",
            504,
            ".safetensors' to the Hub. Server error '504",
        ),
        "commit": ("/an-owner/commit/commit/", 429, "says 'status 429'"),
        # It takes the question, and never answers.
        "silent": ("/api/models/an-owner/silent", 0, "timed out"),
    }
    asked = [(f"an-owner/{name}", {"pose": str(other) if name == "put" else export}) for name in stages]
    with HubServer({}, answers={part: (status, {}) for part, status, _ in list(stages.values())[2:]}) as hub:
        hub.once = {part: (status, {}) for part, status, _ in list(stages.values())[:2]}
        refused = pushed(asked, tmp_path, HF_ENDPOINT=hub.url, HF_TOKEN="token", HF_HUB_ETAG_TIMEOUT="2")
    for name, (_, _, told), message in zip(stages, stages.values(), refused, strict=True):
        assert message.startswith(f"refused: an-owner/{name} was not pushed") and told in message, message
        assert "; the export itself is kept in " in message and "\n" not in message
    assert not hub.pushed


@pytest.mark.parametrize("name", ["name", "a/b/c", "an owner/name", "owner/name@v1"])
def test_a_name_that_no_repository_can_have_is_refused(name):
    with pytest.raises(ValueError, match="owner/name"):
        check_repository(name)
