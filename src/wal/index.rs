//! The index of a log (`-shm`), by which every process finds its pages: where the last commit ends,
//! which page each frame holds, and where to look for a page.
//!
//! SQLite verifies the check sum of the index's header and none of the rest. Noise in the rest makes
//! it read old pages, or write a frame to the place of another page. The rest follows from the
//! frames alone, so it can be compared with what it has to be.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::{FRAME_HEADER, LOG_HEADER, Sum, add, number, salt};

/// The index has blocks of this size. A block begins with the page of each frame and ends with a
/// table of slots that finds the frame of a page. All numbers have the byte order of the machine.
const BLOCK: usize = 32_768;
const SLOTS_AT: usize = 16_384;
const SLOTS: usize = 8_192;

/// Frames of a block; the first one begins with the header, and has less room.
const FRAMES: usize = 4_096;
const HEADER: usize = 136;
const FRAMES_FIRST: usize = FRAMES - HEADER / 4;

/// SQLite's two copies of the header, and where it says how many frames are in the file.
const COPIES: usize = 96;
const MOVED_AT: u64 = 96;

/// Where the last commit in a log ends, as the index has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    pub frames: u32,
    page_size: u32,
    /// How the log's check sums read a page.
    big_endian: bool,
    /// Pages that the file has after that commit.
    pub size: u32,
    sum: Sum,
    pub salt: [u8; 8],
}

/// The end that the index says; `None` when it says none just then, because it is empty or being
/// written.
pub fn end(index: &File) -> io::Result<Option<End>> {
    let mut both = [0; COPIES];
    match index.read_exact_at(&mut both, 0) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let (one, other) = both.split_at(COPIES / 2);
    let sum = add((0, 0), &one[..40], cfg!(target_endian = "big"));
    let is_whole = one == other && one[12] != 0 && sum == (native(one, 40), native(one, 44));
    Ok(is_whole.then(|| End {
        frames: native(one, 16),
        page_size: u32::from(u16::from_ne_bytes([one[14], one[15]])),
        big_endian: one[13] != 0,
        size: native(one, 20),
        sum: (native(one, 24), native(one, 28)),
        salt: one[32..40].try_into().expect("eight bytes"),
    }))
}

/// How many frames the index says are in the file.
pub fn moved(index: &File) -> io::Result<u32> {
    let mut moved = [0; 4];
    index.read_exact_at(&mut moved, MOVED_AT)?;
    Ok(u32::from_ne_bytes(moved))
}

/// Makes every process build the index anew from the log, whose check sums it verifies then. To be
/// done by whoever holds the write lock.
pub fn invalidate(index: &File) -> io::Result<()> {
    index.write_all_at(&[0; COPIES], 0)
}

impl End {
    /// The size of a page in bytes; 65,536 is written as 1.
    pub fn page_size(&self) -> usize {
        if self.page_size == 1 { 65_536 } else { self.page_size as usize }
    }

    pub fn is_big_endian(&self) -> bool {
        self.big_endian
    }

    /// Where a frame begins in the log; the first has the number 0.
    pub fn at(&self, frame: u32) -> u64 {
        LOG_HEADER as u64 + u64::from(frame) * (self.page_size() + FRAME_HEADER) as u64
    }

    /// True when the log begins as the index says, and has at its end the frame that the index means.
    /// A log that was cut off or written over has not, even where it was written on since.
    pub fn is_of(&self, log: &File) -> io::Result<bool> {
        let Some(last) = self.frames.checked_sub(1) else { return Ok(true) };
        let mut frame = [0; FRAME_HEADER];
        match log.read_exact_at(&mut frame, self.at(last)) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        let sum = (number(&frame, 16), number(&frame, 20));
        Ok(salt(log)? == Some(self.salt)
            && frame[8..16] == self.salt
            && sum == self.sum
            && log.metadata()?.len() >= self.at(self.frames))
    }

    pub fn has_sum(&self, sum: Sum, salt: [u8; 8]) -> bool {
        (self.sum, self.salt) == (sum, salt)
    }
}

/// What the index of one log has to be. It grows with the log, so a look costs what is new and one
/// comparison.
#[derive(Default)]
pub struct Expected {
    salt: [u8; 8],
    /// The page of each frame.
    pages: Vec<u32>,
    /// The slots of each block.
    slots: Vec<Vec<u16>>,
    buffer: Vec<u8>,
}

impl Expected {
    /// The page of each frame as of the last look.
    pub fn pages(&self) -> &[u32] {
        &self.pages
    }

    /// True when the index says of every frame up to that end which page it holds, and finds it.
    pub fn is_of(&mut self, index: &File, log: &File, end: &End) -> io::Result<bool> {
        let frames = end.frames as usize;
        if self.salt != end.salt || self.pages.len() > frames {
            (self.salt, self.pages, self.slots) = (end.salt, Vec::new(), Vec::new());
        }
        while self.pages.len() < frames {
            let mut page = [0; 4];
            log.read_exact_at(&mut page, end.at(self.pages.len() as u32))?;
            self.append(u32::from_be_bytes(page));
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(BLOCK, 0);
        let mut all = Ok(true);
        for block in 0..self.slots.len() {
            all = index
                .read_exact_at(&mut buffer, (block * BLOCK) as u64)
                .map(|()| self.is_block(block, &buffer));
            if !matches!(all, Ok(true)) {
                break;
            }
        }
        self.buffer = buffer;
        match all {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            all => all,
        }
    }

    /// As SQLite does it: the first free slot from the one that the page's number leads to.
    fn append(&mut self, page: u32) {
        let (block, within) = place(self.pages.len());
        if within == 0 {
            self.slots.push(vec![0; SLOTS]);
        }
        self.pages.push(page);
        let slots = &mut self.slots[block];
        let mut slot = page.wrapping_mul(383) as usize % SLOTS;
        while slots[slot] != 0 {
            slot = (slot + 1) % SLOTS;
        }
        slots[slot] = within as u16 + 1;
    }

    fn is_block(&self, block: usize, bytes: &[u8]) -> bool {
        let (first, head) = match block {
            0 => (0, HEADER),
            n => (FRAMES_FIRST + (n - 1) * FRAMES, 0),
        };
        let room = (SLOTS_AT - head) / 4;
        let pages = &self.pages[first..self.pages.len().min(first + room)];
        // What a transaction has left that was never committed stands behind the end.
        let is_slot = |(expected, found): (&u16, &[u8])| {
            let found = u16::from_ne_bytes([found[0], found[1]]);
            *expected == found || *expected == 0 && usize::from(found) > pages.len()
        };
        bytes[head..].chunks_exact(4).zip(pages).all(|(found, page)| native(found, 0) == *page)
            && self.slots[block].iter().zip(bytes[SLOTS_AT..].chunks_exact(2)).all(is_slot)
    }
}

/// The block of a frame, and which of its frames it is.
fn place(frame: usize) -> (usize, usize) {
    match frame.checked_sub(FRAMES_FIRST) {
        None => (0, frame),
        Some(rest) => (1 + rest / FRAMES, rest % FRAMES),
    }
}

fn native(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// A log of more than one block, its index, and what is to be so of it.
    fn log_and_index(dir: &Path) -> (rusqlite::Connection, File, File) {
        let path = dir.join("i.db");
        let c = rusqlite::Connection::open(&path).unwrap();
        c.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = 10;
             PRAGMA synchronous = OFF; CREATE TABLE t(a INTEGER PRIMARY KEY, b)",
        )
        .unwrap();
        let open = |end: &str| {
            File::options().read(true).write(true).open(path.with_extension(end)).unwrap()
        };
        let (log, index) = (open("db-wal"), open("db-shm"));
        (c, log, index)
    }

    #[test]
    fn the_index_of_a_log_is_what_follows_from_its_frames_and_noise_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let (c, log, index) = log_and_index(dir.path());
        let mut expected = Expected::default();
        let mut look = || {
            let end = end(&index).unwrap().expect("it is whole");
            (end, expected.is_of(&index, &log, &end).unwrap())
        };
        for n in 0..12 {
            c.execute("INSERT INTO t VALUES (NULL, zeroblob(2000000 + ?1))", [n]).unwrap();
            assert!(look().1, "after {n}");
            // Frames that were written and taken back.
            c.execute_batch("BEGIN; UPDATE t SET b = zeroblob(400000); ROLLBACK").unwrap();
            assert!(look().1, "after {n} and what was taken back");
        }
        let (end, _) = look();
        assert!(end.frames as usize > FRAMES_FIRST, "{end:?}");
        assert_eq!(end.page_size(), 4096);
        for at in [HEADER + 40, SLOTS_AT - 40, BLOCK + 40, BLOCK + SLOTS_AT + 2 * 383] {
            let mut kept = [0; 4];
            index.read_exact_at(&mut kept, at as u64).unwrap();
            let noise: Vec<u8> = kept.iter().map(|byte| byte ^ 5).collect();
            index.write_all_at(&noise, at as u64).unwrap();
            assert!(!look().1, "noise at {at}");
            index.write_all_at(&kept, at as u64).unwrap();
            assert!(look().1, "right again at {at}");
        }
        // The log is begun anew.
        c.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        c.execute_batch("UPDATE t SET b = 1 WHERE a = 1").unwrap();
        assert!(look().1);
    }

    #[test]
    fn an_index_that_is_made_invalid_is_built_anew_from_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let (c, log, index) = log_and_index(dir.path());
        c.execute_batch("INSERT INTO t VALUES (1, 'first'); INSERT INTO t VALUES (2, 'second')")
            .unwrap();
        let before = end(&index).unwrap().unwrap();
        // The second commit is harmed.
        log.write_all_at(&[0x5A; 100], before.at(before.frames) - 200).unwrap();
        invalidate(&index).unwrap();
        assert_eq!(end(&index).unwrap(), None);
        let rows: i64 = c.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 1);
        let after = end(&index).unwrap().unwrap();
        assert!(after.frames < before.frames);
        assert!(Expected::default().is_of(&index, &log, &after).unwrap());
    }
}
