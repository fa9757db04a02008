//! Who buys in the sandbox, and what there is to buy: a small cast, so that a demo looks like a
//! shop.

/// Somebody with an address.
pub struct Buyer {
    pub name: &'static str,
    pub email: &'static str,
    pub phone: &'static str,
    /// line1, city, state, postal code, country.
    pub address: [&'static str; 5],
    /// A business, and its tax id.
    pub business: Option<(&'static str, &'static str)>,
    /// Written into the shop's custom field.
    pub engraving: Option<&'static str>,
}

/// Who buys, in turn.
pub const BUYERS: &[Buyer] = &[
    buyer(
        "Marie Dubois",
        "marie.dubois@example.com",
        "+33612345678",
        ["12 rue des Lices", "Lyon", "", "69002", "FR"],
    )
    .wishing("Pour Mamie"),
    buyer(
        "Jonas Weber",
        "einkauf@weber.example",
        "+4930123456",
        ["Kastanienallee 7", "Berlin", "", "10435", "DE"],
    )
    .for_business("Weber & Söhne GmbH", "DE123456789"),
    buyer(
        "Aoife O'Brien",
        "aoife@example.org",
        "+353861234567",
        ["3 Quay Street", "Galway", "", "H91 XY45", "IE"],
    ),
    buyer(
        "Sofía Núñez",
        "sofia@example.com",
        "+34612345678",
        ["Calle Mayor 21, 3º B", "Madrid", "", "28013", "ES"],
    ),
    buyer(
        "佐藤 花子",
        "hanako@example.jp",
        "+81312345678",
        ["神南1-2-3", "渋谷区", "東京都", "150-0041", "JP"],
    ),
    buyer(
        "Nora Lindqvist",
        "nora@example.se",
        "+46701234567",
        ["Götgatan 44", "Stockholm", "", "118 26", "SE"],
    )
    .wishing("Till Ebba 🎈"),
    buyer(
        "Sam Carter",
        "sam@example.net",
        "+12065550100",
        ["410 Pine St, Apt 5", "Seattle", "WA", "98101", "US"],
    ),
    buyer(
        "Zoë de Vries",
        "zoe@example.nl",
        "+31612345678",
        ["Prinsengracht 263", "Amsterdam", "", "1016 GV", "NL"],
    ),
];

/// Something to buy. The price is in euro cents; other currencies are derived from it.
pub struct Good {
    pub sku: &'static str,
    pub name: &'static str,
    pub option: Option<&'static str>,
    pub cents: i64,
    pub shippable: bool,
}

/// Goods that are shipped.
pub const PARCELS: &[Good] = &[
    good("MUG-BLUE", "Stoneware mug", Some("blue"), 1400),
    good("POSTER-HARBOUR-A2", "Poster “Harbour at dawn”", Some("A2"), 2200),
    good("TOWEL-LINEN", "Linen tea towel", None, 950),
    good("NOTE-DOT", "Notebook, dotted", Some("A5"), 1250),
    good("PIN-FOX", "Enamel pin “Fox”", None, 600),
    good("SOCKS-42", "Wool socks", Some("42–45"), 1650),
    good("CANDLE-FIG", "Candle, fig", None, 1800),
];

/// Goods that need no parcel.
pub const DOWNLOADS: &[Good] = &[
    download("EBOOK-BREAD", "E-book “Bread at home”", Some("EPUB"), 1200),
    download("PATTERN-SCARF", "Knitting pattern “Scarf”", Some("PDF"), 500),
    download("ALBUM-TIDES", "Album “Tides”", Some("FLAC"), 900),
];

/// What a subscription is of.
pub const MEMBERSHIP: Good = download("CLUB-MONTH", "Print club, monthly", None, 1900);

const fn buyer(
    name: &'static str,
    email: &'static str,
    phone: &'static str,
    address: [&'static str; 5],
) -> Buyer {
    Buyer { name, email, phone, address, business: None, engraving: None }
}

impl Buyer {
    const fn for_business(self, name: &'static str, tax_id: &'static str) -> Buyer {
        Buyer { business: Some((name, tax_id)), ..self }
    }

    const fn wishing(self, engraving: &'static str) -> Buyer {
        Buyer { engraving: Some(engraving), ..self }
    }
}

const fn good(
    sku: &'static str,
    name: &'static str,
    option: Option<&'static str>,
    cents: i64,
) -> Good {
    Good { sku, name, option, cents, shippable: true }
}

const fn download(
    sku: &'static str,
    name: &'static str,
    option: Option<&'static str>,
    cents: i64,
) -> Good {
    Good { sku, name, option, cents, shippable: false }
}
