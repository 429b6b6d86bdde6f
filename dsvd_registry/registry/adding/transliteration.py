"""Text in ASCII: accents dropped, Cyrillic and Greek spelled in Latin letters, kana and Hangul by sound.

A character without a spelling here becomes its code point, such as `u732b`, so that different names
stay different. The same text gives the same letters everywhere.
"""

from __future__ import annotations

import re
import unicodedata

_LATIN = {
    "ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O",
    "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th",
    "ħ": "h", "Ħ": "H", "ı": "i", "ŋ": "ng", "Ŋ": "Ng", "ĸ": "k", "ŧ": "t", "Ŧ": "T",
    "ə": "e", "Ə": "E", "×": "x", "–": "-", "—": "-", "−": "-", "’": "", "'": "", "‘": "",
}  # fmt: skip
_CYRILLIC = {
    "а": "a", "б": "b", "в": "v", "г": "g", "д": "d", "е": "e", "ё": "yo", "ж": "zh", "з": "z",
    "и": "i", "й": "y", "к": "k", "л": "l", "м": "m", "н": "n", "о": "o", "п": "p", "р": "r",
    "с": "s", "т": "t", "у": "u", "ф": "f", "х": "kh", "ц": "ts", "ч": "ch", "ш": "sh", "щ": "shch",
    "ъ": "", "ы": "y", "ь": "", "э": "e", "ю": "yu", "я": "ya", "і": "i", "ї": "yi", "є": "ye",
    "ґ": "g", "ў": "u", "ј": "j", "љ": "lj", "њ": "nj", "ћ": "c", "ђ": "dj", "џ": "dz",
}  # fmt: skip
_GREEK = {
    "α": "a", "β": "v", "γ": "g", "δ": "d", "ε": "e", "ζ": "z", "η": "i", "θ": "th", "ι": "i",
    "κ": "k", "λ": "l", "μ": "m", "ν": "n", "ξ": "x", "ο": "o", "π": "p", "ρ": "r", "σ": "s",
    "ς": "s", "τ": "t", "υ": "y", "φ": "f", "χ": "ch", "ψ": "ps", "ω": "o",
}  # fmt: skip
_LETTERS = _LATIN | _CYRILLIC | _GREEK
_BY_SOUND = re.compile(
    r"(?:HIRAGANA|KATAKANA) LETTER (?:SMALL )?([A-Z]+)$|HANGUL SYLLABLE ([A-Z]+)$"
)
# By the first letter of their category: punctuation, white space, control, symbols, marks.
_SIGNS = frozenset("PZCSM")


def in_ascii(text: str) -> str:
    """The text in ASCII characters; white space and signs outside ASCII become spaces."""
    return "".join(map(_spelled, unicodedata.normalize("NFC", text)))


def _spelled(character: str) -> str:
    if character.isascii() and character != "'":
        return character
    if character in _LETTERS:
        return _LETTERS[character]
    lower = character.lower()
    if lower in _LETTERS:
        return _LETTERS[lower].capitalize()
    sound = _BY_SOUND.match(unicodedata.name(character, ""))
    if sound is not None:
        return (sound[1] or sound[2]).lower()
    plain = unicodedata.normalize("NFKD", character)
    kept = "".join(letter for letter in plain if not unicodedata.combining(letter))
    if kept != character and kept:
        return "".join(map(_spelled, kept))
    if unicodedata.category(character)[0] in _SIGNS:
        return " "
    return f"u{ord(character):04x}"
