/* The replay's limit: one cross account in one linear contract, per-bar records, written as a plain loop.
 *
 * The same steps as the compiled replay: settlements at the open, the liquidation check at the open, market orders on
 * target exposure with lots, fees, margin fit and tier cap, the path test on the mark's extremes, and equity, wallet and
 * requirement at the mark close. A bar that can reach the trigger ends the loop: the inputs of the benchmark have none.
 */
#include <math.h>
#include <stddef.h>

typedef struct { double floor, cap, rate, deduction, max_leverage; } tier_t;

static int find_tier(const tier_t *tiers, int count, double size) {
    int k = 0;
    while (k + 1 < count && size >= tiers[k + 1].floor) k++;
    return k;
}

long replay(
    long bars, const double *trade_open, const double *mark_open, const double *low, const double *high,
    const double *close, long orders, const long *due_bar, const double *target, long settlements,
    const long *settlement_bar, const double *rate, const tier_t *tiers, int tier_count, double lots_per_unit,
    double leverage, double fee, double balance, double *equity, double *wallet, double *requirement, double *final
) {
    double free_wallet = balance, quantity = 0.0, entry = 0.0;
    long order = 0, settlement = 0;
    for (long t = 0; t < bars; t++) {
        while (settlement < settlements && settlement_bar[settlement] == t) {
            free_wallet -= quantity * mark_open[t] * rate[settlement];
            settlement++;
        }
        if (order < orders && due_bar[order] == t) {
            double account = free_wallet + quantity * (mark_open[t] - entry);
            double price = trade_open[t];
            double want = target[order] * fmax(account, 0.0) / price;
            want = trunc(want * lots_per_unit + (want > 0 ? 1e-9 : -1e-9)) / lots_per_unit;
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
                double room = fmax(floor(cap / mark_open[t] * lots_per_unit) / lots_per_unit - fabs(quantity), 0.0);
                double size = fmin(fabs(change), room);
                double need = price * (1.0 / leverage + fee);
                double available = free_wallet + quantity * (mark_open[t] - entry) - fabs(quantity) * mark_open[t] / leverage;
                if (size * need > available) size = floor(fmax(available, 0.0) / need * lots_per_unit) / lots_per_unit;
                double part = change > 0 ? size : -size;
                if (part != 0.0) {
                    entry = (quantity * entry + part * price) / (quantity + part);
                    quantity += part;
                    free_wallet -= size * price * fee;
                }
            }
            order++;
        }
        double size = fabs(quantity);
        if (size > 0.0) {
            const tier_t *top = &tiers[find_tier(tiers, tier_count, size * high[t])];
            double adverse = quantity > 0.0 ? low[t] : high[t];
            if (free_wallet + quantity * (adverse - entry) <= size * high[t] * top->rate - top->deduction) return t;
        }
        const tier_t *now = &tiers[find_tier(tiers, tier_count, size * close[t])];
        equity[t] = free_wallet + quantity * (close[t] - entry);
        wallet[t] = free_wallet;
        requirement[t] = size * close[t] * now->rate - now->deduction;
    }
    *final = quantity;
    return bars;
}
