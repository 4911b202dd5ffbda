"""How measures see text: what is the same but for its typography, where words end, what introduces an answer."""

import unicodedata

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
WORD = rf"[^\W{_UNSPACED}]"
r"""A character of a word, as `\w`, but for scripts without spaces between words, or between words and particles: Thai,
Lao, Burmese, Khmer, Chinese, Japanese, Korean."""

ANSWER = (
    rf"(?<!{WORD})(?:answer|antwort|réponse|respuesta|resposta|risposta|ответ|答案|答え|回答|正解|정답)\W{{0,4}}"
    r"(?:\b(?:is|ist|est|es|é|è)\b|[:=是为為は은])"
)
"""What stands before an answer, in some languages."""

_TYPOGRAPHY = str.maketrans("‘’‚‛“”„‟′″", "''''\"\"\"\"'\"")
_VARIANTS = ("<wide>", "<narrow>", "<compat>", "<noBreak>", "<initial>", "<medial>", "<final>", "<isolated>")


def plain(text: str) -> str:
    """Return a text without differences that nobody means.

    It is composed, without width variants, ligatures, curly quotes, characters that aren't seen, and runs of white
    space. Powers and fractions stay what they are, unlike in NFKC.
    """
    text = unicodedata.normalize("NFC", text).translate(_TYPOGRAPHY)
    if not text.isascii():
        text = "".join(map(_plain_character, text))
    return " ".join(text.split())


def _plain_character(one: str) -> str:
    if unicodedata.category(one) == "Cf":
        return ""
    return unicodedata.normalize("NFKC", one) if unicodedata.decomposition(one).startswith(_VARIANTS) else one
