//! Somebody who types, by chance.

use std::collections::BTreeMap;

/// What can be typed into a table.
pub(super) struct Table {
    /// Each with whether it holds text.
    pub(super) columns: Vec<(String, bool)>,
    /// The first column of its key.
    pub(super) key: String,
    /// The other names of its rows.
    pub(super) aliases: &'static [&'static str],
}

/// Somebody who types.
pub(super) struct Operator<'a> {
    pub(super) rng: &'a mut fastrand::Rng,
    pub(super) tables: BTreeMap<String, Table>,
    /// For ids that are new.
    pub(super) keys: u32,
}

/// Those that an operator types into most.
const TABLES: [&str; 22] = [
    "fulfillments",
    "fulfillments",
    "fulfillments",
    "fulfillments",
    "fulfillments",
    "fulfillment_line_items",
    "fulfillment_line_items",
    "fulfillment_line_items",
    "line_items",
    "line_items",
    "orders",
    "orders",
    "orders",
    "events",
    "refunds",
    "disputes",
    "reviews",
    "outbox",
    "hook_runs",
    "order_history",
    "fraud_warnings",
    "sequence",
];
const YOURS: [(&str, &[&str]); 5] = [
    (
        "orders",
        &["note", "hold_reason", "canceled_at", "cancel_reason", "email", "shipping_line1", "name"],
    ),
    ("line_items", &["canceled_quantity", "canceled_quantity", "cancel_reason"]),
    (
        "fulfillments",
        &[
            "status",
            "status",
            "status",
            "tracking_company",
            "tracking_number",
            "tracking_url",
            "note",
            "shipped_at",
            "delivered_at",
            "canceled_at",
        ],
    ),
    ("fulfillment_line_items", &["quantity"]),
    ("events", &["state"]),
];
const ODD: [&str; 22] = [
    "NULL",
    "''",
    "' '",
    "0",
    "-1",
    "1",
    "2",
    "1.5",
    "'1'",
    "'x'",
    "x'00ff'",
    "9223372036854775807",
    "-9223372036854775808",
    "9e999",
    "9223372036854775808",
    "'ﬁ€\u{202e}'",
    "'it''s'",
    "char(0)",
    "zeroblob(3)",
    "random()",
    "TRUE",
    "'pending'",
];
const TIMES: [&str; 14] = [
    "strftime('%Y-%m-%dT%H:%M:%SZ', 'now')",
    "'2026-11-24T03:05:00Z'",
    "'2026-11-24T03:05:00Z'",
    "'2026-11-24'",
    "'2026-11-24T03:05:00+01:00'",
    "'2026-11-24 03:05:00'",
    "'now'",
    "'2026-02-30T00:00:00Z'",
    "'0000-01-01T00:00:00Z'",
    "'2461000.5'",
    "1795489500",
    "datetime('now')",
    "'9999-12-31T23:59:59Z'",
    "'-4713-11-24T12:00:00Z'",
];

impl Operator<'_> {
    pub(super) fn line(&mut self) -> String {
        match self.rng.u32(0..100) {
            0..32 => self.update(),
            32..47 => self.insert(),
            47..52 => self.delete(),
            52..76 => self.verb(),
            76..84 => self.stripe(),
            84..94 => self.frame(),
            // Seldom, because every compiled statement goes with it.
            94 if self.one_in(6) => "PRAGMA recursive_triggers = ON".into(),
            95 if self.one_in(6) => "PRAGMA recursive_triggers = OFF".into(),
            94..97 => self.verb(),
            97 => "UPDATE actor SET name = 'operator-override'".into(),
            _ => "UPDATE actor SET name = 'operator'".into(),
        }
    }

    /// Any table, so that a new one is typed into as well.
    fn table(&mut self) -> String {
        if !self.one_in(6) {
            return self.pick(&TABLES).into();
        }
        let n = self.rng.usize(0..self.tables.len());
        self.tables.keys().nth(n).expect("n is one of them").clone()
    }

    fn frame(&mut self) -> String {
        let name = self.pick(&["a", "b"]);
        match self.rng.u32(0..10) {
            0..2 => "BEGIN".into(),
            2..5 => "COMMIT".into(),
            5 => "ROLLBACK".into(),
            6..8 => format!("SAVEPOINT {name}"),
            8 => format!("RELEASE {name}"),
            _ => format!("ROLLBACK TO {name}"),
        }
    }

    fn update(&mut self) -> String {
        let table = &self.table()[..];
        let or = self.or();
        let sets = self.sets(table);
        let from = if self.one_in(12) { " FROM orders AS o" } else { "" };
        let condition = self.condition(table);
        let condition = if from.is_empty() || condition.is_empty() {
            condition
        } else {
            condition.replace(" id ", &format!(" {table}.id "))
        };
        format!("UPDATE {or}{table} SET {sets}{from}{condition}")
    }

    fn sets(&mut self, table: &str) -> String {
        let mut sets = BTreeMap::new();
        for _ in 0..if self.one_in(3) { self.rng.usize(2..4) } else { 1 } {
            let yours = YOURS.iter().find(|(t, _)| *t == table).map(|(_, columns)| *columns);
            let column = match yours {
                Some(columns) if !self.one_in(6) => self.pick(columns).to_string(),
                _ => self.name(table),
            };
            let value = self.value(table, &column);
            sets.insert(column, value);
        }
        sets.iter()
            .map(|(column, value)| format!("{column} = {value}"))
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn insert(&mut self) -> String {
        let table = &self.table()[..];
        let verb = match self.rng.u32(0..3) {
            0 => "REPLACE ".to_string(),
            _ => format!("INSERT {}", self.or()),
        };
        let condition = self.condition(table);
        if self.one_in(3) {
            // A row again, or all but one column of it.
            let names: Vec<String> =
                self.tables[table].columns.iter().map(|(name, _)| name.clone()).collect();
            let other = self.column(table);
            let value = self.value(table, &other);
            let values: Vec<&str> =
                names.iter().map(|name| if *name == other { &value[..] } else { name }).collect();
            return format!(
                "{verb}INTO {table} SELECT {} FROM {table}{condition}",
                values.join(", ")
            );
        }
        let mut names: Vec<String> =
            self.tables[table].columns.iter().map(|(name, _)| name.clone()).collect();
        names.retain(|_| !self.one_in(4));
        let aliases = self.tables[table].aliases;
        if !aliases.is_empty() && self.one_in(6) {
            names.push(self.pick(aliases).into());
        }
        if names.is_empty() {
            return format!("{verb}INTO {table} DEFAULT VALUES");
        }
        let rows = if self.one_in(4) { 2 } else { 1 };
        let row = |me: &mut Self| {
            names.iter().map(|name| me.value(table, name)).collect::<Vec<_>>().join(", ")
        };
        let rows: Vec<String> = (0..rows).map(|_| format!("({})", row(self))).collect();
        let upsert = if verb.starts_with("INSERT INTO") || self.one_in(2) {
            match self.rng.u32(0..4) {
                0 => " ON CONFLICT DO NOTHING".into(),
                1 => format!(" ON CONFLICT DO UPDATE SET {}", self.sets(table)),
                _ => String::new(),
            }
        } else {
            String::new()
        };
        format!("{verb}INTO {table}({}) VALUES{}{upsert}", names.join(", "), rows.join(", "))
    }

    fn delete(&mut self) -> String {
        let table = &self.table()[..];
        format!("DELETE FROM {table}{}", self.condition(table))
    }

    fn verb(&mut self) -> String {
        let or = if self.one_in(4) { self.or() } else { String::new() };
        let rows = if self.one_in(5) { 2 } else { 1 };
        let verb = self.pick(&[
            "ship",
            "ship",
            "ship_parcel",
            "ship_items",
            "reship",
            "reship_items",
            "deliver",
            "cancel",
            "hold",
            "release",
            "settle",
            "early",
            "dismiss",
        ]);
        let rows: Vec<String> = (0..rows)
            .map(|_| {
                let order = self.order();
                let values = match verb {
                    "reship" => format!("'{}'", self.pick(&["lost", "damaged", "late"])),
                    "reship_items" => {
                        format!("'{}', 'lost'", self.pick(&["1", "2", "1x1", "1,2", "x", ""]))
                    }
                    "ship_items" => format!(
                        "'{}', {}, {}, NULL",
                        self.pick(&["1", "2", "1x1", "1x2,2", "3", "x", ""]),
                        self.value("fulfillments", "tracking_company"),
                        self.value("fulfillments", "tracking_number")
                    ),
                    "ship" | "ship_parcel" => format!(
                        "{}, {}, {}",
                        self.value("fulfillments", "tracking_company"),
                        self.value("fulfillments", "tracking_number"),
                        self.value("fulfillments", "tracking_url")
                    ),
                    "cancel" => self.value("orders", "cancel_reason"),
                    "hold" => self.value("orders", "hold_reason"),
                    "settle" => self.value("fulfillment_line_items", "fulfillment_id"),
                    "dismiss" => {
                        let reason = self.pick(&[
                            "unsent",
                            "sums_differ",
                            "fraud_warning",
                            "refund_failed",
                            "no_lines",
                        ]);
                        format!("'{reason}'")
                    }
                    "early" => self.value("refunds", "payment_intent_id"),
                    _ => return format!("({order})"),
                };
                format!("({order}, {values})")
            })
            .collect();
        format!("INSERT {or}INTO {verb} VALUES{}", rows.join(", "))
    }

    fn or(&mut self) -> String {
        match self.rng.u32(0..12) {
            0..2 => "OR REPLACE ",
            2..4 => "OR IGNORE ",
            4 => "OR ROLLBACK ",
            5 => "OR FAIL ",
            _ => "",
        }
        .into()
    }

    fn condition(&mut self, table: &str) -> String {
        let aliases = self.tables[table].aliases;
        let id = match aliases.is_empty() || !self.one_in(5) {
            true => &self.tables[table].key.clone()[..],
            false => self.pick(aliases),
        };
        let value = self.value(table, id);
        match self.rng.u32(0..10) {
            0 => String::new(),
            1 => " WHERE 1".into(),
            2 if self.tables[table].columns.iter().any(|(name, _)| name == "status") => {
                format!(" WHERE status = {}", self.value(table, "status"))
            }
            3..6 if self.tables[table].columns.iter().any(|(name, _)| name == "order_id") => {
                format!(" WHERE order_id = {}", self.order())
            }
            6 => format!(" WHERE {id} IN({value}, {})", self.value(table, id)),
            7 => format!(" WHERE {id} = (SELECT max({id}) FROM {table})"),
            _ => format!(" WHERE {id} = {value}"),
        }
    }

    fn value(&mut self, table: &str, column: &str) -> String {
        if self.one_in(9) {
            return match self.rng.u32(0..6) {
                0 => self.column(table),
                1 => format!("{column} + 1"),
                2 => format!("(SELECT max({column}) FROM {table})"),
                3 => "NULL".into(),
                _ => self.pick(&ODD).into(),
            };
        }
        let order = self.rng.u32(1..25);
        match (table, column) {
            (_, "rowid" | "oid" | "_rowid_") => self.rng.u32(1..45).to_string(),
            (_, "one") => self.rng.u32(1..3).to_string(),
            ("actor", "name") => self.pick(&["'operator'", "'operator-override'", "'x'"]).into(),
            ("sweeps", "name") => {
                self.pick(&["'events'", "'sessions'", "'refunds'", "'disputes'"]).into()
            }
            ("sweeps", "until") => self.pick(&TIMES).into(),
            ("alarms", "name") => self.pick(&["'silence'", "'file_went_back'"]).into(),
            ("carriers", "company") => self.pick(&["'dhl'", "'ups'", "'bike'"]).into(),
            ("carriers", "url") => self.pick(&["'https://example.org/{}'", "'{}'", "'x'"]).into(),
            (_, "currency") if table == "currency_decimals" => {
                self.pick(&["'jpy'", "'eur'", "'kwd'"]).into()
            }
            (_, "outbox_id") => self.rng.u32(1..4).to_string(),
            (_, "target") => "'/opt/hook'".into(),
            (_, "status") => format!(
                "'{}'",
                self.pick(&[
                    "pending",
                    "shipped",
                    "delivered",
                    "canceled",
                    "succeeded",
                    "won",
                    "Shipped"
                ])
            ),
            (_, "payment_status") => {
                format!("'{}'", self.pick(&["paid", "unpaid", "failed", "no_payment_required"]))
            }
            (_, "state") => {
                format!("'{}'", self.pick(&["pending", "done", "ignored", "failed", "dead"]))
            }
            (_, "cancel_reason") if !self.one_in(4) => {
                format!("'{}'", self.pick(&["customer", "fraud", "inventory", "other"]))
            }
            (_, "cancel_reason" | "hold_reason" | "note" | "tracking_url") if self.one_in(3) => {
                "NULL".into()
            }
            (_, "tracking_number") if self.one_in(8) => {
                self.pick(&["'\t JD5 '", "12", "''"]).into()
            }
            (_, "tracking_number") => format!("'JD{}'", self.rng.u32(0..12)),
            (_, "replacement") => self.pick(&["NULL", "NULL", "'lost'"]).into(),
            (_, "tracking_company") => self.pick(&["'DHL'", "' ups '", "'Bike'", "NULL"]).into(),
            (_, "order_id") => self.order(),
            (_, "canceled_at") if self.one_in(3) => "NULL".into(),
            (_, "id" | "line_item_id") if table.contains("line_item") => {
                format!("'li_{order}_{}'", self.rng.u32(1..3))
            }
            ("events", "id") | (_, "event_id") => format!("'evt_{}'", self.rng.u32(1..6)),
            ("refunds", "id") => format!("'re_{order}'"),
            ("disputes", "id") => format!("'dp_{}'", self.rng.u32(11..14)),
            ("reviews", "id") => format!("'prv_{}'", self.rng.u32(14..16)),
            ("fraud_warnings", "id") => "'issfr_2'".into(),
            (_, "id" | "fulfillment_id") => self.rng.u32(1..45).to_string(),
            (_, "payment_intent_id") => format!("'pi_{order}'"),
            (_, "checkout_session_id") => format!("'cs_{order}'"),
            (_, "currency") => "'eur'".into(),
            (_, "custom_fields" | "tax_ids" | "metadata") => "'[]'".into(),
            (_, "what") => self.pick(&["'note'", "'fulfillment 1 status'", "'order'"]).into(),
            (_, "actor") => self.pick(&["'operator'", "'stripe:evt_1'", "'fulfilld:undo'"]).into(),
            (_, "topic") => {
                self.pick(&["'fulfillment.shipped'", "'order.paid'", "'order.canceled'"]).into()
            }
            (_, "key") => {
                format!(
                    "'{}'",
                    self.pick(&["order:1:canceled", "fulfillment:1:shipped", "refund:re_9", "x"])
                )
            }
            (_, name) if name.ends_with("_at") || name == "as_of" || name == "at" => {
                self.pick(&TIMES).into()
            }
            (_, name)
                if self.tables[table]
                    .columns
                    .iter()
                    .any(|(known, text)| known == name && *text) =>
            {
                self.pick(&["''", "'DHL'", "'blue'", "'https://example.org/'", "NULL"]).into()
            }
            _ => self.rng.u32(0..5).to_string(),
        }
    }

    fn order(&mut self) -> String {
        if self.one_in(15) { self.pick(&ODD).into() } else { self.rng.u32(1..26).to_string() }
    }

    fn column(&mut self, table: &str) -> String {
        let n = self.rng.usize(0..self.tables[table].columns.len());
        self.tables[table].columns[n].0.clone()
    }

    /// A column, or another name of the row.
    fn name(&mut self, table: &str) -> String {
        let aliases = self.tables[table].aliases;
        if aliases.is_empty() || !self.one_in(3) {
            self.column(table)
        } else {
            self.pick(aliases).into()
        }
    }

    pub(super) fn pick<'b>(&mut self, from: &[&'b str]) -> &'b str {
        from[self.rng.usize(0..from.len())]
    }

    pub(super) fn one_in(&mut self, n: u32) -> bool {
        self.rng.u32(0..n) == 0
    }
}
