// The whole text of the schema, for `include!`: one place composes it for the program, its tests and
// the benches. Of two triggers for the same moment SQLite runs the later one first, so the history of
// a change stands before what follows from it.
concat!(
    include_str!("../schema.sql"),
    include_str!("facts.sql"),
    include_str!("events.sql"),
    include_str!("orders.sql"),
    include_str!("fulfillment.sql"),
    include_str!("attention.sql"),
    include_str!("outbox.sql"),
    include_str!("history.sql"),
)
