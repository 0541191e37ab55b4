"""How imagined episodes drift from real ones: python drift.py RUN, for a training on `smt/ant-dir`; prints JSON.

Returns of the deterministic policy: real, and imagined along the means of the members or along samples of them; the
same after 1,000 gradient steps more on the data and 20 of its own real episodes. Rewards per step of the first member's
mean, so many steps after real states that the policy has reached, beside the real ones there.
"""

import json
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import onebody
from onebody.algorithms.omni import omni
from onebody.core.returns import first_episode_return
from onebody.learning.dynamics import InBodies
from onebody.learning.policies import for_each
from onebody.worlds.imagination import Imagination
from onebody.worlds.rollout import rollout

TASKS, EPISODES, AHEAD = jnp.array([[1.0], [-1.0]]), 10, (1, 5, 10, 20, 40, 80)


def main(run):
    loaded = onebody.load(run)
    algorithm, state = loaded.algorithm, loaded.checkpoint.state
    family, policy = algorithm.family, state.agent.policy.module
    policies, key = for_each(policy, len(TASKS)), jax.random.key(77)
    real = rollout(algorithm.simulator, policies, TASKS, key, episodes=EPISODES, deterministic=True)

    @eqx.filter_jit
    def imagined(model, means, index):
        member = model.member(index)
        world = Imagination(family, InBodies(member.mean if means else member, family, TASKS[:, None]), state.starts)
        steps = rollout(world, policies, TASKS, key, episodes=EPISODES, deterministic=True)
        return first_episode_return(steps.reward, steps.done).mean(-1)

    def promised(model):
        """Of each task: the median over the members, along means and along samples."""
        return [np.median([imagined(model, means, i) for i in range(model.size)], 0).tolist() for means in (True, False)]

    @eqx.filter_jit
    def ahead(observation):
        """Rewards of imagined steps [step, ...] from real states of the first task."""
        quiet, member = jnp.zeros((*observation.shape[:-1], policy.noise_size)), state.model.module.member(0).mean

        def step(observation, _):
            action = policy(observation, TASKS[0], (), quiet)[0]
            following = member.predict(observation, action)
            return following, family.outcome(observation, action, following, TASKS[0])[0]

        return jax.lax.scan(step, observation, None, length=AHEAD[-1])[1]

    begin = np.arange(0, family.horizon - AHEAD[-1], 5)
    rewards = np.asarray(ahead(real.observation[0, begin])).mean((1, 2))
    there = [float(np.asarray(real.reward)[0, begin + h - 1].mean()) for h in AHEAD]
    own = rollout(algorithm.simulator, policies, TASKS, jax.random.key(9), episodes=EPISODES, deterministic=True)
    own = jax.tree.map(lambda x: jnp.swapaxes(x, 1, 2).reshape(-1, x.shape[1], 1, *x.shape[3:]), own)
    more, _ = omni.add_data(state, own, jnp.zeros(1))
    more, _ = omni.fit_model(more, key, 1000, algorithm.config.model)
    means, samples = promised(state.model.module)
    means_after, samples_after = promised(more.model.module)
    return {
        "run": Path(run).name,
        "real": np.asarray(first_episode_return(real.reward, real.done)).mean(1).tolist(),
        "means": means,
        "samples": samples,
        "means_after_own_data": means_after,
        "samples_after_own_data": samples_after,
        "steps_ahead": list(AHEAD),
        "imagined_reward": [float(rewards[h - 1]) for h in AHEAD],
        "real_reward": there,
    }


if __name__ == "__main__":
    print(json.dumps([main(run) for run in sys.argv[1:]], indent=1))
