"""The mesh and the rules that split parameters over it, on eight fake devices in a process of their own."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from lisa_jax.parallel.sharding import REPLICATED, check_batch_size, make_mesh, placement, shardings

# Several runs in one process: importing JAX takes longer than each of them.
SPLIT_RUNS = """
import dataclasses, json, sys
import jax, numpy as np
from pathlib import Path
from jax.sharding import PartitionSpec as P
from toys.linear_map import config, experiment
from lisa_jax.training.experiment import Report
from lisa_jax.training.loop import fit

seen = {}

def look(params, frozen):
    seen["frozen"] = frozen["map"].addressable_shards[0].data.shape
    return Report({"validation/loss": 1.0})

def run(name, steps=8, **mesh):
    settings = config(num_steps=steps)
    settings.optimizer.schedule = "constant"
    settings.mesh.update(mesh)
    state = fit(toy, settings, Path(sys.argv[1]) / name)
    mu = state.opt_state[1][0].mu["side"]["map"]
    return {
        "params": np.asarray(state.params["side"]["map"]).tolist(),
        "shards": {"param": state.params["side"]["map"].addressable_shards[0].data.shape,
                   "moment": mu.addressable_shards[0].data.shape, "frozen": seen["frozen"]},
    }

toy = dataclasses.replace(experiment(evaluate=look), rules=((r"map$", P("fsdp", "tensor")),))
whole = run("whole")
split = run("split", fsdp=4, tensor=2, split_frozen=True)
half = run("half", fsdp=2)
run("resumed", fsdp=4, steps=4)
resumed = run("resumed", tensor=2, split_frozen=True)
print(json.dumps({"whole": whole, "split": split, "half": half, "resumed": resumed}))
"""

FACTORED_RUN = """
import dataclasses, json, shutil, sys
import jax, jax.numpy as jnp, numpy as np
from pathlib import Path
from jax.sharding import PartitionSpec as P
from toys.linear_map import config, experiment
from lisa_jax.training.loop import fit
from lisa_jax.training.state import device_bytes

def init(start, key):
    return {"side": {"map": jnp.eye(4), "wide": 0.1 * jax.random.normal(key, (128, 136))}}

def loss(params, frozen, inputs, *, key, step):
    side = params["side"]
    return toy.loss_at(0)({"side": {"map": side["wide"][:4, :4] + side["map"]}}, frozen, inputs, key=key, step=step)

def run(workdir, **mesh):
    settings = config(save_every=4)
    settings.optimizer.update(name="adafactor", schedule="linear")
    settings.mesh.update(mesh)
    return fit(split, settings, workdir)

toy, folder = experiment(), Path(sys.argv[1])
rules = ((r"map$", P()), (r"wide$", P("fsdp", "tensor")))
split = dataclasses.replace(toy, init=init, loss_at=lambda step: loss, rules=rules)
whole, state = run(folder / "whole"), run(folder / "split", fsdp=2, tensor=2)
shutil.rmtree(folder / "split" / "checkpoints" / "8")
resumed = run(folder / "split", fsdp=2, tensor=2)

def shard(tree):
    return tree["side"]["wide"].addressable_shards[0].data.shape

def held(tree):
    return sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(tree))

slots = state.opt_state[1][0]
print(json.dumps({
    "said": list(device_bytes(state, {}).values()),
    "held": [0, *map(held, (state.params, state.opt_state, state.ema))],
    "shards": [shard(tree) for tree in (state.params, state.ema, slots.v_row, slots.v_col)],
    "resumed": jax.tree.all(jax.tree.map(lambda a, b: np.array_equal(a, b), state, resumed)),
    "apart": max(jax.tree.leaves(jax.tree.map(lambda a, b: float(abs(a - b).max()), whole.params, state.params))),
}))
"""


@pytest.fixture(scope="module")
def runs(command_env, fake_devices, tmp_path_factory):
    """Name -> parameters and shapes of shards at the end of a toy run on eight devices, split in its way."""
    argv = [sys.executable, "-c", SPLIT_RUNS, str(tmp_path_factory.mktemp("toy"))]
    done = subprocess.run(argv, env=command_env | fake_devices(8), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("name", "shards"),
    [
        ("whole", {"param": [4, 4], "moment": [4, 4], "frozen": [4, 4]}),
        ("split", {"param": [1, 2], "moment": [1, 2], "frozen": [1, 2]}),
        ("half", {"param": [2, 4], "moment": [2, 4], "frozen": [4, 4]}),
        ("resumed", {"param": [4, 2], "moment": [4, 2], "frozen": [4, 2]}),
    ],
)
def test_every_split_trains_the_same_and_each_device_holds_its_part(runs, name, shards):
    """`resumed` went on from half way with another shape of mesh."""
    assert runs[name]["shards"] == shards
    np.testing.assert_allclose(runs[name]["params"], runs["whole"]["params"], rtol=0, atol=1e-6)


def test_means_over_rows_and_columns_are_on_every_device_and_a_resume_is_exact(command_env, fake_devices, tmp_path):
    argv = [sys.executable, "-c", FACTORED_RUN, str(tmp_path)]
    done = subprocess.run(argv, env=command_env | fake_devices(8), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["shards"] == [[64, 68], [64, 68], [128], [136]]
    assert found["said"] == found["held"]
    assert found["resumed"] and found["apart"] < 1e-6


def test_rules_are_tried_in_order_on_the_last_axes_and_leave_alone_what_does_not_divide():
    mesh = make_mesh(devices=[jax.devices()[0]])
    tree = {"a": {"kernel": jnp.zeros((3, 3, 8, 16)), "bias": jnp.zeros(16)}, "count": jnp.int32(0)}
    rules = ((r"bias$", P()), (r"kernel$", P("fsdp", "tensor")))
    assert shardings(tree, rules, mesh)["a"]["kernel"].spec == P(None, None, None, None)
    with pytest.raises(ValueError, match=r"No sharding rule for parameter 'a/kernel' of shape \(3, 3, 8, 16\)"):
        shardings(tree, rules[:1], mesh)
    with pytest.raises(ValueError, match=r"'a/bias' has more axes"):
        shardings(tree, ((r".", P("fsdp", "tensor")),), mesh)
    assert shardings(tree, REPLICATED, mesh)["count"].is_fully_replicated


@pytest.mark.parametrize("sizes", [{"data": 2}, {"fsdp": 3}, {"tensor": 0}, {"data": 0}])
def test_a_mesh_that_does_not_fit_the_devices_is_refused(sizes):
    with pytest.raises(ValueError, match=r"mesh data="):
        make_mesh(**sizes, devices=[jax.devices()[0]])


def test_a_batch_that_does_not_split_is_refused():
    with pytest.raises(ValueError, match=r"batch_size 3 is not a multiple of accumulate \(2\)"):
        check_batch_size(3, 2, make_mesh(devices=[jax.devices()[0]]))


def test_tensors_are_placed_by_their_path_as_they_are_read():
    mesh = make_mesh(devices=[jax.devices()[0]])
    put = placement(((r"mid_block/.*kernel$", P("fsdp", "tensor")),), mesh)
    placed = put("mid_block/conv/kernel", np.ones((4, 4), np.float32))
    assert isinstance(placed, jax.Array) and placed.sharding.mesh == mesh
    with pytest.raises(ValueError, match="No sharding rule for parameter 'other/kernel'"):
        put("other/kernel", np.ones((4, 4), np.float32))
