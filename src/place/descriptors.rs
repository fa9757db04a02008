//! Descriptors of SQLite's files, of which each file has one that stays open.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::sync;

/// Descriptors of SQLite's files stay open until the process ends: closing one drops the locks that
/// SQLite holds on the file through others (fcntl(2)).
static KEPT: Mutex<Vec<(u64, u64, Arc<File>)>> = Mutex::new(Vec::new());

/// The file at the path, and what stat(2) says of it.
pub fn kept(path: &Path) -> std::io::Result<(Arc<File>, Metadata)> {
    let mut kept = sync::lock(&KEPT);
    let meta = std::fs::metadata(path)?;
    if let Some((.., file)) =
        kept.iter().find(|(device, inode, _)| (*device, *inode) == (meta.dev(), meta.ino()))
    {
        return Ok((file.clone(), meta));
    }
    let file = Arc::new(File::open(path)?);
    let meta = file.metadata()?;
    kept.push((meta.dev(), meta.ino(), file.clone()));
    Ok((file, meta))
}
