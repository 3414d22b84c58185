"""What each message of a conversation is for: intent, decision, fact, result, small talk, or obsolete. Pure."""

from .classify import Classifier, classify
from .shape import CLASSES, Class, Piece, Turn

__all__ = ["CLASSES", "Class", "Classifier", "Piece", "Turn", "classify"]
