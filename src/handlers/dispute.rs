//! charge.dispute.*: a buyer's bank takes the money back; how does the dispute stand?

use serde_json::Value;

use super::fields::Fields;
use super::payment::{self, needed};
use super::{Handled, Look};
use crate::change::{About, Change, Dispute, MoneyMove, Settled};
use crate::clock::{self, Timestamp};
use crate::error::Result;
use crate::stripe::Stripe;

/// Opened, answered, closed, or its money moved.
pub fn changed(look: &Look, stripe: &Stripe) -> Result<Handled> {
    payment::told_by(&stripe.dispute(look.object_id()?)?, stripe, read)
}

/// How often the money of a dispute, as Stripe has it, has left the shop or come back: so many
/// [`Dispute::money_moves`] it leads to.
pub fn times_moved(dispute: &Value) -> usize {
    let all = dispute["balance_transactions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let moved = all.iter().filter(|one| one["amount"].as_i64().is_some_and(|amount| amount != 0));
    match moved.count() {
        0 => usize::from(dispute["status"] == LOST),
        some => some,
    }
}

/// Stripe's word for a dispute that took its money, whatever else Stripe shows of it.
const LOST: &str = "lost";

fn read(dispute: Fields, about: About) -> Result<Change> {
    let amount = needed(dispute, "amount", dispute.amount("/amount")?)?;
    let currency = needed(dispute, "currency", dispute.text("/currency"))?.to_lowercase();
    let status = needed(dispute, "status", dispute.text("/status"))?;
    let mut moves = money_moves(dispute, amount, &currency, about.created_at)?;
    if status == LOST && moves.is_empty() {
        moves.push(MoneyMove { amount: -amount, at: about.created_at, settled: None });
    }
    let taken = -moves.iter().map(|moved| moved.amount).sum::<i64>();
    // An open one has taken nothing for good; one that was prevented may have been settled by
    // giving the money back; of one that was won a part may stay away, which is known once some of
    // it has come back.
    let amount_lost = match status.as_str() {
        "lost" | "prevented" => taken.max(0),
        "won" if moves.iter().any(|moved| moved.amount > 0) => taken.max(0),
        _ => 0,
    };
    Ok(Change::Dispute(Dispute {
        about,
        amount,
        currency,
        status,
        amount_lost,
        is_charge_refundable: dispute
            .at("/is_charge_refundable")
            .and_then(Value::as_bool)
            .unwrap_or(false),
        settled: settled(&moves, amount_lost > 0),
        money_moves: moves,
        reason: dispute.text("/reason"),
        evidence_due_by: dispute.amount("/evidence_details/due_by")?.and_then(clock::from_unix),
    }))
}

/// What its balance transactions say. Those of an account that is paid out in another currency show
/// what share of the dispute moved: the first that left is all of it, and what differs by less than
/// a tenth is what the rate did meanwhile.
fn money_moves(
    dispute: Fields,
    amount: i64,
    currency: &str,
    since: Timestamp,
) -> Result<Vec<MoneyMove>> {
    let all = dispute
        .at("/balance_transactions")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mut moves = Vec::new();
    for transaction in all.iter().map(Fields).filter(|transaction| transaction.0.is_object()) {
        let moved = transaction.amount("/amount")?.unwrap_or(0);
        let own = transaction.text("/currency").map(|own| own.to_lowercase());
        let at = transaction.amount("/created")?.and_then(clock::from_unix).unwrap_or(since);
        if moved != 0 {
            let settled = own.filter(|own| own != currency).map(|own| (moved, own));
            moves.push(MoneyMove { amount: moved, at, settled });
        }
    }
    moves.sort_by_key(|moved| moved.at);
    let left = moves.iter().find_map(|moved| moved.settled.clone().filter(|(moved, _)| *moved < 0));
    for moved in &mut moves {
        if let Some((settled, own)) = &moved.settled {
            let share = match &left {
                Some((all, in_)) if in_ == own => *settled as f64 / -*all as f64,
                _ => settled.signum() as f64,
            };
            let rounded = if (share.abs() - 1.0).abs() < 0.1 { share.signum() } else { share };
            moved.amount = (rounded * amount as f64).round() as i64;
        }
    }
    Ok(moves)
}

/// What they come to in the currency of the shop's balance; `None` where that is the dispute's, or
/// there are several.
fn settled(moves: &[MoneyMove], lost: bool) -> Option<Settled> {
    let settled: Vec<&(i64, String)> =
        moves.iter().map(|moved| moved.settled.as_ref()).collect::<Option<_>>()?;
    let currency = &settled.first()?.1;
    if settled.iter().any(|(_, other)| other != currency) {
        return None;
    }
    let most = settled.iter().map(|(moved, _)| -moved).max().unwrap_or(0).max(0);
    let left: i64 = -settled.iter().map(|(moved, _)| moved).sum::<i64>();
    let lost = if lost { left.clamp(0, most) } else { 0 };
    Some(Settled { currency: currency.clone(), amount: most, lost })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stripe::Answer;
    use serde_json::json;

    #[test]
    fn a_dispute_says_until_when_it_may_be_answered_and_keeps_words_that_are_new() {
        let read = |value: Value| {
            let answer = Answer { at: clock::now(), value };
            let dispute = Fields(&answer.value);
            match super::read(dispute, payment::about(dispute, &answer, "pi_1")?)? {
                Change::Dispute(dispute) => Ok::<_, crate::error::Error>(dispute),
                other => panic!("{other:?}"),
            }
        };
        let dispute = json!({"id": "du_1", "amount": 4200, "currency": "eur",
            "status": "appeal_in_space", "charge": "ch_1",
            "reason": "fraudulent", "evidence_details": {"due_by": 1795489500}});
        let dispute = read(dispute).unwrap();
        assert_eq!(
            (dispute.status.as_str(), dispute.evidence_due_by),
            ("appeal_in_space", clock::from_unix(1795489500))
        );
        let bare = json!({"id": "du_1", "amount": 4200, "currency": "eur", "status": "lost",
            "evidence_details": {"due_by": null}});
        assert_eq!(read(bare).unwrap().evidence_due_by, None);
        let money = |status: &str, moves: Value| {
            let at = 1795489500;
            let dispute = json!({"id": "du_1", "amount": 900, "currency": "eur", "status": status, "created": at,
                "balance_transactions": moves});
            let dispute = read(dispute).unwrap();
            (
                dispute.amount_lost,
                dispute.money_moves.into_iter().map(|moved| moved.amount).collect::<Vec<_>>(),
            )
        };
        let moved = |amount: i64, currency: &str| {
            json!({"amount": amount, "currency": currency,
            "created": 1795489600, "fee": 1500})
        };
        assert_eq!(money("needs_response", json!([moved(-900, "eur")])), (0, vec![-900]));
        assert_eq!(money("lost", json!([moved(-900, "eur")])), (900, vec![-900]));
        assert_eq!(money("lost", json!([])), (900, vec![-900]));
        assert_eq!(money("lost", json!([moved(-1030, "usd")])), (900, vec![-900]));
        assert_eq!(
            money("won", json!([moved(-900, "eur"), moved(900, "eur")])),
            (0, vec![-900, 900])
        );
        assert_eq!(
            money("won", json!([moved(-900, "eur"), moved(600, "eur")])),
            (300, vec![-900, 600])
        );
        assert_eq!(money("won", json!([moved(-900, "eur")])), (0, vec![-900]), "not back yet");
        // The account is paid out in dollars: a half of it comes back, or all at another rate.
        let in_dollars = |back: i64| json!([moved(-1030, "usd"), moved(back, "usd")]);
        assert_eq!(money("won", in_dollars(515)), (450, vec![-900, 450]));
        assert_eq!(money("won", in_dollars(1011)), (0, vec![-900, 900]));
        assert_eq!(money("prevented", json!([])), (0, vec![]));
        assert_eq!(money("prevented", json!([moved(-900, "eur")])), (900, vec![-900]));
        let error = read(json!({"id": "du_1", "amount": 1, "currency": "eur"})).unwrap_err();
        assert_eq!(error.to_string(), "du_1 has no status");
    }
}
