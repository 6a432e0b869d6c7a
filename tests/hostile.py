"""Records that have broken log shippers, by name, with what must become of each under the default configuration.

Dates lie near `NOW_NS`, so that Loki's age limits leave the records alone where they are not what is tested.
"""

from typing import Final, NamedTuple

from shipper.records import Reason

NOW_NS: Final = 1_760_000_000_000_000_000
"""2025-10-09T08:53:20Z, the moment at which tests let records be prepared."""
NOW_MS: Final = NOW_NS // 1_000_000

SHIPPED: Final = "shipped"
EMPTY: Final = "empty"


class Hostile(NamedTuple):
    """A value, and what must become of it: a reason (it is shipped as malformed), `shipped`, or `empty`."""

    value: bytes | None
    becomes: Reason | str


def _nested(levels: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    return opening * levels + closing * levels


def _with(member: bytes) -> bytes:
    return b'{"timestamp":"2025-10-09T08:53:19.500Z","service":"auth-service","level":"info",' + member + b"}"


HOSTILE: Final[dict[str, Hostile]] = {
    # Nothing, or next to nothing.
    "tombstone": Hostile(None, EMPTY),
    "empty": Hostile(b"", EMPTY),
    "whitespace": Hostile(b" \t\r\n ", Reason.NOT_JSON),
    "nul alone": Hostile(b"\x00", Reason.NOT_JSON),
    "empty object": Hostile(b"{}", SHIPPED),
    # JSON, but no object.
    "array": Hostile(b'[{"service":"auth-service"}]', Reason.NOT_OBJECT),
    "string": Hostile(b'"{}"', Reason.NOT_OBJECT),
    "number": Hostile(b"42", Reason.NOT_OBJECT),
    "null": Hostile(b"null", Reason.NOT_OBJECT),
    "true": Hostile(b" true ", Reason.NOT_OBJECT),
    "broken array": Hostile(b"[1,", Reason.NOT_JSON),
    "array then more": Hostile(b"[] []", Reason.NOT_JSON),
    # No JSON.
    "plain text": Hostile(b"2025-10-09 08:53:20 ERROR auth-service cannot connect", Reason.NOT_JSON),
    "cut in the middle": Hostile(b'{"service":"auth-service","message":"Login att', Reason.NOT_JSON),
    "cut in an escape": Hostile(b'{"service":"auth\\', Reason.NOT_JSON),
    "single quotes": Hostile(b"{'service':'auth-service'}", Reason.NOT_JSON),
    "trailing comma": Hostile(_with(b'"a":1,'), Reason.NOT_JSON),
    "trailing comma in an array": Hostile(_with(b'"a":[1,]'), Reason.NOT_JSON),
    "comment": Hostile(_with(b'"a":1') + b"//", Reason.NOT_JSON),
    "NaN in a skipped field": Hostile(_with(b'"a":NaN'), Reason.NOT_JSON),
    "NaN in a named field": Hostile(b'{"level":NaN}', Reason.NOT_JSON),
    "Infinity": Hostile(_with(b'"a":-Infinity'), Reason.NOT_JSON),
    "leading zero": Hostile(_with(b'"a":007'), Reason.NOT_JSON),
    "number without fraction digits": Hostile(_with(b'"a":7.'), Reason.NOT_JSON),
    "unquoted key": Hostile(b"{service:1}", Reason.NOT_JSON),
    "number as a key": Hostile(b"{1:2}", Reason.NOT_JSON),
    "literal misspelt": Hostile(_with(b'"a":trux'), Reason.NOT_JSON),
    "byte-order mark": Hostile(b"\xef\xbb\xbf{}", Reason.NOT_JSON),
    "no-break space before": Hostile(b"\xc2\xa0{}", Reason.NOT_JSON),
    "NUL after": Hostile(b"{}\x00", Reason.NOT_JSON),
    "NUL in a string": Hostile(_with(b'"a":"\x00"'), Reason.NOT_JSON),
    "newline in a skipped string": Hostile(_with(b'"a":"one\ntwo"'), Reason.NOT_JSON),
    "newline in a named string": Hostile(b'{"service":"one\ntwo"}', Reason.NOT_JSON),
    "tab in a string": Hostile(_with(b'"a":"one\ttwo"'), Reason.NOT_JSON),
    "trailing garbage": Hostile(b"{}x", Reason.NOT_JSON),
    "two documents": Hostile(b'{"level":"info"}{"level":"warn"}', Reason.NOT_JSON),
    "two documents on two lines": Hostile(b'{"level":"info"}\n{"level":"warn"}', Reason.NOT_JSON),
    "lone high surrogate, skipped": Hostile(_with(b'"a":"\\ud800"'), Reason.NOT_JSON),
    "lone high surrogate, named": Hostile(b'{"service":"x\\ud800y"}', Reason.NOT_JSON),
    "lone low surrogate": Hostile(b'{"service":"\\udc00"}', Reason.NOT_JSON),
    "lone surrogate in a key": Hostile(_with(b'"\\ud800":1'), Reason.NOT_JSON),
    "surrogate with a wrong partner": Hostile(_with(b'"a":"\\ud800\\u0041"'), Reason.NOT_JSON),
    "unknown escape": Hostile(_with(b'"a":"\\x41"'), Reason.NOT_JSON),
    # No UTF-8. It is looked for before JSON is.
    "invalid UTF-8, skipped": Hostile(_with(b'"a":"\xff"'), Reason.INVALID_UTF8),
    "invalid UTF-8, named": Hostile(b'{"service":"\xc3("}', Reason.INVALID_UTF8),
    "invalid UTF-8 in a key": Hostile(_with(b'"\xff":1'), Reason.INVALID_UTF8),
    "invalid UTF-8 outside of strings": Hostile(b"\xfe\xff{}", Reason.INVALID_UTF8),
    "overlong UTF-8": Hostile(_with(b'"a":"\xc0\xaf"'), Reason.INVALID_UTF8),
    "UTF-8 surrogate": Hostile(_with(b'"a":"\xed\xa0\x80"'), Reason.INVALID_UTF8),
    "UTF-8 cut in a character": Hostile('{"service":"日本'.encode()[:-1], Reason.INVALID_UTF8),
    "UTF-16": Hostile('{"service":"auth-service"}'.encode("utf-16"), Reason.INVALID_UTF8),
    "Latin-1": Hostile('{"message":"Größe"}'.encode("latin-1"), Reason.INVALID_UTF8),
    "random bytes": Hostile(bytes(range(256)), Reason.INVALID_UTF8),
    "gzip": Hostile(bytes.fromhex("1f8b08000000000000ffabae050043919bbf"), Reason.INVALID_UTF8),
    # Nesting.
    "200 levels, skipped": Hostile(_with(b'"a":' + _nested(200)), SHIPPED),
    "200 levels, named": Hostile(b'{"userId":' + _nested(200) + b"}", SHIPPED),
    "200 levels in every named field": Hostile(
        b'{"service":%s,"level":%s,"requestId":%s,"userId":%s,"timestamp":%s}' % ((_nested(200),) * 5), SHIPPED
    ),
    "200 levels of objects": Hostile(_with(b'"a":' + _nested(200, b'{"a":', b"}").replace(b":}", b":1}")), SHIPPED),
    "5000 levels": Hostile(_with(b'"a":' + _nested(5000)), Reason.TOO_DEEP),
    "5000 levels, named": Hostile(b'{"userId":' + _nested(5000) + b"}", Reason.TOO_DEEP),
    "100000 levels, never closed": Hostile(b"[" * 100_000, Reason.TOO_DEEP),
    # Numbers.
    "1e400 in a skipped field": Hostile(_with(b'"a":1e400'), SHIPPED),
    "1e400 deep in a skipped field": Hostile(_with(b'"a":[{"b":-1e400}]'), SHIPPED),
    "400 digits in a skipped field": Hostile(_with(b'"a":' + b"9" * 400), SHIPPED),
    "1e400 skipped, and a lone surrogate": Hostile(_with(b'"a":1e400,"b":"\\ud800"'), Reason.NOT_JSON),
    "1e400 in a named field": Hostile(b'{"userId":1e400}', Reason.NOT_JSON),
    "1e400 deep in a named field": Hostile(b'{"userId":{"a":[1e400]}}', Reason.NOT_JSON),
    "1e400 as the timestamp": Hostile(b'{"timestamp":1e400}', Reason.NOT_JSON),
    "20 digits": Hostile(b'{"userId":18446744073709551616,"level":-9223372036854775809}', SHIPPED),
    "400 digits in a named field": Hostile(b'{"userId":' + b"9" * 400 + b"}", SHIPPED),
    "5000 digits in a named field": Hostile(b'{"userId":' + b"9" * 5000 + b"}", Reason.NOT_JSON),
    "tiny number": Hostile(b'{"userId":1e-400}', SHIPPED),
    # Objects that are allowed, and tempting to get wrong.
    "duplicate keys": Hostile(b'{"service":"first","level":"info","service":"last"}', SHIPPED),
    "duplicate key, then null": Hostile(b'{"service":"first","service":null}', SHIPPED),
    "duplicate key of another type": Hostile(b'{"service":{"a":1},"service":7}', SHIPPED),
    "escaped key": Hostile(b'{"\\u0073ervice":"auth-service"}', SHIPPED),
    "key in another case": Hostile(b'{"Service":"auth-service","LEVEL":"info"}', SHIPPED),
    "empty key": Hostile(b'{"":"x","service":""}', SHIPPED),
    "white space around": Hostile(b'\r\n\t {"service":"auth-service"}\n', SHIPPED),
    "escaped NUL": Hostile(b'{"service":"a\\u0000b","userId":"\\u0000"}', SHIPPED),
    "escaped control characters": Hostile(b'{"service":"\\n\\t\\r\\u001b\\u007f\\u0085","userId":"\\n"}', SHIPPED),
    "quotes and backslashes": Hostile(b'{"service":"a\\"b\\\\c\\\\","userId":"\\""}', SHIPPED),
    "label syntax in a label": Hostile(b'{"service":"a\\", level=\\"fatal\\"} {"}', SHIPPED),
    "escaped surrogate pair": Hostile(b'{"service":"\\ud83d\\ude00"}', SHIPPED),
    "characters of all lengths": Hostile('{"service":"aß水😀","userId":"Ωüé"}'.encode(), SHIPPED),
    "right-to-left and joiners": Hostile('{"service":"\u202eecivres\u200d\ufeff\u2028"}'.encode(), SHIPPED),
    "replacement character": Hostile(
        '{"service":"\\ufffda\ufffd","level":"\ufffd","userId":"\ufffd"}'.encode(), SHIPPED
    ),
    "noncharacter": Hostile(b'{"service":"\\uffff\\ufffe"}', SHIPPED),
    "every field null": Hostile(b'{"timestamp":null,"service":null,"level":null,"userId":null}', SHIPPED),
    "every field an object": Hostile(b'{"timestamp":{},"service":{},"level":{"a":[]},"userId":{"b":null}}', SHIPPED),
    "every field an array": Hostile(b'{"timestamp":[1],"service":[],"level":["info"],"userId":[1, 2.50]}', SHIPPED),
    "every field a boolean": Hostile(b'{"timestamp":true,"service":false,"level":true,"userId":false}', SHIPPED),
    "every field a number": Hostile(b'{"timestamp":1760000000,"service":1.0,"level":30,"userId":-0.0}', SHIPPED),
    "every field a float": Hostile(b'{"timestamp":1760000000.5,"service":1e22,"level":30.5,"userId":1E-7}', SHIPPED),
    "every field empty": Hostile(b'{"timestamp":"","service":"","level":"","userId":"","requestId":""}', SHIPPED),
    "huge label, cut in a character": Hostile(b'{"service":"' + b"x" + "水".encode() * 700 + b'"}', SHIPPED),
    "huge label, cut in a wide character": Hostile(b'{"service":"xyz' + "😀".encode() * 600 + b'"}', SHIPPED),
    "huge level": Hostile(b'{"level":"' + "Ä".encode() * 1025 + b'"}', SHIPPED),
    "a label of one byte more": Hostile(b'{"service":"' + b"y" * 2049 + b'"}', SHIPPED),
    "path through a string": Hostile(b'{"user":"x","service":"auth-service"}', SHIPPED),
    "field with a dot in its name": Hostile(b'{"user.id":"x","service":"auth-service"}', SHIPPED),
    "raw newlines between members": Hostile(b'{\n"service":\n"auth-service"\n}\n', SHIPPED),
    "a line of 200 KB": Hostile(_with(b'"message":"' + b"z" * 200_000 + b'"'), SHIPPED),
}
