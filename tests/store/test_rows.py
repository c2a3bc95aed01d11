"""Pages of a list that changes while it is read."""

from __future__ import annotations

from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, insert

from fewtune.store.rows import Order, page_of
from fewtune.store.service_database import reading, writing
from fewtune.store.service_schema import files

_PROJECTS = count()
CHANGES = st.lists(st.one_of(st.just("insert"), st.integers(0, 40)), max_size=4)


def change(
    engine: Engine, project: str, there: list[str], changes: list[str | int], spared: str | None = None
) -> set[str]:
    """Insert rows, or delete those that are there by their place; the ids of the deleted.

    The row that a page ended with is spared: of one that is gone nobody knows where it stood.
    """
    gone: set[str] = set()
    with writing(engine) as connection:
        for one in changes:
            if one == "insert":
                there.append(f"{project}-{len(there)}")
                values = {"purpose": "p", "filename": "f", "sha256": "0", "status": "s", "bytes": 1, "created_at": 1}
                connection.execute(insert(files).values(id=there[-1], project=project, **values))
            elif there and there[int(one) % len(there)] != spared:
                gone.add(there[int(one) % len(there)])
                connection.execute(delete(files).where(files.c.id.in_(gone)))
    return gone


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.integers(0, 12),
    limit=st.integers(1, 5),
    order=st.sampled_from(["asc", "desc"]),
    meanwhile=st.lists(CHANGES, max_size=12),
)
def test_every_row_that_stays_is_in_exactly_one_page(
    engine: Engine, size: int, limit: int, order: Order, meanwhile: list[list[str | int]]
) -> None:
    project, there = f"p{next(_PROJECTS)}", []
    change(engine, project, there, ["insert"] * size)
    first, gone, seen, after = list(there), set[str](), list[str](), None
    more = True
    while more:
        with reading(engine) as connection:
            rows, more = page_of(connection, files, files.c.project == project, after=after, limit=limit, order=order)
        assert len(rows) == limit or not more
        seen += [row["id"] for row in rows]
        assert len(set(seen)) == len(seen)
        after = seen[-1] if seen else None
        gone |= change(engine, project, there, meanwhile.pop() if meanwhile else [], spared=after)
    expected = first if order == "asc" else first[::-1]
    assert [one for one in seen if one in first and one not in gone] == [one for one in expected if one not in gone]


def test_an_unknown_end_gives_the_first_page_and_no_limit_none(engine: Engine) -> None:
    there: list[str] = []
    others: list[str] = []
    change(engine, "q", there, ["insert"] * 3)
    change(engine, "other", others, ["insert"] * 2)
    with reading(engine) as connection:
        mine = files.c.project == "q"
        rows, more = page_of(connection, files, mine, after="nobody", limit=2)
        assert [row["id"] for row in rows] == there[:0:-1] and more
        assert page_of(connection, files, mine, after=None, limit=0) == ([], False)
        rows, _ = page_of(connection, files, files.c.project == "other", after=there[0], limit=2)
        assert [row["id"] for row in rows] == others[::-1], "another list's row is unknown here"
