"""Why Loki could not be read: the errors of both readers, and which answer is which."""

from http import HTTPStatus

from shipper.errors import ShipperError

ANSWER_CHARS_MAX = 300
_TOO_LONG = "the query time range exceeds the limit"
_TOO_LARGE = "larger than max"  # of a gRPC message, between the parts of Loki


class LokiQueryError(ShipperError):
    """Loki could not be read; the message is one sentence.

    Attributes:
        url: what was asked, without its parameters; empty where no single answer is to blame.
        status: the answer's status; 0 where there was no answer.
        text: the answer's text, or why there was none.
    """

    def __init__(self, url: str, status: int, text: str) -> None:
        self.url, self.status, self.text = url, status, text
        super().__init__(_sentence(url, status, text))


class PassingError(LokiQueryError):
    """An answer, or none, that may be another the next time."""


class SlowError(PassingError):
    """No answer came in time."""


class TooLargeError(LokiQueryError):
    """The answer does not fit into a message between the parts of this Loki."""


class TooLongError(LokiQueryError):
    """The range is longer than this Loki lets one query be."""


def raise_unless_ok(url: str, status: int, text: str) -> None:
    """Raise what an answer that is not 200 means; `text` is its beginning."""
    if _TOO_LARGE in text:
        raise TooLargeError(url, status, text)
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise PassingError(url, status, text)
    if status == HTTPStatus.BAD_REQUEST and _TOO_LONG in text:
        raise TooLongError(url, status, text)
    if status != HTTPStatus.OK:
        raise LokiQueryError(url, status, text)


def _sentence(url: str, status: int, text: str) -> str:
    said = " ".join(text.split())
    if not url:
        return said
    if status == 0:
        return f"Loki at {url} gave no answer that can be used: {said}"
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return f"Loki at {url} refused access ({status}: {said}); check the tenant and the credentials under [loki]"
    if _TOO_LARGE in said:
        return (
            f"Loki at {url} answered {status}: {said}; raise server.grpc_server_max_send_msg_size and "
            "server.grpc_server_max_recv_msg_size there"
        )
    if status in (HTTPStatus.OK, HTTPStatus.NOT_FOUND) or said.startswith("<"):
        return (
            f"{url} answered {status}, and not as Loki does ({said}); check [loki] url, which ends before /loki/api/v1"
        )
    return f"Loki at {url} answered {status}: {said}"
