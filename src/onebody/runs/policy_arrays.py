"""Names of the arrays in a saved policy."""

from collections.abc import Mapping

import numpy as np

NORM_EPSILON = 1e-6
"""added to the variance in layer normalisation, as in `core.nets`"""
MIN_VARIANCE = 1e-7
"""smallest variance of a factor of a belief, as in `algorithms.context.belief`"""
MEMORY = ("hidden", "action", "reward", "ended")
"""arrays that a policy with memory begins with"""
RECURRENT = {"inputs", "recurrent", "bias", "readout", "offset", *MEMORY}
"""arrays of a policy with memory (`learning.policies.DeployedGRU`)"""

BELIEF = "exploration_episodes"
"""array that only a policy with a belief has. It also has those of a memoryless policy whose task is z, and those of an
encoder, `encoder_weight0` … (`learning.policies.DeployedBelief`)"""

LIMITED = {"command_low", "command_high", "command_rate", "commands"}
"""arrays of a policy of a body with limits (`tasks.limits.LimitedBody`), beside those above: bounds of a command, its
largest change, and the commands before the start of an episode"""


def layers(arrays: Mapping[str, np.ndarray], prefix: str = "") -> int:
    """Number of layers of a memoryless policy, or of its encoder (`prefix` is "encoder_")."""
    return sum(name.startswith(f"{prefix}weight") for name in arrays)


def belief_sizes(arrays: Mapping[str, np.ndarray]) -> tuple[int, ...]:
    """Sizes of the parts of a policy's state, before its newest commands, if it has a belief: mean and standard
    deviation of the belief, z, observation and action of the last step, and the number of episodes."""
    latent, actions = len(arrays["task_mean"]), len(arrays[f"bias{layers(arrays) - 1}"])
    return latent, latent, latent, len(arrays["observation_mean"]), actions, 1
