//! The variables that count: this process's own, or for a verb typed beside the service, the service's.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

/// What our variables begin with.
const OURS: [&str; 3] = ["FULFILLD_", "STRIPE_SECRET_KEY", "WEBHOOK_SECRET"];

/// Where the service's settings are.
pub const ETC: &str = "/etc/fulfilld";

/// The variables that count, and whose they are.
pub struct Variables {
    pub values: BTreeMap<String, String>,
    /// In words.
    pub origin: String,
    /// Why the service's could not be read.
    pub unreadable: Option<String>,
}

/// Those of the service, once a verb has asked for them.
static SERVICE: OnceLock<BTreeMap<String, String>> = OnceLock::new();

/// One of them: this process's, else the service's where a verb has asked for those.
pub fn get(name: &str) -> Option<String> {
    std::env::var(name).ok().or_else(|| SERVICE.get()?.get(name).cloned())
}

/// From now on the service's count where this process has none of its own. The error says why they cannot be read.
pub fn take_the_services() -> Result<(), String> {
    let found = Variables::find(Path::new(ETC));
    match found.unreadable {
        Some(why) => Err(why),
        None => {
            let _ = SERVICE.set(found.values);
            Ok(())
        }
    }
}

impl Variables {
    /// Those of this process's environment, or where that has none of ours, those of the service in `etc`.
    pub fn find(etc: &Path) -> Variables {
        let ours = |name: &str| OURS.iter().any(|prefix| name.starts_with(prefix));
        let values: BTreeMap<String, String> =
            std::env::vars().filter(|(name, _)| ours(name) || name == "CREDENTIALS_DIRECTORY").collect();
        let set_here = values.keys().any(|name| ours(name) && name != "FULFILLD_LOG");
        if set_here || !etc.is_dir() {
            return Variables { values, origin: "settings of this environment".into(), unreadable: None };
        }
        let env_file = etc.join("fulfilld.env");
        let mut values = BTreeMap::from([
            ("FULFILLD_DB".to_string(), "/var/lib/fulfilld/fulfilld.db".to_string()),
            // What systemd copies from there into the service's credentials.
            ("CREDENTIALS_DIRECTORY".to_string(), etc.display().to_string()),
        ]);
        let read = std::fs::read_to_string(&env_file);
        let unreadable = match &read {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Some(format!("{}: {e}", env_file.display())),
            _ => std::fs::read_dir(etc).err().map(|e| format!("{}: {e}", etc.display())),
        };
        values.extend(read.unwrap_or_default().lines().filter_map(assignment));
        Variables { values, origin: format!("settings of the service in {}", etc.display()), unreadable }
    }
}

/// `NAME=VALUE` of a systemd environment file, quotes taken off; `None` for a comment or a blank line.
fn assignment(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    let (name, value) = line.split_once('=').filter(|_| !line.starts_with(['#', ';']))?;
    let value = value.trim();
    let unquoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    Some((name.trim().into(), unquoted.unwrap_or(value).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_file_is_read_as_systemd_reads_it() {
        let pair = |name: &str, value: &str| Some((name.to_string(), value.to_string()));
        assert_eq!(assignment(" A=b "), pair("A", "b"));
        assert_eq!(assignment("A=\"b c\""), pair("A", "b c"));
        assert_eq!(assignment("A='b=c'"), pair("A", "b=c"));
        assert_eq!(assignment("A="), pair("A", ""));
        for none in ["", "#A=b", "; A=b", "A"] {
            assert_eq!(assignment(none), None, "{none}");
        }
    }
}
