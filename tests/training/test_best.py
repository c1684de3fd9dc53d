"""The checkpoint that validated best stays beside the newest ones, from which a run goes on."""

import dataclasses
import math
import shutil

import pytest
from toys.crash import Crash, crash_at, saved_steps

from lisa_jax.training.best import SCORES, best_step, score_of
from lisa_jax.training.checkpoint import Checkpoints, ResumeError
from lisa_jax.training.experiment import Evaluation, Report
from lisa_jax.training.loop import fit

LOSS = SCORES[0]


@pytest.fixture(scope="module")
def run(toy, tmp_path_factory):
    """A run that validated after steps 2, 4, 6 and 8, was killed before the last, and went on: directory and state."""
    workdir, losses = tmp_path_factory.mktemp("run"), iter((3.0, 1.0, math.nan, 2.0))
    validate = Evaluation(2, lambda params, frozen: Report({LOSS: next(losses)}))

    def train(before_step=None):
        experiment = dataclasses.replace(toy.experiment(before_step), evaluations=(validate,))
        return fit(experiment, toy.config(keep=1, keep_best=LOSS), workdir)

    with pytest.raises(Crash):
        train(crash_at(7))
    assert saved_steps(workdir) == [4, 6]
    return workdir, train()


def reading(toy, workdir, keep_best=LOSS, read_only=True):
    return Checkpoints(workdir, 1, toy.experiment().identity, keep_best=keep_best, read_only=read_only)


def test_the_best_stays_and_the_run_goes_on_from_the_newest(toy, run, tmp_path, assert_same_state):
    workdir, state = run
    assert saved_steps(workdir) == [4, 8]
    assert_same_state(state, fit(toy.experiment(), toy.config(), tmp_path))
    with reading(toy, workdir) as checkpoints:
        best, newest = checkpoints.restore_best(state), checkpoints.restore(state)
    assert_same_state(newest, state)
    for later in (6, 8):
        shutil.rmtree(tmp_path / "checkpoints" / str(later))
    with reading(toy, tmp_path) as undisturbed:
        assert_same_state(best, undisturbed.restore(state))


def test_a_damaged_best_is_told_and_no_other_takes_its_place(toy, run, tmp_path):
    workdir = shutil.copytree(run[0], tmp_path / "copy")
    changed = next(path for path in (workdir / "checkpoints" / "4" / "state").rglob("d/*") if path.is_file())
    changed.write_bytes(changed.read_bytes() + b"x")
    with reading(toy, workdir) as checkpoints, pytest.raises(ResumeError, match=r"best .* of step 4, cannot be read"):
        checkpoints.restore_best(run[1])


def test_scores_that_cannot_be_read_are_told_and_the_newest_is_none_the_worse(toy, run, tmp_path, caplog):
    workdir = shutil.copytree(run[0], tmp_path / "copy")
    (workdir / "checkpoints" / "4" / "scores" / "metadata").write_text("{")
    with reading(toy, workdir) as checkpoints:
        assert int(checkpoints.restore_best(run[1]).step) == int(checkpoints.restore(run[1]).step) == 8
    assert any("step 4 counts as none of the best" in message for message in caplog.messages)


def test_a_run_that_no_longer_keeps_the_best_lets_it_go(toy, run, tmp_path):
    workdir = shutil.copytree(run[0], tmp_path / "copy")
    with reading(toy, workdir, keep_best=None, read_only=False) as checkpoints:
        assert int(checkpoints.restore(run[1]).step) == 8
    assert saved_steps(workdir) == [8]


def test_the_first_of_equal_scores_is_the_best_and_what_is_not_finite_has_none():
    scores = {2: {LOSS: 2.0}, 4: {LOSS: 1.0}, 6: {LOSS: 1.0}, 8: {"validation/main_loss_q1": 0.0}}
    assert best_step((8, 6, 4, 2), scores, LOSS) == 4
    assert best_step((8,), scores, LOSS) is None
    for loss in (math.nan, math.inf):
        assert score_of({LOSS: loss}, LOSS) == {}
    assert score_of({LOSS: 1.0, "other": 2.0}, LOSS) == {LOSS: 1.0}
    assert score_of({LOSS: 1.0}, None) == {} == score_of({}, LOSS)
