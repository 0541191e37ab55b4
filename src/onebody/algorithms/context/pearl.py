"""PEARL: probabilistic embeddings for actor-critic meta-RL (Rakelly et al. 2019), Algorithms 1 and 2.

    1: initialise encoder q_φ, policy π_θ, critics; real episodes of every training task with z ~ N(0, I)   `_begin`
    2: for n_iterations                                                                                     `step`
    3:     some training tasks, each: forget its recent data; episodes with z ~ N(0, I), then with
           z ~ q_φ(z | recent data), into replay and recent data; then more of these, into replay alone;
           the first episode of every kind has z ~ N(0, I)                                                `_visit`
    4:     n_gradient times, for a meta-batch of tasks                                                    `update`
    5:         z ~ q_φ(z | c), c from recent data; transitions from replay
    6:         φ, Q: down L_Q + λ KL(q_φ(z | c) ‖ N(0, I)); θ: down log π - min Q; V towards min Q - log π
    7: a new ψ: episodes with z ~ N(0, I), then with z ~ q_φ(z | all of them)                             `adapt`

The task is hidden: rewards tell of it, and dynamics where they vary. SAC is its first form (Haarnoja et al. 2018a);
the encoder learns from the critics' loss and the KL alone; the KL is summed over tasks and latent features, the
critics' loss a mean. Sparse rewards: replay has the dense ones, and context those of the family that is tested. As in
the released code, z is drawn from the posterior when acting, too; where an episode ends before its horizon, the next
one goes on with its z.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from onebody.algorithms.context.belief import BeliefPolicy, factors
from onebody.algorithms.protocol import Adapted, AlgorithmSpec, Metrics, iterations_held
from onebody.core import random
from onebody.core.errors import OnebodyError, at_least, at_most, positive
from onebody.core.gaussian import Gaussian, standard
from onebody.core.nets import MLP
from onebody.core.returns import first_episode_return
from onebody.core.types import Key
from onebody.learning.off_policy import averaged, repeated, value
from onebody.learning.policies import for_each
from onebody.learning.sac import LatentPolicy, network, policy_network
from onebody.learning.task_replay import Rows, TaskReplay
from onebody.learning.train_state import TrainState
from onebody.tasks.family import TaskFamily
from onebody.tasks.space import training_tasks
from onebody.worlds.check import check_hidden
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator


@dataclass(frozen=True)
class Config:
    """The released settings for the half-cheetah's velocities."""

    n_iterations: int = 500
    """Iterations of training"""
    n_tasks: int = 100
    """Number of training tasks at most: the first of a family that has a fixed set of them, else so many draws"""
    initial_episodes: int = 10
    """Real episodes of each training task before the first iteration"""
    visited: int = 5
    """Training tasks visited per iteration to collect real episodes, drawn with replacement"""
    prior_episodes: int = 2
    """Real episodes per visited task with z ~ N(0, I), for the replay buffer and the encoder's recent data"""
    posterior_episodes: int = 0
    """Real episodes per visited task with z from the posterior, collected after those of the prior, for the replay
    buffer and the encoder's recent data; the first of them has z ~ N(0, I)"""
    extra_episodes: int = 3
    """Real episodes per visited task with z from the posterior, collected last, for the replay buffer alone; the first
    of them has z ~ N(0, I)"""
    dense_context: bool = False
    """Give the encoder the dense rewards of training, in place of the sparse ones of tests, while training episodes are
    collected (as in the code released until July 2019)"""
    n_gradient: int = 2000
    """Gradient steps per iteration"""
    meta_batch: int = 16
    """Number of training tasks per gradient step, drawn with replacement"""
    batch: int = 256
    """Transitions per task and gradient step, from the replay buffer"""
    context_rows: int = 100
    """Transitions per task that the posterior of z is inferred from in training"""
    exploration_episodes: int = 2
    """Real episodes of a new task with z ~ N(0, I), before the posterior is used"""
    latent: int = 5
    """Number of features of the latent z"""
    hidden: tuple[int, ...] = (300, 300, 300)
    """Units of each hidden layer of policy, critics and value network"""
    encoder: tuple[int, ...] = (200, 200, 200)
    """Units of each hidden layer of the context encoder"""
    learning_rate: float = 3e-4
    """Adam's learning rate for policy, critics, value network and encoder"""
    reward_scale: float = 5.0
    """Factor of the rewards in the critics' targets, the inverse of SAC's temperature"""
    kl: float = 0.1
    """Weight λ of the KL divergence between the posterior of z and N(0, I)"""
    discount: float = 0.99
    """Discount factor γ"""
    target_rate: float = 0.005
    """Share τ of the value network's weights in those of its target per gradient step"""
    regularization: float = 1e-3
    """Coefficient of the squared means and squared log standard deviations of the policy's actions in its loss"""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the factors of matrix products in hidden layers; sums are float32. bfloat16 is faster on processors
    that multiply in it"""

    def __post_init__(self) -> None:
        at_least(1, self, "n_iterations", "n_tasks", "initial_episodes", "visited", "prior_episodes", "n_gradient")
        at_least(1, self, "meta_batch", "batch", "context_rows", "exploration_episodes", "latent", "hidden", "encoder")
        at_least(0, self, "posterior_episodes", "extra_episodes", "kl", "discount", "regularization")
        positive(self, "learning_rate", "reward_scale", "target_rate")
        at_most(1, self, "discount", "target_rate")


class EncoderAndCritics(eqx.Module):
    """The context encoder and both critics, which one optimiser trains."""

    encoder: MLP
    critics: tuple[MLP, MLP]


class Learner(eqx.Module):
    """All networks, with their optimisers."""

    encoder_and_critics: TrainState[EncoderAndCritics]
    value: TrainState[MLP]
    policy: TrainState[MLP]
    target_value: MLP

    @property
    def encoder(self) -> MLP:
        return self.encoder_and_critics.module.encoder


class State(eqx.Module):
    """State of a training run."""

    learner: Learner
    replay: TaskReplay
    tasks: Float[Array, "task feature"]
    """the training tasks"""


@partial(jax.jit, static_argnames=("observations", "actions", "dynamics_vary", "config"))
def new_learner(keys: tuple[Key, ...], observations: int, actions: int, dynamics_vary: bool, config: Config) -> Learner:
    """Untrained networks for observations and actions of these sizes, from five keys."""
    z, half = config.latent, config.precision == "bfloat16"
    build = partial(network, half=half)
    critic = lambda key: build(key, (observations + actions + z, *config.hidden, 1))  # noqa: E731
    features = observations + actions + 1 + (observations if dynamics_vary else 0)
    value = build(keys[0], (observations + z, *config.hidden, 1))
    encoder = build(keys[1], (features, *config.encoder, 2 * z))
    policy = policy_network(keys[2], observations + z, actions, config.hidden, half)
    critics = critic(keys[3]), critic(keys[4])
    new = partial(TrainState.create, optimizer=optax.adam(config.learning_rate))
    return Learner(new(EncoderAndCritics(encoder, critics)), new(value), new(policy), value)


def posterior(encoder: MLP, context: Float[Array, "task row feature"]) -> Gaussian:
    """q_φ(z | c) of each task: the product of a Gaussian for each transition of its context."""
    mean, variance = factors(encoder, context)
    precision = 1 / variance
    total = precision.sum(1)
    return Gaussian((mean * precision).sum(1) / total, -0.5 * jnp.log(total))


def product(one: Gaussian, other: Gaussian) -> Gaussian:
    """Of two densities, normalised."""
    first, second = (jnp.exp(-2 * each.log_std) for each in (one, other))
    return Gaussian((one.mean * first + other.mean * second) / (first + second), -0.5 * jnp.log(first + second))


def context(rows: Rows, dynamics_vary: bool) -> Float[Array, "*axes feature"]:
    """The encoder's inputs: the next state only where dynamics depend on the task, too."""
    last = (rows.next_observation,) if dynamics_vary else ()
    return jnp.concatenate([rows.observation, rows.action, rows.signal[..., None], *last], axis=-1)


class Batch(NamedTuple):
    """What a gradient step is made from."""

    context: Float[Array, "task context feature"]
    rows: Rows
    """transitions from the replay buffer [task, row, ...]"""
    latent_noise: Float[Array, "task latent"]
    action_noise: Float[Array, "task row action"]


def critic_loss(
    nets: EncoderAndCritics, batch: Batch, target_value: MLP, config: Config
) -> tuple[Array, tuple[Array, dict[str, Array]]]:
    """Line 6's L_Q + λ KL(q_φ(z | c) ‖ N(0, I)); also z of each row, and metrics."""
    rows, belief = batch.rows, posterior(nets.encoder, batch.context)
    z = jnp.repeat(belief.sample(batch.latent_noise)[:, None], rows.reward.shape[1], axis=1)
    next_value = value(target_value, rows.next_observation, jax.lax.stop_gradient(z))
    target = config.reward_scale * rows.reward + config.discount * (1 - rows.terminated) * next_value
    errors = [jnp.mean((value(q, rows.observation, rows.action, z) - target) ** 2) for q in nets.critics]
    kl = belief.kl(standard(*belief.mean.shape)).sum()
    metrics = {"critic/error": jnp.sqrt(sum(errors) / 2), "encoder/kl": kl / len(belief.mean)}
    return sum(errors) + config.kl * kl, (z, metrics)


def policy_loss(
    net: MLP, critics: tuple[MLP, MLP], batch: Batch, z: Array, config: Config
) -> tuple[Array, tuple[Array, Array]]:
    """Line 6's log π - min Q, with a penalty of large means and log standard deviations; also min Q and log π."""
    action, log_prob, before_tanh = LatentPolicy(net, z).sample(batch.rows.observation, batch.action_noise)
    min_q = jnp.minimum(*(value(q, batch.rows.observation, action, z) for q in critics))
    penalty = jnp.mean(before_tanh.mean**2) + jnp.mean(before_tanh.log_std**2)
    return jnp.mean(log_prob - min_q) + config.regularization * penalty, (min_q, log_prob)


def value_loss(net: MLP, rows: Rows, z: Array, target: Array) -> tuple[Array, None]:
    """Mean squared error of V from min Q - log π."""
    return jnp.mean((value(net, rows.observation, z) - target) ** 2), None


def update(
    learner: Learner, replay: TaskReplay, key: Key, config: Config, dynamics_vary: bool
) -> tuple[Learner, dict[str, Array]]:
    """Lines 5-6."""
    task_key, context_key, batch_key, latent_key, action_key = jax.random.split(key, 5)
    tasks = random.randint(task_key, (config.meta_batch,), 0, len(replay.n_visits))
    recent = replay.draw_recent(context_key, tasks, config.context_rows)
    rows = replay.draw(batch_key, tasks, config.batch)
    latent_noise = random.normal(latent_key, (config.meta_batch, config.latent))
    batch = Batch(context(recent, dynamics_vary), rows, latent_noise, random.normal(action_key, rows.action.shape))
    adam = optax.adam(config.learning_rate)

    encoder_and_critics, (z, metrics) = learner.encoder_and_critics.minimize(
        lambda nets: critic_loss(nets, batch, learner.target_value, config), adam
    )
    # z, min Q and log π below are those before the step that they come from; the critics are the updated ones
    z, critics = jax.lax.stop_gradient(z), encoder_and_critics.module.critics
    policy, (min_q, log_prob) = learner.policy.minimize(lambda net: policy_loss(net, critics, batch, z, config), adam)
    new_value, _ = learner.value.minimize(lambda net: value_loss(net, rows, z, min_q - log_prob), adam)
    target_value = averaged(learner.target_value, new_value.module, config.target_rate)
    metrics |= {"policy/entropy": -log_prob.mean(), "critic/value": min_q.mean()}
    return Learner(encoder_and_critics, new_value, policy, target_value), metrics


@partial(jax.jit, static_argnames=("config", "dynamics_vary"))
def gradient_steps(
    learner: Learner, replay: TaskReplay, key: Key, config: Config, dynamics_vary: bool
) -> tuple[Learner, dict[str, Array]]:
    """Line 4."""
    step = lambda learner, key: update(learner, replay, key, config, dynamics_vary)  # noqa: E731
    return repeated(step, learner, jax.random.split(key, config.n_gradient))


_posterior = eqx.filter_jit(posterior)


@dataclass(frozen=True)
class PEARL:
    """Probabilistic embeddings for actor-critic reinforcement learning."""

    family: TaskFamily
    config: Config
    simulator: Simulator
    task_is_known = False

    @property
    def _dynamics_vary(self) -> bool:
        return self.family.physics is not None

    def init(self, key: Key) -> State:
        config, body, steps = self.config, self.family.body, self.family.horizon
        task_key, *keys = jax.random.split(key, 6)
        tasks = training_tasks(self.family.space, task_key, config.n_tasks)
        kept = (config.prior_episodes + config.posterior_episodes) * steps
        self._check(len(tasks), kept)
        check_hidden(self.family)
        length = kept + config.extra_episodes * steps
        visits = iterations_held(config.n_iterations) * config.visited
        initial = config.initial_episodes * steps
        sizes = body.observation_size, body.action_size
        replay = TaskReplay.empty(len(tasks), visits, initial, length, kept, *sizes)
        return State(new_learner(tuple(keys), *sizes, self._dynamics_vary, config), replay, tasks)

    def step(self, state: State, key: Key) -> tuple[State, Metrics]:
        begin_key, task_key, visit_key, learn_key = jax.random.split(key, 4)
        replay = state.replay
        if not replay.n:
            replay = _filled(replay, self._begin(state, begin_key))
        chosen = random.randint(task_key, (self.config.visited,), 0, len(state.tasks))
        rows, metrics = self._visit(state.learner, state.tasks[chosen], visit_key)
        replay = _visited(replay, chosen, rows)
        learner, learned = gradient_steps(state.learner, replay, learn_key, self.config, self._dynamics_vary)
        metrics |= {name: float(x) for name, x in learned.items()}
        return State(learner, replay, state.tasks), metrics

    def adapt(self, state: State, tasks: Float[Array, "task feature"], key: Key) -> Iterator[Adapted]:
        """Line 7, an episode a stage. Stage 0, z ~ N(0, I), is the control that does not adapt."""
        config, learner = self.config, state.learner
        belief = standard(len(tasks), config.latent)
        nothing = jnp.full_like(belief.log_std, jnp.inf)  # the prior is no factor of q_φ
        known = belief._replace(log_std=nothing)
        for stage in itertools.count():
            z_key, explore_key, episode_key = jax.random.split(jax.random.fold_in(key, stage), 3)
            z = _draw(belief, z_key)
            yield Adapted(_policies(learner, z), belief=belief)
            if stage < config.exploration_episodes:
                z = _draw(standard(*z.shape), explore_key)
            rows, _ = self._episode(learner, z, tasks, episode_key, deterministic=True)
            of_episode = _posterior(learner.encoder, context(rows, self._dynamics_vary))
            belief = known = product(known, of_episode)

    def online(self, state: State) -> BeliefPolicy:
        """Line 7 as a policy that updates its belief with each step."""
        learner, n = state.learner, self.config.exploration_episodes
        return for_each(BeliefPolicy(learner.encoder, learner.policy.module, n, self._dynamics_vary), 1)

    def _check(self, tasks: int, kept: int) -> None:
        if tasks < 2:
            raise OnebodyError(
                f"PEARL needs at least two training tasks, and {self.family.id} gives it {tasks}: "
                "use sac for a single task, or a larger --config.n-tasks where there are more"
            )
        if self.config.context_rows > kept:
            raise OnebodyError(
                f"a context of {self.config.context_rows} transitions is longer than the {kept} that a visit collects "
                "for it: take a smaller --config.context-rows or more --config.prior-episodes"
            )

    def _begin(self, state: State, key: Key) -> Rows:
        """Line 1, [task, row, ...]."""
        episodes = []
        for k in jax.random.split(key, self.config.initial_episodes):
            z_key, episode_key = jax.random.split(k)
            z = _draw(standard(len(state.tasks), self.config.latent), z_key)
            episodes.append(self._episode(state.learner, z, state.tasks, episode_key)[0])
        return _concatenated(episodes)

    def _visit(self, learner: Learner, tasks: Float[Array, "task feature"], key: Key) -> tuple[Rows, Metrics]:
        """Line 3 for some tasks at once, [task, row, ...]."""
        config, episodes, returns = self.config, [], []
        kept = config.prior_episodes + config.posterior_episodes
        first_of_posterior, first_of_extra = config.prior_episodes, kept
        from_prior = {*range(config.prior_episodes), first_of_posterior, first_of_extra}
        for i, k in enumerate(jax.random.split(key, kept + config.extra_episodes)):
            z_key, context_key, episode_key = jax.random.split(k, 3)
            belief = standard(len(tasks), config.latent)
            if i not in from_prior:
                recent = _concatenated(episodes[:kept])
                index = np.asarray(random.randint(context_key, (config.context_rows,), 0, recent.reward.shape[1]))
                drawn = jax.tree.map(lambda x, index=index: x[:, index], recent)
                drawn = drawn._replace(signal=drawn.reward) if config.dense_context else drawn
                belief = _posterior(learner.encoder, context(drawn, self._dynamics_vary))
            rows, mean_return = self._episode(learner, _draw(belief, z_key), tasks, episode_key)
            episodes.append(rows)
            returns.append(mean_return)
        return _concatenated(episodes), {"real/return": returns[-1], "real/prior_return": returns[0]}

    def _episode(
        self, learner: Learner, z: Array, tasks: Array, key: Key, deterministic: bool = False
    ) -> tuple[Rows, float]:
        """A horizon of real steps of each task, [task, row, ...], and the mean return of the first episodes."""
        transitions = rollout(
            self.simulator, _policies(learner, z), tasks, key, episodes=1, deterministic=deterministic
        )
        observation, action, reward, next_observation, terminated, _ = (x[:, :, 0] for x in transitions)
        signal = reward
        if self.family.tested is not self.family:
            signal, _ = self.family.tested.compiled_outcome(observation, action, next_observation, tasks[:, None])
        rows = Rows(observation, action, reward, signal, next_observation, terminated.astype(jnp.float32))
        mean_return = first_episode_return(transitions.reward, transitions.done).mean()
        return jax.tree.map(np.asarray, rows), float(mean_return)


def _draw(belief: Gaussian, key: Key) -> Float[Array, "task latent"]:
    return belief.sample(random.normal(key, belief.mean.shape))


def _policies(learner: Learner, z: Float[Array, "task latent"]) -> LatentPolicy:
    """The policy with each task's z."""
    return LatentPolicy(for_each(learner.policy.module, len(z)), z)


def _concatenated(episodes: Sequence[Rows]) -> Rows:
    """Episodes of the same tasks, one after the other; on the host, since each number of them is another shape."""
    return jax.tree.map(lambda *x: np.concatenate(x, axis=1), *episodes)


_filled = jax.jit(TaskReplay.begin)
_visited = jax.jit(TaskReplay.visit)


_PARTICLE: dict[str, Any] = {"n_gradient": 1000, "reward_scale": 100.0}
_SPARSE = _PARTICLE | {
    "visited": 10,
    "prior_episodes": 5,
    "posterior_episodes": 45,
    "extra_episodes": 0,
    "context_rows": 1000,
    "exploration_episodes": 5,
    "kl": 1.0,
    "discount": 0.9,
}
_DENSE = _PARTICLE | {"prior_episodes": 10, "extra_episodes": 10, "context_rows": 64, "exploration_episodes": 1}
_DIRECTION = {"prior_episodes": 5, "extra_episodes": 5, "meta_batch": 4, "context_rows": 256}
_ANT_DIRECTION = {"n_gradient": 4000, "meta_batch": 4, "context_rows": 256}
_HUMANOID_DIRECTION = {"n_gradient": 4000, "context_rows": 256}
_PARAMETERS = {"n_gradient": 4000, "meta_batch": 10}

SPEC = AlgorithmSpec(
    PEARL,
    presets={
        "paper": Config(meta_batch=10, extra_episodes=2),
        "released": Config(),
        "laptop": Config(n_iterations=20),
        "smoke": Config(
            n_iterations=2,
            n_tasks=4,
            initial_episodes=2,
            visited=2,
            posterior_episodes=2,
            n_gradient=5,
            meta_batch=3,
            batch=8,
            context_rows=8,
            hidden=(16, 16),
            encoder=(16, 16),
        ),
    },
    family_settings={
        ("paper", "pearl/cheetah-dir"): _DIRECTION,
        ("paper", "pearl/ant-dir"): _ANT_DIRECTION,
        ("paper", "pearl/ant-goal"): _DIRECTION | {"n_gradient": 1000, "meta_batch": 10, "context_rows": 32, "kl": 5.0},
        ("paper", "pearl/humanoid-dir"): _HUMANOID_DIRECTION,
        ("paper", "pearl/point"): _DENSE | {"meta_batch": 16},
        ("paper", "pearl/sparse-point"): _SPARSE | {"meta_batch": 16},
        ("released", "pearl/cheetah-dir"): _DIRECTION,
        ("released", "pearl/ant-dir"): _ANT_DIRECTION,
        ("released", "pearl/ant-goal"): {
            "n_tasks": 150,
            "n_gradient": 4000,
            "meta_batch": 10,
            "context_rows": 256,
            "kl": 1.0,
        },
        ("released", "pearl/humanoid-dir"): _HUMANOID_DIRECTION,
        ("released", "pearl/walker-params"): _PARAMETERS,
        ("released", "pearl/hopper-params"): _PARAMETERS,
        ("released", "pearl/point"): _DENSE,
        ("released", "pearl/sparse-point"): _SPARSE,
        ("laptop", "pearl/sparse-point"): {
            "n_iterations": 500,
            "n_gradient": 500,
            "batch": 64,
            "context_rows": 100,
            "hidden": (128, 128, 128),
            "encoder": (128, 128, 128),
            "learning_rate": 1e-3,
        },
    },
)
