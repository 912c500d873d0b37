"""The compiled core: numpy and numba only, no frames, no I/O, no exceptions.

Reading order: ``state`` (what the account is), ``value``, ``margin``, ``funding``, ``fills`` (one pure rule each),
``path`` (where inside a bar a group of positions first fails its test), ``account`` (what changes the state and
writes the journal), ``groups``, ``steps`` and ``liquidation``, ``orders``, ``marking`` (quiet bars), ``replay`` (the
order of events alone).
"""
