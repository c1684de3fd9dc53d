"""The benchmark against PyTorch compares the same networks, and says what it measured."""

import importlib.util
import json
import math
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest
import torch

from lisa_jax.checkpoints.checkpoint import open_checkpoint
from lisa_jax.checkpoints.controlnet import CONTROLNET
from lisa_jax.checkpoints.unet import UNET
from lisa_jax.families.presets import preset_of
from lisa_jax.families.unet_control import controlnet_side
from lisa_jax.models.controlnet import controlnet_config_from_unet

ROOT = Path(__file__).parents[2]


def benchmark(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def reference():
    return benchmark("torch_reference")


@pytest.mark.parametrize("size", ["embedded", "sd21"])
def test_both_have_the_same_networks(reference, size):
    with torch.device("meta"):
        theirs = [sum(leaf.numel() for leaf in network.parameters()) for network in reference.make_networks(size)]
    base = open_checkpoint(ROOT / "lisa_jax" / "assets" / "openmoji_base")
    unet = UNET.config(base, "unet") if size == "embedded" else preset_of("sd21").unet
    side = controlnet_config_from_unet(unet, reference.SIZES[size]["condition_channels"])
    hook = f"down_{reference.SIZES[size]['hook']}"
    network = controlnet_side(side, unet.out_channels)
    decoder = jax.eval_shape(lambda key: network.init_decoder(key, hook), jax.random.key(0))
    ours = [
        sum(math.prod(entry.shape) for entry in component.key_table(config).values())
        for component, config in ((UNET, unet), (CONTROLNET, side))
    ]
    assert theirs == [*ours, sum(leaf.size for leaf in jax.tree.leaves(decoder))]


@pytest.mark.parametrize("passes", ["full", "plain"])
def test_a_step_of_the_reference_trains_the_side_network_alone(reference, monkeypatch, passes):
    tiny = reference.SIZES["embedded"] | {"latent_size": 8, "condition_size": 8}
    monkeypatch.setitem(reference.SIZES, "embedded", tiny)
    made = reference.make_networks("embedded")
    monkeypatch.setattr(reference, "make_networks", lambda size: made)
    before = [[leaf.clone() for leaf in network.parameters()] for network in made]
    step = reference.make_step("embedded", 2, passes, torch.float32, "cpu", False, False)
    assert len(reference.measure(step, warmup=1, steps=2, device="cpu")) == 2
    changed = [
        any(not torch.equal(leaf, old) for leaf, old in zip(network.parameters(), leaves, strict=True))
        for network, leaves in zip(made, before, strict=True)
    ]
    assert changed == [False, True, passes == "full"]


def test_both_get_the_same_batch_and_the_ratio_is_told(monkeypatch, capsys):
    compare = benchmark("compare_torch")
    commands = []

    def run(command, **_):
        commands.append(command)
        out = next((word.removeprefix("--out=") for word in command if word.startswith("--out=")), None)
        if out is None:
            found = {"images_per_second": 10.0, "step_ms_median": 400.0, "peak_gib": None}
            return SimpleNamespace(stdout="a warning\n" + json.dumps(found) + "\n")
        found = {"images_per_second_per_device": 25.0, "step_ms": {"p50": 160.0}, "peak_bytes": 3 * 2**30}
        Path(out).write_text(json.dumps(found))

    monkeypatch.setattr(compare.subprocess, "run", run)
    monkeypatch.setattr(
        compare.sys, "argv", ["compare_torch.py", "--size=embedded", "--batch=4", "--steps=7", "--compile"]
    )
    compare.main()
    ours, theirs = commands
    assert {"--config.batch_size=4", "--steps=7"} <= set(ours) and "--compile" not in ours
    assert {"--batch=4", "--steps=7", "--size=embedded", "--dtype=float32", "--compile"} <= set(theirs)
    table = capsys.readouterr().out.splitlines()
    assert table[1].split() == ["lisa_jax", "25.00", "160.0", "3.0"]
    assert table[2].split() == ["torch", "10.00", "400.0", "unknown"]
    assert table[3] == "lisa_jax / torch: 2.50 x the images a second"
