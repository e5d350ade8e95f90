"""softlane side by side with its peers, measured in one run: ``python -m benches.python``."""
