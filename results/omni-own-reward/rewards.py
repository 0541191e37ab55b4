"""Three rewards for `smt/cheetah-vel` that differ from the family's reward at every target velocity.

Column 1 of an observation is the pitch of the torso (rad), columns 11 to 16 are the joints' rates (rad/s), of which 12 and
15 are the knees', and column 17 is the forward velocity (m/s).
"""

import jax.numpy as jnp


def nose_down(observation, action, next_observation, task):
    """Run at 1 m/s with the torso pitched to -0.25 rad."""
    velocity, pitch = next_observation[17], next_observation[1]
    return -jnp.abs(velocity - 1.0) - 2.0 * jnp.abs(pitch + 0.25) - 0.05 * jnp.sum(action**2)


def high_steps(observation, action, next_observation, task):
    """Run at 1 m/s with quick knees."""
    velocity, knees = next_observation[17], next_observation[jnp.array([12, 15])]
    return -jnp.abs(velocity - 1.0) + 0.02 * jnp.minimum(jnp.mean(knees**2), 100.0) - 0.05 * jnp.sum(action**2)


def stand_still(observation, action, next_observation, task):
    """Stand with resting joints and little torque."""
    velocity, rates = next_observation[17], next_observation[11:17]
    return -jnp.abs(velocity) - 0.02 * jnp.sum(jnp.abs(rates)) - 0.5 * jnp.sum(action**2)
