"""Settings of the log API that say who may come in, and where it keeps what it knows."""

import re
from ipaddress import ip_network
from pathlib import Path

from shipper.config.problems import Problems, show
from shipper.config.servers import topic_name
from shipper.settings import ApiOidc, Settings

_HTTP = re.compile(r"https?://[^\s/@?#]+(?:/[^\s@?#]*)?")


def check(settings: Settings, problems: Problems) -> None:
    """Note what is wrong with [api.topics], [api.oidc], and TLS and proxies in [api]; their types are right."""
    api = settings.api
    _topics(settings, problems)
    if bool(api.tls_cert_file) != bool(api.tls_key_file):
        given, missing = ("cert", "key") if api.tls_cert_file else ("key", "cert")
        problems.add(f"api.tls_{given}_file", f"is one half; give api.tls_{missing}_file too")
    for name in ("tls_cert_file", "tls_key_file"):
        if (file := getattr(api, name)) and not Path(file).exists():
            problems.add(f"api.{name}", f"there is no file {show(file)}")
    for proxy in api.trusted_proxies:
        if not _is_network(proxy):
            problems.add(
                "api.trusted_proxies", f'wants an address or a network, such as "10.1.0.0/16", not {show(proxy)}'
            )
    if api.oidc.issuer:
        _oidc(api.oidc, problems)


def _topics(settings: Settings, problems: Problems) -> None:
    tables = settings.api.topics
    topics = {f"api.topics.{name}": getattr(tables, name) for name in tables.__struct_fields__}
    taken = [*settings.kafka.topics, settings.dead_letter.topic, *topics.values()]
    for key, topic in topics.items():
        topic_name(key, topic, problems)
        if taken.count(topic) > 1:
            problems.add(key, f"names {show(topic)}, which is another topic here; give it a topic of its own")


def _oidc(oidc: ApiOidc, problems: Problems) -> None:
    for name in ("audience", "jwks_url", "algorithms", "name_claim", "role_claim", "roles"):
        if not getattr(oidc, name):
            problems.add(f"api.oidc.{name}", "is missing; it must be given where there is an issuer")
    if oidc.jwks_url and not _HTTP.fullmatch(oidc.jwks_url):
        problems.add("api.oidc.jwks_url", f'wants the form "https://host/path", not {show(oidc.jwks_url)}')


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True
