"""The stages, behind the interfaces of those in Python."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from shipper.native import LIBRARY
from shipper.records import Int64s, Rejected
from shipper.transform import timestamp
from shipper.transform.decode import Decoded, Decoder


class NativeDecoder(Decoder):
    """Decodes the same to the same."""

    def __init__(self, texts: Sequence[str], times: Sequence[str], formats: Sequence[timestamp.Format]) -> None:
        """Build the scanner, and the decoder of what it leaves; `Decoder` says what the arguments are."""
        super().__init__(texts, times, formats)
        self._names = list(texts)
        self._scan = LIBRARY.Scanner(self._names, list(times), "rfc3339" in formats, "epoch" in formats).scan

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        """Decode the values of a batch, a list; never raises for what a value holds."""
        frame, left, odd_times = self._scan(values)
        *texts, ns, digits, line_bytes = pl.DataFrame(frame).get_columns()
        decoded = Decoded(
            texts=pl.DataFrame([text.alias(name) for text, name in zip(texts, self._names, strict=True)]),
            ns=ns.to_numpy(writable=True),
            digits=digits.to_numpy(writable=True),
            lines=values,  # type: ignore[arg-type]  # where one is None, there are rows left
            line_bytes=line_bytes.to_numpy(writable=True),
            faults={},
            empty=(),
        )
        if odd_times:
            # A number's text is read as the number is, so that its type need not be known.
            rows, times = map(list, zip(*odd_times, strict=True))
            decoded.ns[rows], decoded.digits[rows] = timestamp.parse(times, self._formats)
        return self._completed(decoded, left) if left else decoded

    def _completed(self, decoded: Decoded, left: Sequence[int]) -> Decoded:
        """Decode the rows that are left in Python, and put them where they belong."""
        rest = super().decode([decoded.lines[row] for row in left])
        decoded.ns[left], decoded.digits[left] = rest.ns, rest.digits
        source = np.arange(len(decoded.lines))
        source[left] = np.arange(len(source), len(source) + len(left))
        texts = [
            text if more.null_count() == len(left) else pl.concat((text, more)).gather(source)
            for text, more in zip(decoded.texts, rest.texts, strict=True)
        ]
        return replace(
            decoded,
            texts=pl.DataFrame(texts),
            lines=[line or b"" for line in decoded.lines] if rest.empty else decoded.lines,
            faults={left[row]: Rejected(left[row], fault.reason, fault.detail) for row, fault in rest.faults.items()},
            empty=tuple(left[row] for row in rest.empty),
        )


def join_entries(
    lines: Sequence[bytes],
    _line_bytes: Int64s,
    timestamp_ns: Int64s,
    rows: Int64s,
    metadata: pl.DataFrame,
    order: Int64s,
) -> tuple[bytes, Int64s]:
    """Do what `encode.join_entries` does."""
    entries, positions = LIBRARY.encode(lines, timestamp_ns, rows, metadata.rechunk(), order)
    return entries, np.frombuffer(positions, np.int64)
