"""An ensemble of deterministic networks, each fitted until its validation loss rises (early stopping).

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
from onebody.learning.dynamics import Dynamics, network_inputs, within
from onebody.learning.replay import Replay
from onebody.learning.train_state import TrainState
from onebody.tasks.limits import LimitedBody

INITIAL_LOSSES = (1.5, 2.0)
"""The rolling validation loss before the first epoch, and the one before that, relative to the first epoch's loss"""


@dataclass(frozen=True)
class EarlyStoppingConfig:
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


class ErroneousDynamics(Dynamics):
    """A member with errors added to its predictions, for MB-MPO's Figures 4 and 5."""

    bias: Float[Array, "*members"]
    noise: float = eqx.field(static=True)

    def __call__(
        self, key: Key, observation: Float[Array, "*axes observation"], action: Float[Array, "*axes action"]
    ) -> Float[Array, "*axes observation"]:
        noise = random.normal(key, observation.shape)
        error = self.difference.spread * (self.bias + self.noise * noise)
        wrong = within(self.predict(observation, action) + error, self.observation)
        return self.with_commands(observation, action, wrong)


class EarlyStoppedEnsemble(eqx.Module):
    """The members with their optimisers, and the statistics of the data."""

    nets: TrainState[WeightNormed]
    """stacked along a leading axis of members"""
    observation: Normalizer
    difference: Normalizer
    bias: Float[Array, " member"] | None
    """None: predictions have no added errors"""
    noise: float = eqx.field(static=True)
    limited: LimitedBody | None = eqx.field(static=True)
    """as of `Dynamics`"""

    def __init__(
        self,
        key: Key,
        observation_size: int,
        action_size: int,
        config: EarlyStoppingConfig,
        limited: LimitedBody | None = None,
    ):
        sensed = observation_size if limited is None else limited.n_sensed
        sizes = (sensed + action_size, *config.hidden, sensed)
        half = config.precision == "bfloat16"

        def new(key: Key) -> TrainState[WeightNormed]:
            return TrainState.create(WeightNormed(key, sizes, half), _adam(config))

        self.nets = jax.vmap(new)(jax.random.split(key, config.members))
        self.observation, self.difference = Normalizer(observation_size), Normalizer(observation_size)
        self.bias, self.noise = jnp.zeros(config.members) if config.bias or config.noise else None, config.noise
        self.limited = limited

    @property
    def size(self) -> int:
        """Number of members."""
        return len(self.nets.module.gains[0])

    def members(self) -> Dynamics:
        """The members as models, stacked."""
        repeated = lambda x: jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (self.size, *leaf.shape)), x)  # noqa: E731
        nets = jax.vmap(WeightNormed.plain)(self.nets.module)
        statistics = repeated(self.observation), repeated(self.difference)
        if self.bias is None:
            return Dynamics(nets, *statistics, limited=self.limited)
        return ErroneousDynamics(nets, *statistics, self.bias, self.noise, limited=self.limited)


def _adam(config: EarlyStoppingConfig) -> optax.GradientTransformation:
    return optax.adam(config.learning_rate)


class _Split(NamedTuple):
    """The data as one member sees them."""

    inputs: Float[Array, "row input"]
    target: Float[Array, "row observation"]
    order: Int[Array, " row"]
    """the first rows are held out, rows that are not filled come last"""
    n_held_out: Int[Array, ""]
    n_fitted: Int[Array, ""]


def fit(
    model: EarlyStoppedEnsemble, data: Replay, key: Key, config: EarlyStoppingConfig
) -> tuple[EarlyStoppedEnsemble, dict[str, Float[Array, " member"]]]:
    """Epochs of Adam on the squared error of normalised differences, for each member until its own end.

    The metrics are the last validation loss of each member, and its epochs.
    """
    inputs = network_inputs(model.observation, data.observation, data.action, model.limited)
    target = model.difference(data.next_observation - data.observation)
    target = target if model.limited is None else model.limited.sensed(target)
    n_held_out = jnp.maximum((config.held_out * data.size).astype(jnp.int32), 1)

    def fit_member(member: tuple[TrainState[WeightNormed], Key]) -> tuple[TrainState[WeightNormed], Array, Array]:
        net, key = member
        split_key, epoch_key = jax.random.split(key)
        row = jnp.arange(data.capacity)
        place = jnp.where(row < data.size, random.uniform(split_key, (data.capacity,)), 2.0 + row)
        split = _Split(inputs, target, jnp.argsort(place), n_held_out, data.size - n_held_out)
        return _fit_until_rising(net, split, epoch_key, config)

    keys = jax.random.split(key, model.size)
    nets, loss, epochs = jax.lax.map(fit_member, (model.nets, keys))
    fitted = eqx.tree_at(lambda m: m.nets, model, nets)
    if model.bias is not None:
        bias_key = jax.random.fold_in(key, len(keys))  # the members have those before it
        bias = random.uniform(bias_key, model.bias.shape, high=config.bias)
        fitted = eqx.tree_at(lambda m: m.bias, fitted, bias)
    return fitted, {"model/held_out_error": jnp.sqrt(loss), "model/epochs": epochs}


def _fit_until_rising(
    net: TrainState[WeightNormed], split: _Split, key: Key, config: EarlyStoppingConfig
) -> tuple[TrainState[WeightNormed], Float[Array, ""], Int[Array, ""]]:
    """Epochs until the rolling validation loss rises; also the last validation loss, and the number of epochs."""

    def epoch(carry: PyTree) -> PyTree:
        net, rolling, _, n, key = carry
        key, offset_key = jax.random.split(key)
        net = _epoch(net, split, offset_key, config)
        loss = _validation_loss(net.module, split, config.batch)
        first = jnp.isinf(rolling)
        before = jnp.where(first, INITIAL_LOSSES[1] * loss, rolling)
        start = jnp.where(first, INITIAL_LOSSES[0] * loss, rolling)
        rolling = config.persistence * start + (1 - config.persistence) * loss
        return net, rolling, jnp.stack([before, loss]), n + 1, key

    def goes_on(carry: PyTree) -> Array:
        _, rolling, (before, _), n, _ = carry
        return (n < config.epochs) & ((n == 0) | (rolling <= before))

    start = (net, jnp.array(jnp.inf), jnp.zeros(2), jnp.zeros((), jnp.int32), key)
    net, _, (_, loss), n, _ = jax.lax.while_loop(goes_on, epoch, start)
    return net, loss, n


def _epoch(
    net: TrainState[WeightNormed], split: _Split, key: Key, config: EarlyStoppingConfig
) -> TrainState[WeightNormed]:
    """One pass over the rows that are fitted, in their order, from a random place."""
    offset = random.randint(key, (), 0, split.n_fitted)

    def step(i: Array, net: TrainState[WeightNormed]) -> TrainState[WeightNormed]:
        places = (offset + i * config.batch + jnp.arange(config.batch)) % split.n_fitted
        return net.minimize(lambda module: (_error(module, split, split.n_held_out + places), None), _adam(config))[0]

    return jax.lax.fori_loop(0, jnp.maximum(split.n_fitted // config.batch, 1), step, net)


def _validation_loss(net: WeightNormed, split: _Split, batch: int) -> Float[Array, ""]:
    """Mean error of the rows held out, in pieces of a batch, so that it costs no more memory than a step."""

    def add(i: Array, total: Array) -> Array:
        places = i * batch + jnp.arange(batch)
        valid = (places < split.n_held_out).astype(jnp.float32)
        return total + _error(net, split, jnp.minimum(places, len(split.order) - 1), valid) * valid.sum()

    pieces = (split.n_held_out + batch - 1) // batch
    return jax.lax.fori_loop(0, pieces, add, jnp.zeros(())) / split.n_held_out


def _error(net: WeightNormed, split: _Split, places: Int[Array, " n"], weight: Array | float = 1.0) -> Float[Array, ""]:
    """Mean squared error of the rows at some places of the order, weighed by 1 or 0 [n]."""
    rows = split.order[places]
    errors = jnp.mean((net.plain()(split.inputs[rows]) - split.target[rows]) ** 2, axis=-1)
    return jnp.average(errors, weights=jnp.broadcast_to(weight, errors.shape))
