"""``softlane info``: what runs here."""

import platform

import numpy as np

import softlane

DTYPES = "float16, bfloat16, float32, float64; integers and bool become float64"


def run() -> int:
    """Print what softlane is and what it runs on."""
    config = softlane.show_config()
    facts = {
        "softlane": config["version"],
        "instruction set": f"{config['isa']} (available: {', '.join(config['isas'])})",
        "threads": str(config["num_threads"]),
        "dtypes": DTYPES,
        "NumPy": np.__version__,
        "Python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
    }
    for name, value in facts.items():
        print(f"{name:<16} {value}")
    return 0
