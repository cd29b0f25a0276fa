"""ferrio beside its peers, measured in one run: `python -m benches`, from the repository's root."""
