/* The replay's limit by segments: between two events nothing changes but the mark, so that the inner loops vectorise.
 *
 * The bars of settlements and orders are merged into one list first. At an event's bar the account changes at the open;
 * from there to the next event the wallet is constant, equity is linear in the close, and the requirement follows one
 * line of the tier table as long as the notional stays in its bracket. A segment's loop writes the records by that
 * line and gathers in one flag whether any bar left the bracket or failed the path test; a flagged segment is written
 * again by all lines (the requirement is their maximum, since rates rise and the table is continuous), and then looked
 * through bar by bar where the path test failed.
 */
#include "limit_account.h"

#include <stdlib.h>

/* What is constant from one event to the next. */
typedef struct {
    double wallet, base, quantity, held, entry;
} segment_t;

/* Writes a segment by one line of the table; returns whether a bar may be lost or outside the bracket. */
static long write_by_line(
    long bars, segment_t s, const tier_t *tier, const double *restrict adverse, const double *restrict high,
    const double *restrict low, const double *restrict close, double *restrict equity, double *restrict wallet,
    double *restrict requirement
) {
    double slope = s.held * tier->rate, deduction = tier->deduction;
    double floor_price = tier->floor / s.held, cap_price = tier->cap / s.held;
    double wallet_now = s.wallet, base = s.base, quantity = s.quantity;
    long flag = 0;
    for (long t = 0; t < bars; t++) {
        double most = high[t];
        flag |= (base + quantity * adverse[t] <= slope * most - deduction) | (most >= cap_price) | (low[t] < floor_price);
        equity[t] = base + quantity * close[t];
        wallet[t] = wallet_now;
        requirement[t] = slope * close[t] - deduction;
    }
    return flag;
}

/* The same by the maximum of all lines; returns whether a bar may be lost. */
static long write_by_lines(
    long bars, segment_t s, const terms_t *terms, const double *restrict adverse, const double *restrict high,
    const double *restrict close, double *restrict requirement
) {
    long flag = 0;
    double slope[MOST_TIERS], deduction[MOST_TIERS];
    int count = terms->tier_count;
    for (int k = 0; k < count; k++) {
        slope[k] = s.held * terms->tiers[k].rate;
        deduction[k] = terms->tiers[k].deduction;
    }
    for (long t = 0; t < bars; t++) requirement[t] = slope[0] * close[t] - deduction[0];
    for (int k = 1; k < count; k++) {
        for (long t = 0; t < bars; t++) {
            double line = slope[k] * close[t] - deduction[k];
            requirement[t] = line > requirement[t] ? line : requirement[t];
        }
    }
    for (int k = 0; k < count; k++) {
        for (long t = 0; t < bars; t++) flag |= s.base + s.quantity * adverse[t] <= slope[k] * high[t] - deduction[k];
    }
    return flag;
}

static void write_flat(
    long bars, double worth, double *restrict equity, double *restrict wallet, double *restrict requirement
) {
    for (long t = 0; t < bars; t++) {
        equity[t] = worth;
        wallet[t] = worth;
        requirement[t] = 0.0;
    }
}

/* The bars at which something happens, in order, each once; the last is the number of bars. */
static long list_events(
    long bars, long orders, const long *due_bar, long settlements, const long *settlement_bar, long *events
) {
    long count = 0, order = 0, settlement = 0, last = 0;
    events[count++] = 0;
    while (order < orders || settlement < settlements) {
        long next = bars;
        if (order < orders && due_bar[order] < next) next = due_bar[order];
        if (settlement < settlements && settlement_bar[settlement] < next) next = settlement_bar[settlement];
        if (next >= bars) break;
        while (order < orders && due_bar[order] == next) order++;
        while (settlement < settlements && settlement_bar[settlement] == next) settlement++;
        if (next > last) events[count++] = last = next;
    }
    events[count] = bars;
    return count;
}

long replay_segments(
    long bars, const double *restrict trade_open, const double *restrict mark_open, const double *restrict low,
    const double *restrict high, const double *restrict close, long orders, const long *restrict due_bar,
    const double *restrict target, long settlements, const long *restrict settlement_bar, const double *restrict rate,
    const tier_t *restrict table, int tier_count, double lots_per_unit, double leverage, double fee, double balance,
    double *restrict equity, double *restrict wallet, double *restrict requirement
) {
    terms_t terms;
    if (!set_terms(&terms, table, tier_count, lots_per_unit, leverage, fee)) return -1;
    long *events = malloc((size_t)(orders + settlements + 2) * sizeof(long));
    if (events == NULL) return -1;
    long count = list_events(bars, orders, due_bar, settlements, settlement_bar, events);
    account_t account = {balance, 0.0, 0.0};
    long order = 0, settlement = 0, lost = bars;
    for (long e = 0; e < count && lost == bars; e++) {
        long t = events[e], length = events[e + 1] - t;
        int happened = 0;
        for (; settlement < settlements && settlement_bar[settlement] == t; settlement++, happened = 1)
            account.wallet -= account.quantity * mark_open[t] * rate[settlement];
        int is_due = order < orders && due_bar[order] == t;
        if ((happened || is_due) && is_lost(&terms, &account, mark_open[t])) lost = t;
        if (lost < bars) break;
        if (is_due) fill_order(&terms, &account, target[order++], trade_open[t], mark_open[t]);
        if (account.quantity == 0.0) {
            write_flat(length, account.wallet, equity + t, wallet + t, requirement + t);
            continue;
        }
        segment_t s = {account.wallet, equity_at(&account, 0.0), account.quantity, fabs(account.quantity),
                       account.entry};
        const double *adverse = account.quantity > 0.0 ? low : high;
        const tier_t *tier = &terms.tiers[find_tier(&terms, s.held * close[t])];
        if (!write_by_line(length, s, tier, adverse + t, high + t, low + t, close + t, equity + t, wallet + t,
                           requirement + t))
            continue;
        if (!write_by_lines(length, s, &terms, adverse + t, high + t, close + t, requirement + t)) continue;
        for (long u = t; u < t + length && lost == bars; u++)
            if (is_lost_inside(&terms, &account, low[u], high[u])) lost = u;
    }
    free(events);
    return lost;
}
