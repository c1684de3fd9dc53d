"""What the attack itself takes for a fault."""

import dataclasses

import pytest

from fuzz.case import Case, Right, Verdict, verdict
from fuzz.machine import LIMITS, Outcome

DONE = Outcome(returncode=0, ended="exit", cpu=1.0, peak=10**8, stdout="", stderr="")
REFUSED = dataclasses.replace(DONE, returncode=1, stderr="error: a.png is no picture: give another.\n")
TRACED = dataclasses.replace(REFUSED, stderr="Traceback (most recent call last):\n  ...\nKeyError: 'a.png'\n")


@pytest.fixture
def case(tmp_path):
    """A sample that must be refused for a.png, or be what the valid one is."""
    (tmp_path / "0.png").write_bytes(b"picture")
    return Case("", (("sample",),), Right.EITHER, ("a.png",), result=tmp_path, valid=("valid", ("sample",)))


def judged(case, outcome, valid="another"):
    return verdict(case, outcome, lambda name, command: valid)


def test_a_refusal_is_one_sentence_with_the_name(case):
    assert judged(case, REFUSED) is Verdict.GOOD
    assert judged(dataclasses.replace(case, named=("b.png",)), REFUSED) is Verdict.UNNAMED
    assert judged(case, dataclasses.replace(REFUSED, stderr="error: a.png\nerror: a.png\n")) is Verdict.UNNAMED
    assert judged(case, dataclasses.replace(REFUSED, stderr="a.png\n")) is Verdict.UNNAMED
    assert judged(dataclasses.replace(case, right=Right.SAME), REFUSED) is Verdict.REFUSED


def test_a_result_is_that_of_the_valid_input_or_a_warning_says_why_not(case):
    assert judged(case, DONE) is Verdict.ACCEPTED
    warned = dataclasses.replace(DONE, stderr="Step 6 cannot be read.\n")
    assert judged(dataclasses.replace(case, told=("cannot be read",)), warned) is Verdict.GOOD
    assert judged(dataclasses.replace(case, right=Right.REFUSED), DONE) is Verdict.ACCEPTED
    assert judged(dataclasses.replace(case, right=Right.ANY), DONE) is Verdict.GOOD


def test_tracebacks_crashes_hangs_and_memory_are_faults_whatever_was_asked(case):
    anything = dataclasses.replace(case, right=Right.ANY)
    assert judged(anything, TRACED) is Verdict.TRACEBACK
    assert judged(anything, dataclasses.replace(DONE, stderr=TRACED.stderr)) is Verdict.TRACEBACK
    assert judged(anything, dataclasses.replace(REFUSED, returncode=-11)) is Verdict.TRACEBACK
    assert judged(anything, dataclasses.replace(REFUSED, returncode=-9, ended="hang")) is Verdict.HANG
    assert judged(anything, dataclasses.replace(DONE, peak=LIMITS["bytes"] + 1)) is Verdict.MEMORY


def test_what_is_refused_leaves_nothing_that_looks_done(case):
    (case.result / "diffusion_pytorch_model.safetensors").write_bytes(b"weights")
    assert judged(dataclasses.replace(case, commands=(("export",),)), REFUSED) is Verdict.LEFT
