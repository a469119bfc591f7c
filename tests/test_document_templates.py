"""Templates in documents: what they render, what they may not reach, and what they may not take."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
import warnings
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from task_pipeline import Pipeline, PipelineContext
from task_pipeline.documents.templating import filters, liquid_sandbox, templates
from task_pipeline.documents.templating.template_values import (
    MISSING,
    item_of,
    json_text,
    plain,
    split_path,
    to_text,
)
from task_pipeline.documents.templating.templates import (
    as_value,
    check_template,
    has_template,
    look_up,
    render,
    whole_variable,
)
from task_pipeline.errors import (
    ContextCopyError,
    ParallelGroupError,
    StepAbandonedError,
    TemplateError,
)
from task_pipeline.state.results import CutResults


class Treasure:
    """An object with everything that a template must not get at."""

    secret = "leaked"

    def __getitem__(self, key: object) -> str:
        return "leaked"

    def __html__(self) -> str:
        return "leaked"

    def __liquid__(self) -> str:
        return "leaked"

    @property
    def force_liquid_default(self) -> bool:
        raise AssertionError("read")

    def __str__(self) -> str:
        return "a treasure"


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


VALUES: dict[str, Any] = {
    "name": "Ada Lovelace",
    "page": {"items": [1, 2, {"id": "deep"}], "limit": 3, "size": 9, "a key": "spaced", "0": "no"},
    "yes": True,
    "no": False,
    "none": None,
    "half": 1.5,
    "list": [1, "x", None, {"k": True}],
    "rows": [{"n": "b", "v": 2}, {"n": "a", "v": 1}, {"v": 1}],
    "treasure": Treasure(),
    "treasures": [Treasure(), Treasure()],
    "partial": "mine",
    "limit": 7,
    "html": "a<script>x</script><b>b</b><!-- c -->d<style>e</style> < f",
    "day": date(2020, 1, 2),
    "price": Decimal("1.50"),
    "colour": Colour.RED,
    "level": Level.HIGH,
    "set": {"b", "a"},
    "proxy": MappingProxyType({"in": [MappingProxyType({"x": 1})]}),
    "queue": deque([1, 2]),
    "pair": (1, 2),
    "bytes": b"raw",
    "keyed": {(1, 2): [{3: 4, (5,): 6}], 7: 8},
}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("no tags", "no tags"),
        ("{{name}} and {{ page.items[2].id }}", "Ada Lovelace and deep"),
        ("{{ page.items.2.id }}", "deep"),
        ("{{ page['a key'] }}{{ page[\"a key\"] }}{{ page.0 }}", "spacedspacedno"),
        ("{{ missing }}{{ missing.x[0].y }}{{ name.first }}|", "|"),
        ("{{ yes }} {{ no }} {{ none }} {{ half }}", "true false  1.5"),
        ("{{ list }}", '[1, "x", null, {"k": true}]'),
        ("{{ list | slice: 0, 2 }}", '[1, "x"]'),
        ("{{ page.items.size }} {{ list.first }} {{ list.last.k }} {{ name.size }}", "3 1 true 12"),
        ("{{ page.size }}", "9"),
        ("{{ rows[0] }}{{ rows.0.first }}", '{"n": "b", "v": 2}["n", "b"]'),
        ("{{ set }} {{ queue }} {{ pair }}", '["a", "b"] [1, 2] [1, 2]'),
        ("{{ proxy }} {{ proxy.in[0].x }}", '{"in": [{"x": 1}]} 1'),
        ("{{ keyed }}", '{"(1, 2)": [{"3": 4, "(5,)": 6}], "7": 8}'),
        ("{{ keyed.7 }}", "8"),
        ("{{ day }} {{ price }} {{ colour }} {{ level }} {{ bytes }}",
         "2020-01-02 1.50 red 3 b'raw'"),
        ("{{ colour | upcase }} {{ level | plus: 1 }} {{ price | plus: price }}", "RED 4 3.0"),
        ("{{ partial }}{{ partial | upcase }}", "mineMINE"),
        ("{{ limit }}{{ page.limit }}{{ page.limit | plus: 1 }}{{- limit | plus: 1 -}}", "7348"),
        ("{% if page.limit > 2 and page['limit'] < 4 %}in{% endif %}", "in"),
        ("{% if 'a.limit' == \"a.limit\" %}kept{% endif %}", "kept"),
        ("{{ name | snakecase }} {{ 'HTTPServer 2-go!' | snakecase }}",
         "ada_lovelace http_server_2_go"),
        ("{{ list | json }} {{ none | json }} {{ missing | json }} {{ 'ä' | json }}",
         '[1, "x", null, {"k": true}] null null "ä"'),
        ("{{ pair | json: 1 }}", "[\n 1,\n 2\n]"),
        ("{{ list | join }}|{{ list | join: ', ' }}", '1 x  {"k": true}|1, x, , {"k": true}'),
        ("{{ list | join: none }}", '1x{"k": true}'),
        ("{{ rows | map: 'n' }}{{ rows | map: 'n' | size }}", '["b", "a", null]3'),
        ("{{ rows | sort: 'v' | map: 'v' | join: '-' }} {{ rows | sum: 'v' }}", "1-1-2 4"),
        ("{{ rows | uniq: 'v' | size }} {{ list | concat: list | uniq | size }}", "2 4"),
        ("{{ list | concat: rows | size }} {{ missing | concat: list | size }}", "7 4"),
        ("{{ proxy.in | map: 'x' }} {{ proxy | join }}", '[1] {"in": [{"x": 1}]}'),
        ("{{ missing | default: 'other' }} {{ missing | upcase }}|{{ none | append: none }}|",
         "other ||"),
        ("{{ missing | first }}{{ missing | index: 1 }}{{ list | index: 'x' }}{{ list | first }}",
         "11"),
        ("{{ list | append: yes }}", '[1, "x", null, {"k": true}]true'),
        ("{{ name | slice: 0, 3 }} {{ name | truncate: 6 }} {{ 'a,b' | split: ',' }}",
         'Ada Ada... ["a", "b"]'),
        ("{{ name | replace: 'a', 'o' }} {{ name | append: missing }}",
         "Ado Loveloce Ada Lovelace"),
        ("{{ html | strip_html }}", "abd < f"),
        ("{{ '<script>a <b>c' | strip_html }}{{ '<i>' | strip_html }}{{ '<' | strip_html }}",
         "a c<"),
        ("{{ day | date: '%d.%m.%Y' }} {{ '2020-01-02' | date: '%j' }} {{ 'soon' | date: '%j' }}",
         "02.01.2020 002 soon"),
        ("{{ none | date: '%j' }}{{ missing | date: '%j' }}{{ name | date: missing }}",
         "Ada Lovelace"),
        ("{{ 1234.5 | money }} {{ '1,234' | decimal }}", "$1,234.50 1,234"),
        ("{{ 'yes' if yes else 'no' }}{% if (no or yes) and no %}?{% endif %}", "yes"),
        ("{{ (1..3) }} {{ (1..3) | join }} {{ (3..1) | size }}", "1..3 1 2 3 0"),
        ("{% for i in (1..3) %}{{ i }}{% if forloop.last %}.{% endif %}{% endfor %}", "123."),
        ("{% for i in (1..2) %}{{ forloop.parentloop }}{{ forloop | map: 'index' }}{% endfor %}",
         "[1][2]"),
        ("{% for r in rows limit: 1 offset: 1 %}{{ r.n }}{% endfor %}", "a"),
        ("{% for x in none %}{% else %}none{% endfor %}", "none"),
        ("{% for p in proxy %}{{ p[0] }}{% endfor %}", "in"),
        ("{% tablerow i in pair %}{{ i }}{% endtablerow %}",
         '<tr class="row1">\n<td class="col1">1</td><td class="col2">2</td></tr>\n'),
        ("{% cycle 'a', 'b' %}{% cycle 'a', 'b' %}{% cycle x: 1, list %}{% cycle x: 1 %}", "ab1"),
        ("{% assign a = list %}{% capture b %}{{ a }}!{% endcapture %}{% echo b %}{% echo a %}",
         '[1, "x", null, {"k": true}]![1, "x", null, {"k": true}]'),
        ("{% with a: 5 %}{{ a }}{% endwith %}{{ a }}", "5"),
        ("{% raw %}{{ name }} {{ {% endraw %}{% comment %}{{ x }}{% endcomment %}",
         "{{ name }} {{ "),
        ("{% doc %} {{ {% enddoc %}|{%- raw -%} {{ {%- endraw -%}", "| {{ "),
        ("{{ name -}}   !", "Ada Lovelace!"),
        ("{% liquid\nassign z = 5\necho z\n%}", "5"),
        ("{% if none %}  {% endif %}{{ true }}{{ nil }}{{ empty }}", "true"),
        ("{{ {}", None),
        ("{% case name %}{% when 'x' %}{% when 'Ada Lovelace' %}hit{% endcase %}", "hit"),
        ("{% ifchanged %}a{% endifchanged %}{% ifchanged %}a{% endifchanged %}", "a"),
        ("{% increment n %}{% increment n %}{{ [none] }}{{ page[list] }}{{ page[half] }}", "01"),
        ("{{ 'a' | base64_encode }}{{ missing | size }}{{ missing | times: 2 }}", "YQ==00"),
        ("{% if list contains 'x' %}a{% endif %}{% if name contains 'Ada' %}b{% endif %}", "ab"),
        ("{{ list[-1].k }} {{ list[9] }}{{ list['0'] }}{{ list.x }}{{ half.x }}", "true 1"),
        ("{{ html }}", VALUES["html"]),
    ],
)  # fmt: skip
def test_renders(template: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(TemplateError):
            render(template, VALUES)
        return
    assert render(template, VALUES) == expected
    assert check_template(template) is None


def test_now_and_today_are_dates_unless_they_are_values() -> None:
    before = datetime.now(tz=UTC).astimezone().year
    assert before <= int(render("{{ now | date: '%Y' }}", {})) <= before + 1
    assert int(render("{{ 'now' | date: '%Y' }}", {})) >= before
    assert render("{{ today }}", {}).startswith(str(before)[:3])
    assert render("{{ now }}", {"now": "later"}) == "later"
    assert whole_variable("{{ now }}") is None


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{", "'{{' is not closed; write '}}', in '{{'"),
        ("line\n{{ a", "line 2: '{{' is not closed"),
        ("{% if", "'{%' is not closed; write '%}'"),
        ("{{ }}", "a tag is empty"),
        ("{{- -}}", "a tag is empty"),
        ("{{ a | upcas }}", "there is no filter 'upcas'; did you mean 'upcase'?"),
        ("{{ a | qqqqqq }}", "there is no filter 'qqqqqq', in"),
        ("{{ a | upcas if b }}", "there is no filter"),
        ("{{ 1 if a else 2 | upcas }}", "there is no filter 'upcas'"),
        ("{{ 1 if a else 2 || upcas }}", "there is no filter 'upcas'"),
        ("{% assign b = a | upcas %}", "there is no filter 'upcas'"),
        (
            "{% for i in l %}{% if i %}\n{{ i | upcas }}{% endif %}{% endfor %}",
            "line 2: there is no",
        ),
        ("{{ a | t }}", "there is no filter 't'"),
        ("{% include 'x' %}", "there is no tag 'include'"),
        ("{% render 'x' %}", "there is no tag 'render'"),
        ("{% extends 'x' %}", "there is no tag 'extends'"),
        ("{% macro x %}{% endmacro %}", "there is no tag 'macro'"),
        ("{% if a %}", "{% endif %} is missing"),
        ("{% endif %}", "unexpected tag 'endif'"),
        ("{% liquid assign" + " " * 400 + "a = 1 %}", "too many brackets, or too much space"),
        ("{% raw %}", "{% raw %} is not closed; write {% endraw %}"),
        ("a\n\n{{ a b }}\n", "line 3: expected"),
        ("{{ a..b }}", "expected"),
        ("{% if not a %}{% endif %}", "not operator"),
        ("{{ 'a }}" + "x" * 100, "in \"{{ 'a }}xx"),
    ],
)
def test_says_what_is_wrong_with_a_template(template: str, words: str) -> None:
    found = check_template(template)
    assert found is not None
    assert words in found
    with pytest.raises(TemplateError, match=re.escape(found)):
        render(template, VALUES)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ list | json: 99 }}", "from 0 to 8, not 99"),
        ("{{ list | json: 'x' }}", "from 0 to 8, not x"),
        ("a\n{{ 5 | divided_by: 0 }}", "line 2: divided_by: can't divide by 0"),
        ("{% break %}", "{% break %} stands outside of a loop"),
        ("{% if list < 'x' %}{% endif %}", "not supported"),
        ("{{ 'now' | date: '%1000000000d' }}", "not followed by a letter"),
        ("{{ 'x' | plus: }}", "plus"),
        ("{{ 'x' | base64_decode }}", "base64"),
        ("{{ '9' | times: '" + "9" * 5000 + "' }}", "digits"),
    ],
)
def test_says_what_is_wrong_with_a_rendering(template: str, words: str) -> None:
    assert check_template(template) is None
    with pytest.raises(TemplateError) as caught:
        render(template, VALUES)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "template",
    [
        "{{ treasure.secret }}{{ treasure['secret'] }}{{ treasure[0] }}{{ treasure.__class__ }}",
        "{{ treasure | map: 'secret' }}{{ treasures | map: 'secret' | join }}",
        "{{ treasures | where: 'secret', 'leaked' }}",
        "{% for t in treasures %}{{ t.secret }}{{ t }}{% endfor %}",
        "{{ treasures | first }}{{ treasures | json }}{{ treasures }}{{ treasures | compact }}",
        "{{ treasure | default: 'x' }}{{ treasure | upcase }}{{ treasure | json }}",
        "{{ name.__class__ }}{{ name.upper }}{{ list.append }}{{ page.keys }}{{ page.__len__ }}",
        "{{ treasures | sort_natural: 'secret' | join }}",
        "{% if treasure == 'leaked' %}leaked{% endif %}{{ treasure.size }}",
        "{% if treasures contains 'leaked' %}leaked{% endif %}",
        "{{ page[treasure] }}{{ [treasure] }}",
    ],
)
def test_never_reaches_into_an_object(template: str) -> None:
    try:
        assert "leaked" not in render(template, VALUES)
    except TemplateError as error:
        assert "leaked" not in str(error)  # noqa: PT017  # either is well


def test_escapes_nothing_and_runs_nothing_that_stands_in_values() -> None:
    values = {"a": "<b>&{{ b }}{% include 'x' %}", "b": "no"}
    assert render("{{ a }}", values) == values["a"]
    assert render("{{ a | append: '' }}", values) == values["a"]


def test_asking_for_a_key_gives_a_defaultdict_none() -> None:
    inner: dict[str, Any] = defaultdict(list)
    values: dict[str, Any] = defaultdict(list, inner=inner, rows=[inner])
    assert render("{{ a }}{{ inner.x }}", values) == ""
    assert (
        render("{{ a | upcase }}{{ inner.x | upcase }}{{ rows | map: 'x' | join }}", values) == ""
    )
    assert render("{{ rows | where: 'x' | size }}", values) == "0"
    assert dict(values) == {"inner": inner, "rows": [inner]}
    assert not inner


@pytest.mark.parametrize("template", ["{{ small }}", "{{ small | upcase }}", "{% echo small %}"])
def test_a_branch_pays_only_for_the_keys_that_are_named(template: str) -> None:
    touched: list[object] = []

    def branch(context: PipelineContext) -> None:
        assert render(template, context.results) in ("[1]", "[1]")
        touched.extend(context.results.touched)  # type: ignore[attr-defined]  # it is a fork's

    Pipeline([[branch, lambda context: None]]).run(
        PipelineContext(results={"small": [1], "large": [2], "other": {"x": [3]}})
    )
    assert touched == ["small"]


@pytest.mark.parametrize("template", ["{{ a }}", "{{ a | upcase }}"])
def test_an_abandoned_step_is_told_so(template: str) -> None:
    cut = CutResults.of({"a": [1]}, None, (None, None))  # type: ignore[arg-type]  # reads nothing
    with pytest.raises(StepAbandonedError):
        render(template, cut)


@pytest.mark.parametrize("template", ["{{ a }}", "{{ a | upcase }}", "{% if a %}{% endif %}"])
def test_a_value_that_a_branch_cannot_have_is_no_empty_text(template: str) -> None:
    def branch(context: PipelineContext) -> None:
        render(template, context.results)

    with pytest.raises(ParallelGroupError) as caught:
        Pipeline([[branch, lambda context: None]]).run(
            PipelineContext(results={"a": threading.Lock()})
        )
    assert [type(error) for error in caught.value.exceptions] == [ContextCopyError]


class Unwritable:
    def __str__(self) -> str:
        raise KeyError("no text")


@pytest.mark.parametrize("template", ["{{ a }}", "{{ a | upcase }}", "{{ b }}", "{{ b | json }}"])
def test_a_value_without_a_text_is_a_template_error(template: str) -> None:
    with pytest.raises(TemplateError, match="no text") as caught:
        render(template, {"a": Unwritable(), "b": [Unwritable()]})
    assert caught.value.__cause__ is not None


# What would hang, or eat the memory, if it was let.

BIG = "x" * 1_000_000
LAUGHS: list[Any] = ["ha"] * 10
for _ in range(9):
    LAUGHS = [LAUGHS] * 10
CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)
DEEP: list[Any] = []
for _ in range(100_000):
    DEEP = [DEEP]
HOSTILE: dict[str, Any] = {
    "big": BIG,
    "many": range(50_000),
    "numbers": list(range(50_000)),
    "rows": [{"a": number} for number in range(5_000)],
    "laughs": LAUGHS,
    "circle": CIRCLE,
    "deep": DEEP,
    "pair": ["a", BIG],
    "currency_format": "0" * 300,
    "scripts": "<script>" * 200_000,
    "huge": 10**5000,
    "e": "1e999999999",
    "inf": float("inf"),
    "lone": "\ud800",
}


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in (1..1000000000) %}{% endfor %}",
        "{{ (1..1000000000) | join }}",
        "{{ (1..1000000000) | size }}",
        "{{ (1..1000000000) | sum }}",
        "{{ (1..99999999999999999999999999) | first }}",
        "{% for i in (1..1000000000) offset: 999999999 %}{% endfor %}",
        "{% if (1..1000000000) contains 'x' %}{% endif %}",
        "{% for i in (1..100000) %}{% if (1..1000000) contains 1.5 %}{% endif %}{% endfor %}",
        "{% for i in (1..1000) %}{% for j in (1..1000) %}{% endfor %}{% endfor %}",
        "{% for i in (1..90000) %}{% endfor %}" * 2,
        "{% tablerow i in (1..90000) %}{% endtablerow %}",
        pytest.param(
            "{% for i in (1..90000) %}" + "{% if true %}{% endif %}" * 900 + "{% endfor %}",
            marks=pytest.mark.no_cover,
        ),
        "{% for i in (1..90000) %}{% for j in numbers limit: 0 %}{% endfor %}{% endfor %}",
        "{% for i in (1..90000) %}{% if numbers contains 'x' %}{% endif %}{% endfor %}",
        "{% for i in (1..90000) %}{% if big contains 'y' %}{% endif %}{% endfor %}",
        "{% for i in (1..90000) %}{% capture c %}{{ big }}{% endcapture %}{% endfor %}",
        pytest.param(
            "{% for i in (1..90000) %}{{ rows | json | size }}{% endfor %}",
            marks=pytest.mark.no_cover,
        ),
        pytest.param(
            "{% for i in (1..90000) %}{{ numbers | append: '' | size }}{% endfor %}",
            marks=pytest.mark.no_cover,
        ),
        "{% for i in (1..300) %}{% assign s = s | append: 'x' %}{% cycle s: 1, 2 %}{% endfor %}",
        "{% assign a = '1234567890' %}" + "{% assign a = a | append: a %}" * 30,
        "{% assign a = 'xxxxxxxxxx' %}" + "{% assign a = a | replace: 'x', a %}" * 10,
        "".join(f"{{% assign a{n} = big | append: '{n}' %}}" for n in range(30)),
        "{% assign n = 9 %}" + "{% assign n = n | times: n %}" * 30,
        "{{ big | replace: 'x', big }}",
        "{{ big | replace: '', big }}",
        "{{ pair | join: big | append: big | append: big }}" * 4,
        "{{ big }}{{ big }}" * 6,
        "{{ big | upcase }}" * 11,
        "{{ laughs }}",
        "{{ laughs | json }}",
        pytest.param("{{ circle }}", marks=pytest.mark.no_cover),
        "{{ deep }}",
        "{{ deep | json }}",
        "{{ deep | compact }}",
        "{{ huge }}",
        "{{ huge | times: huge }}",
        "{{ huge | json }}",
        "{{ e | money }}",
        "{{ e | decimal }}",
        "{{ e | unit: 'length-meter' }}",
        "{{ inf | ceil }}",
        "{{ 1 | money: group_separator: big }}",
        "{{ 'now' | date: big }}",
        "{{ 'now' | datetime: format: big }}",
        "{{ lone | url_encode }}",
        "{% if true %}" * 60 + "{% endif %}" * 60,
        "{{ a" + "[a" * 3000 + "]" * 3000 + " }}",
        "{{ " + "(" * 9000 + " }}",
        "{{" + " " * 100_000 + "}}",
        "{{ a" + " " * 400 + "b }}",
        "{{ 1 | money }}",
        "{{ a | upcase }}" + BIG,
        "{% raw %}" * 50_000,
        "{{ 'x' " * 50_000,
        "{{" * 400_000,
        "{%" * 400_000,
        "{{ a" + ".b" * 6000 + " | upcase }}",
        "{{ a | upcase }}" * 60_000,
        "{% if " + "(" * 2000 + "a" + ")" * 2000 + " %}{% endif %}",
        "{% if a" + " and a" * 1500 + " %}{% endif %}",
    ],
)
def test_what_takes_too_much_is_refused(template: str) -> None:
    began = time.monotonic()
    with pytest.raises(TemplateError):
        render(template, HOSTILE)
    # Far more than any of them takes, and far less than an hour.
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    "template",
    [
        "{% assign a = 'x,x' | split: ',' %}" + "{% assign a = a | concat: a %}" * 30,
        "{{ laughs | compact }}",
        "{{ laughs | join }}",
        "{{ circle | join }}",
        "{{ big | split: '' | join: 'y' }}",
        "{{ numbers | size }}",
        "{{ pair | concat: numbers }}",
        "{{ (1..5000) }}",
    ],
)
def test_a_list_of_too_many_items_is_refused(
    template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filters, "MAX_ITEMS", 1000)
    monkeypatch.setattr(liquid_sandbox, "MAX_ITEMS", 1000)
    with pytest.raises(TemplateError, match="1,000"):
        render(template, HOSTILE)


def test_what_takes_time_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "MAX_WORK", 1000)
    for body in (
        "{{ 'now' | date: '%Y' }}",
        "{{ 1 | money }}",
        "{{ many | first }}",
        "{{ 1 }}" * 60,
    ):
        values = {"many": HOSTILE["many"]}
        assert render(body, values)
        with pytest.raises(TemplateError, match="does too much"):
            render(f"{{% for i in (1..20) %}}{body}{{% endfor %}}", values)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ rows | uniq | size }} {{ numbers | uniq | size }}", "5000 50000"),
        ("{{ many | join | size }} {{ big | split: '' | size }}", "288889 1000000"),
        ("{% for i in (1..99999) %}{% endfor %}{% for i in (1..1) %}{{ i }}{% endfor %}", "1"),
        ("{% for i in (1..1000000) offset: 999999 %}{{ i }}{% endfor %}", "1000000"),
        ("{{ scripts | strip_html | size }}", "0"),
        ("{{ big | strip_html | snakecase | size }}", "1000000"),
        ("{{ '<script' | append: big | strip_html | size }}", "1000007"),
        ("{{ 1.5 | round: 100000000000 }}{{ 'x' | truncate: 100000000000 }}", "1.5x"),
        ("{{ lone }}{{ lone | upcase }}{{ e | plus: 1 }}", "\ud800\ud800inf"),
    ],
)
def test_what_is_large_and_no_more_is_rendered(template: str, expected: str) -> None:
    assert render(template, HOSTILE) == expected


def test_nothing_stays_behind_of_a_rendering() -> None:
    template = "{% assign a = a | append: b %}{% increment n %}{% cycle 'x', 'y' %}{{ a }}"
    assert [render(template, {"b": n}) for n in (1, 2)] == ["0x1", "0x2"]


def test_threads_render_one_template_side_by_side() -> None:
    template = "{% for i in (1..50) %}{% assign s = s | append: n %}{% endfor %}{{ s }}"
    gate = threading.Barrier(4, timeout=20)
    rendered: dict[int, set[str]] = {}

    def work(number: int) -> None:
        gate.wait()
        rendered[number] = {render(template, {"n": number}) for _ in range(20)}

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert rendered == {number: {str(number) * 50} for number in range(4)}


def test_a_rendering_reads_no_file(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_text("read")
    (tmp_path / "x.liquid").write_text("read")
    monkeypatch.chdir(tmp_path)
    for tag in ("include 'x'", "render 'x'", "extends 'x'", "import 'x'", "block x"):
        with pytest.raises(TemplateError, match="there is no tag"):
            render(f"{{% {tag} %}}", {})


# The cheap way, without python-liquid.


def in_child(code: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    return ended.stdout.strip()


def test_plain_variables_and_known_filters_do_not_import_liquid() -> None:
    code = """if True:
        import sys
        from task_pipeline.documents.templating.templates import *
        assert check_template("no tags") is None
        assert check_template("a {{ b.c[0]['d'] }} {{ e | upcase | json }} {{ limit }}") is None
        assert render("a {{ b.c }}", {"b": {"c": [1]}}) == "a [1]"
        assert whole_variable("{{ b.c }}") == ("b", "c")
        assert as_value("[1]") == [1]
        assert not {"liquid", "babel"} & set(sys.modules)
        assert render("{{ b | upcase }}", {"b": "c"}) == "C"
        print("liquid" in sys.modules)
    """
    assert in_child(code) == "True"


def test_a_missing_extra_is_named_when_it_is_needed() -> None:
    code = """if True:
        import sys
        sys.modules["liquid"] = None
        from task_pipeline import MissingExtraError
        from task_pipeline.documents.templating.templates import *
        assert render("{{ a }}", {"a": 1}) == "1"
        assert check_template("a | b {{ c }}") is None
        for call in (
            lambda: render("{{ a | upcase }}", {}),
            lambda: check_template("{% x %}"),
            lambda: check_template("{{ a | upcase }}"),
        ):
            try:
                call()
            except MissingExtraError as error:
                print(error)
    """
    line = (
        "a template with filters or tags needs python-liquid, which is not installed; "
        "install it with: pip install 'task-pipeline[documents]'"
    )
    assert in_child(code).splitlines() == [line, line, line]


def test_another_module_that_is_missing_is_no_missing_extra() -> None:
    code = """if True:
        import sys
        sys.modules["task_pipeline.documents.templating.filters"] = None
        from task_pipeline.documents.templating.templates import *
        try:
            render("{{ a | upcase }}", {})
        except ModuleNotFoundError as error:
            print(type(error).__name__, error.name)
    """
    assert in_child(code) == "ModuleNotFoundError task_pipeline.documents.templating.filters"


def test_every_filter_that_is_taken_for_known_is_known_and_needs_no_argument() -> None:
    for name in templates._PLAIN_FILTERS.split("|"):
        template = f"{{{{ a | {name} }}}}"
        assert check_template(template) is None
        assert liquid_sandbox.problem(template) is None
        render(template, {"a": [1]})


NAMES = st.sampled_from(
    ["a", "b_c", "d-e", "limit", "for", "size", "first", "last", "ä", "0", "x1"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=10,
)
SEGMENTS = st.lists(
    NAMES.map(".{}".format)
    | st.integers(-3, 3).map("[{}]".format)
    | NAMES.map("['{}']".format)
    | NAMES.map('["{}"]'.format),
    max_size=4,
).map("".join)
ROOTS = st.sampled_from(["a", "b_c", "d-e", "size", "ä"])


@given(ROOTS, SEGMENTS, st.dictionaries(NAMES, JSON, max_size=4))
def test_both_ways_to_render_a_variable_agree(
    root: str, segments: str, values: dict[str, Any]
) -> None:
    text = f"<{{{{ {root}{segments} }}}}>"
    assert templates._split(text) is not None
    assert render(text, values) == liquid_sandbox.render(text, values)
    path = whole_variable(text[1:-1])
    assert path is not None
    found = look_up(values, path)
    assert render(text, values) == f"<{'' if found is MISSING else to_text(found)}>"


# fmt: off
PIECES = [
    "{{ ", "}} ", "{% ", "%} ", " a", ".b", "[0]", "|", "upcase", "'", '"', " if ", "for ", "(",
    "-", "in ", "..", "1", "endif", "endfor", "raw", "endraw", "\n", "=", "limit", "(1..3)",
]
# fmt: on


@given(
    st.lists(
        st.sampled_from(PIECES),
        max_size=20,
    ).map("".join)
    | st.text()
)
@example("{{{ a }}")
@example("{{a}}}}")
@example("{{ a- }}")
@example("{% liquid %}")
@example("{% doc %}{% enddoc %}")
def test_any_text_renders_or_is_a_template_error(text: str) -> None:
    problem = check_template(text)
    try:
        rendered = render(text, VALUES)
    except TemplateError:
        return
    assert problem is None
    if not has_template(text):
        assert rendered == text


# Whole variables, paths and values.


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("{{ a }}", ("a",)),
        ("  {{a.b[0].x}}\n", ("a", "b", 0, "x")),
        ("{{ a.0[-1]['k k'][\"q\"] }}", ("a", 0, -1, "k k", "q")),
        ("{{ step-a.b-c }}", ("step-a", "b-c")),
        ("{{ limit }}", ("limit",)),
        ("{{ a.1234567890123 }}", ("a", "1234567890123")),
        ("{{ true }}", None),
        ("{{ a | upcase }}", None),
        ("{{ a }}{{ b }}", None),
        ("{{ a }} b", None),
        ("{{- a }}", None),
        ("{{ a- }}", None),
        ("{{ 'a' }}", None),
        ("{{ a[b] }}", None),
        ("{{ 1 }}", None),
        ("a", None),
        ("", None),
    ],
)
def test_whole_variable(text: str, path: tuple[str | int, ...] | None) -> None:
    assert whole_variable(text) == path


def test_a_path_begins_with_a_name() -> None:
    with pytest.raises(ValueError, match="is not a path"):
        split_path("[0]")


def test_look_up_gives_values_as_they_are() -> None:
    treasure = VALUES["treasure"]
    assert look_up(VALUES, ("treasure",)) is treasure
    assert look_up(VALUES, ("treasures", 1)) is VALUES["treasures"][1]
    assert look_up(VALUES, ("none",)) is None
    assert look_up(VALUES, ("treasure", "secret")) is MISSING
    assert look_up(VALUES, ("nothing", "at", "all")) is MISSING
    assert not MISSING
    assert repr(MISSING) == "MISSING"


def test_item_of_takes_a_mappings_own_keys_first() -> None:
    assert item_of({"size": 1, "first": 2}, "size") == 1
    assert item_of({}, "size") == 0
    assert item_of({}, "first") is MISSING
    assert item_of([], "first") is MISSING
    assert item_of({1: "one"}, "1") == "one"
    assert item_of({"1": "one"}, 1) == "one"
    assert item_of({}, 10**10) is MISSING
    assert item_of([1], True) is MISSING
    assert item_of({}, ()) is MISSING
    assert item_of(b"ab", 0) is MISSING


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[1, 2]", [1, 2]),
        (' {"a": [true, null]}\n', {"a": [True, None]}),
        ("{'a': [True, None], 'b': (1,)}", {"a": [True, None], "b": (1,)}),
        ("['it\\'s', \"x\"]", ["it's", "x"]),
        ("true", True), ("True", True), ("false", False), ("False", False),
        ("null", None), (" None ", None),
        ("5", "5"), ("1.5", "1.5"), ('"a"', '"a"'), ("TRUE", "TRUE"), ("", ""), ("none", "none"),
        ("[a]", "[a]"), ("{1, 2}", "{1, 2}"), ("[1]x", "[1]x"), ("[1", "[1"),
        ("[1](2)", "[1](2)"), ("[].__class__", "[].__class__"), ("[][0]", "[][0]"),
        ("[__import__('os')]", "[__import__('os')]"),
        ("['\\d']", "['\\d']"),
        ("['\\\\d']", ["\\d"]), ("[('\\\\d',)]", [("\\d",)]),
        ("['\\777']", "['\\777']"), ("{[]: 1}", "{[]: 1}"),
        ("[" + "9" * 5000 + "]", "[" + "9" * 5000 + "]"),
        ("['" + "a" * 1_000_001 + "']", "['" + "a" * 1_000_001 + "']"),
        ("[" * 100_000 + "]" * 100_000, "[" * 100_000 + "]" * 100_000),
        ("[" * 150 + "'']" + "]" * 149, "kept or read"),
        ("[" + "-" * 50_000 + "1]", "[" + "-" * 50_000 + "1]"),
        ("[" + "1+" * 50_000 + "1]", "[" + "1+" * 50_000 + "1]"),
    ],
)  # fmt: skip
def test_as_value(text: str, value: object) -> None:
    found = as_value(text)
    if value != "kept or read":
        assert found == value
        assert type(found) is type(value)


def test_reading_a_value_warns_nobody() -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert as_value("['\\d']") == "['\\d']"
        assert as_value("[('\\d',)]") == "[('\\d',)]"
    assert warned == []


@given(JSON.filter(lambda value: isinstance(value, list | dict)))
def test_a_rendered_list_or_mapping_becomes_that_value(value: object) -> None:
    assert as_value(render("{{ value }}", {"value": value})) == value
    if "inf" not in repr(value):
        assert as_value(repr(value)) == value


@given(st.text() | st.integers().map(str) | st.floats().map(str))
def test_as_value_never_makes_text_a_number(text: str) -> None:
    assert isinstance(as_value(text), str | list | dict | bool | None)
    if as_value(text) == text:
        assert isinstance(as_value(text), str)


class OwnMapping(Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        return {"a": 1}[key]

    def __iter__(self) -> Iterator[str]:
        return iter(["a"])

    def __len__(self) -> int:
        return 1


class Loud(str):
    def __str__(self) -> str:
        return "LOUD"

    def __add__(self, other: str) -> str:
        return "added"


def test_values_of_the_users_own_types() -> None:
    assert to_text(OwnMapping()) == '{"a": 1}'
    assert render("{{ m.a }}{{ m | json }}{{ m.b }}", {"m": OwnMapping()}) == '1{"a": 1}'
    assert render("{{ t }}{{ t | append: 'x' }}", {"t": Loud("quiet")}) == "quietquietx"
    assert type(plain(Loud("quiet"))) is str
    assert plain(type("Own", (float,), {})(1.5)) == 1.5
    assert json.loads(json_text({"x": [OwnMapping(), {1}, deque([2]), b"3", Treasure()]})) == {
        "x": [{"a": 1}, [1], [2], "b'3'", "a treasure"]
    }
