//! A disk for tests that loses what was not synced, fills up, and fails.
//!
//! A crash keeps, of every change since the last sync of its file, any subset of 512-byte sectors,
//! and of the creations and removals since the last sync of the directory any subset. A failed sync
//! is as nasty as real ones: what it did not write is forgotten, and the next sync succeeds.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use api::clock::Rng;
use parking_lot::Mutex;

use super::media::{Media, MediaFile};

const SECTOR: usize = 512;

/// The disk; clones share it.
#[derive(Clone)]
pub struct Simulated(Arc<Mutex<State>>, Rng);

#[derive(Default)]
struct State {
    files: Vec<Contents>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    faults: Faults,
}

/// What goes wrong.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    /// The machine stops at the operation after this many.
    pub crash_in: Option<u64>,
    /// One of so many syncs fails.
    pub sync_fails: Option<u64>,
    /// Bytes the disk holds.
    pub capacity: Option<usize>,
}

#[derive(Default, Clone)]
struct Contents {
    durable: Vec<u8>,
    current: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Truncate(len) => bytes.resize(*len, 0),
            Self::Write(offset, new) => {
                if bytes.len() < offset + new.len() {
                    bytes.resize(offset + new.len(), 0);
                }
                bytes[*offset..offset + new.len()].copy_from_slice(new);
            }
        }
    }
}

impl Contents {
    /// Makes some of the pending changes durable, sector by sector, and forgets the others.
    fn tear(&mut self, rng: &Rng) {
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::Truncate(_) if rng.below(2) == 0 => {}
                Change::Truncate(_) => change.apply(&mut self.durable),
                Change::Write(offset, bytes) => {
                    let all = rng.below(3);
                    for (i, sector) in bytes.chunks(SECTOR).enumerate() {
                        if all == 0 || (all == 1 && rng.below(2) == 0) {
                            let write = Change::Write(offset + i * SECTOR, sector.to_vec());
                            write.apply(&mut self.durable);
                        }
                    }
                }
            }
        }
    }
}

impl State {
    fn step(&mut self) -> io::Result<()> {
        match &mut self.faults.crash_in {
            Some(0) => Err(io::Error::other("the machine has stopped")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn used(&self) -> usize {
        self.names.values().map(|id| self.files[*id].current.len()).sum()
    }
}

impl Simulated {
    pub fn new(rng: Rng) -> Self {
        Self(Arc::default(), rng)
    }

    pub fn set_faults(&self, faults: Faults) {
        self.0.lock().faults = faults;
    }

    pub fn used(&self) -> usize {
        self.0.lock().used()
    }

    /// The machine stops and starts again, without further faults.
    pub fn restart(&self) {
        let mut state = self.0.lock();
        let state = &mut *state;
        state.faults = Faults::default();
        let names: Vec<String> =
            state.names.keys().chain(state.durable_names.keys()).cloned().collect();
        for name in names {
            let (new, old) = (state.names.get(&name), state.durable_names.get(&name));
            if new != old && self.1.below(2) == 0 {
                match new.copied() {
                    Some(id) => state.durable_names.insert(name, id),
                    None => state.durable_names.remove(&name),
                };
            }
        }
        state.names = state.durable_names.clone();
        for file in &mut state.files {
            file.tear(&self.1);
            file.current = file.durable.clone();
        }
    }
}

struct SimulatedFile {
    disk: Simulated,
    id: usize,
}

impl Media for Simulated {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn MediaFile>> {
        let mut state = self.0.lock();
        state.step()?;
        let id = state.files.len();
        state.files.push(Contents::default());
        state.names.insert(name.to_owned(), id);
        Ok(Box::new(SimulatedFile { disk: self.clone(), id }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn MediaFile>> {
        let id = self.0.lock().names.get(name).copied();
        let id = id.ok_or(ErrorKind::NotFound)?;
        Ok(Box::new(SimulatedFile { disk: self.clone(), id }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        state.names.remove(name).map(drop).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        state.step()?;
        state.durable_names = state.names.clone();
        Ok(())
    }
}

impl MediaFile for SimulatedFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().files[self.id].current.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.0.lock();
        let rest = state.files[self.id].current.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let alive = state.step();
        let room = state.faults.capacity.map_or(usize::MAX, |c| c.saturating_sub(state.used()));
        // What fits is written; of what a stopping machine had begun, some.
        let fits = match &alive {
            Ok(()) => bytes.len().min(room),
            Err(_) => self.disk.1.below(bytes.len() as u64 + 1) as usize,
        };
        let change = Change::Write(offset as usize, bytes[..fits].to_vec());
        let file = &mut state.files[self.id];
        change.apply(&mut file.current);
        file.pending.push(change);
        alive?;
        if fits < bytes.len() { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.step()?;
        let change = Change::Truncate(len as usize);
        let file = &mut state.files[self.id];
        change.apply(&mut file.current);
        file.pending.push(change);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.step()?;
        if state.faults.sync_fails.is_some_and(|n| self.disk.1.below(n) == 0) {
            state.files[self.id].tear(&self.disk.1);
            return Err(io::Error::other("input/output error"));
        }
        let file = &mut state.files[self.id];
        for change in std::mem::take(&mut file.pending) {
            change.apply(&mut file.durable);
        }
        Ok(())
    }
}
