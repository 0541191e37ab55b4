"""Goals ahead of a point; near the far corner its steps are turned by up to 3 rad, and what is learned elsewhere misleads."""

import jax.numpy as jnp

import onebody
from onebody.tasks.point import distance_reward, near_origin


def turned(position, action):
    """0.1 m a step, turned by an angle that rises with the sixth power of the nearness to (1, 1)."""
    angle = 3.0 * jnp.prod(jnp.clip((1 + position) / 2, 0.0, 1.05)) ** 6
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    x, y = action / jnp.maximum(1.0, jnp.sqrt(jnp.sum(action**2) + 1e-12))
    return position + 0.1 * jnp.array([cosine * x - sine * y, sine * x + cosine * y])


onebody.register(
    onebody.TaskFamily(
        id="corner",
        body=onebody.ClosedFormBody(
            name="corner", dynamics=turned, labels=("x (m)", "y (m)"), action_size=2, dt=0.1, start=near_origin
        ),
        space=onebody.Box((0.0, 0.0), (1.0, 1.0)),
        reward=distance_reward,
        task_labels=("x (m)", "y (m)"),
        horizon=40,
    )
)
