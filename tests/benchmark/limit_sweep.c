/* The limit of a sweep: many sets of orders on the same bars, without records of bars.
 *
 * Reported of each set: final equity, largest drawdown, orders that traded. Summaries of the mark (lowest low, highest
 * high, lowest and highest close of each block of 64 bars) are built once. The sets advance together, tile by tile of
 * 4,096 bars, so that a tile's bars and summaries are read from the cache by all of them. A segment between two events
 * is judged by its extremes: it is done with at once unless the worst extreme reaches the requirement at the largest
 * notional, or its closes could set a new drawdown; only then its blocks, and then their bars, are looked at.
 */
#include "limit_account.h"

#include <float.h>
#include <stdlib.h>

enum { BLOCK = 64, TILE = 4096 };

/* Lowest low, highest high, lowest and highest close; the highest ones negated, so that all four are minima. */
typedef struct {
    double low, less_high, least, less_most;
} extremes_t;

typedef struct {
    account_t account;
    double peak, drawdown;
    long order, last_order, settlement, traded, lost;
} set_t;

typedef struct {
    const double *low, *high, *close;
    const extremes_t *blocks;
} marks_t;

static inline double lesser(double a, double b) { return a < b ? a : b; }

static inline extremes_t joined(extremes_t a, extremes_t b) {
    extremes_t e = {
        lesser(a.low, b.low), lesser(a.less_high, b.less_high), lesser(a.least, b.least),
        lesser(a.less_most, b.less_most)
    };
    return e;
}

static extremes_t over_bars(const marks_t *marks, long from, long to) {
    const double *low = marks->low, *high = marks->high, *close = marks->close;
    double lowest = DBL_MAX, less_highest = DBL_MAX, least = DBL_MAX, less_most = DBL_MAX;
    for (long t = from; t < to; t++) {
        lowest = lesser(lowest, low[t]);
        less_highest = lesser(less_highest, -high[t]);
        least = lesser(least, close[t]);
        less_most = lesser(less_most, -close[t]);
    }
    extremes_t e = {lowest, less_highest, least, less_most};
    return e;
}

static extremes_t over_segment(const marks_t *marks, long from, long to) {
    long first = (from + BLOCK - 1) / BLOCK, last = to / BLOCK;
    if (first >= last) return over_bars(marks, from, to);
    extremes_t e = joined(over_bars(marks, from, first * BLOCK), over_bars(marks, last * BLOCK, to));
    for (long b = first; b < last; b++) e = joined(e, marks->blocks[b]);
    return e;
}

/* Whether the extremes leave the drawdown as it is; the peak moves with them then. */
static inline int is_told_by(set_t *set, extremes_t e) {
    const account_t *account = &set->account;
    double a = equity_at(account, e.least), b = equity_at(account, -e.less_most);
    double worst = a < b ? a : b, best = a < b ? b : a;
    double top = best > set->peak ? best : set->peak;
    if (top - worst > set->drawdown * top) return 0;
    set->peak = top;
    return 1;
}

static inline void look_at_close(set_t *set, double close) {
    double equity = equity_at(&set->account, close);
    if (equity > set->peak) set->peak = equity;
    else if (set->peak - equity > set->drawdown * set->peak) set->drawdown = (set->peak - equity) / set->peak;
}

static void look_at_bars(const marks_t *marks, set_t *set, long from, long to) {
    for (long t = from; t < to; t++) look_at_close(set, marks->close[t]);
}

static void look_at_blocks(const marks_t *marks, set_t *set, long from, long to) {
    while (from < to) {
        long next = (from / BLOCK + 1) * BLOCK;
        if (next > to) next = to;
        int is_whole = next - from == BLOCK;
        extremes_t e = is_whole ? marks->blocks[from / BLOCK] : over_bars(marks, from, next);
        if (!is_told_by(set, e)) look_at_bars(marks, set, from, next);
        from = next;
    }
}

/* One stretch of bars in which nothing happens. */
static void pass(const terms_t *terms, const marks_t *marks, set_t *set, long from, long to) {
    if (from >= to) return;
    if (set->account.quantity == 0.0) {
        look_at_close(set, 0.0);
        return;
    }
    extremes_t e = over_segment(marks, from, to);
    if (is_lost_inside(terms, &set->account, e.low, -e.less_high)) {
        for (long t = from; t < to && set->lost < 0; t++)
            if (is_lost_inside(terms, &set->account, marks->low[t], marks->high[t])) set->lost = t;
    }
    if (!is_told_by(set, e)) look_at_blocks(marks, set, from, to);
}

/* Returns the number of sets that were lost, -1 where memory or the table is too small. */
long sweep(
    long bars, const double *trade_open, const double *mark_open, const double *low, const double *high,
    const double *close, long sets, const long *first_order, const long *due_bar, const double *target,
    long settlements, const long *settlement_bar, const double *rate, const tier_t *table, int tier_count,
    double lots_per_unit, double leverage, double fee, double balance, double *equity, double *drawdown, long *traded
) {
    terms_t terms;
    if (!set_terms(&terms, table, tier_count, lots_per_unit, leverage, fee)) return -1;
    long block_count = bars / BLOCK;
    extremes_t *blocks = malloc((size_t)(block_count + 1) * sizeof(extremes_t));
    set_t *states = malloc((size_t)sets * sizeof(set_t));
    if (blocks == NULL || states == NULL) {
        free(blocks);
        free(states);
        return -1;
    }
    marks_t marks = {low, high, close, blocks};
    for (long b = 0; b < block_count; b++) blocks[b] = over_bars(&marks, b * BLOCK, (b + 1) * BLOCK);
    for (long i = 0; i < sets; i++) {
        set_t fresh = {{balance, 0.0, 0.0}, balance, 0.0, first_order[i], first_order[i + 1], 0, 0, -1};
        states[i] = fresh;
    }
    for (long begin = 0; begin < bars; begin += TILE) {
        long end = begin + TILE < bars ? begin + TILE : bars;
        for (long i = 0; i < sets; i++) {
            set_t set = states[i];
            long t = begin;
            while (t < end && set.lost < 0) {
                long next = end;
                long due = set.order < set.last_order ? due_bar[set.order] : bars;
                long settled = set.settlement < settlements ? settlement_bar[set.settlement] : bars;
                if (due < next) next = due;
                if (settled < next) next = settled;
                pass(&terms, &marks, &set, t, next);
                t = next;
                if (t >= end || set.lost >= 0) break;
                for (; set.settlement < settlements && settlement_bar[set.settlement] == t; set.settlement++)
                    set.account.wallet -= set.account.quantity * mark_open[t] * rate[set.settlement];
                if (is_lost(&terms, &set.account, mark_open[t])) set.lost = t;
                if (due == t) {
                    set.traded += fill_order(&terms, &set.account, target[set.order], trade_open[t], mark_open[t]);
                    set.order++;
                }
            }
            states[i] = set;
        }
    }
    long lost = 0;
    for (long i = 0; i < sets; i++) {
        lost += states[i].lost >= 0;
        equity[i] = equity_at(&states[i].account, close[bars - 1]);
        drawdown[i] = states[i].drawdown;
        traded[i] = states[i].traded;
    }
    free(blocks);
    free(states);
    return lost;
}
