//! How little of what the node may have left before pods are ended: what `--eviction-hard` says.
//!
//! The signals and the way they are written are those of the kubelet's configuration reference. Not
//! here: looking at the node, choosing pods (`super`); soft thresholds and minimum reclaims, which
//! isopod does not have.

use std::fmt;
use std::str::FromStr;

use api::quantity::{Format, Quantity};

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    /// Memory that processes could still get.
    Memory,
    /// Bytes free on the disk of volumes and logs.
    NodeDisk,
    /// Inodes free there.
    NodeInodes,
    /// Bytes free on the disk of images and containers' writable layers.
    ImageDisk,
    /// Inodes free there.
    ImageInodes,
    /// Processes that could still be started.
    Pids,
}

/// A condition of the node that a shortage is told as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// `MemoryPressure`.
    Memory,
    /// `DiskPressure`.
    Disk,
    /// `PIDPressure`.
    Pids,
}

impl Condition {
    /// Every one, in the order in which shortages are dealt with.
    pub const ALL: [Self; 3] = [Self::Memory, Self::Disk, Self::Pids];

    /// The condition's type.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "MemoryPressure",
            Self::Disk => "DiskPressure",
            Self::Pids => "PIDPressure",
        }
    }
}

/// A signal's name, the resource that an evicted pod's message names, and the node's condition.
const SIGNALS: [(Signal, &str, &str, Condition); 6] = [
    (Signal::Memory, "memory.available", "memory", Condition::Memory),
    (Signal::NodeDisk, "nodefs.available", "ephemeral-storage", Condition::Disk),
    (Signal::NodeInodes, "nodefs.inodesFree", "inodes", Condition::Disk),
    (Signal::ImageDisk, "imagefs.available", "ephemeral-storage", Condition::Disk),
    (Signal::ImageInodes, "imagefs.inodesFree", "inodes", Condition::Disk),
    (Signal::Pids, "pid.available", "pids", Condition::Pids),
];

impl Signal {
    const fn row(self) -> &'static (Self, &'static str, &'static str, Condition) {
        &SIGNALS[self as usize]
    }

    /// As in `memory.available`.
    pub const fn name(self) -> &'static str {
        self.row().1
    }

    /// The resource that is short.
    pub const fn resource(self) -> &'static str {
        self.row().2
    }

    /// What the node says of it.
    pub const fn condition(self) -> Condition {
        self.row().3
    }

    /// An amount of it, as it is printed.
    pub fn print(self, amount: u64) -> String {
        let bytes = matches!(self, Self::Memory | Self::NodeDisk | Self::ImageDisk);
        let format = if bytes { Format::BinarySi } else { Format::DecimalSi };
        // Whole KiB, as upstream measures: anything finer would be printed in bytes.
        let amount = if bytes { amount / 1024 * 1024 } else { amount };
        Quantity::new(i64::try_from(amount).unwrap_or(i64::MAX), format).to_string()
    }
}

/// How little is too little.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Least {
    /// Bytes, inodes or processes.
    Amount(u64),
    /// A share of the capacity, in percent.
    Percent(f64),
}

impl Least {
    /// The amount it means where there is `capacity` in all.
    pub fn of(self, capacity: u64) -> u64 {
        match self {
            Self::Amount(amount) => amount,
            // Capacities are far below 2^52, and a share is at most all of it.
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss
            )]
            Self::Percent(percent) => (capacity as f64 * percent / 100.0) as u64,
        }
    }
}

/// The thresholds of a node, at most one of each signal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Thresholds(Vec<(Signal, Least)>);

impl Thresholds {
    /// What holds where nothing is said: `--eviction-hard`'s default.
    pub const DEFAULT: &str = "memory.available<100Mi,nodefs.available<5%,nodefs.inodesFree<5%,imagefs.available<5%,imagefs.inodesFree<5%";

    /// Each with its signal.
    pub fn iter(&self) -> impl Iterator<Item = (Signal, Least)> + '_ {
        self.0.iter().copied()
    }

    /// What of a capacity pods cannot have, as it stays free.
    pub fn reserved(&self, signal: Signal, capacity: u64) -> u64 {
        self.iter().find(|(s, _)| *s == signal).map_or(0, |(_, least)| least.of(capacity))
    }
}

/// Why a text is not a list of thresholds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ThresholdError {
    /// It does not look like one.
    #[error(
        "invalid eviction threshold syntax {0:?}, expected <signal><operator><value>, as in memory.available<100Mi"
    )]
    Syntax(String),
    /// No such signal.
    #[error("unsupported eviction signal {0:?}, expected one of {known}", known = SIGNALS.map(|s| s.1).join(", "))]
    Signal(String),
    /// Said twice.
    #[error("found duplicate eviction threshold for signal {0}")]
    Twice(&'static str),
    /// Not a share.
    #[error("eviction percentage threshold {0} must be >= 0% and <= 100%: {1}")]
    Share(&'static str, String),
    /// Not an amount.
    #[error("eviction threshold {0} must be positive: {1}")]
    Amount(&'static str, String),
}

impl FromStr for Thresholds {
    type Err = ThresholdError;

    fn from_str(text: &str) -> Result<Self, ThresholdError> {
        let mut all: Vec<(Signal, Least)> = Vec::new();
        let mut said: Vec<Signal> = Vec::new();
        for one in text.split(',').map(str::trim).filter(|one| !one.is_empty()) {
            let (name, value) =
                one.split_once('<').ok_or_else(|| ThresholdError::Syntax(one.into()))?;
            let row = SIGNALS.iter().find(|row| row.1 == name);
            let (signal, name, ..) = *row.ok_or_else(|| ThresholdError::Signal(name.into()))?;
            if said.contains(&signal) {
                return Err(ThresholdError::Twice(name));
            }
            said.push(signal);
            let least = if let Some(percent) = value.strip_suffix('%') {
                let percent: Option<f64> = percent.parse().ok();
                let percent = percent.filter(|p| (0.0..=100.0).contains(p));
                let bad = || ThresholdError::Share(name, value.into());
                Least::Percent(percent.ok_or_else(bad)?)
            } else {
                let amount = value.parse::<Quantity>().ok().map(Quantity::value);
                let amount = amount.and_then(|a| u64::try_from(a).ok());
                Least::Amount(amount.ok_or_else(|| ThresholdError::Amount(name, value.into()))?)
            };
            // Nothing or everything: the ways to switch a signal off.
            if least != Least::Amount(0)
                && least != Least::Percent(0.0)
                && least != Least::Percent(100.0)
            {
                all.push((signal, least));
            }
        }
        Ok(Self(all))
    }
}

impl fmt::Display for Least {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Amount(amount) => {
                let amount = i64::try_from(*amount).unwrap_or(i64::MAX);
                Quantity::new(amount, Format::BinarySi).fmt(f)
            }
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_what_it_says() {
        let default: Thresholds = Thresholds::DEFAULT.parse().expect("thresholds");
        assert_eq!(default.iter().count(), 5);
        assert_eq!(default.reserved(Signal::Memory, 1 << 40), 100 << 20);
        assert_eq!(default.reserved(Signal::NodeDisk, 1000), 50);
        assert_eq!(default.reserved(Signal::Pids, 1000), 0);
        let said: Vec<_> =
            default.iter().map(|(s, least)| format!("{}<{least}", s.name())).collect();
        assert_eq!(said.join(","), Thresholds::DEFAULT);
    }

    #[test]
    fn switched_off_and_wrong() {
        let off = "nodefs.available<0%,imagefs.available<100%,memory.available<0";
        assert_eq!(off.parse::<Thresholds>(), Ok(Thresholds::default()));
        for (text, error) in [
            ("memory.available", "invalid eviction threshold syntax"),
            ("memory.available>1Gi", "invalid eviction threshold syntax"),
            ("memory<1Gi", "unsupported eviction signal"),
            ("nodefs.available<101%", "must be >= 0% and <= 100%"),
            ("nodefs.available<-5Gi", "must be positive"),
            ("pid.available<1k,pid.available<2k", "duplicate"),
        ] {
            let said = text.parse::<Thresholds>().expect_err(text).to_string();
            assert!(said.contains(error), "{text}: {said}");
        }
    }

    #[test]
    fn the_table_is_in_the_signals_order() {
        for (index, row) in SIGNALS.iter().enumerate() {
            assert_eq!(row.0 as usize, index, "{}", row.1);
        }
    }

    #[test]
    fn amounts_are_printed_as_upstream_does() {
        assert_eq!(Signal::NodeDisk.print((5 << 30) + 3), "5Gi");
        assert_eq!(Signal::Memory.print(1536 << 10), "1536Ki");
        assert_eq!(Signal::NodeInodes.print(1_000), "1k");
    }
}
