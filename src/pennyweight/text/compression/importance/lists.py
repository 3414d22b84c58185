"""Word lists for English prose: words that only hold a sentence together, and words that must never go."""

from __future__ import annotations

__all__ = ["DENYING", "ENGLISH", "FUNCTION", "NEVER"]

_ENGLISH = "the of and to is that it for with you this are be have not on as was by from they we can"
ENGLISH = frozenset(_ENGLISH.split())
"""Function words that German, French, Spanish and the like do not have; a fifth of what English prose consists of."""

_FUNCTION = """
a about above again all almost already also although always am among an and another any anyway are around as at
back be because been before being below between both but by can come could did do does doing done down during each
either else enough even ever every for from further get gets getting give go goes going gonna got had has have
having he hence her here hers herself him himself his how i if in into is it its itself just kind let like likely
lot made make makes making many may maybe me mean might mine more most much must my myself now of off oh ok okay on
once one onto or other our ours ourselves out over own per perhaps please put quite rather really right said same
say says see seem seems several shall she should since so some something somewhat soon sort still such sure take
than thank thanks that the their theirs them themselves then there therefore these they thing things this those
though through thus to together too toward towards uh uhm um under until up upon us use used very via wanna want
was way we well were what whatever when where whether which while who whole whom whose why will with within would
yeah yes yet you your yours yourself
i'd i'll i'm i've you'd you'll you're you've he's he'd he'll she's she'd she'll it's it'll we'd we'll we're we've
they'd they'll they're they've that's there's here's what's who's let's
"""
FUNCTION = frozenset(_FUNCTION.split())

_DENYING = """
no not nor none never nothing nobody nowhere neither without cannot hardly barely scarcely unless except excluding
unable impossible refuse refused refuses deny denied reject rejected fail fails failed forbidden forbids
"""
DENYING = frozenset(_DENYING.split())
"""Words that turn what follows them into its opposite, beside those that end in "n't"."""

_NEVER = """
excludes instead only if until before after must false true
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion trillion
dozen half third quarter twice double triple first second last once
less more least most fewer greater than
"""
NEVER = DENYING | frozenset(_NEVER.split())
"""Negations, conditions and numbers in words: a sentence that loses one of them says something else."""
