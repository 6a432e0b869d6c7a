"""What `shipper check` asks Loki: is it there, is it Loki, does it take our pushes, and how is it configured."""

import re
from collections.abc import Iterator

import requests

from shipper.cli import check_loki_config
from shipper.cli.finding import Finding, Mark
from shipper.loki.connection import session
from shipper.settings import Loki

_EMPTY_PUSH = b"\x00"  # an empty PushRequest as a snappy block: Loki checks path, tenant and form, and stores nothing
_EMPTY_ANSWER = "at least one valid stream"
_TEXT_CHARACTERS_MAX = 200
# The innermost cause, in the text of the exceptions around it.
_SYSTEM_SAID = re.compile(r"\[(?:Errno -?\d+|SSL: \w+)\] ([^'\"()]+)")
_INNERMOST = re.compile(r"'([^']+)'\)*$")


class _UnreachableError(Exception):
    """No answer came; the text is the sentence."""


def findings(loki: Loki) -> Iterator[Finding]:
    """Yield what is found, as it is found; nothing is stored.

    Raises: ConfigError if a file that the settings name cannot be read.
    """
    http = session(loki)
    try:
        yield _ready(http, loki)
        yield _version(http, loki)
        yield _push(http, loki)
        yield from _config(http, loki)
    except _UnreachableError as error:
        yield Finding(Mark.FAILED, "Loki", str(error))


def _ask(http: requests.Session, loki: Loki, method: str, path: str, body: bytes | None = None) -> requests.Response:
    headers = {"Content-Type": "application/x-protobuf"} if body else {}
    try:
        return http.request(
            method,
            loki.url.rstrip("/") + path,
            data=body,
            headers=headers,
            timeout=loki.timeout_s,
            allow_redirects=False,
        )
    except requests.RequestException as error:
        raise _UnreachableError(explain_failure(error, loki)) from error


def explain_failure(error: requests.RequestException, loki: Loki) -> str:
    """Say in one sentence why no answer came, and the way out."""
    system = _SYSTEM_SAID.search(str(error))
    cause = system or _INNERMOST.search(str(error))
    said = cause[1].strip() if cause else str(error)[:_TEXT_CHARACTERS_MAX]
    match error:
        case requests.exceptions.SSLError():
            return (
                f"TLS with Loki at {loki.url} failed ({said}): check whether it is http or https there, and "
                "loki.ca_file, loki.client_cert_file"
            )
        case requests.exceptions.ProxyError():
            return (
                f"the proxy of the environment does not reach {loki.url} ({said}): correct HTTP_PROXY, or set NO_PROXY"
            )
        case requests.exceptions.Timeout():
            return (
                f"Loki at {loki.url} did not answer within {loki.timeout_s:g} s: look at Loki and the firewalls, or "
                "raise loki.timeout_s"
            )
        case _ if "resolve" in str(error):
            return f"the host of {loki.url} is unknown ({said}): correct loki.url, or the name service"
        case _ if system:
            return f"nothing can be reached at {loki.url} ({said}): start Loki there, or correct loki.url"
    return f"what listens at {loki.url} speaks no HTTP ({said}): correct loki.url; over TLS it begins with https://"


def _ready(http: requests.Session, loki: Loki) -> Finding:
    answer = _ask(http, loki, "GET", "/ready")
    said = _text(answer)
    if answer.ok and not _is_html(answer):
        return Finding(Mark.OK, "Loki", f"ready at {loki.url}")
    if answer.status_code == requests.codes.service_unavailable and not _is_html(answer):
        return Finding(
            Mark.FAILED, "Loki", f"not ready ({said}): it may be starting; wait a minute, then look at its log"
        )
    # A proxy in front of Loki often serves the API alone: the push decides.
    return Finding(Mark.NOTE, "Loki", f"{loki.url}/ready answers {answer.status_code}, so readiness is not known")


def _version(http: requests.Session, loki: Loki) -> Finding:
    answer = _ask(http, loki, "GET", "/loki/api/v1/status/buildinfo")
    try:
        return Finding(Mark.OK, "Loki version", str(answer.json()["version"]))
    except (ValueError, KeyError, TypeError):
        return Finding(Mark.NOTE, "Loki version", f"not told (HTTP {answer.status_code})")


def _push(http: requests.Session, loki: Loki) -> Finding:
    """Push nothing: the refusal of Loki's own for that proves address, login, tenant and form."""
    answer = _ask(http, loki, "POST", "/loki/api/v1/push", _EMPTY_PUSH)
    status, said = answer.status_code, _text(answer)
    where = f"{loki.url}/loki/api/v1/push"
    if status == requests.codes.unprocessable and _EMPTY_ANSWER in said:
        return Finding(Mark.OK, "Loki push", "permitted (an empty push was refused as Loki refuses it)")
    if status == requests.codes.unauthorized and "org id" in said:
        sentence = f"Loki wants a tenant ({said}): set loki.tenant"
    elif status in (requests.codes.unauthorized, requests.codes.forbidden):
        sentence = (
            f"{where} answers {status} ({said}): check loki.username and loki.password_file, or "
            "loki.bearer_token_file, and loki.tenant"
        )
    elif _is_html(answer):
        sentence = f"{where} answers {status} with a web page ({said}): a proxy or another program; correct loki.url"
    elif answer.is_redirect:
        sentence = f"{where} redirects to {answer.headers['Location']}: set loki.url to the address behind it"
    elif status == requests.codes.not_found:
        sentence = f"{where} answers 404 ({said}): no Loki has its API there; correct loki.url, its prefix included"
    elif status == requests.codes.too_many_requests or status >= requests.codes.server_error:
        sentence = f"{where} answers {status} ({said}): Loki is overloaded or broken; look at its log"
    else:
        sentence = f"{where} answers {status} ({said}) to an empty push, as Loki does not: correct loki.url"
    return Finding(Mark.FAILED, "Loki push", sentence)


def _config(http: requests.Session, loki: Loki) -> Iterator[Finding]:
    """Look at Loki's configuration, which is often closed, with good reason."""
    answer = _ask(http, loki, "GET", "/config")
    yield from check_loki_config.findings(loki, answer.text if answer.ok else "")


def _is_html(answer: requests.Response) -> bool:
    return "html" in answer.headers.get("Content-Type", "") or answer.text.lstrip().startswith("<")


def _text(answer: requests.Response) -> str:
    """Return the answer's text in a line; of a web page its title, or what stands in it."""
    text = answer.text
    if _is_html(answer):
        title = re.search(r"<title>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
        text = title[1] if title else re.sub(r"<[^>]*>", " ", text)
    return " ".join(text.split())[:_TEXT_CHARACTERS_MAX] or "no text"
