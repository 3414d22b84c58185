"""The exceptions of Pennyweight, as one tree.

    PennyweightError
    ├── RequestError            the caller can fix it
    │   ├── BadRequest          400  broken JSON, a wrong type, nesting too deep
    │   │   └── PreviousGone    400  an earlier answer that the caller goes on from is not kept any more
    │   ├── Unauthenticated     401  no key, or one that is not known
    │   ├── LimitReached        402  a spending limit of a virtual key is used up
    │   ├── Forbidden           403  a Host or Origin that is not ours
    │   ├── NotFound            404  no such path, no such model
    │   ├── TooLarge            413  body over the limit
    │   ├── HeadersTooLarge     431  headers over the limit
    │   └── RequestTimeout      408  the caller did not send its body in time
    ├── BackendError            an upstream failed
    │   ├── RateLimited         429
    │   │   └── QuotaSpent      429  our own count of a target's quota says so: it was not asked
    │   ├── Overloaded          503
    │   ├── ContextTooLong      400  in the provider's own words: it triggers a client's compaction
    │   ├── AuthFailed          401  the provider refused the key
    │   ├── Unreachable         502  no connection, a broken answer
    │   │   └── NotConnected    502  no connection was made, so nothing was sent and nothing can be billed
    │   ├── UpstreamTimeout     504
    │   └── StreamCut           502  the upstream ended a stream half-way
    ├── ConfigError             the operator can fix it: quotes the value and names the remedy
    └── StoreError              a database, a file or a cache is down

Each class carries the HTTP `status` it leaves with and whether asking again can help (`retryable`). How an error
looks on the wire is the business of `pennyweight.wire`: it leaves in the shape of the caller's protocol.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AuthFailed",
    "BackendError",
    "BadRequest",
    "ConfigError",
    "ContextTooLong",
    "Forbidden",
    "HeadersTooLarge",
    "LimitReached",
    "NotConnected",
    "NotFound",
    "Overloaded",
    "PennyweightError",
    "PreviousGone",
    "QuotaSpent",
    "RateLimited",
    "RequestError",
    "RequestTimeout",
    "StoreError",
    "StreamCut",
    "TooLarge",
    "Unauthenticated",
    "Unreachable",
    "UpstreamTimeout",
]


class PennyweightError(Exception):
    """Anything Pennyweight raises on purpose. `kind` is the error type in OpenAI's and Anthropic's shape."""

    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    kind: ClassVar[str] = "api_error"
    code: ClassVar[str | None] = None

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s


class RequestError(PennyweightError):
    status = 400
    kind = "invalid_request_error"


class BadRequest(RequestError):
    pass


class PreviousGone(BadRequest):
    code = "previous_response_not_found"  # OpenAI's: clients know by it that the whole input will help


class Unauthenticated(RequestError):
    status = 401
    kind = "authentication_error"


class LimitReached(RequestError):
    status = 402
    kind = "billing_error"
    code = "budget_exceeded"


class Forbidden(RequestError):
    status = 403
    kind = "permission_error"


class NotFound(RequestError):
    status = 404
    kind = "not_found_error"


class RequestTimeout(RequestError):
    status = 408
    kind = "timeout_error"


class TooLarge(RequestError):
    status = 413
    kind = "request_too_large"


class HeadersTooLarge(RequestError):
    status = 431


class BackendError(PennyweightError):
    status = 502


class RateLimited(BackendError):
    status = 429
    retryable = True
    kind = "rate_limit_error"


class QuotaSpent(RateLimited):
    pass


class Overloaded(BackendError):
    status = 503
    retryable = True
    kind = "overloaded_error"


class ContextTooLong(BackendError):
    status = 400
    kind = "invalid_request_error"
    code = "context_length_exceeded"


class AuthFailed(BackendError):
    status = 401
    kind = "authentication_error"


class Unreachable(BackendError):
    retryable = True


class NotConnected(Unreachable):
    pass


class UpstreamTimeout(BackendError):
    status = 504
    retryable = True
    kind = "timeout_error"


class StreamCut(BackendError):
    pass


class ConfigError(PennyweightError):
    """A setting that cannot work. `where` is `file:line` when it is known."""

    def __init__(self, message: str, *, where: str | None = None) -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.where = where


class StoreError(PennyweightError):
    status = 503
    retryable = True
