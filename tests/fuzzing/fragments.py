"""Small hostile things: texts, templates, conditions, references, names of files, numbers."""

from __future__ import annotations

from random import Random
from typing import Any


def _lines(text: str) -> list[str]:
    return text.strip("\n").split("\n")


NAMES = _lines(r"""
n
name
items
data
thing
hostile
nested
format
tag
nothing
huge
number
none
set
tuple
bytes
key with blank
__index
item
""")

TEXTS = _lines(r"""
a
steps
type
config
().__class__.__mro__
__import__('os').system('touch pwned')
{0.__class__}
%(name)s %s %n
{name!r:>999999999}
$(touch pwned)
`touch pwned`
; rm -rf /
<script>alert(1)</script>
]]>
-->
'
\x
\u0041
#
%
&a
*a
<<
!!python/object/apply:os.system ['touch pwned']
---
...
yes
null
NaN
1e999
0x10
1_000
1:30
2024-01-01
true
[1, 2]
{'a': 1}
[[[[
None
{{
}}
{%
%}
${
$${n}
""")
TEXTS += [
    "",
    " ",
    "\t\n",
    "\u0000",
    "\u202e",
    "\ufeff",
    "é",
    "😀",
    "ß",
    '"',
    "\\",
    "a" * 5000,
    "../" * 20 + "etc/passwd",
    "\n".join("ab"),
]

PATHS = _lines(r"""
notes.txt
data.json
sub.json
again.yaml
flow.json
pack.docpack
deep
deep/inner.txt
.
..
/
../outside/secret.txt
../outside/recipe.json
link/secret.txt
link/recipe.json
link.json
link/new.txt
circle
circle/x
deep/../../outside/secret.txt
/etc/passwd
/dev/zero
/dev/stdin
/proc/self/environ
/proc/self/mem
~/.ssh/id_rsa
file:///etc/passwd
C:\x
notes.txt/x
*
**
**/*
l*/*
*/*.json
[
[!a]*
./notes.txt
deep//inner.txt
new/folder/file.txt
out/link
*.txt, *.csv
a,b,,
con
**/**/**
deep/leaf.json
""")
PATHS += [
    "",
    "a\u0000b",
    "a" * 300,
    "x/" * 200 + "y",
    " notes.txt",
    "?" * 50,
]

FILTERS = _lines(r"""
upcase
size
json
json: 2
first
last
join: ','
split: ','
plus: 1
times: 99999999999
divided_by: 0
append: name
replace: 'a', name
sort
map: 'v'
where: 'v', 1
date: '%Y'
date: '%99999d'
default: 'x'
slice: 0, 3
truncate: 5
round: 3
modulo: 0
abs
snakecase
escape
strip_html
url_encode
url_decode
base64_decode
sum
uniq
reverse
concat: items
index: 1
currency: 'EUR'
money
decimal: format: '#,##0.00'
datetime
unit: 'length-meter'
t
nofilter
find: 'v', 1
sort_numeric
compact
at_most: 'x'
ceil
prepend: hostile
stylesheet_tag
script_tag
safe
repeat: 9
remove: 'a'
newline_to_br
json: -1
json: name
""")

TAGS = _lines(r"""
{% for x in items %}{{ x }}{% endfor %}
{% for i in (1..99999999999) %}{{ i }}{% endfor %}
{% if n > 1 %}a{% elsif x %}b{% else %}c{% endif %}
{% assign a = thing %}{{ a.hidden }}
{% capture c %}{{ name }}{% endcapture %}{{ c }}
{% include 'notes.txt' %}
{% render 'notes.txt' %}
{% extends 'x' %}
{% raw %}{{ n }}{% endraw %}
{% comment %}x{% endcomment %}
{% case n %}{% when 3 %}three{% endcase %}
{% cycle 'a', 'b' %}
{% tablerow x in items cols:2 %}{{ x }}{% endtablerow %}
{% break %}
{% increment n %}
{% macro m %}x{% endmacro %}{% call m %}
{% unless n %}x{% endunless %}
{% endfor %}
{% for %}
{% echo name | upcase %}
{% with a: 1 %}{{ a }}{% endwith %}
{% translate %}x{% endtranslate %}
""")
TAGS += [
    (
        "{% for a in (1..400) %}{% for b in (1..400) %}{% for c in (1..400) %}x{% endfor %}"
        "{% endfor %}{% endfor %}"
    ),
    "{% liquid assign x = 1\n echo x %}",
    "{% assign x = 'aaaaaaaaaa' %}" + "{% assign x = x | append: x %}" * 30 + "{{ x }}",
]

CONDITIONS = _lines(r"""
true
file_exists('/${env.FUZZ_TOKEN}')
${env.FUZZ_TOKEN} > 1 or ${env.FUZZ_TOKEN} in 5
"${env.FUZZ_TOKEN}x" == 'y'
all_files_exist([${env.FUZZ_TOKEN}, name, nothing])
n > 1
n == '3'
name contains 'A'
n in [1, 2, 3]
not n
len(items) > 2
len(n)
file_exists('notes.txt')
file_exists('../outside/secret.txt')
file_exists(path)
file_exists('link/secret.txt')
all_files_exist(['a', path])
file_is_newer('a', '/etc/passwd')
hostile == quote
thing.hidden == 'x'
items < 3
'a' < 1
and(n, not(name))
or()
{{ hostile }}
{{ quote }} == ''
'{{ quote }}' == 'x'
${n} > 1
'${tag}' == 'x'
${missing} == null
${a.output} contains ${n}
1 = 1
n == 1 == 2
(((((n)))))
1e999 > huge
huge > 1.5
n.__class__
thing.method()
exec('x')
[[[[n]]]]
[n, [name]] == [3, ['Ada']]
set contains 1
bytes contains 'a'
'\x41' == 'A'
tuple[5]
data[0].items[-1].v
null < 1
and
n >
'unclosed
{% if n %}true{% endif %}
{% if n %}
len(${items}) > 0
not (${n} > 1 or ${name})
n !== 1
n && name || !n
#
""")
CONDITIONS += [
    "(" * 200 + "n" + ")" * 200,
    "not " * 500 + "n",
    " and ".join(["n"] * 500),
    "9" * 5000 + " > 1",
    "-" * 50 + "1",
    "",
    " ",
    "\u0000",
]

REFERENCES = _lines(r"""
${env.FUZZ_TOKEN.x}
${env.FUZZ_TOKEN[0]}
../${env.FUZZ_TOKEN}
${n}
${name} and ${items}
${workflow.input}
${workflow.input.n}
${workflow.input.thing}
${thing}
${thing.hidden}
${a.output}
${a.output.result}
${steps.a.output[0]}
${a}
${loop.item}
${loop.index}
${loop}
${env.FUZZ_TOKEN}
${env.PATH}
${env.HOME}
${env}
x ${env.FUZZ_TOKEN} y
${items[-1]}
${items[99999999]}
${data[0].items}
${data["0"]}
${
${}
${ n }
${n.}
${n[}
${a.b.c.d.e}
${__class__}
${a.__class__.__mro__}
${${n}}
$${n}
$$${n}
${set}
${bytes}
${huge}
${self.output}
${workflow}
${steps}
${workflow.output}
${a-b_c.output}
${data["items"]}
${key with blank}
${inner.output}
""")
REFERENCES += [
    "${é}",
]

KEYS = _lines(r"""
type
config
id
steps
substeps
next_step
parallel_steps
branches
items
item_key
result_key
merge
timeout
delay
max_concurrency
condition
if_true
if_false
retry
critical
input_mapping
agent_name
loop_config
loop_body
collection
workflow
workflow_path
recipe_path
context_overrides
path
content
files
root
key
value
start_step
workflow_id
name
version
$schema
attributes
group
function
args
over
while
times
then
otherwise
url
headers
method
command
on_error
join_policy
n_required
max_parallelism
execution_mode
max_iterations
then_step
else_step
a.b
a b
__class__
<<
constructor
1
true
if_true_step
if_false_step
description
metadata
fail_fast
output_key
env
stdin
""")
KEYS += [
    "",
    " ",
    "é",
]

IDS = [
    "a",
    "b",
    "c",
    "block",
    "one",
    "two",
    "check",
    "loop",
    "sub",
    "g",
    "f",
    "workflow",
    "x.y",
    "é",
]

TYPES = _lines(r"""
set_context
parallel
loop
conditional
execute_recipe
read_files
write_files
docpack_create
docpack_extract
shell
python
llm_generate
mcp
echo
agent
fork_join
fork-join
sub_workflow
group
function
step
serial
map
branch
os.system
""")

NUMBERS: list[Any] = [
    0,
    1,
    -1,
    2,
    3,
    7,
    64,
    1000,
    1001,
    10**9,
    -(10**9),
    2**31,
    2**63,
    2**64,
    10**30,
    10**400,
    0.0,
    -0.0,
    0.5,
    1e-9,
    1e-320,
    1e9,
    1e18,
    1e308,
    -1e308,
    float("inf"),
    float("-inf"),
    float("nan"),
    0.1,
    4300,
    1.0,
]


def template(random: Random) -> str:
    """A template made of fragments."""
    parts = []
    for _ in range(random.randint(1, 3)):
        if random.random() < 0.3:
            parts.append(random.choice(TAGS))
        else:
            name = random.choice(NAMES)
            below = random.choice(
                ["", ".v", "[0]", "['a']", ".size", ".hidden", ".__class__", ".0.items"]
            )
            used = [random.choice(FILTERS) for _ in range(random.choice([0, 0, 1, 1, 2, 3]))]
            parts.append("{{ " + " | ".join([name + below, *used]) + " }}")
        parts.append(random.choice(["", " ", "x"]))
    return "".join(parts)


def condition(random: Random) -> str:
    """A condition made of fragments."""
    made = random.choice(CONDITIONS)
    while random.random() < 0.4:
        joined = random.choice([" and ", " or ", " == ", " in ", " < ", " contains ", ", ", " "])
        made = f"{made}{joined}{random.choice(CONDITIONS)}"
    return made


def text(random: Random) -> str:
    """Any text that may stand in a document."""
    kind = random.randrange(8)
    if kind == 0:
        return random.choice(TEXTS)
    if kind == 1:
        return random.choice(PATHS)
    if kind == 2:
        return template(random)
    if kind == 3:
        return condition(random)
    if kind == 4:
        return random.choice(REFERENCES)
    if kind == 5:
        return random.choice(IDS)
    if kind == 6:
        return random.choice(TYPES)
    return random.choice(REFERENCES) + random.choice(TEXTS) + random.choice(NAMES)


def value(random: Random, depth: int = 2) -> Any:
    """Any value that may stand in a document, and some that may not."""
    kind = random.randrange(9)
    if kind < 4:
        return text(random)
    if kind == 4:
        return random.choice(NUMBERS)
    if kind == 5:
        return random.choice([None, True, False, [], {}, [[]], {"": {}}, ["a", 1, None]])
    if kind == 6 and depth:
        return [value(random, depth - 1) for _ in range(random.randint(0, 3))]
    if kind == 7 and depth:
        return {key(random): value(random, depth - 1) for _ in range(random.randint(0, 3))}
    return random.choice(NAMES)


def key(random: Random) -> str:
    """A key: mostly one that means something somewhere."""
    return random.choice(KEYS) if random.random() < 0.8 else random.choice(TEXTS)
