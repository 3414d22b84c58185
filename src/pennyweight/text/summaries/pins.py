"""Which sentences say what was decided, what is to be done, and what must not be done: kept before all others."""

from __future__ import annotations

import re

__all__ = ["pinned"]

_DECIDED = re.compile(
    r"\b(?:decided|decision|agreed|we(?:'ll| will) (?:go|use|keep|take)|settled on|approved|chose|chosen"
    r"|concluded|conclusion"
    r"|root cause|turned out|fixed by|resolved"
    r"|beschlossen|entschieden|entscheidung|vereinbart|einigten|geeinigt|genehmigt|festgelegt|ursache)\b"
    r"|तय (?:किया|हुआ)|फ़ैसला|फैसला|निर्णय|सहमत|मंज़ूर"
    r"|决定|同意|商定|批准|确定|结论|原因是",
    re.IGNORECASE,
)
_TO_DO = re.compile(
    r"\b(?:todo|to-do|fixme|action item|next steps?|follow[- ]up|deadline|due (?:by|on)|by (?:monday|tuesday|wednesday"
    r"|thursday|friday|saturday|sunday|tomorrow|end of)|needs? to|has to|have to|must|will (?:send|write|fix|prepare"
    r"|review|check|call|update|deliver|deploy)|remember to|please (?:send|write|fix|prepare|review|check|update)"
    r"|muss|müssen|soll(?:en|te|ten)?|bis (?:montag|dienstag|mittwoch|donnerstag|freitag|morgen|ende)|frist|aufgabe"
    r"|nächste[rn]? schritte?|kümmert sich|übernimmt)\b"
    r"|करना (?:है|होगा)|करनी (?:है|होगी)|करेगा|करेगी|करेंगे|तक (?:भेज|पूरा)|भेजेगा|भेजेगी|ज़रूरी|समय सीमा"
    r"|必须|需要|负责|截止|待办|下一步|之前(?:完成|提交|发送)",
    re.IGNORECASE,
)
_NEVER = re.compile(
    r"\b(?:never|do not|don't|must not|mustn't|not allowed|forbidden|except|unless|warning|error|failed|exception"
    r"|niemals|darf nicht|dürfen nicht|nicht erlaubt|verboten|außer|fehler|fehlgeschlagen)\b"
    r"|कभी नहीं|मत |मना है|त्रुटि|विफल|不得|禁止|不要|切勿|除非|错误|失败",
    re.IGNORECASE,
)


def pinned(sentence: str) -> float:
    """What a sentence weighs for what it does, in [0, 1]: a decision or a duty most, a ban or a failure less."""
    return max(
        1.0 if _DECIDED.search(sentence) else 0.0,
        0.9 if _TO_DO.search(sentence) else 0.0,
        0.7 if _NEVER.search(sentence) else 0.0,
    )
