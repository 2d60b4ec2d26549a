from __future__ import annotations

import random

import pytest
from conformance_fakes import make_case

from conformance.engine.plan import Plan, plain_record
from conformance.engine.schedule import CONFIRMATIONS, LARGEST_UNIT, Ending, Schedule
from conformance.errors import InternalError
from conformance.suite.case import Divergence

BACKENDS = ("a", "b")


def plan_of(count, ops=("BatchNorm2d",)):
    return Plan(tuple(make_case(n, op=ops[n * len(ops) // count]) for n in range(count)), BACKENDS)


def record_of(plan, pair, verdict="pass"):
    return plain_record(plan.cases[pair.case], pair.backend, verdict, "")


def names(records):
    return [(record.id, record.backend) for record in records]


def expected_names(plan):
    return [(plan.cases[pair.case].id, pair.backend) for pair in plan.pairs]


@pytest.mark.parametrize("seed", range(20))
def test_records_come_out_in_plan_order_whatever_order_they_came_in(seed):
    plan = plan_of(100, ("BatchNorm2d", "LayerNorm", "GroupNorm"))
    chance = random.Random(seed)
    schedule, open_units, out = Schedule(plan), [], []
    while not schedule.complete:
        if (unit := schedule.next_unit()) is not None:
            open_units.append((unit, list(unit.pairs)))
        unit, pairs = chance.choice(open_units)
        if not pairs:
            open_units.remove((unit, pairs))
            continue
        schedule.finished(record_of(plan, pairs.pop(0)))
        out += schedule.release()
    assert names(out) == expected_names(plan)


def test_a_unit_holds_cases_of_one_op_and_every_backend_of_each():
    plan = plan_of(300, ("BatchNorm2d", "LayerNorm"))
    schedule, seen = Schedule(plan), []
    while (unit := schedule.next_unit()) is not None:
        assert len({plan.cases[pair.case].op for pair in unit.pairs}) == 1
        assert len({pair.case for pair in unit.pairs}) <= LARGEST_UNIT
        for number in {pair.case for pair in unit.pairs}:
            assert [pair.backend for pair in unit.pairs if pair.case == number] == list(BACKENDS)
        seen += unit.pairs
    assert seen == list(plan.pairs)


def test_a_second_record_of_a_pair_and_one_never_asked_for_are_internal_errors():
    plan = plan_of(2)
    schedule = Schedule(plan)
    schedule.finished(record_of(plan, plan.pairs[0]))
    with pytest.raises(InternalError, match="second of its pair"):
        schedule.finished(record_of(plan, plan.pairs[0]))
    with pytest.raises(InternalError, match="never asked for"):
        schedule.finished(plain_record(plan.cases[0], "c", "pass", ""))


def test_what_is_done_is_not_done_again():
    plan = plan_of(20)
    done = [record_of(plan, pair) for pair in plan.pairs[:13]]
    schedule, todo = Schedule(plan, done), []
    while (unit := schedule.next_unit()) is not None:
        todo += unit.pairs
    assert todo == list(plan.pairs[13:])
    assert names(schedule.release()) == expected_names(plan)[:13]


def test_a_crash_is_retried_alone_and_the_rest_of_its_unit_goes_on():
    plan = plan_of(4)
    schedule = Schedule(plan)
    unit = schedule.next_unit()
    schedule.finished(record_of(plan, unit.pairs[0]))
    schedule.ended(unit, Ending("crash", "the worker died with SIGSEGV", "stack", unit.pairs[1]))
    retry, rest = schedule.next_unit(), schedule.next_unit()
    assert (retry.alone, retry.pairs) == (True, (unit.pairs[1],))
    assert (rest.alone, rest.pairs) == (False, unit.pairs[2:])
    schedule.ended(retry, Ending("crash", "the worker died with SIGSEGV", "stack", unit.pairs[1]))
    out = list(schedule.release())
    assert [(record.verdict, record.detail) for record in out] == [("pass", ""), ("crash", "stack")]


def test_a_casualty_keeps_its_verdict_and_tells_of_the_crash():
    plan = plan_of(1)
    schedule = Schedule(plan)
    unit = schedule.next_unit()
    schedule.ended(unit, Ending("crash", "the worker died with SIGSEGV", "", unit.pairs[0]))
    schedule.finished(record_of(plan, schedule.next_unit().pairs[0]))
    (record,) = schedule.release()
    assert record.verdict == "pass"
    assert "SIGSEGV; alone, in a fresh process, it did not" in record.detail
    assert len(schedule.notes) == 1


def test_crashes_alike_are_believed_without_a_retry_after_a_few_were_confirmed():
    plan = Plan(tuple(make_case(n) for n in range(8)), ("a",))
    schedule, retries = Schedule(plan), 0
    while (unit := schedule.next_unit()) is not None:
        retries += unit.alone
        schedule.ended(unit, Ending("crash", "the worker died with SIGSEGV", "", unit.pairs[0]))
    assert schedule.complete
    assert retries == CONFIRMATIONS


def test_a_timeout_is_the_verdict_at_once():
    plan = plan_of(2)
    schedule = Schedule(plan)
    unit = schedule.next_unit()
    schedule.ended(unit, Ending("timeout", "did not end within its limit of 60 s", "stack", unit.pairs[0]))
    (record,) = schedule.release()
    assert (record.verdict, record.reason) == ("timeout", "did not end within its limit of 60 s")
    assert schedule.next_unit().pairs == unit.pairs[1:]


def test_a_death_that_is_a_verdict_is_returned_as_its_record():
    plan = plan_of(3)
    schedule = Schedule(plan)
    unit = schedule.next_unit()
    crash, hang = Ending("crash", "died", "", unit.pairs[0]), Ending("timeout", "hung", "", unit.pairs[1])
    assert schedule.ended(unit, crash) is None  # it is run again alone
    alone = schedule.next_unit()
    assert schedule.ended(schedule.next_unit(), hang).verdict == "timeout"
    assert schedule.ended(alone, crash) == next(schedule.release())
    assert schedule.ended(schedule.next_unit(), Ending("crash", "died", "", None, "a")) is None


def test_a_death_that_a_divergence_declares_is_known():
    plan = plan_of(1)
    gap = Divergence(id="gap", when={}, why="divides by zero", origin=plan.cases[0].origin)
    schedule = Schedule(plan, foretold=lambda case, backend, name: gap if (backend, name) == ("a", "SIGFPE") else None)
    for _ in range(2):  # once in company, once alone
        unit = schedule.next_unit()
        schedule.ended(unit, Ending("crash", "the worker died with SIGFPE", "", unit.pairs[0], name="SIGFPE"))
    (record,) = schedule.release()
    assert (record.verdict, record.divergence) == ("known", "gap")
    assert record.reason == "divides by zero (the worker died with SIGFPE)"
    assert (record.detail, schedule.notes) == ("", []), "it did die alone, and nothing says that it did not"


def test_a_death_while_preparing_blames_nobody_and_goes_on_without_preparing():
    plan = plan_of(4)
    schedule = Schedule(plan)
    unit = schedule.next_unit()
    schedule.ended(unit, Ending("crash", "the worker died with SIGABRT", "", None, "b"))
    again = schedule.next_unit()
    assert (again.pairs, again.prepare) == (unit.pairs, False)
    assert "SIGABRT while it prepared" in schedule.notes[0]


def test_workers_that_keep_dying_outside_of_any_case_end_the_run():
    schedule = Schedule(plan_of(2))

    def die_for_ever():
        while True:
            schedule.ended(schedule.next_unit(), Ending("crash", "the worker died with SIGKILL", "", None))

    with pytest.raises(InternalError, match="keep dying"):
        die_for_ever()
