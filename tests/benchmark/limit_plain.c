/* The replay's limit as a plain loop over bars, with the records of every bar.
 *
 * The same steps as the compiled replay: settlements at the open, the liquidation check at the open of a bar in which
 * something happened, market orders on target exposure with lots, fees, margin fit and tier cap, the path test on the
 * mark's extremes, and equity, wallet and requirement at the mark close. The path test is the replay's bound: the worst
 * extreme against the requirement at the largest notional; where nothing happened at the open it covers the open too.
 * A bar that fails a test ends the loop: the inputs of the benchmark have none. Pointers are restrict and the tiers lie
 * in a local array, so that the compiler need not load them again after each record that is written.
 */
#include "limit_account.h"

long replay(
    long bars, const double *restrict trade_open, const double *restrict mark_open, const double *restrict low,
    const double *restrict high, const double *restrict close, long orders, const long *restrict due_bar,
    const double *restrict target, long settlements, const long *restrict settlement_bar, const double *restrict rate,
    const tier_t *restrict table, int tier_count, double lots_per_unit, double leverage, double fee, double balance,
    double *restrict equity, double *restrict wallet, double *restrict requirement
) {
    terms_t terms;
    if (!set_terms(&terms, table, tier_count, lots_per_unit, leverage, fee)) return -1;
    account_t account = {balance, 0.0, 0.0};
    long order = 0, settlement = 0;
    for (long t = 0; t < bars; t++) {
        int happened = 0;
        while (settlement < settlements && settlement_bar[settlement] == t) {
            account.wallet -= account.quantity * mark_open[t] * rate[settlement];
            settlement++;
            happened = 1;
        }
        int is_due = order < orders && due_bar[order] == t;
        if ((happened || is_due) && is_lost(&terms, &account, mark_open[t])) return t;
        if (is_due) {
            fill_order(&terms, &account, target[order], trade_open[t], mark_open[t]);
            order++;
        }
        if (is_lost_inside(&terms, &account, low[t], high[t])) return t;
        equity[t] = equity_at(&account, close[t]);
        wallet[t] = account.wallet;
        requirement[t] = required(&terms, fabs(account.quantity) * close[t]);
    }
    return bars;
}
