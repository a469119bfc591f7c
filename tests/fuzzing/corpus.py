"""Good documents, which the fuzzer begins with: every type of step, every block, both forms."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

Document = Any

RECIPES: list[Document] = [
    {"steps": [{"type": "set_context", "key": "greeting", "value": "Hello, {{ name }}"}]},
    {
        "name": "both forms",
        "description": "flat, and under config",
        "steps": [
            {"type": "set_context", "config": {"key": "a", "value": [1, {"b": "{{ n }}"}, None]}},
            {"id": "again", "type": "set_context", "key": "a", "value": [2], "if_exists": "merge"},
            {"type": "set_context", "key": "deep", "value": "{{ nested }}", "nested_render": True},
        ],
    },
    [
        {"type": "set_context", "key": "n", "value": "{{ n | plus: 1 }}"},
        {
            "type": "set_context",
            "key": "list",
            "value": "{% for x in items %}{{ x }},{% endfor %}",
        },
    ],
    {
        "steps": [
            {
                "type": "parallel",
                "max_concurrency": 2,
                "delay": 0.001,
                "timeout": 5,
                "merge": ["x", "y"],
                "result_key": "each",
                "substeps": [
                    {"type": "set_context", "key": "x", "value": 1},
                    {
                        "type": "parallel",
                        "config": {
                            "merge": True,
                            "substeps": [
                                {"type": "set_context", "key": "y", "value": "{{ name }}"},
                                [{"type": "set_context", "key": "z", "value": {"k": "{{ n }}"}}],
                            ],
                        },
                    },
                    {"type": "execute_recipe", "recipe_path": "sub.json"},
                ],
            }
        ]
    },
    {
        "steps": [
            {
                "type": "loop",
                "items": "data.0.items",
                "item_key": "item",
                "result_key": "done",
                "max_concurrency": 3,
                "fail_fast": False,
                "substeps": [
                    {"type": "set_context", "key": "done", "value": "{{ item.v }} {{ __index }}"},
                    {
                        "type": "conditional",
                        "condition": "{{ item.v }} > 1 and not file_exists('nothing.txt')",
                        "if_true": [{"type": "set_context", "key": "big", "value": True}],
                        "if_false": {"steps": [{"type": "python", "function": "fail"}]},
                    },
                ],
            },
            {
                "type": "loop",
                "items": {"one": "{{ n }}", "two": [2]},
                "item_key": "x",
                "result_key": "y",
                "substeps": {"type": "set_context", "key": "y", "value": "{{ __key }}={{ x }}"},
            },
            {
                "type": "loop",
                "items": "{{ items | sort | reverse | json }}",
                "item_key": "x",
                "delay": 0.001,
                "substeps": [{"type": "set_context", "key": "t", "value": "{{ x | snakecase }}"}],
            },
        ]
    },
    {
        "steps": [
            {
                "type": "conditional",
                "condition": "len(items) >= 2 and (name contains 'A' or n in [1, 2, 3])",
                "if_true": [
                    {
                        "type": "execute_recipe",
                        "recipe_path": "{{ which }}.json",
                        "context_overrides": {"n": "{{ n }}", "l": "[1, 2]", "t": "true"},
                    }
                ],
                "if_false": [{"type": "set_context", "key": "never", "value": 0}],
            },
            {
                "type": "conditional",
                "condition": "{% if n %}true{% else %}false{% endif %}",
                "if_true": [{"type": "execute_recipe", "recipe_path": "again.yaml"}],
            },
            {
                "type": "conditional",
                "condition": "and(file_is_newer('notes.txt', 'none'), "
                "all_files_exist(['notes.txt', 'data.json']), not(false))",
                "if_true": {"type": "set_context", "key": "files", "value": "there"},
            },
        ]
    },
    {
        "steps": [
            {"type": "read_files", "path": "data.json", "content_key": "json"},
            {"type": "read_files", "path": ["notes.txt", "*.csv"], "content_key": "all"},
            {
                "type": "read_files",
                "path": "deep/**/*.txt, nothing.txt",
                "content_key": "some",
                "optional": True,
                "merge_mode": "dict",
            },
            {
                "type": "write_files",
                "root": "out",
                "files": [
                    {"path": "{{ name }}.txt", "content": "{{ all }}"},
                    {"path": "a/b.json", "content": {"n": [1, "{{ n }}"]}},
                    {"path_key": "file_name", "content_key": "data"},
                ],
            },
            {"type": "write_files", "files_key": "files_to_write"},
        ]
    },
    {
        "steps": [
            {
                "type": "docpack_create",
                "outline_path": "outline.json",
                "resource_files": "notes.txt, deep/inner.txt",
                "output_path": "made.docpack",
                "output_key": "made",
            },
            {
                "type": "docpack_extract",
                "docpack_path": "pack.docpack",
                "extract_dir": "unpacked",
                "outline_key": "outline",
                "resources_key": "resources",
            },
        ]
    },
    {
        "steps": [
            {"type": "python", "function": "add", "args": {"a": 1, "b": "{{ n }}"}},
            {"type": "python", "function": "keys", "output_key": "k"},
            {
                "type": "llm_generate",
                "prompt": "Say {{ name }}",
                "model": "m",
                "output_format": {"type": "object", "properties": {"a": {"type": "string"}}},
                "output_key": "said",
                "temperature": 0.5,
            },
            {
                "type": "mcp",
                "server": "s",
                "tool_name": "look",
                "arguments": {"q": "{{ data[0].items[0].v }}"},
                "result_key": "looked",
            },
            {"type": "echo", "anything": ["{{ items }}", {"x": "{{ hostile }}"}]},
        ]
    },
    {"steps": [{"type": "shell", "command": ["echo", "{{ name }}"], "output_key": "o"}]},
]
"""Recipes; their context is `folder.values()`, and their files are those of `folder.fill`."""


def _agent(given: Any = None, **more: Any) -> dict[str, Any]:
    step: dict[str, Any] = {"type": "agent", "agent_name": "echo", **more}
    return step if given is None else {**step, "input_mapping": given}


WORKFLOWS: list[Document] = [
    {
        "workflow_id": "chain",
        "name": "A chain",
        "version": "1.0",
        "start_step": "a",
        "steps": {
            "a": _agent({"n": "${workflow.input.n}", "t": "n is ${n}"}, next_step="b"),
            "b": _agent(
                {"all": "${a.output}", "x": "${steps.a.output.n}", "money": "$${n}"},
                next_step="c",
                retry={"max_attempts": 2, "delay": 0, "backoff": "constant"},
                timeout=5,
            ),
            "c": _agent("${b.output.all}", critical=False),
        },
    },
    {
        "start_step": "block",
        "steps": {
            "block": {
                "type": "parallel",
                "parallel_steps": ["p", "q", "r"],
                "max_parallelism": 2,
                "on_error": "continue",
                "next_step": "after",
            },
            "p": _agent({"x": 1}, next_step="p2"),
            "p2": _agent("${p.output.x}", next_step="block"),
            "q": {"agent_name": "fail", "input_mapping": "q"},
            "r": {"type": "set_context", "config": {"key": "k", "value": "${workflow.input.name}"}},
            "after": _agent({"block": "${block.output}"}),
        },
    },
    {
        "start_step": "fork",
        "steps": {
            "fork": {
                "type": "fork_join",
                "branches": {
                    "one": {"steps": ["a", "b"], "timeout_seconds": 5},
                    "two": {"steps": ["c"]},
                    "three": ["d"],
                },
                "join_policy": "n_of_m",
                "n_required": 2,
                "branch_timeout_seconds": 5,
                "on_error": "continue",
                "next_step": "end",
            },
            "a": _agent(1),
            "b": _agent("${a.output}"),
            "c": _agent([2]),
            "d": {"agent_name": "fail", "input_mapping": None},
            "end": _agent("${fork.output.one}"),
        },
    },
    {
        "start_step": "fork",
        "steps": {
            "fork": {
                "type": "fork-join",
                "fork_join_config": {"branches": [{"name": "x", "steps": ["a"], "timeout": 3}]},
            },
            "a": _agent({"deep": [{"${n}": "${data[0].items[-1].v}"}]}),
        },
    },
    {
        "start_step": "check",
        "steps": {
            "check": {
                "type": "conditional",
                "condition": {"expression": "${n} > 2 and '${name}' contains 'A'"},
                "if_true_step": "yes",
                "if_false_step": "no",
            },
            "yes": _agent("yes", next_step="end"),
            "no": _agent("no", next_step="end"),
            "end": {
                "type": "condition",
                "condition": "len(${items}) > 0",
                "then_step": "x",
                "else_step": "y",
            },
            "x": {"agent_name": "later", "input_mapping": 1},
            "y": _agent(2),
        },
    },
    {
        "start_step": "each",
        "steps": {
            "each": {
                "type": "loop",
                "loop_config": {
                    "collection": "${workflow.input.items}",
                    "loop_body": ["one", "two"],
                    "execution_mode": "parallel",
                    "max_parallelism": 2,
                    "max_iterations": 3,
                    "on_error": "collect",
                },
                "next_step": "flat",
            },
            "one": _agent({"item": "${loop.item}", "i": "${loop.index}/${loop.total}"}),
            "two": {"agent_name": "refuse", "input_mapping": "${one.output.item}"},
            "flat": {
                "type": "loop",
                "collection": {"k": [1, 2]},
                "loop_body": ["inner"],
                "on_error": "continue",
            },
            "inner": {"type": "loop", "collection": "${loop.item}", "loop_body": ["innermost"]},
            "innermost": _agent("${loop.item} ${loop.is_last}"),
        },
    },
    {
        "steps": [
            {
                "id": "sub",
                "type": "sub_workflow",
                "workflow_path": "flow.json",
                "input_mapping": {"v": "${n}"},
                "next_step": "here",
            },
            {
                "id": "here",
                "type": "sub_workflow",
                "workflow": {"steps": {"a": {"agent_name": "echo"}}},
                "input_mapping": {"sub": "${sub.output}"},
            },
        ]
    },
    {
        "config": {"fail_fast": True, "max_workers": 2, "limits": {"db": 1}},
        "steps": {
            "g": {
                "type": "group",
                "group": "parallel",
                "steps": ["f", "m"],
                "config": {"max_workers": 2},
                "next_step": "b",
            },
            "f": {
                "type": "function",
                "function": "add",
                "args": {"a": 1, "b": 2},
                "attributes": {"limit": "db", "weight": 2.0, "description": "adds"},
            },
            "m": {
                "type": "group",
                "group": "map",
                "over": "items",
                "item_key": "i",
                "result_key": "found",
                "steps": ["ms"],
            },
            "ms": {"type": "function", "function": "keys"},
            "b": {
                "type": "group",
                "group": "branch",
                "condition": {"expression": "${n} > 1"},
                "then": ["l"],
                "otherwise": ["p"],
            },
            "l": {"type": "group", "group": "loop", "steps": ["ls"], "times": 2},
            "ls": {
                "type": "step",
                "step_type": "set_context",
                "config": {"key": "k", "value": 1},
            },
            "p": {"type": "group", "group": "pipeline", "steps": ["s"], "config": {"timeout": 5}},
            "s": {"type": "group", "group": "serial", "steps": []},
        },
    },
    {
        "start_step": "call",
        "steps": {
            "call": {
                "url": "http://localhost:9/x",
                "method": "POST",
                "headers": {"Authorization": "Bearer ${env.FUZZ_TOKEN}"},
                "input_mapping": {"q": "${name}"},
            }
        },
    },
    {
        "steps": {
            "read": {
                "type": "read_files",
                "config": {"path": "${file}", "content_key": "c"},
                "next_step": "write",
            },
            "write": {
                "type": "write_files",
                "config": {"files": [{"path": "${name}.txt", "content": "${read.output}"}]},
                "next_step": "llm",
            },
            "llm": {"type": "llm_generate", "prompt": "${read.output}", "next_step": "py"},
            "py": {"type": "python", "config": {"function": "add", "args": {"a": 1, "b": 1}}},
        }
    },
]
"""Workflows; their input is the same."""

DOCUMENTS = [*RECIPES, *WORKFLOWS]

YAML_TEXTS = [
    """
# A recipe with anchors, an alias and a merge key.
steps:
  - &first {type: set_context, key: a, value: 'x: {{ n }}'}
  - <<: *first
    key: b
  - type: loop
    items: [1, two, 3.5, null, true, 2024-01-01]
    item_key: item
    substeps:
      - *first
      - type: set_context
        key: text
        value: |
          several
          lines of {{ item }}
""",
    """
%YAML 1.1
---
workflow_id: yaml
start_step: one
steps:
  one:
    agent_name: echo
    input_mapping: &given {n: "${n}", l: [1, 0x1F, 1e3, .5, ~, 'it''s', "\\u00e9"]}
    next_step: two
  two: {agent_name: echo, input_mapping: *given}
...
""",
]


@cache
def printed() -> tuple[str, ...]:
    """The documents in the guides, and those of the examples, as texts."""
    texts = []
    for page in sorted((ROOT / "docs" / "guides").glob("*.md")):
        found = re.findall(r"```(?:json|yaml)[^\n]*\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
        texts += [text for text in found if "steps" in text]
    for folder in ("report", "evaluation", "etl"):
        for file in sorted((ROOT / "examples" / folder).glob("*")):
            if file.suffix in (".json", ".yaml") and "steps" in (text := file.read_text("utf-8")):
                texts.append(text)
    return tuple(texts)


@cache
def texts() -> tuple[str, ...]:
    """All of them as texts."""
    written = [json.dumps(document, indent=2) for document in DOCUMENTS]
    return (*written, *YAML_TEXTS, *printed())
