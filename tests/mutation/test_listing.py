"""Whether the list of surviving mutants can be trusted without running mutmut."""

from pathlib import Path

import pytest

from tests.mutation.listing import LIST, Mutant, change_of, read_list

TOP = Path(__file__).parents[2]
LISTED = read_list(LIST.read_text(encoding="utf-8"))

TEXT = """\
# A title

Some prose.

### protocol.pool.Pool.take
```diff
-    a
+    b
```
```diff
-    c
```
Because of this
and that.

```diff
+    d
```

## A part

More prose.
"""


@pytest.mark.parametrize("mutant", LISTED, ids=lambda mutant: mutant.place)
def test_every_listed_mutant_has_a_reason_and_changes_lines_that_are_there(mutant: Mutant) -> None:
    assert LISTED[mutant]
    source = TOP / f"{mutant.module.replace('.', '/')}.py"
    lines = {line.strip() for line in source.read_text(encoding="utf-8").splitlines()}
    taken_out = [line[1:].strip() for line in mutant.change.splitlines() if line.startswith("-")]
    assert taken_out
    assert set(taken_out) <= lines


def test_a_reason_is_for_all_blocks_back_to_the_reason_before() -> None:
    first, second, third = (
        Mutant("protocol.pool", "Pool.take", change) for change in ("-    a\n+    b", "-    c", "+    d")
    )
    assert read_list(TEXT) == {first: "Because of this and that.", second: "Because of this and that.", third: ""}


def test_what_is_listed_is_read_as_it_was_written() -> None:
    mutant = Mutant("protocol.pool", "take", "-    a\n+    b")
    assert read_list(f"{mutant.as_listed()}Because.\n") == {mutant: "Because."}


def test_a_change_is_what_a_diff_takes_out_and_puts_in() -> None:
    diff = "--- protocol/pool.py\n+++ protocol/pool.py\n@@ -1,2 +1,2 @@\n def f():\n-    return 1  \n+    return 2\n"
    assert change_of(diff) == "-    return 1\n+    return 2"


@pytest.mark.parametrize("text", ["```diff\n-    a\n```\n", "### protocol.pool.take\n```diff\n-    a\n"])
def test_a_list_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="block of changes in the list"):
        read_list(text)
