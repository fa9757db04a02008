//! The bytes of a write-ahead log, and whose it is: SQLite plays back whatever lies beside a file,
//! so we look first. Pure.
//!
//! Page 1 of a file counts its own changes (offset 24). The writer begins every log with a change
//! of page 1, so the first page 1 in a log counts one more than the file that the log was begun
//! for. What a checkpoint has moved since is one of the page 1s in the log, byte for byte. A file
//! that is neither (an older or a newer one, a copy made by VACUUM INTO or .backup, whose count
//! begins at 1) is another file, and its pages would be mixed with those of the log.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

mod index; // its index, by which every process finds its pages

pub use index::{End, Expected, end, invalidate, moved};

/// The first bytes of a file's page 1.
pub type Header = [u8; 100];

/// The log's own header, and that of each page in it.
const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// So many pages are read at once.
const AT_ONCE: usize = 16;

/// A check sum of SQLite's.
type Sum = (u32, u32);

/// What every file of SQLite's begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Whose log it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Nothing in it was committed, so nothing of it is played back.
    Nobodys,
    /// The file's own.
    TheFiles,
    /// The log begins one change after the file, as its own does; who knows the file's bytes can be
    /// surer.
    BegunForIt,
    /// It has no page 1: its bytes do not say.
    Unsaid,
    /// Another file's.
    Anothers,
}

/// The first 100 bytes of a file; shorter files are filled up with zeros.
pub fn header(file: &File) -> io::Result<Header> {
    let mut header = [0; 100];
    read_up_to(file, &mut header, 0)?;
    Ok(header)
}

/// True for the header of a file of SQLite's.
pub fn is_sqlite(header: &Header) -> bool {
    header.starts_with(MAGIC)
}

/// How often page 1 has changed.
pub fn changes(header: &Header) -> u32 {
    number(header, 24)
}

/// Whose log this is, if `header` is the file's. Reads the log to its end.
pub fn whose(header: &Header, log: &File) -> io::Result<Whose> {
    let Some(mut frames) = Frames::of(log)? else { return Ok(Whose::Nobodys) };
    let mut committed = false;
    let mut first: Option<Header> = None;
    let mut matches = false;
    // Of the transaction that is being read: it counts when its last frame is there.
    let mut pending: Vec<Header> = Vec::new();
    while let Some(frame) = frames.next()? {
        if frame.page == 1 {
            pending.push(frame.start);
        }
        if frame.is_commit {
            committed = true;
            for page in pending.drain(..) {
                first.get_or_insert(page);
                matches |= page == *header;
            }
        }
    }
    // A file is in WAL mode, which bytes 18 and 19 say, before its first log is begun.
    let of_its_kind =
        is_sqlite(header) && header[18..20] == [2, 2] && page_size(header) == frames.page_size;
    Ok(match (committed, first) {
        (false, _) => Whose::Nobodys,
        _ if !of_its_kind => Whose::Anothers,
        (_, None) => Whose::Unsaid,
        _ if matches => Whose::TheFiles,
        // A writer that has page 1 in memory while another empties the log counts from what it
        // remembers.
        (_, Some(first)) if [1, 0].contains(&changes(&first).wrapping_sub(changes(header))) => {
            Whose::BegunForIt
        }
        _ => Whose::Anothers,
    })
}

/// The mark that each log has from its beginning on, as long as it is not begun anew; `None` when
/// there is none.
pub fn salt(log: &File) -> io::Result<Option<[u8; 8]>> {
    let mut salt = [0; 8];
    match log.read_exact_at(&mut salt, 16) {
        Ok(()) => Ok(Some(salt)),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(e) => Err(e),
    }
}

/// What the log has last of each page.
pub struct Pages {
    last: HashMap<u32, Last>,
    page_size: usize,
    sums: PageSums,
}

/// The last frame that has a page, and the check sum of that page alone.
struct Last {
    frame: u32,
    sum: Sum,
}

/// The pages of the log up to that end; `None` when a frame has another check sum than it was
/// written with, so that what would be moved into the file is not what was committed. Reads the log
/// to that end.
pub fn pages(log: &File, end: &End) -> io::Result<Option<Pages>> {
    let mut last = HashMap::with_capacity(end.frames.min(1_000) as usize);
    let page_size = end.page_size();
    let sums = PageSums::of(page_size, end.is_big_endian());
    if end.frames > 0 {
        let Some(mut frames) = Frames::of(log)? else { return Ok(None) };
        for frame in 0..end.frames {
            let Some(Frame { page, sum, .. }) = frames.next()? else { return Ok(None) };
            last.insert(page, Last { frame, sum });
        }
        if !end.has_sum(frames.sum, frames.salt) {
            return Ok(None);
        }
    }
    Ok(Some(Pages { last, page_size, sums }))
}

impl Pages {
    /// True when the file has them, as far as they are in the first `moved` frames. `size` is how
    /// many pages the file is to have.
    pub fn are_in(&self, file: &File, moved: u32, size: u32) -> io::Result<bool> {
        // What will be written again later is not moved.
        let is_moved = |(page, last): &(&u32, &Last)| last.frame < moved && **page <= size;
        let mut moved: Vec<_> = self.last.iter().filter(is_moved).collect();
        moved.sort_unstable_by_key(|(page, _)| **page);
        let mut buffer = vec![0; AT_ONCE * self.page_size];
        let mut rest = &moved[..];
        while let Some((first, _)) = rest.first() {
            let follows = |(n, (page, _)): &(u32, &(&u32, &Last))| **page == **first + n;
            let run = (0..).zip(rest).take(AT_ONCE).take_while(follows).count();
            let (run, later) = rest.split_at(run);
            let bytes = &mut buffer[..run.len() * self.page_size];
            let at = u64::from(**first - 1) * self.page_size as u64;
            if read_up_to(file, bytes, at)? < bytes.len() {
                return Ok(false);
            }
            let is_same =
                |(bytes, (_, last)): (&[u8], &(&u32, &Last))| self.sums.alone(bytes) == last.sum;
            if !bytes.chunks_exact(self.page_size).zip(run).all(is_same) {
                return Ok(false);
            }
            rest = later;
        }
        Ok(true)
    }
}

/// So many bytes a page takes in the log of a file with this header.
pub fn frame_size(header: &Header) -> u64 {
    (page_size(header) + FRAME_HEADER) as u64
}

/// So many bytes a page has in a file with this header.
pub fn page_size(header: &Header) -> usize {
    match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        n => usize::from(n),
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Reads until the buffer is full or the file ends, and says how much that was.
fn read_up_to(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], at + read as u64)? {
            0 => break,
            n => read += n,
        }
    }
    Ok(read)
}

/// The frames that SQLite would accept, from the first on.
struct Frames<'a> {
    log: &'a File,
    page_size: usize,
    sums: PageSums,
    sum: Sum,
    salt: [u8; 8],
    /// Where what is in the buffer ends in the log.
    at: u64,
    buffer: Vec<u8>,
    /// What is left of the buffer.
    left: Range<usize>,
}

struct Frame {
    page: u32,
    start: Header,
    is_commit: bool,
    /// The check sum of the page alone.
    sum: Sum,
}

impl Frames<'_> {
    /// `None` when the log's header is not there or not whole: SQLite takes such a log for empty.
    fn of(log: &File) -> io::Result<Option<Frames<'_>>> {
        let mut head = [0; LOG_HEADER];
        if read_up_to(log, &mut head, 0)? < LOG_HEADER {
            return Ok(None);
        }
        let page_size = number(&head, 8) as usize;
        let known = number(&head, 0) & !1 == 0x377f_0682 && number(&head, 4) == 3_007_000;
        if !known || !page_size.is_power_of_two() || !(512..=65_536).contains(&page_size) {
            return Ok(None);
        }
        let big_endian = number(&head, 0) & 1 == 1;
        let sum = add((0, 0), &head[..24], big_endian);
        let frames = Frames {
            log,
            page_size,
            sums: PageSums::of(page_size, big_endian),
            sum,
            salt: head[16..24].try_into().expect("eight bytes"),
            at: LOG_HEADER as u64,
            buffer: vec![0; AT_ONCE * (FRAME_HEADER + page_size)],
            left: 0..0,
        };
        Ok((sum == (number(&head, 24), number(&head, 28))).then_some(frames))
    }

    fn next(&mut self) -> io::Result<Option<Frame>> {
        let size = FRAME_HEADER + self.page_size;
        if self.left.is_empty() {
            let read = read_up_to(self.log, &mut self.buffer, self.at)?;
            self.left = 0..read - read % size;
            self.at += self.left.len() as u64;
            if self.left.is_empty() {
                return Ok(None);
            }
        }
        let (head, page) = self.buffer[self.left.start..][..size].split_at(FRAME_HEADER);
        self.left.start += size;
        let alone = self.sums.alone(page);
        let before = add(self.sum, &head[..8], self.sums.big_endian);
        let sum = self.sums.over_page.add(before, alone);
        if head[8..16] != self.salt
            || number(head, 0) == 0
            || sum != (number(head, 16), number(head, 20))
        {
            return Ok(None);
        }
        self.sum = sum;
        let start = page[..100].try_into().expect("a page is longer");
        let is_commit = number(head, 4) != 0;
        Ok(Some(Frame { page: number(head, 0), start, is_commit, sum: alone }))
    }
}

/// SQLite's running check sum over words of four bytes.
fn add(sum: Sum, bytes: &[u8], big_endian: bool) -> Sum {
    bytes.chunks_exact(8).fold(sum, |sum, pair| add_pair(sum, pair, big_endian))
}

fn add_pair((a, b): Sum, pair: &[u8], big_endian: bool) -> Sum {
    let word = |at: usize| {
        let bytes = [pair[at], pair[at + 1], pair[at + 2], pair[at + 3]];
        if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    };
    let a = a.wrapping_add(word(0)).wrapping_add(b);
    (a, b.wrapping_add(word(4)).wrapping_add(a))
}

/// The sums of pages of one size. Each step of a sum waits for the one before, so the quarters of a
/// page are summed side by side and put together.
struct PageSums {
    big_endian: bool,
    over_page: Carry,
    over_quarter: Carry,
}

impl PageSums {
    fn of(page_size: usize, big_endian: bool) -> PageSums {
        let (over_page, over_quarter) = (Carry::over(page_size), Carry::over(page_size / 4));
        PageSums { big_endian, over_page, over_quarter }
    }

    /// The sum of a page alone.
    fn alone(&self, page: &[u8]) -> Sum {
        let quarter = page.len() / 4;
        let pairs = |nth: usize| page[nth * quarter..][..quarter].chunks_exact(8);
        let side_by_side = pairs(0).zip(pairs(1)).zip(pairs(2)).zip(pairs(3));
        let mut sums = [(0, 0); 4];
        for (((first, second), third), fourth) in side_by_side {
            for (sum, pair) in sums.iter_mut().zip([first, second, third, fourth]) {
                *sum = add_pair(*sum, pair, self.big_endian);
            }
        }
        sums.into_iter().fold((0, 0), |before, quarter| self.over_quarter.add(before, quarter))
    }
}

/// What becomes of a check sum over the bytes that follow it. Each eight bytes x, y make of (a, b)
/// (a + b + x, a + 2b + x + y), so what was there before adds to the sum of what follows, and the
/// page of a frame need not be summed twice to have its own.
struct Carry([[u32; 2]; 2]);

impl Carry {
    /// Over so many bytes, a power of two and at least 8.
    fn over(bytes: usize) -> Carry {
        let doubled = |Carry([[a, b], [c, d]]): Carry, _| {
            let product =
                |x: u32, y: u32, z: u32, w: u32| x.wrapping_mul(y).wrapping_add(z.wrapping_mul(w));
            Carry([
                [product(a, a, b, c), product(a, b, b, d)],
                [product(c, a, d, c), product(c, b, d, d)],
            ])
        };
        (0..(bytes / 8).ilog2()).fold(Carry([[1, 1], [1, 2]]), doubled)
    }

    /// The sum over all, from that of what comes first and that of those bytes alone.
    fn add(&self, (a, b): Sum, alone: Sum) -> Sum {
        let Carry([first, second]) = self;
        let row = |[x, y]: &[u32; 2]| a.wrapping_mul(*x).wrapping_add(b.wrapping_mul(*y));
        (alone.0.wrapping_add(row(first)), alone.1.wrapping_add(row(second)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_over_all_follows_from_the_sums_of_its_parts() {
        let bytes: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(66_000).collect();
        for (page_size, big_endian) in [(512, false), (4096, false), (4096, true), (65_536, true)] {
            let (head, page) = bytes[..24 + page_size].split_at(24);
            let sums = PageSums::of(page_size, big_endian);
            assert_eq!(sums.alone(page), add((0, 0), page, big_endian), "{page_size}");
            let all = add((7, 9), &bytes[..24 + page_size], big_endian);
            let before = add((7, 9), head, big_endian);
            assert_eq!(sums.over_page.add(before, sums.alone(page)), all, "{page_size}");
        }
    }

    #[test]
    fn every_page_of_a_log_is_looked_for_in_the_file_and_every_frame_verified() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.db");
        let c = rusqlite::Connection::open(&path).unwrap();
        c.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;
             CREATE TABLE t(a INTEGER PRIMARY KEY, b);
             INSERT INTO t VALUES (1, zeroblob(100000)), (2, zeroblob(100000));
             UPDATE t SET b = zeroblob(90000) WHERE a = 2",
        )
        .unwrap();
        let open = |end: &str| {
            File::options().read(true).write(true).open(path.with_extension(end)).unwrap()
        };
        let (file, log, index) = (open("db"), open("db-wal"), open("db-shm"));
        let end = end(&index).unwrap().unwrap();
        let logged = pages(&log, &end).unwrap().expect("it is whole");
        let is_in = || logged.are_in(&file, end.frames, end.size).unwrap();
        assert!(!is_in(), "nothing was moved");
        c.query_row("PRAGMA wal_checkpoint(FULL)", [], |_| Ok(())).unwrap();
        assert!(is_in());
        for page in 1..=end.size {
            let at = u64::from(page - 1) * 4096 + fastrand::u64(..4096);
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 1], at).unwrap();
            assert!(!is_in(), "page {page}, byte {at}");
            file.write_all_at(&byte, at).unwrap();
        }
        assert!(is_in());
        for frame in 0..end.frames {
            let at = end.at(frame) + FRAME_HEADER as u64 + fastrand::u64(..4096);
            let mut byte = [0];
            log.read_exact_at(&mut byte, at).unwrap();
            log.write_all_at(&[byte[0] ^ 1], at).unwrap();
            assert!(pages(&log, &end).unwrap().is_none(), "frame {frame}, byte {at}");
            log.write_all_at(&byte, at).unwrap();
        }
        assert!(pages(&log, &end).unwrap().is_some());
        log.set_len(end.at(end.frames) - 1).unwrap();
        assert!(pages(&log, &end).unwrap().is_none(), "cut off");
    }
}
