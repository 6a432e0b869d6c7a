"""The page at /docs: an OpenAPI document as HTML, without a script and without anything from elsewhere. Pure."""

import json
from collections.abc import Iterator
from html import escape
from typing import Any

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1, h2 { line-height: 1.2 } h2 { margin-top: 2.5rem; border-bottom: 1px solid #888 }
details { border: 1px solid #888; border-radius: 6px; margin: .6rem 0; padding: .5rem .8rem } summary { cursor: pointer
} code, pre { font: 13px/1.45 ui-monospace, monospace } pre { background: #8882; padding: .6rem; overflow-x: auto }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; vertical-align: top; padding: .25rem .6rem
.25rem 0 } .method { display: inline-block; min-width: 4rem; font-weight: 600 } :root { color-scheme: light dark }
"""


def page(document: dict[str, Any]) -> str:
    """Return the page of an OpenAPI document."""
    info = document["info"]
    by_tag: dict[str, list[str]] = {}
    for path, calls in document["paths"].items():
        for method, call in calls.items():
            tag = (call.get("tags") or ["Other"])[0]
            by_tag.setdefault(tag, []).append("".join(_call(document, path, method, call)))
    body = "".join(f"<h2>{escape(tag)}</h2>{''.join(calls)}" for tag, calls in by_tag.items())
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(info["title"])}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>"
        f"<p>{escape(info.get('description', ''))} "
        f"The document itself: <a href='openapi.json'>openapi.json</a>.</p>{body}"
    )


def _call(document: dict[str, Any], path: str, method: str, call: dict[str, Any]) -> Iterator[str]:
    yield f'<details><summary><span class="method">{method.upper()}</span> <code>{escape(path)}</code> '
    yield f"{escape(call.get('summary', ''))}</summary><p>{escape(call.get('description', ''))}</p>"
    if parameters := call.get("parameters"):
        yield "<table><tr><th>parameter</th><th>type</th><th>meaning</th></tr>"
        yield "".join(_parameter(one) for one in parameters)
        yield "</table>"
    for name, kinds in (
        ("body", [call.get("requestBody", {})]),
        ("answer", [call.get("responses", {}).get("200", {})]),
    ):
        for kind in kinds:
            for media_type, content in kind.get("content", {}).items():
                yield f"<p>{name}, <code>{escape(media_type)}</code></p>"
                if (example := _example(document, content)) is not None:
                    yield f"<pre>{escape(example if isinstance(example, str) else json.dumps(example, indent=2))}</pre>"
    yield "</details>"


def _parameter(one: dict[str, Any]) -> str:
    schema = one.get("schema", {})
    needed = " (required)" if one.get("required") else ""
    text = escape(one.get("description") or schema.get("description", ""))
    return (
        f"<tr><td><code>{escape(one['name'])}</code>{needed}</td><td>{escape(_type(schema))}</td><td>{text}</td></tr>"
    )


def _type(schema: dict[str, Any]) -> str:
    if values := schema.get("enum"):
        return ", ".join(map(str, values))
    if several := schema.get("anyOf"):
        return " or ".join(_type(one) for one in several if one.get("type") != "null")
    if schema.get("type") == "array":
        return f"{_type(schema.get('items', {}))}, several times"
    return str(schema.get("type", ""))


def _example(document: dict[str, Any], node: dict[str, Any]) -> Any:  # noqa: ANN401, PLR0911 - any JSON; a case each
    """Return the example of a media type or a schema, put together from those of its parts; None: there is none."""
    if "example" in node:
        return node["example"]
    if examples := node.get("examples"):
        return examples[0] if isinstance(examples, list) else next(iter(examples.values())).get("value")
    if "schema" in node:
        return _example(document, node["schema"])
    if ref := node.get("$ref"):
        return _example(document, document["components"]["schemas"][ref.rpartition("/")[2]])
    if several := node.get("anyOf"):
        return next((found for one in several if (found := _example(document, one)) is not None), None)
    if properties := node.get("properties"):
        return {name: _example(document, one) for name, one in properties.items()}
    if items := node.get("items"):
        return [_example(document, items)]
    return node.get("default")
