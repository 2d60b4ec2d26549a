"""Names of topics, and what is answered to a name that is none."""

from __future__ import annotations

import pytest

from conformance.errors import UsageError
from conformance.explain.chapters import _HOMES
from conformance.explain.listing import listing
from conformance.explain.pages import MISTAKE_PAGES
from conformance.explain.topics import ALIASES, TOPICS, resolve


def test_every_topic_has_a_chapter():
    assert set(TOPICS) == set(_HOMES)


def test_aliases_lead_to_topics_and_hide_none():
    assert set(ALIASES.values()) <= set(TOPICS)
    assert not set(ALIASES) & (set(TOPICS) | set(MISTAKE_PAGES))


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("running_mean", "running-mean"),
        ("Running Mean", "running-mean"),
        ("epsilon", "eps"),
        ("eps_outside_sqrt", "eps-outside-sqrt"),
    ],
)
def test_a_name_may_be_written_otherwise(asked, meant):
    assert resolve(asked) == meant


def test_a_misspelt_topic_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'running-mean'") as told:
        resolve("runing-mean")
    assert "conformance explain" in told.value.hint


def test_what_is_near_nothing_gets_no_suggestion():
    with pytest.raises(UsageError) as told:
        resolve("zzzzzz")
    assert "did you mean" not in told.value.message


@pytest.mark.parametrize("width", [40, 72, 100])
def test_the_list_names_every_topic_and_mistake_within_the_width(width):
    text = listing(width)
    assert all(name in text for name in (*TOPICS, *MISTAKE_PAGES))
    longest = max(map(len, (*TOPICS, *MISTAKE_PAGES))) + 2
    assert max(map(len, text.splitlines())) <= max(width, longest)
