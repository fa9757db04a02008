//! Watches `FULFILLD_ONLY`: one under which no session is the shop's loses every order, and nothing
//! fails.

use crate::alarms::{self, Alarm};
use crate::clock;
use crate::context::Context;
use crate::db::Reader;
use crate::stripe::OTHERS_MAX;

/// Raises the alarm, and ends it with the first order.
#[derive(Default)]
pub struct Watch {
    raised: bool,
    /// There is an order, so the setting matches something.
    sold: bool,
}

impl Watch {
    /// One look, cheap enough for five in a second.
    pub fn look(&mut self, context: &Context, reader: &Reader) {
        if self.sold || context.stripe.sessions_of_others() < OTHERS_MAX {
            return;
        }
        let sold = reader
            .get()
            .map(|c| c.query_row("SELECT EXISTS(SELECT 1 FROM orders)", [], |row| row.get(0)));
        let Ok(Ok(sold)) = sold else { return };
        let alarm = Alarm::only_matches_nothing();
        let said = alarm.message.clone();
        let written = match (sold, self.raised) {
            (false, false) => context.writer.write(move |c| alarms::raise(c, &alarm, clock::now())),
            (true, true) => context.writer.write(move |c| alarms::clear(c, alarm.name)),
            (true, false) => Ok(()),
            (false, true) => return,
        };
        match written {
            Ok(()) if sold => self.sold = true,
            Ok(()) => {
                log::error!("{said}");
                self.raised = true;
            }
            Err(error) => {
                log::debug!("the alarm about FULFILLD_ONLY is written a little later: {error}")
            }
        }
    }
}
