//! The bytes of a write-ahead log, and whose it is: SQLite plays back whatever lies beside a file,
//! so we look first. Pure.
//!
//! Page 1 of a file counts its own changes (offset 24). The writer begins every log with a change
//! of page 1, so the first page 1 in a log counts one more than the file that the log was begun
//! for. What a checkpoint has moved since is one of the page 1s in the log, byte for byte. A file
//! that is neither (an older or a newer one, a copy made by VACUUM INTO or .backup, whose count
//! begins at 1) is another file, and its pages would be mixed with those of the log.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

mod index; // its index, by which every process finds its pages

pub use index::{End, Expected, end, invalidate, moved};

/// The first bytes of a file's page 1.
pub type Header = [u8; 100];

/// The log's own header, and that of each page in it.
const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

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
    let mut read = 0;
    while read < header.len() {
        match file.read_at(&mut header[read..], read as u64)? {
            0 => break,
            n => read += n,
        }
    }
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

/// Whose log this is, if `header` is the file's. Reads the log to its end, a page at a time.
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

/// True when every frame up to that end has the check sum that it was written with, so that what is
/// moved into the file is what was committed. Reads the log to that end.
pub fn is_whole(log: &File, end: &End) -> io::Result<bool> {
    if end.frames == 0 {
        return Ok(true);
    }
    let Some(mut frames) = Frames::of(log)? else { return Ok(false) };
    for _ in 0..end.frames {
        if frames.next()?.is_none() {
            return Ok(false);
        }
    }
    Ok(end.has_sum(frames.sum, frames.salt))
}

/// True when the file has what the log has last of each page, as far as that is in the first
/// `moved` frames. `pages` are those of the frames.
pub fn is_in_file(
    log: &File,
    end: &End,
    pages: &[u32],
    moved: u32,
    file: &File,
) -> io::Result<bool> {
    let mut seen = HashSet::new();
    let (mut ours, mut theirs) = (vec![0; end.page_size()], vec![0; end.page_size()]);
    for (frame, page) in (0..end.frames).zip(pages).rev() {
        // What will be written again later is not moved.
        if !seen.insert(*page) || frame >= moved || *page > end.size {
            continue;
        }
        log.read_exact_at(&mut ours, end.at(frame) + FRAME_HEADER as u64)?;
        match file.read_exact_at(&mut theirs, u64::from(page - 1) * end.page_size() as u64) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        if ours != theirs {
            return Ok(false);
        }
    }
    Ok(true)
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

/// The frames that SQLite would accept, from the first on.
struct Frames<'a> {
    log: &'a File,
    page_size: usize,
    big_endian: bool,
    sum: (u32, u32),
    salt: [u8; 8],
    at: u64,
    buffer: Vec<u8>,
}

struct Frame {
    page: u32,
    start: Header,
    is_commit: bool,
}

impl Frames<'_> {
    /// `None` when the log's header is not there or not whole: SQLite takes such a log for empty.
    fn of(log: &File) -> io::Result<Option<Frames<'_>>> {
        let mut head = [0; LOG_HEADER];
        match log.read_exact_at(&mut head, 0) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let page_size = number(&head, 8) as usize;
        let known = number(&head, 0) & !1 == 0x377f_0682 && number(&head, 4) == 3_007_000;
        if !known || !page_size.is_power_of_two() || !(512..=65_536).contains(&page_size) {
            return Ok(None);
        }
        let big_endian = number(&head, 0) & 1 == 1;
        let sum = add((0, 0), &head[..24], big_endian);
        let salt = head[16..24].try_into().expect("eight bytes");
        let buffer = vec![0; FRAME_HEADER + page_size];
        let frames =
            Frames { log, page_size, big_endian, sum, salt, at: LOG_HEADER as u64, buffer };
        Ok((sum == (number(&head, 24), number(&head, 28))).then_some(frames))
    }

    fn next(&mut self) -> io::Result<Option<Frame>> {
        match self.log.read_exact_at(&mut self.buffer, self.at) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let (head, page) = self.buffer.split_at(FRAME_HEADER);
        let sum = add(add(self.sum, &head[..8], self.big_endian), page, self.big_endian);
        if head[8..16] != self.salt
            || number(head, 0) == 0
            || sum != (number(head, 16), number(head, 20))
        {
            return Ok(None);
        }
        self.sum = sum;
        self.at += self.buffer.len() as u64;
        let start = page[..100].try_into().expect("a page is longer");
        Ok(Some(Frame { page: number(head, 0), start, is_commit: number(head, 4) != 0 }))
    }
}

/// SQLite's running check sum over words of four bytes.
fn add((mut a, mut b): (u32, u32), bytes: &[u8], big_endian: bool) -> (u32, u32) {
    let word = |bytes: &[u8]| {
        let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
        if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    };
    for pair in bytes.chunks_exact(8) {
        a = a.wrapping_add(word(&pair[..4])).wrapping_add(b);
        b = b.wrapping_add(word(&pair[4..])).wrapping_add(a);
    }
    (a, b)
}
