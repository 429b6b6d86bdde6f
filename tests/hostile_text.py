"""Texts that somebody may put into metadata, notes and names to harm who reads them.

Each is a valid value: it is kept as it is, and every place that shows it must make it harmless.
"""

from __future__ import annotations

HOSTILE_TEXTS = {
    "script": "<script>alert(1)</script>",
    "attribute": "\" onmouseover='alert(1)' x=\"",
    "picture": "<img src=x onerror=alert(1)>",
    "closing": "</title></style></script><svg/onload=alert(1)>",
    "template": "{{ 7 * 7 }} ${7*7} {% raw %} #{7*7}",
    "entity": "&lt;b&gt; &amp;amp; &#0; &nbsp",
    "url": "javascript:alert(1)//data:text/html,<b>",
    "colour": "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\",
    "clear": "\x1b[2J\x1b[H\x1bc\x9b2J",
    "control": "".join(map(chr, (*range(1, 32), 127, *range(128, 160)))),
    "carriage": "good\rbad\b\b\bworse\x0b\x0c",
    "bidi": "user\u202e\u2066 gnp.exe\u2069\u2066 \u200f\u061c",
    "invisible": "a\u200b\u200d\ufeff\u2060\u00adb\U000e0041",
    "separators": "one\u2028two\u2029three\u0085four\nfive\r\nsix",
    "combining": "Z" + "\u0335\u0317\u0489" * 200,
    "wide": "\U0001f415\u200d\U0001f9ba \ufdfd \U0001d573",
    "noncharacters": "\ufffe\uffff\ufdd0\U0010ffff\ue000",
    "quotes": "' OR 1=1; -- \" \\ ` $(id) %s %n {0} ../../etc/passwd",
    "csv": '=HYPERLINK("http://x","y")',
    "spaces": "  \t leading and trailing \t  ",
    "long": "x" * 100_000,
    "lines": "\n" * 3000,
    "nested": "[" * 5000,
}

INVALID_TEXTS = {
    "nul": "a\0b",
    "high surrogate": "\ud800",
    "low surrogate": "a\udfffb",
    "too long": "x" * 200_000,
}
"""Texts that must be refused, with a typed error."""
