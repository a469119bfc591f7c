"""What a step, a branch, a run and an import cost: `python -m benchmarks` prints the table."""
