"""OMNI for hidden tasks whose kind of reward is known: ψ is inferred from rewards, by Bayes' rule.

    1: train OMNI: models, and one policy π(a | s, ψ) for all ψ; the tasks of training are its own choice
    2: a new ψ, which is not told: the belief b(ψ) ← p(ψ)                                            `adapt`
    3: in each episode: act with π(a | s, ψ̂) for a ψ̂ drawn from the belief                  `PosteriorSamplingPolicy`
           after each step: b(ψ) ← b(ψ) N(reward; r_ψ(s, a, s'), σ²); ψ̂ stays as often as a draw from b can,
           otherwise it is the nearest of some draws from where b has gained
    4: after each episode: b(ψ) from p(ψ) and all transitions so far, with new particles             `belief.infer`

Ours, after Thompson's (1933) posterior sampling; taking the nearest of several draws makes a search local. What is
assumed: the family's reward function; an algorithm such as PEARL learns its form from rewards. Where dynamics vary with
ψ, training tells the models ψ, and a power of the density that they give to s' is a further factor of b.
"""

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from onebody.algorithms.omni import belief
from onebody.algorithms.omni.belief import Evidence, Observed
from onebody.algorithms.omni.omni import OMNI, State
from onebody.algorithms.omni.omni import SPEC as OMNI_SPEC
from onebody.algorithms.omni.omni import Config as OMNIConfig
from onebody.algorithms.protocol import Adapted, AlgorithmSpec, Metrics
from onebody.core import random
from onebody.core.errors import OnebodyError, at_least, positive
from onebody.core.gaussian import Gaussian
from onebody.core.types import Key, Keys
from onebody.learning.policies import ConditionedPolicy, for_each
from onebody.learning.replay import Replay
from onebody.tasks.family import TaskFamily
from onebody.tasks.space import Continuous, continuous
from onebody.worlds.check import check_hidden
from onebody.worlds.notes import uses_task
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator

ROWS = 1024
"""rows of the data that the scale of rewards is computed on"""


@dataclass(frozen=True)
class Config:
    """Ours."""

    particles: int = 512
    """Number of particles per belief"""
    moves: int = 3
    """Metropolis steps of each particle after each resampling, when a belief is inferred from all transitions"""
    candidates: int = 8
    """Posterior samples that are compared when the task that is acted for changes; the nearest to the last one is used.
    1: exact posterior sampling"""
    reward_noise: float = 0.01
    """Standard deviation σ of observed rewards around the family's reward function, relative to the standard deviation
    of rewards over tasks (root mean square over the data)"""
    omni: OMNIConfig = field(default_factory=OMNIConfig)
    """Settings of OMNI's training"""

    def __post_init__(self) -> None:
        at_least(2, self, "particles")
        at_least(1, self, "moves", "candidates")
        positive(self, "reward_noise")
        if self.omni.logged_transitions:
            raise OnebodyError("omni-hidden cannot learn from logs; omni can")

    @property
    def n_iterations(self) -> int:
        """Iterations of training"""
        return self.omni.n_iterations


class Memory(NamedTuple):
    """What a policy keeps: its belief, the task that it acts for, and the last transition but for its end."""

    log_weight: Float[Array, "*axes particle"]
    chosen: Int[Array, "*axes"]
    """index of the particle that it acts for; -1 before the first step"""
    key: Any
    """of the next draw"""
    last: Observed
    """of `next_observation` unknown"""


class PosteriorSamplingPolicy(eqx.Module):
    """OMNI's policy for a draw from a belief over ψ, which every reward changes."""

    policy: ConditionedPolicy
    tasks: Float[Array, "*tasks particle feature"]
    """equally probable at the beginning of an episode"""
    evidence: Evidence
    key: Any
    """of its draws"""
    candidates: int = eqx.field(static=True)

    @property
    def noise_size(self) -> int:
        return self.policy.noise_size

    def memory(self, axes: tuple[int, ...]) -> Memory:
        """Leading axes of stacked policies are the first ones of `axes`."""
        body, n = self.evidence.family.body, self.tasks.shape[-2]
        observation, zero = jnp.zeros((*axes, body.observation_size)), jnp.zeros(axes)
        last = Observed(observation, jnp.zeros((*axes, body.action_size)), observation, zero, zero > 0)
        keys = jnp.vectorize(lambda key: jax.random.split(key, axes[self.key.ndim :]))(self.key)
        return Memory(jnp.zeros((*axes, n)), jnp.full(axes, -1), keys, last)

    def remember(self, memory: Memory, reward: Any, ended: Any) -> Memory:
        """The last transition of an episode is left out: the next observation begins another one."""
        return memory._replace(last=memory.last._replace(reward=reward, known=~ended))

    def __call__(self, observation: Array, task: Array, memory: Memory, noise: Array) -> tuple[Array, Memory]:
        seen = memory.last._replace(next_observation=observation)
        scale = self.tasks.std(0) + 1e-9
        draw = jnp.vectorize(
            functools.partial(_draw, self.tasks / scale, self.candidates), signature="(p),(p),(),()->(),()"
        )
        log_weight = memory.log_weight + self.evidence(seen, self.tasks)
        chosen, key = draw(memory.log_weight, log_weight, memory.chosen, memory.key)
        action, _ = self.policy(observation, self.tasks[chosen], (), noise)
        last = seen._replace(observation=observation, action=action)
        return action, Memory(log_weight, chosen, key, last)

    def believed(self, memory: Memory) -> Gaussian:
        """From all transitions but the last one."""
        return belief.weighted(self.tasks, memory.log_weight)

    def deployed(self, task: Array) -> NoReturn:
        """Raises OnebodyError: it infers its task while it acts."""
        raise OnebodyError(
            "omni-hidden infers the task from rewards while it acts: it has no file, and no single actions; leave "
            "--save out, or train omni and tell it the task"
        )


def _draw(
    tasks: Float[Array, "particle feature"],
    candidates: int,
    before: Float[Array, " particle"],
    after: Float[Array, " particle"],
    last: Int[Array, ""],
    key: Key,
) -> tuple[Int[Array, ""], Key]:
    """A draw from the belief that stays where the last one was as often as it can (maximal coupling).

    Args:
        candidates: number of draws of which the nearest to the last one is taken if it cannot stay; with one, the
            result is an exact draw from the belief.
        before, after: log-weights before and after the last transition.
    """
    key, stay_key, draw_key = jax.random.split(key, 3)
    old, new = jax.nn.softmax(before), jax.nn.softmax(after)
    stays = (last >= 0) & (random.uniform(stay_key, ()) * old[last] < new[last])
    gain = jnp.maximum(new - old, 0.0)
    gained = jnp.where((last < 0) | (gain.sum() == 0), new, gain)
    drawn = jax.random.categorical(draw_key, jnp.log(gained), shape=(candidates,))
    distance = jnp.where(last < 0, 0.0, jnp.sum((tasks[drawn] - tasks[last]) ** 2, axis=-1))
    return jnp.where(stays, last, drawn[jnp.argmin(distance)]), key


@dataclass(frozen=True)
class OMNIHidden:
    """OMNI for hidden tasks of a known reward function: it infers them from rewards."""

    family: TaskFamily
    config: Config
    simulator: Simulator
    task_is_known = False
    reward_is_known = True

    @property
    def omni(self) -> OMNI:
        return OMNI(self.family, self.config.omni, self.simulator)

    def init(self, key: Key) -> State:
        if self.family.physics is None and not uses_task(self.family.tested.reward, self.family.tested):
            raise OnebodyError(
                f"omni-hidden infers the task from rewards, and those of {self.family.id} do not depend on it: use omni"
            )
        check_hidden(self.family)
        return self.omni.init(key)

    def step(self, state: State, key: Key) -> tuple[State, Metrics]:
        """Line 1."""
        return self.omni.step(state, key)

    def adapt(self, state: State, tasks: Float[Array, "task feature"], key: Key) -> Iterator[Adapted]:
        """Lines 2-4, an episode a stage. The tasks are the simulator's alone."""
        config, space = self.config, continuous(self.family.space)
        prior, (scale_key, key) = belief.prior(space, config.particles), jax.random.split(key)
        sigma = config.reward_noise * reward_scale(self.family, state.data, space.at(prior), scale_key)
        evidence = Evidence(self.family, sigma)
        if self.family.physics:
            model, (weight_key, key) = state.model.module, jax.random.split(key)
            weight = belief.independence(self.family, model, state.data, weight_key)
            evidence = Evidence(self.family, sigma, model, weight)
        policy, evidences = (for_each(each, len(tasks)) for each in (state.agent.policy.module, evidence))
        particles, episodes = jnp.broadcast_to(prior, (len(tasks), *prior.shape)), []
        for stage in itertools.count():
            policy_key, episode_key, infer_key = jax.random.split(jax.random.fold_in(key, stage), 3)
            believed = jax.vmap(space.at)(particles)
            keys = jax.random.split(policy_key, len(tasks))
            policies = PosteriorSamplingPolicy(policy, believed, evidences, keys, config.candidates)
            yield Adapted(policies, belief=belief.summary(believed))
            episode = rollout(self.simulator, policies, tasks, episode_key, episodes=1, deterministic=True)
            observation, action, reward, next_observation, *_ = (x[:, :, 0] for x in episode)
            known = jnp.ones(reward.shape, bool)
            episodes.append(Observed(observation, action, next_observation, reward, known))
            seen, keys = _joined(episodes), jax.random.split(infer_key, len(tasks))
            particles = _infer(evidence, space, prior, seen, keys, config.moves)


def _joined(episodes: Sequence[Observed]) -> Observed:
    """Episodes of the same tasks, one after the other, [task, row, ...].

    Unknown rows make them as many as a power of two, so that programs serve several stages.
    """
    unknown = jax.tree.map(np.zeros_like, episodes[0])
    padded = [*episodes, *[unknown] * ((1 << (len(episodes) - 1).bit_length()) - len(episodes))]
    return jax.tree.map(lambda *x: np.concatenate(x, axis=1), *padded)


@functools.partial(jax.jit, static_argnames=("space", "moves"))
def _infer(
    evidence: Evidence,
    space: Continuous,
    prior: Float[Array, "particle unit"],
    seen: Observed,
    keys: Keys,
    moves: int,
) -> Float[Array, "task particle unit"]:
    """Line 4, for one task after the other."""
    each = lambda own: belief.infer(evidence, space, prior, own[0], own[1], moves)  # noqa: E731
    return jax.lax.map(each, (seen, keys))


@functools.partial(jax.jit, static_argnames="family")
def reward_scale(
    family: TaskFamily, data: Replay, tasks: Float[Array, "particle feature"], key: Key
) -> Float[Array, ""]:
    """Standard deviation of rewards over tasks, root mean square over transitions of the data.

    1 if the rewards of all tasks are equal there, as those far from any goal are.
    """
    rows = random.randint(key, (ROWS,), 0, jnp.maximum(data.size, 1))
    observation, action, next_observation = (x[rows] for x in (data.observation, data.action, data.next_observation))
    action = action[:, : family.body.action_size]
    scale = jnp.sqrt(belief.rewards(family, observation, action, next_observation, tasks).var(-1).mean())
    return jnp.where(scale > 0, scale, 1.0)


SPEC = AlgorithmSpec(
    OMNIHidden,
    presets={name: Config(omni=preset) for name, preset in OMNI_SPEC.presets.items() if name != "demo"},
)
