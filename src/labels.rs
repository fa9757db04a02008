//! Label services and paper: what waits for a parcel goes out in the form that a service imports or
//! on slips, and tracking numbers come back.
//!
//! A form is data (`formats/*.toml`), not code. Whatever cannot be written as a service needs
//! it is reported, never replaced: the carrier must not be the one to find it out.

mod charset; // the code page of a file
mod format; // the form of one service's file
mod parcels; // what waits for a parcel, as fields
mod slips; // paper for whoever packs
mod street; // house numbers
mod tracking; // the tracking numbers that come back
mod writer; // the file, and what could not be written

pub use crate::config::sender::Sender;
pub use format::{Format, NAMES as FORMATS};
pub use parcels::{Choice, waiting};
pub use slips::document as slips;
pub use tracking::{Row, is_no_number, read as read_tracking};
pub use writer::{Note, Written, write};
