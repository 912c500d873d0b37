"""Which position is liquidated next: a queue by price on either side of the mark.

Each position that stands alone has a low and a high key: the values between which nothing can happen to it while its
bracket and its margin stay. Keys stand in heaps, so that a bar without events looks at two of them per contract.
Funding moves every key a little; instead of a new order after each settlement a key is kept as a bound, and made exact
when it comes to the top. Source: accounting specification, sections 4 to 6.
"""

from __future__ import annotations

import math

from backtester.kernel._jit import step
from backtester.kernel.clearing_state import ALONE, Books, Floats, Ints, World
from backtester.kernel.margin import BASIS_ENTRY, liquidation_value, requirement_line


@step
def line_at(world: World, books: Books, p: int, tier: int) -> tuple[float, float]:
    """Return the requirement of position ``p`` in a bracket as ``constant + slope * |v|``."""
    position = books.positions[p]
    contract = world.contracts[position["contract"]]
    row = world.tiers[contract["tier_start"] + tier]
    rules = world.rules[0]
    rate = row["rate"] + row["slope"] * abs(position["quantity"]) / contract["contract_size"]
    return requirement_line(
        position["quantity"],
        position["entry"],
        books.accounts[position["account"]]["leverage"],
        rate,
        row["deduction"],
        contract["close_fee"],
        rules["mmr_basis"],
        rules["close_fee_basis"],
    )


@step
def bracket_unit(world: World, books: Books, p: int, value: float) -> float:
    """Return what one unit of position ``p`` counts in the unit of its tier table: contracts, or notional.

    The notional is that at ``value``, or at the entry where maintenance margin is reckoned on it.
    """
    position = books.positions[p]
    contract = world.contracts[position["contract"]]
    if contract["by_notional"] == 0:
        return 1.0 / contract["contract_size"]
    return abs(position["entry"]) if world.rules[0]["mmr_basis"] == BASIS_ENTRY else abs(value)


@step
def tier_lookup(world: World, books: Books, p: int, size: float, value: float) -> int:
    """Return the bracket of position ``p`` were its size ``size`` (unsigned), at a value."""
    contract = world.contracts[books.positions[p]["contract"]]
    measure = size * bracket_unit(world, books, p, value)
    k = contract["tier_start"]
    while k + 1 < contract["tier_stop"] and measure >= world.tiers[k + 1]["floor"]:
        k += 1
    return k - contract["tier_start"]


@step
def backing(books: Books, p: int) -> float:
    """Return what backs a position that stands alone, without its own profit: isolated margin, or the wallet."""
    position = books.positions[p]
    account = books.accounts[position["account"]]
    return position["margin"] if account["isolated"] == 1 else account["wallet"]


@step
def edges(world: World, books: Books, p: int) -> tuple[float, float]:
    """Return the values between which the bracket of a position stays the same; infinite where nothing bounds it."""
    position = books.positions[p]
    contract = world.contracts[position["contract"]]
    size = abs(position["quantity"])
    if contract["by_notional"] == 0 or world.rules[0]["mmr_basis"] == BASIS_ENTRY or size == 0.0:
        return -math.inf, math.inf
    k = contract["tier_start"] + position["tier"]
    least = world.tiers[k]["floor"] / size if position["tier"] > 0 else -math.inf
    most = math.inf
    if k + 1 < contract["tier_stop"] and (position["pinned"] == 0 or position["tier"] < position["pinned"] - 1):
        most = world.tiers[k + 1]["floor"] / size
    if contract["sign"] > 0.0:
        return least, most
    return -most, -least


@step
def exact_keys(world: World, books: Books, p: int) -> tuple[float, float, bool]:
    """Return the low and the high key of a position that stands alone, and whether its trigger is the low one."""
    position = books.positions[p]
    if position["quantity"] == 0.0:
        return -math.inf, math.inf, True
    contract = world.contracts[position["contract"]]
    constant, slope = line_at(world, books, p, position["tier"])
    root = liquidation_value(
        position["quantity"], position["entry"], backing(books, p), constant, slope, contract["sign"]
    )
    low, high = edges(world, books, p)
    rising = position["quantity"] - contract["sign"] * slope > 0.0  # the balance gains on the requirement
    if rising:
        return max(root, low), high, True
    return low, min(root, high), False


@step
def trigger_value(world: World, books: Books, p: int) -> float:
    """Return where the balance of a position that stands alone meets its requirement, in its present bracket."""
    position = books.positions[p]
    constant, slope = line_at(world, books, p, position["tier"])
    sign = world.contracts[position["contract"]]["sign"]
    return liquidation_value(position["quantity"], position["entry"], backing(books, p), constant, slope, sign)


@step
def sift_up(key: Floats, heap: Ints, place: Ints, start: int, at: int) -> None:
    """Move an entry toward the top, where the largest key stands."""
    p = heap[at]
    while at > start:
        above = start + (at - start - 1) // 2
        if key[heap[above]] >= key[p]:
            break
        heap[at] = heap[above]
        place[heap[at]] = at
        at = above
    heap[at] = p
    place[p] = at


@step
def sift_down(key: Floats, heap: Ints, place: Ints, start: int, stop: int, at: int) -> None:
    """Move an entry away from the top."""
    p = heap[at]
    while True:
        below = start + 2 * (at - start) + 1
        if below >= stop:
            break
        if below + 1 < stop and key[heap[below + 1]] > key[heap[below]]:
            below += 1
        if key[heap[below]] <= key[p]:
            break
        heap[at] = heap[below]
        place[heap[at]] = at
        at = below
    heap[at] = p
    place[p] = at


@step
def set_low(books: Books, c: int, p: int, value: float) -> None:
    """Give a position its low key and its place in the heap."""
    key = value - books.state[c]["low_creep"]
    before = books.low_key[p]
    books.low_key[p] = key
    start = books.heap_start[c]
    if key > before:
        sift_up(books.low_key, books.low_heap, books.low_place, start, books.low_place[p])
    elif key < before:
        sift_down(books.low_key, books.low_heap, books.low_place, start, books.heap_start[c + 1], books.low_place[p])


@step
def set_high(books: Books, c: int, p: int, value: float) -> None:
    """Give a position its high key and its place in the heap, where the lowest value stands at the top."""
    key = -value - books.state[c]["high_creep"]
    before = books.high_key[p]
    books.high_key[p] = key
    start = books.heap_start[c]
    if key > before:
        sift_up(books.high_key, books.high_heap, books.high_place, start, books.high_place[p])
    elif key < before:
        sift_down(
            books.high_key, books.high_heap, books.high_place, start, books.heap_start[c + 1], books.high_place[p]
        )


@step
def watch_again(world: World, books: Books, p: int) -> None:
    """Set both keys of a position after it, its margin or its bracket changed."""
    position = books.positions[p]
    if position["kind"] != ALONE:
        return
    low, high, _ = exact_keys(world, books, p)
    set_low(books, position["contract"], p, low)
    set_high(books, position["contract"], p, high)


@step
def watch_all(world: World, books: Books) -> None:
    """Set the keys of all positions anew and build the heaps; brackets must be set."""
    for c in range(world.contracts.size):
        books.state[c]["low_creep"] = 0.0
        books.state[c]["high_creep"] = 0.0
    for p in range(books.positions.size):
        if books.positions[p]["kind"] == ALONE:
            low, high, _ = exact_keys(world, books, p)
            books.low_key[p] = low
            books.high_key[p] = -high
    for c in range(world.contracts.size):
        start = books.heap_start[c]
        stop = books.heap_start[c + 1]
        for j in range((stop - start) // 2):
            at = start + (stop - start) // 2 - 1 - j
            sift_down(books.low_key, books.low_heap, books.low_place, start, stop, at)
            sift_down(books.high_key, books.high_heap, books.high_place, start, stop, at)


@step
def new_bracket(world: World, books: Books, p: int, value: float) -> None:
    """Find the bracket of a position at a value anew, unless a step has pinned it below."""
    position = books.positions[p]
    tier = tier_lookup(world, books, p, abs(position["quantity"]), value)
    position["tier"] = min(tier, position["pinned"] - 1) if position["pinned"] > 0 else tier


@step
def next_low(world: World, books: Books, c: int, here: float, there: float) -> tuple[int, float]:
    """Return the first position whose low key a fall from ``here`` to ``there`` reaches, and the value; -1: none.

    Without a fall (``there >= here``) only triggers that ``here`` has passed count; brackets that a jump has left
    behind are found again.
    """
    start = books.heap_start[c]
    if start == books.heap_start[c + 1]:
        return -1, here
    moving = there < here
    reach = there if moving else here
    while True:
        p = books.low_heap[start]
        if books.low_key[p] + books.state[c]["low_creep"] < reach:
            return -1, here
        low, high, is_low = exact_keys(world, books, p)
        if not (is_low and low == trigger_value(world, books, p)):  # an edge of the bracket
            if low > here:
                new_bracket(world, books, p, here)
                again, high, _ = exact_keys(world, books, p)
                set_high(books, c, p, high)
                if again >= low and again > here and again != trigger_value(world, books, p):
                    return -1, here  # cannot go on: rounding on the boundary itself
                low = again
            elif low == here and not moving:
                return -1, here
        set_low(books, c, p, low)
        if books.low_heap[start] == p:
            if low < reach:
                return -1, here
            return p, min(low, here)


@step
def next_high(world: World, books: Books, c: int, here: float, there: float) -> tuple[int, float]:
    """Return the first position whose high key a rise reaches, and the value; -1: none. See `next_low`."""
    start = books.heap_start[c]
    if start == books.heap_start[c + 1]:
        return -1, here
    moving = there > here
    reach = there if moving else here
    while True:
        p = books.high_heap[start]
        if -(books.high_key[p] + books.state[c]["high_creep"]) > reach:
            return -1, here
        low, high, is_low = exact_keys(world, books, p)
        if is_low or high != trigger_value(world, books, p):  # an edge of the bracket
            if high < here:
                new_bracket(world, books, p, here)
                low, again, _ = exact_keys(world, books, p)
                set_low(books, c, p, low)
                if again <= high and again < here and again != trigger_value(world, books, p):
                    return -1, here
                high = again
            elif high == here and not moving:
                return -1, here
        set_high(books, c, p, high)
        if books.high_heap[start] == p:
            if high > reach:
                return -1, here
            return p, max(high, here)


@step
def cross_edge(world: World, books: Books, p: int, falling: bool) -> bool:
    """Move a position whose key is the edge of its bracket into the next one; return whether it was an edge."""
    position = books.positions[p]
    low, high, is_low = exact_keys(world, books, p)
    root = trigger_value(world, books, p)
    if (falling and is_low and low == root) or (not falling and not is_low and high == root):
        return False
    grows = falling == (world.contracts[position["contract"]]["sign"] < 0.0)  # whether the notional grows
    position["tier"] += 1 if grows else -1
    watch_again(world, books, p)
    return True
