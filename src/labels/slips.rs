//! Packing slips as one document for the printer: a sheet for whoever packs, then a page a parcel.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

use super::Sender;
use super::parcels::{Item, Parcel, day};
use crate::text;

/// The document's whole style; its hash is the one thing that its policy lets in.
const STYLE: &str = "
@page { margin: 16mm }
body { font: 11pt/1.4 sans-serif; max-width: 178mm; margin: 8mm auto; color: #000; background: #fff }
section { break-after: page }
section:last-child { break-after: auto }
h1 { font-size: 18pt; margin: 0 0 5mm }
h2 { font-size: 13pt; margin: 6mm 0 2mm }
address { font-style: normal; font-size: 13pt; margin: 0 0 6mm }
table { width: 100%; border-collapse: collapse }
th, td { text-align: left; padding: 2mm; border-bottom: .3mm solid #999; vertical-align: top }
td.number { text-align: right; white-space: nowrap }
td.box span { display: inline-block; width: 4mm; height: 4mm; border: .3mm solid #000 }
td, p, address { overflow-wrap: anywhere }
tr { break-inside: avoid }
thead { display: table-header-group }
.caution { font-weight: bold }
.shop { color: #333 }
@media screen { section { border-bottom: 1px dashed #999; padding: 8mm 0 } }
@media print { body { margin: 0; max-width: none } }
";

/// One HTML document. It loads nothing and runs nothing, whatever a customer is called. What only
/// the shop should read, money that went back and notes, is on the first sheet, not on the slips.
pub fn document(sender: &Sender, parcels: &[Parcel]) -> String {
    let hash = BASE64_STANDARD.encode(Sha256::digest(STYLE));
    let has_sheet = parcels.len() > 1 || parcels.iter().any(|parcel| parcel.caution.is_some());
    let sheet = if has_sheet { sheet(parcels) } else { String::new() };
    let slips: String = parcels.iter().map(|parcel| slip(sender, parcel)).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{hash}'\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Packing slips</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{sheet}{slips}</body>\n</html>\n"
    )
}

/// What is to be taken from the shelves, and what to look out for.
fn sheet(parcels: &[Parcel]) -> String {
    let mut shelves: BTreeMap<(&str, &str, &str), (i64, Vec<String>)> = BTreeMap::new();
    for parcel in parcels {
        for item in &parcel.items {
            let thing = (
                item.sku.as_deref().unwrap_or_default(),
                item.name.as_str(),
                item.options.as_deref().unwrap_or_default(),
            );
            let (quantity, of) = shelves.entry(thing).or_default();
            *quantity += item.quantity;
            of.push(parcel.reference());
        }
    }
    let picks: String = shelves
        .iter()
        .map(|((sku, name, options), (quantity, of))| {
            row(&[
                ("box", "<span></span>".into()),
                ("number", quantity.to_string()),
                ("", escaped(sku)),
                ("", escaped(&named(name, options))),
                ("", escaped(&of.join(", "))),
            ])
        })
        .collect();
    let packs: String = parcels
        .iter()
        .map(|parcel| {
            row(&[
                ("box", "<span></span>".into()),
                ("", escaped(&parcel.reference())),
                ("", escaped(&parcel.texts["name"])),
                ("", escaped(&parcel.texts["shipping_option"])),
                ("caution", escaped(parcel.caution.as_deref().unwrap_or_default())),
            ])
        })
        .collect();
    format!(
        "<section>\n<h1>To pack: {} parcels</h1>\n<p>This sheet stays in the shop.</p>\n<h2>From the shelves</h2>\n\
         {}<h2>Parcels</h2>\n{}</section>\n",
        parcels.len(),
        table(&["", "Quantity", "SKU", "Item", "For"], &picks),
        table(&["", "Parcel", "Customer", "Shipping", "Caution"], &packs)
    )
}

/// What goes into the parcel.
fn slip(sender: &Sender, parcel: &Parcel) -> String {
    let of = |name: &str| parcel.texts[name].as_str();
    let town = format!("{} {}", of("postal_code"), of("city"));
    let land = format!("{} {}", of("state"), of("country"));
    let address = [of("name"), of("company"), of("line1"), of("line2"), town.trim(), land.trim()];
    let address: Vec<String> =
        address.into_iter().filter(|line| !line.is_empty()).map(escaped).collect();
    let shop = [sender.get("company"), sender.get("name")].into_iter().flatten().next();
    let ordered = day(&parcel.ordered_at).map(|day| day.to_string()).unwrap_or_default();
    let about = [format!("Ordered on {ordered}"), of("shipping_option").to_string()];
    let about: Vec<String> =
        about.iter().filter(|text| !text.is_empty()).map(|t| escaped(t)).collect();
    let lines: String = parcel.items.iter().map(line).collect();
    format!(
        "<section>\n<p class=\"shop\">{}</p>\n<h1>Order {}</h1>\n<address>{}</address>\n<p>{}</p>\n{}</section>\n",
        escaped(shop.unwrap_or_default()),
        escaped(&parcel.reference()),
        address.join("<br>"),
        about.join(", "),
        table(&["", "Quantity", "Item", "SKU"], &lines)
    )
}

fn line(item: &Item) -> String {
    row(&[
        ("box", "<span></span>".into()),
        ("number", item.quantity.to_string()),
        ("", escaped(&named(&item.name, item.options.as_deref().unwrap_or_default()))),
        ("", escaped(item.sku.as_deref().unwrap_or_default())),
    ])
}

fn named(name: &str, options: &str) -> String {
    match options {
        "" => name.to_string(),
        options => format!("{name} ({options})"),
    }
}

fn table(heads: &[&str], rows: &str) -> String {
    let heads: String = heads.iter().map(|head| format!("<th>{head}</th>")).collect();
    format!("<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n")
}

/// Cells by their class; they are HTML already.
fn row(cells: &[(&str, String)]) -> String {
    let cells: String = cells
        .iter()
        .map(|(class, cell)| match *class {
            "" => format!("<td>{cell}</td>"),
            class => format!("<td class=\"{class}\">{cell}</td>"),
        })
        .collect();
    format!("<tr>{cells}</tr>\n")
}

/// Text as HTML.
fn escaped(raw: &str) -> String {
    let mut html = String::with_capacity(raw.len());
    for c in text::clean(raw).chars() {
        match c {
            '&' => html += "&amp;",
            '<' => html += "&lt;",
            '>' => html += "&gt;",
            '"' => html += "&quot;",
            '\'' => html += "&#39;",
            c => html.push(c),
        }
    }
    html
}
