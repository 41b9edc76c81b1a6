"""What the tests from outside share: the process under test, raw ends of its streams, hook receivers, networks."""
