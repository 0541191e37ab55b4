"""MAML: model-agnostic meta-learning (Finn, Abbeel, Levine 2017), Algorithm 3, with TRPO as its outer step.

    1: initialise the policy θ
    2: for n_iterations                                                                   `step`
    3:     draw a meta-batch of tasks ψ_i from p(ψ)
    4:     for each: θ'_i = θ; then inner_steps times: K real episodes with π_θ'_i        `explore`
    5:         θ'_i ← θ'_i - α ∇ L_i(θ'_i), L the policy gradient's loss on them          `inner_step`
    6:         K real episodes with π_θ'_i
    7:     θ ← one step of TRPO on Σ_i L_i(θ'_i), through each line 5                     `outer_step`
    8: a new ψ: stage 0 is π_θ; each stage one more inner step, α/2 after inner_steps     `adaptation`

The task is hidden: the policy sees ψ only through rewards. Advantages have mean 0 and deviation 1 for each task, from a
linear feature baseline, as in MAML's code. Unlike there, the second derivatives of line 5 are exact, and the Fisher
matrix of line 7 is that of some rows.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from onebody.algorithms.protocol import Adapted, AlgorithmSpec, Metrics
from onebody.core.errors import at_least, at_most, positive
from onebody.core.gaussian import Gaussian
from onebody.core.nets import Normalizer, trainable
from onebody.core.returns import first_episode_return
from onebody.core.types import Key, Transitions
from onebody.learning import linear_baseline, trpo
from onebody.learning.policies import Activation, GaussianPolicy, LatentGaussian, for_each
from onebody.learning.trpo import RLLAB_STEP, TRPOConfig
from onebody.tasks.family import TaskFamily
from onebody.worlds.check import check_hidden
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator

CURVATURE = 8000
"""Rows of all tasks together that the Fisher matrix of the outer step is estimated from, of each batch"""


@dataclass(frozen=True)
class Meta:
    """Settings that MAML and its variants share."""

    n_iterations: int = 500
    """Meta-iterations of training"""
    meta_batch: int = 40
    """Number of tasks per meta-iteration"""
    episodes: int = 20
    """Real episodes per task before each inner step and after the last one (K); as many per task and stage of
    adaptation"""
    inner_rate: float = 0.1
    """Step size α of an inner policy gradient step; 0: no adaptation"""
    inner_steps: int = 1
    """Policy gradient steps that adapt to a task in training, each on episodes of its own. A meta-iteration collects
    (inner_steps + 1) · meta_batch · episodes episodes"""
    hidden: tuple[int, ...] = (64, 64)
    """Units of each hidden layer of the policy"""
    activation: Activation = "tanh"
    """Activation function of the policy's hidden layers"""
    action_scale: float = 1.0
    """Factor by which the policy's mean and standard deviation are multiplied: 0.1 in ProMP's released code, so that a
    new policy explores a tenth of the actions' range"""
    discount: float = 0.99
    """Discount factor γ"""
    trace: float = 1.0
    """Trace decay λ of the generalised advantages"""

    def __post_init__(self) -> None:
        positive(self, "action_scale")
        at_least(1, self, "n_iterations", "meta_batch", "episodes", "inner_steps", "hidden")
        at_least(0, self, "discount", "trace", "inner_rate")
        at_most(1, self, "discount", "trace")


@dataclass(frozen=True)
class Config(Meta):
    """MAML's reinforcement learning experiments, with the meta-iterations of its comparison in SMT and the network of
    ProMP's; the preset `paper` has MAML's own network."""

    second_order: bool = True
    """Differentiate through the inner steps; otherwise their gradients count as constants (first-order MAML)"""
    trpo: TRPOConfig = field(default_factory=partial(TRPOConfig, entropy=0.0, damping=1e-5))
    """Settings of the outer TRPO step"""


class Batch(NamedTuple):
    """Steps of each task, with advantages of mean 0 and standard deviation 1."""

    observation: Float[Array, "task row observation"]
    action: Float[Array, "task row action"]
    advantage: Float[Array, "task row"]
    taken: Gaussian
    """The distribution that each action was drawn from"""

    def subset(self, n: int) -> "Batch":
        """n random rows of each task, from all its episodes and times; all rows where there are fewer."""
        chosen = jax.random.permutation(jax.random.key(0), self.advantage.shape[1])[:n]
        rows = (x[:, chosen] for x in (self.observation, self.action, self.advantage, self.taken.mean))
        observation, action, advantage, mean = rows
        return Batch(observation, action, advantage, Gaussian(mean, self.taken.log_std))


Before = tuple[Batch, ...]
"""The batch of each inner step"""
Loss = Callable[[Gaussian, Batch], Array]
"""(distribution of the actions now, batch of one task, without an axis of tasks) -> L"""


def likelihood(now: Gaussian, batch: Batch) -> Float[Array, ""]:
    """The policy gradient's loss: its gradient is REINFORCE's."""
    return -jnp.mean(now.log_prob(batch.action) * batch.advantage)


def inner_step(
    policy: GaussianPolicy, batch: Batch, rate: Float[Array, ""] | float, loss: Loss, second_order: bool = True
) -> GaussianPolicy:
    """Line 5, for one task: no axis of tasks."""
    free, fixed = eqx.partition(policy, trainable(policy))
    gradient = jax.grad(lambda free: loss(eqx.combine(free, fixed).distribution(batch.observation), batch))(free)
    gradient = gradient if second_order else jax.lax.stop_gradient(gradient)
    return eqx.combine(jax.tree.map(lambda x, g: x - rate * g, free, gradient), fixed)


@partial(jax.jit, static_argnames=("loss",))
def inner_step_each(
    policies: GaussianPolicy, batch: Batch, rate: Float[Array, ""] | float, loss: Loss
) -> GaussianPolicy:
    """Line 5, each task with its own policy, one task after the other as in `adapted_distribution`."""
    return jax.lax.map(lambda task: inner_step(task[0], task[1], rate, loss), (policies, batch))


def explore(
    simulator: Simulator,
    policies: GaussianPolicy,
    tasks: Float[Array, "task feature"],
    key: Key,
    config: Meta,
    episodes: int,
) -> tuple[Batch, Array]:
    """Line 4: the batch of each task's policy, and its mean return [task]."""
    transitions = rollout(simulator, policies, tasks, key, episodes=episodes)
    batch = with_advantages(policies, transitions, transitions.observation, config.discount, config.trace)
    return batch, first_episode_return(transitions.reward, transitions.done).mean(axis=1)


@partial(jax.jit, static_argnames=("discount", "trace"))
def with_advantages(
    policies: GaussianPolicy | LatentGaussian,
    transitions: Transitions,
    inputs: Float[Array, "task time episode _"],
    discount: float,
    trace: float,
) -> Batch:
    """A batch of episodes `[task, time, episode]` of each task's policy, with their advantages.

    Args:
        inputs: what the policy saw in them.
        discount: discount factor γ of the advantages.
        trace: trace decay λ of the advantages.
    """

    def one(policy: GaussianPolicy | LatentGaussian, transitions: Transitions, inputs: Array) -> Batch:
        advantage = linear_baseline.advantages(transitions, discount, trace)
        inputs, action = (x.reshape(-1, x.shape[-1]) for x in (inputs, transitions.action))
        return Batch(inputs, action, advantage.reshape(-1), policy.distribution(inputs))

    return jax.vmap(one)(policies, transitions, inputs)


def meta_batch(
    simulator: Simulator, policy: GaussianPolicy, key: Key, config: Meta, loss: Loss
) -> tuple[Before, Batch, Metrics]:
    """Lines 3-6: the batch of each inner step, and the one after the last inner step."""
    task_key, *keys = jax.random.split(key, config.inner_steps + 2)
    tasks = simulator.family.space.sample(task_key, config.meta_batch)
    policies, before, returns = for_each(policy, len(tasks)), [], []
    for k in keys[:-1]:
        batch, task_returns = explore(simulator, policies, tasks, k, config, config.episodes)
        policies = inner_step_each(policies, batch, config.inner_rate, loss)
        before.append(batch)
        returns.append(float(task_returns.mean()))
    after, task_returns = explore(simulator, policies, tasks, keys[-1], config, config.episodes)
    return tuple(before), after, {"real/return": returns[0], "real/adapted_return": float(task_returns.mean())}


def adaptation(
    simulator: Simulator, policy: GaussianPolicy, tasks: Array, key: Key, config: Meta, episodes: int, loss: Loss
) -> Iterator[Adapted]:
    """Line 8."""
    policies = for_each(policy, len(tasks))
    for stage in itertools.count():
        yield Adapted(policies)
        batch, _ = explore(simulator, policies, tasks, jax.random.fold_in(key, stage), config, episodes)
        rate = config.inner_rate if stage < config.inner_steps else config.inner_rate / 2
        policies = inner_step_each(policies, batch, rate, loss)


@partial(jax.jit, static_argnames=("family", "config"))
def new_policy(family: TaskFamily, key: Key, config: Meta) -> GaussianPolicy:
    """Observations are not normalised."""
    sizes = Normalizer(family.body.observation_size), family.body.action_size
    return GaussianPolicy(key, config.hidden, *sizes, config.activation, config.action_scale)


def adapted_distribution(
    policy: GaussianPolicy, before: Before, after: Batch, rate: float, loss: Loss, second_order: bool = True
) -> Gaussian:
    """Action distributions of the adapted policies in the states of `after`, [task, row, action].

    One task after the other, recomputed for the gradient: the rows of one task stay in the processor's cache.
    """
    if not before:
        return policy.distribution(after.observation)

    @jax.checkpoint
    def one(task: tuple[Before, Batch]) -> Gaussian:
        before, after = task
        adapted = policy
        for batch in before:
            adapted = inner_step(adapted, batch, rate, loss, second_order)
        return adapted.distribution(after.observation)

    adapted = jax.lax.map(one, (before, after))
    return Gaussian(adapted.mean, adapted.log_std[:, None])


@partial(jax.jit, static_argnames=("config",))
def outer_step(
    policy: GaussianPolicy, before: Before, after: Batch, config: Config
) -> tuple[GaussianPolicy, dict[str, Array]]:
    """Line 7."""
    free, fixed = eqx.partition(policy, trainable(policy))

    def adapted(free: GaussianPolicy, batches: tuple[Batch, ...]) -> Gaussian:
        *before, after = batches
        policy = eqx.combine(free, fixed)
        return adapted_distribution(policy, tuple(before), after, config.inner_rate, likelihood, config.second_order)

    free, metrics = trpo_through_adaptation(adapted, free, (*before, after), config.trpo)
    return eqx.combine(free, fixed), metrics


def trpo_through_adaptation(
    adapted: Callable[[Any, tuple[Batch, ...]], Gaussian],
    learned: Any,
    batches: tuple[Batch, ...],
    config: TRPOConfig,
    penalty: Callable[[Any], Array] = trpo.no_penalty,
) -> tuple[Any, dict[str, Array]]:
    """One TRPO step on the surrogate of the adapted policies; returns the updated parameters and metrics.

    Args:
        adapted: (learned, batches) -> the adapted policies' action distributions in the states of the last batch.
        learned: all parameters that are trained, a pytree.
        batches: one per inner step, then that of the adapted policies; a subset of each is for the Fisher matrix.
        penalty: a function of `learned` that is subtracted from the surrogate.
    """
    parameters, unravel = ravel_pytree(learned)
    *_, after = batches
    taken = Gaussian(after.taken.mean, after.taken.log_std[:, None])
    subsets = tuple(batch.subset(-(-CURVATURE // len(after.advantage))) for batch in batches)

    def distribution(parameters: Array, batches: tuple[Batch, ...] = batches) -> Gaussian:
        return adapted(unravel(parameters), batches)

    parameters, metrics = trpo.natural_gradient_step(
        distribution,
        parameters,
        after.action,
        after.advantage,
        config,
        taken,
        curvature=partial(distribution, batches=subsets),
        penalty=lambda parameters: penalty(unravel(parameters)),
    )
    return unravel(parameters), metrics


@dataclass(frozen=True)
class MAML:
    """Model-agnostic meta-learning."""

    family: TaskFamily
    config: Config
    simulator: Simulator
    task_is_known = False

    def init(self, key: Key) -> GaussianPolicy:
        check_hidden(self.family)
        return new_policy(self.family, key, self.config)

    def step(self, state: GaussianPolicy, key: Key) -> tuple[GaussianPolicy, Metrics]:
        before, after, metrics = meta_batch(self.simulator, state, key, self.config, likelihood)
        state, outer = outer_step(state, before, after, self.config)
        return state, metrics | {name: float(value) for name, value in outer.items()}

    def adapt(self, state: GaussianPolicy, tasks: Float[Array, "task feature"], key: Key) -> Iterator[Adapted]:
        return adaptation(self.simulator, state, tasks, key, self.config, self.config.episodes, likelihood)


_EIGHT_THOUSAND = {"episodes": 40}
"""8,000 environment steps per inner step, as SMT's comparison has them on these families"""

SPEC = AlgorithmSpec(
    MAML,
    presets={
        "paper": Config(hidden=(100, 100), activation="relu", trpo=RLLAB_STEP),
        "laptop": Config(n_iterations=100, meta_batch=20),
        "smoke": Config(n_iterations=2, meta_batch=3, episodes=3, hidden=(16, 16)),
    },
    family_settings={
        ("paper", "smt/ant-dir"): _EIGHT_THOUSAND,
        ("paper", "smt/ant-low-friction"): _EIGHT_THOUSAND,
        ("paper", "smt/ant-crippled"): _EIGHT_THOUSAND,
        ("paper", "smt/humanoid-vel"): _EIGHT_THOUSAND,
        ("paper", "smt/humanoid-vel-wide"): _EIGHT_THOUSAND,
        ("paper", "maml/point"): {"n_iterations": 100, "inner_rate": 0.5},
    },
)
