"""From a config to the parts of a run; what the commands share."""

import dataclasses
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import jax
from absl import app
from absl import logging as absl_logging
from ml_collections import ConfigDict

from lisa_jax.cluster import PROCESSES_VARIABLE, LostProcessError, join_processes, leave
from lisa_jax.condition_fields import condition_names
from lisa_jax.control import decoder_width, used_hook
from lisa_jax.data.records import CorruptRecordError
from lisa_jax.diffusers_io.folders import Placement
from lisa_jax.dual_branch import Params
from lisa_jax.families.family import Family
from lisa_jax.families.stable_diffusion import load_stable_diffusion
from lisa_jax.training.optimizer import learning_rate_schedule, make_optimizer
from lisa_jax.training.state import state_initialiser
from lisa_jax.training.tracking import CONFIG_FILE

DTYPES = ("float32", "bfloat16")


def run_command(main: Callable[..., None], takes_arguments: bool = False) -> None:
    """Run a command: flags, settings, `main`; errors that users can mend end it with one sentence and exit status 1.

    What stands on the command line beside flags is refused, or with `takes_arguments` given to `main` as a list.

    Where this package itself refuses something, its message is all there is to know, and the same goes for files that
    are missing or disks that are full. Errors from elsewhere keep their traceback.
    """

    def run(argv: Sequence[str]) -> None:
        if len(argv) > 1 and not takes_arguments:
            sys.exit(f"error: unexpected argument '{argv[1]}': flags are written --name=value.")
        try:
            start_up()
            main(*([argv[1:]] if takes_arguments else []))
        except OSError as error:
            _end(error, _one_line(error))
        except LostProcessError as error:
            _end(error, str(error))
        except (ValueError, FloatingPointError, CorruptRecordError) as error:
            raised_in = traceback.extract_tb(error.__traceback__)[-1].filename
            _end(error, str(error) if Path(raised_in).is_relative_to(Path(__file__).parent) else None)
        except Exception as error:
            _end(error, None)

    app.run(run, flags_parser=_parse_flags)


def _end(error: Exception, sentence: str | None) -> NoReturn:
    """Tell an error, as a sentence or with its traceback, and end with exit status 1."""
    if sentence is None and not jax.distributed.is_initialized():
        raise error
    if sentence is None:
        traceback.print_exception(error)
    else:
        print(f"error: {sentence}", file=sys.stderr)
    leave(error)


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


def load_family(config: ConfigDict, placement: Placement = None) -> Family:
    """The base that a config names, with its side network's settings; raises ValueError for an unknown dtype.

    Args:
      config: fields base, data.condition, side, dtypes.
      placement: where each tensor of the main network goes as soon as it is read; None: it stays in numpy.
    """
    for name in ("frozen_dtype", "compute_dtype"):
        if config[name] not in DTYPES:
            raise ValueError(f"config.{name} is '{config[name]}': use {' or '.join(DTYPES)}.")
    conditions, side = condition_names(config), config.side
    return load_stable_diffusion(
        config.base,
        condition_channels=tuple(config.condition_channels),
        conditions=conditions,
        start_from=_start_folders(side.start_from, conditions),
        block_out_channels=side.block_out_channels,
        layers_per_block=side.layers_per_block,
        frozen_dtype=config.frozen_dtype,
        compute_dtype=config.compute_dtype,
        remat=config.remat,
        attention=config.attention,
        decoder_width=decoder_width(config),
        placement=placement,
    )


def absolute_paths(config: ConfigDict) -> None:
    """Make the config's folders absolute: other commands read it from the work directory, wherever they are started."""
    config.base = str(Path(config.base).absolute())
    if "dir" in config.data:
        config.data.dir = str(Path(config.data.dir).absolute())
    start = _start_folders(config.side.start_from, condition_names(config))
    if isinstance(start, dict):
        config.side.start_from = ",".join(f"{name}={Path(folder).absolute()}" for name, folder in start.items())
    elif start is not None:
        config.side.start_from = str(Path(start).absolute())


def _start_folders(start_from: str | None, conditions: tuple[str, ...] | None) -> str | dict[str, str] | None:
    """`side.start_from` as the family takes it: several side networks are written name=FOLDER,name=FOLDER."""
    if start_from is None or conditions is None:
        return start_from
    pairs = [pair.partition("=") for pair in start_from.split(",")]
    if not all(name and folder for name, _, folder in pairs):
        raise ValueError(
            f"config.side.start_from is '{start_from}': with the conditions {', '.join(conditions)} write "
            f"{conditions[0]}=FOLDER, several with commas between."
        )
    return {name: folder for name, _, folder in pairs}


def read_config(workdir: str | Path) -> ConfigDict:
    """The config of a work directory; raises FileNotFoundError where no run was started."""
    path = Path(workdir) / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: give the --workdir of a training run.")
    return ConfigDict(json.loads(path.read_text()))


def trainable_init(config: ConfigDict, family: Family) -> Callable[[Params, jax.Array], Params]:
    """(start, key) -> side network, and decoder where there is LISA."""
    hook = used_hook(config, family.model)
    return lambda start, key: family.model.init_trainable(start, key, hook)


def identity(config: ConfigDict, family: Family) -> dict[str, Any]:
    """What two runs that share checkpoints must share."""
    width = decoder_width(config) if config.lisa.lam > 0 else 1.0
    return {
        "base": family.fingerprint,
        "seed": config.seed,
        "batch_size": config.batch_size,
        "accumulate": config.accumulate,
        "frozen_dtype": config.frozen_dtype,
        "data": config.data.to_dict(),
        "hook": used_hook(config, family.model),
        "condition_channels": tuple(config.condition_channels),
        "side": config.side.to_dict(),
        "ema_decay": config.ema_decay,
        # Checkpoints from before there was a choice say nothing of it.
        **({} if width == 1 else {"decoder_width": width}),
    }


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A training run, read back.

    Attributes:
      config: its config.
      family: its family.
      side: the side network's parameters.
      decoder: the alignment decoder's, None of plain training.
      step: the training steps that they had.
    """

    config: ConfigDict
    family: Family
    side: Params
    decoder: Params | None
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
    # From nothing: only shapes are asked for.
    init = partial(trainable_init(config, family), {})
    initialise = state_initialiser(init, optimizer, ema=config.ema_decay is not None)
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device),
        jax.eval_shape(initialise, jax.random.key(0)),
    )
    # Here, for Orbax takes seconds to import and not every command reads a run.
    from lisa_jax.training.checkpoint import Checkpoints

    checkpoints = Checkpoints(workdir, config.keep, identity(config, family), read_only=True)
    state = checkpoints.restore(like)
    checkpoints.close()
    if state is None:
        raise FileNotFoundError(f"{workdir} has no checkpoint yet: train for config.save_every steps first.")
    if weights == "ema" and state.ema is None:
        raise ValueError(f"{workdir} keeps no moving average: use --weights=raw, or train with --config.ema_decay.")
    params = state.params if weights == "raw" else state.eval_params
    return TrainedRun(config, family, params["side"], params.get("decoder"), int(state.step))
