"""How uploads are cut into parts: properties of pure arithmetic, up to the largest sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuspy_server.errors import StoreFailed, UploadTooLarge
from tuspy_server.stores.s3_parts import GIB, KIB, MIB, TIB, PartLimits, Plan, plan_concat, plan_parts
from tuspy_server.stores.s3_view import Part, mark_of, view

AWS = PartLimits()


def cut(plan: Plan, length: int, known: int | None) -> list[int]:
    """The sizes of all parts of an upload that is never interrupted; `known` is the length told to the plan."""
    sizes: list[int] = []
    start = 0
    while start < length:
        size = min(plan.size(len(sizes) + 1, start, known), length - start)
        sizes.append(size)
        start += size
    return sizes


def check(sizes: list[int], limits: PartLimits, length: int) -> None:
    assert sum(sizes) == length
    assert len(sizes) <= limits.max_parts
    assert all(limits.min_part_size <= size <= limits.max_part_size for size in sizes[:-1])
    assert sizes[-1] <= limits.max_part_size


@pytest.mark.parametrize("length", [1, 5 * MIB, 8 * MIB, 8 * MIB + 1, 80_000 * MIB, 80_000 * MIB + 1, 5 * TIB])
def test_every_size_up_to_the_largest_object_fits(length: int) -> None:
    check(cut(plan_parts(AWS, length), length, length), AWS, length)


def test_parts_stay_small_while_the_numbers_suffice() -> None:
    assert plan_parts(AWS, 78 * GIB).base == 8 * MIB
    assert plan_parts(AWS, 5 * TIB).base == 525 * MIB


@pytest.mark.parametrize("length", [1, 8 * MIB, 100 * GIB, 5 * TIB])
def test_unknown_length_grows_until_everything_fits(length: int) -> None:
    sizes = cut(plan_parts(AWS, None), length, None)
    check(sizes, AWS, length)
    assert sizes[:-1] == sorted(sizes[:-1])
    assert all(size == 8 * MIB for size in sizes[:700][:-1])


@pytest.mark.parametrize(("length", "limits"), [(5 * TIB + 1, AWS), (6 * GIB, PartLimits(max_parts=1))])
def test_what_cannot_fit_is_too_large(length: int, limits: PartLimits) -> None:
    with pytest.raises(UploadTooLarge):
        plan_parts(limits, length)


def test_resume_after_nine_thousand_parts_still_reaches_the_end() -> None:
    length = 75 * GIB
    plan = plan_parts(AWS, length)
    start, number = 9000 * 5 * MIB, 9001
    while start < length:
        start += min(plan.size(number, start, length), length - start)
        number += 1
    assert number - 1 <= 10_000


def test_upload_of_nine_thousand_parts_and_a_tail_is_seen_whole() -> None:
    plan = plan_parts(AWS, 75 * GIB)
    parts = [Part(number, 5 * MIB, f'"{number:032x}"') for number in range(1, 9001)]
    mark = mark_of(parts, (1, 0), 7)
    seen = view(parts, [mark.name], lambda number, start: plan.full_size(number, start, 75 * GIB))
    assert seen.offset == 9000 * 5 * MIB + 7
    assert seen.tail == mark


def test_unknown_length_after_nine_thousand_short_parts_still_takes_more_than_a_tebibyte() -> None:
    plan = plan_parts(AWS, None)
    start = 9000 * 5 * MIB
    for number in range(9001, 10_001):
        start += plan.size(number, start, None)
    assert start > TIB


def test_equal_parts_are_equal_whatever_is_known() -> None:
    limits = PartLimits(equal_parts=True)
    plan = plan_parts(limits, None)
    assert {plan.size(number, number * MIB, known) for number in (1, 5000, 10_000) for known in (None, TIB)} == {
        8 * MIB
    }
    assert not plan.may_be_short(1, 0, 6 * MIB, None)


def test_no_part_beyond_the_last_number() -> None:
    plan = plan_parts(PartLimits(max_parts=3), None)
    with pytest.raises(StoreFailed):
        plan.size(4, 0, None)
    assert plan.full_size(4, 0, None) == 0


@pytest.mark.parametrize(("size", "short"), [(5 * MIB - 1, False), (5 * MIB, True), (5 * MIB + 1, True)])
def test_a_short_part_has_the_minimum_at_least(size: int, short: bool) -> None:
    assert plan_parts(AWS, 100 * MIB).may_be_short(1, 0, size, 100 * MIB) is short


@pytest.mark.parametrize(
    "changes",
    [
        {"part_size": 1 * MIB},
        {"part_size": 6 * GIB},
        {"min_part_size": 3 * MIB, "part_size": 5 * MIB, "max_part_size": 5 * MIB},
        {"max_parts": 0},
    ],
)
def test_contradictory_limits_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        PartLimits(**changes)


limits_of_any_kind = st.builds(
    lambda least, more, most, parts, equal: PartLimits(
        part_size=least + more,
        min_part_size=least,
        max_part_size=2 * least + more + most,
        max_parts=parts,
        max_object_size=parts * (least + more),
        equal_parts=equal,
    ),
    st.integers(1, 5 * KIB),
    st.integers(0, 5 * KIB),
    st.integers(0, 50 * KIB),
    st.integers(1, 300),
    st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(limits_of_any_kind, st.data())
def test_any_resumed_upload_fits(limits: PartLimits, data: st.DataObject) -> None:
    """Interrupted anywhere, as often as may be: what is left becomes a short part where the plan allows it."""
    length = data.draw(st.integers(1, limits.max_object_size))
    known = data.draw(st.sampled_from([length, None])) if limits.equal_parts else length
    plan = plan_parts(limits, known)
    assert Plan.decode(plan.encode()) == plan
    start = 0
    sizes: list[int] = []
    interruptions = data.draw(st.lists(st.integers(1, limits.part_size), max_size=2 * limits.max_parts))
    while start < length:
        number = len(sizes) + 1
        full = plan.full_size(number, start, known) if known else min(plan.size(number, start, None), length - start)
        assert full > 0
        left = interruptions.pop() if interruptions else full
        size = left if left < full and plan.may_be_short(number, start, left, known) else full
        sizes.append(size)
        start += size
    check(sizes, limits, length)


@settings(max_examples=200, deadline=None)
@given(limits_of_any_kind, st.lists(st.integers(0, 30 * KIB), max_size=40), st.booleans())
def test_concatenation_covers_every_byte_once(limits: PartLimits, sources: list[int], server_copies: bool) -> None:
    plan = plan_parts(replace(limits, max_parts=100_000), None)
    parts = plan_concat(sources, plan, server_copies=server_copies)
    pieces = [piece for part in parts for piece in part.slices]
    assert all(piece.size > 0 for piece in pieces)
    covered = {index: 0 for index in range(len(sources))}
    for piece in pieces:
        assert piece.start == covered[piece.index]
        covered[piece.index] = piece.stop
    assert list(covered.values()) == sources
    assert [piece.index for piece in pieces] == sorted(piece.index for piece in pieces)
    assert all(part.streamed or len(part.slices) == 1 for part in parts)
    assert server_copies or all(part.streamed for part in parts)
    for part in parts[:-1]:
        assert limits.min_part_size <= part.size <= limits.max_part_size
    if limits.equal_parts:
        assert {part.size for part in parts[:-1]} <= {plan.base}


def test_streamed_parts_are_never_much_larger_than_a_minimum_part() -> None:
    plan = plan_parts(AWS, None)
    parts = plan_concat([1, 3 * GIB, 4 * MIB, 4 * MIB, 20 * GIB, 7], plan)
    assert all(part.size < 3 * AWS.min_part_size for part in parts if part.streamed)
    assert all(part.size <= 5 * GIB for part in parts)
