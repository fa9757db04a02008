//! A contender: one server process on its own core, started, sent requests, measured and stopped.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::Result;
use crate::deliveries::{self, Deliveries};
use crate::load::{self, Outcome, Pace};
use crate::machine::{self, Side, Watch};
use crate::yardstick;

/// A program that is not ready after this long will not be.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// Above the 20 s in which fulfilld promises to stop.
const STOPPED_WITHIN: Duration = Duration::from_secs(30);

/// What is put under load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// This program again, as one of its yardsticks.
    Yardstick(&'static str),
    /// A `fulfilld`.
    Fulfilld(PathBuf),
    /// What somebody else would use: a program that keeps events in the file PEER_DB, as rows of
    /// `events(id, payload, …)`, and prints its address.
    Peer(PathBuf),
}

/// A running server, its directory and its count of events. Dropping it ends the process at once.
pub struct Contender {
    pub name: String,
    program: Program,
    dir: PathBuf,
    settings: Vec<(&'static str, String)>,
    process: Process,
    /// The number of the next event to send.
    next: u64,
    /// From exec to the first 200.
    pub started_in: Duration,
}

/// What a load came to, and what it took.
pub struct Loaded {
    pub outcome: Outcome,
    /// CPU time of the server, and of the generator.
    pub cpu: Duration,
    pub generator_cpu: Duration,
    /// The share of the machine that neither server nor generator used.
    pub others: f64,
}

/// A child that prints one line when it is ready.
pub struct Process {
    child: Child,
    /// What it printed.
    pub ready: String,
}

impl Contender {
    /// Starts it with a directory of its own below `room` and sends it the first event.
    pub fn start(name: &str, program: Program, room: &Path) -> Result<Contender> {
        Contender::start_with(name, program, room, &[])
    }

    /// The same with settings of fulfilld beside the usual ones.
    pub fn start_with(
        name: &str,
        program: Program,
        room: &Path,
        settings: &[(&'static str, String)],
    ) -> Result<Contender> {
        let dir = Contender::dir(room, name);
        fs::create_dir_all(&dir).map_err(|e| format!("cannot make a directory for {name}: {e}"))?;
        let (process, started_in) = launch(&program, &dir, settings, 0)?;
        let settings = settings.to_vec();
        Ok(Contender { name: name.into(), program, dir, settings, process, next: 1, started_in })
    }

    /// Where a contender of this name has its file, `bench.db`.
    pub fn dir(room: &Path, name: &str) -> PathBuf {
        room.join(name.replace(|c: char| !c.is_ascii_alphanumeric(), "-"))
    }

    /// Kills it and starts it again, as after a power cut. Returns how long the start took.
    pub fn restart_killed(&mut self) -> Result<Duration> {
        let _ = self.process.child.kill();
        let _ = self.process.child.wait();
        let (process, took) = launch(&self.program, &self.dir, &self.settings, self.next)?;
        self.process = process;
        self.next += 1;
        Ok(took)
    }

    /// Stops it and starts it again on the same directory. Returns how long the start took.
    pub fn restart(&mut self) -> Result<Duration> {
        self.process.stop()?;
        let (process, took) = launch(&self.program, &self.dir, &self.settings, self.next)?;
        self.process = process;
        self.next += 1;
        Ok(took)
    }

    pub fn address(&self) -> Result<SocketAddr> {
        address_in(&self.process.ready)
    }

    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// The file that it keeps its events in, if it keeps any.
    pub fn file(&self) -> Option<PathBuf> {
        let keeps = !matches!(
            self.program,
            Program::Yardstick(yardstick::BARE) | Program::Yardstick(yardstick::VERIFY)
        );
        keeps.then(|| self.dir.join("bench.db"))
    }

    /// Puts a load on it and checks that everything acknowledged is in the file, whole.
    pub fn load(&mut self, pace: Pace, lasting: Duration) -> Result<Loaded> {
        let (server, generator) = (self.pid(), std::process::id());
        let (watch, server_before, generator_before) =
            (Watch::start(), machine::cpu_time(server), machine::cpu_time(generator));
        let outcome = load::run(self.address()?, pace, lasting, self.next)?;
        let cpu = machine::cpu_time(server).saturating_sub(server_before);
        let generator_cpu = machine::cpu_time(generator).saturating_sub(generator_before);
        let others = watch.others_share(cpu + generator_cpu);
        self.next += outcome.sent;
        match self.missing(&outcome.acknowledged)? {
            0 => Ok(Loaded { outcome, cpu, generator_cpu, others }),
            missing => {
                Err(format!("{} acknowledged {missing} events that are not in its file", self.name))
            }
        }
    }

    /// How many of these events were acknowledged and are not in the file.
    fn missing(&self, acknowledged: &[u64]) -> Result<usize> {
        let Some(file) = self.file() else { return Ok(0) };
        let failed =
            |e: rusqlite::Error| format!("cannot look for the events of {}: {e}", self.name);
        let connection = rusqlite::Connection::open(file).map_err(failed)?;
        let mut look = connection
            .prepare("SELECT length(CAST(payload AS BLOB)) FROM events WHERE id = ?1")
            .map_err(failed)?;
        let (writer, mut body) = (Deliveries::default(), Vec::new());
        let mut missing = 0;
        for number in acknowledged {
            writer.write_body(*number, &mut body);
            let kept = look.query_row([deliveries::event_id(*number)], |row| row.get::<_, i64>(0));
            missing += usize::from(kept != Ok(body.len() as i64));
        }
        Ok(missing)
    }

    /// Stops it as an operator would.
    pub fn stop(mut self) -> Result<()> {
        self.process.stop()
    }
}

impl Process {
    /// Starts a program on a side of the machine and waits for its line. What it logs goes to
    /// `log`.
    pub fn start(command: &mut Command, side: Side, log: &Path) -> Result<Process> {
        let shown = command
            .get_program()
            .to_string_lossy()
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_string();
        let file = File::create(log).map_err(|e| format!("cannot make a log for {shown}: {e}"))?;
        machine::pin(side);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(file).spawn();
        machine::pin(Side::Load);
        let mut child = child.map_err(|e| format!("cannot start {shown}: {e}"))?;
        let stdout = child.stdout.take().expect("it was piped a moment ago");
        let mut process = Process { child, ready: String::new() };
        let (tell, told) = channel();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stdout);
            let mut first = String::new();
            let _ = lines.read_line(&mut first);
            let _ = tell.send(first);
            // The rest is read so that the program never waits for it.
            let _ = std::io::copy(&mut lines, &mut std::io::sink());
        });
        process.ready = told.recv_timeout(READY_WITHIN).unwrap_or_default();
        if process.ready.is_empty() {
            let log = fs::read_to_string(log).unwrap_or_default();
            let last: Vec<_> = log.lines().rev().take(3).collect();
            return Err(format!("{shown} did not become ready: {}", last.join(" / ")));
        }
        Ok(process)
    }

    /// True when it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGTERM, and an end in time and without an error; a yardstick ends when its standard input
    /// does.
    pub fn stop(&mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let deadline = Instant::now() + STOPPED_WITHIN;
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(Some(_)) => return Ok(()),
                Ok(None) => std::thread::sleep(Duration::from_millis(2)),
                Err(e) => return Err(format!("cannot wait for a program to end: {e}")),
            }
        }
        Err(format!("a program did not end within {} s of SIGTERM", STOPPED_WITHIN.as_secs()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `…http://127.0.0.1:4242…` in a line.
pub fn address_in(line: &str) -> Result<SocketAddr> {
    let after = line.split_once("http://").map(|(_, rest)| rest).unwrap_or_default();
    let end = after
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | ':')))
        .unwrap_or(after.len());
    after[..end].parse().map_err(|_| format!("no address in {line:?}"))
}

/// What the unit of systemd sets for glibc's heap.
fn heap_of_the_unit() -> impl Iterator<Item = (&'static str, &'static str)> {
    include_str!("../../systemd/fulfilld.service")
        .lines()
        .filter_map(|line| line.strip_prefix("Environment=")?.split_once('='))
        .filter(|(name, _)| name.starts_with("MALLOC_") || name.starts_with("GLIBC_"))
}

/// The environment in which a `fulfilld` is measured: its own file, any port, the unit's settings of
/// the heap, and a Stripe that does not answer.
pub fn fulfilld(program: &Path, file: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .arg("serve")
        .env("STRIPE_SECRET_KEY", "sk_test_bench")
        .env("WEBHOOK_SECRET", deliveries::SECRET)
        .env("FULFILLD_DB", file)
        .env("FULFILLD_LISTEN", "127.0.0.1:0")
        .env("FULFILLD_STRIPE_API", "http://127.0.0.1:9")
        .envs(heap_of_the_unit());
    command
}

/// A `fulfilld` that serves the file, which it makes where there is none.
pub fn fulfilld_on(program: &Path, file: &Path) -> Result<Process> {
    let log = file.with_extension("log");
    Process::start(&mut fulfilld(program, file), Side::Server, &log)
}

/// Starts the program and posts event `number` to it; returns how long it was from exec to its 200.
fn launch(
    program: &Program,
    dir: &Path,
    settings: &[(&'static str, String)],
    number: u64,
) -> Result<(Process, Duration)> {
    let mut command = match program {
        Program::Fulfilld(path) => fulfilld(path, &dir.join("bench.db")),
        Program::Peer(path) => {
            let mut command = Command::new(path);
            command.env("PEER_DB", dir.join("bench.db"));
            command.env("WEBHOOK_SECRET", deliveries::SECRET);
            command
        }
        Program::Yardstick(name) => {
            let itself = std::env::current_exe()
                .map_err(|e| format!("cannot find this program again: {e}"))?;
            let mut command = Command::new(itself);
            command.args(["--yardstick", name]).env("KEEPER_DB", dir.join("bench.db"));
            command
        }
    };
    command.envs(settings.iter().map(|(name, value)| (name, value)));
    let began = Instant::now();
    let process = Process::start(&mut command, Side::Server, &dir.join("log"))?;
    match post(address_in(&process.ready)?, number)? {
        200 => Ok((process, began.elapsed())),
        status => Err(format!("the first event was answered {status}")),
    }
}

/// Posts one event; returns the status.
fn post(address: SocketAddr, number: u64) -> Result<u16> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (mut request, mut body, mut answer) = (Vec::new(), Vec::new(), String::new());
    Deliveries::default().write(number, now, &mut request, &mut body);
    let mut exchange = || {
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(READY_WITHIN))?;
        socket.write_all(&request)?;
        socket.read_to_string(&mut answer)
    };
    exchange().map_err(|e| format!("cannot post an event: {e}"))?;
    answer
        .get(9..12)
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| "an event got no answer".into())
}
