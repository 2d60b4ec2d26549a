"""How a person names a dask cluster."""

from __future__ import annotations

from urllib.parse import urlsplit

from conformance.errors import UsageError

SCHEME = "dask"


def address_of(executor: str) -> str:
    """The address that dask takes for ``dask://host:port``.

    Raises:
        UsageError: it is something else.
    """
    try:
        parts = urlsplit(executor)
        good = parts.scheme == SCHEME and bool(parts.hostname) and parts.port is not None and not parts.path
    except ValueError:  # a port that is no number
        good = False
    if not good:
        raise UsageError(
            f"'{executor}' is not an executor", hint="write dask://host:port, such as dask://10.0.0.5:8786"
        )
    return f"tcp://{parts.netloc}"
