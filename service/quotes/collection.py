"""The quotes themselves; all were written for this project."""

import random

QUOTES = (
    "A ship that cannot be taken out of the water cannot be trusted in it.",
    "The dock does not sail, and no ship sails without it.",
    "Paint below the waterline is the paint that nobody praises.",
    "Two small boats ride out a leak that sinks one large ship.",
    "Count the lifeboats while the sea is flat.",
    "A bulkhead is a decision made before the hole.",
    "Whoever signals for help in time has already saved half the crew.",
    "The tide asks no one whether the repair is done.",
    "Let go the old mooring when the new one holds, and not before.",
    "A harbour is known by the ships that leave it.",
    "Every knot is tested by the first storm or by the one who tied it.",
    "The fog hides the rocks from all ships alike; the chart does not.",
    "A good watch writes down what it saw, not what it feared.",
    "The crew that rehearses the fire drill sleeps through the night.",
    "No engine is so strong that it needs no anchor.",
    "The lightest cargo is the one that was left on the quay.",
)


def pick() -> str:
    """Give one of them, each as likely as the others."""
    return random.choice(QUOTES)  # noqa: S311 - no secret hangs on it
