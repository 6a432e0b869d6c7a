"""Records on disk, for as long as Kafka is away."""

from pathlib import Path

from servicelog.spill import Segment, Spill


def test_records_are_counted_while_the_sender_takes_and_adds_some(tmp_path: Path) -> None:
    spill = Spill(tmp_path, "chat-service", 1_000_000)

    class Busy(Segment):
        """Segments come and go whenever one is looked at."""

        @property
        def records(self) -> int:
            spill.insert([b"{}"])
            return 1

        @records.setter
        def records(self, number: int) -> None:
            pass

    spill._waiting.extend(Busy(tmp_path / f"{number}", number, 1, 0) for number in range(3))
    assert spill.records == 3
