"""The compiled core: numpy and numba only, no frames, no I/O, no exceptions."""
