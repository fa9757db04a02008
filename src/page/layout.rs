//! What every page has around it: its head, its navigation, and the headers that keep a browser from
//! storing, framing or running anything.

use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use super::guard::Person;
use crate::door::Answer;

/// All pages are below this path, so that a proxy can publish them beside the webhook.
pub const ROOT: &str = "/desk/";

const STYLE: &str = include_str!("style.css");

/// Lets in the one style and nothing else: no script, no picture, no frame, no other site's form.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = BASE64_STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
});

/// A printed document brings a style and a stricter policy of its own.
const POLICY_OF_PAPER: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'; \
                               frame-ancestors 'none'";

/// Nothing is stored or framed, and other sites do not learn what was looked at. (`same-origin`, not
/// `no-referrer`: with that a browser sends no `Origin` along with a form.)
const HEADERS: [(&str, &str); 6] = [
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
];

/// A part of the page, as the navigation names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Pack,
    Tracking,
    Orders,
    Attention,
    Books,
    Health,
}

/// Its path below [`ROOT`], its name, and whether packers have it.
const PARTS: [(Part, &str, &str, bool); 6] = [
    (Part::Pack, "pack", "Pack", true),
    (Part::Tracking, "tracking", "Tracking file", true),
    (Part::Orders, "orders", "Orders", true),
    (Part::Attention, "attention", "Attention", false),
    (Part::Books, "books", "Books", false),
    (Part::Health, "health", "Health", false),
];

/// A whole page.
pub fn page(person: &Person, part: Option<Part>, title: &str, main: Markup) -> Answer {
    whole(200, Some(person), part, title, main)
}

/// The same with another status.
pub fn whole(
    status: u16,
    person: Option<&Person>,
    part: Option<Part>,
    title: &str,
    main: Markup,
) -> Answer {
    let parts = PARTS.iter().filter(|(.., packs)| *packs || person.is_some_and(Person::may_do_all));
    let text = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " – fulfilld" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                @if let Some(person) = person {
                    header { div.inside {
                        nav aria-label="Parts" {
                            @for (of, path, name, _) in parts {
                                a href={ (ROOT) (path) } aria-current=[(part == Some(*of)).then_some("page")] {
                                    (name)
                                }
                            }
                        }
                        span.who { (person.name) }
                    } }
                }
                main #main { h1 { (title) } (main) }
            }
        }
    };
    with_headers(
        Answer::new(status, "text/html; charset=utf-8", text.into_string().into_bytes()),
        &POLICY,
    )
}

/// A document for the printer, which is whole HTML of its own.
pub fn paper(document: String) -> Answer {
    let answer = Answer::new(200, "text/html; charset=utf-8", document.into_bytes());
    with_headers(answer, POLICY_OF_PAPER)
}

/// A file to keep; the name is the program's own.
pub fn download(content_type: &'static str, disposition: &'static str, bytes: Vec<u8>) -> Answer {
    let mut answer = with_headers(Answer::new(200, content_type, bytes), "default-src 'none'");
    answer.headers.push(("Content-Disposition", disposition));
    answer
}

/// Looks at another page of ours, after something was done; `path` is below [`ROOT`].
pub fn see_other(path: String) -> Answer {
    let mut answer = with_headers(Answer::text(303, "See the page".into()), "default-src 'none'");
    answer.location = Some(format!("{ROOT}{path}"));
    answer
}

fn with_headers(mut answer: Answer, policy: &'static str) -> Answer {
    answer.headers.push(("Content-Security-Policy", policy));
    answer.headers.extend(HEADERS);
    answer
}

/// A sentence that stands out; `kind` is good, warn or bad.
pub fn note(kind: &str, text: &str) -> Markup {
    html! { div.note.(kind) role=(if kind == "good" { "status" } else { "alert" }) { p { (text) } } }
}

/// The hidden fields of a form.
pub fn hidden(fields: &[(&str, &str)]) -> Markup {
    html! { @for (name, value) in fields { input type="hidden" name=(name) value=(value); } }
}
