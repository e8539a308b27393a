//! The segment that waits for its turn, so that going on to the next one does not wait for the disk to make it.
//!
//! One that was purged is used again; its old records do no harm, since their numbers are too low to be expected. If
//! there is none, one is filled with zeros, in a thread of its own where threads are allowed. At most one is kept.

use std::io;
use std::thread::JoinHandle;

use super::reserve::Reserve;
use crate::disk::UNFINISHED;
use crate::{Disk, DiskFile, StorageError};

/// The name of the segment that waits. Under it a file has its full length, and nothing of it counts.
pub(super) const SPARE: &str = "log.spare";

/// So much is written before it is synced: little enough that an fdatasync of the log, which may wait behind it, does
/// not wait long.
const SYNC_EVERY_BYTES: u64 = 4 << 20;

pub(super) struct Spare<D: Disk> {
    disk: D,
    bytes: u64,
    reserve: Reserve<D>,
    state: State,
    background: bool,
}

enum State {
    Missing,
    Waiting,
    Making(JoinHandle<Result<(), StorageError>>),
}

impl<D: Disk> Spare<D> {
    /// Finds what an earlier process left. `bytes` is the length of a segment; where there is no room for one, it comes
    /// from `reserve`.
    pub fn find(disk: D, bytes: u64, reserve: Reserve<D>) -> Result<Spare<D>, StorageError> {
        remove_if_there(&disk, &unfinished())?;
        let state = match disk.open(SPARE) {
            Ok(file) if len(&file)? == bytes => State::Waiting,
            // Cut short by a crash, or made for another length.
            Ok(_) => {
                remove_if_there(&disk, SPARE)?;
                State::Missing
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => State::Missing,
            Err(error) => return Err(StorageError::io("open", SPARE, error)),
        };
        Ok(Spare { disk, bytes, reserve, state, background: false })
    }

    /// Allows [`Spare::prepare`] to use a thread.
    pub fn use_background(&mut self) {
        self.background = true;
    }

    /// Begins to make one, if none is there and threads are allowed.
    pub fn prepare(&mut self) {
        if self.background && matches!(self.state, State::Missing) {
            let (disk, bytes) = (self.disk.clone(), self.bytes);
            let make = move || make(&disk, bytes);
            // Without a thread it is made when it is needed.
            if let Ok(making) = std::thread::Builder::new().name("log-spare".to_owned()).spawn(make) {
                self.state = State::Making(making);
            }
        }
    }

    /// Makes one that [`Spare::take`] will find, if there is none. When that fails nothing was changed.
    pub fn ensure(&mut self) -> Result<(), StorageError> {
        let made = match std::mem::replace(&mut self.state, State::Missing) {
            State::Waiting => Ok(()),
            State::Making(making) => {
                making.join().unwrap_or_else(|_| Err(died())).and_then(|()| self.name_made())
            }
            State::Missing => make(&self.disk, self.bytes).and_then(|()| self.name_made()),
        };
        match made {
            Err(error) if error.is_full() && self.reserve.take(SPARE)? => {}
            made => made?,
        }
        self.state = State::Waiting;
        Ok(())
    }

    /// A file of `bytes` under the name [`SPARE`], which the caller gives another.
    pub fn take(&mut self, bytes: u64) -> Result<D::File, StorageError> {
        if bytes == self.bytes {
            self.ensure()?;
        } else {
            // An entry that fits in no segment gets one of its own length.
            if let State::Making(making) = std::mem::replace(&mut self.state, State::Missing) {
                making.join().unwrap_or_else(|_| Err(died()))?;
            }
            remove_if_there(&self.disk, &unfinished())?;
            make(&self.disk, bytes)?;
            self.name_made()?;
        }
        self.state = State::Missing;
        self.disk.open(SPARE).map_err(|e| StorageError::io("open", SPARE, e))
    }

    /// Keeps the segment `name`, of which nobody else has a handle, or removes it. The caller syncs the directory.
    pub fn recycle(&mut self, name: &str, bytes: u64) -> Result<(), StorageError> {
        if bytes == self.bytes && matches!(self.state, State::Missing) {
            self.disk.rename(name, SPARE).map_err(|e| StorageError::io("recycle", name, e))?;
            self.state = State::Waiting;
            return Ok(());
        }
        self.disk.remove(name).map_err(|e| StorageError::io("remove", name, e))
    }

    fn name_made(&self) -> Result<(), StorageError> {
        self.disk.rename(&unfinished(), SPARE).map_err(|e| StorageError::io("name", SPARE, e))
    }
}

impl<D: Disk> Drop for Spare<D> {
    fn drop(&mut self) {
        // Whoever waits for the log to be closed must not find its thread still writing.
        if let State::Making(making) = std::mem::replace(&mut self.state, State::Missing) {
            let _ = making.join();
        }
    }
}

fn unfinished() -> String {
    format!("{SPARE}{UNFINISHED}")
}

/// Makes a file of zeros, named as unfinished. On failure it does not keep the space it took.
fn make(disk: &impl Disk, bytes: u64) -> Result<(), StorageError> {
    let name = unfinished();
    let file = disk.create(&name).map_err(|e| StorageError::io("create", &name, e))?;
    let fill = || -> io::Result<()> {
        let mut filled = 0;
        while filled < bytes {
            filled = bytes.min(filled + SYNC_EVERY_BYTES);
            file.fill_zeros(filled)?;
            file.sync_data()?;
        }
        Ok(())
    };
    fill().map_err(|source| {
        let _ = disk.remove(&name);
        StorageError::io("allocate", &name, source)
    })
}

fn len(file: &impl DiskFile) -> Result<u64, StorageError> {
    file.len().map_err(|e| StorageError::io("read the length of", SPARE, e))
}

fn remove_if_there(disk: &impl Disk, name: &str) -> Result<(), StorageError> {
    match disk.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StorageError::io("remove", name, error)),
        _ => Ok(()),
    }
}

fn died() -> StorageError {
    StorageError::io("allocate", SPARE, io::Error::other("the thread that did it panicked"))
}
