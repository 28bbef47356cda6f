"""Pages: each item that stays comes exactly once, whatever comes and goes between them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rehearsal.api.pages import page


@given(
    first=st.sets(st.integers(0, 60)),
    changes=st.lists(
        st.tuples(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60))), max_size=20
    ),
    size=st.integers(1, 7),
    reverse=st.booleans(),
)
def test_what_stays_comes_once_while_others_come_and_go(
    *, first: set[int], changes: list[tuple[set[int], set[int]]], size: int, reverse: bool
) -> None:
    items, seen, token = set(first), list[int](), None
    stays, every = set(first), set(first)
    for added, removed in [*changes, *[(set[int](), set[int]())] * 61]:
        found, token = page(sorted(items), lambda one: [one], size=size, token=token,
                            reverse=reverse)  # fmt: skip
        assert len(found) <= size
        seen += found
        if token is None:
            break
        items = (items | added) - removed
        stays &= items
        every |= items
    assert len(seen) == len(set(seen))
    assert stays <= set(seen) <= every
    assert seen == sorted(seen, reverse=reverse)
