"""SIGHUP: the config loaded again, and checked in a process of its own, before anybody relies on it."""

from collections.abc import Callable
from multiprocessing.connection import Connection

from shipper.errors import ShipperError
from shipper.logs import log
from shipper.process.spawn import Question
from shipper.settings import Settings


class Reloading:
    """At most one reload at a time; it never blocks, and a bad config changes nothing.

    Args:
        load: loads the configuration; a ShipperError that it raises is logged. None: SIGHUP does nothing.
        survey: checks it, as `module:function`; see `survey.survey`.
    """

    def __init__(self, load: Callable[[], Settings] | None, survey: str) -> None:
        self._load = load
        self._survey = survey
        self._question: Question | None = None
        self._settings = Settings()

    @property
    def sentinels(self) -> list[Connection]:
        """What becomes ready when the survey has answered; empty while there is none."""
        return [self._question.sentinel] if self._question else []

    def begin(self, current: Settings) -> None:
        """Load the config, and have it surveyed; `current` is the one in use."""
        if not self._load or self._question:
            log("warn", "SIGHUP: no reload: " + ("one is under way" if self._load else "no config was loaded"))
            return
        try:
            self._settings = self._load()
            self._question = Question(self._survey, self._settings)
        except (ShipperError, OSError) as error:  # an OSError: the system has no room for one more process
            log("error", f"SIGHUP: the config is kept as it was: {error}")
            return
        if self._settings.status != current.status:
            log("warn", "SIGHUP: status.listen changes at the next start only", listen=self._settings.status.listen)

    def finish(self, adopt: Callable[[Settings, int], None]) -> None:
        """Call `adopt` with the settings and the number of partitions, once the survey has found them good."""
        if not self._question or not self._question.sentinel.poll():
            return
        question, self._question = self._question, None
        try:
            adopt(self._settings, question.answer())
        except ShipperError as error:
            log("error", f"SIGHUP: the config is kept as it was: {error}")
        else:
            log("info", "SIGHUP: the new config is taken into use")

    def cancel(self) -> None:
        """Forget a reload that is under way."""
        if self._question:
            self._question.cancel()
            self._question = None
