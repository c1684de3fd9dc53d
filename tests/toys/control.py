"""Side networks of a member of the shared suite, trained by the loop; as a command on all devices that there are."""

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from lisa_jax.configs import base
from lisa_jax.data.pipeline import Batches
from lisa_jax.experiments.control import control_experiment
from lisa_jax.families import registry
from lisa_jax.families.family import Family
from lisa_jax.training.experiment import Evaluation, Experiment, Report
from lisa_jax.training.loop import fit
from toys.members import FAMILIES, Member, member_of

# Powers of two: a mean of means then rounds as one mean does.
BATCH_SIZE = 8
ROWS = 16


def config_of(member: Member, *, lam: float = 0.5, **changes: Any) -> ConfigDict:
    """Four steps, saved after two."""
    config = base.control()
    config.update(batch_size=BATCH_SIZE, accumulate=1, num_steps=4, log_every=1, save_every=2, keep=9, ema_decay=0.9)
    config.update(changes)
    config.optimizer.update(learning_rate=1e-2, warmup_steps=0)
    config.lisa.update(lam=lam, hook=",".join(member.hooks))
    config.side.lora_rank = member.setup.lora_rank
    return config


def experiment_of(
    config: ConfigDict,
    family: Family,
    rows: Sequence[Mapping[str, Any]],
    look: Callable[..., None] = lambda params, frozen: None,
) -> Experiment:
    """Training on rows of a `caption` and cached `inputs`; `look` sees parameters and frozen tree at the end."""

    def run(params: Any, frozen: Any) -> Report:
        look(params, frozen)
        return Report()

    experiment = control_experiment(config, family, frozen_of(family), family.conditioner.empty)
    batches = Batches(rows, lambda row: row["inputs"], BATCH_SIZE, config.seed)
    return dataclasses.replace(experiment, batches=batches, evaluations=(Evaluation(config.num_steps, run),))


def frozen_of(family: Family) -> dict[str, Any]:
    """What training on cached inputs takes beside what it trains."""
    return {"main": family.frozen} | ({"latents": family.latents.params} if family.conditioner.draw else {})


def examples(member: Member) -> list[dict[str, Any]]:
    """Examples with all that a family may read of one."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (ROWS, *member.size, 3), np.uint8)
    return [
        {
            "caption": f"number {index}",
            "fps": 6 + index,
            "image": image,
            "first_frame": image.reshape(-1, *image.shape[-3:])[0],
            "size": member.size[-2:],
            "original_size": (20 + index, 30),
            "crop": (index, 3),
        }
        for index, image in enumerate(images)
    ]


def make_rows(member: Member, family: Family) -> list[dict[str, Any]]:
    """Examples encoded and cached as training reads them; a condition is the picture of another example."""
    given = examples(member)
    images = np.stack([example["image"] for example in given])
    moments = np.asarray(jax.jit(family.latents.moments)(family.latents.params, images))
    if family.condition.moments is None:
        conditions, kind = images[::-1], "condition"
    else:
        conditions, kind = moments[::-1], "condition_moments"
    names = member.setup.conditions
    by_name = {name: np.roll(conditions, number, axis=0) for number, name in enumerate(names)}
    inputs = {"moments": moments, "context": family.conditioner.contexts(given), kind: by_name}
    return [
        {"caption": example["caption"], "inputs": jax.tree.map(lambda leaf, row=row: leaf[row], inputs)}
        for row, example in enumerate(given)
    ]


if __name__ == "__main__":
    registry.FAMILIES = FAMILIES
    name, folder, workdir = sys.argv[1:]
    member = member_of(name)
    family, config = registry.load_family(folder, member.setup), config_of(member, num_steps=2)
    fit(experiment_of(config, family, make_rows(member, family)), config, workdir)
