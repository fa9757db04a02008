//! Paper and files of what waits: slips for the printer, and the file that a label service imports.

use maud::html;

use super::form::Form;
use super::guard::Person;
use super::layout::{self, Part, ROOT, hidden};
use super::{Page, Reply};
use crate::config;
use crate::error::{Error, Result};
use crate::labels::{self, Choice, Format, Written};

impl Page {
    /// `POST slips`: of the ticked parcels, or of all that wait.
    pub fn slips(&self, form: &Form) -> Reply {
        let parcels = labels::waiting(&*self.reader.get()?, &chosen(form)?)?;
        if parcels.is_empty() {
            return Err(Error::Permanent("no parcel waits to be shipped".into()));
        }
        Ok(layout::paper(labels::slips(&config::SENDER.get()?, &parcels)))
    }

    /// `POST labels`: what is in the file for a label service and what is not, before it is saved.
    pub fn labels(&self, person: &Person, form: &Form) -> Reply {
        let service = form.text("for");
        let written = self.written(form)?;
        let token = self.guard.token(person);
        let (left_out, count) = (written.left_out_parcels(), written.parcels);
        let main = html! {
            p { (count) " parcels are in the file." }
            @if left_out > 0 {
                div.note.bad role="alert" {
                    p { strong { (left_out) " are left out:" } }
                    @for note in &written.left_out { p { (note.reference) ": " (note.says) } }
                }
            }
            @if written.waiting > 0 {
                div.note.warn { p {
                    (written.waiting) " more wait for the next file, because " (service)
                    " takes no more rows. Ship these first, or tick the others."
                } }
            }
            @if !written.notes.is_empty() {
                div.note.warn { @for note in &written.notes { p { (note.reference) ": " (note.says) } } }
            }
            div.row {
                form method="post" action={ (ROOT) "labels.csv" } {
                    (hidden(&[("token", &token), ("for", service)]))
                    @for parcel in form.all("parcel") { input type="hidden" name="parcel" value=(parcel); }
                    @if count > 0 { button.main autofocus { "Save the file" } }
                }
                a.button href={ (ROOT) "pack" } { "Back" }
            }
            p.soft { "Nothing is marked by that: what is not shipped is in the next file again. \
                Its tracking numbers come back by " a href={ (ROOT) "tracking" } { "Tracking file" } "." }
        };
        Ok(layout::page(person, Some(Part::Pack), &format!("File for {service}"), main))
    }

    /// `POST labels.csv`: the file itself.
    pub fn label_file(&self, form: &Form) -> Reply {
        let written = self.written(form)?;
        Ok(layout::download("text/csv", "attachment; filename=\"labels.csv\"", written.bytes))
    }

    fn written(&self, form: &Form) -> Result<Written> {
        // A path is for the command line alone: nobody reads the server's files from here.
        let service = form.text("for");
        if !labels::FORMATS.split(", ").any(|known| known == service) {
            return Err(Error::Permanent("choose a label service".into()));
        }
        let parcels = labels::waiting(&*self.reader.get()?, &chosen(form)?)?;
        labels::write(&Format::named(service)?, &config::SENDER.get()?, &parcels, None)
    }
}

/// The first service for whose files the sender's settings suffice: it is offered first.
pub fn first_service() -> Option<&'static str> {
    let sender = config::SENDER.get().ok()?;
    labels::FORMATS.split(", ").find(|name| {
        let format = Format::named(name);
        format.and_then(|format| labels::write(&format, &sender, &[], None)).is_ok()
    })
}

/// The ticked parcels.
fn chosen(form: &Form) -> Result<Vec<Choice>> {
    form.all("parcel").map(Choice::parse).collect()
}
