"""`execute_recipe`: where recipes are found, what they are given, when they are read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from task_pipeline import (
    ConfigurationError,
    DocumentError,
    NotAllowedError,
    PipelineContext,
    PipelineStep,
    SubstepError,
    TemplateError,
)
from task_pipeline.documents import STEP_REGISTRY, load_pipeline
from task_pipeline.documents.recipes import compiling
from tests.recipe_work import Scene, _types, fail, mistakes, note, put

__all__ = ["_types"]


def run_recipe(path: str, **overrides: Any) -> dict[str, Any]:
    more = {"context_overrides": overrides} if overrides else {}
    return {"type": "execute_recipe", "recipe_path": path, **more}


def write(file: Path, *steps: Any, **more: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"steps": list(steps), **more}), "utf-8")
    return file


def names_of(pipeline: Any) -> list[str]:
    return list(pipeline.get_status()["step_details"])


def test_a_recipe_runs_in_the_same_context(tmp_path: Path) -> None:
    write(tmp_path / "sub.json", put("b", "{{ a }}!"))
    main = write(tmp_path / "main.json", put("a", 1), run_recipe("sub.json"), put("c", "{{ b }}"))
    assert load_pipeline(main).run().results == {"a": 1, "b": "1!", "c": "1!"}


def test_its_steps_are_part_of_the_pipeline(tmp_path: Path) -> None:
    write(tmp_path / "sub.yaml", put("b", 1), note("x"))
    main = write(tmp_path / "main.json", run_recipe("sub.yaml", a=1))
    pipeline = load_pipeline(main)
    assert names_of(pipeline) == ["context_overrides", "t_put", "t_note"]
    assert [group.name for group in pipeline.steps] == ["sub"]  # type: ignore[union-attr]  # it is a group


# Where it is


def test_a_path_starts_from_the_recipe_then_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "recipes/main.json", run_recipe("a.json"), run_recipe("recipes/deep/b.json"))
    write(tmp_path / "recipes/a.json", put("a", "beside"))
    write(tmp_path / "a.json", put("a", "in the working directory"))
    write(tmp_path / "recipes/deep/b.json", run_recipe("c.json"), run_recipe("a.json"))
    write(tmp_path / "recipes/deep/c.json", put("c", 1))
    assert load_pipeline("recipes/main.json").run().results == {
        "a": "in the working directory",
        "c": 1,
    }


def test_a_path_may_start_from_the_root(tmp_path: Path) -> None:
    write(tmp_path / "root/a.json", put("a", 1))
    main = write(tmp_path / "main/main.json", run_recipe("a.json"))
    assert load_pipeline(main, root=tmp_path / "root").run().results == {"a": 1}


@pytest.mark.parametrize("path", ["../out.json", "{ABSOLUTE}", "in/../../out.json", "link.json"])
def test_recipes_elsewhere_need_leave(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = write(tmp_path / "out.json", put("a", 1))
    folder = tmp_path / "in"
    write(folder / "in/x.json")
    (folder / "link.json").symlink_to(outside)
    monkeypatch.chdir(folder)
    path = path.replace("{ABSOLUTE}", str(outside))
    found = mistakes({"steps": [run_recipe(path)]})
    assert len(found) == 1
    assert "is not allowed" in found[0]
    assert found[0].startswith("steps[0].recipe_path: ")
    with pytest.raises(NotAllowedError, match=r"steps\[0\].recipe_path: .* is not allowed"):
        load_pipeline({"steps": [run_recipe("{{ p }}")]}).run(PipelineContext(results={"p": path}))
    allowed = load_pipeline({"steps": [run_recipe(path)]}, allow={"files"})
    assert allowed.run().results == {"a": 1}


@pytest.mark.parametrize(
    ("path", "told"), [(" ", "no name"), ("a\0b", "no name"), ("loop", "cannot")]
)
def test_what_is_no_name_of_a_file(path: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    found = mistakes([run_recipe(path)], base_dir=tmp_path)
    assert len(found) == 1
    assert told in found[0] or "there is no recipe" in found[0]


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    found = mistakes([run_recipe("sub.json")], base_dir=tmp_path)
    assert len(found) == 1
    assert found[0].startswith("[0].recipe_path: there is no recipe 'sub.json'; it was looked for")
    assert str(tmp_path) in found[0]


# Mistakes in it


def test_mistakes_are_told_with_the_place_in_its_own_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a.json").write_text('{\n  "steps": [\n    {"type": "t_pt"}\n  ]\n}')
    (tmp_path / "sub/b.json").write_text('{"steps": [}')
    write(tmp_path / "main.json", run_recipe("sub/a.json"), run_recipe("sub/a.json"), {"type": "x"})
    write(tmp_path / "top.json", run_recipe("main.json"), run_recipe("sub/b.json"))
    found = mistakes("top.json")
    assert len(found) == 3
    starts = sorted(line.partition(": ")[0] for line in found)
    assert starts[0].startswith("main.json:1:")
    assert starts[1:] == ["sub/a.json:3:14", "sub/b.json:1:12"]
    assert "sub/b.json:1:12: steps[0]: a value is expected" in "\n".join(found)


def test_a_step_that_is_wrong_does_not_hide_what_its_recipe_is(tmp_path: Path) -> None:
    write(tmp_path / "sub.json", {"type": "t_pt"})
    steps: list[dict[str, Any]] = [
        {**run_recipe(path), "overrides": {}} for path in ("sub.json", "no.json")
    ]
    found = mistakes([*steps, {"type": "execute_recipe", "recipe_path": 5}], base_dir=tmp_path)
    assert [line.partition(": ")[0] for line in found] == [
        *("[0].overrides", "[1].overrides", "[1].recipe_path", "[2].recipe_path"),
        f"{tmp_path}/sub.json:1:21",
    ]


def test_a_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def counting(file: Path) -> Any:
        read.append(file)
        return original(file)

    from task_pipeline.documents.recipes import inclusion

    original = inclusion.read_recipe
    monkeypatch.setattr(inclusion, "read_recipe", counting)
    write(tmp_path / "sub.json", {"type": "t_add", "key": "a", "item": 1})
    main = write(tmp_path / "main.json", *[run_recipe("sub.json")] * 3)
    pipeline = load_pipeline(main)
    assert read == [tmp_path / "sub.json"]
    assert pipeline.run().results == {"a": [1, 1, 1]}


# What it is given


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("{{ xs }}", [1, {"a": 2}]),
        ("{{ flag }}", True),
        ("{{ none }}", None),
        ("{{ n }}", "5"),
        ("{{ word }}", None),
        ("{{ missing }}", ""),
        ("[1, {{ n }}]", [1, 5]),
        ("{'a': True}", {"a": True}),
        ("true", True),
        ("text {{ n }}", "text 5"),
        (5, 5),
        ({"deep": ["{{ xs }}", "{{ n }}"]}, {"deep": [[1, {"a": 2}], "5"]}),
    ],
)
@pytest.mark.parametrize("path", ["sub.json", "{{ sub }}.json"])
def test_context_overrides(written: Any, value: Any, path: str, tmp_path: Path) -> None:
    write(tmp_path / "sub.json", {"type": "set_context", "key": "seen", "value": "{{ given }}"})
    start = {"xs": [1, {"a": 2}], "flag": True, "none": None, "n": 5, "word": "null", "sub": "sub"}
    pipeline = load_pipeline([run_recipe(path, given=written)], base_dir=tmp_path)
    results = pipeline.run(PipelineContext(results=dict(start))).results
    assert results["given"] == value
    assert results["seen"] == value
    assert {key: results[key] for key in start} == start


def test_overrides_see_what_was_there_before_all_of_them(tmp_path: Path) -> None:
    write(tmp_path / "sub.json")
    steps = [run_recipe("sub.json", a="{{ b }}", b="{{ a }}")]
    context: Any = PipelineContext(results={"a": "1", "b": "2"})
    assert load_pipeline(steps, base_dir=tmp_path).run(context).results == {"a": "2", "b": "1"}


def test_what_is_given_is_a_copy(tmp_path: Path) -> None:
    write(tmp_path / "sub.json", {"type": "t_add", "key": "given", "item": 2})
    steps = [run_recipe("sub.json", given="{{ xs }}")]
    context: Any = PipelineContext(results={"xs": [1]})
    results = load_pipeline(steps, base_dir=tmp_path).run(context).results
    assert results == {"xs": [1], "given": [1, 2]}


def test_an_override_that_cannot_be_rendered_says_where_it_stands(tmp_path: Path) -> None:
    write(tmp_path / "sub.json")
    steps = [run_recipe("sub.json", a={"b": ["{{ 1 | divided_by: zero }}"]})]
    pipeline = load_pipeline(steps, base_dir=tmp_path)
    with pytest.raises(TemplateError, match=r"^\[0\].context_overrides.a.b\[0\]: "):
        pipeline.run(PipelineContext(results={"zero": 0}))


# Read when it is reached


def test_a_path_with_a_template(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / f"{name}.json", put(name, "{{ given }}"))
    steps = [
        {
            "type": "loop",
            "items": ["a", "b"],
            "item_key": "x",
            "result_key": "out",
            "substeps": [
                run_recipe("{{ x }}.json", given="{{ x }}{{ __index }}"),
                put("out", "{{ a }}{{ b }}"),
            ],
        }
    ]
    assert load_pipeline(steps, base_dir=tmp_path).run().results["out"] == ["a0", "b1"]


def test_a_path_with_a_template_leads_to_nothing_or_to_mistakes(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('{"steps": [{"type": "t_pt"}]}')
    pipeline = load_pipeline([run_recipe("{{ x }}.json")], base_dir=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"\[0\].recipe_path: there is no recipe 'no.json'"):
        pipeline.run(PipelineContext(results={"x": "no"}))
    with pytest.raises(DocumentError, match=r"bad.json:1:21: steps\[0\].type: there is no type"):
        pipeline.run(PipelineContext(results={"x": "bad"}))


def test_a_failure_in_a_recipe_with_a_template_in_its_path_says_which_it_was(
    tmp_path: Path,
) -> None:
    block = {"type": "parallel", "substeps": [fail("boom"), note("x")]}
    write(tmp_path / "inner.json", block)
    write(tmp_path / "outer.json", run_recipe("{{ y }}.json"))
    pipeline = load_pipeline([run_recipe("{{ x }}.json")], base_dir=tmp_path)
    with pytest.raises(SubstepError) as caught:
        pipeline.run(PipelineContext(results={"x": "outer", "y": "inner"}))
    for error in (caught.value, caught.value.exceptions[0]):
        notes = [text for text in error.__notes__ if text.startswith("in the recipe")]
        told = [f"in the recipe {tmp_path / name}.json" for name in ("inner", "outer")]
        assert notes == told


def test_a_recipe_that_is_written_before(tmp_path: Path) -> None:
    """By a step that names it: what was there when the recipe was loaded does not matter."""
    made = json.dumps({"steps": [put("a", "made")]})
    steps = [
        {"type": "write_files", "files": [{"path": "out/made.json", "content": made}]},
        run_recipe("out/made.json"),
    ]
    for _ in range(2):
        pipeline = load_pipeline(steps, base_dir=tmp_path)
        # The same plan each time: a run goes on with it after a crash in between.
        assert names_of(pipeline) == ["write_files", "made"]
        assert pipeline.run().results == {"a": "made"}
        write(tmp_path / "out/made.json", put("a", "old"))


class Rewrite(PipelineStep):
    """Writes a file that its recipe does not name."""

    def __init__(self) -> None:
        pass

    def run(self, context: Any) -> None:
        write(Path(context.results["folder"]) / "made.json", put("a", context.results["now"]))


@pytest.mark.parametrize("was_there", [False, True])
def test_a_recipe_that_may_be_written_before(was_there: bool, tmp_path: Path) -> None:
    if was_there:
        write(tmp_path / "made.json", put("a", "old"))
    STEP_REGISTRY["t_rewrite"] = Rewrite
    try:
        steps = [{"type": "t_rewrite"}, run_recipe("made.json")]
        pipeline = load_pipeline(steps, base_dir=tmp_path)
        for now in ("old", "new"):
            context: Any = PipelineContext(results={"folder": str(tmp_path), "now": now})
            assert pipeline.run(context).results["a"] == now
        (tmp_path / "made.json").unlink()
        gone = load_pipeline([{"type": "t_rewrite"}, run_recipe("other.json")], base_dir=tmp_path)
        with pytest.raises(FileNotFoundError, match=r"no recipe 'other\.json'"):
            gone.run(PipelineContext(results={"folder": str(tmp_path), "now": "now"}))
    finally:
        del STEP_REGISTRY["t_rewrite"]


def test_a_recipe_that_is_removed_before_it_is_reached(tmp_path: Path) -> None:
    write(tmp_path / "sub.json", put("a", 1))
    steps = [note("x"), run_recipe("sub.json")]
    pipeline: Any = load_pipeline(steps, base_dir=tmp_path)
    assert pipeline.steps[1].condition.words == "sub.json is unchanged"
    assert names_of(pipeline)[-1] == "sub (read again)"
    (tmp_path / "sub.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no recipe 'sub\.json'"):
        pipeline.run(Scene().context())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no FIFOs")
def test_what_is_no_ordinary_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    (found,) = mistakes([note("x"), run_recipe("pipe.json")], base_dir=tmp_path)
    assert found.endswith("pipe.json: is not an ordinary file")
    write(tmp_path / "sub.json", put("a", 1))
    pipeline = load_pipeline([note("x"), run_recipe("sub.json")], base_dir=tmp_path)
    (tmp_path / "sub.json").unlink()
    os.mkfifo(tmp_path / "sub.json")
    with pytest.raises(DocumentError, match="is not an ordinary file"):
        pipeline.run(Scene().context())


# Recipes that run themselves


def test_a_recipe_may_run_itself_until_a_condition_ends_it(tmp_path: Path) -> None:
    main = write(
        tmp_path / "main.json",
        {"type": "t_add", "key": "rounds", "item": "x"},
        {
            "type": "conditional",
            "condition": "len(rounds) < 20",
            "if_true": [run_recipe("main.json")],
        },
    )
    assert len(load_pipeline(main).run().results["rounds"]) == 20


def test_recipes_that_run_each_other_without_end_are_stopped(tmp_path: Path) -> None:
    write(tmp_path / "b.json", run_recipe("a.json"))
    main = write(
        tmp_path / "a.json", {"type": "t_add", "key": "n", "item": 1}, run_recipe("b.json")
    )
    pipeline = load_pipeline(main)
    context: PipelineContext[Any] = PipelineContext()
    with pytest.raises(ConfigurationError, match="more than 50 deep; give the recipe"):
        pipeline.run(context)
    assert 25 <= len(context.results["n"]) <= 51


def test_recipes_that_run_very_many_others_are_read_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling, "MAX_INCLUDED", 100)
    write(tmp_path / "r0.json", {"type": "t_add", "key": "n", "item": 1})
    for level in range(1, 9):  # 2 ** 8 times the first
        write(tmp_path / f"r{level}.json", *[run_recipe(f"r{level - 1}.json")] * 2)
    pipeline = load_pipeline([run_recipe("r8.json")], base_dir=tmp_path)
    assert len(names_of(pipeline)) < 200
    assert len(pipeline.run().results["n"]) == 256


def test_blocks_in_blocks_have_an_end(tmp_path: Path) -> None:
    for level in range(80):
        write(tmp_path / f"r{level}.json", run_recipe(f"r{level + 1}.json"))
    write(tmp_path / "r80.json")
    found = mistakes([run_recipe("r0.json")], base_dir=tmp_path)
    assert len(found) == 1
    assert "more than 64 blocks stand in one another" in found[0]
    assert "r63.json" in found[0]


def test_a_recipe_in_the_working_directory_has_a_short_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a/b.json", {"type": "x"})
    assert mistakes([run_recipe(f"a{os.sep}b.json")])[0].startswith("a/b.json:1:")
