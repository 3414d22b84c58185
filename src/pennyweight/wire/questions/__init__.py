"""The newest user text of a call, what must be equal around it, and which calls another one's answer may serve at all.

Used by whatever may answer a question with the answer to another one (the semantic cache, templates).
"""

from __future__ import annotations

from .eligible import eligible
from .fingerprint import NOT_IN_FINGERPRINT, fingerprint
from .question import Question, question

__all__ = ["NOT_IN_FINGERPRINT", "Question", "eligible", "fingerprint", "question"]
