//! `fulfilld init`: asks for what a shop needs before its first start, tries it, and writes it
//! where the service looks.

use std::fs;
use std::io::{BufRead, IsTerminal, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};

use super::doctor;
use crate::access;
use crate::config::{KEY, Key, PUBLIC_URL, STRIPE_API, Setting, StripeAccess, WEBHOOK_SECRET};
use crate::env;
use crate::error::{Error, Result};
use crate::handlers::NEEDED;
use crate::metrics::Metrics;
use crate::place;
use crate::stripe::Stripe;
use crate::table;

/// The user and the group of the service.
const GROUP: &str = "fulfilld";

/// What the proxy snippets and the environment file say in place of the shop's name.
const EXAMPLE_HOST: &str = "shop.example.org";

const ENV_FILE: &str = include_str!("../../systemd/fulfilld.env");

/// Set up the service: ask for the key and the signing secret, try them, write them
///
/// Asks for the shop's public host name, the restricted key and the endpoint's signing secret, each
/// without showing what is a secret, and tries the key with what fulfilld will ask Stripe. It
/// writes /etc/fulfilld/fulfilld.env, stripe_secret_key and webhook_secret with the owner and mode
/// that the service needs, and prints what is left to do: the events to tick in Stripe, the lines
/// of the proxy, the commands that start it. What is there already is kept, so it can be run again
/// at any time.
#[derive(clap::Args)]
#[command(before_help = "Example: sudo fulfilld init")]
pub struct Args {
    /// Ask nothing: take STRIPE_SECRET_KEY, WEBHOOK_SECRET and FULFILLD_PUBLIC_URL from this environment
    #[arg(long)]
    from_env: bool,
    /// Ask for what is there already, too: another key, another secret, from test to live
    #[arg(long)]
    replace: bool,
    /// Where the service's settings and secrets are [default: /etc/fulfilld]
    #[arg(long, value_name = "DIR")]
    etc: Option<PathBuf>,
    /// Only print the configuration of a proxy, with the shop's host name in it
    #[arg(long, value_name = "PROXY", value_parser = ["nginx", "caddy", "caddy-2.6"])]
    print_proxy: Option<String>,
}

/// Asks, tries, writes and prints. `Config` for what cannot be used, and then nothing of it was
/// written.
pub fn run(args: &Args) -> Result<()> {
    let etc = args.etc.clone().or_else(|| env::get(env::ETC_VARIABLE).map(PathBuf::from));
    let etc = etc.unwrap_or_else(|| env::ETC.into());
    let desk = Setup { etc, from_env: args.from_env, replace: args.replace };
    if let Some(proxy) = &args.print_proxy {
        let host = desk.settled_url().and_then(|url| host_of(&url));
        return table::print(&snippet(proxy, host.as_deref().unwrap_or(EXAMPLE_HOST)));
    }
    desk.prepare()?;
    let url = desk.public_url()?;
    let livemode = desk.key()?;
    table::print(&endpoint_to_make(&url, livemode))?;
    let has_secret = desk.signing_secret()?;
    let next = what_is_next(&desk, &url, livemode, has_secret);
    table::print(&next)
}

/// Where it is written, and who answers.
struct Setup {
    etc: PathBuf,
    from_env: bool,
    replace: bool,
}

impl Setup {
    /// Makes the directory. `Config` when this user may not, or the service has no user yet.
    fn prepare(&self) -> Result<()> {
        if self.etc == Path::new(env::ETC) && group().is_none() {
            return Err(Error::Config(
                "there is no user fulfilld yet; install the package, or the two files of step 1 in the README and \
                 type: sudo systemd-sysusers && sudo systemd-tmpfiles --create"
                    .into(),
            ));
        }
        if !self.etc.is_dir() {
            fs::create_dir_all(&self.etc).map_err(|e| cannot(&self.etc, &e))?;
            give(&self.etc, 0o750, true)?;
        }
        // Before the first question, so that nothing is typed in vain.
        let trial = self.etc.join(".init");
        write(&trial, "", 0o600, false)?;
        let _ = fs::remove_file(trial);
        Ok(())
    }

    /// What the service's settings say, else the default.
    fn settled<T>(&self, setting: &Setting<T>) -> String {
        let set = env::in_file(&self.etc).ok().and_then(|mut set| set.remove(setting.name));
        set.filter(|text| !text.is_empty()).unwrap_or_else(|| setting.default.into())
    }

    /// What is set already.
    fn settled_url(&self) -> Option<String> {
        Some(self.settled(&PUBLIC_URL)).filter(|url| !url.is_empty())
    }

    fn public_url(&self) -> Result<String> {
        let settled = self.settled_url();
        let url = match (self.from_env, settled) {
            (true, settled) => PUBLIC_URL.set().or(settled).ok_or_else(|| {
                Error::Config(
                    "FULFILLD_PUBLIC_URL is not set, e.g. https://shop.example.org/webhook".into(),
                )
            })?,
            (false, Some(url)) if !self.replace => url,
            (false, _) => ask("The shop's public host name, e.g. shop.example.org: ", false)?,
        };
        let host = host_of(&url).ok_or_else(|| {
            Error::Config(format!(
                "{url} is not a host name; it is what stands in the browser between https:// and the next slash"
            ))
        })?;
        let url = if url.contains("://") { url } else { format!("https://{host}/webhook") };
        let path = self.etc.join(env::FILE);
        let before = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => ENV_FILE.into(),
            Err(e) => return Err(cannot(&path, &e)),
        };
        let mut after = with_setting(&before, PUBLIC_URL.name, &url);
        // A sandbox in place of Stripe, which the key is tried with as well.
        if let Some(api) = STRIPE_API.set().filter(|_| self.from_env) {
            after = with_setting(&after, STRIPE_API.name, &api);
        }
        if after != before || !path.exists() {
            write(&path, &after, 0o640, true)?;
        } else {
            give(&path, 0o640, true)?;
        }
        table::print(&format!("✓ {}: FULFILLD_PUBLIC_URL={url}\n", path.display()))?;
        Ok(url)
    }

    /// The base URL that the service sends requests to, from its settings.
    fn stripe_api(&self) -> Result<String> {
        STRIPE_API.of(&self.settled(&STRIPE_API)).into_result()
    }

    /// The key's mode: live or test.
    fn key(&self) -> Result<bool> {
        let found = self.secret(&KEY, "The restricted key (rk_live_… or rk_test_…): ")?;
        let Some(found) = found else {
            return Err(Error::Config(
                "without a key no request to Stripe is possible; type: sudo fulfilld init".into(),
            ));
        };
        let Key { livemode, .. } = found.value;
        let access = StripeAccess::with(found.value.clone(), self.stripe_api()?, 1.0)?;
        let stripe = Stripe::new(access, Arc::new(Metrics::default()));
        match doctor::missing_permissions(&stripe) {
            Ok(missing) if missing.is_empty() => {
                table::print(
                    "✓ Stripe takes the key, and it may read everything that fulfilld reads\n",
                )?;
            }
            Ok(missing) => table::print(&format!(
                "! Stripe takes the key, and it may not read {}; in Stripe's Dashboard, Developers, \
                 API keys, the key, Edit key: Read for each\n",
                missing.join(", ")
            ))?,
            Err(refused @ Error::Config(_)) => return Err(refused),
            Err(why) => table::print(&format!("! the key could not be tried: {why}\n"))?,
        }
        found.put(if livemode { "a live key, " } else { "a test key, " })?;
        Ok(livemode)
    }

    /// Whether there is one now.
    fn signing_secret(&self) -> Result<bool> {
        let prompt = "The endpoint's signing secret (whsec_…), or Enter for later: ";
        let found = self.secret(&WEBHOOK_SECRET, prompt)?;
        found.map_or(Ok(false), |found| found.put("").map(|()| true))
    }

    /// A secret that was typed or is there; `None` when there is none yet. `Config` when it is none
    /// that the setting can have.
    fn secret<T>(&self, setting: &Setting<T>, prompt: &str) -> Result<Option<Found<T>>> {
        let path = self.etc.join(env::credential(setting.name));
        let settled = match fs::read_to_string(&path) {
            Ok(text) => Some(text.trim().to_string()).filter(|text| !text.is_empty()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(cannot(&path, &e)),
        };
        let typed = match self.from_env {
            true => env::get(setting.name).unwrap_or_default(),
            false if settled.is_some() && !self.replace => String::new(),
            false => ask(prompt, true)?,
        };
        let typed = Some(typed.trim().to_string()).filter(|typed| !typed.is_empty());
        let is_new = typed.is_some() && typed != settled;
        let Some(text) = typed.or(settled) else { return Ok(None) };
        let value = setting.of(&text).into_result()?;
        Ok(Some(Found { path, text, value, is_new }))
    }
}

/// A secret, and the file that it belongs in.
struct Found<T> {
    path: PathBuf,
    text: String,
    value: T,
    /// It is another than the file has.
    is_new: bool,
}

impl<T> Found<T> {
    /// Writes it where it is new, and says so; `what` stands before that.
    fn put(&self, what: &str) -> Result<()> {
        match self.is_new {
            true => write(&self.path, &format!("{}\n", self.text), 0o600, false)?,
            false => give(&self.path, 0o600, false)?,
        }
        let kept = if self.is_new { "written" } else { "kept" };
        table::print(&format!("✓ {}: {what}{kept}\n", self.path.display()))
    }
}

/// One line from the terminal, or from what is piped in. A hidden one is not shown while it is
/// typed.
fn ask(prompt: &str, hidden: bool) -> Result<String> {
    let no_answer = |why: String| {
        Error::Config(format!("no answer ({why}); for a script there is: fulfilld init --from-env"))
    };
    let stdin = std::io::stdin();
    let _ = write!(std::io::stderr(), "{prompt}");
    let _ = std::io::stderr().flush();
    let shown = (hidden && stdin.is_terminal()).then(Hidden::begin).flatten();
    let mut line = String::new();
    let read = stdin.lock().read_line(&mut line);
    if shown.is_some() {
        let _ = writeln!(std::io::stderr());
    }
    match read {
        Err(e) => Err(no_answer(e.to_string())),
        Ok(0) => Err(no_answer("end of input".into())),
        Ok(_) if line.contains(INTERRUPT) => {
            Err(Error::Config("interrupted; nothing of this was written".into()))
        }
        Ok(_) => Ok(line.trim().to_string()),
    }
}

/// Ctrl-C as a character, which it is while input is hidden, so that the terminal is put right.
const INTERRUPT: char = '\u{3}';

/// A terminal that does not show what is typed, for as long as this lives.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> Option<Hidden> {
        let before = tcgetattr(std::io::stdin()).ok()?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        hidden.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT as u8;
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &hidden).ok()?;
        Some(Hidden(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// The number of the service's group.
fn group() -> Option<u32> {
    let text = fs::read_to_string("/etc/group").ok()?;
    text.lines().find_map(|line| {
        line.strip_prefix(GROUP)?.strip_prefix(':')?.split(':').nth(1)?.parse().ok()
    })
}

fn cannot(path: &Path, error: &std::io::Error) -> Error {
    Error::Config(match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            format!("{}; type: sudo fulfilld init", access::why_not(path, error))
        }
        _ => format!("cannot write {}: {error}", path.display()),
    })
}

/// Sets owner and mode: root's, and where the service's users read it, its group's.
fn give(path: &Path, mode: u32, to_group: bool) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        let gid = if to_group { group().unwrap_or(0) } else { 0 };
        chown(path, Some(0), Some(gid)).map_err(|e| cannot(path, &e))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(|e| cannot(path, &e))
}

/// Writes a file beside its place and puts it there whole, never readable by others meanwhile.
fn write(path: &Path, text: &str, mode: u32, to_group: bool) -> Result<()> {
    let part = place::beside(path, ".part");
    let _ = fs::remove_file(&part);
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&part)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(|e| cannot(&part, &e))?;
    give(&part, mode, to_group)?;
    fs::rename(&part, path).map_err(|e| cannot(path, &e))
}

/// The environment file with one setting in force: in its own line, else at the end.
fn with_setting(text: &str, name: &str, value: &str) -> String {
    let set = format!("{name}={value}");
    let is_its = |line: &str| line.trim_start_matches('#').starts_with(&format!("{name}="));
    let mut done = false;
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        match is_its(line) {
            true if done => {}
            true => {
                done = true;
                lines.push(set.clone());
            }
            false => lines.push(line.into()),
        }
    }
    if !done {
        lines.push(set);
    }
    lines.join("\n") + "\n"
}

/// The host of a URL or of a plain host name.
fn host_of(url: &str) -> Option<String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default().trim();
    let usable = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    (!host.is_empty() && host.chars().all(usable)).then(|| host.into())
}

fn snippet(proxy: &str, host: &str) -> String {
    let text = match proxy {
        "nginx" => include_str!("../../systemd/nginx.conf"),
        "caddy-2.6" => include_str!("../../systemd/Caddyfile-2.6"),
        _ => include_str!("../../systemd/Caddyfile"),
    };
    text.replace(EXAMPLE_HOST, host)
}

fn endpoint_to_make(url: &str, livemode: bool) -> String {
    let mode = if livemode { "live" } else { "test" };
    let events: String = NEEDED.iter().map(|name| format!("    {name}\n")).collect();
    format!(
        "\nIn Stripe's Dashboard ({mode} mode), Developers, Webhooks, Add endpoint, if it is not \
         there yet:\n  {url}\n  with the events\n{events}\n"
    )
}

fn what_is_next(desk: &Setup, url: &str, livemode: bool, has_secret: bool) -> String {
    let mut page = String::from("\nNext:\n");
    if !has_secret {
        page += "  sudo fulfilld init                     once you have the endpoint's signing secret\n";
    }
    if let Some(born) =
        doctor::livemode(Path::new(env::SERVICE_DB)).filter(|born| *born != livemode)
    {
        let word = if born { "live" } else { "test" };
        page += &format!(
            "  # {db} holds {word} orders, and a file holds orders of one mode; keep it under another name:\n  \
             sudo systemctl stop fulfilld.socket fulfilld && sudo mv {db} {db}-{word} && sudo rm -f {db}.lock\n",
            db = env::SERVICE_DB
        );
    }
    let etc = match desk.etc == Path::new(env::ETC) {
        true => String::new(),
        false => format!(" --etc {}", desk.etc.display()),
    };
    for (word, to) in proxies() {
        page += &format!("  sudo fulfilld init{etc} --print-proxy {word} | sudo tee {to}\n");
        page += &match word {
            "nginx" => "  sudo nginx -t && sudo systemctl reload nginx\n".to_string(),
            _ => "  sudo systemctl reload caddy\n".into(),
        };
    }
    if proxies().is_empty() {
        page += &format!(
            "  # a proxy that ends TLS for {} and publishes /webhook alone: apt-get install nginx, or caddy\n",
            host_of(url).unwrap_or_default()
        );
    }
    page + "  sudo systemctl enable --now fulfilld.socket fulfilld.service\n  sudo systemctl \
            restart fulfilld        # when it ran already\n  sudo fulfilld \
            doctor                   # what is still to be fixed\n  sudo adduser \"$USER\" \
            fulfilld          # whoever reads and edits the file; it counts from their next login \
            on\n"
}

/// The proxies that are installed, and where their configuration goes.
fn proxies() -> Vec<(&'static str, &'static str)> {
    let is_there = |program: &str| {
        ["/usr/sbin", "/usr/bin", "/usr/local/bin"]
            .iter()
            .any(|dir| Path::new(dir).join(program).exists())
    };
    let mut found = Vec::new();
    if is_there("nginx") {
        found.push(("nginx", "/etc/nginx/conf.d/fulfilld.conf"));
    }
    if is_there("caddy") {
        let version = std::process::Command::new("caddy").arg("version").output();
        let old = version.is_ok_and(|said| {
            let text = String::from_utf8_lossy(&said.stdout).into_owned();
            ["2.6", "v2.6", "2.5", "v2.5", "2.4", "v2.4"].iter().any(|old| text.starts_with(old))
        });
        found.push((if old { "caddy-2.6" } else { "caddy" }, "/etc/caddy/Caddyfile"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_takes_its_own_line_and_no_other() {
        let text = "# words\n#A=\n\n#AB=1\n";
        assert_eq!(with_setting(text, "A", "x"), "# words\nA=x\n\n#AB=1\n");
        assert_eq!(with_setting("A=1\nA=2\n", "A", "x"), "A=x\n");
        assert_eq!(with_setting("B=1", "A", "x"), "B=1\nA=x\n");
        let ours = with_setting(ENV_FILE, "FULFILLD_PUBLIC_URL", "https://a.example/webhook");
        assert_eq!(ours.lines().count(), ENV_FILE.lines().count());
    }

    #[test]
    fn a_host_is_found_in_what_people_paste() {
        for (typed, host) in [
            ("shop.example.org", Some("shop.example.org")),
            ("https://shop.example.org/webhook", Some("shop.example.org")),
            ("shop.example.org/", Some("shop.example.org")),
            ("", None),
            ("my shop", None),
        ] {
            assert_eq!(host_of(typed).as_deref(), host, "{typed}");
        }
    }
}
