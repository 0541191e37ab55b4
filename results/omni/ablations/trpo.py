"""OMNI with TRPO in place of pathwise gradients, on smt/cheetah-vel: python trpo.py SEED > trpo-sSEED.json

The same data, ensemble, tasks and time of practice; a Gaussian policy of (observation, ψ) and a value as in SMT, each
TRPO step on 20 whole imagined episodes, each of its own task, in one random member.

Runs at commit f58773f, of the trainings it reads.
"""

import json
import sys
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from onebody.algorithms import omni
from onebody.core.nets import Normalizer, trainable
from onebody.core.returns import gae
from onebody.learning import trpo
from onebody.learning.actor_critic import ValueConfig, ValueFunction, fit_value
from onebody.learning.policies import GaussianPolicy
from onebody.learning.trpo import TRPOConfig
from onebody.runs import evaluate
from onebody.tasks import registry
from onebody.worlds.imagination import Imagination
from onebody.worlds.rollout import rollout
from onebody.worlds.simulator import Simulator

FAMILY = registry.make("smt/cheetah-vel")
ITERATIONS, EPISODES, STEPS = 10, 20, int(sys.argv[2]) if len(sys.argv) > 2 else 100
VALUE, TRPO = ValueConfig(hidden=(128, 128), epochs=3, learning_rate=2e-3), TRPOConfig(cg_iterations=6)


def joint(observation, task):
    pairs = ((observation.mean, task.mean), (observation.std, task.std))
    mean, std = (jnp.concatenate(pair) for pair in pairs)
    return eqx.tree_at(lambda n: (n.mean, n.std), Normalizer(len(mean)), (mean, std))


class Conditioned(GaussianPolicy):
    """Sees the task, too."""

    task: Normalizer

    def __init__(self, key, observation, task, action_size):
        super().__init__(key, (128, 128), joint(observation, task), action_size)
        self.observation, self.task = observation, task

    def of_both(self):
        """The same as a policy of (observation, task)."""
        return eqx.tree_at(lambda p: p.observation, self, joint(self.observation, self.task))

    def __call__(self, observation, task, memory, noise):
        seen = jnp.broadcast_to(task, (*observation.shape[:-1], task.shape[-1]))
        return self.of_both().distribution(jnp.concatenate([observation, seen], -1)).sample(noise), memory


class Agent(eqx.Module):
    policy: Conditioned
    values: ValueFunction
    targets: ValueFunction
    optimizer: tuple


class WithTRPO(omni.OMNI):
    def init(self, key):
        state = super().init(key)
        observation, task = state.agent.policy.observation, state.agent.policy.task
        policy_key, value_key = jax.random.split(key)
        policy = Conditioned(policy_key, observation, task, FAMILY.body.action_size)
        value = ValueFunction(value_key, VALUE.hidden, joint(observation, task))
        optimizer = optax.adam(VALUE.learning_rate).init(eqx.filter(value.net, trainable(value.net)))
        return eqx.tree_at(lambda s: s.agent, state, Agent(policy, value, value, optimizer))

    def _practise(self, state, tasks, rates, key):
        return practise(state, key)


@jax.jit
def practise(state, key):
    task = state.agent.policy.task
    both = joint(state.agent.policy.observation, task)

    def improve(carry, key):
        policy, value, optimizer = carry
        member_key, task_key, rollout_key, value_key = jax.random.split(key, 4)
        world = Imagination(FAMILY, state.model.random_member(member_key), state.starts)
        tasks = FAMILY.space.sample(task_key, EPISODES)
        each = jax.tree.map(lambda x: jnp.broadcast_to(x, (EPISODES, *x.shape)), policy)
        seen = rollout(world, each, tasks, rollout_key, episodes=1)
        with_task = lambda x: jnp.concatenate(  # noqa: E731
            [x, jnp.broadcast_to(tasks[:, None, None], (*x.shape[:-1], tasks.shape[-1]))], -1
        )
        now, then = with_task(seen.observation), with_task(seen.next_observation)
        v = value(now)
        advantage = gae(jax.tree.map(lambda x: x.swapaxes(0, 1), seen), *(
            x.swapaxes(0, 1) for x in (v, value(then))
        ), 0.99, 0.95).swapaxes(0, 1)
        flat = lambda x: x.reshape(-1, *x.shape[3:])  # noqa: E731
        new, _ = trpo.update(policy.of_both(), flat(now), flat(seen.action), flat(advantage), TRPO)
        value, optimizer = fit_value(value, optimizer, flat(now), flat(advantage + v), value_key, VALUE)
        policy = eqx.tree_at(lambda p: (p.net, p.log_std), policy, (new.net, new.log_std))
        return (policy, value, optimizer), None

    value = eqx.tree_at(lambda v: v.observation, state.agent.values, both)
    start = (state.agent.policy, value, state.agent.optimizer)
    (policy, value, optimizer), _ = jax.lax.scan(improve, start, jax.random.split(key, STEPS))
    agent = Agent(policy, value, value, optimizer)
    return eqx.tree_at(lambda s: s.agent, state, agent), {"policy/entropy": policy.log_std.mean()}


def main():
    seed, taken = int(sys.argv[1]), []
    algorithm = WithTRPO(FAMILY, omni.Config(n_iterations=ITERATIONS), Simulator(FAMILY))
    key = jax.random.key(seed)
    state = algorithm.init(jax.random.fold_in(key, 0))
    for i in range(1, ITERATIONS + 1):
        began = time.time()
        state, metrics = algorithm.step(state, jax.random.fold_in(key, i))
        jax.block_until_ready(state)
        taken.append(time.time() - began)
        print(i, {k: round(v, 3) for k, v in metrics.items()}, f"{taken[-1]:.1f} s", file=sys.stderr)
    tasks = FAMILY.space.held_out(40)
    stage = next(algorithm.adapt(state, tasks, jax.random.key(1)))
    returns = evaluate.real_return(FAMILY, stage.policies, tasks)
    found = {"tasks": np.asarray(tasks).tolist(), "returns": returns.tolist(), "mean": float(returns.mean())}
    found |= {"predicted": np.asarray(stage.predicted_return).tolist()}
    print(json.dumps({"seed": seed, "steps": STEPS, "seconds": taken, "samples": algorithm.simulator.samples, **found}))


if __name__ == "__main__":
    main()
