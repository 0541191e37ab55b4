"""RL²: a recurrent policy that learns a task as it acts (Duan, Schulman, Chen, Bartlett, Sutskever, Abbeel 2016).

arXiv:1611.02779, with PPO as the slow learner, as in the experiments of PEARL's authors.

    1: initialise a recurrent policy, which sees an observation with the last action, reward and end of episode
    2: for n_iterations                                                                            `step`
    3:     draw a meta-batch of tasks ψ_i from p(ψ)
    4:     a trial of each: trial_episodes slots with one memory, which is fresh at first          `_slot`
    5:     generalised advantages, from a linear baseline fitted to each trial                     `advantages`
    6:     n_epochs times, for each minibatch of trials: a step of Adam up L^CLIP (PPO's Eq. 7)    `loss`
    7: a new ψ: stage 0 is the policy with a fresh memory; each stage one slot more                `adapt`

The task is hidden: the policy sees ψ through rewards, and through the dynamics where they vary. A slot is a horizon of
steps: an episode that ends early is followed by another, and the policy is told of the slot's end as of an episode's.

Differences: the paper's policy is larger, with weight normalisation, its slow learner TRPO with a recurrent baseline.
In the code of PEARL's authors the recurrent layer is an LSTM, and gradients go back 100 steps, here through
the whole trial.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from onebody.algorithms.context.recurrent import Memory, RecurrentNet, RecurrentPolicy
from onebody.algorithms.protocol import Adapted, AlgorithmSpec, Metrics
from onebody.core.errors import at_least, at_most, positive
from onebody.core.nets import renormalized
from onebody.core.returns import first_episode_return
from onebody.core.types import Key, Transitions
from onebody.learning import linear_baseline
from onebody.learning.policies import for_each
from onebody.learning.ppo import approximate_kl, clipped_surrogate, minibatches, minimize
from onebody.learning.train_state import TrainState
from onebody.tasks.family import TaskFamily
from onebody.worlds.check import check_hidden
from onebody.worlds.rollout import continued
from onebody.worlds.simulator import Simulator


@dataclass(frozen=True)
class Config:
    """The RL² experiments of PEARL's authors (Rakelly et al. 2019)."""

    n_iterations: int = 1000
    """Iterations of training"""
    meta_batch: int = 100
    """Number of tasks per iteration, with one trial each"""
    trial_episodes: int = 2
    """Episodes per trial. Where episodes end early, the number of horizons of environment steps, each filled with
    episodes"""
    across_episodes: bool = False
    """Discount returns across the episodes of a trial, as in the paper, so that exploring in one episode is rewarded by
    the returns of later ones; otherwise returns end with the episode, as in the code of PEARL's authors"""
    units: int = 64
    """Units of the policy's gated recurrent layer (GRU)"""
    normalize: bool = False
    """Normalise observations by their running mean and standard deviation"""
    n_epochs: int = 5
    """Passes over the trials of an iteration"""
    n_minibatches: int = 1
    """Minibatches of trials per pass, each for one step of Adam"""
    clip: float = 0.2
    """Clip range ε of the likelihood ratio"""
    learning_rate: float = 1e-3
    """Adam's learning rate"""
    discount: float = 0.99
    """Discount factor γ"""
    trace: float = 1.0
    """Trace decay λ of the generalised advantages"""

    def __post_init__(self) -> None:
        at_least(1, self, "n_iterations", "meta_batch", "trial_episodes", "units", "n_epochs", "n_minibatches")
        at_least(0, self, "discount", "trace")
        at_most(1, self, "discount", "trace")
        positive(self, "clip", "learning_rate")


class Trials(NamedTuple):
    """Whole trials, with log-probabilities from when they were collected."""

    inputs: Float[Array, "trial time in"]
    action: Float[Array, "trial time action"]
    log_prob: Float[Array, "trial time"]
    advantage: Float[Array, "trial time"]


def concatenated(slots: PyTree) -> PyTree:
    """The slots of each trial one after the other: `[trial, time, slot, ...]` as `[trial, slot · time, ...]`."""
    return jax.tree.map(lambda x: jnp.swapaxes(x, 1, 2).reshape(len(x), -1, *x.shape[3:]), slots)


def inputs_of(net: RecurrentNet, trials: Transitions) -> Float[Array, "trial time in"]:
    """The network's inputs in whole trials `[trial, time]`: nothing had happened before the first step."""
    before = lambda x: jnp.pad(x[:, :-1], [(0, 0), (1, 0), *[(0, 0)] * (x.ndim - 2)])  # noqa: E731
    return net.inputs_of(trials.observation, before(trials.action), before(trials.reward), before(trials.done))


def advantages(slots: Transitions, config: Config) -> Float[Array, "trial time"]:
    """Line 5, of `[trial, time, slot]` transitions: of mean 0 and deviation 1 in each trial."""
    if config.across_episodes:
        never = jnp.zeros_like(slots.terminated)
        slots = slots._replace(terminated=never, truncated=never.at[:, -1, -1].set(True))
        slots = jax.tree.map(lambda x: x[:, :, None], concatenated(slots))
    one = partial(linear_baseline.advantages, discount=config.discount, trace=config.trace)
    return concatenated(jax.vmap(one)(slots))


def log_prob(net: RecurrentNet, inputs: Array, action: Array) -> Float[Array, "trial time"]:
    """Of the actions of whole trials."""
    return net.trial(jnp.swapaxes(inputs, 0, 1)).log_prob(jnp.swapaxes(action, 0, 1)).T


def loss(net: RecurrentNet, trials: Trials, clip: float) -> tuple[Array, dict[str, Array]]:
    """-L^CLIP."""
    log_ratio = log_prob(net, trials.inputs, trials.action) - trials.log_prob
    surrogate = clipped_surrogate(jnp.exp(log_ratio), trials.advantage, clip)
    return -surrogate, {"policy/kl": approximate_kl(log_ratio), "policy/surrogate": surrogate}


@partial(jax.jit, static_argnames=("config",))
def update(
    net: TrainState[RecurrentNet], slots: Transitions, rows: Int[Array, "step trial"], config: Config
) -> tuple[TrainState[RecurrentNet], dict[str, Array]]:
    """Lines 5-6, of `[trial, time, slot]` transitions."""
    module, trials = net.module, concatenated(slots)
    old = log_prob(module, inputs_of(module, trials), trials.action)
    if config.normalize:
        statistics = module.observation.update(trials.observation)
        module = renormalized(module, statistics, lambda net: net.inputs)
        net = net.with_module(module)
    batch = Trials(inputs_of(module, trials), trials.action, old, advantages(slots, config))
    return minimize(net, partial(loss, clip=config.clip), batch, rows, optax.adam(config.learning_rate))


@dataclass(frozen=True)
class RL2:
    """Fast reinforcement learning via slow reinforcement learning."""

    family: TaskFamily
    config: Config
    simulator: Simulator
    task_is_known = False

    def init(self, key: Key) -> TrainState[RecurrentNet]:
        check_hidden(self.family)
        body = self.family.body
        net = RecurrentNet(key, body.observation_size, body.action_size, self.config.units)
        return TrainState.create(net, optax.adam(self.config.learning_rate))

    def step(self, state: TrainState[RecurrentNet], key: Key) -> tuple[TrainState[RecurrentNet], Metrics]:
        task_key, order_key, *keys = jax.random.split(key, self.config.trial_episodes + 2)
        tasks = self.family.space.sample(task_key, self.config.meta_batch)
        memory, slots = self._fresh(len(tasks)), []
        for k in keys:
            slot, memory = self._slot(state.module, memory, tasks, k)
            slots.append(slot)
        transitions = jax.tree.map(lambda *x: jnp.concatenate(x, axis=2), *slots)
        rows = minibatches(order_key, len(tasks), self.config.n_epochs, self.config.n_minibatches)
        state, updated = update(state, transitions, rows, self.config)
        returns = first_episode_return(transitions.reward, transitions.done).mean(axis=0)
        metrics = {"real/return": float(returns[0]), "real/adapted_return": float(returns[-1])}
        return state, metrics | {name: float(value) for name, value in updated.items()}

    def adapt(
        self, state: TrainState[RecurrentNet], tasks: Float[Array, "task feature"], key: Key
    ) -> Iterator[Adapted]:
        """Line 7; the slots have sampled actions, as in training."""
        memory, nets = self._fresh(len(tasks)), for_each(state.module, len(tasks))
        for stage in itertools.count():
            yield Adapted(RecurrentPolicy(nets, jax.tree.map(lambda x: x[:, 0], memory)))
            _, memory = self._slot(state.module, memory, tasks, jax.random.fold_in(key, stage))

    def _fresh(self, tasks: int) -> Memory:
        return Memory.fresh((tasks, 1), self.config.units, self.family.body.action_size)

    def _slot(self, net: RecurrentNet, memory: Memory, tasks: Array, key: Key) -> tuple[Transitions, Memory]:
        """One slot of each task `[task, time, 1]` from the memory that the one before left, and what it leaves."""
        policy = RecurrentPolicy(net, Memory.fresh((), self.config.units, self.family.body.action_size))
        return continued(self.simulator, policy, memory, tasks, key, episodes=1, shared=True)


SPEC = AlgorithmSpec(
    RL2,
    presets={
        "paper": Config(),
        "laptop": Config(n_iterations=100, normalize=True, n_minibatches=10, trace=0.95),
        "smoke": Config(n_iterations=2, meta_batch=4, units=16, n_epochs=2),
    },
)
