"""Names of the arrays in a saved policy."""

from collections.abc import Mapping

import numpy as np

NORM_EPSILON = 1e-6
"""added to the variance in layer normalisation, as in `core.nets`"""
MEMORY = ("hidden", "action", "reward", "ended")
"""arrays that a policy with memory begins with"""
RECURRENT = {"inputs", "recurrent", "bias", "readout", "offset", *MEMORY}
"""arrays of a policy with memory (`learning.policies.DeployedGRU`)"""

LIMITED = {"command_low", "command_high", "command_rate", "commands"}
"""arrays of a policy of a body with limits (`tasks.limits.LimitedBody`), beside those above: bounds of a command, its
largest change, and the commands before the start of an episode"""


def layers(arrays: Mapping[str, np.ndarray]) -> int:
    """Number of layers of a memoryless policy."""
    return sum(name.startswith("weight") for name in arrays)
