//! The group commit under every order of its threads: whoever gets the answer that a row is stored
//! finds it on the disk at that moment, whoever gets the other answer does not, and everybody gets
//! one answer.

use std::collections::HashMap;
use std::sync::Mutex;

use rusqlite::{Connection, Disk, Error as Fault};
use shuttle::rand::Rng;

use crate::checkpoint::Checkpointer;
use crate::db;
use crate::error::{Error, Result};
use crate::sync::{Arc, thread};
use crate::writer::{Note, Task, Writer};

/// Who hands rows over, and how many each does.
const SENDERS: u64 = 3;
const ROWS: u64 = 2;

/// The answer that each row's sender got. A std lock: shuttle changes no turn at it.
type Told = Arc<Mutex<HashMap<u64, bool>>>;

/// A row that is handed over, as a webhook is.
struct Row {
    number: u64,
    disk: Disk,
    told: Told,
}

impl Task for Row {
    fn run(&mut self, connection: &Connection, note: &mut Option<Note>) -> Result<()> {
        note.get_or_insert(Note { seq: 1, anyone_forgotten: false });
        connection.insert(self.number).map_err(db::translate)
    }

    fn answer(self: Box<Self>, outcome: Result<()>) {
        compare(&self.disk, &self.told, self.number, outcome.is_ok());
    }
}

fn compare(disk: &Disk, told: &Told, number: u64, stored: bool) {
    let is_there = disk.lock().expect("no panic").contains(&number);
    assert_eq!(stored, is_there, "told that row {number} is stored, and whether it is");
    let before = told.lock().expect("no panic").insert(number, stored);
    assert_eq!(before, None, "row {number} is answered once");
}

/// Senders hand rows over and wait for others; the disk is locked, full and failing at times; the
/// writer is closed in the middle of it.
pub fn one_day() {
    let (disk, told) = (Disk::default(), Told::default());
    let fails = shuttle::rand::thread_rng().gen_range(0..4) == 0;
    let chance = move |sql: &str| {
        let one_in = |n: u32| shuttle::rand::thread_rng().gen_range(0..n) == 0;
        match sql {
            "BEGIN IMMEDIATE" => one_in(4).then_some(Fault::Busy),
            "INSERT" if one_in(6) => Some(if one_in(3) { Fault::Full } else { Fault::Constraint }),
            "COMMIT" if one_in(8) => Some(if fails { Fault::Io } else { Fault::Full }),
            _ => None,
        }
    };
    let connection = Connection::new(disk.clone(), Box::new(chance));
    let (writer, end) =
        Writer::start(connection, Checkpointer::default(), Box::new(|_: &Connection| Ok(())));
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let (writer, disk, told) = (writer.clone(), disk.clone(), told.clone());
            let name = format!("sender {sender}");
            thread::Builder::new().name(name).spawn(move || send(sender, &writer, &disk, &told))
        })
        .map(|started| started.expect("shuttle starts it"))
        .collect();
    if shuttle::rand::thread_rng().gen_range(0..2) == 0 {
        writer.close();
    }
    senders.into_iter().for_each(|sender| sender.join().expect("no panic"));
    writer.close();
    end.join().expect("no panic");
    let told = told.lock().expect("no panic");
    assert_eq!(told.len() as u64, SENDERS * ROWS, "everybody is told");
    let stored = told.iter().filter(|(_, stored)| **stored).count();
    assert_eq!(disk.lock().expect("no panic").len(), stored, "what is there was told");
}

fn send(sender: u64, writer: &Writer, disk: &Disk, told: &Told) {
    for n in 0..ROWS {
        let number = sender * ROWS + n;
        match (sender + n) % 2 {
            0 => {
                let row = Row { number, disk: disk.clone(), told: told.clone() };
                writer.hand_over(700_000, Box::new(row));
            }
            _ => {
                let stored = writer.write(move |c| c.insert(number).map_err(db::translate));
                assert!(!matches!(stored, Err(Error::Usage(_))), "no such error is known here");
                compare(disk, told, number, stored.is_ok());
            }
        }
    }
}
