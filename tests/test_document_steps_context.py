"""`set_context`: values, templates in them, merging, and rendering again."""

from __future__ import annotations

import copy
import json
import pickle
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from task_pipeline import ContextCopyError, DocumentError, PipelineContext, TemplateError
from task_pipeline.documents import load_pipeline
from task_pipeline.documents.steps.rendering import rendered_again, rendered_value

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("ab {}%.", max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def after(results: dict[str, Any], **fields: Any) -> Any:
    """What `set_context` leaves in the key `made`."""
    pipeline = load_pipeline({"steps": [{"type": "set_context", "key": "made", **fields}]})
    return pipeline.run(PipelineContext(results=results)).results["made"]


@given(JSON)
def test_any_json_value_without_a_template_is_set_as_it_is(value):
    if "{{" in json.dumps(value) or "{%" in json.dumps(value):
        return
    assert rendered_value(value, {}) == value


@pytest.mark.parametrize("value", [1, 1.5, True, None, "", "text", [], {}, [1, {"a": [None]}]])
def test_any_json_value_can_be_set(value):
    assert after({}, value=value) == value


def test_texts_are_rendered_at_any_depth_and_keys_are_not():
    value = {"{{ n }}": ["{{ n }}!", {"deep": ["a {{ n }} b"]}]}

    assert after({"n": 3}, value=value) == {"{{ n }}": ["3!", {"deep": ["a 3 b"]}]}


@pytest.mark.parametrize("value", [3, 1.5, True, None, "text", [1, {"a": 2}], {"a": [1]}])
def test_a_text_that_is_one_variable_gives_its_value(value):
    assert after({"v": {"x": value}}, value=" {{ v.x }} ") == value
    assert after({"v": {"x": value}}, value=["{{ v.x }}"]) == [value]


def test_a_name_that_is_not_there_is_the_empty_text():
    assert after({}, value="{{ nobody.here }}") == ""
    assert after({}, value="<{{ nobody.here }}>") == "<>"


def test_what_a_variable_gives_is_a_copy():
    steps = [
        {"type": "set_context", "key": "mine", "value": "{{ theirs }}"},
        {"type": "set_context", "key": "mine", "value": [2], "if_exists": "merge"},
        {"type": "python", "function": "change"},
    ]

    def change(context):
        context.results["mine"].append(3)

    context: PipelineContext = load_pipeline({"steps": steps}, functions={"change": change}).run(
        PipelineContext(results={"theirs": [1]})
    )

    assert context.results == {"theirs": [1], "mine": [1, 2, 3]}


def test_the_value_in_the_document_is_not_shared_by_runs():
    steps = [
        {"type": "set_context", "key": "list", "value": [1]},
        {"type": "python", "function": "append"},
    ]
    pipeline = load_pipeline(
        {"steps": steps}, functions={"append": lambda context: context.results["list"].append(2)}
    )

    assert [pipeline.run().results["list"] for _ in range(2)] == [[1, 2], [1, 2]]


def test_a_value_that_cannot_be_copied_says_which_and_what_to_do():
    with pytest.raises(ContextCopyError, match=r"steps\[0\]\.value: .*\{\{ lock \}\}.*shared"):
        after({"lock": threading.Lock()}, value="{{ lock }}")


def test_a_mistake_in_a_template_is_found_before_anything_runs():
    with pytest.raises(DocumentError, match=r"steps\[0\]\.value"):
        load_pipeline({"steps": [{"type": "set_context", "key": "a", "value": ["{{ x | }}"]}]})


def test_what_a_template_cannot_do_names_the_step_and_the_field():
    step = {"id": "big", "type": "set_context", "key": "a", "value": "{{ x }}{{ x }}"}
    context: PipelineContext = PipelineContext(results={"x": "a" * 6_000_000})

    with pytest.raises(TemplateError, match=r"step 'big', steps\[0\]\.value: .*longer"):
        load_pipeline({"steps": [step]}).run(context)


@pytest.mark.parametrize("key", ["", "{{ nothing }}"])
def test_a_key_must_not_be_empty(key):
    with pytest.raises(DocumentError, match="key"):
        load_pipeline({"steps": [{"type": "set_context", "key": key, "value": 1}]}).run()


def test_a_key_is_taken_as_it_is_and_may_be_a_template():
    step = {"type": "set_context", "key": "{{ n }}.b", "value": 1}

    context: PipelineContext = load_pipeline({"steps": [step]}).run(
        PipelineContext(results={"n": "a"})
    )

    assert context.results["a.b"] == 1


class TestMerging:
    @pytest.mark.parametrize(
        ("old", "new", "merged"),
        [
            ("a", "b", "ab"),
            ([1], [2, 3], [1, 2, 3]),
            ([1], {"a": 1}, [1, {"a": 1}]),
            ([1], "a", [1, "a"]),
            ({"a": 1, "b": 2}, {"b": 3}, {"a": 1, "b": 3}),
            (
                {"a": {"x": 1, "l": [1]}},
                {"a": {"y": 2, "l": [2]}},
                {"a": {"x": 1, "y": 2, "l": [2]}},
            ),
            ({"a": 1}, {"a": {"b": 2}}, {"a": {"b": 2}}),
            (None, 5, 5),
        ],
    )
    def test_what_is_of_one_kind_is_merged(self, old, new, merged):
        before = copy.deepcopy(old)
        results = {"made": old, "value": new}

        assert after(results, value="{{ value }}", if_exists="merge") == merged
        assert old == before

    def test_a_key_that_is_not_there_is_set(self):
        assert after({}, value=[1], if_exists="merge") == [1]

    @pytest.mark.parametrize(
        ("old", "new", "kinds"),
        [
            (1, 2, "1, with which 2"),
            ("a", [1], "the text 'a', with which a list"),
            ({"a": 1}, "b", "an object, with which the text 'b'"),
            (True, False, "true, with which false"),
        ],
    )
    def test_other_values_are_a_mistake_that_names_both(self, old, new, kinds):
        with pytest.raises(ValueError, match=rf"if_exists: results\['made'\] is {kinds}"):
            after({"made": old}, value=new, if_exists="merge")

    def test_overwriting_is_the_default(self):
        assert after({"made": [1]}, value=2) == 2


class TestRenderingAgain:
    def test_only_when_it_is_asked_for(self):
        results = {"a": "{{ b }}", "b": "end"}

        assert after(results, value="<{{ a }}>") == "<{{ b }}>"
        assert after(results, value="<{{ a }}>", nested_render=True) == "<end>"

    def test_at_any_depth_and_in_what_a_variable_holds(self):
        results = {"prompts": {"one": ["Say {{ word }}"]}, "word": "{{ last }}", "last": 7}

        made = after(results, value={"p": "{{ prompts }}"}, nested_render=True)

        assert made == {"p": {"one": ["Say 7"]}}

    def test_a_variable_that_holds_itself_ends(self):
        assert after({"a": "{{ a }}"}, value="{{ a }}", nested_render=True) == "{{ a }}"
        results = {"a": "{{ b }}", "b": "{{ a }}"}
        assert after(results, value="{{ a }}", nested_render=True) in ("{{ a }}", "{{ b }}")
        assert after({"a": "x{{ a }}"}, value="{{ a }}", nested_render=True) == "x" * 10 + "{{ a }}"

    @pytest.mark.parametrize(
        "hostile", ["{{ a }}" * 100, ["{{ a }}"] * 100, {"a": ["{{ a }}"] * 100, "b": "{{ a }}"}]
    )
    def test_what_grows_without_end_is_refused(self, hostile, monkeypatch):
        monkeypatch.setattr("task_pipeline.documents.steps.rendering.MAX_TEXT", 100_000)
        with pytest.raises(TemplateError, match="longer"):
            after({"a": hostile}, value="{{ a }}", nested_render=True)

    def test_a_value_that_has_itself_in_it_is_refused(self, monkeypatch):
        monkeypatch.setattr("task_pipeline.documents.templating.template_values.MAX_TEXT", 100_000)
        cyclic: list[Any] = []
        cyclic.append(cyclic)
        with pytest.raises(TemplateError, match="characters"):
            after({"a": cyclic}, value="{{ a }}", nested_render=True)

    def test_what_comes_out_and_is_no_template_stays_text(self):
        text = "100 {% of {{ it"

        assert after({"a": text}, value="{{ a }}!", nested_render=True) == text + "!"

    def test_what_is_raw_is_left_alone(self):
        value = "{% raw %}{{ x }}{% endraw %} {{ a }}"
        results = {"x": 1, "a": "{{ x }} {%- raw -%}{{ y }}{%- endraw -%} {% raw %}z{% endraw %}"}

        assert after(results, value=value, nested_render=True) == "{{ x }} 1 {{ y }} z"

    @given(st.text("{}% ab|.", max_size=30), JSON)
    def test_it_ends_with_a_value_or_a_clean_error(self, text, value):
        try:
            rendered_again(["{{ a }}", text], {"a": text, "b": value})
        except TemplateError:
            pass


def test_a_pipeline_with_it_can_be_pickled_and_copied():
    pipeline = load_pipeline({"steps": [{"type": "set_context", "key": "a", "value": "{{ b }}"}]})

    for other in (pickle.loads(pickle.dumps(pipeline)), copy.deepcopy(pipeline)):
        assert other.run(PipelineContext(results={"b": [1]})).results["a"] == [1]


def test_in_a_workflow_what_a_reference_brought_is_no_template():
    step = {
        "type": "set_context",
        "config": {"key": "made", "value": ["{{ secret }}", "${workflow.input.a}"]},
    }
    results = {"a": "{{ secret }}", "secret": "s"}

    made: PipelineContext = load_pipeline({"start_step": "x", "steps": {"x": step}}).run(
        PipelineContext(results=results)
    )

    assert made.results["made"] == ["{{ secret }}", "{{ secret }}"]
