"""Algorithms on an ensemble of models of a single task: MB-MPO, ME-TRPO, MB-MPC."""
