"""Errors of a model hub, in words a user can act on."""

from __future__ import annotations


def reason(error: BaseException, what: str) -> str | None:
    """The reason that the hub gave nothing, and what to do; None where the error is of another kind.

    Args:
        error: as it was raised; its causes are looked through too.
        what: "model", "SAE" …, for the line.
    """
    from huggingface_hub import errors

    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
        causes.append(cause)

    def any_is(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    if any_is(errors.GatedRepoError):
        return "it is gated: accept its licence on its hub page and set HF_TOKEN to a token of that account"
    if any_is(errors.RepositoryNotFoundError, errors.RevisionNotFoundError):
        return f"the hub has no such {what}, or it is private: check the name, and set HF_TOKEN"
    if any_is(errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
        return "the hub cannot be reached and no copy is here: check the network (and HF_HUB_OFFLINE), set HF_TOKEN"
    return None
