"""``softlane demo``: real images, their probabilities, and a picture of them."""

from pathlib import Path

from softlane._cli.extras import need

NEEDS = ("matplotlib", "rich", "scipy", "sklearn")


def run(output: Path) -> int:
    """Run the demo, or say what it needs."""
    need("softlane demo", "demo", NEEDS)
    # Imported here: the command must answer without the demo extra.
    from softlane._demo import run as run_demo

    return run_demo(output)
