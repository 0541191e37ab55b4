"""Two maps of a training on the 2-D point, and their correlation: python plasticity.py RUN … > maps.json; draws `figure.png`

How far the policy moves when it adapts: KL(π_θ ‖ π_θ'_k) in nats, mean over the imaginary tasks k.
How far the models are apart: deviation of the members' predictions where the policy would act, root mean square of both axes, in m.
"""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from onebody.algorithms import maml, mb_mpo
from onebody.learning.policies import for_each
from onebody.runs import folder

SIDE, WIDTH = 41, 2.0


def maps(run):
    record = folder.read_config(run)
    algorithm = folder.build(record)
    state = folder.latest(run, record, folder.initial_state(record, algorithm)).state
    config, members, policy = algorithm.config, state.models.members, state.policy
    policies = for_each(policy, config.meta_batch)
    before, _ = mb_mpo.imagine(state.models, members, policies, jax.random.key(0), algorithm.family, config)
    adapted = maml.inner_steps(policies, before, config.inner_rate, maml.likelihood)
    line = jnp.linspace(-WIDTH, WIDTH, SIDE)
    states = jnp.stack(jnp.meshgrid(line, line), axis=-1).reshape(-1, 2)
    here = policy.distribution(states)
    moved = jnp.stack([here.kl(one.distribution(states)) for one in each(adapted, config.meta_batch)]).mean(0)
    predicted = jnp.stack([model(states, here.mean) for model in each(members, config.model.members)])
    apart = jnp.sqrt(jnp.mean(predicted.std(0) ** 2, axis=-1))
    return np.asarray(moved), np.asarray(apart)


def each(stacked, n):
    return [jax.tree.map(lambda x, i=i: x[i], stacked) for i in range(n)]


def ranks(values):
    return np.argsort(np.argsort(values))


def beside_ring(values):
    """What a state has beside the mean of all states that are as far from the goal, in steps of 0.1 m."""
    line = np.linspace(-WIDTH, WIDTH, SIDE)
    ring = np.round(np.hypot(*np.meshgrid(line, line)).ravel() / 0.1).astype(int)
    return values - (np.bincount(ring, values) / np.maximum(np.bincount(ring), 1))[ring]


def main():
    runs = [Path(name) for name in sys.argv[1:]]
    figure = Figure(figsize=(7, 3 * len(runs)), layout="constrained")
    found = []
    for run, places in zip(runs, figure.subplots(len(runs), 2, squeeze=False), strict=True):
        both = maps(run)
        titles = ("KL(π_θ ‖ π_θ') (nats)", "deviation of the models (m)")
        for place, values, title in zip(places, both, titles, strict=True):
            side = [-WIDTH, WIDTH, -WIDTH, WIDTH]
            drawn = place.imshow(values.reshape(SIDE, SIDE), origin="lower", extent=side, cmap="viridis")
            place.set_title(f"{run.name}: {title}", fontsize=9)
            figure.colorbar(drawn, ax=place)
        correlation = float(np.corrcoef(*both)[0, 1])
        ranked = float(np.corrcoef(*map(ranks, both))[0, 1])
        equally_far = float(np.corrcoef(*map(beside_ring, both))[0, 1])
        row = {"run": run.name, "pearson": correlation, "spearman": ranked, "pearson_at_equal_distance": equally_far}
        found.append(row | {"mean_kl": float(both[0].mean())})
    figure.savefig(Path(__file__).parent / "figure.png", dpi=90)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
