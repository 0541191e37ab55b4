"""Policy improvement by pathwise gradients: through the model, the reward and a terminal value (SVG, SHAC, DHMBPO).

windows of H imagined steps from many states, each with a task of its own          `imagine`
J = Σ γ^t r_t + γ^H min(V̄₁, V̄₂)(s_H) + entropy, up to the end of an episode         `objective`
an end at s_t forfeits γ^t min(V̄₁, V̄₂)(s_t); ∇P(end | s_t) by evolution strategies    `end_probability`
policy: one step of Adam along ∂J/∂θ; values: one step towards TD(λ) of the windows  `update`
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from onebody.core import random
from onebody.core.errors import OnebodyError, at_least, at_most, positive
from onebody.core.nets import MLP, Normalizer, fan_in, normed_silu, renormalized
from onebody.core.types import Key
from onebody.learning.dynamics import Model
from onebody.learning.off_policy import averaged
from onebody.learning.policies import ConditionedPolicy
from onebody.learning.train_state import TrainState, gradient_and_value
from onebody.tasks.limited import perceived
from onebody.tasks.limits import LimitedBody

Outcome = Callable[[Array, Array, Array, Array], tuple[Array, Array]]
"""(observation, action, next observation, task), each with a leading axis of rows -> reward and termination [row]"""


@dataclass(frozen=True)
class FirstOrderConfig:
    """How a policy and its value functions are optimised in a model."""

    hidden: tuple[int, ...] = (128, 128)
    """Units of each hidden layer of the policy and of each value network"""
    batch: int = 128
    """Imagined windows per policy update"""
    window: int = 10
    """Imagined steps per window, the horizon H of the pathwise gradient"""
    value_steps: int = 3
    """Steps of each window, newly drawn per update, on whose states the value networks are fitted"""
    from_start: float = 0.1
    """Share of the windows that begin at p0"""
    from_data: float = 0.4
    """Share of the windows that begin at states of the data, each in a newly drawn task; those of neither share begin
    at states that the policy has visited in the models"""
    learning_rate: float = 5e-4
    """Adam's learning rate for the policy"""
    value_rate: float = 1e-2
    """Adam's learning rate for the value networks"""
    discount: float = 0.99
    """Discount factor γ"""
    trace: float = 0.95
    """Trace decay λ of the value networks' targets"""
    entropy: float = 1e-3
    """Coefficient of the policy's entropy, in reward per step and nat"""
    disagreement_penalty: float = 0.0
    """Coefficient of the models' disagreement, which is subtracted from each imagined reward, in reward per standard
    deviation of differences. It keeps the policy near the data, which matters most where training takes no real samples
    (train --data)"""
    clip_norm: float = 1.0
    """Largest global norm of the policy's gradient and of that of the values; a larger one is scaled down to it"""
    target_rate: float = 0.05
    """Share τ of the value networks' weights in those of their targets per update"""
    end_draws: int = 8
    """Noisy copies of each imagined state that tell the policy's gradient how near the state is to the end of the
    episode, in families whose episodes may end early; 0: the gradient does not see the end"""
    end_noise: float = 0.3
    """Standard deviation of these copies' noise, in standard deviations of observations"""

    def __post_init__(self) -> None:
        at_least(1, self, "hidden", "batch", "window", "value_steps")
        at_least(0, self, "discount", "trace", "entropy", "disagreement_penalty")
        at_least(0, self, "from_start", "from_data", "end_draws")
        positive(self, "learning_rate", "value_rate", "clip_norm", "target_rate", "end_noise")
        at_most(1, self, "discount", "trace", "target_rate")
        if self.from_start + self.from_data > 1:
            raise OnebodyError("from_start and from_data are shares that must not be more than 1 together")
        if self.value_steps > self.window:
            raise OnebodyError(f"value_steps {self.value_steps} are more than the {self.window} steps of a window")


class Values(eqx.Module):
    """Two value functions of (normalised observation, task)."""

    nets: MLP
    """stacked along a leading axis of two"""
    observation: Normalizer
    task: Normalizer

    def __init__(self, key: Key, hidden: tuple[int, ...], observation: Normalizer, task: Normalizer):
        sizes = (len(observation.mean) + len(task.mean), *hidden, 1)

        def net(key: Key) -> MLP:
            return MLP(key, sizes, normed_silu, [fan_in(1.0)] * len(hidden) + [fan_in(0.01)])

        self.nets, self.observation, self.task = jax.vmap(net)(jax.random.split(key, 2)), observation, task

    def __call__(
        self, observation: Float[Array, "*axes observation"], task: Float[Array, "*axes feature"]
    ) -> Float[Array, "2 *axes"]:
        inputs = jnp.concatenate([self.observation(observation), self.task(task)], axis=-1)
        return jax.vmap(lambda net: net(inputs)[..., 0])(self.nets)


class Agent(eqx.Module):
    """A policy, its value functions, and their target networks."""

    policy: TrainState[ConditionedPolicy]
    values: TrainState[Values]
    targets: Values


def new_agent(key: Key, observation: Normalizer, task: Normalizer, action_size: int, config: FirstOrderConfig) -> Agent:
    """An untrained agent."""
    policy_key, value_key = jax.random.split(key)
    policy = ConditionedPolicy(policy_key, config.hidden, observation, task, action_size)
    values = Values(value_key, config.hidden, observation, task)
    policy_optimizer, value_optimizer = _optimizers(config)
    return Agent(TrainState.create(policy, policy_optimizer), TrainState.create(values, value_optimizer), values)


def renormalize(agent: Agent, observation: Normalizer) -> Agent:
    """The same actions and values, with other statistics of observations."""
    nets = lambda values: values.nets  # noqa: E731
    policy = agent.policy.with_module(renormalized(agent.policy.module, observation))
    values = agent.values.with_module(renormalized(agent.values.module, observation, nets))
    return Agent(policy, values, renormalized(agent.targets, observation, nets))


class Windows(NamedTuple):
    """Imagined steps [time, row]; `alive` until the row's episode has ended, 1 or 0."""

    observation: Float[Array, "time row observation"]
    next_observation: Float[Array, "time row observation"]
    reward: Float[Array, "time row"]
    entropy: Float[Array, "time row"]
    alive: Float[Array, "time row"]
    terminated: Float[Array, "time row"]
    end_probability: Float[Array, "time row"]
    """Always 0, with the gradient of the probability that a noisy copy of the new state ends the episode"""


def end_probability(
    terminal: Callable[[Array], Array],
    state: Float[Array, "row observation"],
    noise: Float[Array, "draw row observation"],
    scale: Float[Array, " observation"],
) -> Float[Array, " row"]:
    """0, with the gradient of p(s) = P(s + σ ε is terminal), ε ~ N(0, I). `terminal` itself is a step function without
    a useful gradient, so that of p is estimated:
    ∇p(s) = E[1(s + σ ε is terminal) ε] / σ (evolution strategies, Salimans et al. 2017). Without noise: 0 alone.

    Args:
        terminal: whether each row of states is terminal.
        scale: σ.
    """
    if not len(noise):
        return jnp.zeros(len(state))
    fixed = jax.lax.stop_gradient(state)
    ends = jax.vmap(terminal)(fixed + scale * noise).astype(jnp.float32) - terminal(fixed)  # less its value at ε = 0
    slope = (ends[..., None] * noise).mean(0) / scale
    return jnp.sum((state - fixed) * slope, -1)


def imagine(
    policy: ConditionedPolicy,
    model: Model,
    outcome: Outcome,
    start: Float[Array, "row observation"],
    tasks: Float[Array, "row feature"],
    noise: Float[Array, "time row action"],
    end_noise: Float[Array, "draw row observation"],
    key: Key,
    config: FirstOrderConfig,
    limited: LimitedBody | None = None,
) -> Windows:
    """Windows of imagined steps from each start, for its own task.

    Args:
        key: for models that are random, and for the noise on observations.
        limited: the body, if it has limits: the policy is given observations that may be noisy or dropped.
    """
    disturbed = limited if limited is not None and limited.disturbed else None
    scale = config.end_noise * policy.observation.std

    def step(carry: tuple[Array, ...], inputs: tuple[Array, Key]) -> tuple[tuple[Array, ...], Windows]:
        (observation, alive, *goes_on_from), (noise, key) = carry, inputs
        action, entropy = policy.sample(observation, tasks, noise)
        predicted = next_observation = model(key, goes_on_from[0] if goes_on_from else observation, action)
        if disturbed is not None:
            next_observation = perceived(disturbed, jax.random.fold_in(key, 1), observation, predicted)
        reward, terminated = outcome(observation, action, next_observation, tasks)
        ended = terminated.astype(jnp.float32)
        terminal = lambda state: outcome(observation, action, state, tasks)[1]  # noqa: E731
        end = end_probability(terminal, next_observation, end_noise, scale)
        frozen = jax.lax.stop_gradient(next_observation)
        next_observation = jnp.where(ended[:, None] > 0, frozen, next_observation)
        step = Windows(observation, next_observation, reward, entropy, alive, ended, end)
        return (next_observation, alive * (1 - ended), *([predicted] if goes_on_from else [])), step

    inputs = noise, jax.random.split(key, len(noise))
    hidden = [] if disturbed is None else [start]
    return jax.lax.scan(step, (start, jnp.ones(len(start)), *hidden), inputs)[1]


def objective(
    windows: Windows,
    targets: Callable[[Array, Array], Array],
    tasks: Float[Array, "row feature"],
    config: FirstOrderConfig,
) -> Float[Array, ""]:
    """J per window, in reward per step. Its gradient goes through the windows' states, not into the values, and also
    along that of the probability of an end, which costs the value of the state that it comes at."""
    time = config.discount ** jnp.arange(config.window)[:, None]
    lost = jax.lax.stop_gradient(config.discount * bootstraps(windows, targets, tasks))
    steps = windows.reward + config.entropy * windows.entropy - windows.end_probability * lost
    last = windows.alive[-1] * (1 - windows.terminated[-1])
    value = targets(windows.next_observation[-1], tasks).min(0)
    return (
        jnp.mean((time * windows.alive * steps).sum(0) + config.discount**config.window * last * value) / config.window
    )


def bootstraps(
    windows: Windows, targets: Callable[[Array, Array], Array], tasks: Float[Array, "row feature"]
) -> Float[Array, "time row"]:
    """The smaller target value of each new state."""
    rows = jnp.broadcast_to(tasks, (*windows.reward.shape, tasks.shape[-1]))
    return targets(windows.next_observation, rows).min(0)


def td_lambda(
    windows: Windows,
    targets: Callable[[Array, Array], Array],
    tasks: Float[Array, "row feature"],
    config: FirstOrderConfig,
) -> Float[Array, "time row"]:
    """TD(λ) returns of the windows, with the smaller target value as the bootstrap."""
    bootstrap = bootstraps(windows, targets, tasks)

    def step(carry: Array, row: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        reward, terminated, value = row
        mixed = (1 - config.trace) * value + config.trace * carry
        target = reward + config.discount * (1 - terminated) * mixed
        return target, target

    return jax.lax.scan(step, bootstrap[-1], (windows.reward, windows.terminated, bootstrap), reverse=True)[1]


def value_loss(
    values: Values, windows: Windows, target: Float[Array, "time row"], tasks: Float[Array, "row feature"]
) -> Float[Array, ""]:
    """Mean squared error of both values, of the steps before the end of their episodes, and summed over the two."""
    rows = jnp.broadcast_to(tasks, (*target.shape, tasks.shape[-1]))
    errors = jnp.square(values(windows.observation, rows) - target)
    return jnp.sum(errors * windows.alive) / jnp.maximum(windows.alive.sum(), 1.0)


def update(
    agent: Agent,
    model: Model,
    outcome: Outcome,
    start: Float[Array, "row observation"],
    tasks: Float[Array, "row feature"],
    key: Key,
    config: FirstOrderConfig,
    rate: Float[Array, ""] | float = 1.0,
    limited: LimitedBody | None = None,
) -> tuple[Agent, dict[str, Array]]:
    """One step of the policy along the gradient of J, and one of the values towards TD(λ) of the same windows.

    Args:
        rate: share of both learning rates.
        limited: as in `imagine`.
    """
    policy_optimizer, value_optimizer = _optimizers(config)
    noise_key, step_key = jax.random.split(key)
    noise = random.normal(noise_key, (config.window, len(start), agent.policy.module.noise_size))
    end_noise = random.normal(jax.random.fold_in(key, 2), (config.end_draws, *start.shape))
    model_key = jax.random.fold_in(key, 3)

    def policy_loss(policy: ConditionedPolicy) -> tuple[Array, Windows]:
        windows = imagine(policy, model, outcome, start, tasks, noise, end_noise, model_key, config, limited)
        return -objective(windows, agent.targets, tasks, config), windows

    gradient, (cost, windows) = gradient_and_value(policy_loss, agent.policy.module)
    gradient = jax.tree.map(jnp.nan_to_num, gradient)
    policy = agent.policy.apply(gradient, policy_optimizer, rate)

    windows = jax.lax.stop_gradient(windows)
    target = td_lambda(windows, agent.targets, tasks, config)
    steps = jax.random.permutation(step_key, config.window)[: config.value_steps]
    chosen, target = jax.tree.map(lambda x: x[steps], (windows, target))

    def values_loss(values: Values) -> tuple[Array, Array]:
        loss = value_loss(values, chosen, target, tasks)
        return loss, loss

    values, value_cost = agent.values.minimize(values_loss, value_optimizer, rate)
    target_nets = averaged(agent.targets.nets, values.module.nets, config.target_rate)
    metrics = {
        "imagined/objective": -cost,
        "policy/entropy": windows.entropy.mean(),
        "value/error": jnp.sqrt(value_cost / 2),
        "policy/gradient_norm": optax.tree.norm(gradient),
    }
    return Agent(policy, values, eqx.tree_at(lambda v: v.nets, agent.targets, target_nets)), metrics


def _optimizers(config: FirstOrderConfig) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    clip = optax.clip_by_global_norm(config.clip_norm)
    policy, values = (optax.chain(clip, optax.adam(rate)) for rate in (config.learning_rate, config.value_rate))
    return optax.flatten(policy), optax.flatten(values)  # one vector each: fewer kernels to compile and to run
