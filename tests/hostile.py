"""Texts that an instructor's students, or a data set, may well hold: none of them may be markup."""

from html.parser import HTMLParser

HOSTILE = [
    "<script>alert(1)</script>",
    "</bdi></li></ol><h1>mine</h1>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "<!-- the rest is gone",
    "--> back again",
    "<![CDATA[ x ]]>",
    "<?php echo 1 ?>",
    "</title><script>alert(1)</script>",
    "</style><style>*{display:none}</style>",
    "&lt;b&gt; &amp; &#60;script&#62; &copy",
    "&#0; &#x110000; &nbsp",
    "<svg/onload=alert(1)>",
    "<a href='javascript:alert(1)'>click</a>",
    "<iframe srcdoc='&lt;script&gt;'>",
    "<base href=//evil.example/><meta http-equiv=refresh content=0>",
    "`${alert(1)}` {{7*7}} <%= 7*7 %>",
    "פיל תינוק משחק במים",
    "فيل صغير يلعب في الماء <b>",
    "\u202eevil\u2066 never closed",
    "🐘👨‍👩‍👧 emoji & <3",
    "javascript:alert(1)",
    "<math><mi//xlink:href='data:x,<script>alert(1)</script>'>",
    "</textarea></select></table><form action=//evil.example><input name=q autofocus>",
    "<details open ontoggle=alert(1)>",
    "zero\u200bwidth \u2060joiners\ufeff and n\u0303 on n",
    "two  spaces,\ttab,\nline",
    "< b > a < c && d > e",
    "\\u003cscript\\u003e \\x3c",
    "＜script＞ ｆｕｌｌ ｗｉｄｔｈ",
    "word " * 10_000,
    "x" * 5_000,
]

# What must not even reach a page as it is (see `errors.visible`).
CONTROL = "nul\0 bell\x07 escape\x1b[31m \x9bhalf \ud83d"

VOID = {"img", "meta", "input", "br"}


class Markup(HTMLParser):
    """What HTML consists of: its elements with the names of their attributes, and its texts."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.structure: list[tuple[str, tuple[str, ...]]] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []  # of each bdi: other people's texts
        self.said = ""  # all that can be read
        self.title = self.style = ""
        self.inside: list[str] = []
        self.source = source
        self.feed(source)
        self.close()
        assert not self.inside, "every element is closed"

    def handle_starttag(self, tag, attrs):
        self.structure.append((tag, tuple(name for name, _ in attrs)))
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.inside.append(tag)
        if tag == "bdi":
            self.texts.append("")

    def handle_endtag(self, tag):
        assert self.inside.pop() == tag

    def handle_data(self, data):
        where = self.inside[-1] if self.inside else ""
        if where == "title":
            self.title += data
        elif where == "style":
            self.style += data
        else:
            self.said += data
        if where == "bdi":
            self.texts[-1] += data

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")

    def handle_pi(self, data):
        raise AssertionError(f"a processing instruction: {data}")

    def unknown_decl(self, data):
        raise AssertionError(f"a declaration: {data}")

    def of(self, tag: str, name: str = "") -> list[dict[str, str | None]]:
        """The attributes of the elements of that kind, perhaps only those of a class."""
        found = [attrs for kind, attrs in self.elements if kind == tag]
        return [a for a in found if not name or name in (a.get("class") or "").split()]
