"""Hypothesis settings: `TASK_PIPELINE_STRESS=1` tries many more examples, as `make stress` does."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# No deadline per example: how long one takes depends on the machine, and that proves nothing.
settings.register_profile(
    "default",
    deadline=None,
    max_examples=100,
    # Where nobody is there to look at a new counterexample, the same examples each time.
    derandomize=os.environ.get("CI") == "true",
)
settings.register_profile(
    "stress",
    deadline=None,
    max_examples=5_000,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("stress" if os.environ.get("TASK_PIPELINE_STRESS") == "1" else "default")
