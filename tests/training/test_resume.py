"""Invariant: k steps, interruption, resume, k steps equals 2k steps, bit for bit, whatever was damaged meanwhile."""

import dataclasses
import os
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from toys.crash import Crash, crash_at, saved_steps

from lisa_jax.parallel import cluster
from lisa_jax.parallel.cluster import LostProcessError
from lisa_jax.parallel.sharding import make_mesh, replicated
from lisa_jax.training import checksums
from lisa_jax.training.checkpoint import Checkpoints, ResumeError, SaveError
from lisa_jax.training.checkpoint_items import StateHandler
from lisa_jax.training.loop import fit
from lisa_jax.training.upgrade import Upgrade


@pytest.fixture(scope="module")
def whole(toy, tmp_path_factory):
    """Work directory and final state of a run that nothing disturbed; no test changes them."""
    workdir = tmp_path_factory.mktemp("whole")
    return workdir, fit(toy.experiment(), toy.config(), workdir)


@pytest.fixture(scope="module")
def crashed_at_7(toy, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("crashed")
    with pytest.raises(Crash):
        fit(toy.experiment(crash_at(7)), toy.config(), workdir)
    return workdir


@pytest.fixture
def crashed(crashed_at_7, tmp_path):
    """A copy of a work directory with checkpoints of steps 2, 4 and 6."""
    return shutil.copytree(crashed_at_7, tmp_path / "crashed")


@pytest.mark.parametrize(
    "overrides", [{}, {"ema_decay": None, "accumulate": 2}, {"log_every": 3}], ids=["ema", "accumulate", "odd log"]
)
def test_interrupted_run_equals_undisturbed_run(toy, tmp_path, assert_same_state, metrics_of, overrides):
    config = toy.config(**overrides)
    undisturbed = fit(toy.experiment(), config, tmp_path / "a")
    for crash_step in (3, 7):
        with pytest.raises(Crash):
            fit(toy.experiment(crash_at(crash_step)), config, tmp_path / "b")
    resumed = fit(toy.experiment(), config, tmp_path / "b")
    assert int(resumed.step) == 8
    assert_same_state(resumed, undisturbed)
    assert metrics_of(tmp_path / "b") == metrics_of(tmp_path / "a")


def test_finished_run_is_left_as_it_is(toy, whole, assert_same_state, metrics_of):
    workdir, state = whole
    lines = metrics_of(workdir)
    assert_same_state(fit(toy.experiment(crash_at(8)), toy.config(), workdir), state)
    assert metrics_of(workdir) == lines


def test_a_longer_schedule_that_makes_the_learning_rate_jump_is_told(toy, whole, tmp_path, caplog):
    workdir = shutil.copytree(whole[0], tmp_path / "run")
    fit(toy.experiment(), toy.config(num_steps=8), workdir)
    assert not caplog.messages
    fit(toy.experiment(), toy.config(num_steps=16), workdir)
    (told,) = caplog.messages
    assert told.startswith("The learning rate goes from 0 to 0.005 at step 8: the schedule was cosine over 8 steps")
    assert "is cosine over 16 steps" in told and "optimizer.schedule_steps" in told


def test_another_rate_of_a_part_is_told(toy, whole, tmp_path, caplog):
    workdir = shutil.copytree(whole[0], tmp_path / "run")

    def with_rate(rate):
        config = toy.config(num_steps=8)
        config.optimizer.fresh_rate = rate
        return config

    # A run from before there was a choice had the rest's.
    fit(toy.experiment(), with_rate(1.0), workdir)
    assert not caplog.messages
    fit(toy.experiment(), with_rate(10.0), workdir)
    assert caplog.messages == ["optimizer.fresh_rate goes from 1.0 to 10.0 at step 8."]
    caplog.clear()
    # Beside a jump of the learning rate, too.
    config = with_rate(1.0)
    config.num_steps = 16
    fit(toy.experiment(), config, workdir)
    (told,) = caplog.messages
    assert told.startswith("The learning rate goes from 0 to 0.005 at step 8: ")
    assert told.endswith(" optimizer.fresh_rate goes from 10.0 to 1.0 at step 8.")


def test_only_the_newest_checkpoints_are_kept(toy, tmp_path):
    fit(toy.experiment(), toy.config(keep=3), tmp_path)
    assert saved_steps(tmp_path) == [4, 6, 8]
    # Also where fewer are kept of a run that is finished.
    fit(toy.experiment(), toy.config(keep=2), tmp_path)
    assert saved_steps(tmp_path) == [6, 8]


def test_frozen_weights_are_in_no_checkpoint(toy, whole):
    state = whole[1]
    assert state.params.keys() == {"side"}
    assert {leaf.shape for leaf in jax.tree.leaves(state)} == {(), (4, 4)}


def test_saving_goes_on_in_the_background_and_writes_what_was_there(tmp_path):
    sharding = replicated(make_mesh())
    state = {"x": jax.device_put(jnp.arange(2**24, dtype=jnp.float32), sharding)}
    overwrite = jax.jit(lambda state: jax.tree.map(jnp.zeros_like, state), donate_argnums=0)
    checkpoints = Checkpoints(tmp_path, keep=1, identity={})
    expected = np.array(state["x"])
    checkpoints.save(state, 1)
    assert not (tmp_path / "checkpoints" / "1").exists()
    state = overwrite(state)
    jax.block_until_ready(state)
    checkpoints.close()
    checkpoints = Checkpoints(tmp_path, keep=1, identity={})
    like = {"x": jax.ShapeDtypeStruct(expected.shape, expected.dtype, sharding=sharding)}
    np.testing.assert_array_equal(checkpoints.restore(like)["x"], expected)
    checkpoints.close()


def test_no_checkpoint_is_skipped_while_the_one_before_is_being_written(tmp_path):
    state = {"x": jnp.ones(2**22)}
    checkpoints = Checkpoints(tmp_path, keep=9, identity={})
    for step in range(1, 5):
        checkpoints.save(state, step)
    checkpoints.close()
    assert saved_steps(tmp_path) == [1, 2, 3, 4]


def largest_file(folder):
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def truncate_largest(folder):
    largest = largest_file(folder)
    os.truncate(largest, largest.stat().st_size // 2)


def truncate_data(folder):
    for path in folder.rglob("d/*"):
        os.truncate(path, path.stat().st_size // 2)


def delete(name):
    def damage(folder):
        found = list(folder.rglob(name))
        assert found
        for path in found:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


DAMAGES = {
    "truncated data": truncate_data,
    "truncated largest file": truncate_largest,
    "no largest file": lambda folder: largest_file(folder).unlink(),
    "no data": delete("d"),
    "no manifest": delete("manifest.ocdbt"),
    "no tree": delete("_METADATA"),
    "no state": delete("state"),
    "no identity": delete("identity"),
    "empty identity": lambda folder: os.truncate(folder / "identity" / "metadata", 0),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_checkpoint_falls_back_to_the_one_before(
    toy, crashed, whole, assert_same_state, metrics_of, caplog, damage
):
    damage(crashed / "checkpoints" / "6")
    resumed = fit(toy.experiment(), toy.config(), crashed)
    assert_same_state(resumed, whole[1])
    assert metrics_of(crashed) == metrics_of(whole[0])
    (warning,) = [record.getMessage() for record in caplog.records if "cannot be read" in record.getMessage()]
    assert "checkpoint of step 6" in warning and "unreadable-6" in warning
    assert (crashed / "checkpoints" / "unreadable-6").is_dir()


def flip_a_bit(path, rng):
    content = bytearray(path.read_bytes())
    position, bit = rng.integers(len(content)), rng.integers(8)
    content[position] ^= 1 << bit
    path.write_bytes(content)


def newest(toy, workdir, like):
    with Checkpoints(workdir, 3, toy.experiment().identity, read_only=True) as checkpoints:
        return checkpoints.restore(like)


def test_a_changed_bit_anywhere_is_noticed_or_without_effect(toy, crashed_at_7, whole, tmp_path, assert_same_state):
    like, rng = whole[1], np.random.default_rng(0)
    expected = newest(toy, crashed_at_7, like)
    files = sorted(path for path in (crashed_at_7 / "checkpoints" / "6").rglob("*") if path.is_file())
    noticed = set()
    for number, path in enumerate(files):
        workdir = shutil.copytree(crashed_at_7, tmp_path / str(number))
        flip_a_bit(workdir / path.relative_to(crashed_at_7), rng)
        found = newest(toy, workdir, like)
        if int(found.step) == 4:
            noticed.add(path.name)
        else:
            assert_same_state(found, expected)
    assert {"_METADATA", "manifest.ocdbt", "metadata", "checksums.json"} <= noticed
    data = [path for path in files if path.parent.name == "d"]
    assert {path.name for path in data} <= noticed and len(data) > 3


def test_what_cannot_be_read_just_now_is_not_set_aside(toy, crashed, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(checksums, "_measured", raising(PermissionError(13, "Permission denied")))
        with pytest.raises(ResumeError, match=r"step 6 in .* cannot be read now \(Permission denied\): once that is"):
            fit(toy.experiment(), toy.config(), crashed)
    assert saved_steps(crashed) == [2, 4, 6]


def test_checkpoints_of_versions_without_checksums_are_read(toy, crashed, whole):
    delete("checksums.json")(crashed / "checkpoints" / "6")
    assert int(newest(toy, crashed, whole[1]).step) == 6


def test_a_checkpoint_under_the_number_of_another_step_is_refused(toy, crashed):
    (crashed / "checkpoints" / "6").rename(crashed / "checkpoints" / "8")
    for _ in range(2):
        with pytest.raises(ResumeError, match=r"checkpoints/8 holds the checkpoint of step 6: give .* number again"):
            fit(toy.experiment(), toy.config(), crashed)


def test_damage_twice_at_the_same_step(toy, crashed, whole, assert_same_state):
    truncate_data(crashed / "checkpoints" / "6")
    with pytest.raises(Crash):
        fit(toy.experiment(crash_at(7)), toy.config(), crashed)
    truncate_data(crashed / "checkpoints" / "6")
    assert_same_state(fit(toy.experiment(), toy.config(), crashed), whole[1])


def test_no_readable_checkpoint_is_an_error_and_stays_one(toy, crashed):
    for step in (2, 4, 6):
        truncate_data(crashed / "checkpoints" / str(step))
    for _ in range(2):
        with pytest.raises(ResumeError, match=r"None of the checkpoints in .* can be read \(steps 6, 4, 2.*--workdir"):
            fit(toy.experiment(), toy.config(), crashed)
    assert saved_steps(crashed) == [2, 4, 6]


def test_reading_only_leaves_a_damaged_checkpoint_alone(toy, crashed, whole):
    like = whole[1]
    truncate_data(crashed / "checkpoints" / "6")
    checkpoints = Checkpoints(crashed, 3, toy.experiment().identity, read_only=True)
    assert int(checkpoints.restore(like).step) == 4
    checkpoints.close()
    assert saved_steps(crashed) == [2, 4, 6]
    nothing = Checkpoints(crashed / "nothing", 3, {}, read_only=True)
    assert nothing.restore(like) is None
    nothing.close()


def test_a_process_lost_while_reading_says_nothing_about_the_checkpoint(toy, crashed, whole, monkeypatch):
    checkpoints = Checkpoints(crashed, 3, toy.experiment().identity)

    def lose_another(step, args):
        raise jax.errors.JaxRuntimeError("UNKNOWN: Gloo AllGather failed: Connection reset by peer")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints._manager, "restore", lose_another)
        with pytest.raises(ResumeError, match="None of the checkpoints"):
            checkpoints.restore(whole[1])
        patch.setattr(cluster.jax, "process_count", lambda: 2)
        with pytest.raises(LostProcessError, match=r"Process 0 of 2 lost another one in step 6 \(UNKNOWN: Gloo"):
            checkpoints.restore(whole[1])
    assert saved_steps(crashed) == [2, 4, 6]
    assert int(checkpoints.restore(whole[1]).step) == 6
    checkpoints.close()


def raising(error):
    def fail(*_, **__):
        raise error

    return fail


def test_a_disk_that_is_full_is_told_in_one_sentence_whoever_notices(toy, tmp_path, monkeypatch):
    said = r"Checkpoints cannot be written to .*checkpoints \(No space left on device\): .* the same command goes on"
    full = ValueError("RESOURCE_EXHAUSTED: Failed writing: [os_error_code='28']")
    # Where the loop saves, and in the background, where the next save or the end of the run meets it.
    for step, (name, error) in enumerate({"save": full, "finalize": OSError(28, os.strerror(28))}.items()):
        handler = StateHandler if name == "finalize" else ocp.CheckpointManager
        with monkeypatch.context() as patch:
            patch.setattr(handler, name, raising(error))
            with pytest.raises(SaveError, match=said):
                fit(toy.experiment(), toy.config(num_steps=2 + step), tmp_path)
        assert saved_steps(tmp_path) == []
    assert int(fit(toy.experiment(), toy.config(num_steps=3), tmp_path).step) == 3


@pytest.mark.parametrize("name", ["base", "seed", "batch_size", "hook"])
def test_another_run_is_refused_and_leaves_no_trace(toy, tmp_path, whole, name):
    workdir = whole[0]
    identity = toy.experiment().identity
    before = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}
    with pytest.raises(
        ResumeError, match=rf"of another run: {name} was .* and is \"other\" now: give the same again, or"
    ):
        fit(toy.experiment(identity=identity | {name: "other"}), toy.config(num_steps=9), workdir)
    assert before == {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}


def test_an_identity_that_an_earlier_version_saved_is_compared_in_todays_words(toy, whole, tmp_path):
    workdir = shutil.copytree(whole[0], tmp_path / "run")
    new = toy.experiment(identity=toy.experiment().identity | {"width": 1})
    with pytest.raises(ResumeError, match="of another run: width was missing and is 1 now: give the same again, or"):
        fit(new, toy.config(), workdir)
    fit(dataclasses.replace(new, upgrade=Upgrade(lambda saved: {"width": 1, **saved})), toy.config(), workdir)


def test_other_shapes_are_refused_and_nothing_is_moved(toy, whole):
    with pytest.raises(ResumeError, match="can be read"):
        fit(toy.experiment(width=5), toy.config(), whole[0])
    assert saved_steps(whole[0]) == [4, 6, 8]


def test_sigterm_saves_after_the_step_and_the_rerun_goes_on_from_there(
    toy, tmp_path, whole, assert_same_state, monkeypatch
):
    escaped = []
    before = signal.signal(signal.SIGTERM, lambda *_: escaped.append(1))
    close = Checkpoints.close

    def close_under_fire(self):
        os.kill(os.getpid(), signal.SIGTERM)
        close(self)

    def before_step(step, batch):
        if step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return batch

    try:
        with monkeypatch.context() as patch:
            patch.setattr(Checkpoints, "close", close_under_fire)
            stopped = fit(toy.experiment(before_step), toy.config(save_every=100), tmp_path / "b")
        os.kill(os.getpid(), signal.SIGTERM)
        assert len(escaped) == 1  # only the last: the one during the save was held back
    finally:
        signal.signal(signal.SIGTERM, before)
    assert int(stopped.step) == 5
    assert saved_steps(tmp_path / "b") == [5]
    resumed = fit(
        toy.experiment(lambda step, batch: batch if step >= 5 else crash_at(step)(step, batch)),
        toy.config(),
        tmp_path / "b",
    )
    assert_same_state(resumed, whole[1])


def test_ctrl_c_saves_after_the_step_and_a_second_one_does_not_wait(toy, tmp_path):
    def before_step(step, batch):
        if step >= 4:
            signal.raise_signal(signal.SIGINT)
        return batch

    stopped = fit(toy.experiment(before_step), toy.config(save_every=100), tmp_path / "once")
    assert saved_steps(tmp_path / "once") == [5] and int(stopped.step) == 5

    def twice(step, batch):
        return before_step(step, before_step(step, batch))

    with pytest.raises(KeyboardInterrupt):
        fit(toy.experiment(twice), toy.config(save_every=100), tmp_path / "twice")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_metrics_of_steps_that_come_again_are_dropped_with_a_line_cut_short(toy, crashed, whole, metrics_of):
    with (crashed / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "loss": 1.0}\n{"step": 8, "lo')
    fit(toy.experiment(), toy.config(), crashed)
    assert metrics_of(crashed) == metrics_of(whole[0])
