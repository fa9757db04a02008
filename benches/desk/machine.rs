//! The machine: which cores, what it is, what a process used of it, and what others used meanwhile.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;

use crate::Result;

/// `/proc` counts CPU time in hundredths of a second on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// What the figures depend on. No host name, no path.
#[derive(Serialize)]
pub struct Facts {
    pub cores: usize,
    pub pinned: bool,
    pub cpu: String,
    pub memory_mb: u64,
    pub kernel: String,
    pub file_system: String,
    /// Half of the calls of fsync after 4 KB took less than this.
    pub fsync_ms: f64,
    pub sqlite: &'static str,
}

impl Facts {
    /// `dir` is where the files under measure will be.
    pub fn of(dir: &Path) -> Result<Facts> {
        let first = |file: &str, key: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line =
                text.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_string();
            line.split_once(':').map(|(_, value)| value.trim().to_string()).unwrap_or_default()
        };
        let memory_kb =
            first("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0u64);
        Ok(Facts {
            cores: cores().len(),
            pinned: cores().len() > 1,
            cpu: first("/proc/cpuinfo", "model name"),
            memory_mb: memory_kb / 1024,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap_or_default()
                .trim()
                .to_string(),
            file_system: file_system(dir),
            fsync_ms: fsync_ms(dir).map_err(|e| format!("cannot measure fsync: {e}"))?,
            sqlite: rusqlite::version(),
        })
    }
}

/// Who runs on which core: the server on the first, the load and everything else on the second. On
/// a machine with one core all share it.
#[derive(Debug, Clone, Copy)]
pub enum Side {
    Server,
    Load,
}

/// Binds this thread, and the processes and threads that it starts from now on.
pub fn pin(side: Side) {
    let cores = cores();
    let core = match (side, cores.as_slice()) {
        (_, [] | [_]) => return,
        (Side::Server, [first, ..]) => *first,
        (Side::Load, [_, second, ..]) => *second,
    };
    let mut set = CpuSet::new();
    set.set(core);
    // Where it is forbidden the figures are a little less steady, and that is all.
    let _ = sched_setaffinity(None, &set);
}

/// The cores that this process was given at its start.
fn cores() -> Vec<usize> {
    static GIVEN: std::sync::OnceLock<Vec<usize>> = std::sync::OnceLock::new();
    let given = || {
        let set = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
        (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
    };
    GIVEN.get_or_init(given).clone()
}

/// CPU time of a process since its start, threads that have ended included.
pub fn cpu_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, in parentheses, may hold anything; user and system time are the 12th and 13th
    // fields after it.
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let ticks: u32 = fields
        .split_ascii_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|f| f.parse::<u32>().ok())
        .sum();
    TICK * ticks
}

/// CPU time of the threads that a process has now, to the nanosecond; also of one that has ended and
/// was not waited for yet.
pub fn cpu_of_threads(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let used = |task: fs::DirEntry| {
        let stat = fs::read_to_string(task.path().join("schedstat")).ok()?;
        stat.split_ascii_whitespace().next()?.parse().ok().map(Duration::from_nanos)
    };
    tasks.filter_map(used).sum()
}

/// CPU time of this thread, to the nanosecond.
pub fn thread_cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(
        stat.split_ascii_whitespace().next().and_then(|f| f.parse().ok()).unwrap_or(0),
    )
}

/// Memory that a process holds now and has held at most, in MB.
pub fn memory_mb(pid: u32) -> (f64, f64) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let of = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1024.0
    };
    (of("VmRSS:"), of("VmHWM:"))
}

/// A control group with so much memory, the kernel's cache of files included, in which this process
/// and those that it starts from now on are until it is dropped.
pub struct Limited {
    parent: PathBuf,
    group: PathBuf,
}

impl Limited {
    pub fn to(megabytes: u64) -> Result<Limited> {
        let root = Path::new("/sys/fs/cgroup");
        let (parent, limit) = match root.join("cgroup.controllers").exists() {
            true => (root.to_path_buf(), "memory.max"),
            false => (root.join("memory"), "memory.limit_in_bytes"),
        };
        let group = parent.join(format!("fulfilld-bench-{}", std::process::id()));
        let enter = || {
            fs::create_dir(&group)?;
            fs::write(group.join(limit), (megabytes << 20).to_string())?;
            fs::write(group.join("cgroup.procs"), std::process::id().to_string())
        };
        let limited = Limited { parent, group: group.clone() };
        enter().map(|()| limited).map_err(|e| {
            format!(
                "the memory cannot be limited ({e}); run it as root, or without --memory under: \
                 systemd-run --scope -p MemoryMax={megabytes}M"
            )
        })
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let _ = fs::write(self.parent.join("cgroup.procs"), std::process::id().to_string());
        let _ = fs::remove_dir(&self.group);
    }
}

/// Takes a file out of the kernel's cache, so that whoever reads it next has it counted as its own.
pub fn uncache(file: &Path) -> std::io::Result<()> {
    let file = File::open(file)?;
    file.sync_all()?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    Ok(())
}

/// What everybody used, to tell a disturbed run from a quiet one.
pub struct Watch {
    since: Instant,
    busy: Duration,
}

impl Watch {
    pub fn start() -> Watch {
        Watch { since: Instant::now(), busy: busy_time() }
    }

    /// The share of the whole machine that neither `own` nor idling accounts for since the start.
    pub fn others_share(&self, own: Duration) -> f64 {
        let all = self.since.elapsed().as_secs_f64() * cores().len() as f64;
        (busy_time().saturating_sub(self.busy).saturating_sub(own).as_secs_f64() / all)
            .clamp(0.0, 1.0)
    }
}

/// User, nice, system, interrupts and stolen time of all cores.
fn busy_time() -> Duration {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<u64> = stat
        .lines()
        .next()
        .map(|line| line.split_ascii_whitespace().skip(1).filter_map(|f| f.parse().ok()).collect())
        .unwrap_or_default();
    let ticks: u64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|i| fields.get(*i)).sum();
    Duration::from_millis(10 * ticks)
}

/// The type of the file system that holds `dir`.
fn file_system(dir: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let (_, place, kind) = (fields.next()?, fields.next()?, fields.next()?);
            dir.starts_with(place).then(|| (place.len(), kind.to_string()))
        })
        .max()
        .map_or_else(|| "unknown".into(), |(_, kind)| kind)
}

fn fsync_ms(dir: &Path) -> std::io::Result<f64> {
    let mut file = tempfile::tempfile_in(dir)?;
    let mut took = Vec::new();
    for _ in 0..101 {
        file.write_all(&[1; 4096])?;
        let began = Instant::now();
        file.sync_all()?;
        took.push(began.elapsed());
    }
    took.sort_unstable();
    Ok(took[took.len() / 2].as_secs_f64() * 1000.0)
}
