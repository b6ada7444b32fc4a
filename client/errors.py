"""What can go wrong for a program that uses the service over HTTP. Each error is one sentence for a person.

ClientError
├── ServerAway       nobody answers at the address
├── BadAnswer        what answers is not this service, or broke off
├── Refused          the service said no, and why
├── CannotBeSent     a parameter has a value that no request can carry
├── NotAnImageFile   what should be an image is none
├── LocalError       something on this machine: a file, a folder, a terminal
└── JobEnded         a job was accepted and gave no images
    ├── JobFailed
    └── JobCancelled
"""

from collections.abc import Mapping, Sequence


class ClientError(Exception):
    """Base of them all; `str()` is the sentence."""


class ServerAway(ClientError):
    pass


class BadAnswer(ClientError):
    pass


class CannotBeSent(ClientError):
    pass


class NotAnImageFile(ClientError):
    pass


class LocalError(ClientError):
    pass


class Refused(ClientError):
    """An error answer: HTTP `status`, the stable `code`, and what is wrong with which field."""

    def __init__(
        self, message: str, *, status: int, code: str, fields: Mapping[str, Sequence[str]], retry_after_s: float | None
    ) -> None:
        said = "; ".join(f"{name}: {' '.join(texts)}" for name, texts in fields.items())
        super().__init__(f"{message} {said}" if said else message)
        self.status = status
        self.code = code
        self.fields = fields
        self.retry_after_s = retry_after_s


class JobEnded(ClientError):
    """`job_id` names the job, `code` why it ended as it did (a code of docs/clients.md)."""

    def __init__(self, message: str, job_id: str, code: str) -> None:
        super().__init__(message)
        self.job_id = job_id
        self.code = code


class JobFailed(JobEnded):
    pass


class JobCancelled(JobEnded):
    pass


class Interrupted(KeyboardInterrupt):
    """Ctrl-C at a moment at which there is something to tell: `str()` is what goes on without us."""
