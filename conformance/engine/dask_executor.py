"""A run on a dask cluster: units out to its workers, records back, every record once whatever dies over there.

Dask does a lost worker's units again elsewhere.  Records that such a worker had sent already are then sent twice; the
schedule awaits each only once.
"""

from __future__ import annotations

import logging
import secrets
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import msgspec

from conformance import __version__
from conformance.engine import dask_worker
from conformance.engine.dask_address import address_of
from conformance.engine.dask_worker import Order
from conformance.engine.limits import Limits
from conformance.engine.messages import Finished, FromWorker, Note, Ready
from conformance.engine.plan import Plan
from conformance.engine.schedule import Schedule, Unit
from conformance.errors import ConformanceError, InternalError, UsageError

if TYPE_CHECKING:
    from distributed import Client, Future

AHEAD = 2  # units under way for each thread of the cluster: one at work, one waiting beside it
ANSWER = 10.0  # seconds for a scheduler to answer, and for a first worker to be there
LOST = 30.0  # seconds without a connection after which the scheduler is taken for dead
TICK = 0.5  # seconds between two looks at the cluster

Said = list[bytes]
Told = tuple[str, Said]  # the key of a unit that has ended; without one, records of a unit that is under way


class ClusterLost(ConformanceError):  # noqa: N818 - an outcome, with an exit code of its own
    """The scheduler is gone; what was done is in the record file, so the run is interrupted and can be finished."""

    exit_code = 2


def work(
    plan: Plan, schedule: Schedule, *, address: str, tools: str, limits: Limits
) -> Iterator[Ready | Finished | Note]:
    """Yield what the workers of the cluster say until every pair has its record.

    Raises:
        UsageError: dask is not installed, nobody answers, or the workers are not alike.
        ClusterLost: the scheduler went away.
        InternalError: a unit keeps killing the workers that it is given to.
    """
    client = _connected(address_of(executor=address), address)
    cluster = _Cluster(client, plan, schedule, tools=tools, limits=limits, address=address)
    try:
        _check_alike(client, address)
        yield from cluster.work()
    finally:
        cluster.leave()


def _connected(place: str, address: str) -> Client:
    try:
        from distributed import Client
    except ImportError as error:
        raise UsageError(
            f"--executor {address} needs the package distributed: {error}",
            hint="install it with: pip install 'nn-conformance[dask]'",
        ) from error
    for name in ("distributed", *(one for one in logging.root.manager.loggerDict if one.startswith("distributed."))):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters to people is said in our own words
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of versions that differ: see _check_alike
            return Client(place, timeout=ANSWER, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise UsageError(
            f"no dask scheduler answers at {address} within {ANSWER:g} s",
            hint="start one with: dask scheduler; and on each machine: dask worker tcp://host:port",
        ) from error


def _check_alike(client: Client, address: str) -> None:
    """Every worker can import this version of conformance, and all have the same packages.

    Raises:
        UsageError: there is no worker, or they are not alike.
    """
    try:
        client.wait_for_workers(1, timeout=ANSWER)
    except TimeoutError as error:
        raise UsageError(
            f"the dask scheduler at {address} has no workers",
            hint=f"start one on each machine: dask worker {address_of(address)}",
        ) from error
    answers: dict[str, Any] = client.run(dask_worker.about, on_error="return")
    mine = dask_worker.about() | {"conformance": __version__}
    check_answers(answers, mine["conformance"])


def check_answers(answers: Mapping[str, Any], version: str) -> None:
    """Compare what workers say of themselves, by address, with each other, and with this version of conformance.

    Raises:
        UsageError: one cannot say anything, or they are not alike.
    """
    hint = "install the same environment on every machine of the cluster, and restart its workers"
    for place, answer in answers.items():
        if not isinstance(answer, Mapping):
            raise UsageError(
                f"the dask worker at {place} cannot run conformance {version}: {type(answer).__name__}: {answer}",
                hint=hint,
            )
        if answer["conformance"] != version:
            raise UsageError(
                f"the dask worker at {place} has conformance {answer['conformance']}, here it is {version}", hint=hint
            )
    (first, known), *others = answers.items()
    for place, answer in others:
        differing = [
            f"{name} {known.get(name)} and {answer.get(name)}" for name in known if known.get(name) != answer.get(name)
        ]
        if differing:
            raise UsageError(f"the dask workers at {first} and {place} differ: {', '.join(differing)}", hint=hint)


class _Cluster:
    """Units under way on a cluster, and what comes back from them."""

    def __init__(
        self, client: Client, plan: Plan, schedule: Schedule, *, tools: str, limits: Limits, address: str
    ) -> None:
        self._client = client
        self._plan = plan
        self._schedule = schedule
        self._tools = tools
        self._limits = limits
        self._address = address
        self._run = f"conformance-{secrets.token_hex(8)}"
        self._inbox: SimpleQueue[Told] = SimpleQueue()
        self._under_way: dict[str, tuple[Future[Any], Unit]] = {}
        self._submitted = 0
        self._readies: set[bytes] = set()
        self._decoder = msgspec.msgpack.Decoder(FromWorker)
        self._workers: dict[str, int] = {}  # threads by address
        self._connected = time.monotonic()

    def work(self) -> Iterator[Ready | Finished | Note]:
        """See the function of the same name."""
        self._client.subscribe_topic(self._run, lambda event: self._inbox.put(("", list(event[1]))))
        looked = 0.0
        while not self._schedule.complete:
            if time.monotonic() > looked + TICK:
                looked = time.monotonic()
                yield from self._look()
            self._submit()
            with suppress(Empty):
                key, said = self._inbox.get(timeout=TICK)
                yield from self._hear(self._outcome(key) if key else said)
                if key:
                    self._check_done(self._under_way.pop(key)[1])

    def leave(self) -> None:
        """Let the cluster go: nothing of this run stays there."""
        with suppress(Exception):  # a cluster that is gone holds nothing either
            self._client.cancel([future for future, _ in self._under_way.values()])
            self._client.run(dask_worker.leave, self._run, on_error="ignore")
        with suppress(Exception):
            self._client.close(timeout=ANSWER)

    def _submit(self) -> None:
        while len(self._under_way) < AHEAD * sum(self._workers.values()):
            unit = self._schedule.next_unit()
            if unit is None:
                return
            self._submitted += 1
            order = msgspec.msgpack.encode(self._order(unit))
            key = f"{self._run}-{self._submitted}"
            future = self._client.submit(dask_worker.carry_out, order, key=key)
            self._under_way[key] = future, unit
            future.add_done_callback(lambda done: self._inbox.put((str(done.key), [])))

    def _order(self, unit: Unit) -> Order:
        assignments = self._plan.assignments(unit.pairs)
        cases = tuple(assignment.case for assignment in assignments)
        limits = self._limits
        return Order(
            run=self._run,
            cases=cases,
            backends=self._plan.backends,
            only={
                backend: frozenset(each.case.key for each in assignments if backend in each.backends)
                for backend in self._plan.backends
            },
            divergences=dict(self._plan.divergences),
            tools=self._tools,
            limits=(
                limits.case_seconds,
                limits.slow_seconds,
                limits.start_seconds,
                limits.prepare_seconds_per_case,
                limits.memory,
            ),
        )

    def _outcome(self, key: str) -> Said:
        """What a unit returned.

        Raises:
            ConformanceError: it did not.
        """
        future, unit = self._under_way[key]
        if future.status == "finished":
            said: Said = future.result()
            return said
        if future.status == "error":
            error = future.exception()
            if isinstance(error, ConformanceError):
                raise error
            first = self._plan.cases[unit.pairs[0].case].id
            raise InternalError(
                f"the unit that begins with {first} cannot be run on the dask cluster: {type(error).__name__}: {error}",
                hint="the logs of the dask workers say more; KilledWorker means that they died or were killed",
            ) from error
        raise self._lost()

    def _lost(self) -> ClusterLost:
        return ClusterLost(
            f"the dask scheduler at {self._address} is gone; what was done is kept",
            hint="when it is there again: conformance run --resume, with the same --executor",
        )

    def _hear(self, said: Said) -> Iterator[Ready | Finished | Note]:
        for data in said:
            message = self._decoder.decode(data)
            match message:
                case Finished(records=records):
                    awaited = tuple(record for record in records if self._schedule.awaits(record))
                    for record in awaited:
                        self._schedule.finished(record)
                    yield Finished(awaited)
                case Ready():
                    if data not in self._readies:
                        self._readies.add(data)
                        yield message
                case Note():
                    yield message
                case _:
                    pass

    def _check_done(self, unit: Unit) -> None:
        rest = self._schedule.unfinished(unit)
        if rest:
            case = self._plan.cases[rest[0].case].id
            raise InternalError(
                f"a unit came back without {len(rest)} of its records, such as that of {case} on {rest[0].backend}",
                hint="this is a fault of conformance, not of a case; please report it",
            )

    def _look(self) -> Iterator[Note]:
        """Who is there.

        Raises:
            ClusterLost: the scheduler has not been there for a while.
        """
        now = time.monotonic()
        if self._client.status != "running":
            if now - self._connected > LOST or self._client.status == "closed":
                raise self._lost()
            return
        self._connected = now
        present = {
            place: about["nthreads"] for place, about in self._client.scheduler_info(n_workers=-1)["workers"].items()
        }
        for place in self._workers.keys() - present.keys():
            yield Note(f"the dask worker at {place} is gone; what it was at is done again elsewhere")
        self._workers = present
