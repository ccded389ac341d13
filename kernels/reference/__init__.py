"""Plain NumPy: the readable definition of every primitive; in float64 it is the oracle of all tests."""
