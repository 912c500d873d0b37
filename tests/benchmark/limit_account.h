/* The account that the C loops share: one cross account in one linear contract, with margin tiers.
 *
 * Every function is inlined into its loop; the account is a local there, so that the compiler keeps it in registers.
 */
#ifndef LIMIT_ACCOUNT_H
#define LIMIT_ACCOUNT_H

#include <math.h>
#include <stddef.h>
#include <string.h>

enum { MOST_TIERS = 16 };

typedef struct {
    double floor, cap, rate, deduction, max_leverage;
} tier_t;

/* What a contract and its venue state. */
typedef struct {
    tier_t tiers[MOST_TIERS];
    int tier_count;
    double lots_per_unit, leverage, fee;
} terms_t;

typedef struct {
    double wallet, quantity, entry;
} account_t;

static inline int find_tier(const terms_t *terms, double size) {
    int k = 0;
    while (k + 1 < terms->tier_count && size >= terms->tiers[k + 1].floor) k++;
    return k;
}

static inline double required(const terms_t *terms, double notional) {
    const tier_t *tier = &terms->tiers[find_tier(terms, notional)];
    return notional * tier->rate - tier->deduction;
}

static inline double whole_lots(double quantity, double lots_per_unit) {
    double lots = quantity * lots_per_unit, nearest = rint(lots);
    return fabs(lots - nearest) <= 1e-9 ? nearest : trunc(lots);
}

static inline double equity_at(const account_t *account, double mark) {
    return account->wallet + account->quantity * (mark - account->entry);
}

/* Whether the account is liquidated at one mark. */
static inline int is_lost(const terms_t *terms, const account_t *account, double mark) {
    double held = fabs(account->quantity);
    return held > 0.0 && equity_at(account, mark) <= required(terms, held * mark);
}

/* Whether a bar's path loses the account: the worst extreme against the requirement at the largest notional. */
static inline int is_lost_inside(const terms_t *terms, const account_t *account, double low, double high) {
    double held = fabs(account->quantity);
    if (held == 0.0) return 0;
    double adverse = account->quantity > 0.0 ? low : high;
    return equity_at(account, adverse) <= required(terms, held * high);
}

/* A market order for an exposure: lots, fees, the part that closes first, margin fit and tier cap.
 * Returns whether anything was traded. */
static inline int fill_order(const terms_t *terms, account_t *account, double target, double price, double mark) {
    double lots = terms->lots_per_unit, leverage = terms->leverage, fee = terms->fee;
    double worth = fmax(equity_at(account, mark), 0.0);
    double want = whole_lots(target * worth / price, lots) / lots;
    double change = want - account->quantity;
    int traded = 0;
    if (account->quantity * change < 0.0) {
        double part = fabs(change) < fabs(account->quantity) ? change : -account->quantity;
        account->wallet += -part * (price - account->entry) - fabs(part) * price * fee;
        account->quantity += part;
        change = want - account->quantity;
        if (account->quantity == 0.0) account->entry = 0.0;
        traded = 1;
    }
    if (change == 0.0) return traded;
    double cap = 0.0;
    for (int k = 0; k < terms->tier_count && terms->tiers[k].max_leverage >= leverage; k++) cap = terms->tiers[k].cap;
    double most = floor(cap / mark * lots) / lots;
    double size = fmin(fabs(change), fmax(most - fabs(account->quantity), 0.0));
    double side = change > 0.0 ? 1.0 : -1.0;
    double need = price * (1.0 / leverage + fee) + fmax(0.0, side * (price - mark));
    double available = fmax(equity_at(account, mark) - fabs(account->quantity) * mark / leverage, 0.0);
    if (size * need > available) size = whole_lots(available / need, lots) / lots;
    if (size <= 0.0) return traded;
    double part = side * size;
    account->entry = (account->quantity * account->entry + part * price) / (account->quantity + part);
    account->quantity += part;
    account->wallet -= size * price * fee;
    return 1;
}

/* Copies a table into terms; 0 where it does not fit. */
static inline int set_terms(
    terms_t *terms, const tier_t *table, int count, double lots_per_unit, double leverage, double fee
) {
    if (count < 1 || count > MOST_TIERS) return 0;
    memcpy(terms->tiers, table, (size_t)count * sizeof(tier_t));
    terms->tier_count = count;
    terms->lots_per_unit = lots_per_unit;
    terms->leverage = leverage;
    terms->fee = fee;
    return 1;
}

#endif
