//! A search with the index finds what reading every order finds, whatever is typed meanwhile.

use std::collections::BTreeSet;

use super::*;
use crate::indexing::{self, Update};

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }
}

const NAMES: [&str; 10] = [
    "Ada",
    "Österreicher",
    "渡辺 圭",
    "O'Neill",
    "van der Berg",
    "İpek",
    "Straße",
    "Σίσυφος",
    "Li",
    "Zoë-Marie",
];

fn shop() -> Connection {
    let c = Connection::open_in_memory().unwrap();
    c.execute_batch(db::SCHEMA).unwrap();
    c.execute_batch("INSERT INTO shop VALUES(1, 0, '2026-01-01T00:00:00Z')").unwrap();
    c
}

fn as_stripe(c: &Connection, sql: &str) {
    let sql = format!(
        "UPDATE actor SET name = 'stripe:evt_1'; {sql}; UPDATE actor SET name = 'operator'"
    );
    c.execute_batch(&sql).unwrap_or_else(|e| panic!("{e}: {sql}"));
}

fn add(c: &Connection, id: i64, dice: &mut Dice, has_lines: bool) {
    let (first, last) = (dice.of(&NAMES).replace('\'', "''"), dice.below(100_000));
    as_stripe(
        c,
        &format!(
            "INSERT INTO orders(id, checkout_session_id, livemode, mode, payment_status, currency, amount_total, name,
               email, phone, shipping_city, created_at, paid_at, as_of, asked, custom_fields)
             VALUES({id}, 'cs_test_{id}', 0, 'payment', 'paid', 'eur', 100, '{first} x{last:x}y', 'b{last}@example.com',
               '+49 30 {last} 7', 'Leeds', '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z', {id},
               '[{{\"key\": \"engraving\", \"label\": \"Engraving\", \"value\": \"For {last:o}\"}}]')"
        ),
    );
    if has_lines {
        add_line(c, id, dice);
    }
}

fn add_line(c: &Connection, id: i64, dice: &mut Dice) {
    let sku = dice.below(10_000);
    as_stripe(
        c,
        &format!(
            "INSERT INTO line_items(id, order_id, position, sku, name, quantity, currency, amount_total,
               requires_shipping) VALUES('li_{id}', {id}, 1, 'MUG-{sku}', 'Mug', 1, 'eur', 100, 1);
             UPDATE orders SET line_items_at = '2026-01-01T00:00:00Z' WHERE id = {id}"
        ),
    );
}

/// What the index is held against: every order is read.
fn by_reading(c: &Connection, text: &str) -> Vec<i64> {
    let (wanted, mut found) = (Wanted::of(text), Vec::new());
    words::read(c, 0..=i64::MAX, |id, text| {
        found.extend(wanted.is_in(&text.whole()?).then_some(id));
        Ok(false)
    })
    .unwrap();
    found
}

fn by_index(c: &Connection, text: &str) -> Vec<i64> {
    let mut found = Found::default();
    go_through(c, &Wanted::of(text), usize::MAX, &mut found).unwrap();
    found.orders
}

/// A piece of what stands in some order, as somebody may type it.
fn piece(c: &Connection, of: i64, dice: &mut Dice) -> String {
    let mut lines: Vec<String> = Vec::new();
    words::read(c, of..=of, |_, text| {
        lines.extend(text.whole()?.lines().map(String::from));
        Ok(false)
    })
    .unwrap();
    lines.retain(|line| !line.trim().is_empty());
    let letters: Vec<char> = lines[dice.below(lines.len())].chars().collect();
    let from = dice.below(letters.len());
    let to = (from + 1 + dice.below(9)).min(letters.len());
    let piece: String = letters[from..to].iter().collect();
    match dice.below(4) {
        0 => piece.to_uppercase(),
        1 => piece.replace(' ', "-"),
        2 => words::closed_up(&piece),
        _ => piece,
    }
}

fn forget(c: &Connection, id: i64) {
    let forget = |c: &Connection| words::forget(c, &BTreeSet::from([id]));
    crate::inbox::as_author(c, "fulfilld:forget", forget).unwrap();
}

fn step(c: &Connection, few: usize) -> bool {
    indexing::step(c, few, |update: Update| update.apply(c)).unwrap()
}

#[test]
fn a_search_finds_what_reading_every_order_finds_whatever_is_typed_meanwhile() {
    let (c, mut dice) = (shop(), Dice(0x5eed));
    // Orders of three segments, one of them nearly empty.
    let mut known: Vec<i64> = (4_000..4_120).chain([9_000]).collect();
    for id in &known {
        add(&c, *id, &mut dice, id % 7 > 0);
    }
    let (mut found, mut without) = (0, 0);
    for turn in 0..80 {
        for _ in 0..3 {
            let id = known[dice.below(known.len())];
            let word = format!("{}{}", dice.of(&NAMES).replace('\'', ""), dice.below(1_000));
            match dice.below(7) {
                0 => c.execute("UPDATE orders SET note = ?2 WHERE id = ?1", (id, &word)),
                1 => c.execute("UPDATE orders SET shipping_name = ?2 WHERE id = ?1", (id, &word)),
                2 => c.execute("UPDATE orders SET phone = NULL, email = ?2 WHERE id = ?1", (id, &word)),
                3 => c.execute(
                    "UPDATE fulfillments SET tracking_number = ?2, tracking_company = 'DHL', status = 'shipped'
                     WHERE order_id = ?1 AND status = 'pending'",
                    (id, format!("JD {turn} 0{id}")),
                ),
                4 if id % 7 == 0 && by_index(&c, "mug").binary_search_by(|f| id.cmp(f)).is_err() => {
                    add_line(&c, id, &mut dice);
                    Ok(1)
                }
                5 => {
                    forget(&c, id);
                    Ok(1)
                }
                _ => {
                    let id = 4_120 + known.len() as i64;
                    let has_lines = dice.below(5) > 0;
                    add(&c, id, &mut dice, has_lines);
                    known.push(id);
                    Ok(1)
                }
            }
            .unwrap();
        }
        if dice.below(3) == 0 {
            let few = 1 + dice.below(40);
            while step(&c, few) && dice.below(6) > 0 {}
        }
        for _ in 0..4 {
            let mut text = piece(&c, known[dice.below(known.len())], &mut dice);
            if dice.below(4) == 0 {
                text = format!("{text} {}", piece(&c, known[dice.below(known.len())], &mut dice));
            }
            if text.trim().is_empty() {
                continue;
            }
            let expected = by_reading(&c, &text);
            assert_eq!(by_index(&c, &text), expected, "{text:?} in turn {turn}");
            *if expected.is_empty() { &mut without } else { &mut found } += 1;
        }
    }
    assert!(found > 150 && without > 10, "{found} found, {without} not");
}

#[test]
fn for_a_rare_name_few_orders_are_read() {
    let (c, mut dice) = (shop(), Dice(7));
    (1..=250).for_each(|id| add(&c, id, &mut dice, true));
    c.execute_batch("UPDATE orders SET name = 'Hjalmar Qvist' WHERE id = 150").unwrap();
    let read = |c: &Connection| -> i64 {
        let sought = Wanted::of("qvist").sought();
        let found = Index::of(c).unwrap().candidates(0, &sought).unwrap();
        found.iter().map(|numbers| numbers.end() - numbers.start() + 1).sum()
    };
    assert_eq!(read(&c), 4096);
    while step(&c, 100) {}
    assert_eq!(read(&c), 64);
    c.execute_batch("UPDATE orders SET note = 'gift' WHERE id IN(3, 240)").unwrap();
    assert_eq!(read(&c), 66);
    assert_eq!(latest(&c, "qvist", 50).unwrap().orders, [150]);
    // Nothing is kept of somebody who is forgotten, and everybody else is still found.
    forget(&c, 150);
    assert_eq!(read(&c), 4096);
}

/// In 64 orders stand most groups of three digits.
#[test]
fn for_a_piece_of_a_phone_number_few_orders_are_read() {
    let c = shop();
    as_stripe(
        &c,
        "WITH RECURSIVE n(i) AS (SELECT 64 UNION ALL SELECT i + 1 FROM n WHERE i < 2111)
         INSERT INTO orders(id, checkout_session_id, livemode, mode, payment_status, currency, amount_total,
           phone, created_at, as_of, asked)
         SELECT i, 'cs_' || i, 0, 'payment', 'unpaid', 'eur', 100, printf('+49 30 %08d', i * 2654435761 % 100000000),
           '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z', i FROM n;
         INSERT INTO line_items(id, order_id, position, name, quantity, currency, amount_total, requires_shipping)
         SELECT 'li_' || id, id, 1, 'Mug', 1, 'eur', 100, 1 FROM orders",
    );
    while step(&c, 100) {}
    let (mut index, mut read) = (Index::of(&c).unwrap(), 0);
    for id in (100..2_100).step_by(50) {
        let piece = "SELECT substr(phone, 9, 5) FROM orders WHERE id = ?1";
        let piece: String = c.query_row(piece, [id], |row| row.get(0)).unwrap();
        let found = index.candidates(0, &Wanted::of(&piece).sought()).unwrap();
        assert!(found.iter().any(|numbers| numbers.contains(&id)), "{piece}");
        read += found.iter().map(|numbers| numbers.end() - numbers.start() + 1).sum::<i64>();
    }
    // Its own 64, and fewer others than that: of groups of three alone twice as many were read.
    assert!(read < 40 * 128, "{read}");
}
