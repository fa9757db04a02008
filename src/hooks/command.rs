//! A hook that is a command: an executable in a process group of its own, with nothing in its
//! environment that it need not know, bounded in time and in what is kept of its words.
//!
//! One thread does all of it without ever blocking: it writes to the hook's standard input and
//! reads its standard error as far as either goes, and looks whether the process has ended. So a
//! hook that does not read, that floods, or that leaves a child behind which holds the pipes open,
//! takes up nobody's time but its own.

use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::runs::Outcome;
use crate::text;

/// After this long the whole process group is killed.
pub const RUN_MAX: Duration = Duration::from_secs(30);

/// How long a hook that runs may go on when fulfilld stops.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Between two looks at the process: short for the quick ones, then longer.
const LOOK_FIRST: Duration = Duration::from_millis(2);
const LOOK_LAST: Duration = Duration::from_millis(25);

/// A process that was killed is gone within this, unless the kernel itself hangs; then it is not
/// waited for.
const GONE_WITHIN: Duration = Duration::from_secs(2);

/// Read at one look, and kept of all of it: the last so many bytes, shown as so many characters.
const READ_MAX: usize = 64 << 10;
const TAIL_BYTES: usize = 4 << 10;
const SAID_MAX: usize = 440;

/// EX_TEMPFAIL of sysexits(3).
const TRY_AGAIN: i32 = 75;

/// What a hook gets besides the JSON.
pub struct Call<'a> {
    /// The program.
    pub path: &'a Path,
    /// Its only argument.
    pub topic: &'a str,
    /// The same at every try of one notification.
    pub key: &'a str,
    /// From 1.
    pub attempt: i64,
    /// The shop's file.
    pub db: &'a Path,
}

/// Why a file could not be run as it stands there now; `None` when it seems it could.
pub fn unusable(path: &Path) -> Option<String> {
    let path_text = path.to_string_lossy();
    let (shown, word) = (text::clean(&path_text), text::shell_word(&path_text));
    match std::fs::metadata(path) {
        Err(error) => Some(format!("{shown}: {error}")),
        Ok(meta) if !meta.is_file() => Some(format!("{shown} is not a file")),
        Ok(_) => disk_fault(path)
            .or_else(|| {
                let may_run = rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
                (!may_run).then(|| {
                    format!(
                        "{shown} is not executable for the user that fulfilld runs as; chmod +x {word}"
                    )
                })
            })
            .or_else(|| script_fault(path)),
    }
}

/// Why nothing on the disk of this file can be run; `None` where it can.
pub fn disk_fault(path: &Path) -> Option<String> {
    let disk = rustix::fs::statvfs(path).ok()?;
    let shown = text::clean(&path.to_string_lossy());
    disk.f_flag.contains(rustix::fs::StatVfsMountFlags::NOEXEC).then(|| {
        format!(
            "{shown} lies on a disk from which nothing may be run (noexec); put it into /usr/local/bin"
        )
    })
}

/// The first bytes of a program that the kernel starts by itself.
const ELF: &[u8] = b"\x7fELF";

/// Why the kernel would not start a script: what its first line says runs it is not there, or it
/// says nothing. `None` for a program, and for a file that may be run and not read.
pub fn script_fault(path: &Path) -> Option<String> {
    let shown = text::clean(&path.to_string_lossy());
    let mut head = [0; 256];
    let n = std::fs::File::open(path).and_then(|mut file| file.read(&mut head)).ok()?;
    let head = &head[..n];
    let Some(line) = head.strip_prefix(b"#!") else {
        let is_text = !head.starts_with(ELF) && !head.contains(&0);
        return is_text.then(|| {
            format!("{shown} has no first line that says what runs it, such as #!/bin/sh")
        });
    };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if line.ends_with(b"\r") {
        return Some(format!(
            "{shown} has line ends of Windows (CR LF), so that no program of the name in its first line is there; \
             convert it: sed -i 's/\\r$//' {shown}"
        ));
    }
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_whitespace();
    let interpreter = words.next().unwrap_or_default();
    let named = text::clean(interpreter);
    if !Path::new(interpreter).exists() {
        return Some(format!(
            "{shown} is to be run by {named}, which is not there; install it, or correct the first line"
        ));
    }
    // Who runs it is looked for in PATH, as the hook has it.
    let program = words.next().filter(|word| {
        interpreter.ends_with("/env") && !word.starts_with('-') && !word.contains('=')
    })?;
    let places = std::env::var_os("PATH").unwrap_or_else(|| PATH.into());
    let found = std::env::split_paths(&places).any(|place| place.join(program).is_file());
    let program = text::clean(program);
    (!found).then(|| {
        format!("{shown} is to be run by {program}, which is not in PATH; install it, or correct the first line")
    })
}

/// Where programs are looked for when nothing else is set.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Runs it to its end, or kills it. `is_stopping` is checked meanwhile.
pub fn run(call: &Call, json: &[u8], is_stopping: &dyn Fn() -> bool) -> Outcome {
    let mut command = Command::new(call.path);
    command
        .arg(call.topic)
        .env_clear()
        .envs(environment(call))
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let shown = text::clean(&call.path.to_string_lossy());
            let missing = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied);
            // ENOEXEC: no program, and no script with a first line that names one.
            return match missing
                || error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error())
            {
                true => Outcome::NotRun(
                    unusable(call.path)
                        .unwrap_or_else(|| format!("{shown} cannot be run: {error}")),
                ),
                false => {
                    Outcome::Again { why: format!("it could not be started: {error}"), pause: None }
                }
            };
        }
    };
    Running { child, said: Vec::new(), began: Instant::now() }.watch(json, is_stopping)
}

struct Running {
    child: Child,
    /// The end of its standard error.
    said: Vec<u8>,
    began: Instant,
}

/// How it ended.
enum End {
    ByItself,
    TooLong,
    Stopped,
}

impl Running {
    fn watch(mut self, json: &[u8], is_stopping: &dyn Fn() -> bool) -> Outcome {
        let (mut stdin, mut stderr) = (self.child.stdin.take(), self.child.stderr.take());
        // Our ends only: the hook's own ends block as a program expects.
        let set = |fd: rustix::io::Result<()>| fd.is_ok();
        if !stdin.as_ref().is_none_or(|pipe| set(never_block(pipe))) {
            stdin = None;
        }
        if !stderr.as_ref().is_none_or(|pipe| set(never_block(pipe))) {
            stderr = None;
        }
        let (mut left, mut look) = (json, LOOK_FIRST);
        let mut stopping_since = None;
        let end = loop {
            if let Some(pipe) = &mut stdin {
                match pipe.write(left) {
                    Ok(n) => left = &left[n..],
                    Err(e)
                        if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                    // It closed its standard input, which is its own affair.
                    Err(_) => left = &[],
                }
                if left.is_empty() {
                    stdin = None;
                }
            }
            self.listen(&mut stderr);
            if self.has_ended() {
                break End::ByItself;
            }
            if self.began.elapsed() >= RUN_MAX {
                break End::TooLong;
            }
            if is_stopping()
                && stopping_since.get_or_insert_with(Instant::now).elapsed() >= STOP_GRACE
            {
                break End::Stopped;
            }
            std::thread::sleep(look);
            look = (look * 2).min(LOOK_LAST);
        };
        // The process is not reaped yet, so the number is still its own; what it left running ends
        // with it.
        let _ = kill_process_group(self.pid(), Signal::KILL);
        self.listen(&mut stderr);
        let status = self.reap();
        let why = |what: String| match last_words(&self.said) {
            said if said.is_empty() => what,
            said => format!("{what}: {said}"),
        };
        let again = |what: String| Outcome::Again { why: why(what), pause: None };
        match (end, status) {
            (End::Stopped, _) => Outcome::Again {
                why: "fulfilld was stopped while it ran".into(),
                pause: Some(Duration::ZERO),
            },
            (End::TooLong, _) => again(format!("killed after {} s", RUN_MAX.as_secs())),
            (End::ByItself, None) => again("nobody knows how it ended".into()),
            (End::ByItself, Some(status)) => match (status.code(), status.signal()) {
                (Some(0), _) => Outcome::Done,
                (Some(TRY_AGAIN), _) => again(format!("exit code {TRY_AGAIN}, try again")),
                (Some(code), _) => Outcome::Failed(why(format!("exit code {code}"))),
                (None, signal) => again(format!("ended by signal {}", signal.unwrap_or(0))),
            },
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// True once it has ended; it is left to be reaped.
    fn has_ended(&self) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::Pid(self.pid()), look), Ok(None))
    }

    /// Reads what it has said, without waiting for more.
    fn listen(&mut self, stderr: &mut Option<impl Read>) {
        let mut read = 0;
        let mut buffer = [0; 8 << 10];
        while let Some(pipe) = stderr.as_mut().filter(|_| read < READ_MAX) {
            match pipe.read(&mut buffer) {
                Ok(0) => *stderr = None,
                Ok(n) => {
                    read += n;
                    self.said.extend_from_slice(&buffer[..n]);
                    let surplus = self.said.len().saturating_sub(TAIL_BYTES);
                    self.said.drain(..surplus);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// How it ended; `None` when it cannot be reaped.
    fn reap(&mut self) -> Option<std::process::ExitStatus> {
        let deadline = Instant::now() + GONE_WITHIN;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < deadline => std::thread::sleep(LOOK_FIRST),
                _ => return None,
            }
        }
    }
}

fn never_block(pipe: &impl std::os::fd::AsFd) -> rustix::io::Result<()> {
    fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)
}

/// What a program needs to run, what is set for the hooks, and what this call is about. Nothing
/// else of fulfilld's.
fn environment(call: &Call) -> Vec<(OsString, OsString)> {
    let kept = |name: &OsString| {
        ["PATH", "LANG", "HOME"].iter().any(|known| name == known)
            || name.to_string_lossy().starts_with("HOOK_")
    };
    let mut environment: Vec<(OsString, OsString)> =
        std::env::vars_os().filter(|(name, _)| kept(name)).collect();
    if !environment.iter().any(|(name, _)| name == "PATH") {
        environment.push(("PATH".into(), PATH.into()));
    }
    environment.extend([
        ("FULFILLD_DB".into(), call.db.as_os_str().into()),
        ("FULFILLD_TOPIC".into(), call.topic.into()),
        ("FULFILLD_KEY".into(), call.key.into()),
        ("FULFILLD_ATTEMPT".into(), call.attempt.to_string().into()),
    ]);
    environment
}

/// The end of what it said, on one line.
fn last_words(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let lines: Vec<String> =
        said.lines().map(|line| text::clean(line.trim())).filter(|line| !line.is_empty()).collect();
    let joined = lines.join(" / ");
    let surplus = joined.chars().count().saturating_sub(SAID_MAX);
    joined.chars().skip(surplus).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_that_the_kernel_would_not_start_is_named_as_what_it_is() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        for (script, why) in [
            ("#!/bin/sh\nexit 0\n", None),
            ("#!/usr/bin/env sh\n", None),
            ("#! /bin/sh -e\n", None),
            ("#!/bin/sh\r\nexit 0\r\n", Some("CR LF")),
            ("#!/usr/bin/env python3\r\n", Some("CR LF")),
            ("echo hello\n", Some("no first line that says what runs it")),
            ("", Some("no first line that says what runs it")),
            ("#!/nowhere/python3\n", Some("/nowhere/python3, which is not there")),
            ("#!\n", Some("which is not there")),
            ("#!/usr/bin/env no-such-program\n", Some("no-such-program, which is not in PATH")),
        ] {
            let path = dir.path().join("hook");
            std::fs::write(&path, script).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            let said = unusable(&path);
            assert_eq!(said.is_some(), why.is_some(), "{script:?}: {said:?}");
            assert!(said.unwrap_or_default().contains(why.unwrap_or_default()), "{script:?}");
        }
        assert_eq!(unusable(Path::new("/bin/sh")), None);
    }

    #[test]
    fn the_last_words_are_one_clean_line() {
        assert_eq!(last_words(b"one\n\n  two \x1b[31m\r\n"), "one / two \u{FFFD}[31m");
        assert_eq!(last_words(&"é\n".repeat(4000).into_bytes()).chars().count(), SAID_MAX);
        assert_eq!(last_words(b"\xff\xfe"), "\u{FFFD}\u{FFFD}");
    }
}
