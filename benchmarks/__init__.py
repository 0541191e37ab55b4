"""Speed and memory, as ratios measured in one run on the machine at hand."""
