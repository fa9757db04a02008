//! What Stripe posts: signed requests, each with a purchase of its own.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The secret that generator and contenders share.
pub const SECRET: &str = "whsec_bench";

/// A paid session of 4.2 KB, pretty-printed with two blanks as Stripe does it.
const EVENT: &str = include_str!("checkout.session.completed.json");

/// What stands before the signature. One request a connection, as a proxy without upstream
/// keep-alive sends it.
const HEAD: &str = "POST /webhook HTTP/1.1\r\n\
    Host: shop.example\r\n\
    Connection: close\r\n\
    X-Forwarded-For: 3.18.12.63\r\n\
    X-Forwarded-Proto: https\r\n\
    User-Agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)\r\n\
    Accept: */*; q=0.5, application/xml\r\n\
    Cache-Control: no-cache\r\n\
    Content-Type: application/json; charset=utf-8\r\n";

/// In the order of their characters, so that a larger number is a later text.
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Writes deliveries by number. The same number is always the same event.
pub struct Deliveries {
    /// The body around its ids of event, session and payment.
    pieces: [&'static str; 4],
    key: Hmac<Sha256>,
}

impl Default for Deliveries {
    fn default() -> Deliveries {
        let (before, rest) = EVENT.split_once("$EVENT").expect("the event has a place for its id");
        let (between, rest) =
            rest.split_once("$SESSION").expect("the event has a place for its session's id");
        let (middle, after) =
            rest.split_once("$PAYMENT").expect("the event has a place for its payment's id");
        let key = Hmac::new_from_slice(SECRET.as_bytes()).expect("HMAC takes a key of any length");
        Deliveries { pieces: [before, between, middle, after], key }
    }
}

impl Deliveries {
    /// The whole request, signed at `now` (unix seconds), in place of what `request` held. `body`
    /// is room to work in.
    pub fn write(&self, number: u64, now: u64, request: &mut Vec<u8>, body: &mut Vec<u8>) {
        self.write_body(number, body);
        let t = now.to_string();
        let digest = self
            .key
            .clone()
            .chain_update(&t)
            .chain_update(b".")
            .chain_update(&*body)
            .finalize()
            .into_bytes();
        request.clear();
        request.extend_from_slice(HEAD.as_bytes());
        request.extend_from_slice(
            format!("Content-Length: {}\r\nStripe-Signature: t={t},v1=", body.len()).as_bytes(),
        );
        for byte in digest {
            request.extend_from_slice(&[hex(byte >> 4), hex(byte & 15)]);
        }
        // Stripe's own test signature beside the real one; it never counts.
        request.extend_from_slice(b",v0=");
        request.extend_from_slice(&[b'0'; 64]);
        request.extend_from_slice(b"\r\n\r\n");
        request.extend_from_slice(body);
    }

    /// The body alone.
    pub fn write_body(&self, number: u64, body: &mut Vec<u8>) {
        let [before, between, middle, after] = self.pieces;
        body.clear();
        body.extend_from_slice(before.as_bytes());
        body.extend_from_slice(event_id(number).as_bytes());
        body.extend_from_slice(between.as_bytes());
        body.extend_from_slice(session_id(number).as_bytes());
        body.extend_from_slice(middle.as_bytes());
        body.extend_from_slice(payment_id(number).as_bytes());
        body.extend_from_slice(after.as_bytes());
    }
}

/// As Stripe's ids are: some that grow with time, some of the account, some at random; so that the
/// index is as hard to keep as with real ones.
pub fn event_id(number: u64) -> String {
    format!("evt_1{}2eZvKYlo2C{}", base62(TIME_ORIGIN + number / 1000, 6), at_random(number))
}

/// The session's id is at random throughout.
pub fn session_id(number: u64) -> String {
    let (random, rest) = (at_random(number), "fNq8sVtZkYw3LrXo7PdHbJm5CgTe9UaR");
    format!("cs_test_a1{random}{}{rest}{random}", base62(TIME_ORIGIN + number / 1000, 6))
}

fn payment_id(number: u64) -> String {
    format!("pi_3{}2eZvKYlo2C{}", base62(TIME_ORIGIN + number / 1000, 6), at_random(number))
}

const TIME_ORIGIN: u64 = 28 * 62u64.pow(5);

/// Eight characters that look random; unique among a thousand neighbours by two of them.
fn at_random(number: u64) -> String {
    // The finalizer of splitmix64.
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    base62(number % 1000, 2) + &base62(mixed ^ (mixed >> 31), 6)
}

/// The last `width` digits.
fn base62(mut number: u64, width: usize) -> String {
    let mut digits = vec![b'0'; width];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(number % 62) as usize];
        number /= 62;
    }
    String::from_utf8(digits).expect("BASE62 is ASCII")
}

fn hex(nibble: u8) -> u8 {
    b"0123456789abcdef"[nibble as usize]
}
