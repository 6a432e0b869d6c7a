"""What is known of a record beside its line: the columns that labels, structured metadata and filters are made from."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from shipper.records import RecordBatch

REQUEST_ID = "request_id"
"""The metadata name whose value is looked for in the Kafka headers too."""

ERROR = "shipper_error"
"""The metadata name that says why a record was shipped unparsed."""

REPLACEMENT_CHARACTER = "\ufffd"
"""What stands for bytes that were no text. Loki refuses a label value that holds one, and the whole request with it; in
structured metadata it makes a space of it. So both are sent with a space."""

_TRACEPARENT = r"^00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$"  # W3C Trace Context, 3.2: version 00


def first_present(paths: Sequence[str]) -> pl.Expr:
    """Return the first of several fields that is present; an empty text counts as absent.

    Of W3C `traceparent` texts the trace ID is taken, and a text of another form as it is.
    """
    return pl.coalesce(_present(path) for path in paths)


def _present(path: str) -> pl.Expr:
    text = pl.col(path)
    if path.rpartition(".")[2] == "traceparent":
        text = pl.coalesce(text.str.extract(_TRACEPARENT), text)
    return pl.when(text != "").then(text)


def fill_request_ids(
    request_ids: pl.Series, paths: Sequence[str], batch: RecordBatch, faults: Mapping[int, object]
) -> pl.Series:
    """Fill the missing request IDs from the records' Kafka headers.

    Args:
        request_ids: String, one per row of the batch; null where the record has none.
        paths: the names to look for, in order, whatever their case; the last header of a name wins, as in Kafka itself.
        batch: where the headers are.
        faults: rows that could not be parsed; they are left alone.
    """
    found: dict[int, dict[str, str]] = {}
    names = {path.lower(): path for path in paths}
    for row in np.flatnonzero(request_ids.is_null().to_numpy()).tolist():
        headers = batch.headers(row)
        if headers and row not in faults:
            found[row] = {
                names[name.lower()]: value.decode("utf-8", "replace")
                for name, value in headers
                if value is not None and name.lower() in names
            }
    if not found:
        return request_ids
    rows = list(found)
    columns = {path: pl.Series([found[row].get(path) for row in rows], dtype=pl.String) for path in paths}
    from_headers = pl.DataFrame(columns).select(first_present(paths)).to_series()
    return request_ids.scatter(rows, from_headers)
