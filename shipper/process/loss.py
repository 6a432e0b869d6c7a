"""Watches for data that will be lost: keeps Kafka's retention up to date, has the forecast made, and says it aloud.

It ships nothing and stops nothing. The supervisor calls `turn` in its loop, and nobody waits here.
"""

from collections.abc import Mapping

from shipper.errors import ShipperError
from shipper.logs import Level, log
from shipper.process.forecast import Bound, Forecast, Loss, Retention
from shipper.process.spawn import ANSWER_TIMEOUT_S, Question
from shipper.process.status import Look
from shipper.settings import Settings

_ASK_FIRST_S = 5.0  # a job that is over before needs no forecast, and a start has enough to do
_ASK_EVERY_S = 600.0
_LOOK_EVERY_S = 5.0
_SAY_EVERY_S = 300.0
_WARN_S, _WARN_SHARE = 86_400.0, 1 / 2
_ERROR_S, _ERROR_SHARE = 3_600.0, 1 / 4
"""When to warn, and when to cry: so long before, or that share of the bound, where the bound is short."""
_LEVELS: tuple[Level, ...] = ("info", "warn", "error")
_WAYS_OUT = {
    Bound.RETENTION_MS: "Kafka keeps its records for {age} (retention.ms)",
    Bound.RETENTION_BYTES: "Kafka keeps {size} bytes of it (retention.bytes)",
    Bound.ENTRY_AGE: "Loki takes entries of up to {entry_age} (loki.limits.entry_age_max_s)",
}


class LossWatch:
    """Says which partitions will lose data, and when.

    Args:
        retention: returns how long Kafka keeps records, as `module:function`; see `retention.ask`.

    Attributes:
        losses: by topic and partition; replaced, never changed, so any thread may read it.
    """

    def __init__(self, retention: str) -> None:
        self.losses: Mapping[tuple[str, int], Loss] = {}
        self._target = retention
        self._settings = Settings()
        self._retentions: dict[str, Retention] = {}
        self._forecast = Forecast()
        self._question: Question | None = None
        self._asked_at_s = self._ask_at_s = self._look_at_s = self._say_at_s = 0.0
        self._said = 0
        self._refused = False

    def adopt(self, settings: Settings, now_ns: int) -> None:
        """Take settings into use: Kafka is asked anew."""
        self.cancel()
        self._settings, self._ask_at_s = settings, now_ns / 1e9 + _ASK_FIRST_S

    def turn(self, look: Look) -> None:
        """Do what is due; to be called about once a second, with the present look."""
        now_s = look.now_ns / 1e9
        self._ask(now_s)
        if now_s < self._look_at_s:
            return
        self._look_at_s = now_s + _LOOK_EVERY_S
        consumed, bytes_in = look.total("consumed"), look.total("bytes_in")
        self.losses = self._forecast.losses(
            [(place.topic, place.look) for place in look.partitions()],
            now_s=now_s,
            now_ms=look.now_ms,
            entry_age_max_s=self._settings.loki.limits.entry_age_max_s,
            retentions=self._retentions,
            record_bytes=bytes_in / consumed if consumed else None,
        )
        self._say(look, now_s)

    def cancel(self) -> None:
        """Ask no longer."""
        if self._question:
            self._question.cancel()
            self._question = None

    # --- what Kafka says

    def _ask(self, now_s: float) -> None:
        if self._question and self._question.sentinel.poll():
            question, self._question = self._question, None
            try:
                self._retentions, self._refused = question.answer(), False
            except ShipperError as error:
                self._explain(str(error))
        elif self._question and now_s > self._asked_at_s + ANSWER_TIMEOUT_S:
            self.cancel()
            self._explain(f"{self._target} did not answer in {ANSWER_TIMEOUT_S:.0f} s")
        if not self._question and now_s >= self._ask_at_s:
            self._asked_at_s, self._ask_at_s = now_s, now_s + _ASK_EVERY_S
            try:
                self._question = Question(self._target, self._settings)
            except OSError as error:  # no room for one more process
                self._explain(str(error))

    def _explain(self, text: str) -> None:
        """Say once why it is not known; what Kafka said before holds as long as it says nothing else."""
        if not self._refused:
            known = "what it said before holds" if self._retentions else "only Loki's bound counts"
            log("warn", f"how long Kafka keeps records is not known, for the time to data loss {known}: {text}")
        self._refused = True

    # --- what the log says

    def _say(self, look: Look, now_s: float) -> None:
        """Say the worst at once when it gets worse, and again and again as long as it lasts."""
        worst = min(self.losses.items(), key=lambda item: item[1].in_s, default=None)
        said = self._severity(*worst) if worst else 0
        if worst and said and (said > self._said or now_s >= self._say_at_s):
            self._say_at_s = now_s + _SAY_EVERY_S
            (topic, partition), loss = worst
            when = f"will lose data in {duration(loss.in_s)}" if loss.in_s else "is losing data now"
            lags = {(place.topic, place.look.partition): place.look.lag_records for place in look.partitions()}
            log(
                _LEVELS[said],
                f"partition {topic}/{partition} {when}: {self._explained(topic, loss.bound)}",
                time_to_data_loss_s=round(loss.in_s),
                lag_records=lags.get((topic, partition)),
                partitions=sum(self._severity(*item) > 0 for item in self.losses.items()),
                loki=look.peer("loki").state,
            )
        elif self._said and not said:
            log("info", "no partition is about to lose data any more")
        self._said = said

    def _severity(self, place: tuple[str, int], loss: Loss) -> int:
        """Return an index of `_LEVELS`."""
        bound_s = self._settings.loki.limits.entry_age_max_s
        if loss.bound is Bound.RETENTION_MS:
            bound_s = self._retentions.get(place[0], Retention()).age_s or bound_s
        if loss.in_s < min(_ERROR_S, bound_s * _ERROR_SHARE):
            return 2
        return int(loss.in_s < min(_WARN_S, bound_s * _WARN_SHARE))

    def _explained(self, topic: str, bound: Bound) -> str:
        retention = self._retentions.get(topic, Retention())
        return _WAYS_OUT[bound].format(
            age=duration(retention.age_s or 0.0),
            size=retention.size_bytes,
            entry_age=duration(self._settings.loki.limits.entry_age_max_s),
        )


def duration(seconds: float) -> str:
    """Return a time for people: `3 h 12 min`."""
    minutes = round(seconds / 60)
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min" if seconds >= 60 else f"{seconds:.0f} s"  # noqa: PLR2004 - a minute
