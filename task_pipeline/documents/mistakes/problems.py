"""The mistakes in documents: each a line of text that says where, what and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ...errors import DocumentError
from .problem_words import Path, did_you_mean, nearest, one_line, shown
from .pydantic_errors import findings

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

__all__ = [
    "DocumentProblem",
    "Located",
    "Path",
    "Problems",
    "did_you_mean",
    "from_pydantic",
    "nearest",
    "path_text",
    "shown",
]

MOST_SHOWN = 200
LONGEST_FOUND = 500
LONGEST_PATH = 200
LONGEST_KEY = 60


class DocumentProblem(str):
    """One mistake in a document: its text is "file:line:column: path: found; hint".

    What is not known is left out: a dict has no file and no lines. `line` and `column`
    begin at 1, and `column` counts characters.
    """

    __slots__ = ("column", "file", "found", "hint", "line", "path")

    file: str | None
    line: int | None
    column: int | None
    path: str
    found: str
    hint: str

    def __new__(
        cls,
        found: str,
        hint: str = "",
        *,
        path: str = "",
        file: str | None = None,
        line: int | None = None,
        column: int | None = None,
    ) -> DocumentProblem:
        """Put the text together; what was found, and the hint, come to stand on one line."""
        found, hint = one_line(found, LONGEST_FOUND), one_line(hint, LONGEST_FOUND)
        numbers = (number for number in (line, column) if number is not None)
        place = ":".join([*([one_line(file)] if file is not None else []), *map(str, numbers)])
        said = f"{found}; {hint}" if hint else found
        self = super().__new__(cls, ": ".join(part for part in (place, path, said) if part))
        self.found, self.hint, self.path = found, hint, path
        self.file, self.line, self.column = file, line, column
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy build it again from its parts."""
        return _again, (self.found, self.hint, self.path, self.file, self.line, self.column)


def _again(
    found: str, hint: str, path: str, file: str | None, line: int | None, column: int | None
) -> DocumentProblem:
    return DocumentProblem(found, hint, path=path, file=file, line=line, column=column)


def path_text(path: Path) -> str:
    """A path as one writes it: `steps[2].substeps[0].recipe_path`, `steps["a b"]`."""
    text = ""
    for part in path:
        if isinstance(part, str) and part.isidentifier():
            text += f".{one_line(part, LONGEST_KEY)}"
        elif isinstance(part, str):
            quoted = part.replace("\\", "\\\\").replace('"', '\\"')
            text += f'["{one_line(quoted, LONGEST_KEY)}"]'
        else:
            text += f"[{part}]"
    text = text.removeprefix(".")
    half = LONGEST_PATH // 2
    return text if len(text) <= LONGEST_PATH else f"{text[:half]}...{text[-half:]}"


class Located(Protocol):
    """What a mistake stands in: a `Source`."""

    @property
    def name(self) -> str | None:
        """What the user calls it."""
        ...

    def locate(self, path: Path, of_key: bool = False) -> tuple[int, int] | None:
        """Line and column of the value at a path, or of its key."""
        ...


class Problems:
    """Collects the mistakes of one or more documents, to raise them all at once."""

    def __init__(self) -> None:
        self._added: dict[_Added, str | Callable[[], str]] = {}
        # By identity, in the order in which they were first mentioned; kept, so that no
        # other source can come to have the same identity.
        self._sources: dict[int, Located] = {}
        self._more = 0

    def add(
        self,
        source: Located,
        path: Path,
        found: str,
        hint: str | Callable[[], str] = "",
        *,
        of_key: bool = False,
    ) -> None:
        """Add one mistake, at the value of a path or (`of_key`) at the key it has there.

        A hint that takes long to find may be a function: it is called only if it is shown.
        """
        self._keep(source, tuple(path), found, hint, of_key)

    def take(self, error: DocumentError) -> None:
        """Add the mistakes of another document, which could not be read, each where it is."""
        for problem in error.problems:
            known = problem if isinstance(problem, DocumentProblem) else DocumentProblem(problem)
            self._keep(_Told(known), known.path, known.found, known.hint, False)
        self._more += error.more

    def _keep(
        self,
        source: Located,
        path: Path | str,
        found: str,
        hint: str | Callable[[], str],
        of_key: bool,
    ) -> None:
        self._sources.setdefault(id(source), source)
        said = hint if isinstance(hint, str) else ""
        self._added.setdefault(_Added(id(source), path, found, said, of_key), hint)

    def __len__(self) -> int:
        return len(self._added)

    def __bool__(self) -> bool:
        return bool(self._added)

    def raise_if_any(self) -> None:
        """Raise `DocumentError` with every mistake, in the order of file, line and column.

        Of very many it has the first, and in `more` the number of the others.
        """
        if not self._added:
            return
        told: dict[DocumentProblem, None] = {}
        placed = sorted(self._placed(), key=lambda one: one[0])
        left = len(placed)
        for (_, line, column), one in placed:
            if len(told) == MOST_SHOWN:
                break
            left -= 1
            hint = self._added[one]
            problem = DocumentProblem(
                one.found,
                hint if isinstance(hint, str) else hint(),
                path=one.path if isinstance(one.path, str) else path_text(one.path),
                file=self._sources[one.source].name,
                line=line or None,
                column=column or None,
            )
            told.setdefault(problem)
        error = DocumentError(list(told))
        error.more = left + self._more
        raise error

    def _placed(self) -> Iterator[tuple[tuple[int, int, int], _Added]]:
        """Everything with its place: the number of its file, the line and the column."""
        # Two readings of one file count as one.
        files: dict[str | int, int] = {}
        for identity, source in self._sources.items():
            files.setdefault(identity if source.name is None else source.name, len(files))
        for one in self._added:
            source = self._sources[one.source]
            path = one.path if isinstance(one.path, tuple) else ()
            file = files[one.source if source.name is None else source.name]
            yield (file, *(source.locate(path, one.of_key) or (0, 0))), one


class _Added(NamedTuple):
    """One mistake: the identity of its source, where it is in there, and what is said of it."""

    source: int
    path: Path | str
    found: str
    hint: str
    of_key: bool


class _Told:
    """The place of a mistake that is known already."""

    def __init__(self, problem: DocumentProblem) -> None:
        self.name = problem.file
        self.problem = problem

    def locate(self, path: Path, of_key: bool = False) -> tuple[int, int] | None:
        """Where the mistake is."""
        line, column = self.problem.line, self.problem.column
        return None if line is None or column is None else (line, column)


def from_pydantic(
    error: ValidationError,
    source: Located,
    path: Path,
    problems: Problems,
    model: type[BaseModel],
    given: Any,
    skip: Callable[[Any], bool] | None = None,
) -> None:
    """Add every mistake that pydantic found in `given`, which stands at `path`, in our words.

    Errors whose value `skip` holds for are left out, such as a template where a number is
    wanted. Unknown and missing keys are not about a value, and never left out.
    """
    for one in findings(error, model, given, skip):
        problems.add(source, path + one.path, one.found, one.hint, of_key=one.of_key)
