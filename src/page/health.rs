//! Health: what `readyz` says now, and what `doctor --offline` finds.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use maud::html;

use super::guard::Person;
use super::layout::{self, Part, note};
use super::{Page, Reply};
use crate::error::{Error, Result};
use crate::text;

/// The doctor waits for the daemon and for locks, and is stopped after this.
const DOCTOR_WITHIN: Duration = Duration::from_secs(30);

/// No more of what it says is shown.
const SAID_MAX: u64 = 256 << 10;

impl Page {
    /// `GET health`.
    pub fn health(&self, person: &Person) -> Reply {
        let ready = self.health.ready();
        let said = String::from_utf8_lossy(&ready.body).into_owned();
        let (kind, words) = match ready.status {
            200 => ("good", "Orders go through.".to_string()),
            _ => ("bad", said),
        };
        let doctor = match self.settings.visitor {
            Some(_) => "The demo has no settings of its own to look at.".into(),
            None => doctor().unwrap_or_else(|error| error.to_string()),
        };
        let main = html! {
            @for line in words.lines() { (note(kind, line)) }
            h2 { "What fulfilld doctor finds on this server" }
            pre { (doctor.lines().map(text::clean).collect::<Vec<_>>().join("\n")) }
            p.soft { "fulfilld " (env!("CARGO_PKG_VERSION"))
                ". On the server, sudo fulfilld doctor asks Stripe as well." }
        };
        Ok(layout::page(person, Some(Part::Health), "Health", main))
    }
}

/// What this program's doctor says in a process of its own: what it needs is given back when it ends.
fn doctor() -> Result<String> {
    let cannot = |e: std::io::Error| Error::Temporary(format!("doctor cannot be started: {e}"));
    let program = std::env::current_exe().map_err(cannot)?;
    let mut child = Command::new(program)
        .args(["doctor", "--offline"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(cannot)?;
    let out = child.stdout.take();
    let reading = std::thread::spawn(move || {
        let mut said = Vec::new();
        out.map(|out| out.take(SAID_MAX).read_to_end(&mut said));
        String::from_utf8_lossy(&said).into_owned()
    });
    let until = Instant::now() + DOCTOR_WITHIN;
    while !reading.is_finished() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
    reading.join().map_err(|_| Error::Temporary("doctor cannot be started".into()))
}
