//! A search in a file of many orders: the daemon keeps an index for it, and whatever was typed a
//! moment ago is found.

use std::time::Duration;

use rusqlite::Connection;

use crate::shop::{self, Shop, wait_for};

/// The first column of what `fulfilld orders --search TEXT` prints.
fn found(shop: &Shop, text: &str) -> Vec<String> {
    let mut command = shop::fulfilld();
    let command = command.args(["orders", "--search", text]).env("FULFILLD_DB", shop.file());
    let said = String::from_utf8(command.output().expect("it runs").stdout).expect("it is text");
    said.lines().skip(1).map(|line| line.split('\t').next().unwrap().to_string()).collect()
}

/// Puts more orders into the file than a search reads one by one.
fn fill(shop: &Shop) {
    let c = Connection::open(shop.file()).expect("the file opens");
    c.busy_timeout(Duration::from_secs(60)).expect("it can be set");
    c.execute_batch(
        "BEGIN IMMEDIATE; UPDATE actor SET name = 'fulfilld:test';
         WITH RECURSIVE n(i) AS (SELECT 11 UNION ALL SELECT i + 1 FROM n WHERE i < 1100)
         INSERT INTO orders(id, checkout_session_id, livemode, mode, payment_status, currency, amount_total, name,
           email, created_at, as_of)
         SELECT i, printf('cs_test_%08d', i), 0, 'payment', 'unpaid', 'eur', 100, 'Buyer ' || (7919 * i % 10007),
           printf('b%d@example.com', i), strftime('%Y-%m-%dT%H:%M:%SZ', 'now'),
           strftime('%Y-%m-%dT%H:%M:%SZ', 'now') FROM n;
         INSERT INTO line_items(id, order_id, position, sku, name, quantity, currency, amount_total, requires_shipping)
         SELECT 'li_' || id, id, 1, 'MUG-' || id % 7, 'Mug', 1, 'eur', 100, 1 FROM orders WHERE id > 10;
         UPDATE orders SET line_items_at = created_at WHERE id > 10;
         UPDATE orders SET name = 'Hjalmar Qvistgaard' WHERE id IN(77, 900);
         UPDATE actor SET name = 'operator'; COMMIT;",
    )
    .expect("it is written");
}

fn rows_of_the_index(shop: &Shop) -> usize {
    shop.one("SELECT count(*) FROM search_blocks").parse().expect("a count")
}

#[test]
fn what_was_typed_a_moment_ago_is_found_beside_the_index_and_who_is_forgotten_is_not() {
    let mut shop = Shop::open();
    shop.stop();
    fill(&shop);
    assert_eq!(found(&shop, "vistgaa"), ["77", "900"], "without an index");
    shop.start();
    wait_for("the index", || (rows_of_the_index(&shop) == 768).then_some(()));
    assert_eq!(found(&shop, "vistgaa"), ["77", "900"]);
    assert_eq!(found(&shop, "nobody at all"), [""; 0]);
    assert_eq!(
        found(&shop, "cs_test_0000109"),
        (1090..1100).map(|n| n.to_string()).collect::<Vec<_>>()
    );
    shop.shell("UPDATE orders SET note = 'for Qvistgaard and his dog' WHERE id = 500")
        .expect("typed");
    assert_eq!(found(&shop, "vistgaa"), ["77", "500", "900"]);

    let mut forget = shop::fulfilld();
    forget.args(["forget", "b900@example.com", "--yes", "--force"]).env("FULFILLD_DB", shop.file());
    let output = forget.output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(rows_of_the_index(&shop), 0, "the index keeps nothing of who is forgotten");
    assert_eq!(found(&shop, "vistgaa"), ["77", "500"]);
    shop.check();
}
