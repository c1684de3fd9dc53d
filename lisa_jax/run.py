"""From a config to the parts of a run; what the commands share."""

import dataclasses
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app
from absl import logging as absl_logging
from ml_collections import ConfigDict

from lisa_jax.alignment import LamSchedule
from lisa_jax.data.openmoji import CorruptRecordError, load_openmoji
from lisa_jax.data.pipeline import Batches, Source, ordered_batches
from lisa_jax.dual_branch import Params
from lisa_jax.families.family import Family
from lisa_jax.families.stable_diffusion import load_stable_diffusion
from lisa_jax.training.checkpoint import Checkpoints
from lisa_jax.training.optimizer import learning_rate_schedule, make_optimizer
from lisa_jax.training.state import state_initialiser
from lisa_jax.training.tracking import CONFIG_FILE

# "auto" where JAX recognises the cluster (TPU pod, SLURM, GKE, Open MPI), else "host:port,count,index": the address
# where process 0 listens, how many processes there are and which one this is. Unset: one process.
PROCESSES_VARIABLE = "LISA_JAX_PROCESSES"
DTYPES = ("float32", "bfloat16")


def run_command(main: Callable[[], None]) -> None:
    """Run a command: flags, settings, `main`; errors that users can mend end it with one sentence and exit status 1.

    Where this package itself refuses something, its message is all there is to know, and the same goes for files that
    are missing or disks that are full. Errors from elsewhere keep their traceback.
    """

    def run(argv: Sequence[str]) -> None:
        if len(argv) > 1:
            sys.exit(f"error: unexpected argument '{argv[1]}': flags are written --name=value.")
        try:
            start_up()
            main()
        except OSError as error:
            sys.exit(f"error: {_one_line(error)}")
        except (ValueError, FloatingPointError, CorruptRecordError) as error:
            raised_in = traceback.extract_tb(error.__traceback__)[-1].filename
            if not Path(raised_in).is_relative_to(Path(__file__).parent):
                raise
            sys.exit(f"error: {error}")

    app.run(run, flags_parser=_parse_flags)


def _parse_flags(argv: list[str]) -> list[str]:
    try:
        return app.parse_flags_with_usage(argv)
    except OSError as error:
        sys.exit(f"error: {_one_line(error)}")
    # How ml_collections reports a field that the config does not have; it knows which name is near.
    except (AttributeError, KeyError) as error:
        reason = error.args[0].args[0] if isinstance(error.args[0], KeyError) else error.args[0]
        sys.exit(f"error: a --config flag names a field that the config file does not have: {_one_line(reason)}")


def _one_line(error: object) -> str:
    return " ".join(str(error).split())


def start_up() -> None:
    """Settings that every command wants: its processes joined, readable logs, compiled programs kept between runs."""
    join_processes(os.environ.get(PROCESSES_VARIABLE, ""))
    # Orbax, TFDS and JAX tell their whole story through absl and the root logger.
    absl_logging.set_verbosity(absl_logging.ERROR)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    ours = logging.getLogger("lisa_jax")
    ours.addHandler(handler)
    # What the first process says holds for all.
    ours.setLevel(logging.INFO if jax.process_index() == 0 else logging.ERROR)
    ours.propagate = False
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(Path("~/.cache/lisa_jax/xla").expanduser()))


def join_processes(spec: str) -> None:
    """Join the other processes of this run, before anything else uses a device.

    Args:
      spec: value of $LISA_JAX_PROCESSES; empty: this process is alone.
    """
    if spec == "auto":
        jax.distributed.initialize()
    elif spec:
        try:
            address, count, index = spec.split(",")
            count, index = int(count), int(index)
        except ValueError:
            raise ValueError(
                f"{PROCESSES_VARIABLE} is '{spec}', but must be 'auto' or 'host:port,count,index'."
            ) from None
        jax.distributed.initialize(address, count, index)


def load_family(config: ConfigDict) -> Family:
    """The base that a config names, with its side network's settings; raises ValueError for an unknown dtype."""
    for name in ("frozen_dtype", "compute_dtype"):
        if config[name] not in DTYPES:
            raise ValueError(f"config.{name} is '{config[name]}': use {' or '.join(DTYPES)}.")
    return load_stable_diffusion(
        config.base,
        condition_channels=tuple(config.condition_channels),
        frozen_dtype=config.frozen_dtype,
        compute_dtype=config.compute_dtype,
        remat=config.remat,
    )


@dataclasses.dataclass(frozen=True)
class Split:
    """A split of a data set, and the context of each of its captions, computed once.

    Attributes:
      source: examples by index.
      context: float32 (len(source), length, width).
    """

    source: Source
    context: np.ndarray

    def with_context(self, example: Mapping[str, Any]) -> dict[str, Any]:
        """Pipeline transform: the example with its `context`."""
        return {**example, "context": self.context[example["index"]]}

    def ordered_batches(self, condition: str, batch_size: int) -> Iterator[dict[str, Any]]:
        """Every example once, in order, with `context`."""
        return ordered_batches(self.source, condition, batch_size, transforms=(self.with_context,))


def load_split(config: ConfigDict, family: Family, split: str) -> Split:
    """The examples of a split of the config's data set, with contexts; raises ValueError for an unknown data set."""
    if config.data.name != "openmoji":
        raise ValueError(f"Unknown data.name '{config.data.name}': there is openmoji.")
    source = load_openmoji(config.data.image_size, split)
    return Split(source, family.encode_text([source[index]["caption"] for index in range(len(source))]))


@dataclasses.dataclass(frozen=True)
class TrainingBatches:
    """The arrays of a pipeline's batches that training reads."""

    batches: Batches
    names: tuple[str, ...]

    def iterate(self, start_step: int) -> Iterator[Mapping[str, np.ndarray]]:
        """Yield this process's rows from `start_step` on."""
        for batch in self.batches.iterate(start_step):
            yield {name: batch[name] for name in self.names}


def training_batches(config: ConfigDict, split: Split, condition: str | None) -> TrainingBatches:
    """The training stream of this process; with condition None, batches have none."""
    batches = Batches(
        split.source,
        condition,
        config.batch_size,
        config.seed,
        flip=config.data.flip,
        transforms=(split.with_context,),
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    return TrainingBatches(batches, ("image", "context", *(("condition",) if condition else ())))


def read_config(workdir: str | Path) -> ConfigDict:
    """The config of a work directory; raises FileNotFoundError where no run was started."""
    path = Path(workdir) / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: give the --workdir of a training run.")
    return ConfigDict(json.loads(path.read_text()))


def lam_schedule(config: ConfigDict) -> LamSchedule:
    """The weight of the alignment term by step."""
    lisa = config.lisa
    return LamSchedule(lisa.lam, lisa.schedule, lisa.decay_steps, lisa.stop_step)


def used_hook(config: ConfigDict, family: Family) -> str | None:
    """The hooked feature, or None in plain training; raises ValueError, listing the names, for one that is unknown."""
    return family.model.check_hook(config.lisa.hook) if config.lisa.lam > 0 else None


def trainable_init(config: ConfigDict, family: Family) -> Callable[[Params, jax.Array], Params]:
    """(frozen, key) -> side network, and decoder where there is LISA."""
    hook = used_hook(config, family)
    return lambda frozen, key: family.model.init_trainable(frozen, key, hook)


def identity(config: ConfigDict, family: Family) -> dict[str, Any]:
    """What two runs that share checkpoints must share."""
    return {
        "base": family.fingerprint,
        "seed": config.seed,
        "batch_size": config.batch_size,
        "accumulate": config.accumulate,
        "frozen_dtype": config.frozen_dtype,
        "data": config.data.to_dict(),
        "hook": used_hook(config, family),
        "condition_channels": tuple(config.condition_channels),
        "ema_decay": config.ema_decay,
    }


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A training run, read back: its config, its family, the side network's parameters and the steps they had."""

    config: ConfigDict
    family: Family
    side: Params
    step: int


def load_run(workdir: str | Path, weights: str = "auto") -> TrainedRun:
    """Read the newest checkpoint of a training run.

    Args:
      workdir: the run's directory.
      weights: "ema", "raw", or "auto": the moving average where the run keeps one.

    Raises:
      FileNotFoundError: no run, or no checkpoint in it.
      ValueError: "ema" of a run that keeps none.
      ResumeError: the base has changed since, or no checkpoint can be read.
    """
    config = read_config(workdir)
    family = load_family(config)
    optimizer = make_optimizer(config.optimizer, learning_rate_schedule(config.optimizer, config.num_steps))
    init = partial(trainable_init(config, family), family.frozen)
    initialise = state_initialiser(init, optimizer, ema=config.ema_decay is not None)
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device),
        jax.eval_shape(initialise, jax.random.key(0)),
    )
    checkpoints = Checkpoints(workdir, config.keep, identity(config, family), read_only=True)
    state = checkpoints.restore(like)
    checkpoints.close()
    if state is None:
        raise FileNotFoundError(f"{workdir} has no checkpoint yet: train for config.save_every steps first.")
    if weights == "ema" and state.ema is None:
        raise ValueError(f"{workdir} keeps no moving average: use --weights=raw, or train with --config.ema_decay.")
    params = state.params if weights == "raw" else state.eval_params
    return TrainedRun(config, family, params["side"], int(state.step))
