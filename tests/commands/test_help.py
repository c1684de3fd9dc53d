"""What --help says of a config's fields."""

from lisa_jax.commands._help import fields_help, without_help
from lisa_jax.configs import base
from lisa_jax.configs.studies import main_openmoji


def test_every_field_of_a_run_is_listed_with_what_it_means():
    lines = fields_help(base.control()).splitlines()[1:]
    fields = [place for place, line in enumerate(lines) if line.startswith("  --config.")]
    assert all(lines[place + 1].startswith("    ") for place in fields)
    # A group of fields, one that joins it later, one that is unset, and a comment above its field.
    assert {"  --config.optimizer.b1=0.9", "  --config.optimizer.fresh_rate=1.0"} <= set(lines)
    unset = lines.index("  --config.ema_decay=(unset)")
    assert lines[unset + 1].startswith("    Decay of the moving average of the trainable parameters; unset:")


def test_the_runs_of_a_study_have_the_same_fields():
    lines = fields_help(main_openmoji.get_config()).splitlines()
    assert lines[lines.index("  --config.training.lisa.lam=0.2") + 1] == "    its weight; 0: plain training"


def test_what_stands_behind_two_dashes_asks_for_no_help():
    assert without_help(["report", "--out=a", "--help", "--", "--help"]) == ["report", "--out=a", "--", "--help"]
