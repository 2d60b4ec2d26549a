"""From the name of a topic to its page, with all numbers computed."""

from __future__ import annotations

from collections.abc import Iterator

from conformance.explain.chapters import chapter
from conformance.explain.page import Block, Drawing, Page, Yours
from conformance.explain.pages import MISTAKE_PAGES
from conformance.explain.topics import TOPICS
from conformance.explain.trial import Runner, Tried


def make(topic: str, run: Runner | None = None) -> tuple[Page, tuple[Yours, ...]]:
    """The page of a topic or mistake, and what somebody's own class gives in its experiments.

    topic: a name that ``topics.resolve`` returned.
    """
    if topic in TOPICS:
        made, title = chapter(topic), TOPICS[topic]
    else:
        from conformance.explain.mistaken import mistake_chapter

        made, title = mistake_chapter(topic), _title(topic)
    blocks: list[Block] = []
    tried: list[Tried] = []
    for part in made.parts:
        if isinstance(part, str | Drawing):
            blocks.append(part)
        else:
            tried.append(part)
            blocks.append(part.contrast())
    yours = tuple(_through(tried, run)) if run is not None else ()
    return Page(topic, title, tuple(blocks), made.see), yours


def _through(tried: list[Tried], run: Runner) -> Iterator[Yours]:
    for each in tried:
        yield each.yours(run)


def _title(mistake: str) -> str:
    page = MISTAKE_PAGES.get(mistake)
    return f"a mistake: {page.wrong}" if page else "a mistake"
