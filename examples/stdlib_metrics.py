"""What `analyse_stdlib.py` measures: plain functions from files to numbers, no pipeline."""

from __future__ import annotations

import ast
import hashlib
import os
import threading
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

TOP_LEVEL = "(top-level modules)"
PART_BYTES = 500_000
NOT_THE_LIBRARY = {"site-packages", "dist-packages", "__pycache__"}
# What a file that Python cannot parse makes `ast.parse` raise: bad syntax or
# encoding, a null byte, nesting deeper than the parser's stack.
PARSE_ERRORS = (SyntaxError, ValueError, RecursionError, MemoryError)
# Python 3.11.7 and 3.12.1 and older count the depth of all threads' parses in one place,
# so that two at once may end in a SystemError (python/cpython#106905). The lock takes
# nothing away: a parse hardly ever lets go of the interpreter's own.
PARSER = threading.Lock()

Sources = Mapping[str, bytes]  # file → its bytes
Function = tuple[int, str, str, int]  # lines, name, file, first line


@dataclass(frozen=True)
class Part:
    """Some files of one package: all of a small one's, a share of a large one's."""

    package: str  # a top-level folder of the library, or the bucket of its single modules
    root: Path
    files: tuple[str, ...]  # relative to root, with forward slashes
    size: int  # bytes


def library_folder(folder: Path) -> str:
    """Returns `folder`, resolved, if a standard library is in it.

    Raises:
        FileNotFoundError: there is no `os.py` in it (a library in a zip, a stripped install).
    """
    if not (folder / "os.py").is_file():
        raise FileNotFoundError(f"no standard library in {folder}")
    return str(folder.resolve())


def source_files(root: Path) -> Iterator[str]:
    """Yields every `.py` file below `root`, relative to it; installed packages are left out."""
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(set(subfolders) - NOT_THE_LIBRARY)
        for name in sorted(names):
            if name.endswith(".py"):
                yield (Path(folder) / name).relative_to(root).as_posix()


def find_parts(root: Path, limit: int = PART_BYTES) -> Iterator[Part]:
    """Yields the packages below `root`, in parts of at most `limit` bytes.

    Half of the library is its tests. Parts of about one size keep all workers busy
    to the end, and the progress even. A file larger than the limit is a part alone.
    """
    packages: dict[str, list[str]] = {}
    for file in source_files(root):
        top, slash, _ = file.partition("/")
        packages.setdefault(top if slash else TOP_LEVEL, []).append(file)
    for package, files in packages.items():
        taken: list[str] = []
        size = 0
        for file in files:
            more = (root / file).stat().st_size
            if taken and size + more > limit:
                yield Part(package, root, tuple(taken), size)
                taken, size = [], 0
            taken.append(file)
            size += more
        yield Part(package, root, tuple(taken), size)


def line_numbers(sources: Sources) -> dict[str, int]:
    """Counts files, lines, and blank lines (nothing but white space)."""
    lines = [line for text in sources.values() for line in text.splitlines()]
    blanks = sum(1 for line in lines if not line.strip())
    return {"files": len(sources), "lines": len(lines), "blanks": blanks}


def size_numbers(sources: Sources) -> dict[str, int]:
    """Returns how many bytes the files have, as they are and each compressed."""
    return {
        "bytes": sum(map(len, sources.values())),
        "compressed": sum(len(zlib.compress(text)) for text in sources.values()),
    }


def digests(sources: Sources) -> dict[str, str]:
    """Returns the sha256 of every file."""
    return {file: hashlib.sha256(text).hexdigest() for file, text in sources.items()}


class TreeStatistics:
    """What the syntax trees of one package hold."""

    def __init__(self, package: str) -> None:
        self.package = package
        self.functions: list[Function] = []
        self.classes = self.imports = 0
        self.imported: dict[str, int] = {}  # top-level module → times
        self.unparsable: list[tuple[str, str]] = []  # file, reason

    def take(self, file: str, text: bytes) -> None:
        """Adds one file; one that does not parse is listed with its reason instead."""
        try:
            with PARSER:
                tree = ast.parse(text, filename=file)
        except PARSE_ERRORS as error:
            self.unparsable.append((file, f"{type(error).__name__}: {error}"))
            return
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                self.functions.append((length, node.name, file, node.lineno))
            elif isinstance(node, ast.ClassDef):
                self.classes += 1
            elif isinstance(node, ast.Import | ast.ImportFrom):
                self.imports += 1
                for module in self._modules(node):
                    self.imported[module] = self.imported.get(module, 0) + 1

    def numbers(self) -> dict[str, int]:
        """Returns the counts."""
        return {
            "functions": len(self.functions),
            "classes": self.classes,
            "imports": self.imports,
            "unparsable": len(self.unparsable),
        }

    def _modules(self, node: ast.Import | ast.ImportFrom) -> list[str]:
        """Returns the top-level modules a statement names; a relative import names its package."""
        if isinstance(node, ast.Import):
            return [alias.name.partition(".")[0] for alias in node.names]
        return [self.package if node.level else (node.module or "").partition(".")[0]]
