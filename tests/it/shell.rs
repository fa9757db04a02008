//! The stock sqlite3 shell beside the running desk: one line ships an order; what would make the
//! file untrue is refused.

use crate::shop::{Shop, wait_for};

/// A shop with one paid order of each kind, and the number of the first.
fn with_orders(scenarios: &[&str]) -> Shop {
    let shop = Shop::open();
    for scenario in scenarios {
        for (event, _) in &shop.buy(scenario, 1, "snapshot")[0].events {
            assert_eq!(shop.deliver(event), 200);
        }
        shop.settle();
    }
    shop
}

#[test]
fn one_update_ships_an_order_and_writes_date_history_and_notification() {
    let shop = with_orders(&["card", "mixed"]);
    for (order, left) in [(1, "fulfilled"), (2, "partially_fulfilled")] {
        let number = format!("JD0{order}");
        shop.shell(&format!(
            "UPDATE fulfillments SET status = 'shipped', tracking_company = 'DHL', tracking_number = '{number}'
             WHERE order_id = {order} AND status = 'pending'"
        ))
        .unwrap();
        let parcel = format!(
            "SELECT status, tracking_company, tracking_number, shipped_at <> '' FROM fulfillments \
             WHERE order_id = {order} AND requires_shipping = 1"
        );
        assert_eq!(shop.one(&parcel), format!("shipped|DHL|{number}|1"));
        assert_eq!(
            shop.one(&format!("SELECT fulfillment_status FROM order_overview WHERE id = {order}")),
            left
        );
        let by = format!(
            "SELECT actor, old, new FROM order_history WHERE order_id = {order} \
             AND what GLOB 'fulfillment * status' AND old IS NOT NULL"
        );
        assert_eq!(shop.one(&by), "operator|pending|shipped");
        assert_eq!(
            shop.one(&format!(
                "SELECT count(*) FROM outbox WHERE topic = 'fulfillment.shipped' AND order_id = {order}"
            )),
            "1"
        );
    }
    // The digital goods of the second wait for their own delivery.
    assert_eq!(shop.one("SELECT order_id, requires_shipping FROM to_fulfill"), "2|0");
    shop.shell(
        "UPDATE fulfillments SET status = 'delivered' WHERE order_id = 2 AND status = 'pending'",
    )
    .unwrap();
    assert_eq!(shop.one("SELECT fulfillment_status FROM order_overview WHERE id = 2"), "fulfilled");
    assert_eq!(shop.rows("SELECT * FROM to_ship"), [""; 0]);
    shop.check();
}

#[test]
fn the_verb_ship_does_the_same_and_says_why_when_it_cannot() {
    let shop = with_orders(&["card", "digital", "unpaid", "card", "card"]);
    shop.shell("INSERT INTO ship VALUES(1, 'DHL', 'JD01', 'https://example.org/JD01')").unwrap();
    assert_eq!(
        shop.one("SELECT status, tracking_url FROM fulfillments WHERE order_id = 1"),
        "shipped|https://example.org/JD01"
    );
    shop.shell("UPDATE orders SET hold_reason = 'asks for blue' WHERE id = 4").unwrap();
    shop.shell(
        "UPDATE orders SET canceled_at = strftime('%Y-%m-%dT%H:%M:%SZ', 'now'), \
                cancel_reason = 'customer' WHERE id = 5",
    )
    .unwrap();
    for (order, why) in [
        (1, "shipped already"),
        (2, "nothing in it needs a parcel"),
        (3, "is not paid"),
        (4, "on hold; first: INSERT INTO release"),
        (5, "is canceled"),
        (99, "no such order"),
    ] {
        let said = shop
            .shell(&format!("INSERT INTO ship VALUES({order}, 'DHL', 'JD{order}9', NULL)"))
            .unwrap_err();
        assert!(said.contains(why), "{order}: {said}");
    }
    shop.shell(
        "UPDATE orders SET hold_reason = NULL WHERE id = 4; INSERT INTO ship(order_id, \
                tracking_number) VALUES(4, 'JD04')",
    )
    .unwrap();
    shop.check();
}

#[test]
fn part_of_an_order_ships_and_the_rest_stays_in_the_queue() {
    let shop = with_orders(&["many-lines"]);
    let before = shop.one("SELECT sum(quantity) FROM to_fulfill");
    let line = "(SELECT line_item_id FROM to_fulfill ORDER BY quantity DESC LIMIT 1)";
    let left = shop.one("SELECT max(quantity) - 1 FROM to_fulfill").parse::<i64>().unwrap();
    shop.shell("UPDATE line_items SET canceled_quantity = 1 WHERE position = 1").unwrap();
    assert_eq!(
        shop.one("SELECT sum(quantity) FROM to_fulfill").parse::<i64>().unwrap(),
        before.parse::<i64>().unwrap() - 1
    );
    shop.shell("UPDATE line_items SET canceled_quantity = 0 WHERE position = 1").unwrap();
    assert_eq!(shop.one("SELECT sum(quantity) FROM to_fulfill"), before);
    if left > 0 {
        shop.shell(&format!(
            "UPDATE fulfillment_line_items SET quantity = 1 WHERE fulfillment_id = 1 AND line_item_id = {line}"
        ))
        .unwrap();
        assert_eq!(shop.one("SELECT count(*) FROM to_ship"), "2");
    }
    shop.shell("UPDATE fulfillments SET status = 'shipped' WHERE id = 1").unwrap();
    // The parcel is lost: its goods are to be sent again.
    shop.shell("UPDATE fulfillments SET status = 'canceled' WHERE id = 1").unwrap();
    assert_eq!(shop.one("SELECT sum(quantity) FROM to_fulfill"), before);
    assert_eq!(shop.one("SELECT sum(left_to_send) = sum(pending) FROM line_item_balance"), "1");
}

#[test]
fn what_would_make_the_file_untrue_is_refused_with_a_sentence_and_changes_nothing() {
    let shop = with_orders(&["card", "mixed", "unpaid"]);
    shop.shell("INSERT INTO ship VALUES(1, 'DHL', 'JD01', NULL)").unwrap();
    // No hook is set for the notification, which is noted within a second.
    let news = "SELECT count(*) FROM outbox WHERE state = 'pending'";
    wait_for("nobody is to be told", || (shop.one(news) == "0").then_some(()));
    let before = shop.shell(".dump").unwrap();
    for (line, why) in [
        ("UPDATE orders SET payment_status = 'paid' WHERE id = 3", "fact from Stripe"),
        ("UPDATE orders SET amount_total = 1", "fact from Stripe"),
        ("UPDATE orders SET id = 7 WHERE id = 1", "keeps its number"),
        ("DELETE FROM orders", "never deleted"),
        ("INSERT INTO orders SELECT * FROM orders WHERE id = 1", "come from Stripe"),
        ("REPLACE INTO orders SELECT * FROM orders WHERE id = 1", "never replaced"),
        (
            "UPDATE orders SET canceled_at = '2026-11-24T00:00:00Z', cancel_reason = 'customer' WHERE id = 1",
            "something has shipped",
        ),
        (
            "UPDATE orders SET canceled_at = '2026-11-24T00:00:00Z' WHERE id = 2",
            "set canceled_at and cancel_reason together",
        ),
        (
            "UPDATE orders SET canceled_at = 'today', cancel_reason = 'customer' WHERE id = 2",
            "a time in UTC",
        ),
        (
            "UPDATE orders SET canceled_at = '2026-11-24T00:00:00Z', cancel_reason = 'because' WHERE id = 2",
            "cancel_reason is customer",
        ),
        ("UPDATE line_items SET quantity = 9", "fact from Stripe"),
        (
            "UPDATE line_items SET canceled_quantity = 1 WHERE order_id = 1",
            "have been sent already",
        ),
        ("UPDATE line_items SET canceled_quantity = 99 WHERE order_id = 2", "canceled_quantity"),
        ("DELETE FROM line_items", "never deleted"),
        ("REPLACE INTO line_items SELECT * FROM line_items", "never replaced"),
        ("INSERT INTO fulfillments(order_id) VALUES(1)", "nothing more to send"),
        ("INSERT INTO fulfillments(order_id) VALUES(3)", "nothing more to send"),
        ("INSERT INTO fulfillments(order_id) VALUES(99)", "nothing more to send"),
        ("REPLACE INTO fulfillments SELECT * FROM fulfillments", "that id is taken"),
        ("DELETE FROM fulfillments", "never deleted"),
        ("UPDATE fulfillments SET order_id = 2 WHERE order_id = 1", "stays with its order"),
        ("UPDATE fulfillments SET status = 'pending' WHERE order_id = 1", "nothing else"),
        (
            "UPDATE fulfillments SET status = 'lost' WHERE order_id = 1",
            "pending may become shipped",
        ),
        ("UPDATE fulfillments SET shipped_at = NULL WHERE order_id = 1", "not removed"),
        ("UPDATE fulfillments SET shipped_at = 'noon' WHERE order_id = 1", "a time in UTC"),
        (
            "UPDATE fulfillments SET shipped_at = '2026-11-24T00:00:00Z' WHERE order_id = 2",
            "by changing the status",
        ),
        (
            "UPDATE fulfillments SET tracking_number = 'JD01', tracking_company = 'DHL'",
            "on a parcel of another order",
        ),
        ("UPDATE fulfillments SET status = 'shipped', tracking_number = 'OOPS'", "needs WHERE"),
        (
            "UPDATE fulfillment_line_items SET quantity = 99",
            "only while the fulfillment is pending",
        ),
        (
            "UPDATE fulfillment_line_items SET quantity = 99 WHERE fulfillment_id = 2",
            "more than is left",
        ),
        ("UPDATE fulfillment_line_items SET quantity = -1 WHERE fulfillment_id = 2", "1 or more"),
        ("DELETE FROM fulfillment_line_items WHERE fulfillment_id = 1", "sent or canceled already"),
        (
            "INSERT INTO fulfillment_line_items SELECT 2, id, 1 FROM line_items WHERE order_id = 1",
            "same order",
        ),
        (
            "REPLACE INTO fulfillment_line_items SELECT fulfillment_id, line_item_id, 99 FROM fulfillment_line_items",
            "in there already",
        ),
        ("UPDATE order_history SET actor = 'nobody'", "never changed"),
        ("DELETE FROM order_history", "never changed"),
        ("DELETE FROM events", "never deleted"),
        ("UPDATE events SET payload = '{}'", "what Stripe sent is not changed"),
        ("UPDATE events SET state = 'failed'", "the shell may set state to pending"),
        ("UPDATE events SET seq = 99", "keeps its place in the sequence"),
        ("UPDATE sequence SET n = 0", "it goes forward"),
        ("DELETE FROM sequence", "it has one row"),
        ("DELETE FROM outbox", "never deleted"),
        ("UPDATE outbox SET key = 'x'", "written by the database"),
        ("DELETE FROM actor", "one row"),
        ("INSERT INTO actor VALUES(2, 'me')", "one row"),
        ("UPDATE actor SET name = 'me'", "CHECK"),
        ("UPDATE shop SET livemode = 1", "when the file was made"),
    ] {
        let said = shop.shell(line).expect_err(line);
        assert!(said.contains(why), "{line}: {said}");
        assert_eq!(shop.shell(".dump").unwrap(), before, "{line} changed something");
    }
    // An event's row is kept as it is, whatever comes again under its id.
    shop.shell("REPLACE INTO events SELECT * FROM events").unwrap();
    assert_eq!(shop.shell(".dump").unwrap(), before);
    shop.check();
}

#[test]
fn a_replay_from_the_shell_processes_the_event_again() {
    let shop = with_orders(&["card"]);
    let facts =
        "SELECT id, checkout_session_id, payment_intent_id, payment_status, amount_total, email, shipping_line1,
                   metadata, created_at, paid_at FROM orders";
    let orders = shop.rows(facts);
    shop.shell("UPDATE events SET state = 'pending' WHERE type = 'checkout.session.completed'")
        .unwrap();
    shop.settle();
    assert_eq!(
        shop.one("SELECT state, attempts FROM events WHERE type = 'checkout.session.completed'"),
        "done|1"
    );
    assert_eq!(shop.rows(facts), orders);
    shop.check();
}

#[test]
fn text_of_a_terminal_that_is_not_set_to_utf_8_hides_no_order_and_stops_no_hook() {
    let mut shop = Shop::open();
    shop.stop();
    let told = shop.dir.path().join("told");
    let command = shop.dir.path().join("hook");
    let script = format!("#!/bin/sh\ncat >> {}\n", told.display());
    std::fs::write(&command, script).expect("a hook");
    let runs = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&command, runs).expect("it can be run");
    shop.settings.push(("FULFILLD_HOOK_COMMAND".into(), command.display().to_string()));
    shop.start();
    let purchase = &shop.buy("card", 1, "snapshot")[0];
    assert_eq!(shop.deliver(&purchase.events[0].0), 200);
    shop.settle();
    shop.shell(
        "UPDATE orders SET note = CAST(x'fc626572' AS TEXT) WHERE id = 1;
         INSERT INTO ship(order_id, tracking_number) VALUES(1, CAST(x'5a31fc' AS TEXT))",
    )
    .expect("it is typed");
    wait_for("the hook is told of the parcel", || {
        std::fs::read_to_string(&told).ok()?.contains("Z1\u{fffd}").then_some(())
    });
    let shown = crate::file::run(&["orders", "1"], &shop.file());
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.status.success() && text.contains("\u{fffd}ber"), "{text}");
}
