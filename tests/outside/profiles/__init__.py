"""The peers of the profiles in `examples/profiles`."""
