"""Makes the provider's own prompt cache work: breakpoints where they pay, a cache key where the provider takes one.

`safe`: puts `cache_control` marks into calls that have room for them, with the life (5 minutes or an hour) that the
conversation's own gaps call for, and `prompt_cache_key` for OpenAI. `max`: also sends tools and system prompts in the
form in which the session first sent them, where they differ only in order or in dates, times and counters.

Marks that the caller set are never touched. Whether a mark pays is decided by pricing the calls to come
(`pennyweight.economy`); the gate prices the same once more before anything is sent.
"""

from .optimizer import PromptCache, Settings, build

__all__ = ["PromptCache", "Settings", "build"]
