//! The file with tracking numbers that a label service exports: its columns are known by their
//! names, whatever the code page, the separator and the spreadsheet that it went through.

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

use crate::error::{Error, Result};
use crate::text;

/// What a column says, and the headings by which it is known, the surest first: of several that are
/// there the first one counts. Capitals, blanks and signs in a heading do not matter.
const ORDER: &[&str] = &[
    "order reference",
    "your reference",
    "customer reference",
    "channel reference",
    "sendungsreferenz",
    "kundenreferenz",
    "shipper reference",
    "sender reference",
    "sender ref",
    "reference",
    "referenz",
    "référence",
    "référence commande",
    "referencia",
    "referentie",
    "numer referencyjny",
    "order id required",
    "order id",
    "platform order number",
    "order number",
    "order no",
    "order",
    "bestellnummer",
    "n de commande",
    "numéro de commande",
    "numero ordine",
    "número de pedido",
];
const NUMBER: &[&str] = &[
    "tracking number",
    "tracking no",
    "tracking code",
    "tracking id",
    "tracking",
    "sendungsnummer",
    "trackingnummer",
    "n de suivi",
    "numéro de suivi",
    "numéro de colis",
    "código de seguimiento",
    "número de seguimiento",
    "código de envío",
    "codice di tracciamento",
    "numero di tracciamento",
    "nr przesyłki",
];
/// Of several numbers with longer names, such as `Carrier tracking number`, the first; of a return
/// none.
const IN_NUMBER: &[&str] = &["tracking number", "tracking code", "tracking id"];
const NOT_IN_NUMBER: &[&str] = &["return", "retour", "url", "link"];
/// These may be a service's own, so they count where there is no other.
const NUMBER_AT_LAST: &[&str] = &[
    "parcel number",
    "paketnummer",
    "paketscheinnummer",
    "barcode",
    "awb number",
    "consignment number",
    "consignment no",
    "shipment number",
];
const COMPANY: &[&str] = &[
    "carrier",
    "shipping carrier",
    "carrier name",
    "courier",
    "tracking provider",
    "tracking company",
    "provider",
    "versanddienstleister",
    "transporteur",
    "transportista",
    "corriere",
    "vervoerder",
    "service",
    "shipping service",
];
const URL: &[&str] = &["tracking url", "tracking link", "track url"];
const STATUS: &[&str] = &[
    "status",
    "label status",
    "shipment status",
    "refund status",
    "sendungsstatus",
    "voided",
    "void indicator",
];

/// A row of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// Where it stands in the file, from 1, the heading included.
    pub line: u64,
    /// The order's reference as it stands there, `1042-1`.
    pub reference: String,
    /// The tracking number, cleaned.
    pub number: String,
    /// The carrier, where the file names one.
    pub company: Option<String>,
    /// The tracking link, where the file has one.
    pub url: Option<String>,
    /// The label was made void or refunded: it is no parcel.
    pub is_void: bool,
}

/// Reads the rows. `Usage` when it is no such file, naming the headings that it has.
pub fn read(bytes: &[u8]) -> Result<Vec<Row>> {
    let text = decoded(bytes);
    let text = text.trim_start_matches('\u{FEFF}');
    let (text, lines_before) = below_the_separator(text);
    let separator = separator(text);
    let mut csv = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(separator)
        .from_reader(text.as_bytes());
    let mut records = csv.records();
    let heading = match records.next() {
        Some(Ok(heading)) => heading,
        _ => {
            return Err(Error::Usage(
                "the file is empty; export the tracking numbers again".into(),
            ));
        }
    };
    let mut labels = Vec::new();
    for record in records {
        let record = record.map_err(|error| {
            Error::Usage(format!("the file is not CSV: {}", text::clean(&error.to_string())))
        })?;
        if !record.iter().all(|cell| cell.trim().is_empty()) {
            labels.push(record);
        }
    }
    let columns = Columns::of(&heading, &labels)?;
    let mut rows = Vec::new();
    for record in labels {
        // The reader's position is that of the blank lines before the record.
        let (line, from) = record.position().map_or((0, 0), |at| (at.line(), at.byte() as usize));
        let blank = text[from..].chars().take_while(|c| matches!(c, '\r' | '\n'));
        let line = lines_before + line + blank.filter(|c| *c == '\n').count() as u64;
        rows.push(columns.row(line, &record));
    }
    Ok(rows)
}

/// UTF-8 or UTF-16 where it says so or is it, else windows-1252, in which everything is text.
fn decoded(bytes: &[u8]) -> String {
    let encoding = match Encoding::for_bom(bytes) {
        Some((encoding, _)) => encoding,
        // A heading in plain letters has a zero beside each of them.
        None if bytes.get(1) == Some(&0) => UTF_16LE,
        None if bytes.first() == Some(&0) => UTF_16BE,
        None if std::str::from_utf8(bytes).is_ok() => UTF_8,
        None => WINDOWS_1252,
    };
    encoding.decode(bytes).0.into_owned()
}

/// What stands below a first line `sep=;`, which spreadsheets write for each other, and how many
/// lines that leaves out.
fn below_the_separator(text: &str) -> (&str, u64) {
    match text.split_once('\n') {
        Some((first, rest)) if first.trim_matches('"').to_lowercase().starts_with("sep=") => {
            (rest, 1)
        }
        _ => (text, 0),
    }
}

/// The one by which most headings are known, else the one that stands there most often.
fn separator(text: &str) -> u8 {
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let names = [ORDER, NUMBER, NUMBER_AT_LAST].concat();
    let known = |separator: u8| {
        let cells: Vec<String> = first.split(char::from(separator)).map(heading_name).collect();
        let is_known = |cell: &&String| names.iter().any(|name| plain(name) == **cell);
        (cells.iter().filter(is_known).count(), cells.len())
    };
    [b',', b';', b'\t', b'|']
        .into_iter()
        .rev()
        .max_by_key(|separator| known(*separator))
        .unwrap_or(b',')
}

fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn heading_name(cell: &str) -> String {
    plain(cell.trim_start_matches('\u{FEFF}'))
}

struct Columns {
    order: usize,
    number: usize,
    company: Option<usize>,
    url: Option<usize>,
    status: Vec<(usize, bool)>,
}

impl Columns {
    fn of(heading: &csv::StringRecord, labels: &[csv::StringRecord]) -> Result<Columns> {
        let names: Vec<String> = heading.iter().map(heading_name).collect();
        let find = |known: &[&str]| {
            known.iter().find_map(|name| names.iter().position(|there| *there == plain(name)))
        };
        let lacking = |known: &[&str], what: &str| {
            let there: Vec<String> = heading.iter().map(|cell| text::clean(cell.trim())).collect();
            Error::Usage(format!(
                "no column of the file names {what}; it has {}; name one of them {}",
                there.join(", "),
                known[..3].join(" or ")
            ))
        };
        let status = names
            .iter()
            .enumerate()
            .filter(|(_, there)| STATUS.iter().any(|name| plain(name) == **there));
        // Services have numbers of their own. The column with our `1042-1` in it is ours, whatever
        // it is called of the names that it may have; of other columns the only one that has
        // nothing else.
        let cells =
            |n: usize| labels.iter().map(move |label| as_typed(label.get(n).unwrap_or_default()));
        let mut known =
            ORDER.iter().filter_map(|name| names.iter().position(|there| *there == plain(name)));
        let ours = known.find(|n| cells(*n).any(|cell| is_parcel(&cell))).or(find(ORDER));
        let only_ours = |n: &usize| {
            let mut filled = cells(*n).filter(|cell| !cell.is_empty()).peekable();
            filled.peek().is_some() && filled.all(|cell| is_parcel(&cell))
        };
        let by_content = || match (0..names.len()).filter(only_ours).collect::<Vec<_>>()[..] {
            [only] => Some(only),
            _ => None,
        };
        let has =
            |there: &str, words: &[&str]| words.iter().any(|word| there.contains(&plain(word)));
        let longer =
            || names.iter().position(|there| has(there, IN_NUMBER) && !has(there, NOT_IN_NUMBER));
        let number = find(NUMBER).or_else(longer).or_else(|| find(NUMBER_AT_LAST));
        Ok(Columns {
            order: ours
                .or_else(by_content)
                .ok_or_else(|| lacking(ORDER, "the order's reference"))?,
            number: number.ok_or_else(|| lacking(NUMBER, "the tracking number"))?,
            company: find(COMPANY),
            url: find(URL),
            status: status.map(|(n, there)| (n, there.starts_with("void"))).collect(),
        })
    }

    fn row(&self, line: u64, record: &csv::StringRecord) -> Row {
        let cell = |n: usize| as_typed(record.get(n).unwrap_or_default());
        let some = |n: Option<usize>| n.map(cell).filter(|text| !text.is_empty());
        let is_void = self.status.iter().any(|(n, is_flag)| {
            let said = cell(*n).to_lowercase();
            match is_flag {
                true => ["true", "yes", "y", "1", "x"].contains(&said.as_str()),
                false => is_said(&said),
            }
        });
        Row {
            line,
            reference: cell(self.order),
            number: cell(self.number),
            company: some(self.company),
            url: some(self.url).filter(|url| url.starts_with("http")),
            is_void,
        }
    }
}

/// `1042-1`; not a postal code of the United States, `10115-1234`.
fn is_parcel(cell: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    cell.split_once('-')
        .is_some_and(|(order, parcel)| is_number(order) && is_number(parcel) && parcel.len() < 3)
}

/// True where a status says that the label is no longer one: not for `Not refunded`.
fn is_said(status: &str) -> bool {
    let no = |word: &str| ["not", "no", "non", "un", "never", "nicht"].contains(&word);
    let is_denied = status.split(|c: char| !c.is_alphanumeric()).any(no);
    !is_denied && ["void", "refund", "cancel", "storn"].iter().any(|word| status.contains(word))
}

/// A cell without what spreadsheets put around a text so that it stays one: `="0123"`, `'0123`.
fn as_typed(cell: &str) -> String {
    let cell = cell.trim();
    let inner = cell.strip_prefix("=\"").and_then(|rest| rest.strip_suffix('"'));
    text::clean(inner.or(cell.strip_prefix('\'')).unwrap_or(cell).trim())
}

/// Why that is no tracking number; `None` where it may be one.
pub fn is_no_number(number: &str) -> Option<String> {
    let is_rounded = number.to_uppercase().split_once('E').is_some_and(|(digits, power)| {
        let digits = digits.replace([',', '.'], "");
        let power = power.trim_start_matches('+');
        number.contains('+')
            && !digits.is_empty()
            && !power.is_empty()
            && (digits + power).bytes().all(|b| b.is_ascii_digit())
    });
    if is_rounded {
        return Some(format!(
            "a spreadsheet has made a rounded number of the tracking number ({number}); export it again and do not \
             save it there"
        ));
    }
    number
        .contains([',', ';'])
        .then(|| format!("'{number}' is several tracking numbers; a parcel has one"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(bytes: &[u8]) -> Vec<(String, String, Option<String>, bool)> {
        let rows = read(bytes).unwrap().into_iter();
        rows.map(|row| (row.reference, row.number, row.company, row.is_void)).collect()
    }

    #[test]
    fn a_services_file_is_read_by_its_headings_whatever_wrote_it() {
        let one = |company: Option<&str>| {
            vec![("1042-1".to_string(), "JD0146".to_string(), company.map(String::from), false)]
        };
        let utf16: Vec<u8> = "\u{FEFF}Order ID\tTracking Number\r\n1042-1\tJD0146\r\n"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        for (bytes, company) in [
            (&b"Recipient,Tracking Number,Status,Carrier,Service,Order \
                ID\nAda,JD0146,Sent,USPS,First,1042-1\n"[..], Some("USPS")),
            (b"Sendungsnummer;Sendungsreferenz;Empf\xe4nger Stra\xdfe\r\nJD0146;1042-1;Stra\xdfe\r\n", None),
            (b"\xef\xbb\xbforder_id,tracking_provider,tracking_number\n1042-1,DHL,JD0146\n", Some("DHL")),
            (b"TRACKING NO.|Order Reference|Order Number\n=\"JD0146\"|'1042-1|900\n\n", None),
            (b"\"Order #\",\"Tracking\"\n1042-1,JD0146", None),
            (b"sep=;\r\nOrder ID;Tracking Number\r\n1042-1;JD0146\r\n", None),
            (b"\n\nOrder ID;Tracking Number\n1042-1;JD0146\n", None),
            (b"Order number,Order ID,Channel reference,Tracking number\n88,99,1042-1,JD0146\n", None),
            (b"Order Reference,Order ID,Tracking\nspring,1042-1,JD0146\n", None),
            (&utf16[2..], None),
            (&utf16, None),
        ] {
            assert_eq!(rows(bytes), one(company), "{:?}", String::from_utf8_lossy(bytes));
        }
        let void = rows(b"order,tracking,status,voided\n1,a,Refund pending,\n2,b,VOIDED,\n3,c,ok,No\n4,d,,true\n");
        assert_eq!(void.iter().map(|row| row.3).collect::<Vec<_>>(), [true, true, false, true]);
        let kept = rows(
            b"order,tracking,refund status\n1,a,Not refunded\n2,b,Nicht storniert\n3,c,Refunded\n",
        );
        assert_eq!(kept.iter().map(|row| row.3).collect::<Vec<_>>(), [false, false, true]);
        let at: Vec<u64> = read(b"order,tracking\n1,a\n\n\"2\",\"b\nc\"\n3,d")
            .unwrap()
            .iter()
            .map(|r| r.line)
            .collect();
        assert_eq!(at, [2, 4, 6]);
    }

    #[test]
    fn the_headings_that_services_document_are_known_as_they_stand() {
        // Two rows each: a label, and one that is void where the file says so.
        let pirate = "Created Date,Recipient,Company,Email,Tracking Number,Cost,Status,Batch,Label Size,Saved Package,\
            Ship From,Ship Date,Estimated Delivery Time,Weight (oz),Zone,Package Type,Package Length,Package Width,\
            Package Height,Tracking Status,Tracking Info,Tracking Date,Address Line 1,Address Line 2,City,State,\
            Zipcode,Country,Carrier,Service,Order ID,Rubber Stamp 1,Rubber Stamp 2,Rubber Stamp 3,Order Value";
        let woo = "order_id,tracking_provider,tracking_number,date_shipped,status_shipped,sku,qty";
        let dhl = "Sendungsnummer;Sendungsreferenz;Empfänger Name 1;Status";
        for (heading, cells) in [
            (
                pirate,
                &[
                    ("Tracking Number", "JD0146"),
                    ("Order ID", "1042-1"),
                    ("Carrier", "DHL"),
                    ("Service", "Priority"),
                    ("Status", "Refund requested"),
                    ("Tracking Status", "Unknown"),
                ][..],
            ),
            (
                woo,
                &[
                    ("order_id", "1042-1"),
                    ("tracking_provider", "DHL"),
                    ("tracking_number", "JD0146"),
                ],
            ),
            (
                dhl,
                &[
                    ("Sendungsnummer", "JD0146"),
                    ("Sendungsreferenz", "1042-1"),
                    ("Status", "storniert"),
                ],
            ),
            (
                "Order number,Channel reference,Tracking number,Service code",
                &[
                    ("Order number", "77"),
                    ("Channel reference", "1042-1"),
                    ("Tracking number", "JD0146"),
                ],
            ),
            (
                "Ship Date,Order #,Tracking #,Carrier,Voided",
                &[
                    ("Order #", "1042-1"),
                    ("Tracking #", "JD0146"),
                    ("Carrier", "DHL"),
                    ("Voided", "true"),
                ],
            ),
        ] {
            let separator = if heading.contains(';') { ";" } else { "," };
            let row = |with_status: bool| {
                let cell = |name: &str| {
                    let is_status = ["Status", "Voided"].contains(&name);
                    let cell = cells.iter().find(|(known, _)| *known == name);
                    cell.filter(|_| !is_status || with_status).map_or("", |(_, cell)| cell)
                };
                heading.split(separator).map(cell).collect::<Vec<_>>().join(separator)
            };
            let file = format!("{heading}\r\n{}\r\n{}\r\n", row(false), row(true));
            let read = rows(file.as_bytes());
            let has_status = heading.contains("Status,")
                || heading.contains(";Status")
                || heading.contains("Voided");
            assert_eq!(
                (read[0].0.as_str(), read[0].1.as_str(), read[0].3),
                ("1042-1", "JD0146", false),
                "{heading}"
            );
            assert_eq!(read[1].3, has_status, "{heading}");
            assert_eq!(
                read[0].2.as_deref(),
                heading
                    .to_lowercase()
                    .contains("carrier")
                    .then_some("DHL")
                    .or(heading.contains("provider").then_some("DHL")),
                "{heading}"
            );
        }
    }

    #[test]
    fn the_number_is_the_carriers_and_the_reference_ours_in_files_of_other_services() {
        for (file, company) in [
            (
                "Shipment - Number,Order - Number,Carrier - Name,Tracking - Tracking Number\nS1,1042-1,DHL,JD0146",
                Some("DHL"),
            ),
            (
                "Order ID,Channel reference,Tracking numbers,Status\n77,1042-1,JD0146,Despatched",
                None,
            ),
            (
                "Shipment ID,PackageTrackingNumber,PackageReference1,VoidIndicator\n1Z,JD0146,1042-1,N",
                None,
            ),
            (
                "Order reference,Carrier,Return tracking number,Carrier tracking number\n1042-1,DHL,R1,JD0146",
                Some("DHL"),
            ),
            (
                "ID,Platform Order Number,Tracking Number,Courier\nES1,1042-1,JD0146,DHL",
                Some("DHL"),
            ),
            ("Paketscheinnummer;Referenz 1;Empfänger\nJD0146;1042-1;Ada", None),
            ("Paketnummer;Kundenreferenz\nJD0146;1042-1", None),
            ("Référence commande;Numéro de colis;Transporteur\n1042-1;JD0146;DHL", Some("DHL")),
            ("N° de suivi;N° de commande\nJD0146;1042-1", None),
            ("Referencia;Código de envío;Transportista\n1042-1;JD0146;DHL", Some("DHL")),
            ("Numero ordine;Codice di tracciamento;Corriere\n1042-1;JD0146;DHL", Some("DHL")),
            ("Nr przesyłki;Numer referencyjny;Status\nJD0146;1042-1;Nadana", None),
            ("Barcode;Referentie;Postcode\nJD0146;1042-1;10115-1234", None),
            ("Consignment No,Article No,Sender Ref 1\nJD0146,A1,1042-1", None),
            ("masterTrackingNumber,Zip,senderRef\nJD0146,10115-1234,1042-1", None),
        ] {
            let read = rows(file.as_bytes());
            let expected = ("1042-1".into(), "JD0146".into(), company.map(String::from), false);
            assert_eq!(read, [expected], "{file}");
        }
        let void = rows(b"TrackingNumber,Reference1,VoidIndicator\nJD0146,1042-1,Y");
        assert!(void[0].3, "{void:?}");
        let unclear = read(b"tracking,from,to\nJD0146,1042-1,1043-1").unwrap_err().to_string();
        assert!(unclear.contains("names the order's reference"), "{unclear}");
    }

    #[test]
    fn a_file_without_such_columns_says_which_it_has() {
        for (bytes, why) in [
            (&b""[..], "empty"),
            (b"name,city\nAda,Paris\n", "names the order's reference; it has name, city"),
            (b"order,city\n1,Paris\n", "names the tracking number"),
        ] {
            let said = read(bytes).unwrap_err().to_string();
            assert!(said.contains(why), "{said}");
        }
    }

    #[test]
    fn what_a_spreadsheet_made_of_a_number_is_no_number() {
        assert!(is_no_number("9,40011E+21").is_some());
        assert!(is_no_number("JD1; JD2").is_some());
        for number in ["JD0146000034", "9400111899223", "E+", "123E456", "AB 1234 GB"] {
            assert_eq!(is_no_number(number), None);
        }
    }
}
