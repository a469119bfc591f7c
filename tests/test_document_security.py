"""What a document of a stranger must not be able to do, one case each."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from task_pipeline import (
    ConditionError,
    DocumentError,
    NotAllowedError,
    ParallelEventPrinter,
    PipelineContext,
    TaskPipelineError,
    TemplateError,
    dump_pipeline,
    load_pipeline,
)
from task_pipeline.cli import main
from task_pipeline.documents.registry import AGENTS
from task_pipeline.documents.steps.docpack import pack
from tests.fuzzing import folder
from tests.fuzzing.folder import HIDDEN, MARK, OUTSIDE, SECRET, TOKEN, Thing

MISCHIEF = [
    "().__class__.__mro__",
    "{0.__class__.__init__.__globals__}",
    "{x!r:>1000000000}",
    "%(x)s %n",
    "{{ n }}",
    "{% include 'notes.txt' %}",
    "${n}",
    "${env.PATH}",
    "' or true or '",
    "__import__('os').system('touch pwned')",
    "!!python/object/apply:os.system ['touch pwned']",
    "[1, 2",
    "null",
]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with files in it, and links that lead out: what is outside must stay as it is."""
    root = tmp_path / "root"
    root.mkdir()
    folder.fill(root)
    folder.fill_outside(tmp_path / "outside")
    (tmp_path / "outside" / "pack.docpack").write_bytes(pack({"secret": OUTSIDE}, {}))
    (tmp_path / "outside" / "flow.json").write_text(json.dumps(folder.FLOW))
    os.mkfifo(root / "fifo")
    before = everything_in(tmp_path / "outside")
    monkeypatch.chdir(root)
    yield root
    assert everything_in(tmp_path / "outside") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside", "root"]


def everything_in(place: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def loaded(*steps: Any, **options: Any) -> Any:
    options = {"handlers": folder.HANDLERS, "functions": folder.FUNCTIONS, **options}
    return load_pipeline({"steps": list(steps)}, "recipe", **options)


def run(*steps: Any, results: Any = None, **options: Any) -> dict[str, Any]:
    """What a recipe comes to."""
    context: PipelineContext[Any] = PipelineContext(results=dict(results or {}))
    found: dict[str, Any] = loaded(*steps, **options).run(context).results
    return found


def flow(steps: Any, results: Any = None, **options: Any) -> dict[str, Any]:
    """What a workflow comes to."""
    options = {"agents": folder.AGENTS, "functions": folder.FUNCTIONS, **options}
    pipeline = load_pipeline({"steps": steps}, "workflow", **options)
    return pipeline.run(PipelineContext(results=dict(results or {}))).results


def setting(value: Any, key: str = "out") -> dict[str, Any]:
    return {"type": "set_context", "key": key, "value": value}


def chain_of(error: BaseException) -> str:
    """All that can be read of an error, tracebacks and causes too."""
    return "".join(traceback.format_exception(error)) + repr(vars(error))


class TestTemplates:
    @pytest.mark.parametrize(
        "template",
        [
            "{{ thing.hidden }}",
            "{{ thing['hidden'] }}",
            "{{ thing.__class__ }}{{ thing.__dict__ }}{{ thing.method }}{{ thing.prop }}",
            "{{ things | map: 'hidden' | join: ',' }}",
            "{{ things | where: 'hidden' | json }}",
            "{{ things | sort: 'hidden' | json }}{{ things | sum: 'hidden' }}",
            "{{ things | find: 'hidden', '" + HIDDEN + "' | default: 'nothing' }}",
            "{% for x in things %}{{ x.hidden }}{{ x.prop }}{% endfor %}",
            "{% assign a = thing %}{{ a.hidden }}{{ a['__class__']['__init__']['__globals__'] }}",
            "{{ text.__class__.__mro__ }}{{ text.format }}",
        ],
    )
    def test_no_attribute_is_reached(self, template: str) -> None:
        results = {"thing": Thing(), "things": [Thing()], "text": "t"}
        try:
            written = run(setting(template), results=results)["out"]
        except TemplateError as error:
            written = chain_of(error)
        assert HIDDEN not in str(written)
        assert "<class" not in str(written) and "built-in" not in str(written)

    @pytest.mark.parametrize(
        "tag",
        [
            "{% include 'notes.txt' %}",
            "{% render 'notes.txt' %}",
            "{% extends 'notes.txt' %}",
            "{% import 'notes.txt' %}",
            "{% include name %}",
        ],
    )
    def test_no_other_template_is_read(self, root: Path, tag: str) -> None:
        with pytest.raises(DocumentError, match="there is no tag"):
            loaded(setting(tag))
        # Nor where only the rendered text turns out to be a template: that stays a text.
        nested = {**setting("{{ x }}"), "nested_render": True}
        assert run(nested, results={"x": tag, "name": "notes.txt"})["out"] == tag

    @pytest.mark.parametrize(
        "template",
        [
            "{% for i in (1..1000000000) %}x{% endfor %}",
            "{{ (1..1000000000) | join: ',' }}",
            "{% for i in (1..99999) %}{{ x | upcase | size }}{% endfor %}",
            "{% for a in (1..999) %}{% for b in (1..999) %}{% for c in (1..999) %}"
            + "{% endfor %}" * 3,
            "{% assign x = 'aaaaaaaaaa' %}" + "{% assign x = x | append: x %}" * 40 + "{{ x }}",
            "{{ 'a' | replace: '', x | replace: '', x | replace: '', x }}",
            "{{ 9 | times: n | times: n | times: n | times: n | times: n }}",
            "{{ now | date: '%999999999d' }}",
            "{% tablerow i in (1..1000000000) %}{% endtablerow %}",
        ],
    )
    def test_none_takes_much_time_or_memory(self, template: str) -> None:
        results = {"x": "y" * 1_000_000, "n": 10**3_900}
        begun = time.process_time()
        try:
            written = str(run(setting(template), results=results)["out"])
        except TemplateError:
            written = ""
        assert time.process_time() - begun < 5
        assert len(written) <= 10_000_000

    @pytest.mark.parametrize("text", MISCHIEF)
    def test_values_of_the_context_stay_text(self, root: Path, text: str) -> None:
        steps = [
            setting("{{ x }}"),
            setting("{{ out }}", "again"),
            setting({"deep": ["<{{ x }}>"]}, "deep"),
            {"type": "write_files", "files": [{"path": "out.txt", "content": "{{ x }}"}]},
            {"type": "read_files", "path": "out.txt", "content_key": "read"},
            {"type": "echo", "value": "<{{ x }}>", "output_key": "echoed"},
            {"type": "loop", "items": ["{{ x }}"], "item_key": "item", "result_key": "each",
             "substeps": [setting("{{ item }}", "each")]},
        ]  # fmt: skip
        results = run(*steps, results={"x": text, "n": 1})
        assert results["out"] == results["again"] == results["read"] == text
        assert results["deep"] == {"deep": [f"<{text}>"]}
        assert results["echoed"]["given"]["value"] == f"<{text}>"
        assert results["each"] == [text]

    @pytest.mark.parametrize("text", MISCHIEF)
    def test_inputs_of_workflows_stay_text(self, text: str) -> None:
        steps = {
            "a": {"agent_name": "echo", "input_mapping": ["${x}", "<${x}>"], "next_step": "b"},
            "b": {"agent_name": "echo", "input_mapping": "${a.output}", "next_step": "c"},
            "c": {"type": "set_context", "config": {"key": "k", "value": "${b.output[1]}"}},
        }
        results = flow(steps, {"x": text, "n": 1})
        assert results["b"] == [text, f"<{text}>"]
        assert results["c"] == f"<{text}>"

    def test_nested_rendering_ends(self) -> None:
        steps = {**setting("{{ x }}"), "nested_render": True}
        endless = run(steps, results={"x": "a{{ x }}"})["out"]
        assert endless.startswith("aa") and len(endless) < 100
        with pytest.raises(TemplateError, match="longer"):
            run(steps, results={"x": "{{ x }}" * 100 + "y" * 1_000_000})


class TestConditions:
    @pytest.mark.parametrize("text", MISCHIEF)
    @pytest.mark.parametrize("condition", ["x == 'never'", "'{{ x }}' == 'never'", "x in ['no']"])
    def test_values_never_change_what_is_asked(self, text: str, condition: str) -> None:
        step = {"type": "conditional", "condition": condition, "if_true": setting("yes")}
        assert "out" not in run(step, results={"x": text})

    @pytest.mark.parametrize("text", MISCHIEF)
    @pytest.mark.parametrize("condition", ["'${x}' == 'never'", "${x} == 'never' or false"])
    def test_inputs_never_change_what_is_asked(self, text: str, condition: str) -> None:
        steps = {
            "c": {"type": "conditional", "condition": condition, "if_true_step": "y"},
            "y": {"agent_name": "echo"},
        }
        assert "y" not in flow(steps, {"x": text})

    @pytest.mark.parametrize(
        "condition",
        [
            "__import__('os')",
            "exec('1')",
            "x.__class__.__mro__[1].__subclasses__()",
            "x.method()",
            "[y for y in x]",
            "lambda: 1",
            "x if y else z",
            "9 ** 9 ** 9",
            "'a' * 1000000000",
            "f'{x}'",
            "(x := 1)",
        ],
    )
    def test_none_is_code(self, condition: str) -> None:
        with pytest.raises(DocumentError, match="of the condition"):
            loaded({"type": "conditional", "condition": condition})
        steps = {"c": {"type": "conditional", "condition": condition}}
        with pytest.raises(DocumentError, match="of the condition"):
            flow(steps)

    @pytest.mark.parametrize("path", ["thing.hidden", "thing.__class__", "text.__class__"])
    def test_no_attribute_is_reached(self, path: str) -> None:
        step = {"type": "conditional", "condition": f"{path} == null", "if_true": setting("null")}
        assert run(step, results={"thing": Thing(), "text": ""})["out"] == "null"
        steps = {"a": {"agent_name": "echo", "input_mapping": f"${{{path}}}"}}
        with pytest.raises(TaskPipelineError) as caught:
            flow(steps, {"thing": Thing(), "text": ""})
        assert HIDDEN not in chain_of(caught.value)

    @pytest.mark.parametrize(
        "condition",
        ["(" * 5_000 + "1" + ")" * 5_000, "not " * 5_000 + "1", "[" * 5_000, "1" * 1_000_000],
    )
    def test_none_is_too_deep_or_too_long(self, condition: str) -> None:
        with pytest.raises(DocumentError, match=r"nested more than|is the most"):
            loaded({"type": "conditional", "condition": condition})

    @pytest.mark.no_cover
    def test_values_that_are_compared_cannot_go_round_in_circles(self) -> None:
        one: list[Any] = []
        two: list[Any] = []
        one.append(one)
        two.append(two)
        step = {"type": "conditional", "condition": "a == b", "if_true": []}
        with pytest.raises(ConditionError, match="cannot be compared"):
            run(step, results={"a": one, "b": two})


class TestReading:
    @pytest.mark.parametrize(
        "value",
        [
            "!!python/object/apply:os.system ['touch pwned']",
            "!!python/object/new:subprocess.Popen [[touch, pwned]]",
            "!!python/name:os.system",
            "!!python/module:antigravity",
            "!<tag:yaml.org,2002:python/object/apply:os.system> ['touch pwned']",
            "!own {a: 1}",
            "!!set {a, b}",
            "!!binary aGk=",
        ],
    )
    def test_a_tag_of_yaml_makes_nothing(self, root: Path, value: str) -> None:
        text = f"steps:\n  - {{type: set_context, key: k, value: {value}}}\n"
        with pytest.raises(DocumentError, match=r"<text>:2:"):
            load_pipeline(text)
        assert not (root / "pwned").exists()

    def test_a_bomb_of_yaml_does_not_go_off(self) -> None:
        begun = time.process_time()
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
        with pytest.raises(DocumentError, match="each alias counts again"):
            load_pipeline("\n".join([*lines, "steps: []"]))
        merged = ["a0: &a0 {k: x}"]
        merged += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 30)]
        with pytest.raises(DocumentError, match="each alias counts again"):
            load_pipeline("\n".join([*merged, "steps: []"]))
        with pytest.raises(DocumentError, match="stands in what it is of"):
            load_pipeline("steps: &a [*a]\n")
        assert time.process_time() - begun < 2

    @pytest.mark.parametrize(
        "text",
        [
            "[" * 100_000,
            '{"steps": ' * 100_000,
            "steps: " + "[" * 100_000,
            "- " * 100_000 + "x",
            "{" * 100_000,
            "? " * 10_000,
        ],
    )
    def test_depth_is_limited(self, text: str) -> None:
        with pytest.raises(
            DocumentError, match=r"nested more than 100 levels deep|a key (is expected|must be)"
        ):
            load_pipeline(text if text.startswith(("[", "{")) else f"---\n{text}")

    def test_numbers_and_sizes_are_limited(self) -> None:
        for head in ("", "---\n"):
            with pytest.raises(DocumentError, match="more than 4,300 digits"):
                load_pipeline(f'{head}{{"steps": [], "version": {"9" * 100_000}}}')
        with pytest.raises(DocumentError, match=r"is larger than|characters"):
            load_pipeline('{"steps": ["' + "x" * 20_000_000 + '"]}')

    @pytest.mark.parametrize("name", ["fifo", "/dev/zero", "/dev/stdin", "deep", "circle", "none"])
    def test_what_is_no_ordinary_file_is_not_waited_for(self, root: Path, name: str) -> None:
        with pytest.raises(DocumentError, match=name):
            load_pipeline(Path(name))


OUT = ["../outside/{}", "deep/../../outside/{}", "link/{}", "{outside}/{}", "./link/../link/{}"]


def reading(name: str) -> Any:
    return {"type": "read_files", "path": name, "content_key": "out"}


def writing(name: str) -> Any:
    return {"type": "write_files", "files": [{"path": name, "content": "x"}]}


def packing(name: str) -> Any:
    return {
        "type": "docpack_create",
        "outline_path": "outline.json",
        "resource_files": ["notes.txt"],
        "output_path": name,
    }


def asking(name: str) -> Any:
    return {"type": "conditional", "condition": f"file_exists('{name}')", "if_true": setting("1")}


STEPS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "read_files": ("secret.txt", reading),
    "read_files, optional": ("secret.txt", lambda name: {**reading(name), "optional": True}),
    "read_files, a list": ("secret.txt", lambda name: reading(["notes.txt", name])),  # type: ignore[arg-type]  # a list is meant
    "read_files, commas": ("secret.txt", lambda name: reading(f"notes.txt, {name}")),
    "read_files, a pattern": ("*.txt", reading),
    "write_files": ("new.txt", writing),
    "write_files, over one": ("secret.txt", writing),
    "write_files, root": ("", lambda name: {**writing("new.txt"), "root": name}),
    "docpack_create, output": ("new.docpack", packing),
    "docpack_create, outline": (
        "secret.json",
        lambda name: {**packing("new.docpack"), "outline_path": name},
    ),
    "docpack_create, resources": (
        "secret.txt",
        lambda name: {**packing("new.docpack"), "resource_files": name},
    ),
    "docpack_extract": (
        "pack.docpack",
        lambda name: {"type": "docpack_extract", "docpack_path": name, "extract_dir": "new"},
    ),
    "docpack_extract, into": (
        "new",
        lambda name: {
            "type": "docpack_extract",
            "docpack_path": "pack.docpack",
            "extract_dir": name,
        },
    ),
    "execute_recipe": ("recipe.json", lambda name: {"type": "execute_recipe", "recipe_path": name}),
    "file_exists": ("secret.txt", asking),
    "all_files_exist": (
        "secret.txt",
        lambda name: {**asking(""), "condition": f"all_files_exist(['notes.txt', '{name}'])"},
    ),
    "file_is_newer": (
        "secret.txt",
        lambda name: {**asking(""), "condition": f"file_is_newer('{name}', 'notes.txt')"},
    ),
    "shell, cwd": ("", lambda name: {"type": "shell", "command": ["true"], "cwd": name}),
}


class TestFiles:
    @pytest.mark.parametrize("out", OUT)
    @pytest.mark.parametrize("where", STEPS)
    def test_no_path_leads_out(self, root: Path, where: str, out: str) -> None:
        name, step = STEPS[where]
        given = out.format(name, outside=root.parent / "outside")
        with pytest.raises((DocumentError, NotAllowedError)) as written_out:
            run(step(given), root=root, allow={"shell"})
        # The same where it only turns out in the run.
        with pytest.raises((DocumentError, NotAllowedError)) as rendered:
            run(step("{{ given }}"), root=root, allow={"shell"}, results={"given": given})
        for caught in (written_out, rendered):
            assert OUTSIDE not in chain_of(caught.value)
            assert "steps[0]" in str(caught.value)
            assert "outside of" in str(caught.value) or "from elsewhere" in str(caught.value)

    @pytest.mark.parametrize("out", OUT)
    def test_no_workflow_leads_out(self, root: Path, out: str) -> None:
        given = out.format("flow.json", outside=root.parent / "outside")
        with pytest.raises((DocumentError, NotAllowedError), match=r"outside|elsewhere|allowed"):
            flow({"s": {"type": "sub_workflow", "workflow_path": given}}, root=root)
        steps = {"r": {"type": "read_files", "config": {"path": "${p}", "content_key": "k"}}}
        with pytest.raises(NotAllowedError):
            flow(steps, {"p": given}, root=root)

    def test_a_pattern_does_not_look_through_links(self, root: Path) -> None:
        for pattern in ("l*/*", "**/secret*", "*/secret.txt", "link*/**/*.txt"):
            with pytest.raises(FileNotFoundError, match="matches no file"):
                run(reading(pattern), root=root)

    def test_a_pattern_follows_links_within_root(self, root: Path) -> None:
        (root / "other").symlink_to("deep", target_is_directory=True)
        assert run(reading("o*/inner*"), root=root)["out"] == "other/inner.txt\ninner"

    def test_no_link_that_is_made_meanwhile_leads_out(self, root: Path) -> None:
        def link(context: Any) -> None:
            (root / "later").symlink_to("../outside", target_is_directory=True)

        def link_file(context: Any) -> None:
            (root / "later.txt").symlink_to("../outside/secret.txt")

        functions = {"link": link, "link_file": link_file}
        made = {"type": "python", "function": "link"}
        for step in (
            writing("later/new.txt"),
            writing("later/secret.txt"),
            reading("later/secret.txt"),
        ):
            with pytest.raises(NotAllowedError):
                run(made, step, root=root, functions=functions)
            (root / "later").unlink()
        with pytest.raises(NotAllowedError):
            run({**made, "function": "link_file"}, writing("later.txt"), root=root,
                functions=functions)  # fmt: skip

    def test_no_archive_unpacks_links_or_leads_out(self, root: Path) -> None:
        extract = {"type": "docpack_extract", "docpack_path": "pack.docpack", "extract_dir": "."}
        for name in ("../outside/new.txt", "/new.txt", "files/../../outside/new.txt"):
            (root / "pack.docpack").write_bytes(pack({}, {name: b"x"}))
            with pytest.raises(ValueError, match="is refused"):
                run(extract, root=root)
        (root / "pack.docpack").write_bytes(pack({}, {"link/new.txt": b"x"}))
        with pytest.raises(NotAllowedError):
            run(extract, root=root)

    @pytest.mark.parametrize("name", ["fifo", "dev/zero", "dev/stdin", "proc/self/mem"])
    def test_no_device_is_read_or_written(self, root: Path, name: str) -> None:
        allowed = root if name == "fifo" else Path("/")
        for step in (reading(name), writing(name), packing(name)):
            if step["type"] == "docpack_create":
                step["outline_path"] = str(root / "outline.json")
                step["resource_files"] = []
            with pytest.raises((OSError, ValueError), match=r"ordinary file|cannot be|no file"):
                run(step, root=allowed)

    @pytest.mark.parametrize("name", ["a\0b", "a" * 5_000, "circle/x", "\ud800", "x/" * 3_000])
    def test_what_is_no_name_of_a_file_is_said_to_be_none(self, root: Path, name: str) -> None:
        for step in (reading, writing, packing, STEPS["execute_recipe"][1]):
            with pytest.raises((TaskPipelineError, OSError, ValueError)) as caught:
                run(step("{{ name }}"), root=root, results={"name": name})
            assert not isinstance(caught.value, UnicodeError)
            assert "steps[0]" in str(caught.value)

    def test_no_folders_are_made_that_nobody_could_remove_again(self, root: Path) -> None:
        before = sorted(root.iterdir())
        for depth in (250, 1_500, 3_000):
            with pytest.raises((ValueError, OSError), match=r"more than 200 folders|too long"):
                run(writing("d/" * depth + "x"), root=root)
        assert sorted(root.iterdir()) == before

    def test_no_sub_recipe_gets_out_by_its_own_paths(self, root: Path) -> None:
        (root / "deep" / "bad.json").write_text(json.dumps({"steps": [reading("../../outside/x")]}))
        with pytest.raises(DocumentError, match=r"outside of"):
            loaded({"type": "execute_recipe", "recipe_path": "deep/bad.json"}, root=root)


SHELL = {"type": "shell", "command": ["touch", "pwned"]}
HTTP = {"url": "http://localhost:9/"}


class TestPermissions:
    @pytest.mark.parametrize(
        "steps",
        [
            [SHELL],
            [{"type": "shell", "config": {"command": ["touch", "pwned"]}}],
            [{"type": "shell", "command": "{{ x }}"}],
            [{"type": "parallel", "substeps": [[SHELL]]}],
            [{"type": "loop", "items": [1], "item_key": "i", "substeps": [SHELL]}],
            [{"type": "conditional", "condition": "false", "if_false": {"steps": [SHELL]}}],
            [{"type": "execute_recipe", "recipe_path": "bad.json"}],
        ],
    )
    def test_no_command_is_run_unless_that_is_allowed(self, root: Path, steps: Any) -> None:
        (root / "bad.json").write_text(json.dumps({"steps": [SHELL]}))
        with pytest.raises(DocumentError, match="is not allowed"):
            # A handler of that name does not stand for it.
            loaded(*steps, root=root, handlers={"shell": folder.handled})
        assert not (root / "pwned").exists()

    @pytest.mark.parametrize(
        "steps",
        [
            {"a": SHELL},
            {"a": {"type": "shell", "config": {"command": "${x}"}}},
            {"a": {"type": "step", "step_type": "shell", "config": {"command": ["touch", "x"]}}},
            {"a": {"type": "sub_workflow", "workflow": {"steps": {"b": SHELL}}}},
            {"a": {"type": "sub_workflow", "workflow_path": "bad.json"}},
            {"a": {"type": "loop", "collection": [1], "loop_body": ["b"]}, "b": SHELL},
            {"a": HTTP},
            {"a": {"url": "${x}"}},
            {"a": {"type": "parallel", "parallel_steps": ["b"]}, "b": HTTP},
            {"a": {"type": "sub_workflow", "workflow": {"steps": {"b": HTTP}}}},
        ],
    )
    def test_no_workflow_runs_commands_or_calls_out(self, root: Path, steps: Any) -> None:
        (root / "bad.json").write_text(json.dumps({"steps": {"b": SHELL}}))
        with pytest.raises(DocumentError, match="is not allowed"):
            flow(steps, root=root, handlers={"shell": folder.handled})
        assert not (root / "pwned").exists()

    @pytest.mark.parametrize("path", ["made.json", "{{ made }}"])
    def test_no_recipe_that_is_written_meanwhile_may_do_more(self, root: Path, path: str) -> None:
        write = {
            "type": "write_files",
            "files": [{"path": "made.json", "content": {"steps": [SHELL]}}],
        }
        execute = {"type": "execute_recipe", "recipe_path": path}
        with pytest.raises(DocumentError, match="is not allowed"):
            run(write, execute, root=root, results={"made": "made.json"})
        assert not (root / "pwned").exists()

    @pytest.mark.parametrize("name", ["os.system", "builtins.eval", "json:loads", "os", "print"])
    def test_no_name_is_imported(self, name: str) -> None:
        documents: list[Any] = [
            [{"type": name}],
            [{"type": "python", "function": name}],
            {"a": {"agent_name": name}},
            {"a": {"type": name}},
            {"a": {"type": "function", "function": name}},
            {"a": {"type": "step", "step_type": name}},
            {"a": {"type": "group", "group": "map", "steps": [], "over": {"function": name}}},
        ]
        for steps in documents:
            with pytest.raises(DocumentError):
                load_pipeline({"steps": steps})
        with pytest.raises(DocumentError):
            load_pipeline({"config": {"reducers": {"k": name}}, "steps": {}})
        with pytest.raises(ValueError, match="there is no function"):
            run({"type": "python", "function": "{{ f }}"}, results={"f": name})

    @pytest.mark.parametrize("name", ["HOME", "PATH", "", "FUZZ_TOKEN.x"])
    def test_no_variable_is_read_unless_that_is_allowed(self, name: str) -> None:
        steps = {"a": {"agent_name": "echo", "input_mapping": f"${{env.{name}}}"}}
        with pytest.raises(DocumentError):
            flow(steps, env={TOKEN})
        # Nor is a reference looked for in what a value says.
        steps["a"]["input_mapping"] = "${x}"
        assert flow(steps, {"x": f"${{env.{name}}}"})["a"] == f"${{env.{name}}}"


def tells(given: Any) -> Any:
    """Fails, telling what it was given in every way."""
    try:
        raise KeyError(given["token"])
    except KeyError as error:
        raise folder.Planned(f"refused: {given!s}", given) from error


SECRETIVE: dict[str, Any] = {
    "keep": {
        "agent_name": "echo",
        "input_mapping": {"token": "${env.FUZZ_TOKEN}", "text": "Bearer ${env.FUZZ_TOKEN}"},
        "next_step": "set",
    },
    "set": {
        "type": "set_context",
        "config": {"key": "k", "value": ["${keep.output}", "${env.FUZZ_TOKEN}"]},
        "next_step": "each",
    },
    "each": {"type": "loop", "collection": ["${env.FUZZ_TOKEN}"], "loop_body": ["one"]},
    "one": {"agent_name": "echo", "input_mapping": "<${loop.item}>"},
}
ENDINGS: dict[str, dict[str, Any]] = {
    "tells": {"agent_name": "tells", "input_mapping": {"token": "${env.FUZZ_TOKEN}"}},
    "path": {
        "type": "read_files",
        "config": {"path": "../${env.FUZZ_TOKEN}", "content_key": "x"},
    },
    "no file": {"type": "read_files", "config": {"path": "${env.FUZZ_TOKEN}", "content_key": "x"}},
    "field": {
        "type": "set_context",
        "config": {"key": "x", "value": 1, "if_exists": "${keep.output.token}"},
    },
    "collection": {"type": "loop", "collection": "${keep.output.text}", "loop_body": ["x"]},
    "input": {
        "type": "sub_workflow",
        "workflow": {"steps": {}},
        "input_mapping": "${env.FUZZ_TOKEN}",
    },
    "condition": {
        "type": "conditional",
        "condition": "file_exists('/${env.FUZZ_TOKEN}')",
        "if_true_step": "x",
    },
    "missing": {"agent_name": "echo", "input_mapping": "${keep.output.token.x}"},
    "comparison": {
        "type": "conditional",
        "condition": "${env.FUZZ_TOKEN} > 1",
        "if_true_step": "x",
    },
}


@pytest.fixture
def plugin(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module that registers the agents; all of it is forgotten again."""
    name = "plugin_that_tells"
    text = f"""
from task_pipeline import register_agent
from {__name__} import tells
from tests.fuzzing.folder import echo
register_agent("echo")(echo)
register_agent("tells")(tells)
"""
    (root / f"{name}.py").write_text(text)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = dict(AGENTS)
    yield name
    sys.modules.pop(name, None)
    AGENTS.clear()
    AGENTS.update(before)


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, SECRET)


def secretive(ending: str) -> dict[str, Any]:
    each = {**SECRETIVE["each"], "next_step": "end"}
    steps = {**SECRETIVE, "each": each, "end": ENDINGS[ending]}
    if "x" in ENDINGS[ending].values() or ending == "collection":
        steps["x"] = {"agent_name": "echo"}
    return {"start_step": "keep", "steps": steps}


@pytest.mark.usefixtures("secret")
class TestSecrets:
    @pytest.mark.parametrize("ending", ENDINGS)
    def test_a_secret_is_told_to_nobody(
        self, root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, ending: str
    ) -> None:
        document = secretive(ending)
        journal = root / "runs.db"
        pipeline = load_pipeline(
            document,
            root=root,
            env={TOKEN},
            agents={**folder.AGENTS, "tells": tells},
            journal=f"sqlite:///{journal}",
        )
        told: list[str] = []
        pipeline.subscribe(lambda event: told.append(event.to_json()))
        display = io.StringIO()
        context: PipelineContext[Any] = PipelineContext()
        with caplog.at_level(logging.DEBUG), ParallelEventPrinter(file=display) as printer:
            pipeline.subscribe(printer)
            with pytest.raises((TaskPipelineError, OSError, folder.Planned)) as caught:
                pipeline.run(context)
        told += [chain_of(caught.value), caplog.text, display.getvalue()]
        told += [repr(context), repr(pipeline.get_status())]
        told += [json.dumps(dump_pipeline(pipeline)), repr(pipeline)]
        told += [path.read_bytes().decode("latin-1") for path in root.glob("runs.db*")]
        assert [text for text in told if MARK in text] == []
        assert "keep" in display.getvalue() and len(told) > 10
        # It was there all the while.
        assert context.results["keep"]["token"] == SECRET

    @pytest.mark.parametrize("ending", ["tells", "collection", "condition"])
    def test_the_command_line_tells_no_secret(
        self, root: Path, plugin: str, capfd: pytest.CaptureFixture[str], ending: str
    ) -> None:
        (root / "flow.json").write_text(json.dumps(secretive(ending)))
        options = ["flow.json", "--env", TOKEN, "--plugin", plugin]
        recorded = ["--journal", "sqlite:///runs.db"]
        assert main(["run", *options, *recorded, "--output", "out.json", "--run-id", "r"]) == 1
        assert main(["runs", "show", "r", *recorded]) == 0
        assert main(["graph", *options]) == 0
        told = capfd.readouterr()
        written = "".join(path.read_text("latin-1") for path in root.glob("runs.db*"))
        written += (root / "out.json").read_text()
        assert "keep" in told.out + told.err
        assert MARK not in told.out + told.err + written


def test_many_strangers_at_once_do_not_see_each_other(root: Path) -> None:
    pipeline = loaded(setting("{{ x }} {{ x | upcase }}"), root=root)
    found: dict[int, str] = {}

    def go(number: int) -> None:
        context: PipelineContext[Any] = PipelineContext(results={"x": f"a{number}"})
        found[number] = pipeline.run(context).results["out"]

    threads = [threading.Thread(target=go, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: f"a{number} A{number}" for number in range(8)}
