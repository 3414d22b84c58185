"""How far an answer can be trusted, told from the answer itself: what a cascade decides by. Pure; it asks nobody.

said: what was asked and what was said, whatever the protocol. checks: what can be verified of one answer. agreement:
whether two answers say the same. entropy: how sure the model was of its words. acceptor: these as one score. bounds:
from which score on an answer may be kept, so that what is lost by it stays within a bound.
"""
