"""References in documents: how they are read, and what they lead to."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from task_pipeline import ContextCopyError, NotAllowedError
from task_pipeline.documents.resolving.references import (
    Missing,
    Reference,
    WrongReference,
    own,
    parsed,
    references,
    resolved,
    walked,
)
from task_pipeline.documents.resolving.secrets import (
    Secret,
    allow_variables,
    from_template,
    joined,
    rendered,
    variable,
)
from task_pipeline.documents.resolving.vault import Vault


def only(text: str) -> tuple[Any, ...]:
    (part,) = parsed(text)
    assert isinstance(part, Reference)
    return tuple(part[1:])


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("${step-a.output.result}", ("step", "step-a", ("result",))),
        ("${step-a.output}", ("step", "step-a", ())),
        ("${x.output.items[0].v}", ("step", "x", ("items", 0, "v"))),
        ("${x.output.items.0.v}", ("step", "x", ("items", "0", "v"))),
        ("${x.output[-1]}", ("step", "x", (-1,))),
        ('${x.output["a b"].c}', ("step", "x", ("a b", "c"))),
        ("${x.output['a \\'b\\' }']}", ("step", "x", ("a 'b' }",))),
        ("${steps.x.output.y}", ("step", "x", ("y",))),
        ("${ x.output }", ("step", "x", ())),
        ("${workflow.input}", ("input", "", ())),
        ("${workflow.input.a.b}", ("input", "", ("a", "b"))),
        ("${loop.item.name}", ("loop", "", ("item", "name"))),
        ("${loop.is_last}", ("loop", "", ("is_last",))),
        ("${env.API_KEY}", ("env", "API_KEY", ())),
        ("${name}", ("name", "name", ())),
        ("${name[3].x}", ("name", "name", (3, "x"))),
        ("${été.output}", ("step", "été", ())),
    ],
)
def test_a_reference_says_what_it_stands_for(text: str, meant: tuple[Any, ...]) -> None:
    assert only(text) == meant


@pytest.mark.parametrize(
    ("text", "found", "hint"),
    [
        ("a ${x.output", "'${x.output' has no closing brace", "$${"),
        ("${}", "'${}' is not a reference", "step-a.output.result"),
        ("${a b}", "is not a reference", ""),
        ("${a.${b}}", "is not a reference", ""),
        ("${a.output[x]}", "is not a reference", ""),
        ("${workflow}", "is not a reference", "workflow.input"),
        ("${workflow.id}", "is not a reference", "workflow.input"),
        ("${loop}", "is not a reference", "item, index, total"),
        ("${loop.items}", "is not a reference", "did you mean 'item'?"),
        ("${env}", "is not a reference", "${env.NAME}"),
        ("${env.A.b}", "is not a reference", "${env.NAME}"),
        ("${steps.x}", "is not a reference", "${steps.id.output}"),
        ("${steps.x.result}", "is not a reference", "${steps.id.output}"),
        ("${a.output[99999999999]}", "is not a reference", ""),
    ],
)
def test_what_is_no_reference_is_told(text: str, found: str, hint: str) -> None:
    with pytest.raises(WrongReference) as caught:
        parsed(text)
    assert found in caught.value.found
    assert hint in caught.value.hint


def test_two_dollars_are_the_text_itself() -> None:
    assert parsed("costs $${a} and $5 {b}") == ("costs ${a} and $5 {b}",)
    assert parsed("") == ()
    assert resolved({"x": "$${a}"}, lambda reference: 1 / 0) == {"x": "${a}"}


@given(st.text(alphabet="${}.ab[]0\"'\\- ", max_size=30))
def test_no_text_breaks_the_reading(text: str) -> None:
    try:
        parts = parsed(text)
    except WrongReference:
        return
    # Nothing of a text is lost: each part is there, in order.
    at = 0
    for part in parts:
        piece = part.text if isinstance(part, Reference) else part.replace("${", "$${")
        assert text.startswith(piece, at)
        at += len(piece)
    assert at == len(text)


def test_where_the_references_of_a_value_stand() -> None:
    value = {"a": ["x", "${b}"], "c": {"d": "$${e}", "f": 3}, "g": None}
    assert sorted(references(value)) == [(("a", 1), "${b}"), (("c", "d"), "$${e}")]
    assert list(references("${a}")) == [((), "${a}")]
    assert list(references("plain")) == list(references(3)) == []


VALUES: dict[str, Any] = {
    "text": "hello",
    "number": 3,
    "half": 0.5,
    "truth": True,
    "nothing": None,
    "list": [1, "two"],
    "object": {"a": {"b": [10, 20]}, "a b": 1, "3": "three", "output": "o"},
}


def look(reference: Reference) -> Any:
    if reference.name not in VALUES:
        raise Missing(reference.text, "it is not there")
    return walked(VALUES[reference.name], reference, reference.name)


@pytest.mark.parametrize("name", VALUES)
def test_a_reference_alone_keeps_the_value(name: str) -> None:
    assert resolved(f"${{{name}}}", look) is VALUES[name]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("<${text}>", "<hello>"),
        ("<${number} ${half} ${truth} ${nothing}>", "<3 0.5 true null>"),
        ("${list}!", '[1, "two"]!'),
        ("${object.a}.", '{"b": [10, 20]}.'),
        ("${object.a.b[1]}", 20),
        ("${object.a.b[-1]}", 20),
        ("${object.a.b.0}", 10),
        ('${object["a b"]}', 1),
        ("${object[3]}", "three"),
        ("${object}[0]", '{"a": {"b": [10, 20]}, "a b": 1, "3": "three", "output": "o"}[0]'),
    ],
)
def test_what_references_lead_to(text: str, value: Any) -> None:
    assert resolved(text, look) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("${object.c}", "object has no 'c'; it has 'a', 'a b', '3', 'output'"),
        ("${object.outptu}", "object has no 'outptu'; did you mean 'output'?"),
        ("${object.a.b[2]}", "object.a.b has 2 items"),
        ("${object.a.b.x}", "object.a.b is a list, which has no key 'x'"),
        ("${text.upper}", "text is a text, which has no 'upper'"),
        ("${text[0]}", "text is a text, which has no 0"),
        ("${number.real}", "number is a number, which has no 'real'"),
        ("${nothing.x}", "nothing is null, which has no 'x'"),
        ("${truth.x}", "truth is true, which has no 'x'"),
    ],
)
def test_what_is_missing_is_told_with_what_there_is(text: str, why: str) -> None:
    with pytest.raises(Missing) as caught:
        resolved(["x", {"deep": f"in {text}"}], look)
    assert caught.value.why == why
    assert caught.value.where == (1, "deep")


class Sly:
    """An object with attributes that no reference gets at."""

    secret = "hidden"

    def __getitem__(self, key: object) -> str:
        return self.secret


@pytest.mark.parametrize("path", [("secret",), ("__class__",), (0,)])
def test_attributes_and_items_of_objects_are_out_of_reach(path: tuple[Any, ...]) -> None:
    with pytest.raises(Missing, match="is a Sly"):
        walked(Sly(), Reference("${x}", "step", "x", path), "x")


def test_what_is_given_away_is_a_copy() -> None:
    value = {"a": [1, {"b": (2, {3})}], "c": "text"}
    mine = own(value)
    assert mine == value
    mine["a"][1]["b"][1].add(4)
    mine["a"].append(5)
    assert value == {"a": [1, {"b": (2, {3})}], "c": "text"}
    with pytest.raises(ContextCopyError, match="the input holds"):
        own([threading.Lock()], "the input")
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ContextCopyError, match="nested too deep"):
        own(deep, "it")
    while deep:
        deep = deep.pop()


# Secrets


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> Secret:
    monkeypatch.setenv("REFERENCES_TOKEN", "s3cr&t \"é'")
    allow_variables({"REFERENCES_TOKEN"})
    return variable("REFERENCES_TOKEN")


def test_a_secret_is_a_text_that_does_not_show_itself(token: Secret) -> None:
    assert token == "s3cr&t \"é'"
    assert repr(token) == "'***'" and repr([token]) == "['***']"
    assert token.template == "${env.REFERENCES_TOKEN}"
    assert copy.deepcopy(token) is token and copy.copy(token) is token
    again = pickle.loads(pickle.dumps(token))
    assert again == token and again.template == token.template
    assert b"s3cr" not in pickle.dumps([token])


def test_texts_with_a_secret_in_them_are_secrets(token: Secret) -> None:
    text = joined(["$Bearer $", "{x} ", token])
    assert isinstance(text, Secret)
    assert text == f"$Bearer ${{x}} {token}"
    assert from_template(text.template) == text
    plain = joined(["a", "b"])
    assert plain == "ab" and not isinstance(plain, Secret)


def test_json_with_a_secret_in_it_is_a_secret(token: Secret) -> None:
    text = rendered({"k": [token], "t": (1,)})
    assert isinstance(text, Secret)
    assert "s3cr" in text and "s3cr" not in text.template
    assert not isinstance(rendered({"k": [1]}), Secret)
    assert rendered(token) is token
    assert isinstance(rendered({token: 1}), Secret)


def test_a_template_leads_only_to_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFERENCES_OTHER", "other")
    with pytest.raises(NotAllowedError, match="REFERENCES_OTHER, which no document"):
        from_template("x ${env.REFERENCES_OTHER}")
    with pytest.raises(NotAllowedError, match="REFERENCES_OTHER"):
        variable("REFERENCES_OTHER")
    with pytest.raises(NotAllowedError, match="damaged"):
        from_template("x ${HOME}")
    with pytest.raises(NotAllowedError, match="damaged"):
        from_template("x $")
    allow_variables({"REFERENCES_GONE"})
    with pytest.raises(NotAllowedError, match="REFERENCES_GONE is not set"):
        from_template("${env.REFERENCES_GONE}")


def test_what_has_a_value_in_it_is_wrapped_at_any_depth(token: Secret) -> None:
    vault = Vault(["REFERENCES_TOKEN", "REFERENCES_NOT_SET"])
    assert vault
    value = {"a": [f"Bearer {token}!", 1, ("x", str.__str__(token))], token + "k": {f"{token}"}}
    wrapped = vault.wrapped(value)
    assert wrapped == value
    assert "s3cr" not in repr(wrapped)
    assert from_template(wrapped["a"][0].template) == f"Bearer {token}!"
    assert vault.wrapped("plain") == "plain" and not isinstance(vault.wrapped("plain"), Secret)
    assert vault.wrapped(token) is token
    assert not Vault(["REFERENCES_NOT_SET"])
    assert Vault([]).masked("x") == "x"


@pytest.mark.parametrize(
    "form", [str.__str__, lambda text: repr(text)[1:-1], __import__("urllib.parse").parse.quote]
)
def test_other_ways_to_write_a_value_are_known(token: Secret, form: Any) -> None:
    assert Vault(["REFERENCES_TOKEN"]).masked(f"<{form(str.__str__(token))}>") == "<***>"


class Picky(Exception):
    """One that cannot be made of its arguments alone."""

    def __init__(self, *, text: str) -> None:
        super().__init__()
        self.text = text

    def __str__(self) -> str:
        return self.text


class Sealed(Exception):
    """One that cannot be made again at all."""

    def __new__(cls, text: str, key: object = None) -> Sealed:
        if key is None:
            raise TypeError("not so")
        return super().__new__(cls, text)

    def __init__(self, text: str, key: object = None) -> None:
        super().__init__(text)


def shown(error: BaseException) -> str:
    import traceback

    return "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))


def test_an_exception_that_tells_a_value_is_raised_without_it(token: Secret) -> None:
    vault = Vault(["REFERENCES_TOKEN"])
    text = str.__str__(token)
    error = ValueError("key", text, [text])
    error.add_note(f"sent {text}")
    masked = vault.masked_error(error)
    assert type(masked) is ValueError and masked.args == ("key", "***", ["***"])
    assert masked.__notes__ == ["sent ***"]
    picky = vault.masked_error(Picky(text=f"x{text}"))
    assert type(picky) is Picky and str(picky) == "x***"
    sealed = vault.masked_error(Sealed(text, key=1))
    assert type(sealed) is RuntimeError and str(sealed) == "Sealed: ***"
    group = ExceptionGroup("all", [ValueError(text), KeyError("k")])
    whole = vault.masked_error(group)
    assert isinstance(whole, ExceptionGroup) and text not in shown(whole)
    assert type(whole.exceptions[0]) is ValueError


def test_causes_and_contexts_are_masked_as_well(token: Secret) -> None:
    vault = Vault(["REFERENCES_TOKEN"])
    text = str.__str__(token)
    try:
        try:
            try:
                raise KeyError(text)
            except KeyError:
                raise OSError(text)  # noqa: B904  # its context is what is looked at
        except OSError as error:
            raise ValueError("nothing to see") from error
    except ValueError as error:
        outer = error
    masked = vault.masked_error(outer)
    assert masked is outer
    assert text not in shown(masked)
    assert type(masked.__cause__) is OSError
    assert type(masked.__cause__.__context__) is KeyError
    harmless = ValueError("x")
    harmless.__context__ = harmless.__cause__ = KeyError("y")
    assert vault.masked_error(harmless) is harmless


def test_an_exception_that_leads_back_to_itself_is_no_trouble(token: Secret) -> None:
    error, other = ValueError(str.__str__(token)), ValueError("b")
    error.__cause__, other.__cause__ = other, error
    masked = Vault(["REFERENCES_TOKEN"]).masked_error(error)
    assert str(masked) == "***"


class Unshowable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


class Opaque:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_exceptions_that_cannot_be_looked_into_tell_nothing(token: Secret) -> None:
    vault = Vault(["REFERENCES_TOKEN"])
    assert isinstance(vault.masked_error(Unshowable("x")), Unshowable)
    masked = vault.masked_error(ValueError(Opaque()))
    assert type(masked) is RuntimeError
