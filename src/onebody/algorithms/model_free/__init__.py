"""Single-task and task-conditioned algorithms without a model: TRPO, PPO, ACKTR, SAC, DDPG, random search."""
