"""The real suite on torch: neither the order, nor the company of other cases, nor the number of workers matters."""

from __future__ import annotations

import random

import msgspec
import pytest

from conformance.engine.limits import Limits
from conformance.engine.plan import Plan
from conformance.engine.run import How, run
from conformance.engine.store import Store
from conformance.pack_cache import PackCache
from conformance.record import Header
from conformance.suite.loader import load_suite

SAMPLE = 120


class Quiet:
    def began(self, header, done): ...
    def recorded(self, record): ...
    def noted(self, text): ...


@pytest.fixture(scope="module")
def suite():
    return load_suite()


@pytest.fixture(scope="module")
def sample(suite):
    cases = [case for case in suite.cases if "slow" not in case.marks]
    return random.Random(1).sample(cases, SAMPLE)


def records(suite, cases, folder, **how):
    plan = Plan(tuple(cases), ("torch-cpu",), divergences=suite.divergences)
    done = run(plan, Store.create(folder), Header(), Quiet(), How(limits=Limits(case_seconds=120), **how))
    assert [record.id for record in done.records] == [case.id for case in cases]
    timeless = (msgspec.structs.replace(record, seconds=0.0) for record in done.records)
    return {record.id: msgspec.json.encode(record) for record in timeless}  # as text: NaN does not equal itself


def test_results_do_not_depend_on_order_company_or_number_of_workers(suite, sample, tmp_path):
    together = records(suite, sample, tmp_path, in_process=True)
    assert {b'"op":"BatchNorm2d"', b'"op":"RMSNorm"', b'"verdict":"pass"', b'"verdict":"known"'} <= {
        part for record in together.values() for part in record.split(b",")
    }
    shuffled = random.Random(2).sample(sample, SAMPLE)
    assert records(suite, shuffled, tmp_path, in_process=True) == together
    assert records(suite, sample, tmp_path, workers=1) == together
    assert records(suite, shuffled, tmp_path, workers=2) == together


def test_kept_results_of_references_change_no_record(suite, sample, tmp_path, monkeypatch):
    """Computed without a cache, computed and kept, read back by another worker: the same text."""
    some = sample[:50]
    monkeypatch.setenv("CONFORMANCE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("CONFORMANCE_CACHE", "off")
    computed = records(suite, some, tmp_path, in_process=True)
    assert not (tmp_path / "cache" / "references").exists()
    monkeypatch.setenv("CONFORMANCE_CACHE", "on")
    assert records(suite, some, tmp_path, in_process=True) == computed
    assert PackCache(tmp_path / "cache" / "references", 1 << 30).contents().entries > len(some) / 2
    assert records(suite, some, tmp_path, workers=1) == computed


def test_a_case_alone_has_the_record_that_it_has_in_company(suite, sample, tmp_path):
    together = records(suite, sample, tmp_path, in_process=True)
    for case in random.Random(3).sample(sample, 10):
        assert records(suite, [case], tmp_path, in_process=True) == {case.id: together[case.id]}
