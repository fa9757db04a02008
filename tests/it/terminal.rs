//! What a person sees on a terminal: it fits, an order is shown by its number, and a search finds
//! it.

use std::process::Command;

use unicode_width::UnicodeWidthStr;

use crate::shop;
use crate::verbs::Books;

/// An order with everything that is long: an address, items, a note, a tracking number.
const LONG: &str = "UPDATE actor SET name = 'stripe:evt_1';
  UPDATE orders SET shipping_name = 'Université Grenoble Alpes, Laboratoire de Physique',
  shipping_line1 = '120 rue de la Piscine',
    shipping_line2 = 'Bâtiment K, 2ème étage, salle 204', note =
    'ring twice, then leave it with the neighbour on the left'
    WHERE id = 1041;
  UPDATE actor SET name = 'operator';";

impl Books {
    /// What a terminal of that many columns shows of a command.
    fn shown(&self, columns: usize, line: &str) -> String {
        let mut command = Command::new("script");
        let typed = format!("stty cols {columns}; exec {} {line}", env!("CARGO_BIN_EXE_fulfilld"));
        command.args(["-qec", &typed, "/dev/null"]).stdin(std::process::Stdio::null());
        let set = shop::fulfilld();
        command.envs(set.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("FULFILLD_DB", self.db()).env_remove("COLUMNS");
        let output = command.output().expect("script is there");
        String::from_utf8(output.stdout).unwrap().replace('\r', "")
    }

    /// The first column of a verb's rows, as a pipe gets them.
    fn first(&self, args: &[&str]) -> Vec<String> {
        let output = shop::fulfilld().args(args).env("FULFILLD_DB", self.db()).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        said.lines().skip(1).map(|line| line.split('\t').next().unwrap().to_string()).collect()
    }
}

#[test]
fn everything_a_person_sees_fits_the_terminal() {
    let books = Books::open();
    books.sql(LONG);
    let lines = [
        "orders",
        "orders --to-ship",
        "orders 1041",
        "orders 1042",
        "events",
        "events show evt_5",
        "hooks",
        "hooks list --all",
        "hold 1041 --reason counted",
        "undo",
    ];
    for columns in [80, 100, 120, 200] {
        for line in lines {
            let seen = books.shown(columns, line);
            assert!(seen.lines().count() > 1, "{line}: {seen}");
            let long: Vec<&str> = seen.lines().filter(|line| line.width() > columns).collect();
            assert!(long.is_empty(), "{line} at {columns}: {long:#?}\n{seen}");
        }
        // A line to type is never broken, so that it can be copied; all else fits.
        let seen = books.shown(columns, "attention");
        let long =
            seen.lines().filter(|line| line.width() > columns && !line.starts_with("next  "));
        assert_eq!(long.collect::<Vec<_>>(), [""; 0], "{seen}");
        assert!(seen.contains("fulfilld replay evt_4") || seen.contains("SELECT"), "{seen}");
    }
    let typed = books.shown(80, "sql 'SELECT * FROM to_ship WHERE order_id = 1041'");
    assert!(typed.lines().any(|line| line.trim_start() == "order_id = 1041"), "{typed}");
    let queue = books.shown(120, "orders --to-ship");
    assert!(
        queue.starts_with('┌') && queue.contains("note: ring") && queue.contains("twice"),
        "the packing queue is a table at 120 columns: {queue}"
    );
    assert!(books.shown(80, "orders --to-ship").starts_with("order_id "), "and a list at 80");
}

#[test]
fn an_order_is_shown_by_its_number_alone() {
    let books = Books::open();
    let run = |args: &[&str]| {
        shop::fulfilld().args(args).env("FULFILLD_DB", books.db()).output().unwrap()
    };
    let (short, long) = (run(&["orders", "1041"]), run(&["orders", "show", "1041"]));
    assert!(short.status.success() && !short.stdout.is_empty());
    assert_eq!(short.stdout, long.stdout);
    assert_eq!(
        run(&["orders", "1041", "--json"]).stdout,
        run(&["orders", "show", "1041", "--json"]).stdout
    );
    for (args, code) in [
        (&["orders", "7"] as &[&str], 1),
        (&["orders", "1041", "--to-ship"], 64),
        (&["orders", "1041", "--search", "x"], 64),
        (&["orders", "shwo"], 64),
        (&["orders", "--search", "x", "--to-ship"], 64),
    ] {
        let output = run(args);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let (short, long) = (run(&["events", "evt_4"]), run(&["events", "show", "evt_4"]));
    assert!(short.status.success() && short.stdout == long.stdout && !short.stdout.is_empty());
}

#[test]
fn an_order_is_found_by_whatever_the_buyer_says() {
    let books = Books::open();
    books.sql(
        r#"UPDATE actor SET name = 'stripe:evt_1';
         UPDATE orders SET client_reference_id = 'CART-77', business_name = 'Kiosk GmbH'
         WHERE id = 1042;
         UPDATE orders SET custom_fields = '[{"key":"engraving","text":{"value":"For Mabel"}}]' WHERE id = 1044;
         UPDATE orders SET shipping_name = 'Jürgen ÖSTERREICHER' WHERE id = 1043; UPDATE actor SET name = 'operator';
         INSERT INTO ship VALUES(1042, 'DHL', 'JD01 4600-0034', NULL);"#,
    );
    for (text, found) in [
        ("lovelace", &["1041"] as &[&str]),
        ("ADA lovelace", &["1041"]),
        ("lovelace paris", &["1041"]),
        ("lovelace leeds", &[]),
        ("österreicher", &["1043"]),
        ("渡辺", &["1042"]),
        ("kei@EXAMPLE.com", &["1042"]),
        ("+49 30 123", &["1041"]),
        ("JD0146000034", &["1042"]),
        ("jd01 4600 0034", &["1042"]),
        ("JD01", &["1042"]),
        ("cs_3", &["1043"]),
        ("pi_5", &["1045"]),
        ("cart-77", &["1042"]),
        ("kiosk gmbh", &["1042"]),
        ("mabel", &["1044"]),
        ("mug-01", &["1041"]),
        ("zine", &["1042"]),
        ("Rue Exemple", &["1041"]),
        ("1044", &["1044"]),
        ("#1044", &["1044"]),
        ("mug", &["1041", "1043", "1045"]),
        ("example.com", &["1041", "1042", "1043", "1044", "1045"]),
        ("%", &[]),
        ("nobody", &[]),
        (" ", &[]),
    ] {
        assert_eq!(books.first(&["orders", "--search", text]), found, "{text}");
        assert_eq!(books.first(&["orders", "list", "--search", text]), found, "{text}");
    }
    // What is an order's own as a whole is not looked for in others.
    books.sql("UPDATE orders SET note = 'like 1041, for kei@example.com' WHERE id = 1044");
    assert_eq!(books.first(&["orders", "--search", "kei@example.com"]), ["1042"]);
    assert_eq!(books.first(&["orders", "--search", "1041"]), ["1041"]);
    assert_eq!(books.first(&["orders", "--search", "like 1041"]), ["1044"]);
    let said = books.shown(80, "orders --search nobody");
    assert_eq!(said.trim_end(), "no order has nobody in it");
}
