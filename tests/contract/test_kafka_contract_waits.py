"""How long a batch waits for more records: `kafka.batch_wait_s`, against both brokers."""

from concurrent.futures import ThreadPoolExecutor

from kafka_member import WAIT_S, Broker, Join, lines, produce
from shipper.devstack.kafka import make_topic

_LONG_S = 3 * WAIT_S  # nobody waits for it: a test that did would have failed before


def test_a_batch_waits_for_more_until_it_is_full(broker: Broker, join: Join) -> None:
    topic = make_topic(broker.bootstrap)
    member = join(topic)
    with ThreadPoolExecutor(1) as pool:
        polled = pool.submit(member.source.poll, 1_000, _LONG_S)
        for first, count in ((0, 2), (2, 2), (4, 1_000)):
            assert not polled.done(), "two or four records are no full batch"
            produce(broker.bootstrap, topic, lines(count, first))
        (batch,) = polled.result(WAIT_S)
    came = [record.value() for record in batch.messages]
    assert 900 < len(came) <= 1_000, "that a partition's end was reached counts as well"
    assert came == lines(len(came))


def test_a_batch_that_does_not_fill_comes_when_its_time_is_over(broker: Broker, join: Join) -> None:
    topic = make_topic(broker.bootstrap)
    member = join(topic)
    produce(broker.bootstrap, topic, lines(2))
    with ThreadPoolExecutor(1) as pool:
        batches = pool.submit(lambda: next(filter(None, (member.source.poll(6, 0.5) for _ in range(100)))))
        assert [record.value() for batch in batches.result(WAIT_S) for record in batch.messages] == lines(2)
