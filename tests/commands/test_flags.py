"""What a command line or its config file gets wrong is told in one sentence, with the flag or the line."""

import pytest
from absl import flags
from ml_collections import config_flags

from lisa_jax.commands._flags import COUNT, DEFINE_checked, Folder, NewFile
from lisa_jax.commands._parsing import parse_flags
from lisa_jax.experiments.bounds import SEED
from lisa_jax.experiments.kinds import Number, Text

KINDS = {"count": COUNT, "seed": SEED, "minutes": Number(least=0, most=1e6), "text": Text()}
KINDS |= {"folder": Folder(), "file": NewFile()}


@pytest.fixture(scope="module", autouse=True)
def defined():
    for name, kind in KINDS.items():
        DEFINE_checked(f"tested_{name}", None, "For this test.", kind)
    yield
    for name in KINDS:
        delattr(flags.FLAGS, f"tested_{name}")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the file a_file and the folder a_folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").touch()
    (tmp_path / "a_folder").mkdir()
    (tmp_path / "lost").symlink_to("nowhere")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("count", value) for value in ("0", "-1", "nan", "inf", "1e3", "1.5", "", "abc", "9" * 5000, "2000000000")),
        *(("seed", value) for value in ("-1", str(2**70), "0x1", "1.0")),
        *(("minutes", value) for value in ("nan", "inf", "-1", "1e400", "", "an hour")),
        *(("text", value) for value in ("", " ", "a\0b")),
        *(("folder", value) for value in ("", "a_file", "a_file/below", "lost", "\0")),
        *(("file", value) for value in ("", "a_folder", "a_file/below.json", "lost/below.json")),
    ],
)
def test_a_flag_is_refused_by_its_name_and_says_what_it_must_be(place, name, value):
    with pytest.raises(flags.IllegalFlagValueError) as refused:
        flags.FLAGS[f"tested_{name}"].parse(value)
    assert str(refused.value) == f"flag --tested_{name}={value}: must be {KINDS[name]}."


@pytest.mark.parametrize("name", ["folder", "file"])
def test_a_home_folder_that_no_shell_has_filled_in_is_told(place, monkeypatch, name):
    monkeypatch.setenv("HOME", "/home/someone")
    with pytest.raises(flags.IllegalFlagValueError, match=r"=~/new: begins with a ~ .*: write /home/someone/new\.$"):
        flags.FLAGS[f"tested_{name}"].parse("~/new")


def test_a_flag_takes_what_makes_sense(place):
    for name, value, read in [
        ("count", "3", 3),
        ("seed", "0", 0),
        ("minutes", "1.5", 1.5),
        ("text", " a b", " a b"),
        ("folder", "a_folder", "a_folder"),
        ("folder", "new/folder", "new/folder"),
        ("file", "a_file", "a_file"),
        ("file", "new/result.json", "new/result.json"),
        ("file", "/dev/null", "/dev/null"),
    ]:
        flags.FLAGS[f"tested_{name}"].parse(value)
        assert flags.FLAGS[f"tested_{name}"].value == read


@pytest.fixture
def ends_with(monkeypatch):
    """argv -> the sentence that ends a program with the flags --config and --out; None where nothing ends it."""

    def run(*argv):
        known = flags.FlagValues()
        monkeypatch.setattr(flags, "FLAGS", known)
        config_flags.DEFINE_config_file("config", None, "", flag_values=known, sys_argv=["command", *argv])
        flags.DEFINE_string("out", None, "", flag_values=known)
        flags.mark_flags_as_required(["config", "out"], flag_values=known)
        try:
            parse_flags(["command", *argv])
        except SystemExit as end:
            return end.code.removeprefix("error: ")
        return None

    return run


MAKE = "from ml_collections import ConfigDict\ndef get_config():\n    "


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("def get_config(\n", "a.py line 1 is no Python: '(' was never closed."),
        (b"\xff\xfe\x00", "--config=a.py is no Python file: "),
        ("(" * 5000, "a.py line 1 is no Python: "),
        ("import nothing_of_that_name\n", "a.py line 1: ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("x = 1\n", "a.py has no function get_config, which returns the config."),
        (MAKE + "return {}", "get_config of a.py returns dict, but must return a ConfigDict."),
        (MAKE + "pass", "get_config of a.py returns NoneType, but must return a ConfigDict."),
        (MAKE + "return open('nowhere')", "a.py line 3: FileNotFoundError: "),
        (MAKE + "raise ValueError('No such\\ntask.')", "a.py line 3: No such task."),
        (MAKE + "return b'\\xff'.decode()", "a.py line 3: UnicodeDecodeError: "),
        (MAKE + "return ConfigDict({'b': 1}).b.c", "a.py line 3: AttributeError: "),
    ],
)
def test_a_config_file_that_fails_is_told_with_its_line(place, tmp_path, ends_with, source, sentence):
    (tmp_path / "a.py").write_bytes(source if isinstance(source, bytes) else source.encode())
    told = ends_with("--config=a.py", "--out=x")
    assert told.startswith(sentence) and "\n" not in told
    if "returns" not in sentence:
        assert ends_with("--config=a.py", "--out=x", "--config.b=2") == told


def test_flags_that_are_missing_or_unknown_are_told(place, tmp_path, ends_with, capsys):
    (tmp_path / "a.py").write_text(MAKE + "return ConfigDict({'b': 1})")
    assert ends_with("--config=a.py") == "give --out; --help tells what it is."
    assert ends_with("--out=x") == "give --config; --help tells what it is."
    assert ends_with("--config=", "--out=x").startswith("--config is empty: give a Python file")
    assert ends_with("--config=b.py", "--out=x").startswith("--config=b.py is not there: give a Python file")
    assert ends_with("--config=a_folder", "--out=x").startswith("--config=a_folder is no Python file: 'a_folder' is a")
    assert ends_with("--config=a.py:c", "--out=x").startswith("--config=a.py:c: get_config() takes 0 positional")
    assert ends_with("--config=a.py", "--out=x", "--config.b=1.5").startswith("--config.b=1.5: ")
    assert ends_with("--config=a.py", "--out=x", "--config.c=1") == (
        "a --config flag names a field that the config file does not have: 'c'"
    )
    assert ends_with("--config=a.py", "--oot=x").startswith("Unknown command line flag 'oot'. Did you mean: out ?")
    assert not capsys.readouterr().err


def test_the_last_of_a_flag_s_values_counts_and_that_is_said(place, tmp_path, ends_with, capsys):
    (tmp_path / "a.py").write_text(MAKE + "return ConfigDict({'b': 1})")
    assert ends_with("--config=a.py", "--out=x", "--config.b=2", "--out=y", "--config.b=3") is None
    assert (flags.FLAGS["out"].value, flags.FLAGS["config"].value.b) == ("y", 3)
    assert capsys.readouterr().err.splitlines() == [
        f"--{name} is given more than once: the last one counts." for name in ("out", "config.b")
    ]
