"""Meta-learning of what past transitions tell about a hidden task: PEARL, RL²."""
