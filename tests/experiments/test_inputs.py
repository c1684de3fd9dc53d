"""Contexts on their way into the loss: what is drawn anew, and what is dropped."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lisa_jax.experiments.inputs import model_inputs
from lisa_jax.families.conditioner import Conditioner
from lisa_jax.sampling.generate import _contexts
from lisa_jax.sampling.noise import row_keys

N = 3000
LATENTS = SimpleNamespace(sample=lambda moments, key: moments)
CONTEXT = {"a": np.ones((N, 2), np.float32), "b": np.ones((N, 1, 3), np.float32), "ids": np.ones((N, 1), np.int32)}
KINDS = (("a",), ("a", "b"), ("b",))


def draw(params, context, keys, *, training):
    noise = jax.vmap(lambda key: jax.random.normal(key, (3,)))(keys)
    return context | {"a": context["a"] + params * noise[:, :2] * (1.0 if training else 10.0)}


def null(context, empty):
    return {"a": jnp.zeros_like(context["a"]), "b": jnp.zeros_like(context["b"]), "ids": context["ids"]}


def found(dropout=0.0, *, key=0, frozen=None, **parts):
    conditioner = Conditioner(dict, None, None, null, {}, **parts)
    family = SimpleNamespace(conditioner=conditioner, latents=LATENTS)
    inputs = {"moments": np.zeros((N, 1)), "context": CONTEXT}
    how = {"family": family, "empty": {}, "caption_dropout": dropout}
    return model_inputs(inputs, jax.random.key(key), frozen or {}, **how)["context"]


def test_kinds_of_dropout_are_as_likely_as_each_other():
    context = found(0.2, drops=KINDS)
    dropped = {name: np.asarray(leaf).reshape(N, -1).max(1) == 0 for name, leaf in context.items()}
    shares = [dropped["a"] & ~dropped["b"], dropped["a"] & dropped["b"], dropped["b"] & ~dropped["a"]]
    np.testing.assert_allclose(np.mean(shares, axis=1), 0.2, atol=0.03)
    assert not dropped["ids"].any()


def test_one_kind_of_dropout_takes_the_whole_context():
    context = found(0.3)
    dropped = {name: np.asarray(leaf).reshape(N, -1).max(1) == 0 for name, leaf in context.items()}
    np.testing.assert_array_equal(dropped["a"], dropped["b"])
    assert abs(dropped["a"].mean() - 0.3) < 0.03


def test_probabilities_of_more_than_one_are_refused():
    with pytest.raises(ValueError, match=r"in 3 ways, each as often: give at most 0\.33\."):
        found(0.4, drops=KINDS)


def test_contexts_are_drawn_anew_for_each_row_and_key_before_they_are_dropped():
    first, other = (found(key=key, frozen={"latents": 2.0}, draw=draw)["a"] for key in (0, 1))
    noise = np.asarray(first) - 1
    assert len(np.unique(noise[:, 0])) > N - 5 and abs(noise.std() - 2.0) < 0.1 and not np.allclose(first, other)
    dropped = found(0.2, frozen={"latents": 2.0}, draw=draw)["a"]
    np.testing.assert_array_equal(dropped, np.where(np.asarray(dropped) == 0, 0, first))


def test_in_sampling_a_context_is_drawn_by_its_example():
    conditioner = Conditioner(dict, None, None, null, {}, reads_captions=False, draw=draw)

    def contexts(rows):
        batch = {"context": jax.tree.map(lambda leaf: leaf[rows], CONTEXT)}
        batch["key_data"] = jax.random.key_data(row_keys(3, rows))
        return _contexts(conditioner, 1.0, batch, guided=True)

    context, away = contexts(np.array([5, 7]))
    alone, _ = contexts(np.array([7]))
    np.testing.assert_array_equal(context["a"][1], alone["a"][0])
    assert not np.allclose(context["a"][0], context["a"][1]) and not away["a"].any() and away["ids"].all()
