"""A request that is turned away before anything runs."""


class Refusal(Exception):
    """The server won't do what is asked; nothing was sent to any model.

    Attributes:
        status: HTTP status of the answer.
        code: Stable and safe to match on.
        message: What is wrong and what to do.
        param: The field of the request that is wrong, None for the whole.
        retry_after_s: Seconds after which the same request may be taken, None if it never will.
        allow: Methods that the address takes, if this one was none of them.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        allow: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.param, self.retry_after_s, self.allow = param, retry_after_s, allow
