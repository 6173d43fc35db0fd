"""Docker's classic words for the events of a build."""

from __future__ import annotations

from wherry.build.api import (
    BuildDone,
    BuildTagged,
    BuildWarning,
    Event,
    StepCached,
    StepDone,
    StepOutput,
    StepRemoved,
    StepRunning,
    StepStarted,
    TriggersStarted,
)
from wherry.model.digest import short


def classic_text(event: Event) -> str | None:
    """What ``docker build`` prints for the event; None for PullStatus, which is not a text.

    Bytes of a step's output that are not UTF-8 become U+FFFD, as in dockerd's JSON.
    """
    match event:
        case StepStarted(number, total, text):
            return f"Step {number}/{total} : {text}\n"
        case TriggersStarted(count):
            return f"# Executing {count} build trigger{'' if count == 1 else 's'}\n"
        case StepCached():
            return " ---> Using cache\n"
        case StepRunning(container):
            return f" ---> Running in {container[:12]}\n"
        case StepRemoved(container):
            return f"Removing intermediate container {container[:12]}\n"
        case StepDone(image):
            return f" ---> {short(image)}\n"
        case StepOutput(stream, data):
            text = data.decode(errors="replace")
            return f"\x1b[91m{text}\x1b[0m" if stream == "stderr" else text
        case BuildWarning(text):
            return f"{text}\n"
        case BuildDone(image):
            return f"Successfully built {short(image)}\n"
        case BuildTagged(name):
            return f"Successfully tagged {name}\n"
    return None
