//! A row keeps its place, whichever of its names is typed: its key, rowid, oid and _rowid_.

use rusqlite::Connection;

use super::harness::{made, rows, tables};
use super::{SCHEMA, stripe};

/// `UPDATE OR REPLACE orders SET rowid = 2 WHERE id = 1` once put order 1 in the place of order 2,
/// and a buyer was sent another's goods.
#[test]
fn no_order_takes_another_s_place_by_any_name_of_a_row() {
    let c = made(SCHEMA);
    let before = everything(&c);
    let mut typed = 0;
    for (name, table) in tables() {
        // Carriers are the operator's, and an alarm about a thing is one row.
        if ["carriers", "alarms"].contains(&&name[..]) {
            continue;
        }
        for id in std::iter::once(&table.key[..]).chain(table.aliases.iter().copied()) {
            let own = &table.key;
            let others: Vec<String> =
                table.columns.iter().map(|(column, _)| column.clone()).collect();
            let others: Vec<&str> =
                others.iter().filter(|column| *column != id).map(|column| &column[..]).collect();
            let (columns, place) = (others.join(", "), format!("(SELECT max({own}) FROM {name})"));
            for or in ["", "OR REPLACE ", "OR IGNORE ", "OR FAIL ", "OR ROLLBACK "] {
                let lines = [
                    format!(
                        "UPDATE {or}{name} SET {id} = {place} WHERE {own} = (SELECT min({own}) \
                         FROM {name} WHERE {own} < {place})"
                    ),
                    format!(
                        "UPDATE {or}{name} SET {id} = (SELECT max({id}) FROM {name}) WHERE {id} = \
                         (SELECT min({id}) FROM {name})"
                    ),
                    format!("UPDATE {or}{name} SET {id} = {id} + 1000"),
                    format!(
                        "INSERT {or}INTO {name}({id}, {columns}) SELECT (SELECT max({id}) \
                         FROM {name}), {columns} FROM {name} ORDER BY {id} LIMIT 1"
                    ),
                    format!(
                        "INSERT {or}INTO {name}({id}, {columns}) SELECT -1, {columns} FROM {name} LIMIT 1"
                    ),
                    format!(
                        "INSERT INTO {name}({id}, {columns}) SELECT {id}, {columns} FROM {name} \
                         WHERE 1 ON CONFLICT DO UPDATE SET {id} = (SELECT max({id}) FROM {name})"
                    ),
                    // Out of a pending parcel a line may be taken: it waits in another one.
                    match &name[..] {
                        "fulfillment_line_items" => format!("DELETE FROM {name} WHERE {id} = 0"),
                        _ => format!(
                            "DELETE FROM {name} WHERE {id} = (SELECT max({id}) FROM {name})"
                        ),
                    },
                ];
                for line in lines {
                    for line in [line.clone(), stripe(&line)] {
                        if line.starts_with("SAVEPOINT")
                            && line.contains("INSERT")
                            && line.contains("-1,")
                        {
                            continue; // of the daemon's that is a new row, which it may write
                        }
                        if line.starts_with("SAVEPOINT")
                            && line.contains("DELETE FROM unbalanced_orders")
                        {
                            continue; // an order that adds up by now has no row
                        }
                        let _ = c.execute_batch(&line);
                        let _ = c.execute_batch("ROLLBACK");
                        typed += 1;
                        let now = everything(&c);
                        let other = now.lines().zip(before.lines()).find(|(is, was)| is != was);
                        assert!(now == before, "{line}: {other:?}");
                    }
                }
            }
        }
    }
    assert!(typed > 1000, "{typed} lines");
}

/// Every row of every table.
fn everything(c: &Connection) -> String {
    tables_of(c).iter().map(|table| rows(c, &format!("SELECT '{table}', * FROM {table}"))).collect()
}

fn tables_of(c: &Connection) -> Vec<String> {
    rows(c, "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1")
        .lines()
        .map(String::from)
        .collect()
}
