"""Meta-learning by gradients through a policy gradient step: MAML, ProMP, MAESN."""
