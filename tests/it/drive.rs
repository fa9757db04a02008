//! A drive with a volatile cache, which a virtual machine uses over NBD: it keeps in order what the
//! machine wrote and when it flushed, so that power can be cut anywhere in that.
//!
//! The protocol: <https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>, the fixed
//! newstyle handshake and simple replies.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use fastrand::Rng;

/// What a drive writes whole or not at all.
const SECTOR: usize = 512;

/// The machine's requests to the drive, in order.
#[derive(Clone)]
enum Command {
    /// `forced`: past the cache (FUA).
    Write {
        at: usize,
        data: Vec<u8>,
        forced: bool,
    },
    Flush,
}

/// What a machine did to its drive.
#[derive(Clone)]
pub struct Recording {
    before: Vec<u8>,
    commands: Vec<Command>,
}

/// What the drive does with a flush.
#[derive(Clone, Copy, PartialEq)]
pub enum Flush {
    Obeyed,
    /// The control: it says that it has flushed, and has not.
    Ignored,
}

/// How much of its cache a drive has written by itself when power is cut.
#[derive(Debug)]
enum Luck {
    Nothing,
    Everything,
    /// What came first, and nothing after it.
    Beginning,
    /// Any write, with so many chances in ten.
    Writes(u32),
    /// Any sector, likewise.
    Sectors(u32),
}

impl Recording {
    /// How many commands it has.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// What is on the drive when power is cut after so many commands, and how it went.
    pub fn cut(&self, after: usize, flush: Flush, random: &mut Rng) -> (Vec<u8>, String) {
        let commands = &self.commands[..after];
        let flushed = match flush {
            Flush::Obeyed => commands.iter().rposition(|c| matches!(c, Command::Flush)),
            Flush::Ignored => None,
        };
        let (certain, cached) = commands.split_at(flushed.unwrap_or(0));
        let mut image = self.before.clone();
        certain.iter().for_each(|command| command.apply(&mut image));
        let luck = match random.u32(..10) {
            0..=1 => Luck::Nothing,
            2 => Luck::Everything,
            3..=4 => Luck::Beginning,
            5..=6 => Luck::Writes(random.u32(1..10)),
            _ => Luck::Sectors(random.u32(1..10)),
        };
        let first = random.usize(..=cached.len());
        for (n, command) in cached.iter().enumerate() {
            let Command::Write { at, data, forced } = command else { continue };
            let whole = *forced && flush == Flush::Obeyed
                || match luck {
                    Luck::Nothing | Luck::Sectors(_) => false,
                    Luck::Everything => true,
                    Luck::Beginning => n < first,
                    Luck::Writes(chances) => random.u32(..10) < chances,
                };
            if whole {
                command.apply(&mut image);
            } else if let Luck::Sectors(chances) = luck {
                for (n, sector) in data.chunks(SECTOR).enumerate() {
                    if random.u32(..10) < chances {
                        let at = at + n * SECTOR;
                        image[at..at + sector.len()].copy_from_slice(sector);
                    }
                }
            }
        }
        (image, format!("{luck:?} of {} commands in the cache", cached.len()))
    }
}

impl Command {
    fn apply(&self, image: &mut [u8]) {
        if let Command::Write { at, data, .. } = self {
            image[*at..*at + data.len()].copy_from_slice(data);
        }
    }
}

/// A drive that a machine can use.
pub struct Drive {
    socket: PathBuf,
    state: Arc<Mutex<State>>,
}

struct State {
    /// As the machine reads it.
    image: Vec<u8>,
    recording: Recording,
}

impl Drive {
    /// A drive with these bytes on it, all of them certain. Its socket is made in `dir`.
    pub fn new(image: Vec<u8>, dir: &Path) -> Drive {
        let recording = Recording { before: image.clone(), commands: Vec::new() };
        let state = Arc::new(Mutex::new(State { image, recording }));
        let socket = dir.join("drive.sock");
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).expect("a socket can be made");
        let served = Arc::clone(&state);
        // It ends with the one machine that it serves.
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("the machine connects");
            // A machine that loses its power says no goodbye.
            let _ = serve(stream, &served);
        });
        Drive { socket, state }
    }

    /// Where qemu finds it.
    pub fn url(&self) -> String {
        format!("nbd+unix:///?socket={}", self.socket.display())
    }

    /// How many commands the machine has sent.
    pub fn commands(&self) -> usize {
        self.state().recording.len()
    }

    /// What the machine did to it so far.
    pub fn recording(&self) -> Recording {
        self.state().recording.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }
}

fn u16_of(stream: &mut UnixStream) -> std::io::Result<u16> {
    let mut bytes = [0; 2];
    stream.read_exact(&mut bytes)?;
    Ok(u16::from_be_bytes(bytes))
}

fn u32_of(stream: &mut UnixStream) -> std::io::Result<u32> {
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

fn u64_of(stream: &mut UnixStream) -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes)?;
    Ok(u64::from_be_bytes(bytes))
}

fn bytes_of(stream: &mut UnixStream, length: u32) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; length as usize];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// It has flags, and knows how to flush and to force a write.
const ABILITIES: u16 = 1 | 4 | 8;

fn serve(mut stream: UnixStream, state: &Mutex<State>) -> std::io::Result<()> {
    let size = state.lock().expect("no panic").image.len() as u64;
    let described = [&size.to_be_bytes()[..], &ABILITIES.to_be_bytes()].concat();
    // NBD_FLAG_FIXED_NEWSTYLE and NBD_FLAG_NO_ZEROES.
    stream.write_all(&[b"NBDMAGIC", &b"IHAVEOPT"[..], &3u16.to_be_bytes()].concat())?;
    u32_of(&mut stream)?;
    loop {
        u64_of(&mut stream)?;
        let option = u32_of(&mut stream)?;
        let length = u32_of(&mut stream)?;
        bytes_of(&mut stream, length)?;
        let mut reply = |kind: u32, data: &[u8]| {
            let mut head = 0x0003_e889_0455_65a9u64.to_be_bytes().to_vec();
            for number in [option, kind, data.len() as u32] {
                head.extend(number.to_be_bytes());
            }
            head.extend(data);
            stream.write_all(&head)
        };
        match option {
            // NBD_OPT_EXPORT_NAME
            1 => {
                stream.write_all(&described)?;
                break;
            }
            // NBD_OPT_GO: NBD_REP_INFO with NBD_INFO_EXPORT, then NBD_REP_ACK.
            7 => {
                reply(3, &[&0u16.to_be_bytes()[..], &described].concat())?;
                reply(1, &[])?;
                break;
            }
            // NBD_REP_ERR_UNSUP
            _ => reply(1 << 31 | 1, &[])?,
        }
    }
    loop {
        u32_of(&mut stream)?;
        let flags = u16_of(&mut stream)?;
        let kind = u16_of(&mut stream)?;
        let cookie = u64_of(&mut stream)?;
        let at = u64_of(&mut stream)? as usize;
        let length = u32_of(&mut stream)?;
        let mut answer: Vec<u8> = Vec::new();
        let mut error = 0u32;
        match kind {
            0 => {
                let state = state.lock().expect("no panic");
                answer.extend(&state.image[at..at + length as usize]);
            }
            1 => {
                let data = bytes_of(&mut stream, length)?;
                let mut state = state.lock().expect("no panic");
                let write = Command::Write { at, data, forced: flags & 1 == 1 };
                write.apply(&mut state.image);
                state.recording.commands.push(write);
            }
            2 => return Ok(()),
            3 => state.lock().expect("no panic").recording.commands.push(Command::Flush),
            // EINVAL
            _ => error = 22,
        }
        let mut reply = 0x6744_6698u32.to_be_bytes().to_vec();
        reply.extend(error.to_be_bytes());
        reply.extend(cookie.to_be_bytes());
        reply.extend(answer);
        stream.write_all(&reply)?;
    }
}
