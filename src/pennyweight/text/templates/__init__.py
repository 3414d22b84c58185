"""Answers of one form to questions of one form: what varies in both, and when the one tells the other.

Pure, and knows no protocol: texts in, texts out.
"""
