"""The mistakes in documents: each a line of text that says where, what and what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeAlias

from ..errors import DocumentError
from .problem_words import did_you_mean, nearest, one_line, shown
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

Path: TypeAlias = tuple[str | int, ...]
"""The keys and indices that lead from the top of a document to a place in it."""

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
        self._added: dict[tuple[int, Path, str, str | None, bool], _Added] = {}
        # By identity, in the order in which they were first mentioned; kept, so that no
        # other source can come to have the same identity.
        self._sources: dict[int, Located] = {}

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
        self._sources.setdefault(id(source), source)
        said = hint if isinstance(hint, str) else None
        key = (id(source), tuple(path), found, said, of_key)
        self._added.setdefault(key, (source, tuple(path), found, hint, of_key))

    def __len__(self) -> int:
        return len(self._added)

    def __bool__(self) -> bool:
        return bool(self._added)

    def raise_if_any(self) -> None:
        """Raise `DocumentError` with every mistake, in the order of file, line and column."""
        if self._added:
            self._raise()

    def _raise(self) -> NoReturn:
        # Two readings of one file count as one.
        files: dict[str | int, int] = {}
        for identity, source in self._sources.items():
            files.setdefault(identity if source.name is None else source.name, len(files))
        lines = []
        for source, path, found, hint, of_key in self._added.values():
            place = source.locate(path, of_key)
            file = files[id(source) if source.name is None else source.name]
            lines.append((file, place or (0, 0), source.name, path, found, hint))
        lines.sort(key=lambda line: line[:2])
        told: dict[DocumentProblem, None] = {}
        for number, (_, (line, column), name, path, found, hint) in enumerate(lines):
            if len(told) == MOST_SHOWN:
                more = DocumentProblem(f"{len(lines) - number} more are not shown")
                raise DocumentError([*told, more])
            said = hint if isinstance(hint, str) else hint()
            told[
                DocumentProblem(
                    found,
                    said,
                    path=path_text(path),
                    file=name,
                    line=line or None,
                    column=column or None,
                )
            ] = None
        raise DocumentError(list(told))


_Added: TypeAlias = tuple[Located, Path, str, str | Callable[[], str], bool]


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
