"""An ensemble of deterministic networks, each fitted until it no longer gets better on rows that it does not see.

After Clavera et al. 2018 (MB-MPO) and Kurutach et al. 2018 (ME-TRPO): each member draws its own split of the data at
every fit, which is what makes the members differ; weights are normalised (Salimans, Kingma 2016); a fit goes on from
the one before.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from onebody.core import random
from onebody.core.errors import OnebodyError, at_least, at_most, positive
from onebody.core.nets import MLP, Normalizer, fan_in
from onebody.core.types import Key
from onebody.learning.dynamics import within
from onebody.learning.ensemble import Member, key_of
from onebody.learning.replay import Replay

BEGIN = (1.5, 2.0)
"""the rolling validation loss, and the one before it, at the start: times the first validation loss"""


@dataclass(frozen=True)
class ValidatedConfig:
    """How the ensemble is built and fitted. MB-MPO's released code."""

    members: int = 5
    """Number of models in the ensemble"""
    hidden: tuple[int, ...] = (512, 512)
    """Units of each hidden layer of each model"""
    batch: int = 500
    """Transitions per gradient step and model"""
    learning_rate: float = 1e-3
    """Adam's learning rate for the models"""
    epochs: int = 500
    """Largest number of passes over the data per fit"""
    held_out: float = 0.2
    """Share of the data that each model is validated on"""
    persistence: float = 0.99
    """Share of the last rolling validation loss in the next one; a model's fit ends when the rolling loss rises"""
    capacity: int = 100_000
    """Number of newest real transitions that are kept"""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the factors of matrix products. bfloat16 is faster on processors that multiply in it, where a model
    is given 32 rows at once or more"""
    bias: float = 0.0
    """Largest constant error of each model's predictions, drawn from U(0, bias) at every fit, in standard deviations of
    differences: MB-MPO's experiment with worse models"""
    noise: float = 0.0
    """Standard deviation of noise added to predictions, in standard deviations of differences: for MB-MPO's experiment
    with worse models"""

    def __post_init__(self) -> None:
        at_least(1, self, "members", "hidden", "batch", "epochs", "capacity")
        at_least(0, self, "persistence", "bias", "noise")
        at_most(1, self, "persistence", "held_out")
        positive(self, "learning_rate", "held_out")
        if self.held_out == 1:
            raise OnebodyError("held_out must be below 1: nothing would be left to fit")


class WeightNormed(eqx.Module):
    """A network whose weights are gain · direction / ‖direction‖, unit by unit."""

    net: MLP
    """its weights are the directions"""
    gains: list[Float[Array, " out"]]

    def __init__(self, key: Key, sizes: tuple[int, ...], half: bool = False):
        self.net = MLP(key, sizes, jax.nn.relu, [fan_in(1.0)] * (len(sizes) - 1), half)
        self.gains = [jnp.linalg.norm(direction, axis=0) for direction in self.net.weights]

    def plain(self) -> MLP:
        """The same network with its weights worked out."""
        pairs = zip(self.gains, self.net.weights, strict=True)
        weights = [gain * direction / jnp.linalg.norm(direction, axis=0) for gain, direction in pairs]
        return eqx.tree_at(lambda n: n.weights, self.net, weights)


class Flawed(Member):
    """A member whose predictions are off on purpose.

    The noise follows from what is observed, so that a model stays a function of it.
    """

    bias: Float[Array, "*members"]
    noise: float = eqx.field(static=True)

    def __call__(
        self, observation: Float[Array, "*axes observation"], action: Float[Array, "*axes action"]
    ) -> Float[Array, "*axes observation"]:
        noise = random.normal(key_of(jax.random.key(0), observation), observation.shape)
        off = self.difference.spread * (self.bias + self.noise * noise)
        return within(super().__call__(observation, action) + off, self.observation)


class Validated(eqx.Module):
    """The members, what their optimisers remember, and the statistics of the data."""

    nets: WeightNormed
    """stacked along a leading axis of members"""
    optimizer: PyTree
    observation: Normalizer
    difference: Normalizer
    bias: Float[Array, " member"] | None
    """None: predictions are not off on purpose"""
    noise: float = eqx.field(static=True)

    def __init__(self, key: Key, observation_size: int, action_size: int, config: ValidatedConfig):
        sizes = (observation_size + action_size, *config.hidden, observation_size)
        half = config.precision == "bfloat16"
        self.nets = jax.vmap(lambda k: WeightNormed(k, sizes, half))(jax.random.split(key, config.members))
        self.optimizer = jax.vmap(optax.adam(config.learning_rate).init)(eqx.filter(self.nets, eqx.is_array))
        self.observation, self.difference = Normalizer(observation_size), Normalizer(observation_size)
        self.bias, self.noise = jnp.zeros(config.members) if config.bias or config.noise else None, config.noise

    def models(self) -> Member:
        """The members as models, (observation, action) -> next observation, stacked."""
        size = len(self.nets.gains[0])
        repeated = lambda x: jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (size, *leaf.shape)), x)  # noqa: E731
        nets = jax.vmap(WeightNormed.plain)(self.nets)
        statistics = repeated(self.observation), repeated(self.difference)
        return Member(nets, *statistics) if self.bias is None else Flawed(nets, *statistics, self.bias, self.noise)


class _Split(NamedTuple):
    """Rows of the data as one member sees them."""

    inputs: Float[Array, "row input"]
    wanted: Float[Array, "row observation"]
    order: Int[Array, " row"]
    """the first rows are held out, rows that are not filled come last"""
    n_held_out: Int[Array, ""]
    n_fitted: Int[Array, ""]


def fit(
    model: Validated, data: Replay, key: Key, config: ValidatedConfig
) -> tuple[Validated, dict[str, Float[Array, " member"]]]:
    """Epochs of Adam on the squared error of normalised differences, for each member until its own end.

    The metrics are the last validation loss of each member, and its epochs.
    """
    inputs = jnp.concatenate([model.observation(data.observation), jnp.clip(data.action, -1.0, 1.0)], axis=-1)
    wanted = model.difference(data.next_observation - data.observation)
    n_held_out = jnp.maximum((config.held_out * data.size).astype(jnp.int32), 1)

    def one(member: tuple[WeightNormed, PyTree, Key]) -> tuple[WeightNormed, PyTree, Array, Array]:
        net, optimizer, key = member
        split_key, epoch_key = jax.random.split(key)
        row = jnp.arange(data.capacity)
        drawn = jnp.where(row < data.size, random.uniform(split_key, (data.capacity,)), 2.0 + row)
        split = _Split(inputs, wanted, jnp.argsort(drawn), n_held_out, data.size - n_held_out)
        return _fitted(net, optimizer, split, epoch_key, config)

    keys = jax.random.split(key, len(model.nets.gains[0]))
    nets, optimizer, loss, epochs = jax.lax.map(one, (model.nets, model.optimizer, keys))
    fitted = eqx.tree_at(lambda m: (m.nets, m.optimizer), model, (nets, optimizer))
    if model.bias is not None:
        bias_key = jax.random.fold_in(key, len(keys))  # the members have those before it
        drawn = random.uniform(bias_key, model.bias.shape, high=config.bias)
        fitted = eqx.tree_at(lambda m: m.bias, fitted, drawn)
    return fitted, {"model/held_out_error": jnp.sqrt(loss), "model/epochs": epochs}


def _fitted(
    net: WeightNormed, optimizer: PyTree, split: _Split, key: Key, config: ValidatedConfig
) -> tuple[WeightNormed, PyTree, Float[Array, ""], Int[Array, ""]]:
    """Epochs until the rolling validation loss rises; also the last validation loss, and how many they were."""

    def epoch(carry: PyTree) -> PyTree:
        net, optimizer, rolling, _, n, key = carry
        key, offset_key = jax.random.split(key)
        net, optimizer = _epoch(net, optimizer, split, offset_key, config)
        loss = _validation(net, split, config.batch)
        first = jnp.isinf(rolling)
        before = jnp.where(first, BEGIN[1] * loss, rolling)
        start = jnp.where(first, BEGIN[0] * loss, rolling)
        rolling = config.persistence * start + (1 - config.persistence) * loss
        return net, optimizer, rolling, jnp.stack([before, loss]), n + 1, key

    def goes_on(carry: PyTree) -> Array:
        _, _, rolling, (before, _), n, _ = carry
        return (n < config.epochs) & ((n == 0) | (rolling <= before))

    start = (net, optimizer, jnp.array(jnp.inf), jnp.zeros(2), jnp.zeros((), jnp.int32), key)
    net, optimizer, _, (_, loss), n, _ = jax.lax.while_loop(goes_on, epoch, start)
    return net, optimizer, loss, n


def _epoch(
    net: WeightNormed, optimizer: PyTree, split: _Split, key: Key, config: ValidatedConfig
) -> tuple[WeightNormed, PyTree]:
    """One pass over the rows that are fitted, in their order, from a place drawn at random."""
    offset = random.randint(key, (), 0, split.n_fitted)

    def step(i: Array, carry: tuple[WeightNormed, PyTree]) -> tuple[WeightNormed, PyTree]:
        net, optimizer = carry
        at = (offset + i * config.batch + jnp.arange(config.batch)) % split.n_fitted
        gradient = jax.grad(_error)(net, split, split.n_held_out + at)
        updates, optimizer = optax.adam(config.learning_rate).update(gradient, optimizer)
        return eqx.apply_updates(net, updates), optimizer

    return jax.lax.fori_loop(0, jnp.maximum(split.n_fitted // config.batch, 1), step, (net, optimizer))


def _validation(net: WeightNormed, split: _Split, batch: int) -> Float[Array, ""]:
    """Mean error of the rows held out, in pieces of a batch, so that it costs no more memory than a step."""

    def add(i: Array, total: Array) -> Array:
        at = i * batch + jnp.arange(batch)
        counted = (at < split.n_held_out).astype(jnp.float32)
        return total + _error(net, split, jnp.minimum(at, len(split.order) - 1), counted) * counted.sum()

    pieces = (split.n_held_out + batch - 1) // batch
    return jax.lax.fori_loop(0, pieces, add, jnp.zeros(())) / split.n_held_out


def _error(net: WeightNormed, split: _Split, at: Int[Array, " n"], counted: Array | float = 1.0) -> Float[Array, ""]:
    """Mean squared error of rows at places of the order; only those that are counted, 1 or 0 [n]."""
    rows = split.order[at]
    errors = jnp.mean((net.plain()(split.inputs[rows]) - split.wanted[rows]) ** 2, axis=-1)
    return jnp.average(errors, weights=jnp.broadcast_to(counted, errors.shape))
