"""Texts that an instructor's students, or a data set, may well hold: none of them may be markup."""

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
