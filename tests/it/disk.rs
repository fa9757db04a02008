//! A disk that can lose power: what a process was seen to write, and what of it may be there
//! afterwards.
//!
//! The kernel keeps what is written in pages of memory and puts it on the disk whenever it likes,
//! in any order, half a page too; only what an fsync(2) came back from is certain. When one fails,
//! Linux forgets that the pages were to be written: they are read from memory as if nothing had
//! happened, and a later fsync that succeeds does not bring them to the disk.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;

use fastrand::Rng;

const PAGE: usize = 4096;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// Builds the library that records, as `LD_PRELOAD` takes it.
pub fn recorder(into: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/powercuts/recorder.c");
    let library = into.join("recorder.so");
    let built = Command::new("gcc")
        .args(["-O1", "-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .arg("-lpthread")
        .status()
        .expect("gcc is installed (tests/setup)");
    assert!(built.success(), "{} can be built", source.display());
    library
}

/// One call of a process, and where its record ends in the recording.
pub struct Record {
    kind: char,
    failed: bool,
    inode: u64,
    at: usize,
    path: String,
    data: Vec<u8>,
    pub end: u64,
}

impl Record {
    /// A sync that failed.
    pub fn is_failed_sync(&self) -> bool {
        self.kind == 'F' && self.failed
    }

    /// The fault that `RECORD_FAULT` names, which was reached here.
    pub fn is_fault(&self) -> bool {
        self.kind == 'X'
    }
}

/// Reads what `tests/powercuts/recorder.c` wrote.
pub fn records(recording: &[u8]) -> Vec<Record> {
    let mut all = Vec::new();
    let mut left = recording;
    while !left.is_empty() {
        let number = |at: usize, bytes: usize| {
            let mut number = [0; 8];
            number[..bytes].copy_from_slice(&left[at..at + bytes]);
            u64::from_le_bytes(number) as usize
        };
        let (path_len, data_len) = (number(21, 4), number(25, 4));
        let data_at = 29 + path_len;
        all.push(Record {
            kind: left[0] as char,
            failed: number(1, 4) != 0,
            inode: number(5, 8) as u64,
            at: number(13, 8),
            path: String::from_utf8_lossy(&left[29..data_at]).into_owned(),
            data: left[data_at..data_at + data_len].to_vec(),
            end: (recording.len() - left.len() + data_at + data_len) as u64,
        });
        left = &left[data_at + data_len..];
    }
    all
}

/// How much of what no fsync has come back from is on the disk.
#[derive(Debug, Clone, Copy)]
enum Luck {
    Nothing,
    Everything,
    /// What came first, and nothing after it.
    Beginning,
    /// Any page in any of its states, with so many chances in ten each time it was written.
    Pages(u32),
    /// Any sector, likewise.
    Sectors(u32),
}

#[derive(Default, Clone)]
struct File {
    /// As it is read.
    memory: Vec<u8>,
    /// As it is on the disk for certain.
    disk: Vec<u8>,
    /// What is read and was never forgotten, before `since`.
    base: Vec<u8>,
    /// Writes and truncations that no fsync has come back from.
    since: Vec<(usize, Change)>,
}

#[derive(Clone)]
enum Change {
    Written(Vec<u8>),
    Cut,
}

/// The files of one directory.
#[derive(Clone)]
pub struct Disk {
    dir: String,
    files: HashMap<u64, File>,
    /// The names that are there for certain.
    names: BTreeMap<String, u64>,
    /// Names made and removed since; a prefix of them is there after a power cut.
    renamed: Vec<(String, Option<u64>)>,
}

impl Disk {
    /// The files as they are now, all of it on the disk.
    pub fn of(dir: &Path) -> Disk {
        let mut disk = Disk {
            dir: dir.display().to_string(),
            files: HashMap::new(),
            names: BTreeMap::new(),
            renamed: Vec::new(),
        };
        for entry in std::fs::read_dir(dir).expect("the directory is there").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with("-shm") {
                continue;
            }
            let inode = std::os::unix::fs::DirEntryExt::ino(&entry);
            let bytes = std::fs::read(entry.path()).expect("it can be read");
            disk.files.insert(
                inode,
                File { memory: bytes.clone(), disk: bytes.clone(), base: bytes, since: vec![] },
            );
            disk.names.insert(name, inode);
        }
        disk
    }

    /// What one call of the process did.
    pub fn take(&mut self, record: &Record, random: &mut Rng) {
        let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_string();
        if record.kind == 'F' && record.path == self.dir {
            if !record.failed {
                self.settle_names();
            }
            return;
        }
        match record.kind {
            'C' => {
                self.files.entry(record.inode).or_default();
                self.renamed.push((name(&record.path), Some(record.inode)));
            }
            'L' | 'R' => {
                self.renamed
                    .push((name(&String::from_utf8_lossy(&record.data)), Some(record.inode)));
                if record.kind == 'R' {
                    self.renamed.push((name(&record.path), None));
                }
            }
            'U' => self.renamed.push((name(&record.path), None)),
            kind => {
                let file = self.files.entry(record.inode).or_default();
                match kind {
                    'W' => file.change(record.at, Change::Written(record.data.clone())),
                    'T' => file.change(record.at, Change::Cut),
                    'F' if record.failed => file.forget(random),
                    'F' => file.sync(),
                    other => panic!("the recorder writes no {other:?}"),
                }
            }
        }
    }

    fn settle_names(&mut self) {
        for (name, inode) in std::mem::take(&mut self.renamed) {
            set(&mut self.names, &name, inode);
        }
    }

    /// What is read from the directory: for a look whether the recorder missed anything.
    pub fn read(&self) -> BTreeMap<String, &[u8]> {
        let mut names = self.names.clone();
        self.renamed.iter().for_each(|(name, inode)| set(&mut names, name, *inode));
        names
            .into_iter()
            .map(|(name, inode)| (name, self.files[&inode].memory.as_slice()))
            .collect()
    }

    /// Power is cut: what is left of each file is written into another directory. Says how it went.
    pub fn cut(&self, into: &Path, random: &mut Rng) -> String {
        let luck = match random.u32(..10) {
            0 => Luck::Nothing,
            1 => Luck::Everything,
            2..=3 => Luck::Beginning,
            4..=6 => Luck::Pages(random.u32(1..10)),
            _ => Luck::Sectors(random.u32(1..10)),
        };
        let mut names = self.names.clone();
        let kept = random.usize(..=self.renamed.len());
        self.renamed[..kept].iter().for_each(|(name, inode)| set(&mut names, name, *inode));
        for (name, inode) in &names {
            let bytes = self.files[inode].after(luck, random);
            std::fs::write(into.join(name), bytes).expect("it can be written");
        }
        // What was memory is whatever the disk had there.
        if random.bool() {
            let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(32 << 10).collect();
            let database =
                names.keys().find(|name| name.ends_with(".db")).expect("there is a database");
            std::fs::write(into.join(format!("{database}-shm")), noise).expect("it can be written");
        }
        let unsynced: usize = self.files.values().map(|file| file.since.len()).sum();
        format!("{luck:?} of {unsynced} writes and {kept} of {} names", self.renamed.len())
    }
}

fn set(names: &mut BTreeMap<String, u64>, name: &str, inode: Option<u64>) {
    match inode {
        Some(inode) => names.insert(name.into(), inode),
        None => names.remove(name),
    };
}

/// Brings one change to the bytes.
fn apply(bytes: &mut Vec<u8>, at: usize, change: &Change) {
    match change {
        Change::Cut => bytes.resize(at, 0),
        Change::Written(data) => {
            let end = at + data.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[at..end].copy_from_slice(data);
        }
    }
}

/// Puts a piece of what is in memory where it belongs on the disk.
fn put(disk: &mut Vec<u8>, memory: &[u8], piece: usize, size: usize) {
    let (from, to) = (piece * size, ((piece + 1) * size).min(memory.len()));
    if from < to {
        if disk.len() < to {
            disk.resize(to, 0);
        }
        disk[from..to].copy_from_slice(&memory[from..to]);
    }
}

/// The pieces of this size that a write touches.
fn touched(at: usize, change: &Change, size: usize) -> std::ops::Range<usize> {
    match change {
        Change::Cut => 0..0,
        Change::Written(data) => at / size..(at + data.len()).div_ceil(size),
    }
}

impl File {
    fn change(&mut self, at: usize, change: Change) {
        apply(&mut self.memory, at, &change);
        self.since.push((at, change));
    }

    fn sync(&mut self) {
        self.disk = self.with(self.since.len());
        self.settle();
    }

    /// A failed fsync: what was to be written is no longer, though some of it may have been.
    fn forget(&mut self, random: &mut Rng) {
        let dirty: BTreeSet<usize> =
            self.since.iter().flat_map(|(at, change)| touched(*at, change, PAGE)).collect();
        let size = if random.bool() { self.memory.len() } else { self.disk.len() };
        for page in dirty {
            if random.u32(..10) == 0 {
                put(&mut self.disk, &self.memory, page, PAGE);
            }
        }
        self.disk.resize(size, 0);
        self.settle();
    }

    fn settle(&mut self) {
        self.base.clone_from(&self.memory);
        self.since.clear();
    }

    /// The disk when the first so many changes have reached it, whole pages as they are in memory.
    fn with(&self, changes: usize) -> Vec<u8> {
        let (mut disk, mut memory) = (self.disk.clone(), self.base.clone());
        let changes = &self.since[..changes];
        let mut dirty = BTreeSet::new();
        for (at, change) in changes {
            apply(&mut memory, *at, change);
            if matches!(change, Change::Cut) {
                disk.truncate(*at);
                dirty.retain(|page| page * PAGE < *at);
            }
            dirty.extend(touched(*at, change, PAGE));
        }
        dirty.iter().for_each(|page| put(&mut disk, &memory, *page, PAGE));
        if !changes.is_empty() {
            disk.resize(memory.len(), 0);
        }
        disk
    }

    /// What is on the disk when the power comes back.
    fn after(&self, luck: Luck, random: &mut Rng) -> Vec<u8> {
        let (size, chances) = match luck {
            Luck::Nothing => return self.disk.clone(),
            Luck::Everything => return self.with(self.since.len()),
            Luck::Beginning => return self.with(random.usize(..=self.since.len())),
            Luck::Pages(chances) => (PAGE, chances),
            Luck::Sectors(chances) => (SECTOR, chances),
        };
        let (mut disk, mut memory) = (self.disk.clone(), self.base.clone());
        for (at, change) in &self.since {
            apply(&mut memory, *at, change);
            if matches!(change, Change::Cut) {
                // The journal of the file system is in order: what was written behind it is not
                // there without it.
                if random.bool() {
                    return disk;
                }
                disk.resize(*at, 0);
            }
            for piece in touched(*at, change, size) {
                if random.u32(..10) < chances {
                    put(&mut disk, &memory, piece, size);
                }
            }
        }
        if random.bool() {
            disk.resize(memory.len(), 0);
        }
        disk
    }
}
