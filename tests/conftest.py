"""Hypothesis settings: `TASK_PIPELINE_STRESS=1` tries many more examples, as `make stress` does."""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# Who is started in the background may be told to ignore it, and its children would too.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline per example: how long one takes depends on the machine, and that proves nothing.
settings.register_profile(
    "default",
    deadline=None,
    max_examples=50,
    # Where nobody is there to look at a new counterexample, the same examples each time.
    derandomize=os.environ.get("CI") == "true",
)
settings.register_profile(
    "stress",
    deadline=None,
    max_examples=5_000,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
STRESS = os.environ.get("TASK_PIPELINE_STRESS") == "1"
settings.load_profile("stress" if STRESS else "default")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave properties the time to show a counterexample: shrinking one takes longer than tests.

    What is not measured comes last: to stop measuring ends it for good in threads that go on.
    """
    for item in items:
        if item.get_closest_marker("stress"):
            # Measuring them takes as long as they do, and each line is reached by other tests.
            item.add_marker(pytest.mark.no_cover)
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False) and not STRESS:
            item.add_marker(pytest.mark.timeout(300))
    items.sort(key=lambda item: item.get_closest_marker("no_cover") is not None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """What a test that is not measured needs is made without measuring, as the test runs."""
    plugin = item.config.pluginmanager.getplugin("_cov")
    controller = getattr(plugin, "cov_controller", None)
    if controller is None or item.get_closest_marker("no_cover") is None:
        return (yield)
    controller.pause()
    try:
        return (yield)
    finally:
        controller.resume()


@pytest.fixture(autouse=True, scope="module")
def _only_what_is_fresh_is_looked_at_for_garbage() -> None:
    """Leave out what thousands of tests and reports are made of, and caches.

    Tests that see to it that nothing leaks look themselves, hundreds of times.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _log_level_is_put_back() -> Iterator[None]:
    """A page of the documentation, or a test, may turn the library's log down."""
    logger = logging.getLogger("task_pipeline")
    before = logger.level
    yield
    logger.setLevel(before)
