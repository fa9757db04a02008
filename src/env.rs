//! Whose settings count: those of this process's environment, or beside a service those of the
//! service.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::access;

/// What our variables begin with.
const OURS: [&str; 3] = ["FULFILLD_", "STRIPE_SECRET_KEY", "WEBHOOK_SECRET"];

/// Whoever sets one of these, or the file that it is in, speaks of a shop of their own, and the
/// service's settings do not count.
const NAME_A_SHOP: [&str; 3] = ["FULFILLD_DB", "STRIPE_SECRET_KEY", "WEBHOOK_SECRET"];

/// The directory of the service's settings and secrets, where this variable does not name another.
pub const ETC_VARIABLE: &str = "FULFILLD_ETC";
/// The service's settings and secrets, unless `FULFILLD_ETC` names another directory.
pub const ETC: &str = "/etc/fulfilld";

/// The service's settings, in that directory.
pub const FILE: &str = "fulfilld.env";

/// Where systemd hands over copies of secrets, one a file.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// The service's file, as its unit sets it.
pub const SERVICE_DB: &str = "/var/lib/fulfilld/fulfilld.db";

/// The file of whoever runs fulfilld without a setting, in the directory where they are.
const OWN_DB: &str = "fulfilld.db";

/// The variables that count, and whose they are.
#[derive(Default)]
pub struct Variables {
    /// By name, as they were set.
    values: BTreeMap<String, String>,
    /// Whose they are, in words.
    pub origin: String,
    /// Why the service's settings could not be read, and what gives access to them.
    pub unreadable: Option<String>,
    /// The directory of the service's settings, where they count.
    pub etc: Option<PathBuf>,
    /// Directories of secrets, one a file: what systemd handed over, and what it copies for the
    /// service.
    credentials: Vec<PathBuf>,
}

/// Those that count in this process.
static VARIABLES: OnceLock<Variables> = OnceLock::new();

/// One of them.
pub fn get(name: &str) -> Option<String> {
    all().get(name)
}

/// All of them: what [`use_the_services`] has found, else this process's environment alone.
pub fn all() -> &'static Variables {
    VARIABLES.get_or_init(Variables::of_this_process)
}

/// For a verb that is typed beside the service: from now on the service's settings count where this
/// environment does not speak of a shop of its own. `etc` is the directory of its settings; without
/// it `FULFILLD_ETC`, else /etc/fulfilld. To be called before any setting is read.
pub fn use_the_services(etc: Option<&Path>) {
    let _ = VARIABLES.set(Variables::beside_the_service(etc));
}

impl Variables {
    fn of_this_process() -> Variables {
        let counts = |name: &str| OURS.iter().any(|prefix| name.starts_with(prefix));
        Variables {
            values: std::env::vars().filter(|(name, _)| counts(name)).collect(),
            origin: "settings of this environment".into(),
            unreadable: None,
            etc: None,
            credentials: std::env::var_os(CREDENTIALS).map(PathBuf::from).into_iter().collect(),
        }
    }

    fn beside_the_service(etc: Option<&Path>) -> Variables {
        let mut own = Variables::of_this_process();
        let is_set =
            |name: &str| own.values.get(name).is_some_and(|value| !value.trim().is_empty());
        if NAME_A_SHOP.iter().any(|name| is_set(name) || is_set(&format!("{name}_FILE"))) {
            return own;
        }
        let named = etc.map(PathBuf::from).or_else(|| own.get(ETC_VARIABLE).map(PathBuf::from));
        let etc = named.clone().unwrap_or_else(|| ETC.into());
        if !etc.is_dir() {
            let service = Path::new(SERVICE_DB);
            // A file that this user may not even look at is there, too.
            if named.is_none()
                && !Path::new(OWN_DB).exists()
                && !matches!(service.try_exists(), Ok(false))
            {
                own.values.insert("FULFILLD_DB".into(), SERVICE_DB.into());
            }
            return own;
        }
        let (set, unreadable) = match in_file(&etc) {
            Ok(set) => (set, None),
            Err(e) if e.kind() == ErrorKind::NotFound => (BTreeMap::new(), None),
            Err(e) => (BTreeMap::new(), Some(access::why_not(&etc.join(FILE), &e))),
        };
        let mut values = BTreeMap::from([("FULFILLD_DB".to_string(), SERVICE_DB.to_string())]);
        let set = set.into_iter().chain(own.values);
        values.extend(set.filter(|(_, value)| !value.trim().is_empty()));
        let origin = format!("settings of the service in {}", etc.display());
        own.credentials.push(etc.clone());
        Variables { values, origin, unreadable, etc: Some(etc), credentials: own.credentials }
    }

    /// What one is set to.
    pub fn get(&self, name: &str) -> Option<String> {
        self.values.get(name).cloned()
    }

    /// The file that a secret is in: the credential of its lower-case name without `fulfilld_`,
    /// else what `NAME_FILE` names. `None` when it is a variable itself, or nowhere.
    pub fn secret_file(&self, name: &str) -> Option<PathBuf> {
        let credential = credential(name);
        let mut credentials = self.credentials.iter().map(|directory| directory.join(&credential));
        // One that this user may not look at is there, too.
        let credential = credentials.find(|path| !matches!(path.try_exists(), Ok(false)));
        credential.or_else(|| self.get(&format!("{name}_FILE")).map(PathBuf::from))
    }

    /// The names of all that are set.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }
}

/// The file name of a secret where systemd or the service's directory has it.
pub fn credential(name: &str) -> String {
    name.trim_start_matches("FULFILLD_").to_lowercase()
}

/// What the service's settings in that directory say, by name.
pub fn in_file(etc: &Path) -> std::io::Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(etc.join(FILE))?;
    Ok(text.lines().filter_map(assignment).collect())
}

/// `NAME=VALUE` of a systemd environment file, quotes taken off; `None` for a comment or a blank
/// line.
fn assignment(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    let (name, value) = line.split_once('=').filter(|_| !line.starts_with(['#', ';']))?;
    let value = value.trim();
    let unquoted =
        ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
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
