/* The replay's limit: one cross account in one linear contract, per-bar records, written as a plain loop.
 *
 * The same steps as the compiled replay: settlements at the open, the liquidation check at the open of a bar in which
 * something happened, market orders on target exposure with lots, fees, margin fit and tier cap, the path test on the
 * mark's extremes, and equity, wallet and requirement at the mark close. The path test is the replay's bound: the worst
 * extreme against the requirement at the largest notional; where nothing happened at the open it covers the open too.
 * A bar that fails a test ends the loop: the inputs of the benchmark have none. Pointers are restrict and the tiers lie
 * in a local array, so that the compiler need not load them again after each record that is written.
 */
#include <math.h>
#include <stddef.h>
#include <string.h>

enum { MOST_TIERS = 16 };

typedef struct {
    double floor, cap, rate, deduction, max_leverage;
} tier_t;

static inline int find_tier(const tier_t *tiers, int count, double size) {
    int k = 0;
    while (k + 1 < count && size >= tiers[k + 1].floor) k++;
    return k;
}

static inline double required(const tier_t *tiers, int count, double notional) {
    const tier_t *tier = &tiers[find_tier(tiers, count, notional)];
    return notional * tier->rate - tier->deduction;
}

static inline double whole_lots(double quantity, double lots_per_unit) {
    double lots = quantity * lots_per_unit, nearest = rint(lots);
    return fabs(lots - nearest) <= 1e-9 ? nearest : trunc(lots);
}

long replay(
    long bars, const double *restrict trade_open, const double *restrict mark_open, const double *restrict low,
    const double *restrict high, const double *restrict close, long orders, const long *restrict due_bar,
    const double *restrict target, long settlements, const long *restrict settlement_bar, const double *restrict rate,
    const tier_t *restrict table, int tier_count, double lots_per_unit, double leverage, double fee, double balance,
    double *restrict equity, double *restrict wallet, double *restrict requirement
) {
    tier_t tiers[MOST_TIERS];
    if (tier_count > MOST_TIERS) return -1;
    memcpy(tiers, table, (size_t)tier_count * sizeof(tier_t));
    double free_wallet = balance, quantity = 0.0, entry = 0.0;
    long order = 0, settlement = 0;
    for (long t = 0; t < bars; t++) {
        int happened = 0;
        while (settlement < settlements && settlement_bar[settlement] == t) {
            free_wallet -= quantity * mark_open[t] * rate[settlement];
            settlement++;
            happened = 1;
        }
        if (happened || (order < orders && due_bar[order] == t)) {
            double held = fabs(quantity);
            double account = free_wallet + quantity * (mark_open[t] - entry);
            if (held > 0.0 && account <= required(tiers, tier_count, held * mark_open[t])) return t;
        }
        if (order < orders && due_bar[order] == t) {
            double account = free_wallet + quantity * (mark_open[t] - entry);
            double price = trade_open[t];
            double want = whole_lots(target[order] * fmax(account, 0.0) / price, lots_per_unit) / lots_per_unit;
            double change = want - quantity;
            if (quantity * change < 0.0) {
                double part = fabs(change) < fabs(quantity) ? change : -quantity;
                free_wallet += -part * (price - entry) - fabs(part) * price * fee;
                quantity += part;
                change = want - quantity;
                if (quantity == 0.0) entry = 0.0;
            }
            if (change != 0.0) {
                double cap = 0.0;
                for (int k = 0; k < tier_count && tiers[k].max_leverage >= leverage; k++) cap = tiers[k].cap;
                double most = floor(cap / mark_open[t] * lots_per_unit) / lots_per_unit;
                double size = fmin(fabs(change), fmax(most - fabs(quantity), 0.0));
                double side = change > 0.0 ? 1.0 : -1.0;
                double need = price * (1.0 / leverage + fee) + fmax(0.0, side * (price - mark_open[t]));
                double available = free_wallet + quantity * (mark_open[t] - entry)
                    - fabs(quantity) * mark_open[t] / leverage;
                if (size * need > fmax(available, 0.0))
                    size = whole_lots(fmax(available, 0.0) / need, lots_per_unit) / lots_per_unit;
                if (size > 0.0) {
                    double part = side * size;
                    entry = (quantity * entry + part * price) / (quantity + part);
                    quantity += part;
                    free_wallet -= size * price * fee;
                }
            }
            order++;
        }
        double size = fabs(quantity);
        if (size > 0.0) {
            double adverse = quantity > 0.0 ? low[t] : high[t];
            if (free_wallet + quantity * (adverse - entry) <= required(tiers, tier_count, size * high[t])) return t;
        }
        equity[t] = free_wallet + quantity * (close[t] - entry);
        wallet[t] = free_wallet;
        requirement[t] = required(tiers, tier_count, size * close[t]);
    }
    return bars;
}
