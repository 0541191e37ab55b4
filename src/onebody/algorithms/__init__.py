"""Algorithms by lineage: each in a file of its own, with its presets."""

ENTRY_POINTS = "onebody.algorithms"
"""group of entry points by which a package adds algorithms: `name = "package.module:SPEC"`, an AlgorithmSpec"""
