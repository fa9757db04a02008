//! The shop's own programs: whether a hook's target can be run or posted to, and whether one has given up.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ureq::http::Uri;

use super::settings::{Settings, is_loopback};
use super::{Report, Shop, file};

pub fn check(shop: &Shop, report: &mut Report) {
    let before = report.lines.len();
    let command = shop.settings.set("FULFILLD_HOOK_COMMAND");
    let url = shop.settings.set("FULFILLD_HOOK_URL");
    if let Some(command) = &command {
        runs(command, report);
    }
    if let Some(url) = &url {
        posts(&shop.settings, url, report);
    }
    gave_up(&shop.file, report);
    if report.lines.len() == before {
        report.good(if command.is_some() || url.is_some() { "the hook's target is there" } else { "none are set" });
    }
}

fn runs(command: &str, report: &mut Report) {
    // A path, perhaps with arguments.
    let program =
        if Path::new(command).exists() { command } else { command.split_whitespace().next().unwrap_or(command) };
    let why = "News of paid and sent orders reaches nobody, and is given up in the end.";
    match std::fs::metadata(program) {
        Err(e) => report.problem(
            "hook_command_missing",
            format!("FULFILLD_HOOK_COMMAND: {program} cannot be looked at: {e}"),
            why,
            "write its whole path, /usr/local/bin/… for one",
        ),
        Ok(meta) if !meta.is_file() || meta.permissions().mode() & 0o111 == 0 => report.problem(
            "hook_command_not_executable",
            format!("FULFILLD_HOOK_COMMAND: {program} cannot be run (mode {:04o})", meta.permissions().mode() & 0o7777),
            why,
            format!("chmod 755 {program}"),
        ),
        Ok(_) => {}
    }
}

fn posts(settings: &Settings, url: &str, report: &mut Report) {
    let uri: Option<Uri> = url.parse().ok();
    let usable =
        uri.as_ref().is_some_and(|uri| uri.host().is_some() && matches!(uri.scheme_str(), Some("http" | "https")));
    if !usable || url.starts_with("http://") && !is_loopback(url) {
        report.problem(
            "hook_url_odd",
            format!("FULFILLD_HOOK_URL={url} is neither https nor on this machine"),
            "Names and addresses would travel in the clear.",
            "FULFILLD_HOOK_URL=https://…",
        );
    }
    let form = "a Standard Webhooks secret is whsec_ and base64: echo whsec_$(openssl rand -base64 32)";
    match secret(settings) {
        None => report.problem(
            "hook_secret_missing",
            "FULFILLD_HOOK_SECRET is not set",
            "Whoever takes the posts could not tell them from a stranger's.",
            form,
        ),
        Some(text) if !text.trim().strip_prefix("whsec_").is_some_and(is_base64) => report.problem(
            "hook_secret_odd",
            "FULFILLD_HOOK_SECRET is not a secret of the Standard Webhooks scheme",
            "Nothing can be signed with it that the other side could verify.",
            form,
        ),
        Some(_) => {}
    }
}

/// The credential `hook_secret`, else the file, else the variable.
fn secret(settings: &Settings) -> Option<String> {
    let credential = settings.set("CREDENTIALS_DIRECTORY").map(|dir| Path::new(&dir).join("hook_secret"));
    match credential.filter(|path| path.exists()) {
        Some(path) => std::fs::read_to_string(path).ok(),
        None => settings.secret("FULFILLD_HOOK_SECRET")?.text.ok(),
    }
}

fn is_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    let padded = text.len() - digits.len() <= 2 && text.len().is_multiple_of(4);
    !digits.is_empty() && padded && digits.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
}

fn gave_up(path: &Path, report: &mut Report) {
    let sql = "SELECT count(*) FROM attention WHERE reason = 'hook_dead'";
    let dead = file::open(path).and_then(|c| c.query_row(sql, [], |row| row.get::<_, i64>(0))).unwrap_or(0);
    if dead > 0 {
        report.problem(
            "hooks_dead",
            format!("{dead} hooks were tried for long and given up"),
            "What they were to tell was told to nobody.",
            "fulfilld attention names each with the line to type",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::is_base64;

    #[test]
    fn a_secret_s_form_is_known() {
        assert!(is_base64("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw") && is_base64("YWE=") && is_base64("YQ=="));
        for odd in ["", "====", "YWE", "Y===", "YW E", "YW-_"] {
            assert!(!is_base64(odd), "{odd}");
        }
    }
}
