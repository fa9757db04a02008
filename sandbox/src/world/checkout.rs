//! The facts of one checkout: who buys what for how much. Everything that Stripe says about it is
//! rendered from them.

use serde_json::Value;

use super::catalog::{BUYERS, Buyer, DOWNLOADS, Good, MEMBERSHIP, PARCELS};

/// Between opening the page and paying.
const BROWSING_S: i64 = 120;

/// After this a session that nobody paid for expires; Stripe's default.
pub const LIFE_S: i64 = 24 * 3600;

/// When the shop's products were made.
pub const SHOP_OPENED: i64 = 1_767_225_600;

/// From this on, in euro cents, the shop ships for nothing.
const FREE_SHIPPING_FROM: i64 = 4000;

/// How the money stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// A delayed payment that is under way.
    Unpaid,
    /// Held until it is captured.
    Held,
    Paid,
    /// Nothing to pay.
    Free,
    Failed,
    Canceled,
    Expired,
}

/// What a buyer bought, and on which terms. It never changes; how its payment stands is the sale's.
pub struct Checkout {
    /// The name of the scenario that made it.
    pub scenario: &'static str,
    /// How its payment ends when it is made.
    pub ends: Stage,
    /// Changes the usual session into the scenario's odd one.
    pub dress: fn(&mut Value),
    /// `cs_test_…`; the ids of all that belongs to it end like it.
    pub id: String,
    /// Unix seconds: when the session was opened, and when it ended.
    pub created: i64,
    pub ended: i64,
    /// `payment`, `subscription` or `setup`, as Stripe writes it.
    pub mode: &'static str,
    /// Three lowercase letters.
    pub currency: &'static str,
    /// How it is paid, in Stripe's word: `card`, `sepa_debit` …
    pub method: &'static str,
    /// The n-th checkout's, in turn.
    pub buyer: &'static Buyer,
    pub lines: Vec<Line>,
    /// `None` when the checkout asked for no address.
    pub shipping: Option<i64>,
    /// The currency that the buyer saw, where it was another.
    pub presented_in: Option<&'static str>,
    /// What the payment link's URL carried.
    pub reference: Option<String>,
    /// The money is held until it is captured.
    pub manual: bool,
    /// So much of the total the customer's credit balance pays.
    pub credited: i64,
    /// The buyer fetches it: there is a way of shipping and no address.
    pub pick_up: bool,
    /// A later payment of this subscription; it has no session that Stripe would show.
    pub renews: Option<String>,
    /// The invoice of another sale that this one pays a part of; else it has its own.
    pub pays: Option<String>,
}

/// One line as sold, in minor units.
pub struct Line {
    pub sku: String,
    pub name: String,
    pub option: Option<&'static str>,
    /// False for a download.
    pub shippable: bool,
    /// The price of one.
    pub unit: i64,
    pub quantity: i64,
    /// Off the whole line.
    pub discount: i64,
    /// On top of the whole line.
    pub tax: i64,
    /// Nothing is paid for it yet.
    pub trial: bool,
    /// In another currency, which its price names itself in: and so much.
    pub priced: Option<(&'static str, i64)>,
    pub oddity: Oddity,
}

/// How a line is strange.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Oddity {
    None,
    /// Its product was deleted since.
    Deleted,
    /// Everything is null that may be.
    Bare,
}

impl Checkout {
    /// The n-th checkout of the sandbox, with an empty basket; the same n has the same buyer.
    pub fn open(
        scenario: &'static str,
        ends: Stage,
        dress: fn(&mut Value),
        n: usize,
        now: i64,
    ) -> Checkout {
        let took = if ends == Stage::Expired { LIFE_S } else { BROWSING_S };
        Checkout {
            scenario,
            ends,
            dress,
            id: random_id("cs_test_a1", 58),
            created: now - took,
            ended: now,
            mode: "payment",
            currency: "eur",
            method: "card",
            buyer: &BUYERS[n % BUYERS.len()],
            lines: Vec::new(),
            shipping: None,
            presented_in: None,
            reference: None,
            manual: false,
            credited: 0,
            pick_up: false,
            renews: None,
            pays: None,
        }
    }

    /// Before discount, shipping and tax, in minor units.
    pub fn subtotal(&self) -> i64 {
        self.lines.iter().map(Line::subtotal).sum()
    }

    /// The discounts of all lines, in minor units.
    pub fn discounted(&self) -> i64 {
        self.lines.iter().map(|line| line.discount).sum()
    }

    /// The tax of all lines, in minor units.
    pub fn taxed(&self) -> i64 {
        self.lines.iter().map(|line| line.tax).sum()
    }

    /// What the buyer pays, in minor units, shipping included.
    pub fn total(&self) -> i64 {
        self.subtotal() - self.discounted() + self.shipping.unwrap_or(0) + self.taxed()
    }

    /// What is paid by the payment, in minor units.
    pub fn charged(&self) -> i64 {
        self.total() - self.credited
    }

    /// The id of something that belongs to this checkout alone: `pi`, `ch`, `sub` ….
    pub fn id_of(&self, prefix: &str) -> String {
        format!("{prefix}_3{}", &self.id[self.id.len() - 23..])
    }

    /// `None` where Stripe makes none: nothing to pay, or nothing confirmed.
    pub fn payment_intent(&self) -> Option<String> {
        let by_credit_alone = self.credited > 0 && self.charged() == 0;
        let none = by_credit_alone || matches!(self.ends, Stage::Free | Stage::Expired);
        (!none).then(|| self.id_of("pi"))
    }

    /// What the session says about its payment: nothing when an invoice's was paid.
    pub fn named_payment_intent(&self) -> Option<String> {
        self.payment_intent().filter(|_| self.mode == "payment")
    }

    /// The subscription that it begins or continues.
    pub fn subscription(&self) -> Option<String> {
        self.renews.clone().or((self.mode == "subscription").then(|| self.id_of("sub")))
    }

    /// Of a subscription.
    pub fn invoice(&self) -> Option<String> {
        (self.mode == "subscription").then(|| self.pays.clone().unwrap_or_else(|| self.id_of("in")))
    }

    /// `None` where no money has moved yet.
    pub fn charge(&self) -> Option<String> {
        let charged = self.manual || self.ends != Stage::Canceled;
        self.payment_intent().filter(|_| charged).map(|_| self.id_of("ch"))
    }

    /// `li_…` of a line, by its place from 0.
    pub fn line_id(&self, at: usize) -> String {
        format!("li_1{}{at:03}", &self.id[self.id.len() - 20..])
    }

    /// `price_…` of a line; the same goods at the same price have the same one.
    pub fn price_id(&self, line: &Line) -> String {
        format!("price_{}{}{}", line.sku.replace('-', ""), self.currency, line.unit)
    }
}

impl Line {
    /// Before discount and tax; 0 while it is on trial.
    pub fn subtotal(&self) -> i64 {
        if self.trial { 0 } else { self.unit * self.quantity }
    }

    /// The same good has the same product, whoever buys it.
    pub fn product_id(&self) -> String {
        format!("prod_{}", self.sku.replace('-', ""))
    }
}

/// How a scenario fills the basket.
impl Checkout {
    /// Before anything is put into the basket.
    pub fn priced_in(self, currency: &'static str) -> Checkout {
        Checkout { currency, ..self }
    }

    /// The buyer sees the amount in another currency.
    pub fn presented_in(self, currency: &'static str) -> Checkout {
        Checkout { presented_in: Some(currency), ..self }
    }

    /// By direct debit, which settles later.
    pub fn by_debit(self) -> Checkout {
        Checkout { method: "sepa_debit", ..self }
    }

    /// The buyer sends the money by bank transfer, and half of it first.
    pub fn by_transfer(self) -> Checkout {
        Checkout { method: "customer_balance", ..self }
    }

    /// The bank holds the money until the shop captures it.
    pub fn held(self) -> Checkout {
        Checkout { manual: true, ..self }
    }

    /// After the basket is full: the first month costs nothing.
    pub fn on_trial(mut self) -> Checkout {
        self.lines.iter_mut().for_each(|line| line.trial = true);
        self
    }

    /// After the basket is full: the customer's credit balance pays so much of it.
    pub fn by_credit(self, percent: i64) -> Checkout {
        Checkout { credited: self.total() * percent / 100, ..self }
    }

    /// After the basket is full: its prices name themselves in dollars.
    pub fn priced_abroad(mut self) -> Checkout {
        self.lines.iter_mut().for_each(|line| line.priced = Some(("usd", line.unit + 200)));
        self
    }

    /// After the basket is full: the buyer fetches it.
    pub fn picked_up(self) -> Checkout {
        Checkout { pick_up: true, ..self.ship(0) }
    }

    /// Through a payment link, whose URL carries a reference.
    pub fn by_link(self, n: usize) -> Checkout {
        Checkout { reference: Some(format!("newsletter-{}", n + 1)), ..self }
    }

    /// One to three different goods to be shipped, and the shipping.
    pub fn parcels(self, n: usize) -> Checkout {
        let filled =
            (0..=n % 3).fold(self, |c, k| c.parcel(n + 2 * k, 1 + ((n + k) % 4 / 2) as i64));
        let enough = filled.price(FREE_SHIPPING_FROM);
        let shipping = if filled.subtotal() < enough { 490 } else { 0 };
        filled.ship(shipping)
    }

    /// One good to be shipped, this many of it.
    pub fn parcel(self, n: usize, quantity: i64) -> Checkout {
        self.good(&PARCELS[n % PARCELS.len()], quantity)
    }

    /// One good that needs no parcel.
    pub fn download(self, n: usize) -> Checkout {
        self.good(&DOWNLOADS[n % DOWNLOADS.len()], 1)
    }

    /// Something to ship and something to download.
    pub fn mixed(self, n: usize) -> Checkout {
        self.parcel(n, 1).download(n).ship(490)
    }

    /// So many lines, each of one to three prints.
    pub fn prints(self, n: usize, count: usize) -> Checkout {
        (1..=count).fold(self, |c, k| {
            let quantity = 1 + ((n + k) % 3) as i64;
            c.line(
                &format!("PRINT-{k:03}"),
                &format!("Print No. {k}"),
                Some("20 × 30 cm"),
                1500,
                quantity,
                true,
            )
        })
    }

    /// A month of a subscription, which this purchase begins.
    pub fn membership(self) -> Checkout {
        Checkout { mode: "subscription", ..self.good(&MEMBERSHIP, 1) }
    }

    /// It stores a card and sells nothing.
    pub fn setup(self) -> Checkout {
        Checkout { mode: "setup", ..self }
    }

    fn good(self, good: &Good, quantity: i64) -> Checkout {
        self.line(good.sku, good.name, good.option, good.cents, quantity, good.shippable)
    }

    /// Puts a line into the basket; `cents` are EUR, and converted to the checkout's currency.
    pub fn line(
        mut self,
        sku: &str,
        name: &str,
        option: Option<&'static str>,
        cents: i64,
        quantity: i64,
        shippable: bool,
    ) -> Checkout {
        let (unit, oddity) = (self.price(cents), Oddity::None);
        let (sku, name) = (sku.into(), name.into());
        self.lines.push(Line {
            sku,
            name,
            option,
            shippable,
            unit,
            quantity,
            discount: 0,
            tax: 0,
            trial: false,
            priced: None,
            oddity,
        });
        self
    }

    /// Makes the last line strange.
    pub fn odd(mut self, oddity: Oddity) -> Checkout {
        self.lines.iter_mut().last().into_iter().for_each(|line| line.oddity = oddity);
        self
    }

    /// After the basket is full.
    pub fn discount(mut self, percent: i64) -> Checkout {
        self.lines.iter_mut().for_each(|line| line.discount = line.subtotal() * percent / 100);
        self
    }

    /// After the discount.
    pub fn tax(mut self, percent: i64) -> Checkout {
        self.lines
            .iter_mut()
            .for_each(|line| line.tax = (line.subtotal() - line.discount) * percent / 100);
        self
    }

    /// Asks for an address.
    pub fn ship(self, cents: i64) -> Checkout {
        Checkout { shipping: Some(self.price(cents)), ..self }
    }

    /// Euro cents as a plausible price in the shop's currency, in a form that Stripe permits.
    fn price(&self, cents: i64) -> i64 {
        match self.currency {
            "jpy" => cents * 16 / 100 * 10,
            "kwd" => cents * 33 / 100 * 10,
            _ => cents,
        }
    }
}

/// An id that is new, as long as Stripe's.
pub fn random_id(prefix: &str, length: usize) -> String {
    prefix.chars().chain(std::iter::repeat_with(fastrand::alphanumeric).take(length)).collect()
}
