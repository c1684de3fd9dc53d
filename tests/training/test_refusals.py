"""What stops a run, and what it says."""

import dataclasses
import json
import os
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys.crash import saved_steps

from lisa_jax import metrics
from lisa_jax.data.embedded.openmoji import CorruptRecordError
from lisa_jax.data.pipeline import Batches
from lisa_jax.training.checkpoint import Checkpoints
from lisa_jax.training.finite import NonFiniteLossError
from lisa_jax.training.loop import fit


def spoil_row_at(bad_step):
    def before_step(step, batch):
        if step == bad_step:
            batch[2] = np.inf
        return batch

    return before_step


def nan_gradient_at(toy, bad_step):
    def loss(params, frozen, inputs, *, key, step):
        value, found = toy.loss(params, frozen, inputs, key=key, step=step)
        # sqrt has an infinite slope at 0: the value stays finite, its gradient is 0 * inf.
        zero = jnp.sum(jnp.square(params["side"]["map"])) * jnp.where(step == bad_step, 0.0, 1.0)
        return value + 0.0 * jnp.sqrt(zero), found

    return loss


@pytest.mark.parametrize(("bad_step", "accumulate"), [(4, 1), (5, 2), (7, 1)], ids=["mid", "before a save", "last"])
def test_non_finite_loss_stops_with_step_key_and_noise_level(toy, tmp_path, bad_step, accumulate):
    config = toy.config(accumulate=accumulate)
    with pytest.raises(NonFiniteLossError) as stop:
        fit(toy.experiment(spoil_row_at(bad_step)), config, tmp_path)
    message = str(stop.value)
    assert f"Step {bad_step} is not finite: loss nan" in message
    key = jax.random.key_data(jax.random.fold_in(jax.random.split(jax.random.key(config.seed))[1], bad_step))
    assert f"key {np.asarray(key)}" in message
    (noise_level,) = re.search(r"in 1 of 8 examples, at noise levels \[(.*?)\]", message).groups()
    assert 0 < float(noise_level) < 1
    assert message.endswith("Its data are not finite either: x of row 2; prepare them again.")
    assert saved_steps(tmp_path) == [step for step in (2, 4, 6) if step <= bad_step]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert all(line["step"] <= bad_step and np.isfinite(line["loss"]) for line in lines if "loss" in line)


def test_non_finite_gradient_of_a_finite_loss_stops(toy, tmp_path):
    with pytest.raises(
        NonFiniteLossError, match=r"Step 3 is not finite: loss [\d.]+, grad_norm nan.*at noise levels \["
    ) as whole:
        fit(toy.experiment(loss_fn=nan_gradient_at(toy, 3)), toy.config(), tmp_path / "whole")
    assert str(whole.value).endswith("Its batch is finite, and the steps before were: lower the learning rate.")
    assert saved_steps(tmp_path / "whole") == [2]
    # The loss that it tells is a mean, in however many parts it was computed.
    with pytest.raises(NonFiniteLossError) as parts:
        fit(toy.experiment(loss_fn=nan_gradient_at(toy, 3)), toy.config(accumulate=4), tmp_path / "parts")
    told = [float(re.search(r"loss ([\d.]+)", str(error.value))[1]) for error in (whole, parts)]
    assert told[1] < 2 * told[0]


def test_parameters_that_overflow_in_the_update_are_not_saved(toy, tmp_path):
    config = toy.config()
    config.optimizer.update(learning_rate=1e38, warmup_steps=0, weight_decay=10.0)
    with pytest.raises(NonFiniteLossError, match=r"Step 0 .*param_norm inf.* the update is not: lower the"):
        fit(toy.experiment(), config, tmp_path)
    assert saved_steps(tmp_path) == []


def test_the_learning_rate_is_not_blamed_for_a_base_that_overflows(toy, tmp_path):
    def overflows(params, frozen, inputs, *, key, step):
        value, found = toy.loss(params, frozen, inputs, key=key, step=step)
        return value / 0.0, found

    with pytest.raises(
        NonFiniteLossError, match=r"Nothing has been learned yet, so the learning rate is not the cause"
    ):
        fit(toy.experiment(loss_fn=overflows), toy.config(), tmp_path / "at once")

    def gap_overflows(params, frozen, inputs, *, key, step):
        value, found = overflows(params, frozen, inputs, key=key, step=step)
        return value, found._replace(means=found.means | {"gap_power": metrics.scalar(np.inf)})

    with pytest.raises(
        NonFiniteLossError, match=r"The frozen network's own prediction is not finite, though its batch"
    ):
        fit(toy.experiment(loss_fn=gap_overflows), toy.config(), tmp_path / "prior")


class DamagedSource:
    """Sixty examples, of which one cannot be read."""

    def __len__(self):
        return 60

    def __getitem__(self, index):
        if index == 41:
            raise CorruptRecordError("Record 41 is damaged.")
        return {"image": np.zeros((2, 2, 3), np.uint8), "caption": "", "category": 0}


def test_a_damaged_record_stops_the_loop(toy, tmp_path):
    pipeline = Batches(DamagedSource(), lambda example: {"x": np.ones(4, np.float32)}, 8, seed=0)
    experiment = dataclasses.replace(toy.experiment(), batches=pipeline)
    with pytest.raises(CorruptRecordError, match=r"Record 41 is damaged\."):
        fit(experiment, toy.config(num_steps=100, log_every=1, save_every=1), tmp_path)
    assert 0 < len((tmp_path / "metrics.jsonl").read_text().splitlines()) < 9


def test_a_batch_that_does_not_split(toy, tmp_path):
    with pytest.raises(ValueError, match="batch_size 6 is not a multiple of accumulate"):
        fit(toy.experiment(), toy.config(batch_size=6, accumulate=4), tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_unknown_schedule(toy, tmp_path):
    config = toy.config()
    config.optimizer.schedule = "step"
    with pytest.raises(ValueError, match=r"Unknown optimizer.schedule 'step': use one of constant, linear, cosine"):
        fit(toy.experiment(), config, tmp_path)


def test_a_pipe_among_checkpoints_is_not_waited_for(tmp_path):
    checkpoint = tmp_path / "checkpoints" / "2"
    checkpoint.mkdir(parents=True)
    os.mkfifo(checkpoint / "_CHECKPOINT_METADATA")
    with pytest.raises(ValueError, match="is a named pipe, but must be a file"):
        Checkpoints(tmp_path, 1, {})
