//! The service that runs a shop: which units of systemd it consists of, and how they are stopped
//! and started.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::config;
use crate::env;
use crate::error::{Error, Result};
use crate::place;
use crate::text::clean;

/// The units of one shop that were running when it was looked up.
#[derive(Debug)]
pub struct Service {
    units: Vec<String>,
    socket: String,
    /// Those of the daemon's two units that systemd does not start with the machine.
    not_at_boot: Vec<String>,
    /// The socket is installed and not open, while the daemon runs.
    socket_is_closed: bool,
}

impl Service {
    /// The running units that serve this file, by its real path; `None` when there are none, or
    /// when systemd is not there.
    ///
    /// The settings say which units they are: those in /etc/fulfilld are read by fulfilld.service,
    /// those in a directory SHOP by fulfilld@SHOP.service.
    pub fn running(file: &Path) -> Option<Service> {
        let etc = env::all().etc.as_deref()?;
        if place::real(&config::db_path().ok()?).ok()? != file {
            return None;
        }
        let instance = instance()?;
        let [service, socket, litestream] =
            ["fulfilld?.service", "fulfilld?.socket", "fulfilld-litestream?.service"]
                .map(|unit| unit.replace('?', &instance));
        let shown = Shown::of(&service)?;
        // A unit of this name with other settings is another shop's.
        if !shown.reads(&etc.join(env::FILE)) {
            return None;
        }
        let socket_shown = Shown::of(&socket).unwrap_or_default();
        let not_at_boot = [(&socket, &socket_shown), (&service, &shown)]
            .into_iter()
            .filter(|(_, shown)| shown.values("UnitFileState").any(|state| state == "disabled"))
            .map(|(unit, _)| unit.clone())
            .collect();
        let is_installed = socket_shown.values("LoadState").next().is_some();
        let socket_is_closed = is_installed && shown.is_up() && !socket_shown.is_up();
        let mut units = Vec::new();
        // The socket would start a service that was stopped alone.
        if shown.is_up() || socket_shown.is_up() {
            units.extend([socket.clone(), service]);
        }
        if Shown::of(&litestream).is_some_and(|shown| shown.is_up()) {
            units.push(litestream);
        }
        let service = Service { units, socket, not_at_boot, socket_is_closed };
        (!service.units.is_empty()).then_some(service)
    }

    /// True where the daemon runs, or starts as soon as somebody calls: not Litestream alone.
    pub fn is_serving(&self) -> bool {
        self.units.contains(&self.socket)
    }

    /// Those of the daemon's units that systemd does not start with the machine.
    pub fn not_at_boot(&self) -> &[String] {
        &self.not_at_boot
    }

    /// The socket's unit, where it is installed and the daemon runs without it.
    pub fn closed_socket(&self) -> Option<&str> {
        self.socket_is_closed.then_some(self.socket.as_str())
    }

    /// The daemon's own unit.
    pub fn daemon(&self) -> String {
        self.socket.replace(".socket", ".service")
    }

    /// The units as they are typed.
    pub fn names(&self) -> String {
        self.units.join(" ")
    }

    /// Where the daemon answers now, a host and a port: what the socket says, else the setting.
    pub fn listens(&self) -> String {
        let shown = Shown::of(&self.socket).unwrap_or_default();
        shown.listens().unwrap_or_else(|| config::LISTEN.text())
    }

    /// Stops them and waits until they have ended. `Config` when that is not permitted or fails;
    /// then some of them may have ended.
    pub fn stop(&self) -> Result<()> {
        self.systemctl("stop")
    }

    /// Starts them and waits until the daemon says that it serves. `Config` when it does not.
    pub fn start(&self) -> Result<()> {
        self.systemctl("start")
    }

    fn systemctl(&self, verb: &str) -> Result<()> {
        let mut command = Command::new("systemctl");
        command.args(["--no-ask-password", verb]).args(&self.units).stdin(Stdio::null());
        let why = match command.output() {
            Ok(done) if done.status.success() => return Ok(()),
            Ok(done) => clean(String::from_utf8_lossy(&done.stderr).lines().next().unwrap_or("")),
            Err(e) => e.to_string(),
        };
        Err(Error::Config(format!(
            "systemctl {verb} {} failed: {why}; it takes root (sudo), and systemctl status says more",
            self.names()
        )))
    }
}

/// What stands in the names of the shop's units after `fulfilld`: nothing, or `@SHOP`. `None` when the
/// settings are not those of a service.
fn instance() -> Option<String> {
    let etc = env::all().etc.as_deref()?;
    match etc == Path::new(env::ETC) {
        true => Some(String::new()),
        false => Some(format!("@{}", etc.file_name()?.to_str()?)),
    }
}

/// The shop's two units as they are typed after `systemctl start`, whether they run or not.
pub fn typed() -> String {
    let instance = instance().unwrap_or_default();
    format!("fulfilld{instance}.socket fulfilld{instance}")
}

/// What systemd says of a unit, by the names of its properties.
#[derive(Default)]
struct Shown(BTreeMap<String, Vec<String>>);

impl Shown {
    /// `None` where systemd has no such unit, or is not there.
    fn of(unit: &str) -> Option<Shown> {
        let properties = "--property=LoadState,ActiveState,UnitFileState,EnvironmentFiles,Listen";
        let mut command = Command::new("systemctl");
        let said = command.args(["show", properties, unit]).stdin(Stdio::null()).output().ok()?;
        let mut shown = Shown::default();
        for (name, value) in
            String::from_utf8_lossy(&said.stdout).lines().filter_map(|line| line.split_once('='))
        {
            shown.0.entry(name.into()).or_default().push(value.into());
        }
        let is_loaded = shown.values("LoadState").any(|state| state == "loaded");
        is_loaded.then_some(shown)
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.get(name).into_iter().flatten().map(String::as_str)
    }

    /// True unless somebody has stopped it, or it has failed for good.
    fn is_up(&self) -> bool {
        self.values("ActiveState").any(|state| !["inactive", "failed"].contains(&state))
    }

    /// True when this is a file of its settings.
    fn reads(&self, file: &Path) -> bool {
        let file = file.display().to_string();
        self.values("EnvironmentFiles").any(|line| line.split(" (").next() == Some(&file))
    }

    /// The first address of a socket.
    fn listens(&self) -> Option<String> {
        self.values("Listen").find_map(|line| Some(line.split_once(" (Stream)")?.0.into()))
    }
}
