"""Numbers in Chinese numerals, as Chinese and Japanese write them."""

import re
import unicodedata

_LINE = re.compile(
    r"(?:.*(?:是|为|為|は|[:=]))?\W*(?P<minus>[负負])?"
    r"(?P<whole>[〇零一二两兩三四五六七八九十百千万萬亿億壹贰貳叁參肆伍陆陸柒捌玖拾佰仟]+)"
    r"(?:[点點](?P<decimals>[〇零一二三四五六七八九]+))?\w{0,2}\W*"
)
_LONGEST_LINE = 80


def chinese_number(text: str) -> float | None:
    """Return the number that the last line is, or that follows its last "is" or colon; None if it is another one.

    Elsewhere nothing counts: the numerals are parts of many other words.
    """
    line = text.rstrip().rpartition("\n")[2]
    found = _LINE.fullmatch(line) if len(line) <= _LONGEST_LINE else None
    if found is None:
        return None
    decimals = "".join(f"{unicodedata.numeric(one):g}" for one in found["decimals"] or "0")
    return (_whole(found["whole"]) + float(f"0.{decimals}")) * (-1 if found["minus"] else 1)


def _whole(numerals: str) -> float:
    values = [1e8 if one in "亿億" else unicodedata.numeric(one) for one in numerals]
    if len(values) > 1 and max(values) < 10:
        return float("".join(f"{one:g}" for one in values))
    total = section = digit = 0.0
    unit = 10.0
    for value in values:
        if value < 10:
            digit, unit = value, unit if value else 10.0
        elif value < 10_000:
            section, digit, unit = section + (digit or 1) * value, 0.0, value
        else:
            group = section + digit
            total, section, digit, unit = total + group * value if group else total * value, 0.0, 0.0, value
    # 一千二 is 1200; 1002 has a zero before its last numeral.
    return total + section + digit * unit / 10
