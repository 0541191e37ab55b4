"""OMNI: one task-conditioned policy, trained inside an ensemble of models for all tasks at once."""
