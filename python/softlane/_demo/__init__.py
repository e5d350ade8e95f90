"""The demo: what softmax does in a neural network, in the terminal and as a picture.

`network` and `training` are the network, in NumPy; the examples use them, too. Each lesson is a
module that computes; `terminal` and `picture` show what came out.
"""

from pathlib import Path


def run(output: Path) -> int:
    """Show everything on the terminal, write the picture, return the exit status."""
    # Imported here: the network needs none of what shows it.
    from softlane._demo.show import show

    return show(output)
