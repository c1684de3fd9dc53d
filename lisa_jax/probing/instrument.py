"""All probes of a side network: every feature, target and noise level, and the shares of the gap."""

from collections.abc import Iterable, Mapping
from functools import cache, partial
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from lisa_jax import metrics
from lisa_jax.alignment import Alignment
from lisa_jax.dual_branch import DualBranch, Params
from lisa_jax.families.family import Family
from lisa_jax.parallel.compiling import Announced
from lisa_jax.probing.features import (
    PIXELS,
    QUANTILES,
    feature_sizes,
    make_features,
    make_targets,
    noisy_sample,
    time_at,
)
from lisa_jax.probing.pictures import PARTS, ProbePictures
from lisa_jax.probing.probes import Parts, probe
from lisa_jax.probing.shares import explained, gap_losses
from lisa_jax.processes import Process

NOISE_LEVEL = "noise_level"
# By feature, target and quantile; that of the noise level, which is probed over all quantiles together, is None.
Scores = dict[tuple[str, str, float | None], float]


class Instrument:
    """Probes of side networks of one kind, beside one main network and on the same pictures.

    What does not depend on the side network's parameters is computed once, so that the cells of a study share it.

    Args:
      family: the main network and what it needs.
      process: the noise process as the loss sees it, see `control.objective_of`.
      pictures: what is probed on.

    Attributes:
      pictures: the same.
      times: the noise level of every quantile, in the process's own unit.
    """

    def __init__(self, family: Family, process: Process, pictures: ProbePictures):
        self._model, self._process, self.pictures = family.model, process, pictures
        self._frozen = jax.device_put(family.frozen)
        self.times = [time_at(process, quantile) for quantile in QUANTILES]
        self._features = make_features(family.model, process)
        self._targets = make_targets(family.model, process)
        self._targets_at: dict[tuple[int, str], Any] = {}
        self._losses = cache(partial(_make_losses, family.model, process))

    def scores(self, side: Params) -> Scores:
        """R^2 on the test pictures of every linear probe of a side network's features."""
        scores: Scores = {}
        means: dict[str, list[tuple[np.ndarray, ...]]] = {}
        params = (self._frozen, side)
        sizes = {
            part: feature_sizes(self._model, self._process, *params, getattr(self.pictures, part)) for part in PARTS
        }
        for level, quantile in enumerate(tqdm(QUANTILES, "probing features", unit="noise level", dynamic_ncols=True)):
            features = {part: self._features(params, *self._at(part, level)) for part in PARTS}
            targets = {part: self._level_targets(part, level, sizes[part].values()) for part in PARTS}
            for name in features["fit"]:
                pixels = Parts(*(_rows(features[part][name][0]) for part in PARTS))
                by_part = [targets[part][sizes[part][name]] for part in PARTS]
                wanted = {target: Parts(*(_rows(one[target]) for one in by_part)) for target in by_part[0]}
                found = probe(pixels, wanted)
                scores |= {(name, target, quantile): value for target, value in found.items()}
                means.setdefault(name, []).append(tuple(features[part][name][1] for part in PARTS))
        for name, by_level in means.items():
            pooled = Parts(*(np.concatenate(rows) for rows in zip(*by_level, strict=True)))
            levels = Parts(*(np.repeat(QUANTILES, len(rows) // len(QUANTILES))[:, None] for rows in pooled))
            scores[name, NOISE_LEVEL, None] = probe(pooled, {NOISE_LEVEL: levels})[NOISE_LEVEL]
        return scores

    def shares(self, trainable: Mapping[str, Params], align: Alignment | None) -> list[dict[str, float | None]]:
        """Shares of the gap by noise level on the test pictures: `quantile`, and those of `shares.explained`."""
        found = []
        for level, quantile in enumerate(tqdm(QUANTILES, "probing the gap", unit="noise level", dynamic_ncols=True)):
            total: dict[str, metrics.Mean] = {}
            for batch in self.pictures.test.batches():
                losses = self._losses(align)
                total = metrics.add(
                    total, losses(trainable, self._frozen, batch.inputs(), self.times[level], batch.noise(level))
                )
            found.append({"quantile": quantile, **explained(total)})
        return found

    def record(
        self, untrained: Scores, trainable: Mapping[str, Params], align: Alignment | None, run: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The line of a run, see `records`.

        Args:
          untrained: scores of the run's side network at step 0.
          trainable: {"side": params} and, with alignment, "decoder".
          align: what the decoders read; None in plain training.
          run: the fields that tell the run from others.
        """
        rows = [
            {
                "feature": feature,
                "target": target,
                "quantile": quantile,
                "r2": value,
                "untrained": untrained[feature, target, quantile],
            }
            for (feature, target, quantile), value in self.scores(trainable["side"]).items()
        ]
        counts = {"pictures": self.pictures.counts(), "pixels": PIXELS}
        return {**run, **counts, "rows": rows, "decoder": self.shares(trainable, align)}

    def _at(self, part: str, level: int) -> tuple[Any, jax.Array, int]:
        return getattr(self.pictures, part), self.times[level], level

    def _level_targets(self, part: str, level: int, sizes: Iterable[tuple[int, int]]) -> Any:
        if (level, part) not in self._targets_at:
            distinct = tuple(sorted(set(sizes)))
            self._targets_at[level, part] = self._targets(self._frozen, *self._at(part, level), sizes=distinct)
        return self._targets_at[level, part]


def _make_losses(model: DualBranch, process: Process, align: Alignment | None) -> Any:
    """(trainable, frozen, inputs, t, noise) -> `gap_losses` at one noise level."""

    def losses(trainable: Any, frozen: Params, inputs: Mapping[str, Any], t: jax.Array, noise: jax.Array) -> Any:
        noisy = noisy_sample(process, inputs["latents"], noise, t)
        return gap_losses(trainable, frozen, inputs, noisy, model=model, process=process, align=align)

    return Announced(losses, "the losses", position=2)


def _rows(pixels: np.ndarray) -> np.ndarray:
    """(n, pixels, k) -> (n pixels, k)"""
    return pixels.reshape(-1, pixels.shape[-1])
