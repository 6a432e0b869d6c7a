"""The contract: every case of clients/vectors, byte for byte."""

from datetime import datetime
from typing import Any

import pytest

from servicelog.record import RecordWriter
from vectors import CASES, record, stack_of, value


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_library_writes_what_the_contract_says(case: dict[str, Any]) -> None:
    call = value(case["call"])
    writer = RecordWriter(case["service"], **case.get("config", {}))
    written = writer.write(
        int(datetime.fromisoformat(case["now"]).timestamp() * 1_000_000) // 1_000,
        call["level"],
        call["message"],
        {**value(case.get("bound", {})), **call.get("fields", {})},
        error=call.get("error"),
        stack_of=stack_of,
    )
    assert written.decode() == record(case).decode()
