"""The semantic bases of every error that Wherry raises.

Each error is one sentence for the person who asked: what was asked, what is wrong, what to do.
Concrete errors live near the code that raises them and derive from one of these bases; the API
turns a base into an HTTP status by one table (``wherry.api.errors``), the command line into an
exit status.
"""

from __future__ import annotations


class WherryError(Exception):
    """Base of all errors that carry a sentence for the user."""


class InvalidArgument(WherryError):
    """The request itself is wrong and will be wrong again (400)."""


class Unauthenticated(WherryError):
    """The remote side wants credentials, or refused those given (401)."""


class PermissionDenied(WherryError):
    """The caller may not do this (403)."""


class NotFound(WherryError):
    """The object that was named does not exist (404)."""


class Conflict(WherryError):
    """The request does not fit the present state of the object (409)."""


class NotModified(WherryError):
    """The object already is in the state that was asked for (304)."""


class ResourceExhausted(WherryError):
    """A limit of the host was reached: disk, addresses, ports (500, as Docker answers)."""


class NotSupported(WherryError):
    """This machine or this engine cannot do what was asked, and says which part (501)."""


class Unavailable(WherryError):
    """A service that is needed does not answer now; the same request may work later (503)."""


class InternalError(WherryError):
    """The engine failed in a way the caller cannot mend (500)."""


class DataCorrupt(InternalError):
    """Stored or received content does not match its digest or its format (500)."""
