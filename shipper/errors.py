"""The error tree, on one screen.

A bad *record* is no exception: it is a value, `records.Rejected`. The classes below are for callers who can do
something. Every message says what was wrong, where (key, file, URL, topic), and what to do about it.
"""

INTERRUPTED = 130
"""The exit code after Ctrl-C, as a shell has it: 128 and the number of SIGINT."""


class ShipperError(Exception):
    """Root of all errors that shipper raises on purpose; `exit_code` is what the process ends with."""

    exit_code = 1


class ConfigError(ShipperError):
    """The configuration cannot be used; trying again without a change cannot help."""

    exit_code = 2


class CannotStartError(ShipperError):
    """Something outside is not as it must be at the start: Kafka or Loki out of reach, a topic missing, no access."""

    exit_code = 3


class KafkaUnavailableError(CannotStartError):
    """Kafka does not answer, refuses us, or lacks the topic."""


class EntryTooLargeError(ShipperError):
    """One entry alone exceeds the bound of a push request."""
