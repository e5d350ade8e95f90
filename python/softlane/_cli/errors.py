"""What is said in one line and ends the command with status 2."""


class CommandError(Exception):
    """A user's mistake, or the machine's limits: what was wrong, in one sentence."""
