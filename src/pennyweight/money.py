"""Exact money: integer pico-dollars, the price of one model at one moment, and what a usage costs at it.

Rules of billing: the prompt is all input tokens, cached ones included; a band applies to the whole request, output
too, when the prompt is above its bound; a model without a price for cache reads or writes bills them as input;
`batch` halves everything but `per_call`; time-of-day factors multiply on the named days, from (inclusive) to
(exclusive), UTC. Where prices come from is the business of `pennyweight.prices`.
"""

from __future__ import annotations

PicoUSD = int
"""Money: 10^-12 US dollars. $3 per million tokens is 3_000_000 PicoUSD a token, so sums are exact."""
