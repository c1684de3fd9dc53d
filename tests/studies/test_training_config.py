"""A cell as a config of `lisa_jax train`."""

import dataclasses

import pytest

from lisa_jax.configs.studies import main_figures, main_openmoji
from lisa_jax.studies.grid import Cell
from lisa_jax.studies.training_config import shared_fields, training_config

OPENMOJI = main_openmoji.get_config()
LISA = Cell("lineart", 0.5, 1e-2, 3, 8, 40, ("down_3", "mid"), lam_stop_step=7, align_every=2, decoder_width=2.0)


def test_what_a_cell_says_stands_where_training_reads_it():
    config = training_config(OPENMOJI, dataclasses.replace(LISA, weighting="low_noise", decoder_rate=4.0))
    assert (config.seed, config.batch_size, config.num_steps, config.compute_dtype) == (3, 8, 40, "float32")
    assert (config.optimizer.learning_rate, config.optimizer.decoder_rate) == (1e-2, 4.0)
    assert config.lisa.to_dict() == {
        "lam": 0.5,
        "hook": "down_3,mid",
        "schedule": "constant",
        "decay_steps": None,
        "stop_step": 7,
        "align_every": 2,
        "weighting": "low_noise",
        "decoder_width": 2.0,
    }
    decayed = training_config(OPENMOJI, dataclasses.replace(LISA, lam_stop_step=None, lam_decay_steps=9)).lisa
    assert (decayed.schedule, decayed.decay_steps, decayed.stop_step) == ("cosine", 9, None)
    assert training_config(OPENMOJI, LISA.plain).lisa.lam == 0


def test_what_it_does_not_say_is_as_the_study_has_it():
    config = training_config(OPENMOJI, LISA)
    assert config.keys() == OPENMOJI.training.keys()
    assert config.optimizer.warmup_steps == OPENMOJI.training.optimizer.warmup_steps == 20
    # The study stays as it is.
    assert "condition" not in OPENMOJI.training.data


def test_what_runs_share_is_what_no_cell_decides():
    shared = shared_fields(OPENMOJI)
    assert shared["lisa"] == {} and shared["data"] == {"name": "openmoji", "image_size": 32, "flip": True}
    assert set(OPENMOJI.training.optimizer) - set(shared["optimizer"]) == {
        *("name", "learning_rate", "schedule", "b1", "b2", "eps", "weight_decay", "clip_norm"),
        *("decoder_rate", "fresh_rate", "fresh_layers", "fresh_steps"),
    }
    assert set(OPENMOJI.training.side) - set(shared["side"]) == {"condition_init", "zero_convolution_scale"}
    assert set(OPENMOJI.training) - set(shared) == {"seed", "batch_size", "num_steps", "compute_dtype", "ema_decay"}


def test_a_task_is_the_conditions_of_its_data():
    def data(study, task):
        return training_config(study, dataclasses.replace(LISA, task=task)).data

    segmentation = "lisa_jax.data.embedded.openmoji.layer_classes:segmentation"
    assert data(OPENMOJI, "lineart").condition == "lineart" and data(OPENMOJI, "lineart").flip
    assert data(OPENMOJI, "lowres+segmentation").condition == ("lowres", segmentation)
    figures = main_figures.get_config()
    # The colours of a skeleton tell left from right.
    assert data(figures, "pose").to_dict() == {"name": "figures", "image_size": 32, "condition": "pose", "flip": False}
    with pytest.raises(ValueError, match="No condition 'pose' of task 'pose': there are lineart, lowres, segmentation"):
        data(OPENMOJI, "pose")
    figures.training.data.name = "prepared"
    with pytest.raises(ValueError, match="Unknown data 'prepared' of a study: there are openmoji, figures"):
        data(figures, "pose")
