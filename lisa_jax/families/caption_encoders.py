"""A text encoder with its tokenizer, of which a family may have several, and how one is read from a checkpoint."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import jax.numpy as jnp
import numpy as np

from lisa_jax.checkpoints.checkpoint import Checkpoint, CheckpointError
from lisa_jax.checkpoints.component import Component
from lisa_jax.checkpoints.tokenizer import Tokenizer, load_tokenizer
from lisa_jax.dual_branch import Params
from lisa_jax.families.abstract import no_weights, not_read
from lisa_jax.families.stable_diffusion_checks import check_tokens
from lisa_jax.models.clip_text import CLIPTextConfig
from lisa_jax.models.t5_encoder import T5Config

Config = TypeVar("Config", CLIPTextConfig, T5Config)


@dataclasses.dataclass(frozen=True)
class CaptionEncoder(Generic[Config]):
    """A text encoder and its tokenizer.

    Attributes:
      config: of the network.
      length: tokens of every caption.
      tokenize: captions -> ids, int32 (n, length).
      load_params: reads the network's weights.
      cuts: captions -> of each, whether its end is left out; None where that is not known.
    """

    config: Config
    length: int
    tokenize: Callable[[Sequence[str]], np.ndarray]
    load_params: Callable[[], Params]
    cuts: Callable[[Sequence[str]], Sequence[bool]] | None = None


def abstract_encoder(config: Config, length: int) -> CaptionEncoder[Config]:
    """That of an architecture alone, which reads no captions."""
    return CaptionEncoder(config, length, not_read("Captions"), no_weights)


def load_encoder(
    checkpoint: Checkpoint,
    component: Component[Config],
    config: Config,
    tokenizer: Tokenizer,
    ending: str = "",
    dtype: jnp.dtype | None = None,
) -> CaptionEncoder[Config]:
    """That of `text_encoder<ending>`; weights are read at their first use, `dtype` None keeps the file's.

    Raises:
      CheckpointError: weights that do not fit the config.
    """
    name = f"text_encoder{ending}"
    component.check(checkpoint, name)
    return CaptionEncoder(
        config, tokenizer.max_length, tokenizer, lambda: component.read(checkpoint, name, dtype)[1], tokenizer.cuts
    )


def load_clips(
    checkpoint: Checkpoint, clips: Sequence[tuple[Component[CLIPTextConfig], CLIPTextConfig]]
) -> list[CaptionEncoder[CLIPTextConfig]]:
    """Those of `text_encoder`, `text_encoder_2`, ..., in float32, with their tokenizers.

    Raises:
      CheckpointError: a part that is missing, does not fit its config or does not fit the others, by name.
    """
    found = []
    for index, (component, config) in enumerate(clips):
        ending = f"_{index + 1}" if index else ""
        tokenizer = load_tokenizer(checkpoint, f"tokenizer{ending}")
        check_tokens(checkpoint, tokenizer, config.vocab_size, config.max_position_embeddings, ending)
        found.append(load_encoder(checkpoint, component, config, tokenizer, ending, jnp.float32))
        if found[-1].length != found[0].length:
            raise CheckpointError(
                f"{checkpoint.where()}: tokenizer pads captions to {found[0].length}, but tokenizer{ending} to "
                f"{found[-1].length}: give both one model_max_length."
            )
    return found


def captions_of(examples: Sequence[Mapping[str, Any]]) -> list[str]:
    """The captions of examples."""
    return [example["caption"] for example in examples]


def cuts_of(
    encoders: Mapping[str, CaptionEncoder],
) -> Callable[[Sequence[Mapping[str, Any]]], list[bool]] | None:
    """Examples -> of each, whether any of the tokenizers cuts its caption; None where one of them does not know."""
    if not all(encoder.cuts for encoder in encoders.values()):
        return None

    def cuts(examples: Sequence[Mapping[str, Any]]) -> list[bool]:
        captions = captions_of(examples)
        by_encoder = [encoder.cuts(captions) for encoder in encoders.values()]
        return [any(of_caption) for of_caption in zip(*by_encoder, strict=True)]

    return cuts
