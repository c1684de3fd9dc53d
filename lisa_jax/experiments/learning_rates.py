"""Learning rates of the layers that training adds: fresh layers of the side networks, and alignment decoders."""

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from lisa_jax.dual_branch import DualBranch, Params, Tree
from lisa_jax.training.optimizer import RateFactors


def rate_factors(config: ConfigDict, model: DualBranch) -> RateFactors:
    """How many times the learning rate each trainable parameter has; 1 for what is like the main network's.

    Args:
      config: of `lisa_jax train`, its fields optimizer.decoder_rate, fresh_rate, fresh_layers, fresh_steps.
      model: names the groups of fresh layers, see `SideNetwork.fresh`.

    Raises:
      ValueError: a group that the side networks do not have, lists those that they have; or settings of fresh layers
        that would do nothing.
    """
    optimizer, chosen = config.optimizer, fresh_layers(config, model)
    said = [name for name in ("fresh_layers", "fresh_steps") if optimizer[name] is not None]
    if optimizer.fresh_rate == 1 and said:
        raise ValueError(f"optimizer.{said[0]} is set, but does nothing while optimizer.fresh_rate is 1: unset it.")
    if optimizer.fresh_rate != 1 and not chosen:
        raise ValueError(
            f"optimizer.fresh_rate is {optimizer.fresh_rate:g}, but these side networks name no fresh layers: leave it "
            "at 1."
        )

    def factors(trainable: Params, step: jax.Array) -> Tree:
        fresh = fresh_rate(config, step)
        groups = model.layer_groups(trainable["side"])
        tree = {"side": jax.tree.map(lambda group: fresh if group in chosen else 1.0, groups)}
        return tree | ({"decoder": optimizer.decoder_rate} if "decoder" in trainable else {})

    return factors


def fresh_rate(config: ConfigDict, step: jax.Array) -> jax.Array | float:
    """How many times the learning rate fresh layers have at a step: optimizer.fresh_rate, or a fall from there to 1.

    With optimizer.fresh_steps its logarithm falls evenly over so many steps.
    """
    rate, steps = config.optimizer.fresh_rate, config.optimizer.fresh_steps
    return rate if steps is None else rate ** jnp.maximum(0.0, 1.0 - step / steps)


def fresh_layers(config: ConfigDict, model: DualBranch) -> tuple[str, ...]:
    """The groups of fresh layers that have a rate of their own: those of optimizer.fresh_layers, or all.

    Raises:
      ValueError: as `rate_factors`.
    """
    names = config.optimizer.fresh_layers
    if names is None:
        return model.fresh_layers
    chosen = tuple(name.strip() for name in names.split(","))
    for name in chosen:
        if name not in model.fresh_layers:
            raise ValueError(
                f"Unknown fresh layers '{name}' in optimizer.fresh_layers: these side networks have "
                f"{', '.join(model.fresh_layers) or 'none'}."
            )
    return chosen
