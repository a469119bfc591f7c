"""A crawler: a `Map` over the pages that are known, in a `Loop` as long as there are new ones.

    python examples/crawler.py

The site is served by this very process. No more than four of its pages are asked for at
once, and one page of its archive, however many branches the map has (named limits). A page
that is busy is asked again (retries); one that is missing, or does not answer, costs
nothing but itself; and an archive that is down is left alone after three failures (a
circuit breaker).
"""

from __future__ import annotations

import re
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from typing import Any

from crawler_site import (
    ARCHIVED,
    BUSY_AT_FIRST,
    MISSING,
    PAGES,
    STUCK,
    Site,
    served,
)

from task_pipeline import (
    Branch,
    CircuitBreaker,
    CircuitOpenError,
    Loop,
    Map,
    Pipeline,
    PipelineConfig,
    PipelineContext,
    RetryPolicy,
    step,
)

Context = PipelineContext[Site]
PATIENCE = 1.5  # seconds that one page may take
LINK = re.compile(r'href="([^"]+)"')


class BusyError(Exception):
    """The server asks to be asked again."""


def read(url: str) -> dict[str, Any]:
    """Asks for one page; returns what is to be known of it."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            text = answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 404:  # an answer like any other: the server is fine
                return {"url": url, "is_missing": True, "links": []}
            if error.code == 503:
                raise BusyError(url) from None
            raise ConnectionError(f"{url} said {error.code}") from None
    links = [urllib.parse.urljoin(url, link) for link in LINK.findall(text)]
    return {"url": url, "is_missing": False, "links": links}


again_if_busy = RetryPolicy(attempts=3, delay=0.05, retry_on=(BusyError,))


@step(critical=False, limit="pages", circuit_breaker="pages", retries=again_if_busy)
def fetch_page(context: Context) -> None:
    """Asks for a page; an error is kept in `context.errors`, and the crawl goes on."""
    context.results["found"] = read(context.results["url"])


@step(critical=False, limit="archive", circuit_breaker="archive")
def fetch_archived(context: Context) -> None:
    """Asks for a page of the archive."""
    context.results["found"] = read(context.results["url"])


def is_archived(context: Context) -> bool:
    """Whether the branch's page is one of the archive."""
    return "/archive/" in context.results["url"]


def begin(context: Context) -> None:
    """All that is known at first is one address."""
    context.results.update(frontier=[context.app_config.start], pages={}, lost=[], rounds=0)


def collect(context: Context) -> None:
    """Joins a round: `found` has, in the order of the frontier, what its branches have found."""
    results = context.results
    for url, page in zip(results["frontier"], results["found"], strict=True):
        if page is None:
            results["lost"].append(url)
        else:
            results["pages"][url] = page
    known = results["pages"].keys() | set(results["lost"])
    linked = {link for page in results["pages"].values() for link in page["links"]}
    results["rounds"] += 1
    print(f"round {results['rounds']}: asked for {len(results['found'])} pages")
    results["frontier"] = sorted(linked - known)


crawler = Pipeline(
    [
        begin,
        Loop(
            [
                Map(
                    [Branch(is_archived, fetch_archived, otherwise=fetch_page)],
                    over="frontier",
                    item_key="url",
                    result_key="found",
                    name="fetch",
                ),
                collect,
            ],
            while_="frontier",  # until it is empty
            name="crawl",
        ),
    ],
    PipelineConfig(max_workers=12),
    limits={"pages": 4, "archive": 1},
    name="crawler",
)


def main() -> None:
    """Crawls the site, and checks that nothing was left out and nothing was asked too often."""
    CircuitBreaker("pages", failure_threshold=10)
    CircuitBreaker("archive", failure_threshold=3, recovery_timeout=60.0)
    with served() as site:
        context = crawler.run(PipelineContext(app_config=site))
        check(site, context)


def check(site: Site, context: Context) -> None:
    """Compares what was found with what there was."""
    pages, lost = context.results["pages"], context.results["lost"]
    missing = [url for url, page in pages.items() if page["is_missing"]]
    errors = Counter(type(error).__name__ for error in context.errors)
    fetches = crawler.metrics().total
    print(
        f"{len(pages)} pages, {len(missing)} of them missing; lost: {len(lost)}\n"
        f"errors: {dict(errors)}\n"
        f"{site.requests.total()} requests, {fetches.retried} of them once more\n"
        f"at once: {site.most_at_once}, the longest wait for a place "
        f"{fetches.queue_time.max:.2f} s"
    )
    # What only the missing pages and the stuck one link to cannot be found.
    reachable = {0}
    for number in range(1, PAGES):
        above = (number - 1) // 2
        if above in reachable and above not in MISSING and above != STUCK:
            reachable.add(number)
    archived = {number for number in range(ARCHIVED) if number in reachable - MISSING - {STUCK}}
    assert set(pages) == {f"{site.address}/page/{number}" for number in reachable - {STUCK}}
    assert len(missing) == len(MISSING & reachable)
    assert len(lost) == len(archived) + 1
    # The archive was asked three times, then no more; each busy page was asked twice.
    assert errors[CircuitOpenError.__name__] == len(archived) - 3
    assert sum(path.startswith("/archive/") for path in site.requests.elements()) == 3
    assert fetches.retried == len(BUSY_AT_FIRST & reachable)
    assert site.requests.total() == len(pages) + fetches.retried + 3 + 1
    assert site.most_at_once["page"] <= 4 and site.most_at_once["archive"] == 1


if __name__ == "__main__":
    main()
