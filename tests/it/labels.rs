//! The packing table: files for label services, and what a shop saw of them.

use std::path::{Path, PathBuf};
use std::process::Output;

use rusqlite::Connection;

use crate::outside::machine_program;
use crate::shop;

/// A file with paid orders that wait for their parcels, and the verbs on it.
struct Table {
    dir: tempfile::TempDir,
}

/// Order 1: an ordinary one, two things. 2: umlauts, a house number, a phone number. 3: a name that
/// no code page of western Europe has. 4: no house number. 5: no address at all. 6: a formula, and a
/// line end in the name. 7: the USA. 8: partly refunded.
const ORDERS: &str = "
UPDATE actor SET name = 'stripe:evt_1';
INSERT INTO orders(id, checkout_session_id, payment_intent_id, livemode, mode, payment_status, currency,
    amount_subtotal,
    amount_total, email, name, business_name, phone, shipping_name, shipping_line1, shipping_line2,
        shipping_city, shipping_state,
    shipping_postal_code, shipping_country, shipping_option, created_at, as_of)
  SELECT column1, 'cs_' || column1, 'pi_' || column1, 0, 'payment', 'unpaid', 'eur', 4200, 4200,
      'buyer' || column1 || '@example.com',
    column2, column3, column4, column2, column5, column6, column7, column8, column9, column10, 'Standard',
        '2025-03-0' || column1 || 'T09:00:00Z', '1'
  FROM (VALUES
    (1, 'Ada Lovelace', NULL, NULL, '12 Rue Exemple', '2nd floor', 'Paris', NULL, '75001', 'FR'),
    (2, 'Jörg Müßig', 'Müßig & Söhne', '+49 30 123-45', 'Lange Straße 12a', NULL, 'Köln', NULL, '01067', 'DE'),
    (3, 'Łucja Żak 🫖', NULL, NULL, 'Długa 7', NULL, 'Łódź', NULL, '90-001', 'PL'),
    (4, 'Bo \"the\" Böttcher, jr.', NULL, NULL, 'Am Ring 5 Hinterhaus', NULL, 'Bonn', NULL, '53111', 'DE'),
    (5, 'Cleo', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (6, '=cmd|/C calc' || char(10) || 'Zed', NULL, '+44 20 7946', '1 High Street', NULL, 'Leeds', NULL,
        'LS1 1AA', 'GB'),
    (7, 'Grace Hopper', NULL, NULL, '500 5th Ave', 'Apt 4', 'New York', 'NY', '10110', 'US'),
    (8, 'Hedy', NULL, NULL, 'Hauptstraße 8', NULL, 'Wien', NULL, '1010', 'AT'));
INSERT INTO line_items(id, order_id, position, sku, name, options, quantity, currency, unit_amount,
    amount_subtotal, amount_total,
    requires_shipping, weight_g)
  SELECT 'li_' || id, id, 1, 'MUG-01', 'Mug', 'blue', 2, 'eur', 1200, 2400, 2400, 1, 350 FROM orders;
INSERT INTO line_items(id, order_id, position, name, quantity, currency, unit_amount, amount_subtotal,
    amount_total, requires_shipping)
  VALUES('li_1b', 1, 2, 'Poster, framed', 1, 'eur', 1800, 1800, 1800, 1);
UPDATE orders SET payment_status = 'paid', paid_at = created_at, line_items_at = created_at;
INSERT INTO refunds(id, payment_intent_id, amount, currency, status, created_at, as_of)
  VALUES('re_8', 'pi_8', 1000, 'eur', 'succeeded', '2025-03-09T09:00:00Z', '1');
UPDATE actor SET name = 'operator';
";

/// Who sends it.
const SENDER: &str = "name=Zoë Maß; company=Zoë's Mugs; street=Torstraße; house_number=1; \
     postal_code=10115; city=Berlin; \
     country=DE; billing=33333333330101; billing_abroad=33333333335301";

impl Table {
    fn set() -> Table {
        let table = Table { dir: tempfile::tempdir().unwrap() };
        let c = Connection::open(table.db()).unwrap();
        c.execute_batch(include!("../../schema/whole.rs")).unwrap();
        c.execute_batch("PRAGMA application_id = 0x666c6664; PRAGMA user_version = 3;").unwrap();
        c.execute("INSERT INTO shop VALUES(1, 0, '2025-03-01T00:00:00Z')", []).unwrap();
        c.execute_batch(ORDERS).unwrap();
        table
    }

    fn db(&self) -> PathBuf {
        self.dir.path().join("shop.db")
    }

    fn rows(&self, sql: &str) -> Vec<String> {
        shop::rows(&self.db(), sql)
    }

    /// Reads a file of tracking numbers: the exit code, and all that it says.
    fn takes(&self, csv: &[u8], args: &[&str]) -> (i32, String) {
        std::fs::write(self.dir.path().join("tracking.csv"), csv).unwrap();
        let out = self.run(&[&["ship", "--from", "tracking.csv"], args].concat());
        let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        (out.status.code().unwrap(), said)
    }

    /// What of the parcels is shipped, and how.
    fn shipped(&self) -> Vec<String> {
        self.rows(
            "SELECT order_id, tracking_company, tracking_number FROM fulfillments WHERE status = 'shipped' ORDER BY id",
        )
    }

    /// As the operator at a shell.
    fn typed(&self, sql: &str) {
        Connection::open(self.db()).unwrap().execute_batch(sql).unwrap();
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = shop::fulfilld();
        command.args(args).env("FULFILLD_DB", self.db()).env("FULFILLD_SENDER", SENDER);
        command.current_dir(self.dir.path()).output().unwrap()
    }

    /// What an export writes, read by another language's reader; and what it says.
    fn exported(&self, args: &[&str], encoding: &str, separator: &str) -> Exported {
        let out = self.run(&[&["export", "--for"], args].concat());
        assert!(!out.stdout.is_empty(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        let path = self.dir.path().join("labels.csv");
        std::fs::write(&path, &out.stdout).unwrap();
        Exported {
            records: python_reads(&path, encoding, separator),
            bytes: out.stdout,
            code: out.status.code().unwrap(),
            said: String::from_utf8(out.stderr).unwrap(),
        }
    }
}

struct Exported {
    records: Vec<Vec<String>>,
    bytes: Vec<u8>,
    code: i32,
    said: String,
}

impl Exported {
    /// The cell under a heading in the row that has the text somewhere.
    fn cell(&self, of: &str, heading: &str) -> &str {
        let column = self.records[0].iter().position(|name| name == heading);
        let column = column.unwrap_or_else(|| panic!("{heading}: {:?}", self.records[0]));
        let row = self.records.iter().find(|row| row.iter().any(|cell| cell == of));
        &row.unwrap_or_else(|| panic!("{of}: {:?}", self.records))[column]
    }

    fn has(&self, of: &str) -> bool {
        self.records.iter().any(|row| row.iter().any(|cell| cell == of))
    }
}

/// Python's csv module is not the one that wrote it.
fn python_reads(path: &Path, encoding: &str, separator: &str) -> Vec<Vec<String>> {
    let program = "import csv, json, sys
rows = csv.reader(open(sys.argv[1], encoding=sys.argv[2], newline='', errors='strict'), \
delimiter=sys.argv[3], strict=True)
print(json.dumps(list(rows)))";
    let out = machine_program("python3")
        .args(["-c", program])
        .arg(path)
        .args([encoding, separator])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

/// What each service documents: its heading, its code page, its separator.
const DOCUMENTED: &[(&str, &str, &str, &str)] = &[
    (
        "royal-mail",
        "utf-8",
        ",",
        "Order reference,First Name,Last Name,Company Name,Address Line 1,Address Line 2,City,\
        County,Postcode,Country,Phone,\
         Email,Service Code,Package Format,Weight,Total,Currency Code,Special instructions",
    ),
    (
        "pirate-ship",
        "utf-8",
        ",",
        "Order ID,Name,Company,Address Line 1,Address Line 2,City,State,Zipcode,Country,Email,Phone,\
        Weight (oz),Length (in),\
         Width (in),Height (in),Rubber Stamp 1,Rubber Stamp 2,Rubber Stamp 3",
    ),
    (
        "shippo",
        "utf-8",
        ",",
        "Order Number,Order Date,Recipient Name,Email,Phone,Company,Street Line 1,Street Line 2,City,State/Province,\
         Zip/Postal Code,Country,Item Title,SKU,Quantity,Item Price,Item Weight,Item Weight Unit,\
         Order Amount,Order Currency,\
         Order Weight,Order Weight Unit",
    ),
    (
        "stamps",
        "utf-8",
        ",",
        "Order ID (required),Order Date,Order Value,Requested Service,Ship To - Name,\
        Ship To - Company,Ship To - Address 1,\
         Ship To - Address 2,Ship To - Address 3,Ship To - State/Province,Ship To - City,Ship To - Postal Code,\
         Ship To - Country,Ship To - Phone,Ship To - Email,Total Weight in Oz,Dimensions - Length,Dimensions - Width,\
         Dimensions - Height,Notes - From Customer,Notes - Internal,Gift Wrap?,Gift Message",
    ),
    (
        "shipstation",
        "utf-8",
        ",",
        "Order Number,Order Date,Recipient Full Name,Recipient Company,Address Line 1,\
        Address Line 2,City,State,Postal Code,\
         Country Code,Recipient Phone,Recipient Email,Requested Shipping Service,Order Total,\
         Weight Oz,Item SKU,Item Name,\
         Item Quantity,Item Unit Price,Item Weight Oz",
    ),
    (
        "sendcloud",
        "utf-8",
        ",",
        "Order number,Name,Company name,Address,Address 2,City,Postal code,State,Country code,\
        Phone number,Email,Weight,\
         Order value,Currency,Shipping method",
    ),
    (
        "dhl-business",
        "iso-8859-1",
        ";",
        "Sendungsreferenz;Sendungsdatum;Absender Name 1;Absender Name 2;Absender Name 3;\
        Absender Straße;Absender Hausnummer;\
         Absender PLZ;Absender Ort;Absender Provinz;Absender Land;Absenderreferenz;Absender E-Mail-Adresse;\
         Absender Telefonnummer;Empfänger Name 1;Empfänger Name 2 / Postnummer;Empfänger Name 3;Empfänger Straße;\
         Empfänger Hausnummer;Empfänger PLZ;Empfänger Ort;Empfänger Provinz;Empfänger Land;Empfängerreferenz;\
         Empfänger E-Mail-Adresse;Empfänger Telefonnummer;Gewicht;Länge;Breite;Höhe;Produkt- und Servicedetails;\
         Abrechnungsnummer",
    ),
    (
        "dhl-private",
        "cp1252",
        ";",
        "SEND_NAME1;SEND_NAME2;SEND_STREET;SEND_HOUSENUMBER;SEND_PLZ;SEND_CITY;SEND_COUNTRY;RECV_NAME1;RECV_NAME2;\
         RECV_STREET;RECV_HOUSENUMBER;RECV_PLZ;RECV_CITY;RECV_COUNTRY;PRODUCT;COUPON",
    ),
    (
        "internetmarke",
        "cp1252",
        ";",
        "NAME;ZUSATZ;STRASSE;NUMMER;PLZ;STADT;LAND;ADRESS_TYP;REFERENZ",
    ),
];

#[test]
fn each_label_service_gets_the_heading_the_code_page_and_the_line_ends_that_it_documents() {
    let table = Table::set();
    for (service, encoding, separator, heading) in DOCUMENTED {
        let file = table.exported(&[service], encoding, separator);
        assert_eq!(file.records[0].join(separator), *heading, "{service}");
        let width = file.records[0].len();
        assert!(file.records.iter().all(|row| row.len() == width), "{service}");
        assert!(file.has("1-1") || *service == "dhl-private", "{service}: {:?}", file.records);
        // CRLF, and no other line end, because no cell holds one.
        let ends = file.bytes.iter().filter(|b| **b == b'\n').count();
        assert_eq!(ends, file.records.len(), "{service}");
        assert_eq!(ends, file.bytes.windows(2).filter(|b| b == b"\r\n").count(), "{service}");
        assert!(!file.bytes.contains(&b'?') || *service == "stamps", "{service}");
        // What has no address goes nowhere, and is named.
        assert_eq!(file.code, 1, "{service}: {}", file.said);
        assert!(file.said.contains("5-1 is left out: it has no shipping_line1"), "{}", file.said);
    }
}

#[test]
fn a_service_s_file_is_the_order_as_the_service_reads_it() {
    let table = Table::set();
    let royal = table.exported(&["royal-mail"], "utf-8", ",");
    for (of, heading, cell) in [
        ("2-1", "Country", "DEU"),
        ("2-1", "Phone", "493012345"),
        ("2-1", "Weight", "0.700"),
        ("2-1", "First Name", "Jörg"),
        ("2-1", "Last Name", "Müßig"),
        ("2-1", "Company Name", "Müßig & Söhne"),
        ("2-1", "Postcode", "01067"),
        ("2-1", "Total", "42.00"),
        ("3-1", "Last Name", "🫖"),
    ] {
        assert_eq!(royal.cell(of, heading), cell, "{of} {heading}");
    }
    // Nobody has said what a poster weighs, so nobody knows it of the parcel.
    assert_eq!(royal.cell("1-1", "Weight"), "");
    assert!(royal.said.contains("1-1: nothing says what it weighs"), "{}", royal.said);
    let told = table.exported(&["royal-mail", "--weight", "1250"], "utf-8", ",");
    assert_eq!(told.cell("1-1", "Weight"), "1.250");
    assert!(!told.said.contains("weighs"), "{}", told.said);

    let pirate = table.exported(&["pirate-ship"], "utf-8", ",");
    assert_eq!(pirate.cell("2-1", "Phone"), "+49 30 123-45", "no apostrophe before it");
    assert_eq!(pirate.cell("7-1", "State"), "NY");
    assert_eq!(pirate.cell("7-1", "Weight (oz)"), "24.70");
    let stamp = pirate.cell("1-1", "Rubber Stamp 2");
    assert_eq!(stamp, "2 × Mug (blue), 1 × Poste");
    // A formula is none any more, and the output says so.
    assert_eq!(pirate.cell("6-1", "Name"), "cmd|/C calc Zed");
    assert!(pirate.said.contains("6-1: Name is 'cmd|/C calc Zed' in the file"), "{}", pirate.said);
    assert_eq!(pirate.cell("6-1", "Phone"), "+44 20 7946");
    assert!(pirate.said.contains("8-1: caution: 10.00 of 42.00 EUR refunded"), "{}", pirate.said);

    let stamps = table.exported(&["stamps"], "utf-8", ",");
    assert_eq!(stamps.cell("1-1", "Order Date"), "03/01/2025");
    assert_eq!(stamps.cell("4-1", "Ship To - Name"), "Bo \"the\" Böttcher, jr.");

    // A row an item, under the parcel's reference.
    let shippo = table.exported(&["shippo"], "utf-8", ",");
    let of_1: Vec<_> = shippo.records.iter().filter(|row| row[0] == "1-1").collect();
    assert_eq!(of_1.len(), 2);
    assert_eq!(of_1[1][12..16], ["Poster, framed", "", "1", "18.00"]);
    assert_eq!(of_1[0][16], "350");
}

#[test]
fn a_service_that_splits_addresses_and_lacks_letters_gets_no_guess_and_no_question_mark() {
    let table = Table::set();
    let dhl = table.exported(&["dhl-business"], "iso-8859-1", ";");
    for (of, heading, cell) in [
        ("2-1", "Empfänger Straße", "Lange Straße"),
        ("2-1", "Empfänger Hausnummer", "12a"),
        ("2-1", "Empfänger Land", "DEU"),
        ("2-1", "Gewicht", "0,700"),
        ("2-1", "Produkt- und Servicedetails", "V01PAK"),
        ("2-1", "Abrechnungsnummer", "33333333330101"),
        ("2-1", "Absender Name 1", "Zoë Maß"),
        ("1-1", "Empfänger Hausnummer", "12"),
        ("1-1", "Empfänger Straße", "Rue Exemple"),
        ("1-1", "Empfänger Name 3", "2nd floor"),
        ("1-1", "Produkt- und Servicedetails", "V53WPAK"),
        ("1-1", "Abrechnungsnummer", "33333333335301"),
        ("7-1", "Empfänger Provinz", "NY"),
    ] {
        assert_eq!(dhl.cell(of, heading), cell, "{of} {heading}");
    }
    assert!(!dhl.has("3-1") && !dhl.has("4-1"));
    for said in [
        "3-1 is left out: Empfänger Ort: 'Łódź' has the sign Ł, which ISO-8859-1 lacks; put it right: fulfilld sql \
         \"UPDATE orders SET shipping_city = '…' WHERE id = 3\"",
        "4-1 is left out: the house number cannot be told from 'Am Ring 5 Hinterhaus'",
        "fulfilld: 5 parcels are in the file; 3 left out, as said above",
    ] {
        assert!(dhl.said.contains(said), "{said}: {}", dhl.said);
    }
    // The first row is the sender, and what has no column is named.
    let marke = table.exported(&["internetmarke"], "cp1252", ";");
    assert_eq!(
        marke.records[1],
        ["Zoë Maß", "Zoë's Mugs", "Torstraße", "1", "10115", "Berlin", "DEU", "HOUSE", ""]
    );
    assert_eq!(marke.cell("1-1", "ZUSATZ"), "2nd floor");
    assert!(marke.said.contains("7-1: state 'NY' is not in the file"), "{}", marke.said);
    // A Packstation opens for the buyer's post number alone.
    let packstation = |line2: &str| {
        table.typed(&format!(
            "UPDATE orders SET shipping_line1 = 'Packstation 145', shipping_line2 = {line2} WHERE id = 4"
        ));
        table.exported(&["dhl-business"], "iso-8859-1", ";")
    };
    let dhl = packstation("'Postnummer 12345678'");
    assert_eq!(dhl.cell("4-1", "Empfänger Name 2 / Postnummer"), "12345678");
    assert_eq!(dhl.cell("4-1", "Empfänger Hausnummer"), "145");
    let said = packstation("NULL").said;
    assert!(
        said.contains("4-1 is left out: a Packstation needs the buyer's post number"),
        "{said}"
    );
    // Put right, it goes.
    table.typed("UPDATE orders SET shipping_line1 = 'Am Ring 5' WHERE id = 4");
    assert!(table.exported(&["internetmarke"], "cp1252", ";").has("4-1"));

    let out = shop::fulfilld()
        .args(["export", "--for", "internetmarke", "--db"])
        .arg(table.db())
        .output()
        .unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(78), "{said}");
    assert!(out.stdout.is_empty() && said.contains("set FULFILLD_SENDER=\"name=…"), "{said}");
}

#[test]
fn a_full_file_says_how_to_get_the_next_one_and_nothing_is_marked_as_exported() {
    let table = Table::set();
    let mine = table.dir.path().join("mine.toml");
    let form = "encoding = 'utf-8'\nline_end = 'lf'\nrow_limit = 2\n[[column]]\nname = 'Ref'\nvalue = '{reference}'\n\
                [[column]]\nname = 'Where'\nvalue = ['{city}', '{country}']\n";
    std::fs::write(&mine, form).unwrap();
    let first = table.exported(&["./mine.toml"], "utf-8", ",");
    assert_eq!(first.bytes, "Ref,Where\n1-1,\"Paris, FR\"\n2-1,\"Köln, DE\"\n".as_bytes());
    let next = "6 more wait for the next file, \
    because ./mine.toml takes no more rows: fulfilld export --for ./mine.toml \
                --after 2-1";
    assert!(first.code == 1 && first.said.contains(next), "{}", first.said);
    let second = table.exported(&["./mine.toml", "--after", "2-1"], "utf-8", ",");
    assert_eq!((second.records.len(), second.records[1][0].as_str()), (3, "3-1"));
    let last = table.exported(&["./mine.toml", "--after", "6-1"], "utf-8", ",");
    assert_eq!((last.code, last.records.len()), (0, 3), "{}", last.said);
    // The same again is the same, and a chosen one is that one.
    assert_eq!(table.exported(&["./mine.toml"], "utf-8", ",").bytes, first.bytes);
    let chosen = table.exported(&["./mine.toml", "7", "2-1"], "utf-8", ",");
    assert_eq!((chosen.code, chosen.records.len()), (0, 3), "{}", chosen.said);
    for (args, why) in [
        (["./mine.toml", "99"], "no parcel of order 99 waits to be shipped"),
        (["./mine.toml", "2-7"], "no parcel 2-7 waits to be shipped"),
        (["./mine.toml", "x"], "x is neither an order nor a parcel"),
        (["nobody", "1"], "there is no format nobody; there are dhl-business"),
        (["./none.toml", "1"], "the format ./none.toml cannot be read"),
    ] {
        let out = table.run(&[&["export", "--for"], &args[..]].concat());
        let said = String::from_utf8(out.stderr).unwrap();
        assert!(out.stdout.is_empty() && said.contains(why), "{said}");
    }
}

#[test]
fn an_order_of_two_parcels_has_two_rows_and_their_references_never_change() {
    let table = Table::set();
    table.typed("INSERT INTO ship_items VALUES(1, '2', 'DHL', 'JD1', NULL)");
    let royal = table.exported(&["royal-mail"], "utf-8", ",");
    // The poster went first, under the reference that the parcel always had.
    assert!(!royal.has("1-1"));
    assert_eq!(royal.cell("1-2", "Weight"), "0.700");
    table
        .typed("INSERT INTO part SELECT max(id), '{\"1\":1}' FROM fulfillments WHERE order_id = 1");
    let royal = table.exported(&["royal-mail", "1"], "utf-8", ",");
    assert_eq!(royal.records.len(), 3);
    assert_eq!((royal.cell("1-2", "Weight"), royal.cell("1-3", "Weight")), ("0.350", "0.350"));
    // What is on hold has no label.
    table.typed("INSERT INTO hold VALUES(1, 'asks for another color')");
    assert!(!table.exported(&["royal-mail"], "utf-8", ",").has("1-2"));
}

/// The labels that a service would have made of an export: a number for each reference in it, and
/// the file that it exports of them.
fn labels_made(export: &Exported, reference: &str, made: impl Fn(usize, &str) -> String) -> String {
    let column = export.records[0].iter().position(|name| name == reference).unwrap();
    let references = export.records[1..].iter().map(|row| row[column].as_str());
    let mut seen: Vec<&str> = Vec::new();
    references.for_each(|r| {
        if !seen.contains(&r) && !r.is_empty() {
            seen.push(r)
        }
    });
    seen.iter().enumerate().map(|(n, reference)| made(n, reference)).collect()
}

#[test]
fn what_goes_out_to_three_services_comes_back_with_its_numbers() {
    for (service, encoding, separator, reference, heading, company) in [
        (
            "pirate-ship",
            "utf-8",
            ",",
            "Order ID",
            "Created Date,Recipient,Company,Email,Tracking Number,Cost,Status,Batch,Label Size,Saved Package,Ship From,\
             Ship Date,Estimated Delivery Time,Weight (oz),Zone,Package Type,Package Length,\
             Package Width,Package Height,\
             Tracking Status,Tracking Info,Tracking Date,Address Line 1,Address Line 2,City,State,\
             Zipcode,Country,Carrier,\
             Service,Order ID,Rubber Stamp 1,Rubber Stamp 2,Rubber Stamp 3,Order Value",
            "USPS",
        ),
        (
            "dhl-business",
            "iso-8859-1",
            ";",
            "Sendungsreferenz",
            "Sendungsnummer;Sendungsreferenz;Empfänger Straße",
            "DHL",
        ),
        (
            "shippo",
            "utf-8",
            ",",
            "Order Number",
            "order_id,tracking_provider,tracking_number,date_shipped,status_shipped,sku,qty",
            "UPS",
        ),
    ] {
        let table = Table::set();
        let export = table.exported(&[service], encoding, separator);
        let rows = labels_made(&export, reference, |n, of| match service {
            "pirate-ship" => format!(
                "today,X,,,94001{n},1.00,Purchased,,,,,,,,,,,,,In Transit,,,,,,NY,,,USPS,Priority,{of},,,,\r\n"
            ),
            "dhl-business" => format!("94001{n};{of};Straße\r\n"),
            _ => format!(
                "{of},UPS,94001{n},2025-03-09,1,MUG-01,2\n{of},UPS,94001{n},2025-03-09,1,,1\n"
            ),
        });
        let file = format!("{heading}\r\n{rows}");
        let bytes = match encoding {
            "utf-8" => file.into_bytes(),
            _ => file.chars().map(|c| c as u8).collect(),
        };
        let parcels = export
            .records
            .iter()
            .skip(1)
            .map(|row| &row[0])
            .collect::<std::collections::BTreeSet<_>>()
            .len();
        let args: &[&str] = if service == "dhl-business" { &["--company", "DHL"] } else { &[] };
        let before = table.rows("SELECT * FROM fulfillments ORDER BY id");
        let (code, said) = table.takes(&bytes, &[args, &["--dry-run"]].concat());
        assert_eq!(code, 0, "{service}: {said}");
        assert!(said.contains(&format!("without --dry-run: {parcels}")), "{said}");
        assert_eq!(table.rows("SELECT * FROM fulfillments ORDER BY id"), before);
        let (code, said) = table.takes(&bytes, args);
        assert_eq!(code, 0, "{service}: {said}");
        assert!(said.contains("94001") && said.contains("takes all of them back"), "{said}");
        let shipped = table.shipped();
        assert_eq!(shipped.len(), parcels, "{service}: {shipped:?}");
        assert_eq!(shipped[0], format!("1|{company}|940010"));
        // The same file again changes nothing, down to the history.
        let history = table.rows("SELECT count(*) FROM order_history");
        let (code, said) = table.takes(&bytes, args);
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("1-1 is shipped with that number already"), "{said}");
        assert_eq!(table.rows("SELECT count(*) FROM order_history"), history);
        // One undo takes the whole file back.
        let undo = table.run(&["undo"]);
        assert!(undo.status.success(), "{}", String::from_utf8_lossy(&undo.stderr));
        assert_eq!(table.shipped(), [""; 0]);
        assert_eq!(table.exported(&[service], encoding, separator).bytes, export.bytes);
    }
}

#[test]
fn one_wrong_row_ships_nothing_and_every_wrong_row_is_named() {
    let table = Table::set();
    table.typed(
        "INSERT INTO ship VALUES(2, 'DHL', 'JD2', NULL);
         INSERT INTO hold VALUES(7, 'asks for another color');
         INSERT INTO cancel VALUES(8, 'customer');
         INSERT INTO part SELECT id, '{\"1\":1}' FROM fulfillments WHERE order_id = 1;",
    );
    let file = "Order,Tracking,Carrier\n4-1,JD4,DHL\n99,JD99,DHL\nEBAY-7x,JD98,DHL\n2-1,JD3,\
    DHL\n4-2,JD5,DHL\n7,JD7,DHL\n\
                8-1,JD8,DHL\n1,JD1,DHL\n3-1,9.40011E+21,DHL\n6-1,JD2,DHL\n4,JD6,DHL\n";
    let history = table.rows("SELECT * FROM order_history");
    let (code, said) = table.takes(file.as_bytes(), &[]);
    assert_eq!(code, 1, "{said}");
    for why in [
        "line 3 (99): there is no such order",
        "line 4 (EBAY-7x): that is not an order's number",
        "line 5 (2-1): 2-1 was shipped with the number JD2 already",
        "line 6 (4-2): the order has no such parcel, but 1",
        "line 7 (7-1): the order is on hold; first: fulfilld release 7",
        "line 8 (8-1): 8-1 is canceled",
        "line 9 (1): several parcels of the order wait; name one of them in the file: 1-1 (1 × Mug), 1-2 (",
        "line 10 (3-1): a spreadsheet has made a rounded number",
        "line 11 (6-1): the tracking number JD2 is on a parcel of order 2 already, which goes elsewhere",
        "line 12 (4): line 2 names another number for the parcel 4-1",
    ] {
        assert!(said.contains(why), "{why}: {said}");
    }
    assert!(!said.contains("line 2 (4-1):"), "the first row is right: {said}");
    assert_eq!(table.rows("SELECT * FROM order_history"), history);
    // One number for two addresses, and both rows in the file.
    let (code, said) = table.takes(b"Order,Tracking,Carrier\n3-1,JDX,DHL\n4-1,JDX,DHL\n", &[]);
    assert!(code == 1 && said.contains("line 3 (4-1): the tracking number JDX is on"), "{said}");
    assert_eq!(table.rows("SELECT * FROM order_history"), history);
    // Void labels, letters without a number and other people's rows stop nobody.
    let file = "Order,Tracking,Carrier,Status\n4-1,JD0,DHL,VOID\n4-1,JD4,DHL,ok\n3-1,,DHL,ok\n\
                ,JD9,DHL,ok\n1-2,JD1,DHL,ok\n";
    let (code, said) = table.takes(file.as_bytes(), &[]);
    assert_eq!(code, 0, "{said}");
    for note in [
        "line 2 (4-1) is passed over: the label is void",
        "line 4 (3-1) is passed over: it has no tracking number",
        "line 5 is passed over: it names no order",
    ] {
        assert!(said.contains(note), "{note}: {said}");
    }
    assert_eq!(table.shipped(), ["2|DHL|JD2", "4|DHL|JD4", "1|DHL|JD1"]);
    // A label that was shipped and made void later is pointed out.
    let (_, said) = table.takes(b"Order,Tracking,Status\n4-1,JD4,refunded\n", &[]);
    assert!(said.contains("the label is void, and 4-1 was shipped with it"), "{said}");
    let (code, said) = table.takes(b"Name,City\nAda,Paris\n", &[]);
    assert!(
        code == 64 && said.contains("no column of the file names the order's reference"),
        "{said}"
    );
    let (code, said) = table.takes(b"Order,Tracking\n3-1,JD33\n", &[]);
    assert!(code == 0 && said.contains("--company DHL names it"), "{said}");
}

#[test]
fn slips_are_one_document_that_loads_nothing_and_the_buyer_reads_no_caution() {
    let table = Table::set();
    table.typed(
        "UPDATE orders SET shipping_name = '<script>alert(1)</script> & \"x\"', note = 'pays late' WHERE id = 2;
         INSERT INTO ship VALUES(4, 'DHL', 'JD4', NULL);",
    );
    let out = table.run(&["slips", "--to-ship"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let page = String::from_utf8(out.stdout).unwrap();
    let pages: Vec<&str> = page.split("<section>").skip(1).collect();
    assert_eq!(pages.len(), 8, "a sheet for the shop, and a page for each of seven parcels");
    for (n, words) in [
        (0, "8-1"),
        (0, "10.00 of 42.00 EUR refunded"),
        (0, "note: pays late"),
        (0, "<td class=\"number\">14</td><td>MUG-01</td><td>Mug (blue)</td>"),
        (1, "Ada Lovelace<br>12 Rue Exemple<br>2nd floor<br>75001 Paris<br>FR"),
        (1, "Poster, framed"),
        (1, "Ordered on 2025-03-01, Standard"),
        (1, "Zoë&#39;s Mugs"),
        (2, "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;x&quot;<br>Müßig &amp; Söhne"),
        (5, "=cmd|/C calc Zed"),
    ] {
        assert!(pages[n].contains(words), "{words}: {}", pages[n]);
    }
    assert!(
        pages[1..].iter().all(|slip| !slip.contains("refunded") && !slip.contains("pays late"))
    );
    assert!(!page.contains("<script") && !page.contains("4-1") && !page.contains("src="));
    // Python's parser of HTML sees the elements that were written, and the policy lets in this style
    // alone.
    let program = "import base64, hashlib, re, sys
from html.parser import HTMLParser
page = sys.stdin.read()
style = re.search('<style>(.*?)</style>', page, re.S).group(1)
assert \"'sha256-\" + base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() + \"'\" in page
seen = set()
class Parser(HTMLParser):
    def handle_starttag(self, tag, attrs):
        seen.add(tag)
        assert all(name in ('class', 'charset', 'content', 'http-equiv', 'lang', 'name') for name, _ in attrs), attrs
Parser().feed(page)
print(' '.join(sorted(seen)))";
    let path = table.dir.path().join("slips.html");
    std::fs::write(&path, &page).unwrap();
    let out = machine_program("python3")
        .args(["-c", program])
        .stdin(std::fs::File::open(&path).unwrap())
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&out.stdout).trim(),
        "address body br h1 h2 head html meta p section span style table tbody td th thead title tr",
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    // One parcel without a caution is one page.
    let one = table.run(&["slips", "1-1"]);
    assert_eq!(String::from_utf8(one.stdout).unwrap().matches("<section>").count(), 1);
    let none = table.run(&["slips", "4"]);
    let said = String::from_utf8(none.stderr).unwrap();
    assert!(none.stdout.is_empty() && said.contains("no parcel of order 4 waits"), "{said}");
}

#[test]
fn the_pick_list_adds_up_orders_by_sku() {
    let table = Table::set();
    let picked = |args: &[&str]| {
        String::from_utf8(table.run(&[&["slips", "--pick"], args].concat()).stdout).unwrap()
    };
    assert_eq!(
        picked(&["--to-ship"]),
        "sku\tname\toptions\tquantity\torders\nMUG-01\tMug\tblue\t16\t1,2,3,4,5,6,7,8\n\tPoster, framed\t\t1\t1\n"
    );
    let json: serde_json::Value = serde_json::from_str(&picked(&["2", "--json"])).unwrap();
    assert_eq!((&json["sku"], &json["quantity"]), (&"MUG-01".into(), &2.into()));
}

#[test]
fn whoever_packs_sees_what_a_parcel_weighs_and_its_name_for_the_label_service() {
    let table = Table::set();
    table.typed("INSERT INTO part SELECT id, '{\"1\":1}' FROM fulfillments WHERE order_id = 1");
    let queue = table.rows("SELECT parcel, weight_g FROM to_ship WHERE order_id < 3");
    assert_eq!(queue, ["1-1|350", "1-2|", "2-1|700"]);
}

#[test]
fn an_order_from_the_market_is_packed_like_any_other_and_is_in_none_of_stripes_books() {
    let table = Table::set();
    let export = ["export", "--since", "2025-01-01"];
    let books =
        [&export[..], &[&export[..], &["--lines"]].concat()].map(|args| table.run(args).stdout);
    let days = table.rows("SELECT * FROM sales_by_day");
    let to = ["--line1", "3 Rue C", "--city", "Lyon", "--postal-code", "69001", "--country", "fr"];
    let added = |args: &[&str]| {
        let out =
            table.run(&[&["add", "--origin", "market stall", "--name", "Zoë"], args, &to].concat());
        (
            out.status.code().unwrap(),
            String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned(),
        )
    };
    let (code, said) =
        added(&["--item", "3 x MUG-01", "--item", "Card, \"thanks\" @ 2.50", "--note", "gift"]);
    assert!(code == 0 && said.starts_with("id\t") && said.contains("38.50 EUR"), "{said}");
    assert_eq!(
        table.rows("SELECT origin, checkout_session_id, payment_status, shipping_country FROM orders WHERE id = 9"),
        ["market stall||paid|FR"]
    );
    assert_eq!(
        table.rows(
            "SELECT sku, name, options, quantity, amount_total, weight_g FROM line_items
             WHERE order_id = 9 ORDER BY position"
        ),
        ["MUG-01|Mug|blue|3|3600|350", "|Card, \"thanks\"||1|250|"]
    );
    assert_eq!(
        table.rows("SELECT actor, new FROM order_history WHERE order_id = 9 AND what = 'order'"),
        ["fulfilld:add|paid, added: market stall"]
    );
    // Stripe's books are what they were, and no hook is notified of a payment that
    // Stripe does not know.
    let after =
        [&export[..], &[&export[..], &["--lines"]].concat()].map(|args| table.run(args).stdout);
    assert!(books == after, "{}", String::from_utf8_lossy(&after[0]));
    assert_eq!(table.rows("SELECT * FROM sales_by_day"), days);
    assert_eq!(table.rows("SELECT count(*) FROM outbox WHERE order_id = 9"), ["0"]);
    let check = table.run(&["check"]);
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
    // It is packed, shipped and canceled like any other.
    assert_eq!(table.exported(&["pirate-ship", "9"], "utf-8", ",").cell("9-1", "Name"), "Zoë");
    let undo = String::from_utf8(table.run(&["undo"]).stderr).unwrap();
    assert!(undo.contains("what was added is not taken back; cancel it"), "{undo}");
    let (code, said) = table.takes(b"Order,Tracking,Carrier\n9-1,JD9,DHL\n", &[]);
    assert_eq!(code, 0, "{said}");
    assert!(table.run(&["undo"]).status.success());
    assert!(table.run(&["cancel", "9", "--reason", "staff"]).status.success());
    assert_eq!(table.rows("SELECT reason FROM attention WHERE order_id = 9"), [""; 0]);
    assert!(table.run(&["orders", "9"]).status.success());
    // What is none says so, and adds nothing.
    for (args, why) in [
        (&["--item", "0 x Mug"][..], "has no quantity"),
        (&["--item", "Mug @ 1.234"], "is not an amount of eur"),
        (&["--item", "Mug", "--currency", "money"], "has three letters"),
        (&["--item", "Mug", "--company"], "--company"),
    ] {
        let (code, said) = added(args);
        assert!(code == 64 && said.contains(why), "{code} {said}");
    }
    assert_eq!(table.rows("SELECT count(*) FROM orders"), ["9"]);
    // Nobody turns an order of Stripe's into one that was added, or the other way.
    for sql in [
        "UPDATE orders SET origin = 'phone', checkout_session_id = NULL WHERE id = 1",
        "UPDATE orders SET origin = NULL, checkout_session_id = 'cs_9' WHERE id = 9",
        "UPDATE line_items SET weight_g = 1",
    ] {
        assert!(Connection::open(table.db()).unwrap().execute_batch(sql).is_err(), "{sql}");
    }
}
