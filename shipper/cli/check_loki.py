"""What `shipper check` asks Loki: is it there, is it Loki, does it take our pushes, and are its limits ours."""

import re
from collections.abc import Iterator

import requests

from shipper.cli.finding import Finding, Mark
from shipper.loki.connection import session
from shipper.settings import Limits, Loki

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
        yield from _limits(http, loki)
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


def _limits(http: requests.Session, loki: Loki) -> Iterator[Finding]:
    """Compare Loki's limits with ours; /config has them, and is often closed, with good reason."""
    answer = _ask(http, loki, "GET", "/config")
    if not answer.ok or "\nlimits_config:" not in answer.text:
        yield Finding(
            Mark.NOTE, "Loki limits", "not readable from here; compare [loki.limits] with its limits_config by hand"
        )
        return
    theirs = dict(re.findall(r"^  (\w+): (\S+)$", answer.text.partition("\nlimits_config:")[2], re.MULTILINE))
    sentences = [*compare_limits(loki.limits, theirs)]
    burst_bytes = float(theirs.get("ingestion_burst_size_mb", "inf")) * 1024**2
    for sentence in sentences:
        yield Finding(Mark.NOTE, "Loki limits", sentence)
    if theirs.get("allow_structured_metadata") == "false":
        yield Finding(
            Mark.FAILED,
            "Loki limits",
            "allow_structured_metadata is false there, so it refuses our entries: set it to true, or empty "
            "[structured_metadata] and set malformed.policy to dead_letter",
        )
    if burst_bytes < loki.request_bytes_max:
        yield Finding(
            Mark.FAILED,
            "Loki limits",
            f"ingestion_burst_size_mb is {theirs['ingestion_burst_size_mb']} there, so requests of "
            f"loki.request_bytes_max = {loki.request_bytes_max} would be refused for ever: lower it, or raise Loki's",
        )
    elif not sentences:
        yield Finding(Mark.OK, "Loki limits", "none is lower than [loki.limits]")


def compare_limits(ours: Limits, theirs: dict[str, str]) -> Iterator[str]:
    """Yield a sentence for each limit that is lower in Loki's `limits_config`; 0 means without limit there."""
    pairs = {
        "max_line_size": ("line_bytes_max", ours.line_bytes_max),
        "max_label_names_per_series": ("label_count_max", ours.label_count_max),
        "max_label_name_length": ("label_name_bytes_max", ours.label_name_bytes_max),
        "max_label_value_length": ("label_value_bytes_max", ours.label_value_bytes_max),
        "max_structured_metadata_entries_count": ("structured_metadata_count_max", ours.structured_metadata_count_max),
        "max_structured_metadata_size": ("structured_metadata_bytes_max", ours.structured_metadata_bytes_max),
        "creation_grace_period": ("entry_ahead_max_s", ours.entry_ahead_max_s),
    }
    if theirs.get("reject_old_samples") != "false":
        pairs["reject_old_samples_max_age"] = ("entry_age_max_s", ours.entry_age_max_s)
    for name, (key, value) in pairs.items():
        limit = parse_limit(theirs.get(name, "0"))
        if 0 < limit < value:
            yield (
                f"{name} is {theirs[name]} there, and loki.limits.{key} is {value:,.10g} here: what lies between costs "
                f"pushes that are refused; set it to {limit:g}"
            )


def parse_limit(text: str) -> float:
    """Return a limit of Loki's as a plain number: `256KB` in bytes, `1h30m` in seconds, `15` as it is; 0 if unknown."""
    if size := re.fullmatch(r"([\d.]+)([KMGT]?)B", text):
        return float(size[1]) * 1024.0 ** "_KMGT".index(size[2] or "_")
    if re.fullmatch(r"(\d+(ms|[smhdwy]))+", text):
        seconds = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_536_000}
        return float(sum(int(part[1]) * seconds[part[2]] for part in re.finditer(r"(\d+)(ms|[smhdwy])", text)))
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else 0.0


def _is_html(answer: requests.Response) -> bool:
    return "html" in answer.headers.get("Content-Type", "") or answer.text.lstrip().startswith("<")


def _text(answer: requests.Response) -> str:
    """Return the answer's text in a line; of a web page its title, or what stands in it."""
    text = answer.text
    if _is_html(answer):
        title = re.search(r"<title>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
        text = title[1] if title else re.sub(r"<[^>]*>", " ", text)
    return " ".join(text.split())[:_TEXT_CHARACTERS_MAX] or "no text"
