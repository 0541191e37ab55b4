"""Policy improvement by pathwise gradients: through the model, the reward and a terminal value (SVG, SHAC, DHMBPO).

windows of H imagined steps from many states, each with a task of its own          `imagine`
J = Σ γ^t r_t + γ^H min(V̄₁, V̄₂)(s_H) + entropy, up to the end of an episode         `surrogate`
∇P(end | s_t), by which J loses γ^t min(V̄₁, V̄₂)(s_t), from noisy copies of s_t       `end_probability`
policy: one step of Adam along ∂J/∂θ; values: one step towards TD(λ) of the windows  `update`
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from onebody.core import random
from onebody.core.errors import OnebodyError, at_least, at_most, positive
from onebody.core.nets import MLP, Normalizer, fan_in, normed_silu, renormalized, trainable
from onebody.core.types import Key
from onebody.learning.policies import ConditionedPolicy

Judge = Callable[[Array, Array, Array, Array], tuple[Array, Array]]
"""(observation, action, next observation, task), each of rows, -> reward and termination of the rows"""


@dataclass(frozen=True)
class FirstOrderConfig:
    """How a policy and its values practise in a model."""

    hidden: tuple[int, ...] = (128, 128)
    """Units of each hidden layer of the policy and of each value network"""
    batch: int = 128
    """Imagined windows per policy update"""
    window: int = 10
    """Imagined steps per window, the horizon H of the pathwise gradient"""
    value_steps: int = 3
    """Steps of each window, drawn anew per update, whose states the value networks are fitted on"""
    from_start: float = 0.1
    """Share of the windows that begin at p0"""
    from_data: float = 0.4
    """Share of the windows that begin at states of the data, each in any task; those of neither share begin where the
    policy has come in the models"""
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
    clip_norm: float = 1.0
    """Largest global norm of the policy's gradient; a larger one is scaled down to it"""
    target_rate: float = 0.05
    """Share τ of the value networks' weights in those of their targets per update"""
    end_draws: int = 8
    """Noisy copies of each imagined state that tell the policy's gradient how near the state is to the end of the
    episode, in families whose episodes may end early; 0: the gradient does not see the end"""
    end_noise: float = 0.3
    """Standard deviation of these copies' noise, in standard deviations of observations"""

    def __post_init__(self) -> None:
        at_least(1, self, "hidden", "batch", "window", "value_steps")
        at_least(0, self, "discount", "trace", "entropy", "from_start", "from_data", "end_draws")
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
    """A policy, its values and what their optimisers remember."""

    policy: ConditionedPolicy
    values: Values
    targets: Values
    policy_optimizer: PyTree
    value_optimizer: PyTree


def new_agent(key: Key, observation: Normalizer, task: Normalizer, action_size: int, config: FirstOrderConfig) -> Agent:
    policy_key, value_key = jax.random.split(key)
    policy = ConditionedPolicy(policy_key, config.hidden, observation, task, action_size)
    values = Values(value_key, config.hidden, observation, task)
    policy_optimizer, value_optimizer = _optimizers(config)
    return Agent(
        policy,
        values,
        values,
        policy_optimizer.init(eqx.filter(policy.net, trainable(policy.net))),
        value_optimizer.init(eqx.filter(values.nets, trainable(values.nets))),
    )


def renormalize(agent: Agent, observation: Normalizer) -> Agent:
    """The agent with other statistics of observations, and the same actions and values."""
    nets = lambda values: values.nets  # noqa: E731
    return Agent(
        renormalized(agent.policy, observation),
        renormalized(agent.values, observation, nets),
        renormalized(agent.targets, observation, nets),
        agent.policy_optimizer,
        agent.value_optimizer,
    )


class Windows(NamedTuple):
    """Imagined steps [time, row]; `alive` until the row's episode has ended, 1 or 0."""

    observation: Float[Array, "time row observation"]
    next_observation: Float[Array, "time row observation"]
    reward: Float[Array, "time row"]
    entropy: Float[Array, "time row"]
    alive: Float[Array, "time row"]
    terminated: Float[Array, "time row"]
    end: Float[Array, "time row"]
    """0, with the gradient of the probability that a noisy copy of the new state ends the episode"""


def end_probability(
    terminal: Callable[[Array], Array],
    state: Float[Array, "row observation"],
    noise: Float[Array, "draw row observation"],
    scale: Float[Array, " observation"],
) -> Float[Array, " row"]:
    """0, with the gradient of p(s) = P(s + σ ε is terminal), ε ~ N(0, I), which has one although `terminal` is a step:
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
    model: Any,
    judge: Judge,
    start: Float[Array, "row observation"],
    tasks: Float[Array, "row feature"],
    noise: Float[Array, "time row action"],
    end_noise: Float[Array, "draw row observation"],
    config: FirstOrderConfig,
) -> Windows:
    """Windows from each start, for its own task."""
    scale = config.end_noise * policy.observation.std

    def step(carry: tuple[Array, Array], noise: Array) -> tuple[tuple[Array, Array], Windows]:
        observation, alive = carry
        action, entropy = policy.sample(observation, tasks, noise)
        following = model(observation, action)
        reward, terminated = judge(observation, action, following, tasks)
        ended = terminated.astype(jnp.float32)
        end = end_probability(lambda state: judge(observation, action, state, tasks)[1], following, end_noise, scale)
        following = jnp.where(ended[:, None] > 0, jax.lax.stop_gradient(following), following)
        return (following, alive * (1 - ended)), Windows(observation, following, reward, entropy, alive, ended, end)

    return jax.lax.scan(step, (start, jnp.ones(len(start))), noise)[1]


def surrogate(
    windows: Windows,
    targets: Callable[[Array, Array], Array],
    tasks: Float[Array, "row feature"],
    config: FirstOrderConfig,
) -> Float[Array, ""]:
    """J per window, in reward per step. Its gradient goes through the windows' states, not into the values, and also
    along that of the probability of an end, which costs the value of the state that it comes at."""
    time = config.discount ** jnp.arange(config.window)[:, None]
    worth = jax.lax.stop_gradient(config.discount * bootstraps(windows, targets, tasks))
    steps = windows.reward + config.entropy * windows.entropy - windows.end * worth
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


def update(
    agent: Agent,
    model: Any,
    judge: Judge,
    start: Float[Array, "row observation"],
    tasks: Float[Array, "row feature"],
    key: Key,
    config: FirstOrderConfig,
    rate: Float[Array, ""] | float = 1.0,
) -> tuple[Agent, dict[str, Array]]:
    """One step of the policy along the gradient of J, and one of the values towards TD(λ) of the same windows.

    `rate`: share of both learning rates.
    """
    policy_optimizer, value_optimizer = _optimizers(config)
    parameters, fixed = eqx.partition(agent.policy.net, trainable(agent.policy.net))
    noise_key, pick_key = jax.random.split(key)
    noise = random.normal(noise_key, (config.window, len(start), agent.policy.noise_size))
    end_noise = random.normal(jax.random.fold_in(key, 2), (config.end_draws, *start.shape))

    def objective(parameters: PyTree) -> tuple[Array, Windows]:
        policy = eqx.tree_at(lambda p: p.net, agent.policy, eqx.combine(parameters, fixed))
        windows = imagine(policy, model, judge, start, tasks, noise, end_noise, config)
        return -surrogate(windows, agent.targets, tasks, config), windows

    (cost, windows), gradient = jax.value_and_grad(objective, has_aux=True)(parameters)
    gradient = jax.tree.map(jnp.nan_to_num, gradient)
    updates, policy_state = policy_optimizer.update(gradient, agent.policy_optimizer)
    updates = jax.tree.map(lambda x: rate * x, updates)
    net = eqx.combine(optax.apply_updates(parameters, updates), fixed)

    windows = jax.lax.stop_gradient(windows)
    wanted = td_lambda(windows, agent.targets, tasks, config)
    steps = jax.random.permutation(pick_key, config.window)[: config.value_steps]
    observation, wanted, alive = (x[steps] for x in (windows.observation, wanted, windows.alive))
    value_parameters, value_fixed = eqx.partition(agent.values.nets, trainable(agent.values.nets))
    rows = jnp.broadcast_to(tasks, (*wanted.shape, tasks.shape[-1]))

    def value_error(parameters: PyTree) -> Array:
        values = eqx.tree_at(lambda v: v.nets, agent.values, eqx.combine(parameters, value_fixed))
        errors = jnp.square(values(observation, rows) - wanted)
        return jnp.sum(errors * alive) / jnp.maximum(alive.sum(), 1.0)

    value_cost, value_gradient = jax.value_and_grad(value_error)(value_parameters)
    updates, value_state = value_optimizer.update(value_gradient, agent.value_optimizer)
    updates = jax.tree.map(lambda x: rate * x, updates)
    nets = eqx.combine(optax.apply_updates(value_parameters, updates), value_fixed)

    share = config.target_rate
    targets = jax.tree.map(lambda old, new: (1 - share) * old + share * new, agent.targets.nets, nets)
    metrics = {
        "imagined/objective": -cost,
        "policy/entropy": windows.entropy.mean(),
        "value/error": jnp.sqrt(value_cost / 2),
        "policy/gradient": optax.tree.norm(gradient),
    }
    policy = eqx.tree_at(lambda p: p.net, agent.policy, net)
    values = eqx.tree_at(lambda v: v.nets, agent.values, nets)
    targets_now = eqx.tree_at(lambda v: v.nets, agent.targets, targets)
    return Agent(policy, values, targets_now, policy_state, value_state), metrics


def _optimizers(config: FirstOrderConfig) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    clip = optax.clip_by_global_norm(config.clip_norm)
    return (
        optax.chain(clip, optax.adam(config.learning_rate)),
        optax.chain(clip, optax.adam(config.value_rate)),
    )
