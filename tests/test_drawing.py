"""Pictures of plans: what stands in them, read back by readers of our own."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from task_pipeline import (
    Branch,
    ErrorStrategy,
    LogicOperator,
    Loop,
    Map,
    Parallel,
    ParallelConfig,
    Pipeline,
    PipelineConfig,
    Serial,
    step,
)
from task_pipeline.compiler import compile_plan
from task_pipeline.documents import load_pipeline
from task_pipeline.drawing import dot, mermaid, svg, tree
from task_pipeline.drawing.figures import Shape, figure_of
from task_pipeline.drawing.layout import Box, laid_out
from task_pipeline.drawing.measuring import text_width
from task_pipeline.drawing.wording import one_line
from task_pipeline.plan import Plan

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = [
    'say "hi" --> end',
    "a]]> <b>&amp;\n#quot; %%{init: {}}%%",
    "`tick` $$x$$ fa:fa-car",
    "end",
    "1. list",
    "style: x #35;",
    "😀 漢字 👨‍👩‍👧 ñ",
    "back\\slash \\N \\",
    "\x1b[2J\x00\ud800\u202e",
    "ﬂ°°60¶ß",
    "**bold** _it_ --",
    "|pipe| {b} [c] (d)",
    "</svg><script>alert(1)</script>",
    "';--",
]


def named(name: str, **attributes: Any) -> Any:
    @step(step_id=name, **attributes)
    def work(context: Any) -> None: ...

    return work


def names(text: str) -> list[Any]:
    return [named(name) for name in text.split()]


def plan(*steps: Any, **options: Any) -> Plan:
    return compile_plan(Pipeline(list(steps), **options))


def is_late(context: Any) -> bool:
    return False


class Said:
    """A function with words to say of it."""

    def __init__(self, words: Any) -> None:
        self.words = words

    def __call__(self, context: Any) -> list[int]:
        return []


EVERYTHING: tuple[Any, ...] = (
    named("load"),
    Parallel(
        [
            named("orders", timeout=5, retries=2),
            names("customers clean"),
            named("prices", critical=False),
        ],
        name="sources",
        config=ParallelConfig(
            operator=LogicOperator.QUORUM, quorum=2, max_workers=2, timeout=30, delay=0.5
        ),
    ),
    Map(names("fetch parse"), over="data.pages", result_key="pages"),
    Map(
        named("double"), over=[1, 2], config=ParallelConfig(operator=LogicOperator.QUORUM, quorum=1)
    ),
    Branch("ok", names("publish tell"), otherwise=named("report")),
    Branch(is_late, named("warn", limit="mail"), name="lateness"),
    Loop(names("halve look"), while_="n", times=5),
    Loop(named("again"), times=1, name="once"),
    Loop(named("on"), while_=lambda context: False),
    Serial(names("x y"), name="inner"),
    Pipeline(
        names("p"),
        name="guarded",
        config=PipelineConfig(timeout=7, fail_fast=False, max_workers=3, limits={"mail": 2}),
    ),
    Parallel(
        names("i j"),
        config=ParallelConfig(operator=LogicOperator.OR, error_strategy=ErrorStrategy.FAIL_FAST),
    ),
    [],
    named("send"),
)


# The tree


def test_a_tree() -> None:
    assert tree(plan(*EVERYTHING, name="nightly", config=PipelineConfig(timeout=60))) == (
        """\
nightly (within 60 s)
├ load
├ sources (parallel, 2 of 3 are enough, at most 2 at once, 0.5 s apart, within 30 s)
│ ├ orders (within 5 s, up to 3 attempts)
│ ├ series
│ │ ├ customers
│ │ └ clean
│ └ prices (may fail)
├ for each of data.pages
│ └ series
│   ├ fetch
│   └ parse
├ for each of 2 items (1 is enough)
│ └ double
├ if ok
│ ├ then: series
│ │ ├ publish
│ │ └ tell
│ └ else: report
├ lateness (if is_late)
│ └ then: warn (limit mail)
├ while n, at most 5 rounds
│ └ series
│   ├ halve
│   └ look
├ once (1 round)
│ └ again
├ while a condition holds
│ └ on
├ inner
│ ├ x
│ └ y
├ guarded (at most 3 at once, at most 2 of mail at once, goes on after failures, within 7 s)
│ └ p
├ parallel (one is enough, ends at the first success)
│ ├ i
│ └ j
├ parallel (empty)
└ send
"""
    )


@pytest.mark.parametrize(
    ("most", "told"), [(1, "one after another"), (3, "at most 3 at once"), (None, "")]
)
def test_a_tree_says_how_many_branches_are_under_way_at_once(most: int | None, told: str) -> None:
    config = ParallelConfig(error_strategy=ErrorStrategy.FAIL_FAST)
    group = Parallel(names("a b"), name="both", config=config)
    group.max_open = most
    facts = ", ".join(filter(None, ("parallel", "ends at the first failure", told)))
    assert tree(plan(group, named("c"))).splitlines()[1] == f"├ both ({facts})"


def test_a_tree_for_those_who_have_nothing_but_ascii() -> None:
    assert tree(plan(named("a"), names("b c")), is_ascii=True) == (
        "pipeline\n|-a\n`-parallel\n  |-b\n  `-c\n"
    )


def test_what_is_repeated_is_told_by_its_name() -> None:
    def pages(context: Any) -> list[int]:
        return []

    drawn = tree(
        plan(
            Map(named("a"), over=pages),
            Map(named("b"), over=lambda context: []),
            Map(named("c"), over=["x"]),
            Loop(named("d"), times=3),
            Map(named("e"), over=functools.partial(pages, None)),
            Map(named("f"), over=Said("rows of\nthe table")),
            Map(named("g"), over=Said(3)),
        )
    )
    assert re.findall(r"for each of .*|\d rounds", drawn) == [
        "for each of pages",
        "for each of the items",
        "for each of 1 item",
        "3 rounds",
        "for each of pages",
        "for each of rows of the table",
        "for each of the items",
    ]


def test_paths_are_those_of_the_plan() -> None:
    figures = list(figure_of(plan(named("a"), [names("b c"), Map(named("d"), over="x")])).walk())
    assert [(figure.name, figure.path) for figure in figures if figure.shape is Shape.STEP] == [
        ("a", "0"),
        ("b", "1.0.0"),
        ("c", "1.0.1"),
        ("d", "1.1.*"),
    ]


# What runs before what: read out of the drawings, and compared with the lists


class Read:
    """A drawing that was read: the texts of its nodes, what is in which group, the arrows."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.inside: dict[str, set[str]] = {}
        self.arrows: set[tuple[str, str]] = set()
        self.titles: dict[str, str] = {}

    def before(self) -> set[tuple[str, str]]:
        """Which node comes before which other, by their texts."""
        nodes = {*self.texts, *itertools.chain.from_iterable(self.arrows)}
        after: dict[str, set[str]] = {node: set() for node in nodes}
        for first, then in self.arrows:
            for one in self.inside.get(first, {first}):
                after[one] |= self.inside.get(then, {then})
        found = set()
        for node in self.texts:
            stack, seen = list(after[node]), set()
            while stack:
                one = stack.pop()
                if one not in seen:
                    seen.add(one)
                    stack += after[one]
            found |= {(self.texts[node], self.texts[one]) for one in seen if one in self.texts}
        return found


LABEL = r'"((?:[\w ]|[-_./](?=\w)|,|#\d+;|<br/>|[^\x00-\x7f])*)"'


def text_in_mermaid(text: str) -> str:
    lines = re.sub(r"#(\d+);", lambda found: chr(int(found[1])), text.replace("<br/>", "\n"))
    return lines.partition("\n")[0]


def read_mermaid(text: str) -> Read:
    """Read what `mermaid` writes; every line must be one that is known."""
    head, title, end, kind, *lines = text.splitlines()
    assert (head, end, kind) == ("---", "---", "flowchart TB")
    assert title.startswith('title: "')
    read = Read()
    groups: list[str] = []
    for line in lines:
        found = re.fullmatch(r" +(\w+)(\[|\(\[|\{)" + LABEL + r"(\]|\]\)|\})", line)
        if found:
            assert (found[2], found[4]) in {("[", "]"), ("([", "])"), ("{", "}")}
            if found[2] != "{":
                read.texts[found[1]] = text_in_mermaid(found[3])
            for group in groups:
                read.inside[group].add(found[1])
        elif found := re.fullmatch(r" +subgraph (\w+)\[" + LABEL + r"\]", line):
            groups.append(found[1])
            read.inside[found[1]] = set()
            read.titles[found[1]] = text_in_mermaid(found[2])
        elif re.fullmatch(" +end", line):
            groups.pop()
        elif found := re.fullmatch(r" +(\w+) -->(?:\|(?:then|else)\|)? (\w+)", line):
            read.arrows.add((found[1], found[2]))
        else:
            assert re.fullmatch(
                r" +\w+ -\. again \.-> \w+| +style \w+ stroke-dasharray: 5 5", line
            ), line
    assert groups == []
    return read


QUOTED = r'"((?:[^"\\]|\\.)*)"'


def text_in_dot(text: str) -> str:
    # Escaped backslashes are set aside, so that one before an n is not taken for a line's end.
    first, _, _ = text.replace("\\\\", "\0").partition("\\n")
    return first.replace('\\"', '"').replace("\0", "\\").replace("&amp;", "&")


def read_dot(text: str) -> Read:
    """Read what `dot` writes; every line must be one that is known."""
    head, *lines = text.splitlines()
    assert re.fullmatch(f"digraph {QUOTED} {{", head)
    assert lines.pop() == "}"
    read = Read()
    groups: list[str] = []
    for line in lines[4:]:
        plain = line.strip()
        if found := re.fullmatch(rf"(n\d+)(?:_in|_out)? \[.*label={QUOTED}.*\]", plain):
            if "shape=" not in re.sub(QUOTED, "", plain):
                read.texts[found[1]] = text_in_dot(found[2])
        elif found := re.fullmatch(r"subgraph cluster_(\w+) \{", plain):
            groups.append(found[1])
        elif found := re.fullmatch(rf'label={QUOTED}(?:; style="rounded,dashed")?', plain):
            read.titles[groups[-1] if groups else ""] = text_in_dot(found[1])
        elif plain == "}":
            groups.pop()
        else:
            found = re.fullmatch(r"(\w+) -> (\w+)(?: \[(.*)\])?", plain)
            assert found, line
            if "again" not in (found[3] or ""):
                read.arrows.add((found[1], found[2]))
    assert groups == []
    return read


def written(item: Any, is_serial: bool = True) -> tuple[list[str], set[tuple[str, str]]]:
    """The steps in nested lists, and which comes before which."""
    if callable(item):
        return [item.__name__], set()
    if isinstance(item, Serial | Parallel):
        item, is_serial = item.children, isinstance(item, Serial)
    steps: list[str] = []
    before: set[tuple[str, str]] = set()
    for child in item:
        found, inner = written(child, not is_serial)
        before |= inner
        if is_serial:
            before |= set(itertools.product(steps, found))
        steps += found
    return steps, before


def lists(draw_names: Iterator[int]) -> st.SearchStrategy[Any]:
    def leaf(_: None) -> Any:
        number = next(draw_names)

        def work(context: Any) -> None: ...

        work.__name__ = f"s{number}"
        return work

    def groups(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        lists = st.lists(inner, max_size=4)
        return st.one_of(
            lists,
            lists,
            lists.map(lambda children: Serial(children, name="in series")),
            lists.map(lambda children: Parallel(children, name="side by side")),
        )

    return st.recursive(st.none().map(leaf), groups, max_leaves=12)


@given(st.data())
def test_arrows_lead_from_what_runs_before_to_what_runs_after(data: st.DataObject) -> None:
    steps = data.draw(st.lists(lists(itertools.count()), max_size=4))
    found, before = written(steps)
    made = plan(*steps)
    for read in (read_mermaid(mermaid(made)), read_dot(dot(made))):
        real = [text for text in read.texts.values() if re.fullmatch(r"s\d+", text)]
        assert sorted(real) == sorted(found)
        told = {pair for pair in read.before() if set(pair) <= set(found)}
        assert told == before


def test_a_choice_leads_to_both_ways_and_they_to_what_follows() -> None:
    made = plan(Branch("ok", names("a b"), otherwise=named("c")), named("d"))
    for read in (read_mermaid(mermaid(made)), read_dot(dot(made))):
        assert read.before() == {("a", "b"), ("a", "d"), ("b", "d"), ("c", "d")}
    assert '{"if ok"}' in mermaid(made)
    assert '[label="then"]' in dot(made)
    only = plan(named("x"), Branch("ok", named("a")), named("d"))
    assert '[label="else", arrowhead=none]' in dot(only)
    assert ("x", "d") in read_dot(dot(only)).before()


def test_a_loop_leads_back() -> None:
    made = plan(Loop(names("a b"), times=2), Loop([names("c d")], times=2))
    assert mermaid(made).count(" -. again .-> ") == 1
    assert dot(made).count('[label="again", style=dashed, constraint=false]') == 2
    assert svg(made).count('class="back"') == 2


def test_everything_can_be_read_in_every_format() -> None:
    made = plan(*EVERYTHING, name="nightly")
    steps = {figure.name for figure in figure_of(made).walk() if figure.is_node}
    for read in (read_mermaid(mermaid(made)), read_dot(dot(made))):
        assert steps - {""} <= {*read.texts.values(), "parallel"}
        assert {"sources", "for each of data.pages", "lateness", "inner"} <= {*read.titles.values()}


@pytest.mark.parametrize("steps", [[], [[]], [Serial([])], [Map([], over="x")], [Branch("a", [])]])
def test_nothing_to_draw(steps: list[Any]) -> None:
    made = plan(*steps)
    assert tree(made).startswith("pipeline")
    assert read_mermaid(mermaid(made)).before() == set()
    read_dot(dot(made))
    assert ET.fromstring(svg(made)).tag == f"{SVG}svg"


def test_a_plan_that_is_a_parallel_group() -> None:
    made = compile_plan(Parallel(names("a b"), name="both"))
    assert read_mermaid(mermaid(made)).titles == {"n0": "both"}
    assert read_dot(dot(made)).before() == set()
    assert svg(made).count('class="bar"') == 2


# Hostile names


def texts_in_svg(text: str) -> list[str]:
    root = ET.fromstring(text)
    return ["".join(found.itertext()) for found in root.iter(f"{SVG}text")]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_breaks_a_drawing(name: str) -> None:
    made = plan(named(name), Parallel(names("a b"), name=name), Branch(name, named("c")), name=name)
    shown = one_line(name)
    assert shown.isprintable() or "\u200d" in shown
    assert read_mermaid(mermaid(made)).texts["n1"] == shown
    assert shown in read_mermaid(mermaid(made)).titles.values()
    read = read_dot(dot(made))
    assert read.texts["n1"] == shown
    assert list(read.titles.values())[:2] == [shown, shown]
    assert texts_in_svg(svg(made))[:2] == [shown, shown]
    assert tree(made).splitlines()[:2] == [shown, f"├ {shown}"]
    for draw in (mermaid, dot, svg, tree):
        draw(made).encode()


@given(st.text(min_size=1).filter(str.strip))
def test_any_name_is_read_back(name: str) -> None:
    made = plan(named(name), named("z"))
    shown = one_line(name)
    assert read_mermaid(mermaid(made)).texts["n1"] == shown
    assert read_dot(dot(made)).texts["n1"] == shown
    assert len(shown) <= 120
    texts = texts_in_svg(svg(made))
    assert texts[1] == shown if len(shown) <= 40 else texts[1].endswith("…")
    assert tree(made).splitlines()[1] == f"├ {shown}"


# The layout


def overlap(a: Box, b: Box) -> bool:
    return a.x < b.x + b.width and b.x < a.x + a.width and a.y < b.bottom and b.y < a.bottom


def boxes_in(box: Box) -> list[Box]:
    lanes = itertools.chain.from_iterable(box.rows)
    return [inner for lane in lanes for column in lane.columns for inner in column]


def assert_laid_out(made: Plan) -> list[Box]:
    boxes = laid_out(figure_of(made))
    for box in boxes:
        inner = boxes_in(box)
        for one in inner:
            assert one.x >= box.x
            assert one.x + one.width <= box.x + box.width + 0.01
            assert one.y > box.y
            assert one.bottom < box.bottom
        ordered = sorted(inner, key=lambda one: one.x)
        for number, one in enumerate(ordered):
            for other in ordered[number + 1 :]:
                if other.x >= one.x + one.width:
                    break
                assert not overlap(one, other)
        if inner:
            assert text_width(box.heading[0], 13.0) <= box.width
    return boxes


@given(st.data())
def test_boxes_stand_in_their_frames_and_beside_each_other(data: st.DataObject) -> None:
    assert_laid_out(plan(*data.draw(st.lists(lists(itertools.count()), max_size=4))))


def test_everything_is_laid_out() -> None:
    boxes = assert_laid_out(plan(*EVERYTHING, name="nightly"))
    place = {box.figure.name: box for box in boxes}
    assert place["orders"].y == place["prices"].y
    assert place["orders"].x + place["orders"].width < place["prices"].x
    assert place["customers"].bottom < place["clean"].y
    assert place["customers"].middle == place["clean"].middle


def count(number: int) -> list[Any]:
    return [named(f"step {index}") for index in range(number)]


@pytest.mark.parametrize(
    "steps",
    [count(1000), [count(1000)], [[count(10) for _ in range(100)]], [*count(30), count(300)]],
    ids=["series", "parallel", "lanes", "both"],
)
def test_a_thousand_steps_have_a_size_that_can_be_looked_at(steps: list[Any]) -> None:
    made = plan(*steps)
    whole = assert_laid_out(made)[0]
    assert max(whole.width, whole.height) < 5_000
    assert 0.4 < whole.width / whole.height < 2.5
    drawn = ET.fromstring(svg(made))
    assert drawn.get("viewBox") == f"0 0 {drawn.get('width')} {drawn.get('height')}"
    total = len(made.steps)
    assert sum(element.get("class") == "step" for element in drawn.iter()) == total
    arrows = [element for element in drawn.iter() if element.get("marker-end")]
    if steps and len(steps) == 1000:
        assert len(arrows) == 999
    assert tree(made).count("step ") == total


@pytest.mark.no_cover
def test_no_nesting_is_too_deep() -> None:
    deep: list[Any] = [named("bottom")]
    for number in range(1_500):
        deep = [named(f"s{number}"), deep]
    made = plan(*deep)
    for draw in (mermaid, dot, svg, tree):
        text = draw(made)
        assert "bottom" in text
    assert len(max(tree(made).splitlines(), key=len)) < 300


def test_lines_of_a_drawing_end_at_boxes() -> None:
    drawn = svg(plan(named("a"), named("b"), names("c d")))
    (first, second, *_) = re.findall(
        r'marker-end="url\(#tip\)" d="M([\d.]+) ([\d.]+) V([\d.]+)', drawn
    )
    boxes = re.findall(
        r'class="step" rx="7" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"', drawn
    )
    (ax, ay, width, height), (_, by, *_) = (tuple(map(float, box)) for box in boxes[:2])
    assert float(first[0]) == pytest.approx(ax + width / 2, abs=0.1)
    assert float(first[1]) == pytest.approx(ay + height, abs=0.1)
    assert float(first[2]) == pytest.approx(by - 1, abs=0.1)
    assert float(second[0]) == float(first[0])


def test_a_sub_workflow_is_drawn_with_what_it_is_given() -> None:
    inner = {"steps": {"a": {"agent_name": "x"}}}
    call = {"type": "sub_workflow", "workflow": inner, "input_mapping": {"q": 1}}
    pipeline = load_pipeline({"steps": {"s": call}}, agents={"x": len})
    assert 's (with {"q": 1})' in tree(pipeline._plan)
